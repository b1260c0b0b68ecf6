"""Runs over many records, on PostgreSQL from end to end: what is not read, and what is written at once."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
import pytest

from connectors.sql import Sql
from tasks import ledger
from tests.house import House

COUNT = 120
TABLE = "CREATE TABLE goods (sku int PRIMARY KEY, name varchar(20), price numeric(8, 2), since date)"
FILLED = f"""
    INSERT INTO goods
    SELECT n, 'Name ' || n, n / 4.0, date '2026-01-01' + n FROM generate_series(1, {COUNT}) n"""


class Warehouse:
    """Two tables that are kept in agreement, and Syncline's own database beside them."""

    def __init__(self, house: House, url: str) -> None:
        self.house = house
        house.env |= {
            "DATABASE_URL": url,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "ENCRYPTION_KEYS": f"k1:{base64.b64encode(bytes(range(32))).decode()}",
            "ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        plain = url.replace("+psycopg", "")
        self._db = psycopg.connect(plain, autocommit=True)
        for side in ("one", "two"):
            self._db.execute(f"CREATE SCHEMA {side}")
            self._db.execute(TABLE.replace("goods", f"{side}.goods"))
        assert house.run("release").code == 0
        said = house.apply(f"""
            connections:
              db: {{connector: sql, options: {{url: "{plain}"}}}}
            syncs:
              goods:
                left: {{connection: db, stream: one.goods}}
                right: {{connection: db, stream: two.goods}}
                match: [sku]
                deletes: propagate
                guards: off
        """)
        assert said.code == 0, said

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        done = self._db.execute(statement.encode())
        return done.fetchall() if done.description else []

    def sync(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.house.json("sync", "goods"))

    @property
    def sides(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        one, two = (self.run(f"SELECT * FROM {side}.goods ORDER BY sku") for side in ("one", "two"))
        return one, two

    def close(self) -> None:
        self._db.close()


@pytest.fixture(params=["whole", "in parts", "in parts of which few are read"])
def parted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a side of so few records is added up in parts, as large ones are."""
    if request.param == "in parts of which few are read":
        monkeypatch.setattr("tasks.look.FEW", 2)
    if request.param != "whole":
        monkeypatch.setattr("sync.diff.PARTED", 10)
        monkeypatch.setattr("sync.diff.IN_A_PART", 4)
    return bool(request.param != "whole")


@pytest.fixture
def warehouse(house: House, pg_url: str, parted: bool) -> Iterator[Warehouse]:
    warehouse = Warehouse(house, pg_url)
    warehouse.run(FILLED.replace("goods", "one.goods"))
    first = warehouse.sync()
    assert (first["status"], first["right"]["created"]) == ("success", COUNT), first["errors"]
    yield warehouse
    warehouse.close()


def counts(summary: dict[str, Any]) -> tuple[str, int, int, int]:
    did = [summary[side][name] for side in ("left", "right") for name in ("created", "updated", "deleted")]
    return summary["status"], summary["left"]["read"], summary["unchanged"], sum(did)


@contextmanager
def no_read() -> Iterator[None]:
    """Whoever reads a side's records within the block fails."""

    def read(*_: Any) -> Any:
        raise AssertionError("it was read")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Sql, "read", read)
        patched.setattr(Sql, "_hashed_pages", read)
        yield


@contextmanager
def rows_read() -> Iterator[list[int]]:
    """How many keys and hashes each page held that was read within the block."""
    found: list[int] = []
    make = Sql._hashed_page

    def page(self: Sql, connection: Any, keyed: Any, ids: list[str], *rest: Any) -> Any:
        found.append(len(ids))
        return make(self, connection, keyed, ids, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Sql, "_hashed_page", page)
        yield found


def test_a_side_of_which_nothing_moved_is_not_read_again(warehouse: Warehouse) -> None:
    with no_read():
        found = warehouse.sync()
    assert counts(found) == ("success", COUNT, COUNT, 0), found["errors"]
    warehouse.run("UPDATE two.goods SET name = 'another' WHERE sku = 7")
    assert counts(warehouse.sync()) == ("success", COUNT, COUNT - 1, 1)
    assert warehouse.sides[0] == warehouse.sides[1]


def test_of_a_large_side_only_what_stands_beside_an_edit_is_read(warehouse: Warehouse, parted: bool) -> None:
    warehouse.run("UPDATE one.goods SET name = 'another' WHERE sku = 7")
    warehouse.run("UPDATE two.goods SET price = 3 WHERE sku = 99")
    warehouse.run("INSERT INTO two.goods VALUES (1000, 'new', 1, NULL)")
    warehouse.run("DELETE FROM one.goods WHERE sku = 50")
    with rows_read() as read:
        found = warehouse.sync()
    assert (found["status"], found["left"]["read"], found["right"]["read"]) == (
        "success",
        COUNT - 1,
        COUNT + 1,
    )
    assert found["unchanged"] == COUNT - 3
    assert counts(found)[3] == 4
    assert warehouse.sides[0] == warehouse.sides[1]
    assert sum(read) < COUNT / 2 if parted else sum(read) == 2 * COUNT
    assert counts(warehouse.sync()) == ("success", COUNT, COUNT, 0)


def test_a_conflict_that_waits_has_nothing_read_but_what_stands_beside_it(
    warehouse: Warehouse, parted: bool
) -> None:
    for side in ("one", "two"):
        warehouse.run(f"UPDATE {side}.goods SET name = 'of {side}' WHERE sku = 7")
    assert warehouse.sync()["conflicts"] == 1
    with rows_read() as read:
        found = warehouse.sync()
    assert (found["conflicts"], found["left"]["read"], counts(found)[3]) == (1, COUNT, 0)
    assert sum(read) < COUNT / 2 if parted else sum(read) == 2 * COUNT


def test_what_moves_between_the_sum_and_the_read_is_left_to_the_next_run(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, parted: bool
) -> None:
    """What comes into a part that is read is not seen while what leaves another one is not."""
    name = "load_parts" if parted else "load_versions"
    load = getattr(ledger, name)

    def meanwhile(*asked: Any) -> Any:
        warehouse.run("DELETE FROM one.goods WHERE sku BETWEEN 20 AND 40")
        warehouse.run("INSERT INTO one.goods SELECT n, 'later', n, NULL FROM generate_series(500, 520) n")
        monkeypatch.setattr(ledger, name, load)
        return load(*asked)

    warehouse.run("UPDATE one.goods SET name = 'another' WHERE sku = 7")
    monkeypatch.setattr(ledger, name, meanwhile)
    found = warehouse.sync()
    # All of it is seen, or nothing.
    assert (found["left"]["read"], counts(found)[3]) == (COUNT, 1 if parted else 43), found["errors"]
    assert counts(warehouse.sync())[3] == (42 if parted else 0)
    assert warehouse.sides[0] == warehouse.sides[1]


@pytest.mark.parametrize(
    "edits",
    [
        # Whatever moves, the number of rows and all that they hold together may stay the same.
        ["UPDATE one.goods SET name = CASE sku WHEN 1 THEN 'Name 2' ELSE 'Name 1' END WHERE sku < 3"],
        ["DELETE FROM one.goods WHERE sku = 5", "INSERT INTO one.goods VALUES (500, 'Name 5', 1.25, NULL)"],
        ["UPDATE one.goods SET price = -price WHERE sku IN (3, 4)"],
        ["UPDATE one.goods SET since = NULL WHERE sku = 9", "UPDATE two.goods SET name = '' WHERE sku = 9"],
        ["DELETE FROM two.goods WHERE sku = 11"],
        ["DELETE FROM one.goods WHERE sku > 10"],
    ],
)
def test_no_edit_hides_behind_a_total_that_is_the_same(warehouse: Warehouse, edits: list[str]) -> None:
    for edit in edits:
        warehouse.run(edit)
    found = warehouse.sync()
    assert found["status"] == "success", found
    assert warehouse.sides[0] == warehouse.sides[1], found
    assert counts(warehouse.sync())[3] == 0


def test_many_updates_arrive_exactly_and_a_refused_one_stays_alone(warehouse: Warehouse) -> None:
    warehouse.run("ALTER TABLE two.goods ADD CHECK (name <> 'Name 77!')")
    warehouse.run(
        "UPDATE one.goods SET name = name || '!', price = NULLIF(price + 0.01, 1.01), since = since - 400"
    )
    found = warehouse.sync()
    assert (found["status"], found["right"]["updated"], found["failed"]) == ("partial", COUNT - 1, 1)
    assert [error["key"] for error in found["errors"]] == ["77"]
    one, two = warehouse.sides
    assert [row for row in one if row not in two] == [row for row in one if row[0] == 77]


def test_values_that_must_be_unique_change_places_among_many_updates(warehouse: Warehouse) -> None:
    warehouse.run("ALTER TABLE one.goods ADD UNIQUE (name) DEFERRABLE")
    warehouse.run("ALTER TABLE two.goods ADD UNIQUE (name)")
    warehouse.run(f"UPDATE one.goods SET name = 'Name ' || ({COUNT} + 1 - sku)")
    found = warehouse.sync()
    assert found["status"] == "success", found["errors"]
    assert warehouse.sides[0] == warehouse.sides[1]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a handful of records were many."""
    monkeypatch.setattr("sync.diff.MANY", 5)


def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many links each run loads with all that is known of them."""
    found: list[int] = []
    load = ledger.load_ties

    def counted(db: Any, config_id: str, index: Any, link_ids: Any, *rest: Any) -> Any:
        link_ids = list(link_ids)
        found.append(len(link_ids))
        return load(db, config_id, index, link_ids, *rest)

    monkeypatch.setattr(ledger, "load_ties", counted)
    return found


@pytest.mark.parametrize("side", ["one", "two"])
def test_a_column_that_is_not_mapped_may_be_filled_everywhere(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, few: None, side: str
) -> None:
    warehouse.run(f"ALTER TABLE {side}.goods ADD COLUMN shelf text DEFAULT 'A'")
    loaded = looked_at(monkeypatch)
    assert counts(warehouse.sync()) == ("success", COUNT, COUNT, 0)
    assert sum(loaded) == 0, "none of them has to be looked at closer"
    with no_read():
        assert counts(warehouse.sync()) == ("success", COUNT, COUNT, 0)


@pytest.mark.parametrize("edited", ["one", "two", "both"])
def test_edits_arrive_among_records_that_moved_without_one(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, few: None, edited: str
) -> None:
    warehouse.run("ALTER TABLE one.goods ADD COLUMN shelf text DEFAULT 'A'")
    warehouse.run("ALTER TABLE two.goods ADD COLUMN room text DEFAULT 'B'")
    for side, sku in (("one", 7), ("two", 100)):
        if edited in (side, "both"):
            warehouse.run(f"UPDATE {side}.goods SET name = 'edited on {side}' WHERE sku = {sku}")
    warehouse.run("DELETE FROM one.goods WHERE sku = 50")
    loaded = looked_at(monkeypatch)
    found = warehouse.sync()
    edits = 2 if edited == "both" else 1
    assert counts(found) == ("success", COUNT - 1, COUNT - edits - 1, edits + 1), found
    assert max(loaded) == edits + 1
    one, two = ([row[:4] for row in rows] for rows in warehouse.sides)
    assert one == two
    assert counts(warehouse.sync())[3] == 0


def test_a_preview_of_records_that_moved_without_an_edit_leaves_no_trace(
    warehouse: Warehouse, few: None
) -> None:
    warehouse.run("ALTER TABLE one.goods ADD COLUMN shelf text DEFAULT 'A'")
    links = warehouse.run("SELECT id, left_version, right_version, xmin::text FROM links ORDER BY id")
    found = warehouse.house.json("sync", "goods", "--preview")
    assert found["unchanged"] == COUNT
    after = warehouse.run("SELECT id, left_version, right_version, xmin::text FROM links ORDER BY id")
    assert after == links
