"""What waits for a person: conflicts per field, and issues, which are failures with one cause."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base
from models.links import BigId


class Conflict(Base):
    """Both sides changed one field to different values (or one edited what the other deleted)."""

    __tablename__ = "conflicts"
    __table_args__ = (
        Index(
            "uq_conflicts_open",
            "link_id",
            "field",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_conflicts_config", "config_id", "state"),
        Index("ix_conflicts_record", "key", "config_id"),
        Index(
            "ix_conflicts_waiting",
            "workspace_id",
            "opened_at",
            "id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index(
            "ix_conflicts_over",
            "workspace_id",
            "opened_at",
            "id",
            sqlite_where=text("state <> 'open'"),
            postgresql_where=text("state <> 'open'"),
        ),
        Index(
            "ix_conflicts_link",
            "link_id",
            sqlite_where=text("link_id IS NOT NULL"),
            postgresql_where=text("link_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    link_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("links.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(500))
    field: Mapped[str] = mapped_column(String(200))  # by its left name; "" for edit-versus-delete
    kind: Mapped[str] = mapped_column(String(10))  # value, delete
    left: Mapped[dict[str, Any] | None]  # {"value": encoded}; None: the record is gone on this side
    right: Mapped[dict[str, Any] | None]
    left_shadow: Mapped[dict[str, Any] | None]
    right_shadow: Mapped[dict[str, Any] | None]
    left_modified_at: Mapped[datetime | None]
    right_modified_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(10))  # open, resolved, closed
    resolution: Mapped[dict[str, Any] | None]  # {"take", "value", "seen_left", "seen_right"}
    note: Mapped[str] = mapped_column(Text, default="")
    opened_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    opened_run_id: Mapped[str | None] = mapped_column(String(36))
    resolved_by: Mapped[str | None] = mapped_column(String(320))
    closed_at: Mapped[datetime | None]


class Issue(Base):
    """One cause, on one record or on the whole config. Open until it no longer occurs."""

    __tablename__ = "issues"
    __table_args__ = (
        Index(
            "uq_issues_open",
            "config_id",
            "code",
            "side",
            "key",
            "field",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("ix_issues_workspace", "workspace_id", "closed_at"),
        Index("ix_issues_record", "key", "config_id"),
        Index("ix_issues_cause", "config_id", "code", "opened_at", "id"),
        Index(
            "ix_issues_loud",
            "config_id",
            "muted",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "ix_issues_waiting",
            "workspace_id",
            "opened_at",
            "id",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        # All that the list of causes is made of.
        Index(
            "ix_issues_causes",
            "workspace_id",
            "config_id",
            "code",
            "muted",
            "opened_at",
            "retry_at",
            "muted_until",
            "id",
            "closed_at",  # SQLite looks it up otherwise
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "ix_issues_over",
            "workspace_id",
            "opened_at",
            "id",
            sqlite_where=text("closed_at IS NOT NULL"),
            postgresql_where=text("closed_at IS NOT NULL"),
        ),
        Index(
            "ix_issues_fixed",
            "config_id",
            "code",
            "closed_at",
            sqlite_where=text("closed_by IS NOT NULL"),
            postgresql_where=text("closed_by IS NOT NULL"),
        ),
        Index(
            "ix_issues_link",
            "link_id",
            sqlite_where=text("link_id IS NOT NULL"),
            postgresql_where=text("link_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    link_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("links.id", ondelete="SET NULL"))
    code: Mapped[str] = mapped_column(String(60))
    side: Mapped[str] = mapped_column(String(5), default="")
    key: Mapped[str] = mapped_column(String(500), default="")  # "": the whole config
    field: Mapped[str] = mapped_column(String(200), default="")
    message: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    seen: Mapped[int] = mapped_column(default=1)  # runs in which it occurred
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    last_run_id: Mapped[str | None] = mapped_column(String(36))
    # Tried again by itself when the record's value moves; until then not before this time.
    digest: Mapped[str] = mapped_column(String(64), default="")
    retry_at: Mapped[datetime | None]
    muted: Mapped[bool] = mapped_column(default=False)  # a person said: quiet until it changes
    muted_until: Mapped[datetime | None]  # or only until then
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(320))  # a person; None: it healed


class IssueNote(Base):
    """What somebody wrote down about one cause in one config, for whoever looks next."""

    __tablename__ = "issue_notes"
    __table_args__ = (Index("ix_issue_notes_cause", "config_id", "code", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    code: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(320))
    text: Mapped[str] = mapped_column(Text)


class IssueClaim(Base):
    """That somebody looks at one cause in one config, for a while: others see it and do something else."""

    __tablename__ = "issue_claims"

    config_id: Mapped[str] = mapped_column(
        ForeignKey("sync_configs.id", ondelete="CASCADE"), primary_key=True
    )
    code: Mapped[str] = mapped_column(String(60), primary_key=True)
    by: Mapped[str] = mapped_column(String(320))
    at: Mapped[datetime]
    until: Mapped[datetime]


class Alert(Base):
    """One change of state that people are told of: raised, or cleared."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index("ix_alerts_config", "config_id", "kind"),
        Index(
            "uq_alerts_raised",
            "config_id",
            "kind",
            unique=True,
            sqlite_where=text("cleared_at IS NULL"),
            postgresql_where=text("cleared_at IS NULL"),
        ),
        Index(
            "uq_alerts_raised_connection",
            "connection_id",
            "kind",
            unique=True,
            sqlite_where=text("cleared_at IS NULL"),
            postgresql_where=text("cleared_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    config_id: Mapped[str | None] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    connection_id: Mapped[str | None] = mapped_column(ForeignKey("connections.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(Text)
    raised_at: Mapped[datetime]
    cleared_at: Mapped[datetime | None]


class AlertDelivery(Base):
    """What is to be told of an alert, once when it is raised and once when it clears: written with it."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        UniqueConstraint("alert_id", "event"),
        Index(
            "ix_alert_deliveries_open",
            "id",
            sqlite_where=text("settled_at IS NULL"),
            postgresql_where=text("settled_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    alert_id: Mapped[int] = mapped_column(BigId, ForeignKey("alerts.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(10))  # raised, cleared
    created_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]  # not tried before
    settled_at: Mapped[datetime | None]  # told, or given up
    told: Mapped[bool] = mapped_column(default=False)
    answer: Mapped[str] = mapped_column(String(500), default="")  # of the last try, if it failed
