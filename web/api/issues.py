"""Issues: failures by their cause, until they no longer occur."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field
from sqlalchemy import select

from models.issues import Issue
from tasks import issues
from web.api.common import Id, PageOf, PageQuery, Reason, blueprint, by, config, page, workspace
from web.api.wire import Input, Output, operation
from web.causes import cause
from web.database import act
from web.reads.issues import IssueFilter

bp = blueprint("issues")


class IssueOut(Output):
    id: int
    config_id: str
    code: str
    title: str
    side: str
    key: str = Field(description='"": the whole sync.')
    field: str
    message: str
    seen: int = Field(description="In how many runs.")
    muted: bool
    opened_at: datetime
    last_seen_at: datetime
    retry_at: datetime | None
    closed_at: datetime | None


class IssuesQuery(PageQuery):
    config_id: str = Field(default="", max_length=36)
    code: str = Field(default="", max_length=60)
    state: Literal["open", "muted", "healed"] = "open"


class Mute(Input):
    config_id: Id
    code: str = Field(min_length=1, max_length=60)
    muted: bool
    reason: Reason = ""


class Changed(Output):
    changed: int


@operation(
    bp, "GET", "/issues", needs="read", summary="Issues, the newest first", query=IssuesQuery,
    returns=PageOf[IssueOut],
)  # fmt: skip
def index(query: IssuesQuery) -> PageOf[IssueOut]:
    rows = select(Issue).where(
        Issue.workspace_id == workspace(), *IssueFilter(query.config_id, query.state).condition
    )
    if query.config_id:
        rows = rows.where(Issue.config_id == query.config_id)
    if query.code:
        rows = rows.where(Issue.code == query.code)
    return PageOf[IssueOut](**page(rows, Issue.opened_at, Issue.id, query, _shown))


@operation(
    bp, "PUT", "/issues/muted", needs="resolve", summary="Keep a cause quiet, or let it speak again",
    body=Mute, returns=Changed,
)  # fmt: skip
def mute(body: Mute) -> Changed:
    """It speaks again by itself when its value or message changes."""
    found = config(body.config_id)
    return Changed(changed=act(issues.mute, found.id, body.code, on=body.muted, by=by(), reason=body.reason))


def _shown(row: Issue) -> IssueOut:
    return IssueOut(
        id=row.id,
        config_id=row.config_id,
        code=row.code,
        title=cause(row.code).title,
        side=row.side,
        key=row.key,
        field=row.field,
        message=row.message,
        seen=row.seen,
        muted=row.muted,
        opened_at=row.opened_at,
        last_seen_at=row.last_seen_at,
        retry_at=row.retry_at,
        closed_at=row.closed_at,
    )
