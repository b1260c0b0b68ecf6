"""What a SyncConfig says: one pydantic model for the YAML, the API and the panel's forms.

`SyncDefinition` checks the shape. `build` ties it to both streams as they are now, and refuses what
cannot work: a field that is not there, a lossy transform on a two-way field, a missing match.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sync.filter import Scope
from sync.links import LinkForm
from sync.mapping import FieldMapping, FieldPair
from sync.policy import (
    Archive,
    Budget,
    ConflictPolicy,
    DeleteLimits,
    DeletePolicy,
    Deletes,
    Direction,
    Drift,
    EditVersusDelete,
    Granularity,
    Guards,
    Policy,
)
from sync.reconcile import Rules
from sync.records import SIDES, Side, Stream
from sync.records import Field as StreamField
from sync.transforms import Transform, TransformMistake, transform_of
from sync.values import Canon, FieldType, ValueProblem, dumps, parse

HOURLY = "0 * * * *"


class MappingMistake(ValueError):
    """The definition does not fit the streams. `place` is the path in it, such as `fields.2.left`."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else [value]


def nearest(word: str, words: Sequence[str]) -> str:
    """` Did you mean 'x'?` for a typo, else the words there are."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if not near:
        near = [item for item in words if item.lower() == word.lower()][:1]
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" There are: {', '.join(words)}." if words else ""


def _duration(value: Any) -> Any:
    """5m, 1d, 30s, 2h or a number of seconds."""
    if isinstance(value, str) and value[-1:] in "smhd" and value[:-1].replace(".", "", 1).isdigit():
        seconds = float(value[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[value[-1]]
        if seconds > LONGEST.total_seconds():
            raise ValueError("it is too long: ten years at most")
        return timedelta(seconds=seconds)
    return value


LONGEST = timedelta(days=3650)
Duration = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(0), le=LONGEST)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FilterSpec(_Model):
    field: str
    equals: Any = None
    not_equals: Any = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        given = self.model_fields_set & {"equals", "not_equals"}
        if len(given) != 1:
            raise ValueError("a filter has either equals or not_equals")
        return self

    def scope(self) -> Scope:
        inside = "equals" in self.model_fields_set
        wanted = self.equals if inside else self.not_equals
        return Scope(self.field, tuple(_as_list(wanted)) if wanted is not None else (None,), inside)


class EndSpec(BaseModel):
    """One end. What is not listed here belongs to the connector (`key`, `query`, `create`, ...)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    connection: str
    stream: str = ""
    filter: FilterSpec | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class FieldSpec(_Model):
    left: str
    right: str
    type: FieldType | None = None
    direction: Direction = Direction.BOTH
    canon: Annotated[tuple[Canon, ...], BeforeValidator(_as_list)] = ()
    scale: Annotated[int, Field(ge=0, le=30)] | None = None
    ordered: bool = False
    merge: bool = True
    transform: Any = None
    conflict: ConflictPolicy | None = None
    removals: Literal["propagate", "keep"] | None = None  # of files; omitted: as `deletes` says
    links_to: str = ""  # type: links: the stream whose records it links to, by its name on the left

    def transforms(self) -> tuple[Transform, ...]:
        """Raises TransformMistake."""
        return tuple(transform_of(spec) for spec in _as_list(self.transform) or ())


class ModifiedSpec(_Model):
    left: str
    right: str


class ArchiveSpec(_Model):
    field: str
    value: Any = True


class DeletesSpec(_Model):
    left_to_right: DeletePolicy = DeletePolicy.NEVER
    right_to_left: DeletePolicy = DeletePolicy.NEVER
    archive: ArchiveSpec | None = None


class DeleteLimitsSpec(_Model):
    above: Annotated[int, Field(ge=0)] = 10
    share: Annotated[Decimal, Field(ge=0, le=1)] = Decimal("0.1")
    small_above: Annotated[int, Field(ge=0)] = 3
    small_share: Annotated[Decimal, Field(ge=0, le=1)] = Decimal("0.5")


class BudgetSpec(_Model):
    creates: Annotated[int, Field(ge=0)] | None = None
    updates: Annotated[int, Field(ge=0)] | None = None
    deletes: Annotated[int, Field(ge=0)] | None = None


