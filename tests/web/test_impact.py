"""What failures mean for the business, of the columns that a sync names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sync.values import encode_fields
from tests.web.browser import Browser
from tests.web.test_queries import counted
from tests.web.world import DEFINITION, World

IMPACT = {"who": "customer", "called": "customers", "amount": "total", "above": "1000"}


def sync(world: World, name: str = "orders", **impact: Any) -> str:
    return world.config(name, definition=DEFINITION | {"impact": impact or IMPACT})


def order(world: World, config: str, key: str, customer: str, total: str, *, code: str = "rejected") -> None:
    link = world.link(config, key, agreed={"customer": customer, "total": Decimal(total)})
    world.issue(config, key, code=code, link_id=link)


def test_an_issue_says_whom_it_hits(alice: Browser, world: World) -> None:
    config = sync(world)
    for number, (customer, total) in enumerate([("A", "10"), ("A", "1000"), ("B", "1000.01"), ("C", "2500")]):
        order(world, config, f"o{number}", customer, total)
    for path in ("/issues", f"/issues/{config}/rejected"):
        assert "3 customers, 2 records with total above 1,000" in alice.words(path), path
    assert "Hits 3 customers, 2 records with total above 1,000." in alice.words("/")


def test_the_value_that_was_refused_counts_before_the_one_that_was_agreed_on(
    alice: Browser, world: World
) -> None:
    config = sync(world)
    order(world, config, "o1", "A", "10")
    run = world.run(config)
    world.change(run, "o1", state="rejected", after=encode_fields({"total": Decimal(5000)}))
    world.issue(config, "o2", code="rejected", link_id=None)
    world.change(
        run, "o2", state="rejected", operation="create", before=None,
        after=encode_fields({"customer": "B", "total": Decimal(1)}),
    )  # fmt: skip
    assert "2 customers, 1 record with total above 1,000" in alice.words("/issues")


def test_what_means_most_comes_first(alice: Browser, world: World) -> None:
    small, large = sync(world, "small"), sync(world, "large")
    for number in range(5):
        order(world, small, f"s{number}", f"S{number}", "1")
    order(world, large, "l", "L", "99999")
    issues = alice.words("/issues")
    assert issues.index("in large") < issues.index("in small"), "one large order before five small ones"
    desk = alice.words("/")
    assert desk.index("Hits 1 customer, 1 record with") < desk.index("Hits 5 customers.")


def test_a_sync_that_names_nothing_is_shown_as_before(alice: Browser, world: World) -> None:
    world.issue(world.config())
    assert "Hits" not in alice.words("/issues") + alice.words("/")


def test_values_that_nobody_knows_or_that_are_no_numbers_are_left_out(alice: Browser, world: World) -> None:
    config = sync(world)
    world.issue(config, "unknown", link_id=None)
    link = world.link(config, "odd", agreed={"customer": None, "total": "a lot"})
    world.issue(config, "odd", link_id=link)
    assert alice.get("/issues").status_code == 200
    assert "Hits" not in alice.words("/issues")


def test_the_number_of_questions_does_not_grow_with_the_records(alice: Browser, world: World) -> None:
    def ask() -> int:
        with counted(world) as asked:
            alice.text("/issues")
        return len(asked)

    order(world, sync(world), "o", "A", "5")
    before = ask()
    for name in ("x", "y", "z"):
        config = sync(world, name)
        for number in range(20):
            order(world, config, f"{name}{number}", f"{number}", "5", code=f"code_{number % 4}")
    assert ask() == before


def test_a_record_that_was_set_aside_before_it_was_planned_counts_too(alice: Browser, world: World) -> None:
    config = sync(world)
    world.link(config, "Mary@Example.com ", agreed={"customer": "A", "total": Decimal(7000)})
    world.link(config, "other@example.com", agreed={"customer": "B", "total": Decimal(7000)})
    world.issue(config, "Mary@Example.com ", code="does_not_fit", link_id=None)
    assert "1 customer, 1 record with total above 1,000" in alice.words("/issues")


def test_conflicts_say_whom_they_hit_and_which_record_means_what(alice: Browser, world: World) -> None:
    config, one = sync(world), 0
    for number, (customer, total) in enumerate([("A", "10"), ("B", "2500"), ("B", "1")]):
        link = world.link(config, f"o{number}", agreed={"customer": customer, "total": Decimal(total)})
        one = world.conflict(config, f"o{number}", link_id=link)
    world.conflict(world.config("another"), "x")
    page = alice.words("/conflicts")
    assert "orders : Hits 2 customers, 1 record with total above 1,000." in page
    assert "orders · B, 2500" in page and "another ·" not in page
    assert "B, 1" in alice.words(f"/conflicts/{one}")
    assert "Hits" not in alice.words("/conflicts?state=settled")
    assert "Hits 2 customers, 1 record with total above 1,000." in alice.words("/")


def test_held_changes_say_whom_they_hit(alice: Browser, world: World) -> None:
    config = sync(world)
    run = world.run(config)
    link = world.link(config, "gone", agreed={"customer": "A", "total": Decimal(1)})
    world.change(run, "gone", state="held", guard="mass_delete", operation="delete", after=None, link_id=link)
    world.change(
        run, "new", state="held", guard="mass_create", operation="create", before=None,
        after=encode_fields({"customer": "B", "total": Decimal(5000)}),
    )  # fmt: skip
    page = alice.words("/held")
    assert "Hits 1 customer." in page and "Hits 1 customer, 1 record with total above 1,000." in page
    assert "Hits 2 customers, 1 record with total above 1,000." in alice.words("/")


def test_a_record_that_fails_and_is_in_conflict_counts_once(alice: Browser, world: World) -> None:
    config = sync(world)
    order(world, config, "o", "A", "5000")
    world.conflict(config, "o")
    assert "Hits 1 customer, 1 record with total above 1,000." in alice.words("/")
