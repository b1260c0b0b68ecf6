"""One run: what it tells, cancel, retry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import func, select

from models.journal import Change
from models.sync_runs import RunState, SyncRun
from tests.web.browser import Browser
from tests.web.world import DEFINITION, NOW, World, summary


@pytest.fixture
def config(world: World) -> str:
    return world.config()


def refused(key: str) -> dict[str, str]:
    return {"key": key, "side": "right", "operation": "update", "code": "rejected", "message": "No."}


def test_a_waiting_run_is_cancelled_at_once(bob: Browser, world: World, config: str) -> None:
    run = world.run(config, RunState.QUEUED)
    response = bob.post(f"/runs/{run}/cancellation", reason="Too early")
    assert (response.status_code, response.location) == (303, f"/runs/{run}")
    page = bob.text(f"/runs/{run}")
    assert "Cancelled. Nothing was written." in page
    assert "Cancelled by bob@example.com before it started." in page


def test_a_running_one_stops_at_its_next_batch(bob: Browser, world: World, config: str) -> None:
    run = world.run(config, RunState.RUNNING)
    bob.post(f"/runs/{run}/cancellation")
    page = bob.text(f"/runs/{run}")
    assert "Stops at the next batch" in page
    assert "stays written" in page
    with world.ctx.reads() as db:
        found = db.get_one(SyncRun, run)
        assert (found.state, found.cancel_requested_by) == ("running", "bob@example.com")


def test_what_has_ended_is_not_cancelled(bob: Browser, world: World, config: str) -> None:
    run = world.run(config)
    response = bob.post(f"/runs/{run}/cancellation")
    assert response.status_code == 409
    assert "already ended" in response.text
    assert "Cancel" not in bob.text(f"/runs/{run}")


def test_a_retry_is_a_new_run_tied_to_the_old_one(bob: Browser, world: World, config: str) -> None:
    old = world.run(config, RunState.PARTIAL, summary=summary(failed=1, errors=[refused("mary@example.com")]))
    world.issue(config)
    assert "Retry failed records" in bob.text(f"/runs/{old}")
    response = bob.post(f"/runs/{old}/retries")
    new = response.location.rsplit("/", 1)[1]
    assert new != old
    assert f'This run tries <a href="/runs/{old}">' in bob.text(f"/runs/{new}")
    with world.ctx.reads() as db:
        assert db.get_one(SyncRun, new).options == {"keys": ["mary@example.com"]}
    page = bob.text(f"/runs/{old}")
    assert f'It was tried again by <a href="/runs/{new}">' in page
    assert "Retry failed records" not in page


def test_what_a_later_run_fixed_is_not_tried_again(bob: Browser, world: World, config: str) -> None:
    old = world.run(config, RunState.PARTIAL, summary=summary(failed=1, errors=[refused("mary@example.com")]))
    world.issue(config, closed_at=NOW)
    response = bob.post(f"/runs/{old}/retries")
    assert response.status_code == 409
    assert "a later run has fixed it" in response.text


def test_one_record_can_be_tried_first(bob: Browser, world: World, config: str) -> None:
    errors = [refused("a"), refused("b")]
    old = world.run(config, RunState.PARTIAL, summary=summary(failed=2, errors=errors))
    world.issue(config, "a")
    world.issue(config, "b")
    assert "Try one first: a" in bob.text(f"/runs/{old}")
    new = bob.post(f"/runs/{old}/retries", key="a").location.rsplit("/", 1)[1]
    with world.ctx.reads() as db:
        assert db.get_one(SyncRun, new).options == {"keys": ["a"]}


def test_an_undo_is_a_run_of_its_own(bob: Browser, world: World, config: str) -> None:
    run = world.run(config)
    assert "Undo this run" not in bob.text(f"/runs/{run}"), "it wrote nothing"
    world.change(run)
    assert "Undo this run" in bob.text(f"/runs/{run}")
    response = bob.post(f"/runs/{run}/undo", reason="Wrong price list")
    with world.ctx.reads() as db:
        undo = db.get_one(SyncRun, response.location.rsplit("/", 1)[1])
        assert (undo.kind, undo.options, undo.reason) == ("undo", {"run": run}, "Wrong price list")


def test_a_sync_that_has_run_by_hand_is_not_offered_to_be_switched_on(alice: Browser, world: World) -> None:
    config = world.config(
        auto=False, definition=DEFINITION | {"auto": False, "schedule": {"cron": "0 4 * * *"}}
    )
    preview = world.run(config, kind="preview")
    assert "Switch it on" in alice.text(f"/runs/{preview}"), "it is new"
    world.run(config, kind="manual")
    page = alice.text(f"/runs/{preview}")
    assert "Switch it on" not in page and "Run it now" in page


def test_progress_is_shown(bob: Browser, world: World, config: str) -> None:
    run = world.run(config, RunState.RUNNING, phase="writing", done=25, total=200)
    page = bob.text(f"/runs/{run}")
    assert "Writing" in page
    assert "25 of 200" in page
    assert '<progress aria-label="writing" max="100" value="12">' in page
    unknown = world.run(world.config("other"), RunState.RUNNING, phase="reading left", done=25)
    assert "25 records so far" in bob.text(f"/runs/{unknown}")


def test_why_a_queued_run_waits_is_told(bob: Browser, world: World, config: str) -> None:
    run = world.run(
        config,
        RunState.QUEUED,
        not_before=NOW + timedelta(minutes=6),
        wait_text="The system asked for a pause.",
    )
    page = bob.text(f"/runs/{run}")
    assert "The system asked for a pause." in page
    assert "in 6 min" in page


def test_changes_tell_before_and_after(bob: Browser, world: World, config: str) -> None:
    run = world.run(config)
    world.change(run, before={"name": "Mary", "phone": None}, after={"name": "Marie", "phone": "1"})
    world.change(run, "gone", operation="delete", before={"name": "Old"}, after=None, rule="deleted on left")
    world.change(run, "new", operation="create", before=None, after={"name": ""}, result={"name": "None"})
    page = bob.text(f"/runs/{run}")
    assert '<del class="was">Mary</del>' in page
    assert '<ins class="is-now">Marie</ins>' in page
    assert '<span class="gap">empty</span>' in page
    assert '<span class="gap">empty text</span>' in page
    assert "kept as None" in page
    assert "deleted on left" in page
    assert "only left was edited" in page


def test_changes_are_found_by_outcome_and_by_record(bob: Browser, world: World, config: str) -> None:
    run = world.run(config)
    world.change(run, "one@example.com")
    world.change(run, "two@example.com", state="rejected", code="rejected", message="Too long.")
    rejected = bob.text(f"/runs/{run}?outcome=rejected")
    assert "two@example.com" in rejected
    assert "Too long." in rejected
    assert "one@example.com" not in rejected
    assert "one@example.com" not in bob.text(f"/runs/{run}?q=two@")
    assert "No change matches" in bob.text(f"/runs/{run}?q=100%25")
    assert bob.get(f"/runs/{run}?outcome=nonsense").status_code == 400
    assert bob.get(f"/runs/{run}?after=x").status_code == 400


def test_a_record_is_found_in_a_large_run_without_reading_all_of_it(
    bob: Browser, world: World, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.reads.runs.CHANGES_COUNTED", 3)
    run = world.run(config)
    for number in range(7):
        world.change(run, f"key-{number}")
    assert "key-6<" in bob.text(f"/runs/{run}?q=key-6"), "a whole key, at once"
    page = bob.text(f"/runs/{run}?q=Y-6")
    assert "Nothing found so far" in page
    for step in ("key-3", "key-6"):
        further = re.search(r'<a href="([^"]+)">Look further', page)
        assert further, step
        page = bob.text(unescape(further[1]))
    assert "key-6<" in page and "Look further" not in page
    nothing = bob.text(f"/runs/{run}?q=nothing&after={_last_change(world)}")
    assert "No change matches" in nothing


def _last_change(world: World) -> int:
    with world.ctx.reads() as db:
        return db.scalar(select(func.max(Change.id))) or 0


def test_changes_are_paged_without_a_gap(bob: Browser, world: World, config: str) -> None:
    run = world.run(config)
    for number in range(120):
        world.change(run, f"key-{number:03}")
    seen: list[str] = []
    path = f"/runs/{run}"
    while path:
        page = bob.text(path)
        seen += [f"key-{number:03}" for number in range(120) if f"key-{number:03}<" in page]
        more = re.search(r'<a href="([^"]+)">More', page)
        path = more[1] if more else ""
    assert seen == [f"key-{number:03}" for number in range(120)]


def test_failures_are_grouped_by_cause(bob: Browser, world: World, config: str) -> None:
    refused = {"side": "right", "operation": "update", "code": "rejected", "message": "Too long."}
    errors = [refused | {"key": f"k{number}"} for number in range(30)]
    errors.append({"key": "x", "side": "left", "operation": "read", "code": "brand_new", "message": "Odd."})
    page = bob.text(f"/runs/{world.run(config, RunState.PARTIAL, summary=summary(failed=31, errors=errors))}")
    assert "The system refuses these values" in page
    assert "30 records" in page
    assert "and more" in page
    grouped, _, technical = page.partition("For a developer")
    assert grouped.count("Too long.") == 1
    assert technical.count("rejected (30): Too long.") == 1
    assert "Brand new" in page, "a code that the panel does not know yet is shown all the same"


def test_a_failed_run_says_who_can_act(bob: Browser, world: World, config: str) -> None:
    run = world.run(
        config, RunState.FAILED, error="The password is refused.", error_code="auth", error_id="abc123"
    )
    page = bob.text(f"/runs/{run}")
    assert "The password is refused." in page
    assert "The system refuses our credentials" in page
    assert "An administrator" in page
    assert "abc123" in page


def test_a_skipped_slot_says_why(bob: Browser, world: World, config: str) -> None:
    run = world.run(config, RunState.SKIPPED, reason="The run before it was still going.")
    assert "The run before it was still going." in bob.text(f"/runs/{run}")


def test_long_values_are_cut(bob: Browser, world: World, config: str) -> None:
    run = world.run(config)
    world.change(run, before={"notes": "a" * 5000}, after={"notes": "b" * 5000})
    page = bob.text(f"/runs/{run}")
    assert f"<summary>{'b' * 160}… " in page
    assert "b" * 5000 in page


def test_a_preview_tells_what_the_run_will_cost(bob: Browser, world: World, config: str) -> None:
    sentence = "About 34 calls to right, which allows 5 a second for each base: 6 s at least."
    cost = [{"side": "right", "calls": 34, "sentence": sentence}]
    run = world.run(config, kind="preview", summary=summary(changes=[], cost=cost))
    assert sentence in bob.text(f"/runs/{run}")
    assert sentence in bob.text(f"/configs/{config}")
    assert "will cost" not in bob.text(f"/runs/{world.run(config)}")


def would(summary_: Mapping[str, Any], **right: int) -> Mapping[str, Any]:
    """A summary that says so of the writes to the right."""
    return {**summary_, "right": {"read": 0, "created": 0, "updated": 0, "deleted": 0, **right}}


def test_a_preview_shows_each_change_and_can_be_carried_out(bob: Browser, world: World, config: str) -> None:
    told = would(summary(held=1), updated=1)
    run = world.run(config, RunState.PARTIAL, kind="preview", full=True, summary=told)
    world.change(run, state="would_go", before={"name": "Mary"}, after={"name": "Marie"})
    world.change(run, "joe@example.com", state="would_wait", guard="budget", message="More than the budget.")
    page, words = bob.text(f"/runs/{run}"), bob.words(f"/runs/{run}")
    assert "What a run would change" in words and "Nothing was written" in words
    assert "To update 1" in words, "it did not update anything"
    assert "mary@example.com" in words and "Mary" in words and "Marie" in words
    assert "Would be written 1" in words and "Would be held 1" in words
    assert "More than the budget." in words
    assert f"/runs/{run}/execution" in page
    assert f'href="/records/{config}?key=mary@example.com"' in page
    for listed in ("/runs", f"/configs/{config}"):
        assert "Would be written · right" in bob.words(listed), "a list does not say that it was"
    joe = bob.words(f"/runs/{run}?outcome=would_wait")
    assert "joe@example.com" in joe and "mary@example.com" not in joe
    new = bob.post(f"/runs/{run}/execution", reason="As shown").location.rsplit("/", 1)[1]
    with world.ctx.reads() as db:
        made = db.get_one(SyncRun, new)
        assert (made.kind, made.full, made.options) == ("manual", True, {"preview": run})
        assert made.reason == "As shown"
    assert f'<a href="/runs/{run}">the preview of' in bob.text(f"/runs/{new}")


def test_a_preview_that_found_nothing_says_so_and_one_that_is_kept_no_longer_too(
    bob: Browser, world: World, config: str
) -> None:
    calm = bob.words(f"/runs/{world.run(config, kind='preview', summary=would(summary()))}")
    assert "Nothing would be written" in calm and "Carry out" not in calm
    old = world.run(config, kind="preview", summary=would(summary(), created=2))
    words = bob.words(f"/runs/{old}")
    assert "What it showed is kept no longer" in words and "Both sides held the same" not in words
    refused = bob.post(f"/runs/{old}/execution")
    assert refused.status_code == 409
    assert "shows nothing that a run would write" in refused.get_data(as_text=True)
    assert bob.post(f"/runs/{world.run(config)}/execution").status_code == 409, "it is no preview"


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_a_preview_that_broke_off_is_not_taken_for_all_that_a_run_would_do(
    bob: Browser, world: World, config: str, state: RunState
) -> None:
    run = world.run(config, state, kind="preview", summary=would(summary(), updated=1))
    world.change(run, state="would_go")
    words = bob.words(f"/runs/{run}")
    assert "This is what a run would do" not in words and "Carry out" not in words
    assert bob.post(f"/runs/{run}/execution").status_code == 409


def test_a_preview_waits_until_another_run_of_the_sync_is_over(
    bob: Browser, world: World, config: str
) -> None:
    run = world.run(config, kind="preview", summary=would(summary(), updated=1))
    world.change(run, state="would_go")
    other = world.run(config, RunState.RUNNING)
    assert bob.post(f"/runs/{run}/execution").location == f"/runs/{other}"
    assert "Carry the preview out when it has ended" in bob.words(f"/runs/{other}")


def test_a_run_whose_changes_went_with_the_old_logs_does_not_say_that_there_were_none(
    bob: Browser, world: World, config: str
) -> None:
    words = bob.words(f"/runs/{world.run(config, summary=would(summary(), updated=3))}")
    assert "Its changes are kept no longer" in words and "Nothing had to be written" not in words
    calm = bob.words(f"/runs/{world.run(config, summary=would(summary()))}")
    assert "Nothing had to be written" in calm


def test_who_may_not_run_reads_a_preview_and_carries_nothing_out(
    vera: Browser, world: World, config: str
) -> None:
    run = world.run(config, kind="preview", summary=would(summary(), updated=1))
    world.change(run, state="would_go")
    words = vera.words(f"/runs/{run}")
    assert "Would be written" in words and "Carry out" not in words
    assert vera.post(f"/runs/{run}/execution").status_code == 403


def test_what_a_preview_showed_is_no_part_of_a_records_story(bob: Browser, world: World, config: str) -> None:
    world.change(world.run(config, kind="preview"), "new@example.com", state="would_go", operation="create")
    assert bob.get(f"/records/{config}?key=new@example.com").status_code == 404
    assert "new@example.com" not in bob.text("/records?q=new%40example")


def test_the_counts_of_a_run_lead_to_what_they_count(bob: Browser, world: World, config: str) -> None:
    told = summary(failed=1, conflicts=2, held=3, errors=[refused("a")])
    run = world.run(config, RunState.PARTIAL, summary=told)
    page = bob.text(f"/runs/{run}")
    assert f'<dd><a href="/conflicts?config={config}">2</a></dd>' in page
    assert f'<dd><a href="/held?config={config}">3</a></dd>' in page
    assert f'<dd><a href="/runs/{run}#failures-title">1</a></dd>' in page
    calm = bob.text(f"/runs/{world.run(config)}")
    assert "/held?config" not in calm and "#failures-title" not in calm
