"""What a sync is set to do, in words: the two ends, the mapping, the rules as a table, the schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from connectors.catalog import get as connector_named
from connectors.errors import OptionsError
from models.connections import Connection
from models.sync_configs import SyncConfig
from sync.definition import FieldSpec, FilterSpec, SyncDefinition
from sync.policy import ConflictPolicy, DeletePolicy, Direction, Drift, EditVersusDelete, Granularity
from sync.records import Side, other
from sync.schedule import Schedule, ScheduleProblem, read_schedule
from sync.values import display
from web import cadence
from web.languages import _, counted, mark, percent
from web.words import both, policy, side

_CONFLICT: Mapping[ConflictPolicy, str] = {
    ConflictPolicy.LEFT_WINS: mark("Left wins; right is overwritten"),
    ConflictPolicy.RIGHT_WINS: mark("Right wins; left is overwritten"),
    ConflictPolicy.NEWEST_WINS: mark("The newer edit wins"),
    ConflictPolicy.MANUAL: mark("A conflict: neither side is written until somebody decides"),
}
_EDIT_DELETE: Mapping[EditVersusDelete, str] = {
    EditVersusDelete.EDIT_WINS: mark("The edit wins: the deleted copy is made again"),
    EditVersusDelete.DELETE_WINS: mark("The deletion wins; a full copy stays in the journal"),
    EditVersusDelete.FOLLOW: mark("Whoever wins conflicts decides"),
    EditVersusDelete.MANUAL: mark("A conflict: nothing happens until somebody decides"),
}
_DELETE: Mapping[DeletePolicy, str] = {
    DeletePolicy.NEVER: mark("The %(other)s copy stays; the record is excluded"),
    DeletePolicy.PROPAGATE: mark("It is deleted on %(other)s; a full copy stays in the journal"),
    DeletePolicy.ARCHIVE: mark("The %(other)s copy is archived"),
    DeletePolicy.UNLINK: mark("The %(other)s copy stays and is no longer linked"),
    DeletePolicy.APPROVE: mark("Held until somebody approves the deletion on %(other)s"),
}
_DRIFT: Mapping[Drift, str] = {
    Drift.OVERWRITE: mark("Overwritten; the lost value stays in the journal"),
    Drift.IGNORE: mark("Left alone"),
    Drift.FLAG: mark("Reported as an issue"),
}
_MOST_UPCOMING = 2000  # schedules whose next times are kept
_FLOW: Mapping[Direction, str] = {
    Direction.BOTH: mark("both ways"),
    Direction.LEFT_TO_RIGHT: mark("from left to right"),
    Direction.RIGHT_TO_LEFT: mark("from right to left"),
}


@dataclass(frozen=True, slots=True)
class End:
    side: Side
    connection: Connection
    connector: str  # the connector's title
    stream: str
    filter: str
    key: str


@dataclass(frozen=True, slots=True)
class MappedField:
    left: str
    right: str
    type: str
    direction: Direction
    is_match: bool
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rule:
    situation: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Described:
    """A definition as the page shows it."""

    left: End
    right: End
    direction: Direction
    fields: Sequence[MappedField]  # empty: all of the same name
    rules: Sequence[Rule]
    limits: Sequence[tuple[str, str]]
    schedule: str

    @property
    def flow(self) -> str:
        return _(_FLOW[self.direction])


def of(config: SyncConfig) -> Described | None:
    """The definition in words; None where this version of Syncline cannot read it."""
    try:
        found = SyncDefinition.model_validate(config.definition)
    except ValidationError:
        return None
    return Described(
        left=_end("left", found, config.left_connection),
        right=_end("right", found, config.right_connection),
        direction=found.direction,
        fields=[_field(item, found) for item in found.fields or ()],
        rules=rules(found),
        limits=_limits(found),
        schedule=schedule_words(config),
    )


def rules(found: SyncDefinition) -> list[Rule]:
    """What happens in each situation, as a table."""
    return _two_way(found) if found.direction is Direction.BOTH else _one_way(found)


def schedule_words(config: SyncConfig) -> str:
    """The schedule as a sentence: what is read here is what will happen."""
    if not config.auto:
        return _("Only when somebody starts it")
    schedule = _schedule(config)
    return cadence.said(schedule) if schedule is not None else f"{config.cron} ({config.timezone})"


def next_times(config: SyncConfig, now: datetime, number: int = 5) -> list[datetime]:
    """The next times at which it runs by itself; none while it does not."""
    if not (config.auto and config.active) or config.paused_at is not None:
        return []
    schedule = _schedule(config)
    return upcoming(schedule, now, number) if schedule is not None else []


_UPCOMING: dict[tuple[Schedule, int], tuple[datetime, list[datetime]]] = {}


def upcoming(schedule: Schedule, now: datetime, number: int) -> list[datetime]:
    """What the schedule says. Until the first of these times has come, its next ones are the same."""
    since, times = _UPCOMING.get((schedule, number), (now, []))
    if not (times and since <= now < times[0]):
        times = schedule.next_times(now, number)
        if len(_UPCOMING) >= _MOST_UPCOMING:
            _UPCOMING.clear()
        _UPCOMING[schedule, number] = now, times
    return times


def streams(config: SyncConfig) -> tuple[str, str]:
    """The names of both streams."""
    left, right = (config.definition.get(side) or {} for side in ("left", "right"))
    return str(left.get("stream") or _("a query")), str(right.get("stream") or _("a query"))


def direction(config: SyncConfig) -> str:
    """Which way it flows, as the definition names it."""
    return str(config.definition.get("direction") or Direction.BOTH)


def _schedule(config: SyncConfig) -> Schedule | None:
    try:
        return read_schedule(config.cron, config.timezone, seed=config.id)
    except ScheduleProblem:
        return None


def _end(side: Side, found: SyncDefinition, connection: Connection) -> End:
    said = found.end(side)
    try:
        title = _(connector_named(connection.connector).title)
    except OptionsError:
        title = connection.connector
    return End(
        side=side,
        connection=connection,
        connector=title,
        stream=said.stream or _("a query"),
        filter=_filter(said.filter),
        key=str(said.options.get("key") or ""),
    )


def _filter(said: FilterSpec | None) -> str:
    if said is None:
        return ""
    scope = said.scope()
    values = [display(value) or _("empty") for value in said.scope().values]
    named = {"field": said.field, "values": both(values, "or")}
    return (
        _("%(field)s is %(values)s", **named) if scope.inside else _("%(field)s is not %(values)s", **named)
    )


def _field(said: FieldSpec, found: SyncDefinition) -> MappedField:
    notes = [_("equal after %(steps)s", steps=both([str(step) for step in said.canon]))] if said.canon else []
    if said.scale is not None:
        notes.append(counted("%(num)s decimal place counts", "%(num)s decimal places count", said.scale))
    if steps := said.transforms():
        notes.append(_("transform: %(steps)s", steps=both([step.name for step in steps], "then")))
    if said.conflict is not None:
        notes.append(_("conflict: %(policy)s", policy=policy(str(said.conflict))))
    return MappedField(
        left=said.left,
        right=said.right,
        type=str(said.type or _("as the systems say")),
        direction=found.direction if said.direction is Direction.BOTH else said.direction,
        is_match=said.left in found.match,
        notes=notes,
    )


def _two_way(found: SyncDefinition) -> list[Rule]:
    outcome = _(_CONFLICT[found.conflict])
    if found.conflict is ConflictPolicy.NEWEST_WINS:
        tie = _("somebody decides") if found.tie == "manual" else policy(found.tie)
        outcome = _("The newer edit wins; at the same time: %(tie)s", tie=tie)
    whole = found.granularity is Granularity.RECORD
    deletes = found.delete_policies
    never = deletes.left_to_right is deletes.right_to_left is DeletePolicy.NEVER
    return [
        Rule(_("New on one side"), _("It is created on the other")),
        Rule(_("Edited on one side"), _("The edit is written to the other")),
        Rule(_("Edited alike on both"), _("Nothing: equal is never a conflict")),
        Rule(_("Different fields edited on both"), outcome if whole else _("Both edits flow")),
        Rule(_("The same field edited differently"), outcome),
        Rule(_("Deleted on left"), _delete(deletes.left_to_right, "right")),
        Rule(_("Deleted on right"), _delete(deletes.right_to_left, "left")),
        Rule(
            _("Edited on one side, deleted on the other"),
            _("The edited copy stays; the record is excluded")
            if never
            else _(_EDIT_DELETE[found.edit_vs_delete]),
        ),
        _first(found),
    ]


def _one_way(found: SyncDefinition) -> list[Rule]:
    source: Side = "left" if found.direction is Direction.LEFT_TO_RIGHT else "right"
    there = other(source)
    deletes = found.delete_policies
    deletes_as = deletes.left_to_right if source == "left" else deletes.right_to_left
    here, away = side(source), side(there)
    return [
        Rule(_("New on %(side)s", side=here), _("It is created on %(side)s", side=away)),
        Rule(_("Edited on %(side)s", side=here), _("The edit is written to %(side)s", side=away)),
        Rule(_("Edited on %(side)s", side=away), _(_DRIFT[found.drift])),
        Rule(_("Deleted on %(side)s", side=here), _delete(deletes_as, there)),
        Rule(
            _("Only on %(side)s, never linked", side=away),
            _("It is deleted; a full copy stays in the journal")
            if found.exclusive
            else _("It is left alone"),
        ),
        _first(found),
    ]


def _first(found: SyncDefinition) -> Rule:
    return Rule(
        _("First run, records on both sides"),
        _("Planned and held for a look")
        if found.first_run == "hold"
        else _("Matched and brought together at once"),
    )


def _delete(policy: DeletePolicy, there: Side) -> str:
    return _(_DELETE[policy], other=side(there))


def _limits(found: SyncDefinition) -> list[tuple[str, str]]:
    """The other parameters that somebody may want to look up."""
    guards = _("Off")
    if found.guards != "off":
        limits = found.guards.deletes
        guards = _(
            "Deletions are held above %(number)s with more than %(share)s of the records",
            number=limits.above,
            share=percent(limits.share),
        )
    strict = found.validation == "strict"
    moved = found.mode == "incremental"
    said = [
        (_("Guards"), guards),
        (
            _("A record that is not valid"),
            _("Stops the run before its first write") if strict else _("Set aside; the rest goes on"),
        ),
        (_("Reads"), _("What moved since the last run") if moved else _("All records each time")),
    ]
    if found.batch_size:
        said.append((_("Batch"), counted("%(num)s record", "%(num)s records", found.batch_size)))
    if found.after:
        said.append((_("Runs after"), both(list(found.after))))
    return said
