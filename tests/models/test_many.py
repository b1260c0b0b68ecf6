"""Many rows at once are the rows that one statement each would have stored and found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from models import many
from models.connections import Connection
from models.db import make_engine, make_sessions
from models.journal import IS_OPEN, Change
from models.links import IS_ALIVE, Link, LinkState, Shadow
from models.people import Workspace
from models.sync_configs import SyncConfig
from models.tables import metadata

NOON = datetime(2026, 3, 4, 12, 0, 0, 123456, tzinfo=UTC)
ODD = ["", "a\tb", "a\nb", "\\N", "\\", '"', "{}", "NULL", "é 漢", "a\x1eb", "'", "%s", ":a0"]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    metadata.create_all(engine)
    with make_sessions(engine).begin() as db:
        db.add(Workspace(id="w", name="w", created_at=NOON))
        db.flush()
        db.add(
            Connection(
                id="c",
                workspace_id="w",
                name="c",
                connector="memory",
                options={},
                created_at=NOON,
                updated_at=NOON,
            )
        )
        db.flush()
        db.add(
            SyncConfig(
                id="s",
                workspace_id="w",
                name="s",
                definition={},
                left_connection_id="c",
                right_connection_id="c",
                cron="",
                timezone="UTC",
                created_at=NOON,
                updated_at=NOON,
            )
        )
    yield engine
    engine.dispose()


def link(id_: int, **values: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "config_id": "s",
        "state": LinkState.LINKED,
        "reason": "",
        "left_id": f"L{id_}",
        "right_id": f"R{id_}",
        "key": "",
        "left_version": None,
        "right_version": None,
        "left_missing": 0,
        "right_missing": 0,
        "missing_since": None,
        "written_at": None,
        **values,
    }


def stored(db: Session) -> list[tuple[Any, ...]]:
    columns = (Link.id, Link.left_id, Link.left_version, Link.right_missing, Link.written_at)
    return [tuple(row) for row in db.execute(select(*columns).order_by(Link.id))]


@pytest.mark.parametrize("count", [3, 300])
def test_rows_are_stored_and_changed_as_one_by_one(engine: Engine, count: int) -> None:
    with make_sessions(engine).begin() as db:
        ids = list(many.new_ids(db, Link, count))
        texts = [f"{ODD[number % len(ODD)]}{number}" for number in range(count)]
        rows = [link(id_, left_id=text, written_at=NOON) for id_, text in zip(ids, texts, strict=True)]
        many.insert_rows(db, Link, rows)
        many.insert_rows(
            db,
            Shadow,
            [
                {"link_id": id_, "left": {"x": text}, "right": {"$": [None, 1]}, "flaps": None}
                for id_, text in zip(ids, texts, strict=True)
            ],
        )
        later = NOON + timedelta(hours=1)
        many.update_rows(
            db,
            Link,
            [
                {"id": id_, "left_version": text}
                if number % 2
                else {"id": id_, "right_missing": number, "written_at": later}
                for number, (id_, text) in enumerate(zip(ids, texts, strict=True))
            ],
        )
        many.update_rows(
            db,
            Shadow,
            [{"link_id": id_, "flaps": {"y": text}} for id_, text in zip(ids, texts, strict=True)],
            key="link_id",
        )
    with make_sessions(engine)() as db:
        assert stored(db) == [
            (
                id_,
                text,
                text if number % 2 else None,
                0 if number % 2 else number,
                NOON if number % 2 else later,
            )
            for number, (id_, text) in enumerate(zip(ids, texts, strict=True))
        ]
        for id_, text in zip(ids, texts, strict=True):
            row = db.get_one(Shadow, id_)
            assert (row.left, row.right, row.flaps) == ({"x": text}, {"$": [None, 1]}, {"y": text})


@pytest.mark.parametrize("odd", [None, "a\x1eb", ""])
def test_two_columns_are_read_as_they_stand(engine: Engine, odd: str | None) -> None:
    with make_sessions(engine).begin() as db:
        ids = list(many.new_ids(db, Link, 30))
        many.insert_rows(db, Link, [link(id_, left_version="v") for id_ in ids])
        many.update_rows(db, Link, [{"id": ids[7], "left_version": odd}])
        expected: dict[str, str | None] = {f"L{id_}": "v" for id_ in ids}
        expected[f"L{ids[7]}"] = odd
        assert many.pairs(db, Link.left_id, Link.left_version, Link.config_id == "s") == expected
        assert many.pairs(db, Link.left_id, Link.left_version, Link.config_id == "other") == {}


def test_any_number_of_values_can_be_asked_for(engine: Engine) -> None:
    with make_sessions(engine).begin() as db:
        ids = list(many.new_ids(db, Link, 2_000))
        many.insert_rows(db, Link, [link(id_) for id_ in ids])
        wanted = [f"L{id_}" for id_ in ids[::2]] + ["nobody"]
        found = {row[0] for row in many.chosen(db, (Link.left_id,), Link.left_id, wanted)}
    assert found == set(wanted) - {"nobody"}


def test_ids_are_given_once(engine: Engine) -> None:
    with make_sessions(engine).begin() as db:
        first = list(many.new_ids(db, Link, 5))
        many.insert_rows(db, Link, [link(id_) for id_ in first])
        assert not set(first) & set(many.new_ids(db, Link, 5))


def test_few_of_many_rows_are_found_by_an_index_also_on_sqlite(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'plan.db'}")
    metadata.create_all(engine)
    queries = {
        "ix_changes_open": select(Change.id).where(Change.config_id == "s", IS_OPEN, Change.state == "held"),
        "uq_links_left": select(Link.id).where(Link.config_id == "s", IS_ALIVE, Link.left_id.in_(["1", "2"])),
    }
    with engine.connect() as connection:
        for index, query in queries.items():
            compiled = query.compile(engine, compile_kwargs={"render_postcompile": True})
            asked = tuple(compiled.params[name] for name in compiled.positiontup or ())
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", asked)
            assert index in " ".join(row[-1] for row in plan)
    engine.dispose()
