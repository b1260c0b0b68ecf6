"""Runs worth dying in: what stands on both sides, what somebody did, and the run that follows.

A play is told once and given on several kinds of systems. The state before its last run is kept, so that
the run can be started over and over from the same place.
"""

from __future__ import annotations

import copy
import csv
import io
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.base import Access, Connector
from connectors.csv import Csv, CsvOptions
from connectors.sql import Sql
from models.journal import Change, ChangeState
from sync.order import ASIDE
from sync.records import SIDES, Field, Side
from sync.values import FieldType, display
from tasks.summary import Summary
from tests.hostile import Hostile, Knobs
from tests.machine.stage import Stage, put, template

Row = dict[str, Any]
FIELDS = ("email", "name", "tier", "gone")


class End(ABC):
    """One side of a play: a person's view of it, and how to keep and restore it."""

    id: str | None = None  # the column that is not a record's content

    @abstractmethod
    def connect(self) -> Connector: ...
    @abstractmethod
    def rows(self) -> dict[str, Row]: ...
    @abstractmethod
    def put(self, key: str, row: Row) -> None: ...
    @abstractmethod
    def remove(self, key: str) -> None: ...
    @abstractmethod
    def save(self) -> Any: ...
    @abstractmethod
    def restore(self, saved: Any) -> None: ...

    def contents(self) -> list[Row]:
        """What stands there, without ids, in one order."""
        found = [{name: display(row.get(name)) for name in FIELDS} for row in self.rows().values()]
        return sorted(found, key=lambda row: [row[name] for name in FIELDS])


class InMemory(End):
    def __init__(self, side: Side, knobs: Mapping[str, Any], unique: str) -> None:
        kinds = [Field(name, FieldType.TEXT, unique=side == "right" and name == unique) for name in FIELDS]
        self.system = Hostile(kinds, Knobs(page_size=3, **knobs), space=side)

    def connect(self) -> Connector:
        return self.system.connect()

    def rows(self) -> dict[str, Row]:
        return self.system.rows

    def put(self, key: str, row: Row) -> None:
        store = self.system.store
        id = self._id(key)
        if id is None:
            store.put({**dict.fromkeys(FIELDS), "email": key, **row})
        else:
            store.change(id, row)

    def remove(self, key: str) -> None:
        if id := self._id(key):
            self.system.store.remove(id)

    def _id(self, key: str) -> str | None:
        return next((id for id, row in self.rows().items() if row["email"] == key), None)

    def save(self) -> Any:
        store = self.system.store
        parts = (store.rows, store.versions, store._taken, self.system.log)
        return copy.deepcopy(parts), store.moves, store._last_id

    def restore(self, saved: Any) -> None:
        store = self.system.store
        parts, store.moves, store._last_id = copy.deepcopy(saved)
        store.rows, store.versions, store._taken, self.system.log = parts


class InFile(End):
    """A CSV file without a key column of its own: Syncline appends one."""

    id = "sync_id"

    def __init__(self, side: Side, folder: Path) -> None:
        self.path = folder / side / "people.csv"
        self.path.parent.mkdir(parents=True)
        self._write([])

    def connect(self) -> Connector:
        folder = self.path.parent
        return Csv(CsvOptions(folder=str(folder)), Access(folders=(folder,)))

    def rows(self) -> dict[str, Row]:
        with self.path.open(newline="") as file:
            return {str(number): dict(row) for number, row in enumerate(csv.DictReader(file))}

    def put(self, key: str, row: Row) -> None:
        rows = list(self.rows().values())
        texts = {name: display(value) for name, value in row.items()}
        if not any(each["email"] == key for each in rows):
            rows.append({**dict.fromkeys(FIELDS, ""), "email": key})
        self._write([{**each, **texts} if each["email"] == key else each for each in rows])

    def remove(self, key: str) -> None:
        self._write([row for row in self.rows().values() if row["email"] != key])

    def _write(self, rows: list[Row]) -> None:
        columns = [*FIELDS, *(["sync_id"] if any("sync_id" in row for row in rows) else [])]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.path.write_text(text.getvalue())

    def save(self) -> Any:
        return self.path.read_bytes()

    def restore(self, saved: Any) -> None:
        for path in self.path.parent.iterdir():
            path.unlink()
        self.path.write_bytes(saved)


