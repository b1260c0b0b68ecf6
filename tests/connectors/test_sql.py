"""SQL tables keep the contract, on each database, with exact values and whole transactions."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from pydantic import SecretStr, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from connectors import sqlmarkers
from connectors.base import Access, Connector, Outcome, Page, StreamOptions, Total, Write, is_unkeyed
from connectors.dialects.base import Database
from connectors.dialects.mysql import Rights
from connectors.errors import (
    AuthError,
    BadAnswer,
    ConnectorError,
    OptionsError,
    OutcomeUnknown,
    RecordRejected,
    StreamGone,
    Unavailable,
)
from connectors.sql import Sql, SqlOptions, SqlStreamOptions
from sync.records import Cascade, Field, Record, Stream
from sync.values import FieldType, Value
from tests.connectors.contract import FIELDS, ConnectorContract, Desk, typed
from tests.faults.proxy import Proxy
from tests.services import fresh_database, fresh_maria_database, maria

NONE = SqlStreamOptions()
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

PEOPLE = """
CREATE TABLE customers (
    {key},
    name {text}, balance NUMERIC(12, 2), active BOOLEAN, since DATE, notes {text},
    moved {moved} DEFAULT {now}
)
"""


class Place:
    """A database, seen by somebody who uses it without us."""

    def __init__(self, url: str, folder: Path, user: str = "") -> None:
        self.folder = folder
        self.url = make_url(url)
        self.user = user  # that we go in as, where it is another one than the person's
        self.is_sqlite = self.url.drivername == "sqlite"
        self.is_mariadb = self.url.drivername == "mariadb"
        person = self.url.set(drivername="mysql+pymysql") if self.is_mariadb else self.url
        self.engine = sa.create_engine(person, poolclass=NullPool)
        self.opened: list[Sql] = []

    @property
    def access(self) -> Access:
        return Access(folders=(self.folder,), networks=LOOPBACK)

    @property
    def connect_url(self) -> str:
        url = self.url
        if self.is_mariadb:
            url = url.set(username=self.user, password="only-for-tests")
        elif not self.is_sqlite:
            url = url.set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    def connect(self, **options: Any) -> Sql:
        connector = Sql(SqlOptions.model_validate({"url": self.connect_url, **options}), self.access)
        self.opened.append(connector)
        return connector

    def run(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def make(self, postgresql: str, sqlite: str | None = None, mariadb: str | None = None) -> None:
        other = sqlite if self.is_sqlite else mariadb if self.is_mariadb else None
        self.run(other or postgresql)

    def quoted(self, name: str) -> str:
        sign = "`" if self.is_mariadb else '"'
        return sign + name.replace(sign, sign * 2) + sign

    def close(self) -> None:
        for connector in self.opened:
            connector.close()
        self.engine.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Place]:
    place = Place(f"sqlite:///{tmp_path / 'crm.db'}", tmp_path)
    place.run("PRAGMA journal_mode = WAL")  # so that a person can write while we read
    yield place
    place.close()


@pytest.fixture(scope="session")
def shared_database(pg_server: str, worker_number: int) -> Iterator[str]:
    """One database for all tests here: emptying it is much quicker than making another."""
    with fresh_database(pg_server, f"syncline_sql_{os.getpid()}_{worker_number}") as url:
        yield url


@pytest.fixture
def postgresql(shared_database: str, tmp_path: Path) -> Iterator[Place]:
    place = Place(shared_database, tmp_path)
    place.run("CREATE SCHEMA IF NOT EXISTS public")
    yield place
    place.close()
    with sa.create_engine(
        shared_database, poolclass=NullPool, connect_args={"options": "-c default_transaction_read_only=off"}
    ).begin() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{place.url.database}" RESET ALL'))
        connection.execute(sa.text("DROP SCHEMA IF EXISTS public, sales CASCADE"))


@pytest.fixture(scope="session")
def shared_maria_database(maria_server: str, worker_number: int) -> Iterator[tuple[str, str]]:
    """One database for all tests here, and a user that may do everything in it and nothing else."""
    name = f"syncline_sql_{os.getpid()}_{worker_number}"
    user = f"app_{os.getpid()}_{worker_number}"
    with fresh_maria_database(maria_server, name) as url:
        for statement in (f"CREATE USER {user} IDENTIFIED BY 'only-for-tests'", f"DROP USER {user}"):
            with closing(maria(maria_server)) as admin, admin.cursor() as cursor:
                cursor.execute(statement)
            if statement.startswith("CREATE"):
                yield url, user


@pytest.fixture
def mariadb(shared_maria_database: tuple[str, str], tmp_path: Path) -> Iterator[Place]:
    url, user = shared_maria_database
    place = Place(url, tmp_path, user)
    place.run(f"GRANT ALL ON `{place.url.database}`.* TO {user}")
    yield place
    place.close()
    with closing(maria(url)) as person, person.cursor() as cursor:
        cursor.execute(f"DROP DATABASE `{place.url.database}`")
        cursor.execute(f"CREATE DATABASE `{place.url.database}` CHARACTER SET utf8mb4")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


class SqlDesk(Desk):
    def __init__(self, place: Place, key: str, *, by_us: bool) -> None:
        self.place = place
        self.by_us = by_us
        self.count = 0
        self.options = SqlStreamOptions(cursor="moved")
        moved, now, self.text = "TIMESTAMPTZ", "clock_timestamp()", "TEXT"
        if place.is_sqlite:
            moved, now = "TIMESTAMP", "(strftime('%Y-%m-%d %H\\:%M\\:%f', 'now'))"
        elif place.is_mariadb:
            moved, now, self.text = "TIMESTAMP(6)", "CURRENT_TIMESTAMP(6)", "LONGTEXT"
        place.run(PEOPLE.format(key=key, moved=moved, now=now, text=self.text))
        self.now = now
        self.connector = self.again()

    def again(self) -> Connector:
        return self.place.connect()

    def put(self, fields: Mapping[str, Value]) -> str:
        values = {name: _plain(self.place, value) for name, value in fields.items()}
        if not self.by_us:
            self.count += 1
            values["id"] = f"hand-{self.count}"
        columns = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        ((id,),) = self.place.run(
            f"INSERT INTO customers ({columns}) VALUES ({places}) RETURNING id", **values
        )
        return str(id)

    def edit(self, id: str, fields: Mapping[str, Value]) -> None:
        values = {name: _plain(self.place, value) for name, value in fields.items()}
        sets = ", ".join(f"{name} = :{name}" for name in values)
        self.place.run(f"UPDATE customers SET {sets}, moved = {self.now} WHERE {self.is_id}", id=id, **values)

    def remove(self, id: str) -> None:
        self.place.run(f"DELETE FROM customers WHERE {self.is_id}", id=id)

    @property
    def is_id(self) -> str:
        return "CAST(id AS CHAR) = :id" if self.place.is_mariadb else "CAST(id AS TEXT) = :id"

    def truth(self) -> dict[str, dict[str, Value]]:
        rows = self.place.run("SELECT id, name, balance, active, since, notes FROM customers")
        return {
            str(row[0]): typed(dict(zip([field.name for field in FIELDS], row[1:], strict=True)))
            for row in rows
        }

    def make_read_only(self) -> None:
        if self.place.is_sqlite:
            Path(self.place.url.database or "").chmod(0o444)
        elif self.place.is_mariadb:
            rights = f"ON `{self.place.url.database}`.*"
            self.place.run(f"REVOKE ALL {rights} FROM {self.place.user}")
            self.place.run(f"GRANT SELECT {rights} TO {self.place.user}")
            self.connector.close()
        else:
            self.place.run(
                f'ALTER DATABASE "{self.place.url.database}" SET default_transaction_read_only = on'
            )
            self.connector.close()  # takes effect for new sessions


def _plain(place: Place, value: Value) -> Value:
    if place.is_sqlite and isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if place.is_sqlite and isinstance(value, date) else value


@pytest.fixture(params=["key by the database", "key by us"])
def desk(request: pytest.FixtureRequest, place: Place) -> Desk:
    if request.param == "key by us":
        text = "VARCHAR(100)" if place.is_mariadb else "TEXT"
        return SqlDesk(place, f"id {text} NOT NULL PRIMARY KEY", by_us=False)
    serial = "id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
    if place.is_sqlite:
        serial = "id INTEGER PRIMARY KEY"
    elif place.is_mariadb:
        serial = "id BIGINT AUTO_INCREMENT PRIMARY KEY"
    return SqlDesk(place, serial, by_us=True)


class TestSql(ConnectorContract):
    def test_a_cursor_gives_nothing_new_and_then_what_moved(self) -> None:
        """The edge comes again, with the version that it had."""
        anna, bert = self.desk.put({"name": "Anna"}), self.desk.put({"name": "Bert"})
        before = self.read()
        cursor = self.cursor()
        again = self.read(cursor)
        assert set(again) <= {anna, bert}
        assert all(record == before[id] for id, record in again.items())
        self.desk.edit(anna, {"notes": "Moved"})
        moved = {id for id, record in self.read(cursor).items() if record != before[id]}
        assert moved == {anna}


# -- helpers for the tests below --


def read(
    connector: Sql, name: str = "t", options: StreamOptions = NONE, since: str | None = None
) -> list[Record]:
    pages = connector.read(Stream(name, ()), options, since)
    return [record for page in pages for record in page.records]


def write(connector: Sql, *batch: Write, name: str = "t", options: StreamOptions = NONE) -> list[Outcome]:
    outcomes = {
        item.marker: item for item in connector.write(connector.stream(name, options), options, batch)
    }
    return [outcomes[item.marker] for item in batch]


def create(marker: str = "m", **fields: Value) -> Write:
    return Write(marker, "create", None, fields)


def update(record_id: str, marker: str = "m", /, **fields: Value) -> Write:
    return Write(marker, "update", record_id, fields)


def statuses(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.status, outcome.code) for outcome in outcomes]


# -- types --

POSTGRESQL_TYPES: list[tuple[str, str, FieldType, Value]] = [
    ("smallint", "-32768", FieldType.INTEGER, -32768),
    ("bigint", "9007199254740993", FieldType.INTEGER, 9007199254740993),
    (
        "numeric",
        "12345678901234567890.123456789",
        FieldType.DECIMAL,
        Decimal("12345678901234567890.123456789"),
    ),
    ("numeric(10,2)", "10.5", FieldType.DECIMAL, Decimal("10.50")),
    ("double precision", "0.1", FieldType.DECIMAL, Decimal("0.1")),
    ("real", "0.1", FieldType.DECIMAL, Decimal("0.1")),
    ("boolean", "t", FieldType.BOOLEAN, True),
    ("date", "2026-03-05", FieldType.DATE, date(2026, 3, 5)),
    (
        "timestamptz",
        "2026-03-05 12:00:00.123456+02",
        FieldType.DATETIME,
        datetime(2026, 3, 5, 10, 0, 0, 123456, UTC),
    ),
    ("timestamp", "2026-03-05 12:00:00", FieldType.DATETIME, datetime(2026, 3, 5, 12, tzinfo=UTC)),
    ("jsonb", '{"b": [1, 1.5, null], "a": "x"}', FieldType.JSON, {"b": [1, Decimal("1.5"), None], "a": "x"}),
    ("json", "[true]", FieldType.JSON, [True]),
    ("text[]", '{"a,b",NULL,"c\\"d"}', FieldType.LIST, ("a,b", None, 'c"d')),
    ("integer[]", "{3,1}", FieldType.LIST, (3, 1)),
    ("bytea", "\\x00ff", FieldType.TEXT, "AP8="),
    (
        "uuid",
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        FieldType.TEXT,
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    ("varchar(10)", "æøå", FieldType.TEXT, "æøå"),
    ("char(5)", "ab", FieldType.TEXT, "ab"),
    ("interval", "1 day 02:00:00", FieldType.TEXT, "P1DT2H"),
    ("time", "12:30:00", FieldType.TEXT, "12:30:00"),
    ("inet", "10.0.0.1", FieldType.TEXT, "10.0.0.1"),
    ("mood", "happy", FieldType.TEXT, "happy"),
    ("email", "a@b.c", FieldType.TEXT, "a@b.c"),
]


@pytest.mark.parametrize(("kind", "text", "type", "value"), POSTGRESQL_TYPES, ids=lambda item: str(item)[:20])
def test_postgresql_types_are_exact_both_ways(
    postgresql: Place, kind: str, text: str, type: FieldType, value: Value
) -> None:
    postgresql.run("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    postgresql.run("CREATE DOMAIN email AS varchar(40) CHECK (value LIKE '%@%')")
    postgresql.run(f"CREATE TABLE t (id int PRIMARY KEY, v {kind})")
    with postgresql.engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO t VALUES (1, %s::text::{kind})", (text,))
    connector = postgresql.connect()
    assert connector.stream("t", NONE).by_name["v"].type is type
    (record,) = read(connector)
    assert record.get("v") == value
    (outcome,) = write(connector, create(id=2, v=value))
    assert outcome.status == "done", outcome
    assert outcome.record and outcome.record.get("v") == value
    assert postgresql.run("SELECT count(DISTINCT CAST(v AS text)) FROM t") == [(1,)]


def test_postgresql_fields_say_what_they_hold(postgresql: Place) -> None:
    postgresql.run("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    postgresql.run(
        "CREATE TABLE t (id serial PRIMARY KEY, a varchar(10) NOT NULL UNIQUE, b numeric(8,3), c smallint,"
        " d mood, e int GENERATED ALWAYS AS (id * 2) STORED, f int GENERATED ALWAYS AS IDENTITY)"
    )
    by_name = postgresql.connect().stream("t", NONE).by_name
    assert (by_name["id"].generated, by_name["id"].unique, by_name["id"].nullable) == (True, True, False)
    assert (by_name["a"].max_length, by_name["a"].nullable, by_name["a"].unique) == (10, False, True)
    assert by_name["b"].scale == 3
    assert by_name["c"].max_integer == 32767
    assert by_name["d"].options == ("sad", "happy")
    assert (by_name["e"].writable, by_name["e"].generated) == (False, True)
    assert not by_name["f"].writable


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("smallint", 40000, "out_of_range"),
        ("integer", "1.5", "type"),
        ("numeric(10,2)", Decimal("1.234"), "lossy"),
        ("numeric(4,2)", Decimal("123.45"), "out_of_range"),
        ("double precision", Decimal("9007199254740993"), "lossy"),
        ("real", Decimal("1.2345678"), "lossy"),
        ("varchar(3)", "abcd", "too_long"),
        ("date", "yesterday", "type"),
        ("uuid", "no uuid", "type"),
        ("bytea", "not base64!", "type"),
        ("mood", "angry", "option"),
        ("text", "a\x00b", "encoding"),
        ("text", "\ud800", "encoding"),
        ("inet", "no address", "rejected"),
        ("email", "no mail", "check"),
        ("int NOT NULL", None, "required"),
    ],
)
def test_what_postgresql_would_refuse_or_round_is_rejected(
    postgresql: Place, kind: str, value: Value, code: str
) -> None:
    postgresql.run("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    postgresql.run("CREATE DOMAIN email AS text CHECK (value LIKE '%@%')")
    postgresql.run(f"CREATE TABLE t (id int PRIMARY KEY, v {kind})")
    good, bad = write(
        postgresql.connect(),
        create("g", id=1, **({"v": 1} if "NOT" in kind else {})),
        create("b", id=2, v=value),
    )
    assert good.status == "done"
    assert (bad.status, bad.code) == ("rejected", code)
    assert bad.message.endswith(".")
    assert postgresql.run("SELECT count(*) FROM t") == [(1,)]


SQLITE_TYPES: list[tuple[str, str, FieldType, Value, str]] = [
    ("INTEGER", "9007199254740993", FieldType.INTEGER, 9007199254740993, "integer"),
    ("NUMERIC(10,2)", "10.5", FieldType.DECIMAL, Decimal("10.5"), "real"),
    ("DECIMAL(10,2)", "10", FieldType.DECIMAL, Decimal(10), "integer"),
    ("REAL", "19.99", FieldType.DECIMAL, Decimal("19.99"), "real"),
    ("BOOLEAN", "1", FieldType.BOOLEAN, True, "integer"),
    ("DATE", "'2026-03-05'", FieldType.DATE, date(2026, 3, 5), "text"),
    ("DATETIME", "'2026-03-05 12:00:00'", FieldType.DATETIME, datetime(2026, 3, 5, 12, tzinfo=UTC), "text"),
    ("TIMESTAMP", "'2026-03-05T12:00:00Z'", FieldType.DATETIME, datetime(2026, 3, 5, 12, tzinfo=UTC), "text"),
    ("JSON", "'{\"a\": 1.5}'", FieldType.JSON, {"a": Decimal("1.5")}, "text"),
    ("VARCHAR(3)", "'abcdef'", FieldType.TEXT, "abcdef", "text"),
    ("BLOB", "x'00ff'", FieldType.TEXT, "AP8=", "blob"),
    ("", "'untyped'", FieldType.TEXT, "untyped", "text"),
]


@pytest.mark.parametrize(("kind", "literal", "type", "value", "storage"), SQLITE_TYPES)
def test_sqlite_types_are_exact_both_ways(
    sqlite: Place, kind: str, literal: str, type: FieldType, value: Value, storage: str
) -> None:
    sqlite.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {kind})")
    sqlite.run(f"INSERT INTO t VALUES (1, {literal})".replace(":", "\\:"))
    connector = sqlite.connect()
    assert connector.stream("t", NONE).by_name["v"].type is type
    (record,) = read(connector)
    assert record.get("v") == value
    (outcome,) = write(connector, create(v=value))
    assert outcome.status == "done", outcome
    assert sqlite.run("SELECT DISTINCT v, typeof(v) FROM t") == sqlite.run(
        "SELECT v, typeof(v) FROM t WHERE id = 1"
    )
    assert sqlite.run("SELECT typeof(v) FROM t WHERE id = 2") == [(storage,)]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("INTEGER", 2**63, "out_of_range"),
        ("DECIMAL(30,10)", Decimal("12345678901234567.89"), "lossy"),
        ("REAL", Decimal("0.1234567890123456789"), "lossy"),
        ("INTEGER", "x", "type"),
        ("TEXT", "\ud800", "encoding"),
        ("BLOB", "not base64!", "type"),
        ("TEXT CHECK (v <> 'x')", "x", "check"),
        ("TEXT NOT NULL DEFAULT 'd'", None, "required"),
        ("INTEGER REFERENCES t (id)", 99, "reference"),
    ],
)
def test_what_sqlite_would_refuse_or_round_is_rejected(
    sqlite: Place, kind: str, value: Value, code: str
) -> None:
    sqlite.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {kind})")
    good, bad = write(sqlite.connect(), create("g"), create("b", v=value))
    assert good.status == "done"
    assert (bad.status, bad.code) == ("rejected", code)
    assert bad.message.endswith(".")
    assert sqlite.run("SELECT count(*) FROM t") == [(1,)]


def test_sqlite_values_of_another_type_come_as_they_are(sqlite: Place) -> None:
    sqlite.run("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, d DATE)")
    sqlite.run("INSERT INTO t VALUES (1, 'many', 'soon'), (2, '', '')")
    first, second = read(sqlite.connect())
    assert (first.get("n"), first.get("d")) == ("many", "soon")
    assert (second.get("n"), second.get("d")) == (None, None)


MARIADB_TYPES: list[tuple[str, str, FieldType, Value]] = [
    ("smallint", "-32768", FieldType.INTEGER, -32768),
    ("bigint", "9007199254740993", FieldType.INTEGER, 9007199254740993),
    ("bigint unsigned", "18446744073709551615", FieldType.INTEGER, 2**64 - 1),
    ("int zerofill", "42", FieldType.INTEGER, 42),
    ("year", "2026", FieldType.INTEGER, 2026),
    ("bit(12)", "b'101'", FieldType.INTEGER, 5),
    ("bit(64)", "18446744073709551615", FieldType.INTEGER, 2**64 - 1),
    ("bit(1)", "1", FieldType.BOOLEAN, True),
    ("bool", "0", FieldType.BOOLEAN, False),
    (
        "decimal(65,30)",
        "12345678901234567890123456789012345.123456789012345678901234567890",
        FieldType.DECIMAL,
        Decimal("12345678901234567890123456789012345.123456789012345678901234567890"),
    ),
    ("decimal(10,2)", "10.5", FieldType.DECIMAL, Decimal("10.50")),
    ("double", "0.1", FieldType.DECIMAL, Decimal("0.1")),
    ("double", "1.7976931348623157e308", FieldType.DECIMAL, Decimal("1.7976931348623157e308")),
    ("float", "0.1", FieldType.DECIMAL, Decimal("0.1")),
    ("date", "'2026-03-05'", FieldType.DATE, date(2026, 3, 5)),
    ("date", "'0001-01-01'", FieldType.DATE, date(1, 1, 1)),
    ("datetime", "'2026-03-05 12:00:00'", FieldType.DATETIME, datetime(2026, 3, 5, 12, tzinfo=UTC)),
    (
        "datetime(6)",
        "'9999-12-31 23:59:59.999999'",
        FieldType.DATETIME,
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    ),
    (
        "datetime(3)",
        "'2026-03-05 12:00:00.5'",
        FieldType.DATETIME,
        datetime(2026, 3, 5, 12, 0, 0, 500000, UTC),
    ),
    (
        "json",
        '\'{"b": [1, 1.5, null], "a": "x"}\'',
        FieldType.JSON,
        {"b": [1, Decimal("1.5"), None], "a": "x"},
    ),
    ("set('x','y''z','ö')", "'x,ö'", FieldType.LIST, ("x", "ö")),
    ("enum('sad','happy')", "'happy'", FieldType.TEXT, "happy"),
    ("varbinary(9)", "x'00ff27'", FieldType.TEXT, "AP8n"),
    ("binary(3)", "x'00ff27'", FieldType.TEXT, "AP8n"),
    ("longblob", "x'00ff5c'", FieldType.TEXT, "AP9c"),
    (
        "uuid",
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
        FieldType.TEXT,
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    ("varchar(10)", "'æøå🦊'", FieldType.TEXT, "æøå🦊"),
    ("char(5)", "'ab'", FieldType.TEXT, "ab"),
    ("text character set latin1", "'åß'", FieldType.TEXT, "åß"),
    ("time", "'-838:59:59'", FieldType.TEXT, "-838:59:59"),
    ("time(2)", "'12:30:00.25'", FieldType.TEXT, "12:30:00.25"),
    ("inet6", "'2001:db8::1'", FieldType.TEXT, "2001:db8::1"),
]


@pytest.mark.parametrize(("kind", "literal", "type", "value"), MARIADB_TYPES, ids=lambda item: str(item)[:20])
def test_mariadb_types_are_exact_both_ways(
    mariadb: Place, kind: str, literal: str, type: FieldType, value: Value
) -> None:
    mariadb.run(f"CREATE TABLE t (id int PRIMARY KEY, v {kind})")
    mariadb.run(f"INSERT INTO t VALUES (1, {literal})".replace(":", "\\:"))
    connector = mariadb.connect()
    assert connector.stream("t", NONE).by_name["v"].type is type
    (record,) = read(connector)
    assert record.get("v") == value
    (outcome,) = write(connector, create(id=2, v=value))
    assert outcome.status == "done", outcome
    assert outcome.record and outcome.record.get("v") == value
    assert mariadb.run("SELECT count(DISTINCT BINARY v) FROM t") == [(1,)]


def test_mariadb_fields_say_what_they_hold(mariadb: Place) -> None:
    mariadb.run(
        "CREATE TABLE t (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, a varchar(10) NOT NULL UNIQUE,"
        " b decimal(8,3), c smallint unsigned, d enum('it''s','happy'), e int AS (c * 2) STORED,"
        " f int INVISIBLE, g point, h bit(12), `group` int)"
    )
    by_name = mariadb.connect().stream("t", NONE).by_name
    assert (by_name["id"].generated, by_name["id"].unique, by_name["id"].nullable) == (True, True, False)
    assert by_name["id"].max_integer == 2**64 - 1
    assert (by_name["a"].max_length, by_name["a"].nullable, by_name["a"].unique) == (10, False, True)
    assert by_name["b"].scale == 3
    assert by_name["c"].max_integer == 65535
    assert by_name["d"].options == ("it's", "happy")
    assert (by_name["e"].writable, by_name["e"].generated) == (False, True)
    assert by_name["f"].writable
    assert not by_name["g"].writable
    assert by_name["h"].max_integer == 4095
    assert "group" in by_name


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("smallint", 40000, "out_of_range"),
        ("int unsigned", -1, "out_of_range"),
        ("bit(4)", 16, "out_of_range"),
        ("year", 26, "out_of_range"),
        ("year", 2156, "out_of_range"),
        ("int", "1.5", "type"),
        ("decimal(10,2)", Decimal("1.234"), "lossy"),
        ("decimal(4,2)", Decimal("123.45"), "out_of_range"),
        ("double", Decimal("9007199254740993"), "lossy"),
        ("float", Decimal("1.2345678"), "lossy"),
        ("float(7,3)", Decimal("1.2345"), "lossy"),
        ("varchar(3)", "abcd", "too_long"),
        ("varchar(3)", "abc ", "too_long"),
        ("tinytext", "x" * 256, "too_long"),
        ("date", "yesterday", "type"),
        ("timestamp", datetime(1960, 1, 1, tzinfo=UTC), "type"),
        ("time", "12", "type"),
        ("time", "12:00:00.5", "lossy"),
        ("uuid", "no uuid", "type"),
        ("blob", "not base64!", "type"),
        ("binary(4)", "AP8=", "lossy"),
        ("varbinary(1)", "AP8=", "too_long"),
        ("enum('sad','happy')", "Happy", "option"),
        ("enum('sad','happy')", "1", "option"),
        ("set('x','y')", ("x", "z"), "option"),
        ("text character set latin1", "東京", "encoding"),
        ("text character set utf8mb3", "🦊", "encoding"),
        ("text", "a\x00b", "encoding"),
        ("inet6", "no address", "type"),
        ("int CHECK (v <> 7)", 7, "check"),
        ("int NOT NULL", None, "required"),
        ("int REFERENCES t (id)", 99, "reference"),
    ],
)
def test_what_mariadb_would_refuse_cut_or_round_is_rejected(
    mariadb: Place, kind: str, value: Value, code: str
) -> None:
    mariadb.run(f"CREATE TABLE t (id int PRIMARY KEY, v {kind})")
    good, bad = write(
        mariadb.connect(),
        create("g", id=1, **({"v": 1} if "NOT" in kind else {})),
        create("b", id=2, v=value),
    )
    assert good.status == "done"
    assert (bad.status, bad.code) == ("rejected", code), bad
    assert bad.message.endswith(".")
    assert mariadb.run("SELECT count(*) FROM t") == [(1,)]


def test_a_float_is_read_with_every_digit_that_it_keeps(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, v float)")
    mariadb.run("INSERT INTO t VALUES (1, 16777215), (2, 0.1), (3, 3.4028233e38)")
    connector = mariadb.connect()
    assert [record.get("v") for record in read(connector)] == [
        Decimal(16777215),
        Decimal("0.1"),
        Decimal("3.4028233e38"),
    ]
    before = [record.version for record in read(connector)]
    mariadb.run("UPDATE t SET v = 16777214 WHERE id = 1")  # as the server's own text: 16777200 both times
    assert [record.version for record in read(connector)] != before


def test_times_are_utc_whatever_the_servers_zone_and_a_coarse_column_cuts(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, at timestamp(6) NULL, day datetime)")
    with mariadb.engine.begin() as person:
        person.exec_driver_sql("SET time_zone = '+02:00'")
        person.exec_driver_sql(
            "INSERT INTO t VALUES (1, '2026-03-05 12:00:00.123456', '2026-03-05 12:00:00')"
        )
    (record,) = read(mariadb.connect())
    assert record.get("at") == datetime(2026, 3, 5, 10, 0, 0, 123456, UTC)
    assert record.get("day") == datetime(2026, 3, 5, 12, tzinfo=UTC)
    moment = datetime(2026, 12, 31, 23, 59, 59, 999999, UTC)
    (outcome,) = write(mariadb.connect(), update("1", at=moment, day=moment))
    assert outcome.record and outcome.record.get("at") == moment
    assert outcome.record.get("day") == moment.replace(microsecond=0)  # and not next year


def test_dates_of_zeros_are_empty_and_half_dates_are_shown_as_they_are(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, d date NOT NULL, at datetime NOT NULL)")
    with mariadb.engine.begin() as person:
        person.exec_driver_sql("SET sql_mode = ''")
        person.exec_driver_sql(
            "INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00 00:00:00'), (2, '2026-03-00', '2026-03-05')"
        )
    one, two = read(mariadb.connect())
    assert (one.get("d"), one.get("at")) == (None, None)
    assert two.get("d") == "2026-03-00"
    (outcome,) = write(mariadb.connect(), update("1", d="0000-00-00"))
    assert outcome.status == "rejected"


def test_a_record_larger_than_a_packet_is_refused_alone(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, v longtext)")
    ((packet,),) = mariadb.run("SELECT @@max_allowed_packet")
    outcomes = write(
        mariadb.connect(),
        create("1", id=1, v="x"),
        create("2", id=2, v="x" * packet),
        create("3", id=3, v="y"),
    )
    assert statuses(outcomes) == [("done", ""), ("rejected", "too_long"), ("done", "")]
    assert "max_allowed_packet" in outcomes[1].message
    outcomes = write(mariadb.connect(), *(create(str(n), id=n, v="'" * (packet // 5)) for n in range(10, 14)))
    assert {outcome.status for outcome in outcomes} == {"done"}


# -- keys --


@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_bin", "utf8mb4_nopad_bin"])
def test_keys_that_a_collation_calls_equal_are_neither_merged_nor_lost(
    mariadb: Place, collation: str
) -> None:
    mariadb.run(f"CREATE TABLE t (id varchar(9) COLLATE {collation} PRIMARY KEY, v text)")
    connector = mariadb.connect()
    outcomes = write(connector, *(create(name, id=name, v=name) for name in ("a", "A", "a ", "b")))
    stands = {record.id: record.get("v") for record in read(connector)}
    for name, outcome in zip(("a", "A", "a ", "b"), outcomes, strict=True):
        if outcome.status == "done":
            assert stands.pop(name) == name
        else:
            assert outcome.code == "exists"
            assert outcome.message == "'id' must be unique: record 'a' has this value."
    assert stands == {}
    looked = connector.lookup(connector.stream("t", NONE), NONE, ["a", "A", "B", "b "])
    assert [item.state for item in looked][2:] == ["gone", "gone"]
    assert statuses(write(connector, update("B", v="x"), Write("d", "delete", "b "))) == [
        ("missing", ""),
        ("done", ""),
    ]
    assert connector.lookup(connector.stream("t", NONE), NONE, ["b"])[0].state == "there"
    assert [item.id for item in connector.find(connector.stream("t", NONE), NONE, "v", ["B", "b "])] == []


@pytest.mark.parametrize(
    ("kind", "literals"),
    [
        ("varchar(20)", ["'b'", "'B2'", "'a'", "'é'", "'Z'", "'y '", "'🦊'"]),
        ("bigint unsigned", ["18446744073709551615", "9007199254740993", "9007199254740992", "0"]),
        ("decimal(30,5)", ["12345678901234567890.12345", "12345678901234567890.12346", "-1", "0"]),
        ("binary(2)", ["x'00ff'", "x'00fe'", "x'ff00'"]),
        ("date", ["'2026-03-05'", "'2026-03-04'", "'1999-01-01'"]),
        ("datetime(6)", ["'2026-03-05 00:00:00.000001'", "'2026-03-05'", "'2026-03-05 00:00:00.000002'"]),
        ("uuid", ["uuid()", "uuid()", "'00000000-0000-0000-0000-000000000001'"]),
        ("enum('z','a','m')", ["'a'", "'z'", "'m'"]),
        ("varchar(9) character set latin1", ["'å'", "'a'", "'ß'"]),
        ("bit(9)", ["b'1'", "b'100000000'"]),
    ],
)
def test_each_kind_of_key_is_read_page_by_page_and_written(
    mariadb: Place, monkeypatch: pytest.MonkeyPatch, kind: str, literals: list[str]
) -> None:
    monkeypatch.setattr(Sql, "page_size", 2)
    mariadb.run(f"CREATE TABLE t (id {kind} NOT NULL PRIMARY KEY, v int)")
    for number, literal in enumerate(literals):
        mariadb.run(f"INSERT INTO t VALUES ({literal}, {number})".replace(":", "\\:"))
    connector = mariadb.connect()
    records = read(connector)
    assert sorted(int(str(record.get("v"))) for record in records) == list(range(len(literals)))
    outcomes = write(connector, *(update(record.id, record.id, v=record.get("v") + 10) for record in records))
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert {outcome.record.id for outcome in outcomes if outcome.record} == {record.id for record in records}
    assert len(mariadb.run("SELECT v FROM t WHERE v >= 10")) == len(literals)
    outcomes = write(connector, *(Write(record.id, "delete", record.id) for record in records[1:]))
    assert mariadb.run("SELECT v FROM t") == [(int(str(records[0].get("v"))) + 10,)]


def test_a_composite_key_of_mixed_kinds_is_read_page_by_page(
    mariadb: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sql, "page_size", 3)
    mariadb.run("CREATE TABLE t (a varchar(5), b int, c date, v int, PRIMARY KEY (a, b, c))")
    for number in range(20):
        mariadb.run(
            f"INSERT INTO t VALUES ('k{number % 3}', {number % 2}, '2026-01-{number + 1:02}', {number})"
        )
    assert sorted(record.get("v") for record in read(mariadb.connect())) == list(range(20))


def test_new_rows_keep_their_order_however_their_key_is_made(
    mariadb: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb.run("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, v int)")
    connector = mariadb.connect()
    outcomes = write(connector, *(create(str(n), v=n) for n in range(50, 0, -1)))
    assert [outcome.record.get("v") for outcome in outcomes if outcome.record] == list(range(50, 0, -1))
    outcomes = write(connector, *(create(str(n), id=n, v=n) for n in range(500, 400, -1)))
    assert [outcome.id for outcome in outcomes] == [str(n) for n in range(500, 400, -1)]
    (zero,) = write(connector, create(id=0, v=0))
    assert zero.id == "0"
    mariadb.run("CREATE TABLE u (id uuid DEFAULT uuid() PRIMARY KEY, v int)")
    outcomes = write(connector, *(create(str(n), v=n) for n in range(30)), name="u")
    assert [outcome.record.get("v") for outcome in outcomes if outcome.record] == list(range(30))
    # MySQL itself answers with no rows.
    monkeypatch.setattr(connector._db.engine.dialect, "insert_returning", False)
    outcomes = write(connector, *(create(str(n), v=n) for n in range(9, 0, -1)))
    assert [outcome.record.get("v") for outcome in outcomes if outcome.record] == list(range(9, 0, -1))
    outcomes = write(connector, *(create(str(n), id=n, v=n) for n in range(900, 890, -1)))
    assert [outcome.id for outcome in outcomes] == [str(n) for n in range(900, 890, -1)]


def test_composite_keys_are_json_lists(place: Place) -> None:
    place.run("CREATE TABLE t (a INT NOT NULL, b VARCHAR(9) NOT NULL, v TEXT, PRIMARY KEY (b, a))")
    place.run("INSERT INTO t VALUES (1, 'x', 'one'), (2, 'x', 'two'), (1, 'a\"b', 'odd')")
    connector = place.connect()
    assert connector.stream("t", NONE).key == ("b", "a")
    assert {record.id: record.get("v") for record in read(connector)} == {
        '["x","1"]': "one",
        '["x","2"]': "two",
        '["a\\"b","1"]': "odd",
    }
    assert statuses(
        write(
            connector,
            update('["x","2"]', "1", v="zwei"),
            update('["x","3"]', "2", v="drei"),
            update("x", "3", v="?"),
            Write("4", "delete", '["a\\"b","1"]'),
            create("5", a=7, b="y", v="seven"),
        )
    ) == [("done", ""), ("missing", ""), ("missing", ""), ("done", ""), ("done", "")]
    assert place.run("SELECT a, b, v FROM t ORDER BY a") == [
        (1, "x", "one"),
        (2, "x", "zwei"),
        (7, "y", "seven"),
    ]
    looked = connector.lookup(connector.stream("t", NONE), NONE, ['["y","7"]', '["y","8"]', "[]", "{}"])
    assert [item.state for item in looked] == ["there", "gone", "gone", "gone"]


def test_a_unique_column_stands_in_for_a_primary_key(place: Place) -> None:
    place.run("CREATE TABLE t (v TEXT, code VARCHAR(9) NOT NULL UNIQUE)")
    stream = place.connect().stream("t", NONE)
    assert (stream.key, stream.writable) == (("code",), True)


def test_a_table_without_a_key_is_neither_read_nor_written(place: Place) -> None:
    place.run("CREATE TABLE t (v TEXT, w VARCHAR(9) UNIQUE)")
    connector = place.connect()
    stream = connector.stream("t", NONE)
    assert not stream.writable
    assert "has no primary key" in stream.read_only_because
    with pytest.raises(OptionsError, match="Add one, or name a column"):
        read(connector)
    assert write(connector, create(v="x"))[0].code == "read_only"
    assert place.run("SELECT * FROM t") == []


def test_a_named_key_without_a_constraint_is_read_and_not_written(place: Place) -> None:
    place.run("CREATE TABLE t (v TEXT, w TEXT)")
    place.run("INSERT INTO t VALUES ('a', 'A'), (NULL, 'B'), ('a', 'C'), (NULL, 'D')")
    connector = place.connect()
    options = SqlStreamOptions(key="v")
    records = read(connector, options=options)
    assert sorted(record.id for record in records if not is_unkeyed(record.id)) == ["a", "a"]
    assert len({record.id for record in records if is_unkeyed(record.id)}) == 2
    assert "Add a unique constraint" in connector.stream("t", options).read_only_because
    with pytest.raises(OptionsError, match=r"no column 'vv' for `key`. Did you mean 'v'"):
        connector.stream("t", SqlStreamOptions(key="vv"))


def test_views_are_read_by_a_named_key(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)")
    place.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    place.run("CREATE VIEW seen AS SELECT id, v FROM t WHERE id > 1")
    connector = place.connect()
    options = SqlStreamOptions(key="id")
    assert [(record.id, record.get("v")) for record in read(connector, "seen", options)] == [("2", "b")]
    stream = connector.stream("seen", options)
    assert (stream.writable, stream.read_only_because) == (
        False,
        "'seen' is a view, and views are only read.",
    )
    assert {item.name for item in connector.discover()} == {"t", "seen"}


def test_a_key_that_nobody_fills_is_asked_for(place: Place) -> None:
    place.make(
        "CREATE TABLE t (id int PRIMARY KEY, v TEXT)", "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)"
    )
    connector = place.connect()
    assert connector.id_kind(connector.stream("t", NONE), NONE) == "visible"
    (outcome,) = write(connector, create(v="x"))
    assert (outcome.status, outcome.code) == ("rejected", "no_key")
    assert "Map a field to it" in outcome.message
    assert statuses(write(connector, create(id=5, v="x"))) == [("done", "")]


def test_a_key_that_the_database_makes_up_comes_back(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), v TEXT)")
    connector = postgresql.connect()
    assert connector.id_kind(connector.stream("t", NONE), NONE) == "system"
    outcomes = write(
        connector,
        create("1", v="a"),
        create("2", v="b"),
        create("3", v="c", id="A" * 8 + "-1111-1111-1111-" + "B" * 12),
    )
    assert [outcome.record.get("v") for outcome in outcomes if outcome.record] == ["a", "b", "c"]
    assert outcomes[2].id == "aaaaaaaa-1111-1111-1111-bbbbbbbbbbbb"
    assert {str(id) for (id,) in postgresql.run("SELECT id FROM t")} == {outcome.id for outcome in outcomes}


def test_a_written_key_renames_the_record(place: Place) -> None:
    place.run("CREATE TABLE t (id VARCHAR(9) PRIMARY KEY NOT NULL, v TEXT)")
    place.run("INSERT INTO t VALUES ('a', 'x'), ('b', 'y')")
    connector = place.connect()
    (outcome,) = write(connector, update("a", id="c"))
    assert (outcome.status, outcome.id) == ("done", "c")
    assert outcome.record and outcome.record.get("v") == "x"
    (outcome,) = write(connector, update("c", id="b"))
    assert (outcome.status, outcome.code) == ("rejected", "unique")


ODD = 'we"ird: %(x)s :y; {z}'


def test_names_are_data(place: Place) -> None:
    quoted, select = place.quoted(ODD), place.quoted("Select")
    statement = f"CREATE TABLE {quoted} ({select} INT PRIMARY KEY, {quoted} TEXT)".replace(":", "\\:")
    place.run(statement)
    connector = place.connect()
    assert [item.name for item in connector.discover()] == [ODD]
    batch = [
        Write("1", "create", None, {"Select": 1, ODD: "a"}),
        Write("2", "create", None, {"Select": 2, ODD: "b"}),
    ]
    assert statuses(write(connector, *batch, name=ODD)) == [("done", "")] * 2
    changes = [Write("3", "update", "1", {ODD: "'; DROP TABLE x; --"}), Write("4", "delete", "2")]
    assert statuses(write(connector, *changes, name=ODD)) == [("done", "")] * 2
    assert [(item.id, item.get(ODD)) for item in read(connector, ODD)] == [("1", "'; DROP TABLE x; --")]
    found = connector.find(connector.stream(ODD, NONE), NONE, ODD, ["'; DROP TABLE x; --"])
    assert [item.id for item in found] == ["1"]


def test_other_schemas_are_named_with_a_dot(postgresql: Place) -> None:
    postgresql.run("CREATE SCHEMA sales")
    postgresql.run("CREATE TABLE sales.orders (id serial PRIMARY KEY, v text)")
    postgresql.run('CREATE TABLE "sales.orders" (id serial PRIMARY KEY, w text)')
    postgresql.run("CREATE TABLE sales.items (id serial PRIMARY KEY, v text)")
    connector = postgresql.connect()
    assert sorted(item.name for item in connector.discover()) == [
        "sales.items",
        "sales.orders",
        "sales.orders",
    ]
    assert statuses(write(connector, create(v="x"), name="sales.items")) == [("done", "")]
    assert [item.get("v") for item in read(connector, "sales.items")] == ["x"]
    with pytest.raises(StreamGone, match=r"Did you mean 'sales.items'"):
        connector.stream("sales.itms", NONE)


# -- refusals --


def test_a_value_that_must_be_unique_names_the_other_record(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, email VARCHAR(40) UNIQUE, v TEXT)")
    place.run("INSERT INTO t VALUES (1, 'a@x', NULL), (2, 'b@x', NULL)")
    outcomes = write(
        place.connect(),
        create("1", id=3, email="c@x"),
        create("2", id=4, email="a@x"),
        update("2", "3", email="a@x"),
        update("1", "4", v="fine"),
    )
    assert statuses(outcomes) == [("done", ""), ("rejected", "unique"), ("rejected", "unique"), ("done", "")]
    for outcome in outcomes[1:3]:
        assert outcome.message == "'email' must be unique: record '1' has this value."
        assert outcome.field == "email"
    assert place.run("SELECT id, email, v FROM t ORDER BY id") == [
        (1, "a@x", "fine"),
        (2, "b@x", None),
        (3, "c@x", None),
    ]


def test_two_columns_unique_together_are_both_named(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, UNIQUE (a, b))")
    place.run("INSERT INTO t VALUES (1, 1, 1), (2, 1, 2)")
    (outcome,) = write(place.connect(), update("2", b=1))
    assert outcome.message == "'a' with 'b' must be unique: record '1' has this value."


def test_a_delete_that_others_refer_to_is_refused_alone(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)")
    place.run("CREATE TABLE child (id INT PRIMARY KEY, t INT REFERENCES t (id))")
    place.run("INSERT INTO t VALUES (1, 'parent'), (2, 'alone')")
    place.run("INSERT INTO child VALUES (1, 1)")
    outcomes = write(place.connect(), Write("1", "delete", "1"), Write("2", "delete", "2"))
    assert statuses(outcomes) == [("rejected", "reference"), ("done", "")]
    assert place.run("SELECT id FROM t") == [(1,)]


def test_swapped_unique_values_pass_where_the_constraint_can_wait(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, k int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    postgresql.run("INSERT INTO t VALUES (1, 1), (2, 2)")
    outcomes = write(postgresql.connect(), update("1", "1", k=2), update("2", "2", k=1))
    assert statuses(outcomes) == [("done", "")] * 2
    assert postgresql.run("SELECT k FROM t ORDER BY id") == [(2,), (1,)]


def test_a_constraint_that_fails_at_the_commit_names_its_record(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, k int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    postgresql.run("INSERT INTO t VALUES (1, 1), (2, 2)")
    outcomes = write(
        postgresql.connect(), update("1", "1", k=7), update("2", "2", k=7), create("3", id=3, k=3)
    )
    assert statuses(outcomes) == [("done", ""), ("rejected", "unique"), ("done", "")]
    assert postgresql.run("SELECT k FROM t ORDER BY id") == [(7,), (2,), (3,)]


def test_what_a_trigger_refuses_or_drops_is_not_a_success(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id serial PRIMARY KEY, v text)")
    postgresql.run(
        "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.v = 'bad' THEN RAISE EXCEPTION 'no bad things'; END IF;"
        " IF NEW.v = 'void' THEN RETURN NULL; END IF; NEW.v = upper(NEW.v); RETURN NEW; END $$"
    )
    postgresql.run("CREATE TRIGGER judge BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION judge()")
    bad, void, fine = write(
        postgresql.connect(), create("1", v="bad"), create("2", v="void"), create("3", v="fine")
    )
    assert (bad.code, void.code, fine.status) == ("rejected", "not_kept", "done")
    assert "no bad things" in bad.message
    assert fine.record and fine.record.get("v") == "FINE"


def test_many_new_rows_are_stored_as_a_few_would_be(postgresql: Place) -> None:
    texts = ["", "a\tb", "a\nb\r", "\\N", "\\", "\\.", '"', "é 漢", "%s", "it's", None]
    for name in ("few", '"ma%ny of"'):
        columns = 'id int PRIMARY KEY, v text, n numeric(8, 2), "x VALUES (" text, j jsonb'
        postgresql.run(f"CREATE TABLE {name} ({columns})")
    connector = postgresql.connect()
    rows = [
        create(
            str(n), **{"id": n, "v": texts[n % 11], "n": Decimal(n) / 4, "x VALUES (": "y", "j": {"a": [n]}}
        )
        for n in range(100)
    ]
    many = write(connector, *rows, name="ma%ny of")
    few = [outcome for row in rows for outcome in write(connector, row, name="few")]
    assert [(one.status, one.id) for one in many] == [(one.status, one.id) for one in few]
    assert [one.record and one.record.fields for one in many] == [
        one.record and one.record.fields for one in few
    ]


@pytest.mark.parametrize("bad", [{"v": "too long"}, {"v": None}, {"n": Decimal(10) ** 9}])
def test_one_bad_row_among_many_new_ones_is_refused_alone(postgresql: Place, bad: dict[str, Value]) -> None:
    columns = "id int PRIMARY KEY, v varchar(5) NOT NULL, n numeric(8, 2) CHECK (n < 500)"
    postgresql.run(f"CREATE TABLE t ({columns})")
    rows = [create(str(number), id=number, v="v", n=Decimal(number)) for number in range(80)]
    rows[40] = create("40", **{"id": 40, "v": "v", "n": Decimal(1), **bad})
    outcomes = {outcome.marker: outcome.status for outcome in write(postgresql.connect(), *rows)}
    assert [marker for marker, status in outcomes.items() if status != "done"] == ["40"]
    assert postgresql.run("SELECT count(*) FROM t") == [(79,)]


def test_a_trigger_has_its_say_with_many_new_rows_too(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    postgresql.run(
        "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id = 7 THEN NEW.id = 1007; END IF; RETURN NEW; END $$"
    )
    postgresql.run("CREATE TRIGGER judge BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge()")
    outcomes = write(postgresql.connect(), *(create(str(n), id=n, v="v") for n in range(80)))
    assert [(outcome.marker, outcome.id) for outcome in outcomes if outcome.marker == "7"] == [("7", "1007")]


def test_what_a_trigger_of_sqlite_drops_is_not_a_success(sqlite: Place) -> None:
    sqlite.run("CREATE TABLE t (id INT PRIMARY KEY NOT NULL, v TEXT)")
    sqlite.run("CREATE TRIGGER judge BEFORE INSERT ON t WHEN NEW.v = 'void' BEGIN SELECT RAISE(IGNORE); END")
    outcomes = write(sqlite.connect(), create("1", id=1, v="void"), create("2", id=2, v="fine"))
    assert statuses(outcomes) == [("rejected", "not_kept"), ("done", "")]
    assert sqlite.run("SELECT id FROM t") == [(2,)]


def test_writes_to_one_record_in_one_batch_are_done_in_turn(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)")
    outcomes = write(
        place.connect(),
        create("1", id=1, v="a"),
        update("1", "2", v="b"),
        Write("3", "delete", "1"),
        create("4", id=1, v="c"),
    )
    assert statuses(outcomes) == [("done", "")] * 4
    assert place.run("SELECT id, v FROM t") == [(1, "c")]


def test_a_big_batch_is_done_whole(place: Place) -> None:
    place.make(
        "CREATE TABLE t (id serial PRIMARY KEY, v TEXT)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT)",
    )
    connector = place.connect()
    outcomes = write(connector, *(create(str(number), v=f"v{number}") for number in range(2500)))
    assert [outcome.record.get("v") for outcome in outcomes if outcome.record] == [
        f"v{n}" for n in range(2500)
    ]
    ids = [outcome.id or "" for outcome in outcomes]
    outcomes = write(connector, *(update(id, id, v=f"w{id}") for id in ids))
    assert [outcome.record.get("v") for outcome in outcomes if outcome.record] == [f"w{id}" for id in ids]
    assert len(connector.lookup(connector.stream("t", NONE), NONE, ids)) == 2500
    outcomes = write(connector, *(Write(id, "delete", id) for id in ids))
    assert place.run("SELECT count(*) FROM t") == [(0,)]


# -- pages --


def numbers(place: Place, count: int) -> Sql:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))")
    place.run(
        "INSERT INTO t VALUES " + ", ".join(f"({number}, 'v{number}')" for number in range(1, count + 1))
    )
    return place.connect()


@pytest.mark.parametrize("broken", [1, 2, 3, 6, 10])
def test_a_text_that_is_no_text_spoils_its_own_record_wherever_it_stands(
    sqlite: Place, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    monkeypatch.setattr(Sql, "page_size", 3)
    connector = numbers(sqlite, 10)
    whole = {id: version for page in connector.read(Stream("t", ()), NONE) for id, version in versions(page)}
    sqlite.run(f"UPDATE t SET v = CAST(x'41ff' AS TEXT) WHERE id = {broken}")
    pages = list(connector.read(Stream("t", ()), NONE))
    assert [id for page in pages for id in page.ids] == [str(number) for number in range(1, 11)]
    found = {id: version for page in pages for id, version in versions(page)}
    assert [id for id in whole if found[id] != whole[id]] == [str(broken)]
    texts = {page.ids[index]: page.record(index).get("v") for page in pages for index in range(len(page.ids))}
    assert texts == {str(n): "A\udcff" if n == broken else f"v{n}" for n in range(1, 11)}
    (looked,) = connector.lookup(Stream("t", ()), NONE, [str(broken)])
    assert looked.record is not None
    assert looked.record.version == found[str(broken)]


def test_rows_that_the_database_does_not_hash_have_versions_whatever_they_hold(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id INT PRIMARY KEY, price DECIMAL(8, 2), raw BLOB) ENGINE = MyISAM")
    mariadb.run("INSERT INTO t VALUES (1, 1.50, x'00ff'), (2, NULL, NULL)")
    connector = mariadb.connect()

    def read() -> list[tuple[str, str | None]]:
        return [item for page in connector.read(Stream("t", ()), NONE) for item in versions(page)]

    before = read()
    assert read() == before
    mariadb.run("UPDATE t SET price = 1.51 WHERE id = 1")
    assert [id for (id, one), (_, two) in zip(before, read(), strict=True) if one != two] == ["1"]


def versions(page: Page) -> list[tuple[str, str | None]]:
    return list(zip(page.ids, page.versions, strict=True))


def test_records_may_be_asked_for_in_any_order(place: Place) -> None:
    connector = numbers(place, 300)
    (page,) = connector.read(Stream("t", ()), NONE)
    order = [int(id) * 7 % 300 for id in page.ids]
    assert [page.record(index).get("v") for index in order] == [f"v{page.ids[index]}" for index in order]
    assert [record.version for record in page.records] == list(page.versions)


def test_an_old_page_never_shows_a_newer_record_under_its_version(place: Place) -> None:
    connector = numbers(place, 3)
    (page,) = list(connector.read(Stream("t", ()), NONE))
    place.run("UPDATE t SET v = 'new' WHERE id = 2")
    assert page.record(0).get("v") == "v1"
    try:
        record = page.record(1)
    except BadAnswer as error:
        assert "Read it again" in error.message
    else:
        assert (record.get("v"), record.version) == ("v2", page.versions[1])


def test_a_read_that_is_left_at_its_last_page_locks_nobody_out(
    sqlite: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.dialects.sqlite._BUSY_SECONDS", 0.05)
    sqlite.run("PRAGMA journal_mode = DELETE")
    connector = numbers(sqlite, 3)
    pages = connector.read(Stream("t", ()), NONE)
    assert next(pages).is_last
    assert statuses(write(connector, update("1", v="x"))) == [("done", "")]
    assert list(pages) == []


# -- what a row's hash tells apart --


def total(connector: Sql) -> Total:
    """What the whole table adds up to."""
    with connector.in_parts(Stream("t", ()), NONE, 1) as found:
        assert found is not None
        return found.totals[0]


TEXTS = ["", None, "n", "|", "|n", "||n", "|;", ";", "a|", "a", "a|;|n", "|;|n", "É", "é"]


def test_rows_that_differ_in_any_cell_have_different_hashes(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id INT PRIMARY KEY, n NUMERIC, a TEXT, b TEXT, c TEXT)")
    rows: list[tuple[str | None, ...]] = [(None, one, two, None) for one in TEXTS for two in TEXTS]
    rows += [(number, None, None, None) for number in ("0", "5", "-5", "5.0", "NaN")]
    rows += [(None, None, None, "|;|n|;"), ("5", "", None, None)]
    connector = postgresql.connect()
    versions: set[str | None] = set()
    totals = set()
    for n, a, b, c in rows:  # always the same row, so that nothing but its cells tells
        postgresql.run("DELETE FROM t")
        postgresql.run("INSERT INTO t VALUES (1, :n, :a, :b, :c)", n=n, a=a, b=b, c=c)
        *_, page = connector.read(Stream("t", ()), NONE)
        versions.update(page.versions)
        totals.add(total(connector))
    assert len(versions) == len(totals) == len(rows)


def test_what_two_rows_exchange_is_seen_in_their_sum(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id INT PRIMARY KEY, n INT, v TEXT)")
    postgresql.run("INSERT INTO t VALUES (1, 5, 'one'), (2, 7, 'two'), (3, -5, 'one')")
    connector = postgresql.connect()
    before = total(connector)
    postgresql.run("UPDATE t SET v = CASE id WHEN 1 THEN 'two' ELSE 'one' END")
    exchanged = total(connector)
    postgresql.run("UPDATE t SET n = -n")
    assert len({before, exchanged, total(connector)}) == 3


def test_what_a_collation_calls_equal_is_not_the_same_to_a_hash(postgresql: Place) -> None:
    postgresql.run(
        "CREATE COLLATION IF NOT EXISTS public.no_case (provider = icu, locale = 'und-u-ks-level2',"
        " deterministic = false)"
    )
    postgresql.run(
        "CREATE TABLE t (id TEXT COLLATE public.no_case PRIMARY KEY, a TEXT COLLATE public.no_case,"
        ' b TEXT COLLATE "C", c TEXT)'
    )
    postgresql.run("INSERT INTO t VALUES ('k', 'Ann', 'Ann', 'Ann')")
    connector = postgresql.connect()
    before = total(connector)
    postgresql.run("UPDATE t SET a = 'ANN'")
    assert total(connector) != before


def test_a_table_of_very_many_columns_is_hashed_like_any_other(postgresql: Place) -> None:
    columns = ", ".join(f"c{number} INT" for number in range(900))
    postgresql.run(f"CREATE TABLE t (id INT PRIMARY KEY, {columns})")
    postgresql.run("INSERT INTO t (id, c899) VALUES (1, 1)")
    connector = postgresql.connect()
    before = total(connector)
    postgresql.run("UPDATE t SET c899 = 2")
    assert total(connector) != before


# -- cursors --


def test_a_cursor_reads_from_its_edge_on(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, n INT)")
    place.run("INSERT INTO t VALUES (1, 10), (2, 20), (3, 20), (4, NULL)")
    connector = place.connect()
    options = SqlStreamOptions(cursor="n")
    stream = connector.stream("t", options)
    *_, last = connector.read(stream, options)
    assert len(last.ids) == 4
    *_, last = connector.read(stream, options, last.cursor)
    assert list(last.ids) == ["2", "3"]  # a row that was committed late with the same value is not lost
    place.run("UPDATE t SET n = 30 WHERE id = 1")
    *_, last = connector.read(stream, options, last.cursor)
    assert set(last.ids) == {"1", "2", "3"}
    *_, last = connector.read(stream, options, last.cursor)
    assert list(last.ids) == ["1"]


@pytest.mark.parametrize("overlap", [0, 300])
def test_an_overlap_finds_what_was_committed_late(place: Place, overlap: int) -> None:
    place.make(
        "CREATE TABLE t (id INT PRIMARY KEY, at timestamptz)",
        "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME)",
        "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME)",
    )
    place.run("INSERT INTO t VALUES (1, '2026-03-05 12:00:00')")
    options = SqlStreamOptions(cursor="at", overlap=timedelta(seconds=overlap))
    connector = place.connect()
    stream = connector.stream("t", options)
    *_, last = connector.read(stream, options)
    place.run(
        "INSERT INTO t VALUES (2, '2026-03-05 11:57:00'), (3, '2026-03-05 11:50:00')".replace(":", "\\:")
    )
    *_, last = connector.read(stream, options, last.cursor)
    assert sorted(last.ids) == (["1", "2"] if overlap else ["1"])


def test_a_cursor_needs_a_column(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, moved INT)")
    connector = place.connect()
    with pytest.raises(OptionsError, match="only full reads"):
        read(connector, since="1")
    with pytest.raises(OptionsError, match="Did you mean 'moved'"):
        read(connector, options=SqlStreamOptions(cursor="move"))
    with pytest.raises(OptionsError, match="not a cursor"):
        read(connector, options=SqlStreamOptions(cursor="moved"), since="{")


# -- new tables --


def test_a_new_table_takes_the_other_sides_key(place: Place) -> None:
    connector = place.connect()
    natural = Stream(
        "natural",
        (
            Field("sku", FieldType.TEXT, nullable=False),
            Field("tags", FieldType.LIST),
            Field("data", FieldType.JSON),
        ),
        key=("sku",),
    )
    made = connector.create_stream(natural, NONE)
    assert (made.key, made.writable) == (("sku",), True)
    (outcome,) = write(
        connector, create(sku="A1", tags=("x", "y"), data={"n": Decimal("1.5")}), name="natural"
    )
    assert outcome.record
    assert outcome.record.get("data") == {"n": Decimal("1.5")}
    assert tuple(outcome.record.get("tags")) == ("x", "y")
    numbered = Stream(
        "numbered", (Field("id", FieldType.INTEGER, generated=True), Field("v", FieldType.TEXT)), key=("id",)
    )
    made = connector.create_stream(numbered, NONE)
    assert connector.id_kind(made, NONE) == "system"
    assert statuses(write(connector, create(v="x"), name="numbered")) == [("done", "")]
    unnamed = Stream("unnamed", (Field("id", FieldType.TEXT), Field("at", FieldType.DATETIME)))
    assert connector.create_stream(unnamed, NONE).key == ("syncline_id",)


# -- URLs --


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db.example.net/crm",
        "postgres://u@db.example.net:6432/crm?sslmode=verify-full&connect_timeout=10",
        "postgresql://u@[2606:4700::1]/crm?application_name=sync",
        "mysql://u@db.example.net/crm?connect_timeout=10",
        "mysql://u@db.example.net:25060/crm?ssl-mode=REQUIRED",
        "mariadb://u@db.example.net/crm?charset=utf8mb4&sslmode=verify-full",
        "sqlite:///crm.db",
        "sqlite:////data/crm.db",
    ],
)
def test_honest_urls_pass(url: str) -> None:
    assert SqlOptions(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "crm.db",
        "mysql+pymysql://u@h/d",
        "oracle://u@h/d",
        "postgresql+psycopg2://u@h/d",
        "sqlite+aiosqlite:///crm.db",
        "duckdb:///crm.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:crm.db",
        "sqlite:///crm.db?mode=memory",
        "sqlite:///crm.db?uri=true",
        "sqlite://host/crm.db",
        "postgresql:///crm",
        "postgresql://u@/crm",
        "postgresql://u@h",
        "postgresql://u@h/",
        "postgresql://u@h1,h2/crm",
        "postgresql://u@0x7f.1/crm",
        "postgresql://u@127.1/crm",
        "postgresql://u@h:0/crm",
        "postgresql://u@h:99999/crm",
        "postgresql://u@h:x/crm",
        "postgresql://u@h/crm?host=/var/run",
        "postgresql://u@h/crm?hostaddr=127.0.0.1",
        "postgresql://u@h/crm?port=1",
        "postgresql://u@h/crm?sslmode=disable",
        "postgresql://u@h/crm?sslmode=prefer",
        "postgresql://u@h/crm?sslmode=require&sslmode=disable",
        "postgresql://u@h/crm?sslcert=/home/app/.pg/cert.pem",
        "postgresql://u@h/crm?sslrootcert=/etc/passwd",
        "postgresql://u@h/crm?service=x",
        "postgresql://u@h/crm?passfile=/etc/passwd",
        "postgresql://u@h/crm?options=-cstatement_timeout%3D0",
        "postgresql://u@h/crm?connect_timeout=0",
        "postgresql://u@h/crm?connect_timeout=9999",
        "postgresql://u@h/dbname=x",
        "mysql://u@h/",
        "mysql:///crm",
        "mysql://u@0x7f.1/crm",
        "mysql://u@h1,h2/crm",
        "mysql://u@h/crm?local_infile=1",
        "mysql://u@h/crm?init_command=SET+sql_mode%3D''",
        "mysql://u@h/crm?unix_socket=/run/mysqld.sock",
        "mysql://u@h/crm?read_default_file=/etc/my.cnf",
        "mysql://u@h/crm?ssl_ca=/etc/passwd",
        "mysql://u@h/crm?ssl_disabled=true",
        "mysql://u@h/crm?sslmode=disable",
        "mysql://u@h/crm?ssl-mode=PREFERRED",
        "mysql://u@h/crm?sslmode=require&ssl-mode=REQUIRED",
        "mysql://u@h/crm?charset=latin1",
        "mysql://u@h/crm?client_flag=65536",
        "mysql://u@h/crm?plugin_dir=/tmp",
        "mariadb://u@h/crm?connect_timeout=999",
        "mariadb+pymysql://u@h/crm",
        "postgresql://u@h/crm x",
        "postgresql://u@h/crm\n",
        "postgresql://u@h\\@evil/crm",
        "postgresql://u@h/" + "x" * 9000,
    ],
)
def test_other_urls_are_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(ValidationError):
        SqlOptions(url=url)
    with pytest.raises(OptionsError) as caught:
        Sql.parse_options({"url": url})
    assert caught.value.message.startswith("SQL database: url: ")


def test_a_password_leaves_the_url() -> None:
    options = SqlOptions.model_validate(
        {"url": "postgresql://u:s%40cr%3Aet@db.example.net/crm?sslmode=require"}
    )
    assert options.url == "postgresql://u@db.example.net/crm?sslmode=require"
    assert options.password == SecretStr("s@cr:et")
    assert "s@cr" not in repr(options) + str(options.model_dump())


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret@h/d?bad=1", "mysql://u:s3cret@h", "postgresql://u:s3cret@h:x/d"]
)
def test_a_refused_url_does_not_repeat_its_password(url: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Sql.parse_options({"url": url})
    assert "s3cret" not in caught.value.message


def test_a_password_typed_beside_the_url_wins() -> None:
    options = SqlOptions.model_validate({"url": "postgresql://u:old@h/d", "password": "new"})
    assert (options.url, options.password) == ("postgresql://u@h/d", SecretStr("new"))


def test_a_relative_sqlite_path_starts_at_the_yaml(tmp_path: Path) -> None:
    assert Sql.anchor({"url": "sqlite:///crm.db"}, tmp_path) == {"url": f"sqlite:///{tmp_path}/crm.db"}
    assert Sql.anchor({"url": "sqlite:////data/crm.db"}, tmp_path) == {"url": "sqlite:////data/crm.db"}
    assert Sql.anchor({"url": "postgresql://h/d"}, tmp_path) == {"url": "postgresql://h/d"}


# -- what can be wrong with a place --


def test_a_missing_sqlite_file_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"There is no SQLite file '.*none.db'"):
        Sql(SqlOptions(url=f"sqlite:///{tmp_path / 'none.db'}"), Access(folders=(tmp_path,))).check()
    assert list(tmp_path.iterdir()) == []


def test_sqlite_files_outside_and_our_own_are_refused(tmp_path: Path, sqlite: Place) -> None:
    sqlite.run("CREATE TABLE t (id INT)")
    url = sqlite.connect_url
    for access in (
        Access(),
        Access(folders=(tmp_path / "elsewhere",)),
        Access(folders=(tmp_path,), forbidden_files=(tmp_path / "crm.db",)),
    ):
        with pytest.raises(OptionsError):
            Sql(SqlOptions(url=url), access).check()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is no database, and it is long enough to look at" * 40)
    with pytest.raises(OptionsError, match="is not a SQLite database"):
        Sql(SqlOptions(url=f"sqlite:///{tmp_path / 'x.db'}"), Access(folders=(tmp_path,))).check()


def test_a_locked_sqlite_file_is_tried_again_later(sqlite: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.dialects.sqlite._BUSY_SECONDS", 0.05)
    sqlite.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    connector = sqlite.connect()
    with sqlite.engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked by another program"):
            write(connector, create(v="x"))
    assert statuses(write(connector, create(v="x"))) == [("done", "")]


def test_a_locked_row_is_tried_again_later(postgresql: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        __import__("connectors.dialects.postgresql").dialects.postgresql._SESSION, "lock_timeout", "50ms"
    )
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    postgresql.run("INSERT INTO t VALUES (1, 'a')")
    connector = postgresql.connect()
    with postgresql.engine.begin() as other:
        other.execute(sa.text("UPDATE t SET v = 'b'"))
        with pytest.raises(Unavailable, match="locked by somebody else"):
            write(connector, update("1", v="c"))


def test_a_locked_row_and_a_deadlock_of_mariadb_are_tried_again_later(
    mariadb: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = __import__("connectors.dialects.mysql").dialects.mysql
    monkeypatch.setattr(
        module, "_SESSION", module._SESSION.replace("lock_wait_timeout = 10", "lock_wait_timeout = 1")
    )
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    mariadb.run("INSERT INTO t VALUES (1, 'a'), (2, 'a')")
    connector = mariadb.connect()
    with mariadb.engine.begin() as other:
        other.execute(sa.text("UPDATE t SET v = 'b' WHERE id = 1"))
        with pytest.raises(Unavailable, match="locked by somebody else"):
            write(connector, update("1", v="c"))
    assert statuses(write(connector, update("1", v="c"))) == [("done", "")]
    problem = connector._db.named(pymysql.OperationalError(1213, "Deadlock found when trying to get lock"))
    assert isinstance(problem, Unavailable)
    assert "deadlock" in problem.message


def test_the_session_of_mariadb_is_strict_read_only_and_one_snapshot(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, v varchar(3))")
    connector = mariadb.connect()
    with connector._db.reading() as session:
        (row,) = session.execute(sa.text("SELECT @@sql_mode, @@time_zone, @@tx_isolation, @@local_infile"))
        assert "STRICT_ALL_TABLES" in row[0]
        assert "ANSI_QUOTES" not in row[0]
        assert tuple(row[1:3]) == ("+00:00", "REPEATABLE-READ")
        mariadb.run("INSERT INTO t VALUES (1, 'x')")
        assert list(session.execute(sa.text("SELECT * FROM t"))) == []
        with pytest.raises(sa.exc.DBAPIError, match="READ ONLY"):
            session.execute(sa.text("DELETE FROM t"))
    with connector._db.writing() as session:
        session.execute(sa.text("DELETE FROM t"))
    with (
        pytest.raises(OptionsError, match="You have an error in your SQL syntax"),
        connector._db.reading() as session,
    ):
        session.exec_driver_sql("SELECT 1; SELECT 2")


def test_a_table_without_transactions_is_read_and_not_written(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, v int) ENGINE=MyISAM")
    mariadb.run("INSERT INTO t VALUES (1, 1)")
    connector = mariadb.connect()
    assert "MyISAM" in connector.stream("t", NONE).read_only_because
    assert [record.id for record in read(connector)] == ["1"]
    assert write(connector, create(id=2))[0].code == "read_only"


@pytest.mark.parametrize(
    ("grants", "tables"),
    [
        (["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"], {"a", "b"}),
        (["GRANT USAGE ON *.* TO `u`@`%`", "GRANT ALL PRIVILEGES ON `shop`.* TO `u`@`%`"], {"a", "b"}),
        (["GRANT SELECT, INSERT, UPDATE ON `sho_`.* TO `u`@`%`"], {"a", "b"}),
        (["GRANT SELECT, INSERT, UPDATE ON `sho\\_`.* TO `u`@`%`"], set()),
        (["GRANT SELECT ON `shop`.* TO `u`@`%`", "GRANT INSERT, UPDATE ON `shop`.`a` TO `u`@`%`"], {"a"}),
        (["GRANT INSERT ON `shop`.* TO `u`@`%`", "GRANT UPDATE (`x`, `y`) ON `shop`.`b` TO `u`@`%`"], {"b"}),
        (["GRANT SELECT ON `shop`.* TO `u`@`%`", "GRANT ALL PRIVILEGES ON `other`.* TO `u`@`%`"], set()),
        (["GRANT `writer` TO `u`@`%`", "GRANT USAGE ON *.* TO `u`@`%`"], {"a", "b"}),
    ],
)
def test_rights_are_read_from_what_the_server_grants(grants: list[str], tables: set[str]) -> None:
    rights = Rights.of(grants, "shop")
    assert {name for name in ("a", "b") if rights.may_write(name)} == tables


def test_a_row_that_somebody_changes_first_is_stale(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    postgresql.run("INSERT INTO t VALUES (1, 'a')")
    connector = postgresql.connect()
    stream = connector.stream("t", NONE)
    outcomes: list[Outcome] = []

    def sync() -> None:
        outcomes.extend(connector.write(stream, NONE, [Write("m", "update", "1", {"v": "c"}, {"v": "a"})]))

    with postgresql.engine.begin() as person:
        person.execute(sa.text("UPDATE t SET v = 'b'"))
        thread = threading.Thread(target=sync)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()  # it waits for the person
    thread.join()
    assert statuses(outcomes) == [("stale", "")]
    assert postgresql.run("SELECT v FROM t") == [("b",)]


def test_wrong_credentials_databases_and_ports_have_their_sentences(postgresql: Place) -> None:
    def refusal(**parts: Any) -> ConnectorError:
        url = postgresql.url.set(drivername="postgresql").set(**parts).render_as_string(hide_password=False)
        connector = Sql(SqlOptions(url=url), postgresql.access)
        with pytest.raises(ConnectorError) as caught:
            connector.check()
        assert caught.value.message.endswith(".")
        assert "nobody's" not in caught.value.message
        return caught.value

    assert isinstance(refusal(password="nobody's"), AuthError)
    assert isinstance(refusal(username="nobody"), AuthError)
    assert "has no database 'none'" in refusal(database="none").message
    refused = refusal(port=1)
    assert isinstance(refused, Unavailable)
    assert ":1 refuses connections. Check host and port" in refused.message
    assert "offers no TLS" in refusal(query={"sslmode": "require"}).message


def test_an_address_that_was_not_allowed_is_not_reached(postgresql: Place) -> None:
    connector = Sql(SqlOptions.model_validate({"url": postgresql.connect_url}), Access())
    with pytest.raises(OptionsError, match="ALLOWED_NETWORKS"):
        connector.check()


def test_a_server_that_goes_away_is_unavailable_and_its_commit_unknown(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    end_all = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'syncline' AND datname = current_database()"
    )
    connector = postgresql.connect()
    assert statuses(write(connector, create(id=1, v="a"))) == [("done", "")]
    postgresql.run(end_all)
    assert statuses(write(connector, update("1", v="b"))) == [("done", "")]  # a new connection is made

    class Cut(Sql):
        def _carry_out(self, *arguments: Any) -> list[Outcome]:
            outcomes = super()._carry_out(*arguments)
            postgresql.run(end_all)
            return outcomes

    cut = Cut(connector.options, postgresql.access)
    postgresql.opened.append(cut)
    with pytest.raises(OutcomeUnknown, match="broke during a commit"):
        write(cut, update("1", v="c"))


def test_a_table_that_is_dropped_in_the_middle_is_gone(place: Place) -> None:
    place.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)")
    connector = place.connect()
    stream = connector.stream("t", NONE)
    place.run("DROP TABLE t")
    with pytest.raises(StreamGone):
        connector.write(stream, NONE, [create(id=1)])
    with pytest.raises(StreamGone, match="There is no table 't'"):
        read(connector)


def test_wrong_credentials_databases_and_ports_of_mariadb_have_their_sentences(mariadb: Place) -> None:
    def refusal(access: Access | None = None, **parts: Any) -> ConnectorError:
        url = make_url(mariadb.connect_url).set(**parts).render_as_string(hide_password=False)
        connector = Sql(SqlOptions.model_validate({"url": url}), access or mariadb.access)
        with pytest.raises(ConnectorError) as caught:
            connector.check()
        assert caught.value.message.endswith(".")
        assert "nobody's" not in caught.value.message
        return caught.value

    assert isinstance(refusal(password="nobody's"), AuthError)
    assert isinstance(refusal(username="nobody"), AuthError)
    assert "may not use the database 'none'" in refusal(database="none").message
    refused = refusal(port=1)
    assert isinstance(refused, Unavailable)
    assert ":1 refuses connections. Check host and port" in refused.message
    assert "offers no TLS" in refusal(query={"sslmode": "require"}).message
    assert "offers no TLS" in refusal(query={"ssl-mode": "VERIFY_IDENTITY"}).message
    assert "ALLOWED_NETWORKS" in refusal(Access()).message


def test_a_mariadb_that_goes_away_is_unavailable_and_its_commit_unknown(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, v text)")

    def end_all() -> None:
        for (number,) in mariadb.run(
            "SELECT id FROM information_schema.processlist WHERE user = :user", user=mariadb.user
        ):
            mariadb.run(f"KILL {number}")

    connector = mariadb.connect()
    assert statuses(write(connector, create(id=1, v="a"))) == [("done", "")]
    end_all()
    assert statuses(write(connector, update("1", v="b"))) == [("done", "")]  # a new connection is made

    class Cut(Sql):
        def _carry_out(self, *arguments: Any) -> list[Outcome]:
            outcomes = super()._carry_out(*arguments)
            end_all()
            return outcomes

    cut = Cut(connector.options, mariadb.access)
    mariadb.opened.append(cut)
    with pytest.raises(OutcomeUnknown, match="broke during a commit"):
        write(cut, update("1", v="c"))


def test_what_a_trigger_of_mariadb_refuses_is_not_a_success(mariadb: Place) -> None:
    mariadb.run("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, v text)")
    mariadb.run(
        "CREATE TRIGGER judge BEFORE INSERT ON t FOR EACH ROW BEGIN"
        " IF NEW.v = 'bad' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no bad things'; END IF;"
        " SET NEW.v = UPPER(NEW.v); END"
    )
    bad, fine = write(mariadb.connect(), create("1", v="bad"), create("2", v="fine"))
    assert (bad.code, fine.status) == ("rejected", "done")
    assert "no bad things" in bad.message
    assert fine.record and fine.record.get("v") == "FINE"


def test_a_user_without_rights_is_told(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    name = f"reader_{postgresql.url.database}"
    postgresql.run(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        postgresql.run(f"GRANT USAGE ON SCHEMA public TO {name}")
        postgresql.run(f"GRANT SELECT ON t TO {name}")
        url = postgresql.url.set(drivername="postgresql", username=name, password="x")
        connector = Sql(SqlOptions(url=url.render_as_string(hide_password=False)), postgresql.access)
        stream = connector.stream("t", NONE)
        assert "Grant INSERT and UPDATE" in stream.read_only_because
        assert read(connector) == []
        connector.close()
    finally:
        postgresql.run(f"DROP OWNED BY {name}")
        postgresql.run(f"DROP ROLE {name}")


def test_a_refused_batch_can_still_be_bisected() -> None:
    assert issubclass(RecordRejected, ConnectorError)


def test_a_servers_clock_is_told_and_a_file_has_none(postgresql: Place, sqlite: Place) -> None:
    theirs = postgresql.connect().clock()
    [(there,)] = postgresql.run("SELECT clock_timestamp()")
    assert theirs is not None
    assert abs(theirs - there) < timedelta(minutes=1)
    assert sqlite.connect().clock() is None


def test_foreign_keys_say_where_they_lead_and_what_goes_along(place: Place) -> None:
    place.run("CREATE TABLE firms (id INTEGER PRIMARY KEY, code VARCHAR(20) UNIQUE)")
    place.run(
        "CREATE TABLE staff (id INTEGER PRIMARY KEY, firm INTEGER REFERENCES firms(id) ON DELETE CASCADE,"
        " boss INTEGER REFERENCES staff(id), firm_code VARCHAR(20) REFERENCES firms(code))"
    )
    connector = place.connect()
    staff = connector.stream("staff", StreamOptions())
    assert {item.name: item.links_to for item in staff.fields} == {
        "id": "", "firm": "firms", "boss": "staff", "firm_code": "",
    }  # fmt: skip
    assert staff.cascades == ()
    assert connector.stream("firms", StreamOptions()).cascades == (Cascade("staff", "firm"),)


def test_a_connection_is_cut_during_a_slow_commit(postgresql: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look that follows waits for the commit that is still under way, and sees what came of it."""
    postgresql.run("CREATE TABLE slow (id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT)")
    postgresql.run(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$"
    )
    postgresql.run(
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    connector = postgresql.connect()
    stream = connector.stream("slow", NONE)
    begin = connector._db._prepare

    def begin_and_cut_soon(connection: Any, *, writes: bool) -> Any:
        begun: Any = begin(connection, writes=writes)
        commit = begun.commit

        def commit_and_cut_soon() -> None:
            line = os.dup(begun.connection.driver_connection.pgconn.socket)
            threading.Timer(0.7, cut, [line]).start()
            commit()

        if writes:  # however long the statements before it take
            begun.commit = commit_and_cut_soon
        return begun

    def cut(line: int) -> None:
        with socket.socket(fileno=line) as other_end:
            other_end.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(connector._db, "_prepare", begin_and_cut_soon)
    with pytest.raises(OutcomeUnknown):
        connector.write(stream, NONE, [Write("m1", "create", None, {"name": "Ada"})])
    assert [record.get("name") for record in connector.find(stream, NONE, "name", ["Ada"])] == ["Ada"]


@pytest.fixture(params=["postgresql", "mariadb"])
def silenced(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Place, Proxy]]:
    """A server behind a proxy that can fall silent, and a connector that waits no longer than a second."""
    place: Place = request.getfixturevalue(request.param)
    assert place.url.port is not None
    proxy = Proxy(place.url.port)
    monkeypatch.setattr(Database, "answer_seconds", 1)
    place.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    yield place, proxy
    proxy.close()


