"""Lists: filters, counts that obey them, pages without gap or repetition."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import DEFINITION, NOW, World
from web.reads import issues, query


def shown(page: str) -> list[str]:
    return re.findall(r'class="cover break" href="/runs/([^"?]+)[^"]*"', page)


def test_pages_hold_each_run_once_even_when_born_in_the_same_moment(alice: Browser, world: World) -> None:
    config = world.config()
    made = {world.run(config, created_at=NOW) for _ in range(130)}
    seen: list[str] = []
    path = "/runs"
    back = ""
    while path:
        page = alice.text(path)
        seen += shown(page)
        older = re.search(r'<a href="([^"]+)">Older', page)
        newer = re.search(r'<a href="([^"]+)"><svg[^>]+><use[^>]+></use></svg> Newer', page)
        back = newer[1] if newer else back
        path = older[1] if older else ""
    assert len(seen) == len(made) == len(set(seen))
    assert set(seen) == made
    assert shown(alice.text(back)) == seen[50:100], "newer leads to the page before"


def test_filters_combine_and_counts_obey_them(alice: Browser, world: World) -> None:
    one, two = world.config("one"), world.config("two")
    for config, number in ((one, 3), (two, 2)):
        for _ in range(number):
            world.run(config)
            world.run(config, RunState.FAILED, kind="manual")
        world.run(config, RunState.RUNNING)
    page = alice.text(f"/runs?config={one}&state=failed")
    assert len(shown(page)) == 3
    assert 'aria-current="true">Failed <span class="tab-count">3</span>' in page
    assert 'Success <span class="tab-count">3</span>' in page
    assert 'All <span class="tab-count">7</span>' in page
    assert len(shown(alice.text("/runs?state=attention&kind=manual"))) == 5
    assert f'<option value="{one}" selected>one</option>' in page
    assert f"/runs?config={one}&state=partial" in page, "other tabs keep the rest of the filter"


def test_counts_stop_at_a_cap_and_say_so() -> None:
    assert str(query.as_count(4, cap=3)) == "3+"
    assert str(query.as_count(3, cap=3)) == "3"
    assert str(query.as_count(12345, cap=20000)) == "12,345"


@pytest.mark.parametrize(
    "path",
    [
        "/runs?state=nonsense",
        "/runs?kind=nonsense",
        "/runs?before=nonsense",
        "/runs?before=2026-11-23T14:05:30~x",
        "/runs?after=~",
        "/configs?state=nonsense",
        "/conflicts?state=nonsense",
    ],
)
def test_a_parameter_that_cannot_be_is_named(alice: Browser, path: str) -> None:
    response = alice.get(path)
    assert response.status_code == 400
    assert "This list cannot be shown" in response.text


def test_syncs_are_found_by_a_part_of_their_name(alice: Browser, world: World) -> None:
    for name in ("Customers EU", "customers US", "100% orders", "under_score"):
        world.config(name)
    assert len(re.findall("cover break", alice.text("/configs?q=CUSTOMERS"))) == 2
    assert len(re.findall("cover break", alice.text("/configs?q=100%25"))) == 1
    assert len(re.findall("cover break", alice.text("/configs?q=_"))) == 1
    assert "No sync matches" in alice.text("/configs?q=nothing")


def test_many_syncs_come_in_pages(alice: Browser, world: World) -> None:
    for number in range(55):
        world.config(f"sync {number:03}")
    first = alice.text("/configs")
    assert len(re.findall("cover break", first)) == 50
    more = re.search(r'<a href="([^"]+)">More', first)
    assert more is not None
    assert re.findall(r"sync (\d+)</a>", alice.text(more[1])) == [f"{number:03}" for number in range(50, 55)]


def test_causes_come_in_pages_the_largest_first(alice: Browser, world: World) -> None:
    for number in range(55):
        config = world.config(f"sync {number:03}")
        for record in range(1 + number % 3):
            world.issue(config, f"r{record}@example.com")
    page = alice.text("/issues")
    seen = re.findall(r">in (sync \d+)<", page)
    assert len(seen) == 50
    assert int(seen[0].removeprefix("sync ")) % 3 == 2, "three records fail with it"
    more = re.search(r'<a href="([^"]+)">More', page)
    assert more is not None
    seen += re.findall(r">in (sync \d+)<", alice.text(more[1]))
    assert len(seen) == len(set(seen)) == 55
    assert alice.get("/issues?after=nonsense").status_code == 400


def test_what_healed_is_listed_by_cause_too(alice: Browser, world: World) -> None:
    config = world.config("stock")
    world.issue(config, closed_at=NOW)
    page = alice.text("/issues?state=healed")
    assert "in stock" in page
    assert "Plan a retry" not in page


def test_a_filter_of_several_states_and_a_kind_finds_each_run_once(alice: Browser, world: World) -> None:
    config = world.config()
    wanted = [
        world.run(config, RunState.FAILED, kind="manual", minutes=3),
        world.run(config, RunState.PARTIAL, kind="manual", minutes=2),
    ]
    world.run(config, RunState.FAILED, kind="scheduled")
    world.run(config, RunState.SUCCESS, kind="manual")
    for path in (
        "/runs?state=attention&kind=manual",
        f"/runs?state=attention&kind=manual&config={config}",
    ):
        assert shown(alice.text(path)) == wanted[::-1], path
    assert len(shown(alice.text(f"/runs?state=failed&kind=scheduled&config={config}"))) == 1


def test_conflicts_are_listed_open_first(alice: Browser, world: World) -> None:
    config = world.config()
    world.conflict(config, "open@example.com")
    world.conflict(config, "done@example.com", state="resolved", closed_at=NOW, resolved_by="bob@example.com")
    assert "done@example.com" not in alice.text("/conflicts")
    settled = alice.text("/conflicts?state=settled")
    assert "bob@example.com" in settled
    assert "open@example.com" not in settled


def test_a_conflict_shows_both_sides_and_what_they_agreed_on(alice: Browser, world: World) -> None:
    config = world.config()
    first = world.conflict(config, field="name")
    world.conflict(config, field="phone", left={"value": None}, right={"value": "1"})
    world.conflict(config, "somebody-else@example.com", field="city")
    page = alice.text(f"/conflicts/{first}")
    for text in ("Marie", "Maria", "Mary", "phone", "2 fields in conflict"):
        assert text in page
    assert "city" not in page


def test_an_edit_against_a_deletion_is_told(alice: Browser, world: World) -> None:
    conflict = world.conflict(world.config(), field="", kind="delete", left=None, right={"value": "x"})
    assert "deleted" in alice.text(f"/conflicts/{conflict}")
    assert "the whole record" in alice.text("/conflicts")


def test_held_changes_come_with_evidence(alice: Browser, world: World) -> None:
    from models.sync_configs import Baseline

    config = world.config("suppliers")
    with world.write() as db:
        db.add(Baseline(config_id=config, left_count=40, right_count=8, updated_at=NOW))
    run = world.run(config)
    for number in range(4):
        world.change(run, f"k{number}", state="held", guard="mass_delete", operation="delete")
    page = alice.text("/held")
    assert "Unusually many records would be deleted." in page
    assert "That is 50% of 8 records there." in page
    assert "k3" in page


def test_the_desk_tells_what_is_wrong(alice: Browser, world: World) -> None:
    failed = world.config("stock")
    world.run(failed, RunState.FAILED, error="The database did not answer.")
    world.conflict(world.config("leads"))
    page = alice.text("/")
    assert "2 syncs need you" in page
    assert "The database did not answer." in page
    assert "1 conflict waits for a decision." in page
    assert page.index("stock") < page.index("leads"), "what failed comes first"


def next_to(page: str) -> dict[str, str]:
    return {rel: unescape(href) for rel, href in re.findall(r'<a rel="(prev|next)" href="([^"]+)"', page)}


@pytest.mark.parametrize("state", ["failed", "attention"])
def test_from_one_run_of_a_list_one_comes_to_the_next_of_that_list(
    alice: Browser, world: World, state: str
) -> None:
    config = world.config()
    made = [
        world.run(config, RunState.FAILED if number % 2 else RunState.SUCCESS, minutes=10 - number)
        for number in range(7)
    ]
    (path,) = re.findall(
        rf'class="cover break" href="([^"]+{made[3]}\?[^"]*)"', alice.text(f"/runs?state={state}")
    )
    beside = next_to(alice.text(path))
    assert beside == {"prev": f"/runs/{made[5]}?state={state}", "next": f"/runs/{made[1]}?state={state}"}
    assert next_to(alice.text(beside["prev"])) == {"next": f"/runs/{made[3]}?state={state}"}, "the newest"
    assert next_to(alice.text(beside["next"])) == {"prev": f"/runs/{made[3]}?state={state}"}, "the oldest"
    unfiltered = next_to(alice.text(f"/runs/{made[3]}"))
    assert unfiltered == {"prev": f"/runs/{made[4]}", "next": f"/runs/{made[2]}"}
    assert alice.get(f"/runs/{made[3]}?state=odd").status_code == 400


def test_from_one_conflict_one_comes_to_that_of_the_next_record(alice: Browser, world: World) -> None:
    config, other = world.config("one"), world.config("two")
    at = {
        (key, field): world.conflict(
            config, key, field=field, link_id=link, opened_at=NOW - timedelta(minutes=minutes)
        )
        for minutes, (key, link) in enumerate((key, world.link(config, key)) for key in ("c", "b", "a"))
        for field in ("name", "city")
    }
    world.conflict(other, "x", opened_at=NOW - timedelta(minutes=1))
    beside = next_to(alice.text(f"/conflicts/{at['b', 'name']}?config={config}"))
    assert set(beside) == {"prev", "next"}
    assert beside["prev"] in {f"/conflicts/{at['c', field]}?config={config}" for field in ("name", "city")}
    assert beside["next"] in {f"/conflicts/{at['a', field]}?config={config}" for field in ("name", "city")}


@pytest.mark.parametrize("at_once", [50, 2])
def test_from_one_cause_one_comes_to_the_next_of_the_list(
    alice: Browser, world: World, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(issues, "GROUPS", at_once)
    plain = world.config("plain")
    means = world.config("means", definition=DEFINITION | {"impact": {"who": "customer"}})
    for code, number in (("rejected", 5), ("too_long", 4), ("missing", 3), ("no_key", 2), ("odd", 1)):
        for key in range(number):
            world.issue(plain, f"{code}-{key}", code=code)
    hit = world.link(means, "hit", agreed={"customer": "A"})
    world.issue(means, "hit", link_id=hit)
    world.issue(plain, "late-missing", code="missing", muted=True)
    listed: list[str] = []
    page = alice.text("/issues")
    while True:
        listed += re.findall(r'<h2><a href="(/issues/[^"]+)"', page)
        more = re.search(r'<a href="(/issues\?after=[^"]+)">More', page)
        if more is None:
            break
        page = alice.text(more[1])
    assert len(listed) == 6
    assert (listed[0].split("/")[2] == means) == (at_once > 2), "what means most stands first on its page"
    for number, path in enumerate(listed):
        assert (
            list(next_to(alice.text(path)).values())
            == listed[max(number - 1, 0) : number] + (listed[number + 1 : number + 2])
        )
    assert next_to(alice.text(f"/issues/{plain}/over")) == {"next": listed[0]}, "what is over leads on"


def test_a_cause_is_shown_whole_and_leads_on_with_the_filter(alice: Browser, world: World) -> None:
    one, two = world.config("one"), world.config("two")
    for config, key, code in (
        (one, "k1", "rejected"),
        (one, "k2", "rejected"),
        (two, "k1", "rejected"),
        (one, "k1", "missing"),
    ):
        world.issue(config, key, code=code)
    page = alice.text("/issues?code=rejected&q=k1")
    first, second = re.findall(r'<h2><a href="([^"]+)"', page)
    assert first.endswith("?code=rejected&q=k1")
    assert next_to(alice.text(first)) == {"next": second} and next_to(alice.text(second)) == {"prev": first}
    assert "Retry 2 records" in alice.words(f"/issues/{one}/rejected?code=rejected&q=k1")
    assert "/retries" not in page, "a retry takes the whole cause, not what a text was found in"
    assert "Retry 2 records" in alice.words("/issues") and "Plan it" in page
