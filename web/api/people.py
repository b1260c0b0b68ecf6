"""The people of a workspace: members with their roles, and invitations."""

from __future__ import annotations

from datetime import datetime

from flask import url_for
from pydantic import Field

from models.people import Role
from tasks import invitations, members
from web import auth
from web.api.common import blueprint, by, workspace
from web.api.wire import Answer, Input, Output, operation
from web.database import act, ctx

bp = blueprint("people")

INVITES = "30 per minute"


class MemberOut(Output):
    id: str
    email: str
    name: str
    role: Role
    disabled: bool
    second_factor: bool
    deletion_due_at: datetime | None


class Members(Output):
    items: list[MemberOut]


class NewRole(Input):
    role: Role


class NewInvitation(Input):
    email: str = Field(min_length=3, max_length=320)
    role: Role


class InvitationOut(Output):
    id: str
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


class Invitations(Output):
    items: list[InvitationOut]


class MadeInvitation(Output):
    id: str
    url: str = Field(description="Told once. It lets one person in, within 48 hours.")


@operation(bp, "GET", "/people", needs="administer", summary="Who belongs to the workspace", returns=Members)
def index() -> Members:
    return _everybody()


@operation(
    bp, "PUT", "/people/<user_id>", needs="administer", summary="Give a member another role", body=NewRole,
    returns=Members, refuses=True,
)  # fmt: skip
def set_role(user_id: str, body: NewRole) -> Members:
    """They have to sign in again. The last administrator stays one."""
    act(members.set_role, workspace(), user_id, body.role, by=by())
    return _everybody()


@operation(
    bp, "DELETE", "/people/<user_id>", needs="administer", summary="Let a member go", returns=None,
    status=204, refuses=True,
)  # fmt: skip
def remove(user_id: str) -> None:
    """Their sessions and tokens end. The last administrator cannot go."""
    act(members.remove, workspace(), user_id, by=by())


@operation(
    bp, "GET", "/invitations", needs="administer", summary="Invitations nobody has used yet",
    returns=Invitations,
)  # fmt: skip
def invited() -> Invitations:
    return Invitations(
        items=[
            InvitationOut.model_validate(row, from_attributes=True)
            for row in invitations.listed(ctx(), workspace())
        ]
    )


@operation(
    bp, "POST", "/invitations", needs="administer", summary="Invite somebody by a link", body=NewInvitation,
    returns=MadeInvitation, status=201, creates=True, limit=INVITES,
)  # fmt: skip
def invite(body: NewInvitation) -> Answer:
    made, path = act(invitations.invite, workspace(), body.email, body.role, by=auth.person().email)
    base = ctx().settings.public_url or url_for("desk.show", _external=True).rstrip("/")
    return Answer(MadeInvitation(id=made, url=f"{base}{path}"), 201, "/api/v1/invitations")


@operation(
    bp, "DELETE", "/invitations/<invitation_id>", needs="administer", summary="Withdraw an invitation",
    returns=None, status=204,
)  # fmt: skip
def withdraw(invitation_id: str) -> None:
    act(invitations.withdraw, invitation_id, workspace(), by=by())


def _everybody() -> Members:
    return Members(
        items=[
            MemberOut(
                id=user.id,
                email=user.email,
                name=user.name,
                role=role,
                disabled=user.disabled_at is not None,
                second_factor=user.totp_step is not None,
                deletion_due_at=user.deletion_due_at,
            )
            for user, role in members.listed(ctx(), workspace())
        ]
    )
