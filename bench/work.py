"""The work that is measured: one table of ten columns on each side, and how a part of it is edited."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from connectors.memory import MemoryStream
from sync.records import Field, Side
from sync.values import FieldType

START = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = (
    Field("id", FieldType.INTEGER, unique=True, nullable=False),
    Field("name", FieldType.TEXT),
    Field("email", FieldType.TEXT),
    Field("city", FieldType.TEXT),
    Field("amount", FieldType.DECIMAL, scale=2),
    Field("active", FieldType.BOOLEAN),
    Field("born", FieldType.DATE),
    Field("seen_at", FieldType.DATETIME),
    Field("visits", FieldType.INTEGER),
    Field("updated_at", FieldType.DATETIME),
)
TABLE = {
    "postgresql": """
        CREATE TABLE records (id bigint PRIMARY KEY, name text, email text, city text, amount numeric(12,2),
            active boolean, born date, seen_at timestamptz, visits integer, updated_at timestamptz)""",
    "sqlite": """
        CREATE TABLE records (id BIGINT PRIMARY KEY NOT NULL, name TEXT, email TEXT, city TEXT,
            amount NUMERIC(12,2), active BOOLEAN, born DATE, seen_at DATETIME, visits INTEGER,
            updated_at DATETIME)""",
}
# The cursor's index, made once the first load is done: every contestant reads by it afterwards.
INDEX = "CREATE INDEX records_updated ON records (updated_at)"


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of the records that one side edits: every `step`-th, so that no two sides edit the same."""

    share: float
    moment: datetime  # what they carry as their time

    def ids(self, side: Side, size: int) -> range:
        step = max(round(1 / self.share), 2)
        return range(1 if side == "left" else 2, size + 1, step)


def row(number: int) -> tuple[Any, ...]:
    return (
        number,
        f"Name {number} {number * 7919 % 1000003}",
        f"person{number}@example.org",
        ("Paris", "Lyon", "Nantes", "Lille", "Metz")[number % 5],
        Decimal(number * 37 % 1_000_000) / 100,
        number % 3 == 0,
        date(1950, 1, 1) + timedelta(days=number % 20_000),
        START - timedelta(seconds=number * 61 % 10_000_000),
        number % 977,
        START + timedelta(seconds=number % 86_400),
    )


# -- PostgreSQL ------------------------------------------------------------------------------------

_MAKE = """
    INSERT INTO records
    SELECT n, 'Name ' || n || ' ' || (n * 7919 %% 1000003), 'person' || n || '@example.org',
        (ARRAY['Paris', 'Lyon', 'Nantes', 'Lille', 'Metz'])[1 + n %% 5], (n * 37 %% 1000000) / 100.0,
        n %% 3 = 0, date '1950-01-01' + (n %% 20000)::integer,
        timestamptz '2026-01-01 00:00Z' - (n * 61 %% 10000000) * interval '1 second', n %% 977,
        timestamptz '2026-01-01 00:00Z' + (n %% 86400) * interval '1 second'
    FROM generate_series(1::bigint, %s) n"""


def make_postgres(url: str, size: int) -> None:
    """The table with so many rows."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS records")
        db.execute(TABLE["postgresql"])
        db.execute(_MAKE, [size])
        db.execute("VACUUM ANALYZE records")


def edit_postgres(url: str, ids: range, moment: datetime) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "UPDATE records SET visits = visits + 1, city = city || '!', updated_at = %s"
            " FROM generate_series(%s::bigint, %s, %s) n WHERE id = n",
            [moment, ids.start, ids.stop - 1, ids.step],
        )


# -- SQLite ----------------------------------------------------------------------------------------


def make_sqlite(path: Path, size: int) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(TABLE["sqlite"])
        marks = ", ".join("?" * len(FIELDS))
        db.executemany(f"INSERT INTO records VALUES ({marks})", _stored(size))


def _stored(size: int) -> Iterator[tuple[Any, ...]]:
    for number in range(1, size + 1):
        id_, name, email, city, amount, active, born, seen_at, visits, updated_at = row(number)
        yield (
            id_, name, email, city, float(amount), int(active), born.isoformat(), as_sqlite(seen_at), visits,
            as_sqlite(updated_at),
        )  # fmt: skip


def as_sqlite(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ")


def edit_sqlite(path: Path, ids: range, moment: datetime) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(
            "UPDATE records SET visits = visits + 1, city = city || '!', updated_at = ? WHERE id = ?",
            [(as_sqlite(moment), id_) for id_ in ids],
        )


# -- memory ----------------------------------------------------------------------------------------


def make_memory(size: int) -> MemoryStream:
    stream = MemoryStream(FIELDS, key=("id",))
    names = [field.name for field in FIELDS]
    for number in range(1, size + 1):
        stream.put(dict(zip(names, row(number), strict=True)))
    return stream


def edit_memory(stream: MemoryStream, ids: range, moment: datetime) -> None:
    holders: Mapping[Any, str] = {fields["id"]: id_ for id_, fields in stream.rows.items()}
    for number in ids:
        fields = stream.rows[holders[number]]
        stream.edit(
            holders[number], visits=fields["visits"] + 1, city=f"{fields['city']}!", updated_at=moment
        )
