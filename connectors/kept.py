"""What is dear to make and as good for the next run of the same process: kept, but not open."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Generic, Protocol, TypeVar


class Disposable(Protocol):
    def dispose(self) -> None:
        """Close all that it holds open. It can be used again."""


T = TypeVar("T", bound=Disposable)


@dataclass
class _Place(Generic[T]):
    thing: T
    made: float
    users: int = 0


class Kept(Generic[T]):
    """Things by what they were made from. Several threads may use one at a time; when the last has given it
    back it is disposed of, and taken again by whoever asks for the same next."""

    def __init__(self, most: int = 8, seconds: float = 600, clock: Callable[[], float] = monotonic) -> None:
        """`most` of them are kept, each for so many `seconds`: what it learnt of its system may grow old."""
        self._most, self._seconds, self._clock = most, seconds, clock
        self._places: dict[Hashable, _Place[T]] = {}
        self._lock = Lock()

    def take(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under this key, or is made now."""
        with self._lock:
            place = self._places.pop(key, None)
            if place is None or (not place.users and self._clock() - place.made > self._seconds):
                place = _Place(make(), self._clock())
            place.users += 1
            self._places[key] = place  # the last one taken is the last to go
            return place.thing

    def give_back(self, key: Hashable) -> None:
        with self._lock:
            place = self._places[key]
            place.users -= 1
            if not place.users:
                place.thing.dispose()
            unused = [key for key, place in self._places.items() if not place.users]
            for key in unused[: max(len(self._places) - self._most, 0)]:
                del self._places[key]
