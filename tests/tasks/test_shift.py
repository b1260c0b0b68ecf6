"""Whatever happens inside a run, it ends in a state that says so, or goes back to the line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from connectors.errors import AuthError, RateLimited, Unavailable
from models.issues import Alert
from models.people import Membership, User
from models.sync_runs import RunKind, RunLine, RunState, SyncRun
from tasks import runs, shift
from tasks.claims import Claim
from tasks.context import Context
from tasks.errors import DefinitionError, RunActive, WrongState
from tasks.heartbeat import Heartbeat
from tasks.reins import Reins
from tasks.summary import Summary
from tests.tasks.world import World

WHO = "alice@example.org"


@pytest.fixture
def heartbeat(world: World) -> Iterator[Heartbeat]:
    beat = Heartbeat(world.ctx, "worker", threading.Event())
    yield beat
    beat.close()


def good(ctx: Context, claim: Claim, reins: Reins) -> Summary:
    reins.log("info", "All read.")
    reins.summary.unchanged = 3
    reins.summary.settle_status()
    return reins.summary


def failing(problem: Exception) -> shift.CarryOut:
    def carry_out(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        reins.summary.left.created = 2
        raise problem

    return carry_out


def bomb(ctx: Context, claim: Claim, reins: Reins) -> Summary:
    raise AssertionError("no work was to be done")


def queued(world: World, **config: object) -> str:
    return runs.queue(world.ctx, world.config(**config), asked_by=WHO)


def others(world: World, run_id: str) -> list[SyncRun]:
    return [run for run in world.runs_of(world.run(run_id).config_id) if run.id != run_id]


def test_a_bell_carries_out_what_is_first_in_line(world: World, heartbeat: Heartbeat) -> None:
    rung, first = queued(world, priority=2), queued(world, priority=0)
    shift.work(world.ctx, heartbeat, rung, good)
    assert world.run(first).state == RunState.SUCCESS
    assert world.run(rung).state == RunState.QUEUED
    assert world.rung[-1] == rung, "the place is free: whoever waits is rung"
    shift.work(world.ctx, heartbeat, first, good)
    assert world.run(rung).state == RunState.SUCCESS


def test_a_bell_for_nothing_does_nothing(world: World, heartbeat: Heartbeat) -> None:
    shift.work(world.ctx, heartbeat, "no such run", bomb)
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, good)
    shift.work(world.ctx, heartbeat, run_id, bomb)


def test_a_run_ends_with_its_summary_and_its_lines(world: World, heartbeat: Heartbeat) -> None:
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, good)
    run = world.run(run_id)
    assert run.state == RunState.SUCCESS and run.summary is not None
    assert (run.summary["run"], run.summary["unchanged"], run.summary["status"]) == (run_id, 3, "success")
    with world.ctx.reads() as db:
        assert db.scalars(select(RunLine.text)).all() == ["All read."]


def test_a_partial_run_is_partial(world: World, heartbeat: Heartbeat) -> None:
    def partly(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        reins.summary.held = 1
        reins.summary.settle_status()
        return reins.summary

    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, partly)
    assert world.run(run_id).state == RunState.PARTIAL


def test_a_refusal_fails_with_its_sentence_and_is_not_tried_again(world: World, heartbeat: Heartbeat) -> None:
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, failing(AuthError("The key was refused.")))
    run = world.run(run_id)
    assert (run.state, run.error_code, run.error) == ("failed", "auth", "The key was refused.")
    assert run.summary is not None and run.summary["left"]["created"] == 2, "what was done is shown"
    assert run.summary["errors"][0]["message"] == "The key was refused."
    assert others(world, run_id) == []


def test_what_can_heal_is_tried_again_by_a_linked_run(world: World, heartbeat: Heartbeat) -> None:
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, failing(Unavailable("No answer.")))
    (retry,) = others(world, run_id)
    assert (retry.kind, retry.retry_of, retry.asked_by) == ("retry", run_id, "automatic retry")
    assert retry.not_before is not None and retry.not_before > world.now()
    assert retry.retry_number == 1


def test_after_the_last_try_no_more_follow_and_each_waits_longer(world: World, heartbeat: Heartbeat) -> None:
    run_id = queued(world)
    config = world.run(run_id).config_id
    for expected in (2, 3, 4, 5, 6, 6):
        shift.work(world.ctx, heartbeat, run_id, failing(Unavailable("No answer.")))
        assert len(world.runs_of(config)) == expected
        world.advance(7200)
    assert [run.state for run in world.runs_of(config)] == ["failed"] * 6


def test_a_long_quota_wait_gives_the_run_back_with_its_time(world: World, heartbeat: Heartbeat) -> None:
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, failing(RateLimited("Pause until noon.", retry_after=90)))
    run = world.run(run_id)
    assert (run.state, run.wait_code, run.wait_text, run.interruptions) == (
        "queued",
        "quota",
        "Pause until noon.",
        0,
    )
    shift.work(world.ctx, heartbeat, run_id, bomb)
    world.advance(91)
    shift.work(world.ctx, heartbeat, run_id, good)
    assert world.run(run_id).state == RunState.SUCCESS


def test_a_bug_fails_with_an_id_that_the_log_has_too(
    world: World, heartbeat: Heartbeat, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, failing(KeyError("oops")))
    run = world.run(run_id)
    assert (run.state, run.error_code) == ("failed", "bug")
    assert run.error_id is not None and run.error_id in (run.error or "")
    assert run.error_id in capsys.readouterr().out
    assert others(world, run_id) == []


def test_a_wrong_definition_fails_with_its_sentence(world: World, heartbeat: Heartbeat) -> None:
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, failing(DefinitionError("'emial' is not a field.")))
    assert world.run(run_id).error == "'emial' is not a field."


def test_a_stopping_worker_gives_its_run_back_and_takes_no_other(world: World, heartbeat: Heartbeat) -> None:
    def interrupted(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        heartbeat.stop.set()
        reins.checkpoint()
        raise AssertionError("it should have stopped")

    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, interrupted)
    run = world.run(run_id)
    assert (run.state, run.interruptions, run.lease_owner) == ("queued", 0, None)
    other = queued(world)
    world.rung.clear()
    shift.work(world.ctx, heartbeat, other, bomb)
    heartbeat.close()
    assert set(world.rung) == {run_id, other}, "whoever is still there hears of both"


def test_a_cancelled_run_shows_what_was_done(world: World, heartbeat: Heartbeat) -> None:
    def cancelled(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        reins.summary.right.updated = 7
        runs.cancel(ctx, claim.run_id, by=WHO)
        heartbeat.beat()
        reins.checkpoint()
        raise AssertionError("it should have stopped")

    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, cancelled)
    run = world.run(run_id)
    assert run.state == RunState.CANCELLED
    assert run.summary is not None and run.summary["right"]["updated"] == 7


def test_a_run_that_was_taken_over_ends_here_without_a_word(world: World, heartbeat: Heartbeat) -> None:
    def paused(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        world.advance(61)
        world.claim(claim.run_id, "here:2:x")
        with ctx.sessions.begin() as db:
            reins.fence(db)
        raise AssertionError("it should have been refused")

    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, paused)
    run = world.run(run_id)
    assert (run.state, run.lease_owner, run.token) == ("running", "here:2:x", 2)


@pytest.mark.parametrize(
    "problem",
    [
        Exception("database is locked"),
        psycopg.OperationalError("connection failed: FATAL:  the database system is shutting down"),
    ],
    ids=["locked", "shutting down"],
)
def test_a_database_that_is_away_costs_a_wait_and_not_the_run(
    world: World, heartbeat: Heartbeat, problem: Exception
) -> None:
    away = OperationalError("", {}, problem)
    run_id = queued(world)
    for interruptions in (1, 2):
        shift.work(world.ctx, heartbeat, run_id, failing(away))
        run = world.run(run_id)
        assert (run.state, run.wait_code, run.interruptions) == ("queued", "database", interruptions)
        world.advance(60)
    shift.work(world.ctx, heartbeat, run_id, failing(away))
    assert (world.run(run_id).state, world.run(run_id).error_code) == ("failed", "database")


def test_an_end_that_cannot_be_written_is_written_when_the_database_is_back(
    world: World, heartbeat: Heartbeat
) -> None:
    def work_while_it_goes_away(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        with world.engine.begin() as db:
            db.execute(text("ALTER TABLE run_lines RENAME TO run_lines_away"))
        threading.Timer(1, bring_back).start()
        return good(ctx, claim, reins)

    def bring_back() -> None:
        with world.engine.begin() as db:
            db.execute(text("ALTER TABLE run_lines_away RENAME TO run_lines"))

    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, work_while_it_goes_away)
    assert world.run(run_id).state == RunState.SUCCESS


def test_a_config_stops_when_its_owner_left(world: World, heartbeat: Heartbeat) -> None:
    with world.ctx.sessions.begin() as db:
        db.add(User(id="u1", email="owner@example.org", created_at=world.now()))
        db.flush()
        db.add(Membership(workspace_id=world.workspace, user_id="u1", role="operator"))
    config = world.config(owner_id="u1")
    first = runs.queue(world.ctx, config, asked_by=WHO)
    shift.work(world.ctx, heartbeat, first, good)
    assert world.run(first).state == RunState.SUCCESS
    with world.ctx.sessions.begin() as db:
        db.get_one(User, "u1").disabled_at = world.now()
    second = runs.queue(world.ctx, config, asked_by=WHO)
    shift.work(world.ctx, heartbeat, second, bomb)
    run = world.run(second)
    assert (run.state, run.error_code) == ("failed", "owner") and "owner@example.org" in (run.error or "")


def test_failures_in_a_row_raise_one_alert_and_a_success_clears_it(
    world: World, heartbeat: Heartbeat
) -> None:
    config = world.config()

    def once(carry_out: Callable[..., Summary]) -> None:
        shift.work(world.ctx, heartbeat, runs.queue(world.ctx, config, asked_by=WHO), carry_out)

    def standing() -> list[str]:
        with world.ctx.reads() as db:
            return list(db.scalars(select(Alert.message).where(Alert.cleared_at.is_(None))))

    once(failing(DefinitionError("Wrong.")))
    once(failing(DefinitionError("Wrong.")))
    assert standing() == []
    once(failing(DefinitionError("Wrong.")))
    once(failing(DefinitionError("Wrong.")))
    assert len(standing()) == 1 and "Wrong." in standing()[0]
    once(good)
    assert standing() == []


# -- in this process -------------------------------------------------------------------------------


def test_a_run_here_needs_no_queue_and_no_worker(world: World) -> None:
    config = world.config(name="people")
    summary = shift.run_here(world.ctx, config, asked_by=WHO, full=True, carry_out=good)
    assert (summary.status, summary.config, summary.unchanged) == ("success", "people", 3)
    (run,) = world.runs_of(config)
    assert (run.state, run.full, run.asked_by, run.id) == ("success", True, WHO, summary.run)
    assert world.rung == []


def test_a_run_here_that_fails_says_why_and_leaves_nothing_behind(world: World) -> None:
    config = world.config()
    summary = shift.run_here(world.ctx, config, asked_by=WHO, carry_out=failing(Unavailable("No answer.")))
    assert summary.status == "failed"
    assert [(error.code, error.message) for error in summary.errors] == [("unavailable", "No answer.")]
    assert [run.state for run in world.runs_of(config)] == ["failed"]
    summary = shift.run_here(world.ctx, config, asked_by=WHO, carry_out=good)
    assert summary.status == "success"


def test_a_run_here_does_not_start_beside_another(world: World) -> None:
    waiting = queued(world)
    config = world.run(waiting).config_id
    for state in ("queued", "running"):
        with pytest.raises(RunActive) as refusal:
            shift.run_here(world.ctx, config, asked_by=WHO, carry_out=bomb)
        assert (refusal.value.run_id, refusal.value.state) == (waiting, state)
        if state == "queued":
            world.claim(waiting)
    with pytest.raises(WrongState):
        shift.run_here(world.ctx, world.config(active=False), asked_by=WHO, carry_out=bomb)


def test_a_run_here_takes_the_place_of_a_retry_that_waits(world: World, heartbeat: Heartbeat) -> None:
    run_id = queued(world)
    shift.work(world.ctx, heartbeat, run_id, failing(Unavailable("No answer.")))
    config = world.run(run_id).config_id
    assert shift.run_here(world.ctx, config, asked_by=WHO, carry_out=good).status == "success"
    assert sorted(run.state for run in world.runs_of(config)) == ["failed", "skipped", "success"]


def test_a_preview_here_runs_beside_another(world: World) -> None:
    waiting = queued(world)
    summary = shift.run_here(
        world.ctx, world.run(waiting).config_id, asked_by=WHO, kind=RunKind.PREVIEW, carry_out=good
    )
    assert summary.status == "success"


def test_a_run_here_that_is_interrupted_ends_as_cancelled(world: World) -> None:
    def interrupted(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        raise KeyboardInterrupt

    config = world.config()
    with pytest.raises(KeyboardInterrupt):
        shift.run_here(world.ctx, config, asked_by=WHO, carry_out=interrupted)
    assert [run.state for run in world.runs_of(config)] == ["cancelled"]
    world.ctx.stop.set()
    summary = shift.run_here(
        world.ctx, config, asked_by=WHO, carry_out=lambda ctx, claim, reins: checkpoint(reins)
    )
    assert summary.status == "failed" and summary.errors[0].code == "cancelled"


def checkpoint(reins: Reins) -> Summary:
    reins.checkpoint()
    raise AssertionError("it should have stopped")


def test_a_run_here_goes_before_one_that_follows_another_sync(world: World) -> None:
    """With no worker, a chained run would wait for ever and be in the way of whoever wants it done."""
    waiting = queued(world)
    config = world.run(waiting).config_id
    with world.ctx.sessions.begin() as db:
        db.get_one(SyncRun, waiting).asked_by = "chain"
    assert shift.run_here(world.ctx, config, asked_by=WHO, carry_out=good).status == "success"
    assert sorted(run.state for run in world.runs_of(config)) == ["skipped", "success"]
