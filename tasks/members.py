"""The members of a workspace: their roles, and how they leave. The last administrator stays."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models.people import ApiToken, Membership, Role, User, Workspace
from tasks import audit, people
from tasks.context import Context
from tasks.errors import NotFound


def listed(ctx: Context, workspace_id: str) -> Sequence[tuple[User, Role]]:
    """Who belongs to a workspace, by address."""
    with ctx.reads() as db:
        rows = db.execute(
            select(User, Membership.role)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.workspace_id == workspace_id)
            .order_by(User.email)
        )
        return [(user, Role(role)) for user, role in rows]


def set_role(ctx: Context, workspace_id: str, user_id: str, role: Role, *, by: str) -> None:
    """Give a member another role; they sign in again. Raises NotFound, WrongState (the last admin)."""
    with ctx.sessions.begin() as db:
        member = _locked(db, workspace_id, user_id)
        if member.role == role:
            return
        if role is not Role.ADMIN:
            people.somebody_must_stay(db, workspace_id, user_id)
        member.role = role.value
        _note(ctx, db, "user.role_set", workspace_id, user_id, by, role=role.value)


def remove(ctx: Context, workspace_id: str, user_id: str, *, by: str) -> None:
    """Let a member go: their sessions and tokens end here. Raises NotFound, WrongState (the last admin)."""
    with ctx.sessions.begin() as db:
        member = _locked(db, workspace_id, user_id)
        people.somebody_must_stay(db, workspace_id, user_id)
        now = ctx.db_now(db)
        db.execute(
            update(ApiToken)
            .where(
                ApiToken.workspace_id == workspace_id,
                ApiToken.user_id == user_id,
                ApiToken.revoked_at.is_(None),
            )
            .values(revoked_at=now)
        )
        db.delete(member)
        _note(ctx, db, "user.removed", workspace_id, user_id, by)


def _locked(db: Session, workspace_id: str, user_id: str) -> Membership:
    """The membership, while nobody else decides on the people of this workspace."""
    db.scalars(select(Workspace).where(Workspace.id == workspace_id).with_for_update()).one()
    member = db.scalar(
        select(Membership).where(Membership.workspace_id == workspace_id, Membership.user_id == user_id)
    )
    if member is None:
        raise NotFound("There is no such person in this workspace.")
    return member


def _note(
    ctx: Context, db: Session, action: str, workspace_id: str, user_id: str, by: str, **detail: str
) -> None:
    people.end_all_sessions(db, user_id)
    email = db.get_one(User, user_id).email
    audit.record(db, action, email, by=by, at=ctx.db_now(db), workspace_id=workspace_id, **detail)
