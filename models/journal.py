"""The journal: every change that was ever planned, with intent, outcome, before and after.

One table is the preview, the approval queue, the crash journal, the failed-records inbox, the
record's history and the source of undo.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base, in_index
from models.links import BigId


class ChangeState(StrEnum):
    PLANNED = "planned"  # stored before anything is sent
    SENT = "sent"  # on its way: after a crash its outcome is unknown
    APPLIED = "applied"  # confirmed by the system's receipt or a read-back
    REJECTED = "rejected"  # refused; the record was set aside with its reason
    STALE = "stale"  # the record moved between read and write: the next run decides again
    UNKNOWN = "unknown"  # it may have happened: looked up before anything is sent again
    HELD = "held"  # waits for a person
    APPROVED = "approved"  # a person said yes: the next run carries it out if it is still the same
    DISMISSED = "dismissed"  # a person said no
    WITHDRAWN = "withdrawn"  # its reason went away by itself
    EXPIRED = "expired"  # nobody decided in time
    ABANDONED = "abandoned"  # planned by a run that ended before it was sent
    WOULD_GO = "would_go"  # of a preview: a run would send it
    WOULD_WAIT = "would_wait"  # of a preview: a run would hold it for a person


# What a preview showed. Nothing ever came of these, and they are no part of a record's history.
FORETOLD = (ChangeState.WOULD_GO, ChangeState.WOULD_WAIT)
# Sent, and not known to stand there.
NOT_THROUGH = (ChangeState.REJECTED, ChangeState.UNKNOWN, ChangeState.STALE)


class Change(Base):
    __tablename__ = "changes"
    __table_args__ = (
        Index("ix_changes_run", "run_id", "id"),
        # Pattern operators: PostgreSQL finds keys by how they begin, in any collation.
        Index("ix_changes_record", "config_id", "key", postgresql_ops={"key": "varchar_pattern_ops"}),
        Index("ix_changes_link", "link_id"),
        Index(
            "ix_changes_open",
            "config_id",
            "state",
            sqlite_where=text("state IN ('planned', 'sent', 'unknown', 'held', 'approved', 'dismissed')"),
            postgresql_where=text("state IN ('planned', 'sent', 'unknown', 'held', 'approved', 'dismissed')"),
        ),
        # What waits for a person, or did: the newest first.
        Index(
            "ix_changes_decided",
            "workspace_id",
            "state",
            "created_at",
            "id",
            sqlite_where=text("state IN ('held', 'approved', 'dismissed', 'withdrawn', 'expired')"),
            postgresql_where=text("state IN ('held', 'approved', 'dismissed', 'withdrawn', 'expired')"),
        ),
        # The few changes of a run that did not simply get through, and what previews show.
        Index(
            "ix_changes_outcome",
            "run_id",
            "state",
            "id",
            sqlite_where=text("state NOT IN ('planned', 'sent', 'applied')"),
            postgresql_where=text("state NOT IN ('planned', 'sent', 'applied')"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    marker: Mapped[str] = mapped_column(String(36), unique=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    run_id: Mapped[str] = mapped_column(ForeignKey("sync_runs.id", ondelete="CASCADE"))
    link_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("links.id", ondelete="SET NULL"))
    side: Mapped[str] = mapped_column(String(5))  # the side that is written to
    # create, update, delete, relink; edit (by a person), fill (in a row's id), container (another place)
    operation: Mapped[str] = mapped_column(String(10))
    key: Mapped[str] = mapped_column(String(500))  # how a person names the record
    record_id: Mapped[str | None] = mapped_column(String(500))  # on the side that is written to
    origin_id: Mapped[str | None] = mapped_column(String(500))  # on the other side
    before: Mapped[dict[str, Any] | None]  # common names; whole record for a delete
    after: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]  # as read back
    rule: Mapped[str] = mapped_column(String(60))
    state: Mapped[str] = mapped_column(String(10))
    fingerprint: Mapped[str] = mapped_column(String(64))  # the same for the same change of a record
    guard: Mapped[str | None] = mapped_column(String(30))  # which guard held it
    settle: Mapped[dict[str, Any] | None]  # what of the link moves when it is confirmed
    code: Mapped[str | None] = mapped_column(String(60))
    message: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]  # of a held change
    decided_by: Mapped[str | None] = mapped_column(String(320))
    decided_at: Mapped[datetime | None]


class Batch(Base):
    """Creates of a first load on their way: one row in place of one for each, until it is known what came of
    them. Whoever takes a broken run over unpacks it (`tasks.batches`)."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"), index=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("sync_runs.id", ondelete="CASCADE"))
    side: Mapped[str] = mapped_column(String(5))  # the side that is written to
    sent_at: Mapped[datetime]
    payload: Mapped[bytes]  # compressed JSON


IS_HISTORY = Change.state.not_in(FORETOLD)  # what a run did or meant to do, which no preview does
IS_OPEN = in_index(Change, "ix_changes_open")  # something may still follow
