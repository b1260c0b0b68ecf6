"""T01 to T30 from outside: two SQLite files, a YAML, `syncline sync --json`. The table is table.md."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import cli
from settings import VARIABLES
from tests.house import House, Said

POLICIES = ("left_wins", "right_wins", "newest_wins", "manual")
SIDES = ("left", "right")
COUNTS = ("conflicts", "held", "failed", "excluded")
FIELDS = ("x", "y", "z")
TABLE = """\
CREATE TABLE p (
    id INTEGER PRIMARY KEY AUTOINCREMENT, k VARCHAR(20), x TEXT, y TEXT, z TEXT, at TIMESTAMP
)"""
NO_TEXT = "CAST(x'ff' AS TEXT)"
BYSTANDERS = 9  # records that nothing happens to


@dataclass(frozen=True)
class Row:
    id: str
    agreed: str
    left: tuple[str, ...]  # what was made of it before each run after the first
    right: tuple[str, ...]
    more: dict[str, Any]
    expected: tuple[str, ...]  # one for each of POLICIES

    @property
    def is_same_for_all(self) -> bool:
        return len(set(self.expected)) == 1


def rows() -> Iterator[Row]:
    text = (Path(__file__).parent / "table.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if re.match(r"\| T\d\d ", line):
            id, agreed, left, right, more, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            expected: list[str] = []
            for cell in cells:
                expected.append(expected[-1] if cell == "=" else cell)
            yield Row(id, agreed, _steps(left), _steps(right), yaml.safe_load(f"{{{more}}}"), tuple(expected))


def _steps(cell: str) -> tuple[str, ...]:
    return tuple(cell.split(" then "))


ROWS = list(rows())


def _cases(is_chosen: Callable[[int, Row, str], bool]) -> list[Any]:
    return [
        pytest.param(row, policy, id=f"{row.id}-{index}-{policy}")
        for index, row in enumerate(ROWS)
        for policy in POLICIES
        if is_chosen(index, row, policy)
    ]


def _is_telling(index: int, row: Row, policy: str) -> bool:
    """Where all policies do the same, one of them is tried, in turn."""
    return not row.is_same_for_all or policy == POLICIES[index % len(POLICIES)]


# In real processes: enough to know that nothing depends on being called from a test.
IN_PROCESSES = {("T02", "manual"), ("T05", "newest_wins"), ("T14", "right_wins"), ("T25", "left_wins")}


@pytest.mark.parametrize(("row", "policy"), _cases(_is_telling))
def test_row(row: Row, policy: str, house: House) -> None:
    _play(row, policy, house.folder, lambda *words: house.run(*words))


@pytest.mark.long
@pytest.mark.parametrize(("row", "policy"), _cases(lambda *case: not _is_telling(*case)))
def test_row_under_the_other_policies(row: Row, policy: str, house: House) -> None:
    _play(row, policy, house.folder, lambda *words: house.run(*words))


@pytest.mark.parametrize(("row", "policy"), _cases(lambda _, row, policy: (row.id, policy) in IN_PROCESSES))
def test_row_by_real_processes(row: Row, policy: str, tmp_path: Path) -> None:
    def run(*words: str) -> Said:
        env = {
            name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in VARIABLES
        }
        env["PYTHONPATH"] = str(Path(cli.__file__).parent)
        command = [sys.executable, "-m", "cli", *words]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    _play(row, policy, tmp_path, run)


def test_every_row_of_the_specification_is_there() -> None:
    assert {row.id for row in ROWS} == {f"T{number:02}" for number in range(1, 31)}


def _play(row: Row, policy: str, folder: Path, run: Callable[..., Said]) -> None:
    files = {side: File(folder / f"{side}.db") for side in SIDES}
    for side in SIDES:
        files[side].make(row.agreed)
    more = dict(row.more)
    before = more.pop("before", policy)
    left, right, *words = row.expected[POLICIES.index(policy)].split()
    length = max(len(row.left), len(row.right))
    _apply(run, folder, before, more)
    assert _sync(run)["status"] == "success"
    summary: dict[str, Any] = {}
    standing: dict[str, dict[Any, Any]] = {}
    for number in range(length):
        for side, steps in (("left", row.left), ("right", row.right)):
            if number < len(steps):
                files[side].do(steps[number], number)
        if number == length - 1 and before != policy:
            _apply(run, folder, policy, more)
        standing = {side: files[side].content() for side in SIDES}
        summary = _sync(run)
    assert (files["left"].shown(), files["right"].shown()) == (left, right)
    assert [name for name in COUNTS if summary[name]] == words
    for side in SIDES:
        assert _writes(summary[side]) == files[side].moved_since(standing[side]), (
            "the JSON says something else"
        )
    _is_quiet(run, files)


def _is_quiet(run: Callable[..., Said], files: dict[str, File]) -> None:
    standing = {side: files[side].content() for side in SIDES}
    again = _sync(run)
    assert {side: files[side].content() for side in SIDES} == standing
    assert all(_writes(again[side]) == 0 for side in SIDES), again


def _sync(run: Callable[..., Said]) -> dict[str, Any]:
    said = run("sync", "p", "--json")
    assert said.code in (0, 3), said
    summary: dict[str, Any] = said.value
    waits = summary["failed"] + summary["conflicts"] + summary["held"]
    assert summary["status"] == ("partial" if waits else "success"), said
    assert said.code == (3 if waits else 0), said
    return summary


def _writes(counts: dict[str, int]) -> int:
    return counts["created"] + counts["updated"] + counts["deleted"]


def _apply(run: Callable[..., Said], folder: Path, policy: str, more: dict[str, Any]) -> None:
    definition = {
        "connections": {
            side: {"connector": "sql", "options": {"url": f"sqlite:///{side}.db"}} for side in SIDES
        },
        "syncs": {
            "p": {
                **{side: {"connection": side, "stream": "p"} for side in SIDES},
                "match": ["k"],
                "fields": [{"left": name, "right": name} for name in ("k", *FIELDS)],
                "modified": {"left": "at", "right": "at"},
                "conflict": policy,
                "first_run": "apply",
                "retries": 0,
                **more,
            }
        },
    }
    (folder / "syncline.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    said = run("apply", "syncline.yaml", "--json")
    assert said.code == 0, said


class File:
    """One of the two databases, and what somebody does in it to the record that the row is about."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._away: tuple[Any, ...] | None = None

    def _run(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.text_factory = bytes
            return db.execute(statement, values).fetchall()

    def make(self, agreed: str) -> None:
        self._run(TABLE)
        for number in range(BYSTANDERS):
            self._run("INSERT INTO p (k, x, at) VALUES (?, 'calm', '2026-03-01 08:00:00')", f"other{number}")
        if agreed != "gone":
            self._insert(agreed, "2026-03-01 08:00:00")

    def do(self, step: str, number: int) -> None:
        what = step.removesuffix("later")
        hour = 10 if step.endswith("later") else 9
        at = f"2026-03-0{2 + number} {hour:02}:00:00"
        match what.split():
            case []:
                pass
            case ["gone"]:
                self._away = self._run("SELECT id, k, x, y, z, at FROM p WHERE k = 'k'")[0]
                self._run("DELETE FROM p WHERE k = 'k'")
            case ["back"]:
                assert self._away is not None
                row = [cell.decode() if isinstance(cell, bytes) else cell for cell in self._away]
                self._run("INSERT INTO p (id, k, x, y, z, at) VALUES (?, ?, ?, ?, ?, ?)", *row)
            case ["anew", values]:
                self._run("DELETE FROM p WHERE k = 'k'")
                self._insert(values, at)
            case ["unreadable"]:
                self._run(f"UPDATE p SET x = {NO_TEXT} WHERE k = 'k'")
            case ["protected"]:
                self._run(
                    "CREATE TRIGGER protect BEFORE UPDATE ON p WHEN OLD.k = 'k'"
                    " BEGIN SELECT RAISE(ABORT, 'this record is protected'); END"
                )
            case [values] if self._run("SELECT 1 FROM p WHERE k = 'k'"):
                cells = _cells(values)
                self._run("UPDATE p SET x = ?, y = ?, z = ?, at = ? WHERE k = 'k'", *cells, at)
            case [values]:
                self._insert(values, at)
            case words:
                raise AssertionError(words)

    def _insert(self, values: str, at: str) -> None:
        self._run("INSERT INTO p (k, x, y, z, at) VALUES ('k', ?, ?, ?, ?)", *_cells(values), at)

    def content(self) -> dict[Any, Any]:
        """Every record but for its time, by id."""
        return {row[0]: row[1:] for row in self._run("SELECT id, k, x, y, z FROM p")}

    def moved_since(self, then: dict[Any, Any]) -> int:
        """How many records are others, more or fewer."""
        now = self.content()
        return sum(now.get(id) != then.get(id) for id in now.keys() | then.keys())

    def shown(self) -> str:
        """The record as the table shows it."""
        found = self._run("SELECT x, y, z FROM p WHERE k = 'k'")
        assert len(found) < 2, found
        if not found:
            return "gone"
        cells = ["." if cell is None else _text(cell) for cell in found[0]]
        while len(cells) > 1 and cells[-1] == ".":
            cells.pop()
        return ",".join(cells)


def _cells(values: str) -> list[str | None]:
    cells = [None if cell == "." else cell for cell in values.split(",")]
    return [*cells, *[None] * (len(FIELDS) - len(cells))]


def _text(cell: bytes) -> str:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return "unreadable"
