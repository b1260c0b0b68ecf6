"""How often a system may be asked: what a connector declares, and who holds its calls to that.

The keeping is not done here: whoever opens connectors hands them a Limiter that all workers share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` calls in any `period` seconds, counted under `key` by everybody who has the same.

    `name` says it to people ("5 calls a second per Airtable base"). The key names what the system counts
    by (a base, a project, an account) and holds no secret.
    """

    name: str
    key: str
    limit: int
    period: float = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """So many calls that count under one quota."""

    quota: Quota
    calls: int


class Limiter(Protocol):
    def take(self, quotas: Sequence[Quota]) -> None:
        """Wait until one call may be sent under each of these quotas, and count it.

        Raises RateLimited at once where that would take too long to wait for.
        """

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        """The system refused a call all the same: let nobody ask under these quotas for so long."""


class NoLimiter:
    """Lets every call through: for what runs alone, such as a test."""

    def take(self, quotas: Sequence[Quota]) -> None:
        return

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        return
