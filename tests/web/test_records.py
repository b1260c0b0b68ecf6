"""A record is found by what a customer names, and tells why it is as it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import NOW, World


@pytest.fixture
def config(world: World) -> str:
    return world.config()


def found(visitor: Browser, text: str) -> str:
    """Where a search with one hit leads."""
    response = visitor.client.get("/records", query_string={"q": text})
    assert response.status_code == 302, response.text[-1500:]
    return str(response.location)


@pytest.mark.parametrize(
    "text", ["mary@example.com", " MARY@example.com ", "L-mary@example.com", "R-mary@example.com", "mary@"]
)
def test_it_is_found_by_key_by_either_id_and_by_how_it_begins(
    alice: Browser, world: World, config: str, text: str
) -> None:
    world.link(config)
    world.link(config, "somebody@example.com")
    assert found(alice, text) == f"/records/{config}?key=mary@example.com"


def test_several_hits_are_listed_with_their_status(alice: Browser, world: World, config: str) -> None:
    other = world.config("newsletter")
    for sync in (config, other):
        world.link(sync)
    world.conflict(other)
    page = alice.words("/records?q=mary@example.com")
    assert "customers In sync" in page
    assert "newsletter Needs attention" in page


def test_a_record_that_only_the_journal_knows_is_found(alice: Browser, world: World, config: str) -> None:
    world.change(world.run(config), "ORD-17")
    assert "Update on right: written" in alice.text(found(alice, "ORD-17"))


def test_what_nobody_knows_is_said_so(alice: Browser, world: World, config: str) -> None:
    assert "No sync knows “nobody%_”" in alice.text("/records?q=nobody%25_")
    assert alice.get(f"/records/{config}?key=nobody").status_code == 404
    assert alice.get(f"/records/{config}").status_code == 404


@pytest.mark.parametrize(
    ("make", "word", "why"),
    [
        (lambda world, config: None, "In sync", "Both sides held the same"),
        (lambda world, config: world.conflict(config), "Needs attention", "Both sides changed name"),
        (
            lambda world, config: world.issue(config),
            "Needs attention",
            "The system refuses these values. name: the value is too long.",
        ),
        (
            lambda world, config: world.change(world.run(config), state="held"),
            "Needs attention",
            "1 change of it is held",
        ),
    ],
)
def test_it_says_why(alice: Browser, world: World, config: str, make, word: str, why: str) -> None:  # type: ignore[no-untyped-def]
    world.link(config)
    make(world, config)
    page = alice.words(f"/records/{config}?key=mary@example.com")
    assert f"mary@example.com {word}" in page
    assert why in page


@pytest.mark.parametrize(
    ("link", "word", "why"),
    [
        ({"state": "excluded", "reason": "deleted on left"}, "Excluded", "deleted on left"),
        ({"state": "unlinked"}, "Excluded", "It was unlinked"),
        ({"state": "tombstone"}, "Excluded", "gone on both sides"),
        ({"left_missing": 1}, "Waiting", "missing on left"),
    ],
)
def test_it_says_why_it_takes_no_part(
    alice: Browser, world: World, config: str, link: dict[str, Any], word: str, why: str
) -> None:
    world.link(config, **link)
    page = alice.words(f"/records/{config}?key=mary@example.com")
    assert f"mary@example.com {word}" in page
    assert why in page


def test_its_history_is_whole_and_in_order(alice: Browser, world: World, config: str) -> None:
    link = world.link(config)
    run = world.run(config)
    world.change(run, link_id=link, created_at=NOW - timedelta(days=2))
    world.change(
        run,
        "old-name@example.com",
        link_id=link,
        operation="create",
        created_at=NOW - timedelta(days=3),
        before=None,
    )
    settled: dict[str, Any] = {
        "closed_at": NOW - timedelta(hours=1),
        "state": "resolved",
        "resolved_by": "Bob",
    }
    world.conflict(config, link_id=link, **settled)
    world.issue(config, closed_at=NOW - timedelta(minutes=30))
    page = alice.text(f"/records/{config}?key=mary@example.com")
    order = [
        "Healed: The system refuses these values",
        "Conflict on name settled by Bob",
        "Conflict on name<",
        "Update on right: written",
        "Create on right: written",
    ]
    places = [page.index(f'<span class="strong">{title}') for title in order]
    assert places == sorted(places)
    assert "Text for a ticket" in page


def test_what_failed_can_be_handed_to_a_developer_as_a_text(bob: Browser, world: World, config: str) -> None:
    failed = world.run(
        config, RunState.FAILED, error="No answer.", error_code="unreachable", error_id="e-4711"
    )
    world.issue(config, "k1", message="Too <long>.")
    page = bob.text(f"/runs/{failed}")
    for part in (config, failed, "unreachable: No answer.", "Error id: e-4711", f"/runs/{failed}</textarea>"):
        assert part in page[page.index('id="technical"') :]
    group = bob.text(f"/issues/{config}/rejected")
    assert "k1, right: Too <long>." in group[group.index('id="technical"') :]
    fine = world.run(config)
    assert 'id="technical"' not in bob.text(f"/runs/{fine}")


def test_issues_are_grouped_by_cause(bob: Browser, world: World, config: str) -> None:
    for number in range(3):
        world.issue(config, f"k{number}")
    world.issue(config, "twin", code="ambiguous_key", side="left", message="Two have it.")
    page = bob.words("/issues")
    assert page.rindex("The system refuses these values") < page.rindex("More than one record has the same")
    assert "3 records" in page
    group = bob.text(f"/issues/{config}/rejected")
    assert "k2" in group
    assert "twin" not in group


def test_a_cause_is_tried_again_as_a_whole(bob: Browser, world: World, config: str) -> None:
    from models.sync_runs import SyncRun

    for number in range(3):
        world.issue(config, f"k{number}")
    response = bob.post(f"/issues/{config}/rejected/retries")
    with world.ctx.reads() as db:
        run = db.get_one(SyncRun, response.location.rsplit("/", 1)[1])
        assert (run.kind, run.options) == ("retry", {"keys": ["k0", "k1", "k2"]})
    assert bob.post(f"/issues/{config}/auth/retries").status_code == 409


def test_a_retry_takes_the_records_that_its_button_counted(bob: Browser, world: World, config: str) -> None:
    from models.sync_runs import SyncRun

    for number in range(3):
        world.issue(config, f"k{number}", muted=number == 0)
    for state, keys in (("open", ["k1", "k2"]), ("muted", ["k0"])):
        page = bob.text(f"/issues/{config}/rejected?state={state}")
        assert f"Retry {len(keys)} record" in page
        assert f'name="state" value="{state}"' in page
        response = bob.post(f"/issues/{config}/rejected/retries", state=state)
        run_id = response.location.rsplit("/", 1)[1]
        with world.ctx.sessions.begin() as db:
            run = db.get_one(SyncRun, run_id)
            assert run.options == {"keys": keys}
            run.state = "success"  # one run of a sync at a time


def test_muted_issues_are_quiet_and_heard_again(bob: Browser, world: World, config: str) -> None:
    world.run(config)
    world.issue(config)
    assert "1 issue waits" in bob.text("/configs")
    bob.post(f"/issues/{config}/rejected/mute", reason="Known since June")
    assert "No open issues" in bob.text("/issues")
    assert "The system refuses" in bob.text("/issues?state=muted")
    assert "In sync" in bob.words(f"/configs/{config}")
    bob.post(f"/issues/{config}/rejected/unmute")
    assert "The system refuses" in bob.text("/issues")