class InDatabase(End):
    """A table of a SQLite database with a key of its own."""

    id = "id"

    def __init__(self, side: Side, folder: Path) -> None:
        self.path = folder / f"{side}.db"
        self._run("CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT, tier TEXT, gone TEXT)")

    def connect(self) -> Connector:
        access = Access(folders=(self.path.parent,))
        return Sql(Sql.parse_options({"url": f"sqlite:///{self.path}"}), access)

    def rows(self) -> dict[str, Row]:
        with closing(sqlite3.connect(self.path)) as db:
            db.row_factory = sqlite3.Row
            return {str(row["id"]): dict(row) for row in db.execute("SELECT * FROM people")}

    def put(self, key: str, row: Row) -> None:
        if not any(each["email"] == key for each in self.rows().values()):
            self._run("INSERT INTO people (email) VALUES (?)", key)
        for name, value in row.items():
            self._run(f"UPDATE people SET {name} = ? WHERE email = ?", value, key)

    def remove(self, key: str) -> None:
        self._run("DELETE FROM people WHERE email = ?", key)

    def _run(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(statement, values)

    def save(self) -> Any:
        return self.path.read_bytes()

    def restore(self, saved: Any) -> None:
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()
        self.path.write_bytes(saved)


@dataclass
class Scene:
    """What a play acts on."""

    stage: Stage
    left: End
    right: End

    def end(self, side: Side) -> End:
        return self.left if side == "left" else self.right

    def both(self, *keys: str) -> None:
        for key in keys:
            for side in SIDES:
                self.end(side).put(key, {"name": f"N {key}", "tier": "x"})


def _run(scene: Scene) -> Summary:
    return scene.stage.run()


@dataclass(frozen=True)
class Play:
    name: str
    act: Callable[[Scene], None]  # up to the run that is died in
    definition: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    unique: str = ""  # a field in which the right side takes no value twice
    run: Callable[[Scene], Summary] = _run
    again: Callable[[Scene], Summary] = _run  # what a person does about it if that failed
    steps_aside: bool = False  # values change places, so that what stood before a write depends on the way


@dataclass
class Photograph:
    """What a person sees afterwards, and what is remembered: without ids, which chance decides."""

    contents: dict[str, list[Row]]
    links: list[Any]
    conflicts: list[Any]
    held: list[Any]
    journal: list[Any]  # what was done, whichever run or look found it out


def apart(got: Photograph, wanted: Photograph) -> str:
    """Where two photographs differ, in lines."""
    found: list[str] = []
    for part in ("left", "right", "links", "conflicts", "held", "journal"):
        here, there = ((shot.contents.get(part) or getattr(shot, part, [])) for shot in (got, wanted))
        found += [f"{part}: there is  {item}" for item in here if here.count(item) > there.count(item)]
        found += [f"{part}: there was {item}" for item in there if there.count(item) > here.count(item)]
    return "\n".join(found)


class Theatre:
    """A play on one kind of systems: `begin` puts everything as it is before the last run."""

    def __init__(self, play: Play, kind: str, folder: Path) -> None:
        self.play, self.folder = play, folder
        ends: dict[Side, End] = {}
        for side in SIDES:
            match kind:
                case "memory":
                    ends[side] = InMemory(side, play.knobs, play.unique)
                case "csv":
                    ends[side] = InFile(side, folder)
                case _:
                    ends[side] = InDatabase(side, folder)
        self.ends = ends
        stream = "people.csv" if kind == "csv" else "people"
        definition = {
            "left": {"connection": "left", "stream": stream},
            "right": {"connection": "right", "stream": stream},
            "match": ["email"],
            "fields": [{"left": name, "right": name} for name in FIELDS],
            "first_run": "apply",
            "guards": "off",
            "deletes": "propagate",
            "batch_size": 2,
            "retries": 0,
            **play.definition,
        }
        put(template(folder), folder / "scene.db")
        stage = Stage(folder / "scene.db", self._connects(), definition)
        play.act(Scene(stage, ends["left"], ends["right"]))
        self.clock = stage.clock
        stage.close()
        put(folder / "scene.db", folder / "before.db")
        self.saved = {side: end.save() for side, end in ends.items()}
        self._number = 0

    def _connects(self) -> dict[Side, Callable[[], Connector]]:
        return {side: end.connect for side, end in self.ends.items()}

    def begin(self) -> Scene:
        self._number += 1
        database = self.folder / "scene.db"
        put(self.folder / "before.db", database)
        for side, end in self.ends.items():
            end.restore(self.saved[side])
        stage = Stage(database, self._connects(), None, ids=f"n{self._number}", clock=self.clock)
        return Scene(stage, self.ends["left"], self.ends["right"])

    def end(self, scene: Scene) -> None:
        scene.stage.close()

    def photograph(self, scene: Scene) -> Photograph:
        rows = {side: self._by_id(end) for side, end in self.ends.items()}

        def named(side: Side, id: str | None) -> str:
            return rows[side].get(id or "", "-") if id else ""

        links = sorted(
            (
                named("left", link.left_id),
                named("right", link.right_id),
                link.state,
                _shown(link.left),
                _shown(link.right),
            )
            for link in scene.stage.links()
        )
        conflicts = sorted(
            (row.key, row.field, str(row.left), str(row.right)) for row in scene.stage.conflicts()
        )
        held = sorted((row.side, row.operation, row.key) for row in scene.stage.held())
        journal = sorted(
            (row.side, row.operation, row.key, *(_shown(box) for box in self._kept(row)))
            for row in scene.stage.changes(ChangeState.APPLIED)
            if row.operation in ("create", "update", "delete") and row.rule != ASIDE
        )
        contents: dict[str, list[Row]] = {side: end.contents() for side, end in self.ends.items()}
        return Photograph(contents, links, conflicts, held, journal)

    def _kept(self, row: Change) -> tuple[Any, ...]:
        return (row.after,) if self.play.steps_aside else (row.before, row.after)

    def _by_id(self, end: End) -> dict[str, str]:
        if end.id is None:
            return {id: display(row["email"]) for id, row in end.rows().items()}
        return {display(row.get(end.id)): display(row["email"]) for row in end.rows().values()}


def _shown(fields: Mapping[str, Any] | None) -> str:
    return str({name: display(value) for name, value in sorted((fields or {}).items())})


# -- the plays ------------------------------------------------------------------------------------


def _first_contact(scene: Scene) -> None:
    scene.both("a", "b")
    scene.left.put("a", {"name": "Anna"})
    for key in "cde":
        scene.left.put(key, {"name": key})
    scene.right.put("f", {"name": "Fritz"})


def _edits(scene: Scene) -> None:
    scene.both(*"abcdef")
    scene.stage.run()
    scene.left.put("a", {"name": "Anna"})
    scene.right.put("a", {"tier": "gold"})
    scene.left.put("b", {"name": "Bea"})
    scene.right.put("c", {"name": "Cy"})
    scene.left.put("d", {"tier": "l"})
    scene.right.put("d", {"tier": "r"})
    scene.left.put("g", {"name": "new"})
    scene.right.put("h", {"name": "new too"})


def _deletes(scene: Scene) -> None:
    scene.both(*"abcdefg")
    scene.stage.run()
    for key in "abc":
        scene.left.remove(key)
    scene.right.remove("d")
    scene.left.remove("e")
    scene.right.put("e", {"name": "edited"})
    for side in SIDES:
        scene.end(side).remove("f")


def _conflicts(scene: Scene) -> None:
    scene.both(*"abc")
    scene.stage.run()
    for key in "ab":
        scene.left.put(key, {"name": f"left {key}", "tier": "y"})
        scene.right.put(key, {"name": f"right {key}"})


def _answers(scene: Scene) -> None:
    _conflicts(scene)
    scene.stage.run()
    for conflict, take in zip(scene.stage.conflicts(), ("left", "right"), strict=True):
        scene.stage.resolve(conflict.id, take)


def _work(scene: Scene) -> Summary:
    return scene.stage.work()


def _archive_and_unlink(scene: Scene) -> None:
    scene.both(*"abcd")
    scene.stage.run()
    scene.left.remove("a")
    scene.left.remove("b")
    scene.right.remove("c")


def _rejected(scene: Scene) -> None:
    scene.both("a")
    scene.stage.run()
    for key in "bcdef":
        scene.left.put(key, {"name": key, "tier": "x" if key == "d" else key})
    scene.right.put("g", {"name": "new", "tier": "g"})


def _repaired(scene: Scene) -> None:
    _rejected(scene)
    scene.stage.run()
    scene.left.put("d", {"tier": "d"})
    scene.left.put("b", {"name": "not in the retry"})


def _retry(scene: Scene) -> Summary:
    return scene.stage.retry(scene.stage.last_run().id)


def _held(scene: Scene) -> None:
    scene.both(*"abcdef")
    scene.stage.run()
    for key in "abcd":
        scene.left.remove(key)
    scene.right.put("e", {"name": "edited"})
    scene.stage.run()
    scene.stage.approve([item.id for item in scene.stage.held()][:3])


def _swap(scene: Scene) -> None:
    scene.both(*"abcd")
    scene.stage.run()
    for old, new in (("a", "tmp"), ("b", "a"), ("tmp", "b")):
        scene.left.put(old, {"email": new})


def _undo_of(scene: Scene) -> None:
    _edits(scene)
    scene.left.remove("e")
    scene.stage.run()


def _undo(scene: Scene) -> Summary:
    return scene.stage.undo(scene.stage.last_run().id)


ARCHIVE = {
    "deletes": {
        "left_to_right": "archive",
        "right_to_left": "unlink",
        "archive": {"field": "gone", "value": "yes"},
    }
}
LEFT_WINS = {"conflict": "left_wins"}
GUARDED: dict[str, Any] = {"guards": {}}

PLAYS = {
    play.name: play
    for play in (
        Play("first contact", _first_contact, LEFT_WINS),
        Play("edits", _edits, LEFT_WINS),
        Play("edits, nothing shown", _edits, LEFT_WINS, {"has_receipts": False, "has_versions": False}),
        Play("deletes", _deletes),
        Play("conflicts", _conflicts),
        Play("answers", _answers, run=_work),
        Play("archive and unlink", _archive_and_unlink, ARCHIVE),
        Play("a batch refused", _rejected, knobs={"all_or_nothing": True}, unique="tier"),
        Play("a retry of what failed", _repaired, unique="tier", run=_retry),
        Play("some approved", _held, GUARDED, run=_work),
        Play("two keys swapped", _swap, unique="email", steps_aside=True),
        Play("undo", _undo_of, LEFT_WINS, run=_undo, again=_undo),
    )
}
