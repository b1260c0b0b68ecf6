"""Values on their way into a column: what would be rounded, cut or refused is refused here, with a reason."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

from connectors.dialects.base import Column, Unfit
from sync.values import FieldType, Value, ValueProblem, display, parse, plain, rounded, short


@contextmanager
def of_this_type(column: Column) -> Iterator[None]:
    """A value that has another type leaves this block as Unfit."""
    try:
        yield
    except ValueProblem as problem:
        raise Unfit("type", f"'{column.name}': {problem}.", column.name) from None


def checked_text(column: Column, value: Value) -> str:
    text = value if isinstance(value, str) else display(value)
    spec = column.field
    if (broken := unstorable(text)) is not None:
        raise Unfit("encoding", f"'{spec.name}' cannot hold {broken}.", spec.name)
    if spec.max_length is not None and len(text) > spec.max_length:
        raise Unfit(
            "too_long",
            f"'{spec.name}' holds {spec.max_length} characters; the value has {len(text)}.",
            spec.name,
        )
    if spec.options is not None and text not in spec.options:
        options = ", ".join(spec.options)
        raise Unfit(
            "option", f"{short(text)} is not one of the values of '{spec.name}': {options}.", spec.name
        )
    return text


def checked_integer(column: Column, value: Value) -> int:
    number: int = parse(value, FieldType.INTEGER)
    limit = column.field.max_integer
    if limit is not None and not fits(number, limit):
        raise Unfit("out_of_range", f"'{column.name}' holds whole numbers up to {limit}.", column.name)
    return number


def fits(number: int, limit: int) -> bool:
    """Whether an integer type whose largest number is `limit` holds this one."""
    return -limit - 1 <= number <= limit


def checked_decimal(column: Column, value: Value) -> Decimal:
    number: Decimal = parse(value, FieldType.DECIMAL)
    scale = column.field.scale
    if scale is not None and rounded(number, scale) != number:
        places = f"'{column.name}' keeps {scale} decimal places; {plain(number)} has more."
        raise Unfit("lossy", places, column.name)
    if column.digits is not None and not _fits_float(number, column.digits):
        digits = f"'{column.name}' keeps {column.digits} digits; {plain(number)} has more."
        raise Unfit("lossy", digits, column.name)
    return number


def _fits_float(number: Decimal, digits: int) -> bool:
    """Whether a float of so many digits gives this very number back."""
    if digits >= 15:
        return Decimal(repr(float(number))) == number
    try:
        struct.pack("f", float(number))
    except OverflowError:
        return False
    return len(number.normalize().as_tuple().digits) <= digits


def checked_binary(column: Column, value: Value) -> bytes:
    try:
        return base64.b64decode(display(value), validate=True)
    except binascii.Error:
        raise Unfit("type", f"'{column.name}' holds bytes, written in base64.", column.name) from None


def unstorable(text: str) -> str | None:
    """What in this text no database takes."""
    if "\x00" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a character"
    return None


def array_literal(items: Sequence[Value]) -> str:
    """A PostgreSQL array, of any depth, as text."""
    return "{" + ",".join(_array_item(item) for item in items) + "}"


def _array_item(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, tuple | list):
        return array_literal(value)
    return '"' + display(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def whole_number(text: str) -> int | None:
    """The number, if this is how it is written and no other way ("007", "1e3" are not)."""
    if not re.fullmatch(r"-?[0-9]{1,30}", text, re.ASCII):
        return None
    number = int(text)
    return number if str(number) == text else None
