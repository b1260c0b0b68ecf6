"""Stored values as people read them: what was there, what is there now, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sync.values import MISSING, Value, decode, display
from web.languages import _, mark

CUT = 160  # characters of a value that are shown before "more"


@dataclass(frozen=True, slots=True)
class Shown:
    """A value for the page. `text` is None where there is none; `gap` then says which kind of none."""

    text: str | None
    gap_in_english: str = ""

    @property
    def gap(self) -> str:
        return _(self.gap_in_english) if self.gap_in_english else ""

    @property
    def is_long(self) -> bool:
        return self.text is not None and len(self.text) > CUT

    @property
    def head(self) -> str:
        return (self.text or "")[:CUT]

    def __str__(self) -> str:
        return self.text if self.text is not None else self.gap


@dataclass(frozen=True, slots=True)
class FieldChange:
    name: str
    before: Shown
    after: Shown
    kept: Shown | None = None  # what the system made of it, where that is something else


NOTHING = Shown(None, mark("not there"))


def shown(stored: Value) -> Shown:
    """An encoded value, or MISSING, as the page shows it."""
    if stored is MISSING:
        return NOTHING
    value = decode(stored)
    if value is None:
        return Shown(None, mark("empty"))
    if value == "":
        return Shown(None, mark("empty text"))
    return Shown(display(value))


def wrapped(stored: Mapping[str, Any] | None) -> Shown:
    """A conflict's side: `{"value": encoded}`, or None where the record or field is gone."""
    return NOTHING if stored is None else shown(stored.get("value", MISSING))


def field_changes(
    operation: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    result: Mapping[str, Any] | None,
) -> Sequence[FieldChange]:
    """What a change does to each field, in the order in which it was journalled."""
    before, after, result = before or {}, after or {}, result or {}
    names = list(before) if operation == "delete" else list(after)
    found = []
    for name in names:
        wanted = MISSING if operation == "delete" else after.get(name, MISSING)
        kept = result.get(name, MISSING)
        found.append(
            FieldChange(
                name=name,
                before=shown(before.get(name, MISSING)),
                after=shown(wanted),
                kept=shown(kept) if kept is not MISSING and kept != wanted else None,
            )
        )
    return found
