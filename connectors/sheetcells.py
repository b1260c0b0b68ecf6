"""Cells of a Google Sheet: what the API tells of one, as a canonical value, and how a value is put into one.

A number is a double there, of which some 15 digits are kept, and a date is a number of days since 1899-12-30
in the spreadsheet's own time zone, told apart from other numbers by its format. A value that such a cell
cannot hold exactly goes in as a text, where a text means the same, and is refused otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from sync.values import MISSING, Value, display, iso, json_text, plain, short

EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001  serials have no zone of their own
FIRST_DAY: Final = date(1900, 1, 1)  # earlier ones are written as texts: programs disagree on their serials
DAY_MS: Final = 86_400_000
DIGITS: Final = 15  # significant ones that are kept of a number
LONGEST_TEXT: Final = 50_000  # characters

DATE, DATE_TIME = "DATE", "DATE_TIME"
PATTERNS: Final[Mapping[str, str]] = {DATE: "yyyy-mm-dd", DATE_TIME: "yyyy-mm-dd hh:mm:ss.000"}


class Unfit(Exception):
    """A cell cannot hold this value. The message is the end of a sentence that begins with the column."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell as it was read.

    `value` is MISSING where a formula ends in an error: nothing is known of it then. `computed` says that a
    formula fills the cell, its own or one that spills into it. `entered` is what stands in it, as the API has
    it.
    """

    value: Value = None
    computed: bool = False
    format: str = ""  # the type of its number format
    entered: Mapping[str, Any] | None = None

    @property
    def is_blank(self) -> bool:
        """Whether nobody typed anything into it. A check box that is not ticked says nothing either."""
        return self.computed or self.value is None or self.value is False

    @property
    def mark(self) -> str:
        """What a record's version is made of: value and kind."""
        return f"{type(self.value).__name__}:{self.value}"


EMPTY: Final = Cell()


def read_cell(data: Mapping[str, Any], zone: ZoneInfo) -> Cell:
    """A cell of the API's grid data (userEnteredValue, effectiveValue, effectiveFormat.numberFormat)."""
    if not data:
        return EMPTY
    entered = data.get("userEnteredValue") or {}
    effective = data.get("effectiveValue") or {}
    format = str(((data.get("effectiveFormat") or {}).get("numberFormat") or {}).get("type", ""))
    if not entered and not effective and not format:
        return EMPTY
    return Cell(
        _value(effective, format, zone),
        computed="formulaValue" in entered or bool(effective and not entered),
        format=format,
        entered=entered or None,
    )


def _value(effective: Mapping[str, Any], format: str, zone: ZoneInfo) -> Value:
    match effective:
        case {"stringValue": str(text)}:
            return text or None
        case {"boolValue": bool(truth)}:
            return truth
        case {"numberValue": int() | Decimal() as number}:
            return from_serial(number, format, zone) if format in PATTERNS else whole(number)
        case {"errorValue": _}:
            return MISSING
    return None


def whole(number: int | Decimal) -> int | Decimal:
    """An integer as int: 5.0 and 5 are one number in a sheet."""
    if isinstance(number, Decimal) and number == number.to_integral_value():
        return int(number)
    return number


def from_serial(serial: int | Decimal, format: str, zone: ZoneInfo) -> Value:
    """The date or time that a number means under a date's format; the number where it means none."""
    ms = round(Decimal(serial) * DAY_MS)
    try:
        moment = EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return whole(serial)
    if format == DATE and ms % DAY_MS == 0:
        return moment.date()
    # In its own zone, so that a midnight there is still seen as that day.
    return moment.replace(tzinfo=zone)


def to_serial(moment: datetime, zone: ZoneInfo) -> Decimal | None:
    """The serial of a moment; None where one would be read as another moment."""
    local = moment.astimezone(zone).replace(tzinfo=None, fold=0)
    # Finer than a millisecond, the second 2:30 of a night in autumn, or before the sheet's calendar.
    if moment.microsecond % 1000 or local.date() < FIRST_DAY:
        return None
    if local.replace(tzinfo=zone).astimezone(UTC) != moment.astimezone(UTC):
        return None
    ms = (local - EPOCH) // timedelta(milliseconds=1)
    return round(Decimal(ms) / DAY_MS, 12)


@dataclass(frozen=True, slots=True)
class Put:
    """What is put into a cell: the API's value (None empties it), and the number format that it needs."""

    entered: Mapping[str, Any] | None
    format: str = ""

    def changes_format(self, current: str) -> bool:
        """Whether the cell's format must change for the value to be read as what it is."""
        if self.entered is None or "numberValue" not in self.entered:
            return False
        return self.format != current and bool(self.format or current in PATTERNS)

    @property
    def number_format(self) -> Mapping[str, str]:
        return {"type": self.format, "pattern": PATTERNS[self.format]} if self.format else {}


def put(value: Value, zone: ZoneInfo) -> Put:
    """A canonical value as it is put into a cell. Raises Unfit."""
    match value:
        case None | "":
            return Put(None)
        case bool():
            return Put({"boolValue": value})
        case int() | Decimal():
            return Put({"numberValue": _exact(value)})
        case datetime():
            serial = to_serial(value, zone)
            return _text(iso(value)) if serial is None else Put({"numberValue": serial}, DATE_TIME)
        case date() if value >= FIRST_DAY:
            return Put({"numberValue": (value - EPOCH.date()).days}, DATE)
        case _:
            return _text(display(value))


def _exact(number: int | Decimal) -> int | Decimal:
    exact = Decimal(number)
    digits = "".join(map(str, exact.as_tuple().digits)).strip("0")
    if len(digits) > DIGITS or abs(exact.adjusted()) > 300:
        raise Unfit(
            "not_exact",
            f"cannot hold {short(plain(exact))} exactly, since a sheet keeps {DIGITS} digits of a number."
            " Sync it as a text instead: `type: text`.",
        )
    return whole(number)


def _text(text: str) -> Put:
    if len(text) > LONGEST_TEXT:
        raise Unfit("too_long", f"holds at most {LONGEST_TEXT:,} characters, and the text has {len(text):,}.")
    if "\0" in text:
        raise Unfit("not_text", "cannot hold the character NUL.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit("not_text", "cannot hold half of a character, as the text does.") from None
    return Put({"stringValue": text})


def predicted(what: Put, current: Cell, zone: ZoneInfo) -> Cell:
    """The cell as it will be read once this was put into it."""
    if what.entered is None:
        return Cell(format=current.format)
    format = what.format if what.changes_format(current.format) else current.format
    return Cell(_value(what.entered, format, zone), format=format, entered=what.entered)


def body(content: Any) -> bytes:
    """A request as JSON, with every number in full: no decimal goes through a float."""
    return json_text(content).encode()
