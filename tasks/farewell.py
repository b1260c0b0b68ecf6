"""Deleting an account: asked for, waited thirty days, then done; signing in takes it back.

What acts for the person stops with the request, not only with the end of the wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import structlog
from sqlalchemy import String, Text, delete, select, update
from sqlalchemy.orm import Session

from models.people import ApiToken, Invitation, Membership, SignInLink, User, WebSession
from models.sync_configs import SyncConfig
from models.tables import metadata
from tasks import audit, people, saving
from tasks.context import Context
from tasks.errors import NotFound, RunActive, WrongState

GRACE = timedelta(days=30)
Mode = Literal["anonymise", "everything"]
# Business values, and what the chain itself takes care of.
_LEFT_ALONE = frozenset({"links", "shadows", "audit_events", "users"})
log = structlog.get_logger(__name__)


def ask(ctx: Context, user_id: str, mode: Mode, *, by: str) -> datetime:
    """Ask for the deletion of an account; when it will be done. Sessions end, tokens are revoked.

    Raises NotFound, WrongState (the last administrator of a workspace).
    """
    with ctx.sessions.begin() as db:
        user = db.get(User, user_id)
        if user is None:
            raise NotFound("There is no such person.")
        for workspace_id in db.scalars(
            select(Membership.workspace_id)
            .where(Membership.user_id == user_id)
            .order_by(Membership.workspace_id)
        ).all():
            people.somebody_must_stay(db, workspace_id, user_id)
        now = ctx.db_now(db)
        user.deletion_due_at, user.deletion_mode = now + GRACE, mode
        db.execute(delete(WebSession).where(WebSession.user_id == user_id))
        db.execute(
            update(ApiToken)
            .where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        audit.record(db, "account.deletion_asked", user.email, by=by, at=now, mode=mode)
        return user.deletion_due_at


def purge(ctx: Context) -> int:
    """Delete the accounts whose wait is over; how many."""
    with ctx.reads() as db:
        due = db.execute(
            select(User.id, User.deletion_mode).where(User.deletion_due_at <= ctx.db_now(db))
        ).all()
    done = 0
    for user_id, mode in due:
        try:
            _purge(ctx, user_id, mode or "anonymise")
        except (RunActive, WrongState) as refusal:
            log.warning("account.not_deleted", user=user_id, reason=refusal.message)
            continue
        done += 1
    return done


def _purge(ctx: Context, user_id: str, mode: str) -> None:
    if mode == "everything":
        _delete_configs_of(ctx, user_id)
    with ctx.sessions.begin() as db:
        user = db.scalar(select(User).where(User.id == user_id).with_for_update())
        now = ctx.db_now(db)
        if user is None or user.deletion_due_at is None or user.deletion_due_at > now:
            return  # taken back meanwhile
        email, pseudonym = user.email, f"deleted-{ctx.new_id()[:12]}@deleted.invalid"
        for model in (WebSession, SignInLink, ApiToken, Membership):
            db.execute(delete(model).where(model.user_id == user_id))
        db.execute(delete(Invitation).where(Invitation.email == email))
        _rename(db, email, pseudonym)
        audit.redact(db, email, pseudonym)
        user.email, user.name, user.password_hash = pseudonym, "", None
        user.totp_secret = user.totp_step = user.deletion_due_at = user.deletion_mode = None
        user.disabled_at = now
        audit.record(db, "account.deleted", pseudonym, by="installation", at=now, mode=mode)


def _delete_configs_of(ctx: Context, user_id: str) -> None:
    """The syncs that act for this person; those that run after others of theirs before these. One that
    somebody else's runs after stays, and stands still. Raises RunActive."""
    with ctx.reads() as db:
        left = set(db.scalars(select(SyncConfig.id).where(SyncConfig.owner_id == user_id)))
    while left:
        done = set()
        for config_id in sorted(left):
            try:
                saving.delete_config(
                    ctx, config_id, by="installation", reason="its owner's account was deleted"
                )
            except WrongState as refusal:
                log.info("account.sync_stays", config=config_id, reason=refusal.message)
            else:
                done.add(config_id)
        if not done:
            return
        left -= done


def _rename(db: Session, email: str, pseudonym: str) -> None:
    """Put the pseudonym wherever a column of our own names the person."""
    for table in metadata.sorted_tables:
        if table.name in _LEFT_ALONE:
            continue
        keys = list(table.primary_key.columns)
        for column in table.columns:
            if not isinstance(column.type, String | Text) or column.foreign_keys or column.primary_key:
                continue
            naming = select(*keys, column).where(column.icontains(email, autoescape=True))
            for *key, said in db.execute(naming).all():
                renamed = audit.without(said, email, pseudonym)
                if renamed != said:
                    mine = [part == value for part, value in zip(keys, key, strict=True)]
                    db.execute(table.update().where(*mine).values({column: renamed}))
