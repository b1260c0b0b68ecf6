"""A clock that was wrong and is put right: nothing waits for as long as it was wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.sync_runs import RunState, Wait
from tasks import claims, due, jobs, runs
from tests.tasks.world import World

WHO = "alice@example.org"
YEAR = 365 * 24 * 3600.0


@pytest.fixture
def a_year_ahead(world: World) -> World:
    world.advance(YEAR)
    return world


def test_syncs_go_on_by_their_schedule_when_the_clock_was_ahead(a_year_ahead: World) -> None:
    world = a_year_ahead
    config = world.config(cron="*/5 * * * *", next_run_at=world.now())
    due.tick(world.ctx)
    assert [run.state for run in world.runs_of(config)] == [RunState.QUEUED]
    world.claim(world.runs_of(config)[0].id)
    world.advance(-YEAR)
    due.tick(world.ctx)
    next_at = world.config_row(config).next_run_at
    assert next_at is not None
    assert timedelta(0) < next_at - world.now() <= timedelta(minutes=5)
    assert all(
        job.next_run_at is None or job.next_run_at - world.now() < timedelta(days=2)
        for job in jobs.listed(world.ctx)
    )


def test_what_a_dead_worker_held_is_taken_up_a_lease_later(a_year_ahead: World) -> None:
    world = a_year_ahead
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.claim(run_id)
    due.tick(world.ctx)
    world.advance(-YEAR)
    due.tick(world.ctx)
    assert claims.claim_next(world.ctx, "here:2:x") is None
    world.advance(61)
    taken = claims.claim_next(world.ctx, "here:2:x")
    assert taken is not None
    assert taken.run_id == run_id


def test_what_was_rung_in_the_future_is_rung_again(a_year_ahead: World) -> None:
    world = a_year_ahead
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    due.tick(world.ctx)
    world.rung.clear()
    world.advance(-YEAR)
    due.tick(world.ctx)
    assert world.rung == [run_id]


@pytest.mark.parametrize(
    ("wait", "waits"), [(Wait.BACK_OFF, False), (Wait.CIRCUIT, False), (Wait.QUOTA, True)]
)
def test_a_back_off_is_not_waited_for_for_a_year_but_a_quota_is_the_other_systems(
    a_year_ahead: World, wait: Wait, waits: bool
) -> None:
    world = a_year_ahead
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    claims.give_back(world.ctx, world.claim(run_id), wait_seconds=60, wait=wait, why="")
    due.tick(world.ctx)
    world.advance(-YEAR)
    due.tick(world.ctx)
    assert (claims.claim_next(world.ctx, "here:2:x") is None) is waits


def test_a_clock_that_trembles_changes_nothing(world: World) -> None:
    config = world.config(cron="0 0 1 1 *", next_run_at=world.now() + timedelta(hours=3))
    due.tick(world.ctx)
    before = world.config_row(config).next_run_at
    world.advance(-60)
    due.tick(world.ctx)
    assert world.config_row(config).next_run_at == before
