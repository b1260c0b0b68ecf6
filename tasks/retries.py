"""Trying again: by itself after a failure that can heal, and when a person asks for it.

A retry is a new run that is linked to the old one and reads everything afresh: no stale value is
ever sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.circuits import Circuit
from models.issues import Issue
from models.sync_configs import SyncConfig
from models.sync_runs import ENDED, RunKind, RunState, SyncRun, Wait
from sync.backoff import back_off
from tasks import audit, runs
from tasks.context import Context
from tasks.errors import NotFound, WrongState

AUTOMATIC_RETRIES = 5  # one after the other, of one failure; none where the definition says `retries: 0`
_REPEATED = (RunKind.SCHEDULED, RunKind.MANUAL, RunKind.RETRY, RunKind.BACKFILL)


@dataclass(frozen=True, slots=True)
class Retry:
    """The run that was queued, and the records that it takes up; None: all that its run is about."""

    run_id: str
    keys: tuple[str, ...] | None


# -- for people ------------------------------------------------------------------------------------


def retry_run(
    ctx: Context,
    run_id: str,
    *,
    by: str,
    whole: bool = False,
    key: str | None = None,
    reason: str = "",
    request_key: str | None = None,
) -> Retry:
    """Try a run's failed records again, or the one with this key, or the whole run.

    Records that a later run has fixed are left out. A run that failed before it came to records is
    tried as a whole. A second click joins the first one's run.

    Raises NotFound; WrongState (it is not over, or nothing of it is left to be fixed) and what
    `runs.queue` raises.
    """
    with ctx.reads() as db:
        run = db.get(SyncRun, run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id}.")
        if run.state not in ENDED:
            raise WrongState(f"This run is not over ({run.state}): there is nothing to try again yet.")
        failed = failed_keys(run)
        keys = None if whole or (not failed and run.state != RunState.PARTIAL) else failed
        if key is not None:
            if key not in failed:
                raise NotFound(f"'{key}' did not fail in run {run_id}.")
            keys = [key]
        left = None if keys is None else still_failing(db, run.config_id, keys)
    if left is not None and not left:
        raise WrongState("Nothing is left to try again: a later run has fixed it.", code="fixed")
    return _queue(
        ctx,
        run.config_id,
        left,
        by=by,
        reason=reason,
        request_key=request_key,
        retry_of=run_id,
        full=run.full,
        kind=RunKind.BACKFILL if run.kind == RunKind.BACKFILL and left is None else RunKind.RETRY,
        options=run.options if left is None and run.kind != RunKind.UNDO else None,
    )


def retry_cause(
    ctx: Context,
    config_id: str,
    code: str,
    *,
    by: str,
    muted: bool | None = None,
    reason: str = "",
    request_key: str | None = None,
) -> Retry:
    """Try every record of a config again that fails with this cause, whichever run it failed in: all of
    them, or as a list shows them, only those that are muted or are not.

    Raises WrongState when none does any more, and what `runs.queue` raises.
    """
    with ctx.reads() as db:
        keys = sorted(
            set(
                db.scalars(
                    select(Issue.key).where(
                        Issue.config_id == config_id,
                        Issue.code == code,
                        Issue.closed_at.is_(None),
                        Issue.key != "",
                        *([] if muted is None else [Issue.muted.is_(muted)]),
                    )
                )
            )
        )
    if not keys:
        raise WrongState("No record fails with this cause any more.", code="fixed")
    return _queue(ctx, config_id, keys, by=by, reason=reason, request_key=request_key)


def failed_keys(run: SyncRun) -> list[str]:
    """The keys of the records that failed in a run, as its summary names them."""
    errors = (run.summary or {}).get("errors", [])
    return sorted({error["key"] for error in errors if error["key"]})


def still_failing(db: Session, config_id: str, keys: list[str]) -> list[str]:
    """Of these records, the ones with an issue that is still open."""
    found: set[str] = set()
    for start in range(0, len(keys), 500):
        found.update(
            db.scalars(
                select(Issue.key).where(
                    Issue.config_id == config_id,
                    Issue.closed_at.is_(None),
                    Issue.key.in_([key[:500] for key in keys[start : start + 500]]),
                )
            )
        )
    return [key for key in keys if key[:500] in found]


def _queue(
    ctx: Context,
    config_id: str,
    keys: list[str] | None,
    *,
    by: str,
    reason: str,
    request_key: str | None,
    retry_of: str | None = None,
    full: bool = False,
    kind: RunKind = RunKind.RETRY,
    options: dict[str, object] | None = None,
) -> Retry:
    run_id = runs.queue(
        ctx,
        config_id,
        asked_by=by,
        kind=kind,
        reason=reason,
        full=full,
        options=options or {} if keys is None else {"keys": keys},
        retry_of=retry_of,
        request_key=request_key,
    )
    return Retry(run_id, None if keys is None else tuple(keys))


# -- by itself -------------------------------------------------------------------------------------


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
    if run.kind not in _REPEATED or not config.active or config.paused_at is not None:
        return None
    tries = 0 if config.definition.get("retries") == 0 else AUTOMATIC_RETRIES
    if tries == 0 or (circuit is None and run.retry_number >= tries):
        return None
    number = run.retry_number + (0 if circuit is not None else 1)
    retry = runs.new_run(
        ctx,
        config,
        now,
        asked_by=audit.RETRY,
        kind=RunKind.BACKFILL if run.kind == RunKind.BACKFILL else RunKind.RETRY,
        reason=run.error or run.error_code or "",
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
        retry.not_before = now + timedelta(seconds=back_off(number, ctx.rand()))
        retry.wait_code = Wait.BACK_OFF.value
        retry.wait_text = f"Tries again by itself, {number} of {tries} times."
    retry.place_at = retry.not_before
    db.add(retry)
    return retry.id
