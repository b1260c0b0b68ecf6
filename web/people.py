"""Sign in, by password or by a link that works once; sign out."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tasks import people
from web import auth, forms
from web.auth import local_path, public
from web.database import act
from web.languages import _
from web.limits import PER_ACCOUNT, PER_ADDRESS, account, limiter

bp = Blueprint("people", __name__)


@bp.get("/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    if auth.person_or_none() is not None:
        return redirect(url_for("desk.show"))
    return _form(local_path(request.args.get("next")))


@bp.post("/sign-in")
@limiter.limit(PER_ADDRESS)
@limiter.limit(PER_ACCOUNT, key_func=account)
@public
def sign_in_with_password() -> ResponseReturnValue:
    target = local_path(request.form.get("next"))
    # A password is taken as it was typed: spaces count.
    password = request.form.get("password", "")
    token = act(
        people.sign_in_with_password,
        forms.text("email", 320),
        password,
        code=forms.text("code", 20),
        client=_browser(),
        address=request.remote_addr or "",
    )
    if token is None:
        return _refused(target, _("The e-mail address, the password or the code is not right."))
    auth.enter(token)
    return redirect(target or url_for("desk.show"), code=303)


@bp.get("/sign-in/<token>")
@public
def sign_in_link(token: str) -> ResponseReturnValue:
    """A page with one button: opening a link changes nothing, so no mail scanner can use it up."""
    return render_template("people/link.html", token=token)


@bp.post("/sign-in/<token>")
@limiter.limit(PER_ADDRESS)
@public
def sign_in_with_link(token: str) -> ResponseReturnValue:
    session_token = act(people.sign_in_with_link, token, client=_browser())
    if session_token is None:
        return _refused(None, _("This link was used already or is too old. Ask for another one."))
    auth.enter(session_token)
    return redirect(url_for("desk.show"), code=303)


@bp.post("/sign-out")
@public
def sign_out() -> ResponseReturnValue:
    auth.leave()
    return redirect(url_for("people.sign_in"), code=303)


def _refused(target: str | None, problem: str) -> ResponseReturnValue:
    response = make_response(_form(target, problem))
    response.status_code = 422
    return response


def _form(target: str | None, problem: str | None = None) -> str:
    return render_template(
        "people/sign_in.html", next=target, problem=problem, email=forms.text("email", 320)
    )


def _browser() -> str:
    return request.user_agent.string[:200]
