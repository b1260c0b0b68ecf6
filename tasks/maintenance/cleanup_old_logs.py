"""Deletes runs and their journals when they are old, and what was told and settled around them.

Stays, whatever its age: what is on its way, held, or decided by a person and remembered; open conflicts,
issues and alerts; links; each config's newest run and newest success. Copies of overwritten and deleted
values, and settled conflicts and issues, stay until COPY_RETENTION_DAYS have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from pydantic import Field
from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from models.bulk import BulkPart, BulkRetry, PartState
from models.calls import RunCall
from models.issues import Alert, Conflict, Issue
from models.journal import Change, ChangeState
from models.maintenance import ExecutionState, JobExecution
from models.sync_runs import ENDED, RunKind, RunLine, RunState, SyncRun
from tasks.jobs import Duty, Job, JobOptions
from tasks.runs import count

RUNS_AT_ONCE = 50
CHANGES_AT_ONCE = 1000

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
    return {
        "lines": _in_batches(duty, lambda db: _delete_of_runs(db, RunLine, before)),
        "calls": _in_batches(duty, lambda db: _delete_of_runs(db, RunCall, before)),
        "changes": _in_batches(duty, lambda db: _delete_changes(db, before, copies_before)),
        "runs": _in_batches(duty, lambda db: _delete_runs(db, before)),
        "executions": _in_batches(duty, lambda db: _delete_executions(db, before)),
        "bulk_retries": _in_batches(duty, lambda db: _delete_bulk_retries(db, before)),
        "alerts": _in_batches(duty, lambda db: _delete_some(db, Alert, Alert.cleared_at < before)),
        "conflicts": _in_batches(
            duty, lambda db: _delete_some(db, Conflict, Conflict.closed_at < copies_before)
        ),
        "issues": _in_batches(duty, lambda db: _delete_some(db, Issue, Issue.closed_at < copies_before)),
        "retention_days": days,
    }


JOB = Job(
    name="cleanup-old-logs",
    sentence="Deletes runs and their logs when they are older than the retention time.",
    work=cleanup_old_logs,
    options=Options,
    cron="0 2 * * *",
)


def _in_batches(duty: Duty, delete_some: Callable[[Session], int]) -> int:
    """Delete batch by batch, each in a transaction of its own, until nothing is left to delete."""
    total = 0
    while True:
        duty.checkpoint()
        with duty.ctx.sessions.begin() as db:
            deleted = delete_some(db)
        if not deleted:
            return total
        total += deleted


def _delete_of_runs(db: Session, model: type[RunLine | RunCall], before: datetime) -> int:
    of_runs = select(SyncRun.id).where(_is_old(before), exists().where(model.run_id == SyncRun.id))
    return count(db.execute(delete(model).where(model.run_id.in_(of_runs.limit(RUNS_AT_ONCE)))))


def _delete_changes(db: Session, before: datetime, copies_before: datetime) -> int:
    age = func.coalesce(Change.settled_at, Change.created_at)
    is_copy = and_(Change.state == ChangeState.APPLIED, Change.operation != "create")
    chosen = (
        select(Change.id)
        .join(SyncRun, SyncRun.id == Change.run_id)
        .where(
            SyncRun.state.in_(ENDED),
            Change.state.not_in(_REMEMBERED),
            age < before,
            or_(~is_copy, age < copies_before),
        )
        .order_by(Change.id)
        .limit(CHANGES_AT_ONCE)
    )
    return count(db.execute(delete(Change).where(Change.id.in_(chosen))))


def _delete_runs(db: Session, before: datetime) -> int:
    chosen = (
        select(SyncRun.id)
        .where(_is_old(before), ~exists().where(Change.run_id == SyncRun.id), ~_is_last_word())
        .order_by(SyncRun.created_at)
        .limit(RUNS_AT_ONCE)
    )
    return count(db.execute(delete(SyncRun).where(SyncRun.id.in_(chosen))))


def _delete_executions(db: Session, before: datetime) -> int:
    chosen = (
        select(JobExecution.id)
        .where(
            JobExecution.state.in_((ExecutionState.SUCCESS, ExecutionState.FAILED)),
            JobExecution.finished_at < before,
        )
        .limit(RUNS_AT_ONCE)
    )
    return count(db.execute(delete(JobExecution).where(JobExecution.id.in_(chosen))))


def _delete_bulk_retries(db: Session, before: datetime) -> int:
    """Those that are over; their parts go with them."""
    is_open = exists().where(
        BulkPart.bulk_id == BulkRetry.id,
        or_(
            BulkPart.state == PartState.WAITING,
            exists().where(SyncRun.id == BulkPart.run_id, SyncRun.state.not_in(ENDED)),
        ),
    )
    last_touched = func.coalesce(BulkRetry.confirmed_at, BulkRetry.expires_at)
    return _delete_some(db, BulkRetry, last_touched < before, ~is_open)


def _delete_some(
    db: Session, model: type[BulkRetry | Alert | Conflict | Issue], *old: ColumnElement[bool]
) -> int:
    chosen = select(model.id).where(*old).limit(CHANGES_AT_ONCE)
    return count(db.execute(delete(model).where(model.id.in_(chosen))))


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
