"""What follows from the end of a run, in the transaction that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from models.sync_configs import SyncConfig
from models.sync_runs import GOT_THROUGH, RunKind, RunState, SyncRun
from tasks import alerts, breaker, bulk, chains, retries
from tasks.context import Context

if TYPE_CHECKING:
    from tasks.claims import Ending


def of(ctx: Context, db: Session, run: SyncRun, ending: Ending) -> list[str]:
    """Circuits, alerts, an automatic retry, what runs after it. The runs to ring after the commit."""
    if run.kind == RunKind.PREVIEW:
        return []  # a preview leaves no trace
    now = run.finished_at or ctx.db_now(db)
    config = db.get_one(SyncConfig, run.config_id)
    ends = {config.left_connection_id, config.right_connection_id}
    circuit = None
    if run.state in GOT_THROUGH:
        breaker.note_success(db, ends, now)
    elif run.state == RunState.FAILED and ending.connection_id and (ending.can_heal or ending.code == "auth"):
        circuit = breaker.note_failure(
            ctx,
            db,
            ending.connection_id,
            code=ending.code or "",
            message=ending.message or "",
            run_id=run.id,
            now=now,
        )
    alerts.watch_failures(ctx, db, run, of_connection=ending.connection_id is not None)
    retry_id = None
    if run.state == RunState.FAILED and ending.can_heal and ending.retry:
        retry_id = retries.after_failure(ctx, db, run, config, now, circuit=circuit)
    rings = bulk.after_run(ctx, db, run, retry_id)
    if run.state in GOT_THROUGH and run.kind != RunKind.UNDO:
        rings.extend(chains.after_success(ctx, db, run))
    return rings
