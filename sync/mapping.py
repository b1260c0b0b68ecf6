"""The mapping: which field goes with which, and how their values are brought together.

Each side's values are kept in that side's *own* form (its raw value parsed as a canonical type), so
that a shadow stays true when a transform changes. Two own values are compared, or one is sent across,
by `FieldPair.across`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property

from sync import attachments
from sync.links import LinkForm, Relation
from sync.policy import ConflictPolicy, Direction
from sync.records import SIDES, Record, Side, Stream, other
from sync.transforms import Transform
from sync.values import (
    MISSING,
    Canon,
    Fields,
    FieldType,
    Value,
    ValueProblem,
    comparable,
    display,
    dumps,
    encode,
    is_own,
    keeps_places,
    never,
    parse,
    rounded,
)

# Types of which two equal values are equal in every sense, if both are canonical.
_EQUAL_AS_THEY_ARE = frozenset(
    {
        FieldType.TEXT,
        FieldType.INTEGER,
        FieldType.DECIMAL,
        FieldType.BOOLEAN,
        FieldType.DATE,
        FieldType.DATETIME,
    }
)
# Values of these types that are equal, and of one type, are equal in every sense (`{"a": 1}` and
# `{"a": True}` are not).
_PLAIN = frozenset({str, int, bool, Decimal, date, datetime, type(None)})


@dataclass(frozen=True, slots=True)
class FieldPair:
    """A left field, a right field, and what ties them. `name`, the left field's, names the pair."""

    name: str
    left: str
    right: str
    type: FieldType
    direction: Direction = Direction.BOTH
    canon: tuple[Canon, ...] = ()
    scale: int | None = None
    ordered: bool = False
    merge: bool = True  # unordered lists and links: both sides' additions and removals are kept
    transforms: tuple[Transform, ...] = ()  # in the direction of the flow; left to right when both
    conflict: ConflictPolicy | None = None  # None: the sync's own
    left_type: FieldType | None = None  # the own type of a side, where a transform changes it
    right_type: FieldType | None = None
    blank_is_null: bool = False  # one of the two systems cannot tell "" from null
    said_right: str = ""  # what the definition calls the right field, where it was renamed since
    links_to: tuple[Side, str] | None = None  # the stream, on that side, to whose records it links
    left_form: LinkForm | None = None  # how a side holds the ids that it links to
    right_form: LinkForm | None = None
    removals: bool | None = None  # files removed on one side go from the other; None: as `deletes` says
    left_max_bytes: int | None = None  # of one file
    right_max_bytes: int | None = None
    relation: Relation | None = None  # who is who among the linked records; set by each run

    @property
    def partner(self) -> str:
        """The right field by its name in the definition, as `name` is the left one's."""
        return self.said_right or self.right

    def on(self, side: Side) -> str:
        return self.left if side == "left" else self.right

    def own_type(self, side: Side) -> FieldType:
        return (self.left_type if side == "left" else self.right_type) or self.type

    def form(self, side: Side) -> LinkForm | None:
        return self.left_form if side == "left" else self.right_form

    def own(self, side: Side, raw: Value) -> Value:
        """A side's raw value in that side's own canonical form. Raises ValueProblem."""
        if (form := self.form(side)) is not None:
            return form.read(raw)
        value = parse(raw, self.own_type(side))
        return None if value == "" and self.blank_is_null else value

    def knows_own(self, side: Side) -> Callable[[Value], bool]:
        """What tells in a moment that a raw value is in own form already; most are."""
        if self.form(side) is not None:
            return never
        check = is_own(self.own_type(side))
        if self.blank_is_null and self.own_type(side) is FieldType.TEXT:
            return lambda raw: raw != "" and check(raw)
        return check

    def across(self, side: Side, value: Value) -> Value:
        """The own value of `side` in the other side's form. Raises ValueProblem.

        Of links only those that have a partner on the other side.
        """
        if self.relation is not None and value is not MISSING:
            return self.relation.across(side, value)
        if self.holds_files and value is not MISSING:
            return attachments.that_fit(value, self.max_bytes(other(side)))
        if value is MISSING or not self.transforms:
            return value
        forward = (side == "right") == (self.direction is Direction.RIGHT_TO_LEFT)
        if forward:
            for step in self.transforms:
                value = step.forward(value)
        else:
            for step in reversed(self.transforms):
                value = step.backward(value)
        return parse(value, self.own_type(other(side)))

    def comparable(self, side: Side, value: Value) -> Value:
        return comparable(
            value,
            self.own_type(side),
            canon=self.canon,
            scale=self.scale,
            ordered=self.ordered,
            blank_is_null=self.blank_is_null,
        )

    def same(self, side: Side, one: Value, two: Value) -> bool:
        """Whether two own values of one side count as equal."""
        if type(one) is type(two) and type(one) in _PLAIN and one == two:
            return True
        if self.holds_files:
            return attachments.same_files(one, two)
        return bool(self.comparable(side, one) == self.comparable(side, two))

    def agree(self, left: Value, right: Value) -> bool:
        """Whether a left and a right own value mean the same. A value that cannot cross agrees with none."""
        if self.relation is not None:
            return self.relation.agree(left, right)
        if self.holds_files:
            return attachments.same_files(self.across("left", left), self.across("right", right))
        side: Side = "right" if self.direction is Direction.RIGHT_TO_LEFT else "left"
        value, target = (left, right) if side == "left" else (right, left)
        if not self.transforms and type(left) is type(right) and type(left) in _PLAIN and left == right:
            return True
        if not self.transforms and self.comparable(side, value) == self.comparable(other(side), target):
            return True
        try:
            crossed = self.across(side, value)
        except ValueProblem:
            return False
        return self.same(other(side), crossed, target)

    @property
    def merges(self) -> bool:
        return (
            self.merge
            and not self.ordered
            and not self.single
            and self.type in (FieldType.LIST, FieldType.LINKS)
        )

    @property
    def holds_files(self) -> bool:
        return self.type is FieldType.ATTACHMENTS

    @property
    def is_copied(self) -> bool:
        """Whether values go across as they are, and are the same if Python calls them equal."""
        kinds = {self.own_type("left"), self.own_type("right")}
        forms = (self.relation, self.left_form, self.right_form)
        return kinds <= _EQUAL_AS_THEY_ARE and not self.transforms and forms == (None, None, None)

    def max_bytes(self, side: Side) -> int | None:
        return self.left_max_bytes if side == "left" else self.right_max_bytes

    @property
    def single(self) -> bool:
        """Whether one of the two sides links to one record at most."""
        return any(form is not None and form.single for form in (self.left_form, self.right_form))

    def outgoing(self, side: Side, value: Value) -> Value:
        """An own value as the field of that side takes it."""
        form = self.form(side)
        return value if form is None or value is MISSING else form.written(value)


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as one side returned it, its mapped fields in own form, by the pairs' names.

    A field that was not returned, or whose value could not be read, is absent from `values`; the
    latter stands in `problems` with its sentence.
    """

    id: str
    values: Fields
    version: str | None = None
    modified: datetime | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False

    def get(self, name: str) -> Value:
        return self.values.get(name, MISSING)


@dataclass(frozen=True)
class FieldMapping:
    """All pairs of a sync, the fields that tie records at first contact, and where times are kept."""

    pairs: tuple[FieldPair, ...]
    match: tuple[str, ...] = ()  # names of pairs
    left_modified: str | None = None  # the left field that holds the record's trusted modified time
    right_modified: str | None = None
    left_omits_empty: bool = False  # the system leaves empty fields out of its answers
    right_omits_empty: bool = False
    left_vanished: frozenset[str] = frozenset()  # pairs whose field came back with no record at all
    right_vanished: frozenset[str] = frozenset()

    @cached_property
    def by_name(self) -> Mapping[str, FieldPair]:
        return {pair.name: pair for pair in self.pairs}

    @cached_property
    def _columns(self) -> Mapping[Side, list[tuple[str, str, Callable[[Value], bool], FieldPair]]]:
        """For each side the pairs' names and fields, and what tells that a raw value is its own form."""
        return {
            side: [(pair.name, pair.on(side), pair.knows_own(side), pair) for pair in self.pairs]
            for side in SIDES
        }

    @cached_property
    def is_plain(self) -> bool:
        """Whether records that Python calls equal are equal in every field."""
        return all(pair.own_type(side) in _EQUAL_AS_THEY_ARE for pair in self.pairs for side in SIDES)

    def is_equal(self, one: Fields, two: Fields) -> bool:
        """Whether these values of a side are the same in every field; False also where it needs a closer
        look."""
        return self.is_plain and one == two

    def pair(self, name: str) -> FieldPair:
        return self.by_name[name]

    def related(self, relations: Mapping[str, Relation]) -> FieldMapping:
        """The same mapping, its link fields with who is who among the records that they link to."""
        if not relations:
            return self
        pairs = tuple(
            replace(pair, relation=relations[pair.name]) if pair.name in relations else pair
            for pair in self.pairs
        )
        return replace(self, pairs=pairs)

    def with_met(self, met: Iterable[tuple[str, str]]) -> FieldMapping:
        """The same mapping; links among this sync's own records know these pairs of ids too."""
        own = {pair.name: pair.relation for pair in self.pairs if pair.relation and pair.relation.own}
        found = list(met)
        if not own or not found:
            return self
        return self.related({name: relation.with_met(found) for name, relation in own.items()})

    def modified_field(self, side: Side) -> str | None:
        return self.left_modified if side == "left" else self.right_modified

    def see(self, side: Side, record: Record) -> Seen:
        """A record of one side in own form. Never raises: what cannot be read becomes a problem."""
        omits_empty = self.left_omits_empty if side == "left" else self.right_omits_empty
        vanished = self.left_vanished if side == "left" else self.right_vanished
        values: dict[str, Value] = {}
        problems: dict[str, str] = {}
        fields = record.fields
        for name, column, knows, pair in self._columns[side]:
            raw = fields.get(column, MISSING)
            if raw is None or knows(raw):
                values[name] = raw
                continue
            if raw is MISSING:
                if omits_empty and name not in vanished:
                    values[name] = None
                continue
            try:
                values[name] = pair.own(side, raw)
            except ValueProblem as problem:
                problems[name] = f"{column}: {problem}."
        return Seen(
            id=record.id,
            values=values,
            version=record.version,
            modified=self._modified(side, record),
            problems=problems,
            deleted=record.deleted,
        )

    def _modified(self, side: Side, record: Record) -> datetime | None:
        name = self.modified_field(side)
        if name is None:
            return None
        try:
            moment = parse(record.fields.get(name), FieldType.DATETIME)
        except ValueProblem:
            return None
        return moment if isinstance(moment, datetime) else None

    def outgoing(self, side: Side, values: Fields) -> dict[str, Value]:
        """Own values of `side`, by pair name, under that side's field names: what a write carries."""
        return {
            (pair := self.pair(name)).on(side): pair.outgoing(side, value) for name, value in values.items()
        }

    def match_key(self, side: Side, values: Fields) -> str | None:
        """The text under which a record of one side meets its partner; None where it has no key.

        Equal keys are equal texts on both sides.
        """
        if not self.match:
            return None
        parts: list[Value] = []
        for name in self.match:
            pair = self.pair(name)
            value = values.get(name, MISSING)
            if value is MISSING or value is None or value == "":
                return None
            try:
                # Both sides' keys in the form that the transforms lead to.
                part = pair.comparable(*_in_common(pair, side, value))
            except ValueProblem:
                return None
            if part is None:
                return None
            parts.append(part)
        return dumps(parts[0]) if len(parts) == 1 else dumps(parts)

    def key_of(self, side: Side, record: Record) -> str | None:
        """The match key of a record as it was returned; None where it has none that can be read."""
        values: dict[str, Value] = {}
        for name in self.match:
            pair = self.pair(name)
            try:
                values[name] = pair.own(side, record.fields.get(pair.on(side), MISSING))
            except ValueProblem:
                return None
        return self.match_key(side, values)

    def label(self, side: Side, seen_values: Fields, record_id: str | None) -> str:
        """How a person names the record: its match values, else its id."""
        words = [display(seen_values.get(name, None)) for name in self.match]
        return ", ".join(word for word in words if word) or (record_id or "")


