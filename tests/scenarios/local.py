"""Stories whose records stand in CSV files, or in a SQLite database: on both sides, by the real connectors.

What a story asks of a system that these do not offer raises NotThere.
"""

from __future__ import annotations

import atexit
import csv
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from connectors.base import Access, AnyStreamOptions
from connectors.csv import Csv
from connectors.sql import Sql
from sync.records import Field, Stream
from sync.values import FieldType, Value, ValueProblem, display, parse
from tests.scenarios.remote import SYNC_ID, Kept, NotThere, Remote, Rows
from tests.scenarios.world import Place, Story

PLAIN = (
    FieldType.TEXT, FieldType.INTEGER, FieldType.DECIMAL,
    FieldType.BOOLEAN, FieldType.DATE, FieldType.DATETIME,
)  # fmt: skip


class Local(Kept):
    """A stream in a folder of the story's own."""

    def __init__(self, fields: Sequence[Field], folder: Path, stream: str) -> None:
        for item in fields:
            self.check(item)
        self._fields = tuple(fields)
        self.folder = folder
        self.stream = stream
        self.numbers = itertools.count(1)

    @property
    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def access(self, access: Access) -> Access:
        return replace(access, folders=(self.folder,))

    def check(self, field: Field) -> None:
        """Raises NotThere where no column here is like that."""
        raise NotImplementedError


# -- CSV ---------------------------------------------------------------------------------------------


class NamedFiles(Csv):
    """The real connector to files that a story calls by their bare names."""

    def _path(self, name: str, *, must_exist: bool = True) -> Path:
        return super()._path(f"{name.removesuffix('.csv')}.csv", must_exist=must_exist)

    def stream(self, name: str, options: AnyStreamOptions) -> Stream:
        return replace(super().stream(name, options), name=name)


class File(Local):
    """A CSV file. Its records are named by the story's own key, else by a column of ids that whoever adds a
    line fills in. All it holds is text, and an empty cell is nothing."""

    def __init__(self, fields: Sequence[Field], folder: Path, stream: str, key: Sequence[str]) -> None:
        super().__init__(fields, folder, stream)
        self.key = key[0] if key else SYNC_ID
        self.path = folder / f"{stream}.csv"
        self._write({})

    def check(self, field: Field) -> None:
        if field.type not in PLAIN or field != Field(field.name, field.type):
            raise NotThere(f"a column like {field}")

    def options(self) -> dict[str, Any]:
        return {"folder": str(self.folder)}

    def _rows(self) -> Rows:
        names = [item.name for item in self._fields]
        found: Rows = {}
        with self.path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                id = line[self.key]
                if id in found:
                    raise NotThere("two lines with one id")
                found[id] = {name: line[name] or None for name in names}
        return found

    def _write(self, rows: Rows) -> None:
        names = [item.name for item in self._fields]
        if self.key not in names:
            names.append(self.key)
        with self.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for id, row in rows.items():
                writer.writerow([id if name == self.key else _typed(row.get(name)) for name in names])

    def _sort(self, ids: Sequence[str]) -> None:
        rows = self._rows()
        self._write({id: rows[id] for id in ids})

    def _add(self, fields: Mapping[str, Value], id: str | None) -> str:
        id = str(fields[self.key]) if self.key in fields else id or f"row-{next(self.numbers)}"
        self._write({**self._rows(), id: dict(fields)})
        return id

    def _edit(self, id: str, fields: Mapping[str, Value]) -> None:
        rows = self._rows()
        rows[id].update(fields)
        self._write({str(row.get(self.key) or old): row for old, row in rows.items()})

    def _remove(self, id: str) -> None:
        rows = self._rows()
        del rows[id]
        self._write(rows)

    def reshape(self, fields: Sequence[Field]) -> None:
        for item in fields:
            self.check(item)
        rows, self._fields = self._rows(), tuple(fields)
        self._write(rows)


def _typed(value: Value) -> str:
    if isinstance(value, float):
        raise NotThere("a number that is no decimal")
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise NotThere("half of a character")
    return display(value)


# -- SQL ---------------------------------------------------------------------------------------------

_COLUMNS: Mapping[FieldType, str] = {
    FieldType.TEXT: "TEXT",
    FieldType.INTEGER: "INTEGER",
    FieldType.DECIMAL: "DECIMAL",
    FieldType.BOOLEAN: "BOOLEAN",
    FieldType.DATE: "DATE",
    FieldType.DATETIME: "DATETIME",
}


