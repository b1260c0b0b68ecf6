"""Records: found by id or key, with everything that is known of one of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from flask import abort
from pydantic import Field

from models.questions import QuestionKind
from tasks import linking, unknowns
from web.api.common import blueprint, by, config, workspace
from web.api.questions import QuestionOut, ask
from web.api.wire import Answer, Empty, Input, Output, operation
from web.database import act
from web.reads import records as reads

bp = blueprint("records")

TRIGGERS = "60 per minute"


class FindQuery(Input):
    q: str = Field(min_length=1, max_length=500, description="An id or key, or how a key begins.")


class HistoryQuery(Input):
    key: str = Field(min_length=1, max_length=500)


class LinkWish(Input):
    left_id: str = Field(min_length=1, max_length=500)
    right_id: str = Field(min_length=1, max_length=500)


class Correction(Input):
    side: Literal["left", "right"]
    record_id: str = Field(min_length=1, max_length=500)
    fields: dict[str, Annotated[str, Field(max_length=10_000)] | None] = Field(
        min_length=1, max_length=200, description="Texts by the pairs' left names; null clears."
    )


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
    link_id: int | None
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
    found = reads.story(config(config_id), query.key)
    if found is None:
        abort(404)
    return StoryOut(
        config_id=config_id,
        key=found.key,
        status=found.status.word,
        why=found.why,
        link_id=found.link_id,
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


@operation(
    bp, "POST", "/configs/<config_id>/links", needs="resolve", summary="Say that two records are one",
    body=LinkWish, returns=QuestionOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def link(config_id: str, body: LinkWish) -> Answer:
    """Both are looked for first. Nothing is written until the next run, which takes them as if both had just
    been seen for the first time."""
    return ask(config_id, QuestionKind.LINK, left=body.left_id, right=body.right_id)


@operation(
    bp, "DELETE", "/configs/<config_id>/links/<int:link_id>", needs="resolve", summary="Part two records",
    returns=None, status=204, refuses=True,
)  # fmt: skip
def unlink(config_id: str, link_id: int) -> None:
    """Both stay as they are, and nothing flows between them until they are linked again."""
    if not reads.has_link(config(config_id), link_id):
        abort(404)
    act(linking.unlink, link_id, by=by())


@operation(
    bp, "POST", "/configs/<config_id>/lost/<int:change_id>", needs="resolve",
    summary="Say that a write whose answer was lost did not happen", body=Empty, returns=None, status=204,
    refuses=True,
)  # fmt: skip
def not_done(config_id: str, change_id: int, body: Empty) -> None:
    """The next run decides it again. What did happen is linked instead."""
    if not reads.has_change(config(config_id), change_id):
        abort(404)
    act(unknowns.did_not_happen, change_id, by=by())


@operation(
    bp, "POST", "/configs/<config_id>/corrections", needs="resolve", summary="Correct a record on one side",
    body=Correction, returns=QuestionOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def correct(config_id: str, body: Correction) -> Answer:
    """The answer names the run that writes the values, and takes them to the other side like any edit."""
    return ask(config_id, QuestionKind.CORRECT, side=body.side, record=body.record_id, fields=body.fields)
