"""Workspaces: made by people who administer one, and called otherwise."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from models.people import Membership, Role, User, Workspace
from sync.definition import nearest
from tasks import audit, definitions, saving
from tasks.context import Context
from tasks.errors import NotFound, WorkError

MOST = 100  # workspaces of one person


def listed(ctx: Context) -> list[dict[str, Any]]:
    """Every workspace of the installation, the oldest first: {"id", "name", "people"}."""
    with ctx.reads() as db:
        people = dict(
            db.execute(select(Membership.workspace_id, func.count()).group_by(Membership.workspace_id)).all()
        )
        rows = db.scalars(select(Workspace).order_by(Workspace.created_at, Workspace.id))
        return [{"id": row.id, "name": row.name, "people": people.get(row.id, 0)} for row in rows]


def create(ctx: Context, name: str, admin_id: str, *, by: str) -> str:
    """A new workspace with this person as its administrator; its id.

    Raises NotFound, DefinitionError, WorkError (they have a workspace of this name already).
    """
    _check_name(ctx, name)
    with ctx.sessions.begin() as db:
        # Of two at once the second sees the first one's workspace.
        user = db.scalar(
            select(User).where(User.id == admin_id, User.disabled_at.is_(None)).with_for_update()
        )
        if user is None:
            raise NotFound("There is no such person.")
        theirs = select(Membership.workspace_id).where(Membership.user_id == admin_id)
        if db.scalar(select(Workspace.id).where(Workspace.name == name, Workspace.id.in_(theirs))):
            raise saving.taken("workspace", name)
        if len(db.scalars(theirs).all()) >= MOST:
            raise WorkError(f"{user.email} is in {MOST} workspaces already.", code="too_many")
        now = ctx.db_now(db)
        row = Workspace(id=ctx.new_id(), name=name, created_at=now)
        db.add(row)
        db.flush()
        db.add(Membership(workspace_id=row.id, user_id=admin_id, role=Role.ADMIN.value))
        audit.record(
            db, "workspace.created", row.id, by=by, at=now, workspace_id=row.id, name=name, admin=user.email
        )
        return row.id


def rename(ctx: Context, workspace_id: str, name: str, *, by: str) -> bool:
    """Whether it has another name now. Raises NotFound, DefinitionError."""
    _check_name(ctx, name)
    with ctx.sessions.begin() as db:
        row = db.scalar(select(Workspace).where(Workspace.id == workspace_id).with_for_update())
        if row is None:
            raise NotFound("There is no such workspace.")
        if row.name == name:
            return False
        old, row.name = row.name, name
        audit.record(
            db, "workspace.renamed", row.id, by=by, at=ctx.db_now(db), workspace_id=row.id, name=name, old=old
        )
    return True


def id_of(ctx: Context, name: str) -> str:
    """The workspace with this id or name. Raises NotFound, with the nearest name, and WorkError (two)."""
    known = listed(ctx)
    found = [item["id"] for item in known if name in (item["id"], item["name"])]
    if len(found) > 1:
        raise WorkError(f"Several workspaces are called '{name}': say which by its id.", code="ambiguous")
    if not found:
        raise NotFound(f"There is no workspace '{name}'." + nearest(name, [item["name"] for item in known]))
    return str(found[0])


def _check_name(ctx: Context, name: str) -> None:
    definitions.check_name(saving.sent(ctx), ("workspaces", name, "name"), name)
