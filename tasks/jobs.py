"""Maintenance jobs: the registry, their schedules, their executions.

A job is one function in one file of `tasks/maintenance/`. It works in batches, calls
`duty.checkpoint()` between them, may be stopped and repeated at any point, and returns what it did in
numbers. A job never overlaps itself, whoever starts it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from time import monotonic
from typing import Any, Generic, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.maintenance import ExecutionState, JobExecution, MaintenanceJob
from models.upsert import insert_or_ignore
from sync.definition import nearest
from sync.schedule import Schedule, read_schedule
from tasks import audit, maintenance
from tasks.context import Context
from tasks.errors import LeaseLost, NotFound, Stopping, WorkError, WrongState
from tasks.runs import count

log = structlog.get_logger(__name__)


class JobOptions(BaseModel):
    """Base of every job's options. Each has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


Opts = TypeVar("Opts", bound=JobOptions)


@dataclass(frozen=True, slots=True)
class Job(Generic[Opts]):
    name: str
    sentence: str  # what it does, for a person
    work: Callable[[Duty, Opts], Mapping[str, int]]
    options: type[Opts]
    cron: str | None  # None: only when asked
    timezone: str = "UTC"


@dataclass(slots=True)
class Duty:
    """One execution of a job, as its function sees it."""

    ctx: Context
    execution_id: int
    asked_by: str
    stop: Callable[[], bool]
    _renewed_at: float = field(default_factory=monotonic)

    def checkpoint(self) -> None:
        """Call it between batches. Raises Stopping, and LeaseLost if this execution was given up."""
        if self.stop():
            raise Stopping("this process was asked to stop")
        if monotonic() - self._renewed_at < self.ctx.settings.renew_seconds:
            return
        self._renewed_at = monotonic()
        with self.ctx.sessions.begin() as db:
            renewed = count(
                db.execute(
                    update(JobExecution)
                    .where(JobExecution.id == self.execution_id, _is_running())
                    .values(lease_until=_lease(self.ctx, db))
                )
            )
        if not renewed:
            raise LeaseLost(f"execution {self.execution_id} was given up")


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as people see it."""

    name: str
    sentence: str
    schedule: str  # in words; "Only when asked"
    enabled: bool
    next_run_at: datetime | None
    last: JobExecution | None


def never() -> bool:
    return False


@cache
def registry() -> Mapping[str, Job[Any]]:
    """Every job by its name, as found in `tasks/maintenance/`."""
    found: dict[str, Job[Any]] = {}
    for module in pkgutil.iter_modules(maintenance.__path__, f"{maintenance.__name__}."):
        job = importlib.import_module(module.name).JOB
        if not isinstance(job, Job) or job.name in found:
            raise TypeError(f"{module.name}.JOB is not a job of its own")
        found[job.name] = job
    return found


def job_named(name: str) -> Job[Any]:
    """Raises NotFound, with the nearest name."""
    job = registry().get(name)
    if job is None:
        raise NotFound(f"There is no job '{name}'.{nearest(name, list(registry()))}")
    return job


# -- for people ------------------------------------------------------------------------------------


def listed(ctx: Context) -> list[JobView]:
    """Every job with its schedule, its next time and its last execution."""
    _register(ctx)
    with ctx.reads() as db:
        rows = {row.name: row for row in db.scalars(select(MaintenanceJob))}
        return [_view(db, job, rows[name]) for name, job in sorted(registry().items())]


def history(ctx: Context, name: str, limit: int = 20) -> list[JobExecution]:
    """The newest executions of a job first. Raises NotFound."""
    job_named(name)
    with ctx.reads() as db:
        return list(
            db.scalars(
                select(JobExecution)
                .where(JobExecution.job_name == name)
                .order_by(JobExecution.id.desc())
                .limit(limit)
            )
        )


def run_now(
    ctx: Context,
    name: str,
    *,
    asked_by: str,
    options: Mapping[str, Any] | None = None,
    stop: Callable[[], bool] = never,
) -> JobExecution:
    """Carry a job out in this process; its execution, also when it failed.

    Raises NotFound, WorkError (options), WrongState (it is running already).
    """
    job = job_named(name)
    _register(ctx)
    given = _checked(job, options).model_dump()
    try:
        with ctx.sessions.begin() as db:
            _give_up_the_dead(ctx, db, name)
            execution = _new(ctx, db, job, asked_by, given, ExecutionState.RUNNING)
            if asked_by not in audit.MACHINES:
                audit.record(db, "job.run", name, by=asked_by, at=execution.created_at)
    except IntegrityError:
        raise WrongState(f"The job '{name}' is running already.") from None
    return _carry_out(ctx, job, execution, stop)


def ask(ctx: Context, name: str, *, by: str, options: Mapping[str, Any] | None = None) -> int:
    """Let the next tick carry a job out; the id of the execution. One that waits is joined.

    Raises NotFound, WorkError (options).
    """
    job = job_named(name)
    _register(ctx)
    given = _checked(job, options).model_dump()
    with ctx.sessions.begin() as db:
        db.execute(select(MaintenanceJob.name).where(MaintenanceJob.name == name).with_for_update())
        waiting = db.scalar(
            select(JobExecution.id).where(
                JobExecution.job_name == name, JobExecution.state == ExecutionState.ASKED
            )
        )
        if waiting is not None:
            return waiting
        execution = _new(ctx, db, job, by, given, ExecutionState.ASKED)
        audit.record(db, "job.asked", name, by=by, at=execution.created_at)
        return execution.id


def switch(ctx: Context, name: str, *, on: bool, by: str) -> None:
    """Switch a job's schedule on or off; it can be run by hand in any case. Raises NotFound."""
    job = job_named(name)
    _register(ctx)
    with ctx.sessions.begin() as db:
        row = db.get_one(MaintenanceJob, name)
        now = ctx.db_now(db)
        row.enabled = on
        row.next_run_at = _next_at(job, row, now)
        audit.record(db, "job.switched_on" if on else "job.switched_off", name, by=by, at=now)


