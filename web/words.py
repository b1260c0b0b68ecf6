"""The words, icons and tones of the panel, in one place: one state looks and reads alike everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.journal import ChangeState
from models.sync_runs import RunKind, RunState, SyncRun, Wait
from tasks import bulk
from web.languages import _, counted, forms, mark

Tone = Literal["good", "busy", "wait", "warn", "bad", "off"]


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as people see it: never by colour alone. Its texts are kept in English."""

    in_english: str
    icon: str
    tone: Tone
    hint_in_english: str = ""

    @property
    def word(self) -> str:
        return _(self.in_english)

    @property
    def hint(self) -> str:
        return _(self.hint_in_english) if self.hint_in_english else ""


RUN_STATES: Mapping[RunState, Badge] = {
    RunState.QUEUED: Badge(mark("Queued"), "hourglass-split", "wait", mark("Waits for a worker.")),
    RunState.RUNNING: Badge(mark("Running"), "arrow-repeat", "busy", mark("A worker is on it.")),
    RunState.SUCCESS: Badge(mark("Success"), "check-circle-fill", "good", mark("Both sides agree.")),
    RunState.PARTIAL: Badge(
        mark("Partial"),
        "exclamation-triangle-fill",
        "warn",
        mark("It got through, but some records failed, are in conflict or wait for a person."),
    ),
    RunState.FAILED: Badge(mark("Failed"), "x-circle-fill", "bad", mark("It stopped before it got through.")),
    RunState.CANCELLED: Badge(mark("Cancelled"), "slash-circle-fill", "off", mark("A person stopped it.")),
    RunState.SKIPPED: Badge(mark("Skipped"), "skip-forward-fill", "off", mark("It never started.")),
}

RUN_KINDS: Mapping[RunKind, str] = {
    RunKind.SCHEDULED: mark("Scheduled"),
    RunKind.MANUAL: mark("By hand"),
    RunKind.RETRY: mark("Retry"),
    RunKind.BACKFILL: mark("Backfill"),
    RunKind.PREVIEW: mark("Preview"),
    RunKind.UNDO: mark("Undo"),
}

CHANGE_STATES: Mapping[ChangeState, Badge] = {
    ChangeState.PLANNED: Badge(mark("Planned"), "hourglass-split", "wait", mark("Stored, not sent yet.")),
    ChangeState.SENT: Badge(mark("On its way"), "arrow-repeat", "busy", mark("Sent; the answer is awaited.")),
    ChangeState.APPLIED: Badge(
        mark("Written"), "check-circle-fill", "good", mark("Confirmed by the system.")
    ),
    ChangeState.REJECTED: Badge(
        mark("Refused"), "x-circle-fill", "bad", mark("The system refused this record.")
    ),
    ChangeState.STALE: Badge(
        mark("Moved meanwhile"),
        "arrow-repeat",
        "wait",
        mark("It changed after it was read; the next run decides again."),
    ),
    ChangeState.UNKNOWN: Badge(
        mark("Outcome unknown"),
        "question-circle-fill",
        "warn",
        mark("The answer was lost. It is looked up before anything is sent again."),
    ),
    ChangeState.HELD: Badge(mark("Held"), "hand-index-thumb", "warn", mark("Waits for a person.")),
    ChangeState.APPROVED: Badge(
        mark("Approved"), "check-circle-fill", "wait", mark("The next run carries it out.")
    ),
    ChangeState.DISMISSED: Badge(mark("Dismissed"), "x-lg", "off", mark("A person said no.")),
    ChangeState.WITHDRAWN: Badge(
        mark("Withdrawn"), "arrow-counterclockwise", "off", mark("Its reason went away by itself.")
    ),
    ChangeState.EXPIRED: Badge(mark("Expired"), "clock-history", "off", mark("Nobody decided in time.")),
    ChangeState.ABANDONED: Badge(
        mark("Not sent"), "slash-circle-fill", "off", mark("The run ended before it was sent.")
    ),
    ChangeState.WOULD_GO: Badge(
        mark("Would be written"), "eye", "wait", mark("Shown by a preview, which writes nothing.")
    ),
    ChangeState.WOULD_WAIT: Badge(
        mark("Would be held"),
        "hand-index-thumb",
        "warn",
        mark("Shown by a preview: a person would be asked."),
    ),
}

