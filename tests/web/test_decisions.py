"""Conflicts are decided and held changes let through: exactly what was shown, once, by whoever may."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select

from models.issues import Conflict
from models.journal import Change
from models.sync_runs import SyncRun
from tests.web.browser import Browser
from tests.web.world import World


@pytest.fixture
def config(world: World) -> str:
    return world.config()


def conflict(world: World, id: int) -> Conflict:
    with world.ctx.reads() as db:
        return db.get_one(Conflict, id)


def hidden(page: str) -> dict[str, list[str]]:
    """The hidden fields of a page's forms."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page):
        if name != "csrf_token":
            found.setdefault(name, []).append(unescape(value))
    return found


def send(visitor: Browser, path: str, fields: dict[str, list[str]], **more: str):  # type: ignore[no-untyped-def]
    data = {"csrf_token": visitor.token(), **fields, **{name: [text] for name, text in more.items()}}
    return visitor.client.post(path, data=data)


# -- conflicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("take", "said"), [("left", "left stands"), ("right", "right stands")])
def test_a_side_is_taken(bob: Browser, world: World, config: str, take: str, said: str) -> None:
    id = world.conflict(config)
    page = bob.text(f"/conflicts/{id}")
    assert "right becomes Marie" in page
    assert "left becomes Maria" in page
    response = send(bob, f"/conflicts/{id}/resolution", hidden(page), **{f"take-{id}": take})
    assert (response.status_code, response.location) == (303, "/conflicts")
    row = conflict(world, id)
    assert row.resolution == {"take": take, "seen_left": {"value": "Marie"}, "seen_right": {"value": "Maria"}}
    assert row.resolved_by == "bob@example.com"
    with world.ctx.reads() as db:
        assert [run.state for run in db.scalars(select(SyncRun))] == ["queued"]
    assert "mary@example.com" not in bob.text("/conflicts").split("<main")[1].split("tabs")[1]
    assert said in bob.text("/conflicts?state=answered")
    assert f"{said.capitalize()}, by bob@example.com" in bob.text(f"/conflicts/{id}")


def test_a_value_of_ones_own_is_taken(bob: Browser, world: World, config: str) -> None:
    id = world.conflict(config, field="balance", left={"value": {"$decimal": "1.5"}}, right={"value": None})
    fields = hidden(bob.text(f"/conflicts/{id}"))
    bad = send(bob, f"/conflicts/{id}/resolution", fields, **{f"take-{id}": "value", f"value-{id}": "much"})
    assert bad.status_code == 422
    assert "'much' is not a number" in unescape(bad.text)
    send(bob, f"/conflicts/{id}/resolution", fields, **{f"take-{id}": "value", f"value-{id}": "2.50"})
    resolution = conflict(world, id).resolution
    assert resolution is not None
    assert resolution["value"] == {"value": {"$decimal": "2.50"}}


def test_each_field_of_a_record_is_decided_by_itself(bob: Browser, world: World, config: str) -> None:
    link = world.link(config)
    one, two, three = (world.conflict(config, link_id=link, field=name) for name in ("name", "phone", "city"))
    fields = hidden(bob.text(f"/conflicts/{one}"))
    send(
        bob,
        f"/conflicts/{one}/resolution",
        fields,
        **{f"take-{one}": "left", f"take-{two}": "value", f"value-{two}": "123"},
    )
    taken = [(conflict(world, id).resolution or {}).get("take") for id in (one, two, three)]
    assert taken == ["left", "value", None]
    send(bob, f"/conflicts/{three}/resolution", hidden(bob.text(f"/conflicts/{three}")), all="right")
    assert (conflict(world, three).resolution or {})["take"] == "right"
    assert (conflict(world, one).resolution or {})["take"] == "left", "what was answered stays answered"


def test_a_side_that_moved_since_is_not_overwritten(bob: Browser, world: World, config: str) -> None:
    id = world.conflict(config)
    fields = hidden(bob.text(f"/conflicts/{id}"))
    with world.write() as db:
        db.get_one(Conflict, id).left = {"value": "Mia"}
    response = send(bob, f"/conflicts/{id}/resolution", fields, **{f"take-{id}": "left"})
    assert response.status_code == 409
    assert "a side has changed since this was shown" in response.text
    assert conflict(world, id).resolution is None


def test_choosing_nothing_decides_nothing(bob: Browser, world: World, config: str) -> None:
    id = world.conflict(config)
    response = send(bob, f"/conflicts/{id}/resolution", hidden(bob.text(f"/conflicts/{id}")))
    assert response.location == f"/conflicts/{id}"
    assert conflict(world, id).resolution is None


def test_deciding_twice_says_so(bob: Browser, world: World, config: str) -> None:
    id = world.conflict(config)
    fields = hidden(bob.text(f"/conflicts/{id}"))
    send(bob, f"/conflicts/{id}/resolution", fields, **{f"take-{id}": "left"})
    again = send(bob, f"/conflicts/{id}/resolution", fields, **{f"take-{id}": "right"})
    assert again.location == f"/conflicts/{id}"
    assert (conflict(world, id).resolution or {})["take"] == "left"


def test_many_are_planned_first(bob: Browser, world: World, config: str) -> None:
    ids = [world.conflict(config, f"{name}@example.com") for name in "abc"]
    other_field = world.conflict(config, "d@example.com", field="phone")
    page = bob.text(f"/conflicts/plan?take=left&id={ids[0]}&id={ids[2]}")
    assert "Settle 2 conflicts" in page
    assert ">b@example.com" not in page
    assert "Settle 3 conflicts" in bob.text(f"/conflicts/plan?take=right&like={ids[0]}")
    assert conflict(world, ids[0]).resolution is None
    response = send(bob, "/conflicts/resolutions", hidden(page))
    assert response.status_code == 303
    taken = [(conflict(world, id).resolution or {}).get("take") for id in (*ids, other_field)]
    assert taken == ["left", None, "left", None]


