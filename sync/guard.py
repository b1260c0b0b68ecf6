"""Guards: dangerous classes of changes are held for a person; the rest of the run proceeds.

A guard looks at counts over the whole plan and never at who asked for the run. Approval is for one
change as it was shown (its fingerprint) and for the guard that held it: another guard still holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from sync.plan import Intent, Tie
from sync.policy import Guards
from sync.records import SIDES, Side, other

FIRST_RUN = "first_run"
MIGRATION = "migration"
APPROVAL = "approval"
RENAME = "rename"
EMPTY_SIDE = "empty_side"
MASS_DELETE = "mass_delete"
MASS_CREATE = "mass_create"
ALL_CHANGED = "all_changed"
BUDGET = "budget"
CONTAINER = "container"

SENTENCES: Mapping[str, str] = {
    FIRST_RUN: "Both sides held records before their first run: have a look at the plan, then approve it.",
    MIGRATION: "The mapping, the match fields, the filter, the direction or a stream changed.",
    APPROVAL: "This sync asks a person before it deletes.",
    RENAME: "A record is missing and a new one holds the same values: probably it was renamed.",
    EMPTY_SIDE: "A side that held records is empty now.",
    MASS_DELETE: "Unusually many records would be deleted.",
    MASS_CREATE: "Unusually many records would be created.",
    ALL_CHANGED: "Almost every record would be changed in the same field.",
    BUDGET: "The run's budget is used up.",
}


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One intent of the plan with what the journal needs to name it. `guard` says why it is held."""

    tie: Tie
    intent: Intent
    key: str
    record_id: str | None  # on the side that is written to
    origin_id: str | None  # on the other side
    fingerprint: str
    guard: str | None = None
    # Fields that will link to records which this run makes: their ids on the other side, and their keys.
    awaits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    takes_along: Mapping[str, int] = field(
        default_factory=dict
    )  # stream -> records its system deletes with it


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guards know of the whole."""

    known: int  # links that take part
    was_populated: Mapping[Side, bool]  # the side held records when last looked at
    counts: Mapping[Side, int]  # records that this run read from each side
    first_contact: bool = False  # no run got through yet, and both sides hold records
    first_load_done: bool = True
    migration: bool = False
    approved: Mapping[str, frozenset[str]] = field(default_factory=dict)  # fingerprint -> guards
    dismissed: frozenset[str] = frozenset()  # fingerprints to which a person said no
    held: Mapping[str, frozenset[str]] = field(default_factory=dict)  # fingerprint -> guards: wait already
    # (side, id) -> stream -> how many records the side's system deletes along with that one
    along: Mapping[tuple[Side, str], Mapping[str, int]] = field(default_factory=dict)


def hold(
    changes: Sequence[PlannedChange], facts: Facts, policy: Guards, *, hold_first_run: bool
) -> list[PlannedChange]:
    """The same changes, in the same order, the dangerous ones marked with the guard that holds them."""
    marks: dict[int, str] = {}

    def mark(indexes: Iterable[int], guard: str) -> None:
        for index in indexes:
            approved = facts.approved.get(changes[index].fingerprint, frozenset())
            if index not in marks and guard not in approved:
                marks[index] = guard

    def those(test: Callable[[PlannedChange], bool]) -> list[int]:
        return [index for index, change in enumerate(changes) if test(change)]

    mark(those(lambda change: change.intent.operation == "relink"), RENAME)
    if facts.first_contact and hold_first_run:
        mark(range(len(changes)), FIRST_RUN)
    if facts.migration:
        mark(range(len(changes)), MIGRATION)
    mark(those(lambda change: change.intent.needs_approval), APPROVAL)
    if policy.on:
        # What a guard of numbers has held stays held until a person decides, whatever the numbers are now.
        for name in (EMPTY_SIDE, MASS_DELETE, MASS_CREATE, ALL_CHANGED, BUDGET) if facts.held else ():
            mark(those(lambda change, name=name: name in facts.held.get(change.fingerprint, ())), name)  # type: ignore[misc]
        for side in SIDES:
            _guard_side(side, changes, facts, policy, mark, those)
        _guard_budget(changes, policy, marks, mark)
    return [
        replace(change, guard=marks.get(index)) if change.guard != marks.get(index) else change
        for index, change in enumerate(changes)
    ]


def why_held(held: Iterable[PlannedChange]) -> list[str]:
    """For each held change its guard's sentence, with what all that are held with it have in common."""
    changes = list(held)
    shifts: dict[tuple[Side, str], set[str]] = {}
    for change in changes:
        if change.guard == ALL_CHANGED:
            for name in change.intent.after:
                shifts.setdefault((change.intent.side, name), set()).add(_shift(change, name))
    alike = {place: next(iter(found)) for place, found in shifts.items() if len(found) == 1}
    return [
        SENTENCES.get(change.guard or "", "")
        + "".join(
            f" Each '{name}' moves by {shift}."
            for name in change.intent.after
            if change.guard == ALL_CHANGED and (shift := alike.get((change.intent.side, name)))
        )
        + along(change)
        for change in changes
    ]


