"""The silence alarm: a config that should have started, and has not.

Ticks look before they queue anything, and so does every worker's heartbeat: a scheduler that is dead
cannot raise the alarm itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select, union
from sqlalchemy.orm import Session

from models.issues import Alert
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, SyncRun
from tasks import alerts, breaker, claims
from tasks.context import Context

GRACE = timedelta(minutes=10)
_AT_ONCE = 500


def look(ctx: Context) -> int:
    """Raise the alarm for configs that are overdue, clear it for those that are no more. How many are."""
    with ctx.reads() as db:
        late = _late(db, ctx.db_now(db))
        standing = _standing(db)
    raised = set(late) - standing
    cleared = standing - set(late)
    if raised or cleared:
        with ctx.sessions.begin() as db:
            now = ctx.db_now(db)
            for config_id in sorted(cleared):
                alerts.clear_alert(db, alerts.OVERDUE, at=now, config_id=config_id)
            for config_id in sorted(raised)[:_AT_ONCE]:
                workspace_id, name = late[config_id]
                alerts.raise_alert(
                    db,
                    alerts.OVERDUE,
                    f"'{name}' should have started by now and has not. Is the scheduler running, and a worker"
                    " free?",
                    at=now,
                    workspace_id=workspace_id,
                    config_id=config_id,
                )
    return len(late)


def is_overdue(config: SyncConfig, now: datetime) -> bool:
    """Whether this config's slot passed without a run being queued for it."""
    return config.next_run_at is not None and config.next_run_at < now - GRACE


def _late(db: Session, now: datetime) -> dict[str, tuple[str, str]]:
    """Overdue configs: id -> (workspace, name). What waits for a broken connection has another alarm."""
    closed = breaker.closed_to_new_runs(db, now)
    by_itself = (SyncConfig.active, SyncConfig.auto, SyncConfig.paused_at.is_(None))
    slot_passed = select(SyncConfig.id, SyncConfig.workspace_id, SyncConfig.name).where(
        *by_itself, SyncConfig.next_run_at < now - GRACE
    )
    run_waits = (
        select(SyncConfig.id, SyncConfig.workspace_id, SyncConfig.name)
        .join(SyncRun, SyncRun.config_id == SyncConfig.id)
        .where(
            *by_itself,
            claims.may_start(now),
            SyncRun.kind != RunKind.PREVIEW,
            SyncRun.created_at < now - GRACE,
            or_(SyncRun.not_before.is_(None), SyncRun.not_before < now - GRACE),
            SyncConfig.left_connection_id.not_in(closed),
            SyncConfig.right_connection_id.not_in(closed),
        )
    )
    return {id: (workspace, name) for id, workspace, name in db.execute(union(slot_passed, run_waits))}


def _standing(db: Session) -> set[str]:
    found = db.scalars(
        select(Alert.config_id).where(Alert.kind == alerts.OVERDUE, Alert.cleared_at.is_(None))
    )
    return {config_id for config_id in found if config_id is not None}