# -- for the tick ----------------------------------------------------------------------------------


def run_due(ctx: Context, stop: Callable[[], bool] = never) -> int:
    """Carry out, one after the other, the jobs that are due or that a person asked for. How many."""
    _register(ctx)
    done = 0
    for name, job in sorted(registry().items()):
        if stop():
            break
        execution = _take(ctx, job, name)
        if execution is not None:
            _carry_out(ctx, job, execution, stop)
            done += 1
    return done


def reschedule(ctx: Context, db: Session) -> None:
    """Set the next time of every job from now on, after the clock was set back."""
    now = ctx.db_now(db)
    for row in db.scalars(select(MaintenanceJob).where(MaintenanceJob.next_run_at > now)):
        if job := registry().get(row.name):
            row.next_run_at = _next_at(job, row, now)


def _take(ctx: Context, job: Job[Any], name: str) -> JobExecution | None:
    """Claim what is due of this job; None: nothing, or another process has it."""
    with ctx.sessions.begin() as db:
        row = db.scalar(
            select(MaintenanceJob).where(MaintenanceJob.name == name).with_for_update(skip_locked=True)
        )
        if row is None:
            return None
        now = ctx.db_now(db)
        _give_up_the_dead(ctx, db, name)
        is_due = row.enabled and row.next_run_at is not None and row.next_run_at <= now
        if is_due:
            row.next_run_at = _next_at(job, row, now)
        if db.scalar(select(JobExecution.id).where(JobExecution.job_name == name, _is_running())):
            return None
        asked = db.scalar(
            select(JobExecution).where(
                JobExecution.job_name == name, JobExecution.state == ExecutionState.ASKED
            )
        )
        if asked is not None:
            asked.state = ExecutionState.RUNNING.value
            asked.started_at, asked.lease_until = now, _lease(ctx, db)
            return asked
        return _new(ctx, db, job, audit.SCHEDULE, row.options, ExecutionState.RUNNING) if is_due else None


# -- inside ----------------------------------------------------------------------------------------


