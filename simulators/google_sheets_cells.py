"""Cells of the simulated Sheets: typed values, what typing into one means, how one shows, and A1 notation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001
DIGITS = 15
MOST_CHARACTERS = 50_000
ERRORS = {
    "#NULL!": "NULL_VALUE",
    "#DIV/0!": "DIVIDE_BY_ZERO",
    "#VALUE!": "VALUE",
    "#REF!": "REF",
    "#NAME?": "NAME",
    "#NUM!": "NUM",
    "#N/A": "N_A",
    "#ERROR!": "ERROR",
}


@dataclass(frozen=True, slots=True)
class Error:
    """What a formula comes to where it cannot be worked out."""

    text: str


Plain = str | float | bool | Error | None


@dataclass(slots=True)
class Cell:
    """A literal or a formula, with a number format: {"type": "DATE", "pattern": ...}."""

    value: str | float | bool | None = None
    formula: str | None = None
    format: dict[str, str] | None = None

    @property
    def holds_something(self) -> bool:
        return self.value is not None or self.formula is not None

    def copy(self) -> Cell:
        return Cell(self.value, self.formula, dict(self.format) if self.format else None)


def as_double(number: int | float) -> float:
    """A number as a sheet keeps it."""
    return float(f"{float(number):.{DIGITS}g}")


def as_json(value: Plain) -> Any:
    """A value as JSON shows it: a whole double is written without a point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e18:
        return int(value)
    return value.text if isinstance(value, Error) else value


def extended(value: Plain) -> dict[str, Any]:
    """A value as an ExtendedValue; an empty object for none."""
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case str():
            return {"stringValue": value}
        case Error():
            return {"errorValue": {"type": ERRORS[value.text], "message": f"This is {value.text}."}}
        case _:
            return {"numberValue": as_json(value)}


# -- typing into a cell -------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][+-]?\d+)?")
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d\d)(?::(\d\d))?)?")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})(?:/(\d{4}|\d\d))?(?: (\d{1,2}):(\d\d)(?::(\d\d))?)?")


def typed(text: str, now: datetime) -> Cell:
    """What a person's typing, or USER_ENTERED, makes of a text; in the locale en_US."""
    if text == "":
        return Cell()
    if text.startswith("="):
        return Cell(formula=text)
    if text.startswith("'"):
        return Cell(text[1:])
    bare = text.strip()
    if bare.upper() in ("TRUE", "FALSE"):
        return Cell(bare.upper() == "TRUE")
    if (found := _number(bare)) is not None:
        return found
    return _date(bare, now) or Cell(text)


def _number(text: str) -> Cell | None:
    format: dict[str, str] | None = None
    sign, bare = 1.0, text
    if bare.endswith("%"):
        bare, format = bare[:-1], {"type": "PERCENT", "pattern": "0.00%" if "." in text else "0%"}
    elif bare.lstrip("+-").startswith("$"):
        bare, format = bare.replace("$", "", 1), {"type": "CURRENCY", "pattern": '"$"#,##0.00'}
    if not any(sign_.isdigit() for sign_ in bare) or not _NUMBER.fullmatch(bare):
        return None
    if "," in bare and format is None:
        format = {"type": "NUMBER", "pattern": "#,##0.00" if "." in bare else "#,##0"}
    if "e" in bare.lower():
        format = {"type": "SCIENTIFIC", "pattern": "0.00E+00"}
    number = sign * float(bare.replace(",", ""))
    return Cell(as_double(number / 100 if format and format["type"] == "PERCENT" else number), format=format)


def _date(text: str, now: datetime) -> Cell | None:
    if found := _ISO.fullmatch(text):
        year, month, day, *time = found.groups()
    elif found := _SLASHED.fullmatch(text):
        month, day, year, *time = found.groups()
        year = str(now.year) if year is None else ("20" + year if len(year) == 2 else year)
    else:
        return None
    try:
        hour, minute, second = (int(part or 0) for part in time)
        moment = datetime(int(year), int(month), int(day), hour, minute, second)  # noqa: DTZ001
    except ValueError:
        return None
    serial = as_double((moment - EPOCH) / timedelta(days=1))
    if time[0] is None:
        return Cell(serial, format={"type": "DATE", "pattern": "yyyy-mm-dd"})
    return Cell(serial, format={"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"})


