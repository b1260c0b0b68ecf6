"""Open issues, grouped by their cause: what happened, who can act, whether it heals by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from models.issues import Issue, IssueClaim, IssueNote
from tasks.bulk import Selection
from web.causes import Cause, cause, title
from web.database import db
from web.languages import _
from web.reads import impact
from web.reads.query import (
    BadFilter,
    Beside,
    Count,
    Export,
    Slice,
    config_names,
    damaged,
    export,
    keyset,
    whole,
)

STATES = ("open", "muted", "healed")
GROUPS = 50  # on a page
HEALED = 10_000  # that are over, of which groups are told
RECORDS = 10_000  # issues among which the records that fail are counted


@dataclass(frozen=True, slots=True)
class IssueFilter:
    config_id: str = ""
    state: str = "open"
    code: str = ""
    text: str = ""

    @classmethod
    def of(cls, args: Mapping[str, str]) -> IssueFilter:
        """Raises BadFilter."""
        state = args.get("state", "open")
        if state not in STATES:
            raise BadFilter(
                _("'%(word)s' is not a state of issues. Use open, muted or healed.", word=state[:40])
            )
        return cls(
            args.get("config", "")[:36], state, args.get("code", "")[:60], args.get("q", "").strip()[:200]
        )

    def args(self, **changed: str) -> dict[str, str]:
        named = {"config": self.config_id, "state": self.state, "code": self.code, "q": self.text} | changed
        return {name: value for name, value in named.items() if value and (name, value) != ("state", "open")}

    @property
    def condition(self) -> tuple[Any, ...]:
        """Of the state alone."""
        is_open = Issue.closed_at.is_(None)
        return {
            "open": (is_open, Issue.muted.is_(False)),
            "muted": (is_open, Issue.muted),
            "healed": (Issue.closed_at.is_not(None),),
        }[self.state]

    def chosen(self, workspace_id: str) -> Selection:
        """The same choice as a bulk retry freezes it."""
        return Selection(workspace_id, self.config_id, self.code, self.text)

    def within(self, workspace_id: str) -> tuple[Any, ...]:
        return (*self.chosen(workspace_id).conditions, *self.condition)

    def said(self, sync: str) -> str:
        """The choice in words, for the record: in English. `sync` is the name of the one that it names."""
        parts = [f"“{title(self.code)}”" if self.code else "every cause"]
        parts.append(f"in {sync}" if sync else "in all syncs")
        if self.text:
            parts.append(f"with “{self.text}”")
        return " ".join(parts)


EXPORTED = (
    "sync", "code", "side", "record", "field", "message", "seen_in_runs",
    "opened_at", "last_seen_at", "closed_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """The issues of one sync that have one cause."""

    config_id: str
    config: str
    code: str
    number: int
    since: datetime
    message: str  # one of them
    retry_at: datetime | None
    muted_until: datetime | None
    impact: impact.Impact | None = None  # where its sync names columns for it
    claim: IssueClaim | None = None  # who looks at it

    @property
    def weight(self) -> tuple[int, int]:
        return self.impact.weight if self.impact is not None else (0, 0)

    @property
    def cause(self) -> Cause:
        return cause(self.code)


def groups(workspace_id: str, wanted: IssueFilter, args: Mapping[str, str], now: datetime) -> Slice[Group]:
    """One page of the groups that match, the largest first. Raises BadFilter.

    Of what healed only the newest issues are counted: what is over grows without end.
    """
    query = _causes(workspace_id, wanted).limit(GROUPS + 1)
    if after := args.get("after"):
        last, code, config_id = _position(after)
        each = query.selected_columns
        follows = or_(each.code > code, and_(each.code == code, each.config_id > config_id))
        query = query.having(or_(each.number < last, and_(each.number == last, follows)))
    found = db.session.execute(query).all()
    shown = found[:GROUPS]
    ids = {row.config_id for row in shown}
    names = config_names(ids)
    told = select(Issue.id, Issue.message).where(Issue.id.in_([row.first for row in shown]))
    messages = {row.id: row.message for row in db.session.execute(told)}
    claims = {(claim.config_id, claim.code): claim for mine in claims_of(ids, now).values() for claim in mine}
    items = [
        Group(
            config_id=row.config_id,
            config=names[row.config_id],
            code=row.code,
            number=row.number,
            since=row.since,
            message=messages.get(row.first, ""),  # gone since: cleaned up
            retry_at=row.retry_at,
            muted_until=row.muted_until,
            claim=claims.get((row.config_id, row.code)),
        )
        for row in shown
    ]
    more = len(found) > GROUPS
    older = f"{items[-1].number}~{items[-1].config_id}~{items[-1].code}" if more else None
    return Slice(_with_impact(items, wanted), older=older)


def _causes(workspace_id: str, wanted: IssueFilter) -> Select[Any]:
    """What of each cause its issues tell together, the largest first."""
    rows = select(  # of open ones all that an index holds
        Issue.id,
        Issue.config_id,
        Issue.code,
        Issue.opened_at,
        Issue.retry_at,
        Issue.muted_until,
    ).where(*wanted.within(workspace_id))
    if wanted.state == "healed":
        rows = rows.order_by(Issue.opened_at.desc(), Issue.id.desc()).limit(HEALED)
    each = rows.subquery().c
    number = func.count()
    return (
        select(
            each.config_id,
            each.code,
            number.label("number"),
            func.min(each.opened_at).label("since"),
            func.min(each.id).label("first"),
            func.min(each.retry_at).label("retry_at"),
            func.min(each.muted_until).label("muted_until"),
        )
        .group_by(each.config_id, each.code)
        .order_by(number.desc(), each.code, each.config_id)
    )


def beside(workspace_id: str, config_id: str, code: str, wanted: IssueFilter) -> Beside:
    """The causes next to this one in a list, as an address names them. One that is over stands before all."""
    found = [(row.config_id, row.code) for row in db.session.execute(_causes(workspace_id, wanted))]
    this = (config_id, code)
    page = found.index(this) // GROUPS if this in found else 0
    near = found[max(page - 1, 0) * GROUPS : (page + 2) * GROUPS]
    means = impact.of_causes(near, wanted.condition) if wanted.state != "healed" else {}
    weights = [means[cause].weight if cause in means else (0, 0) for cause in near]
    # As the pages of the list show them.
    order = sorted(range(len(near)), key=lambda at: (-(at // GROUPS), weights[at]), reverse=True)
    shown = [None, *(near[at] for at in order), None]
    here = shown.index(this) if this in shown else 0
    newer, older = (
        place and {"config_id": place[0], "cause": place[1]} for place in (shown[here - 1], shown[here + 1])
    )
    return Beside(newer, older)


def _with_impact(items: Sequence[Group], wanted: IssueFilter) -> list[Group]:
    """The groups of one page, those first that mean most for the business."""
    if wanted.state == "healed":
        return list(items)
    means = impact.of_causes([(item.config_id, item.code) for item in items], wanted.condition)
    found = [replace(item, impact=means.get((item.config_id, item.code))) for item in items]
    return sorted(found, key=lambda item: item.weight, reverse=True)


def _position(cursor: str) -> tuple[int, str, str]:
    """Number, code and sync of a page's last group. Raises BadFilter."""
    number, config_id, code = (*cursor.split("~", 2), "", "")[:3]
    if not (config_id and code):
        raise damaged()
    return whole(number), code, config_id


