"""What a run recalls of its links before it reads anything."""

from __future__ import annotations

import pytest

from connectors.base import Chosen, Total
from models.links import Link
from sync.records import SIDES
from tasks import ledger
from tests.tasks.world import World

LARGE = 2**62  # four of them are no number of 64 bits


def linked(world: World, config: str, left: list[str | None], right: list[str | None]) -> None:
    with world.ctx.sessions.begin() as db:
        for number, (one, two) in enumerate(zip(left, right, strict=True)):
            id = str(number)
            db.add(
                Link(
                    config_id=config,
                    state="linked",
                    left_id=id,
                    right_id=id,
                    left_version=one,
                    right_version=two,
                )
            )


def test_versions_add_up_whatever_their_size_and_those_of_others_do_not_count(world: World) -> None:
    config = world.config()
    linked(world, config, [str(LARGE)] * 4, ["-1", "-2", "3", "9"])
    linked(world, world.config(), ["5"], ["5"])
    with world.ctx.reads() as db:
        adding = SIDES if ledger.can_add_versions(db) else ()
        index, totals = ledger.load_index(db, config, adding=adding)
    assert index.on_side == {"left": 4, "right": 4}
    assert totals == ({"left": Total(4, 4 * LARGE), "right": Total(4, 9)} if adding else {})


@pytest.mark.parametrize("other", [None, 'W/"5"'])
def test_where_a_version_is_unknown_or_no_number_nothing_adds_up(world: World, other: str | None) -> None:
    config = world.config()
    linked(world, config, ["1", "2"], ["1", other])
    with world.ctx.reads() as db:
        adding = SIDES if ledger.can_add_versions(db) else ()
        index, totals = ledger.load_index(db, config, adding=adding)
        # The session is as good as before, and the counts are there.
        assert ledger.load_versions(db, config, "right") == {"0": "1", "1": other}
    assert "right" not in totals
    assert (index.linked, index.on_side) == (2, {"left": 2, "right": 2})


def test_a_part_of_which_a_version_is_unknown_adds_up_to_nothing(world: World) -> None:
    config = world.config()
    linked(world, config, [str(LARGE), "7", None, "9"], ["1", "2", "3", 'W/"5"'])
    with world.ctx.reads() as db:
        if not ledger.can_add_versions(db):
            pytest.skip("only PostgreSQL adds versions up")
        whole = ledger.load_parts(db, config, "left", 1)
        parts = ledger.load_parts(db, config, "left", 16)
        of_no_numbers = ledger.load_parts(db, config, "right", 16)
        found = [ledger.load_versions(db, config, "left", Chosen(16, [part])) for part in parts]
    assert whole == {0: Total(4, None)}
    assert of_no_numbers == {}
    assert sorted(id for part in found for id in part) == ["0", "1", "2", "3"]
    for part, versions in zip(parts.values(), found, strict=True):
        known = [int(version) for version in versions.values() if version is not None]
        assert part == Total(len(versions), sum(known) if len(known) == len(versions) else None)
