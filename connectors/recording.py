"""What is told of a call to whoever keeps a record of calls: all of it, unmasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Call:
    """One call over HTTP and what came of it. `secrets` must not be kept; they stand in all their forms."""

    method: str
    origin: str  # scheme, host and port
    target: str  # path and query, as sent
    sent_headers: Mapping[str, str] = field(repr=False)
    sent: bytes = field(repr=False)
    seconds: float
    status: int | None = None  # None: no whole answer came
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    problem: str = ""  # in place of an answer
    is_confidential: bool = False  # headers and bodies are about credentials
    secrets: Sequence[str] = field(default=(), repr=False)

    @property
    def failed(self) -> bool:
        return self.status is None or self.status >= 300


class Recorder(Protocol):
    def note(self, call: Call) -> None:
        """A call is over. Called in the thread of the caller: it must be quick and raises nothing."""


class NoRecorder:
    """Keeps nothing."""

    def note(self, call: Call) -> None:
        pass
