"""Which records a retry takes up again."""

from __future__ import annotations

from sqlalchemy import select

from models.sync_runs import SyncRun
from tasks.context import Context
from tasks.errors import NotFound


def failed_keys(ctx: Context, run_id: str) -> list[str]:
    """The keys of the records that failed in a run, as its summary names them. Raises NotFound."""
    with ctx.reads() as db:
        run = db.get(SyncRun, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    errors = (run.summary or {}).get("errors", [])
    return sorted({error["key"] for error in errors if error["key"]})


def config_of_run(ctx: Context, run_id: str) -> str:
    """Raises NotFound."""
    with ctx.reads() as db:
        found = db.scalar(select(SyncRun.config_id).where(SyncRun.id == run_id))
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    return found
