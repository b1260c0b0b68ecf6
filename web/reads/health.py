"""How the installation is: do the scheduler and the workers beat, and does the queue move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, true

from models.db import unindexed
from models.processes import Process
from models.sync_runs import SyncRun
from web.database import db
from web.languages import _, counted
from web.reads.query import is_word

# Beats come each 15 seconds; four missed ones are no hiccup. Ticks come each minute.
SILENT_AFTER = timedelta(seconds=60)
TICK_LATE_AFTER = timedelta(seconds=150)
# Processes that ended long ago say nothing about today.
FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Health:
    """What beats. Times are None where such a process was never seen."""

    workers: int
    worker_seen: datetime | None
    ticked_at: datetime | None  # whoever carries the tick out: the scheduler, or an outside cron
    queued: int
    oldest_queued: datetime | None
    running: int
    now: datetime

    @property
    def workers_ok(self) -> bool:
        return self.workers > 0

    @property
    def scheduler_ok(self) -> bool:
        return self.ticked_at is not None and self.now - self.ticked_at <= TICK_LATE_AFTER

    @property
    def is_well(self) -> bool:
        return self.workers_ok and self.scheduler_ok

    @property
    def warning(self) -> str | None:
        """What to tell everybody on every page: what they see may be old, and why."""
        if self.is_well:
            return None
        if not self.workers_ok and not self.scheduler_ok:
            return _("Neither a worker nor the scheduler answers: no sync runs, and what you see gets old.")
        if not self.workers_ok:
            if not self.queued:
                return _("No worker answers: nothing is synced until one is back.")
            return counted(
                "No worker answers: nothing is synced until one is back. %(num)s run waits.",
                "No worker answers: nothing is synced until one is back. %(num)s runs wait.",
                self.queued,
            )
        return _("The scheduler does not tick: syncs run only when somebody starts them by hand.")


def health(now: datetime, workspace_id: str | None = None) -> Health:
    """Two queries. The queue is that of a workspace, or the whole installation's.

    `now` is the panel's own clock: beats are judged by minutes, clocks differ by less.
    """
    mine = unindexed(SyncRun.workspace_id, workspace_id) if workspace_id is not None else true()
    processes: Sequence[Process] = db.session.scalars(
        select(Process).where(Process.beat_at >= now - FORGET_AFTER)
    ).all()
    queued, oldest, running = db.session.execute(
        select(
            select(func.count()).where(is_word(SyncRun.state, "queued"), mine).scalar_subquery(),
            select(func.min(SyncRun.created_at))
            .where(is_word(SyncRun.state, "queued"), mine)
            .scalar_subquery(),
            select(func.count()).where(is_word(SyncRun.state, "running"), mine).scalar_subquery(),
        )
    ).one()
    workers = [item.beat_at for item in processes if item.kind == "worker"]
    return Health(
        workers=sum(now - beat_at <= SILENT_AFTER for beat_at in workers),
        worker_seen=max(workers, default=None),
        ticked_at=max((item.ticked_at for item in processes if item.ticked_at), default=None),
        queued=queued,
        oldest_queued=oldest,
        running=running,
        now=now,
    )