def exported(workspace_id: str, wanted: IssueFilter, limit: int) -> Export:
    """The newest issues that match, as rows under EXPORTED."""
    query = select(Issue).where(*wanted.within(workspace_id))
    return export(query, Issue.opened_at, Issue.id, _rows, limit)


def _rows(found: Sequence[Issue]) -> Iterator[tuple[Any, ...]]:
    names = config_names({issue.config_id for issue in found})
    for issue in found:
        told = (names[issue.config_id], issue.code, issue.side, issue.key, issue.field, issue.message)
        yield (*told, issue.seen, issue.opened_at, issue.last_seen_at, issue.closed_at)


def claims_of(config_ids: Iterable[str], now: datetime) -> dict[str, list[IssueClaim]]:
    """Who looks at which causes of these syncs, by sync; the longest first."""
    rows = db.session.scalars(
        select(IssueClaim)
        .where(IssueClaim.config_id.in_(set(config_ids)), IssueClaim.until > now)
        .order_by(IssueClaim.at)
    )
    found: dict[str, list[IssueClaim]] = {}
    for row in rows:
        found.setdefault(row.config_id, []).append(row)
    return found


def group(workspace_id: str, config_id: str, code: str, wanted: IssueFilter, now: datetime) -> Group | None:
    """One group, or None where nothing of it is in this state."""
    mine = IssueFilter(config_id, wanted.state, code)
    return next(iter(groups(workspace_id, mine, {}, now).items), None)


def members(
    workspace_id: str, config_id: str, code: str, wanted: IssueFilter, args: Mapping[str, str]
) -> Slice[Issue]:
    """One page of a group's issues, the newest first. Raises BadFilter."""
    mine = IssueFilter(config_id, wanted.state, code)
    query = select(Issue).where(*mine.within(workspace_id))
    return keyset(query, Issue.opened_at, Issue.id, lambda item: (item.opened_at, item.id), args)


def codes(workspace_id: str) -> list[tuple[str, str]]:
    """(code, title) of the causes that there are, for a list to choose from."""
    found = db.session.scalars(
        select(Issue.code).where(Issue.workspace_id == workspace_id, Issue.closed_at.is_(None)).distinct()
    )
    return sorted(((code, cause(code).title) for code in found), key=lambda item: item[1])


def records(workspace_id: str, wanted: IssueFilter) -> Count:
    """How many records a bulk retry of what is shown would take up: of open issues alone."""
    if wanted.state != "open":
        return Count(0)
    found = select(Issue.config_id, Issue.key).where(*wanted.within(workspace_id), Issue.key != "")
    rows = found.limit(RECORDS + 1).subquery()
    each = select(func.count().label("issues")).select_from(rows).group_by(rows.c.config_id, rows.c.key)
    sizes = each.subquery().c.issues
    number, issues = db.session.execute(select(func.count(sizes), func.sum(sizes))).one()
    return Count(number, capped=(issues or 0) > RECORDS)


def notes(config_id: str, code: str) -> Sequence[IssueNote]:
    """What people wrote down about a cause, the newest first."""
    mine = (IssueNote.config_id == config_id, IssueNote.code == code)
    return db.session.scalars(select(IssueNote).where(*mine).order_by(IssueNote.id.desc()).limit(50)).all()


@dataclass(frozen=True, slots=True)
class Fix:
    """That a person called a cause fixed."""

    at: datetime
    by: str


def last_fix(config_id: str, code: str) -> Fix | None:
    """The last time that somebody called this cause fixed: what fails now came back after it."""
    row = db.session.execute(
        select(Issue.closed_at, Issue.closed_by)
        .where(Issue.config_id == config_id, Issue.code == code, Issue.closed_by.is_not(None))
        .order_by(Issue.closed_at.desc())
        .limit(1)
    ).first()
    return Fix(row.closed_at, row.closed_by) if row is not None else None
