"""Undo of a run: what it wrote is put back wherever it still stands as it was left.

An undo is a run of its own, with changes of its own, and can be undone. Afterwards both shadows are
what stands there, so that the next run takes the undone state as agreed and does not do it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Write
from models.journal import Change, ChangeState
from models.links import Link, LinkState
from models.sync_runs import SyncRun
from sync.mapping import Seen
from sync.order import ASIDE
from sync.records import SIDES, Record, Side, other
from sync.values import MISSING, Fields, decode_fields, encode_fields
from tasks import ledger
from tasks.apply import Sending, Work, send_all
from tasks.errors import NotFound, WorkError
from tasks.sides import records_at


def carry_out(work: Work, run_id: str) -> None:
    """Put back what the run `run_id` wrote. Raises NotFound, WorkError, ConnectorError, the Signals."""
    with work.ctx.reads() as db:
        run = db.get(SyncRun, run_id)
        if run is None or run.config_id != work.config_id:
            raise NotFound(f"There is no run {run_id} of '{work.pairing.name}'.")
        changes = list(
            db.scalars(
                select(Change)
                .where(
                    Change.run_id == run_id,
                    Change.state == ChangeState.APPLIED,
                    Change.operation.in_(("create", "update", "delete")),
                    Change.rule != ASIDE,
                )
                .order_by(Change.id.desc())
            )
        )
    for side in SIDES:
        if changes and not work.pairing.end(side).can_look_up:
            raise WorkError(
                f"A run of '{work.pairing.name}' cannot be undone: {work.pairing.end(side).connector.title}"
                " cannot look up single records."
            )
    now_there = {side: _records(work, side, changes) for side in SIDES}
    sendings: list[Sending] = []
    kept_back = 0
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        for change in changes:
            side = "left" if change.side == "left" else "right"
            sending = _reverse(work, db, change, side, now_there[side].get(change.record_id or ""))
            if sending is None:
                kept_back += 1
                work.reins.log("info", f"{change.key}: changed since; it is left as it is now.")
            else:
                sendings.append(sending)
    work.summary.excluded = kept_back
    done = send_all(work, sendings, phase="undoing")
    _settle_links(work, sendings, done, changes)
    work.reins.log("info", f"Undone: {len(sendings)} of {len(changes)} changes of run {run_id}.")


def _records(work: Work, side: Side, changes: list[Change]) -> dict[str, Record]:
    ids = sorted({change.record_id for change in changes if change.side == side and change.record_id})
    return records_at(work.pairing.end(side), ids, retries=work.pairing.definition.retries)


def _reverse(work: Work, db: Session, change: Change, side: Side, record: Record | None) -> Sending | None:
    """The change that puts one change back; None where the record moved since."""
    mapping = work.pairing.built.rules.mapping
    seen = mapping.see(side, record) if record is not None else None
    before, after = decode_fields(change.before or {}), decode_fields(change.result or change.after or {})
    match change.operation:
        case "create" if seen is not None and _still(work, side, seen, after):
            return _journal(work, db, change, side, "delete", before=seen.values, after={}, seen=seen)
        case "update" if seen is not None and _still(work, side, seen, after):
            present = {name: seen.get(name) for name in before}
            return _journal(work, db, change, side, "update", before=present, after=before, seen=seen)
        case "delete" if seen is None:
            writable = {
                name: value
                for name, value in before.items()
                if name in mapping.by_name and _is_writable(work, side, mapping.pair(name).on(side))
            }
            return _journal(work, db, change, side, "create", before={}, after=writable, seen=None)
    return None


def _is_writable(work: Work, side: Side, name: str) -> bool:
    spec = work.pairing.end(side).stream.field(name)
    return spec is None or spec.writable


def _still(work: Work, side: Side, seen: Seen, left_as: Fields) -> bool:
    mapping = work.pairing.built.rules.mapping
    return all(
        mapping.pair(name).same(side, seen.get(name), value)
        for name, value in left_as.items()
        if name in mapping.by_name and seen.get(name) is not MISSING
    )


def _journal(
    work: Work,
    db: Session,
    change: Change,
    side: Side,
    operation: str,
    *,
    before: Fields,
    after: Fields,
    seen: Seen | None,
) -> Sending:
    end, marker = work.pairing.end(side), work.ctx.new_id()
    record_id = seen.id if seen is not None else None
    if operation == "create" and end.id_kind != "system":
        record_id = change.record_id
    row = Change(
        marker=marker,
        workspace_id=work.workspace_id,
        config_id=work.config_id,
        run_id=work.run_id,
        link_id=None if operation == "create" else change.link_id,
        side=side,
        operation=operation,
        key=change.key,
        record_id=record_id,
        origin_id=change.origin_id,
        before=encode_fields(before) if operation != "create" else None,
        after=encode_fields(after) if operation != "delete" else None,
        rule="undo",
        state=ChangeState.PLANNED,
        fingerprint=marker,
        settle={"other": {}, "undoes": change.id},
        created_at=work.ctx.db_now(db),
    )
    db.add(row)
    db.flush()
    fields: Mapping[str, Any] = work.pairing.built.rules.mapping.outgoing(side, after)
    match operation:
        case "delete":
            write = Write(marker, "delete", record_id, expected_version=seen.version if seen else None)
        case "create":
            if record_id is not None and end.key_field is not None and end.key_field not in fields:
                fields = {**fields, end.key_field: record_id}
            write = Write(marker, "create", record_id, fields)
        case _:
            expected = work.pairing.built.rules.mapping.outgoing(side, before)
            write = Write(
                marker, "update", record_id, fields, expected=expected,
                expected_version=seen.version if seen else None,
            )  # fmt: skip
    return Sending(row.id, marker, side, operation, change.key, write, row.link_id, row.origin_id)


def _settle_links(
    work: Work, sendings: list[Sending], done: Mapping[str, Record], changes: list[Change]
) -> None:
    """Make what stands on both sides now the agreed state: the next run finds nothing to do.

    - an undone update: the other side's shadow becomes what that side holds now;
    - an undone create: the origin is excluded, so that it is not created again;
    - an undone delete: the record is linked to nothing and excluded, so that it is neither deleted
      again nor created on the side from which it was deleted first.
    """
    mapping = work.pairing.built.rules.mapping
    wanted: dict[Side, list[str]] = {"left": [], "right": []}
    with work.ctx.reads() as db:
        rows = {row.marker: row for row in db.scalars(
            select(Change).where(Change.run_id == work.run_id, Change.state == ChangeState.APPLIED)
        )}  # fmt: skip
        links = {
            row.id: row
            for row in db.scalars(
                select(Link).where(Link.id.in_([row.link_id for row in rows.values() if row.link_id]))
            )
        }
    for row in rows.values():
        far = other("left" if row.side == "left" else "right")
        link = links.get(row.link_id or 0)
        if row.operation == "update" and link is not None:
            far_id = link.left_id if far == "left" else link.right_id
            if far_id:
                wanted[far].append(far_id)
    there: dict[Side, dict[str, Record]] = {"left": {}, "right": {}}
    for side in wanted:
        end = work.pairing.end(side)
        if wanted[side]:
            for looked in end.connector.lookup(end.stream, end.options, sorted(set(wanted[side]))):
                if looked.record is not None:
                    there[side][looked.id] = looked.record
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        for item in sendings:
            change = rows.get(item.marker)
            if change is None:
                continue
            side = item.side
            far = other(side)
            if change.operation == "update" and change.link_id is not None:
                link = links[change.link_id]
                record = there[far].get((link.left_id if far == "left" else link.right_id) or "")
                if record is not None:
                    values = mapping.see(far, record).values
                    names = {name: values[name] for name in change.after or {} if name in values}
                    shadows: dict[Side, Mapping[str, Any]] = {far: names, side: {}}
                    ledger.merge_shadow(db, change.link_id, shadows["left"], shadows["right"])
            elif change.operation == "delete" and change.link_id is not None:
                ledger.move_link(
                    db,
                    change.link_id,
                    **{f"{side}_id": None, "state": LinkState.EXCLUDED, "reason": "undone"},
                )
            elif change.operation == "create" and change.link_id is not None:
                ledger.move_link(
                    db,
                    change.link_id,
                    **{f"{far}_id": None, "state": LinkState.EXCLUDED, "reason": "undone"},
                    written_at=now,
                )
