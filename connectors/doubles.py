"""Numbers of systems that keep each one as a double, which holds some 15 digits."""

from __future__ import annotations

from decimal import Decimal

EXACT = 2**53  # whole numbers up to here are exact


def exact_double(number: Decimal) -> int | float | None:
    """The number as JSON writes it, if a double holds it exactly; None if it does not."""
    if number == number.to_integral_value():
        return int(number) if abs(number) <= EXACT else None
    nearest = float(number)
    return nearest if nearest and Decimal(repr(nearest)) == number else None
