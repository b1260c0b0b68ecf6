"""What the work of a run holds on to: may it go on, is the claim still good, what shall people see.

Nothing here waits. The heartbeat thread renews the lease, reads the flags, and writes the progress and
the log lines that are noted here, so that a run is never held up by its own reporting.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import structlog
from sqlalchemy import update
from sqlalchemy.orm import Session

from connectors.errors import ConnectorError
from models.sync_runs import SyncRun
from tasks import claims
from tasks.calls import CallLog
from tasks.claims import Claim, Lines
from tasks.context import Context
from tasks.errors import CancelRequested, LeaseLost, Stopping
from tasks.summary import Summary

_LEVELS = ("debug", "info", "warning", "error")
log = structlog.get_logger("run")


class Reins:
    def __init__(self, ctx: Context, claim: Claim, stop: threading.Event) -> None:
        self.claim = claim
        self.lost = False  # set by the heartbeat: somebody else has the run
        self.is_ending = False  # its end is being written: then nobody holds it any more
        self.cancelled = False  # set by the heartbeat: a person asked for it
        self.failed_connection_id: str | None = None
        self.summary = Summary(run=claim.run_id, config="")  # what is done so far: shown whatever comes
        self.calls = CallLog(ctx)
        self._ctx = ctx
        self._stop = stop
        self._lock = threading.Lock()
        self._progress: dict[str, Any] | None = None  # not written yet
        self._lines: list[tuple[datetime, str, str]] = []  # not written yet

    # -- for the work ------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Call it at each page and batch: it costs nothing.

        Raises LeaseLost, CancelRequested or Stopping, in this order.
        """
        if self.lost:
            raise LeaseLost(f"run {self.claim.run_id} has been taken over")
        if self.cancelled:
            raise CancelRequested(f"run {self.claim.run_id} is to be cancelled")
        if self._stop.is_set():
            raise Stopping("this process was asked to stop")

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the run may go on. Raises as `checkpoint` does."""
        until = monotonic() + seconds
        self.checkpoint()
        while (left := until - monotonic()) > 0:
            self._stop.wait(min(left, 1.0))
            self.checkpoint()

    def fence(self, session: Session) -> None:
        """Call it first in each writing transaction: that one fails unless the claim is still good.

        Raises LeaseLost.
        """
        try:
            claims.fence(self._ctx, session, self.claim)
        except LeaseLost:
            self.lost = True
            raise

    def progress(self, phase: str, done: int, total: int | None = None) -> None:
        """Say how far the run is. It is written by the heartbeat, about once a second."""
        self._progress = {"phase": phase[:20], "done": done, "total": total}

    def log(self, level: str, text: str) -> None:
        """A line of the run's log, for support staff, and of the process's log."""
        level = level if level in _LEVELS else "info"
        with self._lock:
            self._lines.append((self._ctx.now(), level, text))
        getattr(log, level)(text)

    @contextmanager
    def toward(self, connection_id: str) -> Iterator[None]:
        """Whose fault it is when an error passes: wrap each use of a connection's connector in it."""
        try:
            yield
        except ConnectorError:
            self.failed_connection_id = connection_id
            raise

    # -- for the heartbeat -------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        return self._progress is not None or bool(self._lines) or self.calls.has_news

    def take_lines(self) -> Lines:
        """The lines that are not written yet; whoever takes them writes them."""
        with self._lock:
            lines, self._lines = tuple(self._lines), []
        return lines

    def write_news(self, session: Session) -> None:
        """Write progress, lines and calls, unless the claim is lost."""
        progress, self._progress = self._progress, None
        if progress is not None:
            session.execute(
                update(SyncRun)
                .where(*claims.held_by(self.claim))
                .values(**progress)
                .execution_options(synchronize_session=False)
            )
        claims.add_lines(session, self.claim.run_id, self.take_lines())
        self.calls.store(session, self.claim.run_id)