# The five words for a sync, and for a record.
IN_SYNC = Badge(
    mark("In sync"), "check-circle-fill", "good", mark("The last run got through and nothing waits.")
)
WAITING = Badge(mark("Waiting"), "hourglass-split", "wait", mark("The next run will tell."))
ATTENTION = Badge(
    mark("Needs attention"), "exclamation-triangle-fill", "warn", mark("Somebody has to look at it.")
)
EXCLUDED = Badge(
    mark("Excluded"), "dash-circle-fill", "off", mark("Does not take part, for the reason given.")
)
PAUSED = Badge(mark("Paused"), "pause-circle-fill", "off", mark("A person paused it."))

SYNC_STATES: Mapping[str, Badge] = {
    "attention": ATTENTION,
    "waiting": WAITING,
    "paused": PAUSED,
    "excluded": EXCLUDED,
    "in_sync": IN_SYNC,
}

BULK_STATES: Mapping[str, Badge] = {
    "planned": Badge(mark("Planned"), "list", "wait", mark("Nothing has been tried yet.")),
    "expired": Badge(mark("Expired"), "clock-history", "off", mark("Nobody started it within a day.")),
    "recallable": Badge(mark("Can be taken back"), "hourglass-split", "wait", mark("It begins in a moment.")),
    "first": Badge(
        mark("Trying one first"), "arrow-repeat", "busy", mark("The others follow if it gets through.")
    ),
    "started": Badge(mark("Under way"), "arrow-repeat", "busy", mark("Its records are read again.")),
    "done": Badge(mark("Done"), "check-circle-fill", "good", mark("Every record was read again.")),
    "stopped": Badge(mark("Stopped"), "stop-circle", "off", mark("What was left was not tried.")),
    "recalled": Badge(mark("Taken back"), "arrow-counterclockwise", "off", mark("Nothing of it was done.")),
}

_WHO: Mapping[str, str] = {
    "schedule": mark("the schedule"),
    "cron endpoint": mark("an outside cron"),
    "chain": mark("the sync before it"),
    "automatic retry": mark("an automatic retry"),
    "cli": mark("the command line"),
    "": mark("Syncline"),
}


def run_state(state: str) -> Badge:
    return RUN_STATES[RunState(state)]


def run_kind(kind: str) -> str:
    return _(RUN_KINDS[RunKind(kind)])


def change_state(state: str) -> Badge:
    return CHANGE_STATES[ChangeState(state)]


def side(name: str) -> str:
    """`left` or `right`."""
    return _(_SIDES[name]) if name in _SIDES else name


def act_on(operation: str, name: str) -> str:
    """What is done on a side: `delete on right`."""
    return _(ACTS.get(operation, ACTS["update"]), side=side(name))


def acts_on(operation: str, name: str, number: int) -> str:
    """What is done to so many records of a side: `delete 4 records on right`."""
    return counted(*MANY_ACTS.get(operation, MANY_ACTS["update"]), number, side=side(name))


ACTS: Mapping[str, str] = {  # by what the journal calls them
    "create": mark("create on %(side)s"),
    "update": mark("update on %(side)s"),
    "delete": mark("delete on %(side)s"),
    "relink": mark("take as the same record on %(side)s"),
    "edit": mark("correct on %(side)s"),
    "fill": mark("fill in its id on %(side)s"),
    "container": mark("go on with another place on %(side)s"),
}
MANY_ACTS: Mapping[str, tuple[str, str]] = {
    "create": forms("create %(num)s record on %(side)s", "create %(num)s records on %(side)s"),
    "update": forms("update %(num)s record on %(side)s", "update %(num)s records on %(side)s"),
    "delete": forms("delete %(num)s record on %(side)s", "delete %(num)s records on %(side)s"),
    "relink": forms("link %(num)s record anew on %(side)s", "link %(num)s records anew on %(side)s"),
    "container": forms(
        "go on with %(num)s other place on %(side)s", "go on with %(num)s other places on %(side)s"
    ),
}


