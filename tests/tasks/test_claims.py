"""A run belongs to one worker at a time; who was silent for too long is refused."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from models.people import Workspace
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun, Wait
from tasks import claims, runs
from tasks.claims import INTERRUPTIONS, Claim, Ending
from tasks.errors import LeaseLost
from tests.tasks.world import World

SUCCESS = Ending(RunState.SUCCESS, summary={"status": "success"})
WHO = "alice@example.org"


def queued(world: World, **config: object) -> str:
    return runs.queue(world.ctx, world.config(**config), asked_by=WHO)


def test_of_many_who_claim_a_run_one_gets_it(world: World) -> None:
    run_id = queued(world)
    won: list[Claim] = []
    barrier = threading.Barrier(8)

    def try_it(number: int) -> None:
        barrier.wait()
        for _ in range(5):
            if claim := claims.claim_run(world.ctx, run_id, f"here:{number}:x"):
                won.append(claim)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    run = world.run(run_id)
    assert (run.state, run.token, run.interruptions, run.lease_owner) == ("running", 1, 0, won[0].owner)
    assert run.started_at is not None


def test_a_lease_that_is_renewed_is_kept_and_one_that_is_not_is_taken_over(world: World) -> None:
    run_id = queued(world)
    first = world.claim(run_id, "here:1:x")
    world.advance(50)
    with world.ctx.sessions.begin() as db:
        assert claims.renew(world.ctx, db, first)
    world.advance(50)
    assert claims.claim_run(world.ctx, run_id, "here:2:x") is None, "the lease still holds"
    world.advance(20)
    second = claims.claim_run(world.ctx, run_id, "here:2:x")
    assert second is not None and second.token == 2
    run = world.run(run_id)
    assert (run.interruptions, run.lease_owner) == (1, "here:2:x")


def test_a_worker_that_wakes_up_late_can_write_nothing(world: World) -> None:
    run_id = queued(world)
    late = world.claim(run_id, "here:1:x")
    world.advance(61)
    world.claim(run_id, "here:2:x")
    with pytest.raises(LeaseLost), world.ctx.sessions.begin() as db:
        db.add(Workspace(id="written too late", name="", created_at=world.ctx.now()))
        claims.fence(world.ctx, db, late)
    with world.ctx.reads() as db:
        assert db.get(Workspace, "written too late") is None
        assert claims.renew(world.ctx, db, late) is None
    assert claims.finish(world.ctx, late, SUCCESS) is False
    assert claims.give_back(world.ctx, late) is False
    assert world.run(run_id).state == RunState.RUNNING


def test_the_fence_extends_the_lease(world: World) -> None:
    claim = world.claim(queued(world))
    before = world.run(claim.run_id).lease_until
    world.advance(30)
    with world.ctx.sessions.begin() as db:
        claims.fence(world.ctx, db, claim)
    after = world.run(claim.run_id).lease_until
    assert before is not None and after is not None and after > before


def test_the_third_interruption_ends_the_run(world: World) -> None:
    run_id = queued(world)
    world.claim(run_id, "here:0:x")
    for number in range(1, INTERRUPTIONS):
        world.advance(61)
        assert claims.claim_run(world.ctx, run_id, f"here:{number}:x") is not None
        assert world.run(run_id).interruptions == number
    world.advance(61)
    assert claims.claim_run(world.ctx, run_id, "here:9:x") is None
    run = world.run(run_id)
    assert (run.state, run.error_code, run.interruptions) == ("failed", "interrupted", INTERRUPTIONS)
    assert run.error is not None and "died 3 times" in run.error
    assert len(world.runs_of(run.config_id)) == 1, "and no automatic retry brings it back"


def test_a_dead_worker_does_not_bring_a_cancelled_run_back(world: World) -> None:
    run_id = queued(world)
    world.claim(run_id)
    runs.cancel(world.ctx, run_id, by=WHO)
    world.advance(61)
    assert claims.claim_run(world.ctx, run_id, "here:2:x") is None
    assert world.run(run_id).state == RunState.CANCELLED


def test_a_run_that_is_given_back_starts_again_with_nothing_counted(world: World) -> None:
    run_id = queued(world)
    place = world.run(run_id).place_at
    assert claims.give_back(world.ctx, world.claim(run_id))
    run = world.run(run_id)
    assert (run.state, run.interruptions, run.lease_owner, run.place_at) == ("queued", 0, None, place)
    assert world.claim(run_id).token == 2


def test_a_run_that_has_to_wait_says_why_and_until_when(world: World) -> None:
    run_id = queued(world)
    claims.give_back(
        world.ctx, world.claim(run_id), wait_seconds=90, wait=Wait.QUOTA, why="Airtable asked for a pause."
    )
    run = world.run(run_id)
    assert (run.state, run.wait_code, run.wait_text) == ("queued", "quota", "Airtable asked for a pause.")
    assert claims.claim_run(world.ctx, run_id, "here:2:x") is None
    assert claims.claim_next(world.ctx, "here:2:x") is None
    world.advance(91)
    claim = claims.claim_next(world.ctx, "here:2:x")
    assert claim is not None and claim.run_id == run_id
    assert world.run(run_id).wait_text == ""


def test_a_finished_run_says_how_it_went(world: World) -> None:
    run_id = queued(world)
    claim = world.claim(run_id)
    lines = ((world.ctx.now(), "info", "Read 3 records."),)
    assert claims.finish(world.ctx, claim, Ending(RunState.SUCCESS, summary={"unchanged": 3}, lines=lines))
    run = world.run(run_id)
    assert (run.state, run.summary, run.lease_owner, run.lease_until) == (
        "success",
        {"unchanged": 3},
        None,
        None,
    )
    assert run.finished_at is not None
    assert claims.finish(world.ctx, claim, SUCCESS) is False, "once is enough"


def test_two_runs_of_one_config_never_run_together(world: World) -> None:
    config = world.config()
    world.claim(runs.queue(world.ctx, config, asked_by=WHO))
    with world.ctx.sessions.begin() as db:  # as if two requests had slipped past each other
        row = db.get_one(SyncConfig, config)
        second = runs.new_run(world.ctx, row, world.now(), asked_by=WHO, kind=RunKind.MANUAL)
        db.add(second)
    assert claims.claim_run(world.ctx, second.id, "here:2:x") is None
    assert world.run(second.id).state == RunState.QUEUED


def test_a_run_queued_before_the_pause_does_not_start_after_it(world: World) -> None:
    run_id = queued(world)
    world.change_config(world.run(run_id).config_id, paused_at=world.now())
    assert claims.claim_next(world.ctx, "here:1:x") is None
    assert world.run(run_id).state == RunState.SKIPPED


# -- the line --------------------------------------------------------------------------------------


def take_all(world: World) -> list[str]:
    found = []
    while claim := claims.claim_next(world.ctx, "here:1:x"):
        found.append(claim.run_id)
        claims.finish(world.ctx, claim, SUCCESS)
    return found


def test_what_is_more_urgent_goes_first(world: World) -> None:
    low, normal, high = queued(world, priority=2), queued(world, priority=1), queued(world, priority=0)
    assert take_all(world) == [high, normal, low]


def test_what_waited_long_enough_is_not_overtaken(world: World) -> None:
    low = queued(world, priority=2)
    world.advance(2 * runs.AGE_STEP.total_seconds() + 1)
    high = queued(world, priority=0)
    assert take_all(world) == [low, high]


def test_what_a_person_waits_for_goes_before_what_a_schedule_asked_for(world: World) -> None:
    scheduled = runs.queue(world.ctx, world.config(), asked_by="schedule", kind=RunKind.SCHEDULED)
    manual = queued(world)
    assert take_all(world) == [manual, scheduled]


def test_a_connection_at_its_limit_holds_back_its_own_runs_only(world: World) -> None:
    shared = world.connection()
    crowd = [queued(world, left_connection_id=shared) for _ in range(world.ctx.settings.connection_limit + 1)]
    alone = queued(world)
    taken = []
    while claim := claims.claim_next(world.ctx, "here:1:x"):
        taken.append(claim)
    assert [claim.run_id for claim in taken] == [*crowd[:-1], alone]
    assert claims.claim_run(world.ctx, crowd[-1], "here:1:x") is None
    claims.finish(world.ctx, taken[0], SUCCESS)
    assert claims.claim_run(world.ctx, crowd[-1], "here:1:x") is not None


def test_a_workspace_at_its_limit_does_not_starve_another(world: World) -> None:
    for _ in range(world.ctx.settings.workspace_limit + 1):
        queued(world)
    elsewhere = queued(world, workspace_id=world.add_workspace(), priority=2)
    taken = []
    while claim := claims.claim_next(world.ctx, "here:1:x"):
        taken.append(claim.run_id)
    assert elsewhere in taken
    assert len(taken) == world.ctx.settings.workspace_limit + 1


def test_limits_hold_when_many_claim_at_once(world: World) -> None:
    shared = world.connection()
    for _ in range(12):
        queued(world, right_connection_id=shared)
    threads = [
        threading.Thread(target=claims.claim_next, args=(world.ctx, f"here:{number}:x"))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.ctx.reads() as db:
        running = db.scalars(select(SyncRun).where(SyncRun.state == RunState.RUNNING)).all()
    assert len(running) == world.ctx.settings.connection_limit


def test_no_run_begins_while_what_it_must_not_miss_is_being_stored(world: World) -> None:
    run_id = queued(world)
    won: list[Claim | None] = []
    claiming = threading.Thread(target=lambda: won.append(claims.claim_run(world.ctx, run_id, "here:1:x")))
    with world.ctx.sessions.begin() as db:
        runs.locked_at_rest(db, world.run(run_id).config_id, first="wait for {run}")
        claiming.start()
        claiming.join(0.5)
        assert not won
    claiming.join(30)
    assert [claim and claim.run_id for claim in won] == [run_id]


def test_of_two_over_which_a_worker_died_twice_one_may_be_the_killer_so_they_are_kept_apart(
    world: World,
) -> None:
    killer, victim = queued(world), queued(world)
    for owner in ("here:1:x", "here:2:x"):
        assert [claims.claim_next(world.ctx, owner, held=()) is not None for _ in range(2)] == [True, True]
        world.advance(61)
    first = claims.claim_next(world.ctx, "here:3:x")
    assert first is not None and (first.run_id, first.interruptions) == (killer, 2)
    assert claims.claim_next(world.ctx, "here:3:x", held=[first]) is None
    fresh = queued(world)
    beside = claims.claim_next(world.ctx, "here:3:x", held=[first])
    assert beside is not None and beside.run_id == fresh, "what never died may run beside it"
    second = claims.claim_next(world.ctx, "here:4:x")
    assert second is not None and second.run_id == victim, "another process takes the other one up"


def test_a_run_that_is_kept_apart_does_not_wait_for_ever(world: World) -> None:
    queued(world), queued(world)
    for owner in ("here:1:x", "here:2:x"):
        while claims.claim_next(world.ctx, owner):
            pass
        world.advance(61)
    first = claims.claim_next(world.ctx, "here:3:x")
    assert first is not None
    world.advance(claims.APART_SECONDS)
    with world.ctx.sessions.begin() as db:
        claims.renew(world.ctx, db, first)
    assert claims.claim_next(world.ctx, "here:3:x", held=[first]) is not None
