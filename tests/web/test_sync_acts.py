"""Run now, pause, resume: what a button on a sync promises."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from models.sync_configs import SyncConfig
from models.sync_runs import RunState, SyncRun
from tests.web.browser import Browser
from tests.web.world import World


@pytest.fixture
def config(world: World) -> str:
    return world.config()


def runs_of(world: World) -> list[SyncRun]:
    with world.ctx.reads() as db:
        return list(db.scalars(select(SyncRun).order_by(SyncRun.created_at, SyncRun.id)))


def test_run_now_queues_a_run_and_leads_to_it(bob: Browser, world: World, config: str) -> None:
    response = bob.post(f"/configs/{config}/runs", reason="A customer called")
    [run] = runs_of(world)
    assert (response.status_code, response.location) == (303, f"/runs/{run.id}")
    assert (run.state, run.kind, run.asked_by) == ("queued", "manual", "bob@example.com")
    page = bob.text(response.location)
    assert "“A customer called”" in page
    assert "It waits for a free worker." in page


def test_a_double_click_is_one_run(bob: Browser, world: World, config: str) -> None:
    page = bob.text(f"/configs/{config}")
    key = re.findall(r'name="request_key" value="([^"]+)"', page)[0]
    first = bob.post(f"/configs/{config}/runs", request_key=key)
    with world.write() as db:
        db.get_one(SyncRun, first.location.rsplit("/", 1)[1]).state = "success"
    second = bob.post(f"/configs/{config}/runs", request_key=key)
    assert first.location == second.location
    assert len(runs_of(world)) == 1


def test_who_asks_while_one_runs_is_led_to_that_one(bob: Browser, world: World, config: str) -> None:
    running = world.run(config, RunState.RUNNING)
    response = bob.post(f"/configs/{config}/runs")
    assert response.location == f"/runs/{running}"
    assert "customers has a run already" in bob.text(response.location)


def test_a_preview_and_a_full_run_can_be_asked_for(bob: Browser, world: World, config: str) -> None:
    bob.post(f"/configs/{config}/runs", preview="yes")
    bob.post(f"/configs/{config}/runs", full="yes")
    assert [(run.kind, run.full) for run in runs_of(world)] == [("preview", False), ("manual", True)]


def test_pause_keeps_who_and_why(bob: Browser, world: World, config: str) -> None:
    response = bob.post(f"/configs/{config}/pause", reason="The CRM moves tonight")
    assert response.location == f"/configs/{config}"
    page = bob.text(response.location)
    assert "Paused by bob@example.com" in page
    assert "The CRM moves tonight" in page
    assert "Resume" in page
    assert "Run now" not in page
    with world.ctx.reads() as db:
        assert db.get_one(SyncConfig, config).next_run_at is None


def test_what_is_paused_does_not_run(bob: Browser, world: World, config: str) -> None:
    bob.post(f"/configs/{config}/pause", reason="Moving")
    response = bob.post(f"/configs/{config}/runs")
    assert response.status_code == 409
    assert "was paused by bob@example.com (Moving): resume it first" in response.text
    assert runs_of(world) == []


def test_pausing_twice_says_so(bob: Browser, config: str) -> None:
    bob.post(f"/configs/{config}/pause")
    response = bob.post(f"/configs/{config}/pause")
    assert response.status_code == 409
    assert "already paused" in response.text


def test_resume_lets_it_run_again(bob: Browser, world: World, config: str) -> None:
    bob.post(f"/configs/{config}/pause")
    bob.post(f"/configs/{config}/resumption")
    with world.ctx.reads() as db:
        found = db.get_one(SyncConfig, config)
        assert found.paused_at is None
        assert found.next_run_at is not None
    assert "resumed it" in bob.text(f"/configs/{config}")


def test_a_reason_is_one_line_and_no_novel(bob: Browser, world: World, config: str) -> None:
    bob.post(f"/configs/{config}/pause", reason="two\r\nlines \x00" + "x" * 2000)
    with world.ctx.reads() as db:
        reason = db.get_one(SyncConfig, config).paused_reason
    assert reason is not None
    assert reason.startswith("two lines")
    assert len(reason) == 500


def test_the_five_words(alice: Browser, world: World) -> None:
    in_sync = world.config("in sync")
    world.run(in_sync)
    failed = world.config("failed")
    world.run(failed, minutes=5)
    world.run(failed, RunState.FAILED, error="The server is down.")
    partial = world.config("partial")
    world.run(partial, RunState.PARTIAL, summary={"failed": 2, "conflicts": 1})
    contested = world.config("contested")
    world.run(contested)
    world.conflict(contested)
    world.config("new")
    queued = world.config("queued")
    world.run(queued, RunState.QUEUED)
    retried = world.config("retried")
    world.run(retried, RunState.FAILED, minutes=5)
    world.run(retried, RunState.QUEUED, kind="retry")
    world.config("paused", paused_at=world.clock.now, paused_reason="Holidays")
    world.config("excluded", active=False)
    only_skipped = world.config("skipped since")
    world.run(only_skipped, minutes=9)
    world.run(only_skipped, RunState.SKIPPED)
    found = {
        word: re.findall(r'class="cover break" href="[^"]+">([^<]+)<', alice.text(f"/configs?state={word}"))
        for word in ("attention", "waiting", "paused", "excluded", "in_sync")
    }
    assert found == {
        "attention": ["contested", "failed", "partial"],
        "waiting": ["new", "queued", "retried"],
        "paused": ["paused"],
        "excluded": ["excluded"],
        "in_sync": ["in sync", "skipped since"],
    }
    page = alice.text("/configs")
    for why in (
        "The server is down.",
        "2 records failed and 1 record is in conflict.",
        "1 conflict waits for a decision.",
        "It has not run yet.",
        "Its first run is queued.",
        "It failed and is tried again by itself.",
        "Holidays",
        "Switched off in its definition.",
    ):
        assert why in page, why


def test_a_late_schedule_is_told(alice: Browser, world: World) -> None:
    world.config("late one", next_run_at=world.clock.now.replace(hour=13))
    assert "It was due 1 h ago and has not begun." in alice.words("/")
    assert "Late" in alice.text("/configs")


def test_a_definition_that_cannot_be_read_does_not_break_the_page(alice: Browser, world: World) -> None:
    config = world.config("odd", definition={"left": {}, "right": None, "shape": "round"})
    assert "was written by another version" in alice.text(f"/configs/{config}")
    alice.text("/configs")


def test_rules_are_told_for_one_way_too(alice: Browser, world: World) -> None:
    definition = {
        "left": {
            "connection": "crm",
            "stream": "orders",
            "filter": {"field": "status", "equals": ["open", ""]},
        },
        "right": {"connection": "sheets", "stream": "orders.csv"},
        "direction": "left_to_right",
        "exclusive": True,
        "drift": "flag",
        "guards": "off",
        "deletes": "approve",
    }
    page = alice.text(f"/configs/{world.config('orders', definition=definition)}")
    for said in (
        "Held until somebody approves the deletion on right",
        "It is deleted; a full copy stays in the journal",
        "Reported as an issue",
        "only where status is open or empty",
        "Every field that has the same name on both sides",
    ):
        assert said in page, said


def test_schedules_are_told_in_ones_own_zone(alice: Browser, world: World) -> None:
    config = world.config(cron="30 2 * * *", timezone="Europe/Paris")
    alice.client.set_cookie("zone", "America/New_York")
    page = alice.text(f"/configs/{config}")
    assert "At 02:30 every day, Europe/Paris time" in page
    assert "today 20:" in page
    assert "America/New_York" in page
    alice.client.set_cookie("zone", "../../etc/passwd")
    assert ">UTC<" in alice.text(f"/configs/{config}")


def test_an_administrator_gives_a_sync_whose_owner_left_another_one(
    alice: Browser, bob: Browser, vera: Browser, world: World
) -> None:
    config = world.config("orphan", owner_id="user-vera")
    assert "Acts for vera@example.com, who may not run it" in alice.words(f"/configs/{config}")
    page = alice.text(f"/configs/{config}")
    assert 'value="user-bob"' in page
    assert 'value="user-vera"' not in page, "a viewer runs nothing"
    assert "configs/" + config + "/owner" not in bob.text(f"/configs/{config}")
    for who, chosen, status in ((bob, "user-bob", 403), (alice, "user-vera", 409), (alice, "nobody", 409)):
        assert who.post(f"/configs/{config}/owner", owner=chosen).status_code == status
    assert alice.post(f"/configs/{config}/owner", owner="user-bob").status_code == 303
    with world.ctx.reads() as db:
        assert db.get_one(SyncConfig, config).owner_id == "user-bob"
    assert "It acts for bob@example.com from now on." in alice.words(f"/configs/{config}")
    assert "Acts for bob@example.com" in bob.words(f"/configs/{config}")
