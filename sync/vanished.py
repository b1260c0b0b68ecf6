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

FEW = 3  # so many records that lose a field, and none that has it, are no coincidence


def suspects(
    side: Side, scans: Mapping[Side, Scan], ties: Mapping[int, Tie], mapping: FieldMapping
) -> list[str]:
    """The pairs of which no record that was looked at brings a value, though several had one.

    Records that were passed over as unchanged are not known here: the caller asks whether one of them
    still holds the field.
    """
    scan, far = scans[side], scans[other(side)]
    records = [*scan.changed.values(), *scan.new.values()]
    found = []
    for pair in mapping.pairs:
        name = pair.on(side)
        if any(name in record.fields for record in records):
            continue
        lost = 0
        for tie in ties.values():
            mine, theirs = tie.id_on(side), tie.id_on(other(side))
            if mine not in scan.changed or not _has(tie.shadow(side), pair.name):
                continue
            twin = far.changed.get(theirs or "")
            there = twin.fields if twin is not None else tie.shadow(other(side))
            lost += _has(there, pair.on(other(side)) if twin is not None else pair.name)
        if lost >= FEW:
            found.append(pair.name)
    return found


def _has(fields: Fields, name: str) -> bool:
    return fields.get(name, MISSING) not in (MISSING, None, "", ())


def problem(side: Side, field_name: str) -> Problem:
    return Problem(
        "field_vanished",
        f"The field '{field_name}' came back with no record on {side}, though records held values in it."
        " Nothing is cleared on the other side. If the field was really emptied, empty it there too.",
        side=side,
        field_name=field_name,
        operation="read",
    )
