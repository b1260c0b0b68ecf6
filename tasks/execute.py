"""A run from its claim to its summary: recover, look, store the plan, carry it out, remember.

recover     what an earlier run left on its way is looked up before anything else
look        both sides are read and the plan is made (tasks.look); a preview ends here
store       links, conflicts, issues and every change are committed before the first write
send        batch by batch (tasks.apply)
remember    what both sides look like now: counts, cursors, the mapping's hash
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connectors.base import Write, is_unkeyed
from models.db import unindexed_in
from models.journal import IS_OPEN, Change, ChangeState
from models.sync_configs import Baseline
from models.sync_runs import GOT_THROUGH, RunKind, SyncRun
from sync import guard
from sync.guard import PlannedChange
from sync.mapping import Seen
from sync.order import Step, in_order
from sync.plan import LinkMove
from sync.planner import Item, Retied
from sync.records import SIDES, Problem, Side, other
from sync.values import encode_fields
from tasks import batches, editing, filling, forecast, ledger, previews, undo, waiting
from tasks.apply import Sending, Work, look_up_change, not_done, send_all, settle
from tasks.claims import Claim
from tasks.context import Context
from tasks.entries import as_change
from tasks.errors import WorkError
from tasks.intents import change_row, journal, resolves_of, settle_of
from tasks.look import Outlook, look
from tasks.narrow import narrow
from tasks.reins import Reins
from tasks.relations import Linker, set_the_rest
from tasks.sides import Pairing, make_missing, opened, records_at, will_make
from tasks.summary import Summary

RENEWED_AT_ONCE = 5_000  # links in one transaction
_VERSIONS = {"left_version", "right_version"}


def carry_out(ctx: Context, claim: Claim, reins: Reins) -> Summary:
    """Carry out a claimed run. Raises ConnectorError, WorkError and the Signals (see tasks.shift)."""
    with ctx.reads() as db:
        run = db.get_one(SyncRun, claim.run_id)
        previous = _previous_run(db, run)
    with opened(ctx, claim.config_id, reins.calls) as pairing:
        if run.kind not in (RunKind.PREVIEW, RunKind.UNDO):
            pairing = make_missing(pairing, reins)
        work = Work(
            ctx=ctx,
            pairing=pairing,
            reins=reins,
            run_id=run.id,
            workspace_id=run.workspace_id,
            summary=Summary(run=run.id, config=pairing.name),
            previous_run_id=previous,
        )
        reins.summary = work.summary
        if run.kind == RunKind.PREVIEW:
            _show(work, run)
            return work.summary
        recover(work)
        if run.kind == RunKind.UNDO:
            undo.carry_out(work, str(run.options["run"]))
        else:
            _synchronize(work, run)
        work.summary.failed = len(work.failed)
        work.summary.settle_status()
        return work.summary


def preview(
    ctx: Context, pairing: Pairing, *, run_id: str, full: bool, previous: str | None = None
) -> Summary:
    """What a run would do, with each change of it. Leaves no trace."""
    summary = Summary(run=run_id, config=pairing.name)
    work = Work(ctx, pairing, None, run_id, "", summary, previous)  # type: ignore[arg-type]
    outlook = _foresee(work, full=full, options={})
    summary.changes = [shown(change) for change in outlook.plan.changes]
    return summary


def _show(work: Work, run: SyncRun) -> None:
    """A preview that is kept for whoever looks at it."""
    previews.begin(work)
    outlook = filling.fill(work, run, _show_part)
    if outlook is None:
        previews.store(work, _foresee(work, full=run.full, options=run.options))
    else:
        _count(work, outlook)
        _foretell(work, outlook)
    for note in work.summary.notes:
        work.reins.log("info", note)


def _show_part(work: Work, outlook: Outlook, done: int, total: int) -> None:
    _count_planned(work, outlook)
    previews.store(work, outlook, done, total)


def _foresee(work: Work, *, full: bool, options: Mapping[str, Any]) -> Outlook:
    """A run by its own code up to the first write, and its counts. Writes nothing; `work` needs no reins."""
    outlook = look(work.ctx, work.pairing, work.reins, full=full, previous_run_id=work.previous_run_id)
    _refuse_if_strict(work, outlook)
    _block_unknown_creates(work, outlook)
    narrow(work, outlook, options)
    _let_rest(work, outlook)
    _count(work, outlook)
    _count_planned(work, outlook)
    _foretell(work, outlook)
    return outlook


def _count_planned(work: Work, outlook: Outlook) -> None:
    """What of a plan, or of a part of it, would be written, and what would fail."""
    for problem in outlook.plan.problems:
        work.fail(None, problem)
    for change in outlook.plan.flowing:
        counts = work.summary.side(change.intent.side)
        match change.intent.operation:
            case "create":
                counts.created += 1
            case "update":
                counts.updated += 1
            case "delete":
                counts.deleted += 1


def _foretell(work: Work, outlook: Outlook) -> None:
    """What else a run would say of itself, once all of it is counted."""
    ctx, pairing, summary = work.ctx, work.pairing, work.summary
    summary.notes = [will_make(end) for end in (pairing.left, pairing.right) if end.to_make is not None]
    summary.held = len(outlook.plan.held)
    summary.conflicts = _conflicts_after(ctx, pairing.config_id, outlook)
    summary.failed = len(work.failed)
    if demands := forecast.demands(ctx, pairing, summary):
        summary.cost = [dict(forecast.shown(demand)) for demand in demands]
    summary.settle_status()


def shown(change: PlannedChange) -> dict[str, Any]:
    """A planned change as a preview lists it."""
    found = {
        "side": change.intent.side,
        "operation": change.intent.operation,
        "key": change.key,
        "before": encode_fields(change.intent.before) or None,
        "after": encode_fields(change.intent.after) or None,
        "state": "held" if change.guard else "planned",
        "rule": change.guard or change.intent.rule,
    }
    if change.links_to:  # records that the run itself makes: they have no id on this side yet
        found["links_to"] = {name: list(keys) for name, keys in change.links_to.items()}
    if change.takes_along:
        found["takes_along"] = dict(change.takes_along)
    return found


def _previous_run(db: Session, run: SyncRun) -> str | None:
    """The run before this one that read and decided: what "in a row" is counted by."""
    return db.scalar(
        select(SyncRun.id)
        .where(
            SyncRun.config_id == run.config_id,
            SyncRun.id != run.id,
            SyncRun.kind != RunKind.PREVIEW,
            unindexed_in(SyncRun.state, GOT_THROUGH),
        )
        .order_by(SyncRun.created_at.desc(), SyncRun.id.desc())
        .limit(1)
    )


# -- recover --------------------------------------------------------------------------------------


def recover(work: Work) -> None:
    """Take back what was planned and never sent; look up what was sent and never answered."""
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        batches.unpack_all(db, work.config_id)
        planned = (Change.config_id == work.config_id, IS_OPEN, Change.state == ChangeState.PLANNED)
        # What a person approved and was never sent is still approved.
        db.execute(
            update(Change).where(*planned, Change.decided_at.is_not(None)).values(state=ChangeState.APPROVED)
        )
        db.execute(
            update(Change)
            .where(*planned)
            .values(state=ChangeState.ABANDONED, settled_at=now, message="Its run ended before it was sent.")
        )
        lost = [
            row.id for row in ledger.open_changes(db, work.config_id, (ChangeState.SENT, ChangeState.UNKNOWN))
        ]
    for number, change_id in enumerate(lost):
        work.reins.checkpoint()
        work.reins.progress("recovering", number, len(lost))
        with work.ctx.reads() as db:
            outcome = look_up_change(
                work, db, db.get_one(Change, change_id), "the answer was lost when a process stopped"
            )
        with work.ctx.sessions.begin() as db:
            work.reins.fence(db)
            now = work.ctx.db_now(db)
            change = db.get_one(Change, change_id)
            if outcome.code == "not_done":
                ledger.close_unknown(db, change, now)
                change.state, change.settled_at = not_done(change), now
                change.message = "A look showed that it did not happen; it is decided again."
            else:
                settle(work, db, change, outcome, now)


# -- an ordinary run ------------------------------------------------------------------------------


def _synchronize(work: Work, run: SyncRun) -> None:
    _containers_must_match(work)
    editing.carry_out(work, run)
    if (outlook := filling.fill(work, run, filling.carry_out)) is not None:
        _say_notes(work, outlook)
        _count(work, outlook)
        with work.ctx.sessions.begin() as db:
            work.reins.fence(db)
            _store_problems(work, db, outlook)
    _remember(work, outlook or _compare(work, run))


def _compare(work: Work, run: SyncRun) -> Outlook:
    """Both sides read and compared, the whole plan stored, then sent."""
    ctx, pairing = work.ctx, work.pairing
    outlook = look(ctx, pairing, work.reins, full=run.full, previous_run_id=work.previous_run_id)
    _say_what_was_read(work, outlook)
    _refuse_if_strict(work, outlook)
    outlook = _fill_keys(work, run, outlook)
    _block_unknown_creates(work, outlook)
    narrow(work, outlook, run.options)
    _let_rest(work, outlook)
    _count(work, outlook)
    _copy_what_goes(work, outlook)
    _store_renewed(work, outlook)
    for scan in outlook.scans.values():
        scan.let_go()
    sendings = _store(work, outlook)
    linker = Linker(outlook.plan.awaited) if outlook.plan.awaited else None
    send_all(work, sendings, follower=linker)
    if linker is not None:
        set_the_rest(work, linker)
    return outlook


def _say_what_was_read(work: Work, outlook: Outlook) -> None:
    for side in SIDES:
        scan = outlook.scans[side]
        if not scan.complete:
            work.reins.log(
                "warning",
                f"The read of {side} is incomplete ({scan.incomplete_because}): nothing is deleted or cleared"
                " because of what it did not return.",
            )
        work.reins.log("info", f"Read {scan.read} records from {side}: {len(scan.new)} without a link.")
    _say_notes(work, outlook)


def _say_notes(work: Work, outlook: Outlook) -> None:
    for note in outlook.plan.notes:
        work.reins.log("info", f"{note}.")
    if outlook.plan.waiting:
        work.reins.log(
            "info", f"{outlook.plan.waiting} records wait for a later run: {_why_they_wait(outlook)}."
        )


def _why_they_wait(outlook: Outlook) -> str:
    reasons = sorted({item.decision.waits for item in outlook.plan.items if item.decision.waits})
    return "; ".join(reasons[:3]) or "they were edited a moment ago"


def _refuse_if_strict(work: Work, outlook: Outlook) -> None:
    problems = outlook.plan.problems
    if work.pairing.built.rules.policy.strict and problems:
        first = problems[0]
        raise WorkError(
            f"{len(problems)} records are not valid, and this sync is strict: nothing was written."
            f" The first: {first.key}: {first.message}",
            code="validation",
        )


def _count(work: Work, outlook: Outlook) -> None:
    summary, plan = work.summary, outlook.plan
    for side in SIDES:
        summary.side(side).read = outlook.scans[side].read
        scan = outlook.scans[side]
        if not scan.complete:
            problem = Problem(
                "read_incomplete",
                f"{side} could not be read to its end: {scan.incomplete_because}",
                side=side,
                operation="read",
            )
            work.fail(None, problem)
    summary.unchanged = plan.unchanged
    summary.excluded = plan.excluded + plan.keyless + sum(outlook.unkeyed.values())
    held = {id(change.tie) for change in plan.held}
    summary.resolved = sum(item.decision.resolved for item in plan.items if id(item.tie) not in held)


def _conflicts_after(ctx: Context, config_id: str, outlook: Outlook) -> int:
    """Records with an open conflict once this plan is carried out."""
    decided = {item.tie.id for item in outlook.plan.items if item.tie.id is not None}
    fresh = sum(1 for item in outlook.plan.items if item.tie.id is None and item.decision.conflicts)
    found = {item.tie.id for item in outlook.plan.items if item.tie.id and item.decision.conflicts}
    waiting = {item.tie.id for item in outlook.plan.items if item.tie.id and item.decision.waits}
    with ctx.reads() as db:
        older = set(ledger.links_in_conflict(db, config_id))
    return fresh + len(found | (older - decided) | (older & waiting))


def _block_unknown_creates(work: Work, outlook: Outlook) -> None:
    """While a create's outcome is unknown, the same record is not created again."""
    with work.ctx.reads() as db:
        rows = ledger.open_changes(db, work.config_id, (ChangeState.UNKNOWN,))
    blocked = {(row.side, row.origin_id) for row in rows if row.operation == "create"}
    if blocked:
        outlook.plan.changes = [
            change
            for change in outlook.plan.changes
            if change.intent.operation != "create" or (change.intent.side, change.origin_id) not in blocked
        ]


