"""What is due is queued once, by however many schedulers, and what was missed follows the policy."""

from __future__ import annotations

import itertools
import threading
from datetime import datetime, timedelta
from time import monotonic, process_time

import pytest
from sqlalchemy import func, insert, select

from models.issues import Alert
from models.processes import Process
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun, Wait
from tasks import claims, due, overdue, runs
from tasks.claims import Ending
from tests.tasks.world import World

HOUR = 3600


def due_config(world: World, *, ago: float = 5, **values: object) -> str:
    """A config whose slot was `ago` seconds ago."""
    values.setdefault("cron", "* * * * *")
    return world.config(next_run_at=world.now() - timedelta(seconds=ago), **values)


def states(world: World, config: str) -> list[str]:
    return [run.state for run in world.runs_of(config)]


def next_at(world: World, config: str) -> datetime:
    found = world.config_row(config).next_run_at
    assert found is not None
    return found


def test_a_slot_that_is_due_is_queued_and_rung_and_the_next_one_is_set(world: World) -> None:
    config = due_config(world)
    slot = next_at(world, config)
    counts = due.tick(world.ctx)
    assert (counts.due, counts.queued, counts.skipped) == (1, 1, 0)
    (run,) = world.runs_of(config)
    assert (run.state, run.kind, run.asked_by) == ("queued", "scheduled", "schedule")
    assert run.due_at is not None and run.due_at <= world.now()
    assert slot - timedelta(minutes=1) < run.due_at
    assert world.rung == [run.id]
    assert world.now() < next_at(world, config) <= world.now() + timedelta(minutes=1)
    assert due.tick(world.ctx).due == 0, "once is enough"


def test_nothing_is_queued_before_its_time_or_against_a_persons_will(world: World) -> None:
    due_config(world, ago=-30)
    due_config(world, paused_at=world.now())
    due_config(world, active=False)
    due_config(world, auto=False)
    assert due.tick(world.ctx).queued == 0


