"""One run from the claim to its end: what the bell of a worker starts, and what `syncline sync` does.

Whatever happens inside, the run ends in a state that says what happened, or goes back to the line.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from structlog.contextvars import bound_contextvars

from connectors.errors import AuthError, ConnectorError, RateLimited, RetryableError
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun, Wait
from sync.backoff import back_off
from tasks import claims, people, runs, upkeep
from tasks.claims import Claim, Ending, Lines
from tasks.context import Context
from tasks.errors import CancelRequested, LeaseLost, RunActive, Stopping, WorkError
from tasks.heartbeat import Heartbeat
from tasks.quotas import LONGEST_WAIT
from tasks.reins import Reins
from tasks.summary import RunError, Summary

CarryOut = Callable[[Context, Claim, Reins], Summary]

_SELDOM = (50_000, 25, 25)
_TRIES = 6  # to write the end of a run into a database that is away
log = structlog.get_logger(__name__)


def work(ctx: Context, heartbeat: Heartbeat, run_id: str, carry_out: CarryOut) -> None:
    """A bell rang: take what is first in line (not always the run that it rang for) and carry it out.

    A process that is stopping takes nothing: it passes the ring on.
    """
    if heartbeat.stop.is_set():
        heartbeat.pass_on(run_id)
        return
    with heartbeat.next_run(ctx) as reins:
        if reins is None:
            return
        _see_through(ctx, heartbeat, reins, carry_out, in_line=True)
    # A place is free: who waited for it should not wait for the next tick.
    if not heartbeat.stop.is_set() and (waiting := claims.first_in_line(ctx)):
        ctx.wake(waiting)


def run_here(
    ctx: Context,
    config_id: str,
    *,
    asked_by: str,
    carry_out: CarryOut,
    kind: RunKind = RunKind.MANUAL,
    full: bool = False,
    options: Mapping[str, Any] | None = None,
    retry_of: str | None = None,
) -> Summary:
    """One run in this process, without queue and worker. Returns its summary, also when it failed.

    Setting `ctx.stop` ends it as cancelled at the next batch. No automatic retry follows: who asked sees
    the failure. Raises RunActive when a run is waiting or running already, NotFound and WrongState as
    `runs.queue` does.
    """
    upkeep.sweep(ctx)  # what an earlier command left when it was killed does not block this one
    heartbeat = Heartbeat(ctx, "command", ctx.stop, sweeps=False)
    try:
        claim = _start_here(
            ctx,
            heartbeat.owner,
            config_id,
            asked_by=asked_by,
            kind=kind,
            full=full,
            options=options,
            retry_of=retry_of,
        )
        heartbeat.start()
        try:
            return carry(ctx, heartbeat, claim, carry_out, in_line=False)
        except KeyboardInterrupt:
            claims.finish(ctx, claim, _CANCELLED)
            raise
    finally:
        heartbeat.close()


def carry(
    ctx: Context, heartbeat: Heartbeat, claim: Claim, carry_out: CarryOut, *, in_line: bool = True
) -> Summary:
    """Carry out a claimed run to its end, or until it is handed back.

    `in_line`: there is a line that it can go back to, and a worker who takes up a retry.
    """
    with heartbeat.hold(claim) as reins:
        return _see_through(ctx, heartbeat, reins, carry_out, in_line=in_line)


def _see_through(
    ctx: Context, heartbeat: Heartbeat, reins: Reins, carry_out: CarryOut, *, in_line: bool
) -> Summary:
    claim = reins.claim
    # A run makes many values that live until its end: to look for garbage among them all the time is in vain.
    gc.set_threshold(*_SELDOM)
    with ctx.reads() as db:
        run = db.get_one(SyncRun, claim.run_id)
        name = db.get_one(SyncConfig, claim.config_id).name
    started = monotonic()
    with bound_contextvars(run=claim.run_id, config=name):
        log.info("run.started", kind=run.kind, asked_by=run.asked_by, token=claim.token)
        reins.summary.config = name
        end: Ending | _Back
        try:
            _check_owner(ctx, claim)
            summary = carry_out(ctx, claim, reins)
            end = Ending(RunState(summary.status))
        except LeaseLost:
            log.warning("run.lost")
            return _failed(reins.summary, "lease_lost", "Another worker has taken this run over.")
        except Exception as problem:  # noqa: BLE001 the boundary of a run: it ends in a state, always
            summary = reins.summary
            end = _reaction(ctx, reins, problem, run.interruptions, in_line)
        summary.duration_ms = int((monotonic() - started) * 1000)
        reins.is_ending = True
        _store_calls(ctx, reins)
        if isinstance(end, _Back):
            back = end
            lines = reins.take_lines()
            _insist(heartbeat, lambda: _hand_back(ctx, heartbeat, claim, back, lines))
            return _failed(summary, "handed_back", end.why or "The run was handed back and goes on later.")
        if end.code:
            _failed(summary, end.code, end.message or "")
            if end.message:  # why it ended stands in its own log too
                reins.log("error" if end.state == RunState.FAILED else "info", end.message)
        if not in_line:
            end = replace(end, retry=False)
        end = replace(end, summary=summary.as_json(), lines=reins.take_lines())
        if not _insist(heartbeat, lambda: claims.finish(ctx, claim, end)):
            log.warning("run.end_refused")
        _log_end(end, summary)
    return summary


# -- what an error means for its run ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Back:
    """The run goes back to the line."""

    seconds: float = 0
    wait: Wait | None = None
    why: str = ""
    counts: bool = False  # as an interruption


_CANCELLED = Ending(
    RunState.CANCELLED, code="cancelled", message="Cancelled. What had been done until then stays done."
)


def _reaction(
    ctx: Context, reins: Reins, problem: Exception, interruptions: int, in_line: bool
) -> Ending | _Back:
    match problem:
        case CancelRequested():
            return _CANCELLED
        case Stopping():
            return _Back() if in_line else _CANCELLED
        case RateLimited() if in_line and problem.retry_after > LONGEST_WAIT:
            return _Back(problem.retry_after, Wait.QUOTA, problem.message)
        case ConnectorError():
            of_connection = isinstance(problem, RetryableError | AuthError)
            return Ending(
                RunState.FAILED,
                code=problem.code,
                message=problem.message,
                can_heal=isinstance(problem, RetryableError),
                connection_id=reins.failed_connection_id if of_connection else None,
            )
        case WorkError():
            return Ending(RunState.FAILED, code=problem.code, message=problem.message)
        case DBAPIError() if _passes(problem):
            log.warning("run.database_away", error=_first_line(problem))
            if in_line and interruptions + 1 < claims.INTERRUPTIONS:
                why = "Syncline's own database did not answer; the run goes on when it does."
                return _Back(back_off(1, ctx.rand()), Wait.DATABASE, why, counts=True)
            return Ending(
                RunState.FAILED,
                code="database",
                message=f"Syncline's own database failed: {_first_line(problem)}",
                can_heal=True,
            )
    error_id = ctx.new_id()
    log.error("run.bug", error_id=error_id, exc_info=problem)
    return Ending(
        RunState.FAILED,
        code="bug",
        message="Something went wrong inside Syncline. Its log has the details under the error id"
        f" {error_id}.",
        error_id=error_id,
    )


def _passes(problem: DBAPIError) -> bool:
    """Whether our own database failed for a reason that passes: gone, restarted, locked, full."""
    state = str(getattr(problem.orig, "sqlstate", None) or "")
    if (
        problem.connection_invalidated
        or (not state and isinstance(problem.orig, psycopg.OperationalError))  # while connecting
        or state[:2] in ("08", "53", "57")
        or state in ("25006", "40001", "40P01")
    ):
        return True
    said = str(problem.orig).lower()
    return any(sign in said for sign in ("database is locked", "disk is full", "disk i/o error", "readonly"))


# -- beginning and end -----------------------------------------------------------------------------


def _start_here(
    ctx: Context,
    owner: str,
    config_id: str,
    *,
    asked_by: str,
    kind: RunKind,
    full: bool,
    options: Mapping[str, Any] | None,
    retry_of: str | None,
) -> Claim:
    with ctx.sessions.begin() as db:
        config = runs.locked_config(db, config_id)
        now = ctx.db_now(db)
        if kind is not RunKind.PREVIEW:
            runs.must_be_runnable(config)
            other = runs.open_run(db, config_id)
            if other is not None and not runs.replace_retry(db, other, now):
                raise RunActive(
                    f"'{config.name}' has a run already, which is {other.state}: run {other.id}.",
                    run_id=other.id,
                    state=other.state,
                )
        run = runs.new_run(
            ctx, config, now, asked_by=asked_by, kind=kind, full=full, options=options, retry_of=retry_of
        )
        runs.note_asked(db, run)
        return claims.start_held(ctx, db, run, owner, now)


def _check_owner(ctx: Context, claim: Claim) -> None:
    """A config acts for its owner: one who may run nothing any more stops it. Raises WorkError."""
    with ctx.reads() as db:
        people.owner_must_be_allowed(db, db.get_one(SyncConfig, claim.config_id))


def _hand_back(ctx: Context, heartbeat: Heartbeat, claim: Claim, back: _Back, lines: Lines) -> bool:
    given = claims.give_back(
        ctx,
        claim,
        wait_seconds=back.seconds,
        wait=back.wait,
        why=back.why,
        count_interruption=back.counts,
        lines=lines,
    )
    if given and not back.wait:
        heartbeat.pass_on(claim.run_id)
    log.info(
        "run.handed_back", wait=back.wait.value if back.wait else "stopping", seconds=round(back.seconds)
    )
    return given


def _store_calls(ctx: Context, reins: Reins) -> None:
    """The latest calls of a run, apart from its end: they are not worth that it waits for them."""
    if reins.calls.is_stored:
        return
    try:
        with ctx.sessions.begin() as db:
            reins.calls.store(db, reins.claim.run_id, rest=True)
    except SQLAlchemyError as problem:
        log.warning("run.calls_not_stored", error=_first_line(problem))


def _insist(heartbeat: Heartbeat, write: Callable[[], bool]) -> bool:
    """Write, and wait for a database that is away: the work is done, and the lease is kept meanwhile.

    Raises the last SQLAlchemyError; then the lease runs out and another worker looks at the run.
    """
    for attempt in range(1, _TRIES):
        try:
            return write()
        except IntegrityError:
            raise
        except SQLAlchemyError as problem:
            log.warning("run.end_not_written", attempt=attempt, error=_first_line(problem))
            heartbeat.stop.wait(min(2.0**attempt, 10.0))
    return write()


def _failed(summary: Summary, code: str, message: str) -> Summary:
    summary.status = "failed"
    summary.errors.append(RunError(key="", side="", operation="", code=code, message=message))
    return summary


def _log_end(ending: Ending, summary: Summary) -> None:
    tell = log.error if ending.state == RunState.FAILED else log.info
    why = {"code": ending.code, "message": ending.message} if ending.code else {}
    tell("run.ended", state=ending.state.value, **why, **_counts(summary))


def _counts(summary: Summary) -> dict[str, Any]:
    return {
        "left": asdict(summary.left),
        "right": asdict(summary.right),
        **{
            name: getattr(summary, name)
            for name in ("unchanged", "resolved", "conflicts", "held", "failed", "excluded", "duration_ms")
        },
    }


def _first_line(problem: SQLAlchemyError) -> str:
    orig = getattr(problem, "orig", None) or problem
    return (str(orig).splitlines() or [type(orig).__name__])[0][:300]
