"""The order in which changes are sent, so that a unique value is free before somebody takes it.

Deletes first, then updates, then creates. Among updates of a unique field whoever gives a value up goes
before whoever takes it. In a circle of them one record first steps aside: it holds a value of our own
until its turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from sync.guard import PlannedChange
from sync.mapping import FieldPair, contract_problem
from sync.plan import Intent
from sync.reconcile import Rules
from sync.records import SIDES, Side
from sync.values import MISSING, Fields, FieldType, Value, dumps, encode

ASIDE = "stepped aside"
_RANK = {"relink": 0, "delete": 1, "update": 2, "create": 3}


@dataclass(frozen=True, slots=True)
class Step:
    """One write. `moved` holds what an earlier step of this run has put in place of what was read."""

    change: PlannedChange
    moved: Fields = field(default_factory=dict)

    @property
    def is_aside(self) -> bool:
        return self.change.intent.rule == ASIDE


def in_order(changes: Sequence[PlannedChange], rules: Rules) -> list[Step]:
    """Sides and operations together, deletes first; values freed before they are taken."""
    ranked = sorted(changes, key=lambda change: (change.intent.side, _RANK[change.intent.operation]))
    ranked = _parents_first(ranked)
    updates = [change for change in ranked if change.intent.operation == "update"]
    if not updates:
        return [Step(change) for change in ranked]
    steps: dict[Side, list[Step]] = {side: [] for side in SIDES}
    for step in _freed_first(updates, rules):
        steps[step.change.intent.side].append(step)
    found: list[Step] = []
    for change in ranked:
        if change.intent.operation == "update":
            # All steps of a side come where its first update stands.
            found += steps.pop(change.intent.side, ())
        else:
            found.append(Step(change))
    return found


def _parents_first(changes: Sequence[PlannedChange]) -> list[PlannedChange]:
    """The same; a new record that links to another new one comes after it, as far as they form no circle."""
    if not any(change.awaits for change in changes):
        return list(changes)
    made = {
        (change.intent.side, change.origin_id): index
        for index, change in enumerate(changes)
        if change.intent.operation == "create"
    }
    placed: list[PlannedChange] = []
    state = [0] * len(changes)  # 0 untouched, 1 on the way, 2 placed
    for start in range(len(changes)):
        stack = [start]
        while stack:
            index = stack[-1]
            change = changes[index]
            if state[index] == 2:
                stack.pop()
                continue
            state[index] = 1
            needs = [made.get((change.intent.side, id)) for ids in change.awaits.values() for id in ids]
            waiting = [need for need in needs if need is not None and state[need] == 0]
            if waiting:
                stack.extend(waiting)
                continue
            state[index] = 2
            placed.append(change)
            stack.pop()
    return placed


def _freed_first(updates: Sequence[PlannedChange], rules: Rules) -> list[Step]:
    """Those who step aside, then all updates."""
    order, rings = _sorted_by_need(updates, rules)
    asides: list[Step] = []
    moved: dict[int, dict[str, Value]] = {}
    for index in sorted(rings):
        change = updates[index]
        values = {
            name: value
            for name in sorted(rings[index])
            if (value := _own_value(change, rules.mapping.pair(name), rules)) is not MISSING
        }
        if values:
            asides.append(Step(_aside(change, values)))
            moved[index] = values
    return asides + [Step(updates[index], moved.get(index, {})) for index in order]


def _sorted_by_need(
    updates: Sequence[PlannedChange], rules: Rules
) -> tuple[list[int], Mapping[int, set[str]]]:
    """The indexes, each after those it needs; and who must free which field for one that cannot wait."""
    holder: dict[tuple[str, str, str], int] = {}
    unique = _unique_fields(rules)
    taking = [sorted(unique[change.intent.side].intersection(change.intent.after)) for change in updates]
    for index, change in enumerate(updates):
        for name in taking[index]:
            if (before := change.intent.before.get(name, MISSING)) is not MISSING:
                holder[change.intent.side, name, dumps(encode(before))] = index
    waits_for: list[list[tuple[int, str]]] = []
    for index, change in enumerate(updates):
        needs = []
        for name in taking[index]:
            taken_from = holder.get((change.intent.side, name, dumps(encode(change.intent.after[name]))))
            if taken_from is not None and taken_from != index:
                needs.append((taken_from, name))
        waits_for.append(needs)
    order: list[int] = []
    rings: dict[int, set[str]] = {}
    state = [0] * len(updates)  # 0 untouched, 1 on the way, 2 placed
    for start in range(len(updates)):
        stack = [start]
        while stack:
            index = stack[-1]
            if state[index] == 2:
                stack.pop()
                continue
            state[index] = 1
            open_needs = [need for need, _ in waits_for[index] if state[need] == 0]
            if open_needs:
                stack.extend(open_needs)
                continue
            for need, name in waits_for[index]:
                if state[need] == 1:  # who needs us, and cannot go first
                    rings.setdefault(need, set()).add(name)
            state[index] = 2
            order.append(index)
            stack.pop()
    return order, rings


def _unique_fields(rules: Rules) -> Mapping[Side, frozenset[str]]:
    """The fields of each side that hold a value once, as far as is known."""
    return {
        side: frozenset(
            pair.name
            for pair in rules.mapping.pairs
            if pair.name in rules.mapping.match or _is_unique(pair, side, rules)
        )
        for side in SIDES
    }


def _is_unique(pair: FieldPair, side: Side, rules: Rules) -> bool:
    spec = rules.stream(side).field(pair.on(side))
    return spec is not None and (spec.unique or spec.name in rules.stream(side).key)


def _aside(change: PlannedChange, values: Fields) -> PlannedChange:
    """A write of its own that frees these fields. Until the run is done the far side counts as changed,
    so that the real values follow, whatever happens in between."""
    intent = Intent(
        side=change.intent.side,
        operation="update",
        rule=ASIDE,
        after=values,
        before={name: change.intent.before[name] for name in values},
        settle=values,
    )
    return replace(change, intent=intent)


def _own_value(change: PlannedChange, pair: FieldPair, rules: Rules) -> Value:
    """A value that nobody else holds, by the change's fingerprint; MISSING where none fits the field."""
    side, stream = change.intent.side, rules.stream(change.intent.side)
    if not _is_unique(pair, side, rules) or stream.key == (pair.on(side),):
        return MISSING  # not refused twice; or the record's own id, which is nothing to play with
    digits = change.fingerprint
    match pair.own_type(side):
        case FieldType.TEXT:
            value: Value = f"~{digits[:11]}"
        case FieldType.INTEGER:
            value = 2_000_000_000 + int(digits[:6], 16) % 100_000_000
        case FieldType.DECIMAL:
            value = Decimal(2_000_000_000 + int(digits[:6], 16) % 100_000_000)
        case _:
            return MISSING
    return MISSING if contract_problem(pair, side, value, stream) else value
