"""Links between records: what an id in a link field of one side means on the other.

Each side's own value of a link field is a set of that side's record ids. A `Relation` tells who is who
among the linked records; it is made anew for each run from the link tables of the syncs that carry them.
An id without a partner can neither be sent nor be missed: it stays where it stands, is reported, and flows
as soon as it has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sync.records import SIDES, Side, other
from sync.values import MISSING, FieldType, Value, ValueProblem, display, parse, short

_MANY = (FieldType.TEXT, FieldType.LIST, FieldType.LINKS, FieldType.JSON)


@dataclass(frozen=True, slots=True)
class LinkForm:
    """How a field holds the ids that it links to: one or many, and in values of which type."""

    type: FieldType
    single: bool = False

    def read(self, raw: Value) -> Value:
        """The ids; None where there is none. Raises ValueProblem."""
        if raw is MISSING:
            return raw
        if self.type in _MANY and not self.single:
            return parse(raw, FieldType.LINKS) or None
        value = parse(raw[0] if isinstance(raw, tuple | list) and len(raw) == 1 else raw, self.type)
        return None if value in (None, "") else (display(value),)

    def written(self, ids: Value) -> Value:
        """The ids as a value of the field's own type. Raises ValueProblem."""
        if not ids:
            return None
        if self.type in _MANY and not self.single:
            if self.type is not FieldType.TEXT:
                return list(ids) if self.type is FieldType.JSON else tuple(ids)
            if odd := next((item for item in ids if "," in item or item != item.strip()), None):
                raise ValueProblem(f"the id {short(odd)} cannot stand in a list with commas")
            return ", ".join(ids)
        return parse(ids[0], self.type) if self.type is not FieldType.LINKS else tuple(ids)


@dataclass(frozen=True, slots=True)
class Relation:
    """Who is who among the records that a field links to."""

    left: Mapping[str, str] = field(default_factory=dict)  # left id -> right id
    right: Mapping[str, str] = field(default_factory=dict)
    over: frozenset[tuple[str, str]] = frozenset()  # pairs of which a record is gone: not linked to any more
    own: bool = False  # the linked records are of the sync's own stream

    def table(self, side: Side) -> Mapping[str, str]:
        return self.left if side == "left" else self.right

    def partner(self, side: Side, id: str) -> str | None:
        """The other side's id of a record that can be linked to there."""
        there = self.table(side).get(id)
        if there is None:
            return None
        return None if ((id, there) if side == "left" else (there, id)) in self.over else there

    def across(self, side: Side, ids: Value) -> Value:
        found = {there for id in ids or () if (there := self.partner(side, id)) is not None}
        return tuple(sorted(found)) or None

    def without_partner(self, side: Side, ids: Value) -> tuple[str, ...]:
        return tuple(id for id in ids or () if id is not MISSING and self.partner(side, id) is None)

    def agree(self, left: Value, right: Value) -> bool:
        """Whether both sides link to the same records, as far as these are on both sides."""
        pairs = self._pairs({"left": left, "right": right})
        lefts, rights = set(left or ()), set(right or ())
        return all(one in lefts and two in rights for one, two in pairs)

    def arrived_nowhere(self, side: Side, now: Mapping[Side, Value], shadows: Mapping[Side, Value]) -> bool:
        """Whether `side` links to a record that had no partner when both last agreed, and has one now."""
        there = set(now[other(side)] or ())
        for id in now[side] or ():
            partner = self.partner(side, id)
            if partner is None or partner in there:
                continue
            if id not in _set(shadows[side]) or partner not in _set(shadows[other(side)]):
                return True
        return False

    def merged(self, now: Mapping[Side, Value], shadows: Mapping[Side, Value]) -> dict[Side, tuple[str, ...]]:
        """Both sides' ids once what either has added is on both, and what either has removed is on none."""
        held = {side: set(now[side] or ()) for side in SIDES}
        result = {side: set(held[side]) for side in SIDES}
        for pair in self._pairs(now):
            ids: Mapping[Side, str] = {"left": pair[0], "right": pair[1]}
            having = [side for side in SIDES if ids[side] in held[side]]
            if len(having) == 2:
                continue
            side = having[0]
            if all(ids[each] in _set(shadows[each]) for each in SIDES):
                result[side].discard(ids[side])  # agreed on before: the other side has removed it
            elif pair not in self.over:
                result[other(side)].add(ids[other(side)])
        return {side: tuple(sorted(result[side])) for side in SIDES}

    def with_met(self, met: Iterable[tuple[str, str]]) -> Relation:
        pairs = list(met)
        return replace(
            self,
            left={**self.left, **dict(pairs)},
            right={**self.right, **{right: left for left, right in pairs}},
            over=self.over - set(pairs),
        )

    def _pairs(self, now: Mapping[Side, Value]) -> set[tuple[str, str]]:
        pairs = {(id, self.left[id]) for id in now["left"] or () if id in self.left}
        return pairs | {(self.right[id], id) for id in now["right"] or () if id in self.right}


def _set(ids: Value) -> set[str]:
    return set() if ids is MISSING or ids is None else set(ids)
