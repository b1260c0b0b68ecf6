"""Named transforms between the two ends of a field. No user code, no expressions.

A transform turns one side's value into the other's (`forward`) and, where it can, back (`inverse`).
One that loses something (trim, lower, upper, phone) or maps two values to one has no inverse, and is
refused on a field that flows both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sync.values import FieldType, Value, ValueProblem, display, parse, plain, short

Step = Callable[[Value], Value]


@dataclass(frozen=True, slots=True)
class Transform:
    """`inverse` is None where there is none; `why_one_way` says why, for the refusal."""

    name: str
    forward: Step
    inverse: Step | None = None
    why_one_way: str = ""

    def backward(self, value: Value) -> Value:
        if self.inverse is None:
            raise ValueProblem(f"the transform {self.name} cannot be undone: {self.why_one_way}")
        return self.inverse(value)

    def turned(self) -> Transform:
        """The same tie seen from the other end; only for a transform that has an inverse."""
        if self.inverse is None:
            raise ValueProblem(f"the transform {self.name} cannot be undone: {self.why_one_way}")
        return Transform(self.name, self.inverse, self.forward)


class TransformMistake(ValueError):
    """A transform's name or parameter is wrong. The message is for the person who wrote it."""


def transform_of(spec: Any) -> Transform:
    """The transform that a definition names: "lower", or {"map": {...}}. Raises TransformMistake."""
    if isinstance(spec, str):
        name, parameter = spec, None
    elif isinstance(spec, Mapping) and len(spec) == 1:
        name, parameter = next(iter(spec.items()))
    else:
        raise TransformMistake("a transform is a name, or one name with its parameter")
    make = _MAKERS.get(name)
    if make is None:
        raise TransformMistake(f"'{name}' is not a transform; there are: {', '.join(_MAKERS)}")
    return make(parameter)


NAMES = ("trim", "lower", "upper", "map", "date", "number", "percent", "phone", "split", "join", "duration")


def _on_text(change: Callable[[str], str]) -> Step:
    return lambda value: None if value is None else change(display(value))


def _lossy(name: str, change: Callable[[str], str], why: str) -> Callable[[Any], Transform]:
    def make(parameter: Any) -> Transform:
        if parameter is not None:
            raise TransformMistake(f"{name} takes no parameter")
        return Transform(name, _on_text(change), None, why)

    return make


def _map(parameter: Any) -> Transform:
    if not isinstance(parameter, Mapping) or not parameter:
        raise TransformMistake("map needs its pairs, such as {map: {lead: Lead, won: Won}}")
    there = {display(key): value for key, value in parameter.items()}
    back = {display(value): key for key, value in parameter.items()}

    def look_up(table: Mapping[str, Value], value: Value) -> Value:
        if value is None:
            return None
        if (word := display(value)) not in table:
            raise ValueProblem(f"the map has no entry for {short(word)}")
        return table[word]

    unique = len(back) == len(there)
    return Transform(
        "map",
        lambda value: look_up(there, value),
        (lambda value: look_up(back, value)) if unique else None,
        "" if unique else "two of its entries have the same result",
    )


def _date(parameter: Any) -> Transform:
    if not isinstance(parameter, str) or not all(part in parameter for part in ("%d", "%m")):
        raise TransformMistake("date needs a format with day, month and year, such as {date: '%d.%m.%Y'}")
    whole = "%Y" in parameter

    def forward(value: Value) -> Value:
        return None if value is None else parse(value, FieldType.DATE).strftime(parameter)

    def inverse(value: Value) -> date | None:
        if value is None or not str(value).strip():
            return None
        try:
            # A date alone has no zone; strptime's datetime is only the way to it.
            return datetime.strptime(str(value).strip(), parameter).date()  # noqa: DTZ007
        except ValueError:
            raise ValueProblem(f"{short(value)} is not a date like {parameter}") from None

    why = "" if whole else "a year of two digits can mean two years"
    return Transform("date", forward, inverse if whole else None, why)