def raw(value: Any) -> Cell:
    """What RAW makes of a JSON value."""
    if isinstance(value, bool) or value is None:
        return Cell(value)
    if isinstance(value, int | float):
        return Cell(as_double(value))
    return Cell(str(value)) if value != "" else Cell()


# -- how a cell shows ---------------------------------------------------------------------------------


def shown(value: Plain, format: dict[str, str] | None) -> str:
    """The text in the cell, in the locale en_US."""
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return value
        case Error():
            return value.text
    kind, pattern = (format or {}).get("type", ""), (format or {}).get("pattern", "")
    if kind in ("DATE", "DATE_TIME", "TIME"):
        try:
            return _moment(value, kind)
        except OverflowError:
            return str(as_json(value))
    if kind == "PERCENT":
        return f"{value * 100:.{2 if '.' in pattern else 0}f}%"
    if kind == "CURRENCY":
        return f"{'-' if value < 0 else ''}${abs(value):,.2f}"
    if kind == "NUMBER" and pattern:
        return f"{value:,.{2 if '.' in pattern else 0}f}"
    if kind == "SCIENTIFIC":
        return f"{value:.2E}"
    number = as_json(value)
    return str(number) if isinstance(number, int) else f"{value:.10g}"


def _moment(serial: float, kind: str) -> str:
    moment = EPOCH + timedelta(milliseconds=round(serial * 86_400_000))
    pattern = {"DATE": "%Y-%m-%d", "DATE_TIME": "%Y-%m-%d %H:%M:%S", "TIME": "%H:%M:%S"}[kind]
    return moment.strftime(pattern)


# -- A1 notation --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Area:
    """Rows and columns from 0, half open; None is as far as there is something."""

    top: int = 0
    left: int = 0
    bottom: int | None = None
    right: int | None = None
    is_cell: bool = False  # a single cell was named


_CORNER = re.compile(r"\$?([A-Za-z]{1,3})?\$?(\d{1,8})?")


def split_title(text: str) -> tuple[str | None, str | None]:
    """A range's tab and the cells in it. Raises ValueError."""
    if text.startswith("'"):
        found = re.fullmatch(r"'((?:[^']|'')*)'(?:!(.*))?", text, re.DOTALL)
        if found is None:
            raise ValueError(text)
        return found[1].replace("''", "'"), found[2]
    title, mark, cells = text.rpartition("!")
    return (title, cells) if mark else (None, text)


def area(text: str) -> Area:
    """B2, B2:C3, A:C, 2:5, A5:C. Raises ValueError."""
    first, colon, second = text.partition(":")
    one = _corner(first)
    if not colon:
        if None in one:
            raise ValueError(text)
        return Area(one[0] or 0, one[1] or 0, (one[0] or 0) + 1, (one[1] or 0) + 1, is_cell=True)
    other = _corner(second)
    rows = sorted(number for number in (one[0], other[0]) if number is not None)
    columns = sorted(number for number in (one[1], other[1]) if number is not None)
    # One open end: A5:C runs from row 5 down, A2:2 from column A to the right.
    return Area(
        rows[0] if rows else 0,
        columns[0] if columns else 0,
        rows[-1] + 1 if rows and None not in (one[0], other[0]) else None,
        columns[-1] + 1 if columns and None not in (one[1], other[1]) else None,
    )


def _corner(text: str) -> tuple[int | None, int | None]:
    found = _CORNER.fullmatch(text)
    if not text or found is None or found[2] == "0":
        raise ValueError(text)
    column = None
    if found[1]:
        column = 0
        for letter in found[1].upper():
            column = column * 26 + ord(letter) - 64
        column -= 1
    return (int(found[2]) - 1 if found[2] else None), column


def letters(column: int) -> str:
    text = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def written(title: str, top: int, left: int, bottom: int, right: int) -> str:
    """A range as answers give it: bounded, the title quoted where that is needed."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", title) and not re.fullmatch(r"[A-Za-z]{1,3}\d+", title)
    tab = title if plain else "'" + title.replace("'", "''") + "'"
    first = f"{letters(left)}{top + 1}"
    last = f"{letters(right - 1)}{bottom}"
    return f"{tab}!{first}" if first == last else f"{tab}!{first}:{last}"