class Table(Local):
    """A table of a SQLite database, whose ids are numbers that it gives once."""

    def __init__(self, fields: Sequence[Field], folder: Path, stream: str) -> None:
        super().__init__(fields, folder, stream)
        self.path = folder / "records.db"
        self._do("PRAGMA journal_mode=WAL")  # a person may write while the connector reads
        columns = ", ".join(["id INTEGER PRIMARY KEY AUTOINCREMENT", *map(_declared, fields)])
        self._do(f"CREATE TABLE {stream} ({columns})")

    def check(self, field: Field) -> None:
        bare = replace(field, unique=False, nullable=True)
        if field.type not in PLAIN or bare != Field(field.name, field.type):
            raise NotThere(f"a column like {field}")

    def options(self) -> dict[str, Any]:
        return {"url": f"sqlite:///{self.path}"}

    def _do(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; the number of the row that it added, or how many it touched."""
        with closing(sqlite3.connect(self.path)) as db, db:
            done = db.execute(statement, values)
            return done.lastrowid if statement.startswith("INSERT") and done.lastrowid else done.rowcount

    def _rows(self) -> Rows:
        names = ", ".join(f'"{item.name}"' for item in self._fields)
        with closing(sqlite3.connect(self.path)) as db:
            rows = db.execute(f"SELECT id, {names} FROM {self.stream} ORDER BY id").fetchall()
        return {
            str(id): {
                item.name: _shown(value, item) for item, value in zip(self._fields, values, strict=True)
            }
            for id, *values in rows
        }

    def _sort(self, ids: Sequence[str]) -> None:
        raise NotThere("an order of rows")

    def _add(self, fields: Mapping[str, Value], id: str | None) -> str:
        if id is not None and not id.isdigit():
            raise NotThere("ids that are no numbers")
        row = {name: _stored(value) for name, value in fields.items()}
        if id is not None:
            row["id"] = int(id)
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        verb = "INSERT OR REPLACE" if id is not None else "INSERT"
        return str(self._do(f"{verb} INTO {self.stream} ({names}) VALUES ({marks})", list(row.values())))

    def _edit(self, id: str, fields: Mapping[str, Value]) -> None:
        sets = ", ".join(f'"{name}" = ?' for name in fields)
        values = [*map(_stored, fields.values()), int(id)]
        if not self._do(f"UPDATE {self.stream} SET {sets} WHERE id = ?", values):
            raise KeyError(id)

    def _remove(self, id: str) -> None:
        if not self._do(f"DELETE FROM {self.stream} WHERE id = ?", [int(id)]):
            raise KeyError(id)

    def _insert(self, field: Field) -> None:
        self.check(field)
        self._do(f"ALTER TABLE {self.stream} ADD COLUMN {_declared(field)}")

    def _drop(self, field: Field) -> None:
        self._do(f'ALTER TABLE {self.stream} DROP COLUMN "{field.name}"')


def _declared(field: Field) -> str:
    rules = ("" if field.nullable else " NOT NULL") + (" UNIQUE" if field.unique else "")
    return f'"{field.name}" {_COLUMNS[field.type]}{rules}'


def _stored(value: Value) -> Any:
    match value:
        case float():
            raise NotThere("a number that is no decimal")
        case int() if abs(value) >= 2**63:
            raise NotThere("a number that no column holds")
        case str() if any("\ud800" <= sign <= "\udfff" for sign in value):
            raise NotThere("half of a character")
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        case Decimal():
            return str(value)
        case bool() | int() | str() | None:
            return value
        case _:
            return display(value)


def _shown(value: Any, field: Field) -> Value:
    value = repr(value) if isinstance(value, float) else value
    try:
        return parse(value, field.type)
    except ValueProblem:
        return value  # SQLite takes anything


# -- both --------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _folders() -> Iterator[Path]:
    """One folder after the other, in memory where there is such a place."""
    shared = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="syncline-ends-", dir=shared if shared.is_dir() else None))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return (root / str(number) for number in itertools.count(1))


def _folder(story: Story, place: Place) -> Path:
    """The folder of a space: its streams stand side by side."""
    for neighbour in story.ctx.systems.get(place.space, {}).values():
        assert isinstance(neighbour, Remote) and isinstance(neighbour.kept, Local)
        return neighbour.kept.folder
    folder = next(_folders())
    folder.mkdir()
    return folder


def in_files(story: Story, place: Place, fields: Sequence[Field], *, key: Sequence[str], seed: int) -> Remote:
    made = Remote(story, place, File(fields, _folder(story, place), place.stream, key), NamedFiles)
    if key:
        made.end = {"key": key[0]}
    return made


def in_tables(
    story: Story, place: Place, fields: Sequence[Field], *, key: Sequence[str], seed: int
) -> Remote:
    if key:
        raise NotThere("a key of the story's own")
    return Remote(story, place, Table(fields, _folder(story, place), place.stream), Sql)
