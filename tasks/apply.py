"""Carrying out a plan: intent first, then the call, then the receipt, then the shadows.

Each batch is marked `sent` and committed before the connector is called; its outcomes, and what they
move of the links, are committed in one fenced transaction afterwards. A batch that is rejected as a
whole is halved until the record at fault stands alone. An outcome that is not known is looked up; what
cannot be looked up stays `unknown` and blocks a second try.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Can, Connector, Outcome, Write
from connectors.errors import ConnectorError, OutcomeUnknown, RecordChanged, RecordError
from models.journal import Change, ChangeState
from models.links import IS_ALIVE, Link, LinkState
from sync import attachments
from sync.diff import CONSISTENCY_GRACE
from sync.mapping import Seen
from sync.readback import Verdict, could_be_ours, judge
from sync.records import Problem, Record, Side, other
from sync.values import MISSING, Value, decode_fields, display, encode, encode_fields, short
from tasks import ledger
from tasks.context import Context
from tasks.entries import Entry, Journalled, own_after
from tasks.moves import Moves
from tasks.reins import Reins
from tasks.sides import Pairing, call
from tasks.summary import RunError, Summary

PLAIN = frozenset({"create", "update", "delete"})  # what a connector may take in one batch
AHEAD = 100  # writes that a connector is told of before their batches come


@dataclass(frozen=True, slots=True)
class Sending:
    """One journalled change with what the connector is told. The version is known only to this run."""

    change_id: int
    marker: str
    side: Side
    operation: str  # create, update, delete, fill, aside, edit
    key: str
    write: Write
    link_id: int | None
    origin_id: str | None
    row: Entry | None = None  # the journal's row, where this run stored it just now
    # Links that became known on the way: name -> own value there, own value of the other side.
    bound: Mapping[str, tuple[Value, Value]] = field(default_factory=dict)


class Follower(Protocol):
    """Whoever waits for records to be made, to link others to them."""

    def needs(self, item: Sending) -> set[str]: ...
    def bind(self, item: Sending) -> Sending: ...
    def note(self, item: Sending, outcome: Outcome) -> None: ...


@dataclass
class Work:
    """What the steps of one run share."""

    ctx: Context
    pairing: Pairing
    reins: Reins
    run_id: str
    workspace_id: str
    summary: Summary
    previous_run_id: str | None = None
    failed: set[tuple[str, str]] = field(default_factory=set)  # (side, key): records, counted once
    still: set[tuple[str, str, str, str]] = field(default_factory=set)  # issues that occurred
    rewritten: set[tuple[str, str]] = field(default_factory=set)  # (key, field) confirmed in this run
    watched: frozenset[str] | None = None  # keys with an open issue, once somebody asked
    has_moved: bool = False  # a record was edited between our read and our write

    @property
    def config_id(self) -> str:
        return self.pairing.config_id

    def note_rewritten(self, db: Session, key: str, names: Iterable[str]) -> None:
        """These fields of a record were written or agreed: of interest only where an issue is open."""
        if self.watched is None:
            self.watched = ledger.keys_with_issues(db, self.config_id)
        if key[:500] in self.watched:
            self.rewritten.update((key, name) for name in names)

    def warn(self, db: Session, problem: Problem) -> None:
        """Keep an issue that is no record's failure."""
        self.still.add((problem.code, problem.side or "", problem.key[:500], problem.field_name))
        ledger.store_issue(
            db,
            problem,
            workspace_id=self.workspace_id,
            config_id=self.config_id,
            run_id=self.run_id,
            link_id=None,
            now=self.ctx.db_now(db),
        )

    def fail(
        self, db: Session | None, problem: Problem, *, link_id: int | None = None, digest: str = ""
    ) -> None:
        """Count a record as failed and keep its issue; `db` None in a preview, which keeps nothing."""
        problem = replace(problem, message=self.pairing.clean(problem.message))
        side = problem.side or ""
        self.failed.add((side, str(problem.extra.get("id", problem.key))))
        self.summary.errors.append(
            RunError(problem.key, side, problem.operation, problem.code, problem.message)
        )
        self.still.add((problem.code, side, problem.key[:500], problem.field_name))
        if db is not None:
            ledger.store_issue(
                db,
                problem,
                workspace_id=self.workspace_id,
                config_id=self.config_id,
                run_id=self.run_id,
                link_id=link_id,
                now=self.ctx.db_now(db),
                digest=digest,
            )


