"""A database is brought to this release's schema by any number of processes; the schema is the models'."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.orm import Session

from connectors.base import unkeyed
from models.connections import Connection
from models.db import make_engine
from models.links import Link
from models.migrate import NotMigrated, must_be_current, upgrade
from models.people import Workspace
from models.sync_configs import SyncConfig
from models.tables import metadata


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def _schema(engine: Engine) -> dict[str, Any]:
    """All that the database itself knows of its tables, but for Alembic's own."""
    if engine.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> 'alembic_version'"
        with engine.connect() as connection:
            # The order of constraints inside a table's text is of no interest; their words are.
            return {
                name: sorted(re.findall(r"[^,\s]+", sql)) for name, sql in connection.execute(text(query))
            }
    queries = {
        "columns": "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,"
        " column_default FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name <> 'alembic_version'",
        "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " AND tablename <> 'alembic_version'",
        "constraints": "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass",
    }
    with engine.connect() as connection:
        # `create_all` makes no such table, and the queries name it.
        connection.execute(text("CREATE TABLE IF NOT EXISTS alembic_version (version_num text)"))
        return {
            name: sorted(tuple(map(str, row)) for row in connection.execute(text(query)))
            for name, query in queries.items()
        }


def test_migrations_lead_to_what_the_models_say(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    migrated = _schema(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    metadata.drop_all(engine)
    metadata.create_all(engine)
    assert migrated == _schema(engine)


def test_upgrade_says_whether_it_did_anything(engine: Engine) -> None:
    assert upgrade(engine) is True
    assert upgrade(engine) is False
    must_be_current(engine)


def test_upgrades_at_the_same_moment_go_one_after_the_other(database_url: str) -> None:
    def release(_: int) -> bool:
        engine = make_engine(database_url)
        try:
            return upgrade(engine)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(release, range(4)))
    assert sorted(done) == [False, False, False, True]


def test_database_without_tables_is_refused_with_the_remedy(engine: Engine) -> None:
    with pytest.raises(NotMigrated, match=r"^The database has no tables yet\. Run: syncline release$"):
        must_be_current(engine)


def test_database_of_an_older_release_is_refused_with_the_remedy(engine: Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    with pytest.raises(NotMigrated, match=r"is at schema unknown, not \d{4}\. Run: syncline release$"):
        must_be_current(engine)


def test_database_of_a_newer_release_is_refused_by_both(engine: Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for step in (must_be_current, upgrade):
        with pytest.raises(NotMigrated, match=r"schema 9999, which this release does not know"):
            step(engine)


def test_upgrade_that_breaks_off_leaves_nothing_behind(engine: Engine) -> None:
    """A table of ours is there already, but no note of a migration: it fails half way and is taken back."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE sync_runs (id text)"))
    with pytest.raises(Exception, match=r"already exists"):
        upgrade(engine)
    assert inspect(engine).get_table_names() == ["sync_runs"]


def test_every_migration_is_in_one_line() -> None:
    folder = Path(__file__).parents[2] / "models" / "migrations" / "versions"
    numbers = sorted(path.name[:4] for path in folder.glob("0*.py"))
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]


def test_links_by_the_number_of_a_row_are_none_after_the_upgrade(engine: Engine) -> None:
    """Another record may stand there by now; both meet again by their keys."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    upgrade(engine)
    made: dict[str, Any] = {"workspace_id": "w", "created_at": now, "updated_at": now}
    sync: dict[str, Any] = {"cron": "0 * * * *", "timezone": "UTC", "definition": {}}
    with Session(engine) as db:
        for row in (
            Workspace(id="w", name="w", created_at=now),
            Connection(id="c", name="c", connector="csv", options={}, **made),
            SyncConfig(id="s", name="s", left_connection_id="c", right_connection_id="c", **sync, **made),
            Link(id=1, config_id="s", state="linked", left_id="7", right_id=unkeyed(2)),
            Link(id=2, config_id="s", state="linked", left_id=unkeyed(3), right_id="8"),
            Link(id=3, config_id="s", state="linked", left_id="9", right_id="row 4"),
        ):
            db.add(row)
            db.flush()
        db.execute(text("UPDATE alembic_version SET version_num = '0019'"))
        db.commit()
    assert upgrade(engine)
    with Session(engine) as db:
        assert {row.id: row.state for row in db.scalars(select(Link))} == {
            1: "tombstone",
            2: "tombstone",
            3: "linked",
        }
