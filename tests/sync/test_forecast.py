"""What a run will cost is said in calls and in time."""

from __future__ import annotations

import pytest

from sync.forecast import Demand, Sharer


def demand(calls: int, *shared_by: Sharer) -> Demand:
    return Demand("right", "5 calls a second per base", 5, 1.0, calls, shared_by)


@pytest.mark.parametrize(
    ("calls", "seconds"), [(0, 0), (1, 0), (5, 0), (6, 1), (10, 1), (11, 2), (1010, 201)]
)
def test_the_time_is_what_the_quota_alone_makes_of_it(calls: int, seconds: float) -> None:
    assert demand(calls).seconds == seconds


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (demand(1), "About 1 call to right, which allows 5 calls a second per base."),
        (demand(11), "About 11 calls to right, which allows 5 calls a second per base: 2 s at least."),
        (
            demand(1010, Sharer("orders", 264), Sharer("leads", 1), Sharer("old", 0.04), Sharer("people")),
            "About 1,010 calls to right, which allows 5 calls a second per base: 4 min at least."
            " It shares them with orders (about 264 calls an hour), leads (about 1 call an hour),"
            " old (less than a call an hour), people.",
        ),
    ],
)
def test_it_is_said_in_a_sentence(told: Demand, sentence: str) -> None:
    assert told.sentence == sentence
