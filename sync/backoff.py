"""How long to wait before something is tried again: exponential, with full jitter."""

from __future__ import annotations

FIRST_SECONDS = 30.0
LONGEST_SECONDS = 3600.0
_SHORTEST_SECONDS = 1.0


def back_off(
    attempt: int, chance: float, *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS
) -> float:
    """Seconds to wait before try number `attempt` (1 is the first repetition).

    `chance`, in [0, 1), spreads what failed together over the whole interval, which doubles with
    each attempt up to `longest`.
    """
    doubled = min(max(attempt, 1) - 1, 32)  # beyond that every interval is the longest anyway
    return max(_SHORTEST_SECONDS, chance * min(longest, first * 2.0**doubled))