def test_a_plan_that_no_longer_fits_is_refused(bob: Browser, world: World, config: str) -> None:
    ids = [world.conflict(config, f"{name}@example.com") for name in "ab"]
    fields = hidden(bob.text(f"/conflicts/plan?take=left&id={ids[0]}&id={ids[1]}"))
    with world.write() as db:
        db.get_one(Conflict, ids[1]).right = {"value": "moved"}
    response = send(bob, "/conflicts/resolutions", fields)
    assert response.status_code == 409
    assert "have changed since the plan was shown" in response.text
    assert conflict(world, ids[0]).resolution is None


def test_conflicts_of_others_cannot_be_planned_or_decided(
    bob: Browser, charlie: Browser, world: World, config: str
) -> None:
    id = world.conflict(config)
    assert "Nothing is chosen" in charlie.text(f"/conflicts/plan?take=left&id={id}")
    assert "Nothing is chosen" in charlie.text(f"/conflicts/plan?take=left&like={id}")
    fields = hidden(bob.text(f"/conflicts/plan?take=left&id={id}"))
    assert send(charlie, "/conflicts/resolutions", fields).status_code == 409
    assert conflict(world, id).resolution is None


def test_an_edit_against_a_deletion_says_what_happens(bob: Browser, world: World, config: str) -> None:
    id = world.conflict(config, field="", kind="delete", left=None, right={"value": {"name": "x"}})
    page = bob.text(f"/conflicts/{id}")
    assert "the record is deleted on right too" in page
    assert "it is made again on left" in page
    assert "Another value" not in page


def test_a_conflict_can_be_handed_to_a_developer_as_a_text(bob: Browser, world: World, config: str) -> None:
    link = world.link(config)
    run = world.run(config)
    edited: dict[str, Any] = {"left_modified_at": world.clock.now, "opened_run_id": run}
    first = world.conflict(config, link_id=link, left={"value": "<Marie>"}, right=None, **edited)
    world.conflict(config, link_id=link, field="api_token", left={"value": "abc123"})
    page = bob.text(f"/conflicts/{first}")
    text = page.partition('id="technical"')[2].partition("</textarea>")[0]
    for part in (
        config,
        "Record: mary@example.com\n",
        f"Conflict {first}: name, open, ",
        run,
        'left: {"name": "Mary"} → {"name": "<Marie>"}, edited ',
        'right: {"name": "Mary"} → not there\n',
        'left: {"api_token": "•••"} → {"api_token": "•••"}\n',
    ):
        assert part in text
    assert "abc123" not in text
    assert text.endswith(f"/conflicts/{first}")
    record = {"value": {"name": "x", "password": "abc123"}}
    gone = world.conflict(config, "gone", field="", kind="delete", left=None, right=record)
    text = bob.text(f"/conflicts/{gone}").partition('id="technical"')[2]
    assert '"password": "•••"}' in text and "abc123" not in text


# -- held changes ----------------------------------------------------------------------------------


@pytest.fixture
def held(world: World, config: str) -> list[int]:
    run = world.run(config)
    return [
        world.change(run, f"k{number}", state="held", guard="mass_delete", operation="delete", after=None)
        for number in range(4)
    ]


def states(world: World, ids: list[int]) -> list[str]:
    with world.ctx.reads() as db:
        return [db.get_one(Change, id).state for id in ids]


def test_a_whole_group_is_approved(bob: Browser, world: World, config: str, held: list[int]) -> None:
    page = bob.text("/held")
    group = re.search(r'href="(/held/plan\?[^"]+)"', page)
    assert group is not None
    plan = bob.text(group[1])
    assert "Delete 4 records on right" in plan
    assert "Approve 4 changes" in plan
    assert states(world, held) == ["held"] * 4
    assert send(bob, "/held/approvals", hidden(plan)).location == "/held"
    assert states(world, held) == ["approved"] * 4
    with world.ctx.reads() as db:
        assert {row.decided_by for row in db.scalars(select(Change))} == {"bob@example.com"}
        assert [run.asked_by for run in db.scalars(select(SyncRun).where(SyncRun.state == "queued"))] == [
            "bob@example.com"
        ]
    assert "k3" in bob.text("/held?state=approved")


def test_some_are_dismissed(bob: Browser, world: World, config: str, held: list[int]) -> None:
    plan = bob.text(f"/held/plan?id={held[0]}&id={held[1]}")
    assert "Dismiss 2 changes" in plan
    send(bob, "/held/dismissals", hidden(plan))
    assert states(world, held) == ["dismissed", "dismissed", "held", "held"]
    assert "k0" in bob.text("/held?state=dismissed")


def test_what_was_decided_meanwhile_is_not_decided_again(
    bob: Browser, world: World, config: str, held: list[int]
) -> None:
    fields = hidden(bob.text(f"/held/plan?id={held[0]}&id={held[1]}"))
    with world.write() as db:
        db.get_one(Change, held[1]).state = "withdrawn"
    response = send(bob, "/held/approvals", fields)
    assert response.status_code == 409
    assert states(world, held) == ["held", "withdrawn", "held", "held"]


def test_changes_of_others_cannot_be_approved(
    bob: Browser, charlie: Browser, world: World, config: str, held: list[int]
) -> None:
    assert "Nothing is chosen" in charlie.text(f"/held/plan?id={held[0]}")
    fields = hidden(bob.text(f"/held/plan?id={held[0]}"))
    for path in ("/held/approvals", "/held/dismissals"):
        assert send(charlie, path, fields).status_code == 409
    assert states(world, held) == ["held"] * 4
