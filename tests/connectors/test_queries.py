"""A user's query as a stream: read like a table, refused where it should be, and never without limits."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors import queries
from connectors.base import Access, Write
from connectors.errors import ConnectorError, OptionsError
from connectors.sql import Sql, SqlStreamOptions
from connectors.sqlguard import Dialect
from sync.values import FieldType
from tests.connectors.test_sqlguard import MARIADB_TABLES, TABLES, Query, checksum, corpus
from tests.services import maria

ACCESS_NETWORKS = (ip_network("127.0.0.0/8"),)
QUERY = "SELECT id, upper(name) AS name, balance FROM customers WHERE NOT deleted OR balance = 0;  -- the end"


class Shop:
    """A database with the tables of the corpus, and the hands of its owner."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.opened: list[Sql] = []

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def is_mariadb(self) -> bool:
        return self.url.startswith("mariadb")

    @property
    def dialect(self) -> Dialect:
        return "sqlite" if self.is_sqlite else "mysql" if self.is_mariadb else "postgres"

    def corpus(self) -> list[Query]:
        here = f"`{self.url.rpartition('/')[2]}`.customers"
        return [
            replace(query, sql=query.sql.replace("shop.customers", here) if self.is_mariadb else query.sql)
            for query in corpus(self.dialect)
            if query.only != "mysql"
        ]

    def connect(self, **options: Any) -> Sql:
        access = Access(folders=(self.folder,), networks=ACCESS_NETWORKS)
        raw = {"url": self.url.replace("+psycopg", ""), **options}
        self.opened.append(Sql(Sql.parse_options(raw), access))
        return self.opened[-1]

    def run(self, text: str) -> None:
        if self.is_sqlite:
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as shop, shop:
                shop.executescript(text)
        elif self.is_mariadb:
            with closing(maria(self.url)) as person, person.cursor() as cursor:
                for statement in text.split(";"):
                    if statement.strip():
                        cursor.execute(statement)
        else:
            with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as server:
                server.execute(text.encode())

    def state(self) -> object:
        if self.is_sqlite:
            return hashlib.sha256(Path(self.url.removeprefix("sqlite:///")).read_bytes()).hexdigest()
        if self.is_mariadb:
            with closing(maria(self.url)) as person, person.cursor() as cursor:
                cursor.execute("SHOW TABLES")
                tables = sorted(str(row[0]) for row in cursor.fetchall())
                cursor.execute(f"CHECKSUM TABLE {', '.join(tables)}")
                return tables, sorted(cursor.fetchall())
        with psycopg.connect(self.url.replace("+psycopg", "")) as shop:
            return checksum(shop)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'shop.db'}"
    else:
        url = str(request.getfixturevalue("pg_url" if request.param == "postgresql" else "maria_url"))
    shop = Shop(url, tmp_path)
    tables = TABLES.format(json="text" if shop.is_sqlite else "jsonb")
    shop.run(MARIADB_TABLES if shop.is_mariadb else tables)
    yield shop
    for connector in shop.opened:
        connector.close()


def choices(query: str = QUERY, key: str = "id", **more: Any) -> SqlStreamOptions:
    return SqlStreamOptions(query=query, key=key, **more)


def records(sql: Sql, options: SqlStreamOptions, since: str | None = None) -> dict[str, dict[str, Any]]:
    pages = list(sql.read(sql.stream("", options), options, since))
    assert pages[-1].is_last
    return {record.id: dict(record.fields) for page in pages for record in page.records}


def refusal(sql: Sql, query: str, key: str = "id", **more: Any) -> OptionsError:
    with pytest.raises(OptionsError) as caught:
        records(sql, choices(query, key, **more))
    return caught.value


def test_a_query_is_read_like_a_table(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sql, "page_size", 1)
    sql = shop.connect()
    stream = sql.stream("", choices())
    assert stream.name == "query"
    assert stream.key == ("id",)
    assert not stream.writable
    assert stream.read_only_because.endswith(".")
    assert stream.by_name["id"].type is FieldType.INTEGER
    found = records(sql, choices())
    assert {id: row["name"] for id, row in found.items()} == {"1": "ANNA", "2": "BERT"}
    assert Decimal(str(found["1"]["balance"])) == Decimal("12.5")


