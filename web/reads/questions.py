"""Questions to systems and their answers, as pages wait for them."""

from __future__ import annotations

from sqlalchemy import select

from models.questions import Question, QuestionKind, QuestionState
from web.database import db

_OPEN = (QuestionState.ASKED, QuestionState.RUNNING)


def last(connection_id: str, kind: QuestionKind) -> Question | None:
    """The newest question of this kind to a connection."""
    return db.session.scalar(
        select(Question)
        .where(Question.connection_id == connection_id, Question.kind == kind)
        .order_by(Question.created_at.desc(), Question.id.desc())
        .limit(1)
    )


def one(workspace_id: str, question_id: str | None) -> Question | None:
    """A question of this workspace; None where there is no such (any more)."""
    if not question_id:
        return None
    return db.session.scalar(
        select(Question).where(Question.id == question_id, Question.workspace_id == workspace_id)
    )


def is_open(question: Question | None) -> bool:
    """Whether its answer is still awaited."""
    return question is not None and question.state in _OPEN
