"""Rings that were lost are rung again; what a dead worker left is taken up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from time import monotonic

import pytest

from models.sync_runs import RunState, Wait
from tasks import claims, runs, upkeep
from tests.tasks.world import World

WHO = "alice@example.org"


def test_a_run_that_waits_in_silence_is_rung_again_but_not_all_the_time(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.rung.clear()
    assert upkeep.sweep(world.ctx).rung_again == 0
    world.advance(31)
    assert upkeep.sweep(world.ctx).rung_again == 1
    assert upkeep.sweep(world.ctx).rung_again == 0
    assert world.rung == [run_id]
    world.advance(31)
    assert upkeep.sweep(world.ctx).rung_again == 1


def test_a_run_that_waits_for_its_time_is_left_alone_until_then(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    claims.give_back(world.ctx, world.claim(run_id), wait_seconds=120, wait=Wait.QUOTA, why="")
    world.rung.clear()
    world.advance(60)
    assert upkeep.sweep(world.ctx).rung_again == 0
    world.advance(61)
    assert upkeep.sweep(world.ctx).rung_again == 1


def test_a_silent_workers_run_is_rung_as_soon_as_its_lease_is_over(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.claim(run_id)
    world.rung.clear()
    world.advance(59)
    assert upkeep.sweep(world.ctx).expired == 0
    world.advance(2)
    assert upkeep.sweep(world.ctx).expired == 1
    upkeep.sweep(world.ctx)
    assert world.rung == [run_id]
    assert claims.claim_next(world.ctx, "here:2:x") is not None


def test_what_must_not_start_again_is_ended_by_the_sweep(world: World) -> None:
    hopeless = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.claim(hopeless)
    for _ in range(2):
        world.advance(61)
        world.claim(hopeless)
    unwanted = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.claim(unwanted)
    runs.cancel(world.ctx, unwanted, by=WHO)
    world.advance(61)
    world.rung.clear()
    assert upkeep.sweep(world.ctx).ended == 2
    assert world.run(hopeless).state == RunState.FAILED
    assert world.run(unwanted).state == RunState.CANCELLED
    assert world.rung == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_worker_that_stopped_while_it_wrote_holds_up_nobody_else(world: World) -> None:
    stuck, other = (runs.queue(world.ctx, world.config(), asked_by=WHO) for _ in range(2))
    claim = world.claim(stuck, "here:1:x")
    world.claim(other, "here:1:x")
    with world.ctx.sessions.begin() as db:
        claims.fence(world.ctx, db, claim)  # and here it stops: its row stays locked
        world.advance(61)
        begun = monotonic()
        assert upkeep.sweep(world.ctx).expired == 2
        assert claims.claim_run(world.ctx, stuck, "here:2:x") is None
        taken = claims.claim_next(world.ctx, "here:2:x")
        assert taken is not None and taken.run_id == other
        assert monotonic() - begun < 3


def test_a_dead_process_of_this_machine_does_not_keep_its_lease(small_world: World) -> None:
    world = small_world
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.claim(run_id, f"{socket.gethostname()}:{child.pid}:x")
    alive = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.claim(alive, f"{socket.gethostname()}:{os.getpid()}:x")
    elsewhere = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.claim(elsewhere, f"another-host:{child.pid}:x")
    assert upkeep.sweep(world.ctx).expired == 1
    assert claims.claim_run(world.ctx, run_id, "here:2:x") is not None
    assert claims.claim_run(world.ctx, alive, "here:2:x") is None
    assert claims.claim_run(world.ctx, elsewhere, "here:2:x") is None
