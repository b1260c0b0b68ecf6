"""Values of a size that the usual arithmetic would round."""

from __future__ import annotations

from decimal import Decimal

from sync.values import FieldType, comparable, dumps, rounded


def test_long_decimals_are_rounded_and_compared_with_every_digit() -> None:
    long = Decimal("12345678901234567890123456789012345.125")
    assert rounded(long, 2) == Decimal("12345678901234567890123456789012345.12")
    assert comparable(long, FieldType.DECIMAL, scale=3) == long
    assert dumps([long]) != dumps([long + Decimal("0.001")])
