"""Invitations: a link lets one person into a workspace, once, within two days."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from models.people import Invitation, Membership, Role, User, Workspace
from models.upsert import insert_or_ignore
from tasks import audit, people
from tasks.context import Context
from tasks.errors import NotFound, WorkError
from tasks.people import hash_of
from tasks.runs import count

LIFE = timedelta(hours=48)
MOST = 100  # open ones of a workspace


def invite(ctx: Context, workspace_id: str, email: str, role: Role, *, by: str) -> tuple[str, str]:
    """Invite somebody; the invitation's id and the path of its link. A newer one for them replaces it.

    Only administrators do, so nobody gives away more than they have. Raises WorkError.
    """
    email = people.clean_email(email)
    token = secrets.token_urlsafe(32)
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        db.scalars(select(Workspace).where(Workspace.id == workspace_id).with_for_update()).one()
        user_id = db.scalar(select(User.id).where(User.email == email))
        if user_id and people.role_in(db, user_id, workspace_id) is not None:
            raise WorkError(f"{email} is in this workspace already: change their role.", code="email")
        db.execute(
            delete(Invitation).where(Invitation.workspace_id == workspace_id, Invitation.email == email)
        )
        if len(_open(db, workspace_id)) >= MOST:
            raise WorkError(f"{MOST} invitations are open: withdraw some first.", code="too_many")
        row = Invitation(
            id=ctx.new_id(), workspace_id=workspace_id, email=email, role=role.value,
            token_hash=hash_of(token), invited_by=by[:320], created_at=now, expires_at=now + LIFE,
        )  # fmt: skip
        db.add(row)
        audit.record(db, "invitation.made", email, by=by, at=now, workspace_id=workspace_id, role=role.value)
    return row.id, f"/invitations/{token}"


def listed(ctx: Context, workspace_id: str) -> Sequence[Invitation]:
    """The invitations that nobody has used yet, the newest first."""
    with ctx.reads() as db:
        return _open(db, workspace_id)


def withdraw(ctx: Context, invitation_id: str, workspace_id: str, *, by: str) -> None:
    """The link is worth nothing from now on. Raises NotFound."""
    with ctx.sessions.begin() as db:
        row = db.get(Invitation, invitation_id)
        if row is None or row.workspace_id != workspace_id:
            raise NotFound("There is no such invitation.")
        audit.record(
            db, "invitation.withdrawn", row.email, by=by, at=ctx.db_now(db), workspace_id=workspace_id
        )
        db.delete(row)


def find(ctx: Context, token: str) -> tuple[Invitation, str, bool] | None:
    """An invitation that can be used, its workspace's name, and whether its person has an account."""
    with ctx.reads() as db:
        row = db.scalar(
            select(Invitation).where(
                Invitation.token_hash == hash_of(token),
                Invitation.used_at.is_(None),
                Invitation.expires_at > ctx.db_now(db),
            )
        )
        if row is None or not _stands(db, row):
            return None
        known = db.scalar(select(User.id).where(User.email == row.email)) is not None
        return row, db.get_one(Workspace, row.workspace_id).name, known


def accept(
    ctx: Context, token: str, *, user_id: str | None, name: str = "", password: str = "", client: str = ""
) -> str | None:
    """Come in by an invitation; a new session's token, or None: it is unknown, used or too old.

    Who has an account must be signed in with it (`user_id`); who has none gets one with this password.
    Raises WorkError.
    """
    found = find(ctx, token)
    if found is None:
        return None
    hashed = None if found[2] else people.hashed_password(password)
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        used = db.execute(
            update(Invitation)
            .where(
                Invitation.token_hash == hash_of(token),
                Invitation.used_at.is_(None),
                Invitation.expires_at > now,
            )
            .values(used_at=now)
        )
        if not count(used):
            return None
        row = db.scalars(select(Invitation).where(Invitation.token_hash == hash_of(token))).one()
        if not _stands(db, row):
            return None
        user = db.scalar(select(User).where(User.email == row.email))
        if user is not None and user.id != user_id:
            raise WorkError(f"Sign in as {row.email} first, then open the link again.", code="sign_in")
        if user is None and hashed is None:
            return None
        if user is None:
            user = User(
                id=ctx.new_id(), email=row.email, name=name[:200], password_hash=hashed, created_at=now
            )
            db.add(user)
            db.flush()
        values = {"workspace_id": row.workspace_id, "user_id": user.id, "role": row.role}
        db.execute(insert_or_ignore(db, Membership).values(values))
        audit.record(
            db, "invitation.accepted", row.email, by=row.email, at=now, workspace_id=row.workspace_id,
            role=row.role, invited_by=row.invited_by,
        )  # fmt: skip
        return people.new_session(db, user, now, client, how="invitation")


def _stands(db: Session, row: Invitation) -> bool:
    """Whether whoever invited could still do so: nobody comes back by a link of their own making."""
    inviter = db.scalar(select(User.id).where(User.email == row.invited_by))
    return inviter is not None and people.role_in(db, inviter, row.workspace_id) is Role.ADMIN


def _open(db: Session, workspace_id: str) -> Sequence[Invitation]:
    return db.scalars(
        select(Invitation)
        .where(Invitation.workspace_id == workspace_id, Invitation.used_at.is_(None))
        .order_by(Invitation.created_at.desc(), Invitation.id.desc())
    ).all()
