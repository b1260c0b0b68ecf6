"""The answers of connected systems to what was asked over the API or in the panel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import abort
from pydantic import Field
from sqlalchemy import select

from models.questions import Question, QuestionKind
from tasks import questions
from web.api.common import Object, blueprint, by, config, workspace
from web.api.wire import Answer, Output, operation
from web.database import act, db

bp = blueprint("questions")


class QuestionOut(Output):
    """`state`: asked, running, answered or failed. Ask again for this address until it is one of the last."""

    id: str
    kind: str
    state: str
    connection_id: str | None
    config_id: str | None
    answer: Object | None = Field(description="What the system said; its form goes by `kind`.")
    error_code: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@operation(
    bp, "GET", "/questions/<question_id>", needs="run", summary="A question, and its answer",
    returns=QuestionOut,
)  # fmt: skip
def show(question_id: str) -> QuestionOut:
    """Questions are forgotten after an hour."""
    return _shown(question_id)


def asked(question_id: str) -> Answer:
    return Answer(_shown(question_id), 202, f"/api/v1/questions/{question_id}")


def ask(config_id: str, kind: QuestionKind, **options: Any) -> Answer:
    """Leave a question about a sync of this workspace, and answer with it."""
    found = config(config_id)
    return asked(act(questions.ask, workspace(), kind, by=by(), config_id=found.id, options=options))


def _shown(question_id: str) -> QuestionOut:
    found = shown(question_id)
    if found is None:
        abort(404)
    return found


def shown(question_id: str) -> QuestionOut | None:
    """A question of this workspace; None where it was forgotten."""
    row = db.session.scalar(
        select(Question).where(Question.id == question_id, Question.workspace_id == workspace())
    )
    return QuestionOut.model_validate(row, from_attributes=True) if row is not None else None
