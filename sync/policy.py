"""The stated policies of a sync: who wins, what a deletion means, what waits for a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from sync.records import Side
from sync.values import Value


class Direction(StrEnum):
    BOTH = "bidirectional"
    LEFT_TO_RIGHT = "left_to_right"
    RIGHT_TO_LEFT = "right_to_left"

    def writes_to(self, side: Side) -> bool:
        return self is Direction.BOTH or (self is Direction.LEFT_TO_RIGHT) == (side == "right")


class ConflictPolicy(StrEnum):
    LEFT_WINS = "left_wins"
    RIGHT_WINS = "right_wins"
    NEWEST_WINS = "newest_wins"
    MANUAL = "manual"


class Granularity(StrEnum):
    FIELD = "field"
    RECORD = "record"


class EditVersusDelete(StrEnum):
    EDIT_WINS = "edit_wins"
    DELETE_WINS = "delete_wins"
    FOLLOW = "follow"
    MANUAL = "manual"


class DeletePolicy(StrEnum):
    NEVER = "never"
    PROPAGATE = "propagate"
    ARCHIVE = "archive"
    UNLINK = "unlink"
    APPROVE = "approve"


class Drift(StrEnum):
    OVERWRITE = "overwrite"
    IGNORE = "ignore"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Archive:
    """What `deletes: archive` writes to the surviving copy: a field (by its left name) and its value."""

    field: str
    value: Value


@dataclass(frozen=True, slots=True)
class Deletes:
    """What the absence on one side means for the copy on the other."""

    left_to_right: DeletePolicy = DeletePolicy.NEVER
    right_to_left: DeletePolicy = DeletePolicy.NEVER
    archive: Archive | None = None

    def when_gone_on(self, side: Side) -> DeletePolicy:
        return self.left_to_right if side == "left" else self.right_to_left


@dataclass(frozen=True, slots=True)
class DeleteLimits:
    """Deletes are held above `above` with more than `share`, or from `small_above` with `small_share`."""

    above: int = 10
    share: Decimal = Decimal("0.1")
    small_above: int = 3
    small_share: Decimal = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most of each kind of change that one run may make without being asked."""

    creates: int | None = None
    updates: int | None = None
    deletes: int | None = None


@dataclass(frozen=True, slots=True)
class Guards:
    """The classes of changes that wait for a person. `on=False` leaves only what a law demands."""

    on: bool = True
    deletes: DeleteLimits = field(default_factory=DeleteLimits)
    creates: int = 1000
    creates_share: Decimal = Decimal("0.5")
    updates_above: int = 20
    updates_share: Decimal = Decimal("0.9")
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True)
class Policy:
    direction: Direction = Direction.BOTH
    conflict: ConflictPolicy = ConflictPolicy.MANUAL
    tie: ConflictPolicy = ConflictPolicy.MANUAL  # left_wins, right_wins or manual
    tolerance: timedelta = timedelta(seconds=2)  # times closer than this are a tie
    granularity: Granularity = Granularity.FIELD
    edit_vs_delete: EditVersusDelete = EditVersusDelete.EDIT_WINS
    deletes: Deletes = field(default_factory=Deletes)
    exclusive: bool = False
    drift: Drift = Drift.OVERWRITE
    hold_first_run: bool = True
    strict: bool = False
    fill_first: bool = True  # at first contact a value beats an empty one
    settle: timedelta = timedelta(0)  # a record edited more recently than this waits
    guards: Guards = field(default_factory=Guards)


def side_that_wins(policy: ConflictPolicy) -> Side | None:
    match policy:
        case ConflictPolicy.LEFT_WINS:
            return "left"
        case ConflictPolicy.RIGHT_WINS:
            return "right"
        case _:
            return None


def mirrored(direction: Direction) -> Direction:
    """The same direction with the sides swapped."""
    match direction:
        case Direction.LEFT_TO_RIGHT:
            return Direction.RIGHT_TO_LEFT
        case Direction.RIGHT_TO_LEFT:
            return Direction.LEFT_TO_RIGHT
        case _:
            return direction
