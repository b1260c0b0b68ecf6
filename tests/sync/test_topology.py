"""Edits that come back to where they were made."""

from __future__ import annotations

import pytest

from sync.policy import Direction
from sync.topology import Way, circle

BOTH, RIGHT, LEFT = Direction.BOTH, Direction.LEFT_TO_RIGHT, Direction.RIGHT_TO_LEFT


@pytest.mark.parametrize(
    ("ways", "found"),
    [
        ([Way("ab", "a", "b")], ()),
        ([Way("ab", "a", "b"), Way("bc", "b", "c")], ()),
        ([Way("ab", "a", "b"), Way("bc", "b", "c"), Way("ca", "c", "a")], ("ab", "bc", "ca")),
        (
            [Way("ab", "a", "b", RIGHT), Way("bc", "b", "c", RIGHT), Way("ca", "c", "a", RIGHT)],
            ("ab", "bc", "ca"),
        ),
        ([Way("ab", "a", "b", RIGHT), Way("bc", "b", "c", RIGHT), Way("ca", "c", "a", LEFT)], ()),
        ([Way("ab", "a", "b"), Way("again", "b", "a")], ("ab", "again")),
        ([Way("ab", "a", "b", RIGHT), Way("again", "a", "b", RIGHT)], ()),
        ([Way("ab", "a", "a")], ()),
    ],
)
def test_circles_are_found(ways: list[Way], found: tuple[str, ...]) -> None:
    assert tuple(circle(ways, "ab")) == found


def test_a_circle_elsewhere_is_no_circle_of_this_sync() -> None:
    ways = [Way("x", "p", "a"), Way("ab", "a", "b"), Way("bc", "b", "c"), Way("ca", "c", "a")]
    assert circle(ways, "x") == ()