def behind(place: Place, proxy: Proxy, kind: type[Sql] = Sql) -> Sql:
    url = make_url(place.connect_url).set(port=proxy.port, query={"connect_timeout": "2"})
    connector = kind(
        SqlOptions.model_validate({"url": url.render_as_string(hide_password=False)}), place.access
    )
    place.opened.append(connector)
    return connector


def test_a_proxy_that_takes_in_everything_and_says_nothing_is_given_up(silenced: tuple[Place, Proxy]) -> None:
    place, proxy = silenced
    connector = behind(place, proxy)
    write(connector, *(create(id=number, v="x" * 500) for number in range(3_000)))
    pages = connector.read(connector.stream("t", NONE), NONE)
    proxy.mode = "deaf"
    with pytest.raises(Unavailable, match="does not answer"):
        list(pages)
    with pytest.raises(Unavailable, match="does not answer"):
        write(connector, update("1", v="b"))
    proxy.mode = "pass"
    assert statuses(write(connector, update("1", v="c"))) == [("done", "")], "it comes back by itself"


def test_a_commit_that_nobody_answers_is_unknown(silenced: tuple[Place, Proxy]) -> None:
    place, proxy = silenced
    write(behind(place, proxy), create(id=1, v="a"))

    class Deafened(Sql):
        def _carry_out(self, *arguments: Any) -> list[Outcome]:
            outcomes = super()._carry_out(*arguments)
            proxy.mode = "deaf"
            return outcomes

    with pytest.raises(OutcomeUnknown, match="broke during a commit"):
        write(behind(place, proxy, Deafened), update("1", v="b"))


