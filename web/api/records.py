"""Records: found by id or key, with everything that is known of one of them."""

from __future__ import annotations

from datetime import datetime

from flask import abort
from pydantic import Field

from web.api.common import blueprint, config, workspace
from web.api.wire import Input, Output, operation
from web.reads import records as reads

bp = blueprint("records")


class FindQuery(Input):
    q: str = Field(min_length=1, max_length=500, description="An id or key, or how a key begins.")


class HistoryQuery(Input):
    key: str = Field(min_length=1, max_length=500)


class HitOut(Output):
    config_id: str
    config: str
    key: str
    status: str
    why: str


class Hits(Output):
    items: list[HitOut]


class EventOut(Output):
    at: datetime
    title: str
    text: str
    run_id: str | None
    change_id: int | None
    conflict_id: int | None


class AgreedOut(Output):
    field: str
    left: str | None
    right: str | None


class StoryOut(Output):
    config_id: str
    key: str
    status: str
    why: str
    left_id: str | None
    right_id: str | None
    agreed: list[AgreedOut] = Field(description="What each side held when both last agreed.")
    events: list[EventOut]


@operation(bp, "GET", "/records", needs="read", summary="Find records", query=FindQuery, returns=Hits)
def find(query: FindQuery) -> Hits:
    """Over all syncs. Nothing is asked of the connected systems."""
    return Hits(
        items=[
            HitOut(
                config_id=hit.config.id,
                config=hit.config.name,
                key=hit.key,
                status=hit.status.word,
                why=hit.why,
            )
            for hit in reads.search(workspace(), query.q)
        ]
    )


@operation(
    bp, "GET", "/configs/<config_id>/records", needs="read", summary="One record's whole history in a sync",
    query=HistoryQuery, returns=StoryOut,
)  # fmt: skip
def history(config_id: str, query: HistoryQuery) -> StoryOut:
    found = reads.story(workspace(), config(config_id).id, query.key)
    if found is None:
        abort(404)
    return StoryOut(
        config_id=config_id,
        key=found.key,
        status=found.status.word,
        why=found.why,
        left_id=found.left_id,
        right_id=found.right_id,
        agreed=[
            AgreedOut(field=item.name, left=item.left.text, right=item.right.text) for item in found.agreed
        ],
        events=[
            EventOut(
                at=entry.at,
                title=entry.title,
                text=entry.text,
                run_id=entry.run_id,
                change_id=entry.change.change.id if entry.change else None,
                conflict_id=entry.conflict_id,
            )
            for entry in found.entries
        ],
    )
