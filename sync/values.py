"""Canonical values: one exact Python value per field type, and how two of them are compared.

| type        | Python value                          | notes                                          |
|-------------|---------------------------------------|------------------------------------------------|
| text        | str                                   |                                                |
| integer     | int                                   | any size                                       |
| decimal     | Decimal                               | never passes through a float                   |
| boolean     | bool                                  |                                                |
| date        | datetime.date                         | no zone: a day stays that day everywhere       |
| datetime    | datetime.datetime, aware, UTC         |                                                |
| json        | dict, list, str, int, Decimal, ...    | structural equality                            |
| list        | tuple of scalars                      | an unordered set unless declared ordered       |
| links       | tuple of str                          | ids or names of records, unordered             |
| attachments | tuple of dicts (id, name, size, ...)  | equal by identity, never by URL                |

`None` is an explicit null. `MISSING` means that the system did not return the field at all; "" is
an empty text. The three are different things (a connector says which of them it can tell apart).
"""

from __future__ import annotations

import base64
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from enum import Enum, StrEnum
from typing import Any, Final, assert_never


class _Missing(Enum):
    """The type of MISSING; an enum so that mypy narrows `is MISSING` and pickles keep its identity."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing.MISSING
type_of_missing = _Missing

# A canonical value; see the table above. Any, because JSON is among them.
Value = Any
Fields = Mapping[str, Value]


class FieldType(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    JSON = "json"
    LIST = "list"
    LINKS = "links"
    ATTACHMENTS = "attachments"


class ValueProblem(ValueError):
    """A value does not fit its type. The message is a sentence without the record's other values."""