def _let_rest(work: Work, outlook: Outlook) -> None:
    """What was refused too often is not sent before its time, while it is the same; it counts as failed."""
    with work.ctx.reads() as db:
        resting = ledger.rested(db, work.config_id, work.ctx.db_now(db))
    going: list[PlannedChange] = []
    for change in outlook.plan.changes:
        rest = None if change.guard else resting.get((change.intent.side, change.key[:500]))
        if rest is None or rest.digest != change.fingerprint:
            going.append(change)
            continue
        outlook.resting.append(change)
        work.fail(
            None,
            Problem(
                rest.code, rest.message, side=change.intent.side, key=change.key,
                field_name=rest.field, operation=change.intent.operation,
            ),
        )  # fmt: skip
    outlook.plan.changes = going


# -- containers -----------------------------------------------------------------------------------


def _containers_must_match(work: Work) -> None:
    """Stop before planning when a stream is another one than last time, unless a person said it may be."""
    with work.ctx.reads() as db:
        baseline = ledger.baseline_of(db, work.config_id)
        decided = ledger.load_decided(db, work.config_id, work.ctx.db_now(db))
    if baseline is None or baseline.identity_hash != work.pairing.built.identity_hash:
        return
    for side in SIDES:
        was = baseline.left_container if side == "left" else baseline.right_container
        now = work.pairing.end(side).stream.container
        print_ = guard.container_fingerprint(side, was, now)
        if not was or not now or was == now or guard.CONTAINER in decided.approved.get(print_, frozenset()):
            continue
        name = work.pairing.end(side).stream.name
        with work.ctx.sessions.begin() as db:
            work.reins.fence(db)
            _hold_container(work, db, side, name, print_)
        raise WorkError(
            f"'{name}' on {side} is not the place that it was in the last run: it was replaced, copied or"
            " moved. Nothing was compared and nothing written. If it is the right one, approve the held"
            " change of the container; else point the connection back.",
            code="container_changed",
        )


