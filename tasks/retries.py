"""Trying again: by itself after a failure that can heal, and when a person asks for it.

A retry is a new run that is linked to the old one and reads everything afresh: no stale value is
ever sent again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from models.circuits import Circuit
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, SyncRun, Wait
from sync.backoff import back_off
from tasks import audit, runs
from tasks.context import Context

DEFAULT_RETRIES = 3
_REPEATED = (RunKind.SCHEDULED, RunKind.MANUAL, RunKind.RETRY, RunKind.BACKFILL)


def after_failure(
    ctx: Context,
    db: Session,
    run: SyncRun,
    config: SyncConfig,
    now: datetime,
    *,
    circuit: Circuit | None = None,
) -> str | None:
    """Queue the automatic retry of a run that failed, after a back-off; None when there is to be none.

    The schedule's next slot starts it earlier. When the connection's circuit is open it waits for that
    instead, and such waiting does not use up the tries.
    """
    tries = int(config.definition.get("retries", DEFAULT_RETRIES))
    if run.kind not in _REPEATED or not config.active or config.paused_at is not None:
        return None
    if circuit is None and run.retry_number >= tries:
        return None
    number = run.retry_number + (0 if circuit is not None else 1)
    retry = runs.new_run(
        ctx,
        config,
        now,
        asked_by=audit.RETRY,
        kind=RunKind.BACKFILL if run.kind == RunKind.BACKFILL else RunKind.RETRY,
        reason=f"Try {number + 1}: {run.error or run.error_code}",
        full=run.full,
        options=run.options,
        retry_of=run.id,
        retry_number=number,
    )
    if circuit is not None and circuit.probe_at is not None:
        retry.not_before = circuit.probe_at
        retry.wait_code = Wait.CIRCUIT.value
        retry.wait_text = "Waits until the connection answers again."
    else:
        seconds = back_off(number, ctx.rand())
        retry.not_before = now + timedelta(seconds=seconds)
        retry.wait_code = Wait.BACK_OFF.value
        retry.wait_text = f"Tries again by itself (try {number + 1} of {tries + 1})."
    retry.place_at = retry.not_before
    db.add(retry)
    return retry.id
