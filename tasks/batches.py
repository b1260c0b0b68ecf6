"""Creates of a first load, journalled by the batch: intent before effect in one row for all of them.

What is sure comes cheap: a create that flows whole, and whose record stands there as it was sent. Its journal
row, its link and its shadows are stored once, when it is confirmed. Until then the batch's row holds what is
needed to make its changes from it: whoever takes a broken run over does so, and looks them up like any other
change that was sent. So it is, too, as soon as one record of a batch is refused, unknown or kept otherwise.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from connectors.base import Outcome, Write
from connectors.errors import ConnectorError, OutcomeUnknown, RecordChanged, RecordError
from models import many
from models.db import Encoded
from models.journal import Batch, Change, ChangeState
from models.links import Link, Shadow
from sync.guard import PlannedChange
from sync.mapping import FieldMapping, Seen
from sync.planner import Item
from sync.records import Side, other
from sync.values import encode_fields
from tasks import ledger
from tasks.apply import (
    Sending,
    Work,
    foresee_writes,
    limit_of,
    one_for_each,
    send_batch,
    settle_batch,
    unknown,
)
from tasks.entries import Entry
from tasks.intents import chosen_id, create_of
from tasks.sides import call

QUICKLY = 1  # zlib's level: a batch's row lives for as long as its call


@dataclass(frozen=True, slots=True)
class Create:
    """One planned create, with what the journal and the shadows will hold as they take it."""

    change: PlannedChange
    write: Write
    after: Encoded
    origin: Encoded  # what the other side's shadow will hold
    origin_version: str | None

    @property
    def side(self) -> Side:
        return self.change.intent.side


def is_simple(change: PlannedChange, item: Item, mapping: FieldMapping) -> bool:
    """Whether nothing is left to decide of this record once it is made."""
    intent = change.intent
    if intent.operation != "create" or change.awaits or not mapping.is_plain:
        return False
    decision = item.decision
    return (
        decision.is_settled
        and decision.move is None
        and len(decision.intents) == 1
        and isinstance(item.look(other(intent.side)), Seen)
        and intent.settle.keys() == intent.after.keys()
    )


def send(work: Work, changes: Sequence[tuple[PlannedChange, Item]], *, before: int, total: int) -> None:
    """Make these records, which are all `is_simple`, batch by batch; `before` of `total` were sent already.

    Raises as `tasks.apply.send_all` does.
    """
    limit = limit_of(work, changes[0][0].intent.side) if changes else 1
    for start in range(0, len(changes), limit):
        work.reins.checkpoint()
        _carry_out(work, [_create(work, *pair) for pair in changes[start : start + limit]])
        work.reins.progress("writing", before + min(start + limit, len(changes)), total)


def _create(work: Work, change: PlannedChange, item: Item) -> Create:
    intent, far = change.intent, item.look(other(change.intent.side))
    after = many.encoded(encode_fields(intent.after))
    return Create(
        change,
        create_of(work, intent, work.ctx.new_id(), chosen_id(work, change)),
        after,
        after if intent.settle == intent.after else many.encoded(encode_fields(intent.settle)),
        far.version if isinstance(far, Seen) else None,
    )


def _carry_out(work: Work, creates: Sequence[Create]) -> None:
    batch = Batch(
        id=work.ctx.new_id(),
        workspace_id=work.workspace_id,
        config_id=work.config_id,
        run_id=work.run_id,
        side=creates[0].side,
        payload=_packed(creates),
    )
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        batch.sent_at = work.ctx.db_now(db)
        db.add(batch)
    end, writes = work.pairing.end(creates[0].side), [create.write for create in creates]
    markers = [write.marker for write in writes]
    retries = work.pairing.definition.retries
    foresee_writes(work, creates[0].side, writes)
    with work.reins.calls.carrying([]) as carried:
        outcomes: list[Outcome] | None
        try:
            found = call(lambda: end.connector.write(end.stream, end.options, writes), retries=retries)
            outcomes = one_for_each(markers, found)
        except (RecordError, RecordChanged):
            outcomes = None  # refused as a whole, nothing of it done: it is halved
        except OutcomeUnknown as problem:
            outcomes = unknown(markers, problem)
        except ConnectorError:
            _unpacked(work, batch, creates)
            raise
        if outcomes is not None and (seen := _as_sent(work, creates, outcomes)) is not None:
            _file(work, batch, creates, outcomes, seen)
            return
        sendings = _unpacked(work, batch, creates)
        carried.changes, carried.is_wanted = tuple(item.change_id for item in sendings), True
    settle_batch(work, sendings, send_batch(work, sendings) if outcomes is None else outcomes)


def _as_sent(work: Work, creates: Sequence[Create], outcomes: Sequence[Outcome]) -> list[Seen] | None:
    """The records as they stand there; None unless each of them is what was sent."""
    mapping = work.pairing.built.rules.mapping
    found: list[Seen] = []
    for create, outcome in zip(creates, outcomes, strict=True):
        if outcome.status != "done" or outcome.record is None or outcome.message:
            return None
        seen = mapping.see(create.side, outcome.record)
        if seen.problems or not mapping.is_equal(seen.values, create.change.intent.after):
            return None
        found.append(seen)
    return found


def _file(
    work: Work, batch: Batch, creates: Sequence[Create], outcomes: Sequence[Outcome], seen: Sequence[Seen]
) -> None:
    """Journal, links and shadows of records that stand there as they were sent."""
    mapping, side = work.pairing.built.rules.mapping, creates[0].side
    links: list[dict[str, Any]] = []
    shadows: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        link_ids = many.new_ids(db, Link, len(creates))
        change_ids = many.new_ids(db, Change, len(creates))
        link = {**ledger.NEW_LINK, "config_id": work.config_id, "written_at": now}
        change = {
            "workspace_id": work.workspace_id,
            "config_id": work.config_id,
            "run_id": work.run_id,
            "side": side,
            "operation": "create",
            "state": ChangeState.APPLIED,
            "attempts": 1,
            "created_at": batch.sent_at,
            "sent_at": batch.sent_at,
            "settled_at": now,
        }
        for create, outcome, there, link_id, change_id in zip(
            creates, outcomes, seen, link_ids, change_ids, strict=True
        ):
            planned = create.change
            record_id = outcome.id or there.id
            links.append(
                {
                    **link,
                    "id": link_id,
                    f"{side}_id": record_id,
                    f"{other(side)}_id": planned.origin_id,
                    f"{side}_version": there.version,
                    f"{other(side)}_version": create.origin_version,
                    "key": (mapping.match_key(side, there.values) or "")[:500],
                }
            )
            shadows.append(
                {"link_id": link_id, side: create.after, other(side): create.origin, "flaps": None}
            )
            changes.append(
                {
                    **change,
                    "id": change_id,
                    "marker": create.write.marker,
                    "link_id": link_id,
                    "key": planned.key[:500],
                    "record_id": record_id,
                    "origin_id": planned.origin_id,
                    "after": create.after,
                    "result": create.after,
                    "rule": planned.intent.rule[:60],
                    "fingerprint": planned.fingerprint,
                }
            )
            work.note_rewritten(db, planned.key, planned.intent.after)
        many.insert_rows(db, Link, links)
        many.insert_rows(db, Shadow, shadows)
        many.insert_rows(db, Change, changes)
        db.execute(delete(Batch).where(Batch.id == batch.id))
    work.summary.side(side).created += len(creates)


# -- in place of the rows ---------------------------------------------------------------------------


def _packed(creates: Sequence[Create]) -> bytes:
    return zlib.compress(f"[{','.join(map(_line, creates))}]".encode(), QUICKLY)


def _line(create: Create) -> str:
    """One create as JSON: a list, of which two items are JSON already."""
    planned = create.change
    head = [
        create.write.marker,
        planned.key[:500],
        create.write.id,
        planned.origin_id,
        create.origin_version,
        planned.intent.rule[:60],
        planned.fingerprint,
    ]
    return f"{many.encoded(head)[:-1]},{create.after},{create.origin}]"


def entries_of(batch: Batch) -> list[Entry]:
    """The changes of a batch, as they stand after they were sent and before any answer."""
    return [
        Entry(
            marker=marker,
            workspace_id=batch.workspace_id,
            config_id=batch.config_id,
            run_id=batch.run_id,
            link_id=None,
            side=batch.side,
            operation="create",
            key=key,
            record_id=record_id,
            origin_id=origin_id,
            before=None,
            after=after,
            rule=rule,
            state=ChangeState.SENT,
            fingerprint=fingerprint,
            settle={"other": origin, "final": True, "other_version": version},
            created_at=batch.sent_at,
            sent_at=batch.sent_at,
            attempts=1,
        )
        for marker, key, record_id, origin_id, version, rule, fingerprint, after, origin in json.loads(
            zlib.decompress(batch.payload)
        )
    ]


def unpack(db: Session, batch: Batch) -> list[Entry]:
    """Put a batch's changes in the place of its row."""
    entries = entries_of(batch)
    ledger.store_changes(db, entries)
    db.execute(delete(Batch).where(Batch.id == batch.id))
    return entries


def unpack_all(db: Session, config_id: str) -> None:
    """The same for what a run that broke off has left of a config."""
    for batch in db.scalars(select(Batch).where(Batch.config_id == config_id).order_by(Batch.sent_at)):
        unpack(db, batch)


def _unpacked(work: Work, batch: Batch, creates: Sequence[Create]) -> list[Sending]:
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        entries = unpack(db, batch)
    return [
        Sending(
            entry.id,
            entry.marker,
            create.side,
            "create",
            entry.key,
            create.write,
            None,
            entry.origin_id,
            entry,
        )
        for entry, create in zip(entries, creates, strict=True)
    ]
