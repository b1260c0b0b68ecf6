"""The answers of connected systems to what was asked over the API or in the panel."""

from __future__ import annotations

from datetime import datetime

from flask import abort
from pydantic import Field
from sqlalchemy import select

from models.questions import Question
from web.api.common import Object, blueprint, workspace
from web.api.wire import Answer, Output, operation
from web.database import db

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


def _shown(question_id: str) -> QuestionOut:
    row = db.session.scalar(
        select(Question).where(Question.id == question_id, Question.workspace_id == workspace())
    )
    if row is None:
        abort(404)
    return QuestionOut(
        id=row.id,
        kind=row.kind,
        state=row.state,
        connection_id=row.connection_id,
        config_id=row.config_id,
        answer=row.answer,
        error_code=row.error_code,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
