"""A paused config starts nothing, says who stopped it, and resumes where its schedule is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from models.audit import AuditEvent
from models.sync_runs import RunKind, RunState
from tasks import configs, due, runs
from tasks.errors import NotFound, WrongState
from tests.tasks.world import World

WHO = "alice@example.org"


def test_a_pause_stops_what_waits_and_lets_what_runs_go_on(world: World) -> None:
    config = world.config(next_run_at=world.now())
    running = runs.queue(world.ctx, config, asked_by=WHO)
    world.claim(running)
    preview = runs.queue(world.ctx, config, asked_by=WHO, kind=RunKind.PREVIEW)
    other = world.config()
    waiting = runs.queue(world.ctx, other, asked_by=WHO)
    configs.pause(world.ctx, config, by=WHO, reason="stocktaking")
    configs.pause(world.ctx, other, by=WHO)
    assert world.run(running).state == RunState.RUNNING
    assert world.run(preview).state == RunState.QUEUED
    assert world.run(waiting).state == RunState.SKIPPED
    assert world.run(waiting).reason == "alice@example.org paused the sync before this run started."
    row = world.config_row(config)
    assert (row.paused_by, row.paused_reason, row.next_run_at) == (WHO, "stocktaking", None)
    assert due.tick(world.ctx).due == 0


def test_a_resumed_config_goes_on_with_its_next_slot_and_makes_up_for_none(world: World) -> None:
    config = world.config(cron="*/15 * * * *", missed="all", next_run_at=world.now())
    configs.pause(world.ctx, config, by=WHO)
    world.advance(3 * 3600)
    configs.resume(world.ctx, config, by=WHO)
    assert due.tick(world.ctx).due == 0
    next_at = world.config_row(config).next_run_at
    assert next_at is not None and world.now() < next_at <= world.now() + timedelta(minutes=17)


def test_a_config_without_a_schedule_of_its_own_gets_none_by_resuming(world: World) -> None:
    config = world.config(auto=False)
    configs.pause(world.ctx, config, by=WHO)
    configs.resume(world.ctx, config, by=WHO)
    assert world.config_row(config).next_run_at is None


def test_what_cannot_be_done_is_refused_and_both_acts_are_audited_once(world: World) -> None:
    config = world.config()
    with pytest.raises(WrongState, match="not paused"):
        configs.resume(world.ctx, config, by=WHO)
    configs.pause(world.ctx, config, by=WHO, reason="stocktaking")
    with pytest.raises(WrongState, match="already paused, by alice"):
        configs.pause(world.ctx, config, by="bob@example.org")
    configs.resume(world.ctx, config, by="bob@example.org")
    with pytest.raises(NotFound):
        configs.pause(world.ctx, "nothing", by=WHO)
    with world.ctx.reads() as db:
        acts = db.execute(select(AuditEvent.actor, AuditEvent.action, AuditEvent.subject)).all()
        assert db.scalars(select(AuditEvent.detail)).first() == {"reason": "stocktaking"}
    assert acts == [(WHO, "config.paused", config), ("bob@example.org", "config.resumed", config)]