class GuardsSpec(_Model):
    deletes: DeleteLimitsSpec = DeleteLimitsSpec()
    creates: Annotated[int, Field(ge=0)] = 1000
    creates_share: Annotated[Decimal, Field(ge=0)] = Decimal("0.5")
    updates_above: Annotated[int, Field(ge=1)] = 20
    updates_share: Annotated[Decimal, Field(ge=0, le=1)] = Decimal("0.9")
    budget: BudgetSpec = BudgetSpec()


class LinkedRecordsSpec(_Model):
    resolve: bool = True
    create_missing: bool = False


class HeaderSpec(_Model):
    include: bool = True


class CursorSpec(_Model):
    left: str | None = None
    right: str | None = None
    overlap: Duration = timedelta(minutes=5)


class ScheduleSpec(_Model):
    cron: str = HOURLY
    timezone: str = "UTC"
    missed: Literal["latest", "skip", "all"] = "latest"


class ImpactSpec(_Model):
    """What a record that does not get through means for the business. Fields by their left names."""

    who: str | None = None  # different values of it are counted, such as customers
    called: str | None = None  # the word for several of them; omitted, the field's name
    amount: str | None = None
    above: Decimal | None = None  # an amount that counts as large

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.who is None and self.amount is None:
            raise ValueError("impact needs `who`, `amount` with `above`, or both")
        if self.called is not None and self.who is None:
            raise ValueError("`called` is the word for what `who` counts: say `who` too")
        if (self.amount is None) != (self.above is None):
            raise ValueError("`amount` and `above` go together: which field, and from where on it is large")
        return self


