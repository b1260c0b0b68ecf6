"""Which processes of ours are alive: each web, worker and scheduler process beats its own row."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class Process(Base):
    """One process. The row with the id and kind "tick" is the beat itself, whoever carried it out."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    kind: Mapped[str] = mapped_column(String(12))  # web, worker, scheduler, command, tick
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    ticked_at: Mapped[datetime | None]  # of the tick: when one last got through
