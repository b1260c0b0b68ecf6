from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync.backoff import FIRST_SECONDS, LONGEST_SECONDS, back_off


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_nothing_and_never_longer_than_the_longest(attempt: int, chance: float) -> None:
    assert 0 < back_off(attempt, chance) <= LONGEST_SECONDS


@given(st.integers(1, 40), st.floats(0.1, 1, exclude_max=True))
def test_each_attempt_waits_at_least_as_long_for_the_same_chance(attempt: int, chance: float) -> None:
    assert back_off(attempt, chance) <= back_off(attempt + 1, chance)


def test_what_failed_together_is_spread_over_the_whole_interval() -> None:
    assert back_off(3, 0.0) < 2
    assert back_off(3, 0.999) > 0.99 * 4 * FIRST_SECONDS
