"""Parameters of a sync, as somebody tries them with the command."""

from __future__ import annotations

import pytest

from tests.house import House

SYNC = """
    connections:
      a: {{connector: sql, options: {{url: "sqlite:///a.db"}}}}
      b: {{connector: sql, options: {{url: "sqlite:///b.db"}}}}
    syncs:
      people:
        left: {{connection: a, stream: people}}
        right: {{connection: b, stream: people}}
        match: [name]
        {more}
"""
FIELDS = "fields: [{left: name, right: name}, {left: age, right: age, type: integer}]"
PEOPLE = "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE, age TEXT, at DATETIME)"


@pytest.fixture
def two(house: House) -> House:
    house.table("a.db", PEOPLE)
    house.table("b.db", PEOPLE)
    return house


def said(house: House, *more: str) -> None:
    assert house.apply(SYNC.format(more="\n        ".join(more))).code == 0


@pytest.mark.parametrize("validation", ["lenient", "strict"])
def test_a_bad_value_stops_a_strict_sync_before_its_first_write(validation: str, two: House) -> None:
    """A lenient one sets the record aside. Either way the preview says what the run does."""
    said(two, FIELDS, f"validation: {validation}")
    two.table("a.db", "INSERT INTO people (name, age) VALUES ('Ada', '36'), ('Bob', 'unknown')")
    planned = two.run("sync", "people", "--preview", "--json")
    done = two.run("sync", "people", "--json")
    names = two.rows("b.db", "SELECT name FROM people")
    assert planned.code == done.code == (1 if validation == "strict" else 3)
    assert planned.value["status"] == done.value["status"]
    assert names == ([] if validation == "strict" else [("Ada",)])
    if validation == "strict":
        assert "strict" in done.value["errors"][0]["message"]
        assert "strict" in planned.value["errors"][0]["message"]


def test_what_still_waits_is_told(two: House) -> None:
    """`settle`: who is still typing is left in peace, and the run says so."""
    said(two, FIELDS, "settle: 1d", "modified: {left: at, right: at}")
    two.table(
        "a.db",
        "INSERT INTO people (name, at) VALUES ('Ada', '2020-01-01 00:00:00'), ('Bob', datetime('now'))",
    )
    done = two.run("sync", "people")
    assert done.code == 0
    assert two.rows("b.db", "SELECT name FROM people") == [("Ada",)]
    assert two.stored("SELECT text FROM run_lines WHERE text LIKE '1 records wait%'")


def test_a_field_that_both_sides_have_by_now_is_proposed(two: House) -> None:
    said(two, "new_fields: propose")
    two.table("a.db", "INSERT INTO people (name) VALUES ('Ada')")
    assert two.run("sync", "people").code == 0
    for name in "ab":
        two.table(f"{name}.db", "ALTER TABLE people ADD COLUMN town TEXT")
    done = two.run("sync", "people")
    assert done.code == 0
    assert "Both sides have a field 'town'" in done.err


def test_links_do_not_make_what_another_sync_leaves_out(two: House) -> None:
    two.table("a.db", "ALTER TABLE people ADD COLUMN boss INTEGER REFERENCES people(id)")
    two.table("b.db", "ALTER TABLE people ADD COLUMN boss INTEGER REFERENCES people(id)")
    fields = "fields: [{left: name, right: name}, {left: boss, right: boss, type: links}]"
    answer = two.apply(SYNC.format(more=f"{fields}\n        linked_records: {{create_missing: true}}"))
    assert answer.code == 2
    assert "what boss links to is made by the sync that carries it" in answer.err
