"""The file that the key ring stands in, looked at again when it changes: no restart for other keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class KeyFile:
    """Asked before each use of a key. A file that is away, half written or wrong leaves the ring as it is.

    `read` takes the file's text and gives its keys, newest first, and what is wrong with them.
    """

    def __init__(self, path: Path, read: Callable[[str], tuple[Mapping[str, bytes], list[str]]]) -> None:
        self._path = path
        self._read = read
        self._seen: object = None
        self._told: object = None  # of a state of the file that cannot be used: one line in the log

    def newer(self) -> Mapping[str, bytes] | None:
        """The keys, newest first, if the file is another one than when it was last asked for."""
        try:
            state = _state(self._path.stat())
            if state == self._seen:
                return None
            keys, mistakes = self._read(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as problem:
            self._tell(type(problem).__name__, str(problem))
            return None
        if mistakes or not keys:
            self._tell(state, " ".join(mistakes) or "it is empty")
            return None
        self._seen, self._told = state, None
        return keys

    def _tell(self, state: object, problem: str) -> None:
        if state != self._told:
            self._told = state
            log.error("keys.unusable_file", path=str(self._path), problem=problem)


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns
