"""What connectors keep from one run to the next."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from connectors.kept import Kept


@dataclass
class Thing:
    disposed: int = 0

    def dispose(self) -> None:
        self.disposed += 1


@dataclass
class Clock:
    now: float = 0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Kept[Thing]:
    return Kept(most=2, seconds=60, clock=clock)


def test_who_asks_for_the_same_next_gets_the_same(kept: Kept[Thing]) -> None:
    one = kept.take("a", Thing)
    kept.give_back("a")
    assert kept.take("a", Thing) is one
    assert kept.take("b", Thing) is not one


def test_it_is_closed_by_the_last_of_those_who_use_it(kept: Kept[Thing]) -> None:
    one = kept.take("a", Thing)
    kept.take("a", Thing)
    kept.give_back("a")
    assert one.disposed == 0
    kept.give_back("a")
    assert one.disposed == 1


def test_what_is_old_is_made_anew_but_not_while_somebody_uses_it(kept: Kept[Thing], clock: Clock) -> None:
    one = kept.take("a", Thing)
    clock.now = 61
    assert kept.take("a", Thing) is one
    kept.give_back("a")
    kept.give_back("a")
    assert kept.take("a", Thing) is not one


def test_of_many_those_taken_last_are_kept_and_none_that_is_in_use_is_forgotten(kept: Kept[Thing]) -> None:
    things = {key: kept.take(key, Thing) for key in "abcd"}
    for key in "bcd":
        kept.give_back(key)
    assert [key for key in "ad" if kept.take(key, Thing) is things[key]] == ["a", "d"]
    assert kept.take("b", Thing) is not things["b"]
    assert things["b"].disposed == 1


def test_what_could_not_be_made_is_made_by_the_next_who_asks(kept: Kept[Thing]) -> None:
    def fail() -> Thing:
        raise ValueError

    with pytest.raises(ValueError):
        kept.take("a", fail)
    assert kept.take("a", Thing).disposed == 0