def _hold_container(work: Work, db: Session, side: Side, name: str, fingerprint: str) -> None:
    now = work.ctx.db_now(db)
    for row in ledger.open_changes(db, work.config_id, (ChangeState.HELD,)):
        if row.fingerprint == fingerprint and not ledger.has_expired(row, now):
            return
        if row.fingerprint == fingerprint:
            ledger.expire(row, now)
    db.add(
        Change(
            marker=work.ctx.new_id(),
            workspace_id=work.workspace_id,
            config_id=work.config_id,
            run_id=work.run_id,
            side=side,
            operation="container",
            key=name,
            rule="container changed",
            state=ChangeState.HELD,
            fingerprint=fingerprint,
            guard=guard.CONTAINER,
            message="The stream is another place than in the last run.",
            created_at=now,
            expires_at=now + ledger.HELD_FOR,
        )
    )


# -- key cells ------------------------------------------------------------------------------------


def _fill_keys(work: Work, run: SyncRun, outlook: Outlook) -> Outlook:
    """Give an id to the records of a side whose visible key column is ours, where a cell is empty.

    The ids are chosen and journalled before they are written. Only records that take part in what
    this run does get one; the plan is made again with their new ids.
    """
    wanted: list[tuple[Side, Seen]] = []
    flowing = {id(change.tie) for change in outlook.plan.flowing}
    held = {id(change.tie) for change in outlook.plan.held}
    for item in outlook.plan.items:
        for side in SIDES:
            seen = item.look(side)
            if not isinstance(seen, Seen) or not is_unkeyed(seen.id):
                continue
            pair = isinstance(item.look(other(side)), Seen)
            if id(item.tie) in flowing or (pair and id(item.tie) not in held):
                wanted.append((side, seen))
    if not wanted:
        return outlook
    sendings: list[Sending] = []
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        for side, seen in wanted:
            sendings.append(_fill(work, db, side, seen, now))
    send_all(work, sendings, phase="filling keys")
    again = look(work.ctx, work.pairing, work.reins, full=run.full, previous_run_id=work.previous_run_id)
    # What is still without a key now (its row moved meanwhile) waits for the next run; what is held, is held.
    late = {id(item.tie) for item in again.plan.items if _is_unkeyed(item)}
    again.plan.changes = [
        change for change in again.plan.changes if change.guard or id(change.tie) not in late
    ]
    return again


