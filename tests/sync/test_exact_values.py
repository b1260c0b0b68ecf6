"""Canonical values are exact: what is stored comes back the same, and equal means equal."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.db import from_json, to_json
from sync.values import (
    MISSING,
    FieldType,
    ValueProblem,
    comparable,
    decode,
    decode_fields,
    display,
    encode,
    encode_fields,
    json_text,
    parse,
)

texts = st.text()
integers = st.integers()
decimals = st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC))
zoned = st.builds(
    lambda moment, minutes: moment.astimezone(timezone(timedelta(minutes=minutes))),
    st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1 < moment.year < 9999),
    st.integers(-14 * 60, 14 * 60),
)
scalars = st.none() | st.booleans() | integers | decimals | texts
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts | st.sampled_from(["$int", "$json"]), inner, max_size=4)
    ),
    max_leaves=12,
)
CANONICAL: dict[FieldType, st.SearchStrategy[Any]] = {
    FieldType.TEXT: texts,
    FieldType.INTEGER: integers,
    FieldType.DECIMAL: decimals,
    FieldType.BOOLEAN: st.booleans(),
    FieldType.DATE: st.dates(),
    FieldType.DATETIME: moments,
    FieldType.JSON: documents.filter(lambda value: not isinstance(value, str)),
    FieldType.LIST: st.lists(scalars, max_size=5).map(tuple),
    FieldType.LINKS: st.lists(texts, max_size=5).map(tuple),
    FieldType.ATTACHMENTS: st.lists(
        st.fixed_dictionaries({"id": texts, "name": texts, "size": st.none() | integers}), max_size=3
    ).map(tuple),
}
each_type = pytest.mark.parametrize("kind", list(FieldType))


def is_same(one: Any, two: Any) -> bool:
    """Equal in value and in kind, all the way down: 1, True and Decimal(1) are three things."""
    if isinstance(one, Decimal):
        return isinstance(two, Decimal) and one.as_tuple() == two.as_tuple()
    if isinstance(one, dict):
        return (
            isinstance(two, dict) and one.keys() == two.keys() and all(is_same(one[k], two[k]) for k in one)
        )
    if isinstance(one, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(is_same, one, two))
    return type(one) is type(two) and one == two


def test_every_type_is_tried() -> None:
    assert set(CANONICAL) == set(FieldType)


@each_type
@given(data=st.data())
def test_what_is_stored_comes_back_exactly(kind: FieldType, data: st.DataObject) -> None:
    value = data.draw(CANONICAL[kind])
    stored = encode(value)
    assert is_same(decode(json.loads(json.dumps(stored))), value)
    assert is_same(decode(from_json(to_json(stored))), value)  # as our own database has it


@each_type
@given(data=st.data())
def test_a_canonical_value_is_its_own_canonical_value(kind: FieldType, data: st.DataObject) -> None:
    value = data.draw(CANONICAL[kind])
    assert is_same(parse(value, kind), value)


@each_type
@given(data=st.data())
def test_equality_does_not_depend_on_having_been_stored(kind: FieldType, data: st.DataObject) -> None:
    one, two = data.draw(CANONICAL[kind]), data.draw(CANONICAL[kind])
    through = decode(encode(one))
    assert comparable(through, kind) == comparable(one, kind)
    assert (comparable(one, kind) == comparable(two, kind)) is (
        comparable(through, kind) == comparable(decode(encode(two)), kind)
    )


@given(fields=st.dictionaries(texts, documents, max_size=4), missing=texts)
def test_a_field_that_was_not_returned_stays_missing(fields: dict[str, Any], missing: str) -> None:
    stored = json.loads(json.dumps(encode_fields({**fields, missing: MISSING})))
    kept = {name: value for name, value in fields.items() if name != missing}
    assert is_same(decode_fields(stored), kept)


@given(number=integers)
def test_whole_numbers_survive_as_texts_and_decimals(number: int) -> None:
    assert parse(display(number), FieldType.INTEGER) == number
    assert is_same(parse(parse(number, FieldType.DECIMAL), FieldType.INTEGER), number)


@given(number=decimals)
def test_decimals_survive_as_texts(number: Decimal) -> None:
    assert parse(display(number), FieldType.DECIMAL) == number


@given(number=decimals)
def test_a_decimal_is_a_whole_number_only_where_it_is_one(number: Decimal) -> None:
    if number == number.to_integral_value():
        assert parse(number, FieldType.INTEGER) == number
    else:
        with pytest.raises(ValueProblem):
            parse(number, FieldType.INTEGER)


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_as_what_it_shows(number: float) -> None:
    assert float(parse(number, FieldType.DECIMAL)) == number
    assert parse(repr(number), FieldType.DECIMAL) == parse(number, FieldType.DECIMAL)


@given(moment=zoned)
def test_a_moment_is_the_same_moment_in_every_zone(moment: datetime) -> None:
    found = parse(moment, FieldType.DATETIME)
    assert found == moment and found.tzinfo is UTC
    assert parse(moment.isoformat(), FieldType.DATETIME) == found
    assert parse(display(found), FieldType.DATETIME) == found


@given(day=st.dates(date(2, 1, 1)), minutes=st.integers(-14 * 60, 14 * 60))
def test_a_day_is_the_same_day_in_every_zone(day: date, minutes: int) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse(midnight, FieldType.DATE) == day
    assert parse(midnight.isoformat(), FieldType.DATE) == day
    assert parse(display(day), FieldType.DATE) == day


@given(truth=st.booleans())
def test_a_truth_value_survives_as_a_text(truth: bool) -> None:
    assert parse(display(truth), FieldType.BOOLEAN) is truth


@given(items=st.lists(scalars, max_size=6), chance=st.randoms(use_true_random=False))
def test_the_order_of_a_list_counts_only_where_it_was_said(items: list[Any], chance: Any) -> None:
    shuffled = list(items)
    chance.shuffle(shuffled)
    one, two = tuple(items), tuple(shuffled)
    assert comparable(one, FieldType.LIST) == comparable(two, FieldType.LIST)
    in_order = comparable(one, FieldType.LIST, ordered=True) == comparable(two, FieldType.LIST, ordered=True)
    alone = [[comparable((item,), FieldType.LIST) for item in items] for items in (one, two)]
    assert in_order is (alone[0] == alone[1])


@pytest.mark.parametrize("raw", ["1e1000000000", "-1e-1000000000", Decimal("1e1000000000")])
@pytest.mark.parametrize("kind", [FieldType.DECIMAL, FieldType.INTEGER])
def test_a_number_too_far_from_the_point_to_be_written_out_is_refused(raw: Any, kind: FieldType) -> None:
    with pytest.raises(ValueProblem, match=r"has an exponent beyond 131072: no system holds such a number"):
        parse(raw, kind)


def test_such_a_number_is_no_text_either() -> None:
    with pytest.raises(ValueProblem, match="has an exponent"):
        parse(Decimal("1e1000000000"), FieldType.TEXT)


@pytest.mark.parametrize("raw", ["1e131072", "1e-131072"])
def test_the_largest_numbers_that_databases_hold_are_kept(raw: str) -> None:
    assert parse(raw, FieldType.DECIMAL) == Decimal(raw)


LONG = 10**4_300


@pytest.mark.parametrize(
    "raw",
    ["9" * 5_000, f"-{'9' * 5_000}", LONG, -LONG, Decimal("1e5000"), "1e5000"],
    ids=["text", "negative text", "number", "negative number", "decimal", "exponent"],
)
def test_a_whole_number_too_long_to_be_written_out_is_refused(raw: Any) -> None:
    with pytest.raises(ValueProblem, match="more than 4300 digits"):
        parse(raw, FieldType.INTEGER)


def test_the_longest_whole_number_is_kept() -> None:
    for number in (LONG - 1, 1 - LONG):
        assert parse(str(number), FieldType.INTEGER) == parse(number, FieldType.INTEGER) == number
        assert decode(encode(number)) == number
        assert parse(number, FieldType.TEXT) == str(number)


def test_such_a_whole_number_is_no_text_either() -> None:
    with pytest.raises(ValueProblem, match="more than 4300 digits"):
        parse(LONG, FieldType.TEXT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1e1000000000}', "has an exponent"),
        ("[-1e-1000000000]", "has an exponent"),
        (f"[{'9' * 5_000}]", "more than 4300 digits"),
    ],
    ids=["far", "near zero", "long"],
)
def test_json_with_such_a_number_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ValueProblem, match=why):
        parse(text, FieldType.JSON)


@pytest.mark.parametrize(
    ("one", "two"),
    [("1e1000000000", "10e999999999"), ("1e5000", "10e4999"), ("1e-1000000000", "10e-1000000001")],
)
def test_within_json_that_a_system_gave_such_a_number_equals_itself_alone(one: str, two: str) -> None:
    far, same, other = ({"a": Decimal(text)} for text in (one, two, f"2{one[1:]}"))
    assert comparable(far, FieldType.JSON) == comparable(same, FieldType.JSON)
    assert comparable(far, FieldType.JSON) != comparable(other, FieldType.JSON)
    assert decode(encode(far)) == far
    assert len(json_text(far)) < 10_000
