"""The heartbeat: one thread per process that keeps what the process holds.

It renews the leases of all its runs, reads whether a person wants one cancelled, writes progress and
log lines, says that the process is alive, and now and then looks after what others lost or left out. It
has a database connection of its own and outlives any outage: a beat that fails is tried again.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic

import structlog
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from models.db import make_engine, make_read_sessions, make_sessions
from models.processes import Process
from models.upsert import insert_or_update
from tasks import claims, overdue, upkeep
from tasks.claims import Claim
from tasks.context import Context
from tasks.reins import Reins

NEWS_SECONDS = 1.0  # how often progress and log lines are written
SWEEP_EVERY = 2  # beats
log = structlog.get_logger(__name__)


class Heartbeat:
    """Holds the claims of one process. `stop` is set when the process is asked to stop."""

    def __init__(self, ctx: Context, kind: str, stop: threading.Event, *, sweeps: bool = True) -> None:
        self.kind = kind
        self.stop = stop
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{ctx.new_id()[:8]}"
        self._engine = make_engine(ctx.settings.database_url, pool_size=1)
        self._ctx = replace(ctx, sessions=make_sessions(self._engine), reads=make_read_sessions(self._engine))
        self._sweeps = sweeps
        self._held: dict[str, Reins] = {}
        self._passed_on: set[str] = set()
        self._lock = threading.Lock()
        self._claiming = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._started_at = ctx.now()
        self._beats = 0

    # -- for the process ---------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_holding(self) -> bool:
        with self._lock:
            return bool(self._held)

    def close(self) -> None:
        """Stop beating, take the process off the list, and ring for the runs that were passed on."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        try:
            with self._ctx.sessions.begin() as db:
                db.execute(delete(Process).where(Process.id == self.owner))
        except SQLAlchemyError as problem:
            log.warning("heartbeat.goodbye_failed", error=str(problem))
        for run_id in sorted(self._passed_on):
            self._ctx.wake(run_id)
        self._engine.dispose()

    def pass_on(self, run_id: str) -> None:
        """This process takes no more work: ring for the run once nothing here can hear it."""
        with self._lock:
            self._passed_on.add(run_id)

    # -- for a run ---------------------------------------------------------------------------------

    @contextmanager
    def next_run(self, ctx: Context) -> Iterator[Reins | None]:
        """Claim what is first in line, and keep it alive for as long as the block lasts. None: nothing."""
        with self._claiming:  # one thread at a time, since what the process holds decides what it may take
            claim = claims.claim_next(ctx, self.owner, held=[reins.claim for reins in self._all_held()])
            reins = self._keep(claim) if claim else None
        try:
            yield reins
        finally:
            self._let_go(reins)

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[Reins]:
        """Keep this claim alive for as long as the block lasts."""
        reins = self._keep(claim)
        try:
            yield reins
        finally:
            self._let_go(reins)

    def _keep(self, claim: Claim) -> Reins:
        reins = Reins(self._ctx, claim, self.stop)
        with self._lock:
            older = self._held.get(claim.run_id)
            self._held[claim.run_id] = reins
        if older is not None:
            older.lost = True  # another thread of this very process has taken it over
        return reins

    def _let_go(self, reins: Reins | None) -> None:
        with self._lock:
            if reins is not None and self._held.get(reins.claim.run_id) is reins:
                del self._held[reins.claim.run_id]

    # -- the beat ----------------------------------------------------------------------------------

    def beat(self) -> None:
        """One beat: renew every lease, write the news, say that we are alive, sweep now and then."""
        for reins in self._all_held():
            self._renew(reins)
        self._say_alive()
        if self._sweeps and self._beats % SWEEP_EVERY == 0 and not self.stop.is_set():
            self._sweep()
        self._beats += 1

    def _beat_on(self) -> None:
        renew_seconds = self._ctx.settings.renew_seconds
        next_beat = monotonic()
        while not self._ending.is_set():
            if monotonic() >= next_beat:
                next_beat = monotonic() + renew_seconds
                self.beat()
            else:
                for reins in self._all_held():
                    if reins.has_news and not reins.lost:
                        self._renew(reins)
            self._ending.wait(max(0.0, min(NEWS_SECONDS, next_beat - monotonic())))

    def _all_held(self) -> list[Reins]:
        with self._lock:
            return list(self._held.values())

    def _renew(self, reins: Reins) -> None:
        if reins.lost:
            return
        try:
            with self._ctx.sessions.begin() as db:
                run = claims.renew_if_free(self._ctx, db, reins.claim)
                if run is None:
                    reins.lost = True
                    if not reins.is_ending:
                        log.warning("lease.lost", run=reins.claim.run_id)
                    return
                reins.cancelled = run.cancel_requested_at is not None
                reins.write_news(db)
        except SQLAlchemyError as problem:
            # The database is away: then nobody else can take the run over either.
            log.warning("lease.not_renewed", run=reins.claim.run_id, error=_short(problem))

    def _say_alive(self) -> None:
        try:
            with self._ctx.sessions.begin() as db:
                values = {
                    "id": self.owner,
                    "kind": self.kind,
                    "started_at": self._started_at,
                    "beat_at": self._ctx.db_now(db),
                }
                db.execute(insert_or_update(db, Process, values, key="id"))
        except SQLAlchemyError as problem:
            log.warning("heartbeat.missed", error=_short(problem))

    def _sweep(self) -> None:
        try:
            upkeep.sweep(self._ctx)
            overdue.look(self._ctx)  # a scheduler that is dead cannot raise this alarm itself
        except SQLAlchemyError as problem:
            log.warning("sweep.failed", error=_short(problem))


def _short(problem: SQLAlchemyError) -> str:
    return str(problem).splitlines()[0][:300]
