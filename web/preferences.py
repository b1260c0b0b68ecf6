"""What each browser may choose for itself: language, theme, keys, time zone, which workspace is shown."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import Blueprint, Flask, abort, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from web.auth import local_path, look_at, needs, public
from web.database import ctx
from web.languages import LANGUAGE_COOKIE, is_known
from web.reads.news import LONGEST
from web.times import ZONE_COOKIE, Clock, zone_named

bp = Blueprint("preferences", __name__)

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "theme"
LOOK_COOKIE = "looked"
KEYS_COOKIE = "keys"
_A_YEAR = 365 * 24 * 3600


def install(app: Flask) -> None:
    app.register_blueprint(bp)
    app.context_processor(lambda: {"clock": clock(), "theme": theme(), "has_keys": has_keys()})


def clock() -> Clock:
    """One clock per request, so that all times of a page agree."""
    if "clock" not in g:
        g.clock = Clock(ctx().now(), zone_named(request.cookies.get(ZONE_COOKIE)))
    found: Clock = g.clock
    return found


def theme() -> str:
    chosen = request.cookies.get(THEME_COOKIE, "auto")
    return chosen if chosen in THEMES else "auto"


def has_keys() -> bool:
    """Whether single keys act as shortcuts: until they are switched off."""
    return request.cookies.get(KEYS_COOKIE) != "off"


def looked_at() -> datetime:
    """When this person last said that they have seen what is new; a day ago where they never did."""
    now = clock().now
    try:
        moment = datetime.fromisoformat(request.cookies.get(LOOK_COOKIE, ""))
    except ValueError:
        return now - timedelta(days=1)
    if moment.tzinfo is None or moment > now:
        return now - timedelta(days=1)
    return max(moment, now - LONGEST)


def remember_look(response: Response) -> Response:
    _remember(response, LOOK_COOKIE, clock().now.isoformat(timespec="seconds"))
    return response


@bp.post("/preferences/theme")
@public
def choose_theme() -> ResponseReturnValue:
    chosen = request.form.get("theme", "")
    if chosen not in THEMES:
        abort(400)
    response = redirect(_back(), code=303)
    _remember(response, THEME_COOKIE, chosen)
    return response


@bp.post("/preferences/language")
@public
def choose_language() -> ResponseReturnValue:
    chosen = request.form.get("language", "")
    if chosen and not is_known(chosen):
        abort(400)
    response = redirect(_back(), code=303)
    if chosen:
        _remember(response, LANGUAGE_COOKIE, chosen)
    else:  # as the browser says
        response.delete_cookie(LANGUAGE_COOKIE)
    return response


@bp.post("/preferences/keys")
@needs("read")
def choose_keys() -> ResponseReturnValue:
    chosen = request.form.get("keys", "")
    if chosen not in ("on", "off"):
        abort(400)
    response = redirect(_back(), code=303)
    _remember(response, KEYS_COOKIE, chosen)
    return response


@bp.post("/preferences/workspace")
@needs("read")
def choose_workspace() -> ResponseReturnValue:
    look_at(request.form.get("workspace", ""))
    return redirect(url_for("desk.show"), code=303)


def _back() -> str:
    return local_path(request.form.get("back")) or url_for("desk.show")


def _remember(response: Response, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=_A_YEAR,
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
        httponly=True,
        samesite="Lax",
    )
