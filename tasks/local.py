"""Everything on this machine: what `syncline up` and the demo have in common.

The programs are those of the Procfile, under the supervisor, with a Redis of our own unless one is named.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks import redis_server
from tasks.supervisor import (
    STOP_SECONDS,
    AlreadyRunning,
    PidFile,
    ProcfileError,
    Program,
    Supervisor,
    end_leftovers,
    parse_procfile,
)

if TYPE_CHECKING:
    from tasks.context import Context

PROCFILE = Path(__file__).resolve().parents[1] / "Procfile"
ONE_SHOTS = ("release",)  # run to their end before the others start
REDIS_SECONDS = 15.0
PANEL_SECONDS = 30.0
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (compared with, not bound to)


class CannotStart(Exception):
    """Something on this machine has to be put right first. The message says what, and how."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is to run here: whose state, with which environment, and where the panel should listen."""

    home: Path  # the folder `.syncline/`; programs run in the one that holds it
    env: Mapping[str, str]
    port: int
    redis_url: str | None
    host: str = "127.0.0.1"

    @property
    def folder(self) -> Path:
        return self.home.parent


@dataclass(frozen=True, slots=True)
class Running:
    """What a story is told: where the panel is, what the programs were given, and how to speak or stop."""

    supervisor: Supervisor
    address: str
    env: Mapping[str, str]

    def say(self, text: str = "") -> None:
        self.supervisor.say(text)

    def stop(self) -> None:
        self.supervisor.stop()


Story = Callable[[Running], Iterator[object]]


