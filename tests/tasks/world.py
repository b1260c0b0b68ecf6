"""A small world for tests of the work: a database, people, connections, configs, and a clock to push.

Leases and due times go by the database's own clock; `advance` moves it for this world alone.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from models.connections import Connection
from models.db import db_now
from models.migrate import upgrade
from models.people import Workspace
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun
from settings import Settings
from tasks import claims
from tasks.claims import Claim
from tasks.context import Context, live
from tasks.summary import Summary


class World:
    def __init__(self, database_url: str, folder: Path, **settings: Any) -> None:
        self.rung: list[str] = []
        self.offset = timedelta(0)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        env = {"DATABASE_URL": database_url, "SECRET_KEY": "k3Y-for-tests-only_9f8e7d6c5b4a32"}
        env["ENCRYPTION_KEYS"] = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        built = replace(Settings.from_env(env, folder=folder), **settings)
        real = live(built, wake=self.rung.append)
        self.ctx: Context = replace(
            real,
            db_now=lambda db: db_now(db) + self.offset,
            now=lambda: datetime.now(UTC) + self.offset,
            new_id=self.new_id,
            rand=lambda: 0.5,
        )
        self.engine = self.ctx.sessions.kw["bind"]
        upgrade(self.engine)
        self.workspace = self.add_workspace()

    def close(self) -> None:
        self.engine.dispose()

    def new_id(self) -> str:
        with self._lock:
            return f"id-{next(self._numbers):06}"

    def advance(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)

    def now(self) -> datetime:
        with self.ctx.reads() as db:
            return self.ctx.db_now(db)

    # -- what there is -----------------------------------------------------------------------------

    def add_workspace(self) -> str:
        id = self.new_id()
        with self.ctx.sessions.begin() as db:
            db.add(Workspace(id=id, name=f"workspace {id}", created_at=self.ctx.now()))
        return id

    def connection(self, *, workspace: str | None = None) -> str:
        id, now = self.new_id(), self.ctx.now()
        with self.ctx.sessions.begin() as db:
            db.add(
                Connection(
                    id=id,
                    workspace_id=workspace or self.workspace,
                    name=f"connection {id}",
                    connector="memory",
                    options={},
                    created_at=now,
                    updated_at=now,
                )
            )
        return id

    def config(self, **values: Any) -> str:
        """A config over two connections of its own, unless others are given."""
        id, now = self.new_id(), self.ctx.now()
        workspace = values.pop("workspace_id", self.workspace)
        values.setdefault("left_connection_id", self.connection(workspace=workspace))
        values.setdefault("right_connection_id", self.connection(workspace=workspace))
        values = {
            "name": f"config {id}",
            "definition": {},
            "cron": "0 * * * *",
            "timezone": "UTC",
            "created_at": now,
            "updated_at": now,
        } | values
        with self.ctx.sessions.begin() as db:
            db.add(SyncConfig(id=id, workspace_id=workspace, **values))
        return id

    # -- what happened -----------------------------------------------------------------------------

    def run(self, run_id: str) -> SyncRun:
        with self.ctx.reads() as db:
            return db.get_one(SyncRun, run_id)

    def runs_of(self, config_id: str) -> list[SyncRun]:
        with self.ctx.reads() as db:
            return list(
                db.scalars(
                    select(SyncRun)
                    .where(SyncRun.config_id == config_id)
                    .order_by(SyncRun.created_at, SyncRun.id)
                )
            )

    def claim(self, run_id: str, owner: str = "here:1:abc") -> Claim:
        claim = claims.claim_run(self.ctx, run_id, owner)
        assert claim is not None
        return claim

    def config_row(self, config_id: str) -> SyncConfig:
        with self.ctx.reads() as db:
            return db.get_one(SyncConfig, config_id)

    def change_config(self, config_id: str, **values: Any) -> None:
        with self.ctx.sessions.begin() as db:
            config = db.get_one(SyncConfig, config_id)
            for name, value in values.items():
                setattr(config, name, value)


def good_summary(run_id: str = "") -> Summary:
    return Summary(run=run_id, config="")
