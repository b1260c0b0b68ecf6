"""Questions to connected systems that somebody at the panel or the API waits for, with their answers.

The web process asks no outside system: it leaves a row here, the control queue answers it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class QuestionKind(StrEnum):
    CHECK = "check"  # does the connection work
    DISCOVER = "discover"  # which streams it holds, with their fields
    SAMPLE = "sample"  # a few records of one stream
    EXPLAIN = "explain"  # why a record of a sync is as it is
    SET_UP = "set_up"  # the syncs of a sync-job, one per stream of its left end
    TIE = "tie"  # does a saved sync fit its streams
    LINK = "link"  # link two records by hand, if both are there
    CORRECT = "correct"  # does a person's correction fit the field, and if so have a run write it


class QuestionState(StrEnum):
    ASKED = "asked"
    RUNNING = "running"
    ANSWERED = "answered"
    FAILED = "failed"


class Question(Base):
    """One short piece of work on the control queue. Forgotten when it is old."""

    __tablename__ = "questions"
    __table_args__ = (Index("ix_questions_state", "state", "created_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    connection_id: Mapped[str | None] = mapped_column(ForeignKey("connections.id", ondelete="CASCADE"))
    config_id: Mapped[str | None] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    options: Mapped[dict[str, Any]] = mapped_column(
        default=dict
    )  # the stream of a sample, the key of a record
    asked_by: Mapped[str] = mapped_column(String(320))
    state: Mapped[str] = mapped_column(String(10))
    answer: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None] = mapped_column(String(60))
    error: Mapped[str | None] = mapped_column(Text)  # a sentence
    created_at: Mapped[datetime]
    rung_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