def _number(parameter: Any) -> Transform:
    signs = parameter or {}
    if not isinstance(signs, Mapping) or not set(signs) <= {"decimal", "thousands"}:
        raise TransformMistake("number takes its signs, such as {number: {decimal: ',', thousands: '.'}}")
    point, group = signs.get("decimal", "."), signs.get("thousands", "")

    def forward(value: Value) -> Value:
        if value is None:
            return None
        text = plain(parse(value, FieldType.DECIMAL))
        if group:
            whole, dot, rest = text.partition(".")
            sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
            text = sign + f"{int(digits):,}".replace(",", "\0") + dot + rest
        return text.replace(".", point).replace("\0", group)

    def inverse(value: Value) -> Value:
        if value is None or not str(value).strip():
            return None
        text = str(value).strip()
        return parse((text.replace(group, "") if group else text).replace(point, "."), FieldType.DECIMAL)

    return Transform("number", forward, inverse)


def _percent(parameter: Any) -> Transform:
    if parameter is not None:
        raise TransformMistake("percent takes no parameter")
    hundred = Decimal(100)

    def scaled(value: Value, up: bool) -> Value:
        if value is None:
            return None
        number = parse(value, FieldType.DECIMAL)
        return number * hundred if up else number / hundred

    return Transform("percent", lambda value: scaled(value, True), lambda value: scaled(value, False))


def _phone(parameter: Any) -> Transform:
    if parameter is not None:
        raise TransformMistake("phone takes no parameter")
    return Transform(
        "phone",
        _on_text(lambda text: ("+" if text.strip().startswith("+") else "") + re.sub(r"\D", "", text)),
        None,
        "the way in which a number was written is lost",
    )


def _splitter(parameter: Any) -> tuple[Step, Step]:
    separator = parameter if parameter is not None else ","
    if not isinstance(separator, str) or not separator:
        raise TransformMistake("split and join take their separator, such as {split: ';'}")

    def split(value: Value) -> Value:
        if value is None:
            return None
        return tuple(part.strip() for part in str(value).split(separator) if part.strip())

    def join(value: Value) -> Value:
        if value is None:
            return None
        items = [display(item) for item in value]
        for item in items:
            if separator in item or item != item.strip() or not item:
                raise ValueProblem(f"{short(item)} cannot stand in a list that is joined with '{separator}'")
        space = "" if separator.isspace() or separator == "\n" else " "
        return f"{separator}{space}".join(items)

    return split, join


def _split(parameter: Any) -> Transform:
    split, join = _splitter(parameter)
    return Transform("split", split, join)


def _join(parameter: Any) -> Transform:
    split, join = _splitter(parameter)
    return Transform("join", join, split)


_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600}
_CLOCK = re.compile(r"(-?)(\d+):([0-5]\d)(?::([0-5]\d))?")


def _duration(parameter: Any) -> Transform:
    if parameter not in _UNITS:
        raise TransformMistake("duration needs its unit, such as {duration: seconds}, or minutes, or hours")
    unit = _UNITS[parameter]

    def forward(value: Value) -> Value:
        if value is None or not display(value).strip():
            return None
        found = _CLOCK.fullmatch(display(value).strip())
        if found is None:
            raise ValueProblem(f"{short(value)} is not a duration like 1:30 (hours and minutes)")
        sign, hours, minutes, seconds = found.groups(default="0")
        total = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        number = Decimal(-total if sign == "-" else total) / unit
        if number * unit != (-total if sign == "-" else total):
            raise ValueProblem(f"{short(value)} is not a round number of {parameter}")
        return number

    def inverse(value: Value) -> Value:
        if value is None:
            return None
        seconds = parse(value, FieldType.DECIMAL) * unit
        if seconds != seconds.to_integral_value():
            raise ValueProblem(f"{short(value)} {parameter} are not a whole number of seconds")
        sign, left = "-" if seconds < 0 else "", abs(int(seconds))
        text = f"{sign}{left // 3600}:{left // 60 % 60:02}"
        return f"{text}:{left % 60:02}" if left % 60 else text

    return Transform("duration", forward, inverse)


_MAKERS: Mapping[str, Callable[[Any], Transform]] = {
    "trim": _lossy("trim", str.strip, "the blanks are lost; use canon: [trim] to ignore them"),
    "lower": _lossy("lower", str.lower, "capitals are lost; use canon: [lower] to ignore them"),
    "upper": _lossy("upper", str.upper, "small letters are lost; use canon: [lower] to ignore them"),
    "map": _map,
    "date": _date,
    "number": _number,
    "percent": _percent,
    "phone": _phone,
    "split": _split,
    "join": _join,
    "duration": _duration,
}