def left_over(word: str, number: int) -> str:
    """What a run did not settle, with its count: `3 conflicts`, `4 held`, `1 failed`."""
    if word == "conflicts":
        return counted("%(num)s conflict", "%(num)s conflicts", number)
    if word == "held":
        return counted("%(num)s held", "%(num)s held", number)
    return counted("%(num)s failed", "%(num)s failed", number)


def ended(state: str, number: int) -> str:
    """How many runs ended in this way: `31 success`."""
    if state == "success":
        return counted("%(num)s success", "%(num)s success", number)
    if state == "partial":
        return counted("%(num)s partial", "%(num)s partial", number)
    return counted("%(num)s failed", "%(num)s failed", number)


def total(word: str) -> str:
    """A count of a run's summary by its name."""
    return _(_TOTALS[word]) if word in _TOTALS else word


def phase(name: str | None) -> str:
    """Where a run is. A phase that this table does not know is told as the worker wrote it."""
    name = name or "starting"
    return _(_PHASES[name]) if name in _PHASES else name


def role(name: str) -> str:
    return _(_ROLES[name]) if name in _ROLES else name


def right(name: str) -> str:
    """What somebody may do, after "the right to"."""
    return _(_RIGHTS[name]) if name in _RIGHTS else name


def excluded_because(reason: str | None) -> str:
    """Why a record takes no part."""
    if not reason:
        return _("one side is gone")
    return _(_EXCLUDED[reason]) if reason in _EXCLUDED else reason


def process(kind: str) -> str:
    return _(_PROCESSES[kind]) if kind in _PROCESSES else kind.capitalize()


def waits(run: SyncRun) -> str:
    """Why a queued run may not begin yet. What an outside system said of it stays as it is."""
    if run.wait_code == Wait.BACK_OFF and len(found := re.findall(r"\d+", run.wait_text)) == 2:
        return _("Tries again by itself, %(number)s of %(tries)s times.", number=found[0], tries=found[1])
    return _(_WAITS[run.wait_code]) if run.wait_code in _WAITS else run.wait_text


def left_out(why: str) -> str:
    """Why a record is not tried again."""
    return _(_LEFT_OUT[why]) if why in _LEFT_OUT else why


def execution(state: str) -> str:
    """How a maintenance job went."""
    return _(_EXECUTIONS[state]) if state in _EXECUTIONS else state


def who(asked_by: str) -> str:
    """Who or what asked, as a noun: an address stays as it is."""
    return _(_WHO[asked_by]) if asked_by in _WHO else asked_by


def plain(code: str) -> str:
    """A code as words: `ambiguous_key` is `Ambiguous key`."""
    return begin(code.replace("_", " ").replace("-", " ").strip())


def first_sentence(text: str | None) -> str:
    """What a description begins with."""
    return (text or "").strip().partition("\n")[0].partition(". ")[0]


def begin(text: str) -> str:
    """The text as a sentence begins: its first letter is a capital."""
    return text[:1].upper() + text[1:]


