"""The charts of one sync, and its runs and changes as one story."""

from __future__ import annotations

from datetime import timedelta

from models.audit import AuditEvent
from models.sync_runs import RunKind, RunState
from tests.web.browser import Browser
from tests.web.world import NOW, OWN, World, summary


def test_the_charts_say_in_words_and_numbers_what_they_show(alice: Browser, world: World) -> None:
    config = world.config()
    for minutes, created in ((30, 2), (20, 0), (10, 5)):
        world.run(
            config, minutes=minutes,
            summary=summary(right={"read": 9, "created": created, "updated": 1, "deleted": 0}),
        )  # fmt: skip
    world.run(config, RunState.PARTIAL, minutes=5, summary=summary(failed=3, right={"read": 9, "deleted": 1}))
    world.run(config, RunState.FAILED, minutes=4, summary=None, error="e", error_code="auth")
    page = alice.text(f"/configs/{config}")
    assert "Records written per run: 7 created, 3 updated, 1 deleted and 3 failed in all" in page
    assert "at most 6 in one run" in page
    words = alice.words(f"/configs/{config}")
    assert "How long each took" in words and "As a table" in words
    assert page.count("<title>") == 1 and "style=" not in page


def test_a_preview_and_a_skipped_slot_are_no_bars(alice: Browser, world: World) -> None:
    config = world.config()
    world.run(config, minutes=9)
    world.run(config, kind=RunKind.PREVIEW, minutes=8)
    world.run(config, RunState.SKIPPED, minutes=7)
    assert "How it went" not in alice.words(f"/configs/{config}"), "one run is no chart"


def test_a_changed_definition_is_marked(alice: Browser, world: World) -> None:
    config = world.config()
    for minutes, version in ((30, 1), (20, 2), (10, 2)):
        world.run(config, minutes=minutes, config_version=version)
    words = alice.words(f"/configs/{config}")
    assert "The definition changed: version 2 from 13:4" in words


def test_more_runs_are_shown_on_demand(alice: Browser, world: World) -> None:
    config = world.config()
    for minutes in range(40):
        world.run(config, minutes=minutes + 1, summary=summary(right={"read": 1, "updated": 1}))
    assert "30 updated" in alice.words(f"/configs/{config}")
    assert "40 updated" in alice.words(f"/configs/{config}?runs=90")
    assert alice.get(f"/configs/{config}?runs=7").status_code == 400


def test_what_people_did_stands_between_the_runs(alice: Browser, world: World) -> None:
    config = world.config()
    world.run(config, minutes=30)
    world.run(config, minutes=10)
    with world.write() as db:
        for hours, action, detail in (
            (100, "config.created", {}),
            (0.3, "config.changed", {"reason": "asked by sales",
                                     "changes": [{"place": "conflict", "before": "a", "after": "b"}]}),
        ):  # fmt: skip
            db.add(
                AuditEvent(workspace_id=OWN, at=NOW - timedelta(hours=hours), actor="bob@example.com",
                           action=action, subject=config, detail=detail)
            )  # fmt: skip
    page = alice.words(f"/configs/{config}")
    story = page.partition("Latest runs and changes")[2].partition("How it went")[0]
    assert "bob@example.com changed its definition “asked by sales” conflict: a b" in story
    assert "created it" not in story, "what is older than the runs stands under Who did what"
    assert story.index("10 min ago") < story.index("changed its definition") < story.index("30 min ago")


def test_a_sync_says_how_fresh_its_data_are(alice: Browser, world: World) -> None:
    config = world.config()
    world.run(config, minutes=45)
    world.run(config, RunState.FAILED, minutes=5, summary=None, error="e", error_code="auth")
    assert "data as of 45 min ago" in alice.words(f"/configs/{config}")
