"""A connection that keeps failing lets its runs wait, tells once, and opens by itself."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from models.circuits import Circuit
from models.connections import Connection
from models.issues import Alert
from models.sync_runs import RunState
from tasks import breaker, claims, runs
from tasks.claims import Claim, Ending
from tests.tasks.world import World

WHO = "alice@example.org"


def fail(world: World, claim: Claim, connection: str, *, code: str = "unavailable") -> None:
    ending = Ending(
        RunState.FAILED, code=code, message="No answer.", can_heal=code != "auth", connection_id=connection
    )
    assert claims.finish(world.ctx, claim, ending)


def fail_often(world: World, connection: str, times: int, *, code: str = "unavailable") -> None:
    for _ in range(times):
        config = world.config(left_connection_id=connection, definition={"retries": 0})
        fail(world, world.claim(runs.queue(world.ctx, config, asked_by=WHO)), connection, code=code)


def alerts(world: World) -> list[tuple[str, bool]]:
    with world.ctx.reads() as db:
        return [(row.kind, row.cleared_at is None) for row in db.scalars(select(Alert).order_by(Alert.id))]


def probe_at(world: World, connection: str) -> float:
    """Seconds until the next try."""
    with world.ctx.reads() as db:
        at = db.get_one(Circuit, connection).probe_at
    assert at is not None
    return (at - world.now()).total_seconds()


def test_five_failures_in_a_row_open_the_circuit_with_one_alert(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, 4)
    assert alerts(world) == []
    fail_often(world, dead, 1)
    assert alerts(world) == [("connection", True)]
    waiting = runs.queue(world.ctx, world.config(right_connection_id=dead), asked_by=WHO)
    elsewhere = runs.queue(world.ctx, world.config(), asked_by=WHO)
    taken = claims.claim_next(world.ctx, "here:1:x")
    assert taken is not None and taken.run_id == elsewhere
    assert claims.claim_next(world.ctx, "here:1:x") is None
    assert claims.claim_run(world.ctx, waiting, "here:1:x") is None
    assert world.run(waiting).state == RunState.QUEUED, "it waits, it does not fail"


def test_refused_credentials_open_it_after_three(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, 2, code="auth")
    assert alerts(world) == []
    fail_often(world, dead, 1, code="auth")
    assert alerts(world) == [("connection", True)]


def test_a_success_between_failures_starts_the_count_again(world: World) -> None:
    shaky = world.connection()
    fail_often(world, shaky, 4)
    config = world.config(left_connection_id=shaky)
    claims.finish(
        world.ctx, world.claim(runs.queue(world.ctx, config, asked_by=WHO)), Ending(RunState.SUCCESS)
    )
    fail_often(world, shaky, 4)
    assert alerts(world) == []


def test_one_run_at_a_time_tries_whether_it_is_back(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, breaker.FAILURES)
    first, second = (
        runs.queue(world.ctx, world.config(left_connection_id=dead), asked_by=WHO) for _ in range(2)
    )
    world.advance(probe_at(world, dead) + 0.1)
    probe = claims.claim_next(world.ctx, "here:1:x")
    assert probe is not None and probe.run_id == first
    assert claims.claim_next(world.ctx, "here:2:x") is None
    fail(world, probe, dead)
    assert claims.claim_next(world.ctx, "here:2:x") is None, "and none before the next time"
    assert alerts(world) == [("connection", True)], "no second alert"
    assert second


def test_the_intervals_grow_up_to_ten_minutes(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, breaker.FAILURES)
    waits = []
    for _ in range(7):
        waits.append(round(probe_at(world, dead)))
        world.advance(waits[-1] + 1)
        fail_often(world, dead, 1)
    assert 30 <= waits[0] <= 38
    assert waits == sorted(waits)
    assert 600 <= waits[-1] <= 750


def test_a_run_that_gets_through_closes_it_with_a_recovery_notice_and_the_rest_follows(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, breaker.FAILURES)
    waiting = [runs.queue(world.ctx, world.config(left_connection_id=dead), asked_by=WHO) for _ in range(3)]
    world.advance(probe_at(world, dead) + 0.1)
    probe = claims.claim_next(world.ctx, "here:1:x")
    assert probe is not None
    claims.finish(world.ctx, probe, Ending(RunState.SUCCESS))
    assert alerts(world) == [("connection", False)]
    assert {claim.run_id for claim in iter(lambda: claims.claim_next(world.ctx, "here:1:x"), None)} == set(
        waiting[1:]
    )


def test_a_connection_that_was_changed_is_tried_at_once(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, breaker.AUTH_FAILURES, code="auth")
    runs.queue(world.ctx, world.config(left_connection_id=dead), asked_by=WHO)
    assert claims.claim_next(world.ctx, "here:1:x") is None
    world.advance(1)
    with world.ctx.sessions.begin() as db:
        db.get_one(Connection, dead).updated_at = world.now()
    probe = claims.claim_next(world.ctx, "here:1:x")
    assert probe is not None
    fail(world, probe, dead, code="auth")
    runs.queue(world.ctx, world.config(left_connection_id=dead), asked_by=WHO)
    assert claims.claim_next(world.ctx, "here:1:x") is None, "the change has had its try"


def test_a_probe_whose_worker_died_does_not_block_the_next_one(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, breaker.FAILURES)
    runs.queue(world.ctx, world.config(left_connection_id=dead), asked_by=WHO)
    world.advance(probe_at(world, dead) + 0.1)
    probe = claims.claim_next(world.ctx, "here:1:x")
    assert probe is not None
    world.advance(61)
    again = claims.claim_next(world.ctx, "here:2:x")
    assert again is not None and again.run_id == probe.run_id


def test_the_retry_of_a_failed_probe_waits_for_the_circuit_and_uses_up_no_try(world: World) -> None:
    dead = world.connection()
    fail_often(world, dead, breaker.FAILURES - 1)
    config = world.config(left_connection_id=dead)
    run_id = runs.queue(world.ctx, config, asked_by=WHO)
    fail(world, world.claim(run_id), dead)
    for _ in range(8):
        retry = world.runs_of(config)[-1]
        assert (retry.state, retry.wait_code, retry.retry_number) == ("queued", "circuit", 0)
        world.advance(probe_at(world, dead) + 0.1)
        claim = claims.claim_next(world.ctx, "here:1:x")
        assert claim is not None and claim.run_id == retry.id
        fail(world, claim, dead)
    world.advance(timedelta(minutes=15).total_seconds())
    claim = claims.claim_next(world.ctx, "here:1:x")
    assert claim is not None
    claims.finish(world.ctx, claim, Ending(RunState.SUCCESS))
    assert alerts(world) == [("connection", False)]
