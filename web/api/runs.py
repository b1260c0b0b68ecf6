"""Runs: what happened, what is happening, and what can be done about it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field
from sqlalchemy import select

from models.calls import RunCall
from models.journal import Change, ChangeState
from models.sync_runs import RunKind, RunLine, RunState, SyncRun
from tasks import exports, previews, retries, runs
from web.api.common import (
    Number,
    Object,
    PageOf,
    PageQuery,
    Reason,
    blueprint,
    by,
    page,
    page_by_id,
    request_key,
    workspace,
)
from web.api.common import run as own_run
from web.api.wire import Answer, Input, Output, operation
from web.database import act, db
from web.reads.calls import masked
from web.reads.runs import RunFilter, has_outcome

bp = blueprint("runs")

TRIGGERS = "60 per minute"


class RunOut(Output):
    id: str
    config_id: str
    config_version: int
    kind: RunKind
    state: RunState
    asked_by: str
    reason: str
    full: bool
    options: Object
    retry_of: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    wait_text: str
    phase: str
    done: int
    total: int | None
    cancel_requested_at: datetime | None
    summary: Object | None = Field(description="What `syncline sync --json` prints.")
    error_code: str | None
    error: str | None


class RunsQuery(PageQuery):
    config_id: str = Field(default="", max_length=36)
    state: RunState | None = None
    kind: RunKind | None = None


class ChangesQuery(PageQuery):
    state: ChangeState | None = None


class ChangeOut(Output):
    id: int
    side: str
    operation: str
    key: str
    record_id: str | None
    state: ChangeState
    rule: str
    guard: str | None
    before: Object | None
    after: Object | None
    result: Object | None
    code: str | None
    message: str | None
    created_at: datetime
    settled_at: datetime | None


class LineOut(Output):
    at: datetime
    level: str
    text: str


class CallsQuery(PageQuery):
    failed: bool = Field(default=False, description="Only those that failed.")


class CallOut(Output):
    id: int
    number: int = Field(description="Of all calls of the run; those that went well are not all kept.")
    at: datetime
    side: str
    method: str
    origin: str
    target: str = Field(description="Without its query, which may hold a person's data.")
    attempt: int
    status: int | None = Field(description="Null: no whole answer came, for the reason in `problem`.")
    problem: str
    failed: bool
    ms: int
    request_id: str
    sent_size: int
    size: int
    changes: list[int] = Field(description="Ids of the changes that it carried.")


class CallsWish(Input):
    ids: list[Number] = Field(min_length=1, max_length=100, description="Ids of calls of this run.")


class CarriedOut(Output):
    id: int
    target: str
    sent_headers: Object
    sent: str = Field(description="From the beginning, without credentials.")
    headers: Object
    body: str = Field(description="From the beginning, without credentials.")


class Carried(Output):
    items: list[CarriedOut]


class Why(Input):
    reason: Reason = ""


class RetryWish(Input):
    whole: bool = Field(default=False, description="The whole run, not only what failed in it.")
    key: str | None = Field(default=None, max_length=500, description="Only this record.")
    reason: Reason = ""


@operation(
    bp,
    "GET",
    "/runs",
    needs="read",
    summary="Runs, the newest first",
    query=RunsQuery,
    returns=PageOf[RunOut],
)
def index(query: RunsQuery) -> PageOf[RunOut]:
    wanted = RunFilter(query.config_id, kind=query.kind or "")
    rows = wanted.rows(workspace(), [query.state] if query.state is not None else ())
    return PageOf[RunOut](**page(rows, SyncRun.created_at, SyncRun.id, query, shown))


@operation(bp, "GET", "/runs/<run_id>", needs="read", summary="One run", returns=RunOut)
def show(run_id: str) -> RunOut:
    return shown(own_run(run_id))


@operation(
    bp, "GET", "/runs/<run_id>/changes", needs="read", summary="What a run changed, field by field",
    query=ChangesQuery, returns=PageOf[ChangeOut],
)  # fmt: skip
def changes(run_id: str, query: ChangesQuery) -> PageOf[ChangeOut]:
    rows = select(Change).where(Change.run_id == own_run(run_id).id)
    if query.state is not None:
        rows = rows.where(has_outcome(query.state))
    return PageOf[ChangeOut](**page_by_id(rows, Change.id, query, change_shown))


@operation(
    bp, "GET", "/runs/<run_id>/log", needs="read", summary="A run's log, the newest line first",
    query=PageQuery, returns=PageOf[LineOut],
)  # fmt: skip
def log(run_id: str, query: PageQuery) -> PageOf[LineOut]:
    rows = select(RunLine).where(RunLine.run_id == own_run(run_id).id)
    return PageOf[LineOut](
        **page_by_id(
            rows,
            RunLine.id,
            query,
            lambda row: LineOut(at=row.at, level=row.level, text=row.text),
        )
    )


@operation(
    bp, "GET", "/runs/<run_id>/calls", needs="read",
    summary="What a run asked the outside, as far as it is kept, the newest first", query=CallsQuery,
    returns=PageOf[CallOut],
)  # fmt: skip
def calls(run_id: str, query: CallsQuery) -> PageOf[CallOut]:
    rows = select(RunCall).where(RunCall.run_id == own_run(run_id).id)
    if query.failed:
        rows = rows.where(RunCall.failed)
    return PageOf[CallOut](
        **page(
            rows,
            RunCall.at,
            RunCall.id,
            query,
            _call_shown,
        )
    )


@operation(
    bp, "POST", "/runs/<run_id>/calls/reveals", needs="reveal",
    summary="What chosen calls of a run carried", body=CallsWish, returns=Carried,
)  # fmt: skip
def reveal(run_id: str, body: CallsWish) -> Carried:
    """The audit notes who looked: it may hold data of persons. Ids of other runs' calls are left out."""
    run = own_run(run_id)
    rows = select(RunCall).where(RunCall.run_id == run.id, RunCall.id.in_(body.ids)).order_by(RunCall.id)
    found = [CarriedOut.model_validate(row, from_attributes=True) for row in db.session.scalars(rows)]
    act(exports.reveal, run.id, by=by(), workspace_id=workspace(), calls=len(found))
    return Carried(items=found)


