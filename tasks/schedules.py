"""Schedules of configs: when one runs next, and how that is said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from models.sync_configs import SyncConfig
from sync.schedule import Missed, Schedule, read_schedule


@dataclass(frozen=True, slots=True)
class Outlook:
    """A config's schedule as a person reads it."""

    words: str
    next_times: tuple[datetime, ...]  # UTC, with the config's own shift; empty: never by itself


def schedule_of(config: SyncConfig) -> Schedule:
    """The config's schedule with its shift. Raises ScheduleProblem."""
    return read_schedule(config.cron, config.timezone, seed=config.id)


def missed_policy(config: SyncConfig) -> Missed:
    return Missed(config.missed) if config.missed in set(Missed) else Missed.LATEST


def runs_by_itself(config: SyncConfig) -> bool:
    return config.active and config.auto and config.paused_at is None


def reschedule(config: SyncConfig, now: datetime) -> None:
    """Set when the config runs next, from now on: after any change of its schedule or state.

    Call it in the transaction of that change; the next tick goes by it. Raises ScheduleProblem.
    """
    config.next_run_at = schedule_of(config).after(now) if runs_by_itself(config) else None


def outlook(config: SyncConfig, now: datetime, count: int = 5) -> Outlook:
    """The schedule in words, and its next times. Raises ScheduleProblem."""
    schedule = schedule_of(config)
    times = schedule.next_times(now, count) if runs_by_itself(config) else []
    return Outlook(schedule.words(), tuple(times))
