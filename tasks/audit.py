"""Who did what, when and why: one row per act, in the transaction of the act itself.

The rows of a workspace form a chain: each is sealed, shortly after its commit, with a hash over itself and
the one before it. Who did it and what about is bound in by a salted digest, so that a person's data can go
later, with the salt, and the chain still holds.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import Session

from models.audit import AuditEvent, AuditHead
from models.upsert import insert_or_ignore
from sync.values import iso

if TYPE_CHECKING:
    from tasks.context import Context

# What asks for runs without being a person. Their runs say so themselves; only people's acts are audited.
SCHEDULE = "schedule"
CRON = "cron endpoint"
CHAIN = "chain"
RETRY = "automatic retry"
MACHINES = frozenset({SCHEDULE, CRON, CHAIN, RETRY})

AT_ONCE = 1000
_PLAIN = re.compile(r"[\w.+@-]+", re.ASCII)
log = structlog.get_logger(__name__)


def record(
    db: Session,
    action: str,
    subject: str,
    *,
    by: str,
    at: datetime,
    workspace_id: str | None = None,
    reason: str = "",
    **detail: Any,
) -> None:
    """Note an act; it commits with what it describes. `detail` holds ids and plain values, no secrets."""
    if reason:
        detail["reason"] = reason
    db.add(
        AuditEvent(
            workspace_id=workspace_id,
            at=at,
            actor=by[:320],
            action=action,
            subject=subject[:200],
            detail=json.loads(json.dumps(detail, default=str)),
        )
    )


# -- the chain -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at all chains found."""

    sealed: int
    redacted: int  # whose personal data has gone
    problems: tuple[str, ...]


def seal(ctx: Context) -> int:
    """Add what was committed since to its chain; how many acts. Any number of processes may call it."""
    done = 0
    while True:
        with ctx.sessions.begin() as db:
            rows = db.scalars(
                select(AuditEvent).where(AuditEvent.place.is_(None)).order_by(AuditEvent.id).limit(AT_ONCE)
            ).all()
            ids: dict[str, list[int]] = {}
            for row in rows:
                ids.setdefault(row.workspace_id or "", []).append(row.id)
            for chain in sorted(ids):
                done += _seal_chain(db, chain, ids[chain])
        if len(rows) < AT_ONCE:
            return done


def _seal_chain(db: Session, chain: str, ids: list[int]) -> int:
    db.execute(insert_or_ignore(db, AuditHead).values(chain=chain, place=0, chain_hash=""))
    head = db.scalars(select(AuditHead).where(AuditHead.chain == chain).with_for_update()).one()
    db.refresh(head)
    # Only now that the end of the chain is ours: another process may have sealed some meanwhile.
    open_rows = db.scalars(
        select(AuditEvent)
        .where(AuditEvent.id.in_(ids), AuditEvent.place.is_(None))
        .order_by(AuditEvent.id)
        .execution_options(populate_existing=True)
    ).all()
    for row in open_rows:
        row.salt = secrets.token_hex(16)
        row.content_hash = _content_hash(row)
        row.place, head.place = head.place + 1, head.place + 1
        row.chain_hash = head.chain_hash = _chain_hash(head.chain_hash, row)
    if open_rows:
        # The log lies elsewhere than the database: whoever rewrites a chain contradicts it.
        log.info("audit.sealed", chain=chain, place=head.place, hash=head.chain_hash)
    return len(open_rows)


def verify(ctx: Context) -> Verified:
    """Walk every chain from its beginning: nothing was changed, taken out or put in between."""
    problems: list[str] = []
    sealed = redacted = 0
    with ctx.reads() as db:
        heads = {head.chain: head for head in db.scalars(select(AuditHead))}
        for chain, head in sorted(heads.items()):
            before, place = "", 0
            for place, row in enumerate(_chain(db, chain), start=1):
                sealed += 1
                if row.place != place:
                    problems.append(f"{_named(chain)}: act {place} is missing or stands twice.")
                    break
                if row.chain_hash != _chain_hash(before, row):
                    problems.append(f"{_named(chain)}: act {place} is not what was sealed.")
                    break
                if row.salt is None:
                    redacted += 1
                elif row.content_hash != _content_hash(row):
                    problems.append(
                        f"{_named(chain)}: act {place} says something else than when it was sealed."
                    )
                    break
                before = row.chain_hash or ""
            else:
                if (place, before) != (head.place, head.chain_hash):
                    problems.append(f"{_named(chain)}: it ends at act {place}, not at {head.place}.")
    return Verified(sealed, redacted, tuple(problems))


def _chain(db: Session, chain: str) -> Iterator[AuditEvent]:
    mine = AuditEvent.workspace_id == chain if chain else AuditEvent.workspace_id.is_(None)
    query = select(AuditEvent).where(mine, AuditEvent.place.is_not(None)).order_by(AuditEvent.place)
    yield from db.scalars(query.execution_options(yield_per=AT_ONCE))


def _named(chain: str) -> str:
    return f"The audit of workspace {chain}" if chain else "The installation's audit"


def _content_hash(row: AuditEvent) -> str:
    told = json.dumps([row.salt, row.actor, row.subject, row.detail], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _chain_hash(before: str, row: AuditEvent) -> str:
    told = json.dumps([before, row.place, row.workspace_id or "", iso(row.at), row.action, row.content_hash])
    return hashlib.sha256(told.encode()).hexdigest()


def without(text: str, person: str, pseudonym: str) -> str:
    """The text with the pseudonym for this address, however it is written; longer addresses stay whole."""
    if person.lower() not in text.lower():
        return text
    alone = rf"(?<![\w.+%-]){re.escape(person)}(?![\w-]|\.\w)"
    return re.sub(alone, lambda _found: pseudonym, text, flags=re.IGNORECASE)


def redact(db: Session, person: str, pseudonym: str) -> int:
    """Take a person's address out of all acts; how many. Their salt goes, so nobody can test a guess."""
    done = 0
    # JSON may hold other letters escaped, and databases fold the case of these alone in the same way.
    plain = max(_PLAIN.findall(person), key=len)
    places = (AuditEvent.actor, AuditEvent.subject, cast(AuditEvent.detail, Text))
    may_hold = select(AuditEvent).where(or_(*(place.icontains(plain, autoescape=True) for place in places)))
    for row in db.scalars(may_hold.execution_options(yield_per=AT_ONCE)):
        told = [row.actor, row.subject, json.dumps(row.detail, ensure_ascii=False)]
        renamed = [without(text, person, pseudonym) for text in told]
        if renamed == told:
            continue
        row.actor, row.subject, row.detail = renamed[0], renamed[1], json.loads(renamed[2])
        if row.place is not None:
            row.salt = None
        done += 1
    return done
