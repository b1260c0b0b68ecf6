"""The queue as people see it: who is in line and why, who is on the way and where, which processes beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from models.processes import Process
from models.sync_runs import SyncRun
from web.database import db
from web.languages import _
from web.reads.health import FORGET_AFTER, SILENT_AFTER, TICK_LATE_AFTER
from web.reads.query import is_word

SHOWN = 100


@dataclass(frozen=True, slots=True)
class Beat:
    """One process, and whether it is alive."""

    process: Process
    is_alive: bool

    @property
    def place(self) -> str:
        """The machine and the process id on it."""
        host, colon, rest = self.process.id.partition(":")
        if not colon or not rest:
            return host
        return _("%(host)s, process %(number)s", host=host, number=rest.partition(":")[0])


@dataclass(frozen=True, slots=True)
class Queue:
    running: Sequence[SyncRun]
    ready: Sequence[SyncRun]  # in the order in which workers take them
    later: Sequence[SyncRun]  # in line, but not before a time
    beats: Sequence[Beat]
    now: datetime

    def lease_is_over(self, run: SyncRun) -> bool:
        """Its worker fell silent: another one takes over."""
        return run.lease_until is None or run.lease_until < self.now


def queue(workspace_id: str, now: datetime) -> Queue:
    """The workspace's runs that have not ended, and the installation's processes: three queries."""
    runs = (
        select(SyncRun)
        .options(joinedload(SyncRun.config))
        .where(SyncRun.workspace_id == workspace_id)
        .order_by(SyncRun.place_at, SyncRun.id)
        .limit(SHOWN)
    )
    queued = db.session.scalars(runs.where(is_word(SyncRun.state, "queued"))).all()
    running = db.session.scalars(runs.where(is_word(SyncRun.state, "running"))).all()
    processes = db.session.scalars(
        select(Process).where(Process.beat_at >= now - FORGET_AFTER).order_by(Process.kind, Process.id)
    ).all()
    return Queue(
        running=running,
        ready=[run for run in queued if run.not_before is None or run.not_before <= now],
        later=[run for run in queued if run.not_before is not None and run.not_before > now],
        beats=[
            Beat(item, now - item.beat_at <= (TICK_LATE_AFTER if item.kind == "tick" else SILENT_AFTER))
            for item in processes
        ],
        now=now,
    )