def send_all(
    work: Work,
    sendings: Sequence[Sending],
    *,
    phase: str = "writing",
    follower: Follower | None = None,
    before: int = 0,
    total: int | None = None,
) -> dict[str, Record]:
    """Carry out these changes, batch by batch; the receipts of what was done, by marker.

    Raises the Signals of the reins between batches, and the fatal and retryable ConnectorErrors; what
    was not sent by then stays `planned` and is taken back by the next run.
    """
    receipts: dict[str, Record] = {}
    done = 0
    work.reins.progress(phase, 0, len(sendings))
    foreseen = 0
    for batch in _batches(work, sendings, follower):
        work.reins.checkpoint()
        if done >= foreseen:
            foreseen += _foresee(work, sendings[done : done + AHEAD])
        if follower is not None:
            batch = [follower.bind(item) for item in batch]
        _mark_sent(work, batch)
        outcomes = settle_batch(work, batch, send_batch(work, batch))
        for item, outcome in outcomes:
            if outcome.status == "done" and outcome.record is not None:
                receipts[item.marker] = outcome.record
            if follower is not None:
                follower.note(item, outcome)
        done += len(batch)
        work.reins.progress(phase, before + done, total)
    return receipts


def _foresee(work: Work, coming: Sequence[Sending]) -> int:
    """Tell the next side's connector which writes follow; of how many it was told."""
    ahead = list(takewhile(lambda item: item.side == coming[0].side, coming))
    foresee_writes(work, coming[0].side, [item.write for item in ahead])
    return len(ahead)


def foresee_writes(work: Work, side: Side, writes: Sequence[Write]) -> None:
    end = work.pairing.end(side)
    call(
        lambda: end.connector.foresee(end.stream, end.options, writes),
        retries=work.pairing.definition.retries,
    )


def _batches(work: Work, sendings: Sequence[Sending], follower: Follower | None) -> Iterator[list[Sending]]:
    """Neighbours of one side, and of one operation unless the connector mixes them, up to a batch."""
    batch: list[Sending] = []
    for item in sendings:
        limit, connector = limit_of(work, item.side), work.pairing.end(item.side).connector
        needs = follower.needs(item) if follower is not None else ()
        if batch and (
            batch[0].side != item.side
            or not _go_together(connector, batch[0], item)
            or len(batch) >= limit
            or (needs and any(before.origin_id in needs for before in batch))
        ):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def limit_of(work: Work, side: Side) -> int:
    """How many writes go to a side at once."""
    return work.pairing.definition.batch_size or work.pairing.end(side).connector.batch_size


def _go_together(connector: Connector, one: Sending, other_one: Sending) -> bool:
    operations = {one.operation, other_one.operation}
    return len(operations) == 1 or (connector.mixes_operations and operations <= PLAIN)


def _mark_sent(work: Work, batch: Sequence[Sending]) -> None:
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        ledger.mark_sent(db, [item.change_id for item in batch], work.ctx.db_now(db))
        for item in batch:
            if item.bound:
                _complete(db.get_one(Change, item.change_id), item.bound)
                if item.row is not None:
                    _complete(item.row, item.bound)


def _complete(change: Journalled, bound: Mapping[str, tuple[Value, Value]]) -> None:
    """Write down the links that became known on the way, before they are sent."""
    there = {name: values[0] for name, values in bound.items()}
    origin = {name: values[1] for name, values in bound.items()}
    known = {**((change.settle or {}).get("other") or {}), **encode_fields(origin)}
    change.after = {**(change.after or {}), **encode_fields(there)}
    change.settle = {**(change.settle or {}), "other": known}
    if isinstance(change, Entry):
        change.own = None


