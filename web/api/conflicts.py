"""Conflicts: both sides changed the same field. One is answered, or many at once."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import abort
from pydantic import Field
from sqlalchemy import select

from models.issues import Conflict
from sync.values import decode, display
from tasks import decisions
from web.api.common import Number, Object, PageOf, PageQuery, blueprint, by, page, workspace
from web.api.wire import Input, Output, operation
from web.database import act, db
from web.reads.conflicts import MOST, ConflictFilter

bp = blueprint("conflicts")


class ConflictOut(Output):
    id: int
    config_id: str
    key: str
    field: str = Field(description='By its left name; "" where one side was edited and the other deleted.')
    kind: str
    left: Object | str | None
    right: Object | str | None
    left_shadow: Object | str | None
    right_shadow: Object | str | None
    left_modified_at: datetime | None
    right_modified_at: datetime | None
    state: str
    answered: bool
    resolved_by: str | None
    opened_at: datetime
    closed_at: datetime | None


class ConflictsQuery(PageQuery):
    config_id: str = Field(default="", max_length=36)
    state: Literal["open", "answered", "settled"] = "open"


class Resolution(Input):
    take: Literal["left", "right", "value"]
    value: str | None = Field(
        default=None, max_length=10_000, description="With `take: value`: for both sides."
    )


class Resolutions(Input):
    ids: list[Number] = Field(min_length=1, max_length=MOST)
    take: Literal["left", "right"]


class Resolved(Output):
    id: int
    key: str
    field: str
    sentence: str


class ResolvedAll(Output):
    items: list[Resolved]


@operation(
    bp, "GET", "/conflicts", needs="read", summary="Conflicts, the newest first", query=ConflictsQuery,
    returns=PageOf[ConflictOut],
)  # fmt: skip
def index(query: ConflictsQuery) -> PageOf[ConflictOut]:
    rows = ConflictFilter(query.config_id, query.state).rows(workspace())
    return PageOf[ConflictOut](**page(rows, Conflict.opened_at, Conflict.id, query, _shown))


@operation(
    bp, "GET", "/conflicts/<int:conflict_id>", needs="read", summary="One conflict", returns=ConflictOut
)
def show(conflict_id: int) -> ConflictOut:
    return _shown(_found([conflict_id])[0])


@operation(
    bp, "POST", "/conflicts/<int:conflict_id>/resolution", needs="resolve", summary="Say which side stands",
    body=Resolution, returns=ResolvedAll, refuses=True,
)  # fmt: skip
def resolve(conflict_id: int, body: Resolution) -> ResolvedAll:
    """The next run writes the answer, if both sides still hold what they hold now; one is queued."""
    take = body.take if body.take != "value" else body.value or ""
    return _resolve([conflict_id], take, typed=body.take == "value")


@operation(
    bp, "POST", "/conflicts/resolutions", needs="resolve", summary="Let one side stand in many conflicts",
    body=Resolutions, returns=ResolvedAll, refuses=True,
)  # fmt: skip
def resolve_many(body: Resolutions) -> ResolvedAll:
    """All or none."""
    return _resolve(body.ids, body.take, typed=False)


def _resolve(ids: list[int], take: str, *, typed: bool) -> ResolvedAll:
    rows = _found(ids)
    seen = {row.id: [row.left, row.right] for row in rows}
    done = act(decisions.resolve, sorted(seen), take, by=by(), seen=seen, typed=typed)
    return ResolvedAll(items=[Resolved.model_validate(item) for item in done])


def _found(ids: list[int]) -> list[Conflict]:
    """All of these, which must be this workspace's own."""
    rows = db.session.scalars(
        select(Conflict).where(Conflict.id.in_(ids), Conflict.workspace_id == workspace())
    ).all()
    if len(rows) != len(set(ids)):
        abort(404)
    return list(rows)


def _shown(row: Conflict) -> ConflictOut:
    return ConflictOut(
        id=row.id,
        config_id=row.config_id,
        key=row.key,
        field=row.field,
        kind=row.kind,
        left=_value(row.left),
        right=_value(row.right),
        left_shadow=_value(row.left_shadow),
        right_shadow=_value(row.right_shadow),
        left_modified_at=row.left_modified_at,
        right_modified_at=row.right_modified_at,
        state=row.state,
        answered=bool(row.resolution),
        resolved_by=row.resolved_by,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )


def _value(box: dict[str, object] | None) -> dict[str, object] | str | None:
    if box is None:
        return None
    value = decode(box["value"])
    if isinstance(value, dict):
        return {str(name): None if item is None else display(item) for name, item in value.items()}
    return None if value is None else display(value)
