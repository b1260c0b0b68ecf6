"""Which processes of ours are alive: each web, worker and scheduler process beats its own row."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class Process(Base):
    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    kind: Mapped[str] = mapped_column(String(12))  # worker, scheduler
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    ticked_at: Mapped[datetime | None]  # schedulers: the last tick that got through
