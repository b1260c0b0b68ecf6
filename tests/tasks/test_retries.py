"""A retry takes what still fails, once, and what can heal heals by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.issues import Issue
from models.sync_runs import RunKind, RunState
from tasks import backfill, claims, retries, runs
from tasks.claims import Ending
from tasks.errors import NotFound, RunActive, WorkError, WrongState
from tests.tasks.world import World

ALICE, BOB = "alice@example.org", "bob@example.org"


def partial_run(world: World, *keys: str, config: str | None = None) -> str:
    """A run in which these records failed; each has an open issue."""
    run_id = runs.queue(world.ctx, config or world.config(), asked_by=ALICE)
    errors = [{"key": key, "code": "rejected", "message": "No."} for key in keys]
    ending = Ending(RunState.PARTIAL, summary={"status": "partial", "errors": errors})
    claims.finish(world.ctx, world.claim(run_id), ending)
    for key in keys:
        issue(world, world.run(run_id).config_id, key)
    return run_id


def issue(world: World, config: str, key: str, *, code: str = "rejected", closed: bool = False) -> None:
    now = world.now()
    with world.ctx.sessions.begin() as db:
        db.add(
            Issue(
                workspace_id=world.workspace, config_id=config, code=code, key=key, message="No.",
                opened_at=now, last_seen_at=now, closed_at=now if closed else None,
            )
        )  # fmt: skip


def close_issue(world: World, config: str, key: str) -> None:
    with world.ctx.sessions.begin() as db:
        for row in db.query(Issue).filter(Issue.config_id == config, Issue.key == key):
            row.closed_at = world.now()


def test_a_retry_is_a_new_run_linked_to_the_old_one_with_the_failed_records(world: World) -> None:
    old = partial_run(world, "a", "b")
    retry = retries.retry_run(world.ctx, old, by=BOB, reason="fixed the address")
    assert retry.keys == ("a", "b")
    run = world.run(retry.run_id)
    assert (run.kind, run.retry_of, run.asked_by, run.options) == ("retry", old, BOB, {"keys": ["a", "b"]})
    assert world.run(old).state == RunState.PARTIAL


def test_what_a_later_run_fixed_is_left_out(world: World) -> None:
    old = partial_run(world, "a", "b", "c")
    close_issue(world, world.run(old).config_id, "b")
    assert retries.retry_run(world.ctx, old, by=BOB).keys == ("a", "c")
    other = partial_run(world, "a")
    close_issue(world, world.run(other).config_id, "a")
    with pytest.raises(WrongState, match="fixed") as refusal:
        retries.retry_run(world.ctx, other, by=BOB)
    assert refusal.value.code == "fixed"
    assert len(world.runs_of(world.run(other).config_id)) == 1


def test_a_second_click_and_a_second_person_join_the_first(world: World) -> None:
    old = partial_run(world, "a")
    first = retries.retry_run(world.ctx, old, by=ALICE, request_key="form-1")
    assert retries.retry_run(world.ctx, old, by=ALICE, request_key="form-1") == first
    assert retries.retry_run(world.ctx, old, by=BOB, request_key="form-2") == first
    world.claim(first.run_id)
    with pytest.raises(RunActive) as busy:
        retries.retry_run(world.ctx, old, by=BOB, request_key="form-3")
    assert busy.value.run_id == first.run_id


def test_one_record_or_the_whole_run_can_be_tried_again(world: World) -> None:
    old = partial_run(world, "a", "b")
    with pytest.raises(NotFound, match="'z' did not fail"):
        retries.retry_run(world.ctx, old, by=BOB, key="z")
    one = retries.retry_run(world.ctx, old, by=BOB, key="b")
    assert one.keys == ("b",)
    runs.cancel(world.ctx, one.run_id, by=BOB)
    whole = retries.retry_run(world.ctx, old, by=BOB, whole=True)
    assert whole.keys is None and world.run(whole.run_id).options == {}


def test_all_records_with_one_cause_can_be_tried_again(world: World) -> None:
    config = world.config()
    issue(world, config, "a")
    issue(world, config, "b", closed=True)
    issue(world, config, "c", code="lossy")
    issue(world, config, "d")
    assert retries.retry_cause(world.ctx, config, "rejected", by=BOB).keys == ("a", "d")
    with pytest.raises(WrongState):
        retries.retry_cause(world.ctx, config, "gone", by=BOB)


def test_a_run_that_failed_as_a_whole_is_tried_as_a_whole(world: World) -> None:
    run_id = backfill.ask(world.ctx, world.config(), since=world.now() - timedelta(days=3), by=ALICE)
    ending = Ending(RunState.FAILED, code="auth", message="Refused.", summary={"errors": [{"key": ""}]})
    claims.finish(world.ctx, world.claim(run_id), ending)
    retry = retries.retry_run(world.ctx, run_id, by=BOB)
    run = world.run(retry.run_id)
    assert retry.keys is None
    assert (run.kind, run.options) == ("backfill", world.run(run_id).options), "of the same range"


def test_what_is_not_over_cannot_be_tried_again(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=ALICE)
    with pytest.raises(WrongState, match="not over"):
        retries.retry_run(world.ctx, run_id, by=BOB)
    with pytest.raises(NotFound):
        retries.retry_run(world.ctx, "nothing", by=BOB)


def test_a_range_must_hold_something(world: World) -> None:
    now = world.now()
    with pytest.raises(WorkError, match="empty"):
        backfill.ask(world.ctx, world.config(), since=now + timedelta(hours=1), by=ALICE)
    with pytest.raises(WorkError, match="empty"):
        backfill.ask(world.ctx, world.config(), since=now, until=now - timedelta(days=1), by=ALICE)


# -- by itself -------------------------------------------------------------------------------------


def fail(world: World, run_id: str) -> None:
    world.advance(4000)
    ending = Ending(RunState.FAILED, code="unavailable", message="No answer.", can_heal=True)
    claims.finish(world.ctx, world.claim(run_id), ending)


def test_a_failure_that_can_heal_is_tried_five_times_at_growing_intervals(world: World) -> None:
    config = world.config()
    run_id = runs.queue(world.ctx, config, asked_by=ALICE)
    waits = []
    for number in range(1, retries.AUTOMATIC_RETRIES + 1):
        fail(world, run_id)
        retry = world.runs_of(config)[-1]
        assert (retry.retry_of, retry.retry_number, retry.state) == (run_id, number, "queued")
        assert retry.wait_text == f"Tries again by itself, {number} of 5 times."
        assert retry.not_before is not None
        waits.append((retry.not_before - retry.created_at).total_seconds())
        run_id = retry.id
    assert waits == [15, 30, 60, 120, 240], "half of the interval, since chance is 0.5 here"
    fail(world, run_id)
    assert len(world.runs_of(config)) == 6, "then a person has to look, or the next slot comes"


@pytest.mark.parametrize("values", [{"definition": {"retries": 0}}, {"active": False}])
def test_nothing_is_tried_again_against_the_definition(world: World, values: dict[str, object]) -> None:
    config = world.config()
    run_id = runs.queue(world.ctx, config, asked_by=ALICE)
    claim = world.claim(run_id)
    world.change_config(config, **values)
    ending = Ending(RunState.FAILED, code="unavailable", message="No answer.", can_heal=True)
    claims.finish(world.ctx, claim, ending)
    assert len(world.runs_of(config)) == 1


def test_a_preview_or_an_undo_is_not_tried_again(world: World) -> None:
    for kind in (RunKind.PREVIEW, RunKind.UNDO):
        config = world.config()
        fail(world, runs.queue(world.ctx, config, asked_by=ALICE, kind=kind))
        assert len(world.runs_of(config)) == 1


def test_a_person_need_not_wait_for_the_back_off(world: World) -> None:
    config = world.config()
    fail(world, runs.queue(world.ctx, config, asked_by=ALICE))
    waiting = world.runs_of(config)[-1].id
    assert runs.queue(world.ctx, config, asked_by=BOB) == waiting
    assert world.run(waiting).not_before is None
    world.claim(waiting)
