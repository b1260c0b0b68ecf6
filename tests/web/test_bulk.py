"""Bulk retries in the panel: chosen by a filter, counted before the click, taken back, followed up."""

from __future__ import annotations

import re

import pytest

from models.bulk import BulkRetry
from models.sync_runs import RunState, SyncRun
from tests.web.browser import Browser
from tests.web.world import World, summary


@pytest.fixture
def config(world: World) -> str:
    config = world.config()
    for key in ("a", "b", "c"):
        world.issue(config, key)
    world.issue(config, "d", code="lossy", message="cut")
    return config


def planned(who: Browser, **chosen: str) -> str:
    response = who.post("/bulk", **chosen)
    assert response.status_code == 303, response.text[:1000]
    return str(response.location)


def digest_of(world: World, page: str) -> str:
    with world.ctx.reads() as db:
        return db.get_one(BulkRetry, page.rsplit("/", 1)[1]).digest


def runs_of(world: World, config: str) -> list[SyncRun]:
    with world.ctx.reads() as db:
        return db.query(SyncRun).filter_by(config_id=config).order_by(SyncRun.id).all()


def test_the_button_carries_the_number_that_the_filter_leaves(bob: Browser, config: str) -> None:
    assert "Plan a retry of 4" in bob.text("/issues")
    assert "Plan a retry of 3" in bob.text("/issues?code=rejected")
    assert "Plan a retry" not in bob.text("/issues?q=cut"), "one record needs no plan"
    page = bob.words(planned(bob, code="rejected"))
    assert "Retry 3 records" in page
    assert "“The system refuses these values” in all syncs" in page
    assert "Nothing has been tried yet" in bob.text(planned(bob))


def test_the_list_is_filtered_by_cause_and_text(bob: Browser, config: str) -> None:
    page = bob.words("/issues?code=lossy")
    assert "cut" in page and "too long" not in page
    page = bob.words("/issues?q=TOO+LONG")
    assert "too long" in page and "1 record" not in page
    assert "No open issues" in bob.words("/issues?q=100%25")


def test_a_plan_is_started_once_and_then_taken_back(bob: Browser, world: World, config: str) -> None:
    page = planned(bob, config=config)
    response = bob.post(f"{page}/confirmation", digest=digest_of(world, page), reason="INC-7")
    assert (response.status_code, response.location) == (303, page)
    assert "Can be taken back" in bob.text(page) and "INC-7" in bob.text(page)
    again = bob.post(f"{page}/confirmation", digest=digest_of(world, page))
    assert again.status_code == 409 and "started already" in again.text
    assert bob.post(f"{page}/recall").status_code == 303
    text = bob.words(page)
    assert "Taken back" in text and "Nothing of it was done" in text
    assert [run.state for run in runs_of(world, config)] == ["cancelled"]
    assert "Taken back" in bob.words("/bulk")


def test_a_stale_page_is_refused_and_says_what_to_do(bob: Browser, world: World, config: str) -> None:
    page = planned(bob)
    response = bob.post(f"{page}/confirmation", digest="0" * 64)
    assert response.status_code == 409 and "Look at the plan again" in response.text
    world.clock.passes(hours=25)
    assert "older than a day" in bob.text(page)
    assert "Start it" not in bob.text(page)


def test_the_numbers_add_up_and_lead_to_the_records(bob: Browser, world: World, config: str) -> None:
    page = planned(bob)
    bob.post(f"{page}/confirmation", digest=digest_of(world, page))
    [run] = runs_of(world, config)
    with world.write() as db:
        found = db.get_one(SyncRun, run.id)
        found.state, found.finished_at, found.started_at = RunState.PARTIAL, world.clock.now, world.clock.now
        found.summary = summary(failed=1, errors=[{"key": "b", "code": "rejected", "message": "No."}])
    world.clock.passes(seconds=40)
    text = bob.words(page)
    assert re.search(r"chosen 4 = to come 0 \+ fixed 3 \+ failed again 1 \+ left out 0", text), text
    assert "All read again" in text
    assert f'href="/records/{config}?key=b"' in bob.text(page)


def test_what_would_be_written_shows_before_the_click(bob: Browser, world: World, config: str) -> None:
    page = planned(bob, code="rejected")
    assert "not looked at yet" in bob.text(page)
    bob.post(f"{page}/previews")
    [preview] = runs_of(world, config)
    assert (preview.kind, preview.options) == ("preview", {"keys": ["a", "b", "c"]})
    with world.write() as db:
        found = db.get_one(SyncRun, preview.id)
        found.state, found.finished_at = RunState.SUCCESS, world.clock.now
        found.summary = summary(held=1) | {"right": {"read": 2, "created": 0, "updated": 1, "deleted": 0}}
    assert f'<a href="/runs/{preview.id}">2 changes</a>' in bob.text(page)


def test_a_viewer_reads_it_and_another_workspace_does_not(
    bob: Browser, vera: Browser, charlie: Browser, config: str
) -> None:
    page = planned(bob)
    assert "Start it" not in vera.text(page)
    assert vera.post(f"{page}/recall").status_code == 403
    assert vera.post("/bulk").status_code == 403
    assert "Plan a retry" not in vera.text("/issues")
    assert charlie.get(page).status_code == 404
    assert charlie.post("/bulk", config=config).status_code == 409, "nothing of theirs fails"