def _by_ids(link: Retied) -> Retied:
    """Without the numbers of rows in place of ids: such a link finds its record by key, the next time too."""
    ids = {side: None if id_ and is_unkeyed(id_) else id_ for side, id_ in link.ids.items()}
    return Retied(ids, link.anew and ids == link.ids)


def _is_unkeyed(item: Item) -> bool:
    return any(isinstance(look_, Seen) and is_unkeyed(look_.id) for look_ in (item.left, item.right))


def _fill(work: Work, db: Session, side: Side, seen: Seen, now: Any) -> Sending:
    end, marker, chosen = work.pairing.end(side), work.ctx.new_id(), work.ctx.new_id()
    key_field = end.key_field
    if key_field is None:
        raise AssertionError("a stream whose ids are chosen has one key field")
    change = Change(
        marker=marker,
        workspace_id=work.workspace_id,
        config_id=work.config_id,
        run_id=work.run_id,
        side=side,
        operation="fill",
        key=work.pairing.built.rules.mapping.label(side, seen.values, chosen),
        record_id=chosen,
        after={},
        rule="key filled",
        state=ChangeState.PLANNED,
        fingerprint=marker,
        created_at=now,
    )
    db.add(change)
    db.flush()
    write = Write(marker, "update", seen.id, {key_field: chosen}, expected_version=seen.version)
    return Sending(change.id, marker, side, "fill", change.key, write, None, None)


