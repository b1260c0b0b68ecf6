"""Times are UTC, JSON is JSON, writers wait their turn, readers wait for nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import StatementError

from models.db import db_now, from_json, make_engine, make_read_sessions, make_sessions, to_json
from models.people import Workspace
from models.tables import metadata

NOON = datetime(2026, 3, 4, 12, 0, 0, 123456, tzinfo=UTC)


class _Kind(StrEnum):
    ONE = "one"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def _add(engine: Engine, at: datetime, name: str = "0") -> None:
    with make_sessions(engine).begin() as db:
        db.add(Workspace(id="w", name=name, created_at=at))


def test_time_comes_back_to_the_microsecond_and_in_utc(engine: Engine) -> None:
    _add(engine, NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    with make_read_sessions(engine)() as db:
        found = db.get_one(Workspace, "w").created_at
    assert (found, found.tzinfo) == (NOON, UTC)


def test_time_without_a_zone_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="without a zone"):
        _add(engine, NOON.replace(tzinfo=None))
    with make_read_sessions(engine)() as db:
        assert db.get(Workspace, "w") is None


def test_time_without_a_zone_is_refused_in_a_query_too(engine: Engine) -> None:
    with make_read_sessions(engine)() as db, pytest.raises(StatementError, match="without a zone"):
        db.scalars(select(Workspace).where(Workspace.created_at < NOON.replace(tzinfo=None))).all()


@pytest.mark.parametrize(
    "value",
    [
        {1: "one"},
        {"large": 2**70 + 1},
        [2**63, -(2**63), 2**64 - 1, 2**64 + 1, -(2**63) - 1],
        ("a", ["b"]),
        {"half\ud800": 1},
        {"a": _Kind.ONE},
        [1.5, None, True, "é 漢"],
    ],
)
def test_a_json_text_says_what_the_standard_library_would_say(value: Any) -> None:
    assert from_json(to_json(value)) == json.loads(json.dumps(value))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        to_json({"at": datetime(2026, 1, 1, tzinfo=UTC)})


def test_times_are_compared_as_times(engine: Engine) -> None:
    _add(engine, NOON)
    with make_read_sessions(engine)() as db:
        for moment, expected in ((NOON + timedelta(microseconds=1), ["w"]), (NOON, [])):
            query = select(Workspace.id).where(Workspace.created_at < moment)
            assert list(db.scalars(query)) == expected


def test_clock_of_the_database_is_aware_and_moves(engine: Engine) -> None:
    with make_sessions(engine).begin() as db:
        first = db_now(db)
        assert first.tzinfo is UTC
        assert abs((datetime.now(UTC) - first).total_seconds()) < 60
        assert db_now(db) >= first


def test_writers_that_read_first_lose_no_write(engine: Engine) -> None:
    """On SQLite a transaction begins with the lock in hand: "database is locked" is waited out."""
    _add(engine, NOON)
    sessions = make_sessions(engine)

    def count_up(_: int) -> None:
        with sessions.begin() as db:
            query = select(Workspace).with_for_update()
            row = db.scalars(query).one()
            row.name = str(int(row.name) + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_up, range(40)))
    with make_read_sessions(engine)() as db:
        assert db.get_one(Workspace, "w").name == "40"


def test_reader_neither_waits_for_a_writer_nor_keeps_one_waiting(engine: Engine) -> None:
    _add(engine, NOON)
    sessions, reads = make_sessions(engine), make_read_sessions(engine)
    with reads() as reader, ThreadPoolExecutor(1) as pool:
        assert reader.get_one(Workspace, "w").name == "0"
        written, look = Event(), Event()

        def write() -> None:
            with sessions.begin() as db:
                db.get_one(Workspace, "w").name = "1"
                db.flush()
                written.set()
                assert look.wait(10)

        writing = pool.submit(write)
        assert written.wait(10)
        with reads() as other:  # while the writer is at it
            assert other.get_one(Workspace, "w").name == "0"
        look.set()
        writing.result(10)
        with reads() as other:
            assert other.get_one(Workspace, "w").name == "1"


def test_sqlite_keeps_what_was_committed_and_its_references(tmp_path: object) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/state.db")
    with engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


def test_postgresql_ends_what_hangs(pg_url: str) -> None:
    engine = make_engine(pg_url)
    with engine.connect() as connection:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        found = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
    engine.dispose()
    assert found == ["30s", "5s", "1min"]


def test_error_of_a_statement_shows_none_of_its_values(engine: Engine) -> None:
    _add(engine, NOON)
    with pytest.raises(Exception, match=r"hidden") as problem:
        _add(engine, NOON, name="a value of the business")
    assert "a value of the business" not in str(problem.value)
