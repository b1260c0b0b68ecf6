"""The whole plan of a run: both scans, the links they touch, and what should happen.

Pure, in two steps, so that only the links that matter are loaded in full: `touched` names them, then
`make_plan` decides. The caller stores the plan before the first write.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from sync.diff import Scan, absence_is_sure
from sync.filter import Scope
from sync.guard import Facts, PlannedChange, hold
from sync.identity import Pairing, doubled, is_reused_id, pair_up
from sync.mapping import FieldMapping, FieldPair, Seen
from sync.plan import Decision, Gone, Intent, Look, OutOfScope, Tie, Unknown, Unlinked
from sync.reconcile import Rules, reconcile
from sync.records import SIDES, Problem, Record, Side, other
from sync.values import MISSING, Fields, Value, display, dumps_stored, encode_fields


class LinkRow(NamedTuple):
    """The slim part of a link: what a run holds in memory for every record."""

    id: int
    state: str  # linked, excluded, unlinked
    left_id: str | None
    right_id: str | None
    left_version: str | None
    right_version: str | None
    left_missing: int = 0
    right_missing: int = 0
    written_at: datetime | None = None
    key: str = ""  # the match key at the last agreement

    def id_on(self, side: Side) -> str | None:
        return self.left_id if side == "left" else self.right_id

    def version_on(self, side: Side) -> str | None:
        return self.left_version if side == "left" else self.right_version

    def missing_on(self, side: Side) -> int:
        return self.left_missing if side == "left" else self.right_missing


class LinkIndex:
    """What a run knows of a config's links, tombstones left out: how many there are, and those that it looks
    at closer.

    Of all others only ids and versions are read, side by side with the records, and not kept.
    """

    def __init__(self, states: Mapping[str, int], on_side: Mapping[Side, int]) -> None:
        self.states = states  # state -> how many
        self.on_side = on_side  # how many have a record there
        self.by_id: dict[int, LinkRow] = {}
        self.by_left: dict[str, LinkRow] = {}
        self.by_right: dict[str, LinkRow] = {}
        self._renewed: Mapping[Side, Mapping[str, str]] = {}
        # match key -> who holds it, for the keys of records that are new, renamed or gone
        self.holders: dict[str, set[LinkRow]] = {}

    @property
    def linked(self) -> int:
        return self.states.get("linked", 0)

    def renew(self, scans: Mapping[Side, Scan]) -> None:
        """Know the versions that these reads found in place of the stored ones."""
        self._renewed = {side: scans[side].renewed for side in SIDES if scans[side].renewed}
        self.learn(list(self.by_id.values()))

    def _as_renewed(self, row: LinkRow) -> LinkRow:
        left, right = (self._renewed.get(side, {}).get(row.id_on(side) or "") for side in SIDES)
        if left is None and right is None:
            return row
        return row._replace(left_version=left or row.left_version, right_version=right or row.right_version)

    def learn(self, rows: Iterable[LinkRow]) -> None:
        """Take in links that are to be looked at closer."""
        for row in map(self._as_renewed, rows) if self._renewed else rows:
            self.by_id[row.id] = row
            if row.left_id is not None:
                self.by_left[row.left_id] = row
            if row.right_id is not None:
                self.by_right[row.right_id] = row

    def meet(self, holders: Iterable[LinkRow]) -> None:
        """Take in who holds the keys that matter."""
        for row in holders:
            self.holders.setdefault(row.key, set()).add(row)

    def on(self, side: Side) -> Mapping[str, LinkRow]:
        return self.by_left if side == "left" else self.by_right

    def __len__(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True, slots=True)
class SideFacts:
    """What the connector of one side promises, and what a look-up of missing ids said."""

    snapshot: bool
    stable_ids: bool
    consistent: bool
    scope: Scope | None = None
    probed: Mapping[str, Look | Record] = field(default_factory=dict)  # id -> Gone, Unknown or the record
    # A record that this run did not see is not there: only then may one be created.
    knows_all: bool = True
    ids_come_late: bool = False  # records may get their ids in the very run that writes of them


@dataclass(frozen=True, slots=True)
class Item:
    """One link or fresh pair with what was seen and what is decided."""

    tie: Tie
    left: Look
    right: Look
    decision: Decision
    row: LinkRow | None  # as it is stored, new ids included

    def look(self, side: Side) -> Look:
        return self.left if side == "left" else self.right


@dataclass(frozen=True)
class Awaited:
    """Links of one record that can be set on `side` once this run has made the records they lead to."""

    item: Item
    side: Side  # where they are to be set
    pair: FieldPair
    ids: tuple[str, ...]  # of the linked records, on the other side

    @property
    def origin(self) -> str:
        """The record whose links they are, by its id on the other side."""
        return self.item.tie.id_on(other(self.side)) or ""

    @property
    def source(self) -> Value:
        """What it links to on the other side."""
        look = self.item.look(other(self.side))
        return look.get(self.pair.name) if isinstance(look, Seen) else MISSING


@dataclass(slots=True)
class Retied:
    """A link of which a record has a new id (None: its id is another record's now, and its own is gone).

    Which record is which is no change of any record: it is stored whatever becomes of the changes.
    """

    ids: dict[Side, str | None] = field(default_factory=dict)
    anew: bool = False  # what it held before says nothing of what it holds now


@dataclass
class Plan:
    items: list[Item] = field(default_factory=list)
    changes: list[PlannedChange] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    keyless: int = 0
    unchanged: int = 0
    excluded: int = 0
    waiting: int = 0  # records that are left for a later run
    notes: list[str] = field(default_factory=list)
    missing: dict[Side, set[int]] = field(default_factory=dict)  # link ids not seen by a complete scan
    awaited: list[Awaited] = field(default_factory=list)
    retied: dict[int, Retied] = field(default_factory=dict)  # by link id

    @property
    def held(self) -> list[PlannedChange]:
        return [change for change in self.changes if change.guard]

    @property
    def flowing(self) -> list[PlannedChange]:
        return [change for change in self.changes if not change.guard]


def to_learn(scan: Scan) -> set[str]:
    """The ids of linked records that need a closer look: changed, or not returned."""
    return scan.changed.keys() | scan.absent


def touched(index: LinkIndex, scans: Mapping[Side, Scan], waiting: Iterable[int] = ()) -> set[int]:
    """The links that need a closer look: changed or missing on a side, or with an answer waiting."""
    found: set[int] = set(waiting)
    for side in SIDES:
        by_id = index.on(side)
        found.update(by_id[record_id].id for record_id in to_learn(scans[side]))
    # A link that lost its record on one side for good is decided again: the record may be back.
    found.update(row.id for row in index.by_id.values() if row.left_id is None or row.right_id is None)
    return found


def make_plan(
    ties: Mapping[int, Tie],
    index: LinkIndex,
    scans: Mapping[Side, Scan],
    sides: Mapping[Side, SideFacts],
    rules: Rules,
    facts: Facts,
    now: datetime,
) -> Plan:
    """Decide everything. `ties` are the touched links with their shadows, by link id."""
    plan = Plan()
    mapping = rules.mapping
    looks: dict[int, dict[Side, Look]] = {}
    new: dict[Side, list[Seen]] = {"left": [], "right": []}
    outside: dict[Side, list[Record]] = {"left": [], "right": []}
    for side in SIDES:
        _note_scan(plan, side, scans[side], index)
        for record in scans[side].new.values():
            _take_in(plan, side, record, sides[side], rules, now, new[side], outside[side])
        plan.missing[side] = set()
    for link_id, tie in ties.items():
        row = index.by_id[link_id]
        looks[link_id] = {}
        for side in SIDES:
            look = _look(side, tie, row, scans[side], sides[side], rules, now, plan)
            if isinstance(look, Seen) and is_reused_id(tie, side, look, mapping):
                if sides[side].stable_ids:
                    plan.notes.append(f"{side}: the id {look.id} now belongs to another record")
                new[side].append(look)
                plan.retied.setdefault(link_id, Retied()).ids[side] = None
                look = Gone()
            looks[link_id][side] = look
    pairing = _pair(ties, looks, index, new, sides, mapping)
    plan.problems.extend(pairing.problems)
    plan.notes.extend(pairing.notes)
    plan.keyless = len(pairing.keyless)
    _keep_outsiders_out(plan, pairing, outside, mapping)
    named = _Names(mapping, frozenset(side for side in SIDES if sides[side].ids_come_late))
    unsure = pairing.waiting | _relink(plan, looks, pairing, facts, named)
    known = {link_id: _as_retied(tie, plan.retied.get(link_id)) for link_id, tie in ties.items()}
    rules = _with_met(rules, pairing, [known[link_id] for link_id in plan.retied])
    standing = _Standing(ties, looks, index, new, outside, mapping)
    for link_id, tie in known.items():
        if link_id in unsure:
            continue  # neither deleted nor created anew until it is clear who it is
        _decide(
            plan,
            tie,
            looks[link_id]["left"],
            looks[link_id]["right"],
            rules,
            _row_of(tie, index.by_id[link_id], plan.retied.get(link_id)),
            named,
            standing=standing,
        )
    for left, right in pairing.pairs:
        _decide(plan, Tie(None, left.id, right.id), left, right, rules, None, named)
    for side in SIDES:
        if pairing.single[side] and not sides[other(side)].knows_all:
            plan.notes.append(
                f"{len(pairing.single[side])} new records on {side} wait: whether {other(side)} holds them"
                " already cannot be told from this read"
            )
            continue
        for seen in pairing.single[side]:
            ids = {side: seen.id, other(side): None}
            both: dict[Side, Look] = {side: seen, other(side): Gone()}
            tie = Tie(None, ids["left"], ids["right"])
            _decide(plan, tie, both["left"], both["right"], rules, None, named)
    plan.unchanged += index.linked - sum(1 for tie in ties.values() if tie.state == "linked")
    _drop_dismissed(plan, facts.dismissed)
    plan.changes.sort(key=_order)
    if facts.along:
        plan.changes = [
            replace(change, takes_along=along)
            if (along := facts.along.get((change.intent.side, change.record_id or "")))
            and change.intent.operation == "delete"
            else change
            for change in plan.changes
        ]
    plan.changes = hold(plan.changes, facts, rules.policy.guards, hold_first_run=rules.policy.hold_first_run)
    _see_to_links(plan, rules)
    return plan


def _with_met(rules: Rules, pairing: Pairing, relinked: Iterable[Tie]) -> Rules:
    """Records that meet in this very run can be linked to like any others."""
    met = [(left.id, right.id) for left, right in pairing.pairs]
    met += [(tie.left_id, tie.right_id) for tie in relinked if tie.left_id and tie.right_id]
    return replace(rules, mapping=rules.mapping.with_met(met))


def _see_to_links(plan: Plan, rules: Rules) -> None:
    """Links that wait for a record which this run makes; what has nothing to wait for is a problem."""
    coming: dict[Side, dict[str, str]] = {"left": {}, "right": {}}
    for change in plan.flowing:
        if change.intent.operation == "create" and change.origin_id is not None:
            coming[change.intent.side][change.origin_id] = change.key
    awaits: dict[int, dict[str, tuple[str, ...]]] = {}
    dropped: set[int] = set()
    for item in plan.items:
        for open_ in item.decision.unlinked:
            to, pair = other(open_.side), rules.mapping.pair(open_.field)
            own = pair.relation is not None and pair.relation.own
            awaited = tuple(id for id in open_.ids if own and id in coming[to])
            lost = tuple(id for id in open_.ids if id not in awaited)
            if lost:
                required = _is_required(pair, to, rules) and _is_new(item, to)
                plan.problems.append(_no_partner(item, open_, lost, pair, required, rules))
                if required:
                    dropped.add(id(item.tie))
            if awaited:
                awaits.setdefault(id(item.tie), {})[open_.field] = awaited
                plan.awaited.append(Awaited(item, to, pair, awaited))
    if not awaits and not dropped:
        return
    plan.changes = [
        replace(change, awaits=found, links_to=_keys(found, coming[change.intent.side]))
        if change.intent.operation == "create" and (found := awaits.get(id(change.tie)))
        else change
        for change in plan.changes
        if id(change.tie) not in dropped
    ]


def _keys(awaits: Mapping[str, tuple[str, ...]], coming: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(coming[id] for id in ids) for name, ids in awaits.items()}


def _is_required(pair: FieldPair, side: Side, rules: Rules) -> bool:
    spec = rules.stream(side).field(pair.on(side))
    return spec is not None and not spec.nullable


def _is_new(item: Item, side: Side) -> bool:
    return any(intent.side == side and intent.operation == "create" for intent in item.decision.intents)


def _no_partner(
    item: Item, open_: Unlinked, ids: tuple[str, ...], pair: FieldPair, required: bool, rules: Rules
) -> Problem:
    look, to = item.look(open_.side), other(open_.side)
    key = rules.mapping.label(open_.side, look.values, look.id) if isinstance(look, Seen) else item.tie.key
    shown = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    return Problem(
        "no_linked_record",
        f"'{pair.on(open_.side)}' on {open_.side} links to {shown}, which has no partner on {to}."
        + (" The record cannot be made without it." if required else " All else of the record is in step.")
        + " The link follows by itself once that record is on both sides.",
        side=to,
        key=key,
        field_name=pair.name,
        operation="create" if required else "update",
    )


def _order(change: PlannedChange) -> tuple[str, str, str, str]:
    return (change.intent.operation, change.intent.side, change.key, change.fingerprint)


def _note_scan(plan: Plan, side: Side, scan: Scan, index: LinkIndex) -> None:
    for record in scan.duplicates:
        plan.problems.append(
            Problem(
                "duplicate_id",
                f"Another record on {side} carries the id {display(record.id)} too, probably a copied row."
                " The first one keeps it; give the copy an id of its own, or an empty one.",
                side=side,
                key=record.id,
                operation="read",
            )
        )


def _take_in(
    plan: Plan,
    side: Side,
    record: Record,
    facts: SideFacts,
    rules: Rules,
    now: datetime,
    into: list[Seen],
    outside: list[Record],
) -> None:
    """A record that no link knows, if it takes part at all."""
    if record.deleted:
        return
    if facts.scope is not None and not facts.scope.includes(record):
        outside.append(record)
        return
    seen = rules.mapping.see(side, record)
    if _is_being_typed(side, seen, rules, now):
        outside.append(record)
        plan.waiting += 1
        return
    into.append(seen)


def _is_being_typed(side: Side, seen: Seen, rules: Rules, now: datetime) -> bool:
    """Whether a record was edited so recently that its user may not have finished."""
    modified = rules.modified(side, seen)
    return bool(rules.policy.settle) and modified is not None and now - modified < rules.policy.settle


def _keep_outsiders_out(
    plan: Plan, pairing: Pairing, outside: Mapping[Side, list[Record]], mapping: FieldMapping
) -> None:
    """A record whose partner a filter leaves out takes no part either: it is not made there a second time."""
    for side in SIDES:
        alone = pairing.single[other(side)]
        if not alone or not outside[side] or not mapping.match:
            continue
        known = [mapping.see(side, record) for record in outside[side]]
        keys = {mapping.match_key(side, seen.values) for seen in known} - {None}
        inside = [seen for seen in alone if mapping.match_key(other(side), seen.values) not in keys]
        plan.excluded += len(alone) - len(inside)
        pairing.single[other(side)] = inside


def _look(
    side: Side,
    tie: Tie,
    row: LinkRow,
    scan: Scan,
    facts: SideFacts,
    rules: Rules,
    now: datetime,
    plan: Plan,
) -> Look:
    """What is known of a link's record on one side."""
    record_id = tie.id_on(side)
    if record_id is None:
        return Gone()
    record = scan.changed.get(record_id)
    if record is None and (not scan.full or record_id not in scan.absent):
        # It was returned as it is known; or it did not move, where only what moved was read.
        return Seen(record_id, tie.shadow(side), version=row.version_on(side))
    if record is None:
        probe = facts.probed.get(record_id)
        if scan.proves_absence:
            plan.missing[side].add(row.id)
        if isinstance(probe, Record):
            record = probe
        elif probe is not None:
            return _named(probe, tie)
        elif not scan.proves_absence:
            return Unknown(f"not seen on {side}, whose read was incomplete")
        elif absence_is_sure(
            snapshot=facts.snapshot,
            scans_missing=row.missing_on(side) + 1,
            consistent=facts.consistent,
            written_at=row.written_at,
            now=now,
        ):
            return Gone()
        else:
            return Unknown(f"missing on {side}; a second complete read will tell")
    if record.deleted:
        return Gone()
    seen = rules.mapping.see(side, record)
    if facts.scope is not None and not facts.scope.includes(record):
        return OutOfScope(seen)
    if _is_being_typed(side, seen, rules, now) and not _is_as_agreed(side, seen, tie, rules.mapping):
        return Unknown(f"edited on {side} a moment ago; it waits until that has settled")
    return seen


def _is_as_agreed(side: Side, seen: Seen, tie: Tie, mapping: FieldMapping) -> bool:
    """Whether nothing but the time of its last edit (perhaps ours) has moved."""
    shadow = tie.shadow(side)
    return all(pair.same(side, seen.get(pair.name), shadow.get(pair.name, MISSING)) for pair in mapping.pairs)


def _named(look: Look, tie: Tie) -> Look:
    """What a look-up by id found, its problem under the name by which people know the record."""
    if isinstance(look, Unknown | Gone) and look.problem is not None and tie.key:
        return replace(look, problem=replace(look.problem, key=tie.key))
    return look


def _pair(
    ties: Mapping[int, Tie],
    looks: Mapping[int, Mapping[Side, Look]],
    index: LinkIndex,
    new: Mapping[Side, list[Seen]],
    sides: Mapping[Side, SideFacts],
    mapping: FieldMapping,
) -> Pairing:
    lost: dict[Side, list[Tie]] = {"left": [], "right": []}
    survivors: dict[Side, dict[str, list[Tie]]] = {"left": {}, "right": {}}
    if not new["left"] and not new["right"]:
        return Pairing()
    taken: dict[Side, dict[str, str]] = {"left": {}, "right": {}}
    called: dict[Side, dict[str, list[Tie]]] = {"left": {}, "right": {}}
    for held, rows in index.holders.items():
        for row in rows:
            if row.id not in ties:
                taken["left"][held] = taken["right"][held] = display(row.left_id)
    for link_id, tie in ties.items():
        for side in SIDES:
            look = looks[link_id][side]
            if isinstance(look, Seen):
                if (key := mapping.match_key(side, look.values)) is None:
                    continue
                if tie.state == "unlinked" and not isinstance(looks[link_id][other(side)], Seen):
                    survivors[side].setdefault(key, []).append(tie)
                else:
                    taken[side][key] = look.id
            elif isinstance(look, Gone | Unknown) and tie.state != "unlinked":
                lost[side].append(tie)
                if (key := _new_key(tie, side, looks[link_id], mapping)) is not None:
                    called[side].setdefault(key, []).append(tie)
    return pair_up(
        new,
        lost,
        survivors,
        taken,
        mapping,
        called=called,
        stable_ids={side: sides[side].stable_ids for side in SIDES},
    )


def _new_key(tie: Tie, side: Side, looks: Mapping[Side, Look], mapping: FieldMapping) -> str | None:
    """Under which key a record that is gone on this side goes on the other one, if it was renamed there."""
    gone, look = looks[side], looks[other(side)]
    if not isinstance(gone, Gone) or gone.problem or not isinstance(look, Seen):
        return None
    key = mapping.match_key(other(side), look.values)
    return None if key == mapping.match_key(side, tie.shadow(side)) else key


class _Standing:
    """The match keys of all records that matter on a side, linked or not, taking part or not."""

    def __init__(
        self,
        ties: Mapping[int, Tie],
        looks: Mapping[int, Mapping[Side, Look]],
        index: LinkIndex,
        new: Mapping[Side, list[Seen]],
        outside: Mapping[Side, list[Record]],
        mapping: FieldMapping,
    ) -> None:
        self._ties, self._looks, self._index = ties, looks, index
        self._new, self._outside, self._mapping = new, outside, mapping
        self._known: dict[Side, Mapping[str, str]] = {}

    def on(self, side: Side) -> Mapping[str, str]:
        """key -> the id of a record on this side that has it."""
        if side not in self._known:
            self._known[side] = dict(self._on(side))
        return self._known[side]

    def _on(self, side: Side) -> Iterator[tuple[str, str]]:
        for held, rows in self._index.holders.items():
            yield from ((held, id) for row in rows if row.id not in self._ties if (id := row.id_on(side)))
        outside = (self._mapping.see(side, record) for record in self._outside[side])
        for seen in (*self._new[side], *outside):
            yield from self._named(side, seen.values, seen.id)
        for link_id, looks in self._looks.items():
            match looks[side]:
                case Seen() as seen:
                    yield from self._named(side, seen.values, seen.id)
                case OutOfScope(seen):
                    yield from self._named(side, seen.values, seen.id)
                case Unknown():
                    tie = self._ties[link_id]
                    yield from self._named(side, tie.shadow(side), tie.id_on(side) or "")

    def _named(self, side: Side, values: Fields, id: str) -> Iterator[tuple[str, str]]:
        if (key := self._mapping.match_key(side, values)) is not None:
            yield key, id

    def twin(self, decision: Decision, looks: Mapping[Side, Look]) -> Problem | None:
        """What stands in the way of making a record again that is gone: one with its key."""
        for intent in decision.intents:
            here = other(intent.side)
            look = looks[here]
            if intent.operation != "create" or not isinstance(look, Seen):
                continue
            key = self._mapping.match_key(here, look.values)
            if key is None:
                continue
            of = self.on(intent.side).get(key) or next(self._namesakes(here, key, look.id), None)
            if of is not None:
                return doubled(of, here, look, self._mapping)
        return None

    def _namesakes(self, here: Side, key: str, but: str) -> Iterator[str]:
        """Other linked records of this key on this side: their partners there are to have it too."""
        for link_id, looks in self._looks.items():
            look, state = looks[here], self._ties[link_id].state
            flows = state == "linked" or (state == "excluded" and isinstance(looks[other(here)], Seen))
            if flows and isinstance(look, Seen) and look.id != but:
                yield from (id for held, id in self._named(here, look.values, look.id) if held == key)


def _relink(
    plan: Plan, looks: Mapping[int, dict[Side, Look]], pairing: Pairing, facts: Facts, named: _Names
) -> set[int | None]:
    """Give old records their new ids; a rename is proposed, and done once a person agreed.

    The links of which a rename waits for that.
    """
    proposed: set[int | None] = set()

    def give(tie: Tie, side: Side, seen: Seen, *, anew: bool) -> None:
        if tie.id is None:
            raise AssertionError("only stored links are relinked")
        retied = plan.retied.setdefault(tie.id, Retied())
        retied.ids[side] = seen.id
        retied.anew |= anew
        plan.missing[side].discard(tie.id)
        looks[tie.id][side] = seen

    for tie, side, seen in pairing.relinked:
        give(tie, side, seen, anew=False)
    for tie, side, seen in pairing.rejoined:
        give(tie, side, seen, anew=True)
    for tie, side, seen in pairing.renames:
        names = [name for name in _match_of(tie, seen) if tie.shadow(side).get(name) != seen.get(name)]
        intent = Intent(
            side=side,
            operation="relink",
            rule="renamed",
            before={name: tie.shadow(side).get(name) for name in names},
            after={name: seen.get(name) for name in names},
        )
        change = _change(tie, intent, {}, named, target=seen.id)
        if "rename" in facts.approved.get(change.fingerprint, frozenset()):
            give(tie, side, seen, anew=False)
        else:
            proposed.add(tie.id)
            plan.changes.append(change)
    return proposed


def _as_retied(tie: Tie, retied: Retied | None) -> Tie:
    if retied is None:
        return tie
    ids = {"left": tie.left_id, "right": tie.right_id, **retied.ids}
    tie = replace(tie, left_id=ids["left"], right_id=ids["right"])
    return replace(tie, left={}, right={}, state="linked", reason="") if retied.anew else tie


def _row_of(tie: Tie, row: LinkRow, retied: Retied | None) -> LinkRow:
    """A link's row as its record's new ids leave it: no version is known of what stands under them."""
    if retied is None:
        return row
    return row._replace(
        state=tie.state,
        left_id=tie.left_id,
        right_id=tie.right_id,
        left_version=None if "left" in retied.ids else row.left_version,
        right_version=None if "right" in retied.ids else row.right_version,
    )


def _match_of(tie: Tie, seen: Seen) -> list[str]:
    return sorted(set(seen.values) | set(tie.left) | set(tie.right))


def _decide(
    plan: Plan,
    tie: Tie,
    left: Look,
    right: Look,
    rules: Rules,
    row: LinkRow | None,
    named: _Names,
    *,
    standing: _Standing | None = None,
) -> None:
    decision = reconcile(tie, left, right, rules)
    if standing is not None and (twin := standing.twin(decision, {"left": left, "right": right})):
        plan.problems.append(twin)
        return  # as with any ambiguous key, nothing becomes of it and nothing is forgotten
    fresh_foreign = tie.id is None and not decision.intents and not _is_pair(left, right)
    plan.problems.extend(decision.problems)
    plan.waiting += bool(decision.waits)
    if decision.excluded:
        plan.excluded += 1
    if fresh_foreign:
        return
    if decision.is_unchanged and tie.id not in plan.retied:
        plan.unchanged += 1
    plan.items.append(Item(tie, left, right, decision, row))
    looks: dict[Side, Look] = {"left": left, "right": right}
    plan.changes.extend(_change(tie, intent, looks, named) for intent in decision.intents)


def _drop_dismissed(plan: Plan, dismissed: frozenset[str]) -> None:
    """Leave out what a person said no to. Where two linked records have one key by now, and the same is to
    be written to both, their ids tell their changes apart."""
    counts = Counter(change.fingerprint for change in plan.changes)
    changes = [
        replace(change, fingerprint=_print_by_ids(change)) if counts[change.fingerprint] > 1 else change
        for change in plan.changes
    ]
    plan.changes = [change for change in changes if change.fingerprint not in dismissed]
    plan.excluded += len(changes) - len(plan.changes)


def _is_pair(left: Look, right: Look) -> bool:
    return isinstance(left, Seen) and isinstance(right, Seen)


@dataclass(frozen=True)
class _Names:
    """What records are called, for people and in fingerprints."""

    mapping: FieldMapping
    by_key: frozenset[Side]  # where a record may have another id once its change is carried out

    def of(self, side: Side, id: str | None, look: Look | None) -> str | None:
        """The record in a fingerprint."""
        if side in self.by_key and isinstance(look, Seen):
            return self.mapping.match_key(side, look.values) or id
        return id

    def label(self, intent: Intent, looks: Mapping[Side, Look]) -> str:
        """After the record as it stands where it is not written, else as it was."""
        for side in (other(intent.side), intent.side):
            if isinstance(look := looks.get(side), Seen):
                return self.mapping.label(side, look.values, look.id)
        return ""


def _change(
    tie: Tie, intent: Intent, looks: Mapping[Side, Look], named: _Names, *, target: str | None = None
) -> PlannedChange:
    here, there = intent.side, other(intent.side)
    target, origin = target or tie.id_on(here), tie.id_on(there)
    return PlannedChange(
        tie=tie,
        intent=intent,
        key=named.label(intent, looks) or tie.key or display(origin or target),
        record_id=None if intent.operation == "create" else target,
        origin_id=origin,
        fingerprint=fingerprint(
            intent,
            named.of(here, target, looks.get(here)),
            named.of(there, origin, looks.get(there)),
        ),
    )


def _print_by_ids(change: PlannedChange) -> str:
    return fingerprint(change.intent, change.record_id, change.origin_id)


def fingerprint(intent: Intent, record_id: str | None, origin_id: str | None) -> str:
    """The same for the same change of the same records: what an approval is good for.

    The link is not part of it: a fresh pair gets one in the run that shows the change for the first time.
    """
    text = dumps_stored(
        [
            intent.side,
            intent.operation,
            record_id if intent.operation != "create" else None,
            origin_id,
            encode_fields(intent.before),
            encode_fields(intent.after),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()