# -- store ----------------------------------------------------------------------------------------


def _copy_what_goes(work: Work, outlook: Outlook) -> None:
    """A record is deleted whole: its fields that are not mapped are kept too, so that it can be restored."""
    mapping = work.pairing.built.rules.mapping
    for side in SIDES:
        end, scan = work.pairing.end(side), outlook.scans[side]
        ids = {
            change.record_id
            for change in outlook.plan.flowing
            if change.record_id and (change.intent.side, change.intent.operation) == (side, "delete")
        }
        records = {id_: scan.changed.get(id_) or scan.new.get(id_) for id_ in ids}
        unread = [id_ for id_ in sorted(ids) if records[id_] is None]
        if end.can_look_up and unread:
            records |= records_at(end, unread, retries=work.pairing.definition.retries)
        mapped = {pair.on(side) for pair in mapping.pairs}
        for id_, record in records.items():
            if record is not None:
                rest = {name: value for name, value in record.fields.items() if name not in mapped}
                outlook.unmapped[side, id_] = rest


def _store_renewed(work: Work, outlook: Outlook) -> None:
    """The versions of records that moved and hold what they held: true by themselves, so some at a time."""
    for side in SIDES:
        renewed = list(outlook.scans[side].renewed.items())
        for start in range(0, len(renewed), RENEWED_AT_ONCE):
            work.reins.progress("noting versions", start, len(renewed))
            with work.ctx.sessions.begin() as db:
                work.reins.fence(db)
                part = dict(renewed[start : start + RENEWED_AT_ONCE])
                ledger.store_renewed(db, work.config_id, side, part)


def _store(work: Work, outlook: Outlook) -> list[Sending]:
    """Everything that the plan says; what is to be sent, in order. Nothing is sent before all is stored."""
    plan, held = outlook.plan, outlook.plan.held
    steps = [
        step
        for step in in_order(plan.flowing, work.pairing.built.rules)
        if step.change.intent.operation != "relink"
    ]
    work.reins.progress("storing the plan", 0, len(plan.changes))
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        link_ids = _store_items(work, db, outlook, now)
        _settle_unknown(work, db, outlook, now)
        _store_problems(work, db, outlook)
        _store_held(work, db, outlook, held, link_ids, now)
        approved = _take_approved(work, db, outlook, steps, link_ids, now)
        for side in SIDES:
            ledger.note_seen(db, outlook.index, side, plan.missing[side])
            ledger.note_missing(db, side, plan.missing[side], now)
        _tell_what_waits(work, db, outlook, now)
    return journal(work, outlook, steps, approved, link_ids, now)


