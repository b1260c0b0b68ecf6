"""H: whose edit was the later one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.scenarios.world import Story

NEWEST = {"conflict": "newest_wins", "modified": {"left": "at", "right": "at"}}


@pytest.mark.parametrize("wrong", [10, -10])
def test_H01_the_clock_of_one_side_is_wrong(wrong: int, story: Story) -> None:
    """It is measured, the times are corrected, and people are told."""
    off = timedelta(minutes=wrong)
    story.define(**NEWEST)
    story.base("k", x="a")
    story.right.knobs.clock = lambda: story.now + off
    first, later = (story.right, story.left) if wrong > 0 else (story.left, story.right)
    first.edit(x="first", at=story.now + (off if first is story.right else timedelta(0)))
    story.wait(minutes=5)
    later.edit(x="later", at=story.now + (off if later is story.right else timedelta(0)))
    assert story.run() == ("R.x=later" if later is story.left else "L.x=later")
    assert any("the clock of" in line and "corrected" in line for line in story.lines())


def test_H01_a_clock_within_tolerance_is_not_worth_a_word(story: Story) -> None:
    story.define(**NEWEST)
    story.base("k", x="a")
    story.right.knobs.clock = lambda: story.now + timedelta(seconds=5)
    story.left.edit(x="b", at=story.now)
    assert story.run() == "R.x=b"
    assert not any("the clock of" in line for line in story.lines())


@pytest.mark.parametrize(
    ("tie", "expected"), [("left_wins", "R.x=l"), ("right_wins", "L.x=r"), ("manual", "conflict(x)")]
)
def test_H02_equal_times_go_by_the_tie_policy(tie: str, expected: str, story: Story) -> None:
    story.define(**NEWEST, tie=tie)
    story.base("k", x="a")
    story.left.edit(x="l", at=story.now)
    story.right.edit(x="r", at=story.now + timedelta(seconds=1))
    assert story.run() == expected


def test_H04_our_own_write_moved_the_time(story: Story) -> None:
    """The system stamps what we write: that makes it nobody's edit."""
    story.define(**NEWEST)
    story.base("k", x="a")
    story.left.edit(x="b", at=story.now)
    story.run(repeat=False)
    story.right.edit(at=story.now + timedelta(minutes=1))  # the stamp of our write
    story.left.edit(x="c", at=story.now)
    assert story.run() == "R.x=c"
    assert story.summary.resolved == 0


def test_H05_an_automation_moves_the_time_and_no_value(story: Story) -> None:
    story.define(**NEWEST)
    story.base("k", x="a")
    story.right.edit(at=story.now + timedelta(hours=1))
    assert story.run() == "nothing"
    story.left.edit(x="b", at=story.now)
    assert story.run() == "R.x=b"


def test_H07_the_time_of_a_record_counts_for_each_of_its_fields(story: Story) -> None:
    story.define(**NEWEST)
    story.base("k", x="a", y="a")
    story.left.edit(x="l", at=story.now)
    story.wait(minutes=5)
    story.right.edit(x="r", y="r", at=story.now)
    story.wait(minutes=5)
    story.left.edit(y="l", at=story.now)
    assert story.run() == "R.x=l R.y=l"


def test_H08_each_record_has_its_own_winner(story: Story) -> None:
    story.define(**NEWEST)
    story.base("one", "two", x="a")
    for key, order in (("one", (story.left, story.right)), ("two", (story.right, story.left))):
        for teller in order:
            story.wait(minutes=5)
            teller.edit(key, x=teller.told, at=story.now)
    assert story.run() == "L.one.x=right R.two.x=left"
