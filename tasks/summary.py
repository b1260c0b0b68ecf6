"""What a run says of itself at its end: one shape for the command line, the log, the panel."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sync.records import SIDES, Side


@dataclass(slots=True)
class SideCounts:
    """`read` from this side; created, updated, deleted are writes *to* it."""

    read: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class RunError:
    key: str
    side: str
    operation: str
    code: str
    message: str


@dataclass(slots=True)
class Summary:
    run: str
    config: str
    status: str = "success"
    left: SideCounts = field(default_factory=SideCounts)
    right: SideCounts = field(default_factory=SideCounts)
    unchanged: int = 0
    resolved: int = 0  # conflicts settled by policy in this run
    conflicts: int = 0  # records with an open conflict after it
    held: int = 0
    failed: int = 0
    excluded: int = 0
    errors: list[RunError] = field(default_factory=list)
    duration_ms: int = 0
    changes: list[dict[str, Any]] | None = None  # only of a preview
    notes: list[str] = field(
        default_factory=list
    )  # what a run does before its changes: a table that it makes
    cost: list[dict[str, Any]] | None = None  # only of a preview, where a system counts its calls

    def side(self, side: Side) -> SideCounts:
        return self.left if side == "left" else self.right

    def settle_status(self) -> None:
        """partial if and only if something failed, is in conflict or is held."""
        self.status = "partial" if self.failed + self.conflicts + self.held else "success"

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        for name in ("changes", "cost"):
            if found[name] is None:
                del found[name]
        if not self.notes:
            del found["notes"]
        return found

    def line(self) -> str:
        """One readable line: `left 3 created, 1 updated; right nothing; 196 unchanged; 1.2 s`."""
        parts = [f"{side}: {_writes(self.side(side))}" for side in SIDES]
        parts.append(f"{self.unchanged} unchanged")
        for word in ("resolved", "conflicts", "held", "failed", "excluded"):
            if count := getattr(self, word):
                parts.append(f"{count} {word}")
        return f"{'; '.join(parts)}; {self.duration_ms / 1000:.1f} s"


def _writes(counts: SideCounts) -> str:
    said = [
        f"{getattr(counts, verb)} {verb}"
        for verb in ("created", "updated", "deleted")
        if getattr(counts, verb)
    ]
    return f"{counts.read} read, {', '.join(said) if said else 'nothing written'}"
