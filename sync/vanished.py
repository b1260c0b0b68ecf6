"""Fields that a system suddenly returns with no record any more: its doing, not that of its users.

Where a system leaves empty fields out of its answers, this looks as if everybody had cleared the field at
once. Nothing is cleared on the other side then; a person is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from sync.diff import Scan
from sync.mapping import FieldMapping
from sync.plan import Tie
from sync.records import Problem, Side, other
from sync.values import MISSING, Fields

CODE = "field_vanished"
FEW = 3  # so many records that lose a field, and none that has it, are no coincidence


def suspects(
    side: Side, scans: Mapping[Side, Scan], ties: Mapping[int, Tie], mapping: FieldMapping
) -> list[str]:
    """The pairs of which no record that was looked at brings a value, though several had one.

    Records that were passed over as unchanged are not known here: the caller asks whether one of them
    still holds the field.
    """
    scan, far = scans[side], scans[other(side)]
    there = brought(side, scan, mapping)
    found = []
    for pair in mapping.pairs:
        if pair.name in there:
            continue
        lost = 0
        for tie in ties.values():
            mine, theirs = tie.id_on(side), tie.id_on(other(side))
            if mine not in scan.changed or not _has(tie.shadow(side), pair.name):
                continue
            twin = far.changed.get(theirs or "")
            fields = twin.fields if twin is not None else tie.shadow(other(side))
            lost += _has(fields, pair.on(other(side)) if twin is not None else pair.name)
        if lost >= FEW:
            found.append(pair.name)
    return found


def brought(side: Side, scan: Scan, mapping: FieldMapping) -> set[str]:
    """The pairs whose field came with at least one of the records that were looked at."""
    waiting = {pair.on(side): pair.name for pair in mapping.pairs}
    found: set[str] = set()
    for records in (scan.changed, scan.new):
        for record in records.values():
            if not waiting:
                return found
            for name in waiting.keys() & record.fields.keys():
                found.add(waiting.pop(name))
    return found


def _has(fields: Fields, name: str) -> bool:
    return fields.get(name, MISSING) not in (MISSING, None, "", ())


def problem(side: Side, field_name: str) -> Problem:
    return Problem(
        CODE,
        f"The field '{field_name}' came back with no record on {side}, though records held values in it."
        " Nothing is cleared on the other side. If the field was really emptied, empty it there too.",
        side=side,
        field_name=field_name,
        operation="read",
    )