@operation(
    bp, "POST", "/runs/<run_id>/cancellation", needs="cancel", summary="Stop it at its next batch",
    body=Why, returns=RunOut, refuses=True,
)  # fmt: skip
def cancel(run_id: str, body: Why) -> RunOut:
    """What it has written until then stays written."""
    act(runs.cancel, own_run(run_id).id, by=by(), reason=body.reason)
    return shown(own_run(run_id))


@operation(
    bp, "POST", "/runs/<run_id>/retries", needs="retry", summary="Try what failed in it again",
    body=RetryWish, returns=RunOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def retry(run_id: str, body: RetryWish) -> Answer:
    """A new run that reads everything afresh; what a later run has fixed is left out."""
    made = act(
        retries.retry_run, own_run(run_id).id, by=by(), whole=body.whole, key=body.key, reason=body.reason,
        request_key=request_key(),
    )  # fmt: skip
    return queued(made.run_id)


@operation(
    bp, "POST", "/runs/<run_id>/execution", needs="run", summary="Carry out what a preview showed", body=Why,
    returns=RunOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def carry_out(run_id: str, body: Why) -> Answer:
    """A new run that writes just what the preview showed, where both sides are still as they were read."""
    made = act(
        previews.carry_out, own_run(run_id).id, by=by(), reason=body.reason, request_key=request_key()
    )  # fmt: skip
    return queued(made)


@operation(
    bp, "POST", "/runs/<run_id>/undo", needs="retry", summary="Put back what it wrote", body=Why,
    returns=RunOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def undo(run_id: str, body: Why) -> Answer:
    """A new run that puts values back wherever they still stand as this one left them."""
    run = own_run(run_id)
    made = act(
        runs.queue, run.config_id, kind=RunKind.UNDO, asked_by=by(), reason=body.reason,
        options={"run": run.id}, request_key=request_key(),
    )  # fmt: skip
    return queued(made)


def queued(run_id: str) -> Answer:
    return Answer(shown(own_run(run_id)), 202, f"/api/v1/runs/{run_id}")


def shown(row: SyncRun) -> RunOut:
    return RunOut.model_validate(row, from_attributes=True)


def _call_shown(row: RunCall) -> CallOut:
    shown = CallOut.model_validate(row, from_attributes=True)
    return shown.model_copy(update={"target": masked(row.target)})


def change_shown(row: Change) -> ChangeOut:
    return ChangeOut.model_validate(row, from_attributes=True)
