"""Whoever comes back is told what is new, until they say that they have seen it."""

from __future__ import annotations

from datetime import timedelta

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import NOW, World


def test_what_is_new_is_told_until_it_was_seen(bob: Browser, world: World) -> None:
    config = world.config()
    world.run(config, RunState.FAILED, minutes=20, error="Away.", error_code="unavailable")
    world.run(config, RunState.SKIPPED, minutes=40, reason="Missed: no scheduler ran at that time.")
    world.issue(config, opened_at=NOW - timedelta(hours=2))
    world.issue(config, "old", opened_at=NOW - timedelta(days=3))
    world.issue(config, "well", opened_at=NOW - timedelta(days=3), closed_at=NOW - timedelta(hours=1))
    page = bob.words("/")
    for said in ("1 run failed", "1 scheduled run was missed", "1 new issue", "1 issue healed by itself"):
        assert said in page, page
    assert "Since yesterday" in page
    assert bob.post("/looks").status_code == 303
    assert "1 run failed" not in bob.words("/")
    world.clock.passes(hours=1)
    world.conflict(config, opened_at=world.clock.now)
    page = bob.words("/")
    assert "Since today 14:05" in page and "1 new conflict" in page and "1 new issue" not in page


def test_a_damaged_or_ancient_cookie_is_no_news_of_years(bob: Browser, world: World) -> None:
    world.issue(world.config(), opened_at=NOW - timedelta(days=30))
    for cookie in ("nonsense", "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00", "2026-11-01"):
        bob.client.set_cookie("looked", cookie)
        assert "1 new issue" not in bob.words("/")


def test_one_workspace_is_not_told_of_another(charlie: Browser, world: World) -> None:
    world.run(world.config(), RunState.FAILED, minutes=20)
    assert "run failed" not in charlie.words("/")
