"""What the engine decides: intents, conflicts, problems, and what becomes of a link. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sync.mapping import Seen
from sync.records import Problem, Side
from sync.values import MISSING, Fields, Value

# -- what is known of one end of a link in this run ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Gone:
    """Confirmed absent. `at`: when, where the system tells; `problem`: nobody deleted it (it was merged)."""

    at: datetime | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Neither seen nor known to be gone. A `problem` is reported; without one it only waits."""

    reason: str
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class OutOfScope:
    """There, but the config's filter leaves it out."""

    seen: Seen


Look = Seen | Gone | Unknown | OutOfScope

# -- a link as the engine is handed it -----------------------------------------------------------

LinkStateName = Literal["linked", "excluded", "unlinked"]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A person's answer to one conflict, valid only while both sides still hold what was shown."""

    take: Literal["left", "right", "value"]
    seen_left: Value = MISSING
    seen_right: Value = MISSING
    value: Value = MISSING  # for take="value": in the left side's own form


@dataclass(frozen=True, slots=True)
class Tie:
    """A link: two ids and two shadows in own form. A fresh pair has id None and empty shadows."""

    id: int | None
    left_id: str | None
    right_id: str | None
    left: Fields = field(default_factory=dict)
    right: Fields = field(default_factory=dict)
    state: LinkStateName = "linked"
    reason: str = ""
    key: str = ""
    resolutions: Mapping[str, Resolution] = field(default_factory=dict)
    # (field, side) -> the value that was written there three runs in a row: not a fourth time.
    worn_out: Mapping[tuple[str, Side], Value] = field(default_factory=dict)
    restless: frozenset[tuple[str, Side]] = frozenset()  # (field, side) written to in each of the last runs
    volatile: frozenset[str] = frozenset()  # fields that change by themselves, from one look to the next

    def shadow(self, side: Side) -> Fields:
        return self.left if side == "left" else self.right

    def id_on(self, side: Side) -> str | None:
        return self.left_id if side == "left" else self.right_id


# -- what is decided -----------------------------------------------------------------------------

Operation = Literal["create", "update", "delete", "relink"]  # relink: an old record under a new id


@dataclass(frozen=True, slots=True)
class Intent:
    """One write to one side. All values are in own forms, by the pairs' names.

    `after` and `before` belong to the side that is written to (a delete's `before` is the whole
    record). `settle` holds, for the same fields, what the *other* side's shadow becomes when this
    write is confirmed. `rules` says for each field why.
    """

    side: Side
    operation: Operation
    rule: str
    after: Fields = field(default_factory=dict)
    before: Fields = field(default_factory=dict)
    settle: Fields = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    archives: bool = False  # an update that stands for a delete
    needs_approval: bool = False  # the policy itself asks for a person


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """Both sides changed `field` differently; field "" is one side's edit against the other's delete."""

    field: str
    left: Value
    right: Value
    left_shadow: Value
    right_shadow: Value
    left_modified: datetime | None = None
    right_modified: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Unlinked:
    """Records to which `side` links in `field`, and which have no partner to link to on the other side."""

    side: Side
    field: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkMove:
    """What becomes of the link itself, without any write."""

    state: Literal["linked", "excluded", "unlinked", "tombstone"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that one run decides for one link or fresh pair."""

    intents: tuple[Intent, ...] = ()
    agreed: Mapping[str, tuple[Value, Value]] = field(default_factory=dict)  # shadows that move at once
    conflicts: tuple[FieldConflict, ...] = ()
    problems: tuple[Problem, ...] = ()
    stale_resolutions: tuple[str, ...] = ()  # fields whose answer no longer fits what is there
    resolved: int = 0  # conflicts that the policy settled
    move: LinkMove | None = None
    left_alone: tuple[str, ...] = ()  # fields that are not as the shadows say, and stay so
    unlinked: tuple[Unlinked, ...] = ()  # links that cannot flow, or not before another record is made
    waits: str = ""  # why nothing is decided: an unconfirmed absence, an unreadable record
    excluded: str = ""  # why the record takes no part
    notes: tuple[str, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Nothing is open once the intents are confirmed: the versions may be kept with the shadows."""
        is_open = self.conflicts or self.problems or self.left_alone or self.unlinked
        return not (is_open or self.waits or self.excluded)

    @property
    def is_unchanged(self) -> bool:
        is_open = self.conflicts or self.problems or self.unlinked or self.waits or self.excluded
        return not (is_open or self.intents or self.move)
