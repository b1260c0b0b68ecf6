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
from settings import Settings
from tasks import definitions, redis_server, start
from tasks.broker import Bell
from tasks.context import Context, live
from tests.faults.ends import WHO, Ends
from tests.faults.proxy import Proxy
from tests.faults.state import Away, PostgresState, SqliteState, State
from tests.services import psycopg_url, running_postgres, running_redis

ROOT = Path(__file__).parents[2]
TERM_SECONDS = 30.0  # the host's patience
BATCH_SIZE = 20
SECRETS = {
    "SECRET_KEY": "k3Y-for-tests-only_9f8e7d6c5b4a32",
    "ENCRYPTION_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


class FaketimeMissing(Exception):
    def __init__(self) -> None:
        super().__init__("no libfaketime: install it (Debian: libfaketime) to turn the processes' clocks")


@dataclass
class Running:
    role: str  # worker-1, worker-2, scheduler, web
    name: str  # the same with a number: each start has a name of its own
    process: subprocess.Popen[bytes]
    since: float

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class Plan:
    """What is built. `without` names the safeguard that the processes lack (see tests.faults.worker)."""

    configs: int = 40
    records: int = 250
    lease: float = 2.0
    without: str = ""
    proxied: bool = False
    clocks: bool = False  # the processes' clocks can be turned
    sqlite: bool = False  # our own database; then there is one worker
    commit_seconds: float = 0.004

    @property
    def roles(self) -> tuple[str, ...]:
        return (*self.workers, "scheduler", "web")

    @property
    def workers(self) -> tuple[str, ...]:
        return ("worker-1",) if self.sqlite else ("worker-1", "worker-2")


class House:
    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.log = folder / "log"
        self.running: dict[str, Running] = {}
        self.births: list[Running] = []
        self.terms: list[float] = []
        self.sigkills_needed = 0
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        plan = self.plan
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
        self.proxies = self._proxies(port) if plan.proxied else {}
        self.state: State
        if plan.sqlite:
            path = self.folder / "state.db"
            self.state, state_url = SqliteState(path), f"sqlite:///{path}"
        else:
            state_url = psycopg_url(self.pg_url, "state")
            self.state = PostgresState(state_url.replace("+psycopg", ""))
        names = [f"{number:03}" for number in range(1, plan.configs + 1)]
        self.ends = Ends(self.pg_url.rpartition("/")[0] + "/ends", names, plan.commit_seconds)
        self.ends.build(plan.records)
        self.web_port = redis_server.free_port()
        queue = self.redis_url
        if "redis" in self.proxies:
            queue = queue.replace(f":{redis_port(queue)}/", f":{self.proxies['redis'].port}/")
        self.environment = SECRETS | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": state_url,
            "REDIS_URL": queue,
            "ADMIN_EMAILS": "faults@example.org",
            "HOST": "127.0.0.1",
            "PORT": str(self.web_port),
            "PUBLIC_URL": f"http://127.0.0.1:{self.web_port}",
            "ALLOWED_NETWORKS": "127.0.0.0/8",
            "LEASE_SECONDS": str(plan.lease),
            "LEASE_RENEW_SECONDS": str(plan.lease / 5),
            "RING_AGAIN_SECONDS": str(min(30.0, plan.lease / 2)),
            "CONNECTION_LIMIT": "16",
            "LOG_FORMAT": "json",
        }
        self.bell = Bell(self.redis_url)
        self._stack.callback(self.bell.close)
        self.ctx = self._context()
        self.config_ids = self._configure(port)

    def _proxies(self, port: int) -> dict[str, Proxy]:
        found = {"right": Proxy(port), "redis": Proxy(redis_port(self.redis_url))}
        for proxy in found.values():
            self._stack.callback(proxy.close)
        return found

    def _context(self) -> Context:
        ctx = live(Settings.from_env(self.environment, folder=self.folder), wake=self.bell)
        engine = start.engine_of(ctx)
        self._stack.callback(engine.dispose)
        upgrade(engine)
        start.release(ctx)
        self.state.watch()
        return ctx

    def _configure(self, port: int) -> dict[str, str]:
        """Store one sync per pair of tables, every second one incremental; id -> its tables' number."""
        user, _, password = self.pg_url.partition("://")[2].partition("@")[0].partition(":")
        right = self.proxies["right"].port if self.proxies else port
        connections = {
            side: {
                "connector": "sql",
                "options": {"url": f"postgresql://{user}@127.0.0.1:{number}/ends", "password": "${ENDS}"},
            }
            for side, number in (("left", port), ("right", right))
        }
        syncs = {}
        for number, name in enumerate(self.ends.configs):
            syncs[f"sync {name}"] = {
                "left": {"connection": "left", "stream": f"l{name}"},
                "right": {"connection": "right", "stream": f"r{name}"},
                "direction": "bidirectional",
                "match": ["k"],
                "fields": [{"left": column, "right": column} for column in "kxy"],
                "conflict": "left_wins",
                "deletes": "propagate",
                "first_run": "apply",
                "batch_size": BATCH_SIZE,
                "retries": 1,
                "schedule": {"cron": "* * * * *"},
            } | (
                {"mode": "incremental", "cursor": {"left": "at", "right": "at", "overlap": "1m"}}
                if number % 2
                else {}
            )
        path = self.folder / "syncline.yaml"
        path.write_text(yaml.safe_dump({"connections": connections, "syncs": syncs}))
        definitions.apply(self.ctx, path, env={"ENDS": password}, by="faults@example.org")
        rows = self.ask("SELECT id, name FROM sync_configs")
        return {str(config_id): str(name).removeprefix("sync ") for config_id, name in rows}

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of our own database."""
        return self.state.ask(query, *values)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=2, socket_connect_timeout=2)

    def wait(self, what: Callable[[], object], seconds: float, every: float = 0.1) -> bool:
        """Until it is so; whether it came to be. A database that is away counts as "not yet"."""
        until = monotonic() + seconds
        while True:
            with contextlib.suppress(*Away, redis.RedisError):
                if what():
                    return True
            if monotonic() > until:
                return False
            threading.Event().wait(every)

    # -- processes ---------------------------------------------------------------------------------

    def start_all(self) -> bool:
        """Start every role; whether all of them are up."""
        for role in self.plan.roles:
            self.start(role)
        kinds = len(self.plan.workers) + 1
        beating = "SELECT count(*) FROM processes WHERE kind IN ('worker', 'scheduler')"
        return self.wait(lambda: int(self.ask(beating)[0][0]) >= kinds, 60)

    def start(self, role: str) -> Running:
        name = f"{role}/{next(self._numbers)}"
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                ["sh", "-c", self._command(role.partition("-")[0])],
                cwd=ROOT,
                env=self.environment | {"PGOPTIONS": f"-c {WHO}={name}"} | self._clock_of(role),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[role] = Running(role, name, process, time())
        self.births.append(self.running[role])
        return self.running[role]

    def _command(self, process: str) -> str:
        lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line)
        command = lines[process]
        if not self.plan.without:
            return command
        replaced = command.replace("tasks.main:setup", f"tests.faults.worker:without_{self.plan.without}")
        return replaced.replace("-m tasks.scheduler", f"-m tests.faults.worker {self.plan.without}")

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

    def largest_worker(self) -> int:
        """The resident memory, in MB, of the largest process of the workers."""
        groups = {item.process.pid for item in self.running.values() if item.role in self.plan.workers}
        largest = 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) in groups:
                    largest = max(largest, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 2**20)
        return largest

    # -- clocks ------------------------------------------------------------------------------------

    def turn_clock(self, role: str, offset: str) -> None:
        """Let the processes of this role believe that it is so much later (`+7200`) or earlier."""
        path = self.folder / f"clock.{role}"
        new = path.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.rename(path)

    def _clock_of(self, role: str) -> dict[str, str]:
        if not self.plan.clocks:
            return {}
        path = self.folder / f"clock.{role}"
        if not path.exists():
            self.turn_clock(role, "+0")
        return {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).parent / "clock"),
        }

    # -- services ----------------------------------------------------------------------------------

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


def redis_port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def faketime_library() -> Path:
    """Raises FaketimeMissing."""
    for path in sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        return path
    raise FaketimeMissing


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
