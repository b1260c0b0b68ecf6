"""The same call twice is answered once: replies kept under the caller's Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, update

from models.people import Reply
from models.secrets import Place, SecretUnreadable
from models.upsert import insert_or_ignore
from tasks.context import Context
from tasks.errors import WorkError, WrongState
from tasks.runs import count

KEPT_FOR = timedelta(hours=24)
GIVEN_UP_AFTER = timedelta(minutes=2)  # the process that answered has died: the call may be made again


@dataclass(frozen=True, slots=True)
class Kept:
    status: int
    body: str
    location: str | None


def begin(ctx: Context, owner: str, key: str, digest: str) -> Kept | None:
    """The reply that this call was given before; None: it is the first one, carry it out.

    Raises WorkError with the code `key_reused` (another call had this key), WrongState with `in_progress`.
    """
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        db.execute(
            delete(Reply).where(
                Reply.owner == owner,
                Reply.key == key,
                (Reply.created_at < now - KEPT_FOR)
                | (Reply.status.is_(None) & (Reply.created_at < now - GIVEN_UP_AFTER)),
            )
        )
        values = {"owner": owner, "key": key, "digest": digest, "created_at": now}
        if count(db.execute(insert_or_ignore(db, Reply).values(values))):
            return None
        row = db.get_one(Reply, (owner, key))
    if row.digest != digest:
        raise WorkError(
            "This Idempotency-Key was sent with another request before: use a new key for each request.",
            code="key_reused",
        )
    if row.status is None:
        raise WrongState(
            "The first request with this Idempotency-Key is still worked on.", code="in_progress"
        )
    try:
        body = ctx.ring.decrypt(row.body, _place(owner, key)) if row.body else ""
    except SecretUnreadable:
        raise WrongState("The reply kept under this Idempotency-Key cannot be read any more.") from None
    return Kept(row.status, body, row.location)


def finish(ctx: Context, owner: str, key: str, reply: Kept) -> None:
    """Keep the reply; encrypted, since it may hold what is shown only once."""
    with ctx.sessions.begin() as db:
        db.execute(
            update(Reply)
            .where(Reply.owner == owner, Reply.key == key)
            .values(
                status=reply.status,
                body=ctx.ring.encrypt(reply.body, _place(owner, key)) if reply.body else None,
                location=reply.location,
            )
        )


def forget(ctx: Context, owner: str, key: str) -> None:
    """The call was refused and has changed nothing: it may be made again under the same key."""
    with ctx.sessions.begin() as db:
        db.execute(delete(Reply).where(Reply.owner == owner, Reply.key == key, Reply.status.is_(None)))


def _place(owner: str, key: str) -> Place:
    return Place("replies", f"{owner}|{key}", "body")