class SyncDefinition(_Model):
    """One entry under `syncs:`."""

    left: EndSpec
    right: EndSpec
    direction: Direction = Direction.BOTH
    match: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    fields: tuple[FieldSpec, ...] | None = None
    new_fields: Literal["ignore", "propose", "add"] = "ignore"
    conflict: ConflictPolicy = ConflictPolicy.MANUAL
    tie: Literal["left_wins", "right_wins", "manual"] = "manual"
    granularity: Granularity = Granularity.FIELD
    modified: ModifiedSpec | None = None
    edit_vs_delete: EditVersusDelete = EditVersusDelete.EDIT_WINS
    deletes: DeletesSpec | DeletePolicy = DeletesSpec()
    exclusive: bool = False
    drift: Drift = Drift.OVERWRITE
    first_run: Literal["hold", "apply"] = "hold"
    fill_empty: bool = True  # at first contact a value beats an empty one, whatever the policy
    settle: Duration = timedelta(0)  # who is still typing is left in peace for so long
    guards: GuardsSpec | Literal["off"] = GuardsSpec()
    validation: Literal["lenient", "strict"] = "lenient"
    linked_records: LinkedRecordsSpec = LinkedRecordsSpec()
    header: HeaderSpec = HeaderSpec()
    batch_size: Annotated[int, Field(ge=1, le=100_000)] | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    mode: Literal["full", "incremental"] = "full"
    cursor: CursorSpec | None = None
    full_every: Duration = timedelta(days=1)
    lookback_days: Annotated[int, Field(ge=0, le=3650)] = 0
    schedule: ScheduleSpec | None = None
    active: bool = True
    auto: bool = True
    priority: Literal["high", "normal", "low"] = "normal"
    after: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    impact: ImpactSpec | None = None  # told with issues; decides nothing

    @field_validator("guards", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        # YAML 1.1 reads a bare `off` as false.
        return "off" if value is False else value

    @field_validator("deletes", mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"left_to_right": value, "right_to_left": value}
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.conflict is ConflictPolicy.NEWEST_WINS and self.modified is None:
            raise ValueError("newest_wins needs `modified`, the fields that hold trusted times on both sides")
        if self.settle and self.modified is None:
            raise ValueError("settle needs `modified`, the fields that hold trusted times on both sides")
        if self.exclusive and self.direction is Direction.BOTH:
            raise ValueError("exclusive is for one direction: in a two-way sync no record is foreign")
        if self.granularity is Granularity.RECORD and any(item.conflict for item in self.fields or ()):
            raise ValueError("a field cannot have a conflict policy of its own with granularity: record")
        if self.impact is not None and self.fields is not None:
            mapped = [spec.left for spec in self.fields]
            for name in (self.impact.who, self.impact.amount):
                if name is not None and name not in mapped:
                    raise ValueError(f"impact: '{name}' is not a mapped field.{nearest(name, mapped)}")
        deletes = self.delete_policies
        if DeletePolicy.ARCHIVE in (deletes.left_to_right, deletes.right_to_left) and not deletes.archive:
            raise ValueError(
                "deletes: archive needs its field, such as archive: {field: archived, value: true}"
            )
        return self

    @property
    def delete_policies(self) -> DeletesSpec:
        if isinstance(self.deletes, DeletePolicy):
            return DeletesSpec(left_to_right=self.deletes, right_to_left=self.deletes)
        return self.deletes

    def end(self, side: Side) -> EndSpec:
        return self.left if side == "left" else self.right

    def fields_on(self, side: Side) -> tuple[str, ...]:
        """The fields of one end that this sync looks at; none named means all of them."""
        if self.fields is None:
            return ()
        names = [spec.left if side == "left" else spec.right for spec in self.fields]
        for spec in (self.modified, self.cursor):
            name = getattr(spec, side) if spec is not None else None
            names += [name] if name else []
        if (chosen := self.end(side).filter) is not None:
            names.append(chosen.field)
        return tuple(dict.fromkeys(names))

    def policy(self) -> Policy:
        deletes = self.delete_policies
        archive = deletes.archive
        guards = Guards(on=False) if self.guards == "off" else _guards(self.guards)
        return Policy(
            direction=self.direction,
            conflict=self.conflict,
            tie=ConflictPolicy(self.tie),
            granularity=self.granularity,
            edit_vs_delete=self.edit_vs_delete,
            deletes=Deletes(
                deletes.left_to_right,
                deletes.right_to_left,
                Archive(archive.field, archive.value) if archive else None,
            ),
            exclusive=self.exclusive,
            drift=self.drift,
            hold_first_run=self.first_run == "hold",
            fill_first=self.fill_empty,
            settle=self.settle,
            strict=self.validation == "strict",
            guards=guards,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """One word of a definition that says something else than before; None: it was, or is, not said."""

    place: str  # such as `deletes.left_to_right`; fields by their left name
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What a new definition says otherwise than the old one, as both are stored."""
    old, new = dict(_words_of(before)), dict(_words_of(after))
    places = [*old, *(place for place in new if place not in old)]
    return [
        Difference(place, old.get(place), new.get(place))
        for place in places
        if old.get(place) != new.get(place)
    ]


def _words_of(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inside in value.items():
            yield from _words_of(inside, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _words_of(item, f"{place}.{item.get('left', number)}")
    else:
        yield place, value


def _guards(spec: Any) -> Guards:
    return Guards(
        deletes=DeleteLimits(**spec.deletes.model_dump()),
        creates=spec.creates,
        creates_share=spec.creates_share,
        updates_above=spec.updates_above,
        updates_share=spec.updates_share,
        budget=Budget(**spec.budget.model_dump()),
    )


@dataclass(frozen=True, slots=True)
class Blank:
    """What the two connectors say of emptiness."""

    blank_is_null: bool = False
    omits_empty: bool = False


@dataclass(frozen=True)
class Built:
    """A definition tied to its two streams: what a run decides by."""

    rules: Rules
    scopes: Mapping[Side, Scope | None]
    mapping_hash: str  # differs when the mapping means something else
    identity_hash: str  # differs when the ends, the match fields, the filter or the direction differ
    policy_hash: str  # differs when the same difference may be decided otherwise
    names: Mapping[str, str]  # all mapped fields by the definition's words, the paused ones too
    paused: tuple[str, ...]  # mapped fields that a side no longer has: left alone on the other
    fields: Mapping[str, Any]  # what the streams' own fields are: KnownFields of the next run
    retyped: bool = False  # a field has another type than in the last run
    proposed: tuple[str, ...] = ()  # fields of both sides that are new and not mapped
    notes: tuple[str, ...] = ()


# What was known of the streams' fields at the last run: side -> name in the definition -> {"id", "type"}.
KnownFields = Mapping[str, Mapping[str, Mapping[str, Any]]]


def build(
    definition: SyncDefinition,
    streams: Mapping[Side, Stream],
    emptiness: Mapping[Side, Blank],
    *,
    saving: bool = False,
    known_pairs: Sequence[str] | None = None,
    known_fields: KnownFields | None = None,
    known_as: Mapping[Side, str] | None = None,
) -> Built:
    """Tie a definition to both streams as they are now. Raises MappingMistake.

    While `saving`, a mapped field that a stream lacks is a mistake; in a run it is a field that went
    away since: it is paused, and nothing is cleared on the other side. `known_pairs` are the pairs
    that an omitted `fields` stood for when the config was saved. `known_fields` tell which field was
    renamed: one that keeps its id is followed. `known_as` are the names that the ends' connections had
    when they were made, where people call them otherwise since.
    """
    paused: list[str] = []
    specs = definition.fields
    names = _Names(streams, known_fields or {})
    proposed: tuple[str, ...] = ()
    if specs is None:
        if known_pairs is not None and definition.new_fields != "ignore":
            there = {spec.left for spec in _same_names(definition, streams, None)}
            proposed = tuple(sorted(there - set(known_pairs)))
            if definition.new_fields == "add":
                known_pairs, proposed = [*known_pairs, *proposed], ()
        specs = _same_names(definition, streams, known_pairs)
        if not specs:
            raise MappingMistake(
                "The two streams have no field name in common; list the pairs under `fields`.", "fields"
            )
    blank = emptiness["left"].blank_is_null or emptiness["right"].blank_is_null
    pairs: list[FieldPair] = []
    for number, spec in enumerate(specs):
        gone = [side for side in SIDES if streams[side].field(names.real(side, _name(spec, side))) is None]
        if gone and saving:
            side = gone[0]
            name = _name(spec, side)
            raise MappingMistake(
                f"'{name}' is not a field of {streams[side].name}, the {side} stream."
                + _why_not(name, streams[side]),
                f"fields.{number}.{side}",
            )
        if gone:
            paused.append(f"{_name(spec, gone[0])} on {gone[0]}")
            continue
        there_as: dict[str, Any] = {side: names.real(side, _name(spec, side)) for side in SIDES}
        pair = _pair(spec.model_copy(update=there_as), number, definition, streams, blank)
        pairs.append(replace(pair, name=spec.left, said_right=spec.right))
    _check_pairs(pairs, definition, streams)
    if saving:
        _check_missing(definition, [pair.name for pair in pairs if pair.links_to is not None])
    mapping = FieldMapping(
        pairs=tuple(pairs),
        match=_match(definition, pairs, streams, saving),
        left_modified=names.real("left", definition.modified.left) if definition.modified else None,
        right_modified=names.real("right", definition.modified.right) if definition.modified else None,
        left_omits_empty=emptiness["left"].omits_empty,
        right_omits_empty=emptiness["right"].omits_empty,
    )
    _check_ends(definition, streams, mapping, saving, names)
    return Built(
        rules=Rules(mapping, definition.policy(), streams["left"], streams["right"]),
        scopes={
            side: names.scope(side, chosen.scope()) if (chosen := definition.end(side).filter) else None
            for side in SIDES
        },
        mapping_hash=_hash(dumps(sorted(dumps(_meaning(spec)) for spec in specs))),
        identity_hash=_hash(dumps(_identity(definition, mapping, known_as or {}))),
        policy_hash=_hash(
            repr((definition.policy(), [(pair.conflict, pair.merge, pair.removals) for pair in pairs]))
        ),
        names={spec.left: spec.right for spec in specs},
        paused=tuple(paused),
        fields=names.known(definition, specs),
        retyped=names.retyped(specs),
        proposed=proposed,
        notes=names.notes(),
    )


def _meaning(spec: FieldSpec) -> list[Any]:
    """What of a mapped field decides what its values mean: without its policies, and without the types that
    the streams have just now."""
    return [
        spec.left, spec.right, str(spec.type or ""), str(spec.direction), [str(step) for step in spec.canon],
        spec.scale, spec.ordered, spec.transform, *([spec.links_to] if spec.links_to else []),
    ]  # fmt: skip


class _Names:
    """The streams' fields under the names that the definition has for them."""

    def __init__(self, streams: Mapping[Side, Stream], known: KnownFields) -> None:
        self.streams = streams
        self.before: KnownFields = {side: known.get(side, {}) for side in SIDES}
        self.renamed: dict[tuple[Side, str], str] = {}
        for side in SIDES:
            by_id = {item.id: item.name for item in streams[side].fields if item.id}
            for name, was in self.before[side].items():
                now = by_id.get(was.get("id") or "")
                if now is not None and now != name and streams[side].field(name) is None:
                    self.renamed[side, name] = now

    def real(self, side: Side, name: str) -> str:
        return self.renamed.get((side, name), name)

    def scope(self, side: Side, scope: Scope) -> Scope:
        return replace(scope, field=self.real(side, scope.field))

    def known(self, definition: SyncDefinition, specs: Sequence[FieldSpec]) -> dict[str, Any]:
        """For the next run; of a field that is away, what was known."""
        found: dict[str, Any] = {}
        for side in SIDES:
            wanted = [_name(spec, side) for spec in specs]
            if definition.modified is not None:
                wanted.append(definition.modified.left if side == "left" else definition.modified.right)
            if (chosen := definition.end(side).filter) is not None:
                wanted.append(chosen.field)
            there = {name: self.streams[side].field(self.real(side, name)) for name in wanted}
            found[side] = {
                name: {"id": item.id, "type": str(item.type)}
                if item
                else dict(self.before[side].get(name, {}))
                for name, item in there.items()
            }
        return found

    def retyped(self, specs: Sequence[FieldSpec]) -> bool:
        for side in SIDES:
            for spec in specs:
                name = _name(spec, side)
                item, was = self.streams[side].field(self.real(side, name)), self.before[side].get(name)
                if item is not None and was and was.get("type") != str(item.type):
                    return True
        return False

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"the field '{name}' on {side} is called '{now}' now"
            for (side, name), now in self.renamed.items()
        )


def _identity(definition: SyncDefinition, mapping: FieldMapping, known_as: Mapping[Side, str]) -> list[Any]:
    """What decides which records are meant, and which is which."""
    ends: list[Any] = []
    for side in SIDES:
        end = definition.end(side)
        chosen = end.filter.model_dump(mode="json", exclude_unset=True) if end.filter else None
        ends.append([known_as.get(side) or end.connection, end.stream, end.options, chosen])
    return [*ends, list(mapping.match), str(definition.direction)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _name(spec: FieldSpec, side: Side) -> str:
    return spec.left if side == "left" else spec.right


def _same_names(
    definition: SyncDefinition, streams: Mapping[Side, Stream], known: Sequence[str] | None
) -> tuple[FieldSpec, ...]:
    """All fields of the same name, but for generated keys, fields that both sides refuse, and `modified`."""
    times = {definition.modified.left, definition.modified.right} if definition.modified else set()
    right = streams["right"].by_name
    found = []
    for item in streams["left"].fields:
        twin = right.get(item.name)
        if twin is None or item.name in times or item.generated or twin.generated:
            continue
        if known is not None and item.name not in known:
            continue
        ways = [
            side
            for side, spec in (("left", item), ("right", twin))
            if spec.writable and definition.direction.writes_to("left" if side == "left" else "right")
        ]
        if ways:
            found.append(FieldSpec(left=item.name, right=item.name))
    if known is not None:
        missing = [name for name in known if name not in {spec.left for spec in found}]
        found.extend(FieldSpec(left=name, right=name) for name in missing)
    return tuple(found)


def check_alone(definition: SyncDefinition) -> None:
    """What is wrong with a definition whatever its streams are. Raises MappingMistake."""
    for number, spec in enumerate(definition.fields or ()):
        _flow(spec, number, definition)
    if definition.linked_records.resolve:
        _check_missing(definition, [spec.left for spec in definition.fields or () if spec.links_to])


def _check_missing(definition: SyncDefinition, translated: Sequence[str]) -> None:
    """A link that leads to records which a sync carries is never made by the way."""
    if translated and definition.linked_records.create_missing:
        raise MappingMistake(
            f"create_missing adds records to systems that show links as names; what {', '.join(translated)}"
            " links to is made by the sync that carries it, if its filter lets it. Leave create_missing out"
            " here.",
            "linked_records.create_missing",
        )


def _flow(
    spec: FieldSpec, number: int, definition: SyncDefinition
) -> tuple[Direction, tuple[Transform, ...]]:
    """Which way a field flows, and through which transforms. Raises MappingMistake."""
    place = f"fields.{number}"
    try:
        transforms = spec.transforms()
    except TransformMistake as mistake:
        raise MappingMistake(f"{spec.left}: {mistake}.", f"{place}.transform") from None
    direction = spec.direction
    if direction is Direction.BOTH:
        direction = definition.direction
    elif definition.direction not in (Direction.BOTH, direction):
        raise MappingMistake(
            f"{spec.left} flows {direction}, but the sync flows {definition.direction} only.",
            f"{place}.direction",
        )
    if direction is Direction.BOTH:
        for step in transforms:
            if step.inverse is None:
                raise MappingMistake(
                    f"{spec.left}: the transform {step.name} cannot be undone ({step.why_one_way}), so this"
                    " field cannot flow both ways. Give it a direction, or leave the transform out.",
                    f"{place}.transform",
                )
    return direction, transforms


def _pair(
    spec: FieldSpec,
    number: int,
    definition: SyncDefinition,
    streams: Mapping[Side, Stream],
    blank_is_null: bool,
) -> FieldPair:
    left, right = streams["left"].field(spec.left), streams["right"].field(spec.right)
    if left is None or right is None:
        raise AssertionError("the caller looked")
    place = f"fields.{number}"
    direction, transforms = _flow(spec, number, definition)
    kind = spec.type or _common_type(left.type, right.type)
    forms: dict[Side, LinkForm] = {}
    links_to: tuple[Side, str] | None = None
    if kind is FieldType.LINKS and definition.linked_records.resolve:
        if spec.links_to or left.links_to:
            links_to = ("left", spec.links_to or left.links_to)
        elif right.links_to:
            links_to = ("right", right.links_to)
        if links_to is not None:
            forms = {"left": _link_form(left), "right": _link_form(right)}
    if spec.links_to and kind is not FieldType.LINKS:
        raise MappingMistake(f"{spec.left}: `links_to` is for fields of `type: links`.", f"{place}.links_to")
    if links_to and transforms:
        raise MappingMistake(
            f"{spec.left}: links are translated by the sync of '{links_to[1]}'; no transform can be added.",
            f"{place}.transform",
        )
    own: dict[Side, FieldType] = {}
    if transforms:
        # They lead from the type that the field has where it comes from to the other side's own.
        origin: Side = "right" if direction is Direction.RIGHT_TO_LEFT else "left"
        own = {"left": left.type, "right": right.type}
        own[origin] = spec.type or own[origin]
    return FieldPair(
        name=spec.left,
        left=spec.left,
        right=spec.right,
        type=kind,
        direction=direction,
        canon=spec.canon,
        scale=spec.scale,
        ordered=spec.ordered,
        merge=spec.merge,
        transforms=transforms,
        conflict=spec.conflict,
        left_type=own.get("left"),
        right_type=own.get("right"),
        blank_is_null=blank_is_null,
        removals=None if spec.removals is None else spec.removals == "propagate",
        left_max_bytes=left.max_bytes,
        right_max_bytes=right.max_bytes,
        links_to=links_to,
        left_form=forms.get("left"),
        right_form=forms.get("right"),
    )


def _link_form(item: StreamField) -> LinkForm:
    many = (FieldType.TEXT, FieldType.LIST, FieldType.LINKS, FieldType.JSON)
    return LinkForm(item.type, item.single or item.type not in many)


def _common_type(left: FieldType, right: FieldType) -> FieldType:
    """The more telling of two types: where one side has only text, the other side's type decides."""
    if left is right:
        return left
    if left is FieldType.TEXT:
        return right
    if right is FieldType.TEXT:
        return left
    both = {left, right}
    if both == {FieldType.JSON, FieldType.LIST}:
        return FieldType.LIST  # a system without lists holds them as JSON
    if both == {FieldType.INTEGER, FieldType.DECIMAL}:
        return FieldType.DECIMAL
    if both == {FieldType.DATE, FieldType.DATETIME}:
        return FieldType.DATE
    if both == {FieldType.INTEGER, FieldType.BOOLEAN}:
        return FieldType.BOOLEAN
    return FieldType.TEXT


def _check_pairs(
    pairs: Sequence[FieldPair], definition: SyncDefinition, streams: Mapping[Side, Stream]
) -> None:
    for number, pair in enumerate(pairs):
        for side in SIDES:
            twins = [item for item in pairs[:number] if item.on(side) == pair.on(side)]
            if twins and (side == "left" or pair.direction.writes_to(side)):
                raise MappingMistake(
                    f"'{pair.on(side)}' is mapped twice on {side}.", f"fields.{number}.{side}"
                )
            spec = streams[side].field(pair.on(side))
            explicit = definition.fields is not None
            if spec is None or spec.writable or not pair.direction.writes_to(side):
                continue
            if pair.direction is Direction.BOTH and not explicit:
                continue
            to = "left_to_right" if side == "left" else "right_to_left"
            raise MappingMistake(
                f"'{spec.name}' cannot be written on {side}: it is read-only there."
                f" Give the field the direction {to}.",
                f"fields.{number}.{side}",
            )


def _why_not(name: str, stream: Stream) -> str:
    """Why a stream has no such field: what was set aside while looking, else a slip of the pen."""
    said = _said_of(name, stream)
    return f" {said}" if said else nearest(name, [item.name for item in stream.fields])


def _said_of(name: str, stream: Stream) -> str:
    """What was set aside about this name while looking at the stream: a header that stands there twice."""
    return next((problem for problem in stream.problems if f"'{name}'" in problem), "")


def _match_gone(name: str, definition: SyncDefinition, streams: Mapping[Side, Stream]) -> str:
    spec = next((item for item in definition.fields or () if item.left == name), None)
    for side in SIDES:
        field = name if spec is None else _name(spec, side)
        if streams[side].field(field) is None:
            if said := _said_of(field, streams[side]):
                return f"'{field}', by which records are matched, cannot be used on {side}. {said}"
            return (
                f"'{field}', by which records are matched, is no longer a field of {streams[side].name} on"
                f" {side}. Bring it back, or match by another field.{_why_not(field, streams[side])}"
            )
    return f"The match field '{name}' is no longer there. Bring it back, or match by another field."


def _match(
    definition: SyncDefinition,
    pairs: Sequence[FieldPair],
    streams: Mapping[Side, Stream],
    saving: bool,
) -> tuple[str, ...]:
    names = [pair.name for pair in pairs]
    for number, name in enumerate(definition.match):
        if name not in names:
            if not saving:
                raise MappingMistake(_match_gone(name, definition, streams), f"match.{number}")
            raise MappingMistake(
                f"'{name}' is not among the mapped fields, by their left names." + nearest(name, names),
                f"match.{number}",
            )
        if next(pair for pair in pairs if pair.name == name).links_to is not None:
            raise MappingMistake(
                f"'{name}' links to other records, whose ids differ by side: match by another field.",
                f"match.{number}",
            )
    if definition.match:
        return definition.match
    by_left = {pair.left: pair for pair in pairs}
    key = streams["left"].key
    if key and all(name in by_left for name in key):
        partners = tuple(by_left[name].right for name in key)
        if set(partners) == set(streams["right"].key) or not streams["right"].key:
            return tuple(by_left[name].name for name in key)
    raise MappingMistake(
        "`match` is missing: name the fields, by their left names, that tell which record on the left is"
        f" which on the right. The mapped fields are: {', '.join(names)}.",
        "match",
    )


def _check_ends(
    definition: SyncDefinition,
    streams: Mapping[Side, Stream],
    mapping: FieldMapping,
    saving: bool,
    names: _Names,
) -> None:
    for side in SIDES:
        stream, spec = streams[side], definition.end(side)
        if definition.direction.writes_to(side) and not stream.writable:
            raise MappingMistake(
                f"{stream.name} on {side} cannot be written: {stream.read_only_because or 'it is read-only'}",
                f"{side}.stream",
            )
        if spec.filter is not None and stream.field(names.real(side, spec.filter.field)) is None:
            raise MappingMistake(
                f"The filter's field '{spec.filter.field}' is not a field of {stream.name} on {side}."
                + nearest(spec.filter.field, [item.name for item in stream.fields]),
                f"{side}.filter.field",
            )
        modified = mapping.modified_field(side)
        if modified is not None and stream.field(modified) is None and saving:
            raise MappingMistake(
                f"'{modified}' is not a field of {stream.name} on {side}."
                + nearest(modified, [item.name for item in stream.fields]),
                f"modified.{side}",
            )
    archive = definition.delete_policies.archive
    if archive is not None:
        if archive.field not in mapping.by_name:
            raise MappingMistake(
                f"archive: '{archive.field}' is not among the mapped fields."
                + nearest(archive.field, list(mapping.by_name)),
                "deletes.archive.field",
            )
        pair = mapping.pair(archive.field)
        try:
            parse(archive.value, pair.own_type("left"))
        except ValueProblem as problem:
            raise MappingMistake(f"archive: {problem}.", "deletes.archive.value") from None
