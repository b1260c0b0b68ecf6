"""Whose eyes the API sees with: the caller, and the workspaces that they belong to."""

from __future__ import annotations

from tasks.rights import Capability
from web import auth
from web.api.common import blueprint
from web.api.wire import Output, operation

bp = blueprint("workspaces")


class WorkspaceOut(Output):
    id: str
    name: str
    role: str
    current: bool


class Workspaces(Output):
    items: list[WorkspaceOut]


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
