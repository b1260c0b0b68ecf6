"""Writes of which nobody can tell whether they happened: a person looks, and says so."""

from __future__ import annotations

from models.journal import Change, ChangeState
from tasks import audit, ledger
from tasks.context import Context
from tasks.errors import NotFound, WrongState


def did_not_happen(ctx: Context, change_id: int, *, by: str) -> None:
    """A person looked: the record is not there. The next run sends it again, if it is still wanted.

    If it is there, link it by hand (tasks.linking). Raises NotFound, WrongState.
    """
    with ctx.sessions.begin() as db:
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