# The usual one rounds to 28 digits, or refuses to.
_EXACT = Context(prec=1_000_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_TRUE = frozenset({"true", "t", "yes", "y", "1", "on", "checked"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "off", "unchecked"})
_FAR = 131_072  # decimal places either way of the point: no system that we know of keeps more of them
_DIGITS = 4_300  # of a whole number: Python makes no text of a longer one
_TOO_LONG = 10**_DIGITS
_BROWSERS = 2**53  # the largest integer that other readers of JSON keep
_HALVES = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?\d+")


def parse(raw: Value, kind: FieldType) -> Value:
    """The canonical value of `raw` as `kind`. None and MISSING pass through. Raises ValueProblem.

    Texts are read leniently where there is exactly one reading ("1.0" is the integer 1, "yes" is
    true) and refused otherwise; nothing is rounded. An empty text of any type but text is null.
    """
    if raw is None or raw is MISSING:
        return raw
    if is_own(kind)(raw):
        return raw
    if kind is not FieldType.TEXT and isinstance(raw, str) and not raw.strip():
        return None
    return _PARSERS[kind](raw)


def is_own(kind: FieldType) -> Callable[[Value], bool]:
    """What tells that a value is a canonical one of this type already, so that `parse` would return it."""
    return _IS_OWN.get(kind, never)


def never(_: Value) -> bool:
    return False


def _text(raw: Value) -> str:
    match raw:
        case str():
            if not raw.isascii():
                _must_be_whole(raw)
            return raw
        case bool():
            return "true" if raw else "false"
        case int():
            return str(_integer(raw))
        case Decimal():
            return plain(_decimal(raw) if raw.is_finite() else raw)
        case float():
            # A float has no "1.0" of its own: as a text, and so as a key, it is the number 1.
            return str(int(raw)) if raw.is_integer() else plain(_from_float(raw))
        case datetime():
            return iso(raw)
        case date():
            return raw.isoformat()
        case bytes():
            return base64.b64encode(raw).decode("ascii")
        case tuple() | list() if all(isinstance(item, str) for item in raw):
            return ", ".join(raw)
        case _:
            return json_text(raw)


def _must_be_whole(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueProblem("the text is broken: it holds half of a character") from None


def _integer(raw: Value) -> int:
    if isinstance(raw, bool):
        return int(raw)
    if isinstance(raw, int):
        if not -_TOO_LONG < raw < _TOO_LONG:
            raise ValueProblem(f"a whole number of more than {_DIGITS} digits is more than we can hold")
        return raw
    if isinstance(raw, str) and len(raw) <= _DIGITS and _INTEGER.fullmatch(raw.strip()):
        return int(raw)
    number = _decimal(raw)
    if number.adjusted() >= _DIGITS:
        raise ValueProblem(f"{short(raw)} has more than {_DIGITS} digits, which is more than we can hold")
    if number != number.to_integral_value():
        raise ValueProblem(f"{short(raw)} is not a whole number")
    return int(number)


def _decimal(raw: Value) -> Decimal:
    if isinstance(raw, bool):
        raise ValueProblem(f"{short(raw)} is not a number")
    if isinstance(raw, int):
        return Decimal(raw)
    if isinstance(raw, float):
        return _from_float(raw)
    if isinstance(raw, Decimal):
        number = raw
    elif isinstance(raw, str):
        try:
            number = Decimal(raw.strip())
        except InvalidOperation:
            raise ValueProblem(f"{short(raw)} is not a number") from None
    else:
        raise ValueProblem(f"{short(raw)} is not a number")
    if not number.is_finite():
        raise ValueProblem(f"{short(raw)} is not a finite number")
    if not _is_near(number):
        raise ValueProblem(f"{short(raw)} has an exponent beyond {_FAR}: no system holds such a number")
    return number


def _is_near(number: Decimal) -> bool:
    """Whether a finite number can be written out: 1E+1000000000 is twelve characters, and a gigabyte."""
    return -_FAR <= number.adjusted() <= _FAR


def _from_float(raw: float) -> Decimal:
    if not math.isfinite(raw):
        raise ValueProblem(f"{raw} is not a finite number")
    # repr is the shortest text that reads back as this float: 19.99 stays 19.99.
    return Decimal(repr(raw))


def _boolean(raw: Value) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int | Decimal | float) and raw in (0, 1):
        return bool(raw)
    if isinstance(raw, str):
        word = raw.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise ValueProblem(f"{short(raw)} is neither true nor false")


def _date(raw: Value) -> date:
    if isinstance(raw, datetime):
        # A midnight with a zone is how some systems return a plain date: its own day counts, not UTC's.
        if (raw.hour, raw.minute, raw.second, raw.microsecond) == (0, 0, 0, 0):
            return raw.date()
        raise ValueProblem(f"{short(raw)} has a time of day, which a date cannot hold")
    if isinstance(raw, date):
        return raw
    if isinstance(raw, str):
        text = raw.strip()
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
        try:
            return _date(datetime.fromisoformat(text))
        except ValueProblem:
            raise
        except ValueError:
            pass
    raise ValueProblem(f"{short(raw)} is not a date like 2026-03-05")


def _datetime(raw: Value) -> datetime:
    if isinstance(raw, str):
        try:
            raw = datetime.fromisoformat(raw.strip())
        except ValueError:
            raise ValueProblem(f"{short(raw)} is not a time like 2026-03-05T14:00:00Z") from None
    if isinstance(raw, datetime):
        return raw.replace(tzinfo=UTC) if raw.tzinfo is None else raw.astimezone(UTC)
    if isinstance(raw, date):
        return datetime(raw.year, raw.month, raw.day, tzinfo=UTC)
    raise ValueProblem(f"{short(raw)} is not a time like 2026-03-05T14:00:00Z")


def _json(raw: Value) -> Value:
    if isinstance(raw, str):
        try:
            return json.loads(raw, parse_float=_decimal, parse_int=_integer, parse_constant=_no_constant)
        except ValueProblem:
            raise
        except ValueError:
            raise ValueProblem(f"{short(raw)} is not JSON") from None
    return raw


def _no_constant(name: str) -> Value:
    raise ValueProblem(f"{name} is not JSON")


def _list(raw: Value) -> tuple[Value, ...]:
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if isinstance(raw, Sequence) and not isinstance(raw, bytes):
        return tuple(raw)
    if isinstance(raw, set | frozenset):
        return tuple(sorted(raw, key=str))
    raise ValueProblem(f"{short(raw)} is not a list")


def _links(raw: Value) -> tuple[str, ...]:
    return tuple(str(item) for item in _list(raw))


def _attachments(raw: Value) -> tuple[Mapping[str, Value], ...]:
    items = _list(raw)
    if not all(isinstance(item, Mapping) for item in items):
        raise ValueProblem(f"{short(raw)} is not a list of attachments")
    return items


_PARSERS: Final[Mapping[FieldType, Callable[[Value], Value]]] = {
    FieldType.TEXT: _text,
    FieldType.INTEGER: _integer,
    FieldType.DECIMAL: _decimal,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.DATETIME: _datetime,
    FieldType.JSON: _json,
    FieldType.LIST: _list,
    FieldType.LINKS: _links,
    FieldType.ATTACHMENTS: _attachments,
}


# What tells at a glance that a value is a canonical one of a type, as most are.
_IS_OWN: Final[Mapping[FieldType, Callable[[Any], bool]]] = {
    FieldType.TEXT: lambda raw: type(raw) is str and raw.isascii(),
    FieldType.INTEGER: lambda raw: type(raw) is int and -_TOO_LONG < raw < _TOO_LONG,
    FieldType.DECIMAL: lambda raw: type(raw) is Decimal and raw.is_finite() and _is_near(raw),
    FieldType.BOOLEAN: lambda raw: raw is True or raw is False,
    FieldType.DATE: lambda raw: type(raw) is date,
    FieldType.DATETIME: lambda raw: type(raw) is datetime and raw.tzinfo is UTC,
}


class Canon(StrEnum):
    """Named ways in which two texts count as equal. They decide equality only; values flow untouched."""

    TRIM = "trim"
    LOWER = "lower"
    NFC = "nfc"
    NEWLINES = "newlines"
    DIGITS = "digits"


def _apply_canon(text: str, canon: Canon) -> str:
    match canon:
        case Canon.TRIM:
            return text.strip()
        case Canon.LOWER:
            return text.casefold()
        case Canon.NFC:
            return unicodedata.normalize("NFC", text)
        case Canon.NEWLINES:
            return text.replace("\r\n", "\n").replace("\r", "\n")
        case Canon.DIGITS:
            return re.sub(r"\D", "", text)
        case _ as never:
            assert_never(never)


def comparable(
    value: Value,
    kind: FieldType,
    *,
    canon: Sequence[Canon] = (),
    scale: int | None = None,
    ordered: bool = False,
    blank_is_null: bool = False,
) -> Value:
    """What of `value` counts when two values are compared: equal results mean equal values.

    `scale` is the number of decimal places that count; `ordered` makes the order of a list count;
    `blank_is_null` is set where one of the two systems cannot tell "" from null. Texts are always
    compared in Unicode NFC, since no system keeps the difference reliably.
    """
    if value is None or value is MISSING:
        return value
    match kind:
        case FieldType.TEXT:
            text = value if value.isascii() else unicodedata.normalize("NFC", value)
            for step in canon:
                text = _apply_canon(text, step)
            return None if blank_is_null and not text else text
        case FieldType.DECIMAL:
            return value if scale is None else rounded(value, scale)
        case FieldType.JSON:
            return dumps(value)
        case FieldType.LIST:
            items = tuple(dumps(item) for item in value)
            if blank_is_null and not items:
                return None
            return items if ordered else tuple(sorted(set(items)))
        case FieldType.LINKS:
            return (None if blank_is_null else ()) if not value else tuple(sorted(set(value)))
        case FieldType.ATTACHMENTS:
            return tuple(sorted(_attachment_identity(item) for item in value))
        case FieldType.INTEGER | FieldType.BOOLEAN | FieldType.DATE | FieldType.DATETIME:
            return value
        case _ as never:
            assert_never(never)


def _attachment_identity(item: Mapping[str, Value]) -> str:
    """A file is the same file by its hash, else by name and size; URLs expire and ids differ by side."""
    if item.get("hash"):
        return f"hash:{item['hash']}"
    if item.get("size") is not None:
        return f"file:{item.get('name')}:{item['size']}"
    return f"id:{item.get('id')}"


# -- storage: values as exact, self-describing JSON text ------------------------------------------
# A tagged object {"$type": text} holds what JSON cannot; a JSON object of one's own whose only key
# begins with "$" is wrapped in {"$json": ...} so that it cannot be mistaken for a tag.


def encode(value: Value) -> Value:
    """A JSON-ready form of a canonical value from which `decode` makes the same value again."""
    kind = type(value)
    if kind is str:
        if value.isascii() and "\0" not in value:
            return value
    elif kind is int:
        if -_BROWSERS <= value <= _BROWSERS:
            return value
    elif kind is Decimal:
        return {"$decimal": str(value)}
    elif value is None or kind is bool:
        return value
    elif kind is datetime and value.tzinfo is UTC:
        return {"$datetime": iso(value)}
    elif kind is date:
        return {"$date": value.isoformat()}
    match value:
        case None | bool():
            return value
        case str():
            # What a database's JSON cannot hold: a NUL, half of a character.
            if "\0" not in value and (value.isascii() or not _HALVES.search(value)):
                return value
            return {"$text": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii")}
        case int():
            # Other readers of the JSON (a browser) lose integers past 2**53.
            return value if abs(value) <= _BROWSERS else {"$int": str(value)}
        case Decimal():
            return {"$decimal": str(value)}
        case datetime():
            return {"$datetime": iso(value)}
        case date():
            return {"$date": value.isoformat()}
        case bytes():
            return {"$bytes": base64.b64encode(value).decode("ascii")}
        case tuple():
            return {"$list": [encode(item) for item in value]}
        case list():
            return [encode(item) for item in value]
        case Mapping():
            plain_object = {str(key): encode(item) for key, item in value.items()}
            if len(plain_object) == 1 and next(iter(plain_object)).startswith("$"):
                return {"$json": plain_object}
            return plain_object
        case float():
            return {"$decimal": repr(value)}
        case _:
            raise TypeError(f"a {type(value).__name__} is not a canonical value")


def decode(stored: Value) -> Value:
    """The canonical value that `encode` was given."""
    if type(stored) is str:
        return stored
    if isinstance(stored, list):
        return [decode(item) for item in stored]
    if not isinstance(stored, dict):
        return stored
    if len(stored) == 1:
        tag, body = next(iter(stored.items()))
        match tag:
            case "$int":
                return int(body)
            case "$decimal":
                return Decimal(body)
            case "$datetime":
                return datetime.fromisoformat(body)
            case "$date":
                return date.fromisoformat(body)
            case "$text":
                return base64.b64decode(body).decode("utf-8", "surrogatepass")
            case "$bytes":
                return base64.b64decode(body)
            case "$list":
                return tuple(decode(item) for item in body)
            case "$json":
                return {key: decode(item) for key, item in body.items()}
    return {key: decode(item) for key, item in stored.items()}


def encode_fields(fields: Fields) -> dict[str, Value]:
    """A record's fields, ready for a JSON column. MISSING fields are left out, so they stay MISSING."""
    return {name: encode(value) for name, value in fields.items() if value is not MISSING}


def decode_fields(stored: Mapping[str, Value]) -> dict[str, Value]:
    return {name: decode(value) for name, value in stored.items()}


def dumps(value: Value) -> str:
    """One text per structure: sorted keys, no spaces, numbers by value (1, 1.0 and 1.00 are equal)."""
    if type(value) is str:
        return dumps_stored(value)  # as most keys are
    if type(value) is int:
        return str(value)
    return dumps_stored(_ordered(value))


def dumps_stored(stored: Value) -> str:
    """The same of what `encode` made, in which no number has two forms."""
    return _ONE_TEXT.encode(stored)


_ONE_TEXT: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _ordered(value: Value) -> Value:
    match value:
        case bool() | None | str():
            return value
        case int():
            return value
        case Decimal():
            if not -_FAR <= value.adjusted() < _DIGITS:
                return {"$n": str(value.normalize(_EXACT))}
            return (
                int(value) if value == value.to_integral_value() else {"$n": plain(value.normalize(_EXACT))}
            )
        case float():
            return _ordered(_from_float(value))
        case Mapping():
            return {str(key): _ordered(item) for key, item in value.items()}
        case list() | tuple():
            return [_ordered(item) for item in value]
        case _:
            return encode(value)


def json_text(value: Value) -> str:
    """JSON as a person or another system reads it, with every number in full: decimals never pass
    through a float."""
    match value:
        case Decimal():
            return plain(value) if _is_near(value) else str(value)
        case Mapping():
            parts = (f"{_json_string(str(key))}: {json_text(item)}" for key, item in value.items())
            return "{" + ", ".join(parts) + "}"
        case list() | tuple():
            return "[" + ", ".join(json_text(item) for item in value) + "]"
        case None | bool() | int() | float():
            return json.dumps(value)
        case _:
            return _json_string(display(value))


def _json_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def rounded(number: Decimal, scale: int) -> Decimal:
    """A decimal with so many places, however many digits stand before them."""
    return number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN, _EXACT)


def keeps_places(number: Decimal, scale: int) -> bool:
    """Whether a decimal is written with no more than so many places; one that is longer may end in zeros."""
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -scale


def plain(number: Decimal) -> str:
    """A decimal without an exponent: 1E+3 is 1000."""
    return format(number, "f")


def iso(moment: datetime) -> str:
    """UTC, with Z, and with a fraction only where there is one."""
    if moment.tzinfo is not UTC:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat()[:-6] + "Z"


def display(value: Value) -> str:
    """How a person sees a value in a page, a message or a key."""
    if type(value) is str and value.isascii():
        return value
    if type(value) is int and -_BROWSERS <= value <= _BROWSERS:
        return str(value)
    if value is MISSING:
        return ""
    return "" if value is None else _text(value)


def short(value: Value, limit: int = 60) -> str:
    """A value quoted for a message, cut to a readable length, on one line."""
    text = " ".join(str(value).split())
    return f"'{text[: limit - 1]}…'" if len(text) > limit else f"'{text}'"
