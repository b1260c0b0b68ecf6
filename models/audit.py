"""Who did what, when, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base
from models.links import BigId


class AuditEvent(Base):
    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_workspace", "workspace_id", "at", "id"),
        Index("ix_audit_events_place", "workspace_id", "place"),
        Index("ix_audit_events_actor", "workspace_id", "actor", "at", "id"),
        Index("ix_audit_events_action", "workspace_id", "action", "at", "id"),
        Index("ix_audit_events_subject", "workspace_id", "subject", "at", "id"),
        Index(
            "ix_audit_events_unsealed",
            "id",
            sqlite_where=text("place IS NULL"),
            postgresql_where=text("place IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    workspace_id: Mapped[str | None] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(320))
    action: Mapped[str] = mapped_column(String(60))  # noun.verb: run.queued, config.paused
    subject: Mapped[str] = mapped_column(String(200), default="")
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # Its place in the workspace's chain, given after the commit. Actor, subject and detail are bound in by a
    # salted digest: where a person's data has to go, the salt goes too, and the chain still holds.
    place: Mapped[int | None] = mapped_column(BigId)
    salt: Mapped[str | None] = mapped_column(String(32))
    content_hash: Mapped[str | None] = mapped_column(String(64))
    chain_hash: Mapped[str | None] = mapped_column(String(64))


class AuditHead(Base):
    """The end of a chain of audit events: who seals holds this row."""

    __tablename__ = "audit_heads"

    chain: Mapped[str] = mapped_column(String(36), primary_key=True)  # a workspace; "": the installation
    place: Mapped[int] = mapped_column(BigId)
    chain_hash: Mapped[str] = mapped_column(String(64))
