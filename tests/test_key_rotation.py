"""Keys are rotated while web, worker and scheduler work, as real processes that nobody restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest

from models.people import User
from settings import new_data_key
from tasks import redis_server, tokens
from tasks.people import DEFAULT_WORKSPACE
from tasks.rights import Capability
from tasks.supervisor import parse_procfile
from tests.house import House

ROOT = Path(__file__).parents[1]
KINDS = ("web", "worker", "scheduler")
ENDED = ("success", "partial", "failed", "cancelled", "skipped")
SYNC = """
connections:
  crm:    {{connector: sql, options: {{url: "{url}", password: "only-for-tests"}}}}
  sheets: {{connector: csv, options: {{folder: sheets}}}}
syncs:
  people:
    left:  {{connection: crm, stream: people}}
    right: {{connection: sheets, stream: people.csv, key: id, create: true}}
    direction: left_to_right
    auto: false
"""


class Live:
    """The three process kinds over one installation, and the API through its web process."""

    def __init__(self, house: House, redis_url: str, token: str) -> None:
        self.house = house
        self.log = house.folder / "log"
        port = redis_server.free_port()
        self.address, self.token = f"http://127.0.0.1:{port}/api/v1", token
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": redis_url,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "LOG_FORMAT": "json",
        }
        commands = parse_procfile((ROOT / "Procfile").read_text(encoding="utf-8"))
        self.processes = {kind: self._start(commands[kind]) for kind in KINDS}

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["sh", "-c", command], cwd=self.house.folder, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def until(self, path: str, states: tuple[str, ...]) -> Any:
        begun = monotonic()
        while True:
            found = self.call("GET", path)
            if found["state"] in states:
                return found
            assert monotonic() - begun < 60, (found, self.log.read_text()[-4000:])
            threading.Event().wait(0.05)

    def wait_for_web(self) -> None:
        begun = monotonic()
        while True:
            try:
                self.call("GET", "/me")
                return
            except (urllib.error.URLError, ConnectionError):
                assert monotonic() - begun < 60, self.log.read_text()[-4000:]
                threading.Event().wait(0.1)

    def scheduler_reads(self, connection_id: str) -> None:
        """A question is answered on the control queue, with the secret."""
        asked = self.call("POST", f"/connections/{connection_id}/checks", {})
        answer = self.until(f"/questions/{asked['id']}", ("answered", "failed"))
        assert answer["state"] == "answered", answer["error"]

    def worker_reads(self, config_id: str) -> None:
        """A run reads both sides, with the secret."""
        run = self.call("POST", f"/configs/{config_id}/runs", {})
        ended = self.until(f"/runs/{run['id']}", ENDED)
        assert ended["state"] == "success", ended["error"]

    def web_writes(self, name: str, url: str) -> str:
        """A connection is made, its secret encrypted by the web process; the id."""
        options = {"url": url, "password": "only-for-tests"}
        return str(
            self.call("POST", "/connections", {"name": name, "connector": "sql", "options": options})["id"]
        )

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def url(pg_url: str) -> str:
    """A database with a table, as a URL without the password."""
    with psycopg.connect(pg_url.replace("+psycopg", "")) as db:
        db.execute("CREATE TABLE people (id int PRIMARY KEY, name text)")
        db.execute("INSERT INTO people VALUES (1, 'Ann'), (2, 'Bob')")
    return pg_url.replace("+psycopg", "").replace(":only-for-tests@", "@")


@pytest.fixture
def live(house: House, redis_url: str, url: str) -> Iterator[Live]:
    (house.folder / "sheets").mkdir()
    assert house.apply(SYNC.format(url=url)).code == 0
    ctx = house.ctx()
    with ctx.reads() as db:
        admin = db.query(User).one()
    made = tokens.make(ctx, admin.id, DEFAULT_WORKSPACE, "script", tuple(Capability), days=None, by="test")
    live = Live(house, redis_url, made.token)
    yield live
    live.close()


def replace_keys(house: House, *keys: str) -> None:
    """As people and mounted secrets do it: another file takes the place of the old one."""
    fresh = house.folder / ".syncline" / "encryption_keys.new"
    fresh.write_text(",".join(keys), encoding="ascii")
    fresh.replace(house.folder / ".syncline" / "encryption_keys")


def test_keys_are_rotated_with_all_processes_live_and_none_restarted(
    live: Live, house: House, url: str
) -> None:
    live.wait_for_web()
    old = (house.folder / ".syncline" / "encryption_keys").read_text(encoding="ascii")
    new = new_data_key("fresh")
    first = live.call("GET", "/connections")["items"][0]["id"]
    sync = live.call("GET", "/configs")["items"][0]["id"]

    def kid(connection_id: str) -> str:
        ((stored,),) = house.stored(f"SELECT secrets FROM connections WHERE id = '{connection_id}'")
        return str(stored).split(".")[1]

    def all_read(*ids: str) -> None:
        for connection_id in ids:
            live.scheduler_reads(connection_id)
        live.worker_reads(sync)

    all_read(first)
    replace_keys(house, new, old)
    second = live.web_writes("second", url)
    assert (kid(first), kid(second)) == ("local", "fresh"), "web took up the new key by itself"
    all_read(first, second)  # one under each key
    assert house.json("keys", "rotate") == {"rotated": 1, "current": 1, "failed": []}
    live.worker_reads(sync)  # right after
    live.scheduler_reads(first)
    assert (kid(first), kid(second)) == ("fresh", "fresh")
    replace_keys(house, new)
    third = live.web_writes("third", url)
    all_read(first, second, third)
    assert kid(third) == "fresh"
    assert house.json("keys", "rotate") == {"rotated": 0, "current": 3, "failed": []}
    assert [process.poll() for process in live.processes.values()] == [None] * 3
    assert "unusable" not in live.log.read_text()
