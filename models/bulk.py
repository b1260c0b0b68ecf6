"""A bulk retry as a thing of its own: what was chosen, what it may do, what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class BulkState(StrEnum):
    PLANNED = "planned"  # the set is frozen; nothing has been asked for yet
    FIRST = "first"  # one record is tried before the others
    STARTED = "started"  # its runs are queued, running, or over
    STOPPED = "stopped"  # by a person, or because the first record failed again
    RECALLED = "recalled"  # taken back before anything began


UNDER_WAY = (BulkState.FIRST, BulkState.STARTED)


class PartState(StrEnum):
    PLANNED = "planned"
    WAITING = "waiting"  # its sync has another run: its turn comes after that one
    QUEUED = "queued"  # `run_id` says how it goes
    LEFT_OUT = "left_out"  # `message` says why


class BulkRetry(Base):
    """A frozen set of failing records, with who planned it and why. Its outcome is that of its runs."""

    __tablename__ = "bulk_retries"
    __table_args__ = (
        Index("ix_bulk_retries_workspace", "workspace_id", "created_at", "id"),
        Index("ix_bulk_retries_state", "state"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(10))
    chosen: Mapped[str] = mapped_column(String(500))  # the filter, in words
    digest: Mapped[str] = mapped_column(String(64))  # of the frozen set: what was shown is what is confirmed
    reason: Mapped[str] = mapped_column(String(500), default="")
    planned_by: Mapped[str] = mapped_column(String(320))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]  # later it is planned anew
    confirmed_by: Mapped[str | None] = mapped_column(String(320))
    confirmed_at: Mapped[datetime | None]
    starts_at: Mapped[datetime | None]  # until then it can be taken back
    ended_because: Mapped[str] = mapped_column(String(500), default="")
    first_key: Mapped[str | None] = mapped_column(String(500))
    first_run_id: Mapped[str | None] = mapped_column(String(36))


class BulkPart(Base):
    """The records of one sync in a bulk retry."""

    __tablename__ = "bulk_parts"
    __table_args__ = (
        Index("uq_bulk_parts_config", "bulk_id", "config_id", unique=True),
        Index("ix_bulk_parts_run", "run_id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    bulk_id: Mapped[str] = mapped_column(ForeignKey("bulk_retries.id", ondelete="CASCADE"))
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    config_version: Mapped[int]
    state: Mapped[str] = mapped_column(String(10))
    keys: Mapped[list[Any]]  # of the records that are tried
    left_out: Mapped[dict[str, Any]]  # key -> why it is not tried
    message: Mapped[str] = mapped_column(String(500), default="")
    preview_run_id: Mapped[str | None] = mapped_column(String(36))
    run_id: Mapped[str | None] = mapped_column(String(36))
