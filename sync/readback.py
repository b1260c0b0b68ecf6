"""What a system made of a value that it accepted: kept, rendered its own way, cut, or ignored."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from sync import attachments
from sync.mapping import FieldPair
from sync.records import Side
from sync.values import MISSING, Value, dumps, rounded

# Below this share of the value a difference of two numbers is the noise of a float, not a loss.
FLOAT_NOISE = Decimal("0.000001")


class Verdict(StrEnum):
    KEPT = "kept"
    RENDERED = "rendered"  # the same in the system's own way: trimmed, lower case, coarser time
    LOSSY = "lossy"  # something is lost: the short form must never flow back
    PARTLY = "partly"  # some of several files are there, the others are not
    NOT_RETAINED = "not_retained"  # accepted, and yet what stood before still stands


def judge(pair: FieldPair, side: Side, intended: Value, before: Value, got: Value) -> Verdict:
    """Compare what was sent with what stands there now; all own values of `side`."""
    if got is MISSING or pair.same(side, intended, got):
        return Verdict.KEPT
    if pair.holds_files:
        return Verdict.PARTLY if attachments.missing(intended, got) else Verdict.RENDERED
    match intended, got:
        case str(), str():
            if _loosely(intended) == _loosely(got):
                return Verdict.RENDERED
            if before is not MISSING and pair.same(side, before, got):
                return Verdict.NOT_RETAINED
            return Verdict.LOSSY if _is_cut(intended, got) else Verdict.RENDERED
        case _ if before is not MISSING and pair.same(side, before, got):
            return Verdict.NOT_RETAINED
        case bool(), bool():
            return Verdict.LOSSY
        case (int() | Decimal(), int() | Decimal()):
            exact = isinstance(intended, int) and isinstance(got, int)
            return Verdict.RENDERED if _is_noise(intended, got) and not exact else Verdict.LOSSY
        case datetime(), datetime():
            return Verdict.RENDERED if abs(intended - got) < timedelta(seconds=1) else Verdict.LOSSY
        case _, None:
            return Verdict.LOSSY
        case tuple(), tuple():
            # Some items are not there; more of them, or in another order, is the system's own way.
            lost = {dumps(item) for item in intended} - {dumps(item) for item in got}
            return Verdict.LOSSY if lost and len(got) < len(intended) else Verdict.RENDERED
        case _:
            return Verdict.LOSSY if type(intended) is not type(got) else Verdict.RENDERED


def could_be_ours(pair: FieldPair, side: Side, intended: Value, got: Value) -> bool:
    """Whether `got` is what a system may have made of `intended`, when nobody saw it being written.

    Stricter than `judge`, which knows that nobody else wrote: another text is somebody's edit.
    """
    if pair.same(side, intended, got):
        return True
    match intended, got:
        case (None, "") | ("", None):
            return True
        case str(), str():
            return _loosely(intended) == _loosely(got) or (bool(_loosely(got)) and _is_cut(intended, got))
        case (bool(), _) | (_, bool()):
            return False
        case (int() | Decimal(), int() | Decimal()):
            return _is_noise(intended, got) or _is_rounded(Decimal(intended), Decimal(got))
        case datetime(), datetime():
            return abs(intended - got) < timedelta(seconds=1)
        case _:
            return False


def _loosely(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_cut(intended: str, got: str) -> bool:
    wanted, kept = _loosely(intended), _loosely(got)
    return len(kept) < len(wanted) and wanted.startswith(kept.rstrip("….").rstrip())


def _is_noise(intended: int | Decimal, got: int | Decimal) -> bool:
    one, two = Decimal(intended), Decimal(got)
    return abs(one - two) <= FLOAT_NOISE * max(Decimal(1), abs(one))


def _is_rounded(intended: Decimal, got: Decimal) -> bool:
    exponent = got.as_tuple().exponent
    return isinstance(exponent, int) and exponent <= 0 and rounded(intended, -exponent) == got