def _register(ctx: Context) -> None:
    """Give each job its row, once; a new job's first time is its next slot from now on."""
    with ctx.reads() as db:
        missing = set(registry()) - set(db.scalars(select(MaintenanceJob.name)))
    if not missing:
        return
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        for name in sorted(missing):
            job = registry()[name]
            schedule = read_schedule(job.cron, job.timezone) if job.cron else None
            row = {
                "name": name,
                "enabled": True,
                "options": {},
                "next_run_at": schedule.after(now) if schedule else None,
            }
            db.execute(insert_or_ignore(db, MaintenanceJob).values(row))


def _carry_out(
    ctx: Context, job: Job[Any], execution: JobExecution, stop: Callable[[], bool]
) -> JobExecution:
    duty = Duty(ctx, execution.id, execution.asked_by, stop)
    state, result, error = ExecutionState.SUCCESS, None, None
    try:
        result = dict(job.work(duty, _checked(job, execution.options)))
    except Stopping:
        state, error = ExecutionState.FAILED, "The process was stopped; the next execution goes on."
    except LeaseLost:
        return execution
    except Exception as problem:  # the boundary of a job: its execution ends in a state
        error_id = ctx.new_id()
        log.error("job.failed", job=job.name, error_id=error_id, exc_info=problem)
        said = problem.message if isinstance(problem, WorkError) else type(problem).__name__
        state, error = ExecutionState.FAILED, f"{said} (error id {error_id})"
    with ctx.sessions.begin() as db:
        row = db.get_one(JobExecution, execution.id)
        if row.state == ExecutionState.RUNNING:
            row.state, row.result, row.error = state.value, result, error
            row.finished_at, row.lease_until = ctx.db_now(db), None
    log.info("job", job=job.name, asked_by=row.asked_by, state=row.state, **(result or {}))
    return row


def _new(
    ctx: Context,
    db: Session,
    job: Job[Any],
    asked_by: str,
    options: Mapping[str, Any],
    state: ExecutionState,
) -> JobExecution:
    now = ctx.db_now(db)
    is_running = state is ExecutionState.RUNNING
    execution = JobExecution(
        job_name=job.name,
        state=state.value,
        asked_by=asked_by[:320],
        options=dict(options),
        created_at=now,
        started_at=now if is_running else None,
        lease_until=_lease(ctx, db) if is_running else None,
    )
    db.add(execution)
    db.flush()
    return execution


def _give_up_the_dead(ctx: Context, db: Session, name: str) -> None:
    now = ctx.db_now(db)
    db.execute(
        update(JobExecution)
        .where(
            JobExecution.job_name == name,
            _is_running(),
            or_(JobExecution.lease_until.is_(None), JobExecution.lease_until < now),
        )
        .values(
            state=ExecutionState.FAILED,
            finished_at=now,
            lease_until=None,
            error="Its process died; the next execution goes on.",
        )
    )


def _checked(job: Job[Opts], given: Mapping[str, Any] | None) -> Opts:
    """The job's options from what was given. Raises WorkError, which names the wrong one."""
    try:
        return job.options.model_validate(dict(given or {}))
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WorkError(f"The job '{job.name}': {place}: {first['msg'].lower()}.", code="options") from None


def _view(db: Session, job: Job[Any], row: MaintenanceJob) -> JobView:
    schedule = _schedule(job, row)
    return JobView(
        name=job.name,
        sentence=job.sentence,
        schedule=schedule.words() if schedule else "Only when asked",
        enabled=row.enabled,
        next_run_at=row.next_run_at,
        last=db.scalar(
            select(JobExecution)
            .where(JobExecution.job_name == job.name, JobExecution.state != ExecutionState.ASKED)
            .order_by(JobExecution.id.desc())
            .limit(1)
        ),
    )


def _schedule(job: Job[Any], row: MaintenanceJob) -> Schedule | None:
    cron = row.cron or job.cron
    return read_schedule(cron, row.timezone or job.timezone) if cron else None


def _next_at(job: Job[Any], row: MaintenanceJob, now: datetime) -> datetime | None:
    schedule = _schedule(job, row)
    return schedule.after(now) if schedule and row.enabled else None


def _lease(ctx: Context, db: Session) -> datetime:
    return ctx.db_now(db) + timedelta(seconds=ctx.settings.lease_seconds)


def _is_running() -> ColumnElement[bool]:
    return JobExecution.state == ExecutionState.RUNNING
