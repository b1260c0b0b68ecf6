"""The tick: everything that has to happen by itself, once a minute.

Anybody may call it: the scheduler process, an outside cron through the web, a person. Any number at
once do no harm: a config is taken by one of them, a slot has one row, and everything else is asked and
answered in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, load_only

from models.processes import Process
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun, Wait
from models.upsert import insert_or_ignore, insert_or_update
from sync.schedule import LATE_AFTER, Due, Missed, ScheduleProblem, due
from tasks import (
    alerts,
    audit,
    bulk,
    clock,
    issues,
    jobs,
    overdue,
    questions,
    runs,
    schedules,
    telling,
    upkeep,
)
from tasks.context import Context
from tasks.errors import RunActive, WorkError

BATCH = 500
TICK = "tick"
_OPEN = (RunState.QUEUED, RunState.RUNNING)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TickCounts:
    """What one tick found and did."""

    due: int = 0  # configs
    queued: int = 0
    skipped: int = 0  # slots whose config was still busy
    missed: int = 0  # slots that passed unseen and that the policy does not make up for
    rung_again: int = 0
    expired: int = 0
    ended: int = 0
    overdue: int = 0  # configs whose alarm stands
    jobs: int = 0  # maintenance jobs that were carried out


@dataclass(frozen=True, slots=True)
class AutoSync:
    """What became of one config when all automatic ones were asked to run."""

    config_id: str
    name: str
    outcome: str  # queued, skipped, failed
    run_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AutoSyncs:
    lines: tuple[AutoSync, ...]

    @property
    def counts(self) -> dict[str, int]:
        outcomes = [line.outcome for line in self.lines]
        return {"found": len(outcomes)} | {
            word: outcomes.count(word) for word in ("queued", "skipped", "failed")
        }


def tick(ctx: Context, stop: Callable[[], bool] = jobs.never) -> TickCounts:
    """Queue what is due, ring again, rescue, raise the alarm, then do the maintenance that is due.

    Says what it did in one line of the log. `stop` ends maintenance jobs between two batches.
    """
    clock.mend(ctx, TICK)
    alarms = overdue.look(ctx)  # before anything moves: this is how a silent scheduler shows
    batches = list(_queue_due(ctx))
    swept = upkeep.sweep(ctx)
    bulk.go_on(ctx)
    questions.sweep(ctx)
    audit.seal(ctx)
    issues.wake(ctx)
    _note_tick(ctx)  # what is left may take long and is not what people wait for
    telling.send_due(ctx)
    counts = TickCounts(
        due=sum(batch.configs for batch in batches),
        queued=sum(batch.queued for batch in batches),
        skipped=sum(batch.skipped for batch in batches),
        missed=sum(batch.missed for batch in batches),
        rung_again=swept.rung_again,
        expired=swept.expired,
        ended=swept.ended,
        overdue=alarms,
        jobs=_maintenance(ctx, stop),
    )
    log.info("tick", **asdict(counts))
    return counts


def _maintenance(ctx: Context, stop: Callable[[], bool]) -> int:
    try:
        return jobs.run_due(ctx, stop)
    except SQLAlchemyError as problem:
        log.warning("maintenance.failed", error=str(problem).splitlines()[0][:300])
        return 0


def run_auto_syncs(ctx: Context, *, asked_by: str, workspace_id: str | None = None) -> AutoSyncs:
    """Queue every config that is active and automatic, now. One that cannot start does not stop the rest."""
    with ctx.reads() as db:
        query = (
            select(SyncConfig.id, SyncConfig.name)
            .where(SyncConfig.active, SyncConfig.auto, SyncConfig.paused_at.is_(None))
            .order_by(SyncConfig.name, SyncConfig.id)
        )
        if workspace_id is not None:
            query = query.where(SyncConfig.workspace_id == workspace_id)
        found = db.execute(query).all()
    done = AutoSyncs(tuple(_auto_sync(ctx, id, name, asked_by) for id, name in found))
    for line in done.lines:
        log.info("auto_sync", config=line.name, outcome=line.outcome, run=line.run_id, reason=line.reason)
    log.info("auto_syncs", asked_by=asked_by, **done.counts)
    return done


def _auto_sync(ctx: Context, config_id: str, name: str, asked_by: str) -> AutoSync:
    try:
        run_id = runs.queue_another(ctx, config_id, asked_by=asked_by, kind=RunKind.SCHEDULED)
    except RunActive as busy:
        return AutoSync(config_id, name, "skipped", busy.run_id, busy.message)
    except (WorkError, SQLAlchemyError) as problem:
        log.warning("auto_sync.failed", config=name, error=str(problem)[:300])
        return AutoSync(config_id, name, "failed", reason=str(problem).splitlines()[0][:300])
    return AutoSync(config_id, name, "queued", run_id)


# -- what is due -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Batch:
    configs: int
    queued: int
    skipped: int
    missed: int


@dataclass(frozen=True, slots=True)
class _Busy:
    """The run that a config has already."""

    run_id: str
    state: str
    wait_code: str
    due_at: datetime | None
    created_at: datetime

    @property
    def is_catching_up(self) -> bool:
        return self.due_at is not None and self.created_at - self.due_at > LATE_AFTER


def _queue_due(ctx: Context) -> Iterable[_Batch]:
    """Batch by batch, each a transaction, its runs rung after its commit."""
    after: tuple[datetime, str] | None = None
    while True:
        with ctx.sessions.begin() as db:
            now = ctx.db_now(db)
            configs = _take_due(db, now, after)
            if not configs:
                return
            # A config that stays due (it catches up slot by slot) is not taken twice by one tick.
            after = (configs[-1].next_run_at or now, configs[-1].id)
            batch, to_ring = _queue_batch(ctx, db, configs, now)
        for run_id in to_ring:
            ctx.wake(run_id)
        yield batch


def _take_due(db: Session, now: datetime, after: tuple[datetime, str] | None) -> Sequence[SyncConfig]:
    """The next configs that are due, locked; those that another scheduler holds are left to it."""
    query = (
        select(SyncConfig)
        .options(
            load_only(
                SyncConfig.workspace_id,
                SyncConfig.name,
                SyncConfig.version,
                SyncConfig.cron,
                SyncConfig.timezone,
                SyncConfig.missed,
                SyncConfig.priority,
                SyncConfig.next_run_at,
                raiseload=True,
            )
        )
        .where(
            SyncConfig.next_run_at <= now, SyncConfig.active, SyncConfig.auto, SyncConfig.paused_at.is_(None)
        )
        .order_by(SyncConfig.next_run_at, SyncConfig.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True, key_share=True)
    )
    if after is not None:
        query = query.where(tuple_(SyncConfig.next_run_at, SyncConfig.id) > after)
    return db.scalars(query).all()


def _queue_batch(
    ctx: Context, db: Session, configs: Sequence[SyncConfig], now: datetime
) -> tuple[_Batch, list[str]]:
    busy = _busy(db, [config.id for config in configs])
    rows: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    to_ring: list[str] = []
    missed = 0
    for config in configs:
        try:
            found = _slots(config, now)
        except ScheduleProblem as problem:
            moved.append({"id": config.id, "next_run_at": None})
            _complain(db, config, str(problem), now)
            continue
        run, next_at = _decide(ctx, config, found, busy.get(config.id), now)
        missed += len(found.missed)
        if run is not None:
            rows.append(run)
        if config.id in busy and found.slots and runs.start_now(db, busy[config.id].run_id):
            to_ring.append(busy[config.id].run_id)
        moved.append({"id": config.id, "next_run_at": next_at})
    stored = _store(db, rows)
    db.execute(update(SyncConfig), moved)
    queued = [row["id"] for row in rows if row["id"] in stored and row["state"] == RunState.QUEUED]
    skipped = len(stored) - len(queued)
    return _Batch(len(configs), len(queued), skipped, missed), [*queued, *to_ring]


def _slots(config: SyncConfig, now: datetime) -> Due:
    return due(schedules.schedule_of(config), config.next_run_at or now, now, schedules.missed_policy(config))


def _decide(
    ctx: Context, config: SyncConfig, found: Due, busy: _Busy | None, now: datetime
) -> tuple[dict[str, Any] | None, datetime | None]:
    """The run row that a due config gets, if any, and when it is due next."""

    def row(due_at: datetime, reason: str, state: RunState = RunState.QUEUED) -> dict[str, Any]:
        return runs.run_values(
            ctx, config, now, asked_by=audit.SCHEDULE, reason=reason, state=state, due_at=due_at
        )

    if not found.slots:
        if not found.missed:
            return None, found.next_at
        said = f"Missed: no scheduler ran at that time{_and_others(len(found.missed))}."
        return row(found.missed[-1], said, RunState.SKIPPED), found.next_at
    slot = found.slots[0]
    # The slot of this minute waits too, if those before it are still being caught up on.
    waits = busy is not None and (now - slot > LATE_AFTER or busy.is_catching_up)
    if waits and schedules.missed_policy(config) is Missed.ALL:
        return None, slot  # its turn comes when the config is free
    next_at = found.slots[1] if len(found.slots) > 1 else found.next_at
    if busy is not None:
        return row(slot, _why_busy(busy), RunState.SKIPPED), next_at
    reason = f"catching up{_and_others(len(found.missed) + 1)}" if found.missed else ""
    return row(slot, reason), next_at


def _and_others(slots: int) -> str:
    return f" ({slots} slots)" if slots > 1 else ""


def _why_busy(busy: _Busy) -> str:
    if busy.wait_code == Wait.BACK_OFF:
        return f"Joined: the retry {busy.run_id} was waiting and starts now instead."
    if busy.state == RunState.RUNNING:
        return f"Overrun: run {busy.run_id} was still running."
    return f"Run {busy.run_id} was still waiting to start."


def _busy(db: Session, config_ids: list[str]) -> dict[str, _Busy]:
    found = db.execute(
        select(
            SyncRun.config_id,
            SyncRun.id,
            SyncRun.state,
            SyncRun.wait_code,
            SyncRun.due_at,
            SyncRun.created_at,
        ).where(
            SyncRun.config_id.in_(config_ids),
            SyncRun.state.in_(_OPEN),
            SyncRun.kind != RunKind.PREVIEW,
        )
    )
    return {
        run.config_id: _Busy(run.id, run.state, run.wait_code, run.due_at, run.created_at) for run in found
    }


def _store(db: Session, rows: list[dict[str, Any]]) -> set[str]:
    """Insert the runs whose slot has no row yet; the ids of those that went in."""
    if not rows:
        return set()
    db.execute(insert_or_ignore(db, SyncRun), rows)
    return set(db.scalars(select(SyncRun.id).where(SyncRun.id.in_([row["id"] for row in rows]))))


def _complain(db: Session, config: SyncConfig, problem: str, now: datetime) -> None:
    alerts.raise_alert(
        db,
        alerts.SCHEDULE,
        f"'{config.name}' does not run by itself any more: {problem}",
        at=now,
        workspace_id=config.workspace_id,
        config_id=config.id,
    )


def _note_tick(ctx: Context) -> None:
    """Keep when the last tick got through: this is how a missing scheduler is seen."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        values = {"id": TICK, "kind": TICK, "started_at": now, "beat_at": now, "ticked_at": now}
        db.execute(insert_or_update(db, Process, values, key="id"))
