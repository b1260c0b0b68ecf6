"""A story of two sides: records, edits, a run by the real path, and what it did in a few words.

A story is told once and played in both orientations: `story.left` is the left side of the tale, which in
the mirrored play is the right side of the sync, and the definition is mirrored with it. Every run is
previewed before, checked against the laws that hold after any run, and repeated to see that it is quiet.
"""

from __future__ import annotations

import atexit
import itertools
import json
import shutil
import sqlite3
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connectors.base import Access, Connector
from connectors.errors import ConnectorError
from models.connections import Connection
from models.issues import Alert, Conflict, Issue
from models.journal import Change, ChangeState
from models.links import Link, Shadow
from models.people import Workspace
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun
from models.tables import metadata
from settings import Settings
from sync.attachments import missing
from sync.definition import Blank, Built, SyncDefinition, build
from sync.mapping import FieldMapping, FieldPair
from sync.order import ASIDE
from sync.records import SIDES, Field, Side
from sync.values import MISSING, FieldType, Value, ValueProblem, decode_fields
from tasks import claims, decisions, execute, linking, relations, runs, shift
from tasks.claims import Claim
from tasks.context import Context, live
from tasks.errors import WorkError
from tasks.heartbeat import Heartbeat
from tasks.reins import Reins
from tasks.relations import LINKED
from tasks.sides import open_end, opened, place_of
from tasks.summary import RunError, Summary
from tests.hostile import Accepted, Hostile, Knobs
from tests.scenarios import words
from tests.scenarios.words import as_told, mirrored

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CONFIG = "config-1"
ALICE = "alice@example.org"

TEXTS = ("k", "x", "y", "z")
FIELDS = (*(Field(name, FieldType.TEXT) for name in TEXTS), Field("at", FieldType.DATETIME))
PAIRS: tuple[Mapping[str, Any], ...] = tuple({"left": name, "right": name} for name in TEXTS)
# Records that nothing happens to: one that changes, and a side that is not empty, are told apart by them.
BYSTANDERS = ("b1", "b2", "b3")


class Event(NamedTuple):
    """Something that a run did to a record, or that waits after it."""

    key: str
    word: str
    bare: str  # the same as if the record were the only one


def at(minutes: int) -> datetime:
    """So many minutes after the story began."""
    return START + timedelta(minutes=minutes)


@dataclass(frozen=True)
class StoryContext(Context):
    """The real context, but for the way out: a connection's space names a hostile system."""

    systems: dict[str, dict[str, Hostile]] = field(default_factory=dict)  # space -> stream -> system

    def connector(self, name: str, options: Mapping[str, object]) -> Connector:
        streams = self.systems[str(options["space"])]
        return next(iter(streams.values())).connect_all(streams)


class Place(NamedTuple):
    space: str
    stream: str


class Making(Protocol):
    """Makes the system that holds one side's records: `space` is its connection's name."""

    def __call__(
        self, story: Story, place: Place, fields: Sequence[Field], *, key: Sequence[str], seed: int
    ) -> Hostile: ...

    def __hash__(self) -> int: ...


def in_memory(
    story: Story, place: Place, fields: Sequence[Field], *, key: Sequence[str], seed: int
) -> Hostile:
    return Hostile(
        fields, Knobs(), key=key, space=place.space, stream=place.stream, access=story.access, seed=seed
    )


