"""Planned changes for tests of what comes after the plan."""

from __future__ import annotations

from typing import Any

from sync.guard import PlannedChange
from sync.mapping import FieldMapping, FieldPair
from sync.plan import Intent, Tie
from sync.policy import Policy
from sync.reconcile import Rules
from sync.records import Field, Side, Stream
from sync.values import FieldType


def rules(kind: FieldType = FieldType.TEXT, *, unique: bool = True) -> Rules:
    """Two streams with a key `k` of this kind, in which the right one takes no value twice."""
    streams = {
        side: Stream("s", (Field("k", kind, unique=unique), Field("x", FieldType.TEXT)))
        for side in ("left", "right")
    }
    pairs = (FieldPair("k", "k", "k", kind), FieldPair("x", "x", "x", FieldType.TEXT))
    return Rules(FieldMapping(pairs, match=("k",)), Policy(), streams["left"], streams["right"])


def change(
    operation: Any, number: int, *, side: Side = "right", before: Any = None, after: Any = None
) -> PlannedChange:
    intent = Intent(side, operation, "test", after=after or {}, before=before or {})
    target, origin = f"t{number}", f"o{number}"
    ids = (origin, target) if side == "right" else (target, origin)
    # Fingerprints are hashes: their digits tell one from the other.
    print_ = f"{number:06x}{number * 7919 + 1:058x}"
    record_id = None if operation == "create" else target
    return PlannedChange(Tie(number, *ids), intent, f"k{number}", record_id, origin, print_)
