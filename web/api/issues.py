"""Issues: failures by their cause, until they no longer occur."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field
from sqlalchemy import select

from models.issues import Issue
from tasks import issues
from tasks.issues import LONGEST_NOTE
from web.api.common import Id, PageOf, PageQuery, Reason, blueprint, by, config, page, workspace
from web.api.wire import Answer, Input, Output, operation
from web.causes import cause
from web.database import act
from web.reads import issues as reads
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
    hours: int | None = Field(default=None, ge=1, le=744, description="Quiet for so long at most.")
    reason: Reason = ""


class Fixed(Input):
    config_id: Id
    code: str = Field(min_length=1, max_length=60)
    reason: Reason = ""


class Claim(Input):
    config_id: Id
    code: str = Field(min_length=1, max_length=60)
    claimed: bool = Field(description="False: given back.")
    over: str = Field(default="", max_length=320, description="Who has it, and hands it over.")


class ClaimOut(Output):
    until: datetime | None = Field(description="Null: given back.")


class NotesQuery(Input):
    config_id: str = Field(min_length=1, max_length=36)
    code: str = Field(min_length=1, max_length=60)


class NewNote(Input):
    config_id: Id
    code: str = Field(min_length=1, max_length=60)
    text: str = Field(min_length=1, max_length=LONGEST_NOTE)


class NoteOut(Output):
    at: datetime
    by: str
    text: str


class Notes(Output):
    items: list[NoteOut]


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
    lasts = timedelta(hours=body.hours) if body.hours is not None else None
    return Changed(
        changed=act(issues.mute, found.id, body.code, on=body.muted, by=by(), reason=body.reason, lasts=lasts)
    )


@operation(
    bp, "POST", "/issues/resolutions", needs="resolve", summary="Call a cause fixed", body=Fixed,
    returns=Changed,
)  # fmt: skip
def resolve(body: Fixed) -> Changed:
    """Its issues close. If the cause is still there, the next run opens them again."""
    found = config(body.config_id)
    return Changed(changed=act(issues.resolve, found.id, body.code, by=by(), reason=body.reason))


@operation(
    bp, "PUT", "/issues/claimed", needs="resolve", summary="Say that you are on it, or not any more",
    body=Claim, returns=ClaimOut, refuses=True,
)  # fmt: skip
def claim(body: Claim) -> ClaimOut:
    """For half an hour the others see who is. Refused while somebody else is on it who is not named."""
    found = config(body.config_id)
    if not body.claimed:
        act(issues.release, found.id, body.code, by=by())
        return ClaimOut(until=None)
    return ClaimOut(until=act(issues.claim, found.id, body.code, by=by(), over=body.over))


@operation(
    bp, "GET", "/issues/notes", needs="read", summary="What people noted about a cause", query=NotesQuery,
    returns=Notes, misses=True,
)  # fmt: skip
def notes(query: NotesQuery) -> Notes:
    return _notes(config(query.config_id).id, query.code)


@operation(
    bp, "POST", "/issues/notes", needs="resolve", summary="Note something for whoever looks next",
    body=NewNote, returns=Notes, status=201, creates=True,
)  # fmt: skip
def note(body: NewNote) -> Answer:
    found = config(body.config_id)
    act(issues.note, found.id, body.code, body.text.strip(), by=by())
    return Answer(_notes(found.id, body.code), 201)


def _notes(config_id: str, code: str) -> Notes:
    return Notes(items=[NoteOut(at=row.at, by=row.by, text=row.text) for row in reads.notes(config_id, code)])


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
