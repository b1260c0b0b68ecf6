"""Signing in to a system for a connection: off to its consent page, and back."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from tasks import grants as grant_tasks
from tasks import signing_in
from tasks.errors import WorkError
from web.auth import needs, person
from web.database import act, ctx
from web.languages import _
from web.live import page
from web.reads import connections as reads
from web.reads import grants

bp = Blueprint("oauth", __name__)


@bp.post("/connections/<connection_id>/sign-in")
@needs("connect")
def begin(connection_id: str) -> ResponseReturnValue:
    """Show the way to the consent page. It is a link, since browsers let no form lead to another site."""
    item = reads.one(person().workspace_id, connection_id)
    state = grants.of(item.connection) if item is not None else None
    if item is None or state is None:
        abort(404)
    try:
        url = act(
            signing_in.begin,
            item.connection.id,
            bound_to=person().token,
            redirect_uri=callback_address(),
        )
    except WorkError as problem:
        flash(problem.message, "bad")
        return redirect(url_for("connections.show", connection_id=connection_id), code=303)
    return page("connections/sign_in.html", item=item, title=state.sign_in.title, url=url)


@bp.get("/oauth/callback")
@needs("connect")
def callback() -> ResponseReturnValue:
    """Where the system sends the browser back to."""
    try:
        connection_id = act(
            signing_in.finish,
            state=request.args.get("state", ""),
            session=person().token,
            user_id=person().id,
            by=person().email,
            code=request.args.get("code", ""),
            error=request.args.get("error", ""),
            issuer=request.args.get("iss", ""),
        )
    except WorkError as problem:
        flash(problem.message, "bad")
        return redirect(url_for("connections.index"), code=303)
    flash(_("Signed in. Syncs that waited for it go on."), "done")
    return redirect(url_for("connections.show", connection_id=connection_id), code=303)


@bp.post("/connections/<connection_id>/sign-out")
@needs("connect")
def forget(connection_id: str) -> ResponseReturnValue:
    item = reads.one(person().workspace_id, connection_id)
    if item is None:
        abort(404)
    stays = act(grant_tasks.forget, item.connection.id, by=person().email)
    flash(
        _("Signed out. Its tokens are forgotten, and its syncs are paused until somebody signs in."), "done"
    )
    if stays:
        flash(stays, "bad")
    return redirect(url_for("connections.show", connection_id=connection_id), code=303)


def callback_address() -> str:
    """Where systems send browsers back to: the panel's own address, as it is registered with them."""
    return (ctx().settings.public_url or request.host_url.rstrip("/")) + url_for("oauth.callback")
