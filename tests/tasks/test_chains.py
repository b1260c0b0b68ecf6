"""A config runs after others got through, and no circle of them can be saved."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState
from tasks import chains, claims, runs
from tasks.claims import Ending
from tasks.errors import DefinitionError
from tests.tasks.world import World

WHO = "alice@example.org"


def chain(world: World, config: str, *after: str) -> None:
    with world.ctx.sessions.begin() as db:
        chains.save_after(db, db.get_one(SyncConfig, config), after)


def run(
    world: World, config: str, state: RunState = RunState.SUCCESS, kind: RunKind = RunKind.MANUAL
) -> None:
    waiting = [item.id for item in world.runs_of(config) if item.state == RunState.QUEUED]
    run_id = waiting[0] if waiting else runs.queue(world.ctx, config, asked_by=WHO, kind=kind)
    claims.finish(world.ctx, world.claim(run_id), Ending(state))


def states(world: World, config: str) -> list[str]:
    return [item.state for item in world.runs_of(config)]


def test_what_comes_after_is_queued_and_rung_when_the_first_got_through(world: World) -> None:
    first, second = world.config(name="first"), world.config(name="second", auto=False)
    chain(world, second, "first")
    run(world, first)
    (queued,) = world.runs_of(second)
    assert (queued.state, queued.asked_by, queued.kind) == ("queued", "chain", "scheduled")
    assert world.rung[-1] == queued.id
    run(world, second, RunState.PARTIAL)
    run(world, first, RunState.PARTIAL)
    assert len(world.runs_of(second)) == 2, "partial means that it got through for the rest"


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_nothing_follows_a_run_that_did_not_get_through(world: World, state: RunState) -> None:
    first, second = world.config(name="first"), world.config(name="second")
    chain(world, second, "first")
    run(world, first, state)
    run(world, first, RunState.SUCCESS, RunKind.PREVIEW)
    assert states(world, second) == []


def test_what_waits_for_two_runs_when_both_got_through_since(world: World) -> None:
    world_configs = {name: world.config(name=name) for name in ("a", "b", "both")}
    a, b, both = world_configs.values()
    chain(world, both, "a", "b")
    run(world, a)
    assert states(world, both) == []
    world.advance(1)
    run(world, b)
    assert states(world, both) == ["queued"]
    world.advance(1)
    run(world, both)
    world.advance(1)
    run(world, b)
    assert states(world, both) == ["success"], "a has not run again yet"
    world.advance(1)
    run(world, a)
    assert states(world, both) == ["success", "queued"]


def test_what_cannot_start_is_skipped_and_says_why(world: World) -> None:
    first, second = world.config(name="first"), world.config(name="second")
    chain(world, second, "first")
    world.claim(runs.queue(world.ctx, second, asked_by=WHO))
    run(world, first)
    skipped = world.runs_of(second)[1]
    assert skipped.state == RunState.SKIPPED and "is running already" in skipped.reason
    world.change_config(second, active=False)
    run(world, first)
    assert "not active" in world.runs_of(second)[2].reason


def test_a_circle_is_refused_and_spelled_out(world: World) -> None:
    a, b, c = (world.config(name=name) for name in "abc")
    chain(world, b, "a")
    chain(world, c, "b")
    with pytest.raises(DefinitionError, match="'a' -> 'c' -> 'b' -> 'a'"):
        chain(world, a, "c")
    with pytest.raises(DefinitionError, match="'a' -> 'a'"):
        chain(world, a, "a")
    with pytest.raises(DefinitionError, match="no such sync"):
        chain(world, a, "nothing")
    chain(world, b)
    chain(world, a, "c")


def test_a_name_of_another_workspace_is_no_name(world: World) -> None:
    world.config(name="theirs", workspace_id=world.add_workspace())
    mine = world.config(name="mine")
    with pytest.raises(DefinitionError, match="no such sync"):
        chain(world, mine, "theirs")


@given(st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7))))
def test_a_circle_is_found_if_and_only_if_there_is_one(graph: dict[int, set[int]]) -> None:
    links = {str(node): {str(other) for other in others} for node, others in graph.items()}

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        to_visit = list(links.get(start, ()))
        while to_visit:
            node = to_visit.pop()
            if node not in found:
                found.add(node)
                to_visit += links.get(node, ())
        return found

    for start in map(str, range(8)):
        circle = chains.find_circle(links, start)
        assert bool(circle) == (start in reachable(start))
        if circle:
            assert circle[0] == circle[-1] == start
            assert all(there in links[here] for here, there in itertools.pairwise(circle))
