"""Syncs as ways between streams, and the circles that they form."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from sync.policy import Direction


@dataclass(frozen=True, slots=True)
class Way:
    """One sync between two streams, whatever names them."""

    name: str
    left: Hashable
    right: Hashable
    direction: Direction = Direction.BOTH

    def leads(self, start: Hashable) -> Hashable | None:
        """Where an edit made at `start` goes; None if this sync carries none from there."""
        if start == self.left and self.direction.writes_to("right"):
            return self.right
        if start == self.right and self.direction.writes_to("left"):
            return self.left
        return None


def circle(ways: Iterable[Way], name: str) -> Sequence[str]:
    """The syncs, `name` first, along which an edit comes back to where it was made; empty if there are none.

    Each sync is gone along once: there and back over one two-way sync is no circle.
    """
    known = list(ways)
    first = next(way for way in known if way.name == name)
    for start in (first.left, first.right):
        there = first.leads(start)
        if there is None or there == start:
            continue
        found = _path(known, there, start, (name,))
        if found:
            return found
    return ()


def _path(ways: Sequence[Way], here: Hashable, goal: Hashable, gone: tuple[str, ...]) -> tuple[str, ...]:
    """The shortest way on from here, breadth first."""
    paths = [(here, gone)]
    seen = {here}
    while paths:
        place, names = paths.pop(0)
        for way in ways:
            there = way.leads(place)
            if there is None or way.name in names:
                continue
            if there == goal:
                return (*names, way.name)
            if there not in seen:
                seen.add(there)
                paths.append((there, (*names, way.name)))
    return ()
