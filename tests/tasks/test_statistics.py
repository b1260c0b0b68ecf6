"""What a config's page says of its runs."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState
from tasks import runs, statistics
from tasks.statistics import Statistics
from tests.tasks.world import World


def ended(
    world: World, config: str, *, hours_ago: float, seconds: float = 1, state: RunState = RunState.SUCCESS,
    kind: RunKind = RunKind.SCHEDULED,
) -> str:  # fmt: skip
    at = world.now() - timedelta(hours=hours_ago)
    with world.ctx.sessions.begin() as db:
        row = runs.new_run(world.ctx, world.config_row(config), at, asked_by="schedule", kind=kind)
        row.state, row.started_at, row.finished_at = state.value, at - timedelta(seconds=seconds), at
        db.add(row)
        return row.id


def of(world: World, *config_ids: str) -> dict[str, Statistics]:
    with world.ctx.reads() as db:
        configs = db.scalars(select(SyncConfig).where(SyncConfig.id.in_(config_ids))).all()
        return statistics.of(db, configs, world.now())


def test_a_config_without_runs_has_its_next_time_only(world: World) -> None:
    at = world.now() + timedelta(hours=1)
    config = world.config(next_run_at=at)
    assert of(world, config)[config] == Statistics(next_run_at=at)


def test_durations_and_rates_are_those_of_the_runs_that_count(world: World) -> None:
    config, other = world.config(), world.config()
    for number in range(1, 21):
        ended(world, config, hours_ago=number, seconds=number)
    last = ended(world, config, hours_ago=0.5, seconds=300, state=RunState.FAILED)
    ended(world, config, hours_ago=0.2, seconds=999, state=RunState.CANCELLED)
    ended(world, config, hours_ago=0.1, seconds=999, kind=RunKind.PREVIEW)
    ended(world, config, hours_ago=31 * 24, seconds=9999)
    ended(world, other, hours_ago=1, seconds=7, state=RunState.PARTIAL)
    found = of(world, config, other)
    mine = found[config]
    assert (mine.runs, mine.last_run_id, mine.last_run_state) == (21, last, "failed")
    assert mine.average_seconds == (sum(range(1, 21)) + 300) / 21
    assert mine.p95_seconds == 20
    assert mine.success_rate == 20 / 21 and mine.failed_rate == 1 / 21
    assert mine.last_success_at is not None
    assert timedelta(minutes=59) < world.now() - mine.last_success_at < timedelta(minutes=61)
    theirs = found[other]
    assert (theirs.runs, theirs.success_rate, theirs.failed_rate, theirs.p95_seconds) == (1, 0, 0, 7)


def test_a_config_whose_slot_passed_long_ago_is_overdue(world: World) -> None:
    late = world.config(next_run_at=world.now() - timedelta(minutes=11))
    fine = world.config(next_run_at=world.now() - timedelta(seconds=30))
    found = of(world, late, fine)
    assert found[late].is_overdue and not found[fine].is_overdue
