"""A bulk retry is a frozen set: shown before it starts, taken back in time, never more than was shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import update

from models.bulk import BulkPart, BulkRetry
from models.issues import Issue
from models.sync_runs import RunState, SyncRun
from sync.values import encode_fields
from tasks import bulk, claims, due, runs
from tasks.bulk import Selection
from tasks.claims import Ending
from tasks.errors import NotFound, WrongState
from tests.tasks.world import World


def fails(world: World, config_id: str, *keys: str, code: str = "rejected", message: str = "No.") -> None:
    with world.ctx.sessions.begin() as db:
        now = world.ctx.db_now(db)
        for key in keys:
            db.add(
                Issue(
                    workspace_id=world.workspace, config_id=config_id, code=code, side="right", key=key,
                    message=message, detail=encode_fields({}), opened_at=now, last_seen_at=now,
                )
            )  # fmt: skip


def heals(world: World, config_id: str, *keys: str) -> None:
    with world.ctx.sessions.begin() as db:
        db.execute(
            update(Issue)
            .where(Issue.config_id == config_id, Issue.key.in_(keys))
            .values(closed_at=world.ctx.db_now(db))
        )


def planned(world: World, **chosen: str) -> str:
    return bulk.plan(world.ctx, Selection(world.workspace, **chosen), said="what fails", by="bob@example.com")


def row(world: World, bulk_id: str) -> BulkRetry:
    with world.ctx.reads() as db:
        return db.get_one(BulkRetry, bulk_id)


def parts(world: World, bulk_id: str) -> dict[str, BulkPart]:
    with world.ctx.reads() as db:
        found = db.query(BulkPart).filter_by(bulk_id=bulk_id).all()
        return {part.config_id: part for part in found}


def confirm(world: World, bulk_id: str, **how: Any) -> None:
    digest = row(world, bulk_id).digest
    bulk.confirm(world.ctx, bulk_id, **({"digest": digest, "by": "bob@example.com"} | how))


def ends(world: World, run_id: str, failed: Sequence[str] = (), state: RunState | None = None) -> None:
    """The run is claimed and ends, these keys failing."""
    errors = [{"key": key, "code": "rejected", "message": "No."} for key in failed]
    default = RunState.PARTIAL if failed else RunState.SUCCESS
    claims.finish(world.ctx, world.claim(run_id), Ending(state or default, summary={"errors": errors}))


def run_of(world: World, bulk_id: str, config_id: str) -> SyncRun:
    run_id = parts(world, bulk_id)[config_id].run_id
    assert run_id is not None
    return world.run(run_id)


def test_the_set_is_what_fits_the_filter_now_and_stays_that(world: World) -> None:
    one, two = world.config(), world.config()
    fails(world, one, "a", "b")
    fails(world, one, "c", code="lossy")
    fails(world, two, "d", message="name: 100% too long")
    assert {id: part.keys for id, part in parts(world, planned(world, code="rejected")).items()} == {
        one: ["a", "b"],
        two: ["d"],
    }
    assert list(parts(world, planned(world, text="100%"))) == [two]
    assert list(parts(world, planned(world, config_id=one, text="C"))[one].keys) == ["c"]
    made = planned(world)
    fails(world, one, "z")
    assert parts(world, made)[one].keys == ["a", "b", "c"]


def test_nothing_to_try_is_said_and_no_plan_is_made(world: World) -> None:
    with pytest.raises(WrongState, match="nothing to try again"):
        planned(world, code="rejected")


def test_a_paused_sync_is_left_out_with_its_reason(world: World) -> None:
    free, paused = world.config(), world.config(paused_at=world.now(), paused_reason="moving")
    fails(world, free, "a")
    fails(world, paused, "b", "c")
    made = parts(world, planned(world))
    assert made[free].keys == ["a"]
    assert made[paused].keys == [] and sorted(made[paused].left_out) == ["b", "c"]
    assert "paused" in made[paused].message and "moving" in made[paused].message


def test_more_than_fits_in_one_is_the_next_slice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST", 3)
    config = world.config()
    fails(world, config, *"abcde")
    part = parts(world, planned(world))[config]
    assert part.keys == ["a", "b", "c"]
    assert sorted(part.left_out) == ["d", "e"]


def test_it_begins_after_the_time_in_which_it_can_be_taken_back(world: World) -> None:
    config = world.config()
    fails(world, config, "a", "b")
    made = planned(world)
    confirm(world, made)
    run = run_of(world, made, config)
    assert (run.state, run.kind, run.options) == ("queued", "retry", {"keys": ["a", "b"]})
    assert claims.claim_run(world.ctx, run.id, "here:1:abc") is None, "it can still be taken back"
    world.advance(31)
    with pytest.raises(WrongState, match="only be stopped"):
        bulk.recall(world.ctx, made, by="bob@example.com")
    ends(world, run.id)


def test_taken_back_in_time_nothing_runs(world: World) -> None:
    one, two = world.config(), world.config()
    fails(world, one, "a")
    fails(world, two, "b")
    made = planned(world)
    confirm(world, made)
    bulk.recall(world.ctx, made, by="ann@example.com")
    assert row(world, made).state == "recalled"
    assert {run_of(world, made, id).state for id in (one, two)} == {"cancelled"}
    world.advance(40)
    due.tick(world.ctx)
    assert {run.state for id in (one, two) for run in world.runs_of(id) if run.kind == "retry"} == {
        "cancelled"
    }


def test_a_second_person_and_a_double_click_learn_that_it_was_started(world: World) -> None:
    config = world.config()
    fails(world, config, "a")
    made = planned(world)
    confirm(world, made)
    with pytest.raises(WrongState, match=r"started already by bob@example\.com") as refused:
        confirm(world, made, by="ann@example.com")
    assert refused.value.code == "already_started"
    assert len(world.runs_of(config)) == 1


def test_what_was_not_shown_is_not_started(world: World) -> None:
    config = world.config()
    fails(world, config, "a")
    made = planned(world)
    with pytest.raises(WrongState, match="not the set that was shown"):
        confirm(world, made, digest="another")
    world.change_config(config, version=7)
    with pytest.raises(WrongState, match="was changed since this was planned"):
        confirm(world, made)
    late = planned(world)
    world.advance(25 * 3600)
    with pytest.raises(WrongState, match="older than a day"):
        confirm(world, late)
    assert world.runs_of(config) == []


def test_what_a_later_run_fixed_is_left_out(world: World) -> None:
    config = world.config()
    fails(world, config, "a", "b")
    made = planned(world)
    heals(world, config, "a")
    confirm(world, made)
    part = parts(world, made)[config]
    assert part.keys == ["b"] and part.left_out == {"a": bulk.FIXED}
    assert run_of(world, made, config).options == {"keys": ["b"]}
    other = planned(world)
    heals(world, config, "b")
    with pytest.raises(WrongState, match="later runs have fixed it"):
        confirm(world, other)


def test_many_records_want_a_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "NEEDS_REASON", 1)
    config = world.config()
    fails(world, config, "a", "b")
    made = planned(world)
    with pytest.raises(WrongState) as refused:
        confirm(world, made)
    assert refused.value.code == "needs_reason"
    confirm(world, made, reason="INC-12")
    assert run_of(world, made, config).reason == "INC-12"


def test_one_goes_ahead_and_the_others_follow_when_it_got_through(world: World) -> None:
    large, small = world.config(), world.config()
    fails(world, large, "a", "b", "c")
    fails(world, small, "d")
    made = planned(world)
    confirm(world, made, one_first=True)
    first = row(world, made)
    assert (first.state, first.first_key) == ("first", "a") and first.first_run_id
    assert world.run(first.first_run_id).options == {"keys": ["a"]}
    assert world.runs_of(small) == []
    world.advance(31)
    heals(world, large, "a")
    ends(world, first.first_run_id)
    assert row(world, made).state == "started"
    assert run_of(world, made, large).options == {"keys": ["b", "c"]}
    assert run_of(world, made, small).options == {"keys": ["d"]}
    assert {run_of(world, made, large).id, run_of(world, made, small).id} <= set(world.rung)


def test_if_the_first_fails_again_the_others_are_left_alone(world: World) -> None:
    config = world.config()
    fails(world, config, "a", "b", "c")
    made = planned(world)
    confirm(world, made, one_first=True)
    world.advance(31)
    ends(world, row(world, made).first_run_id or "", failed=["a"])
    assert row(world, made).state == "stopped"
    assert "failed again" in row(world, made).ended_because
    due.tick(world.ctx)
    assert [run.options for run in world.runs_of(config) if run.kind == "retry"] == [{"keys": ["a"]}]


def test_a_busy_sync_takes_its_turn_when_it_is_free(world: World) -> None:
    config = world.config()
    fails(world, config, "a")
    busy = runs.queue(world.ctx, config, asked_by="bob@example.com")
    made = planned(world)
    confirm(world, made)
    assert parts(world, made)[config].state == "waiting"
    ends(world, busy)
    assert run_of(world, made, config).options == {"keys": ["a"]}


def test_the_tick_takes_up_what_waits_for_a_run_that_was_cancelled(world: World) -> None:
    config = world.config()
    fails(world, config, "a")
    busy = runs.queue(world.ctx, config, asked_by="bob@example.com")
    made = planned(world)
    confirm(world, made)
    runs.cancel(world.ctx, busy, by="bob@example.com")
    due.tick(world.ctx)
    assert run_of(world, made, config).state == "queued"


def test_an_automatic_retry_carries_on_for_its_run(world: World) -> None:
    config = world.config()
    fails(world, config, "a")
    made = planned(world)
    confirm(world, made)
    world.advance(31)
    first = run_of(world, made, config).id
    ending = Ending(RunState.FAILED, code="unavailable", message="Away.", can_heal=True)
    claims.finish(world.ctx, world.claim(first), ending)
    second = run_of(world, made, config)
    assert second.id != first and second.retry_of == first and second.options == {"keys": ["a"]}


def test_stopping_cancels_what_has_not_ended(world: World) -> None:
    one, two = world.config(), world.config()
    fails(world, one, "a")
    fails(world, two, "b")
    made = planned(world)
    confirm(world, made)
    world.advance(31)
    ends(world, run_of(world, made, one).id)
    assert bulk.stop(world.ctx, made, by="bob@example.com") == 1
    assert (run_of(world, made, one).state, run_of(world, made, two).state) == ("success", "cancelled")
    with pytest.raises(WrongState, match="nothing to stop"):
        bulk.stop(world.ctx, made, by="bob@example.com")


def test_a_look_before_the_click_is_a_preview_of_just_these_records(world: World) -> None:
    config = world.config()
    fails(world, config, "a", "b")
    made = planned(world)
    assert bulk.look(world.ctx, made, by="bob@example.com") == 1
    preview = world.run(parts(world, made)[config].preview_run_id or "")
    assert (preview.kind, preview.options) == ("preview", {"keys": ["a", "b"]})
    with pytest.raises(NotFound):
        bulk.look(world.ctx, "nothing", by="bob@example.com")