def test_an_answer_that_takes_its_time_byte_by_byte_is_waited_for(
    postgresql: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "answer_seconds", 2)
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    postgresql.run("INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 1500) n")
    proxy = Proxy(postgresql.url.port or 0)
    connector = behind(postgresql, proxy)
    stream = connector.stream("t", NONE)
    proxy.mode = "slow"  # longer in all than an answer may keep silent, but never silent for so long
    assert sum(len(page.ids) for page in connector.read(stream, NONE)) == 1500
    proxy.close()


# -- markers --------------------------------------------------------------------------------------


def marked(connector: Sql, *writes: Write) -> Mapping[str, str]:
    stream = connector.stream("t", NONE)
    return connector.marked(stream, NONE, [item.marker for item in writes])


def test_each_write_leaves_its_mark_in_its_own_transaction(place: Place) -> None:
    place.make("CREATE TABLE t (id int PRIMARY KEY, v varchar(20) NOT NULL)")
    connector = place.connect(markers=True)
    made, changed, absent = create("m1", id=1, v="a"), update("1", "m2", v="b"), update("9", "m3", v="b")
    assert statuses(write(connector, made)) == [("done", "")]
    assert statuses(write(connector, changed, absent)) == [("done", ""), ("missing", "")]
    assert marked(connector, made, changed, absent) == {made.marker: "1", changed.marker: "1"}
    # The marks outlive the record, are no stream, and those of others are not asked for.
    place.run("DELETE FROM t")
    assert marked(place.connect(markers=True), made) == {made.marker: "1"}
    assert [stream.name.rpartition(".")[2] for stream in connector.discover()] == ["t"]
    assert marked(place.connect(), made) == {}
    assert statuses(write(connector, made)) == [("done", "")], "sent twice"


