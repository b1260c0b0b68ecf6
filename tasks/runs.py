"""The life of a run up to its claim: queue it, join one that waits, skip a slot, cancel.

Always in this order: commit first, ring afterwards. A lost ring costs half a minute, never a run:
the row is the job, and `tasks.upkeep` rings again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun, Wait
from tasks import audit
from tasks.context import Context
from tasks.errors import NotFound, RunActive, WrongState

AGE_STEP = timedelta(minutes=5)  # waiting for so long makes up for one step of priority
_OPEN = (RunState.QUEUED, RunState.RUNNING)
_ORDINARY = (RunKind.SCHEDULED, RunKind.MANUAL, RunKind.RETRY)


def queue(
    ctx: Context,
    config_id: str,
    *,
    asked_by: str,
    kind: RunKind = RunKind.MANUAL,
    reason: str = "",
    full: bool = False,
    options: Mapping[str, Any] | None = None,
    retry_of: str | None = None,
    request_key: str | None = None,
) -> str:
    """Queue one run, commit, and ring a worker; the run's id. An equal run that waits is joined.

    `request_key` names the form or call that asked: asked twice, it is answered with the same run.
    Raises NotFound; WrongState (inactive, paused); RunActive when another kind of run waits or one is
    running.
    """
    try:
        with ctx.sessions.begin() as db:
            run_id = queue_in(
                ctx,
                db,
                config_id,
                asked_by=asked_by,
                kind=kind,
                reason=reason,
                full=full,
                options=options,
                retry_of=retry_of,
                request_key=request_key,
            )
    except IntegrityError:
        # Only a request key can collide: all else is decided under the config's lock.
        with ctx.reads() as db:
            found = _asked_before(db, config_id, request_key)
        if found is None:
            raise
        return found
    ctx.wake(run_id)
    return run_id


def queue_another(ctx: Context, config_id: str, *, asked_by: str, kind: RunKind) -> str:
    """As `queue`, for those who only count what they started: no run is joined, also none that waits.

    One that only backs off before it tries again starts now, as at a slot of its schedule. Raises
    NotFound, WrongState, RunActive.
    """
    with ctx.sessions.begin() as db:
        config = locked_config(db, config_id)
        must_be_runnable(config)
        busy = open_run(db, config_id)
        if busy is None:
            run_id, can_start = queue_in(ctx, db, config_id, asked_by=asked_by, kind=kind), True
        else:
            run_id, can_start = busy.id, start_now(db, busy.id)
    if can_start:
        ctx.wake(run_id)
    if busy is not None:
        how = "running" if busy.state == RunState.RUNNING else "waiting to start"
        raise RunActive(f"'{config.name}' is {how} already: run {busy.id}.", run_id=busy.id, state=busy.state)
    return run_id


def queue_in(
    ctx: Context,
    db: Session,
    config_id: str,
    *,
    asked_by: str,
    kind: RunKind = RunKind.MANUAL,
    reason: str = "",
    full: bool = False,
    options: Mapping[str, Any] | None = None,
    retry_of: str | None = None,
    retry_number: int = 0,
    request_key: str | None = None,
) -> str:
    """As `queue`, inside the caller's transaction. The caller rings after the commit."""
    config = locked_config(db, config_id)
    now = ctx.db_now(db)
    if found := _asked_before(db, config_id, request_key):
        return found
    if kind is not RunKind.PREVIEW:
        must_be_runnable(config)
        if waiting := open_run(db, config_id):
            return _join(db, config, waiting, kind=kind, full=full, options=dict(options or {}))
    run = new_run(
        ctx,
        config,
        now,
        asked_by=asked_by,
        kind=kind,
        reason=reason,
        full=full,
        options=options,
        retry_of=retry_of,
        retry_number=retry_number,
        request_key=request_key,
    )
    db.add(run)
    note_asked(db, run)
    return run.id


def note_asked(db: Session, run: SyncRun) -> None:
    """Audit who asked for this new run, if it was a person."""
    if run.asked_by not in audit.MACHINES:
        audit.record(
            db,
            "run.queued",
            run.id,
            by=run.asked_by,
            at=run.created_at,
            workspace_id=run.workspace_id,
            reason=run.reason,
            config=run.config_id,
            kind=run.kind,
        )