def _in_common(pair: FieldPair, side: Side, value: Value) -> tuple[Side, Value]:
    towards: Side = "left" if pair.direction is Direction.RIGHT_TO_LEFT else "right"
    return (towards, value) if side == towards else (towards, pair.across(side, value))


def contract_problem(pair: FieldPair, side: Side, value: Value, stream: Stream) -> str | None:
    """Why this side cannot hold this own value without loss, as a sentence; None where it can."""
    spec = stream.field(pair.on(side))
    if spec is None or value is MISSING:
        return None
    if value is None:
        return None if spec.nullable else f"{spec.name} may not be empty."
    form = pair.form(side)
    if form is not None and form.single and len(value) > 1:
        return f"{spec.name} links to one record at most; the value has {len(value)}."
    if spec.max_length is not None and isinstance(value, str) and len(value) > spec.max_length:
        return f"{spec.name} holds {spec.max_length} characters; the value has {len(value)}."
    if spec.options is not None and isinstance(value, str) and value not in spec.options:
        return f"{spec.name} has no option {display(value)!r}."
    if (
        spec.max_integer is not None
        and isinstance(value, int)
        and not (least(spec.max_integer) <= value <= spec.max_integer)
    ):
        return f"{spec.name} keeps whole numbers only up to {spec.max_integer} exactly."
    if spec.scale is not None and pair.own_type(side) is FieldType.DECIMAL:
        coarse = rounded(value, spec.scale)
        if coarse != value and (
            pair.scale is None or rounded(value, pair.scale) != rounded(coarse, pair.scale)
        ):
            return f"{spec.name} keeps {spec.scale} decimal places; {display(value)} has more."
    return None


