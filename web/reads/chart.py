"""The numbers of small charts, and where their bars stand. Drawn as SVG with a table behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from models.sync_runs import RunState

HEIGHT = 64
GAP = 2
WIDTH = 10


@dataclass(frozen=True, slots=True)
class Piece:
    """One rectangle of a bar."""

    state: str
    x: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    begins: datetime
    counts: Mapping[str, int]
    pieces: Sequence[Piece]
    x: float

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Chart:
    bars: Sequence[Bar]
    most: int
    width: float
    height: float = HEIGHT

    @property
    def totals(self) -> Mapping[str, int]:
        return {state: sum(bar.counts.get(state, 0) for bar in self.bars) for state in STACK}


STACK = ("success", "partial", "failed")  # from the ground up


def last_hours(found: Mapping[str, Mapping[str, int]], since: datetime, hours: int) -> Chart:
    """A bar per hour from `since`; the hours without runs stay empty."""
    begins = [since + timedelta(hours=number) for number in range(hours)]
    counts = [found.get(f"{moment:%Y-%m-%d %H}", {}) for moment in begins]
    most = max((sum(item.values()) for item in counts), default=0)
    bars = []
    for number, (moment, item) in enumerate(zip(begins, counts, strict=True)):
        x = number * (WIDTH + GAP)
        bars.append(Bar(moment, item, pieces(item, x, most, STACK), x))
    return Chart(bars, most, hours * (WIDTH + GAP) - GAP)


def pieces(counts: Mapping[str, float], x: float, most: float, stack: Sequence[str]) -> list[Piece]:
    """The rectangles of one bar, from the ground up; `most` is what fills the height."""
    found, ground = [], float(HEIGHT)
    for name in stack:
        if number := counts.get(name, 0):
            # One failed run among hundreds must stay visible.
            height = max(number / most * HEIGHT, 3.0)
            ground = max(ground - height, 0.0)
            found.append(Piece(name, x, round(ground, 1), round(height, 1)))
    return found


# -- the latest runs of a sync, one bar each ---------------------------------------------------------

ROOM = 24  # bars
_STEP, _HEIGHT, _LEAST = 5, 22, 6
_FILLS = {state: f"fill-{state}" for state in RunState}


@dataclass(frozen=True, slots=True)
class Strip:
    """The bars as SVG: fifty of these stand on one page, which a template would draw a word at a time."""

    bars: Markup
    good: int
    bad: int
    width: int = ROOM * _STEP - 2
    height: int = _HEIGHT


def strip_of(runs: Sequence[Any]) -> Strip:
    """Runs with their state and times, the oldest first."""
    shown = runs[-ROOM:]
    took = [
        (run.finished_at - run.started_at).total_seconds() if run.started_at and run.finished_at else 0.0
        for run in shown
    ]
    scale = (_HEIGHT - _LEAST) / max([*took, 1.0])
    bars = []
    for place, (run, seconds) in enumerate(zip(shown, took, strict=True), ROOM - len(shown)):
        height = round(_LEAST + scale * seconds, 1)
        bars.append(
            f'<rect class="{_FILLS[run.state]}" x="{place * _STEP}" y="{_HEIGHT - height:g}" width="3"'
            f' height="{height:g}" rx="1"/>'
        )
    states = [run.state for run in runs]
    bad = states.count(RunState.FAILED) + states.count(RunState.PARTIAL)
    return Strip(Markup("".join(bars)), states.count(RunState.SUCCESS), bad)  # noqa: S704  words and numbers