def both(parts: list[str], last: Literal["and", "or", "then"] = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    return _(_LISTS[last], head=", ".join(parts[:-1]), tail=parts[-1])


_LISTS: Mapping[str, str] = {
    "and": mark("%(head)s and %(tail)s"),
    "or": mark("%(head)s or %(tail)s"),
    "then": mark("%(head)s then %(tail)s"),
}
_SIDES: Mapping[str, str] = {"left": mark("left"), "right": mark("right")}
_ROLES: Mapping[str, str] = {"admin": mark("admin"), "operator": mark("operator"), "viewer": mark("viewer")}
_RIGHTS: Mapping[str, str] = {
    "read": mark("read"),
    "export": mark("export"),
    "run": mark("run"),
    "cancel": mark("cancel"),
    "pause": mark("pause"),
    "retry": mark("retry"),
    "resolve": mark("resolve"),
    "approve": mark("approve"),
    "edit": mark("edit"),
    "connect": mark("connect"),
    "administer": mark("administer"),
    "be in a workspace": mark("be in a workspace"),
}
_EXCLUDED: Mapping[str, str] = {
    "deleted on left": mark("deleted on left"),
    "deleted on right": mark("deleted on right"),
}
_PROCESSES: Mapping[str, str] = {
    "tick": mark("Tick of the schedules"),
    "worker": mark("Worker"),
    "scheduler": mark("Scheduler"),
}
_WAITS: Mapping[str, str] = {
    Wait.CIRCUIT: mark("Waits until the connection answers again."),
    Wait.RECALL: mark("It can still be taken back; then it begins."),
    Wait.DATABASE: mark("Syncline's own database did not answer; the run goes on when it does."),
}
_LEFT_OUT: Mapping[str, str] = {
    bulk.FIXED: mark("already fixed by a later run"),
    bulk.BEYOND: mark("beyond the first 2,000: the next slice"),
}
_EXECUTIONS: Mapping[str, str] = {
    "asked": mark("asked"),
    "running": mark("running"),
    "success": mark("success"),
    "failed": mark("failed"),
}
_TOTALS: Mapping[str, str] = {
    "unchanged": mark("unchanged"),
    "resolved": mark("resolved"),
    "conflicts": mark("conflicts"),
    "held": mark("held"),
    "failed": mark("failed"),
    "excluded": mark("excluded"),
}
_PHASES: Mapping[str, str] = {
    "starting": mark("starting"),
    "recovering": mark("recovering"),
    "reading left": mark("reading left"),
    "reading right": mark("reading right"),
    "noting versions": mark("noting versions"),
    "storing the plan": mark("storing the plan"),
    "writing": mark("writing"),
    "filling keys": mark("filling keys"),
    "linking": mark("linking"),
    "correcting": mark("correcting"),
    "undoing": mark("undoing"),
}
_RULES: Mapping[str, str] = {
    "left changed": mark("only left was edited"),
    "right changed": mark("only right was edited"),
    "back on left": mark("it is back on left"),
    "back on right": mark("it is back on right"),
    "filled": mark("a value beats an empty one"),
    "first contact": mark("both sides met for the first time"),
    "new": mark("new record"),
    "renamed": mark("it was renamed"),
    "undo": mark("an undo"),
    "key filled": mark("its key was filled in"),
    "container changed": mark("the mapping or a stream changed"),
    "merged": mark("additions and removals of both sides were merged"),
    "left_wins": mark("both were edited: left wins"),
    "right_wins": mark("both were edited: right wins"),
    "newest_wins": mark("both were edited: the newer edit wins"),
    "drift: overwrite": mark("edited at the destination: overwritten"),
    "deleted on left": mark("deleted on left"),
    "deleted on right": mark("deleted on right"),
    "delete wins": mark("edited on one side, deleted on the other: the deletion wins"),
    "newest wins: deleted": mark("edited on one side, deleted on the other: the deletion is newer"),
    "revived: edit wins": mark("edited on one side, deleted on the other: the edit wins"),
    "revived: newest wins": mark("edited on one side, deleted on the other: the edit is newer"),
    "revived: left_wins": mark("edited on one side, deleted on the other: left wins"),
    "revived: right_wins": mark("edited on one side, deleted on the other: right wins"),
    "resolved: left": mark("a person decided: left"),
    "resolved: right": mark("a person decided: right"),
    "resolved: value": mark("a person decided: another value"),
    "resolved: revived": mark("a person decided: it is made again"),
    "resolved: deleted": mark("a person decided: it is deleted"),
}


_EDITED = "edited by "


def rule(name: str) -> str:
    """The rule that decided a change, as words."""
    head, comma, tail = name.partition(", tie: ")
    if comma:
        return _("both were edited at the same time: %(who)s", who=policy(tail))
    if head.startswith(_EDITED):
        return _("corrected by %(who)s", who=head.removeprefix(_EDITED))
    return _(_RULES[head]) if head in _RULES else head.replace("_", " ")


def policy(name: str) -> str:
    """Who wins, as a policy of conflicts names it."""
    return _(_POLICIES[name]) if name in _POLICIES else name.replace("_", " ")


_POLICIES: Mapping[str, str] = {
    "left_wins": mark("left wins"),
    "right_wins": mark("right wins"),
    "newest_wins": mark("the newer edit wins"),
    "manual": mark("a person decides"),
}


# What people did, by its code in the audit.
AUDITED: Mapping[str, str] = {
    "account.deleted": mark("Account deleted"),
    "account.deletion_asked": mark("Account deletion asked"),
    "account.deletion_taken_back": mark("Account deletion taken back"),
    "authentication.refused": mark("Authentication refused"),
    "bulk.confirmed": mark("Bulk confirmed"),
    "bulk.planned": mark("Bulk planned"),
    "bulk.recalled": mark("Bulk recalled"),
    "bulk.stopped": mark("Bulk stopped"),
    "change.abandoned": mark("Change abandoned"),
    "change.approved": mark("Change approved"),
    "change.dismissed": mark("Change dismissed"),
    "config.activated": mark("Config activated"),
    "config.changed": mark("Config changed"),
    "config.created": mark("Config created"),
    "config.deactivated": mark("Config deactivated"),
    "config.deleted": mark("Config deleted"),
    "config.owner_set": mark("Config owner set"),
    "config.paused": mark("Config paused"),
    "config.renamed": mark("Config renamed"),
    "config.resumed": mark("Config resumed"),
    "conflict.resolved": mark("Conflict resolved"),
    "connection.changed": mark("Connection changed"),
    "connection.created": mark("Connection created"),
    "connection.deleted": mark("Connection deleted"),
    "connection.renamed": mark("Connection renamed"),
    "connection.sign_in_ended": mark("Connection sign in ended"),
    "connection.signed_in": mark("Connection signed in"),
    "connection.signed_out": mark("Connection signed out"),
    "export.taken": mark("Export taken"),
    "invitation.accepted": mark("Invitation accepted"),
    "invitation.made": mark("Invitation made"),
    "invitation.withdrawn": mark("Invitation withdrawn"),
    "issues.claimed": mark("Issues claimed"),
    "issues.muted": mark("Issues muted"),
    "issues.noted": mark("Issues noted"),
    "issues.released": mark("Issues released"),
    "issues.resolved": mark("Issues resolved"),
    "issues.unmuted": mark("Issues unmuted"),
    "job.asked": mark("Job asked"),
    "job.run": mark("Job run"),
    "job.switched_off": mark("Job switched off"),
    "job.switched_on": mark("Job switched on"),
    "keys.rotated": mark("Keys rotated"),
    "record.edited": mark("Record edited"),
    "record.linked": mark("Record linked"),
    "record.unlinked": mark("Record unlinked"),
    "run.calls_revealed": mark("Run calls revealed"),
    "run.cancelled": mark("Run cancelled"),
    "run.queued": mark("Run queued"),
    "session.revoked": mark("Session revoked"),
    "sync_job.changed": mark("Sync job changed"),
    "sync_job.created": mark("Sync job created"),
    "sync_job.deleted": mark("Sync job deleted"),
    "token.made": mark("Token made"),
    "token.revoked": mark("Token revoked"),
    "user.added": mark("User added"),
    "user.password_set": mark("User password set"),
    "user.removed": mark("User removed"),
    "user.role_set": mark("User role set"),
    "user.second_factor_off": mark("User second factor off"),
    "user.second_factor_on": mark("User second factor on"),
    "user.signed_in": mark("User signed in"),
    "workspace.created": mark("Workspace created"),
    "workspace.renamed": mark("Workspace renamed"),
}


def audited(action: str) -> str:
    """An act of the audit, in words."""
    return _(AUDITED[action]) if action in AUDITED else plain(action.replace(".", " "))
