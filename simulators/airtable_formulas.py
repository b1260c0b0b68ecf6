"""The formulas that the Airtable simulator understands. Anything else is refused, never taken for "all"."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<field>\{(?:[^}\\]|\\.)*\})|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign><=|>=|!=|[-=<>()&,+*/]))"""
)
_COMPARISONS = ("=", "!=", "<", ">", "<=", ">=")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

Evaluate = Callable[["Row"], Any]


class BadFormula(ValueError):
    """The formula cannot be read."""


class UnknownFields(BadFormula):
    """It names fields that the table does not have."""


@dataclass(frozen=True)
class Row:
    """One record, as a formula sees it."""

    id: str
    created: datetime
    modified: datetime
    cell: Callable[[str], Any]  # by field id; None is empty


def compiled(text: str, field_ids: Callable[[str], str | None]) -> Evaluate:
    """The formula as a function of a row. `field_ids` finds a field by name or id.

    Raises BadFormula, UnknownFields.
    """
    return _Parser(text, field_ids).whole()


def is_kept(value: Any) -> bool:
    """Whether a filter keeps the record for which its formula gives this."""
    if isinstance(value, float) and isnan(value):
        return False
    return not (value is None or value == 0 or value == "" or value == [])


class _Parser:
    def __init__(self, text: str, field_ids: Callable[[str], str | None]) -> None:
        self.tokens = _tokens(text)
        self.field_ids = field_ids
        self.place = 0

    def whole(self) -> Evaluate:
        found = self.comparison()
        if self.place != len(self.tokens):
            raise BadFormula
        return found

    def next(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("end", "")

    def take(self, sign: str | None = None) -> tuple[str, str]:
        found = self.next()
        if sign is not None and found != ("sign", sign):
            raise BadFormula
        self.place += 1
        return found

    def comparison(self) -> Evaluate:
        left = self.joined()
        while self.next()[0] == "sign" and self.next()[1] in _COMPARISONS:
            sign = self.take()[1]
            left = _compare(sign, left, self.joined())
        return left

    def joined(self) -> Evaluate:
        left = self.atom()
        while self.next() == ("sign", "&"):
            self.take()
            left = _join(left, self.atom())
        return left

    def atom(self) -> Evaluate:
        kind, text = self.take()
        match kind:
            case "number":
                number = float(text)
                return lambda row: number
            case "text":
                words = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])
                return lambda row: words
            case "field":
                return self.field(re.sub(r"\\(.)", r"\1", text[1:-1]))
            case "name" if self.next() == ("sign", "("):
                return self.function(text.upper())
            case "name":
                return self.field(text)
            case "sign" if text == "(":
                inside = self.comparison()
                self.take(")")
                return inside
            case "sign" if text == "-":
                inner = self.atom()
                return lambda row: -_number(inner(row))
        raise BadFormula

    def field(self, name: str) -> Evaluate:
        found = self.field_ids(name)
        if found is None:
            raise UnknownFields(name)
        return lambda row: row.cell(found)

    def function(self, name: str) -> Evaluate:
        self.take("(")
        given: list[Evaluate] = []
        while self.next() != ("sign", ")"):
            given.append(self.comparison())
            if self.next() == ("sign", ","):
                self.take()
        self.take(")")
        if name not in _FUNCTIONS:
            raise BadFormula
        least, most, work = _FUNCTIONS[name]
        if not least <= len(given) <= most:
            raise BadFormula
        return lambda row: work(row, [item(row) for item in given])


def _tokens(text: str) -> list[tuple[str, str]]:
    found, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise BadFormula
        found.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    return found


def _compare(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    def work(row: Row) -> bool:
        one, two = _plain(left(row)), _plain(right(row))
        if sign in ("=", "!="):
            return bool(one == two) == (sign == "=")
        if isinstance(one, str) != isinstance(two, str):
            one, two = _number(one), _number(two)
        return bool({"<": one < two, ">": one > two, "<=": one <= two, ">=": one >= two}[sign])

    return work


def _join(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda row: _text(left(row)) + _text(right(row))


def _plain(value: Any) -> Any:
    """A value as it is compared: an empty cell is "" to a text and 0 to a number."""
    match value:
        case None:
            return ""
        case bool():
            return float(value)
        case int():
            return float(value)
        case datetime():
            return value.timestamp()
        case list():
            return ", ".join(map(_text, value))
        case _:
            return value


def _text(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, float) and plain.is_integer():
        return str(int(plain))
    return str(plain)


def _number(value: Any) -> float:
    try:
        return float(_plain(value) or 0)
    except ValueError:
        return float("nan")


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _is_after(one: Any, two: Any) -> bool:
    first, second = _moment(one), _moment(two)
    return first is not None and second is not None and first > second


_MANY = 10_000
_FUNCTIONS: dict[str, tuple[int, int, Callable[[Row, Sequence[Any]], Any]]] = {
    "AND": (1, _MANY, lambda row, given: all(map(is_kept, given))),
    "OR": (1, _MANY, lambda row, given: any(map(is_kept, given))),
    "NOT": (1, 1, lambda row, given: not is_kept(given[0])),
    "IF": (2, 3, lambda row, given: given[1] if is_kept(given[0]) else given[2] if len(given) > 2 else None),
    "BLANK": (0, 0, lambda row, given: None),
    "TRUE": (0, 0, lambda row, given: True),
    "FALSE": (0, 0, lambda row, given: False),
    "RECORD_ID": (0, 0, lambda row, given: row.id),
    "CREATED_TIME": (0, 0, lambda row, given: row.created),
    "LAST_MODIFIED_TIME": (0, _MANY, lambda row, given: row.modified),
    "IS_AFTER": (2, 2, lambda row, given: _is_after(given[0], given[1])),
    "IS_BEFORE": (2, 2, lambda row, given: _is_after(given[1], given[0])),
    "DATETIME_PARSE": (1, 3, lambda row, given: _moment(given[0])),
    "FIND": (2, 3, lambda row, given: _text(given[1]).find(_text(given[0])) + 1),
    "LOWER": (1, 1, lambda row, given: _text(given[0]).lower()),
    "UPPER": (1, 1, lambda row, given: _text(given[0]).upper()),
    "TRIM": (1, 1, lambda row, given: _text(given[0]).strip()),
    "LEN": (1, 1, lambda row, given: float(len(_text(given[0])))),
    "CONCATENATE": (1, _MANY, lambda row, given: "".join(map(_text, given))),
}
