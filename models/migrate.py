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
    """Run what is missing; whether anything was. Several processes may do this at once."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Freed with the transaction: two releases at once go one after the other.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(724171)")
        before = MigrationContext.configure(connection).get_current_revision()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before != ScriptDirectory.from_config(config).get_current_head()


def must_be_current(engine: Engine) -> None:
    """Raises NotMigrated, with the remedy."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        empty = not inspect(connection).get_table_names()
    if found == head:
        return
    state = "has no tables yet" if empty else f"is at schema {found or 'unknown'}, not {head}"
    raise NotMigrated(f"The database {state}. Run: syncline release")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("models") / "migrations"))
    return config