def new_run(ctx: Context, config: SyncConfig, now: datetime, **values: Any) -> SyncRun:
    """A queued run that is not stored yet; `values` as in `run_values`."""
    return SyncRun(**run_values(ctx, config, now, **values))


def run_values(
    ctx: Context,
    config: SyncConfig,
    now: datetime,
    *,
    asked_by: str,
    kind: RunKind = RunKind.SCHEDULED,
    state: RunState = RunState.QUEUED,
    reason: str = "",
    full: bool = False,
    options: Mapping[str, Any] | None = None,
    retry_of: str | None = None,
    retry_number: int = 0,
    request_key: str | None = None,
    due_at: datetime | None = None,
) -> dict[str, Any]:
    """The row of a new run. It counts as rung: its maker rings right after the commit."""
    return {
        "id": ctx.new_id(),
        "workspace_id": config.workspace_id,
        "config_id": config.id,
        "config_version": config.version,
        "kind": kind.value,
        "state": state.value,
        "asked_by": asked_by[:320],
        "reason": reason[:500],
        "full": full,
        "options": dict(options or {}),
        "retry_of": retry_of,
        "retry_number": retry_number,
        "request_key": request_key,
        "due_at": due_at,
        "created_at": now,
        "place_at": place_in_line(config, kind, now),
        "rung_at": now,
        "finished_at": None if state is RunState.QUEUED else now,
    }


def place_in_line(config: SyncConfig, kind: RunKind, now: datetime) -> datetime:
    """When this run would have come if all priorities were equal: the line is ordered by it.

    Lower priority places it later, by AGE_STEP a step, so that whatever waits long enough is overtaken
    by nothing. What a person waits for comes one step earlier than what a schedule asked for.
    """
    steps = config.priority - (1 if kind in (RunKind.MANUAL, RunKind.PREVIEW) else 0)
    return now + steps * AGE_STEP


def cancel(ctx: Context, run_id: str, *, by: str, reason: str = "") -> RunState:
    """Cancel a run: at once if it waits; if it runs, it stops at its next batch. Its state afterwards.

    What a running one has done stays done. Asking twice changes nothing. Raises NotFound, and
    WrongState when the run has ended.
    """
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        was_queued = count(
            db.execute(
                update(SyncRun)
                .where(SyncRun.id == run_id, SyncRun.state == RunState.QUEUED)
                .values(
                    state=RunState.CANCELLED,
                    finished_at=now,
                    cancel_requested_at=now,
                    cancel_requested_by=by,
                    error_code="cancelled",
                    error=f"Cancelled by {by} before it started.",
                )
            )
        )
        asked = was_queued or count(
            db.execute(
                update(SyncRun)
                .where(
                    SyncRun.id == run_id,
                    SyncRun.state == RunState.RUNNING,
                    SyncRun.cancel_requested_at.is_(None),
                )
                .values(cancel_requested_at=now, cancel_requested_by=by)
            )
        )
        run = db.get(SyncRun, run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id}.")
        if asked:
            audit.record(
                db, "run.cancelled", run_id, by=by, at=now, workspace_id=run.workspace_id, reason=reason
            )
        elif run.state != RunState.RUNNING:
            raise WrongState(f"This run has already ended ({run.state}); there is nothing to cancel.")
        return RunState(run.state)


def skip_waiting(ctx: Context, db: Session, config_id: str, reason: str) -> None:
    """End this config's queued runs as skipped; previews, which write nothing, stay."""
    db.execute(
        update(SyncRun)
        .where(
            SyncRun.config_id == config_id,
            SyncRun.state == RunState.QUEUED,
            SyncRun.kind != RunKind.PREVIEW,
        )
        .values(state=RunState.SKIPPED, finished_at=ctx.db_now(db), reason=reason[:500])
    )


def locked_config(db: Session, config_id: str, *, lets_runs_begin: bool = True) -> SyncConfig:
    """The config, locked until the end of the transaction: who decides on its runs goes one by one.

    `lets_runs_begin` False: no worker claims a run of it meanwhile either. Raises NotFound.
    """
    config = db.scalar(
        select(SyncConfig)
        .where(SyncConfig.id == config_id)
        .with_for_update(key_share=lets_runs_begin)
        .execution_options(populate_existing=True)
    )
    if config is None:
        raise NotFound(f"There is no sync {config_id}.")
    return config


