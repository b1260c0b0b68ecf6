"""People: who belongs to the workspace, what they may do, and who is invited."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from models.people import Role
from tasks import invitations, members, workspaces
from tasks.errors import WorkError
from tasks.people import SHORTEST_PASSWORD
from web import auth, forms
from web.auth import needs, person, public
from web.database import act, ctx
from web.languages import _
from web.limits import PER_ADDRESS, limiter
from web.live import page

bp = Blueprint("members", __name__)

INVITES = "30 per minute"
WORKSPACES = "10 per minute"


@bp.get("/people")
@needs("administer")
def index() -> ResponseReturnValue:
    return _page()


@bp.post("/people/invitations")
@limiter.limit(INVITES)
@needs("administer")
def invite() -> ResponseReturnValue:
    """The link is shown once, on the answer itself: it stands nowhere else."""
    who = person()
    try:
        made = act(invitations.invite, who.workspace_id, forms.text("email", 320), _role(), by=who.email)
    except WorkError as problem:
        response = make_response(_page(problem=problem.message))
        response.status_code = 422
        return response
    base = ctx().settings.public_url or request.host_url.rstrip("/")
    return _page(link=f"{base}{made[1]}")


@bp.post("/people/invitations/<invitation_id>/withdrawal")
@needs("administer")
def withdraw(invitation_id: str) -> ResponseReturnValue:
    act(invitations.withdraw, invitation_id, person().workspace_id, by=person().email)
    flash(_("Withdrawn. The link opens nothing any more."), "done")
    return redirect(url_for("members.index"), code=303)


@bp.post("/people/<user_id>/role")
@needs("administer")
def set_role(user_id: str) -> ResponseReturnValue:
    act(members.set_role, person().workspace_id, user_id, _role(), by=person().email)
    flash(_("The role is set. They have to sign in again."), "done")
    return redirect(url_for("members.index"), code=303)


@bp.post("/people/<user_id>/removal")
@needs("administer")
def remove(user_id: str) -> ResponseReturnValue:
    act(members.remove, person().workspace_id, user_id, by=person().email)
    flash(_("They are no longer in this workspace. What acts for them stops."), "done")
    return redirect(url_for("members.index"), code=303)


@bp.post("/workspace/name")
@needs("administer")
def rename_workspace() -> ResponseReturnValue:
    changed = act(workspaces.rename, person().workspace_id, forms.text("name", 200), by=person().email)
    flash(_("Renamed.") if changed else _("Nothing was changed."), "done")
    return redirect(url_for("settings.show"), code=303)


@bp.post("/workspaces")
@limiter.limit(WORKSPACES)
@needs("administer")
def create_workspace() -> ResponseReturnValue:
    """Make another workspace, and turn to it."""
    made = act(workspaces.create, forms.text("name", 200), person().id, by=person().email)
    auth.turn_to(made)
    flash(_("Made. You look at it now: connect systems, invite people."), "done")
    return redirect(url_for("desk.show"), code=303)


@bp.get("/invitations/<token>")
@public
def invitation(token: str) -> ResponseReturnValue:
    """A page with a form: opening a link changes nothing."""
    return _door(token)


@bp.post("/invitations/<token>")
@limiter.limit(PER_ADDRESS)
@public
def accept(token: str) -> ResponseReturnValue:
    who = auth.person_or_none()
    try:
        session = act(
            invitations.accept, token, user_id=who.id if who else None, name=forms.text("name", 200),
            password=request.form.get("password", ""), client=request.user_agent.string[:200],
        )  # fmt: skip
    except WorkError as problem:
        return _door(token, problem.message)
    if session is None:
        return _door(token)
    auth.enter(session)
    return redirect(url_for("desk.show"), code=303)


def _page(**values: Any) -> ResponseReturnValue:
    workspace = person().workspace_id
    return page(
        "people/members.html",
        members=members.listed(ctx(), workspace),
        invitations=invitations.listed(ctx(), workspace),
        roles=list(Role),
        **values,
    )


def _door(token: str, problem: str | None = None) -> ResponseReturnValue:
    found = invitations.find(ctx(), token)
    response = make_response(
        render_template(
            "people/invitation.html",
            token=token,
            found=found,
            problem=problem,
            me=auth.person_or_none(),
            shortest=SHORTEST_PASSWORD,
        )
    )
    response.status_code = 404 if found is None else 422 if problem else 200
    return response


def _role() -> Role:
    word = request.form.get("role", "")
    if word not in set(Role):
        abort(400)
    return Role(word)
