"""The demo does what it says: two real runs by real processes, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from demo import seed
from demo.show import CHECKOUT, Demo, Ended, environment, forget, told
from models.connections import Connection
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun
from tasks import start
from tasks.context import Context, live
from tasks.redis_server import free_port

BOTH = range(seed.FIRST_IN_SHEET, seed.LAST_IN_DATABASE + 1)


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """The demo in a folder of its own, with the definition of the checkout."""
    (tmp_path / "demo").mkdir()
    shutil.copy(CHECKOUT / "demo" / "syncline.yaml", tmp_path / "demo")
    return Demo(tmp_path, {"PATH": os.environ["PATH"], "PORT": str(free_port())})


def released(demo: Demo) -> Context:
    """The demo's own installation, its database made."""
    ctx = live(demo.settings)
    start.release(ctx)
    return ctx


# -- the whole of it -------------------------------------------------------------------------------


def test_demo_once_runs_twice_and_carries_an_edit_each_way(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run(once=True)

    said = capsys.readouterr().out
    assert "The first run: success" in said
    assert "The second run: success" in said
    assert "Each edit has reached the other side." in said
    in_database, in_sheet = seed.notes_in_database(demo.files), seed.notes_in_sheet(demo.files)
    assert set(in_database) == set(in_sheet) == {seed.person(number).email for number in range(1, 231)}
    assert {email: note or "" for email, note in in_database.items()} == in_sheet


def test_demo_carries_on_and_starts_over(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    ctx = released(demo)
    seed.make(demo.files)
    seed.note_in_database(demo.files, seed.person(1).email, "by hand")

    assert seed.make(demo.files) is False
    assert seed.notes_in_database(demo.files)[seed.person(1).email] == "by hand"

    demo.apply(demo.env)
    demo.reset()

    assert not demo.files.exists()
    with ctx.reads() as db:
        for kind in (SyncConfig, Connection, SyncRun):
            assert db.scalar(select(func.count()).select_from(kind)) == 0
    assert capsys.readouterr().out.endswith("The demo is gone; `make demo` starts it over.\n")
    demo.reset()  # nothing is there any more, and that is fine


def test_starting_over_leaves_what_is_not_the_demos(demo: Demo) -> None:
    ctx = released(demo)
    seed.make(demo.files)
    demo.apply(demo.env)
    with ctx.sessions.begin() as db:
        db.execute(update(Connection).where(Connection.name == "crm").values(name="mine"))

    forget(ctx)

    with ctx.reads() as db:
        assert db.scalar(select(func.count()).select_from(SyncConfig)) == 1
        assert db.scalar(select(func.count()).select_from(Connection)) == 2


# -- the environment -------------------------------------------------------------------------------


def test_another_installations_settings_do_not_reach_the_demo() -> None:
    env = {
        "PATH": "/bin",
        "HOME": "/root",
        "PORT": "9000",
        "REDIS_URL": "redis://queue",
        "DATABASE_URL": "postgresql://production",
        "ENCRYPTION_KEYS_FILE": "/run/keys",
        "SECRET_KEY": "production",
    }

    assert environment(env) == {
        "PATH": "/bin",
        "HOME": "/root",
        "PORT": "9000",
        "REDIS_URL": "redis://queue",
    }


# -- the two ends ----------------------------------------------------------------------------------


def test_two_seeds_are_the_same(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    seed.make(one)
    seed.make(two)

    assert seed.sheet_in(one).read_bytes() == seed.sheet_in(two).read_bytes()
    assert seed.notes_in_database(one) == seed.notes_in_database(two)


def test_the_ends_overlap_differ_and_have_what_real_data_has(tmp_path: Path) -> None:
    seed.make(tmp_path)
    with closing(sqlite3.connect(seed.database_in(tmp_path))) as db:
        rows = db.execute("SELECT * FROM customers").fetchall()

    assert len(rows) == 200
    assert len(list(seed.in_sheet())) == 180
    assert any(None in row for row in rows)
    assert any(not row[1].isascii() for row in rows)
    differing = [number for number in BOTH if seed.person(number) != seed.as_in_sheet(seed.person(number))]
    assert 10 <= len(differing) <= 40


def test_a_seed_that_was_killed_leaves_no_half_of_an_end(tmp_path: Path) -> None:
    (tmp_path / ".crm.db.new").write_bytes(b"half")

    assert seed.make(tmp_path) is True

    assert len(seed.notes_in_database(tmp_path)) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crm.db", "sheets"]


def test_a_note_in_the_sheet_changes_that_line_alone(tmp_path: Path) -> None:
    seed.make(tmp_path)
    before = seed.sheet_in(tmp_path).read_bytes().splitlines()

    seed.note_in_sheet(tmp_path, seed.person(70).email, "by hand")

    after = seed.sheet_in(tmp_path).read_bytes().splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [
        next(line for line in after if line.endswith(b";by hand"))
    ]


# -- what the terminal shows -----------------------------------------------------------------------


def test_a_run_is_told_with_both_sides_and_what_went_wrong() -> None:
    side = {"read": 200, "created": 3, "updated": 2, "deleted": 1}
    summary = {
        "left": side,
        "right": side | {"created": 50},
        "unchanged": 120,
        "conflicts": 4,
        "resolved": 5,
        "held": 0,
        "failed": 1,
        "errors": [{"key": "ann@example.com", "side": "left", "message": "Too long."}],
        "duration_ms": 1234,
    }

    assert told("The first run", Ended("partial", summary, None)).splitlines() == [
        "",
        "The first run: partial in 1.2 s",
        "                        read    created    updated    deleted  unchanged  conflicts",
        "  crm.db                 200          3          2          1        120          4",
        "  customers.csv          200         50          2          1        120          4",
        "  5 conflicts settled by the policy, 0 held for a look, 1 failed",
        "  left ann@example.com: Too long.",
    ]


def test_a_run_that_failed_before_it_counted_is_told_with_its_reason() -> None:
    assert told("The first run", Ended("failed", {}, "The sheet is gone.")) == (
        "\nThe first run failed: The sheet is gone.\n"
    )