def must_be_runnable(config: SyncConfig) -> None:
    """Raises WrongState, with the code `inactive` or `paused`."""
    if not config.active:
        raise WrongState(f"'{config.name}' is not active: set `active: true` to let it run.", code="inactive")
    if config.paused_at is not None:
        who = f" by {config.paused_by}" if config.paused_by else ""
        why = f" ({config.paused_reason})" if config.paused_reason else ""
        raise WrongState(f"'{config.name}' was paused{who}{why}: resume it first.", code="paused")


def start_now(db: Session, run_id: str) -> bool:
    """End a back-off early: the run may start at once. Whether it was waiting for nothing else."""
    return bool(
        count(
            db.execute(
                update(SyncRun)
                .where(
                    SyncRun.id == run_id,
                    SyncRun.state == RunState.QUEUED,
                    SyncRun.wait_code == Wait.BACK_OFF,
                )
                .values(not_before=None, wait_code="", wait_text="")
            )
        )
    )


def replace_retry(db: Session, waiting: SyncRun, now: datetime) -> bool:
    """Give way to a run that starts at once: skip this run if it only waits to be tried again, or to follow
    another one for which it would do the same work."""
    return bool(
        count(
            db.execute(
                update(SyncRun)
                .where(
                    SyncRun.id == waiting.id,
                    SyncRun.state == RunState.QUEUED,
                    or_(SyncRun.wait_code == Wait.BACK_OFF, SyncRun.asked_by == audit.CHAIN),
                )
                .values(
                    state=RunState.SKIPPED,
                    finished_at=now,
                    reason="A run was started by hand before this one.",
                )
            )
        )
    )


def count(result: Any) -> int:
    """How many rows an UPDATE or DELETE touched."""
    if not isinstance(result, CursorResult):
        raise TypeError("not the result of an UPDATE or DELETE")
    return int(result.rowcount)


def locked_at_rest(db: Session, config_id: str, *, first: str) -> SyncConfig:
    """The config, locked, of which no run is being carried out, and none begins until the transaction ends.

    `first`: what to do about a run that is, whose id stands for {run}. Raises NotFound, RunActive.
    """
    row, active = locked_config(db, config_id, lets_runs_begin=False), open_run(db, config_id)
    if active is not None and active.state == RunState.RUNNING:
        raise RunActive(
            f"'{row.name}' is running: {first.format(run=active.id)}.", run_id=active.id, state=active.state
        )
    return row


def open_run(db: Session, config_id: str) -> SyncRun | None:
    """The run of this config that waits or is running; previews do not count."""
    return db.scalar(
        select(SyncRun)
        .where(SyncRun.config_id == config_id, SyncRun.state.in_(_OPEN), SyncRun.kind != RunKind.PREVIEW)
        .order_by(SyncRun.state.desc())  # a running one first: it is what a refusal should name
        .limit(1)
    )


def _join(
    db: Session, config: SyncConfig, waiting: SyncRun, *, kind: RunKind, full: bool, options: dict[str, Any]
) -> str:
    if waiting.state == RunState.RUNNING:
        raise RunActive(
            f"'{config.name}' is running already: run {waiting.id}.", run_id=waiting.id, state=waiting.state
        )
    same_work = waiting.kind == kind or {waiting.kind, kind} <= {item.value for item in _ORDINARY}
    if not same_work or waiting.options != options:
        raise RunActive(
            f"Another run of '{config.name}' is waiting to start: run {waiting.id}. Try again when it has"
            " ended, or cancel it.",
            run_id=waiting.id,
            state=waiting.state,
        )
    if full:
        waiting.full = True
    db.flush()
    start_now(db, waiting.id)
    return waiting.id


def _asked_before(db: Session, config_id: str, request_key: str | None) -> str | None:
    if request_key is None:
        return None
    return db.scalar(
        select(SyncRun.id)
        .join(SyncConfig, SyncConfig.workspace_id == SyncRun.workspace_id)
        .where(SyncConfig.id == config_id, SyncRun.request_key == request_key)
    )
