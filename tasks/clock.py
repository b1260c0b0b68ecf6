"""What a clock leaves behind that was set back: times that lie too far ahead, for which all would wait.

The database's clock decides what is due, leased or to be rung. When it was wrong by an hour, or by a year,
and is put right, a dead worker's lease would last that long, and so would every wait for the next slot.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models.circuits import Circuit
from models.processes import Process
from models.sync_configs import SyncConfig
from models.sync_runs import RunState, SyncRun, Wait
from sync.backoff import LONGEST_SECONDS
from sync.schedule import ScheduleProblem
from tasks import breaker, jobs, schedules
from tasks.context import Context

NOTICED_FROM = timedelta(minutes=2)  # smaller steps cost no more than that
_AT_ONCE = 500
log = structlog.get_logger(__name__)


def mend(ctx: Context, last_tick_id: str) -> bool:
    """If the clock went back since the last tick, bring every wait down to what it may be. Whether it did."""
    with ctx.reads() as db:
        last = db.get(Process, last_tick_id)
        back = last.beat_at - ctx.db_now(db) if last is not None else timedelta(0)
    if back < NOTICED_FROM:
        return False
    log.warning("clock.went_back", seconds=round(back.total_seconds()))
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        _mend_runs(ctx, db, now)
        longest = timedelta(seconds=2 * breaker.LONGEST_PROBE_SECONDS)
        db.execute(update(Circuit).where(Circuit.probe_at > now + longest).values(probe_at=now))
        jobs.reschedule(ctx, db)
    after = ""
    while after := _mend_slots(ctx, after):
        pass
    return True


def _mend_runs(ctx: Context, db: Session, now: datetime) -> None:
    lease = timedelta(seconds=ctx.settings.lease_seconds)
    # A worker that lives renews its lease long before the shorter one ends.
    db.execute(
        update(SyncRun)
        .where(SyncRun.state == RunState.RUNNING, SyncRun.lease_until > now + 2 * lease)
        .values(lease_until=now + lease)
    )
    queued = SyncRun.state == RunState.QUEUED
    db.execute(update(SyncRun).where(queued, SyncRun.rung_at > now).values(rung_at=None))
    db.execute(
        update(SyncRun)
        .where(
            queued,
            SyncRun.wait_code != Wait.QUOTA,  # that time is the other system's
            SyncRun.not_before > now + timedelta(seconds=LONGEST_SECONDS),
        )
        .values(not_before=None, wait_code="", wait_text="")
    )


def _mend_slots(ctx: Context, after: str) -> str:
    """The next slot of some configs, from now on; the id of the last of them, "" when there are no more."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        found = db.scalars(
            select(SyncConfig)
            .where(SyncConfig.id > after, SyncConfig.next_run_at > now)
            .order_by(SyncConfig.id)
            .limit(_AT_ONCE)
            .with_for_update(key_share=True)
        ).all()
        for config in found:
            try:
                schedules.reschedule(config, now)
            except ScheduleProblem:
                config.next_run_at = now  # the tick says what is wrong with it
    return found[-1].id if found else ""
