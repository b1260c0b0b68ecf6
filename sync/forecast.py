"""What a run will cost in calls to a system that counts them, said before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from sync.records import Side


@dataclass(frozen=True, slots=True)
class Demand:
    """So many calls under one quota: at most `limit` in any `period` seconds."""

    side: Side
    quota: str  # in words
    limit: int
    period: float
    calls: int
    shared_by: tuple[str, ...] = ()  # other syncs whose calls count with these

    @property
    def seconds(self) -> float:
        """How long the quota alone makes it take, if nobody else asks meanwhile."""
        return max(0, ceil(self.calls / self.limit) - 1) * self.period

    @property
    def sentence(self) -> str:
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        text = f"About {calls} to {self.side}, which allows {self.quota}"
        text += f": {_span(self.seconds)} at least." if self.seconds else "."
        if self.shared_by:
            text += f" It shares them with {', '.join(self.shared_by)}."
        return text


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{ceil(seconds)} s"
    return f"{ceil(seconds / 60):,} min"
