"""A small world for the panel: people, two connections, a sync, and runs as the engine leaves them."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from connectors.base import Access
from models.calls import RunCall
from models.connections import Connection
from models.db import make_engine, make_read_sessions, make_sessions
from models.issues import Conflict, Issue
from models.journal import Change, ChangeState
from models.links import Link, Shadow
from models.migrate import upgrade
from models.people import Membership, Role, User, Workspace
from models.processes import Process
from models.secrets import KeyRing
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunLine, RunState, SyncRun
from settings import Settings
from sync.values import Fields, dumps, encode_fields
from tasks import people
from tasks.context import Context
from tasks.people import DEFAULT_WORKSPACE

NOW = datetime(2026, 11, 23, 14, 5, 30, tzinfo=UTC)
OWN, OTHER = DEFAULT_WORKSPACE, "ws-other"
DEFINITION: dict[str, Any] = {
    "left": {"connection": "crm", "stream": "customers"},
    "right": {"connection": "sheets", "stream": "customers.csv", "key": "Customer ID"},
    "direction": "bidirectional",
    "match": ["email"],
    "fields": [
        {"left": "email", "right": "Email", "type": "text", "canon": ["trim", "lower"]},
        {"left": "name", "right": "Name", "type": "text"},
        {"left": "balance", "right": "Balance", "type": "decimal", "scale": 2},
    ],
    "conflict": "newest_wins",
    "modified": {"left": "updated_at", "right": "Updated"},
    "deletes": "propagate",
    "first_run": "apply",
}


@dataclass
class Clock:
    """The panel's and the database's clock, as a test sets it."""

    now: datetime = NOW

    def __call__(self, _session: object = None) -> datetime:
        return self.now

    def passes(self, **spans: float) -> None:
        self.now += timedelta(**spans)


def make_context(folder: Path, clock: Clock, **changed: Any) -> Context:
    """A Context over a new SQLite database; what it wakes is kept in `woken`."""
    url = f"sqlite:///{folder / 'syncline.db'}"
    settings = replace(Settings.from_env({"DATABASE_URL": url}, folder=folder), **changed)
    (folder / "syncline.db").write_bytes(_migrated())
    engine = make_engine(settings.database_url)
    event.listen(engine, "connect", _in_a_hurry)
    numbers = itertools.count(1)
    return Context(
        settings=settings,
        sessions=make_sessions(engine),
        reads=make_read_sessions(engine),
        ring=KeyRing({key.id: key.secret for key in settings.encryption_keys}),
        access=Access(),
        now=clock,
        db_now=clock,
        new_id=lambda: f"id-{next(numbers)}",
        rand=lambda: 0.5,
        wake=lambda run_id: None,
        queue_answers=lambda: True,
        stop=threading.Event(),
    )


@cache
def _migrated() -> bytes:
    """An empty database of this release, made once for all tests of a process."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "syncline.db"
        engine = make_engine(f"sqlite:///{path}")
        upgrade(engine)
        engine.dispose()  # the last connection brings the log into the file
        return path.read_bytes()


