"""Circuits: what stops runs from knocking at the door of a connection that does not answer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class Circuit(Base):
    """Failures in a row of one connection. Open (`opened_at` is set): runs wait, one at a time probes."""

    __tablename__ = "circuits"

    connection_id: Mapped[str] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    )
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    failures: Mapped[int] = mapped_column(default=0)  # in a row, of any kind
    auth_failures: Mapped[int] = mapped_column(default=0)  # in a row
    code: Mapped[str] = mapped_column(String(60), default="")  # of the last failure
    message: Mapped[str] = mapped_column(Text, default="")
    opened_at: Mapped[datetime | None]
    probe_at: Mapped[datetime | None]  # open: when the next run may try
    probe_run_id: Mapped[str | None] = mapped_column(String(36))  # the run that tries, or last tried
    updated_at: Mapped[datetime]
