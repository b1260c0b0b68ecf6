"""API tokens: a person's key to the API of one workspace, with no more rights than they have themselves."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from models.people import ApiToken, Membership, User
from tasks import audit
from tasks.context import Context
from tasks.errors import NotFound, WorkError
from tasks.people import hash_of
from tasks.rights import Capability
from tasks.runs import count

PREFIX = "sln_"  # so that a token is known for one wherever it lies about
SHOWN = 10  # characters of a token that lists show
LONGEST_LIFE = 3650  # days
MOST = 50  # that work at the same time, of one person in one workspace
_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who calls with a token, where, and what for."""

    token_id: str
    name: str
    user_id: str
    email: str
    workspace_id: str
    scopes: frozenset[Capability]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Made:
    id: str
    token: str  # shown once


def make(
    ctx: Context,
    user_id: str,
    workspace_id: str,
    name: str,
    scopes: Sequence[Capability],
    *,
    days: int | None,
    by: str,
    not_after: datetime | None = None,
) -> Made:
    """A new token; it is told once. `days` is how long it works, None for as long as it is not revoked;
    in any case not after `not_after`.

    Raises NotFound (no such person here), WorkError (no scope, too many).
    """
    if not scopes:
        raise WorkError("A token needs at least one scope, such as read.", code="scopes")
    token = f"{PREFIX}{secrets.token_urlsafe(32)}"
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        email = db.scalar(
            select(User.email)
            .join(Membership, Membership.user_id == User.id)
            .where(User.id == user_id, Membership.workspace_id == workspace_id, User.disabled_at.is_(None))
            .with_for_update(of=User)
        )
        if email is None:
            raise NotFound("There is no such person in this workspace.")
        working = select(ApiToken.id).where(
            ApiToken.user_id == user_id, ApiToken.workspace_id == workspace_id, ApiToken.revoked_at.is_(None)
        )
        if len(db.scalars(working.limit(MOST)).all()) >= MOST:
            raise WorkError(f"{MOST} tokens are enough for one person: revoke one first.", code="too_many")
        wanted = now + timedelta(days=days) if days is not None else None
        ends = [end for end in (wanted, not_after) if end is not None]
        row = ApiToken(
            id=ctx.new_id(),
            workspace_id=workspace_id,
            user_id=user_id,
            name=name,
            prefix=token[:SHOWN],
            token_hash=hash_of(token),
            scopes=sorted(set(scopes)),
            created_at=now,
            expires_at=min(ends) if ends else None,
        )
        db.add(row)
        audit.record(
            db, "token.made", row.id, by=by, at=now, workspace_id=workspace_id,
            name=name, owner=email, scopes=" ".join(row.scopes),
        )  # fmt: skip
    return Made(row.id, token)


def find(ctx: Context, token: str) -> Bearer | None:
    """Whose token this is; None if it is unknown, revoked or too old, or its person may not come in."""
    if not token.startswith(PREFIX):
        return None
    with ctx.reads() as db:
        now = ctx.db_now(db)
        found = db.execute(
            select(ApiToken, User.email)
            .join(User, User.id == ApiToken.user_id)
            .where(
                ApiToken.token_hash == hash_of(token),
                ApiToken.revoked_at.is_(None),
                User.disabled_at.is_(None),
            )
        ).first()
    if found is None:
        return None
    row, email = found
    if row.expires_at is not None and row.expires_at <= now:
        return None
    if row.last_used_at is None or now - row.last_used_at > _SEEN_EVERY:
        with ctx.sessions.begin() as db:
            db.execute(update(ApiToken).where(ApiToken.id == row.id).values(last_used_at=now))
    known = {str(item) for item in Capability}
    scopes = frozenset(Capability(scope) for scope in row.scopes if scope in known)
    return Bearer(row.id, row.name, row.user_id, email, row.workspace_id, scopes, row.expires_at)


def listed(ctx: Context, workspace_id: str, user_id: str | None = None) -> list[tuple[ApiToken, str]]:
    """The tokens of a workspace, or of one person there, the newest first, each with its person's address."""
    query = (
        select(ApiToken, User.email)
        .join(User, User.id == ApiToken.user_id)
        .where(ApiToken.workspace_id == workspace_id)
        .order_by(ApiToken.created_at.desc(), ApiToken.id.desc())
    )
    if user_id is not None:
        query = query.where(ApiToken.user_id == user_id)
    with ctx.reads() as db:
        return [(row, email) for row, email in db.execute(query)]


def revoke(ctx: Context, token_id: str, *, by: str) -> None:
    """The token opens nothing from now on. Twice is as good as once. Raises NotFound."""
    with ctx.sessions.begin() as db:
        row = db.get(ApiToken, token_id)
        if row is None:
            raise NotFound(f"There is no token {token_id}.")
        now = ctx.db_now(db)
        done = db.execute(
            update(ApiToken)
            .where(ApiToken.id == token_id, ApiToken.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        if count(done):
            audit.record(
                db, "token.revoked", token_id, by=by, at=now, workspace_id=row.workspace_id, name=row.name
            )
