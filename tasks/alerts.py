"""One alert per change of state: raised once, cleared once, however many runs see the state."""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models.db import unindexed_in
from models.issues import Alert, AlertDelivery
from models.sync_configs import SyncConfig
from models.sync_runs import CARRIED_OUT, GOT_THROUGH, RunKind, RunState, SyncRun
from models.upsert import insert_or_ignore
from tasks.context import Context

FAILING = "failing"  # a config fails again and again
OVERDUE = "overdue"  # a config should have started and has not
SCHEDULE = "schedule"  # a schedule cannot be used any more
GRANT = "grant"  # the sign-in of a connection has ended
CONNECTION = "connection"  # a connection fails: its circuit is open

log = structlog.get_logger(__name__)


def raise_alert(
    db: Session,
    kind: str,
    message: str,
    *,
    at: datetime,
    workspace_id: str,
    config_id: str | None = None,
    connection_id: str | None = None,
) -> bool:
    """Raise an alert, unless the same one stands. Whether it is new."""
    alert_id = db.scalar(
        insert_or_ignore(db, Alert)
        .values(
            workspace_id=workspace_id,
            config_id=config_id,
            connection_id=connection_id,
            kind=kind,
            message=message,
            raised_at=at,
        )
        .returning(Alert.id)
    )
    if alert_id is None:
        return False
    _tell(db, alert_id, "raised", at)
    log.warning("alert.raised", kind=kind, config=config_id, connection=connection_id, message=message)
    return True


def _tell(db: Session, alert_id: int, event: str, at: datetime) -> None:
    """Write down, with its cause, that people are to be told of it (tasks.telling)."""
    db.add(AlertDelivery(alert_id=alert_id, event=event, created_at=at, next_at=at))


def clear_alert(
    db: Session, kind: str, *, at: datetime, config_id: str | None = None, connection_id: str | None = None
) -> bool:
    """Clear the alert of this kind that stands for this config or connection. Whether one stood."""
    whose = Alert.config_id == config_id if config_id else Alert.connection_id == connection_id
    cleared = db.scalars(
        update(Alert)
        .where(whose, Alert.kind == kind, Alert.cleared_at.is_(None))
        .values(cleared_at=at)
        .returning(Alert.id)
        .execution_options(synchronize_session=False)
    ).all()
    for alert_id in cleared:
        _tell(db, alert_id, "cleared", at)
        log.info("alert.cleared", kind=kind, config=config_id, connection=connection_id)
    return bool(cleared)


def watch_failures(ctx: Context, db: Session, run: SyncRun, *, of_connection: bool) -> None:
    """Raise FAILING when this run makes one failure too many in a row; clear it when it got through.

    A failure that a connection caused is left to its circuit, which raises one alert for all its configs.
    """
    at = run.finished_at or ctx.db_now(db)
    if run.state in GOT_THROUGH:
        clear_alert(db, FAILING, at=at, config_id=run.config_id)
    if run.state != RunState.FAILED or of_connection:
        return
    last = db.scalars(
        select(SyncRun.state)
        .where(
            SyncRun.config_id == run.config_id,
            SyncRun.kind != RunKind.PREVIEW,
            unindexed_in(SyncRun.state, CARRIED_OUT),
        )
        .order_by(SyncRun.created_at.desc(), SyncRun.id.desc())
        .limit(ctx.settings.alert_failure_threshold)
    ).all()
    if len(last) < ctx.settings.alert_failure_threshold or set(last) != {RunState.FAILED}:
        return
    config = db.get_one(SyncConfig, run.config_id)
    raise_alert(
        db,
        FAILING,
        f"'{config.name}' failed {len(last)} times in a row. Last: {run.error or run.error_code}",
        at=at,
        workspace_id=run.workspace_id,
        config_id=run.config_id,
    )