def _tell_what_waits(work: Work, db: Session, outlook: Outlook, now: Any) -> None:
    work.summary.conflicts = ledger.count_conflicts(db, work.config_id)
    work.summary.held = len(outlook.plan.held)
    waiting.tell(
        db,
        now,
        workspace_id=work.workspace_id,
        config_id=work.config_id,
        conflicts=work.summary.conflicts,
        held=outlook.plan.held,
    )


def _settle_unknown(work: Work, db: Session, outlook: Outlook, now: Any) -> None:
    """Writes that could not be looked up: a complete read of their side shows what became of them."""
    linked = {
        (side, item.tie.id_on(side))
        for item in outlook.plan.items
        for side in SIDES
        if isinstance(item.left, Seen) and isinstance(item.right, Seen)
    }
    for row in ledger.open_changes(db, work.config_id, (ChangeState.UNKNOWN,)):
        side: Side = "left" if row.side == "left" else "right"
        if row.run_id == work.run_id or not outlook.scans[side].proves_absence:
            continue
        if row.operation == "create" and (other(side), row.origin_id) not in linked:
            continue  # blocks a second one until a person has looked
        ledger.close_unknown(db, row, now)
        row.state, row.settled_at = ChangeState.ABANDONED, now
        row.message = "A later read showed what stands there; all else was decided again."


def _store_items(work: Work, db: Session, outlook: Outlook, now: Any) -> dict[int, int]:
    """Links of fresh pairs, shadows that move without a write, conflicts. Link ids by id(tie)."""
    mapping = work.pairing.built.rules.mapping
    link_ids: dict[int, int] = {}
    fresh: list[Item] = []
    rows: list[tuple[dict[str, Any], Any, Any]] = []
    versions: list[dict[str, Any]] = []
    ledger.retie(db, {link_id: _by_ids(link) for link_id, link in outlook.plan.retied.items()})
    for item in outlook.plan.items:
        if _is_unkeyed(item):
            continue  # a row's number is nobody's name: another record may stand there tomorrow
        if item.tie.id is not None:
            link_ids[id(item.tie)] = item.tie.id
            values = _move(work, db, item, now)
            if values.keys() <= _VERSIONS:
                versions.append({"id": item.tie.id, **values})
            else:
                ledger.move_link(db, item.tie.id, **values)
            continue
        if not (isinstance(item.left, Seen) and isinstance(item.right, Seen)):
            continue  # a single record: its link is made when its twin exists
        fresh.append(item)
        agreed = item.decision.agreed
        key = mapping.match_key("left", item.left.values) or ""
        quiet = item.decision.is_settled and not item.decision.intents
        rows.append(
            (
                {
                    "left_id": item.left.id,
                    "right_id": item.right.id,
                    "key": key[:500],
                    "left_version": item.left.version if quiet else None,
                    "right_version": item.right.version if quiet else None,
                },
                {name: values[0] for name, values in agreed.items()},
                {name: values[1] for name, values in agreed.items()},
            )
        )
    for item, link_id in zip(fresh, ledger.add_links(db, work.config_id, rows), strict=True):
        link_ids[id(item.tie)] = link_id
    ledger.update_links(db, versions)
    contested = set(ledger.links_in_conflict(db, work.config_id))
    for item in outlook.plan.items:
        its_link = link_ids.get(id(item.tie))
        if item.decision.conflicts or its_link in contested:
            _store_item_conflicts(work, db, item, its_link, now)
    return link_ids