def test_ticks_at_once_queue_each_slot_once(world: World) -> None:
    configs = [due_config(world) for _ in range(30)]
    threads = [threading.Thread(target=due.tick, args=(world.ctx,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    due.tick(world.ctx)
    assert [len(world.runs_of(config)) for config in configs] == [1] * 30


def test_the_same_slot_never_runs_twice_even_if_the_clock_goes_back(world: World) -> None:
    config = due_config(world, cron="0 * * * *", ago=HOUR * 2)
    due.tick(world.ctx)
    (run,) = world.runs_of(config)
    runs.cancel(world.ctx, run.id, by="alice@example.org")
    world.change_config(config, next_run_at=run.due_at)
    due.tick(world.ctx)
    assert len(world.runs_of(config)) == 1
    assert next_at(world, config) > world.now(), "and the schedule is not stuck on it"


def test_a_slot_during_a_run_is_skipped_and_says_so(world: World) -> None:
    config = due_config(world)
    running = runs.queue(world.ctx, config, asked_by="alice@example.org")
    world.claim(running)
    counts = due.tick(world.ctx)
    assert (counts.queued, counts.skipped) == (0, 1)
    skipped = world.runs_of(config)[1]
    assert skipped.state == RunState.SKIPPED and skipped.finished_at is not None
    assert skipped.reason == f"Overrun: run {running} was still running."
    assert skipped.id not in world.rung


def test_a_slot_while_a_run_waits_is_skipped(world: World) -> None:
    config = due_config(world)
    waiting = runs.queue(world.ctx, config, asked_by="alice@example.org")
    due.tick(world.ctx)
    assert world.runs_of(config)[1].reason == f"Run {waiting} was still waiting to start."


def test_a_preview_is_no_reason_to_skip(world: World) -> None:
    config = due_config(world)
    world.claim(runs.queue(world.ctx, config, asked_by="alice@example.org", kind=RunKind.PREVIEW))
    assert due.tick(world.ctx).queued == 1


def test_after_hours_of_silence_the_latest_slot_runs(world: World) -> None:
    config = due_config(world, cron="0 * * * *", ago=5 * HOUR)
    counts = due.tick(world.ctx)
    assert counts.queued == 1 and counts.missed >= 4
    (run,) = world.runs_of(config)
    assert run.due_at is not None and world.now() - run.due_at < timedelta(hours=1, minutes=10)
    assert run.reason.startswith("catching up")


def test_after_hours_of_silence_skip_means_none_and_says_so(world: World) -> None:
    config = due_config(world, cron="*/15 * * * *", ago=5 * HOUR, missed="skip")
    world.advance(180)
    while world.now().minute % 15 in (0, 1, 2):  # a slot of this moment would not be a missed one
        world.advance(60)
    assert due.tick(world.ctx).queued == 0
    (run,) = world.runs_of(config)
    assert run.state == RunState.SKIPPED and "no scheduler ran" in run.reason


@pytest.mark.parametrize("minute", [0, 30])
def test_after_hours_of_silence_all_means_each_in_turn(world: World, minute: int) -> None:
    now = world.now()
    to_there = now.replace(minute=minute, second=20) - now
    world.advance(to_there.total_seconds())  # at minute 0 the slot of this very minute is the last of them
    config = due_config(world, cron="0 * * * *", ago=3 * HOUR + 60, missed="all")
    done: list[datetime] = []
    for _ in range(10):
        due.tick(world.ctx)
        due.tick(world.ctx)  # while one waits, the others wait for it and none is skipped
        for run in world.runs_of(config):
            assert run.state != RunState.SKIPPED
            if run.state == RunState.QUEUED:
                assert run.due_at is not None
                done.append(run.due_at)
                claims.finish(world.ctx, world.claim(run.id), Ending(RunState.SUCCESS))
    assert len(done) == (4 if minute == 0 else 3) and done == sorted(done)
    assert all(later - slot == timedelta(hours=1) for slot, later in itertools.pairwise(done))
    assert next_at(world, config) > world.now()


def test_a_retry_that_waits_starts_with_the_next_slot(world: World) -> None:
    config = due_config(world, ago=-30)
    failed = runs.queue(world.ctx, config, asked_by="alice@example.org")
    claims.finish(
        world.ctx,
        world.claim(failed),
        Ending(RunState.FAILED, code="unavailable", message="Off.", can_heal=True),
    )
    retry = world.runs_of(config)[1]
    assert retry.wait_code == "back_off"
    world.change_config(config, next_run_at=world.now())
    due.tick(world.ctx)
    assert world.run(retry.id).not_before is None
    assert retry.id in world.rung
    assert world.runs_of(config)[2].reason.startswith("Joined")


def test_a_schedule_that_cannot_be_used_stops_with_an_alert_and_holds_up_nobody(world: World) -> None:
    broken = due_config(world, timezone="Europe/Nowhere")
    fine = due_config(world)
    assert due.tick(world.ctx).queued == 1
    assert states(world, fine) == ["queued"] and states(world, broken) == []
    assert world.config_row(broken).next_run_at is None
    with world.ctx.reads() as db:
        assert "Europe/Nowhere" in db.scalars(select(Alert.message)).one()


def test_an_overdue_config_raises_one_alarm_that_is_cleared_when_it_moves(world: World) -> None:
    config = due_config(world, ago=HOUR, cron="0 0 1 1 *")
    assert overdue.look(world.ctx) == 1
    assert overdue.look(world.ctx) == 1
    with world.ctx.reads() as db:
        (alert,) = db.scalars(select(Alert)).all()
    assert alert.config_id == config and alert.cleared_at is None
    due.tick(world.ctx)
    assert overdue.look(world.ctx) == 0
    with world.ctx.reads() as db:
        assert db.scalars(select(Alert)).one().cleared_at is not None


def test_a_run_for_which_no_worker_comes_raises_the_alarm_too(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by="alice@example.org")
    assert overdue.look(world.ctx) == 0
    world.advance(11 * 60)
    assert overdue.look(world.ctx) == 1
    world.claim(run_id)
    assert overdue.look(world.ctx) == 0


def test_the_last_tick_is_known(world: World) -> None:
    due.tick(world.ctx)
    due.tick(world.ctx)
    with world.ctx.reads() as db:
        (row,) = db.scalars(select(Process).where(Process.kind == "tick")).all()
        assert row.ticked_at is not None


def test_all_automatic_configs_are_queued_on_demand_with_a_line_each(world: World) -> None:
    first, second = world.config(name="a"), world.config(name="b")
    world.config(name="c", auto=False)
    world.config(name="d", paused_at=world.now())
    busy = runs.queue(world.ctx, second, asked_by="alice@example.org")
    world.claim(busy)
    done = due.run_auto_syncs(world.ctx, asked_by="cron endpoint")
    assert done.counts == {"found": 2, "queued": 1, "skipped": 1, "failed": 0}
    assert [(line.name, line.outcome, line.run_id) for line in done.lines] == [
        ("a", "queued", world.runs_of(first)[0].id),
        ("b", "skipped", busy),
    ]
    assert "is running already" in done.lines[1].reason


def test_a_sync_that_waits_to_start_is_skipped_on_demand_too(world: World) -> None:
    config = world.config(name="a")
    first = due.run_auto_syncs(world.ctx, asked_by="cron endpoint")
    assert first.counts == {"found": 1, "queued": 1, "skipped": 0, "failed": 0}
    again = due.run_auto_syncs(world.ctx, asked_by="cron endpoint")
    assert again.counts == {"found": 1, "queued": 0, "skipped": 1, "failed": 0}
    assert "is waiting to start already" in again.lines[0].reason
    assert again.lines[0].run_id == first.lines[0].run_id
    assert len(world.runs_of(config)) == 1


def test_a_retry_that_backs_off_starts_when_all_are_asked_to_run(world: World) -> None:
    config = world.config(name="a")
    waiting = runs.queue(world.ctx, config, asked_by="retry")
    with world.ctx.sessions.begin() as db:
        row = db.get_one(SyncRun, waiting)
        row.wait_code, row.not_before = Wait.BACK_OFF.value, world.now() + timedelta(minutes=10)
    world.rung.clear()
    assert due.run_auto_syncs(world.ctx, asked_by="cron endpoint").counts["skipped"] == 1
    assert world.rung == [waiting]
    with world.ctx.reads() as db:
        assert db.get_one(SyncRun, waiting).not_before is None


def test_all_automatic_configs_of_one_workspace_only(world: World) -> None:
    elsewhere = world.add_workspace()
    world.config()
    config = world.config(workspace_id=elsewhere)
    done = due.run_auto_syncs(world.ctx, asked_by="token", workspace_id=elsewhere)
    assert [line.config_id for line in done.lines] == [config]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_ten_thousand_configs_are_queued_by_one_tick_within_ten_seconds(world: World) -> None:
    left, right, now = world.connection(), world.connection(), world.now()
    row = {
        "workspace_id": world.workspace,
        "definition": {},
        "known_pairs": [],
        "left_connection_id": left,
        "right_connection_id": right,
        "cron": "*/5 * * * *",
        "timezone": "Europe/Paris",
        "next_run_at": now - timedelta(seconds=1),
        "created_at": now,
        "updated_at": now,
    }
    with world.ctx.sessions.begin() as db:
        db.execute(
            insert(SyncConfig), [row | {"id": f"c{number}", "name": f"c{number}"} for number in range(10_000)]
        )
    begun, worked = monotonic(), process_time()
    counts = due.tick(world.ctx)
    seconds, work_seconds = monotonic() - begun, process_time() - worked
    print(f"10,000 due configs queued in {seconds:.1f} s, with {work_seconds:.1f} s of work")
    assert (counts.due, counts.queued) == (10_000, 10_000)
    with world.ctx.reads() as db:
        assert db.scalar(select(func.count()).select_from(SyncRun)) == 10_000
    assert len(world.rung) == 10_000
    assert work_seconds < 8, "on a machine that does nothing else it takes little longer than that"
