"""SyncRun: one execution of a SyncConfig, its states, and the arrows between them.

queued ──claim──> running ──> success | partial | failed | cancelled
  │  ^               │
  │  └── given back ─┘   (stopping worker, long quota wait, expired lease)
  └─> cancelled          skipped: a slot that never started, with its reason
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.db import Base
from models.links import BigId
from models.sync_configs import SyncConfig


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


GOT_THROUGH = (RunState.SUCCESS, RunState.PARTIAL)  # read both sides and decided
CARRIED_OUT = (*GOT_THROUGH, RunState.FAILED)  # neither cancelled nor skipped
ENDED = frozenset({RunState.SUCCESS, RunState.PARTIAL, RunState.FAILED, RunState.CANCELLED, RunState.SKIPPED})


class RunKind(StrEnum):
    SCHEDULED = "scheduled"
    MANUAL = "manual"
    RETRY = "retry"
    BACKFILL = "backfill"
    PREVIEW = "preview"
    UNDO = "undo"


class Wait(StrEnum):
    """Why a queued run may not start before `not_before`."""

    BACK_OFF = "back_off"  # an automatic retry; the next slot of the schedule may start it earlier
    QUOTA = "quota"  # the system asked for a pause
    CIRCUIT = "circuit"  # the connection fails: one run at a time tries whether it is back
    RECALL = "recall"  # a person may still take it back
    DATABASE = "database"  # our own database was away while the run worked


class SyncRun(Base):
    """One execution. The row is the job: the message in Redis only rings a worker.

    At most one queued and one running run per config stand at any time: partial unique indexes hold
    it (previews write nothing and are not counted). `token` grows with every claim; whoever writes
    progress must hold the newest one. `due_at` is the schedule's slot; a slot has one row, ever.
    """

    __tablename__ = "sync_runs"
    __table_args__ = (
        Index(
            "uq_sync_runs_queued",
            "config_id",
            unique=True,
            sqlite_where=text("state = 'queued' AND kind <> 'preview'"),
            postgresql_where=text("state = 'queued' AND kind <> 'preview'"),
        ),
        Index(
            "uq_sync_runs_running",
            "config_id",
            unique=True,
            sqlite_where=text("state = 'running' AND kind <> 'preview'"),
            postgresql_where=text("state = 'running' AND kind <> 'preview'"),
        ),
        Index("uq_sync_runs_due", "config_id", "due_at", unique=True),
        Index("uq_sync_runs_request", "workspace_id", "request_key", unique=True),
        Index("ix_sync_runs_place", "state", "place_at"),
        Index("ix_sync_runs_config", "config_id", "created_at", "id"),
        Index("ix_sync_runs_workspace", "workspace_id", "created_at", "id"),
        # Lists: the runs of one state or kind, the newest first, without reading the others.
        Index("ix_sync_runs_config_state", "config_id", "state", "created_at", "id"),
        Index("ix_sync_runs_workspace_state", "workspace_id", "state", "created_at", "id"),
        Index("ix_sync_runs_workspace_kind", "workspace_id", "kind", "created_at", "id", "state"),
        Index(
            "ix_sync_runs_retry_of",
            "retry_of",
            sqlite_where=text("retry_of IS NOT NULL"),
            postgresql_where=text("retry_of IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    config_version: Mapped[int]
    kind: Mapped[str] = mapped_column(String(12))
    state: Mapped[str] = mapped_column(String(12))
    asked_by: Mapped[str] = mapped_column(String(320))  # schedule, a person's e-mail, token, cron, chain
    reason: Mapped[str] = mapped_column(String(500), default="")
    full: Mapped[bool] = mapped_column(default=False)
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)  # range of a backfill, keys of a retry
    retry_of: Mapped[str | None] = mapped_column(ForeignKey("sync_runs.id", ondelete="SET NULL"))
    retry_number: Mapped[int] = mapped_column(default=0)  # of automatic retries, one after the other
    request_key: Mapped[str | None] = mapped_column(String(64))  # of the form or call: a double one joins
    due_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]  # queued, but may not start earlier ...
    wait_code: Mapped[str] = mapped_column(String(20), default="")  # ... for this reason: see Wait
    wait_text: Mapped[str] = mapped_column(String(500), default="")  # ... in a sentence
    created_at: Mapped[datetime]
    place_at: Mapped[datetime]  # its place in line: the time it came, moved by its priority
    rung_at: Mapped[datetime | None]  # when a worker was last woken for it
    started_at: Mapped[datetime | None]  # of the first claim
    finished_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[datetime | None]
    token: Mapped[int] = mapped_column(default=0)
    interruptions: Mapped[int] = mapped_column(default=0)  # take-overs of an expired lease
    cancel_requested_at: Mapped[datetime | None]
    cancel_requested_by: Mapped[str | None] = mapped_column(String(320))
    phase: Mapped[str] = mapped_column(String(20), default="")  # reading left, reading right, writing ...
    done: Mapped[int] = mapped_column(default=0)  # of `total` in this phase
    total: Mapped[int | None]
    summary: Mapped[dict[str, Any] | None]  # the object that `syncline sync --json` prints
    error_code: Mapped[str | None] = mapped_column(String(60))
    error: Mapped[str | None] = mapped_column(Text)  # a sentence
    error_id: Mapped[str | None] = mapped_column(String(36))  # of a bug: the same id stands in the log

    config: Mapped[SyncConfig] = relationship()


class RunLine(Base):
    """One line of a run's log, as support staff read it."""

    __tablename__ = "run_lines"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("sync_runs.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(10))
    text: Mapped[str] = mapped_column(Text)