def _move(work: Work, db: Session, item: Item, now: Any) -> dict[str, Any]:
    """What moves at once for a link that exists: agreed shadows here; its id, state, versions as returned."""
    link_id, decision, tie, row = item.tie.id, item.decision, item.tie, item.row
    if link_id is None or row is None:
        raise AssertionError("only stored links are moved")
    values: dict[str, Any] = {}
    move = decision.move
    if move is not None and not decision.intents:
        values["state"], values["reason"] = move.state, move.reason
        if move.state == "tombstone":
            ledger.close_all_conflicts(db, link_id, now)
        if move.state == "unlinked":
            values.update(_dissolved(item, move))
    if decision.agreed:
        ledger.merge_shadow(
            db,
            link_id,
            {name: pair[0] for name, pair in decision.agreed.items()},
            {name: pair[1] for name, pair in decision.agreed.items()},
        )
        work.note_rewritten(db, tie.key, decision.agreed)
        mapping = work.pairing.built.rules.mapping
        if any(name in decision.agreed for name in mapping.match):
            agreed = {name: pair[0] for name, pair in decision.agreed.items()}
            values["key"] = (mapping.match_key("left", {**tie.left, **agreed}) or "")[:500]
    there = {side: seen for side in SIDES if isinstance(seen := item.look(side), Seen)}
    moved = {
        side for side, seen in there.items() if seen.version is None or seen.version != row.version_on(side)
    }
    # A change that waits, rests or was dismissed leaves the record as the shadows do not know it.
    if decision.is_settled and not decision.intents:
        for side in moved:
            values[f"{side}_version"] = there[side].version
    elif not decision.waits:
        # Something is left to do here, for which the next run must look again: also at a side that did not
        # move, of which the shadows may not know what it is about.
        values.update({f"{side}_version": None for side in there.keys() - moved})
    for problem in decision.problems:
        if problem.code in ("ping_pong", "volatile"):
            ledger.keep_worn_out(db, link_id, problem.field_name, work.run_id)
    return values


def _dissolved(item: Item, move: LinkMove) -> dict[str, Any]:
    """An unlinked pair: the id that is gone is dropped, so that a record under it is new again."""
    return {f"{side}_id": None for side in SIDES if not isinstance(item.look(side), Seen)}


def _store_item_conflicts(work: Work, db: Session, item: Item, link_id: int | None, now: Any) -> None:
    decision = item.decision
    if link_id is None or decision.waits:
        return
    ledger.store_conflicts(
        db,
        workspace_id=work.workspace_id,
        config_id=work.config_id,
        run_id=work.run_id,
        link_id=link_id,
        key=ledger.label_of(item, work.pairing.built.rules.mapping),
        found=decision.conflicts,
        stale=decision.stale_resolutions,
        now=now,
        carried_out=resolves_of(item),
    )


def _store_problems(work: Work, db: Session, outlook: Outlook) -> None:
    for problem in outlook.warnings:
        work.warn(db, problem)
        work.reins.log("warning", problem.message)
    for problem in outlook.plan.problems:
        work.fail(db, problem)
    for side, count in outlook.unkeyed.items():
        if count:
            work.reins.log("warning", f"{count} records on {side} have no key and take no part.")
    if outlook.plan.keyless:
        work.reins.log(
            "warning", f"{outlook.plan.keyless} records have an empty match field and take no part."
        )


def _store_held(
    work: Work,
    db: Session,
    outlook: Outlook,
    held: Sequence[PlannedChange],
    link_ids: dict[int, int],
    now: Any,
) -> None:
    """Held changes keep their row from run to run; what is no longer planned is withdrawn."""
    states = (ChangeState.HELD, ChangeState.APPROVED, ChangeState.DISMISSED)
    rows = {(row.fingerprint, row.guard): row for row in ledger.open_changes(db, work.config_id, states)}
    kept: set[int] = set()
    items = {id(item.tie): item for item in outlook.plan.items}
    for change, why in zip(held, guard.why_held(held), strict=True):
        row = rows.get((change.fingerprint, change.guard))
        if row is not None and ledger.has_expired(row, now):
            ledger.expire(row, now)
            row = None  # what nobody decided in time is asked anew, as it stands now
        if row is not None:
            kept.add(row.id)
            if row.state == ChangeState.APPROVED:  # its approval ran out: it waits again
                row.state, row.decided_by, row.decided_at = ChangeState.HELD, None, None
        else:
            entry = change_row(work, change, items.get(id(change.tie)), outlook, link_ids, now)
            entry.state, entry.guard = ChangeState.HELD, change.guard
            entry.expires_at = now + ledger.HELD_FOR
            entry.message = why
            db.add(as_change(entry))
    # An approval stays good while its change is planned, also where another guard asks after the first.
    planned = {change.fingerprint for change in outlook.plan.changes}
    kept.update(
        row.id for row in rows.values() if row.state == ChangeState.APPROVED and row.fingerprint in planned
    )
    kept.update(row.id for row in rows.values() if row.state == ChangeState.DISMISSED)
    db.flush()
    complete = (
        outlook.is_full and not outlook.narrowed and all(scan.complete for scan in outlook.scans.values())
    )
    kept.update(
        db.scalars(select(Change.id).where(Change.run_id == work.run_id, Change.state == ChangeState.HELD))
    )
    withdrawn = ledger.withdraw(db, work.config_id, kept, now, gone=complete)
    if withdrawn:
        work.reins.log("info", f"{withdrawn} held changes were withdrawn: their reason went away.")


