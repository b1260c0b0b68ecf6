"""Regions renew themselves: only what changed travels, and only the region."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.audit import AuditEvent
from models.sync_runs import RunState, SyncRun
from tests.web.browser import Browser
from tests.web.test_queries import counted
from tests.web.world import NOW, OWN, World


def test_htmx_gets_the_region_and_everybody_else_the_page(alice: Browser, world: World) -> None:
    world.run(world.config())
    for path in ("/", "/configs", "/runs", "/conflicts", "/held", "/pulse"):
        page, region = alice.get(path), alice.get(path, HX_Request="true")
        assert page.text.startswith("<!doctype html>")
        assert "<html" not in region.text
        assert page.headers["Vary"] == region.headers["Vary"] == "HX-Request, Accept-Language, Cookie"


@pytest.mark.parametrize("path", ["/", "/configs", "/runs", "/configs/{config}", "/runs/{run}", "/pulse"])
def test_what_did_not_change_does_not_travel(alice: Browser, world: World, path: str) -> None:
    config = world.config()
    run = world.run(config, RunState.RUNNING, phase="reading left", done=1, total=10)
    path = path.format(config=config, run=run)
    first = alice.get(path, HX_Request="true")
    again = alice.get(path, HX_Request="true", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")


def test_what_changed_travels(alice: Browser, world: World) -> None:
    run = world.run(world.config(), RunState.RUNNING, phase="reading left", done=1, total=10)
    tag = alice.get(f"/runs/{run}", HX_Request="true").headers["ETag"]
    with world.write() as db:
        db.get_one(SyncRun, run).done = 5
    moved = alice.get(f"/runs/{run}", HX_Request="true", If_None_Match=tag)
    assert (moved.status_code, "5 of 10" in moved.text) == (200, True)


def test_relative_times_move_a_region_each_minute(alice: Browser, world: World) -> None:
    world.run(world.config())
    world.beats()
    tag = alice.get("/runs", HX_Request="true").headers["ETag"]
    world.clock.now += timedelta(seconds=90)
    assert alice.get("/runs", HX_Request="true", If_None_Match=tag).status_code == 200


MARKED = [
    "/", "/configs", "/configs/{config}", "/runs", "/issues", "/issues/{config}/rejected", "/conflicts",
    "/held", "/queue",
]  # fmt: skip


@pytest.mark.parametrize("path", MARKED)
def test_nothing_is_read_for_a_region_while_nothing_happens(alice: Browser, world: World, path: str) -> None:
    config = world.config()
    world.issue(config)
    path = path.format(config=config)
    tag = alice.get(path, HX_Request="true").headers["ETag"]
    with counted(world) as asked:
        again = alice.get(path, HX_Request="true", If_None_Match=tag)
    assert (again.status_code, again.headers["ETag"]) == (304, tag)
    assert len(asked) <= 5, asked  # who is there, where, and what moved last


@pytest.mark.parametrize("path", MARKED)
def test_a_region_that_comes_out_alike_does_not_travel_and_has_a_new_tag(
    alice: Browser, world: World, path: str
) -> None:
    config = world.config(next_run_at=None)
    path = path.format(config=config)
    tag = alice.get(path, HX_Request="true").headers["ETag"]
    with world.write() as db:  # an act that none of these shows
        db.add(AuditEvent(workspace_id=OWN, at=NOW, actor="bob", action="token.made", subject="t", detail={}))
    again = alice.get(path, HX_Request="true", If_None_Match=tag)
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] != tag
    assert alice.get(path, HX_Request="true", If_None_Match=again.headers["ETag"]).status_code == 304


def test_what_somebody_does_and_what_a_run_does_move_a_region(
    alice: Browser, bob: Browser, world: World
) -> None:
    config = world.config()
    run = world.run(config, RunState.RUNNING)
    world.issue(config)

    def moved(path: str) -> bool:
        answer = alice.get(path, HX_Request="true", If_None_Match=tags.get(path, ""))
        tags[path] = answer.headers["ETag"]
        return answer.status_code == 200

    tags: dict[str, str] = {}
    assert moved("/issues") and moved("/runs")
    assert not moved("/issues") and not moved("/runs")
    bob.post(f"/issues/{config}/rejected/mute")
    assert moved("/issues") and not moved("/runs")
    with world.write() as db:
        row = db.get_one(SyncRun, run)
        row.state, row.finished_at = RunState.SUCCESS, NOW
    assert moved("/runs") and not moved("/issues")
    world.run(config, RunState.FAILED, error="Gone.", error_code="unavailable")
    assert moved("/runs")


def test_a_region_is_ones_own(alice: Browser, vera: Browser, world: World) -> None:
    config = world.config()
    tags = {visitor.get(f"/configs/{config}", HX_Request="true").headers["ETag"] for visitor in (alice, vera)}
    assert len(tags) == 2, "what the roles may do differs, and with it the region"


def test_a_signed_out_region_says_so_and_nothing_else(stranger: Browser) -> None:
    response = stranger.get("/runs", HX_Request="true")
    assert (response.status_code, response.text) == (401, "You are signed out")


def test_the_banner_tells_when_nothing_works(alice: Browser, world: World) -> None:
    assert "banner-warn" not in alice.get("/pulse", HX_Request="true").text
    world.run(world.config(), RunState.QUEUED)
    world.clock.passes(minutes=2)
    world.beats(workers=0)
    assert "No worker answers: nothing is synced until one is back. 1 run waits." in alice.text("/runs")
    world.clock.passes(minutes=4)
    world.beats(ticks=False)
    assert "The scheduler does not tick" in alice.text("/configs")
    world.clock.passes(minutes=9)
    assert "Neither a worker nor the scheduler answers" in alice.words("/")