def along(change: PlannedChange) -> str:
    """What the system deletes with this record, as a sentence behind another one."""
    found = [f"{count} of '{stream}'" for stream, count in change.takes_along.items() if count]
    return f" The system deletes along with it: {', '.join(found)}." if found else ""


def _shift(change: PlannedChange, name: str) -> str:
    """By how much a number or time would move; "" where that means nothing."""
    before, after = change.intent.before.get(name), change.intent.after[name]
    match before, after:
        case (bool(), _) | (_, bool()):
            return ""
        case (int() | Decimal(), int() | Decimal()):
            return f"{after - before:+}"
        case (datetime(), datetime()) | (date(), date()):
            delta = after - before
            return f"{'-' if delta < timedelta(0) else '+'}{abs(delta)}"
        case _:
            return ""


def container_fingerprint(side: Side, was: str, now: str) -> str:
    """What an approval of another container is good for."""
    return hashlib.sha256(f"container|{side}|{was}|{now}".encode()).hexdigest()


def is_delete(change: PlannedChange) -> bool:
    """A delete, or the update that stands for one (`deletes: archive`)."""
    return change.intent.operation == "delete" or change.intent.archives


def _guard_side(
    side: Side,
    changes: Sequence[PlannedChange],
    facts: Facts,
    policy: Guards,
    mark: Callable[[Iterable[int], str], None],
    those: Callable[[Callable[[PlannedChange], bool]], list[int]],
) -> None:
    """The guards over what would be written to one side."""
    deletes = those(lambda change: change.intent.side == side and is_delete(change))
    origin = other(side)
    if deletes and facts.was_populated[origin] and facts.counts[origin] == 0:
        mark(deletes, EMPTY_SIDE)
    # Foreign records (an `exclusive` destination) are not among the known: they widen the whole.
    whole = max(facts.known, facts.counts[side], 1)
    # What a system deletes along with a record is deleted as well: it counts, and widens the whole.
    along = sum(sum(changes[index].takes_along.values()) for index in deletes)
    count, limits = len(deletes) + along, policy.deletes
    share = count / (whole + along)
    if (count >= limits.small_above and share >= limits.small_share) or (
        count > limits.above and share > limits.share
    ):
        mark(deletes, MASS_DELETE)
    if not facts.first_load_done:
        return
    creates = those(lambda change: change.intent.side == side and change.intent.operation == "create")
    if len(creates) > policy.creates and len(creates) > policy.creates_share * facts.known:
        mark(creates, MASS_CREATE)
    _guard_updates(side, changes, facts, policy, mark)


def _guard_updates(
    side: Side,
    changes: Sequence[PlannedChange],
    facts: Facts,
    policy: Guards,
    mark: Callable[[Iterable[int], str], None],
) -> None:
    """Nine of ten records changed in the same field look like a slip of a mapping or a time zone."""
    by_field: dict[str, list[int]] = {}
    for index, change in enumerate(changes):
        if change.intent.side == side and change.intent.operation == "update" and not change.intent.archives:
            for name in change.intent.after:
                by_field.setdefault(name, []).append(index)
    for indexes in by_field.values():
        if len(indexes) >= policy.updates_above and len(indexes) >= policy.updates_share * facts.known:
            mark(indexes, ALL_CHANGED)


def _guard_budget(
    changes: Sequence[PlannedChange],
    policy: Guards,
    marks: Mapping[int, str],
    mark: Callable[[Iterable[int], str], None],
) -> None:
    budget = policy.budget
    limits = {"create": budget.creates, "update": budget.updates, "delete": budget.deletes}
    for operation, limit in limits.items():
        if limit is None:
            continue
        flowing = [
            index
            for index, change in enumerate(changes)
            if index not in marks
            and ("delete" if is_delete(change) else change.intent.operation) == operation
        ]
        mark(flowing[limit:], BUDGET)
