"""Undo of a run: what it wrote is put back wherever it still stands as it was left.

An undo is a run of its own, with changes of its own, and can be undone. Both sides then differ from each
other and not from their shadows, so that the next run takes the undone state as agreed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Write
from models.journal import Change, ChangeState
from models.links import IS_ALIVE, Link, LinkState, Shadow
from models.sync_runs import RunKind, SyncRun
from sync.identity import is_reused_id
from sync.mapping import Seen
from sync.order import ASIDE
from sync.plan import Tie
from sync.records import SIDES, Record, Side, other
from sync.values import MISSING, Fields, decode_fields, encode_fields
from tasks.apply import Sending, Work, send_all
from tasks.errors import NotFound, WorkError
from tasks.sides import records_at

There = Mapping[str, Record]  # what stands on a side now, by id


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
        done = _put_back(db, work.config_id)
        left = [change for change in changes if _print_of(change.id) not in done]
        if len(left) < len(changes):
            work.reins.log("info", f"{len(changes) - len(left)} of its changes are put back already.")
        changes = left
        far_ids = _far_ids(db, changes)
        under = {change.id: _stands_under(db, change) for change in changes}
    for side in SIDES:
        if changes and not work.pairing.end(side).can_look_up:
            raise WorkError(
                f"A run of '{work.pairing.name}' cannot be undone: {work.pairing.end(side).connector.title}"
                " cannot look up single records."
            )
    there = {
        side: _records(work, side, [under[change.id] for change in changes if change.side == side], far_ids)
        for side in SIDES
    }
    sendings: list[Sending] = []
    kept_back = 0
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        for change in changes:
            side = "left" if change.side == "left" else "right"
            sending = _reverse(work, db, change, side, under[change.id], there)
            if sending is None:
                kept_back += 1
                work.reins.log("info", f"{change.key}: changed since; it is left as it is now.")
            else:
                sendings.append(sending)
    work.summary.excluded = kept_back
    send_all(work, sendings, phase="undoing")
    work.reins.log("info", f"Undone: {len(sendings)} of {len(changes)} changes of run {run_id}.")


def _print_of(change_id: int) -> str:
    """The fingerprint of the change that puts this one back."""
    return f"undo of {change_id}"


def _put_back(db: Session, config_id: str) -> set[str]:
    """The fingerprints of what undos have done, this very one before its first worker died included, and
    of what may have been done. An undo that was undone itself counts for nothing."""
    done: set[str] = set()
    for change_id, fingerprint in db.execute(
        select(Change.id, Change.fingerprint)
        .join(SyncRun, SyncRun.id == Change.run_id)
        .where(
            SyncRun.config_id == config_id,
            SyncRun.kind == RunKind.UNDO,
            Change.state.in_((ChangeState.APPLIED, ChangeState.UNKNOWN)),
        )
        .order_by(Change.id.desc())
    ):
        if _print_of(change_id) not in done:
            done.add(fingerprint)
    return done


def _far_ids(db: Session, changes: list[Change]) -> dict[Side, set[str]]:
    """The ids of the other copies of what was deleted."""
    found: dict[Side, set[str]] = {"left": set(), "right": set()}
    for change in changes:
        if change.operation == "delete":
            far = other("left" if change.side == "left" else "right")
            if far_id := _far_id(change, db.get(Link, change.link_id or 0), far):
                found[far].add(far_id)
    return found


def _far_id(change: Change, link: Link | None, far: Side) -> str | None:
    if link is None:
        return change.origin_id
    return link.left_id if far == "left" else link.right_id


def _stands_under(db: Session, change: Change) -> str | None:
    """Where the record stands that was written to: its link follows it to a new id."""
    link = db.get(Link, change.link_id or 0)
    if link is None or link.state == LinkState.TOMBSTONE or change.operation == "delete":
        return change.record_id
    return link.left_id if change.side == "left" else link.right_id


def _records(work: Work, side: Side, ids: Iterable[str | None], far_ids: Mapping[Side, set[str]]) -> There:
    wanted = {id_ for id_ in ids if id_} | far_ids[side]
    return records_at(work.pairing.end(side), sorted(wanted), retries=work.pairing.definition.retries)


def _is_another(work: Work, db: Session, change: Change, side: Side, seen: Seen) -> bool:
    """Whether the id belongs to another record by now, which no run has noticed yet."""
    link, shadow = db.get(Link, change.link_id or 0), db.get(Shadow, change.link_id or 0)
    if link is None or shadow is None:
        return False
    left, right = decode_fields(shadow.left), decode_fields(shadow.right)
    tie = Tie(link.id, link.left_id, link.right_id, left, right)
    return is_reused_id(tie, side, seen, work.pairing.built.rules.mapping)


def _reverse(
    work: Work, db: Session, change: Change, side: Side, under: str | None, there: Mapping[Side, There]
) -> Sending | None:
    """The change that puts one change back; None where the record moved since."""
    mapping = work.pairing.built.rules.mapping
    record = there[side].get(under or "")
    seen = mapping.see(side, record) if record is not None else None
    if seen is not None and _is_another(work, db, change, side, seen):
        return None
    before, after = decode_fields(change.before or {}), decode_fields(change.result or change.after or {})
    match change.operation:
        case "create" if seen is not None and _still(work, side, seen, after):
            return _journal(work, db, change, side, "delete", before=seen.values, after={}, seen=seen)
        case "update" if seen is not None and _still(work, side, seen, after):
            present = {name: seen.get(name) for name in before if name in mapping.by_name}
            back = {name: before[name] for name in present}
            return _journal(work, db, change, side, "update", before=present, after=back, seen=seen)
        case "delete" if seen is None:
            return _restore(work, db, change, side, before, there)
    return None


def _restore(
    work: Work, db: Session, change: Change, side: Side, before: Fields, there: Mapping[Side, There]
) -> Sending:
    """The deleted record once more, whole: also its fields that are not mapped."""
    mapping, stream = work.pairing.built.rules.mapping, work.pairing.end(side).stream
    rest = decode_fields((change.settle or {}).get("rest") or {})
    raw = mapping.outgoing(side, {name: value for name, value in before.items() if name in mapping.by_name})
    lost = [name for name in (*raw, *rest) if (spec := stream.field(name)) is not None and not spec.writable]
    if lost:
        work.reins.log("warning", f"{change.key}: not restored, read-only there: {', '.join(sorted(lost))}.")
    after = {
        name: value
        for name, value in before.items()
        if name in mapping.by_name and mapping.pair(name).on(side) not in lost
    }
    return _journal(
        work, db, change, side, "create", before={}, after=after, seen=None,
        rest={name: value for name, value in rest.items() if name not in lost and stream.field(name)},
        there=there,
    )  # fmt: skip


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
    rest: Fields | None = None,
    there: Mapping[Side, There] | None = None,
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
        side=side,
        operation=operation,
        key=change.key,
        record_id=record_id,
        before=encode_fields(before) if operation != "create" else None,
        after=encode_fields(after) if operation != "delete" else None,
        rule="undo",
        state=ChangeState.PLANNED,
        fingerprint=_print_of(change.id),
        created_at=work.ctx.db_now(db),
        **_link(work, db, change, side, operation, there or {}),
    )
    db.add(row)
    db.flush()
    fields: Mapping[str, Any] = work.pairing.built.rules.mapping.outgoing(side, after)
    match operation:
        case "delete":
            write = Write(marker, "delete", record_id, expected_version=seen.version if seen else None)
        case "create":
            fields = {**(rest or {}), **fields}
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


def _link(
    work: Work, db: Session, change: Change, side: Side, operation: str, there: Mapping[Side, There]
) -> dict[str, Any]:
    """What becomes of the link when the change back is confirmed, so that the next run leaves all as it is.

    - an update: nothing; the far side still holds what its shadow says, or an edit made since, which flows;
    - the delete of what was created: its origin is excluded, so that it is not created again;
    - the create of what was deleted: excluded too, neither deleted again nor created where it was deleted
      first; linked where the far record stands (an undone undo).
    """
    far = other(side)
    undone = {"state": LinkState.EXCLUDED, "reason": "undone"}
    link = db.get(Link, change.link_id) if change.link_id is not None else None
    if operation == "update":
        return {"link_id": change.link_id, "origin_id": change.origin_id, "settle": {"other": {}}}
    if operation == "delete":
        settle = {"other": {}, "move": undone}
        return {"link_id": change.link_id, "origin_id": change.origin_id, "settle": settle}
    far_id = _far_id(change, link, far)
    column = Link.left_id if far == "left" else Link.right_id
    claimed = far_id is not None and db.scalar(
        select(Link.id).where(
            Link.config_id == work.config_id,
            column == far_id,
            IS_ALIVE,
            Link.id != change.link_id,
        )
    )
    if claimed:
        return {"link_id": None, "origin_id": None, "settle": {"other": {}, "move": undone}}
    if (record := there[far].get(far_id or "")) is not None:
        settle = {"other": encode_fields(work.pairing.built.rules.mapping.see(far, record).values)}
    else:  # should it come back, it meets what was agreed on with it
        shadow = db.get(Shadow, link.id) if link is not None else None
        agreed = {} if shadow is None else shadow.left if far == "left" else shadow.right
        settle = {"other": dict(agreed), "move": undone}
    return {"link_id": link.id if link is not None else None, "origin_id": far_id, "settle": settle}
