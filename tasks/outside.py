"""What outside cron set-ups trigger: runs of everybody's or somebody's syncs, bells, upkeep; and a status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from connectors import catalog
from models.connections import Connection
from models.people import Membership, Role, User, Workspace
from models.processes import Process
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun
from sync.definition import nearest
from tasks import audit, backfill, due, jobs, runs, upkeep
from tasks.context import Context
from tasks.errors import NotFound, RunActive, WorkError

JOB_TYPES = ("scheduled-sync", "manual-sync", "initial-backfill")
OLD_AFTER = 7  # days
_KINDS = {"scheduled-sync": RunKind.SCHEDULED, "manual-sync": RunKind.MANUAL}


@dataclass
class Queued:
    """What became of the syncs that were found."""

    users: int = 0
    found: int = 0
    queued: int = 0
    skipped: int = 0
    failed: int = 0


def note(ctx: Context, what: str, *, client: str, wish: Mapping[str, Any]) -> None:
    """Audit a trigger."""
    with ctx.sessions.begin() as db:
        audit.record(db, f"cron.{what}", client or "unknown", by=audit.CRON, at=ctx.db_now(db), **wish)


def run_auto_syncs(ctx: Context) -> dict[str, int]:
    """Queue every config that is active and automatic."""
    return due.run_auto_syncs(ctx, asked_by=audit.CRON).counts


def clean_up(ctx: Context, days: int | None) -> dict[str, Any]:
    """Delete old runs and their logs, as the maintenance job does. Raises WorkError when it failed."""
    options = {} if days is None else {"retention_days": days}
    done = jobs.run_now(ctx, "cleanup-old-logs", asked_by=audit.CRON, options=options)
    if done.error:
        raise WorkError(done.error, code="job_failed")
    return dict(done.result or {})


def queue_for_everybody(
    ctx: Context, *, most_users: int | None, job_type: str, days: int | None, connector: str | None = None
) -> Queued:
    """Queue what is active and automatic, person by person; syncs without an owner count as one."""
    with ctx.reads() as db:
        owners = db.execute(
            select(SyncConfig.owner_id).where(_may_run(connector)).distinct().order_by(SyncConfig.owner_id)
        ).scalars()
        chosen = list(owners)[:most_users]
    total = Queued(users=len(chosen))
    for owner in chosen:
        condition = SyncConfig.owner_id == owner if owner is not None else SyncConfig.owner_id.is_(None)
        _add(total, _queue(ctx, condition, job_type, days, connector))
    return total


def queue_for(
    ctx: Context, user_id: str, *, job_type: str, days: int | None, connector: str | None = None
) -> Queued:
    """Queue the syncs of one member: those that act for them, and in the workspaces where they may run syncs
    those without an owner. Raises NotFound."""
    with ctx.reads() as db:
        if db.scalar(select(User.id).where(User.id == user_id, User.disabled_at.is_(None))) is None:
            raise NotFound(f"There is no user {user_id}.")
    runs_in = select(Membership.workspace_id).where(
        Membership.user_id == user_id, Membership.role.in_((Role.ADMIN, Role.OPERATOR))
    )
    mine = or_(
        SyncConfig.owner_id == user_id,
        and_(SyncConfig.owner_id.is_(None), SyncConfig.workspace_id.in_(runs_in)),
    )
    found = _queue(ctx, mine, job_type, days, connector)
    found.users = 1
    return found


def ring(ctx: Context, *, most_jobs: int, most_users: int) -> dict[str, int]:
    """Wake workers for up to so many queued runs, of up to so many people."""
    with ctx.reads() as db:
        now = ctx.db_now(db)
        waiting = db.execute(
            select(SyncRun.id, SyncConfig.owner_id)
            .join(SyncConfig, SyncConfig.id == SyncRun.config_id)
            .where(
                SyncRun.state == RunState.QUEUED, or_(SyncRun.not_before.is_(None), SyncRun.not_before <= now)
            )
            .order_by(SyncRun.place_at, SyncRun.id)
        ).all()
    users: set[str | None] = set()
    rung = 0
    for run_id, owner in waiting:
        if rung >= most_jobs:
            break
        if owner not in users and len(users) >= most_users:
            continue
        users.add(owner)
        ctx.wake(run_id)
        rung += 1
    return {"queued": len(waiting), "rung": rung, "users": len(users)}


def reset_stale(ctx: Context) -> dict[str, int]:
    """Give back what runs on a dead lease: at once, not only after half an hour."""
    swept = upkeep.sweep(ctx)
    return {"found": swept.expired, "reset": swept.expired - swept.ended, "ended": swept.ended}


def status(ctx: Context) -> dict[str, Any]:
    """How the queue is, in numbers."""
    with ctx.reads() as db:
        now = ctx.db_now(db)
        everywhere = SyncRun.workspace_id.in_(select(Workspace.id))  # each workspace's runs stand by time
        number = select(SyncRun.state, func.count()).group_by(SyncRun.state)
        ended = number.where(everywhere, SyncRun.created_at > now - timedelta(days=1))
        counts = {row[0]: int(row[1]) for row in db.execute(ended)}
        waiting = number.where(SyncRun.state.in_(("queued", "running")))
        counts |= {row[0]: int(row[1]) for row in db.execute(waiting)}
        ticked_at = db.scalar(select(func.max(Process.ticked_at)))
        syncs = db.scalar(select(func.count()).select_from(SyncConfig).where(_may_run(None)))
    words = ("queued", "running", "success", "partial", "failed", "cancelled", "skipped")
    return {
        "syncs": syncs or 0,
        "jobs": {word: counts.get(word, 0) for word in words},
        "lastTick": ticked_at.isoformat().replace("+00:00", "Z") if ticked_at else None,
    }


def _may_run(connector: str | None) -> ColumnElement[bool]:
    """Raises NotFound, with the nearest connector's name."""
    runs_by_itself = and_(SyncConfig.active, SyncConfig.auto, SyncConfig.paused_at.is_(None))
    if connector is None:
        return runs_by_itself
    if connector not in catalog.names():
        raise NotFound(f"There is no connector '{connector}'." + nearest(connector, catalog.names()))
    kinds = select(Connection.id).where(Connection.connector == connector)
    return and_(
        runs_by_itself,
        or_(SyncConfig.left_connection_id.in_(kinds), SyncConfig.right_connection_id.in_(kinds)),
    )


def _queue(
    ctx: Context, condition: ColumnElement[bool], job_type: str, days: int | None, connector: str | None
) -> Queued:
    with ctx.reads() as db:
        ids = list(
            db.scalars(
                select(SyncConfig.id)
                .where(condition, _may_run(connector))
                .order_by(SyncConfig.name, SyncConfig.id)
            )
        )
    done = Queued(found=len(ids))
    for config_id in ids:
        try:
            if job_type == "initial-backfill":
                since = ctx.now() - timedelta(days=days or 30)
                backfill.ask(ctx, config_id, since=since, by=audit.CRON)
            else:
                runs.queue_another(ctx, config_id, asked_by=audit.CRON, kind=_KINDS[job_type])
            done.queued += 1
        except RunActive:
            done.skipped += 1
        except (WorkError, SQLAlchemyError):
            done.failed += 1
    return done


def _add(total: Queued, part: Queued) -> None:
    total.found += part.found
    total.queued += part.queued
    total.skipped += part.skipped
    total.failed += part.failed