def least(largest: int) -> int:
    """The smallest whole number of a type whose largest is this: all bits set reaches one further down."""
    return ~largest if largest & (largest + 1) == 0 else -largest


def fits(pair: FieldPair, side: Side, stream: Stream) -> Callable[[Value], bool]:
    """What tells at a glance that this side can hold an own value; else `contract_problem` is asked."""
    spec, kind = stream.field(pair.on(side)), pair.own_type(side)
    if spec is None:
        return lambda _: True
    if pair.form(side) is not None or kind not in _EQUAL_AS_THEY_ARE or spec.options is not None:
        return never
    nullable = spec.nullable
    if kind is FieldType.TEXT and (longest := spec.max_length) is not None:
        return lambda value: nullable if value is None else type(value) is str and len(value) <= longest
    if kind is FieldType.INTEGER and (largest := spec.max_integer) is not None:
        smallest = least(largest)
        return lambda value: (
            nullable if value is None else type(value) is int and smallest <= value <= largest
        )
    if kind is FieldType.DECIMAL and (scale := spec.scale) is not None:
        return lambda value: (
            nullable if value is None else type(value) is Decimal and keeps_places(value, scale)
        )
    return lambda value: nullable if value is None else True


def encoded(value: Value) -> dict[str, Value] | None:
    """A single value wrapped for a JSON column; None for MISSING (the record or field is not there)."""
    return None if value is MISSING else {"value": encode(value)}
