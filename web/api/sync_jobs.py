"""Sync-jobs, as existing set-ups know them: one schedule over many streams."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, abort
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from sqlalchemy import select

from models.sync_configs import SyncConfig
from models.sync_jobs import SyncJob
from models.sync_runs import ENDED, SyncRun
from tasks import sync_jobs
from web import auth
from web.api.common import by, workspace
from web.api.wire import Answer, Empty, Input, Output, operation
from web.database import act, db
from web.reads.runs import newest_of

bp = Blueprint("api_sync_jobs", __name__, url_prefix="/api/workspaces/<workspace_id>/sync-jobs")

TRIGGERS = "60 per minute"
HISTORY = 10


class Schedule(Input):
    cron: str = Field(min_length=1, max_length=100)
    timezone: str = Field(default="UTC", min_length=1, max_length=64)


def _each_once(streams: list[str]) -> list[str]:
    if len(set(streams)) < len(streams):
        raise ValueError("names a stream twice")
    return streams


Streams = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(min_length=1, max_length=500),
    AfterValidator(_each_once),
]
JobName = Annotated[str, Field(min_length=1, max_length=100)]


class NewSyncJob(Input):
    name: JobName
    dataSourceId: str = Field(max_length=36, description="The connection to read.")
    destinationDatabaseId: str = Field(max_length=36, description="The connection to write.")
    schedule: Schedule
    syncMode: Literal["full", "incremental"] = "full"
    enabled: bool = True
    entityFilter: Streams | None = Field(default=None, description="Streams; left out, all there are.")

    @field_validator("destinationDatabaseId")
    @classmethod
    def _elsewhere(cls, destination: str, info: ValidationInfo) -> str:
        if destination == info.data.get("dataSourceId"):
            raise ValueError("must be another connection than dataSourceId")
        return destination


class ChangedSyncJob(Input):
    name: JobName | None = None
    schedule: Schedule | None = None
    enabled: bool | None = None


class SyncJobOut(Output):
    id: str
    name: str
    dataSourceId: str
    destinationDatabaseId: str
    schedule: Schedule
    syncMode: str
    enabled: bool
    entityFilter: list[str] | None
    state: str = Field(description="preparing until its syncs are made, ready, or failed.")
    error: str | None
    configs: list[str]
    createdAt: datetime
    updatedAt: datetime


class SyncJobs(Output):
    items: list[SyncJobOut]


class Started(Output):
    queued: list[str]
    active: list[str] = Field(description="Runs that were on their way already.")


class RunLine(Output):
    id: str
    configId: str
    state: str
    startedAt: datetime | None
    finishedAt: datetime | None
    error: str | None


class Status(Output):
    state: str
    lastRun: RunLine | None
    lastError: str | None
    nextRun: datetime | None
    averageDurationMs: int | None
    history: list[RunLine]


@operation(bp, "GET", "", needs="read", summary="All sync-jobs", returns=SyncJobs)
def index(workspace_id: str) -> SyncJobs:
    _must_be_here(workspace_id)
    rows = db.session.scalars(
        select(SyncJob).where(SyncJob.workspace_id == workspace_id).order_by(SyncJob.name)
    ).all()
    configs = sync_jobs.configs_of(db.session(), [row.id for row in rows])
    return SyncJobs(items=[_shown(row, configs[row.id]) for row in rows])


@operation(
    bp, "POST", "", needs="edit", summary="Make a sync-job", body=NewSyncJob, returns=SyncJobOut, status=201,
    creates=True,
)  # fmt: skip
def create(workspace_id: str, body: NewSyncJob) -> Answer:
    """It becomes one sync per stream, left to right, matched by the stream's key; a missing table is made.
    Its syncs are made within moments: `state` tells."""
    _must_be_here(workspace_id)
    made = act(
        sync_jobs.create, workspace_id, name=body.name, left_id=body.dataSourceId,
        right_id=body.destinationDatabaseId, cron=body.schedule.cron, timezone=body.schedule.timezone,
        mode=body.syncMode, enabled=body.enabled, streams=body.entityFilter, by=by(),
        owner_id=auth.person().id,
    )  # fmt: skip
    return Answer(_one(_found(made)), 201, f"/api/workspaces/{workspace_id}/sync-jobs/{made}/status")


@operation(
    bp,
    "PUT",
    "/<job_id>",
    needs="edit",
    summary="Change a sync-job",
    body=ChangedSyncJob,
    returns=SyncJobOut,
    refuses=True,
)
def change(workspace_id: str, job_id: str, body: ChangedSyncJob) -> SyncJobOut:
    """What is left out stays."""
    job = _mine(workspace_id, job_id)
    values: dict[str, Any] = {
        name: value for name, value in (("name", body.name), ("enabled", body.enabled)) if value is not None
    }
    if body.schedule is not None:
        values |= {"cron": body.schedule.cron, "timezone": body.schedule.timezone}
    act(sync_jobs.change, job.id, values, by=by())
    return _one(_found(job_id))


@operation(
    bp, "DELETE", "/<job_id>", needs="edit", summary="Delete a sync-job and its syncs", returns=None,
    status=204, refuses=True,
)  # fmt: skip
def delete(workspace_id: str, job_id: str) -> None:
    act(sync_jobs.delete, _mine(workspace_id, job_id).id, by=by())


@operation(
    bp, "POST", "/<job_id>/toggle", needs="edit", summary="Switch it on or off", body=Empty,
    returns=SyncJobOut,
)  # fmt: skip
def toggle(workspace_id: str, job_id: str, body: Empty) -> SyncJobOut:
    job = _mine(workspace_id, job_id)
    act(sync_jobs.change, job.id, {"enabled": not job.enabled}, by=by())
    return _one(_found(job_id))


@operation(
    bp, "POST", "/<job_id>/run", needs="run", summary="Run all its syncs now", body=Empty, returns=Started,
    status=202, refuses=True, limit=TRIGGERS,
)  # fmt: skip
def run(workspace_id: str, job_id: str, body: Empty) -> Started:
    queued, active = act(sync_jobs.run, _mine(workspace_id, job_id).id, by=by())
    return Started(queued=queued, active=active)


@operation(
    bp, "GET", "/<job_id>/status", needs="read", summary="How it is: last run, next run, history",
    returns=Status,
)  # fmt: skip
def status(workspace_id: str, job_id: str) -> Status:
    job = _mine(workspace_id, job_id)
    configs = sync_jobs.configs_of(db.session(), [job.id])[job.id]
    runs = newest_of([config.id for config in configs], HISTORY)
    took = [
        (run.finished_at - run.started_at).total_seconds() * 1000
        for run in runs
        if run.started_at and run.finished_at
    ]
    active = next((run.state for run in runs if run.state not in ENDED), None)
    ended = next((run for run in runs if run.state in ENDED), None)
    return Status(
        state=active or (job.state if job.state != "ready" else ended.state if ended else "idle"),
        lastRun=_line(ended) if ended else None,
        lastError=job.error or next((run.error for run in runs if run.error), None),
        nextRun=min((config.next_run_at for config in configs if config.next_run_at), default=None),
        averageDurationMs=round(sum(took) / len(took)) if took else None,
        history=[_line(run) for run in runs],
    )


def _must_be_here(workspace_id: str) -> None:
    if workspace_id != workspace():
        abort(404)


def _mine(workspace_id: str, job_id: str) -> SyncJob:
    _must_be_here(workspace_id)
    return _found(job_id)


def _found(job_id: str) -> SyncJob:
    found = db.session.scalar(
        select(SyncJob).where(SyncJob.id == job_id, SyncJob.workspace_id == workspace())
    )
    if found is None:
        abort(404)
    return found


def _one(job: SyncJob) -> SyncJobOut:
    return _shown(job, sync_jobs.configs_of(db.session(), [job.id])[job.id])


def _shown(job: SyncJob, configs: Sequence[SyncConfig]) -> SyncJobOut:
    return SyncJobOut(
        id=job.id,
        name=job.name,
        dataSourceId=job.left_connection_id,
        destinationDatabaseId=job.right_connection_id,
        schedule=Schedule(cron=job.cron, timezone=job.timezone),
        syncMode=job.mode,
        enabled=job.enabled,
        entityFilter=job.streams,
        state=job.state,
        error=job.error,
        configs=[config.id for config in configs],
        createdAt=job.created_at,
        updatedAt=job.updated_at,
    )


def _line(run: SyncRun) -> RunLine:
    return RunLine(
        id=run.id,
        configId=run.config_id,
        state=run.state,
        startedAt=run.started_at,
        finishedAt=run.finished_at,
        error=run.error,
    )
