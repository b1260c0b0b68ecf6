"""A person corrects a record from the panel: the edit goes to one side as a journalled write, then a run
follows that takes it to the other side like any edit made there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Write
from models.journal import Change, ChangeState
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun
from sync.mapping import FieldMapping, Seen, contract_problem
from sync.records import Problem, Side
from sync.values import ValueProblem, decode_fields, encode_fields
from tasks import audit, runs
from tasks.apply import Sending, Work, send_all
from tasks.context import Context
from tasks.errors import NotFound, WorkError
from tasks.sides import opened, records_at

EDIT = "edit"  # the operation: a write that moves no shadow, so that the other side follows it


def edit_and_retry(
    ctx: Context, config_id: str, side: Side, record_id: str, typed: Mapping[str, str | None], *, by: str
) -> str:
    """Queue a run that first writes these values to a record; the run's id.

    `typed`: texts by the pairs' names (None clears). Raises NotFound; WorkError for a value that does not
    fit; RunActive; ConnectorError.
    """
    with opened(ctx, config_id) as pairing:
        end, mapping = pairing.end(side), pairing.built.rules.mapping
        found = records_at(end, [record_id], retries=pairing.definition.retries)
        if record_id not in found:
            raise NotFound(f"There is no record {record_id} on {side}.")
        values = {name: _value(mapping, side, name, text) for name, text in typed.items()}
        for name, value in values.items():
            pair, spec = mapping.pair(name), end.stream.field(mapping.pair(name).on(side))
            if spec is not None and not spec.writable:
                raise WorkError(f"{spec.name} is read-only on {side}.", code="value")
            if why := contract_problem(pair, side, value, end.stream):
                raise WorkError(why, code="value")
        seen = mapping.see(side, found[record_id])
    wanted = {
        "side": side,
        "record": record_id,
        "key": mapping.label(side, seen.values, seen.id)[:500],
        "fields": encode_fields(values),
        "stands": _what_stands(mapping, seen, values),
    }
    with ctx.sessions.begin() as db:
        run_id = runs.queue_in(
            ctx, db, config_id, asked_by=by, reason="a record was corrected", options={EDIT: wanted}
        )
        config = db.get_one(SyncConfig, config_id)
        audit.record(
            db, "record.edited", record_id, by=by, at=ctx.db_now(db), workspace_id=config.workspace_id,
            config=config_id, side=side, fields=sorted(values),
        )  # fmt: skip
    ctx.wake(run_id)
    return run_id


def _value(mapping: FieldMapping, side: Side, name: str, text: str | None) -> Any:
    pair = mapping.by_name.get(name)
    if pair is None:
        raise WorkError(f"'{name}' is not a mapped field.", code="value")
    try:
        return pair.own(side, text)
    except ValueProblem as problem:
        raise WorkError(f"{pair.on(side)}: {problem}.", code="value") from None


def _what_stands(mapping: FieldMapping, seen: Seen, edited: Iterable[str]) -> dict[str, Any]:
    """What tells that this is the record, and these the values, that the person means to correct.

    A value that cannot be read stands here as the sentence about it.
    """
    names = {*mapping.match, *edited}
    return encode_fields({name: seen.problems.get(name, seen.get(name)) for name in names})


def carry_out(work: Work, run: SyncRun) -> None:
    """Write the correction that the run was queued with, once. Raises ConnectorError, the Signals.

    The run may begin long after it was asked for, so it looks whether what it found then still stands.
    """
    wanted = run.options.get(EDIT)
    if not wanted:
        return
    with work.ctx.reads() as db:
        mine = (Change.run_id == run.id, Change.operation == EDIT, Change.state != ChangeState.ABANDONED)
        if db.scalar(select(Change.id).where(*mine)):
            return  # by an earlier claim of this run; what is abandoned did not happen
    side: Side = wanted["side"]
    record_id, after = str(wanted["record"]), decode_fields(wanted["fields"])
    mapping = work.pairing.built.rules.mapping
    found = records_at(work.pairing.end(side), [record_id], retries=work.pairing.definition.retries)
    seen = mapping.see(side, found[record_id]) if record_id in found else None
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        if seen is None or _what_stands(mapping, seen, after) != wanted["stands"]:
            code = "missing" if seen is None else "edited_meanwhile"
            what = f"is no longer on {side}" if seen is None else f"was changed on {side} meanwhile"
            message = f"The record {record_id} {what}: it was not corrected."
            work.fail(db, Problem(code, message, side=side, key=wanted["key"], operation=EDIT))
            return
        sending = _journal(work, db, run, side, seen, after)
    send_all(work, [sending], phase="correcting")


def _journal(
    work: Work, db: Session, run: SyncRun, side: Side, seen: Seen, after: Mapping[str, Any]
) -> Sending:
    mapping, marker = work.pairing.built.rules.mapping, work.ctx.new_id()
    after = {name: value for name, value in after.items() if name in mapping.by_name}
    before = {name: seen.get(name) for name in after}
    row = Change(
        marker=marker,
        workspace_id=work.workspace_id,
        config_id=work.config_id,
        run_id=run.id,
        side=side,
        operation=EDIT,
        key=mapping.label(side, seen.values, seen.id)[:500],
        record_id=seen.id,
        before=encode_fields(before),
        after=encode_fields(after),
        rule=f"edited by {run.asked_by}"[:60],
        state=ChangeState.PLANNED,
        fingerprint=marker,
        created_at=work.ctx.db_now(db),
        decided_by=run.asked_by,
    )
    db.add(row)
    db.flush()
    write = Write(
        marker, "update", seen.id, mapping.outgoing(side, after),
        expected=mapping.outgoing(side, before), expected_version=seen.version,
    )  # fmt: skip
    return Sending(row.id, marker, side, EDIT, row.key, write, None, None)
