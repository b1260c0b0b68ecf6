"""Bring a database to the schema of this release."""

from __future__ import annotations

from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect


class NotMigrated(Exception):
    """The database is not at this release's schema; the message says what to run."""


def upgrade(engine: Engine) -> bool:
    """Run what is missing; whether anything was. Several processes may do this at once.

    Raises NotMigrated when the database is ahead of this release.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # A migration may take its time, and the second of two releases waits for the first one; the
            # lock is freed with the transaction. Tables that are in use are waited for a little only.
            connection.exec_driver_sql("SET LOCAL statement_timeout=0; SET LOCAL lock_timeout=0")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(724171)")
            connection.exec_driver_sql("SET LOCAL lock_timeout='30s'")
        before = MigrationContext.configure(connection).get_current_revision()
        config = _config()
        _must_be_known(config, before)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before != ScriptDirectory.from_config(config).get_current_head()


def must_be_current(engine: Engine) -> None:
    """Raises NotMigrated, with the remedy."""
    config = _config()
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        empty = not inspect(connection).get_table_names()
    if found == head:
        return
    _must_be_known(config, found)
    state = "has no tables yet" if empty else f"is at schema {found or 'unknown'}, not {head}"
    raise NotMigrated(f"The database {state}. Run: syncline release")


def _must_be_known(config: Config, revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise NotMigrated(
            f"The database is at schema {revision}, which this release does not know: it was upgraded by a"
            " newer one. Install that release again."
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("models") / "migrations"))
    return config
