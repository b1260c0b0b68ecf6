"""Writes of which nobody can tell whether they happened: a person looks, and says so."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.journal import Change, ChangeState
from models.sync_configs import SyncConfig
from sync.values import decode_fields, display, iso
from tasks import audit, ledger
from tasks.context import Context
from tasks.errors import NotFound, WrongState


def listed(ctx: Context, config_id: str | None = None) -> list[dict[str, Any]]:
    """The writes of which nobody can tell, oldest first."""
    query = (
        select(Change, SyncConfig.name)
        .join(SyncConfig, SyncConfig.id == Change.config_id)
        .where(Change.state == ChangeState.UNKNOWN)
        .order_by(Change.id)
    )
    if config_id is not None:
        query = query.where(Change.config_id == config_id)
    with ctx.reads() as db:
        return [
            {
                "id": row.id,
                "config": name,
                "side": row.side,
                "operation": row.operation,
                "key": row.key,
                "record": row.record_id,
                "origin": row.origin_id,
                "after": {field: display(value) for field, value in decode_fields(row.after or {}).items()},
                "message": row.message,
                "run": row.run_id,
                "sent_at": iso(row.sent_at) if row.sent_at else None,
            }
            for row, name in db.execute(query)
        ]


def did_not_happen(ctx: Context, *change_ids: int, by: str) -> None:
    """A person looked: the records are not there. The next run sends them again, if they are still wanted.

    One that is there is linked by hand (tasks.linking). All or none. Raises NotFound, WrongState.
    """
    with ctx.sessions.begin() as db:
        for change_id in change_ids:
            _abandon(ctx, db, change_id, by)


def _abandon(ctx: Context, db: Session, change_id: int, by: str) -> None:
    row = db.get(Change, change_id)
    if row is None:
        raise NotFound(f"There is no change {change_id}.")
    if row.state != ChangeState.UNKNOWN:
        raise WrongState(f"It is known what became of the change {change_id}: it is {row.state}.")
    now = ctx.db_now(db)
    ledger.close_unknown(db, row, now)
    row.state, row.settled_at = ChangeState.ABANDONED, now
    row.decided_by, row.decided_at = by, now
    row.message = "A person looked: it did not happen."
    audit.record(
        db, "change.abandoned", str(row.id), by=by, at=now, workspace_id=row.workspace_id, key=row.key
    )
