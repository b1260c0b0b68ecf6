"""The rules of a sync once more, written as plainly as they are told: what the engine is held against.

Records are dicts, links are `Bond`s, everything is looked at in every run, nothing is optimised and
nothing is shared with the engine. Where the two differ, one of them is wrong.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

Row = dict[str, Any]  # fields by their left names; "at" is the record's own modified time
LEFT, RIGHT = SIDES = ("left", "right")
OTHER = {LEFT: RIGHT, RIGHT: LEFT}
KEY = "email"
EMPTY = (None, "")
NOTHING = object()


@dataclass(frozen=True)
class Way:
    """How one field flows: to which sides, and who wins where both changed it."""

    to: tuple[str, ...] = SIDES
    conflict: str | None = None


@dataclass(frozen=True)
class Rules:
    direction: tuple[str, ...] = SIDES  # the sides that may be written
    fields: Mapping[str, Way] = field(default_factory=dict)
    conflict: str = "manual"
    tie: str = "manual"
    granularity: str = "field"
    edit_vs_delete: str = "edit_wins"
    gone_on: Mapping[str, str] = field(default_factory=lambda: {LEFT: "never", RIGHT: "never"})
    archive: tuple[str, Any] = ("flag", True)
    exclusive: bool = False
    drift: str = "overwrite"
    hold_first: bool = True

    def flows(self, name: str, to: str) -> bool:
        return to in self.direction and to in self.fields[name].to

    @property
    def identity(self) -> Any:
        """What makes the next run a migration when it differs."""
        return self.direction, {name: way.to for name, way in self.fields.items()}


@dataclass(eq=False)
class Bond:
    ids: dict[str, str | None]
    base: dict[str, Row] = field(default_factory=lambda: {LEFT: {}, RIGHT: {}})
    state: str = "linked"
    conflicts: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    answers: dict[str, tuple[str, Any, Any]] = field(default_factory=dict)
    worn: dict[tuple[str, str], tuple[Any, int, int]] = field(default_factory=dict)


@dataclass(eq=False)
class Op:
    """One write: what it does, and what both sides are known to hold once it is done."""

    side: str
    kind: str
    target: str | None
    origin: str | None
    before: Row
    after: Row
    twin: Row = field(default_factory=dict)  # the other side's values, agreed with it
    bond: Bond | None = None
    then: str = ""  # the bond's state afterwards
    asks: bool = False
    is_delete: bool = False

    @property
    def print(self) -> Any:
        """The same for the same change of the same record."""
        return (
            self.side,
            self.kind,
            self.target,
            self.origin,
            tuple(sorted(self.before.items(), key=repr)),
            tuple(sorted(self.after.items(), key=repr)),
        )


@dataclass
class Decided:
    ops: list[Op] = field(default_factory=list)
    agreed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    conflicts: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    state: str = ""
    stale: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    worn: list[str] = field(default_factory=list)


Keep = Callable[[str, str, Any], Any]


class Model:
    """Two sides, what ties them, and a run."""

    def __init__(self, rules: Rules, keep: Keep = lambda side, name, value: value) -> None:
        self.rules = rules
        self.keep = keep
        self.rows: dict[str, dict[str, Row]] = {LEFT: {}, RIGHT: {}}
        self.bonds: list[Bond] = []
        self.held: dict[Any, str] = {}  # print -> guard
        self.approved: set[tuple[Any, str]] = set()
        self.dismissed: set[Any] = set()
        self.loaded = False  # a run got through
        self.asked = False  # people were asked about the first run, and it is not all done
        self.counts = {LEFT: 0, RIGHT: 0}
        self.identity: Any = None
        self.number = 0
        self.writes: list[Op] = []  # of the last run
        self.failed = 0
        self._new = itertools.count(1)

    def copy(self) -> Model:
        keep, self.keep = self.keep, None  # type: ignore[assignment]
        numbers, self._new = self._new, None  # type: ignore[assignment]
        try:
            twin = copy.deepcopy(self)
        finally:
            self.keep, self._new = keep, numbers
        twin.keep, twin._new = keep, itertools.count(1_000)
        return twin

    # -- a run -------------------------------------------------------------------------------------

    def run(self, protected: Mapping[str, set[str]] | None = None) -> None:
        rules = self.rules
        self.number += 1
        self.failed = 0
        known = sum(bond.state == "linked" for bond in self.bonds)
        counts = {side: len(self.rows[side]) for side in SIDES}
        populated = {
            side: self.counts[side] > 0 or any(bond.ids[side] for bond in self.bonds) for side in SIDES
        }
        # What a load made that was broken off is no first contact.
        stranger = self.asked or not any(bond.state != "tombstone" for bond in self.bonds)
        first = not self.loaded and all(counts.values()) and stranger
        moving = self.loaded and self.identity != rules.identity
        ops, plans = self._decide_all()
        ops = [op for op in ops if op.print not in self.dismissed]
        held = self._hold(ops, first, moving, known, counts, populated)
        self._carry_out(ops, plans, held, protected or {LEFT: set(), RIGHT: set()})
        self.approved = {
            (print_, guard) for print_, guard in self.approved if print_ in {op.print for op in held}
        }
        self.held = {op.print: guard for op, guard in held.items()}
        waits = set(held.values())
        if "migration" not in waits:
            if self.identity != rules.identity:
                for bond in self.bonds:
                    for side in SIDES:
                        bond.base[side] = {
                            name: value for name, value in bond.base[side].items() if name in rules.fields
                        }
            self.identity = rules.identity
        self.asked = "first_run" in waits
        if not self.asked:
            self.loaded = True
        self.counts = counts

    def _hold(
        self,
        ops: list[Op],
        first: bool,
        moving: bool,
        known: int,
        counts: Mapping[str, int],
        populated: Mapping[str, bool],
    ) -> dict[Op, str]:
        held: dict[Op, str] = {}

        def hold(these: list[Op], guard: str) -> None:
            for op in these:
                if op not in held and (op.print, guard) not in self.approved:
                    held[op] = guard

        if first and self.rules.hold_first:
            hold(ops, "first_run")
        if moving:
            hold(ops, "migration")
        hold([op for op in ops if op.asks], "approval")
        # What a guard has held once stays held until a person decides.
        for guard in ("empty_side", "mass_delete"):
            hold([op for op in ops if self.held.get(op.print) == guard], guard)
        for side in SIDES:
            deletes = [op for op in ops if op.side == side and op.is_delete]
            if deletes and populated[OTHER[side]] and not counts[OTHER[side]]:
                hold(deletes, "empty_side")
            whole = max(known, counts[side], 1)
            many = len(deletes) >= 3 and len(deletes) / whole >= 0.5
            if many or (len(deletes) > 10 and len(deletes) / whole > 0.1):
                hold(deletes, "mass_delete")
        return held

    def _carry_out(
        self,
        ops: list[Op],
        plans: list[tuple[Bond, Decided]],
        held: Mapping[Op, str],
        protected: Mapping[str, set[str]],
    ) -> None:
        self.writes = []
        for bond, decided in plans:
            for name, (left, right) in decided.agreed.items():
                bond.base[LEFT][name], bond.base[RIGHT][name] = left, right
            if not decided.ops and decided.state:
                bond.state = decided.state
            # An answer that is carried out by a write stands until that is done.
            waits = decided.answered if decided.ops else []
            kept = {name: bond.conflicts[name] for name in waits if name in bond.conflicts}
            bond.conflicts = {**kept, **decided.conflicts}
            bond.answers = {
                name: answer
                for name, answer in bond.answers.items()
                if name in bond.conflicts and name not in decided.stale
            }
            for slot in decided.worn:
                for way, (value, count, _) in list(bond.worn.items()):
                    if way[1] == slot:
                        bond.worn[way] = (value, count, self.number)
            if bond.state == "tombstone":
                self.bonds.remove(bond)
            elif bond.state == "unlinked":
                bond.ids = {side: id if id in self.rows[side] else None for side, id in bond.ids.items()}
        for op in ops:
            if op in held:
                continue
            if op.target in protected[op.side]:
                self.failed += 1
                continue
            self._write(op)
        for bond, _ in plans:
            if bond not in self.bonds and bond.state not in ("tombstone", "") and any(bond.ids.values()):
                self.bonds.append(bond)

    def _write(self, op: Op) -> None:
        self.writes.append(op)
        rows, bond = self.rows[op.side], op.bond
        if op.kind == "delete":
            del rows[op.target or ""]
            if bond is not None:
                bond.state = "tombstone"
                if bond in self.bonds:
                    self.bonds.remove(bond)
            return
        kept = {name: self.keep(op.side, name, value) for name, value in op.after.items()}
        if op.kind == "create":
            id = f"new {op.side} {next(self._new)}"
            rows[id] = {**dict.fromkeys(self.all_fields), "at": None, **kept}
            assert bond is not None
            bond.ids[op.side] = id
            bond.state, bond.conflicts, bond.answers = "linked", {}, {}
            bond.base = {op.side: self._mapped(rows[id]), OTHER[op.side]: dict(op.twin)}
            if bond not in self.bonds:
                self.bonds.append(bond)
        else:
            rows[op.target or ""].update(kept)
            assert bond is not None
            bond.base[op.side].update(kept)
            bond.base[OTHER[op.side]].update(op.twin)
            if op.then:
                bond.state = op.then
            for name in op.after:
                if name in bond.answers:
                    bond.answers.pop(name)
                    bond.conflicts.pop(name, None)
        for name, value in op.after.items():
            last = bond.worn.get((op.side, name))
            again = last is not None and last[0] == value and last[2] in (self.number, self.number - 1)
            bond.worn[op.side, name] = (value, last[1] + 1 if again and last else 1, self.number)

    all_fields: tuple[str, ...] = ()

    # -- who is who --------------------------------------------------------------------------------

    def _decide_all(self) -> tuple[list[Op], list[tuple[Bond, Decided]]]:
        rules, there = self.rules, self._there()
        linked = {side: {id for bond in self.bonds if (id := there[bond][side])} for side in SIDES}
        fresh = {
            side: [id for id in self.rows[side] if id not in linked[side] and self._key(side, id)]
            for side in SIDES
        }
        waiting: set[Bond] = set()
        aside: dict[str, set[str]] = {LEFT: set(), RIGHT: set()}
        for side in SIDES:
            counts = Counter(self._key(side, id) for id in fresh[side])
            for key, count in counts.items():
                lost = {where: self._lost(where, key, there) for where in SIDES}
                if count > 1 or len(lost[side]) > 1:
                    # Which one is meant cannot be told: nothing happens to any of them, nor to partners.
                    lost = {where: lost[where] + self._called(where, key, there) for where in SIDES}
                    waiting.update(lost[side])
                    for where in SIDES:
                        if where == side or count > 1:
                            these = [id for id in fresh[where] if self._key(where, id) == key]
                            aside[where].update(these)
                            if these:
                                waiting.update(lost[where])
        fresh = {side: [id for id in fresh[side] if id not in aside[side]] for side in SIDES}
        self._give_new_ids(fresh, there)
        taken = {
            side: {
                self._key(side, id)
                for bond in self.bonds
                if bond.state != "unlinked" and (id := there[bond][side])
            }
            for side in SIDES
        }
        fresh = {side: [id for id in fresh[side] if self._key(side, id) not in taken[side]] for side in SIDES}
        self._meet_by_new_names(fresh, there, waiting)
        self._rejoin(fresh, there)
        ops: list[Op] = []
        plans: list[tuple[Bond, Decided]] = []
        for bond in self.bonds:
            for side in SIDES:
                if not there[bond][side] and bond.ids[side] in self.rows[side]:
                    bond.ids[side] = None  # its id belongs to another record now
            if bond not in waiting:
                decided = self._decide(bond, there[bond])
                if any(self._stands_already(op, there) for op in decided.ops):
                    self.failed += 1  # which of the two it is cannot be told: nothing happens to it
                else:
                    plans.append((bond, decided))
        by_key = {self._key(RIGHT, id): id for id in fresh[RIGHT]}
        paired: set[tuple[str, str]] = set()
        for left in fresh[LEFT]:
            right = by_key.get(self._key(LEFT, left))
            if right is not None:
                bond = Bond({LEFT: left, RIGHT: right})
                paired.update(((LEFT, left), (RIGHT, right)))
                plans.append((bond, self._both(bond, left, right)))
        for side in SIDES:
            for id in fresh[side]:
                if (side, id) in paired or self._key(side, id) in taken[OTHER[side]]:
                    continue
                if OTHER[side] in rules.direction:
                    op = self._create(Bond({side: id, OTHER[side]: None}), side, id)
                    if op:
                        ops.append(op)
                elif rules.exclusive:
                    ops.append(self._delete(None, side, id))
        for _, decided in plans:
            ops.extend(decided.ops)
        return ops, plans

    def _bereft(self, side: str, there: Mapping[Bond, Mapping[str, str | None]]) -> list[Bond]:
        """Those who lost their record on this side."""
        return [bond for bond in self.bonds if bond.state != "unlinked" and not there[bond][side]]

    def _lost(self, side: str, key: Any, there: Mapping[Bond, Mapping[str, str | None]]) -> list[Bond]:
        return [bond for bond in self._bereft(side, there) if bond.base[side].get(KEY) == key]

    def _called(self, side: str, key: Any, there: Mapping[Bond, Mapping[str, str | None]]) -> list[Bond]:
        """Those who lost their record on this side, and whose other one was renamed to this key."""
        return [
            bond
            for bond in self._bereft(side, there)
            if (id := there[bond][OTHER[side]])
            and self._key(OTHER[side], id) == key != bond.base[side].get(KEY)
        ]

    def _stands_already(self, op: Op, there: Mapping[Bond, Mapping[str, str | None]]) -> bool:
        """Whether a record that would be made again stands there by its key, or is to be called like one."""
        key, here = op.twin.get(KEY), OTHER[op.side]
        if op.kind != "create" or key in EMPTY:
            return False
        namesakes = [
            bond
            for bond in self.bonds
            if bond is not op.bond
            and (bond.state == "linked" or (bond.state == "excluded" and there[bond][op.side]))
            and (id := there[bond][here])
            and self._key(here, id) == key
        ]
        return bool(namesakes) or any(row[KEY] == key for row in self.rows[op.side].values())

    def _there(self) -> dict[Bond, dict[str, str | None]]:
        """For each bond the ids under which its own records stand now."""
        found: dict[Bond, dict[str, str | None]] = {}
        for bond in self.bonds:
            found[bond] = {}
            for side in SIDES:
                id = bond.ids[side]
                stands = id is not None and id in self.rows[side] and not self._is_another(bond, side, id)
                found[bond][side] = id if stands else None
        return found

    def _is_another(self, bond: Bond, side: str, id: str) -> bool:
        """The same id with another key, and fewer than half of the other values as they were."""
        row, base = self.rows[side][id], bond.base[side]
        if base.get(KEY) in EMPTY or row[KEY] in EMPTY or base[KEY] == row[KEY]:
            return False
        others = [name for name in self.rules.fields if name != KEY and name in base]
        same = sum(row[name] == base[name] for name in others)
        return bool(others) and same < len(others) / 2

    def _give_new_ids(self, fresh: dict[str, list[str]], there: dict[Bond, dict[str, str | None]]) -> None:
        """A record that is gone and a new one with its key are one record under a new id."""
        for side in SIDES:
            for bond in self.bonds:
                if bond.state == "unlinked" or there[bond][side]:
                    continue
                for id in list(fresh[side]):
                    if self._key(side, id) == bond.base[side].get(KEY):
                        bond.ids[side] = there[bond][side] = id
                        fresh[side].remove(id)

    def _meet_by_new_names(
        self,
        fresh: dict[str, list[str]],
        there: dict[Bond, dict[str, str | None]],
        waiting: set[Bond],
    ) -> None:
        """A record that was renamed on one side and is new under that name on the other: they start anew."""
        for side in SIDES:
            for id in list(fresh[side]):
                found = self._called(side, self._key(side, id), there)
                if len(found) == 1:
                    found[0].ids[side] = there[found[0]][side] = id
                    found[0].base, found[0].state = {LEFT: {}, RIGHT: {}}, "linked"
                elif found:
                    waiting.update(found)
                if found:
                    fresh[side].remove(id)

    def _rejoin(self, fresh: dict[str, list[str]], there: dict[Bond, dict[str, str | None]]) -> None:
        """A dissolved pair's survivor meets a new record with its key: they start anew."""
        for side in SIDES:
            survivors = [
                (bond, id)
                for bond in self.bonds
                if bond.state == "unlinked" and (id := there[bond][OTHER[side]]) and not there[bond][side]
            ]
            for id in list(fresh[side]):
                found = [
                    bond for bond, one in survivors if self._key(OTHER[side], one) == self._key(side, id)
                ]
                if len(found) == 1:
                    found[0].ids[side] = there[found[0]][side] = id
                    found[0].base, found[0].state = {LEFT: {}, RIGHT: {}}, "linked"
                if found:
                    fresh[side].remove(id)

    def _key(self, side: str, id: str) -> Any:
        key = self.rows[side][id][KEY]
        return None if key in EMPTY else key

    # -- one pair ----------------------------------------------------------------------------------

    def _decide(self, bond: Bond, there: Mapping[str, str | None]) -> Decided:
        left, right = there[LEFT], there[RIGHT]
        if left and right:
            return self._both(bond, left, right)
        if not left and not right:
            return Decided(state="tombstone")
        here = LEFT if left else RIGHT
        if bond.state != "linked":
            return Decided()
        return self._one_sided(bond, here, there[here] or "")

    def _both(self, bond: Bond, left: str, right: str) -> Decided:
        rules, decided = self.rules, Decided()
        rows = {LEFT: self.rows[LEFT][left], RIGHT: self.rows[RIGHT][right]}
        after: dict[str, Row] = {LEFT: {}, RIGHT: {}}
        twin: dict[str, Row] = {LEFT: {}, RIGHT: {}}
        contested: list[str] = []
        flowing: dict[str, str] = {}  # field -> the side that changed

        def send(name: str, source: str, *, said: bool = False) -> None:
            to, value = OTHER[source], rows[source][name]
            worn = bond.worn.get((to, name))
            if worn and not said and worn[0] == value and worn[1] >= 3 and worn[2] == self.number - 1:
                decided.worn.append(name)
                self.failed += 1
                return
            after[to][name], twin[to][name] = value, value

        for name in rules.fields:
            now = {side: rows[side][name] for side in SIDES}
            base = {side: bond.base[side].get(name, NOTHING) for side in SIDES}
            based = NOTHING not in base.values()
            moved = {side: now[side] != base[side] for side in SIDES}
            if now[LEFT] == now[RIGHT]:
                if not based or any(moved.values()):
                    decided.agreed[name] = (now[LEFT], now[RIGHT])
                continue
            if name in bond.answers:
                take, seen_left, seen_right = bond.answers[name]
                if (now[LEFT], now[RIGHT]) == (seen_left, seen_right) and rules.flows(name, OTHER[take]):
                    send(name, take, said=True)
                    decided.answered.append(name)
                    continue
                decided.stale.append(name)
            ways = [side for side in SIDES if rules.flows(name, side)]
            mark, archived = rules.archive
            is_back = bond.state == "excluded" and name == mark and "archive" in rules.gone_on.values()
            if is_back and based and not any(moved.values()) and archived in now.values():
                source = RIGHT if now[LEFT] == archived else LEFT
                if OTHER[source] in ways:
                    flowing[name] = source
            elif len(ways) == 2:
                if not based and (now[LEFT] in EMPTY) != (now[RIGHT] in EMPTY):
                    flowing[name] = RIGHT if now[LEFT] in EMPTY else LEFT
                elif not based or all(moved.values()):
                    contested.append(name)
                elif any(moved.values()):
                    flowing[name] = LEFT if moved[LEFT] else RIGHT
            elif ways:
                to = ways[0]
                source = OTHER[to]
                if not based:
                    if now[source] in EMPTY and now[to] not in EMPTY:
                        decided.agreed[name] = (now[LEFT], now[RIGHT])
                    else:
                        send(name, source)
                elif moved[to] and rules.drift == "flag":
                    self.failed += 1
                elif moved[source] or (moved[to] and rules.drift == "overwrite"):
                    send(name, source)
        if rules.granularity == "record" and (contested or len(set(flowing.values())) == 2):
            contested, flowing = contested + list(flowing), {}
        for name, source in flowing.items():
            send(name, source)
        for name in contested:
            winner = self._winner(rules.fields[name].conflict or rules.conflict, rows)
            if winner:
                send(name, winner)
            else:
                decided.conflicts[name] = (rows[LEFT][name], rows[RIGHT][name])
        for side, id in ((LEFT, left), (RIGHT, right)):
            if after[side]:
                before = {name: rows[side][name] for name in after[side]}
                origin = right if side == LEFT else left
                decided.ops.append(
                    Op(side, "update", id, origin, before, after[side], twin[side], bond, then="linked")
                )
        if bond.state != "linked":
            decided.state = "linked"
        return decided

    def _winner(self, policy: str, rows: Mapping[str, Row]) -> str | None:
        if policy == "newest_wins":
            left, right = rows[LEFT]["at"], rows[RIGHT]["at"]
            if isinstance(left, datetime) and isinstance(right, datetime):
                if left - right > timedelta(seconds=2):
                    return LEFT
                if right - left > timedelta(seconds=2):
                    return RIGHT
            policy = self.rules.tie
        return {"left_wins": LEFT, "right_wins": RIGHT}.get(policy)

    def _one_sided(self, bond: Bond, here: str, id: str) -> Decided:
        rules, there = self.rules, OTHER[here]
        row = self.rows[here][id]
        edited = any(
            row[name] != bond.base[here][name]
            for name in rules.fields
            if name in bond.base[here] and rules.flows(name, there)
        )
        if here not in rules.direction:
            # The destination of a one-way sync lost its copy: a drift of its own.
            if rules.drift == "flag":
                self.failed += 1
                return Decided()
            if rules.drift == "overwrite" or edited:
                return self._revive(bond, here, id)
            return Decided()
        wanted = rules.gone_on[there]
        if wanted == "never":
            return Decided(state="excluded")
        if not edited:
            return self._gone(bond, here, id, wanted)
        shown = {side: dict(self._mapped(row)) if side == here else None for side in SIDES}
        decision = rules.edit_vs_delete
        stale: list[str] = []
        if "" in bond.answers:
            take, seen_left, seen_right = bond.answers[""]
            if (seen_left, seen_right) == (shown[LEFT], shown[RIGHT]):
                decision = "edit_wins" if take == here else "delete_wins"
            else:
                stale.append("")
        if decision == "follow":
            decision = {
                "newest_wins": "edit_wins",  # nobody knows when it was deleted
                "left_wins": "edit_wins" if here == LEFT else "delete_wins",
                "right_wins": "edit_wins" if here == RIGHT else "delete_wins",
                "manual": "manual",
            }[rules.conflict]
        if decision == "manual":
            return Decided(conflicts={"": (shown[LEFT], shown[RIGHT])}, stale=stale)
        decided = (
            self._revive(bond, here, id) if decision == "edit_wins" else self._gone(bond, here, id, wanted)
        )
        if "" in bond.answers and not stale:
            decided.answered = [""]
        return decided

    def _mapped(self, row: Row) -> Row:
        return {name: row[name] for name in self.rules.fields}

    def _revive(self, bond: Bond, here: str, id: str) -> Decided:
        op = self._create(bond, here, id)
        return Decided(ops=[op] if op else [])

    def _gone(self, bond: Bond, here: str, id: str, wanted: str) -> Decided:
        match wanted:
            case "propagate":
                return Decided(ops=[self._delete(bond, here, id)])
            case "approve":
                return Decided(ops=[replace(self._delete(bond, here, id), asks=True)])
            case "unlink":
                return Decided(state="unlinked")
            case "archive":
                name, value = self.rules.archive
                row = self.rows[here][id]
                if name not in self.rules.fields or row[name] == value:
                    return Decided(state="excluded")
                op = Op(
                    here,
                    "update",
                    id,
                    bond.ids[OTHER[here]],
                    {name: row[name]},
                    {name: value},
                    {},
                    bond,
                    then="excluded",
                    is_delete=True,
                )
                return Decided(ops=[op], state="excluded")
        raise AssertionError(wanted)

    def _create(self, bond: Bond, here: str, id: str) -> Op | None:
        to = OTHER[here]
        row = self.rows[here][id]
        after = {name: row[name] for name in self.rules.fields if self.rules.flows(name, to)}
        return Op(to, "create", None, id, {}, after, self._mapped(row), bond, then="linked")

    def _delete(self, bond: Bond | None, side: str, id: str) -> Op:
        origin = bond.ids[OTHER[side]] if bond else None
        return Op(side, "delete", id, origin, self._mapped(self.rows[side][id]), {}, {}, bond, is_delete=True)
