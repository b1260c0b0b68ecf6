"""How a config has been doing: what its page and the list of configs show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from models.db import unindexed_in
from models.newest import newest_of_each
from models.sync_configs import SyncConfig
from models.sync_runs import CARRIED_OUT, RunKind, RunState, SyncRun
from tasks import overdue

WINDOW = timedelta(days=30)
MOST_RUNS = 100  # the newest ones of the window
LONGEST = timedelta(days=7)  # that a run waits and works: who ended in the window came no longer before it


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the newest MOST_RUNS runs of the last WINDOW; skipped, cancelled and preview runs do not count."""

    runs: int = 0
    last_run_id: str | None = None
    last_run_state: str | None = None
    last_run_at: datetime | None = None  # when it ended
    last_success_at: datetime | None = None
    average_seconds: float | None = None
    p95_seconds: float | None = None
    success_rate: float | None = None  # of 1; a partial run has done its work for all but some records
    failed_rate: float | None = None
    next_run_at: datetime | None = None
    is_overdue: bool = False


def of(db: Session, configs: Sequence[SyncConfig], now: datetime) -> dict[str, Statistics]:
    """The statistics of these configs, by their ids. One query, whatever their number."""
    rows: dict[str, list[tuple[str, str, datetime, float]]] = {config.id: [] for config in configs}
    query, run = newest_of_each(
        db, list(rows), MOST_RUNS, lambda item: _counts(item, now), since=now - WINDOW - LONGEST
    )
    columns = (run.config_id, run.id, run.state, run.started_at, run.finished_at)
    newest = query.with_only_columns(*columns).order_by(run.finished_at.desc(), run.id)
    for config_id, run_id, state, started_at, finished_at in db.execute(newest):
        if finished_at is not None and len(rows[config_id]) < MOST_RUNS:
            seconds = (finished_at - (started_at or finished_at)).total_seconds()
            rows[config_id].append((run_id, state, finished_at, seconds))
    return {config.id: _of_one(config, rows[config.id], now) for config in configs}


def _counts(run: type[SyncRun], now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        unindexed_in(run.state, CARRIED_OUT),
        run.kind != RunKind.PREVIEW,
        run.finished_at > now - WINDOW,
    )


def _of_one(config: SyncConfig, rows: list[tuple[str, str, datetime, float]], now: datetime) -> Statistics:
    is_overdue = overdue.is_overdue(config, now)
    if not rows:
        return Statistics(next_run_at=config.next_run_at, is_overdue=is_overdue)
    states = [state for _, state, _, _ in rows]
    seconds = sorted(duration for _, _, _, duration in rows)
    run_id, state, ended_at, _ = rows[0]
    return Statistics(
        runs=len(rows),
        last_run_id=run_id,
        last_run_state=state,
        last_run_at=ended_at,
        last_success_at=next((at for _, state, at, _ in rows if state == RunState.SUCCESS), None),
        average_seconds=sum(seconds) / len(seconds),
        p95_seconds=seconds[-(-95 * len(seconds) // 100) - 1],  # the smallest that 95 % do not exceed
        success_rate=states.count(RunState.SUCCESS) / len(states),
        failed_rate=states.count(RunState.FAILED) / len(states),
        next_run_at=config.next_run_at,
        is_overdue=is_overdue,
    )
