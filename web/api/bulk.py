"""Bulk retries: a frozen set of failing records, looked at before it is started, and taken back in time."""

from __future__ import annotations

from datetime import datetime

from flask import abort
from pydantic import Field

from tasks import bulk
from tasks.bulk import Selection
from web.api.common import PageOf, PageQuery, Reason, blueprint, by, workspace
from web.api.wire import Answer, Empty, Input, Output, operation
from web.database import act
from web.preferences import clock
from web.reads import bulk as reads
from web.reads.issues import IssueFilter

bp = blueprint("bulk")


class Choice(Input):
    config_id: str = Field(default="", max_length=36, description="Omitted: all syncs.")
    code: str = Field(default="", max_length=60, description="Omitted: every cause.")
    text: str = Field(default="", max_length=200, description="In the record's key or the message.")


class Start(Input):
    digest: str = Field(max_length=64, description="Of the plan that was looked at.")
    one_first: bool = Field(
        default=False, description="One record alone; the others follow if it gets through."
    )
    reason: Reason = ""


class Stop(Input):
    reason: Reason = ""


class PartOut(Output):
    config_id: str
    keys: list[str]
    left_out: dict[str, str] = Field(description="By key, why it is not tried.")
    message: str
    preview_run_id: str | None
    would_write: int | None = Field(description="Changes that the preview found.")
    run_id: str | None
    failed_again: list[str]


class BulkOut(Output):
    id: str
    state: str = Field(description="planned, expired, recallable, first, started, done, stopped or recalled.")
    chosen: str
    digest: str
    reason: str
    planned_by: str
    created_at: datetime
    expires_at: datetime
    starts_at: datetime | None = Field(description="Until then it can be taken back.")
    ended_because: str
    first_key: str | None
    first_run_id: str | None
    records: int
    to_come: int
    fixed: int
    failed_again: int
    left_out: int
    parts: list[PartOut]


class Asked(Output):
    previews: int


class Stopped(Output):
    cancelled: int


@operation(
    bp, "GET", "/bulk-retries", needs="read", summary="Bulk retries, the newest first", query=PageQuery,
    returns=PageOf[BulkOut],
)  # fmt: skip
def index(query: PageQuery) -> PageOf[BulkOut]:
    found = reads.find(workspace(), {"before": query.cursor}, clock().now, size=query.limit)
    return PageOf[BulkOut](items=[_shown(item) for item in found.items], next=found.older)


@operation(
    bp, "POST", "/bulk-retries", needs="retry", summary="Freeze the records that fail now and fit",
    body=Choice, returns=BulkOut, status=201, creates=True,
)  # fmt: skip
def plan(body: Choice) -> Answer:
    """Nothing is tried yet."""
    chosen = Selection(workspace(), body.config_id, body.code, body.text)
    said = IssueFilter(body.config_id, "open", body.code, body.text).said(body.config_id)
    made = act(bulk.plan, chosen, said=said, by=by())
    return Answer(_shown(_found(made)), 201, f"/api/v1/bulk-retries/{made}")


@operation(bp, "GET", "/bulk-retries/<bulk_id>", needs="read", summary="One bulk retry", returns=BulkOut)
def show(bulk_id: str) -> BulkOut:
    return _shown(_found(bulk_id))


@operation(
    bp, "POST", "/bulk-retries/<bulk_id>/previews", needs="retry", summary="Ask what it would write now",
    body=Empty, returns=Asked, status=202, refuses=True,
)  # fmt: skip
def look(bulk_id: str, body: Empty) -> Asked:
    """A preview for each of its syncs; what they found shows in its parts."""
    return Asked(previews=act(bulk.look, _found(bulk_id).row.id, by=by()))


@operation(
    bp, "POST", "/bulk-retries/<bulk_id>/confirmation", needs="retry", summary="Start it", body=Start,
    returns=BulkOut, refuses=True,
)  # fmt: skip
def confirm(bulk_id: str, body: Start) -> BulkOut:
    """It begins after 30 seconds, in which it can be taken back."""
    row = _found(bulk_id).row
    act(bulk.confirm, row.id, digest=body.digest, by=by(), reason=body.reason, one_first=body.one_first)
    return _shown(_found(bulk_id))


@operation(
    bp, "POST", "/bulk-retries/<bulk_id>/recall", needs="retry", summary="Take it back before it begins",
    body=Empty, returns=BulkOut, refuses=True,
)  # fmt: skip
def recall(bulk_id: str, body: Empty) -> BulkOut:
    act(bulk.recall, _found(bulk_id).row.id, by=by())
    return _shown(_found(bulk_id))


@operation(
    bp, "POST", "/bulk-retries/<bulk_id>/stop", needs="retry", summary="Stop what is left of it", body=Stop,
    returns=Stopped, refuses=True,
)  # fmt: skip
def stop(bulk_id: str, body: Stop) -> Stopped:
    """What is done stays done."""
    return Stopped(cancelled=act(bulk.stop, _found(bulk_id).row.id, by=by(), reason=body.reason))


def _found(bulk_id: str) -> reads.Bulk:
    found = reads.one(workspace(), bulk_id, clock().now)
    if found is None:
        abort(404)
    return found


def _shown(item: reads.Bulk) -> BulkOut:
    row, counts = item.row, item.counts
    return BulkOut(
        id=row.id,
        state=item.state,
        chosen=row.chosen,
        digest=row.digest,
        reason=row.reason,
        planned_by=row.planned_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        starts_at=row.starts_at,
        ended_because=row.ended_because,
        first_key=row.first_key,
        first_run_id=row.first_run_id,
        records=counts.chosen,
        to_come=counts.to_come,
        fixed=counts.fixed,
        failed_again=counts.failed,
        left_out=counts.left_out,
        parts=[
            PartOut(
                config_id=part.config.id,
                keys=list(part.row.keys),
                left_out=dict(part.row.left_out),
                message=part.row.message,
                preview_run_id=part.row.preview_run_id,
                would_write=part.would_write,
                run_id=part.row.run_id,
                failed_again=part.failed_again,
            )
            for part in item.parts
        ],
    )
