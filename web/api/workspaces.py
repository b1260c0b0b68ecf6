"""Whose eyes the API sees with: the caller, and the workspaces that they belong to."""

from __future__ import annotations

from flask import abort

from tasks import workspaces
from tasks.rights import Capability
from web import auth
from web.api.common import Name, blueprint
from web.api.wire import Answer, Input, Output, operation
from web.database import act

bp = blueprint("workspaces")

MADE = "10 per minute"


class WorkspaceOut(Output):
    id: str
    name: str
    role: str
    current: bool


class Workspaces(Output):
    items: list[WorkspaceOut]


class Named(Input):
    name: Name


class Me(Output):
    id: str
    email: str
    workspace: WorkspaceOut
    capabilities: list[Capability]
    token: str | None


@operation(bp, "GET", "/workspaces", needs="read", summary="The workspaces of the caller", returns=Workspaces)
def index() -> Workspaces:
    """A token works in one workspace; a signed-in person in the one that the panel shows."""
    return Workspaces(items=[_shown(seat) for seat in auth.person().seats])


@operation(
    bp, "POST", "/workspaces", needs="administer", summary="Make a workspace", body=Named,
    returns=WorkspaceOut, status=201, creates=True, limit=MADE,
)  # fmt: skip
def create(body: Named) -> Answer:
    """You administer it. A token of this workspace does not reach it: make one there."""
    who = auth.person()
    made = act(workspaces.create, body.name, who.id, by=who.by)
    found = WorkspaceOut(id=made, name=body.name, role="admin", current=False)
    return Answer(found, 201, "/api/v1/workspaces")


@operation(
    bp, "PUT", "/workspaces/<workspace_id>/name", needs="administer", summary="Rename the workspace",
    body=Named, returns=WorkspaceOut,
)  # fmt: skip
def rename(workspace_id: str, body: Named) -> WorkspaceOut:
    """The one that you look at, or that the token works in."""
    who = auth.person()
    if workspace_id != who.workspace_id or who.seat is None:
        abort(404)
    act(workspaces.rename, workspace_id, body.name, by=who.by)
    return WorkspaceOut(id=workspace_id, name=body.name, role=str(who.seat.role), current=True)


@operation(bp, "GET", "/me", needs="read", summary="Who calls, and what they may do", returns=Me)
def me() -> Me:
    who = auth.person()
    assert who.seat is not None
    return Me(
        id=who.id,
        email=who.email,
        workspace=_shown(who.seat),
        capabilities=[item for item in Capability if who.may(item)],
        token=who.bearer.name if who.bearer else None,
    )


def _shown(seat: auth.Seat) -> WorkspaceOut:
    return WorkspaceOut(
        id=seat.workspace_id,
        name=seat.workspace,
        role=str(seat.role),
        current=seat == auth.person().seat,
    )