def _take_approved(
    work: Work,
    db: Session,
    outlook: Outlook,
    steps: Sequence[Step],
    link_ids: dict[int, int],
    now: Any,
) -> dict[int, Change]:
    """The rows of approved changes that this plan carries out, by id(step)."""
    approved: dict[str, list[Change]] = {}
    for row in ledger.open_changes(db, work.config_id, (ChangeState.APPROVED,)):
        approved.setdefault(row.fingerprint, []).append(row)
    items = {id(item.tie): item for item in outlook.plan.items}
    taken: dict[int, Change] = {}
    for step in steps:
        change = step.change
        answers = None if step.is_aside else approved.pop(change.fingerprint, None)
        if answers is None:
            continue
        # The approved row itself is carried out: who said yes stays with it. Each yes is good once.
        row, *spent = answers
        for other_row in spent:
            other_row.state, other_row.settled_at = ChangeState.WITHDRAWN, now
            other_row.message = "Approved as well; the change is carried out once."
        row.run_id, row.state = work.run_id, ChangeState.PLANNED
        row.settle = settle_of(step, items.get(id(change.tie)), outlook)
        row.link_id = link_ids.get(id(change.tie))
        row.origin_id = change.origin_id  # it may have come since; that of a new record was chosen before
        if row.operation != "create":
            row.record_id = change.record_id
        taken[id(step)] = row
    for row in (row for rows in approved.values() for row in rows):
        if row.operation in ("relink", "container"):
            row.state, row.settled_at, row.run_id = ChangeState.APPLIED, now, work.run_id
    return taken


# -- remember -------------------------------------------------------------------------------------


def _is_open(work: Work, outlook: Outlook) -> bool:
    """Whether something that this run read is not settled."""
    waits = outlook.plan.waiting or outlook.narrowed
    return bool(work.failed or work.has_moved or work.summary.conflicts or waits)


def _remember(work: Work, outlook: Outlook) -> None:
    """What both sides look like now: what the next run's guards and migrations compare with."""
    built, scans = work.pairing.built, outlook.scans
    waits = {change.guard for change in outlook.plan.held}
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        row = db.get(Baseline, work.config_id)
        if row is None:
            row = Baseline(
                config_id=work.config_id,
                mapping_hash=built.mapping_hash,
                identity_hash=built.identity_hash,
                pairs={},
                updated_at=now,
            )
            db.add(row)
        complete = all(scan.proves_absence for scan in scans.values())
        if complete and not outlook.narrowed:
            row.policy_hash = built.policy_hash
        if guard.MIGRATION not in waits and complete:
            if row.mapping_hash != built.mapping_hash:
                ledger.prune_shadows(db, work.config_id, built.names, dict(row.pairs))
            row.mapping_hash, row.identity_hash = built.mapping_hash, built.identity_hash
            row.pairs, row.fields = dict(built.names), dict(built.fields)
        for side in SIDES:
            scan, stream = scans[side], work.pairing.end(side).stream
            if scan.proves_absence:
                setattr(row, f"{side}_count", scan.read)
            if stream.container:
                setattr(row, f"{side}_container", stream.container)
            # A cursor passes nothing that was not carried out: what failed or waits is read again.
            if scan.complete and scan.cursor is not None and not waits and not _is_open(work, outlook):
                setattr(row, f"{side}_cursor", scan.cursor)
        if complete and guard.FIRST_RUN not in waits:
            row.full_at = now
        row.updated_at = now
        # Answers have been carried out since the plan was stored, and what had failed may have landed.
        _tell_what_waits(work, db, outlook, now)
        ledger.close_issues(
            db,
            work.config_id,
            now,
            still=work.still,
            examined={ledger.label_of(item, built.rules.mapping) for item in outlook.plan.items},
            whole=not outlook.narrowed and all(scan.proves_absence for scan in outlook.scans.values()),
            rewritten=work.rewritten,
        )
