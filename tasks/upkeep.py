"""Looking after runs that nobody looks after: rings that were lost, workers that fell silent.

Every worker's heartbeat and every tick call it; any number of them at once do no harm.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import or_, select, update

from models.sync_runs import RunState, SyncRun
from tasks import claims
from tasks.context import Context

_AT_ONCE = 1000
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    rung_again: int = 0  # queued runs for which no worker had come
    expired: int = 0  # running runs whose worker fell silent: rung, so that another takes over
    ended: int = 0  # of those: ended, because they were interrupted too often or were to be cancelled


def sweep(ctx: Context) -> Swept:
    """Ring again for what waits too long, rescue what a dead worker left."""
    if ctx.settings.is_local:
        _release_the_dead(ctx)
    overdue = _expired(ctx)
    ended = {run_id for run_id in overdue if claims.bury(ctx, run_id)}
    rescued = _to_ring(ctx, expired=True)
    waiting = _to_ring(ctx, expired=False)
    for run_id in [*rescued, *waiting]:
        ctx.wake(run_id)
    swept = Swept(rung_again=len(waiting), expired=len(overdue), ended=len(ended))
    if overdue or waiting:
        log.info("sweep", rung_again=swept.rung_again, expired=swept.expired, ended=swept.ended)
    return swept


def _expired(ctx: Context) -> list[str]:
    with ctx.reads() as db:
        return list(db.scalars(select(SyncRun.id).where(claims.is_over(ctx.db_now(db))).limit(_AT_ONCE)))


def _to_ring(ctx: Context, *, expired: bool) -> list[str]:
    """Mark as rung, and return, the runs that need a worker and were not rung for a while."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        before = now - timedelta(seconds=ctx.settings.ring_again_seconds)
        rung_long_ago = or_(SyncRun.rung_at.is_(None), SyncRun.rung_at < before)
        if expired:
            # The first ring after the lease ended does not wait.
            condition = claims.is_over(now) & or_(rung_long_ago, SyncRun.rung_at < SyncRun.lease_until)
        else:
            condition = (
                claims.may_start(now)
                & rung_long_ago
                & or_(SyncRun.not_before.is_(None), SyncRun.not_before <= now)
            )
        chosen = (
            select(SyncRun.id)
            .where(condition)
            .order_by(SyncRun.place_at)
            .limit(_AT_ONCE)
            .with_for_update(skip_locked=True, key_share=True)
        )
        return list(
            db.scalars(
                update(SyncRun)
                .where(SyncRun.id.in_(chosen))
                .values(rung_at=now)
                .returning(SyncRun.id)
                .execution_options(synchronize_session=False)
            )
        )


def _release_the_dead(ctx: Context) -> None:
    """End the leases of processes of this machine that are no more.

    Only with a SQLite database, whose users all live on one machine: there a process id tells.
    """
    here = socket.gethostname()
    with ctx.reads() as db:
        owners = set(
            db.scalars(
                select(SyncRun.lease_owner).where(
                    SyncRun.state == RunState.RUNNING, SyncRun.lease_owner.is_not(None)
                )
            )
        )
    for owner in owners:
        if owner is None or not _is_dead(owner, here):
            continue
        with ctx.sessions.begin() as db:
            moment_ago = ctx.db_now(db) - timedelta(seconds=1)
            db.execute(
                update(SyncRun)
                .where(
                    SyncRun.state == RunState.RUNNING,
                    SyncRun.lease_owner == owner,
                    SyncRun.lease_until > moment_ago,
                )
                .values(lease_until=moment_ago)
            )


def _is_dead(owner: str, here: str) -> bool:
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if host != here or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is somebody else's: it lives
        pass
    return False
