"""The words, icons and tones of the panel, in one place: one state looks and reads alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.journal import ChangeState
from models.sync_runs import RunKind, RunState

Tone = Literal["good", "busy", "wait", "warn", "bad", "off"]


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as people see it: never by colour alone."""

    word: str
    icon: str
    tone: Tone
    hint: str = ""


RUN_STATES: Mapping[RunState, Badge] = {
    RunState.QUEUED: Badge("Queued", "hourglass-split", "wait", "Waits for a worker."),
    RunState.RUNNING: Badge("Running", "arrow-repeat", "busy", "A worker is on it."),
    RunState.SUCCESS: Badge("Success", "check-circle-fill", "good", "Both sides agree."),
    RunState.PARTIAL: Badge(
        "Partial",
        "exclamation-triangle-fill",
        "warn",
        "It got through, but some records failed, are in conflict or wait for a person.",
    ),
    RunState.FAILED: Badge("Failed", "x-circle-fill", "bad", "It stopped before it got through."),
    RunState.CANCELLED: Badge("Cancelled", "slash-circle-fill", "off", "A person stopped it."),
    RunState.SKIPPED: Badge("Skipped", "skip-forward-fill", "off", "It never started."),
}

RUN_KINDS: Mapping[RunKind, str] = {
    RunKind.SCHEDULED: "Scheduled",
    RunKind.MANUAL: "By hand",
    RunKind.RETRY: "Retry",
    RunKind.BACKFILL: "Backfill",
    RunKind.PREVIEW: "Preview",
    RunKind.UNDO: "Undo",
}

CHANGE_STATES: Mapping[ChangeState, Badge] = {
    ChangeState.PLANNED: Badge("Planned", "hourglass-split", "wait", "Journalled, not sent yet."),
    ChangeState.SENT: Badge("On its way", "arrow-repeat", "busy", "Sent; the answer is awaited."),
    ChangeState.APPLIED: Badge("Written", "check-circle-fill", "good", "Confirmed by the system."),
    ChangeState.REJECTED: Badge("Refused", "x-circle-fill", "bad", "The system refused this record."),
    ChangeState.STALE: Badge(
        "Moved meanwhile", "arrow-repeat", "wait", "It changed after it was read; the next run decides again."
    ),
    ChangeState.UNKNOWN: Badge(
        "Outcome unknown",
        "question-circle-fill",
        "warn",
        "The answer was lost. It is looked up before anything is sent again.",
    ),
    ChangeState.HELD: Badge("Held", "hand-index-thumb", "warn", "Waits for a person."),
    ChangeState.APPROVED: Badge("Approved", "check-circle-fill", "wait", "The next run carries it out."),
    ChangeState.DISMISSED: Badge("Dismissed", "x-lg", "off", "A person said no."),
    ChangeState.WITHDRAWN: Badge(
        "Withdrawn", "arrow-counterclockwise", "off", "Its reason went away by itself."
    ),
    ChangeState.EXPIRED: Badge("Expired", "clock-history", "off", "Nobody decided in time."),
    ChangeState.ABANDONED: Badge("Not sent", "slash-circle-fill", "off", "The run ended before it was sent."),
}

# The five words for a sync, and for a record.
IN_SYNC = Badge("In sync", "check-circle-fill", "good", "The last run got through and nothing waits.")
WAITING = Badge("Waiting", "hourglass-split", "wait", "The next run will tell.")
ATTENTION = Badge("Needs attention", "exclamation-triangle-fill", "warn", "Somebody has to look at it.")
EXCLUDED = Badge("Excluded", "dash-circle-fill", "off", "Does not take part, for the reason given.")
PAUSED = Badge("Paused", "pause-circle-fill", "off", "A person paused it.")

SYNC_STATES: Mapping[str, Badge] = {
    "attention": ATTENTION,
    "waiting": WAITING,
    "paused": PAUSED,
    "excluded": EXCLUDED,
    "in_sync": IN_SYNC,
}

BULK_STATES: Mapping[str, Badge] = {
    "planned": Badge("Planned", "list", "wait", "Nothing has been tried yet."),
    "expired": Badge("Expired", "clock-history", "off", "Nobody started it within a day."),
    "recallable": Badge("Can be taken back", "hourglass-split", "wait", "It begins in a moment."),
    "first": Badge("Trying one first", "arrow-repeat", "busy", "The others follow if it gets through."),
    "started": Badge("Under way", "arrow-repeat", "busy", "Its records are read again."),
    "done": Badge("Done", "check-circle-fill", "good", "Every record was read again."),
    "stopped": Badge("Stopped", "stop-circle", "off", "What was left was not tried."),
    "recalled": Badge("Taken back", "arrow-counterclockwise", "off", "Nothing of it was done."),
}

OPERATIONS: Mapping[str, str] = {
    "create": "Create",
    "update": "Update",
    "delete": "Delete",
    "relink": "Take as the same record",
}

_WHO: Mapping[str, str] = {
    "schedule": "the schedule",
    "cron endpoint": "an outside cron",
    "chain": "the sync before it",
    "automatic retry": "an automatic retry",
    "cli": "the command line",
    "": "Syncline",
}


def run_state(state: str) -> Badge:
    return RUN_STATES[RunState(state)]


def run_kind(kind: str) -> str:
    return RUN_KINDS[RunKind(kind)]


def change_state(state: str) -> Badge:
    return CHANGE_STATES[ChangeState(state)]


def operation(name: str) -> str:
    """What a change does, as a verb."""
    return OPERATIONS.get(name) or plain(name)


def who(asked_by: str) -> str:
    """Who or what asked, as a noun: an address stays as it is."""
    return _WHO.get(asked_by, asked_by)


def plain(code: str) -> str:
    """A code as words: `ambiguous_key` is `Ambiguous key`."""
    said = code.replace("_", " ").replace("-", " ").strip()
    return said[:1].upper() + said[1:]


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 record`, `1,204 records`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def both(parts: list[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


_RULES: Mapping[str, str] = {
    "left changed": "only left was edited",
    "right changed": "only right was edited",
    "filled": "a value beats an empty one",
    "first contact": "first contact",
    "new": "new record",
    "merged": "additions and removals of both sides were merged",
    "left_wins": "both were edited: left wins",
    "right_wins": "both were edited: right wins",
    "newest_wins": "both were edited: the newer edit wins",
    "drift: overwrite": "edited at the destination: overwritten",
}


def rule(name: str) -> str:
    """The rule that decided a change, as words."""
    head, comma, tail = name.partition(", tie: ")
    if comma:
        return f"both were edited at the same time: {tail.replace('_', ' ')}"
    return _RULES.get(name) or head.replace("_", " ")
