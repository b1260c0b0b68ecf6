"""What a failure's code means to people: what happened, who can do something, whether it heals by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from web.words import plain


@dataclass(frozen=True, slots=True)
class Cause:
    title: str
    who: str  # who must act
    heals: str  # whether it heals by itself, and when
    by_itself: bool = False


_NEXT_RUN = "Yes. The next run tries it again with fresh data."
_AFTER_THE_FIX = "No. It goes on by itself with the first run after the fix."

_CAUSES: Mapping[str, Cause] = {
    "ambiguous_key": Cause(
        "More than one record has the same match value",
        "Whoever keeps the data: leave one record with this value, or tell them apart.",
        _AFTER_THE_FIX,
    ),
    "auth": Cause(
        "The system refuses our credentials",
        "An administrator: enter the credentials of the connection again.",
        _AFTER_THE_FIX,
    ),
    "bad_answer": Cause(
        "The system's answer made no sense",
        "Nobody yet. If it goes on for an hour, ask the system's operator.",
        _NEXT_RUN,
        by_itself=True,
    ),
    "changed": Cause(
        "The record changed while we worked on it",
        "Nobody. The newer value is respected and decided on again.",
        _NEXT_RUN,
        by_itself=True,
    ),
    "formula": Cause(
        "A formula fills the cell",
        "Whoever keeps the sheet: take the formula out, or let the field flow out of the sheet only.",
        _AFTER_THE_FIX,
    ),
    "grant_ended": Cause(
        "The sign-in to the system has ended",
        "An administrator: reconnect it, under Connections. The paused syncs then go on.",
        _AFTER_THE_FIX,
    ),
    "interrupted": Cause(
        "The worker stopped three times in the middle of this run",
        "The operator: look at the worker's memory and its log, then retry.",
        "No. The next scheduled run begins anew.",
    ),
    "missing": Cause(
        "The record to change is not there any more",
        "Nobody. The next run sees it as deleted and follows the sync's rules.",
        _NEXT_RUN,
        by_itself=True,
    ),
    "no_key": Cause(
        "Records without a key",
        "Whoever keeps the data: fill in the key, and the record takes part.",
        _AFTER_THE_FIX,
    ),
    "not_signed_in": Cause(
        "Nobody has signed in to the system yet",
        "An administrator: connect it, under Connections.",
        _AFTER_THE_FIX,
    ),
    "options": Cause(
        "A setting of the connection or the sync is wrong",
        "An administrator: correct the setting that the message names.",
        _AFTER_THE_FIX,
    ),
    "rate_limited": Cause(
        "The system asked us to slow down",
        "Nobody.",
        "Yes. The run goes on when the system's pause is over.",
        by_itself=True,
    ),
    "rejected": Cause(
        "The system refuses these values",
        "Whoever keeps the data: correct the value that the message names.",
        "When the value changes, it is tried again by itself.",
    ),
    "stream_gone": Cause(
        "A table, sheet or file is not where it was",
        "An administrator: bring it back, or point the sync to its new place.",
        _AFTER_THE_FIX,
    ),
    "unavailable": Cause(
        "The system could not be reached",
        "Nobody yet. If it goes on, look whether the system is up.",
        _NEXT_RUN,
        by_itself=True,
    ),
    "unknown_outcome": Cause(
        "The answer to a write was lost",
        "Nobody. The record is looked up before anything is sent again.",
        _NEXT_RUN,
        by_itself=True,
    ),
}


def cause(code: str) -> Cause:
    """The card of this code; a general one where the code is a newer one than this table."""
    return _CAUSES.get(code) or Cause(
        plain(code) if code else "It failed",
        "Read the message: it says what to do.",
        "The next run tries it again.",
    )
