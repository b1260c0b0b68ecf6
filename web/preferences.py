"""What each browser may choose for itself: the theme, the time zone, which workspace is shown."""

from __future__ import annotations

from flask import Blueprint, Flask, abort, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from web.auth import local_path, look_at, needs, public
from web.database import ctx
from web.times import ZONE_COOKIE, Clock, zone_named

bp = Blueprint("preferences", __name__)

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "theme"
_A_YEAR = 365 * 24 * 3600


def install(app: Flask) -> None:
    app.register_blueprint(bp)
    app.context_processor(lambda: {"clock": clock(), "theme": theme(), "themes": THEMES})


def clock() -> Clock:
    """One clock per request, so that all times of a page agree."""
    if "clock" not in g:
        g.clock = Clock(ctx().now(), zone_named(request.cookies.get(ZONE_COOKIE)))
    found: Clock = g.clock
    return found


def theme() -> str:
    chosen = request.cookies.get(THEME_COOKIE, "auto")
    return chosen if chosen in THEMES else "auto"


@bp.post("/preferences/theme")
@public
def choose_theme() -> ResponseReturnValue:
    chosen = request.form.get("theme", "")
    if chosen not in THEMES:
        abort(400)
    response = redirect(_back(), code=303)
    response.set_cookie(
        THEME_COOKIE,
        chosen,
        max_age=_A_YEAR,
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
        httponly=True,
        samesite="Lax",
    )
    return response


@bp.post("/preferences/workspace")
@needs("read")
def choose_workspace() -> ResponseReturnValue:
    look_at(request.form.get("workspace", ""))
    return redirect(url_for("desk.show"), code=303)


def _back() -> str:
    return local_path(request.form.get("back")) or url_for("desk.show")
