"""The filter of one end: which of its records take part."""

from __future__ import annotations

from dataclasses import dataclass

from sync.records import Record
from sync.values import MISSING, Value, display


@dataclass(frozen=True, slots=True)
class Scope:
    """Records whose `field` is one of `values` (or, with `inside` off, none of them).

    Values are compared as the text that a person reads, so `true`, `1.0` and dates mean what they show.
    """

    field: str
    values: tuple[Value, ...]
    inside: bool = True

    def includes(self, record: Record) -> bool:
        value = record.fields.get(self.field, MISSING)
        if value is MISSING:
            return False
        wanted = {_text(item) for item in self.values}
        return (_text(value) in wanted) is self.inside


def _text(value: Value) -> str:
    return display(value).strip()