def send_batch(work: Work, batch: Sequence[Sending]) -> list[Outcome]:
    """One outcome for each change of the batch. Raises when nothing of it was done."""
    end = work.pairing.end(batch[0].side)
    writes = [item.write for item in batch]
    try:
        with work.reins.calls.carrying([item.change_id for item in batch]) as carried:
            found = call(
                lambda: end.connector.write(end.stream, end.options, writes),
                retries=work.pairing.definition.retries,
            )
            carried.is_wanted = any(outcome.status != "done" for outcome in found)
    except (RecordError, RecordChanged) as problem:
        if len(batch) == 1:
            status = "stale" if isinstance(problem, RecordChanged) else "rejected"
            return [
                Outcome(
                    batch[0].marker,
                    status,  # type: ignore[arg-type]
                    code=problem.code,
                    message=problem.message,
                    field=problem.field or "",
                )
            ]
        half = len(batch) // 2
        first = send_batch(work, batch[:half])
        try:
            return first + send_batch(work, batch[half:])
        except ConnectorError as later:
            # The first half is done: its outcomes must not be lost with the second one's.
            return first + [
                Outcome(item.marker, "unknown", code=later.code, message=later.message)
                for item in batch[half:]
            ]
    except OutcomeUnknown as problem:
        return unknown([item.marker for item in batch], problem)
    return one_for_each([item.marker for item in batch], found)


def unknown(markers: Sequence[str], problem: OutcomeUnknown) -> list[Outcome]:
    return [Outcome(marker, "unknown", code=problem.code, message=problem.message) for marker in markers]


def one_for_each(markers: Sequence[str], found: Iterable[Outcome]) -> list[Outcome]:
    """An outcome for each write, in their order, whatever the connector answered."""
    answered = {outcome.marker: outcome for outcome in found}
    left_out = "The answer left this record out."
    return [
        answered.get(marker, Outcome(marker, "unknown", code="unknown_outcome", message=left_out))
        for marker in markers
    ]


# -- what came of it ------------------------------------------------------------------------------


def settle_batch(
    work: Work, batch: Sequence[Sending], outcomes: Sequence[Outcome]
) -> list[tuple[Sending, Outcome]]:
    by_marker = {item.marker: item for item in batch}
    resolved = [
        look_up(work, by_marker[outcome.marker], outcome) if outcome.status == "unknown" else outcome
        for outcome in _with_receipts(work, batch, outcomes)
    ]
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        # The rows of this run's own plan are at hand; nobody else moves a change that was sent.
        stored = {item.change_id: item.row for item in batch if item.row is not None}
        others = [item.change_id for item in batch if item.row is None]
        changes: dict[int, Journalled] = {**stored}
        if others:
            changes |= {row.id: row for row in db.scalars(select(Change).where(Change.id.in_(others)))}
        moves = _moves(db, work, changes.values())
        for outcome in resolved:
            item = by_marker[outcome.marker]
            _settle_one(work, db, changes[item.change_id], outcome, now, moves)
        moves.store()
        ledger.store_outcomes(db, list(stored.values()))
    for entry in stored.values():
        entry.let_go()
    return [(by_marker[outcome.marker], outcome) for outcome in resolved]


def _moves(db: Session, work: Work, changes: Collection[Journalled]) -> Moves:
    linked = [row.link_id for row in changes if row.link_id is not None]
    return Moves(db, work.config_id, linked, fresh=sum(1 for row in changes if row.link_id is None))


