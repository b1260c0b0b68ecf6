"""Reading a stated range again, whatever the cursor says."""

from __future__ import annotations

from datetime import datetime

from models.sync_runs import RunKind
from sync.values import iso
from tasks import runs
from tasks.context import Context
from tasks.errors import WorkError


def ask(
    ctx: Context,
    config_id: str,
    *,
    since: datetime,
    until: datetime | None = None,
    by: str,
    reason: str = "",
    request_key: str | None = None,
) -> str:
    """Queue a run over what changed from `since` to `until` (now); the run's id.

    Raises WorkError for a range that holds nothing, and what `runs.queue` raises.
    """
    with ctx.reads() as db:
        now = ctx.db_now(db)
    if since >= (until or now):
        raise WorkError("The range is empty: it must begin before it ends, and before now.", code="range")
    options = {"since": iso(since)} | ({"until": iso(until)} if until else {})
    return runs.queue(
        ctx,
        config_id,
        asked_by=by,
        kind=RunKind.BACKFILL,
        reason=reason,
        options=options,
        request_key=request_key,
    )
