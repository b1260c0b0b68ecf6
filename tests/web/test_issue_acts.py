"""What people say of a cause: quiet for a while, fixed, and a note for whoever looks next."""

from __future__ import annotations

from html import unescape

import pytest
from sqlalchemy import select

from models.issues import Issue, IssueClaim
from tasks import issues
from tasks.errors import WorkError
from tests.web.browser import Browser
from tests.web.world import World


@pytest.fixture
def config(world: World) -> str:
    config = world.config()
    world.issue(config, "a")
    world.issue(config, "b")
    return config


def test_a_snooze_ends_by_itself(bob: Browser, world: World, config: str) -> None:
    response = bob.post(f"/issues/{config}/rejected/snooze", hours="4", reason="They know")
    assert response.status_code == 303
    assert "No open issues" in bob.text("/issues")
    assert "in 4 h" in bob.text(f"/issues/{config}/rejected?state=muted")
    world.clock.passes(hours=3)
    assert issues.wake(world.ctx) == 0
    world.clock.passes(hours=1)
    assert issues.wake(world.ctx) == 2
    assert "The system refuses these values" in bob.text("/issues")


def test_a_new_record_speaks_during_a_snooze(bob: Browser, world: World, config: str) -> None:
    bob.post(f"/issues/{config}/rejected/snooze", hours="24")
    world.issue(config, "c")
    assert "1 record" in bob.words("/issues")


def test_it_cannot_be_snoozed_for_ever_or_for_nothing(bob: Browser, world: World, config: str) -> None:
    response = bob.post(f"/issues/{config}/rejected/snooze", hours="100000")
    assert response.status_code == 400 and "Choose for how long" in response.text
    with pytest.raises(WorkError, match="31 days at most"):
        issues.mute(
            world.ctx,
            config,
            "rejected",
            on=True,
            by="bob",
            lasts=issues.LONGEST_SNOOZE + issues.LONGEST_SNOOZE,
        )
    assert "The system refuses these values" in bob.text("/issues")


def test_what_is_called_fixed_and_comes_back_says_so(bob: Browser, world: World, config: str) -> None:
    page = f"/issues/{config}/rejected"
    assert "It came back" not in bob.text(page)
    assert bob.post(f"{page}/resolution", reason="Widened the column").status_code == 303
    assert "Nothing fails with this cause any more" in bob.text(page)
    with world.ctx.reads() as db:
        assert set(db.scalars(select(Issue.closed_by))) == {"bob@example.com"}
    world.clock.passes(hours=2)
    world.issue(config, "a", opened_at=world.clock.now)
    assert "It came back: bob@example.com marked it as fixed 2 h ago" in bob.words(page)


def test_notes_stay_and_tell_who_wrote_them(bob: Browser, vera: Browser, config: str) -> None:
    page = f"/issues/{config}/rejected"
    assert bob.post(f"{page}/notes", text="Ask Jana.\n<b>Not</b> before Monday").status_code == 303
    text = vera.text(page)
    assert "bob@example.com" in text and "Ask Jana." in text and "<b>Not</b>" in text
    assert "Keep this note" not in text
    assert vera.post(f"{page}/notes", text="x").status_code == 403
    assert bob.post(f"{page}/notes", text="  ").status_code == 409
    assert bob.post(f"{page}/notes", text="x" * 2001).status_code == 409


def test_another_workspace_says_nothing_here(charlie: Browser, config: str) -> None:
    for act in ("snooze", "resolution", "notes", "mute"):
        assert charlie.post(f"/issues/{config}/rejected/{act}", hours="1", text="x").status_code == 404


def test_somebody_who_is_on_it_is_seen_by_the_others(
    alice: Browser, bob: Browser, vera: Browser, world: World, config: str
) -> None:
    page = f"/issues/{config}/rejected"
    assert bob.post(f"{page}/claim").location == page
    world.clock.passes(minutes=5)
    assert "bob@example.com took this 5 min ago" in alice.words(page)
    assert "You are on it since 5 min ago" in bob.words(page)
    assert "On it bob@example.com, 5 min ago" in alice.words("/issues")
    assert "bob@example.com is on it, since 5 min ago" in alice.words("/")
    assert "took this" in vera.words(page) and "Take it over" not in vera.text(page)
    assert vera.post(f"{page}/claim").status_code == 403
    assert "Issues claimed" in alice.words("/audit")


@pytest.mark.parametrize("act", ["claim", "notes", "resolution"])
def test_what_is_done_with_a_cause_leads_back_into_the_list_that_it_was_found_in(
    bob: Browser, config: str, act: str
) -> None:
    listed = f"config={config}&code=rejected&q=a"
    page = f"/issues/{config}/rejected?{listed}"
    assert f"/issues/{config}/rejected/{act}?{listed}" in unescape(bob.text(page))
    assert bob.post(f"/issues/{config}/rejected/{act}?{listed}", text="Called them").location == page
    muted = bob.post(f"/issues/{config}/rejected/mute?{listed}")
    assert muted.location == f"/issues?{listed}"


def test_who_was_quicker_has_it_until_they_hand_it_over(
    alice: Browser, bob: Browser, world: World, config: str
) -> None:
    page = f"/issues/{config}/rejected"
    bob.post(f"{page}/claim")
    late = alice.post(f"{page}/claim")
    assert late.status_code == 409 and "bob@example.com took this meanwhile" in late.text
    assert alice.post(f"{page}/claim", over="bob@example.com").status_code == 303
    assert "alice@example.com took this" in bob.words(page)
    bob.post(f"{page}/release")
    assert "alice@example.com took this" in bob.words(page), "it is not bob's to give back"
    alice.post(f"{page}/release")
    assert "took this" not in bob.words(page) and "I take it" in bob.text(page)


def test_a_claim_ends_by_itself_and_with_the_cause(bob: Browser, world: World, config: str) -> None:
    page = f"/issues/{config}/rejected"
    bob.post(f"{page}/claim")
    world.clock.passes(minutes=31)
    assert "You are on it" not in bob.words(page)
    issues.wake(world.ctx)
    with world.ctx.reads() as db:
        assert db.scalars(select(IssueClaim)).all() == []
    bob.post(f"{page}/claim")
    bob.post(f"{page}/resolution")
    with world.ctx.reads() as db:
        assert db.scalars(select(IssueClaim)).all() == []
