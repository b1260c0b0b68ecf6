"""Two files whose rows have no ids yet, at first contact: the key says who is who, never the place."""

from __future__ import annotations

import csv
import threading

import pytest

from models.sync_runs import RunKind
from tasks import claims, execute, previews, runs, shift
from tasks.heartbeat import Heartbeat
from tasks.summary import Summary
from tests.house import House

WHO = "alice@example.org"
SYNC = """
    connections:
      a: {connector: csv, options: {folder: a}}
      b: {connector: csv, options: {folder: b}}
    syncs:
      people:
        left: {connection: a, stream: people.csv}
        right: {connection: b, stream: people.csv}
        match: [email]
        fields: [{left: email, right: email}, {left: name, right: name}]
        conflict: left_wins
"""
NAMES = {"a": ["Ann", "Bob", "Cy"], "b": ["Anna", "Bobby", "Cyd"]}


@pytest.fixture
def files(house: House) -> House:
    """The same three people on both sides, with other names."""
    for folder, names in NAMES.items():
        rows = [f"{key}@x,{name}\n" for key, name in zip("abc", names, strict=True)]
        house.write(f"{folder}/people.csv", "email,name\n" + "".join(rows))
    assert house.apply(SYNC).code == 0
    return house


def _people(house: House, folder: str) -> dict[str, str]:
    with (house.folder / folder / "people.csv").open(newline="") as file:
        return {row["email"]: row["name"] for row in csv.DictReader(file)}


def _sort(house: House, folder: str, *, first: str = "") -> None:
    """Somebody turns the file around, and perhaps adds a row above all."""
    path = house.folder / folder / "people.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *([first] if first else []), *reversed(rows)]) + "\n")


def _held(house: House) -> list[tuple[int, str]]:
    return [(item["id"], item["key"]) for item in house.json("held", "list")]


def test_one_approval_is_enough(files: House) -> None:
    """The rows get their ids in the very run that carries out what was approved before."""
    files.run("sync", "people")
    assert [key for _, key in _held(files)] == ["a@x", "b@x", "c@x"]
    files.run("held", "approve", "--all")
    assert files.run("sync", "people").code == 0
    assert _people(files, "b") == {"a@x": "Ann", "b@x": "Bob", "c@x": "Cy"}
    assert _held(files) == []
    again = files.json("sync", "people")
    assert (again["status"], again["unchanged"]) == ("success", 3)


def test_what_was_not_approved_waits_on(files: House) -> None:
    files.run("sync", "people")
    first, *others = _held(files)
    files.run("held", "approve", str(first[0]))
    for _ in range(2):
        assert files.run("sync", "people").code == 3
        assert _people(files, "b") == {"a@x": "Ann", "b@x": "Bobby", "c@x": "Cyd"}
        assert _held(files) == others


def test_a_file_that_is_sorted_while_it_waits_keeps_its_pairs(files: House) -> None:
    files.run("sync", "people")
    shown = _held(files)
    _sort(files, "b", first="z@x,Zed")
    files.run("sync", "people")
    assert [item for item in _held(files) if item[1] != "z@x"] == shown
    files.run("held", "approve", *(str(number) for number, _ in shown))
    _sort(files, "a")
    files.run("sync", "people")
    assert _people(files, "b") == {"a@x": "Ann", "b@x": "Bob", "c@x": "Cy", "z@x": "Zed"}
    assert [key for _, key in _held(files)] == ["z@x"]
    files.run("held", "approve", "--all")
    assert files.run("sync", "people").code == 0
    assert _people(files, "a")["z@x"] == "Zed"


def test_the_number_of_a_row_is_no_ones_id(files: House) -> None:
    files.run("sync", "people")
    assert files.stored("SELECT left_id, right_id FROM links") == []


def test_what_a_preview_showed_is_carried_out_though_ids_are_given_first(files: House) -> None:
    ctx = files.ctx()
    ((config,),) = files.stored("SELECT id FROM sync_configs")
    files.apply(SYNC.replace("conflict: left_wins", "conflict: left_wins\n        first_run: apply"))
    shown = _carry(files, runs.queue(ctx, config, asked_by=WHO, kind=RunKind.PREVIEW)).run
    _sort(files, "b", first="z@x,Zed")
    done = _carry(files, previews.carry_out(ctx, shown, by=WHO))
    assert (done.status, done.right.updated, done.left.created) == ("success", 3, 0)
    assert _people(files, "b") == {"a@x": "Ann", "b@x": "Bob", "c@x": "Cy", "z@x": "Zed"}


def _carry(house: House, run_id: str) -> Summary:
    ctx = house.ctx()
    heartbeat = Heartbeat(ctx, "here", threading.Event(), sweeps=False)
    claim = claims.claim_run(ctx, run_id, heartbeat.owner)
    assert claim is not None
    return shift.carry(ctx, heartbeat, claim, execute.carry_out)
