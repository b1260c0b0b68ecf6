"""Maintenance jobs: they touch every workspace, so only those who look after the first one see them."""

from __future__ import annotations

from datetime import datetime

from flask import abort
from pydantic import Field

from models.maintenance import JobExecution
from tasks import jobs
from tasks.people import DEFAULT_WORKSPACE
from web.api.common import Object, blueprint, by, workspace
from web.api.wire import Answer, Input, Output, operation
from web.database import act, ctx

bp = blueprint("jobs")

TRIGGERS = "60 per minute"


class ExecutionOut(Output):
    id: int
    state: str
    asked_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: Object | None
    error: str | None


class JobOut(Output):
    name: str
    sentence: str
    schedule: str
    enabled: bool
    next_run_at: datetime | None
    last: ExecutionOut | None


class Jobs(Output):
    items: list[JobOut]


class Executions(Output):
    items: list[ExecutionOut]


class Switch(Input):
    enabled: bool


class JobWish(Input):
    options: Object = Field(default_factory=dict, description="The job's own, such as retentionDays.")


class Asked(Output):
    id: int


@operation(bp, "GET", "/jobs", needs="administer", summary="All maintenance jobs", returns=Jobs, misses=True)
def index() -> Jobs:
    _must_be_of_the_installation()
    return Jobs(items=[_shown(view) for view in jobs.listed(ctx())])


@operation(
    bp, "PUT", "/jobs/<name>", needs="administer", summary="Switch a job's schedule on or off", body=Switch,
    returns=JobOut,
)  # fmt: skip
def switch(name: str, body: Switch) -> JobOut:
    _must_be_of_the_installation()
    act(jobs.switch, name, on=body.enabled, by=by())
    return next(_shown(view) for view in jobs.listed(ctx()) if view.name == name)


@operation(
    bp, "GET", "/jobs/<name>/executions", needs="administer", summary="What a job did lately",
    returns=Executions,
)  # fmt: skip
def executions(name: str) -> Executions:
    _must_be_of_the_installation()
    return Executions(items=[_execution(row) for row in act(jobs.history, name)])


@operation(
    bp, "POST", "/jobs/<name>/executions", needs="administer", summary="Let the next tick carry a job out",
    body=JobWish, returns=Asked, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def run(name: str, body: JobWish) -> Answer:
    _must_be_of_the_installation()
    made = act(jobs.ask, name, by=by(), options=body.options)
    return Answer(Asked(id=made), 202, f"/api/v1/jobs/{name}/executions")


def _shown(view: jobs.JobView) -> JobOut:
    return JobOut(
        name=view.name,
        sentence=view.sentence,
        schedule=view.schedule,
        enabled=view.enabled,
        next_run_at=view.next_run_at,
        last=_execution(view.last) if view.last else None,
    )


def _execution(row: JobExecution) -> ExecutionOut:
    return ExecutionOut.model_validate(row, from_attributes=True)


def _must_be_of_the_installation() -> None:
    if workspace() != DEFAULT_WORKSPACE:
        abort(404)
