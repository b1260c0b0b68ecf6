"""The heartbeat keeps the leases, carries the flags, tells how far a run is, and outlives outages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic

import pytest
from sqlalchemy import select, text

from models.issues import Alert
from models.processes import Process
from models.sync_runs import RunLine
from tasks import runs
from tasks.errors import CancelRequested, LeaseLost, Stopping
from tasks.heartbeat import Heartbeat
from tests.tasks.world import World

WHO = "alice@example.org"


@pytest.fixture
def heartbeat(world: World) -> Iterator[Heartbeat]:
    beat = Heartbeat(world.ctx, "worker", threading.Event())
    yield beat
    beat.close()


def lease_end(world: World, run_id: str) -> datetime:
    end = world.run(run_id).lease_until
    assert end is not None
    return end


def test_a_beat_renews_what_is_held_and_nothing_else(world: World, heartbeat: Heartbeat) -> None:
    held, other = (runs.queue(world.ctx, world.config(), asked_by=WHO) for _ in range(2))
    claim = world.claim(held, heartbeat.owner)
    world.claim(other, "here:9:x")
    with heartbeat.hold(claim) as reins:
        world.advance(40)
        heartbeat.beat()
        world.advance(40)
        heartbeat.beat()
        reins.checkpoint()
        assert lease_end(world, held) > world.now()
        assert lease_end(world, other) < world.now()


def test_a_person_who_cancels_reaches_the_run_at_its_next_checkpoint(
    world: World, heartbeat: Heartbeat
) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    with heartbeat.hold(world.claim(run_id)) as reins:
        heartbeat.beat()
        reins.checkpoint()
        runs.cancel(world.ctx, run_id, by=WHO)
        heartbeat.beat()
        with pytest.raises(CancelRequested):
            reins.checkpoint()


def test_a_stopping_process_reaches_its_runs_at_once(world: World, heartbeat: Heartbeat) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    with heartbeat.hold(world.claim(run_id)) as reins:
        heartbeat.stop.set()
        with pytest.raises(Stopping):
            reins.checkpoint()
        begun = monotonic()
        with pytest.raises(Stopping):
            reins.sleep(30)
        assert monotonic() - begun < 5


def test_a_run_that_was_taken_over_is_told_and_writes_no_more(world: World, heartbeat: Heartbeat) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    with heartbeat.hold(world.claim(run_id)) as reins:
        world.advance(61)
        world.claim(run_id, "here:2:x")
        reins.log("info", "said too late")
        reins.progress("writing", 1, 2)
        heartbeat.beat()
        with pytest.raises(LeaseLost):
            reins.checkpoint()
    assert world.run(run_id).phase == ""
    with world.ctx.reads() as db:
        assert db.scalars(select(RunLine)).all() == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_batch_that_is_just_written_holds_up_no_other_lease(world: World, heartbeat: Heartbeat) -> None:
    writing, other = (runs.queue(world.ctx, world.config(), asked_by=WHO) for _ in range(2))
    with heartbeat.hold(world.claim(writing)) as busy, heartbeat.hold(world.claim(other)) as free:
        with world.ctx.sessions.begin() as db:
            busy.fence(db)
            world.advance(40)
            begun = monotonic()
            heartbeat.beat()
            assert monotonic() - begun < 3
        busy.checkpoint()
        free.checkpoint()
        assert lease_end(world, other) > world.now() + timedelta(seconds=50)


def test_the_fence_tells_a_late_run_before_any_beat_does(world: World, heartbeat: Heartbeat) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    with heartbeat.hold(world.claim(run_id)) as reins:
        world.advance(61)
        world.claim(run_id, "here:2:x")
        with pytest.raises(LeaseLost), world.ctx.sessions.begin() as db:
            reins.fence(db)
        with pytest.raises(LeaseLost):
            reins.checkpoint()


def test_progress_and_lines_are_written_by_the_beat_in_order(world: World, heartbeat: Heartbeat) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    with heartbeat.hold(world.claim(run_id)) as reins:
        reins.progress("reading left", 100, None)
        reins.progress("reading left", 200, 500)
        reins.log("info", "Reading.")
        reins.log("warning", "A row has no key.")
        heartbeat.beat()
        run = world.run(run_id)
        assert (run.phase, run.done, run.total) == ("reading left", 200, 500)
        assert not reins.has_news
    with world.ctx.reads() as db:
        lines = db.execute(select(RunLine.level, RunLine.text).order_by(RunLine.id)).all()
    assert lines == [("info", "Reading."), ("warning", "A row has no key.")]


def test_a_process_is_on_the_list_while_it_beats(world: World, heartbeat: Heartbeat) -> None:
    heartbeat.beat()
    heartbeat.beat()
    with world.ctx.reads() as db:
        (row,) = db.scalars(select(Process)).all()
    assert (row.id, row.kind) == (heartbeat.owner, "worker")
    heartbeat.close()
    with world.ctx.reads() as db:
        assert db.scalars(select(Process)).all() == []


def test_a_worker_raises_the_alarm_that_a_dead_scheduler_cannot(world: World, heartbeat: Heartbeat) -> None:
    config = world.config(next_run_at=world.now() - timedelta(minutes=11))
    heartbeat.beat()
    with world.ctx.reads() as db:
        assert db.scalars(select(Alert.config_id).where(Alert.kind == "overdue")).all() == [config]


def test_the_thread_goes_on_after_the_database_was_away(world: World) -> None:
    quick = replace(world.ctx, settings=replace(world.ctx.settings, renew_seconds=0.05))
    heartbeat = Heartbeat(quick, "worker", threading.Event())
    with world.engine.begin() as db:
        db.execute(text("ALTER TABLE processes RENAME TO processes_away"))
        db.execute(text("ALTER TABLE sync_runs RENAME TO sync_runs_away"))
    heartbeat.start()
    try:
        threading.Event().wait(0.3)
        with world.engine.begin() as db:
            db.execute(text("ALTER TABLE processes_away RENAME TO processes"))
            db.execute(text("ALTER TABLE sync_runs_away RENAME TO sync_runs"))
        until = monotonic() + 10
        seen = False
        while not seen and monotonic() < until:
            with world.ctx.reads() as db:
                seen = bool(db.scalars(select(Process)).all())
            threading.Event().wait(0.05)
        assert seen and heartbeat.is_alive
    finally:
        heartbeat.close()


def test_what_a_stopping_process_cannot_take_is_rung_when_it_is_gone(
    world: World, heartbeat: Heartbeat
) -> None:
    heartbeat.pass_on("run-1")
    assert world.rung == []
    heartbeat.close()
    assert world.rung == ["run-1"]


def test_a_process_that_was_too_slow_to_renew_does_not_take_over_from_itself(
    world: World, heartbeat: Heartbeat
) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    with heartbeat.next_run(world.ctx) as reins:
        assert reins is not None
        world.advance(61)
        with heartbeat.next_run(world.ctx) as second:
            assert second is None
        heartbeat.beat()
        reins.checkpoint()
        assert lease_end(world, run_id) > world.now()


def test_of_two_claims_on_one_run_in_one_process_the_newer_one_is_kept_alive(
    world: World, heartbeat: Heartbeat
) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    older = heartbeat.hold(world.claim(run_id, heartbeat.owner))
    reins = older.__enter__()
    world.advance(61)
    with heartbeat.hold(world.claim(run_id, heartbeat.owner)) as newer:
        with pytest.raises(LeaseLost):
            reins.checkpoint()
        older.__exit__(None, None, None)
        world.advance(40)
        heartbeat.beat()
        world.advance(40)
        heartbeat.beat()
        newer.checkpoint()
        assert lease_end(world, run_id) > world.now()
