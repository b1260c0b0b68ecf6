"""Acts on a config as a whole: pause it, resume it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from models.sync_configs import SyncConfig
from tasks import audit, runs, schedules
from tasks.context import Context
from tasks.errors import WrongState


def pause(ctx: Context, config_id: str, *, by: str, reason: str = "") -> None:
    """Let nothing start any more. What waits is skipped; what is running ends as it would.

    Raises NotFound, and WrongState when it is paused already.
    """
    with ctx.sessions.begin() as db:
        config = runs.locked_config(db, config_id)
        if config.paused_at is not None:
            raise WrongState(f"'{config.name}' is already paused, by {config.paused_by}.")
        pause_in(ctx, db, config, by=by, reason=reason)


def pause_in(ctx: Context, db: Session, config: SyncConfig, *, by: str, reason: str) -> None:
    """The same within a transaction, for a config that is locked and not paused."""
    now = ctx.db_now(db)
    config.paused_at, config.paused_by, config.paused_reason = now, by[:320], reason[:500] or None
    config.updated_at = now
    schedules.reschedule(config, now)
    runs.skip_waiting(ctx, db, config.id, f"{by} paused the sync before this run started.")
    audit.record(
        db, "config.paused", config.id, by=by, at=now, workspace_id=config.workspace_id, reason=reason
    )


def resume(ctx: Context, config_id: str, *, by: str) -> None:
    """Let it start again, from its next slot on: what passed during the pause is not made up for.

    Raises NotFound, and WrongState when it is not paused.
    """
    with ctx.sessions.begin() as db:
        config = runs.locked_config(db, config_id)
        if config.paused_at is None:
            raise WrongState(f"'{config.name}' is not paused.")
        resume_in(ctx, db, config, by=by)


def resume_in(ctx: Context, db: Session, config: SyncConfig, *, by: str) -> None:
    """The same within a transaction, for a config that is locked and paused."""
    now = ctx.db_now(db)
    config.paused_at = config.paused_by = config.paused_reason = None
    config.updated_at = now
    schedules.reschedule(config, now)
    audit.record(db, "config.resumed", config.id, by=by, at=now, workspace_id=config.workspace_id)
