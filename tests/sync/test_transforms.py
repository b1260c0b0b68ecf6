"""A transform that claims to have an inverse has one; what has none says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.transforms import NAMES, transform_of
from sync.values import ValueProblem

words = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8)
ITEMS = st.lists(words, max_size=5).map(tuple)
JOINED = ITEMS.map(", ".join)
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9)
SECONDS = st.integers(-(10**6), 10**6)


def clock(seconds: int) -> str:
    """A duration as a person writes it."""
    sign, left = "-" if seconds < 0 else "", abs(seconds)
    text = f"{sign}{left // 3600}:{left // 60 % 60:02}"
    return f"{text}:{left % 60:02}" if left % 60 else text


# What each reversible transform is given, in the one form that its own inverse makes.
REVERSIBLE: Mapping[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "map": ({"map": {"lead": "Lead", "won": "Won", "1": "One"}}, st.sampled_from(["lead", "won", "1"])),
    "date": ({"date": "%d.%m.%Y"}, st.dates(date(1000, 1, 1))),
    "number": ({"number": {"decimal": ",", "thousands": "."}}, NUMBERS),
    "percent": ("percent", NUMBERS),
    "split": ({"split": ","}, JOINED),
    "join": ({"join": ";"}, ITEMS),
    "duration": ({"duration": "seconds"}, SECONDS.map(clock)),
}
ONE_WAY = ("trim", "lower", "upper", "phone")


def test_every_transform_is_tried() -> None:
    assert {*REVERSIBLE, *ONE_WAY} == set(NAMES)


@pytest.mark.parametrize("name", REVERSIBLE)
@given(data=st.data())
def test_there_and_back_is_where_it_began(name: str, data: st.DataObject) -> None:
    spec, values = REVERSIBLE[name]
    transform = transform_of(spec)
    value = data.draw(values)
    there = transform.forward(value)
    assert transform.backward(there) == value or (not value and transform.backward(there) in (None, "", ()))
    assert transform.turned().backward(value) == there


@pytest.mark.parametrize("name", ONE_WAY)
@given(text=st.text())
def test_what_loses_something_cannot_be_undone_and_does_it_once(name: str, text: str) -> None:
    transform = transform_of(name)
    once = transform.forward(text)
    assert transform.forward(once) == once
    with pytest.raises(ValueProblem):
        transform.backward(once)


@given(pairs=st.dictionaries(words, words, min_size=1, max_size=6))
def test_a_map_goes_back_only_where_no_two_entries_meet(pairs: dict[str, str]) -> None:
    transform = transform_of({"map": pairs})
    is_reversible = len(set(pairs.values())) == len(pairs)
    assert (transform.inverse is not None) is is_reversible
    for key, value in pairs.items():
        assert transform.forward(key) == value
        if is_reversible:
            assert transform.backward(value) == key


@pytest.mark.parametrize("name", NAMES)
def test_null_is_null_on_both_sides(name: str) -> None:
    transform = transform_of(REVERSIBLE[name][0] if name in REVERSIBLE else name)
    assert transform.forward(None) is None
    if transform.inverse is not None:
        assert transform.backward(None) is None


@given(number=NUMBERS)
def test_numbers_are_written_with_their_signs_and_nothing_is_rounded(number: Decimal) -> None:
    written = transform_of({"number": {"decimal": ",", "thousands": "."}}).forward(number)
    assert re.fullmatch(r"-?\d{1,3}(\.\d{3})*(,\d+)?", written)
    assert Decimal(written.replace(".", "").replace(",", ".")) == number
