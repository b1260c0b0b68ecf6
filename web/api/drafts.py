"""Syncs put together step by step: ends, streams, proposed pairs, rules; then made, with a preview first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import abort
from pydantic import Field
from sqlalchemy import select

from models.drafts import Draft
from sync.definition import SyncDefinition
from sync.records import SIDES
from tasks import drafts
from tasks.errors import DefinitionError
from web import auth
from web.api.common import Id, Name, Object, PageOf, PageQuery, blueprint, by, config, page, workspace
from web.api.connections import CHECKS
from web.api.questions import QuestionOut, shown
from web.api.runs import RunOut, queued
from web.api.wire import Answer, Empty, Input, Output, operation
from web.database import act, db

bp = blueprint("drafts")

_WORDS = frozenset(SyncDefinition.model_fields) - {"left", "right"}


class ProposedPair(Output):
    left: str
    right: str
    why: str = Field(description="same name, same meaning, or same values.")


class DraftOut(Output):
    """`definition` is what was chosen so far, in the words of a YAML file."""

    id: str
    config_id: str | None = Field(description="The sync that is to be changed; null: a new one.")
    name: str
    definition: Object
    proposed: list[ProposedPair] = Field(description="Fields that could be pairs, once both sides were read.")
    proposed_match: list[str]
    questions: list[QuestionOut] = Field(
        description="What both systems were asked: which streams they hold, and a few records of the chosen"
        " ones. Forgotten after an hour; ask again."
    )
    made_by: str
    created_at: datetime
    updated_at: datetime


class DraftLine(Output):
    id: str
    config_id: str | None
    name: str
    made_by: str
    created_at: datetime
    updated_at: datetime


class NewDraft(Input):
    left_connection_id: Id
    right_connection_id: Id


class Streams(Input):
    left: Object = Field(
        description="`stream` and what else its connector wants to know: `key`, `create` ..."
    )
    right: Object


class Words(Input):
    name: Name | None = Field(default=None, description="How a new sync is to be called.")
    definition: Object = Field(
        default_factory=dict,
        description="Words of a definition, but for its ends: `fields`, `match`, `direction` ... null takes"
        " one out.",
    )


class Finished(Output):
    config_id: str
    preview_run_id: str | None = Field(
        description="The run that says what the first run of a new sync would do. Nothing is written before"
        " it is started: `/configs/{config_id}/start`, or `/configs/{config_id}/runs`."
    )


@operation(
    bp, "GET", "/drafts", needs="edit", summary="Syncs that somebody puts together", query=PageQuery,
    returns=PageOf[DraftLine],
)  # fmt: skip
def index(query: PageQuery) -> PageOf[DraftLine]:
    """A draft that nobody touches is forgotten after 30 days."""
    rows = select(Draft).where(Draft.workspace_id == workspace())
    return PageOf[DraftLine](**page(rows, Draft.created_at, Draft.id, query, _line))


@operation(
    bp, "POST", "/drafts", needs="edit", summary="Begin a sync between two connections", body=NewDraft,
    returns=DraftOut, status=201, creates=True, limit=CHECKS,
)  # fmt: skip
def begin(body: NewDraft) -> Answer:
    """Both are asked what they hold."""
    return _begun(act(drafts.begin, workspace(), body.left_connection_id, body.right_connection_id, by=by()))


@operation(
    bp, "POST", "/configs/<config_id>/drafts", needs="edit", summary="Begin a change to a sync", body=Empty,
    returns=DraftOut, status=201, creates=True, limit=CHECKS,
)  # fmt: skip
def begin_change(config_id: str, body: Empty) -> Answer:
    return _begun(act(drafts.begin_change, config(config_id).id, by=by()))


@operation(bp, "GET", "/drafts/<draft_id>", needs="edit", summary="One draft", returns=DraftOut)
def show(draft_id: str) -> DraftOut:
    return _shown(_draft(draft_id))


@operation(
    bp, "PUT", "/drafts/<draft_id>/streams", needs="edit", summary="Choose a stream of each connection",
    body=Streams, returns=DraftOut, limit=CHECKS,
)  # fmt: skip
def choose_streams(draft_id: str, body: Streams) -> DraftOut:
    """Both are asked for a few records, and from them the pairs are proposed. A mapping for other streams is
    dropped."""
    found = _draft(draft_id)
    ends = {"left": body.left, "right": body.right}
    for side in SIDES:
        if "connection" in ends[side]:
            raise DefinitionError(
                "The connections of a draft stay: begin another one.", place=f"{side}.connection"
            )
    act(drafts.choose_streams, found.id, ends, by=by())
    return _shown(_draft(draft_id))


@operation(
    bp, "POST", "/drafts/<draft_id>/questions", needs="edit", summary="Ask both systems again", body=Empty,
    returns=DraftOut, status=202, creates=True, limit=CHECKS,
)  # fmt: skip
def ask(draft_id: str, body: Empty) -> Answer:
    """What they hold; and for records, once streams are chosen."""
    found = _draft(draft_id)
    act(drafts.look, found.id, by=by())
    if all(_has_stream(found.definition.get(side)) for side in SIDES):
        act(drafts.sample, found.id, by=by())
    return Answer(_shown(_draft(draft_id)), 202, f"/api/v1/drafts/{draft_id}")


@operation(
    bp, "PATCH", "/drafts/<draft_id>", needs="edit", summary="Say more of it: pairs, rules, schedule, name",
    body=Words, returns=DraftOut,
)  # fmt: skip
def say(draft_id: str, body: Words) -> DraftOut:
    """What is not named stays as it is. Take over what is proposed by sending it as `fields` and `match`."""
    found = _draft(draft_id)
    for word in body.definition:
        if word not in _WORDS:
            raise DefinitionError(f"'{word[:80]}' cannot be said here.", place=f"definition.{word[:80]}")
    if body.name is not None and found.config_id is not None:
        raise DefinitionError("A sync is renamed at /configs/{config_id}/name.", place="name")
    act(drafts.say, found.id, body.definition, name=body.name)
    return _shown(_draft(draft_id))


@operation(
    bp, "POST", "/drafts/<draft_id>/completion", needs="edit", summary="Make the sync, or change it",
    body=Empty, returns=Finished, status=201, creates=True,
)  # fmt: skip
def finish(draft_id: str, body: Empty) -> Answer:
    """A new sync waits: a preview of its first run is queued, and nothing is written before it is started."""
    found = _draft(draft_id)
    made, preview = act(drafts.finish, found.id, by=by(), owner_id=auth.person().id)
    return Answer(Finished(config_id=made, preview_run_id=preview), 201, f"/api/v1/configs/{made}")


@operation(
    bp, "DELETE", "/drafts/<draft_id>", needs="edit", summary="Throw a draft away", returns=None, status=204
)
def discard(draft_id: str) -> None:
    act(drafts.discard, _draft(draft_id).id)


@operation(
    bp, "POST", "/configs/<config_id>/start", needs="edit",
    summary="Let a sync run by its schedule from now on", body=Empty, returns=RunOut, status=202,
    creates=True, limit=CHECKS,
)  # fmt: skip
def switch_on(config_id: str, body: Empty) -> Answer:
    """Its first run begins at once. One without a schedule is run by hand, at `/configs/{config_id}/runs`."""
    return queued(act(drafts.switch_on, config(config_id).id, by=by()))


# -- inside ---------------------------------------------------------------------------------------


def _draft(draft_id: str) -> Draft:
    found = db.session.scalar(select(Draft).where(Draft.id == draft_id, Draft.workspace_id == workspace()))
    if found is None:
        abort(404)
    return found


def _begun(draft_id: str) -> Answer:
    return Answer(_shown(_draft(draft_id)), 201, f"/api/v1/drafts/{draft_id}")


def _has_stream(end: Any) -> bool:
    return bool(end and (end.get("stream") or end.get("query")))


def _line(row: Draft) -> DraftLine:
    return DraftLine.model_validate(row, from_attributes=True)


def _shown(row: Draft) -> DraftOut:
    proposal = row.proposal or {"pairs": {}, "match": []}
    return DraftOut(
        id=row.id,
        config_id=row.config_id,
        name=row.name,
        definition=row.definition,
        proposed=[
            ProposedPair(left=left, right=right, why=why) for left, (right, why) in proposal["pairs"].items()
        ],
        proposed_match=proposal["match"],
        questions=[found for id in row.questions.values() if (found := shown(str(id))) is not None],
        made_by=row.made_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
