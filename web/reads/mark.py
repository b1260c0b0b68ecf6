"""What moves with everything that happens in a workspace, told by three small queries.

People's acts are audited, all else is done by runs: whoever knows the latest acts, the latest runs and how
far the open ones are, knows whether a list may have changed. What moves by the clock alone is not seen here.
"""

from __future__ import annotations

from sqlalchemy import select, union_all

from models.audit import AuditEvent
from models.db import unindexed
from models.sync_runs import RunState, SyncRun
from web.database import db
from web.reads.query import is_word

# Transactions end in another order than they begin: the newest of all may not be the latest that came.
LATEST = 8


def of(workspace_id: str) -> tuple[object, ...]:
    """Equal while nothing happened."""
    acts = select(AuditEvent.id).where(AuditEvent.workspace_id == workspace_id)
    acts = acts.order_by(AuditEvent.at.desc(), AuditEvent.id.desc()).limit(LATEST)
    newest = select(SyncRun.id, SyncRun.state).where(SyncRun.workspace_id == workspace_id)
    newest = newest.order_by(SyncRun.created_at.desc(), SyncRun.id.desc()).limit(LATEST)
    progress = (
        SyncRun.id, SyncRun.state, SyncRun.phase, SyncRun.done, SyncRun.total, SyncRun.token,
        SyncRun.not_before, SyncRun.cancel_requested_at,
    )  # fmt: skip
    mine = unindexed(SyncRun.workspace_id, workspace_id)
    still_open = union_all(
        *(
            select(*progress).where(is_word(SyncRun.state, state), mine)
            for state in (RunState.QUEUED, RunState.RUNNING)
        )
    ).order_by(SyncRun.id)
    return (
        tuple(db.session.scalars(acts)),
        tuple(tuple(row) for row in db.session.execute(newest)),
        tuple(tuple(row) for row in db.session.execute(still_open)),
    )