def test_marks_go_after_a_month(place: Place) -> None:
    place.make("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))")
    old, new = create("m1", id=1, v="a"), create("m2", id=2, v="a")
    write(place.connect(markers=True), old)
    place.run("UPDATE syncline_markers SET at = '2020-01-01 00:00:00'")
    connector = place.connect(markers=True)
    write(connector, new)
    assert marked(connector, old, new) == {new.marker: "2"}


def test_what_is_undone_leaves_no_mark(place: Place) -> None:
    place.make("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))")

    class Broken(Sql):
        def _carry_out(self, *arguments: Any) -> list[Outcome]:
            super()._carry_out(*arguments)
            raise Unavailable("broken off before the commit")

    connector = Broken(SqlOptions.model_validate({"url": place.connect_url, "markers": True}), place.access)
    place.opened.append(connector)
    lost = create(id=1, v="a")
    with pytest.raises(Unavailable):
        write(connector, lost)
    assert place.run("SELECT * FROM t") == []
    assert marked(connector, lost) == {}


def test_who_may_not_make_the_table_of_marks_is_told_how(postgresql: Place) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    postgresql.run("DROP ROLE IF EXISTS syncline_markless")
    postgresql.run("CREATE ROLE syncline_markless LOGIN PASSWORD 'only-for-tests'")
    postgresql.run("GRANT ALL ON t TO syncline_markless")
    [(schema,)] = postgresql.run("SELECT current_schema()")
    postgresql.run(f"GRANT USAGE ON SCHEMA {schema} TO syncline_markless")
    postgresql.run(f"ALTER ROLE syncline_markless SET search_path = {schema}")
    postgresql.run(f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")
    try:
        url = make_url(postgresql.connect_url).set(username="syncline_markless", password="only-for-tests")
        options = {"url": url.render_as_string(hide_password=False), "markers": True}
        connector = Sql(SqlOptions.model_validate(options), postgresql.access)
        postgresql.opened.append(connector)
        with pytest.raises(OptionsError, match="switch `markers` off"):
            write(connector, create(id=1, v="a"))
        assert postgresql.run("SELECT * FROM t") == []
    finally:
        postgresql.run("DROP OWNED BY syncline_markless")
        postgresql.run("DROP ROLE syncline_markless")


def test_two_that_make_the_table_of_marks_at_once_both_write(
    postgresql: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    real = sqlmarkers._markers.create

    def too_late(connection: Any, checkfirst: bool = True) -> None:
        monkeypatch.setattr(sqlmarkers._markers, "create", real)
        write(postgresql.connect(markers=True), create("m1", id=1, v="a"))
        real(connection, checkfirst=False)

    monkeypatch.setattr(sqlmarkers._markers, "create", too_late)
    connector = postgresql.connect(markers=True)
    assert statuses(write(connector, create("m2", id=2, v="b"))) == [("done", "")]
    assert postgresql.run("SELECT marker FROM syncline_markers ORDER BY marker") == [("m1",), ("m2",)]