def _in_a_hurry(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")  # no test pulls the plug


class World:
    """Makes rows. Everything belongs to Alice's workspace unless said otherwise."""

    def __init__(self, ctx: Context, clock: Clock) -> None:
        self.ctx = ctx
        self.clock = clock
        self._numbers = itertools.count(1)
        with self.ctx.sessions.begin() as db:
            for workspace, name in ((OWN, "Acme"), (OTHER, "Elsewhere")):
                db.add(Workspace(id=workspace, name=name, created_at=NOW))
                db.flush()
                for connection, connector in (("crm", "sql"), ("sheets", "csv")):
                    db.add(_connection(workspace, connection, connector))

    def person(self, name: str, role: Role, workspace: str = OWN, password: str | None = None) -> str:
        """A person; the id."""
        user_id = f"user-{name}"
        with self.ctx.sessions.begin() as db:
            if db.get(User, user_id) is None:
                email = f"{name}@example.com"
                db.add(User(id=user_id, email=email, name=name.capitalize(), created_at=NOW))
                db.flush()
            db.add(Membership(workspace_id=workspace, user_id=user_id, role=role.value))
        if password:
            people.set_password(self.ctx, user_id, password, by="test")
        return user_id

    def config(self, name: str = "customers", workspace: str = OWN, **changed: Any) -> str:
        """A sync; its id."""
        values: dict[str, Any] = {
            "id": f"config-{next(self._numbers)}",
            "workspace_id": workspace,
            "name": name,
            "definition": DEFINITION,
            "left_connection_id": f"{workspace}-crm",
            "right_connection_id": f"{workspace}-sheets",
            "cron": "*/5 * * * *",
            "timezone": "UTC",
            "next_run_at": NOW + timedelta(minutes=3),
            "created_at": NOW - timedelta(days=30),
            "updated_at": NOW - timedelta(days=2),
        }
        return self._add(SyncConfig(**(values | changed)))

    def run(self, config_id: str, state: RunState = RunState.SUCCESS, **changed: Any) -> str:
        """A run that ended `minutes` ago (1 unless said), with a summary where it has one; its id."""
        ended = NOW - timedelta(minutes=changed.pop("minutes", 1))
        created = changed.pop("created_at", ended - timedelta(seconds=3))
        is_open = state in (RunState.QUEUED, RunState.RUNNING)
        with self.ctx.reads() as db:
            config = db.get_one(SyncConfig, config_id)
        values: dict[str, Any] = {
            "id": f"run-{next(self._numbers)}",
            "workspace_id": config.workspace_id,
            "config_id": config_id,
            "config_version": config.version,
            "kind": RunKind.SCHEDULED.value,
            "state": state.value,
            "asked_by": "schedule",
            "created_at": created,
            "place_at": created,
            "started_at": None if state in (RunState.QUEUED, RunState.SKIPPED) else created,
            "finished_at": None if is_open else ended,
            "summary": summary() if state in (RunState.SUCCESS, RunState.PARTIAL) else None,
        }
        return self._add(SyncRun(**(values | changed)))

    def change(self, run_id: str, key: str = "mary@example.com", **changed: Any) -> int:
        """A change of this run; its id."""
        with self.ctx.sessions.begin() as db:
            run = db.get_one(SyncRun, run_id)
            values: dict[str, Any] = {
                "marker": f"marker-{next(self._numbers)}",
                "workspace_id": run.workspace_id,
                "config_id": run.config_id,
                "run_id": run_id,
                "side": "right",
                "operation": "update",
                "key": key,
                "before": encode_fields({"name": "Mary"}),
                "after": encode_fields({"name": "Marie"}),
                "rule": "left changed",
                "state": ChangeState.APPLIED.value,
                "fingerprint": "f",
                "created_at": run.created_at,
            }
            change = Change(**(values | changed))
            db.add(change)
            db.flush()
            return change.id

    def line(self, run_id: str, text: str, level: str = "info") -> None:
        self._add(RunLine(run_id=run_id, at=NOW, level=level, text=text))

    def call(self, run_id: str, **changed: Any) -> int:
        values: dict[str, Any] = {
            "number": 1,
            "at": self.clock.now - timedelta(minutes=2),
            "side": "right",
            "method": "POST",
            "origin": "https://api.example.com",
            "target": "/v1/records?page=2",
            "attempt": 1,
            "status": 422,
            "problem": "",
            "failed": True,
            "ms": 184,
            "request_id": "req-7f3a",
            "sent_size": 61,
            "size": 74,
            "sent_headers": {"authorization": "•••", "content-type": "application/json"},
            "sent": '{"email": "mary@example.com", "balance": 12.5}',
            "headers": {"content-type": "application/json"},
            "body": '{"error": {"field": "balance", "message": "takes whole numbers"}}',
            "changes": [],
        }
        return int(self._add(RunCall(run_id=run_id, **{**values, **changed})))

    def conflict(self, config_id: str, key: str = "mary@example.com", **changed: Any) -> int:
        """An open conflict; its id."""
        with self.ctx.sessions.begin() as db:
            config = db.get_one(SyncConfig, config_id)
            values: dict[str, Any] = {
                "workspace_id": config.workspace_id,
                "config_id": config_id,
                "key": key,
                "field": "name",
                "kind": "value",
                "left": {"value": "Marie"},
                "right": {"value": "Maria"},
                "left_shadow": {"value": "Mary"},
                "right_shadow": {"value": "Mary"},
                "state": "open",
                "opened_at": NOW - timedelta(hours=2),
                "updated_at": NOW - timedelta(hours=2),
            }
            conflict = Conflict(**(values | changed))
            db.add(conflict)
            db.flush()
            return conflict.id

    def issue(self, config_id: str, key: str = "mary@example.com", **changed: Any) -> int:
        """An open issue; its id."""
        with self.ctx.sessions.begin() as db:
            config = db.get_one(SyncConfig, config_id)
            values: dict[str, Any] = {
                "workspace_id": config.workspace_id,
                "config_id": config_id,
                "code": "rejected",
                "side": "right",
                "key": key,
                "message": "name: the value is too long.",
                "opened_at": NOW - timedelta(hours=1),
                "last_seen_at": NOW - timedelta(minutes=1),
            }
            issue = Issue(**(values | changed))
            db.add(issue)
            db.flush()
            return issue.id

    def link(
        self, config_id: str, key: str = "mary@example.com", *, agreed: Fields | None = None, **changed: Any
    ) -> int:
        """A tie between two records that agree, on these values; its id."""
        held = encode_fields({"name": "Mary"} if agreed is None else agreed)
        values: dict[str, Any] = {
            "config_id": config_id,
            "state": "linked",
            "key": dumps(key),
            "left_id": f"L-{key}",
            "right_id": f"R-{key}",
        }
        with self.ctx.sessions.begin() as db:
            link = Link(**(values | changed))
            db.add(link)
            db.flush()
            db.add(Shadow(link_id=link.id, left=held, right=held))
            return link.id

    def beats(self, *, workers: int = 1, ticks: bool = True) -> None:
        """Processes that are alive now."""
        with self.ctx.sessions.begin() as db:
            for number in range(workers):
                db.merge(_process(f"worker:{number}", "worker", self.clock.now))
            if ticks:
                db.merge(_process("tick", "tick", self.clock.now, ticked_at=self.clock.now))

    def write(self) -> Any:
        """A transaction of the test's own."""
        return self.ctx.sessions.begin()

    def _add(self, row: Any) -> str:
        session: Session
        with self.ctx.sessions.begin() as session:
            session.add(row)
            session.flush()
            return str(row.id)


def summary(**counts: Any) -> dict[str, Any]:
    """What a run says of itself, as `syncline sync --json` prints it."""
    side = {"read": 200, "created": 0, "updated": 0, "deleted": 0}
    found = {"left": dict(side), "right": side | {"updated": 1}, "unchanged": 199}
    return (
        {"resolved": 0, "conflicts": 0, "held": 0, "failed": 0, "excluded": 0, "errors": []} | found | counts
    )


def _connection(workspace: str, name: str, connector: str) -> Connection:
    return Connection(
        id=f"{workspace}-{name}",
        workspace_id=workspace,
        name=name,
        connector=connector,
        options={},
        created_at=NOW,
        updated_at=NOW,
    )


def _process(id: str, kind: str, at: datetime, ticked_at: datetime | None = None) -> Process:
    return Process(id=id, kind=kind, started_at=at, beat_at=at, ticked_at=ticked_at)
