"""A real Parse Server for tests, from npm, over a PostgreSQL database of its own.

It is installed once into .syncline/parse-server and needs Node. `python -m tests.connectors.parse_server`
installs it and says where.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tasks import redis_server

FOLDER = Path(__file__).resolve().parents[2] / ".syncline" / "parse-server"
PACKAGE = {
    "private": True,
    "type": "module",
    "dependencies": {"parse-server": "9.10.0"},
    # With router 2.3.0 every call of /batch fails.
    "overrides": {"router": "2.2.0"},
}
APPLICATION, MASTER, REST, READ_ONLY = (
    "syncline-tests",
    "master-key-of-tests",
    "rest-key-of-tests",
    "read-only",
)
MOUNT = "/parse"
START_SECONDS = 60

SERVER = """
import express from 'express';
import { ParseServer } from 'parse-server';
const { port, database, options } = JSON.parse(process.env.SYNCLINE_PARSE);
const url = `http://127.0.0.1:${port}/parse`;
const api = new ParseServer({
  databaseURI: database, serverURL: url, logLevel: 'error', logsFolder: null, silent: true,
  filesAdapter: {
    module: '@parse/fs-files-adapter', options: { filesSubDirectory: process.env.SYNCLINE_FILES },
  },
  cloud: () => {
    Parse.Cloud.beforeSave('Picky', request => {
      if (request.object.get('name') === 'refused') throw new Parse.Error(142, 'The name is refused.');
    });
  },
  ...options,
});
await api.start();
const app = express();
app.use('/parse', api.app);
const server = app.listen(port, '127.0.0.1');
process.on('SIGTERM', async () => { server.close(); await api.handleShutdown(); process.exit(0); });
"""


class NodeMissing(Exception):
    """There is no Node of a fitting release on this machine."""


@dataclass
class ParseServer:
    """A running server, and the hands of a person at it."""

    port: int
    database: str
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{MOUNT}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        told = {
            "port": self.port,
            "database": self.database,
            "options": {
                "appId": APPLICATION,
                "masterKey": MASTER,
                "restAPIKey": REST,
                "readOnlyMasterKey": READ_ONLY,
                **self.options,
            },
        }
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "SYNCLINE_PARSE": json.dumps(told),
            "SYNCLINE_FILES": f"files-{self.port}",
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["node", str(FOLDER / "server.mjs")],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(
                    f"Parse Server did not start:\n{(self.folder / 'log').read_text()[-4000:]}"
                )
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """One call with the master key, past the connector."""
        answer = httpx.request(
            method,
            self.url + path,
            json=body,
            headers={"x-parse-application-id": APPLICATION, "x-parse-master-key": MASTER, **(headers or {})},
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text[:500])
        return answer.json()

    def objects(self, name: str, where: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """All objects of a class, as JSON."""
        body = {"_method": "GET", "where": where or {}, "limit": 100_000, "order": "objectId"}
        found: list[dict[str, Any]] = self.ask("POST", f"/classes/{name}", body)["results"]
        return found

    def remake(self, name: str, fields: dict[str, dict[str, Any]]) -> None:
        """The class, empty, with these fields."""
        if any(item["className"] == name for item in self.ask("GET", "/schemas")["results"]):
            self.ask("DELETE", f"/purge/{name}")
            self.ask("DELETE", f"/schemas/{name}")
        self.ask("POST", f"/schemas/{name}", {"className": name, "fields": fields})

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url + "/health", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def install() -> Path:
    """The folder with the pinned release, installed when it is not there yet. Raises NodeMissing."""
    _need_node()
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = json.dumps(PACKAGE, indent=2)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = FOLDER / ".installed"
        if not done.exists() or done.read_text() != wanted:
            (FOLDER / "package.json").write_text(wanted)
            subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"],
                cwd=FOLDER,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            done.write_text(wanted)
        (FOLDER / "server.mjs").write_text(SERVER)
    return FOLDER


@contextlib.contextmanager
def running(database_url: str, folder: Path, **options: Any) -> Iterator[ParseServer]:
    """A Parse Server over this empty PostgreSQL database for as long as the block lasts."""
    install()
    database = database_url.replace("postgresql+psycopg://", "postgres://")
    server = ParseServer(redis_server.free_port(), database, folder, options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _need_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NodeMissing(
            "no Node: install nodejs 20 or later, with npm, to test against a real Parse Server"
        )
    text = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) < (20, 19):
        raise NodeMissing(f"Node {text.strip()} is too old for Parse Server: install 20.19 or later")


if __name__ == "__main__":
    print(install())
