"""Databases of different makes kept in agreement, end to end, with every type and every digit."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import psycopg
import pytest

from connectors.base import Access, Outcome, Write
from connectors.errors import OutcomeUnknown
from connectors.sql import Sql, SqlOptions, SqlStreamOptions
from sync.values import FieldType, Value, comparable
from tasks import execute, shift
from tasks.heartbeat import Heartbeat
from tests.house import House
from tests.services import maria

TABLES = {
    "sqlite": "CREATE TABLE goods (sku VARCHAR(40) NOT NULL PRIMARY KEY, name TEXT, n INTEGER,"
    " price DECIMAL(14, 4), active BOOLEAN, since DATE, seen DATETIME, data JSON, raw BLOB)",
    "postgresql": "CREATE TABLE goods (sku varchar(40) PRIMARY KEY, name text, n bigint,"
    " price numeric(14, 4), active boolean, since date, seen timestamptz, data jsonb, raw bytea)",
    "mariadb": "CREATE TABLE goods (sku varchar(40) PRIMARY KEY, name longtext, n bigint,"
    " price decimal(14, 4), active boolean, since date, seen datetime(6), data json, raw longblob)",
}
FULL: dict[str, Value] = {
    "sku": "A-1 Å",
    "name": "O'Brien \\ 東京 🦊\nsecond line; --",
    "n": 9007199254740993,
    "price": Decimal("12345678.1234"),
    "active": True,
    "since": date(1, 1, 1),
    "seen": datetime(2026, 3, 5, 10, 0, 0, 123456, UTC),
    "data": {"b": [1, Decimal("1.5"), None], "a": "ü"},
    "raw": "AP8nXA==",
}
OTHER: dict[str, Value] = {
    "sku": "B",
    "name": "",
    "n": -(2**63) + 1,
    "price": Decimal("-0.0001"),
    "active": False,
    "since": date(9999, 12, 31),
    "seen": datetime(1970, 1, 1, tzinfo=UTC),
    "data": [],
    "raw": "AA==",
}
EMPTY: dict[str, Value] = dict.fromkeys(FULL) | {"sku": "C"}
WRITES = ("created", "updated", "deleted")
LOOPBACK = (ip_network("127.0.0.0/8"),)


class Shop:
    """One database with the table `goods`, written and read by exact values."""

    def __init__(self, kind: str, side: str, house: House, url_of: Callable[[str], str]) -> None:
        self.kind = kind
        if kind == "sqlite":
            house.table(f"{side}.db", TABLES[kind])
            self.url, path = f"sqlite:///{side}.db", f"sqlite:///{house.folder / side}.db"
        else:
            self.url = path = url_of(kind)
            if kind == "postgresql":
                with psycopg.connect(path, autocommit=True) as person:
                    person.execute(TABLES[kind].encode())
            else:
                with closing(maria(path)) as person, person.cursor() as cursor:
                    cursor.execute(TABLES[kind])
        access = Access(folders=(house.folder,), networks=LOOPBACK)
        self.sql = Sql(SqlOptions.model_validate({"url": path}), access)
        self.options = SqlStreamOptions()

    def put(self, *records: dict[str, Value]) -> None:
        self._write("create", *records)

    def edit(self, record: dict[str, Value]) -> None:
        self._write("update", record)

    def _write(self, operation: Any, *records: dict[str, Value]) -> None:
        stream = self.sql.stream("goods", self.options)
        batch = [Write(str(n), operation, str(record["sku"]), record) for n, record in enumerate(records)]
        for outcome in self.sql.write(stream, self.options, batch):
            assert outcome.status == "done", outcome

    def holds(self) -> dict[str, dict[str, Value]]:
        stream = self.sql.stream("goods", self.options)
        pages = self.sql.read(stream, self.options)
        records = [record for page in pages for record in page.records]
        return {
            record.id: {
                name: comparable(record.get(name), stream.by_name[name].type) for name in stream.by_name
            }
            for record in records
        }


def told(*records: dict[str, Value]) -> dict[str, dict[str, Value]]:
    return {
        str(record["sku"]): {
            name: comparable(value, FieldType.JSON if name == "data" else FieldType.INTEGER)
            for name, value in record.items()
        }
        for record in records
    }


@pytest.fixture
def url_of(request: pytest.FixtureRequest) -> Callable[[str], str]:
    def url(kind: str) -> str:
        name = "pg_url" if kind == "postgresql" else "maria_url"
        return str(request.getfixturevalue(name)).replace("+psycopg", "")

    return url


@pytest.mark.parametrize(
    ("left", "right"), list(itertools.permutations(TABLES, 2)), ids=lambda kind: str(kind)
)
def test_two_makes_of_database_agree_on_every_value_and_then_are_quiet(
    request: pytest.FixtureRequest, house: House, url_of: Callable[[str], str], left: str, right: str
) -> None:
    one, two = Shop(left, "left", house, url_of), Shop(right, "right", house, url_of)
    request.addfinalizer(one.sql.close)
    request.addfinalizer(two.sql.close)
    one.put(FULL, EMPTY)
    two.put(OTHER)
    text = f"""
        connections:
          one: {{connector: sql, options: {{url: "{one.url}"}}}}
          two: {{connector: sql, options: {{url: "{two.url}"}}}}
        syncs:
          goods:
            left: {{connection: one, stream: goods}}
            right: {{connection: two, stream: goods}}
            match: [sku]
            first_run: apply
    """
    assert house.apply(text).code == 0
    first = house.json("sync", "goods")
    assert (first["status"], first["right"]["created"], first["left"]["created"]) == ("success", 2, 1), first[
        "errors"
    ]
    assert one.holds() == two.holds() == told(FULL, OTHER, EMPTY)
    quiet(house)
    # Every field there and back again: emptied on one side, filled on the other.
    one.edit({**EMPTY, "sku": FULL["sku"]})
    two.edit({**FULL, "sku": "C"})
    second = house.json("sync", "goods")
    assert (second["status"], second["right"]["updated"], second["left"]["updated"]) == ("success", 1, 1), (
        second
    )
    assert one.holds() == two.holds() == told({**EMPTY, "sku": FULL["sku"]}, OTHER, {**FULL, "sku": "C"})
    quiet(house)


def quiet(house: House) -> None:
    again = house.json("sync", "goods", "--full")
    assert again["status"] == "success", again
    assert not any(again[side][what] for side in ("left", "right") for what in WRITES), again


# -- what is wrong with one sync is that sync's matter ------------------------------------------------

SEVERAL = """
    connections:
      good: {connector: sql, options: {url: "sqlite:///good.db"}}
      dead: {connector: sql, options: {url: "mariadb://app@127.0.0.1:1/shop", password: "x"}}
      keyless: {connector: sql, options: {url: "URL", password: "not the password"}}
      files: {connector: csv, options: {folder: files}}
    syncs:
      fine: {left: {connection: good, stream: t}, right: {connection: files, stream: fine.csv}, match: [v]}
      dead: {left: {connection: dead, stream: t}, right: {connection: files, stream: dead.csv}, match: [v]}
      keyless:
        left: {connection: keyless, stream: t}
        right: {connection: files, stream: keyless.csv}
        match: [v]
      asking:
        left: {connection: good, query: "SELECT id, v FROM t", key: id}
        right: {connection: files, stream: asking.csv}
        match: [v]
        direction: left_to_right
