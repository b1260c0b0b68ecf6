"""One's own account: password, second factor, sessions, API tokens, and its end."""

from __future__ import annotations

from typing import Any

import segno
from flask import Blueprint, abort, flash, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue

from models.people import User
from tasks import farewell, people, second_factor, tokens
from tasks.errors import WorkError
from tasks.people import hash_of
from tasks.rights import Capability
from web import forms
from web.auth import needs, person
from web.database import act, ctx, db
from web.languages import LANGUAGE_COOKIE, LANGUAGES, _
from web.limits import PER_ADDRESS, limiter
from web.live import page

bp = Blueprint("account", __name__, url_prefix="/account")

DAYS = (7, 30, 90, 365)


@bp.get("")
@needs("read")
def show() -> ResponseReturnValue:
    return _page()


@bp.post("/password")
@limiter.limit(PER_ADDRESS)
@needs("read")
def set_password() -> ResponseReturnValue:
    """Everybody who was signed in with the old one is signed out, oneself too."""
    who = person()
    if _has_password() and not people.fits(ctx(), who.id, request.form.get("current", "")):
        return _refused(_("The current password is not right."))
    try:
        act(people.set_password, who.id, request.form.get("password", ""), by=who.email)
    except WorkError as problem:
        return _refused(problem.message)
    flash(_("The password is set. Sign in with it."), "done")
    return redirect(url_for("people.sign_in"), code=303)


@bp.post("/second-factor")
@limiter.limit(PER_ADDRESS)
@needs("read")
def begin_second_factor() -> ResponseReturnValue:
    """Shows the picture for one's device, on the answer itself: it stands nowhere else.

    The password is asked for: who finds a browser signed in must not lock its person out.
    """
    if not _has_password():
        return _refused(_("Set a password first: the code is asked for beside it."))
    if not people.fits(ctx(), person().id, request.form.get("current", "")):
        return _refused(_("The current password is not right."))
    address = act(second_factor.begin, person().id)
    code = segno.make(address, error="m")
    rows = list(code.matrix_iter(border=4))
    dark = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, bit in enumerate(row) if bit)
    return _page(picture=dark, size=len(rows), address=address)


@bp.post("/second-factor/confirmation")
@limiter.limit(PER_ADDRESS)
@needs("read")
def confirm_second_factor() -> ResponseReturnValue:
    try:
        act(second_factor.confirm, person().id, forms.text("code", 20))
    except WorkError as problem:
        return _refused(problem.message)
    flash(_("From now on you are asked for a code beside your password."), "done")
    return redirect(url_for("account.show"), code=303)


@bp.post("/second-factor/removal")
@limiter.limit(PER_ADDRESS)
@needs("read")
def remove_second_factor() -> ResponseReturnValue:
    who = person()
    if not people.fits(ctx(), who.id, request.form.get("current", "")):
        return _refused(_("The current password is not right."))
    act(second_factor.switch_off, who.id, by=who.email)
    flash(_("The password alone is asked for again. Sign in."), "done")
    return redirect(url_for("people.sign_in"), code=303)


@bp.post("/sessions/<session_id>/end")
@needs("read")
def end_session(session_id: str) -> ResponseReturnValue:
    act(people.revoke_session, person().id, session_id, by=person().email)
    flash(_("Signed out there."), "done")
    return redirect(url_for("account.show"), code=303)


@bp.post("/tokens")
@needs("read")
def make_token() -> ResponseReturnValue:
    """The token is shown once, on the answer itself."""
    who = person()
    scopes = [item for item in Capability if str(item) in request.form.getlist("scope")]
    days = request.form.get("days", type=int)
    if days is not None and not 1 <= days <= tokens.LONGEST_LIFE:
        abort(400)
    name = forms.text("name", 100)
    if not name:
        return _refused(_("Give the token a name, so that you know it again."))
    try:
        made = act(tokens.make, who.id, who.workspace_id, name, scopes, days=days, by=who.email)
    except WorkError as problem:
        return _refused(problem.message)
    return _page(token=made.token)


@bp.post("/tokens/<token_id>/revocation")
@needs("read")
def revoke_token(token_id: str) -> ResponseReturnValue:
    who = person()
    everybody = who.may(Capability.ADMINISTER)
    mine = tokens.listed(ctx(), who.workspace_id, None if everybody else who.id)
    if token_id not in {row.id for row, _ in mine}:
        abort(404)
    act(tokens.revoke, token_id, by=who.email)
    flash(_("Revoked. It opens nothing any more."), "done")
    return redirect(url_for("account.show"), code=303)


@bp.post("/deletion")
@needs("read")
def delete() -> ResponseReturnValue:
    who = person()
    mode = request.form.get("mode", "")
    if mode not in ("anonymise", "everything"):
        abort(400)
    if forms.text("email", 320).lower() != who.email:
        return _refused(_("Type your own address to confirm."))
    try:
        act(farewell.ask, who.id, "everything" if mode == "everything" else "anonymise", by=who.email)
    except WorkError as problem:
        return _refused(problem.message)
    flash(_("Your account ends in thirty days. Signing in before takes that back."), "done")
    return redirect(url_for("people.sign_in"), code=303)


def _refused(problem: str) -> ResponseReturnValue:
    response = make_response(_page(problem=problem))
    response.status_code = 422
    return response


def _page(**values: Any) -> ResponseReturnValue:
    who = person()
    user = db.session.get_one(User, who.id)
    everybody = who.may(Capability.ADMINISTER)
    return page(
        "people/account.html",
        has_password=user.password_hash is not None,
        second_factor=user.totp_step is not None,
        sessions=people.sessions_of(ctx(), who.id),
        here=hash_of(who.token),
        tokens=tokens.listed(ctx(), who.workspace_id, None if everybody else who.id),
        scopes=[item for item in Capability if who.may(item)],
        days=DAYS,
        languages=LANGUAGES,
        chosen_language=request.cookies.get(LANGUAGE_COOKIE, ""),
        shortest=people.SHORTEST_PASSWORD,
        **values,
    )


def _has_password() -> bool:
    return db.session.get_one(User, person().id).password_hash is not None
