"""The calls that runs made to the outside, masked and cut before they were stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base
from models.links import BigId


class RunCall(Base):
    """One call over HTTP and its answer. Written once, never changed.

    Not every call of a run is kept (see tasks.calls): `number` counts all of them, so that gaps show.
    """

    __tablename__ = "run_calls"
    __table_args__ = (Index("ix_run_calls_run", "run_id", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("sync_runs.id", ondelete="CASCADE"))
    number: Mapped[int]  # within its run, on both sides together; begins anew where another worker took over
    at: Mapped[datetime]
    side: Mapped[str] = mapped_column(String(5))
    method: Mapped[str] = mapped_column(String(10))
    origin: Mapped[str] = mapped_column(String(300))
    target: Mapped[str] = mapped_column(Text)  # path and query
    attempt: Mapped[int]  # the same call over again
    status: Mapped[int | None]  # None: no whole answer came
    problem: Mapped[str] = mapped_column(Text)  # in place of an answer
    failed: Mapped[bool]
    ms: Mapped[int]
    request_id: Mapped[str] = mapped_column(String(200))  # as the system names the call in its own logs
    sent_size: Mapped[int]  # bytes
    size: Mapped[int]
    sent_headers: Mapped[dict[str, Any]]
    sent: Mapped[str] = mapped_column(Text)  # the body, from its beginning
    headers: Mapped[dict[str, Any]]
    body: Mapped[str] = mapped_column(Text)
    changes: Mapped[list[Any]]  # ids of the changes that it carried
