"""The order in which changes are sent, so that a unique value is free before somebody takes it.

Deletes first, then updates, then creates. Among updates of a unique field whoever gives a value up
goes before whoever takes it; a circle of them is left as it is (the system says what it thinks of it).
"""

from __future__ import annotations

from collections.abc import Sequence

from sync.guard import PlannedChange
from sync.reconcile import Rules
from sync.values import MISSING, dumps, encode

_RANK = {"relink": 0, "delete": 1, "update": 2, "create": 3}


def in_order(changes: Sequence[PlannedChange], rules: Rules) -> list[PlannedChange]:
    """The same changes, sides and operations together, updates freed before they are taken."""
    ranked = sorted(changes, key=lambda change: (change.intent.side, _RANK[change.intent.operation]))
    updates = [change for change in ranked if change.intent.operation == "update"]
    if not updates:
        return ranked
    ordered = _freed_first(updates, rules)
    place = iter(ordered)
    return [next(place) if change.intent.operation == "update" else change for change in ranked]


def _freed_first(updates: Sequence[PlannedChange], rules: Rules) -> list[PlannedChange]:
    holder: dict[tuple[str, str, str], int] = {}
    for index, change in enumerate(updates):
        for name in _unique_fields(change, rules):
            if (before := change.intent.before.get(name, MISSING)) is not MISSING:
                holder[change.intent.side, name, dumps(encode(before))] = index
    waits_for: list[list[int]] = []
    for index, change in enumerate(updates):
        needs = []
        for name in _unique_fields(change, rules):
            taken_from = holder.get((change.intent.side, name, dumps(encode(change.intent.after[name]))))
            if taken_from is not None and taken_from != index:
                needs.append(taken_from)
        waits_for.append(needs)
    done: list[int] = []
    state = [0] * len(updates)  # 0 untouched, 1 on the way, 2 placed
    for start in range(len(updates)):
        stack = [start]
        while stack:
            index = stack[-1]
            if state[index] == 2:
                stack.pop()
                continue
            state[index] = 1
            open_needs = [need for need in waits_for[index] if state[need] == 0]
            if open_needs:
                stack.extend(open_needs)
            else:
                state[index] = 2
                done.append(index)
                stack.pop()
    # Sides stay together: the sort is stable.
    return sorted((updates[index] for index in done), key=lambda change: change.intent.side)


def _unique_fields(change: PlannedChange, rules: Rules) -> list[str]:
    stream = rules.stream(change.intent.side)
    found = []
    for name in change.intent.after:
        spec = stream.field(rules.mapping.pair(name).on(change.intent.side))
        if name in rules.mapping.match or (spec is not None and (spec.unique or spec.name in stream.key)):
            found.append(name)
    return found
