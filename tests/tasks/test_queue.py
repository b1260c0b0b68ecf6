"""One run of a config waits, one runs; whoever asks again joins or is told."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select

from models.audit import AuditEvent
from models.sync_runs import RunKind, RunState, SyncRun
from tasks import runs
from tasks.errors import NotFound, RunActive, WrongState
from tests.tasks.world import World


def test_a_run_is_stored_before_a_worker_is_woken(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by="alice@example.org", reason="look")
    run = world.run(run_id)
    assert (run.state, run.kind, run.asked_by, run.reason) == (
        "queued",
        "manual",
        "alice@example.org",
        "look",
    )
    assert world.rung == [run_id]


def test_a_second_request_joins_the_waiting_run(world: World) -> None:
    config = world.config()
    first = runs.queue(world.ctx, config, asked_by="alice@example.org")
    assert runs.queue(world.ctx, config, asked_by="bob@example.org", full=True) == first
    assert len(world.runs_of(config)) == 1
    assert world.run(first).full, "what the second one asked for as well is not lost"


def test_a_request_while_one_runs_is_told_which(world: World) -> None:
    config = world.config()
    running = runs.queue(world.ctx, config, asked_by="alice@example.org")
    world.claim(running)
    with pytest.raises(RunActive) as refusal:
        runs.queue(world.ctx, config, asked_by="bob@example.org")
    assert (refusal.value.run_id, refusal.value.state) == (running, "running")
    assert len(world.runs_of(config)) == 1


def test_another_kind_of_work_does_not_vanish_in_a_waiting_run(world: World) -> None:
    config = world.config()
    waiting = runs.queue(world.ctx, config, asked_by="alice@example.org")
    with pytest.raises(RunActive) as refusal:
        runs.queue(
            world.ctx,
            config,
            asked_by="bob@example.org",
            kind=RunKind.BACKFILL,
            options={"since": "2026-01-01"},
        )
    assert (refusal.value.run_id, refusal.value.state) == (waiting, "queued")


def test_a_preview_waits_beside_a_run_and_runs_beside_it(world: World) -> None:
    config = world.config()
    run = runs.queue(world.ctx, config, asked_by="alice@example.org")
    preview = runs.queue(world.ctx, config, asked_by="alice@example.org", kind=RunKind.PREVIEW)
    assert run != preview
    world.claim(run)
    world.claim(preview)


def test_the_same_form_sent_twice_asks_once_even_after_the_run(world: World) -> None:
    config = world.config()
    first = runs.queue(world.ctx, config, asked_by="alice@example.org", request_key="form-1")
    runs.cancel(world.ctx, first, by="alice@example.org")
    assert runs.queue(world.ctx, config, asked_by="alice@example.org", request_key="form-1") == first
    assert len(world.runs_of(config)) == 1


def test_twenty_clicks_at_once_make_one_run(world: World) -> None:
    config = world.config()
    found: list[str] = []

    def click() -> None:
        found.append(runs.queue(world.ctx, config, asked_by="alice@example.org", request_key="form-1"))

    threads = [threading.Thread(target=click) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and len(set(found)) == 1
    assert len(world.runs_of(config)) == 1


def test_who_asked_is_audited_with_the_run(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by="alice@example.org", reason="customer called")
    with world.ctx.reads() as db:
        act = db.scalars(select(AuditEvent)).one()
    assert (act.actor, act.action, act.subject) == ("alice@example.org", "run.queued", run_id)
    assert act.detail["reason"] == "customer called"


def test_what_may_not_run_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        runs.queue(world.ctx, "nothing", asked_by="alice@example.org")
    with pytest.raises(WrongState) as inactive:
        runs.queue(world.ctx, world.config(active=False), asked_by="alice@example.org")
    assert inactive.value.code == "inactive"
    paused = world.config(paused_at=world.now(), paused_by="bob@example.org", paused_reason="stocktaking")
    with pytest.raises(WrongState, match=r"bob@example\.org.*stocktaking") as pause:
        runs.queue(world.ctx, paused, asked_by="alice@example.org")
    assert pause.value.code == "paused"
    with world.ctx.reads() as db:
        assert db.scalar(select(func.count()).select_from(SyncRun)) == 0
    assert world.rung == []


def test_a_paused_config_can_still_be_previewed(world: World) -> None:
    paused = world.config(paused_at=world.now())
    preview = runs.queue(world.ctx, paused, asked_by="alice@example.org", kind=RunKind.PREVIEW)
    world.claim(preview)


def test_a_waiting_run_is_cancelled_at_once(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by="alice@example.org")
    assert runs.cancel(world.ctx, run_id, by="bob@example.org") is RunState.CANCELLED
    run = world.run(run_id)
    assert run.finished_at is not None and run.error == "Cancelled by bob@example.org before it started."
    with pytest.raises(WrongState, match="already ended"):
        runs.cancel(world.ctx, run_id, by="bob@example.org")


def test_a_running_run_is_asked_to_stop_and_asking_twice_is_asking_once(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by="alice@example.org")
    world.claim(run_id)
    assert runs.cancel(world.ctx, run_id, by="bob@example.org") is RunState.RUNNING
    assert runs.cancel(world.ctx, run_id, by="carol@example.org") is RunState.RUNNING
    assert world.run(run_id).cancel_requested_by == "bob@example.org"
    with pytest.raises(NotFound):
        runs.cancel(world.ctx, "nothing", by="bob@example.org")
