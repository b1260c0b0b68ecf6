"""Maintenance jobs: what is switched on, when it runs next, and what each execution did."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base
from models.links import BigId


class ExecutionState(StrEnum):
    ASKED = "asked"  # by a person: the next tick carries it out
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class MaintenanceJob(Base):
    """What is decided about one of the jobs that `tasks/maintenance/` defines."""

    __tablename__ = "maintenance_jobs"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    enabled: Mapped[bool] = mapped_column(default=True)
    cron: Mapped[str | None] = mapped_column(String(100))  # None: the job's own schedule
    timezone: Mapped[str | None] = mapped_column(String(64))
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)  # beside the job's own defaults
    next_run_at: Mapped[datetime | None]


class JobExecution(Base):
    """One execution. A job never overlaps itself: partial unique indexes hold it."""

    __tablename__ = "job_executions"
    __table_args__ = (
        Index(
            "uq_job_executions_running",
            "job_name",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index(
            "uq_job_executions_asked",
            "job_name",
            unique=True,
            sqlite_where=text("state = 'asked'"),
            postgresql_where=text("state = 'asked'"),
        ),
        Index("ix_job_executions_job", "job_name", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    job_name: Mapped[str] = mapped_column(ForeignKey("maintenance_jobs.name", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(10))
    asked_by: Mapped[str] = mapped_column(String(320))
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]  # what it did, in numbers
    error: Mapped[str | None] = mapped_column(Text)
