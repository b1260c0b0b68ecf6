"""Deletes runs and their journals when they are old, and what was told and settled around them.

Stays, whatever its age: what is on its way, held, or decided by a person and remembered; open conflicts,
issues and alerts; links; each config's newest run and newest success. Copies of overwritten and deleted
values, and settled conflicts and issues, stay until COPY_RETENTION_DAYS have passed. What a preview showed,
which may be every record, goes after a week.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from models.bulk import UNDER_WAY, BulkPart, BulkRetry, PartState
from models.calls import RunCall
from models.issues import Alert, Conflict, Issue
from models.journal import FORETOLD, Change, ChangeState
from models.maintenance import ExecutionState, JobExecution
from models.sync_runs import ENDED, RunKind, RunLine, RunState, SyncRun
from tasks.jobs import Duty, Job, JobOptions
from tasks.runs import count

_Old = Change | SyncRun | JobExecution | BulkRetry | Alert | Conflict | Issue
RUNS_AT_ONCE = 50
CHANGES_AT_ONCE = 500
SHOWN_FOR = timedelta(days=7)  # how long each change of a preview can be seen and carried out

_REMEMBERED = (
    ChangeState.PLANNED,
    ChangeState.SENT,
    ChangeState.UNKNOWN,
    ChangeState.HELD,
    ChangeState.APPROVED,
    ChangeState.DISMISSED,
)


class Options(JobOptions):
    retention_days: int | None = Field(default=None, ge=1, alias="retentionDays")


def cleanup_old_logs(duty: Duty, options: Options) -> Mapping[str, int]:
    settings = duty.ctx.settings
    days = options.retention_days or settings.log_retention_days
    with duty.ctx.reads() as db:
        now = duty.ctx.db_now(db)
    before = now - timedelta(days=days)
    copies_before = now - timedelta(days=max(days, settings.copy_retention_days))
    is_old = _is_old(before)
    over = JobExecution.state.in_((ExecutionState.SUCCESS, ExecutionState.FAILED))
    return {
        "lines": _of_old_runs(duty, RunLine, before),
        "calls": _of_old_runs(duty, RunCall, before),
        "changes": _in_batches(duty, Change, CHANGES_AT_ONCE, *_old_changes(before, copies_before)),
        "previewed": _in_batches(
            duty, Change, CHANGES_AT_ONCE, Change.state.in_(FORETOLD), Change.created_at < now - SHOWN_FOR
        ),
        "runs": _in_batches(
            duty,
            SyncRun,
            RUNS_AT_ONCE,
            is_old,
            ~exists().where(Change.run_id == SyncRun.id),
            ~_is_last_word(),
        ),
        "executions": _in_batches(duty, JobExecution, RUNS_AT_ONCE, over, JobExecution.finished_at < before),
        "bulk_retries": _in_batches(duty, BulkRetry, RUNS_AT_ONCE, *_old_bulk_retries(before)),
        "alerts": _in_batches(duty, Alert, CHANGES_AT_ONCE, Alert.cleared_at < before),
        "conflicts": _in_batches(duty, Conflict, CHANGES_AT_ONCE, Conflict.closed_at < copies_before),
        "issues": _in_batches(duty, Issue, CHANGES_AT_ONCE, Issue.closed_at < copies_before),
        "retention_days": days,
    }


JOB = Job(
    name="cleanup-old-logs",
    sentence="Deletes runs and their logs when they are older than the retention time.",
    work=cleanup_old_logs,
    options=Options,
    cron="0 2 * * *",
)


def _in_batches(duty: Duty, model: type[_Old], size: int, *old: ColumnElement[bool]) -> int:
    """Delete what is old, batch by batch, each in a short transaction of its own. How many rows.

    The batches are looked for without a lock, from one id to the next, so that no row is looked at twice.
    """
    total = 0
    for ids in _ids(duty, select(model.id).where(*old), model.id, size):
        with duty.ctx.sessions.begin() as db:
            total += count(db.execute(delete(model).where(model.id.in_(ids), *old)))
    return total


def _of_old_runs(duty: Duty, model: type[RunLine | RunCall], before: datetime) -> int:
    """Delete what hangs on old runs, some runs at a time. How many rows."""
    total = 0
    theirs = exists().where(model.run_id == SyncRun.id)
    for ids in _ids(duty, select(SyncRun.id).where(_is_old(before), theirs), SyncRun.id, RUNS_AT_ONCE):
        with duty.ctx.sessions.begin() as db:
            total += count(db.execute(delete(model).where(model.run_id.in_(ids))))
    return total


def _ids(
    duty: Duty, query: Select[Any], id: InstrumentedAttribute[Any], size: int
) -> Iterator[Sequence[Any]]:
    found: Sequence[Any] = ()
    while True:
        duty.checkpoint()
        part = query.where(id > found[-1]) if found else query
        with duty.ctx.reads() as db:
            found = db.scalars(part.order_by(id).limit(size)).all()
        if not found:
            return
        yield found


def _old_changes(before: datetime, copies_before: datetime) -> tuple[ColumnElement[bool], ...]:
    age = func.coalesce(Change.settled_at, Change.created_at)
    is_copy = and_(Change.state == ChangeState.APPLIED, Change.operation != "create")
    return (
        exists().where(SyncRun.id == Change.run_id, SyncRun.state.in_(ENDED)),
        Change.state.not_in(_REMEMBERED),
        age < before,
        or_(~is_copy, age < copies_before),
    )


def _old_bulk_retries(before: datetime) -> tuple[ColumnElement[bool], ...]:
    """Those that are over; their parts go with them."""
    is_open = exists().where(
        BulkPart.bulk_id == BulkRetry.id,
        or_(
            and_(BulkPart.state == PartState.WAITING, BulkRetry.state.in_(UNDER_WAY)),
            exists().where(SyncRun.id == BulkPart.run_id, SyncRun.state.not_in(ENDED)),
        ),
    )
    return func.coalesce(BulkRetry.confirmed_at, BulkRetry.expires_at) < before, ~is_open


def _is_old(before: datetime) -> ColumnElement[bool]:
    return and_(SyncRun.state.in_(ENDED), SyncRun.finished_at < before)


def _is_last_word() -> ColumnElement[bool]:
    """Whether the run is its config's newest one, or its newest success."""
    later = aliased(SyncRun)
    newer = and_(
        later.config_id == SyncRun.config_id,
        later.kind != RunKind.PREVIEW,
        later.state != RunState.SKIPPED,
        later.created_at > SyncRun.created_at,
    )
    counts = and_(SyncRun.kind != RunKind.PREVIEW, SyncRun.state != RunState.SKIPPED)
    is_newest = ~exists().where(newer)
    is_newest_success = and_(
        SyncRun.state == RunState.SUCCESS, ~exists().where(newer, later.state == RunState.SUCCESS)
    )
    return and_(counts, or_(is_newest, is_newest_success))