def test_types_come_from_the_database(shop: Shop) -> None:
    query = (
        "SELECT id, name, balance, created_at, deleted, seen_on FROM customers LEFT JOIN visits USING (id)"
    )
    stream = shop.connect().stream("", choices(query))
    assert {field.name: field.type for field in stream.fields} == {
        "id": FieldType.INTEGER,
        "name": FieldType.TEXT,
        "balance": FieldType.DECIMAL,
        "created_at": FieldType.DATETIME,
        "deleted": FieldType.BOOLEAN,
        "seen_on": FieldType.DATE,
    }
    row = records(shop.connect(), choices(query))["1"]
    assert row["created_at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert row["deleted"] is False
    shop.run("INSERT INTO visits VALUES (1, 'Rome', '2026-02-03')")
    assert records(shop.connect(), choices(query))["1"]["seen_on"] == date(2026, 2, 3)


def test_records_are_looked_up_and_found_in_the_result_alone(shop: Shop) -> None:
    sql, options = shop.connect(), choices("SELECT id, name FROM customers WHERE id = 1")
    stream = sql.stream("", options)
    looked = {item.id: item.state for item in sql.lookup(stream, options, ["1", "2", "x"])}
    assert looked == {"1": "there", "2": "gone", "x": "gone"}
    assert [record.id for record in sql.find(stream, options, "name", ["Anna", "Bert"])] == ["1"]


def test_versions_stay_and_move_with_the_result(shop: Shop) -> None:
    sql, options = shop.connect(), choices()

    def versions() -> dict[str, str | None]:
        stream = sql.stream("", options)
        return {
            id: version
            for page in sql.read(stream, options)
            for id, version in zip(page.ids, page.versions, strict=True)
        }

    before = versions()
    assert versions() == before
    shop.run("UPDATE customers SET city = 'Lima'")
    assert versions() == before
    shop.run("UPDATE customers SET name = 'Anne' WHERE id = 1")
    after = versions()
    assert after["1"] != before["1"]
    assert after["2"] == before["2"]


def test_a_cursor_goes_by_a_column_of_the_query(shop: Shop) -> None:
    sql = shop.connect()
    options = choices("SELECT id, name, updated_at FROM customers", cursor="updated_at")
    cursor = list(sql.read(sql.stream("", options), options))[-1].cursor
    assert cursor is not None
    shop.run("UPDATE customers SET updated_at = '2026-05-05 00:00:00' WHERE id = 1")
    assert "1" in records(sql, options, cursor)


def test_another_query_is_another_place(shop: Shop) -> None:
    sql = shop.connect()
    one = sql.stream("", choices()).container
    assert sql.stream("", choices(QUERY + " again")).container == one
    assert sql.stream("", choices("SELECT id, name FROM customers")).container != one


def test_nothing_is_written_to_a_query(shop: Shop) -> None:
    sql, before = shop.connect(), shop.state()
    stream = sql.stream("", choices())
    writes = [
        Write("a", "create", "9", {"name": "x"}),
        Write("b", "update", "1", {"name": "x"}),
        Write("c", "delete", "1"),
    ]
    assert {outcome.status for outcome in sql.write(stream, choices(), writes)} == {"rejected"}
    assert shop.state() == before


@pytest.mark.parametrize(
    ("query", "key", "part"),
    [
        ("DELETE FROM customers", "id", "'DELETE'"),
        ("SELECT pg_sleep(60) AS id", "id", "pg_sleep()"),
        ("SELECT 1 AS id; DELETE FROM customers", "id", "more than one statement"),
        ("SELECT a.id, b.id FROM customers a, customers b", "id", "called 'id'"),
        ("SELECT id FROM customers", "nme", "no column 'nme'"),
        ("SELECT id FROM no_such_table", "id", "no_such_table"),
        ("SELECT id FROM customers) AS x, (SELECT 1 AS one", "id", "cannot be understood"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused_with_its_part(
    shop: Shop, query: str, key: str, part: str
) -> None:
    before = shop.state()
    with pytest.raises(ConnectorError) as caught:
        shop.connect().stream("", choices(query, key))
    assert part in caught.value.message
    assert shop.state() == before


def test_a_query_needs_a_key_and_creates_nothing() -> None:
    with pytest.raises(OptionsError, match="needs a `key`"):
        Sql.parse_stream_options({"query": QUERY})
    with pytest.raises(OptionsError, match="only read"):
        Sql.parse_stream_options({"query": QUERY, "key": "id", "create": True})


def test_an_administrator_allows_functions_for_one_connection(shop: Shop) -> None:
    names = {"sqlite": "sqlite_version", "postgres": "pg_backend_pid", "mysql": "connection_id"}
    query = f"SELECT id, {names[shop.dialect]}() AS v FROM customers"
    assert refusal(shop.connect(), query).code == "query_refused"
    allowed = shop.connect(query_functions=list(names.values()))
    assert len(records(allowed, choices(query))) == 2


def test_a_query_that_takes_too_long_is_ended(shop: Shop) -> None:
    sql = shop.connect(query_seconds=1)
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS id FROM n"
    if shop.is_mariadb:  # which ends a recursion by itself
        query = (
            query.replace("FROM n)", "FROM n WHERE i < 1000)").replace("max(i)", "count(*)")
            + " a, n b, n c, n d"
        )
    error = refusal(sql, query)
    assert error.code == "query_limit"
    assert "1 seconds" in error.message
    assert len(records(sql, choices())) == 2


@pytest.mark.parametrize(("name", "limit"), [("MAX_ROWS", 1), ("MAX_CELL", 3), ("MAX_TOTAL", 20)])
def test_a_result_that_is_too_large_is_cut(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    assert len(records(shop.connect(), choices())) == 2
    monkeypatch.setattr(queries, name, limit)
    assert refusal(shop.connect(), QUERY).code == "query_limit"


def test_every_honest_query_of_the_corpus_runs_and_no_hostile_one_does(shop: Shop) -> None:
    before, sql = shop.state(), shop.connect(query_seconds=5)
    read = 0
    for query in shop.corpus():
        if not query.allow:
            assert refusal(sql, query.sql).code == "query_refused"
            continue
        try:
            stream = sql.stream("", choices(query.sql, "no such column"))
        except OptionsError as error:
            # Read up to the choice of its key: the corpus's queries name none.
            assert error.code in ("unknown_field", "duplicate_field"), (query.sql, error.message)
            names = error.message.rpartition("are: ")[2].rstrip(".").split(", ")
            if error.code == "unknown_field" and names[0].isidentifier():
                records(sql, choices(query.sql, names[0]))
                read += 1
        else:
            raise AssertionError(stream)
    assert read > 30
    assert shop.state() == before


def test_what_passes_the_judge_meets_a_session_that_writes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "check", lambda *_: None)
    before, sql = shop.state(), shop.connect(query_seconds=1)
    for query in shop.corpus():
        if query.allow or query.heavy:
            continue
        with suppress(ConnectorError, ValueError):
            records(sql, choices(query.sql))
    assert shop.state() == before
    assert [item.name for item in shop.folder.iterdir() if item.name != "shop.db"] == []
