"""P: several syncs over shared streams, one direction, pauses, first contact."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.world import Place, Story

THIRD = Place("third", "people")


def chain(story: Story) -> Story:
    """The story's right is the left of a second sync, which leads on to a third system."""
    more = story.beside(places={"left": story.right.place, "right": THIRD})
    more.define()
    return more


def test_P01_an_edit_goes_down_a_chain_and_does_not_come_back(story: Story) -> None:
    story.base("k", x="a")
    onward = chain(story)
    onward.run()
    assert onward.right.get("x") == "a"
    story.left.edit(x="b")
    assert story.run() == "R.x=b"
    assert onward.run() == "R.x=b"
    assert story.run() == "nothing"
    onward.right.edit(x="c")
    assert onward.run() == "L.x=c"
    assert story.run() == "L.x=c"
    assert onward.run() == "nothing"


def test_P02_a_triangle_settles_with_one_write_per_hop(story: Story) -> None:
    story.define(conflict="left_wins")
    story.base("k", x="a")
    onward = chain(story)
    back = story.beside(places={"left": THIRD, "right": story.left.place})
    syncs = (story, onward, back)
    onward.define(conflict="left_wins")
    back.define(conflict="left_wins")
    for sync in syncs:
        sync.quiet = False
        sync.run(repeat=False, preview=False)
    systems = {sync.left.system for sync in syncs}

    def written() -> int:
        return sum(len(system.log) for system in systems)

    before = written()
    story.left.edit(x="b")
    for _ in range(3):
        for sync in syncs:
            sync.run(repeat=False, preview=False)
    assert {sync.left.get("x") for sync in syncs} == {"b"}
    assert written() - before == 2
    # Two edits at once: it settles all the same.
    before = written()
    story.left.edit(x="c")
    onward.right.edit(x="d")
    for _ in range(4):
        for sync in syncs:
            sync.run(repeat=False, preview=False)
    assert len({sync.left.get("x") for sync in syncs}) == 1
    assert written() - before <= 6
    assert all(sync.run(repeat=False, preview=False) == "nothing" for sync in syncs)


@pytest.mark.parametrize(
    ("drift", "expected"),
    [("overwrite", "R.x=a"), ("ignore", "nothing"), ("flag", "issue(drift)")],
)
def test_P04_one_way_and_somebody_edits_the_destination(drift: str, expected: str, story: Story) -> None:
    story.define(direction="left_to_right", drift=drift)
    story.base("k", x="a")
    story.right.edit(x="mine")
    assert story.run() == expected
    if drift == "overwrite":
        assert [row.before for row in story.journal()] == [{"x": "mine"}]
    story.left.edit(x="b")
    outcome = story.run()
    assert story.right.get("x") == ("mine" if drift == "flag" else "b")
    assert ("issue(drift)" in outcome) is (drift == "flag")


@pytest.mark.parametrize("exclusive", [False, True])
def test_P05_records_that_only_the_destination_has(exclusive: bool, story: Story) -> None:
    story.define(direction="left_to_right", exclusive=exclusive)
    story.base("k", x="a")
    story.right.put("foreign", x="own")
    assert story.run() == ("R-foreign" if exclusive else "nothing")
    assert story.right.has("foreign") is not exclusive


@pytest.mark.parametrize(("direction", "left"), [("bidirectional", "b"), ("left_to_right", "a")])
def test_P07_a_side_that_cannot_be_written(direction: str, left: str, story: Story) -> None:
    """Its edits flow away from it, or are ignored; nothing is tried for ever."""
    fields: list[dict[str, Any]] = [
        {"left": "k", "right": "k"},
        {"left": "x", "right": "x", "direction": "right_to_left"},
    ]
    if direction == "left_to_right":
        fields[1]["direction"] = "left_to_right"
    story.define(direction=direction, fields=fields, drift="ignore")
    story.base("k", x="a")
    story.right.edit(x="b")
    story.run()
    assert story.left.get("x") == left
    story.left.edit(x="c")
    if direction == "bidirectional":
        assert story.run() == "nothing"
        assert story.right.get("x") == "b"


def test_P08_after_three_days_of_pause_both_sides_were_edited(story: Story) -> None:
    story.define(deletes="propagate")
    story.base(*(f"k{number}" for number in range(8)), x="a")
    story.wait(days=3)
    story.left.edit("k0", x="b")
    story.right.edit("k1", x="c")
    story.left.edit("k2", x="l")
    story.right.edit("k2", x="r")
    story.left.remove(*(f"k{number}" for number in range(3, 8)))
    story.left.remove("b1")
    planned = story.preview()
    assert (planned.conflicts, planned.held) == (1, 6)
    outcome = story.run()
    assert "R.k0.x=b" in outcome
    assert "L.k1.x=c" in outcome
    assert "conflict(k2.x)" in outcome
    assert outcome.count("held(R-") == 6


@pytest.mark.parametrize("first_run", ["hold", "apply"])
def test_P10_both_sides_are_full_and_most_keys_match(first_run: str, story: Story) -> None:
    story.define(first_run=first_run)
    for number in range(10):
        story.left.put(f"k{number}", x="a")
        if number < 8:
            story.right.put(f"k{number}", x="a" if number < 7 else "other")
    story.right.put("only", x="r")
    planned = story.preview()
    assert planned.conflicts == 1
    assert len(planned.changes or ()) == 3
    outcome = story.run()
    if first_run == "hold":
        assert not story.left.system.log and not story.right.system.log
        assert outcome.count("held(") == 3
        story.approve()
        outcome = story.run()
    assert "R+k8" in outcome and "R+k9" in outcome and "L+only" in outcome
    assert "conflict(k7.x)" in outcome
