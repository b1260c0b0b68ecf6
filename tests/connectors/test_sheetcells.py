"""Values in the cells of a sheet: what goes in comes out, or is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.base import holds
from connectors.sheetcells import EMPTY, Cell, Put, Unfit, body, from_serial, put, read_cell, to_serial
from simulators.google_sheets_cells import as_double, as_json
from sync.values import Value

ZONES = [ZoneInfo(name) for name in ("Etc/GMT", "Europe/Paris", "America/New_York", "Asia/Kathmandu")]

texts = st.text(max_size=60)
numbers = st.integers(-(10**20), 10**20) | st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(datetime(1890, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
values = st.none() | st.booleans() | texts | numbers | st.dates() | moments


def as_a_sheet_keeps_it(what: Put) -> dict[str, Any]:
    """The cell as the API shows it afterwards: numbers have become doubles."""
    if what.entered is None:
        return {}
    sent = json.loads(body(what.entered))
    if "numberValue" in sent:
        shown = json.dumps(as_json(as_double(sent["numberValue"])))
        sent = {"numberValue": json.loads(shown, parse_float=Decimal)}
    found: dict[str, Any] = {"userEnteredValue": sent, "effectiveValue": sent}
    if what.format:
        found["effectiveFormat"] = {"numberFormat": {"type": what.format}}
    return found


@given(values, st.sampled_from(ZONES))
@example(Decimal("0.1"), ZONES[0])
@example(Decimal("123456789.123456"), ZONES[0])
@example(datetime(2026, 10, 25, 1, 30, tzinfo=UTC), ZONES[1])
@example(datetime(2026, 3, 29, 1, 0, tzinfo=UTC), ZONES[1])
@example(date(1900, 1, 1), ZONES[2])
@example(date(1, 1, 1), ZONES[2])
def test_a_value_comes_back_as_it_was_or_is_refused(value: Value, zone: ZoneInfo) -> None:
    try:
        what = put(value, zone)
    except Unfit as unfit:
        assert unfit.code in ("not_exact", "too_long", "not_text")
        return
    back = read_cell(as_a_sheet_keeps_it(what), zone)
    assert not back.computed
    assert holds(back.value, value, blank_is_null=True)


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-12, 12))
def test_fifteen_digits_always_fit(digits: int, places: int) -> None:
    number = Decimal(digits).scaleb(-places)
    assert read_cell(as_a_sheet_keeps_it(put(number, ZONES[0])), ZONES[0]).value == number


@given(st.integers(10**15, 10**18).filter(lambda number: number % 10 != 0))
def test_sixteen_do_not(number: int) -> None:
    with pytest.raises(Unfit, match="15 digits"):
        put(number, ZONES[0])


@given(moments, st.sampled_from(ZONES))
def test_a_serial_means_one_moment(moment: datetime, zone: ZoneInfo) -> None:
    serial = to_serial(moment, zone)
    if serial is not None:
        assert from_serial(serial, "DATE_TIME", zone) == moment


@pytest.mark.parametrize(
    ("day", "serial"), [(date(2020, 1, 1), 43831), (date(1999, 1, 2), 36162), (date(1900, 1, 1), 2)]
)
def test_days_are_counted_as_sheets_count_them(day: date, serial: int) -> None:
    assert put(day, ZONES[0]) == Put({"numberValue": serial}, "DATE")
    assert from_serial(serial, "DATE", ZONES[0]) == day


def test_a_date_with_a_time_hidden_by_its_format_is_a_time() -> None:
    half = from_serial(Decimal("43831.5"), "DATE", ZONES[1])
    assert half == datetime(2020, 1, 1, 12, tzinfo=ZONES[1])


def test_a_midnight_stays_its_own_day() -> None:
    found = from_serial(43831, "DATE_TIME", ZONES[2])
    assert holds(found, date(2020, 1, 1))
    assert holds(found, datetime(2020, 1, 1, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    ("data", "cell"),
    [
        ({}, EMPTY),
        ({"userEnteredValue": {}, "effectiveValue": {}}, EMPTY),
        ({"effectiveValue": {"numberValue": 4}}, Cell(4, computed=True)),
        (
            {"userEnteredValue": {"formulaValue": "=1"}, "effectiveValue": {"numberValue": 1}},
            Cell(1, computed=True, entered={"formulaValue": "=1"}),
        ),
        (
            {"userEnteredValue": {"formulaValue": '=""'}, "effectiveValue": {"stringValue": ""}},
            Cell(None, computed=True, entered={"formulaValue": '=""'}),
        ),
    ],
)
def test_cells_are_told_apart(data: dict[str, Any], cell: Cell) -> None:
    assert read_cell(data, ZONES[0]) == cell


def test_a_number_far_beyond_any_calendar_stays_a_number() -> None:
    assert from_serial(10**12, "DATE", ZONES[0]) == 10**12


def test_no_number_goes_through_a_float() -> None:
    assert b"0.10000000000000000001" in body({"numberValue": Decimal("0.10000000000000000001")})


def test_a_later_day_is_a_larger_number() -> None:
    first = to_serial(datetime(2026, 1, 1, tzinfo=UTC), ZONES[0])
    later = to_serial(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1), ZONES[0])
    assert first is not None
    assert later is not None
    assert later > first
