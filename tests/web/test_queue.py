"""The queue's page tells what is on the way, what waits and why, and who is alive."""

from __future__ import annotations

from datetime import timedelta

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import NOW, OTHER, World


def test_what_waits_tells_why_and_until_when(bob: Browser, world: World) -> None:
    world.run(world.config("first"), RunState.QUEUED, created_at=NOW - timedelta(minutes=9))
    world.run(
        world.config("second"), RunState.QUEUED, created_at=NOW - timedelta(minutes=5),
        not_before=NOW + timedelta(minutes=6), wait_code="quota", wait_text="The base's quota is used up.",
    )  # fmt: skip
    world.run(
        world.config("third"), RunState.RUNNING, phase="writing", done=25, total=200,
        lease_owner="here:7:x", lease_until=NOW - timedelta(minutes=2),
    )  # fmt: skip
    page = bob.words("/queue")
    assert "1 first Scheduled, asked by the schedule since 9 min ago" in page, page
    assert "The base's quota is used up. in 6 min" in page
    assert "third" in page and "25 of 200" in page and "another one takes over" in page


def test_processes_that_fell_silent_are_told_from_those_that_beat(bob: Browser, world: World) -> None:
    page = bob.words("/queue")
    assert page.count("Alive") == 2 and "Silent" not in page
    world.clock.passes(minutes=5)
    assert bob.words("/queue").count("Silent") == 2
    world.clock.passes(days=2)
    assert "No process was seen today" in bob.words("/queue")


def test_another_workspaces_runs_are_not_shown(bob: Browser, world: World) -> None:
    world.run(world.config("theirs", workspace=OTHER), RunState.QUEUED)
    assert "theirs" not in bob.words("/queue")
