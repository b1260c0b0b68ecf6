"""Keys that people can see and type over, and headers that change under a sync."""

from __future__ import annotations

import pytest

from tests.house import House

SYNC = """
    connections:
      a: {connector: sql, options: {url: "sqlite:///a.db"}}
      b: {connector: sql, options: {url: "sqlite:///b.db"}}
    syncs:
      people:
        left: {connection: a, stream: people}
        right: {connection: b, stream: people}
        match: [email]
        fields: [{left: email, right: email}, {left: name, right: name}]
        deletes: propagate
        guards: off
"""


@pytest.mark.parametrize("again", [False, True], ids=["", "and renamed again"])
def test_a_key_is_renamed_where_it_is_the_other_sides_id(again: bool, house: House) -> None:
    """One update; the pair stays a pair, and nothing is held, deleted or made anew afterwards."""
    house.table("a.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT)")
    house.table("b.db", "CREATE TABLE people (email TEXT PRIMARY KEY, name TEXT)")
    house.table("a.db", "INSERT INTO people VALUES (1, 'ada@old', 'Ada'), (2, 'bob@old', 'Bob')")
    assert house.apply(SYNC).code == 0
    assert house.run("sync", "people").code == 0
    for address in ["ada@new", *(["ada@newest"] if again else [])]:
        house.table("a.db", f"UPDATE people SET email = '{address}' WHERE id = 1")
        done = house.json("sync", "people")
        assert (done["status"], done["right"]["updated"]) == ("success", 1)
        links = house.stored("SELECT left_id, right_id FROM links WHERE state <> 'tombstone' ORDER BY id")
        assert links == [("1", address), ("2", "bob@old")]
        after = house.json("sync", "people")
        assert (after["unchanged"], after["held"], after["right"]["deleted"]) == (2, 0, 0)
    house.table("a.db", "UPDATE people SET name = 'Ada L.' WHERE id = 1")
    assert house.json("sync", "people")["right"]["updated"] == 1
    assert house.rows("b.db", "SELECT name FROM people ORDER BY name") == [("Ada L.",), ("Bob",)]


SHEET = """
    connections:
      sheet: {connector: csv, options: {folder: sheets}}
      b: {connector: sql, options: {url: "sqlite:///b.db"}}
    syncs:
      people:
        left: {connection: sheet, stream: people.csv}
        right: {connection: b, stream: people}
        match: [email]
        fields: [{left: email, right: email}, {left: name, right: name}]
"""


@pytest.mark.parametrize(("doubled", "code"), [("name", 3), ("email", 2)])
def test_a_header_that_stands_twice_by_now_is_said_to_stand_twice(
    doubled: str, code: int, house: House
) -> None:
    house.write("sheets/people.csv", "email,name\r\nada@x,Ada\r\n")
    house.table("b.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT)")
    assert house.apply(SHEET).code == 0
    assert house.run("sync", "people").code == 0
    path = house.folder / "sheets" / "people.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{lines[0]},{doubled}\r\n{lines[1]},other\r\n", encoding="utf-8")
    said = house.run("sync", "people", "--json")
    assert said.code == code
    assert "more than once" in said.out
    assert "no longer" not in said.out
    assert house.rows("b.db", "SELECT email, name FROM people") == [("ada@x", "Ada")]


@pytest.mark.parametrize("name", ["notes.txt", "secret.env", "people", "crm.db"])
def test_only_files_that_are_tables_are_opened(name: str, house: House) -> None:
    house.write(f"sheets/{name}", "email,name\r\nada@x,Ada\r\n")
    house.table("b.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT)")
    said = house.apply(SHEET.replace("people.csv", name))
    assert said.code == 2
    assert "end in .csv or .tsv" in said.err + said.out