def _with_receipts(work: Work, batch: Sequence[Sending], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """The same outcomes; what a system accepted without showing it is read back, where it can be."""
    end = work.pairing.end(batch[0].side)
    shown = {item.marker for item in batch if item.operation in ("create", "update")}
    blind = {
        item.marker: item.id
        for item in outcomes
        if item.marker in shown and item.status == "done" and item.record is None and item.id is not None
    }
    if not blind or not end.can_look_up:
        return outcomes
    try:
        looked = call(
            lambda: end.connector.lookup(end.stream, end.options, list(blind.values())),
            retries=work.pairing.definition.retries,
        )
    except ConnectorError as problem:
        work.reins.log("warning", f"What was written to {end.side} could not be read back: {problem.message}")
        return outcomes
    records = {item.id: item.record for item in looked}
    return [
        replace(item, record=records.get(item.id or "")) if item.marker in blind else item
        for item in outcomes
    ]


def settle(work: Work, db: Session, change: Change, outcome: Outcome, now: datetime) -> None:
    """Write down what became of one change, and move its link if it is confirmed."""
    moves = _moves(db, work, [change])
    _settle_one(work, db, change, outcome, now, moves)
    moves.store()


def _settle_one(
    work: Work, db: Session, change: Journalled, outcome: Outcome, now: datetime, moves: Moves
) -> None:
    if outcome.message:
        outcome = replace(outcome, message=work.pairing.clean(outcome.message))
    if change.state == ChangeState.UNKNOWN and outcome.status != "unknown":
        ledger.close_unknown(db, change, now)
    change.settled_at = now
    change.code, change.message = outcome.code or None, outcome.message or None
    side: Side = "left" if change.side == "left" else "right"
    match outcome.status:
        case "done":
            change.state = ChangeState.APPLIED
            confirm(work, db, change, outcome, now, moves)
        case "stale" | "missing":
            # Somebody was there in between. Nothing was overwritten; the next run decides again.
            change.state = ChangeState.STALE
            work.has_moved = True
            work.reins.log("info", f"{change.key}: {outcome.message or 'it moved since it was read'}.")
        case "rejected":
            change.state = ChangeState.REJECTED
            _refuse(work, db, change, outcome, side)
        case "unknown":
            change.state = ChangeState.UNKNOWN
            change.settled_at = None
            work.fail(
                db,
                Problem(
                    "unknown_outcome",
                    f"It is not known whether this {change.operation} on {side} happened:"
                    f" {outcome.message or 'the answer was lost'}. It is looked up before anything is sent"
                    " again.",
                    side=side,
                    key=change.key,
                    operation=change.operation,
                ),
                link_id=change.link_id,
            )


def not_done(change: Journalled) -> ChangeState:
    """What a change is that did not happen: decided anew, unless a person has said yes to just this one."""
    return ChangeState.ABANDONED if change.decided_at is None else ChangeState.APPROVED


def _refuse(work: Work, db: Session, change: Journalled, outcome: Outcome, side: Side) -> None:
    code = outcome.code or "rejected"
    if code == "not_done":
        # Looked up: it did not happen. Not the record's fault; the next run sends it once more.
        change.state = not_done(change)
    work.fail(
        db,
        Problem(
            code,
            outcome.message or "The system refused the record.",
            side=side,
            key=change.key,
            field_name=outcome.field,
            operation=change.operation,
        ),
        link_id=change.link_id,
        digest=change.fingerprint if code != "not_done" else "",
    )


def confirm(
    work: Work, db: Session, change: Journalled, outcome: Outcome, now: datetime, moves: Moves
) -> None:
    """Move the link of a confirmed change: ids, shadows, versions. Shadows take what was read back."""
    side: Side = "left" if change.side == "left" else "right"
    counts = work.summary.side(side)
    settle_with = change.settle or {}
    match change.operation:
        case "delete":
            counts.deleted += 1
            if change.link_id is not None:
                move = settle_with.get("move") or {"state": LinkState.TOMBSTONE}
                moves.link(change.link_id, **move, written_at=now)
                ledger.close_all_conflicts(db, change.link_id, now)
            return
        case "create":
            counts.created += 1
        case "update":
            counts.updated += 0 if settle_with.get("aside") else 1
        case "edit":  # a person's: no shadow moves, so that it flows like any edit of that side
            counts.updated += 1
            return
        case _:  # a key cell that was filled: its link follows with the rest of the plan
            change.record_id = outcome.id
            return
    mapping = work.pairing.built.rules.mapping
    after = own_after(change)
    seen = mapping.see(side, outcome.record) if outcome.record is not None else None
    kept, lost = _read_back(work, db, change, side, after, seen)
    change.result = encode_fields(kept)
    change.record_id = outcome.id or (seen.id if seen else change.record_id)
    far = {name: value for name, value in (settle_with.get("other") or {}).items() if name not in lost}
    for name in [name for name in far if name not in kept]:
        # What a new record holds in a field that does not flow to it.
        if seen is not None and seen.get(name) is not MISSING:
            kept[name] = seen.get(name)
        else:
            del far[name]
    stored = {**change.result, **{name: encode(kept[name]) for name in kept.keys() - change.result.keys()}}
    resolved = {*settle_with.get("resolves", ())}
    for name in settle_with.get("halves", ()):
        twin = _other_half(db, change, side, name) if name in stored else None
        if twin is None:
            stored.pop(name, None)  # nothing is agreed on before both sides have it
        else:
            far[name] = twin
            resolved.add(name)
    link_id = _link_for(db, change, side, stored, far, now, moves)
    shadow = moves.shadows(link_id)
    is_new = change.operation == "create"
    reset = bool(resolved or settle_with.get("halves"))
    if is_new:
        shadow.flaps = None  # counted from its first update on
    elif not settle_with.get("aside"):
        ledger.flap(shadow, side, change.after or {}, reset, work.run_id, work.previous_run_id)
    moved: dict[str, Any] = {"written_at": now, **(settle_with.get("move") or {})}
    stands = shadow.left if side == "left" else shadow.right
    if seen is not None and not lost and not settle_with.get("open") and _whole(work, side, seen, stands):
        moved[f"{side}_version"] = seen.version
    if not lost and settle_with.get("final"):
        moved[f"{other(side)}_version"] = settle_with.get("other_version")
    moved[f"{side}_missing"] = 0
    if is_new or not after.keys().isdisjoint(mapping.match):
        own = decode_fields({name: stands[name] for name in mapping.match if name in stands})
        moved["key"] = (mapping.match_key(side, own) or "")[:500]
    moves.link(link_id, **moved)
    if resolved:
        ledger.close_conflicts(db, link_id, sorted(resolved), now, "resolved")
    work.note_rewritten(db, change.key, after.keys() - lost)


def _other_half(db: Session, change: Journalled, side: Side, name: str) -> Any:
    """What the other side kept of an answer that goes to both, as stored; None while it has not got it."""
    rows = db.scalars(
        select(Change).where(
            Change.run_id == change.run_id,
            Change.link_id == change.link_id,
            Change.side == other(side),
            Change.state == ChangeState.APPLIED,
        )
    )
    return next((row.result[name] for row in rows if row.result and name in row.result), None)


def _read_back(
    work: Work, db: Session, change: Journalled, side: Side, after: Mapping[str, Any], seen: Seen | None
) -> tuple[dict[str, Any], set[str]]:
    """What stands there now for the written fields, and the fields in which nothing was retained."""
    mapping = work.pairing.built.rules.mapping
    if seen is not None and mapping.is_equal(seen.values, after):
        return dict(seen.values), set()
    before = decode_fields(change.before or {})
    unset = None if change.operation == "create" else MISSING
    kept: dict[str, Any] = {}
    lost: set[str] = set()
    for name, intended in after.items():
        pair = mapping.by_name.get(name)
        if pair is None:
            continue
        got = seen.get(name) if seen is not None else MISSING
        if seen is not None and got is MISSING:
            continue  # the system does not show this field: nothing is known of it
        verdict = judge(pair, side, intended, before.get(name, unset), got)
        if verdict is Verdict.NOT_RETAINED:
            lost.add(name)
            work.fail(
                db,
                Problem(
                    "not_retained",
                    f"{pair.on(side)} was accepted on {side} but not kept: it still holds"
                    f" {short(display(got))} and not {short(display(intended))}."
                    " It may be read-only there, or an automation may set it back.",
                    side=side,
                    key=change.key,
                    field_name=name,
                    operation=change.operation,
                ),
                link_id=change.link_id,
            )
            continue
        if verdict is Verdict.PARTLY:
            # What came is agreed on; what did not is tried again by itself, and alone.
            kept[name] = got
            lost.add(name)
            files = attachments.missing(intended, got)
            work.fail(
                db,
                Problem(
                    "file_missing",
                    f"{attachments.names(files)} of {pair.on(side)} did not arrive on {side}. All else of the"
                    " record did; the next run sends what is missing.",
                    side=side,
                    key=change.key,
                    field_name=name,
                    operation=change.operation,
                ),
                link_id=change.link_id,
            )
            continue
        if verdict is Verdict.LOSSY:
            work.fail(
                db,
                Problem(
                    "lossy",
                    f"{pair.on(side)} on {side} keeps only {short(display(got))} of"
                    f" {short(display(intended))}. The full value stays on {other(side)}; the shortened one"
                    " does not flow back.",
                    side=side,
                    key=change.key,
                    field_name=name,
                    operation=change.operation,
                ),
                link_id=change.link_id,
            )
        kept[name] = intended if got is MISSING else got
    return kept, lost


def _link_for(
    db: Session,
    change: Journalled,
    side: Side,
    kept: Mapping[str, Any],
    twin: Mapping[str, Any],
    now: datetime,
    moves: Moves,
) -> int:
    shadows: dict[Side, Mapping[str, Any]] = {side: kept, other(side): twin}
    ids = {f"{side}_id": change.record_id}
    is_new = change.operation == "create"
    if change.link_id is None:
        link_id = moves.add(change, **ids, **{f"{other(side)}_id": change.origin_id}, written_at=now)
    else:
        link_id = change.link_id
        if is_new:
            moves.link(link_id, **ids, state=LinkState.LINKED, reason="")
            ledger.close_all_conflicts(db, link_id, now)
        elif change.record_id is not None:
            moves.link(link_id, **ids)  # another one, where the write changed the cell that is its id
    moves.merge(link_id, shadows["left"], shadows["right"], replace=is_new)
    return link_id


def _whole(work: Work, side: Side, seen: Seen, stored: Mapping[str, Any]) -> bool:
    """Whether everything that stands there now is what the stored shadow says: only then may its version
    stand for it. Otherwise somebody edited another field in between, and the next run must look."""
    mapping = work.pairing.built.rules.mapping
    if mapping.is_plain and encode_fields(seen.values) == stored:
        return not seen.problems
    own = decode_fields(stored)
    for pair in mapping.pairs:
        now, then = seen.get(pair.name), own.get(pair.name, MISSING)
        if now is MISSING and then is MISSING:
            continue
        if now is MISSING or then is MISSING or not pair.same(side, now, then):
            return False
    return not seen.problems


# -- looking before a second try ------------------------------------------------------------------


def look_up(work: Work, item: Sending, outcome: Outcome) -> Outcome:
    """What really became of a change whose outcome is unknown; `unknown` again if it cannot be told."""
    with work.ctx.reads() as db:
        change = db.get(Change, item.change_id)
        if change is None:
            raise AssertionError("a change that was sent is in the journal")
        return look_up_change(work, db, change, outcome.message)


def look_up_change(work: Work, db: Session, change: Change, reason: str) -> Outcome:
    side: Side = "left" if change.side == "left" else "right"
    unknown = Outcome(change.marker, "unknown", code="unknown_outcome", message=reason)
    end = work.pairing.end(side)
    if Can.LOOKUP not in end.connector.can:
        return unknown
    try:
        if (found := _by_its_mark(work, change, side)) is not None:
            return found
        if change.operation == "create":
            return _look_for_create(work, db, change, side, unknown)
        return _look_at_record(work, change, side, unknown)
    except ConnectorError as problem:
        return Outcome(change.marker, "unknown", code="unknown_outcome", message=problem.message)


def _by_its_mark(work: Work, change: Change, side: Side) -> Outcome | None:
    """A write that left its mark in the system has happened, whatever became of its record since."""
    end, retries = work.pairing.end(side), work.pairing.definition.retries
    marks = call(lambda: end.connector.marked(end.stream, end.options, [change.marker]), retries=retries)
    if change.marker not in marks:
        return None
    record_id = marks[change.marker]
    if change.operation not in ("create", "update"):
        return Outcome(change.marker, "done", id=record_id)
    [looked] = call(lambda: end.connector.lookup(end.stream, end.options, [record_id]), retries=retries)
    after = decode_fields(change.after or {})
    record = None if looked.record is None else _as_we_left_it(work, side, looked.record, after)
    return Outcome(change.marker, "done", id=record_id, record=record)


def _not_done(change: Change) -> Outcome:
    return Outcome(
        change.marker,
        "rejected",
        code="not_done",
        message="The answer to this write was lost. A look showed that it did not happen; "
        + ("undo the run once more to send it." if change.rule == "undo" else "the next run sends it again."),
    )


def _id_after(work: Work, change: Change, side: Side) -> str | None:
    """The id that an update gives its record, where the id is a cell of its own; None where it keeps it."""
    end, mapping = work.pairing.end(side), work.pairing.built.rules.mapping
    if change.operation != "update" or end.id_kind != "visible" or end.key_field is None:
        return None
    fields = mapping.outgoing(
        side,
        {name: value for name, value in decode_fields(change.after or {}).items() if name in mapping.by_name},
    )
    value = fields.get(end.key_field)
    return None if value in (None, "") or display(value) == change.record_id else display(value)


def _look_at_record(work: Work, change: Change, side: Side, unknown: Outcome) -> Outcome:
    """An update or delete: the record itself tells."""
    end = work.pairing.end(side)
    if change.record_id is None:
        return unknown
    ids = [str(change.record_id)]
    if (new_id := _id_after(work, change, side)) is not None:
        ids.append(new_id)
    looked = call(
        lambda: end.connector.lookup(end.stream, end.options, ids),
        retries=work.pairing.definition.retries,
    )
    by_id = {item.id: item for item in looked}
    if not looked or any(item.state == "unknown" for item in looked):
        return unknown
    found = by_id.get(ids[0]) or looked[0]
    if found.state == "gone" and len(ids) > 1 and ids[1] in by_id:
        found = by_id[ids[1]]
    if change.operation == "delete":
        return (
            Outcome(change.marker, "done", id=change.record_id)
            if found.state == "gone"
            else _not_done(change)
        )
    if found.state == "gone" or found.record is None:
        return Outcome(change.marker, "missing", message="the record is not there any more")
    if change.operation == "fill":
        return Outcome(change.marker, "stale", message="the row is read again")
    mapping = work.pairing.built.rules.mapping
    seen = mapping.see(side, found.record)
    after, before = decode_fields(change.after or {}), decode_fields(change.before or {})
    before.update(decode_fields((change.settle or {}).get("stood") or {}))
    for name, value in before.items():
        pair = mapping.by_name.get(name)
        if pair is None or pair.same(side, value, after.get(name, MISSING)):
            continue
        got = seen.get(name)
        if pair.same(side, got, value) and not could_be_ours(pair, side, after.get(name, MISSING), got):
            # What stood there before still does: our write did not come, or somebody took it back.
            return _not_done(change)
    return Outcome(change.marker, "done", id=found.id, record=_as_we_left_it(work, side, found.record, after))


def _as_we_left_it(work: Work, side: Side, record: Record, after: Mapping[str, Any]) -> Record:
    """A record that we wrote, read later: where it is not what we wrote, somebody has edited it since.

    Such a field is taken as we wrote it, so that the edit is seen as theirs by the next run, and flows. Not
    so with files: those that are not there may never have arrived, which is no removal.
    """
    mapping = work.pairing.built.rules.mapping
    seen = mapping.see(side, record)
    pairs = {name: mapping.pair(name) for name in after if name in mapping.by_name}
    edited = {
        pair.on(side): after[name]
        for name, pair in pairs.items()
        if not pair.holds_files and not could_be_ours(pair, side, after[name], seen.get(name))
    }
    return replace(record, fields={**record.fields, **edited}, version=None) if edited else record


def _look_for_create(work: Work, db: Session, change: Change, side: Side, unknown: Outcome) -> Outcome:
    """A create: by the id that was chosen for it, else by its match value among unlinked records."""
    end, mapping = work.pairing.end(side), work.pairing.built.rules.mapping
    after = decode_fields(change.after or {})
    retries = work.pairing.definition.retries
    candidates: list[Record] = []
    if change.record_id is not None:
        looked = call(
            lambda: end.connector.lookup(end.stream, end.options, [str(change.record_id)]), retries=retries
        )
        if not looked or looked[0].state == "unknown":
            return unknown
        candidates = [looked[0].record] if looked[0].record is not None else []
    else:
        name = next((name for name in mapping.match if after.get(name) not in (None, "")), None)
        if name is None:
            return unknown
        field_name = mapping.pair(name).on(side)
        found = call(
            lambda: end.connector.find(end.stream, end.options, field_name, [after[name]]), retries=retries
        )
        column = Link.left_id if side == "left" else Link.right_id
        linked = set(
            db.scalars(
                select(column).where(
                    Link.config_id == work.config_id,
                    IS_ALIVE,
                    column.in_([record.id for record in found]),
                )
            )
        )
        wanted = mapping.match_key(side, after)
        candidates = [
            record
            for record in found
            if record.id not in linked and mapping.match_key(side, mapping.see(side, record).values) == wanted
        ]
    if len(candidates) == 1:
        record = _as_we_left_it(work, side, candidates[0], after)
        return Outcome(change.marker, "done", id=record.id, record=record)
    if candidates:
        return Outcome(
            change.marker,
            "unknown",
            code="unknown_outcome",
            message=f"{len(candidates)} records hold its key, and which one is ours cannot be told",
        )
    sent_at = change.sent_at
    shows_late = not end.connector.consistent
    if shows_late and sent_at is not None and work.ctx.db_now(db) - sent_at < CONSISTENCY_GRACE:
        return unknown
    return _not_done(change)
