"""What a system made of a value that it accepted: kept, rendered its own way, cut, or ignored."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from sync.mapping import FieldPair
from sync.records import Side
from sync.values import MISSING, Value

# Below this share of the value a difference of two numbers is the noise of a float, not a loss.
FLOAT_NOISE = Decimal("0.000001")


class Verdict(StrEnum):
    KEPT = "kept"
    RENDERED = "rendered"  # the same in the system's own way: trimmed, lower case, coarser time
    LOSSY = "lossy"  # something is lost: the short form must never flow back
    NOT_RETAINED = "not_retained"  # accepted, and yet what stood before still stands


def judge(pair: FieldPair, side: Side, intended: Value, before: Value, got: Value) -> Verdict:
    """Compare what was sent with what stands there now; all own values of `side`."""
    if got is MISSING or pair.same(side, intended, got):
        return Verdict.KEPT
    if before is not MISSING and pair.same(side, before, got):
        return Verdict.NOT_RETAINED
    match intended, got:
        case str(), str():
            wanted, kept = " ".join(intended.casefold().split()), " ".join(got.casefold().split())
            cut = len(kept) < len(wanted) and wanted.startswith(kept.rstrip("….").rstrip())
            return Verdict.LOSSY if cut else Verdict.RENDERED
        case bool(), bool():
            return Verdict.LOSSY
        case (int() | Decimal(), int() | Decimal()):
            noise = abs(Decimal(intended) - Decimal(got)) <= FLOAT_NOISE * max(
                Decimal(1), abs(Decimal(intended))
            )
            exact = isinstance(intended, int) and isinstance(got, int)
            return Verdict.RENDERED if noise and not exact else Verdict.LOSSY
        case datetime(), datetime():
            return Verdict.RENDERED if abs(intended - got) < timedelta(seconds=1) else Verdict.LOSSY
        case _, None:
            return Verdict.LOSSY
        case _:
            return Verdict.LOSSY if type(intended) is not type(got) else Verdict.RENDERED
