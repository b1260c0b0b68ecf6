"""What a run will cost in calls to a system that counts them, said before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from sync.records import Side


@dataclass(frozen=True, slots=True)
class Sharer:
    """Another sync whose calls count under the same quota."""

    sync: str
    calls_an_hour: float | None = None  # going by its schedule and its last run; None where nothing is known

    @property
    def words(self) -> str:
        if self.calls_an_hour is None:
            return self.sync
        if self.calls_an_hour < 1:
            return f"{self.sync} (less than a call an hour)"
        calls = round(self.calls_an_hour)
        return f"{self.sync} (about {calls:,} {'call' if calls == 1 else 'calls'} an hour)"


@dataclass(frozen=True, slots=True)
class Demand:
    """So many calls under one quota: at most `limit` in any `period` seconds."""

    side: Side
    quota: str  # in words
    limit: int
    period: float
    calls: int
    shared_by: tuple[Sharer, ...] = ()

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
            text += f" It shares them with {', '.join(item.words for item in self.shared_by)}."
        return text


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{ceil(seconds)} s"
    return f"{ceil(seconds / 60):,} min"
