"""A whole installation under fault: own Redis, own PostgreSQL, and the Procfile's processes.

Everything is ended by the id under which it was started.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import Any

import psycopg
import redis
import yaml

from models.migrate import upgrade
from tasks import definitions, redis_server, start
from tasks.broker import Bell
from tasks.context import Context, live
from tests.faults.ends import WHO, Ends
from tests.faults.proxy import Proxy
from tests.services import psycopg_url, running_postgres, running_redis

ROOT = Path(__file__).parents[2]
TERM_SECONDS = 30.0  # the host's patience
SECRETS = {
    "SECRET_KEY": "k3Y-for-tests-only_9f8e7d6c5b4a32",
    "ENCRYPTION_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}

# Every claim and every end of a run, kept apart from what the program itself can change.
_WATCH = """
CREATE SCHEMA faults;
CREATE TABLE faults.moves (
    seq bigserial PRIMARY KEY, run_id text, config text, token int, state text, worker text,
    interruptions int, lease_until timestamptz, at timestamptz
);
CREATE FUNCTION faults.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO faults.moves (run_id, config, token, state, worker, interruptions, lease_until, at)
    VALUES (NEW.id, NEW.config_id, NEW.token, NEW.state,
        coalesce(nullif(current_setting('faults.worker', true), ''), '?'), NEW.interruptions, NEW.lease_until,
        clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER made AFTER INSERT ON sync_runs FOR EACH ROW EXECUTE FUNCTION faults.note();
CREATE TRIGGER moved AFTER UPDATE ON sync_runs FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.token <> NEW.token) EXECUTE FUNCTION faults.note();
"""


@dataclass
class Running:
    role: str  # worker-1, worker-2, scheduler
    name: str  # the same with a number: each start has a name of its own
    process: subprocess.Popen[bytes]
    since: float

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()


class House:
    """`without` names the safeguard that the processes lack (see tests.faults.worker)."""

    def __init__(
        self,
        folder: Path,
        *,
        configs: int,
        records: int,
        lease: float = 2.0,
        without: str = "",
        proxied: bool = False,
        commit_seconds: float = 0.004,
    ) -> None:
        self.folder = folder
        self.lease = lease
        self.without = without
        self.log = folder / "log"
        self.running: dict[str, Running] = {}
        self.terms: list[float] = []
        self.sigkills_needed = 0
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()
        try:
            self._build(configs, records, proxied, commit_seconds)
        except BaseException:
            self.close()
            raise

    def _build(self, configs: int, records: int, proxied: bool, commit_seconds: float) -> None:
        self.redis_url = self._stack.enter_context(running_redis())
        with self.redis() as client:
            self._redis_config = str(client.info("server")["config_file"])
        self.pg_url = self._stack.enter_context(running_postgres())
        with psycopg.connect(self.pg_url, autocommit=True) as admin:
            # Stopped at once, the server may lose nothing that it has confirmed.
            admin.execute("ALTER ROLE syncline SET synchronous_commit = on")
            self._data = Path(str(admin.execute("SHOW data_directory").fetchall()[0][0]))
            for name in ("state", "ends"):
                admin.execute(f"CREATE DATABASE {name}")
        port = int(self.pg_url.rpartition("/")[0].rpartition(":")[2])
        self.proxy: Proxy | None = Proxy(port) if proxied else None
        if self.proxy:
            self._stack.callback(self.proxy.close)
        self.state_url = psycopg_url(self.pg_url, "state")
        self.plain_state_url = self.state_url.replace("+psycopg", "")
        names = [f"{number:03}" for number in range(1, configs + 1)]
        self.ends = Ends(self.pg_url.rpartition("/")[0] + "/ends", names, commit_seconds)
        self.ends.build(records)
        self.environment = SECRETS | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": self.state_url,
            "REDIS_URL": self.redis_url,
            "ALLOWED_NETWORKS": "127.0.0.0/8",
            "LEASE_SECONDS": str(self.lease),
            "LEASE_RENEW_SECONDS": str(self.lease / 5),
            "RING_AGAIN_SECONDS": "1",
            "CONNECTION_LIMIT": "16",
            "LOG_FORMAT": "json",
        }
        self.bell = Bell(self.redis_url)
        self._stack.callback(self.bell.close)
        self.ctx = self._context()
        self.config_ids = self._configure(port)

    def _context(self) -> Context:
        from settings import Settings

        ctx = live(Settings.from_env(self.environment, folder=self.folder), wake=self.bell)
        engine = start.engine_of(ctx)
        self._stack.callback(engine.dispose)
        upgrade(engine)
        start.release(ctx)
        with psycopg.connect(self.plain_state_url, autocommit=True) as db:
            db.execute(_WATCH)
        return ctx

    def _configure(self, port: int) -> dict[str, str]:
        """Store one sync per pair of tables; id -> the number that its tables carry."""
        user, _, password = self.pg_url.partition("://")[2].partition("@")[0].partition(":")
        right = self.proxy.port if self.proxy else port
        connections = {
            side: {
                "connector": "sql",
                "options": {"url": f"postgresql://{user}@127.0.0.1:{number}/ends", "password": "${ENDS}"},
            }
            for side, number in (("left", port), ("right", right))
        }
        syncs = {
            f"sync {name}": {
                "left": {"connection": "left", "stream": f"l{name}"},
                "right": {"connection": "right", "stream": f"r{name}"},
                "direction": "bidirectional",
                "match": ["k"],
                "fields": [{"left": column, "right": column} for column in "kxy"],
                "conflict": "left_wins",
                "deletes": "propagate",
                "first_run": "apply",
                "batch_size": 20,
                "retries": 1,
                "schedule": {"cron": "* * * * *"},
            }
            for name in self.ends.configs
        }
        path = self.folder / "syncline.yaml"
        path.write_text(yaml.safe_dump({"connections": connections, "syncs": syncs}))
        definitions.apply(self.ctx, path, env={"ENDS": password}, by="faults@example.org")
        rows = self.ask("SELECT id, name FROM sync_configs")
        return {str(config_id): str(name).removeprefix("sync ") for config_id, name in rows}

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of our own database, over a connection that is not the program's."""
        with psycopg.connect(self.plain_state_url, autocommit=True, connect_timeout=3) as db:
            return list(db.execute(query, values or None))

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=2, socket_connect_timeout=2)

    def wait(self, what: Callable[[], object], seconds: float, every: float = 0.1) -> bool:
        """Until it is so; whether it came to be. A database that is away counts as "not yet"."""
        until = monotonic() + seconds
        while True:
            with contextlib.suppress(psycopg.OperationalError, redis.RedisError):
                if what():
                    return True
            if monotonic() > until:
                return False
            threading.Event().wait(every)

    # -- processes ---------------------------------------------------------------------------------

    def start(self, role: str) -> Running:
        name = f"{role}/{next(self._numbers)}"
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                ["sh", "-c", self._command(role.partition("-")[0])],
                cwd=ROOT,
                env=self.environment | {"PGOPTIONS": f"-c {WHO}={name}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[role] = Running(role, name, process, time())
        return self.running[role]

    def _command(self, process: str) -> str:
        lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line)
        command = lines[process]
        if not self.without:
            return command
        replaced = command.replace("tasks.main:setup", f"tests.faults.worker:without_{self.without}")
        return replaced.replace("-m tasks.scheduler", f"-m tests.faults.worker {self.without}")

    def restart_the_dead(self) -> int:
        """As a supervisor does. How many had ended by themselves."""
        dead = [role for role, item in self.running.items() if item.process.poll() is not None]
        for role in dead:
            self.start(role)
        return len(dead)

    def terminate(self, role: str) -> float:
        """As a host does: SIGTERM to every process of the group, twice, SIGKILL when it takes too long."""
        item = self.running[role]
        begun = monotonic()
        for _ in range(2):
            item.signal(signal.SIGTERM)
        try:
            item.process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self.sigkills_needed += 1
            item.kill()
        took = monotonic() - begun
        self.terms.append(took)
        return took

    def kill_redis(self) -> None:
        with self.redis() as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)

    def start_redis(self) -> None:
        process = subprocess.Popen(
            [redis_server.executable(), self._redis_config], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._stack.callback(_end, process, signal.SIGKILL)
        self.wait(lambda: redis_server.answers(self.redis_url), 10, 0.02)

    def stop_postgres(self) -> None:
        """As `pg_ctl stop -m immediate` does."""
        self._postgres_command = shlex.split((self._data / "postmaster.opts").read_text())
        file = self._data / "postmaster.pid"
        os.kill(int(file.read_text().splitlines()[0]), signal.SIGQUIT)
        self.wait(lambda: not file.exists(), 20, 0.02)

    def start_postgres(self) -> None:
        owner = self._data.stat()
        root = os.getuid() == 0
        with (self._data.parent / "log").open("a") as log:
            process = subprocess.Popen(
                self._postgres_command,
                cwd=self._data.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=owner.st_uid if root else None,
                group=owner.st_gid if root else None,
                extra_groups=[] if root else None,
            )
        self._stack.callback(_end, process, signal.SIGINT)
        self.wait(lambda: self.ask("SELECT 1"), 30, 0.05)

    def close(self) -> None:
        for item in self.running.values():
            if item.process.poll() is None:
                item.signal(signal.SIGCONT)
                item.kill()
        self._stack.close()


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
