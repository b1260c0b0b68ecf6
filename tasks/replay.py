"""Which records a retry takes up again."""

from __future__ import annotations

from sqlalchemy import select

from models.sync_runs import ENDED, RunState, SyncRun
from tasks.context import Context
from tasks.errors import NotFound, WrongState
from tasks.retries import failed_keys


def keys_of(ctx: Context, run_id: str, config_id: str) -> list[str] | None:
    """The keys of the records that failed in a run of this config; None: it failed as a whole.

    Raises NotFound, and WrongState when it is not over, or nothing failed in it.
    """
    with ctx.reads() as db:
        run = db.get(SyncRun, run_id)
    if run is None or run.config_id != config_id:
        raise NotFound(f"There is no run {run_id} of this sync.")
    if run.state not in ENDED:
        raise WrongState(f"This run is not over ({run.state}): there is nothing to try again yet.")
    keys = failed_keys(run)
    if keys or run.state == RunState.FAILED:
        return keys or None
    raise WrongState(f"No record failed in this run, which ended as {run.state}.", code="nothing_failed")


def config_of_run(ctx: Context, run_id: str) -> str:
    """Raises NotFound."""
    with ctx.reads() as db:
        found = db.scalar(select(SyncRun.config_id).where(SyncRun.id == run_id))
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    return found
