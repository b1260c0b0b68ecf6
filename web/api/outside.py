"""The routes that existing cron set-ups call, in their own words: camel case, `success`, a `result`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Annotated, Any, Literal

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from sqlalchemy.exc import SQLAlchemyError

from tasks import outside
from tasks.errors import NotFound, WorkError
from web.api.common import Object
from web.api.wire import Input, Operation, Output, describe, read_body
from web.auth import outside as by_cron_secret
from web.database import act, ctx
from web.limits import limiter
from web.reads.health import health

bp = Blueprint("api_outside", __name__)
log = structlog.get_logger(__name__)

TRIGGERS = "120 per minute"
JobType = Literal["scheduled-sync", "manual-sync", "initial-backfill"]
Days = Annotated[int, Field(ge=1, le=3650)]
Most = Annotated[int, Field(ge=1, le=100_000)]


class Done(Output):
    success: bool
    message: str
    result: Object


class Failed(Output):
    success: Literal[False]
    error: str
    message: str


class NoBody(Input):
    """Nothing."""


class CleanUp(Input):
    retentionDays: Days | None = None


class CronWish(Input):
    operation: Literal["process_all_users", "cleanup_old_jobs", "reset_stale_jobs"]
    maxUsers: Most | None = None
    jobType: JobType = "scheduled-sync"
    timeframeDays: Days | None = None


class WorkerWish(Input):
    maxJobs: Most = 10
    maxUsers: Most = 100


class ScheduleWish(Input):
    userId: str | None = Field(default=None, max_length=36)
    providerId: str | None = Field(default=None, max_length=50, description="A connector's name.")
    jobType: JobType = "scheduled-sync"
    timeframeDays: Days | None = None
    allUsers: bool = Field(default=False, validate_default=True)

    @field_validator("allUsers")
    @classmethod
    def _somebody(cls, everybody: bool, info: ValidationInfo) -> bool:
        if not everybody and info.data.get("userId") is None:
            raise ValueError("must be true, or name a userId")
        return everybody


class ProcessWish(Input):
    userId: str = Field(min_length=1, max_length=36)


def trigger(
    rule: str, *, summary: str, body: type[BaseModel] | None, method: str = "POST"
) -> Callable[[Callable[..., Done]], Callable[..., Any]]:
    """Declare one of these routes: the cron secret, an audit row, and a failure in the words expected."""

    def declare(view: Callable[..., Done]) -> Callable[..., Any]:
        @wraps(view)
        def carry_out() -> ResponseReturnValue:
            given = {} if body is None else {"wish": read_body(body)}
            try:
                if method == "POST":
                    told = {} if body is None else given["wish"].model_dump(exclude_none=True)
                    act(outside.note, view.__name__, client=request.remote_addr or "", wish=told)
                done = view(**given)
            except NotFound:
                raise
            except (WorkError, SQLAlchemyError) as problem:
                error_id = ctx().new_id()
                log.error("cron.failed", route=rule, error_id=error_id, exc_info=problem)
                said = problem.message if isinstance(problem, WorkError) else f"See the log under {error_id}."
                failed = Failed(success=False, error=f"{view.__name__} failed", message=said)
                return Response(failed.model_dump_json(), status=500, mimetype="application/json")
            return Response(done.model_dump_json(), mimetype="application/json")

        limited: Callable[..., Any] = limiter.limit(TRIGGERS)(carry_out)
        wrapped = by_cron_secret(limited)
        describe(
            wrapped,
            Operation(
                name=f"outside.{view.__name__}",
                summary=summary,
                text=" ".join((view.__doc__ or "").split()),
                tag="outside",
                needs="cron secret",
                query=None,
                body=body,
                answers={200: Done, 500: Failed},
                limited=True,
            ),
        )
        bp.add_url_rule(rule, endpoint=view.__name__, view_func=wrapped, methods=[method])
        return wrapped

    return declare


@trigger("/api/sync-jobs/run-auto-syncs", summary="Queue all that is active and automatic", body=NoBody)
def run_auto_syncs(wish: NoBody) -> Done:
    """What has a run already is skipped."""
    counts = act(outside.run_auto_syncs)
    return Done(success=True, message=f"{counts['queued']} of {counts['found']} queued.", result=counts)


@trigger("/api/sync-jobs/cleanup-logs", summary="Delete old runs and their logs", body=CleanUp)
def cleanup_logs(wish: CleanUp) -> Done:
    """Copies of overwritten and deleted values stay for COPY_RETENTION_DAYS."""
    return Done(
        success=True, message="Old logs were deleted.", result=act(outside.clean_up, wish.retentionDays)
    )


@trigger("/api/integrations/cron", summary="One of three periodic duties", body=CronWish)
def cron(wish: CronWish) -> Done:
    """process_all_users queues what is active and automatic, cleanup_old_jobs deletes what ended more than 7
    days ago, reset_stale_jobs gives back what runs on a dead lease."""
    if wish.operation == "cleanup_old_jobs":
        days = wish.timeframeDays or outside.OLD_AFTER
        return Done(success=True, message="Old jobs were deleted.", result=act(outside.clean_up, days))
    if wish.operation == "reset_stale_jobs":
        counts = act(outside.reset_stale)
        return Done(success=True, message=f"{counts['reset']} given back.", result=counts)
    found = act(
        outside.queue_for_everybody,
        most_users=wish.maxUsers, job_type=wish.jobType, days=wish.timeframeDays,
    )  # fmt: skip
    return Done(success=True, message=f"{found.queued} of {found.found} queued.", result=asdict(found))


@trigger("/api/integrations/worker", summary="Wake workers for queued runs", body=WorkerWish)
def worker(wish: WorkerWish) -> Done:
    counts = act(outside.ring, most_jobs=wish.maxJobs, most_users=wish.maxUsers)
    return Done(success=True, message=f"{counts['rung']} of {counts['queued']} rung.", result=counts)


@trigger("/api/integrations/schedule", summary="Queue syncs of one or all users", body=ScheduleWish)
def schedule(wish: ScheduleWish) -> Done:
    """A user is a workspace member, a provider a connector name."""
    if wish.userId is None or wish.allUsers:
        found = act(
            outside.queue_for_everybody, most_users=None, job_type=wish.jobType, days=wish.timeframeDays,
            connector=wish.providerId,
        )  # fmt: skip
    else:
        found = act(
            outside.queue_for, wish.userId, job_type=wish.jobType, days=wish.timeframeDays,
            connector=wish.providerId,
        )  # fmt: skip
    return Done(success=True, message=f"{found.queued} of {found.found} queued.", result=asdict(found))


@trigger("/api/integrations/process", summary="Queue one user's syncs now", body=ProcessWish)
def process(wish: ProcessWish) -> Done:
    found = act(outside.queue_for, wish.userId, job_type="manual-sync", days=None)
    return Done(success=True, message=f"{found.queued} of {found.found} queued.", result=asdict(found))


@trigger("/api/integrations/status", summary="How the queue is", body=None, method="GET")
def status() -> Done:
    return Done(success=True, message="Counts of the last day.", result=act(outside.status))


@bp.get("/metrics")
@by_cron_secret
def metrics() -> Response:
    """The installation in numbers, for Prometheus. No names in it."""
    found = health(ctx().now())
    queue = outside.status(ctx())
    registry = CollectorRegistry()
    for name, text, value in (
        ("syncline_workers", "Workers that beat", found.workers),
        ("syncline_scheduler_up", "1 while something ticks", int(found.scheduler_ok)),
        ("syncline_queue_up", "1 while the queue answers", int(ctx().queue_answers())),
        ("syncline_runs_queued", "Runs that wait", found.queued),
        ("syncline_runs_running", "Runs at work", found.running),
        ("syncline_syncs", "Syncs that run by themselves", queue["syncs"]),
    ):
        Gauge(name, text, registry=registry).set(value)
    ended = Gauge("syncline_runs_last_day", "Runs of the last day by state", ["state"], registry=registry)
    for state, number in queue["jobs"].items():
        ended.labels(state).set(number)
    oldest = Gauge("syncline_oldest_queued_seconds", "How long the oldest run waits", registry=registry)
    oldest.set((found.now - found.oldest_queued).total_seconds() if found.oldest_queued else 0)
    return Response(generate_latest(registry), mimetype="text/plain; version=0.0.4")


describe(
    metrics,
    Operation(
        name="outside.metrics",
        summary="Numbers for Prometheus",
        text="",
        tag="outside",
        needs="cron secret",
        query=None,
        body=None,
        answers={200: None},
        media="text/plain",
    ),
)
