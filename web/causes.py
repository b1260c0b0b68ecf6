"""What a failure's code means to people: what happened, who can do something, whether it heals by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from web.languages import _, mark
from web.words import plain


@dataclass(frozen=True, slots=True)
class Cause:
    title: str
    who: str  # who must act
    heals: str  # whether it heals by itself, and when
    by_itself: bool = False


_NEXT_RUN = mark("Yes. The next run tries it again with fresh data.")
_AFTER_THE_FIX = mark("No. It goes on by itself with the first run after the fix.")

_CAUSES: Mapping[str, Cause] = {
    "ambiguous_key": Cause(
        mark("More than one record has the same match value"),
        mark("Whoever keeps the data: leave one record with this value, or tell them apart."),
        _AFTER_THE_FIX,
    ),
    "auth": Cause(
        mark("The system refuses our credentials"),
        mark("An administrator: enter the credentials of the connection again."),
        _AFTER_THE_FIX,
    ),
    "bad_answer": Cause(
        mark("The system's answer made no sense"),
        mark("Nobody yet. If it goes on for an hour, ask the system's operator."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "changed": Cause(
        mark("The record changed while we worked on it"),
        mark("Nobody. The newer value is respected and decided on again."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "formula": Cause(
        mark("A formula fills the cell"),
        mark("Whoever keeps the sheet: take the formula out, or let the field flow out of the sheet only."),
        _AFTER_THE_FIX,
    ),
    "grant_ended": Cause(
        mark("The sign-in to the system has ended"),
        mark("An administrator: reconnect it, under Connections. The paused syncs then go on."),
        _AFTER_THE_FIX,
    ),
    "interrupted": Cause(
        mark("The worker stopped three times in the middle of this run"),
        mark("The operator: look at the worker's memory and its log, then retry."),
        mark("No. The next scheduled run begins anew."),
    ),
    "missing": Cause(
        mark("The record to change is not there any more"),
        mark("Nobody. The next run sees it as deleted and follows the sync's rules."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "no_key": Cause(
        mark("Records without a key"),
        mark("Whoever keeps the data: fill in the key, and the record takes part."),
        _AFTER_THE_FIX,
    ),
    "not_signed_in": Cause(
        mark("Nobody has signed in to the system yet"),
        mark("An administrator: connect it, under Connections."),
        _AFTER_THE_FIX,
    ),
    "options": Cause(
        mark("A setting of the connection or the sync is wrong"),
        mark("An administrator: correct the setting that the message names."),
        _AFTER_THE_FIX,
    ),
    "rate_limited": Cause(
        mark("The system asked us to slow down"),
        mark("Nobody."),
        mark("Yes. The run goes on when the system's pause is over."),
        by_itself=True,
    ),
    "rejected": Cause(
        mark("The system refuses these values"),
        mark("Whoever keeps the data: correct the value that the message names."),
        mark("When the value changes, it is tried again by itself."),
    ),
    "stream_gone": Cause(
        mark("A table, sheet or file is not where it was"),
        mark("An administrator: bring it back, or point the sync to its new place."),
        _AFTER_THE_FIX,
    ),
    "unavailable": Cause(
        mark("The system could not be reached"),
        mark("Nobody yet. If it goes on, look whether the system is up."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "unknown_outcome": Cause(
        mark("The answer to a write was lost"),
        mark("Nobody. The record is looked up before anything is sent again."),
        _NEXT_RUN,
        by_itself=True,
    ),
}


def title(code: str) -> str:
    """What happened, in English."""
    known = _CAUSES.get(code)
    return known.title if known is not None else plain(code)


def cause(code: str) -> Cause:
    """The card of this code; a general one where the code is a newer one than this table."""
    known = _CAUSES.get(code)
    if known is not None:
        return replace(known, title=_(known.title), who=_(known.who), heals=_(known.heals))
    return Cause(
        plain(code) if code else _("It failed"),
        _("Read the message: it says what to do."),
        _("The next run tries it again."),
    )