"""


def test_each_automatic_sync_fails_alone_with_its_own_log(house: House, maria_url: str) -> None:
    house.table("good.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, 'x')")
    for name in ("fine", "dead", "keyless", "asking"):
        house.write(f"files/{name}.csv", "v\n")
    url = maria_url.replace("only-for-tests", "wrong")
    applied = house.apply(SEVERAL.replace("URL", url.replace(":wrong", "")))
    assert applied.code == 0, applied
    # The query was fine when it was saved, and is another one when it runs.
    house.store(
        "UPDATE sync_configs SET definition = replace(definition, ?, ?) WHERE name = 'asking'",
        "SELECT id, v FROM t", "SELECT load_extension('x') AS id FROM t",
    )  # fmt: skip
    assert house.json("jobs", "run", "run-auto-syncs")["result"] == {
        "found": 4, "queued": 4, "skipped": 0, "failed": 0,
    }  # fmt: skip
    ended = work_off(house)
    assert ended == {"fine": "success", "dead": "failed", "keyless": "failed", "asking": "failed"}
    lines = {
        name: " ".join(row[0] for row in house.stored(
            "SELECT l.text FROM run_lines l JOIN sync_runs r ON r.id = l.run_id"
            f" JOIN sync_configs c ON c.id = r.config_id WHERE c.name = '{name}'"
        ))
        for name in ended
    }  # fmt: skip
    assert "refuses connections" in lines["dead"]
    assert "refuses the user 'syncline'" in lines["keyless"]
    assert "The query is refused: the function load_extension()" in lines["asking"]
    assert "refused" not in lines["fine"]
    assert (house.folder / "files" / "fine.csv").read_text().splitlines()[1].startswith("x")


def work_off(house: House) -> dict[str, str]:
    """What a worker does with all that is queued; the state of each sync's run."""
    ctx = house.ctx()
    heartbeat = Heartbeat(ctx, "worker", threading.Event())
    for _ in range(4):
        shift.work(ctx, heartbeat, "", execute.carry_out)
    heartbeat.close()
    query = "SELECT c.name, r.state FROM sync_runs r JOIN sync_configs c ON c.id = r.config_id"
    return dict(house.stored(f"{query} WHERE r.retry_of IS NULL"))


