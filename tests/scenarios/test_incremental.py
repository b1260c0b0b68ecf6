"""R22, R23, K05: reads by a cursor, and rows that people copy, on real files and databases."""

from __future__ import annotations

import pytest

from tests.house import House
from tests.scenarios.world import Story

TABLE = "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE, town TEXT, updated_at DATETIME)"


@pytest.mark.parametrize(("overlap", "finds"), [("5m", True), ("0s", False)])
def test_R22_a_row_is_committed_late_with_an_older_time(
    overlap: str, finds: bool, swapped: bool, house: House
) -> None:
    """A window of time is read again. Without one such a row is missed until the next full run."""
    here, there = ("right", "left") if swapped else ("left", "right")
    house.table("a.db", TABLE, "INSERT INTO people VALUES (1, 'Ada', 'Rome', '2026-03-02 09:00:00')")
    house.table("b.db", TABLE.replace(", updated_at DATETIME", ""))
    said = house.apply(f"""
        connections:
          a: {{connector: sql, options: {{url: "sqlite:///a.db"}}}}
          b: {{connector: sql, options: {{url: "sqlite:///b.db"}}}}
        syncs:
          people:
            {here}: {{connection: a, stream: people}}
            {there}: {{connection: b, stream: people}}
            match: [name]
            fields: [{{left: name, right: name}}, {{left: town, right: town}}]
            mode: incremental
            cursor: {{{here}: updated_at, overlap: {overlap}}}
    """)
    assert said.code == 0, said.err
    house.run("sync", "people")
    house.table("a.db", "INSERT INTO people VALUES (2, 'Bob', 'Oslo', '2026-03-02 09:10:00')")
    house.run("sync", "people")
    house.table("a.db", "INSERT INTO people VALUES (3, 'Cid', 'Bern', '2026-03-02 09:08:00')")
    house.run("sync", "people")
    names = [name for (name,) in house.rows("b.db", "SELECT name FROM people ORDER BY id")]
    assert names == (["Ada", "Bob", "Cid"] if finds else ["Ada", "Bob"])
    house.run("sync", "people", "--full")
    assert len(house.rows("b.db", "SELECT name FROM people")) == 3


def test_R23_a_record_is_edited_while_its_side_is_read(story: Story) -> None:
    story.define(mode="incremental")
    story.base(*(f"k{number}" for number in range(6)), x="a")
    story.left.knobs.page_size = 2
    edited: list[str] = []

    def meanwhile(call: str) -> None:
        if call == "page 2" and not edited:
            edited.append("k0")
            story.left.edit("k0", x="b")

    for number in range(6):
        story.left.edit(f"k{number}", y="c")
    story.left.knobs.meanwhile = meanwhile
    story.run(preview=False, repeat=False)
    story.left.knobs.meanwhile = None
    assert edited
    story.run(preview=False, repeat=False)
    assert story.right.get("x", "k0") == "b"
    assert all(story.right.get("y", f"k{number}") == "c" for number in range(6))
    assert story.run() == "nothing"


def test_K05_a_row_is_copied_with_its_hidden_id(swapped: bool, house: House) -> None:
    """The original keeps its link, the copy is reported, and nothing is deleted."""
    here, there = ("right", "left") if swapped else ("left", "right")
    house.write("sheets/people.csv", "name,town\r\nAda,Rome\r\nBob,Oslo\r\n")
    house.table("b.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, town TEXT)")
    said = house.apply(f"""
        connections:
          sheet: {{connector: csv, options: {{folder: sheets}}}}
          b: {{connector: sql, options: {{url: "sqlite:///b.db"}}}}
        syncs:
          people:
            {here}: {{connection: sheet, stream: people.csv}}
            {there}: {{connection: b, stream: people}}
            match: [name]
            fields: [{{left: name, right: name}}, {{left: town, right: town}}]
            deletes: propagate
            guards: off
    """)
    assert said.code == 0, said.err
    assert house.run("sync", "people").code == 0
    path = house.folder / "sheets" / "people.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    copy = lines[1].replace("Ada", "Ada the Copy")
    path.write_text("\r\n".join([*lines, copy]) + "\r\n", encoding="utf-8")
    done = house.json("sync", "people")
    assert [error["code"] for error in done["errors"]] == ["duplicate_id"]
    assert (done[here]["deleted"], done[there]["deleted"], done[there]["created"]) == (0, 0, 0)
    assert house.rows("b.db", "SELECT name FROM people ORDER BY id") == [("Ada",), ("Bob",)]
    # With its own id cell emptied, the copy is a record of its own.
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ","
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    assert house.json("sync", "people")["status"] == "success"
    assert len(house.rows("b.db", "SELECT name FROM people")) == 3
