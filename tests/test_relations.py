"""Foreign keys as links, as somebody with two databases tries them."""

from __future__ import annotations

import pytest

from tests.house import House

FIRMS = "CREATE TABLE firms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"
STAFF = """CREATE TABLE staff (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, firm_id INTEGER REFERENCES firms(id){},
    boss_id INTEGER REFERENCES staff(id))"""
SYNCS = """
    connections:
      a: {connector: sql, options: {url: "sqlite:///a.db"}}
      b: {connector: sql, options: {url: "sqlite:///b.db"}}
    syncs:
      firms:
        left: {connection: a, stream: firms}
        right: {connection: b, stream: firms}
        match: [name]
        fields: [{left: name, right: name}]
        deletes: propagate
        guards: off
      staff:
        left: {connection: a, stream: staff}
        right: {connection: b, stream: staff}
        match: [name]
        fields:
          - {left: name, right: name}
          - {left: firm_id, right: firm_id, type: links}
          - {left: boss_id, right: boss_id, type: links}
        deletes: propagate
        guards: off
        after: [firms]
"""
WHO = """SELECT s.name, f.name, b.name FROM staff s LEFT JOIN firms f ON f.id = s.firm_id
         LEFT JOIN staff b ON b.id = s.boss_id ORDER BY s.name"""


@pytest.fixture
def two(house: House) -> House:
    """Two databases with the same tables; the ids on the right begin elsewhere."""
    house.table("a.db", FIRMS, STAFF.format(""))
    house.table(
        "b.db",
        FIRMS,
        STAFF.format(" ON DELETE CASCADE"),
        "INSERT INTO firms VALUES (700, 'none'), (701, 'gone')",
        "DELETE FROM firms",
    )
    assert house.apply(SYNCS).code == 0
    return house


def in_a(house: House, *statements: str) -> None:
    house.table("a.db", "PRAGMA foreign_keys = ON", *statements)


def test_foreign_keys_are_carried_as_what_they_mean(two: House) -> None:
    in_a(
        two,
        "INSERT INTO firms VALUES (1, 'Acme'), (2, 'Zenith')",
        "INSERT INTO staff VALUES (1, 'Ada', 2, NULL), (2, 'Bob', 1, 1)",
        "INSERT INTO staff VALUES (3, 'Cid', NULL, 2), (4, 'Dot', 1, 4)",
    )
    two.table("b.db", "INSERT INTO firms VALUES (900, 'Other')")
    assert two.run("sync", "firms").code in (0, 3)
    two.run("held", "approve", "--all")
    assert two.run("sync", "firms").code == 0
    done = two.run("sync", "staff", "--json")
    assert done.code == 0, done.out
    assert two.rows("b.db", WHO) == two.rows("a.db", WHO)
    assert two.rows("b.db", "SELECT firm_id FROM staff") != two.rows("a.db", "SELECT firm_id FROM staff")
    # ... and back.
    two.table("b.db", "UPDATE staff SET firm_id = 900, boss_id = NULL WHERE name = 'Bob'")
    assert two.run("sync", "staff").code == 0
    assert two.rows("a.db", WHO)[1] == ("Bob", "Other", None)
    assert two.json("sync", "staff")["unchanged"] == 4


def test_a_delete_says_what_the_database_deletes_along_with_it(two: House) -> None:
    in_a(
        two,
        "INSERT INTO firms VALUES (1, 'Acme'), (2, 'Zenith')",
        "INSERT INTO staff VALUES (1, 'Ada', 1, NULL), (2, 'Bob', 1, NULL), (3, 'Cid', 2, NULL)",
    )
    assert two.run("sync", "firms").code == two.run("sync", "staff").code == 0
    in_a(two, "DELETE FROM staff WHERE firm_id = 1", "DELETE FROM firms WHERE id = 1")
    planned = two.json("sync", "firms", "--preview")["changes"]
    assert [(item["operation"], item["takes_along"]) for item in planned] == [("delete", {"staff": 2})]
    assert two.run("sync", "firms").code == 0
    assert two.rows("b.db", "SELECT name FROM staff") == [("Cid",)]
    after = two.json("sync", "staff")
    assert (after["status"], after["right"]["deleted"]) == ("success", 0)
    assert two.json("sync", "staff")["unchanged"] == 1


def test_a_link_to_what_no_sync_carries_is_a_mistake_with_its_line(two: House) -> None:
    said = two.apply(SYNCS.replace("firm_id, type: links", "firm_id, type: links, links_to: planets"))
    assert said.code == 2
    assert "'firm_id' links to records of 'planets' on left" in said.err + said.out
    assert "line" in said.err + said.out


def test_foreign_keys_are_numbers_unless_the_sync_says_links(two: House) -> None:
    in_a(two, "INSERT INTO staff VALUES (1, 'Ada', NULL, NULL), (2, 'Bob', NULL, 1)")
    assert two.apply(SYNCS.replace(", type: links", "")).code == 0
    assert two.run("sync", "staff").code == 0
    assert two.rows("b.db", "SELECT boss_id FROM staff ORDER BY name") == [(None,), (1,)]


def test_a_circle_of_syncs_is_pointed_out_when_it_is_made(house: House) -> None:
    for name in "abc":
        house.table(f"{name}.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    connections = "".join(
        f'  {name}: {{connector: sql, options: {{url: "sqlite:///{name}.db"}}}}\n' for name in "abc"
    )
    syncs = "".join(
        f"  {left}{right}:\n    left: {{connection: {left}, stream: people}}\n"
        f"    right: {{connection: {right}, stream: people}}\n    match: [name]\n"
        "    fields: [{left: name, right: name}]\n"
        for left, right in ("ab", "bc", "ca")
    )
    said = house.apply(f"connections:\n{connections}syncs:\n{syncs}")
    assert said.code == 0
    assert [note for note in said.value["notes"] if "form a circle" in note]
    said = house.apply(
        f"connections:\n{connections}syncs:\n"
        + syncs.replace("  ca:\n", "  ca:\n    direction: left_to_right\n")
    )
    assert [note for note in said.value["notes"] if "form a circle" in note]