def test_a_refused_query_is_named_when_it_is_saved_with_its_part(house: House, maria_url: str) -> None:
    house.write("files/out.csv", "id\n")
    house.env["ALLOWED_NETWORKS"] = "127.0.0.0/8"
    text = f"""
        connections:
          shop: {{connector: sql, options: {{url: "{maria_url}"}}}}
          files: {{connector: csv, options: {{folder: files}}}}
        syncs:
          asking:
            left: {{connection: shop, query: "SELECT SLEEP(5) AS id /*! INTO OUTFILE '/tmp/x' */", key: id}}
            right: {{connection: files, stream: out.csv, key: id}}
            direction: left_to_right
    """
    refused = house.apply(text)
    assert refused.code == 2
    assert "a comment that begins with /*! is run by the server" in refused.out + refused.err
    refused = house.apply(text.replace("/*! INTO OUTFILE '/tmp/x' */", ""))
    assert refused.code == 2
    assert "the function SLEEP() is not on the list" in refused.out + refused.err
    assert house.stored("SELECT count(*) FROM sync_configs") == [(0,)]


@pytest.mark.parametrize("markers", [True, False])
def test_a_record_that_somebody_deleted_before_we_heard_of_it_is_not_made_again_where_writes_leave_marks(
    house: House, monkeypatch: pytest.MonkeyPatch, markers: bool
) -> None:
    table = "CREATE TABLE goods (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, sku TEXT, price INTEGER)"
    house.table("one.db", table, "INSERT INTO goods (sku, price) VALUES ('a', 1)")
    house.table("two.db", table)
    said = house.apply(f"""
        connections:
          one: {{connector: sql, options: {{url: "sqlite:///one.db"}}}}
          two: {{connector: sql, options: {{url: "sqlite:///two.db", markers: {str(markers).lower()}}}}}
        syncs:
          goods:
            left: {{connection: one, stream: goods}}
            right: {{connection: two, stream: goods}}
            match: [sku]
            fields: [{{left: sku, right: sku}}, {{left: price, right: price}}]
    """)
    assert said.code == 0, said
    real = Sql.write

    def lose_the_answer(self: Sql, *arguments: Any) -> list[Outcome]:
        monkeypatch.setattr(Sql, "write", real)
        real(self, *arguments)
        house.table("two.db", "DELETE FROM goods")
        raise OutcomeUnknown("The answer was lost.")

    monkeypatch.setattr(Sql, "write", lose_the_answer)
    house.run("sync", "goods")
    house.run("sync", "goods")
    rows = house.rows("two.db", "SELECT sku FROM goods")
    # Without marks a look at what stands there is all there is: that it is gone looks as if it never came.
    assert rows == ([] if markers else [("a",)])
    assert house.rows("one.db", "SELECT sku FROM goods") == [("a",)]
