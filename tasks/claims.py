"""Holding a run: claim it, keep it, hand it back, end it.

A claim is one UPDATE with its condition, by the database's clock: who changes no row has nothing. The
token grows with every claim, and every later write of the run carries it, so that a worker that was
paused for too long is refused instead of believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.people import Workspace
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunLine, RunState, SyncRun, Wait
from tasks import aftermath, breaker
from tasks.context import Context
from tasks.errors import LeaseLost
from tasks.runs import count

INTERRUPTIONS = 3  # the take-over that reaches this number ends the run instead of starting it
APART_SECONDS = 120.0  # how long a run that may kill its worker waits to be taken up apart from others
_CANDIDATES = 20
log = structlog.get_logger(__name__)


Lines = tuple[tuple[datetime, str, str], ...]  # time, level, text


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a run until the lease ends, for as long as nobody holds a newer token."""

    run_id: str
    config_id: str
    token: int
    owner: str
    interruptions: int = 0  # how often a worker died over this run


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, and what is said of it."""

    state: RunState
    code: str | None = None  # of the failure; groups
    message: str | None = None  # a sentence
    error_id: str | None = None  # of a bug: the log has the traceback under it
    summary: dict[str, Any] | None = None
    can_heal: bool = False  # trying again later may succeed without anybody's doing ...
    retry: bool = True  # ... and shall be done
    connection_id: str | None = None  # the one that failed
    lines: Lines = ()  # the last ones of its log


def claim_next(ctx: Context, owner: str, *, held: Sequence[Claim] = ()) -> Claim | None:
    """Claim what stands first in line and may start now, or nothing.

    First in line is the run with the earliest place (see runs.place_in_line). A workspace or connection
    at its limit, and a connection whose circuit is open, hold their own runs back, nobody else's.

    `held` is what the process works on already. None of it is taken over, though its lease may have run
    out on a machine that is too slow: the heartbeat renews it as long as nobody else came. Among runs
    over which a worker died, one may be the killer: one that has its last chance is kept apart from the
    others, so that it does not take them along.
    """
    tried: set[str] = set()
    while candidates := _candidates(ctx, tried, held):
        for run_id in candidates:
            if claim := claim_run(ctx, run_id, owner):
                return claim
        tried.update(candidates)
    return None


def first_in_line(ctx: Context) -> str | None:
    """The run that a free worker would take next."""
    return next(iter(_candidates(ctx, set(), ())), None)


def claim_run(ctx: Context, run_id: str, owner: str) -> Claim | None:
    """Claim this run: a queued one that may start, or a running one whose lease has ended.

    None: somebody else has it, it may not start now, or it has ended. Taking over counts an
    interruption; the one that reaches INTERRUPTIONS ends the run as failed, and one that was to be
    cancelled is cancelled.
    """
    try:
        with ctx.sessions.begin() as db:
            return _claim(ctx, db, run_id, owner)
    except IntegrityError:  # another run of the same config is running
        return None


def start_held(ctx: Context, db: Session, run: SyncRun, owner: str, now: datetime) -> Claim:
    """Store a new run as one that this process has claimed already, whatever the limits say.

    The transaction fails with IntegrityError when another run of the config is running.
    """
    run.state = RunState.RUNNING.value
    run.token = 1
    run.lease_owner = owner
    run.lease_until = now + timedelta(seconds=ctx.settings.lease_seconds)
    run.started_at = now
    db.add(run)
    return Claim(run.id, run.config_id, run.token, owner)


def renew(ctx: Context, db: Session, claim: Claim) -> SyncRun | None:
    """Extend the lease. The run as it stands now, or None when the claim is no longer good."""
    return db.scalar(
        update(SyncRun)
        .where(*held_by(claim))
        .values(lease_until=ctx.db_now(db) + timedelta(seconds=ctx.settings.lease_seconds))
        .returning(SyncRun)
        .execution_options(populate_existing=True)
    )


def renew_if_free(ctx: Context, db: Session, claim: Claim) -> SyncRun | None:
    """As `renew`, without waiting for a batch of the run that is just being written, which renews too."""
    free = select(SyncRun.id).where(*held_by(claim)).with_for_update(skip_locked=True, key_share=True)
    if db.scalar(free) is not None:
        return renew(ctx, db, claim)
    return db.scalar(select(SyncRun).where(*held_by(claim)))


def fence(ctx: Context, db: Session, claim: Claim) -> None:
    """Make the caller's transaction fail unless the claim is still good; extends the lease.

    The run's row stays locked until the transaction ends, so no take-over can slip in between.
    Raises LeaseLost.
    """
    if renew(ctx, db, claim) is None:
        raise LeaseLost(f"run {claim.run_id} has been taken over")


def give_back(
    ctx: Context,
    claim: Claim,
    *,
    wait_seconds: float = 0,
    wait: Wait | None = None,
    why: str = "",
    count_interruption: bool = False,
    lines: Lines = (),
) -> bool:
    """Back to the line, in its old place. Whether the claim was still good.

    No interruption is counted unless asked for. The caller rings, once it takes no more work itself.
    """
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        given = count(
            db.execute(
                update(SyncRun)
                .where(*held_by(claim))
                .values(
                    state=RunState.QUEUED,
                    lease_owner=None,
                    lease_until=None,
                    rung_at=now,
                    not_before=now + timedelta(seconds=wait_seconds) if wait_seconds > 0 else None,
                    wait_code=wait.value if wait else "",
                    wait_text=why[:500],
                    phase="",
                    interruptions=SyncRun.interruptions + (1 if count_interruption else 0),
                )
            )
        )
        if given:
            add_lines(db, claim.run_id, lines)
        return bool(given)


def finish(ctx: Context, claim: Claim, ending: Ending) -> bool:
    """End the run and do what follows from it (a retry, what runs after it, alerts), then ring.

    Whether the claim was still good; if not, nothing was written.
    """
    with ctx.sessions.begin() as db:
        ended = _end(ctx, db, SyncRun.id == claim.run_id, held_by(claim), ending)
        if ended is None:
            return False
        rings = aftermath.of(ctx, db, ended, ending)
    for run_id in rings:
        ctx.wake(run_id)
    return True


def bury(ctx: Context, run_id: str) -> bool:
    """End a run whose lease is over and that shall not start again. Whether it did."""
    with ctx.sessions.begin() as db:
        if not _locked_if_over(db, run_id, ctx.db_now(db)):
            return False
        run, rings = _bury(ctx, db, run_id)
    for other in rings:
        ctx.wake(other)
    return run is not None


def is_over(now: datetime) -> ColumnElement[bool]:
    """The condition of a run whose worker has fallen silent."""
    return and_(SyncRun.state == RunState.RUNNING, SyncRun.lease_until < now)


def may_start(now: datetime) -> ColumnElement[bool]:
    """The condition of a queued run that waits for nothing but a worker."""
    return and_(
        SyncRun.state == RunState.QUEUED, or_(SyncRun.not_before.is_(None), SyncRun.not_before <= now)
    )


def held_by(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """The condition that every write of a run carries."""
    return (
        SyncRun.id == claim.run_id,
        SyncRun.token == claim.token,
        SyncRun.state == RunState.RUNNING,
    )


def add_lines(db: Session, run_id: str, lines: Lines) -> None:
    db.add_all(RunLine(run_id=run_id, at=at, level=level, text=text) for at, level, text in lines)


# -- the line --------------------------------------------------------------------------------------


def _candidates(ctx: Context, tried: set[str], held: Sequence[Claim]) -> list[str]:
    with ctx.reads() as db:
        now = ctx.db_now(db)
        full_workspaces, full_connections = _full(db, ctx)
        full_connections |= breaker.closed_to_new_runs(db, now)
        waiting = and_(
            may_start(now),
            SyncRun.workspace_id.not_in(full_workspaces),
            SyncConfig.left_connection_id.not_in(full_connections),
            SyncConfig.right_connection_id.not_in(full_connections),
        )
        return list(
            db.scalars(
                select(SyncRun.id)
                .join(SyncConfig, SyncConfig.id == SyncRun.config_id)
                .where(or_(waiting, _may_take_over(now, held)), SyncRun.id.not_in(tried))
                .order_by(SyncRun.place_at, SyncRun.id)
                .limit(_CANDIDATES)
            )
        )


def _may_take_over(now: datetime, held: Sequence[Claim]) -> ColumnElement[bool]:
    others = and_(is_over(now), SyncRun.id.not_in([claim.run_id for claim in held]))
    waited = SyncRun.lease_until < now - timedelta(seconds=APART_SECONDS)
    most = max((claim.interruptions for claim in held), default=0)
    if most >= INTERRUPTIONS - 1:
        return and_(others, waited)
    if most > 0:
        return and_(others, or_(waited, SyncRun.interruptions < INTERRUPTIONS - 2))
    return others


def _full(db: Session, ctx: Context, *, apart_from: str = "") -> tuple[set[str], set[str]]:
    """The workspaces and connections that already have as many running runs as they may."""
    workspaces: Counter[str] = Counter()
    connections: Counter[str] = Counter()
    for workspace, left, right in db.execute(
        select(SyncRun.workspace_id, SyncConfig.left_connection_id, SyncConfig.right_connection_id)
        .join(SyncConfig, SyncConfig.id == SyncRun.config_id)
        .where(SyncRun.state == RunState.RUNNING, SyncRun.id != apart_from)
    ):
        workspaces[workspace] += 1
        connections.update({left, right})
    return (
        {item for item, number in workspaces.items() if number >= ctx.settings.workspace_limit},
        {item for item, number in connections.items() if number >= ctx.settings.connection_limit},
    )


# -- claiming --------------------------------------------------------------------------------------


def _claim(ctx: Context, db: Session, run_id: str, owner: str) -> Claim | None:
    found = db.execute(
        select(SyncRun.workspace_id, SyncRun.state, SyncRun.kind, SyncConfig)
        .join(SyncConfig, SyncConfig.id == SyncRun.config_id)
        .where(SyncRun.id == run_id)
    ).first()
    if found is None:
        return None
    workspace_id, state, kind, config = found
    # One claim at a time per workspace, so that the limits are counted and kept in one step. New rows
    # that point to the workspace do not wait for this lock.
    db.execute(select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True))
    # Waits for those alone who let no run of this config begin (see runs.locked_at_rest).
    here = select(SyncConfig.id).where(SyncConfig.id == config.id)
    if db.scalar(here.with_for_update(read=True, key_share=True)) is None:
        return None
    now = ctx.db_now(db)
    if state == RunState.RUNNING:
        if not _locked_if_over(db, run_id, now) or _bury(ctx, db, run_id)[0] is not None:
            return None
        condition = is_over(now)
        interruptions = 1
    elif kind != RunKind.PREVIEW and not (config.active and config.paused_at is None):
        _skip(db, run_id, now)
        return None
    else:
        if not _has_room(ctx, db, config, run_id, now):
            return None
        condition = may_start(now)
        interruptions = 0
    claimed = db.execute(
        update(SyncRun)
        .where(SyncRun.id == run_id, condition)
        .values(
            state=RunState.RUNNING,
            token=SyncRun.token + 1,
            interruptions=SyncRun.interruptions + interruptions,
            lease_owner=owner,
            lease_until=now + timedelta(seconds=ctx.settings.lease_seconds),
            started_at=func.coalesce(SyncRun.started_at, now),
            not_before=None,
            wait_code="",
            wait_text="",
        )
        .returning(SyncRun.token, SyncRun.interruptions)
        .execution_options(synchronize_session=False)
    ).first()
    if claimed is None:
        return None
    token, times = claimed
    if interruptions:
        log.warning("run.taken_over", run=run_id, config=config.name, token=token, interruptions=times)
    return Claim(run_id, config.id, token, owner, times)


def _locked_if_over(db: Session, run_id: str, now: datetime) -> bool:
    """Lock a run whose lease is over. False: it is not, or its worker is just writing (or was stopped in
    the middle of that: then the database ends its transaction after a minute)."""
    found = select(SyncRun.id).where(SyncRun.id == run_id, is_over(now))
    return db.scalar(found.with_for_update(skip_locked=True, key_share=True)) is not None


def _has_room(ctx: Context, db: Session, config: SyncConfig, run_id: str, now: datetime) -> bool:
    full_workspaces, full_connections = _full(db, ctx, apart_from=run_id)
    ends = {config.left_connection_id, config.right_connection_id}
    if config.workspace_id in full_workspaces or ends & full_connections:
        return False
    return breaker.admit(db, ends, run_id, now)


def _skip(db: Session, run_id: str, now: datetime) -> None:
    db.execute(
        update(SyncRun)
        .where(SyncRun.id == run_id, SyncRun.state == RunState.QUEUED)
        .values(
            state=RunState.SKIPPED,
            finished_at=now,
            reason="The sync was paused or switched off before this run started.",
        )
    )


# -- ending ----------------------------------------------------------------------------------------


def _bury(ctx: Context, db: Session, run_id: str) -> tuple[SyncRun | None, list[str]]:
    now = ctx.db_now(db)
    cancelled = _end(
        ctx,
        db,
        SyncRun.id == run_id,
        (is_over(now), SyncRun.cancel_requested_at.is_not(None)),
        Ending(
            RunState.CANCELLED,
            code="cancelled",
            message="Cancelled. Its worker had stopped; what it had done stays done.",
        ),
    )
    if cancelled is not None:
        return cancelled, []
    ending = Ending(
        RunState.FAILED,
        code="interrupted",
        message=f"The worker died {INTERRUPTIONS} times during this run, so it was not started again. "
        "If the sync is large, the worker may lack memory.",
    )
    ended = _end(
        ctx,
        db,
        SyncRun.id == run_id,
        (is_over(now), SyncRun.interruptions >= INTERRUPTIONS - 1),
        ending,
        interruptions=INTERRUPTIONS,
    )
    return ended, aftermath.of(ctx, db, ended, ending) if ended is not None else []


def _end(
    ctx: Context,
    db: Session,
    which: ColumnElement[bool],
    conditions: tuple[ColumnElement[bool], ...],
    ending: Ending,
    **also: Any,
) -> SyncRun | None:
    ended = db.scalar(
        update(SyncRun)
        .where(which, *conditions)
        .values(
            state=ending.state,
            finished_at=ctx.db_now(db),
            lease_owner=None,
            lease_until=None,
            phase="",
            error_code=ending.code,
            error=ending.message,
            error_id=ending.error_id,
            summary=ending.summary,
            **also,
        )
        .returning(SyncRun)
        .execution_options(populate_existing=True)
    )
    if ended is not None:
        add_lines(db, ended.id, ending.lines)
    return ended
