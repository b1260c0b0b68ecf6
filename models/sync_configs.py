"""SyncConfig: the configured pairing of two streams."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.connections import Connection
from models.db import Base


class SyncConfig(Base):
    """A pairing of two streams. `definition` is what the YAML, the API and the forms say of it."""

    __tablename__ = "sync_configs"
    __table_args__ = (
        UniqueConstraint("workspace_id", "name"),
        Index("ix_sync_configs_due", "next_run_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    definition: Mapped[dict[str, Any]]
    # What an omitted `fields` stood for when the config was saved: a field that goes away is missed.
    known_pairs: Mapped[list[Any]] = mapped_column(default=list)
    version: Mapped[int] = mapped_column(Integer, default=1)  # + 1 with each change of the definition
    left_connection_id: Mapped[str] = mapped_column(ForeignKey("connections.id"))
    right_connection_id: Mapped[str] = mapped_column(ForeignKey("connections.id"))
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # None: the installation itself
    active: Mapped[bool] = mapped_column(default=True)
    auto: Mapped[bool] = mapped_column(default=True)
    cron: Mapped[str] = mapped_column(String(100))
    timezone: Mapped[str] = mapped_column(String(64))
    missed: Mapped[str] = mapped_column(String(10), default="latest")
    priority: Mapped[int] = mapped_column(Integer, default=1)  # 0 high, 1 normal, 2 low
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None] = mapped_column(String(320))
    paused_reason: Mapped[str | None] = mapped_column(String(500))
    next_run_at: Mapped[datetime | None]  # UTC, by the schedule; None: never by itself
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    left_connection: Mapped[Connection] = relationship(foreign_keys=[left_connection_id])
    right_connection: Mapped[Connection] = relationship(foreign_keys=[right_connection_id])


class Baseline(Base):
    """What the last run that got through knew of both sides: what guards and migrations compare with."""

    __tablename__ = "baselines"

    config_id: Mapped[str] = mapped_column(
        ForeignKey("sync_configs.id", ondelete="CASCADE"), primary_key=True
    )
    left_container: Mapped[str] = mapped_column(String(200), default="")
    right_container: Mapped[str] = mapped_column(String(200), default="")
    identity_hash: Mapped[str] = mapped_column(String(64), default="")  # direction, match, filter, streams
    mapping_hash: Mapped[str] = mapped_column(String(64), default="")
    # What decides what becomes of a difference: when it changed, every record is looked at once.
    policy_hash: Mapped[str] = mapped_column(String(64), default="", server_default="")
    left_count: Mapped[int | None]  # records of the last complete scan
    right_count: Mapped[int | None]
    pairs: Mapped[dict[str, Any]] = mapped_column(default=dict)  # left field -> right field, as shadowed
    # What the mapped fields were in their streams, by side and name: a renamed one is known by its id.
    fields: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    left_cursor: Mapped[str | None]
    right_cursor: Mapped[str | None]
    full_at: Mapped[datetime | None]  # the last full run that got through
    updated_at: Mapped[datetime]
