"""Sync-jobs: what outside set-ups call one schedule over many streams; here a name over several configs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class SyncJob(Base):
    """Two connections, a schedule, and which streams of the left one are copied to the right one."""

    __tablename__ = "sync_jobs"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    left_connection_id: Mapped[str] = mapped_column(ForeignKey("connections.id", ondelete="CASCADE"))
    right_connection_id: Mapped[str] = mapped_column(ForeignKey("connections.id", ondelete="CASCADE"))
    cron: Mapped[str] = mapped_column(String(100))
    timezone: Mapped[str] = mapped_column(String(64))
    mode: Mapped[str] = mapped_column(String(12))  # full, incremental
    enabled: Mapped[bool]
    streams: Mapped[list[Any] | None]  # None: all that are discovered
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    created_by: Mapped[str] = mapped_column(String(320))
    # Its configs are made on the control queue, which asks the left system for its streams.
    state: Mapped[str] = mapped_column(String(10))  # preparing, ready, failed
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SyncJobConfig(Base):
    """A config that belongs to a sync-job."""

    __tablename__ = "sync_job_configs"

    config_id: Mapped[str] = mapped_column(
        ForeignKey("sync_configs.id", ondelete="CASCADE"), primary_key=True
    )
    job_id: Mapped[str] = mapped_column(ForeignKey("sync_jobs.id", ondelete="CASCADE"), index=True)
