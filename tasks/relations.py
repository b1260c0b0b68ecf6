"""Links between records: who is who, from the link tables of the syncs that carry the linked records.

A run loads only the ids that its own records link to. Records that it makes itself are linked to as soon
as their ids are known: parents are made first, and what forms a circle is linked in a second pass,
journalled like any write. A run that dies in between leaves links that have arrived nowhere; the next one
sets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Outcome, StreamOptions, Write
from connectors.errors import ConnectorError
from models.journal import Change, ChangeState
from models.links import IS_ALIVE, Link, LinkState
from models.sync_configs import SyncConfig
from sync.definition import Built
from sync.diff import Scan
from sync.guard import PlannedChange
from sync.links import Relation
from sync.mapping import FieldMapping, FieldPair, Seen
from sync.plan import Intent, Tie
from sync.planner import Awaited, Item, fingerprint
from sync.records import SIDES, Record, Side, other
from sync.values import MISSING, FieldType, Value, ValueProblem, encode_fields, parse
from tasks import ledger
from tasks.apply import Sending, Work, send_all
from tasks.context import Context
from tasks.sides import End, Pairing, call

CHUNK = 500  # ids in one IN list
MANY = 50_000  # from here on it is cheaper to load a whole link table
MOST_CASCADES = 500  # deletes of one run of which it is asked what goes along with them
LINKED = "links set"  # the rule of a write that only links records which this run has made


@dataclass(frozen=True, slots=True)
class LinkedSync:
    """A sync that carries the records to which a link field leads."""

    config_id: str
    flipped: bool = False  # its left is our right


def linked_syncs(db: Session, config: SyncConfig, side: Side, stream: str) -> tuple[LinkedSync, ...]:
    """The syncs between the same two connections that carry this stream of one side."""
    ids = {"left": config.left_connection_id, "right": config.right_connection_id}
    here, there = ids[side], ids[other(side)]
    found: list[LinkedSync] = []
    for row in db.scalars(
        select(SyncConfig).where(
            SyncConfig.workspace_id == config.workspace_id,
            SyncConfig.left_connection_id.in_((here, there)),
            SyncConfig.right_connection_id.in_((here, there)),
        )
    ):
        for their_side, flipped in ((side, False), (other(side), True)):
            end = row.definition.get(their_side) or {}
            ends = {"left": row.left_connection_id, "right": row.right_connection_id}
            if end.get("stream") == stream and (ends[their_side], ends[other(their_side)]) == (here, there):
                found.append(LinkedSync(row.id, flipped))
                break
    return tuple(sorted(found, key=lambda item: item.config_id != config.id))


def linked_of(db: Session, config: SyncConfig, built: Built) -> dict[str, tuple[LinkedSync, ...]]:
    """For each link field, by its name, the syncs that carry what it links to."""
    return {
        pair.name: linked_syncs(db, config, *pair.links_to)
        for pair in built.rules.mapping.pairs
        if pair.links_to is not None
    }


# -- who is who ------------------------------------------------------------------------------------


def relate(
    ctx: Context, pairing: Pairing, scans: Mapping[Side, Scan], ties: Mapping[int, Tie]
) -> FieldMapping:
    """The mapping of this run, its link fields with who is who among the records that they lead to."""
    mapping = pairing.built.rules.mapping
    pairs = [pair for pair in mapping.pairs if pair.links_to is not None]
    return who_is_who(ctx, pairing, {pair.name: _ids_in(pair, scans, ties) for pair in pairs})


def who_is_who(ctx: Context, pairing: Pairing, wanted: Mapping[str, Mapping[Side, set[str]]]) -> FieldMapping:
    """The mapping with the partners of these ids, by the name of the link field and the side."""
    mapping = pairing.built.rules.mapping
    if not wanted:
        return mapping
    with ctx.reads() as db:
        syncs = linked_of(db, db.get_one(SyncConfig, pairing.config_id), pairing.built)
        return mapping.related(
            {name: _relation(db, pairing.config_id, syncs[name], ids) for name, ids in wanted.items()}
        )


def _ids_in(pair: FieldPair, scans: Mapping[Side, Scan], ties: Mapping[int, Tie]) -> dict[Side, set[str]]:
    """The ids that stand in a link field, now or at the last agreement."""
    found: dict[Side, set[str]] = {"left": set(), "right": set()}
    for side in SIDES:
        for records in (scans[side].new, scans[side].changed):
            for record in records.values():
                found[side].update(_ids_of(pair, side, record))
        for tie in ties.values():
            found[side].update(tie.shadow(side).get(pair.name) or ())
    return found


def _ids_of(pair: FieldPair, side: Side, record: Record) -> Sequence[str]:
    try:
        return pair.own(side, record.get(pair.on(side))) or ()
    except ValueProblem:
        return ()  # said of the record itself


def _relation(
    db: Session, config_id: str, syncs: Sequence[LinkedSync], wanted: Mapping[Side, set[str]]
) -> Relation:
    tables: dict[Side, dict[str, str]] = {"left": {}, "right": {}}
    over: set[tuple[str, str]] = set()
    for sync in syncs:
        for left, right, is_over in _rows(db, sync, wanted):
            # A pair that both sides still hold goes before one that is over under the same id.
            if is_over and (left in tables["left"] or right in tables["right"]):
                continue
            tables["left"][left], tables["right"][right] = right, left
            if is_over:
                over.add((left, right))
    own = any(sync.config_id == config_id and not sync.flipped for sync in syncs)
    return Relation(tables["left"], tables["right"], frozenset(over), own)


def _rows(db: Session, sync: LinkedSync, wanted: Mapping[Side, set[str]]) -> Iterator[tuple[str, str, bool]]:
    """(left id, right id, whether one of the two is gone), in our own orientation; living pairs first."""
    found: dict[int, tuple[str, str, bool]] = {}
    base = select(Link.id, Link.state, Link.reason, Link.left_id, Link.right_id).where(
        Link.config_id == sync.config_id,
        Link.state != LinkState.UNLINKED,
        Link.left_id.is_not(None),
        Link.right_id.is_not(None),
    )
    queries = []
    if sum(map(len, wanted.values())) > MANY:
        queries.append(base)
    else:
        for side in SIDES:
            column = Link.left_id if (side == "left") != sync.flipped else Link.right_id
            ids = sorted(wanted[side])
            queries += [
                base.where(column.in_(ids[start : start + CHUNK])) for start in range(0, len(ids), CHUNK)
            ]
    for query in queries:
        for id_, state, reason, left, right in db.execute(query).yield_per(10_000):
            if left is None or right is None:
                raise AssertionError("the query leaves them out")
            is_over = state == LinkState.TOMBSTONE or (
                state == LinkState.EXCLUDED and str(reason).startswith("deleted")
            )
            found[id_] = (right, left, is_over) if sync.flipped else (left, right, is_over)
    # Of several that are over, the newest tells what the id last stood for.
    yield from (found[id_] for id_ in sorted(found, key=lambda id_: (found[id_][2], -id_)))


# -- what goes along with a delete -----------------------------------------------------------------


def along(pairing: Pairing, changes: Iterable[PlannedChange]) -> dict[tuple[Side, str], dict[str, int]]:
    """How many records of other streams the systems delete along with those that the plan deletes."""
    found: dict[tuple[Side, str], dict[str, int]] = {}
    ids: dict[Side, list[str]] = {"left": [], "right": []}
    for change in changes:
        if change.intent.operation == "delete" and change.record_id is not None:
            ids[change.intent.side].append(change.record_id)
    for side in SIDES:
        end = pairing.end(side)
        if not ids[side] or not end.stream.cascades or not end.can_look_up:
            continue
        for cascade in end.stream.cascades:
            for id_, count in _children(
                end, cascade.stream, cascade.field, ids[side][:MOST_CASCADES], pairing
            ):
                streams = found.setdefault((side, id_), {})
                streams[cascade.stream] = streams.get(cascade.stream, 0) + count
    return found


def _children(
    end: End, stream: str, field_name: str, ids: Sequence[str], pairing: Pairing
) -> Iterator[tuple[str, int]]:
    """How many records of a stream link to each of these ids. What cannot be asked is not counted."""
    try:
        there = call(
            lambda: end.connector.stream(stream, StreamOptions()), retries=pairing.definition.retries
        )
        item = there.field(field_name)
        values: list[Value] = []
        for id_ in ids:
            values.append(id_ if item is None else _as_value(id_, item.type))
        records = call(
            lambda: end.connector.find(there, StreamOptions(), field_name, values),
            retries=pairing.definition.retries,
        )
    except ConnectorError:
        return  # the delete itself will say what is wrong there
    counts: dict[str, int] = {}
    for record in records:
        counts[str(record.get(field_name))] = counts.get(str(record.get(field_name)), 0) + 1
    yield from (
        (id_, counts[str(value)]) for id_, value in zip(ids, values, strict=True) if str(value) in counts
    )


def _as_value(id_: str, kind: FieldType) -> Value:
    try:
        return parse(id_, kind)
    except ValueProblem:
        return id_


# -- links to records that the run itself makes ----------------------------------------------------


@dataclass
class Linker:
    """Sets links as the records that they lead to are made."""

    awaited: Sequence[Awaited]
    _met: dict[Side, list[tuple[str, str]]] = field(default_factory=lambda: {"left": [], "right": []})
    _made: dict[Side, dict[str, str]] = field(default_factory=lambda: {"left": {}, "right": {}})
    _records: dict[tuple[Side, str], Record] = field(default_factory=dict)  # as read back, by origin
    _done: set[int] = field(
        default_factory=set
    )  # the numbers of those that were set as their record was made
    _by_origin: dict[tuple[Side, str], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, item in enumerate(self.awaited):
            self._by_origin.setdefault((item.side, item.origin), []).append(number)

    def needs(self, item: Sending) -> set[str]:
        """The records, by their ids on the other side, that should be made before this one."""
        if item.operation != "create":
            return set()
        numbers = self._by_origin.get((item.side, item.origin_id or ""), ())
        return {id_ for number in numbers for id_ in self.awaited[number].ids}

    def bind(self, item: Sending) -> Sending:
        """A create with the links that can be set by now."""
        if item.operation != "create":
            return item
        bound: dict[str, tuple[Value, Value]] = {}
        fields = dict(item.write.fields)
        for number in self._by_origin.get((item.side, item.origin_id or ""), ()):
            awaited = self.awaited[number]
            value = self._links(awaited, None)
            if value is MISSING:
                continue
            bound[awaited.pair.name] = value, awaited.source
            fields[awaited.pair.on(item.side)] = awaited.pair.outgoing(item.side, value)
            if set(awaited.ids) <= self._made[item.side].keys():
                self._done.add(number)
        return replace(item, write=replace(item.write, fields=fields), bound=bound) if bound else item

    def note(self, item: Sending, outcome: Outcome) -> None:
        """A record was made or written."""
        if outcome.status != "done" or item.origin_id is None:
            return
        if outcome.record is not None:
            self._records[item.side, item.origin_id] = outcome.record
        if item.operation == "create" and outcome.id is not None:
            self._made[item.side][item.origin_id] = outcome.id
            ids = {item.side: outcome.id, other(item.side): item.origin_id}
            self._met[item.side].append((ids["left"], ids["right"]))

    def left_open(self, mapping: FieldMapping) -> Iterator[tuple[Side, Item, str, dict[str, Any]]]:
        """What is still to be linked: side, item, its id there, and name -> (before, after, source)."""
        wanted: dict[tuple[Side, str], list[Awaited]] = {}
        for number, awaited in enumerate(self.awaited):
            if number not in self._done and self._made[awaited.side].keys() & set(awaited.ids):
                wanted.setdefault((awaited.side, awaited.origin), []).append(awaited)
        for (side, origin), items in wanted.items():
            record, look = self._records.get((side, origin)), items[0].item.look(side)
            seen = mapping.see(side, record) if record is not None else look
            if not isinstance(seen, Seen):
                continue  # it was not made: the next run has it all to do
            fields: dict[str, Any] = {}
            for awaited in items:
                before = seen.get(awaited.pair.name)
                after = self._links(awaited, before)
                if after is not MISSING and not awaited.pair.same(side, before, after):
                    fields[awaited.pair.name] = before, after, awaited.source
            if fields:
                yield side, items[0].item, seen.id, fields

    def _links(self, awaited: Awaited, there: Value) -> Value:
        """What the record is to link to on its side; MISSING while there is nothing to link to."""
        side = awaited.side
        if awaited.pair.relation is None:
            raise AssertionError("only links between this sync's own records are awaited")
        relation = awaited.pair.relation.with_met(self._met[side])
        if awaited.pair.single and relation.without_partner(other(side), awaited.source):
            return MISSING
        found = relation.across(other(side), awaited.source) or ()
        if not awaited.pair.single:
            found = tuple(sorted({*found, *relation.without_partner(side, there)}))
        return found or MISSING


def set_the_rest(work: Work, linker: Linker) -> None:
    """The second pass: links in a circle, and of records that were there before."""
    mapping = work.pairing.built.rules.mapping
    sendings: list[Sending] = []
    wanted = list(linker.left_open(mapping))
    if not wanted:
        return
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        for side, item, record_id, fields in wanted:
            before = {name: values[0] for name, values in fields.items()}
            after = {name: values[1] for name, values in fields.items()}
            column = Link.left_id if side == "left" else Link.right_id
            row = Change(
                marker=work.ctx.new_id(), workspace_id=work.workspace_id, config_id=work.config_id,
                run_id=work.run_id, side=side, operation="update",
                key=ledger.label_of(item, mapping)[:500], record_id=record_id,
                origin_id=item.tie.id_on(other(side)),
                link_id=db.scalar(
                    select(Link.id).where(
                        Link.config_id == work.config_id, column == record_id,
                        IS_ALIVE,
                    )
                ),
                before=encode_fields(before), after=encode_fields(after), rule=LINKED,
                state=ChangeState.PLANNED,
                fingerprint=fingerprint(Intent(side, "update", LINKED, after, before), record_id, None),
                settle={"other": encode_fields({name: values[2] for name, values in fields.items()})},
                created_at=now,
            )  # fmt: skip
            db.add(row)
            db.flush()
            write = Write(
                row.marker, "update", record_id, mapping.outgoing(side, after),
                expected=mapping.outgoing(side, before),
            )  # fmt: skip
            sendings.append(
                Sending(row.id, row.marker, side, "update", row.key, write, row.link_id, row.origin_id)
            )
    send_all(work, sendings, phase="linking")