def run(
    machine: Machine,
    story: Story,
    *,
    procfile: Path = PROCFILE,
    prepare: Callable[[Mapping[str, str]], None] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Bring everything up, let `story` go on beside it, and stay until it or a signal ends it.

    `prepare` is called with the programs' environment, after the release step and before the programs.
    Raises CannotStart. What a killed earlier run left in this folder is ended first.
    """
    pid_file = PidFile(machine.home / "supervisor.json")
    try:
        left = pid_file.take()
    except AlreadyRunning as other:
        raise CannotStart(f"{other} Stop it with Ctrl-C in its terminal, or with: kill {other.pid}") from None
    try:
        if left:
            say("Ending what an earlier run left behind ...")
            end_leftovers(left)
        commands = _commands(procfile)
        port = _panel_port(machine, say)
        redis_url, programs = _redis(machine)
        env = environment(machine, port, redis_url)
        for name in ONE_SHOTS:
            if name in commands:
                _run_to_end(name, commands.pop(name), env, machine.folder)
        if prepare is not None:
            prepare(env)
        programs += [Program(name, command) for name, command in commands.items()]
        supervisor = Supervisor(programs, env=env, folder=machine.folder, pid_file=pid_file)
        running = Running(supervisor, _address(machine.host, port), env)
        supervisor.run(_with_redis(redis_url, story(running)))
    finally:
        pid_file.give_back()


def panel_is_up(running: Running) -> Iterator[object]:
    """Wait until the panel answers. Says so when that takes long; the programs are tried again meanwhile."""
    late = time.monotonic() + PANEL_SECONDS
    while not _answers(running.address):
        if time.monotonic() > late:
            running.say("\nThe panel does not answer yet; the lines of `web` above may say why.\n")
            late = time.monotonic() + PANEL_SECONDS
        yield None


def show_panel(running: Running, sign_in: Callable[[], str] | None = None) -> Iterator[object]:
    """Wait until the panel answers and say where it is; `sign_in` gives the path of a one-time link."""
    yield from panel_is_up(running)
    path = sign_in() if sign_in else ""
    running.say(f"\nThe panel: {running.address}{path}")
    if path:
        running.say(
            "This link signs you in, once and within a quarter of an hour. Another start gives another."
        )
    running.say("Ctrl-C stops everything.\n")


def sign_in(ctx: Context) -> str:
    """The path of a link that signs this installation's first administrator in, once; "" without one."""
    from tasks import people

    email = people.first_administrator(ctx)
    return people.one_time_sign_in(ctx, email) if email else ""


def stop_running(home: Path, *, seconds: float = 2 * STOP_SECONDS) -> bool:
    """End what runs in this folder, and wait for it. Says whether anything did. Raises CannotStart."""
    pid_file = PidFile(home / "supervisor.json")
    pid = pid_file.holder()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + seconds
    while pid_file.holder() == pid:
        if time.monotonic() > until:
            raise CannotStart(f"Process {pid} runs here and does not end. Look at it, or: kill -9 {pid}")
        time.sleep(0.1)
    return True


def environment(machine: Machine, port: int, redis_url: str) -> dict[str, str]:
    """What the programs are given: the machine's environment, and what was chosen for this start."""
    commands = os.path.dirname(sys.executable)  # gunicorn and dramatiq stand beside our Python
    env = {
        **machine.env,
        "PATH": f"{commands}{os.pathsep}{machine.env.get('PATH', os.defpath)}",
        "HOST": machine.host,
        "PORT": str(port),
        "REDIS_URL": redis_url,
        "PYTHONUNBUFFERED": "1",
    }
    env.pop("REDIS_URL_FILE", None)
    env.pop("PORT_FILE", None)
    if sys.stdout.isatty():
        env.setdefault("LOG_FORMAT", "console")  # the programs only see our pipe
    return env


def _commands(procfile: Path) -> dict[str, str]:
    try:
        return parse_procfile(procfile.read_text(encoding="utf-8"))
    except (OSError, ProcfileError) as problem:
        raise CannotStart(str(problem)) from None


def _panel_port(machine: Machine, say: Callable[[str], None]) -> int:
    try:
        port = redis_server.free_port(machine.port, host=machine.host)
    except OSError as problem:
        raise CannotStart(f"The panel cannot listen on {machine.host}: {problem}") from None
    if port != machine.port:
        say(f"Port {machine.port} is taken; the panel uses {port}.")
    return port


def _redis(machine: Machine) -> tuple[str, list[Program]]:
    """The address of the queue, and the program that provides it where none is named."""
    if machine.redis_url is not None:
        if not redis_server.answers(machine.redis_url):
            raise CannotStart(
                "The Redis of REDIS_URL does not answer. Start it, or unset REDIS_URL to use one of our own."
            )
        return machine.redis_url, []
    try:
        server = redis_server.executable(machine.env.get("PATH"))
    except redis_server.RedisMissing as missing:
        raise CannotStart(str(missing)) from None
    ours = redis_server.prepare(machine.home / "redis", redis_server.free_port(), server=server)
    return ours.url, [Program("redis", ours.command, is_provider=True)]


def _with_redis(url: str, story: Iterator[object]) -> Iterator[object]:
    """The story, once the queue answers."""
    until = time.monotonic() + REDIS_SECONDS
    while not redis_server.answers(url):
        if time.monotonic() > until:
            raise CannotStart("The Redis server did not start; .syncline/redis/redis.log may say why.")
        yield None
    yield from story


def _run_to_end(name: str, command: str, env: Mapping[str, str], folder: Path) -> None:
    """One of the Procfile's commands that has to succeed before the others; silent unless it fails."""
    done = subprocess.run(
        ["sh", "-c", command],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise CannotStart(
            f"{done.stdout}{done.stderr}\nThe {name} step failed (code {done.returncode}), see above."
        )


def _address(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def _answers(address: str) -> bool:
    """Whether a panel that is ready answers here, whatever it says: gunicorn listens before it is."""
    where = urlsplit(address)
    asked = HTTPConnection(where.hostname or "", where.port, timeout=0.5)
    try:
        asked.request("GET", "/api/health")
        asked.getresponse()
    except (OSError, HTTPException):
        return False
    finally:
        asked.close()
    return True
