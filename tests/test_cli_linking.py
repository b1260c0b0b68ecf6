"""Who is who, said by a person: two records are one, a pair is parted, a write did not happen."""

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
        conflict: left_wins
        first_run: apply
"""
TABLE = "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT)"


@pytest.fixture
def both(house: House) -> House:
    """Ann is on both sides, under different addresses on purpose."""
    house.table("a.db", TABLE, "INSERT INTO people VALUES (1, 'ann@old', 'Ann'), (2, 'bob@x', 'Bob')")
    house.table("b.db", TABLE, "INSERT INTO people VALUES (7, 'ann@new', 'Anna'), (8, 'bob@x', 'Bob')")
    assert house.apply(SYNC).code == 0
    return house


def _people(house: House, side: str) -> list[tuple[object, ...]]:
    return house.rows(f"{side}.db", "SELECT * FROM people ORDER BY id")


def test_two_records_are_linked_and_the_next_run_makes_them_agree(both: House) -> None:
    said = both.json("link", "people", "1", "7")
    assert (said["left"], said["right"]) == ("1", "7")
    planned = both.json("sync", "people", "--preview")["changes"]
    assert [(item["operation"], item["side"]) for item in planned] == [("update", "right")]
    assert both.run("sync", "people").code == 0
    for side in ("a", "b"):
        assert [row[1:] for row in _people(both, side)] == [("ann@old", "Ann"), ("bob@x", "Bob")]


def test_what_cannot_be_linked_is_said_and_changes_nothing(both: House) -> None:
    before = both.dump()
    said = both.run("link", "people", "1", "99")
    assert (said.code, "There is no record 99 on right." in said.err) == (2, True), said
    said = both.run("link", "people", "1", "99", "--json")
    assert said.value["error"] == "not_found"
    assert both.dump() == before
    both.run("sync", "people")
    said = both.run("link", "people", "1", "8")
    assert (said.code, "2 on left, 8 on right" in said.err) == (1, True), said


def test_a_pair_is_parted_until_it_is_linked_again(both: House) -> None:
    both.run("sync", "people")
    assert both.run("unlink", "people", "bob@x").code == 0
    both.table("a.db", "UPDATE people SET name = 'Bert' WHERE id = 2")
    assert both.run("sync", "people").code == 0
    assert (8, "bob@x", "Bob") in _people(both, "b")
    assert "unlinked" in both.run("explain", "people", "bob@x").out
    both.json("link", "people", "2", "8")
    both.run("sync", "people")
    assert (8, "bob@x", "Bert") in _people(both, "b")


def test_what_is_not_linked_cannot_be_parted(both: House) -> None:
    said = both.run("unlink", "people", "nobody")
    assert (said.code, "No record nobody is linked." in said.err) == (2, True), said


def test_a_person_says_that_a_lost_write_did_not_happen(both: House) -> None:
    both.run("sync", "people")
    assert both.json("lost") == []
    assert "of every write" in both.run("lost").out.lower()
    both.store("UPDATE changes SET state = 'unknown' WHERE side = 'right' AND operation = 'create'")
    (lost,) = both.json("lost", "list", "people")
    assert (lost["key"], lost["side"], lost["after"]["name"]) == ("ann@old", "right", "Ann")
    both.table("b.db", "DELETE FROM people WHERE email = 'ann@old'")
    assert both.run("lost", "not-done", str(lost["id"])).code == 0
    assert both.json("lost") == []
    said = both.run("lost", "not-done", str(lost["id"]))
    assert (said.code, "It is known" in said.err) == (1, True), said


def test_what_did_not_happen_is_said_of_all_or_of_none(both: House) -> None:
    both.run("sync", "people")
    both.store("UPDATE changes SET state = 'unknown' WHERE operation = 'create'")
    numbers = [str(item["id"]) for item in both.json("lost")]
    assert len(numbers) == 2
    assert both.run("lost", "not-done", *numbers, "4711").code == 2
    assert [str(item["id"]) for item in both.json("lost")] == numbers
    assert both.run("lost", "not-done", *numbers).code == 0
    assert both.json("lost") == []


def test_nothing_is_linked_or_parted_under_a_run_that_has_planned_otherwise(both: House) -> None:
    both.run("sync", "people")
    both.store("UPDATE sync_runs SET state = 'running'")
    before = both.dump()
    for command in (("link", "people", "1", "7"), ("unlink", "people", "bob@x")):
        said = both.run(*command)
        assert (said.code, "try again when run" in said.err) == (1, True), said
    assert both.dump() == before