class Story:
    """`root` is the story beside which this one is told: a second sync of the same house. `system` makes
    what holds the records, in place of memory; it keeps to what `Hostile` offers."""

    def __init__(
        self,
        *,
        system: Making = in_memory,
        swapped: bool = False,
        root: Story | None = None,
        places: Mapping[Side, Place] | None = None,
        fields: Sequence[Field] = FIELDS,
        right_fields: Sequence[Field] | None = None,
        key: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self.swapped = swapped
        self.system = system
        self.previews = True
        self.repeats = True
        self.in_line = False  # whether runs are queued, claimed and ended as a worker does it
        self.quiet = True  # whether runs are expected to be quiet when repeated at once
        told: dict[Side, Sequence[Field]] = {"left": fields, "right": right_fields or fields}
        self.root = root or self
        self.places: dict[Side, Place] = {
            side: places[as_told(side, swapped)] if places else Place(side, "people") for side in SIDES
        }
        if root is None:
            self.access = Access()
            self.config = CONFIG
            self.siblings = 0
            self._clock = START
            self._numbers = itertools.count(1)
            self._lock = threading.Lock()
            self.database = _database()
            self.ctx = self._context()
        else:
            self.database, self.ctx, self.access = root.database, root.ctx, root.access
            root.siblings += 1
            self.config = f"config-{root.siblings + 1}"
            with self.ctx.sessions.begin() as db:
                db.add(_config(self.config, self.places["left"].space, self.places["right"].space))
        self.systems: dict[Side, Hostile] = {}
        for side in SIDES:
            place = self.places[side]
            streams = self.ctx.systems.setdefault(place.space, {})
            if place.stream not in streams:
                streams[place.stream] = system(self, place, told[as_told(side, swapped)], key=key, seed=seed)
            self.systems[side] = streams[place.stream]
        # It never beats: the story's clock stands still while a run works.
        self._heartbeat = Heartbeat(self.ctx, "story", threading.Event(), sweeps=False)
        self._held_values: dict[Side, dict[tuple[str, str], list[Value]]] = {
            side: defaultdict(list) for side in SIDES
        }
        # The records that a link led to so far: what its shadows hold may be of one's time under an old id.
        self.ids_of: dict[Side, dict[int, set[str]]] = {side: defaultdict(set) for side in SIDES}
        self.left, self.right = (Teller(self, side) for side in ("left", "right"))
        self.runs = 0
        self.last: Summary | None = None
        self._run_id = ""
        self.events: list[Event] = []
        self.definition: dict[str, Any] = {}

    def _context(self) -> StoryContext:
        kept = {name: getattr(self.database.ctx, name) for name in Context.__dataclass_fields__}
        kept |= {
            "db_now": lambda _db: self._clock,
            "now": lambda: self._clock,
            "new_id": self._new_id,
            "rand": lambda: 0.5,
        }
        return StoryContext(**kept)

    def beside(
        self, stream: str = "people", places: Mapping[Side, Place] | None = None, **more: Any
    ) -> Story:
        """A second sync: of another stream between the same two systems, or between the places named."""
        here: dict[Side, Place] = {teller.told: Place(teller.place.space, stream) for teller in self.tellers}
        return Story(system=self.system, swapped=self.swapped, root=self.root, places=places or here, **more)

    @property
    def tellers(self) -> tuple[Teller, Teller]:
        return self.left, self.right

    def _new_id(self) -> str:
        with self.root._lock:
            return f"id-{next(self.root._numbers):06}"

    # -- telling -----------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return self.root._clock

    def wait(self, **duration: float) -> None:
        self.root._clock += timedelta(**duration)

    def define(self, **said: Any) -> None:
        """The sync as the story has it. What was defined before and is not named stays."""
        self.definition |= said
        definition = self._defined(self.definition)
        known = []
        if definition.fields is None:
            known = [pair.name for pair in self._tie(definition).rules.mapping.pairs]
        stored = definition.model_dump(mode="json", exclude_unset=True, by_alias=True)
        with self.ctx.sessions.begin() as db:
            row = db.get_one(SyncConfig, self.config)
            row.definition, row.version, row.known_pairs = stored, row.version + 1, known

    def check(self, **said: Any) -> Built:
        """The definition as it is checked when somebody saves it. Raises MappingMistake."""
        return self._tie(self._defined(said), saving=True)

    def _defined(self, said: Mapping[str, Any]) -> SyncDefinition:
        raw: dict[str, Any] = {
            **{
                teller.told: {**teller.place._asdict(), **teller.system.end, **said.get(teller.told, {})}
                for teller in self.tellers
            },
            "match": ["k"],
            "fields": list(PAIRS),
            "first_run": "apply",
            "retries": 0,
            **{name: value for name, value in said.items() if name not in ("left", "right")},
        }
        if self.swapped:
            raw = mirrored(raw)
        for side in SIDES:
            raw[side]["connection"] = self.places[side].space
            del raw[side]["space"]
        return SyncDefinition.model_validate(raw)

    def _tie(self, definition: SyncDefinition, *, saving: bool = False) -> Built:
        ends = {side: open_end(self.systems[side].connect(), side, definition) for side in SIDES}
        return build(
            definition,
            {side: ends[side].stream for side in SIDES},
            {side: Blank(ends[side].connector.blank_is_null) for side in SIDES},
            saving=saving,
        )

    def keep_secret(self, told: Side, **secrets: str) -> None:
        """A secret of a side's connection, stored as any is: encrypted."""
        with self.ctx.sessions.begin() as db:
            row = db.get_one(Connection, as_told(told, self.swapped))
            row.secrets = self.ctx.ring.encrypt(json.dumps(secrets), place_of(row))

    def both(self, *keys: str, **values: Value) -> None:
        """The same records on both sides, one for each key."""
        for key in keys:
            self.left.put(key, **values)
            self.right.put(key, **values)

    def base(self, *keys: str, **values: Value) -> None:
        """Records that both sides agree on, and a few bystanders."""
        if not self.definition:
            self.define()
        self.both(*keys, **values)
        calm = {
            item.name: "calm"
            for item in self.left.system.store.fields
            if item.name in ("x", "y", "z") and item.type is FieldType.TEXT
            if self._right_type(item.name) is FieldType.TEXT
        }
        self.both(*(key for key in BYSTANDERS if key not in keys), **calm)
        outcome = self.run(preview=False, repeat=False)
        assert outcome == words.NOTHING, outcome

    def _right_type(self, name: str) -> FieldType | None:
        return next((item.type for item in self.right.system.store.fields if item.name == name), None)

    # -- running -----------------------------------------------------------------------------------

    def run(
        self,
        *,
        preview: bool | None = None,
        repeat: bool | None = None,
        full: bool = False,
        kind: RunKind = RunKind.MANUAL,
        carries_out: str = "",
        **options: Any,
    ) -> str:
        """One run, perhaps one that carries a preview out; what it did, in words.

        Raises AssertionError where a law does not hold.
        """
        if carries_out:
            options["preview"] = carries_out
        planned = self.preview() if (self.previews if preview is None else preview) else None
        self.wait(minutes=1)
        self._keep_what_is_held()
        before = self._before()
        if self.in_line:
            self._run_id = runs.queue(
                self.ctx, self.config, asked_by=ALICE, kind=kind, full=full, options=options
            )
            claim = claims.claim_run(self.ctx, self._run_id, f"here:1:{self.runs}")
            assert claim is not None, f"the run {self._run_id} cannot be claimed"
            outcome = self.carry(claim, before)
        else:
            outcome = self.carry(self.claimed(kind, full, options), before)
        if planned is not None and self.last is not None and self.last.status != "failed":
            self._preview_was_true(planned)
        if (self.repeats if repeat is None else repeat) and self.last is not None:
            self._is_quiet(outcome)
        return outcome

    def claimed(self, kind: RunKind, full: bool = False, options: Mapping[str, Any] | None = None) -> Claim:
        """A run that has begun, and did nothing yet."""
        with self.ctx.sessions.begin() as db:
            run = db.scalar(
                select(SyncRun).where(SyncRun.state == RunState.QUEUED, SyncRun.config_id == self.config)
            )
            if run is None:  # else a decision has asked for one
                config = db.get_one(SyncConfig, self.config)
                run = runs.new_run(
                    self.ctx, config, self.now, asked_by=ALICE, kind=kind, full=full, options=options
                )
            claim = claims.start_held(self.ctx, db, run, "story", self.now)
        self._run_id = claim.run_id
        return claim

    def carry(self, claim: Claim, before: Mapping[Side, int] | None = None) -> str:
        before = self._before() if before is None else before
        self.runs += 1
        self.last = None
        if self.in_line:
            self.last = shift.carry(self.ctx, self._heartbeat, claim, execute.carry_out, in_line=False)
            assert "bug" not in [error.code for error in self.last.errors], self.last.errors
        else:
            self.last = self._carry_out(claim)
        self._keep_what_is_held()
        with self.ctx.reads() as db:
            _Laws(self, db, before).hold()
            return self._words(db, before)

    def _carry_out(self, claim: Claim) -> Summary:
        """The run itself, without the line that it stands in: that has tests of its own."""
        reins = Reins(self.ctx, claim, threading.Event())
        try:
            summary = execute.carry_out(self.ctx, claim, reins)
        except (ConnectorError, WorkError) as problem:
            summary = reins.summary
            summary.status = "failed"
            summary.errors.append(RunError("", "", "", problem.code, problem.message))
        with self.ctx.sessions.begin() as db:
            db.execute(
                update(SyncRun)
                .where(SyncRun.id == claim.run_id)
                .values(state=summary.status, finished_at=self.now, summary=summary.as_json())
            )
            claims.add_lines(db, claim.run_id, reins.take_lines())
        return summary

    def after_a_crash(self) -> str:
        """The process is dead: its lease runs out, another one takes the run over."""
        assert self.in_line
        self.wait(minutes=3)
        claim = claims.claim_run(self.ctx, self._run_id, f"here:1:{self.runs}")
        assert claim is not None, f"the run {self._run_id} cannot be taken over"
        return self.carry(claim, self._before())

    def preview(self, full: bool = False) -> Summary:
        """What a run would do. It leaves no trace."""
        before, written = self.image(), self._before()
        with opened(self.ctx, self.config) as pairing:
            summary = execute.preview(
                self.ctx, pairing, run_id="preview", full=full, previous=self._previous()
            )
        assert self.image() == before, "a preview left a trace"
        assert self._before() == written, "a preview wrote"
        return summary

    def image(self) -> bytes:
        """Our whole database: equal images mean that nothing was written at all."""
        with sqlite3.connect(self.database.path) as db:
            image = db.serialize()
        db.close()
        return image

    def load_image(self, image: bytes) -> None:
        """Our database is restored from a backup."""
        with sqlite3.connect(":memory:") as kept, sqlite3.connect(self.database.path) as db:
            # An image in memory has no write-ahead log beside it.
            kept.deserialize(image[:18] + b"\x01\x01" + image[20:])
            kept.backup(db)
        kept.close()
        db.close()

    def _previous(self) -> str | None:
        with self.ctx.reads() as db:
            return db.scalar(
                select(SyncRun.id)
                .where(
                    SyncRun.config_id == self.config,
                    SyncRun.state.in_((RunState.SUCCESS, RunState.PARTIAL)),
                )
                .order_by(SyncRun.finished_at.desc())
                .limit(1)
            )

    def _before(self) -> dict[Side, int]:
        return {side: len(self.systems[side].log) for side in SIDES}

    def _keep_what_is_held(self) -> None:
        """Every value that a side ever held, by record and field: what a shadow may show."""
        for side in SIDES:
            for record_id, row in self.systems[side].rows.items():
                for name, value in row.items():
                    self._note(side, record_id, name, value)
            for entry in self.systems[side].log:
                for name, value in (entry.after or {}).items():
                    self._note(side, entry.id, name, value)

    def _note(self, side: Side, record_id: str, name: str, value: Value) -> None:
        kept = self._held_values[side][record_id, name]
        if not any(value is item or (value == item and type(value) is type(item)) for item in kept):
            kept.append(value)

    def ever_held(self, side: Side, record_id: str, name: str) -> list[Value]:
        return self._held_values[side].get((record_id, name), [])

    # -- what came of it ---------------------------------------------------------------------------

    def _words(self, db: Session, before: Mapping[Side, int]) -> str:
        self.events = self._events(db, before)
        said = [event.word for event in self.events]
        if self.last is not None and self.last.status == "failed":
            said.append(f"failed({self.last.errors[-1].code})")
        return words.sentence(said)

    def of(self, key: str) -> str:
        """What the last run did to one record, told as if it were the only one."""
        return words.sentence([event.bare for event in self.events if event.key == key])

    def _events(self, db: Session, before: Mapping[Side, int]) -> list[Event]:
        found: list[Event] = []
        for side in SIDES:
            told = as_told(side, self.swapped)
            for entry in self.systems[side].log[before[side] :]:
                key = self.key_of(side, entry)
                found += [Event(key, full, bare) for full, bare in _words_of(told, entry, key)]
        for row in db.scalars(
            select(Conflict).where(Conflict.config_id == self.config, Conflict.state == "open")
        ):
            found.append(Event(row.key, words.conflict(row.key, row.field), words.conflict("k", row.field)))
        for change in db.scalars(
            select(Change).where(Change.config_id == self.config, Change.state == ChangeState.HELD)
        ):
            told = as_told(change.side, self.swapped)
            full, bare = (f"held({_planned_word(told, change, name)})" for name in (change.key, words.HERO))
            found.append(Event(change.key, full, bare))
        for issue in db.scalars(
            select(Issue).where(Issue.config_id == self.config, Issue.closed_at.is_(None))
        ):
            found.append(Event(issue.key, words.issue(issue.code, issue.key), words.issue(issue.code, "k")))
        return found

    def key_of(self, side: Side, entry: Accepted) -> str:
        """The record's name in the story: as it was called before the write."""
        row = entry.before or entry.after or {}
        return str(row.get("k") or entry.id)

    def changes_of(self, run_id: str) -> list[Change]:
        """The journal of a run, in its order."""
        with self.ctx.reads() as db:
            return list(db.scalars(select(Change).where(Change.run_id == run_id).order_by(Change.id)))

    def conflicts(self) -> list[Conflict]:
        with self.ctx.reads() as db:
            return list(
                db.scalars(
                    select(Conflict)
                    .where(Conflict.config_id == self.config, Conflict.state == "open")
                    .order_by(Conflict.key, Conflict.field)
                )
            )

    def issues(self) -> list[Issue]:
        with self.ctx.reads() as db:
            return list(
                db.scalars(
                    select(Issue)
                    .where(Issue.config_id == self.config, Issue.closed_at.is_(None))
                    .order_by(Issue.key, Issue.code)
                )
            )

    def held(self, *states: ChangeState) -> list[Change]:
        with self.ctx.reads() as db:
            return list(
                db.scalars(
                    select(Change)
                    .where(Change.config_id == self.config, Change.state.in_(states or (ChangeState.HELD,)))
                    .order_by(Change.id)
                )
            )

    def journal(self) -> list[Change]:
        with self.ctx.reads() as db:
            return list(db.scalars(select(Change).where(Change.config_id == self.config).order_by(Change.id)))

    def alerts(self) -> list[Alert]:
        with self.ctx.reads() as db:
            return list(db.scalars(select(Alert).order_by(Alert.id)))

    def links(self) -> list[Link]:
        with self.ctx.reads() as db:
            return list(db.scalars(select(Link).where(Link.config_id == self.config).order_by(Link.id)))

    def link(self, key: str = words.HERO) -> Link:
        """The newest link of a record by its key, whatever its state."""
        found = [row for row in self.links() if row.key.strip('"') == key]
        assert found, f"no link of {key}: {[(row.key, row.state) for row in self.links()]}"
        return found[-1]

    def shadows(self) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
        """By link id, in the real orientation."""
        with self.ctx.reads() as db:
            rows = db.scalars(
                select(Shadow).join(Link, Link.id == Shadow.link_id).where(Link.config_id == self.config)
            )
            return {row.link_id: (dict(row.left), dict(row.right)) for row in rows}

    def shadow(self, side: Side, key: str = words.HERO) -> dict[str, Value]:
        """What a side of the story held at the last agreement."""
        pair = self.shadows()[self.link(key).id]
        return decode_fields(pair[0] if as_told(side, self.swapped) == "left" else pair[1])

    def lines(self) -> list[str]:
        """The log of the last run."""
        from models.sync_runs import RunLine

        with self.ctx.reads() as db:
            return list(
                db.scalars(select(RunLine.text).where(RunLine.run_id == self._run_id).order_by(RunLine.id))
            )

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def summary(self) -> Summary:
        assert self.last is not None
        return self.last

    def counts(self, side: Side) -> Any:
        """The last run's counts of a side of the story."""
        return self.summary.side(as_told(side, self.swapped))

    # -- people ------------------------------------------------------------------------------------

    def resolve(self, take: str, field: str | None = None, key: str = words.HERO) -> None:
        """Alice answers the conflicts of a record with a side of the story, or with a value."""
        chosen = [
            row.id for row in self.conflicts() if row.key == key and (field is None or row.field == field)
        ]
        assert chosen, f"{key} has no conflict"
        real = as_told(take, self.swapped) if take in SIDES else take
        decisions.resolve(self.ctx, chosen, real, by=ALICE)

    def approve(self, *keys: str) -> None:
        """Alice lets held changes through: those of these records, or all."""
        chosen = [row.id for row in self.held() if not keys or row.key in keys]
        assert chosen, "nothing is held"
        decisions.approve(self.ctx, chosen, by=ALICE)

    def dismiss(self, *keys: str) -> None:
        chosen = [row.id for row in self.held() if not keys or row.key in keys]
        assert chosen, "nothing is held"
        decisions.dismiss(self.ctx, chosen, by=ALICE)

    def link_by_hand(self, left_id: str, right_id: str) -> None:
        """Alice says that a record of the story's left and one of its right are one."""
        ids = (right_id, left_id) if self.swapped else (left_id, right_id)
        linking.link(self.ctx, self.config, *ids, by=ALICE)

    def unlink_by_hand(self, key: str = words.HERO) -> None:
        linking.unlink(self.ctx, self.link(key).id, by=ALICE)

    # -- laws --------------------------------------------------------------------------------------

    def _preview_was_true(self, planned: Summary) -> None:
        """G-PLAN: what the preview said is what the journal of the run says."""
        with self.ctx.reads() as db:
            done = list(
                db.scalars(
                    select(Change).where(
                        Change.run_id == self._run_id,
                        Change.operation.in_(("create", "update", "delete")),
                        Change.state != ChangeState.HELD,
                        Change.rule.not_in((ASIDE, LINKED)),
                    )
                )
            )
        told = [
            item
            for item in planned.changes or ()
            if item["state"] == "planned" and item["operation"] != "relink"
        ]
        # Links to records that the run makes have no value before it: the preview names the records.
        late = {(item["side"], item["key"]): set(item.get("links_to", ())) for item in told}
        expected = sorted(
            (item["side"], item["operation"], item["key"], repr(_sorted(_but(late, item, item["after"]))))
            for item in told
        )
        actual = sorted(
            (
                row.side,
                row.operation,
                row.key,
                repr(_sorted(_but(late, {"side": row.side, "key": row.key}, row.after))),
            )
            for row in done
        )
        assert expected == actual, "the preview said something else than the run did"
        assert planned.held == self.summary.held, "the preview held something else than the run"
        if not self.summary.failed:
            assert planned.conflicts == self.summary.conflicts, "the preview said other conflicts"

    def _is_quiet(self, outcome: str) -> None:
        """G-QUIET and G-CONV: a second run at once writes nothing and moves no shadow."""
        shadows, written = self.shadows(), self._before()
        first = (self.last, self._run_id, self.events)
        waits = (self.waiting(), [(row.key, row.field) for row in self.conflicts()])
        again = self.run(preview=False, repeat=False)
        if self.quiet:
            assert self._before() == written, f"a repeated run was not quiet: {again}"
            assert self.shadows() == shadows, "a repeated run moved shadows"
            assert waits == (self.waiting(), [(row.key, row.field) for row in self.conflicts()])
            self._sides_agree()
        self.last, self._run_id, self.events = first

    def waiting(self) -> list[tuple[str, str, str | None]]:
        return sorted((row.fingerprint, row.operation, row.guard) for row in self.held())

    def _sides_agree(self) -> None:
        """G-CONV: with nothing failed, open, held or excluded, linked records agree in every mapped field."""
        if self.last is None or self.last.status != "success" or self.last.excluded:
            return
        with opened(self.ctx, self.config) as pairing:
            rules = pairing.built.rules
            links = [pair for pair in rules.mapping.pairs if pair.links_to is not None]
            wanted = {pair.name: {side: self._ids_in(pair, side) for side in SIDES} for pair in links}
            mapping = relations.who_is_who(self.ctx, pairing, wanted)
        shadows = self.shadows()
        for link in self.links():
            if link.state != "linked" or link.left_id is None or link.right_id is None:
                continue
            rows = {"left": link.left_id, "right": link.right_id}
            seen = {
                side: mapping.see(side, record)
                for side in SIDES
                if (record := self.systems[side].returned(rows[side])) is not None
            }
            if len(seen) < 2:
                continue
            for pair in mapping.pairs:
                if not any(rules.flows_to(side, pair) for side in SIDES) or rules.policy.drift != "overwrite":
                    continue
                left, right = seen["left"].get(pair.name), seen["right"].get(pair.name)
                if left is MISSING or right is MISSING:
                    continue
                if pair.agree(left, right):
                    continue
                if pair.holds_files and not (missing(left, right) and missing(right, left)):
                    continue  # what one side removes may stay on the other
                kept = [decode_fields(stored).get(pair.name, MISSING) for stored in shadows[link.id]]
                assert kept == [left, right], f"{link.key}.{pair.name}: {left!r} and {right!r}"

    def _ids_in(self, pair: FieldPair, side: Side) -> set[str]:
        rows = self.systems[side].rows.values()
        return {id for row in rows for id in pair.own(side, row.get(pair.on(side))) or ()}


class Teller:
    """One side of the story: what its users do there."""

    def __init__(self, story: Story, told: Side) -> None:
        self.story = story
        self.told: Side = told
        self.real: Side = as_told(told, story.swapped)

    @property
    def place(self) -> Place:
        return self.story.places[self.real]

    @property
    def system(self) -> Hostile:
        return self.story.systems[self.real]

    @property
    def knobs(self) -> Knobs:
        return self.system.knobs

    def put(self, key: str = words.HERO, /, id: str | None = None, **values: Value) -> str:
        """A new record. Fields that are not named are empty."""
        names = [item.name for item in self.system.store.fields]
        row = {name: values.get(name) for name in names}
        if "k" in names:
            row["k"] = values.get("k", key)
        return self.system.store.put(row, id)

    def id(self, key: str = words.HERO) -> str:
        found = [id for id, row in self.system.rows.items() if row.get("k") == key]
        if not found and key in self.system.rows:
            return key
        assert len(found) == 1, f"{len(found)} records {key} on {self.told}"
        return found[0]

    def edit(self, key: str = words.HERO, /, **values: Value) -> None:
        self.system.store.change(self.id(key), values)

    def remove(self, *keys: str) -> None:
        for key in keys or (words.HERO,):
            self.system.store.remove(self.id(key))

    def row(self, key: str = words.HERO) -> dict[str, Value]:
        return self.system.rows[self.id(key)]

    def get(self, field: str, key: str = words.HERO) -> Value:
        return self.row(key).get(field)

    @property
    def keys(self) -> list[str]:
        """The keys of its records, but for the bystanders."""
        return sorted(
            str(row.get("k")) for row in self.system.rows.values() if row.get("k") not in BYSTANDERS
        )

    def has(self, key: str = words.HERO) -> bool:
        return any(row.get("k") == key for row in self.system.rows.values())


@dataclass
class _Laws:
    """What holds after any run, whatever happened in it."""

    story: Story
    db: Session
    before: Mapping[Side, int]

    def hold(self) -> None:
        mapping = self._mapping()
        changes = {row.marker: row for row in self.db.scalars(select(Change))}
        for side in SIDES:
            system = self.story.systems[side]
            for entry in system.log[self.before[side] :]:
                self._was_journalled(side, entry, changes, mapping)
            for marker, count in system.creates().items():
                assert count == 1, f"G-ONCE: {marker} made {count} records on {side}"
        if mapping is not None:
            self._shadows_were_read(mapping)
        self._alerts_are_few()

    def _mapping(self) -> FieldMapping | None:
        try:
            with opened(self.story.ctx, self.story.config) as pairing:
                return pairing.built.rules.mapping
        except Exception:  # noqa: BLE001 the story is about a side or definition that cannot be opened
            return None

    def _was_journalled(
        self, side: Side, entry: Accepted, changes: Mapping[str, Change], mapping: FieldMapping | None
    ) -> None:
        """G-AUDIT and G-NOLOSS: one row for each write, which keeps what was overwritten or deleted."""
        row = changes.get(entry.marker)
        assert row is not None, f"G-AUDIT: {entry} is not in the journal"
        assert row.side == side and row.rule
        assert row.operation in (entry.operation, "fill", "edit"), f"{entry} and {row.operation}"
        assert self.db.get_one(SyncRun, row.run_id).asked_by
        if entry.before is None or mapping is None:
            return
        kept = decode_fields(row.before or {})
        rest = decode_fields((row.settle or {}).get("rest") or {})
        for name, value in entry.before.items():
            if value in (None, "") or (entry.after is not None and entry.after.get(name) == value):
                continue
            if row.operation == "fill" or value in self._own_values(changes, side, entry.id):
                continue
            pairs = [pair for pair in mapping.pairs if pair.on(side) == name]
            if not pairs:
                assert rest.get(name) == value, f"G-NOLOSS: {name} of {row.key} is not kept: {value!r}"
                continue
            for pair in pairs:
                try:
                    own = pair.own(side, value)
                except ValueProblem:
                    continue
                got = kept.get(pair.name, MISSING)
                assert got == own or pair.same(side, got, own), (
                    f"G-NOLOSS: {name} of {row.key} was {value!r}; the journal kept {got!r}"
                )

    def _own_values(self, changes: Mapping[str, Change], side: Side, record_id: str) -> list[Value]:
        """What the engine itself put there for a moment, while keys changed places."""
        return [
            value
            for row in changes.values()
            if row.rule == ASIDE and (row.side, row.record_id) == (side, record_id)
            for value in decode_fields(row.after or {}).values()
        ]

    def _shadows_were_read(self, mapping: FieldMapping) -> None:
        """G-MONO: a shadow holds only what that side's record really held at some time."""
        links = {
            row.id: row
            for row in self.db.scalars(
                select(Link).where(Link.config_id == self.story.config, Link.state != "tombstone")
            )
        }
        for shadow in self.db.scalars(select(Shadow)):
            link = links.get(shadow.link_id)
            if link is None:
                continue
            for side in SIDES:
                record_id = link.left_id if side == "left" else link.right_id
                if record_id is None:
                    continue
                ids = self.story.ids_of[side][link.id]
                ids.add(record_id)
                stored = shadow.left if side == "left" else shadow.right
                for name, value in decode_fields(stored).items():
                    pair = mapping.by_name.get(name)
                    if pair is None or value is None:
                        continue
                    held = [item for id in ids for item in self.story.ever_held(side, id, pair.on(side))]
                    assert any(_is(pair, side, item, value) for item in held), (
                        f"G-MONO: the {side} shadow of {link.key}.{name} is {value!r}, which that side never"
                        f" held: {held!r}"
                    )

    def _alerts_are_few(self) -> None:
        """G-ALERT: at most one alert of a kind stands at a time."""
        standing = [row.kind for row in self.db.scalars(select(Alert).where(Alert.cleared_at.is_(None)))]
        assert len(standing) == len(set(standing)), standing


def _is(pair: Any, side: Side, raw: Value, own: Value) -> bool:
    try:
        return bool(pair.own(side, raw) == own)
    except ValueProblem:
        return False


def _words_of(told: Side, entry: Accepted, key: str) -> list[tuple[str, str]]:
    """Each word with the record's name, and without."""
    names = (key, words.HERO)
    match entry.operation:
        case "create":
            return [_twice(words.create(told, name) for name in names)]
        case "delete":
            return [_twice(words.delete(told, name) for name in names)]
        case _:
            before, after = entry.before or {}, entry.after or {}
            return [
                _twice(words.update(told, name, field, value) for name in names)
                for field, value in after.items()
                if before.get(field) != value
            ]


def _twice(pair: Iterator[str]) -> tuple[str, str]:
    full, bare = pair
    return full, bare


def _planned_word(told: Side, change: Change, key: str) -> str:
    match change.operation:
        case "create":
            return words.create(told, key)
        case "delete":
            return words.delete(told, key)
        case "relink":
            return words.relink(told, key)
        case "update":
            after = decode_fields(change.after or {})
            return " ".join(words.update(told, key, name, value) for name, value in after.items())
        case operation:
            return operation


def _but(
    late: Mapping[tuple[str, str], set[str]], item: Mapping[str, Any], after: Mapping[str, Any] | None
) -> Any:
    names = late.get((item["side"], item["key"]), set())
    return {name: value for name, value in (after or {}).items() if name not in names}


def _sorted(fields: Mapping[str, Any] | None) -> Any:
    return sorted(fields.items()) if fields else None


@lru_cache(maxsize=1)
def _settings() -> Settings:
    env = {
        "DATABASE_URL": "sqlite:////nowhere.db",
        "SECRET_KEY": "k3Y-for-tests-only_9f8e7d6c5b4a32",
        "ENCRYPTION_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    }
    return Settings.from_env(env, folder=Path(tempfile.gettempdir()))


@dataclass(frozen=True)
class _Database:
    """One database for all stories of a process, one after the other: filled anew for each."""

    path: Path
    ctx: Context
    template: sqlite3.Connection

    def refill(self) -> None:
        with sqlite3.connect(self.path) as db:
            self.template.backup(db)
        db.close()


@lru_cache(maxsize=1)
def _the_database() -> _Database:
    folder = Path(tempfile.mkdtemp(prefix="syncline-stories-", dir=_memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "stories.db"
    ctx = live(replace(_settings(), database_url=f"sqlite:///{path}", home=folder))
    metadata.create_all(ctx.sessions.kw["bind"])
    with ctx.sessions.begin() as db:
        _fill(db)
    template = sqlite3.connect(":memory:")
    with sqlite3.connect(path) as file:
        file.backup(template)
    file.close()
    return _Database(path, ctx, template)


def _database() -> _Database:
    """The stories' database, with the tables and one config in it and nothing else."""
    database = _the_database()
    database.refill()
    return database


def _fill(db: Session) -> None:
    db.add(Workspace(id="workspace-1", name="workspace", created_at=START))
    db.flush()
    for space in (*SIDES, "third"):
        db.add(
            Connection(
                id=space, workspace_id="workspace-1", name=space, connector="memory",
                options={"space": space}, created_at=START, updated_at=START,
            )
        )  # fmt: skip
    db.flush()
    db.add(_config(CONFIG, "left", "right"))


def _config(id: str, left: str, right: str) -> SyncConfig:
    return SyncConfig(
        id=id, workspace_id="workspace-1", name="people" if id == CONFIG else id, definition={},
        cron="0 * * * *", timezone="UTC", auto=False, left_connection_id=left, right_connection_id=right,
        created_at=START, updated_at=START,
    )  # fmt: skip


def _memory() -> str | None:
    """Memory, where the machine has it as a folder: a story's database need not outlive anything."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None
