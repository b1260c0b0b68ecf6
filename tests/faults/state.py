"""Our own database as the harness sees it: over connections that are not the program's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

Away = (psycopg.OperationalError, sqlite3.OperationalError)

# Every claim and every end of a run, kept apart from what the program itself can change.
_WATCH_POSTGRESQL = """
CREATE TABLE faults_moves (
    seq bigserial PRIMARY KEY, run_id text, config text, token int, state text, worker text, at timestamptz
);
CREATE FUNCTION faults_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO faults_moves (run_id, config, token, state, worker, at)
    VALUES (NEW.id, NEW.config_id, NEW.token, NEW.state,
        coalesce(nullif(current_setting('faults.worker', true), ''), '?'), clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER faults_made AFTER INSERT ON sync_runs FOR EACH ROW EXECUTE FUNCTION faults_note();
CREATE TRIGGER faults_moved AFTER UPDATE ON sync_runs FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.token <> NEW.token) EXECUTE FUNCTION faults_note();
"""
_NOTE_SQLITE = (
    "INSERT INTO faults_moves (run_id, config, token, state, worker, at) VALUES (NEW.id, NEW.config_id,"
    " NEW.token, NEW.state, '?', strftime('%Y-%m-%d %H:%M:%f', 'now'));"
)
_WATCH_SQLITE = f"""
CREATE TABLE faults_moves (
    seq INTEGER PRIMARY KEY, run_id TEXT, config TEXT, token INT, state TEXT, worker TEXT, at TEXT
);
CREATE TRIGGER faults_made AFTER INSERT ON sync_runs BEGIN {_NOTE_SQLITE} END;
CREATE TRIGGER faults_moved AFTER UPDATE ON sync_runs
    WHEN OLD.state <> NEW.state OR OLD.token <> NEW.token BEGIN {_NOTE_SQLITE} END;
"""


class PostgresState:
    """`url` as psycopg takes it."""

    now = "clock_timestamp()"

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=3) as db:
            done = db.execute(query, values or None)
            return list(done) if done.description else []

    def watch(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(_WATCH_POSTGRESQL)

    def ago(self, seconds: float) -> str:
        return f"clock_timestamp() - interval '{seconds} s'"

    def epoch(self, column: str) -> str:
        return f"extract(epoch FROM {column})::float8"

    def damage(self) -> list[str]:
        """I16: indexes and tables that contradict each other; empty where the server has no amcheck."""
        if not self.ask("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'"):
            return []
        self.ask("CREATE EXTENSION IF NOT EXISTS amcheck")
        try:
            self.ask(
                "SELECT bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
                " JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'"
                " JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'"
            )
        except psycopg.Error as problem:
            return [f"I16 damage: {problem}"]
        return []


class SqliteState:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            return db.execute(query.replace("%s", "?"), values).fetchall()

    def watch(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.executescript(_WATCH_SQLITE)

    def ago(self, seconds: float) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{seconds} seconds')"

    def epoch(self, column: str) -> str:
        return f"(julianday({column}) - 2440587.5) * 86400.0"

    def damage(self) -> list[str]:
        """I16: what SQLite itself finds wrong."""
        found = [str(row[0]) for row in self.ask("PRAGMA integrity_check") if row[0] != "ok"]
        found += [f"{row[0]} has a row without its parent" for row in self.ask("PRAGMA foreign_key_check")]
        return [f"I16 damage: {text}" for text in found]


State = PostgresState | SqliteState
