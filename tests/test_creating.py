"""`create: true`: the first run makes a missing table or file, from the other side's fields."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from connectors.sql import Sql
from tests.house import House
from tests.services import maria

PEOPLE = (
    "CREATE TABLE people (id INTEGER PRIMARY KEY, email VARCHAR(80) NOT NULL, name VARCHAR(40),"
    " balance DECIMAL(12, 2), active BOOLEAN, since DATE, seen DATETIME, data JSON)",
    "INSERT INTO people VALUES (1, 'anna@x.example', 'Anna', 12.50, 1, '2021-03-05',"
    " '2026-03-05 12:00:00', '{\"a\": 1.5}'), (2, 'bert@x.example', 'Bert', NULL, 0, NULL, NULL, NULL)",
)
SYNC = """
    connections:
      here: {{connector: sql, options: {{url: "sqlite:///here.db"}}}}
      there: {there}
    syncs:
      people:
        left: {{connection: here, stream: people}}
        right: {{connection: there, stream: {stream}, create: true}}
        direction: {direction}
        match: [email]
"""


class Place:
    """The system in which the table is missing."""

    def __init__(self, kind: str, url: str, house: House) -> None:
        self.kind, self.url, self.house = kind, url, house
        self.stream = "customers.csv" if kind == "csv" else "customers"

    @property
    def connection(self) -> str:
        if self.kind == "csv":
            return "{connector: csv, options: {folder: there}}"
        return f'{{connector: sql, options: {{url: "{self.url}"}}}}'

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        if self.kind == "sqlite":
            return self.house.rows("there.db", statement)
        if self.kind == "postgresql":
            with psycopg.connect(self.url, autocommit=True) as person:
                result = person.execute(statement.encode())
                return result.fetchall() if result.description else []
        with closing(maria(self.url)) as person, person.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def exists(self) -> bool:
        if self.kind == "csv":
            return (self.house.folder / "there" / "customers.csv").exists()
        names = {
            "sqlite": "SELECT name FROM sqlite_master WHERE name = 'customers'",
            "postgresql": "SELECT 1 FROM pg_tables WHERE tablename = 'customers'",
            "mariadb": "SHOW TABLES LIKE 'customers'",
        }
        return bool(self.run(names[self.kind]))

    def emails(self) -> list[str]:
        if self.kind == "csv":
            lines = (self.house.folder / "there" / "customers.csv").read_text().splitlines()
            place = lines[0].split(",").index("email")
            return sorted(line.split(",")[place] for line in lines[1:])
        return sorted(row[0] for row in self.run("SELECT email FROM customers"))


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "csv"])
def place(request: pytest.FixtureRequest, house: House) -> Place:
    house.table("here.db", *PEOPLE)
    url = "sqlite:///there.db"
    if request.param == "csv":
        (house.folder / "there").mkdir()
    elif request.param == "sqlite":
        house.table("there.db")
    else:
        fixture = "pg_url" if request.param == "postgresql" else "maria_url"
        url = str(request.getfixturevalue(fixture)).replace("+psycopg", "")
    return Place(request.param, url, house)


def apply(place: Place, direction: str = "bidirectional", **more: str) -> Any:
    text = SYNC.format(there=place.connection, stream=place.stream, direction=direction)
    for name, value in more.items():
        text += f"        {name}: {value}\n"
    return place.house.apply(text)


def test_the_first_run_makes_what_is_missing_and_the_ones_before_only_say_so(place: Place) -> None:
    applied = apply(place)
    assert applied.code == 0, applied
    assert any("is not there: a run makes it" in note for note in applied.value["notes"])
    preview = place.house.json("sync", "people", "--preview")
    assert preview["right"]["created"] == 2
    (note,) = preview["notes"]
    assert "email (text" in note
    assert not place.exists()
    first = place.house.json("sync", "people")
    assert (first["status"], first["right"]["created"], first["left"]["created"]) == ("success", 2, 0), first
    assert place.emails() == ["anna@x.example", "bert@x.example"]
    said = [row[0] for row in place.house.stored("SELECT text FROM run_lines ORDER BY id")]
    assert any("a run makes it" in line for line in said)
    assert any(line.startswith(f"Made '{place.stream}' on right") for line in said)
    again = place.house.json("sync", "people")
    assert not any(
        again[side][what] for side in ("left", "right") for what in ("created", "updated", "deleted")
    )
    assert "notes" not in again


def test_edits_flow_back_from_a_table_that_was_made(place: Place) -> None:
    if place.kind == "csv":
        pytest.skip("the same for files, which hold texts alone")
    apply(place)
    place.house.json("sync", "people")
    if place.kind == "sqlite":
        place.house.table(
            "there.db", "UPDATE customers SET balance = 99.75, name = 'Bertil' WHERE email LIKE 'b%'"
        )
    else:
        place.run("UPDATE customers SET balance = 99.75, name = 'Bertil' WHERE email = 'bert@x.example'")
    back = place.house.json("sync", "people")
    assert back["left"]["updated"] == 1, back
    assert place.house.rows("here.db", "SELECT name, balance FROM people WHERE id = 2") == [("Bertil", 99.75)]


def test_match_fields_are_unique_and_types_exact_in_what_was_made(place: Place) -> None:
    if place.kind == "csv":
        pytest.skip("a file has neither")
    apply(place, "left_to_right")
    place.house.json("sync", "people")
    columns = {
        "sqlite": "SELECT name, type FROM pragma_table_info('customers')",
        "postgresql": "SELECT column_name, format_type(atttypid, atttypmod) FROM information_schema.columns"
        " JOIN pg_attribute ON attname = column_name AND attrelid = 'customers'::regclass"
        " WHERE table_name = 'customers'",
        "mariadb": "SELECT column_name, column_type FROM information_schema.columns"
        " WHERE table_name = 'customers' AND table_schema = DATABASE()",
    }
    found = dict(place.run(columns[place.kind]))
    if place.kind == "postgresql":
        assert found["seen"] == "timestamp with time zone"
    if place.kind == "mariadb":
        assert (found["seen"], found["active"]) == ("datetime(6)", "tinyint(1)")
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        if place.kind == "sqlite":
            place.house.table("there.db", "INSERT INTO customers (email) VALUES ('anna@x.example')")
        else:
            place.run("INSERT INTO customers (email) VALUES ('anna@x.example')")


def test_a_run_that_dies_behind_the_making_goes_on_in_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(place)
    connector = Sql if place.kind != "csv" else __import__("connectors.csv").csv.Csv

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(connector, "write", die)
        with pytest.raises(Died):
            place.house.run("sync", "people")
    assert place.exists()
    assert place.emails() == []
    # What the sweep does once the lease of a dead process is over.
    place.house.store("UPDATE sync_runs SET state = 'failed' WHERE state = ?", "running")
    done = place.house.json("sync", "people")
    assert place.emails() == ["anna@x.example", "bert@x.example"], done


def test_a_table_that_was_there_is_not_made_again(place: Place) -> None:
    apply(place)
    place.house.json("sync", "people")
    if place.kind == "csv":
        (place.house.folder / "there" / "customers.csv").unlink()
    elif place.kind == "sqlite":
        place.house.table("there.db", "DROP TABLE customers")
    else:
        place.run("DROP TABLE customers")
    again = place.house.run("sync", "people", "--json")
    assert again.code == 1
    assert "was there in the last run and is gone" in again.value["errors"][0]["message"]
    assert not place.exists()
    assert place.house.rows("here.db", "SELECT count(*) FROM people") == [(2,)]


def test_without_create_a_missing_table_is_a_mistake(place: Place) -> None:
    text = SYNC.format(there=place.connection, stream=place.stream, direction="bidirectional")
    refused = place.house.apply(text.replace(", create: true", ""))
    assert refused.code == 2
    assert not place.exists()


def test_both_ends_missing_is_a_mistake_and_makes_nothing(place: Place) -> None:
    text = SYNC.format(there=place.connection, stream=place.stream, direction="bidirectional")
    text = text.replace("stream: people}", "stream: nobody, create: true}")
    assert place.house.apply(text).code == 2
    assert not place.exists()


def test_a_user_who_may_not_make_tables_is_told(house: House, maria_url: str) -> None:
    place = Place("mariadb", maria_url, house)
    house.table("here.db", *PEOPLE)
    user = maria_url.rpartition("/")[2].replace("syncline_test", "guest")
    try:
        place.run(f"CREATE USER {user} IDENTIFIED BY 'guest'")
        place.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{maria_url.rpartition('/')[2]}`.* TO {user}")
        place.url = maria_url.replace("syncline:only-for-tests", f"{user}:guest")
        assert apply(place).code == 0
        refused = house.run("sync", "people", "--json")
        assert refused.code == 2
        assert "lacks a right" in refused.value["errors"][0]["message"]
        assert "CREATE" in refused.value["errors"][0]["message"]
    finally:
        place.url = maria_url
        place.run(f"DROP USER {user}")
