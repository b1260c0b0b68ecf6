"""The state machine's world: a stage with two hostile systems, people who edit, and the model beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from models.journal import Batch, Change, ChangeState
from models.links import Shadow
from models.sync_runs import RunKind
from sync.records import Field
from sync.values import FieldType, decode, decode_fields
from tasks import ledger, linking, previews, unknowns
from tasks.errors import NotFound, WrongState
from tasks.sides import opened
from tasks.summary import Summary
from tests.hostile import Hostile, Knobs
from tests.machine.model import EMPTY, KEY, LEFT, OTHER, RIGHT, SIDES, Bond, Model, Row, Rules
from tests.machine.stage import PERSON, Held, hostile_stage, value_of

TYPES = {
    "email": FieldType.TEXT,
    "name": FieldType.TEXT,
    "tier": FieldType.TEXT,
    "n": FieldType.INTEGER,
    "note": FieldType.TEXT,
    "flag": FieldType.BOOLEAN,
}
NAMES = tuple(TYPES)
DIRECTIONS = {SIDES: "bidirectional", (RIGHT,): "left_to_right", (LEFT,): "right_to_left"}
Moment = Literal["a page", "a write", "behind a write"]


def own(side: str, name: str) -> str:
    """What a field is called on a side."""
    return name if side == LEFT else name.title()


def lower(side: str, name: str, value: Any) -> Any:
    """A right side that trims names and writes them small."""
    return value.strip().lower() if (side, name) == (RIGHT, "name") and isinstance(value, str) else value


class World:
    def __init__(self, folder: Path, rules: Rules, knobs: Mapping[str, Any], *, renders: bool) -> None:
        self.rules = rules
        keep = lower if renders else (lambda side, name, value: value)
        self.systems: dict[str, Hostile] = {}
        self.held_values: dict[str, dict[str, dict[str, set[Any]]]] = {LEFT: {}, RIGHT: {}}
        self.trash: dict[str, dict[str, Row]] = {LEFT: {}, RIGHT: {}}
        self.is_human = False  # somebody edits, not the sync
        self.doubles: list[str] = []
        self.ids_of: dict[int, dict[str, set[str]]] = {}
        self.found_by_people: set[str] = set()  # markers of writes of which only they could tell
        for side in SIDES:
            fields = [Field(own(side, name), kind) for name, kind in TYPES.items()]
            fields.append(Field(own(side, "at"), FieldType.DATETIME))
            self.systems[side] = Hostile(fields, Knobs(**knobs), space=side)
            self._remember_what_was_held(side)
        if renders:
            self.systems[RIGHT].knobs.normalise["Name"] = lambda value: lower(RIGHT, "name", value)
        self.stage = hostile_stage(folder, self.systems[LEFT], self.systems[RIGHT], definition_of(rules))
        self.model = Model(rules, keep)
        self.model.all_fields = NAMES
        self.run_ids: list[str] = []
        self.shown = ""  # the last preview
        self.identities: dict[tuple[str, str], Any] = {}  # by the hashes that the engine stores of them
        self._name_identity()

    def close(self) -> None:
        self.stage.close()

    def _remember_what_was_held(self, side: str) -> None:
        store, seen = self.systems[side].store, self.held_values[side]
        plain = store._store

        def remember(id: str, row: dict[str, Any]) -> None:
            key = row.get(own(side, KEY))
            if not self.is_human and id not in store.rows and key not in EMPTY:
                there = [other for other, row in store.rows.items() if row[own(side, KEY)] == key]
                self.doubles += [f"{key} was made on {side} as {id} beside {other}" for other in there]
            plain(id, {**dict.fromkeys(field.name for field in store.fields), **row})
            slots = seen.setdefault(id, defaultdict(set))
            for name, value in store.rows[id].items():
                slots[name.lower()].add(value)

        store._store = remember  # type: ignore[method-assign]

    # -- people ------------------------------------------------------------------------------------

    @contextmanager
    def a_person(self) -> Iterator[None]:
        self.is_human = True
        yield
        self.is_human = False

    def ids(self, side: str) -> list[str]:
        return list(self.systems[side].rows)

    def make(self, side: str, values: Row) -> str:
        row = {own(side, name): value for name, value in {**values, "at": self.stage.clock}.items()}
        with self.a_person():
            id = self.systems[side].store.put(row)
        self.model.rows[side][id] = self._row(side, id)
        return id

    def edit(self, side: str, id: str, values: Row) -> None:
        row = {own(side, name): value for name, value in {**values, "at": self.stage.clock}.items()}
        self.systems[side].store.change(id, row)
        self.model.rows[side][id] = self._row(side, id)

    def delete(self, side: str, id: str) -> None:
        self.trash[side][id] = self.model.rows[side].pop(id)
        self.systems[side].store.remove(id)

    def restore(self, side: str, id: str) -> None:
        row = self.trash[side].pop(id)
        if id not in self.systems[side].rows:
            with self.a_person():
                self.systems[side].store.put({own(side, name): value for name, value in row.items()}, id)
            self.model.rows[side][id] = self._row(side, id)

    def make_anew(self, side: str, id: str) -> None:
        """Delete a record, and make another that holds the same."""
        store = self.systems[side].store
        row = dict(store.rows[id])
        store.remove(id)
        del self.model.rows[side][id]
        with self.a_person():
            new = store.put(row)
        self.model.rows[side][new] = self._row(side, new)

    def number_anew(self, side: str, shift: int) -> None:
        """Empty the system and load it again: each record stands under an id that was another's."""
        store = self.systems[side].store
        ids, rows = list(store.rows), [dict(row) for row in store.rows.values()]
        with self.a_person():
            for place, id in enumerate(ids):
                store.put(rows[(place + shift) % len(rows)], id)
                self.model.rows[side][id] = self._row(side, id)

    def _row(self, side: str, id: str) -> Row:
        row = self.systems[side].rows[id]
        return {name: row.get(own(side, name)) for name in (*NAMES, "at")}

    def redefine(self, rules: Rules) -> None:
        self.rules = self.model.rules = rules
        self.stage.redefine(definition_of(rules))
        self._name_identity()

    def _name_identity(self) -> None:
        with opened(self.stage.ctx, self.stage.config_id) as pairing:
            built = pairing.built
        self.identities[built.mapping_hash, built.identity_hash] = self.rules.identity

    # -- runs --------------------------------------------------------------------------------------

    def run(self, **more: Any) -> Summary:
        """A run that nothing disturbs: it must do exactly what the model does."""
        before = {side: len(self.systems[side].log) for side in SIDES}
        self.model.run(**more)
        summary = self.stage.run()
        self.follow(summary)
        self.compare(summary)
        self.check()
        made = sum(len(self.systems[side].log) - before[side] for side in SIDES)
        # G-BOUND: no write that the model does not make (one that changes nothing leaves no trace).
        assert made <= len(self.model.writes), (made, self.model.writes)
        return summary

    def disturbed(self, summary: Summary | None) -> None:
        """After a run that was disturbed: nothing is lost, and the model goes on from what there is."""
        if summary is not None:
            self.follow(summary)
        self.check()
        self.adopt()

    def follow(self, summary: Summary) -> None:
        if summary.status in ("success", "partial"):
            self.run_ids.append(summary.run)

    def show(self) -> None:
        """A preview as the panel asks for one; its rows stay."""
        before = self._written()
        self.shown = self.stage.run(kind=RunKind.PREVIEW).run
        assert self._written() == before, "a preview wrote"

    def carry_out_what_was_shown(self) -> None:
        """The last preview is carried out, whatever was edited since."""
        before = self._written()
        try:
            previews.carry_out(self.stage.ctx, self.shown, by=PERSON)
        except (NotFound, WrongState):
            return  # there is none, or it shows nothing to write
        summary = self.stage.work()
        made = sum(self._written()) - sum(before)
        assert made <= len(previews.fingerprints(self.stage.ctx, self.shown)), "it wrote what nobody has seen"
        self.disturbed(summary)

    def crash(self, step: int, *, after: bool, again: int) -> None:
        """The process dies at a step of the run, perhaps its successor too; then somebody finishes it."""
        self.model.run()
        summary = self.stage.run_and_die(step, after=after)
        if summary is None and again:
            summary = self.stage.take_over_and_die(again)
        while summary is None and self.stage.active_run() is not None:
            summary = self.stage.take_over()
        if summary is not None:
            self.follow(summary)
        self.check()
        self._same_as_undisturbed()
        self.adopt()

    def _same_as_undisturbed(self) -> None:
        """G-CRASH: left alone, both sides come to hold what they would have held without the accident."""
        self._until_it_rests()
        if self._somebody_looks():
            self._until_it_rests()
        self._name_the_new(self.stage.links())
        for _ in range(4):
            self.model.run()
            if not self.model.writes:
                break
        self._name_the_new(self.stage.links())
        for side in SIDES:
            rows = self.real_rows(side)
            assert rows == self.model.rows[side], f"{side}: {_apart(rows, self.model.rows[side])}"
        links = {self._ends(link.left_id, link.right_id) for link in self.stage.links()}
        bonds = {self._ends(bond.ids[LEFT], bond.ids[RIGHT]) for bond in self.model.bonds}
        assert links == bonds, f"links: {links ^ bonds}"
        self.check()

    def _until_it_rests(self) -> None:
        for _ in range(4):
            before = self._written()
            self.follow(self.stage.run())
            if self._written() == before:
                break

    def _somebody_looks(self) -> bool:
        """Whether a record without a key was made again cannot be told from here. A person sees it, and links
        it by hand."""
        ctx, config = self.stage.ctx, self.stage.config_id
        lost = [row for row in self.stage.changes(ChangeState.UNKNOWN) if row.operation == "create"]
        for row in lost:
            made = [entry.id for entry in self.systems[row.side].log if entry.marker == row.marker]
            if not made:
                unknowns.did_not_happen(ctx, row.id, by=PERSON)
                continue
            assert decode_fields(row.after or {})[KEY] in EMPTY, f"{row.key} could have been looked up"
            for link in self.stage.links():
                if link.id_on(OTHER[row.side]) == row.origin_id:  # type: ignore[arg-type]
                    linking.unlink(ctx, link.id, by=PERSON)
            ends = {row.side: made[0], OTHER[row.side]: row.origin_id or ""}
            linking.link(ctx, config, ends[LEFT], ends[RIGHT], by=PERSON)
            self.found_by_people.add(row.marker)
        return bool(lost)

    def _written(self) -> tuple[int, ...]:
        return tuple(len(self.systems[side].log) for side in SIDES)

    def lose(self, side: str, fault: str) -> None:
        """A write is answered by silence, done or not."""
        self.model.run()
        setattr(self.systems[side].knobs, fault, 1)
        self.follow(self.stage.run())
        self.heal()
        self.check()
        self._same_as_undisturbed()
        self.adopt()

    def read_half(self, side: str, page: int, *, cut: bool) -> None:
        """G-ABSENT: from half a read nothing is deleted or cleared."""
        knobs = self.systems[side].knobs
        setattr(knobs, "cut_at_page" if cut else "fail_at_page", page)
        is_partial = page <= max(1, -(-len(self.systems[side].rows) // knobs.page_size))
        before = {each: len(self.systems[each].log) for each in SIDES}
        summary = self.stage.run()
        self.heal()
        if is_partial:
            for entry in self.systems[OTHER[side]].log[before[OTHER[side]] :]:
                assert entry.operation != "delete", f"deleted after half a read: {entry}"
            assert summary.status != "success"
        self.disturbed(summary)

    def deliver_twice(self, step: int, moment: Moment) -> None:
        """G-ONCE: a worker falls asleep at some call, another takes over, then the first wakes up.

        Before a page nothing of it is on its way. Behind a write, what it wrote is found by the other one and
        not written again. Before a write, its batch arrives when the other one is done: its updates and
        deletes change nothing any more, since they say what they expect there. A create that is on its way
        when the lease ends is the one request that nobody can take back, so it is not delayed here.
        """
        self.model.run()
        calls = 0

        def sleep(name: str) -> None:
            nonlocal calls
            if not name.startswith("page" if moment == "a page" else "write"):
                return
            calls += 1
            if calls != step or (moment == "a write" and self._is_creating()):
                return
            for system in self.systems.values():
                system.knobs.meanwhile = system.knobs.afterwards = None
            taken = self.stage.take_over_in_secret()
            if taken is not None:
                self.follow(taken)

        for system in self.systems.values():
            if moment == "behind a write":
                system.knobs.afterwards = sleep
            else:
                system.knobs.meanwhile = sleep
        summary = self.stage.run()
        self.heal()
        self.follow(summary)
        self.check()
        self._same_as_undisturbed()
        self.adopt()

    def _is_creating(self) -> bool:
        with self.stage.ctx.reads() as db:  # those of a first load in parts have one row for all
            in_batches = db.query(Batch).count() > 0
        return in_batches or any(row.operation == "create" for row in self.stage.changes(ChangeState.SENT))

    def run_meanwhile(self, at: int, side: str, id: str, values: Row | None) -> None:
        """Somebody edits or deletes a record between two calls of the run."""
        systems, calls = self.systems.values(), 0

        def act(name: str) -> None:
            nonlocal calls
            calls += 1
            is_paging = name.startswith("page") and not self.systems[side].knobs.snapshot
            if calls != at or id not in self.systems[side].rows or (values is None and is_paging):
                return
            for system in systems:
                system.knobs.meanwhile = None
            if values is None:
                self.model.rows[side][id] = self._row(side, id)
                self.delete(side, id)
            else:
                self.edit(side, id, values)

        for system in systems:
            system.knobs.meanwhile = act
        summary = self.stage.run()
        self.heal()
        self.disturbed(summary)

    # -- what people say ---------------------------------------------------------------------------

    def approve(self, held: Iterable[Held]) -> None:
        chosen = list(held)
        self.model.approved |= {(_held_print(item), item.guard or "") for item in chosen}
        for item in chosen:
            self.model.held.pop(_held_print(item), None)
        self.stage.approve([item.id for item in chosen])
        self.run_what_waits()

    def dismiss(self, item: Held) -> None:
        self.model.dismissed.add(_held_print(item))
        self.model.held.pop(_held_print(item), None)
        self.stage.dismiss([item.id])

    def resolve(self, conflict: Any, take: str) -> None:
        link = next(link for link in self.stage.links() if link.id == conflict.link_id)
        bond = next(
            bond
            for bond in self.model.bonds
            if (bond.ids[LEFT], bond.ids[RIGHT]) == (link.left_id, link.right_id)
        )
        bond.answers[conflict.field] = (take, value_of(conflict.left), value_of(conflict.right))
        self.stage.resolve(conflict.id, take)
        self.run_what_waits()

    def run_what_waits(self) -> None:
        """The run that an answer asks for."""
        if self.stage.active_run() is not None:
            self.run()

    # -- the engine beside the model ---------------------------------------------------------------

    def compare(self, summary: Summary) -> None:
        model, stage = self.model, self.stage
        links = stage.links()
        self._name_the_new(links)
        for side in SIDES:
            rows = self.real_rows(side)
            assert rows == model.rows[side], f"{side}: {_apart(rows, model.rows[side])}"
        real = {self._ends(link.left_id, link.right_id): link for link in links}
        wanted = {self._ends(bond.ids[LEFT], bond.ids[RIGHT]): bond for bond in model.bonds}
        assert set(real) == set(wanted), f"links: {set(real) ^ set(wanted)}"
        for ends, bond in wanted.items():
            link = real[ends]
            assert link.state == bond.state, (ends, link.state, bond.state)
            if bond.state == "unlinked":
                continue
            for side in SIDES:
                shadow = {name: v for name, v in link.shadow(side).items() if name in self.rules.fields}  # type: ignore[arg-type]
                base = {name: v for name, v in bond.base[side].items() if name in self.rules.fields}
                assert shadow == base, f"the shadow of {bond.ids[side]} on {side}: {shadow}, not {base}"
        conflicts = self.real_conflicts()
        assert conflicts == self.model_conflicts(), f"conflicts: {_apart(conflicts, self.model_conflicts())}"
        held = {_held_print(item): item.guard for item in stage.held()}
        assert held == model.held, f"held: {_apart(held, model.held)}"
        if summary.status != "failed":
            waits = bool(model.failed or model.held or self.model_conflicts())
            assert not waits or summary.status == "partial"

    def _name_the_new(self, links: Iterable[Any]) -> None:
        """The model's new records get the ids that the systems gave."""
        twins = {(side, link.id_on(OTHER[side])): link.id_on(side) for link in links for side in SIDES}
        for bond in self.model.bonds:
            for side in SIDES:
                id = bond.ids[side]
                if id is None or not id.startswith("new "):
                    continue
                real = twins.get((side, bond.ids[OTHER[side]]))
                assert real is not None, f"the twin of {bond.ids[OTHER[side]]} was not made on {side}"
                bond.ids[side] = real
                self.model.rows[side][real] = self.model.rows[side].pop(id)

    def real_rows(self, side: str) -> dict[str, Row]:
        return {id: self._row(side, id) for id in self.systems[side].rows}

    @staticmethod
    def _ends(left: str | None, right: str | None) -> tuple[str, str]:
        return (left or "", right or "")

    def real_conflicts(self) -> dict[Any, Any]:
        links = {link.id: link for link in self.stage.links(tombstones=True)}
        found = {}
        for row in self.stage.conflicts():
            link = links[row.link_id or 0]
            ends = self._ends(link.left_id, link.right_id)
            found[ends, row.field] = (value_of(row.left), value_of(row.right))
        return found

    def model_conflicts(self) -> dict[Any, Any]:
        return {
            (self._ends(bond.ids[LEFT], bond.ids[RIGHT]), name): values
            for bond in self.model.bonds
            for name, values in bond.conflicts.items()
        }

    def adopt(self) -> None:
        """Take over what the engine stores as the model's own state."""
        model, stage = self.model, self.stage
        last = self.run_ids[-1] if self.run_ids else None
        answers: dict[int, dict[str, Any]] = defaultdict(dict)
        conflicts: dict[int, dict[str, Any]] = defaultdict(dict)
        for row in stage.conflicts():
            conflicts[row.link_id or 0][row.field] = (value_of(row.left), value_of(row.right))
            if row.resolution:
                answers[row.link_id or 0][row.field] = (
                    row.resolution["take"],
                    value_of(row.resolution["seen_left"]),
                    value_of(row.resolution["seen_right"]),
                )
        with stage.ctx.reads() as db:
            flaps = {row.link_id: row.flaps or {} for row in db.query(Shadow)}
        model.bonds = []
        for link in stage.links():
            bond = Bond({LEFT: link.left_id, RIGHT: link.right_id}, state=link.state)
            bond.base = {side: dict(link.shadow(side)) for side in SIDES}  # type: ignore[arg-type]
            bond.conflicts, bond.answers = conflicts[link.id], answers[link.id]
            for slot, entry in flaps[link.id].items():
                side, _, name = slot.partition(":")
                number = model.number if entry["run"] == last else -9
                bond.worn[side, name] = (decode(entry["value"]), entry["count"], number)
            model.bonds.append(bond)
        for side in SIDES:
            model.rows[side] = self.real_rows(side)
        model.held = {_held_print(item): item.guard for item in stage.held()}  # type: ignore[misc]
        model.approved = {
            (_held_print(_as_held(row)), row.guard or "") for row in stage.changes(ChangeState.APPROVED)
        }
        baseline = stage.baseline()
        model.loaded = baseline is not None and baseline.full_at is not None
        with stage.ctx.reads() as db:
            model.asked = ledger.waits_for_first_run(db, stage.config_id)
        if baseline is not None:
            model.counts = {LEFT: baseline.left_count or 0, RIGHT: baseline.right_count or 0}
            model.identity = self.identities[baseline.mapping_hash, baseline.identity_hash]

    # -- what holds after every run ----------------------------------------------------------------

    def check(self) -> None:
        assert not self.doubles, self.doubles  # G-ONCE
        self._journal_tells_the_truth()
        self._shadows_were_read()

    def _journal_tells_the_truth(self) -> None:
        """G-AUDIT, G-NOLOSS, G-ONCE: every write has one row, with what stood there before."""
        rows = {row.marker: row for row in self.stage.changes()}
        for side in SIDES:
            system = self.systems[side]
            for marker, count in system.creates().items():
                assert count == 1, f"{marker} made {count} records on {side}"
            for entry in system.log:
                row = rows.get(entry.marker)
                assert row is not None, f"no journal row for {entry}"
                assert (row.side, row.operation) == (side, entry.operation), (row, entry)
                told = {ChangeState.APPLIED, ChangeState.SENT, ChangeState.UNKNOWN}
                assert row.state in told or row.marker in self.found_by_people, (
                    f"{entry} happened, and the journal says {row.state}: {row.message}"
                )
                kept = decode_fields(row.before or {})
                rest = decode_fields((row.settle or {}).get("rest") or {})
                before, after = entry.before or {}, entry.after or {}
                for name in NAMES:
                    slot = own(side, name)
                    if before.get(slot) != after.get(slot) and before.get(slot) is not None:
                        copy = kept.get(name, rest.get(slot))
                        assert copy == before[slot], f"{slot} of {entry} was not kept"

    def _shadows_were_read(self) -> None:
        """G-MONO: a shadow holds only what its own side has held."""
        for link in self.stage.links():
            known = self.ids_of.setdefault(link.id, {LEFT: set(), RIGHT: set()})
            for side in SIDES:
                if id := link.id_on(side):  # type: ignore[arg-type]
                    known[side].add(id)
                values: dict[str, set[Any]] = defaultdict(set)
                for id in known[side]:
                    for name, seen in self.held_values[side].get(id, {}).items():
                        values[name] |= seen
                for name, value in link.shadow(side).items():  # type: ignore[arg-type]
                    assert value in values[name], f"{side} never held {name}={value!r} of link {link.id}"

    @contextmanager
    def nothing_stored(self) -> Iterator[None]:
        """G-PLAN, D01: what looks leaves no trace."""
        before = self.stage.dump()
        yield
        after = self.stage.dump()
        for table, rows in after.items():
            assert rows == before[table], f"a preview changed {table}"

    def settle_down(self) -> None:
        """G-TERM, G-QUIET, G-CONV: healed and left alone, it comes to rest, and both sides agree."""
        self.heal()
        for number in range(5):
            before = {side: len(self.systems[side].log) for side in SIDES}
            summary = self.stage.run(full=number == 0)
            self.disturbed(summary)
            if all(len(self.systems[side].log) == before[side] for side in SIDES):
                break
        else:
            raise AssertionError("five runs, and still it writes")
        links = self.stage.links()
        self.run()
        assert all(not len(self.systems[side].log) - before[side] for side in SIDES), "it was not quiet"
        assert self.stage.links() == links, "a shadow moved although nothing happened"
        self._agree(links)

    def heal(self) -> None:
        for system in self.systems.values():
            knobs = system.knobs
            knobs.protected.clear()
            knobs.withheld.clear()
            knobs.fail_at_page = knobs.cut_at_page = knobs.partial = None
            knobs.lost_requests = knobs.lost_answers = knobs.missing_outcomes = 0
            knobs.unavailable = knobs.rate_limited = knobs.repeats = 0
            knobs.meanwhile = knobs.afterwards = None

    def _agree(self, links: Iterable[Any]) -> None:
        open_fields = {(ends, name) for ends, name in self.real_conflicts()}
        held = {(item.record_id, item.origin_id) for item in self.stage.held()}
        no = {(row.record_id, row.origin_id) for row in self.stage.changes(ChangeState.DISMISSED)}
        frozen = {(issue.key, issue.field) for issue in self.stage.issues()}
        for link in links:
            if link.state != "linked" or not link.left_id or not link.right_id:
                continue
            ends = (link.left_id, link.right_id)
            if (held | no) & {ends, ends[::-1]} or self._is_gone(link):
                continue
            left, right = self.model.rows[LEFT][ends[0]], self.model.rows[RIGHT][ends[1]]
            for name, way in self.rules.fields.items():
                if (ends, name) in open_fields or any(field == name for _, field in frozen):
                    continue
                if len(way.to) == 1 or len(self.rules.direction) == 1:
                    continue  # the destination's own edits may stay, by the drift policy
                if name == self.rules.archive[0] and "archive" not in self.rules.gone_on.values():
                    continue  # archived under another policy
                same = self.model.keep(RIGHT, name, left[name]) == self.model.keep(RIGHT, name, right[name])
                assert same, f"{name} of {ends} differs: {left[name]!r}, {right[name]!r}"

    def _is_gone(self, link: Any) -> bool:
        return link.left_id not in self.model.rows[LEFT] or link.right_id not in self.model.rows[RIGHT]


def _apart(real: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> str:
    """Where two mappings differ."""
    keys = [key for key in {**real, **wanted} if real.get(key, "-") != wanted.get(key, "-")]
    return "; ".join(f"{key}: {real.get(key, '-')}, not {wanted.get(key, '-')}" for key in keys)


def definition_of(rules: Rules) -> dict[str, Any]:
    fields = []
    for name, way in rules.fields.items():
        spec: dict[str, Any] = {"left": name, "right": own(RIGHT, name), "type": TYPES[name].value}
        if len(rules.direction) == 2 and len(way.to) == 1:
            spec["direction"] = DIRECTIONS[way.to]
        if way.conflict:
            spec["conflict"] = way.conflict
        fields.append(spec)
    deletes: dict[str, Any] = {
        "left_to_right": rules.gone_on[LEFT],
        "right_to_left": rules.gone_on[RIGHT],
    }
    if "archive" in rules.gone_on.values():
        deletes["archive"] = {"field": rules.archive[0], "value": rules.archive[1]}
    return {
        "left": {"connection": "left", "stream": "people"},
        "right": {"connection": "right", "stream": "people"},
        "direction": DIRECTIONS[rules.direction],
        "match": [KEY],
        "fields": fields,
        "conflict": rules.conflict,
        "tie": rules.tie,
        "granularity": rules.granularity,
        "modified": {"left": "at", "right": own(RIGHT, "at")},
        "edit_vs_delete": rules.edit_vs_delete,
        "deletes": deletes,
        "exclusive": rules.exclusive,
        "drift": rules.drift,
        "first_run": "hold" if rules.hold_first else "apply",
        "retries": 0,
    }


def _held_print(item: Held) -> Any:
    target = None if item.operation == "create" else item.record_id
    return (
        item.side,
        item.operation,
        target,
        item.origin_id,
        tuple(sorted(item.before.items(), key=repr)),
        tuple(sorted(item.after.items(), key=repr)),
    )


def _as_held(row: Change) -> Held:
    return Held(
        row.id,
        row.side,
        row.operation,
        row.key,
        row.guard,
        row.record_id,
        row.origin_id,
        decode_fields(row.before or {}),
        decode_fields(row.after or {}),
    )
