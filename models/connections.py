"""Connections: a connector with one account's options, its secrets encrypted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class Connection(Base):
    __tablename__ = "connections"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    # The name by which runs remember it, where it is another one: it stays when people rename it, so that
    # a new name is not taken for another system.
    known_as: Mapped[str | None] = mapped_column(String(200))
    connector: Mapped[str] = mapped_column(String(50))
    options: Mapped[dict[str, Any]]  # without the secrets
    secrets: Mapped[str | None] = mapped_column(Text)  # encrypted JSON object; see models/secrets.py
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class KeyCheck(Base):
    """The canary: a known text under the current key. A process that cannot read it does not start."""

    __tablename__ = "key_checks"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(Text)
