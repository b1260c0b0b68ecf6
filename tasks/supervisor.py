"""Keeps the processes of the Procfile running on one machine.

A program that dies is started again after a back-off. A stop sends one SIGTERM to the main process of
each program, and only to that (a second one would make a dramatiq worker drop its task at once); what
is left shortly before the time is over is killed with its whole process group. Children live in
sessions of their own, so Ctrl-C at the terminal reaches the supervisor alone. A supervisor that is
killed takes its children with it where the system offers that (Linux); what still outlives it is ended
by the next start in the same folder, which knows it by process id and start time.

No threads: the supervisor is one loop that listens, reaps and starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TextIO

STOP_SECONDS = 10.0  # how long a stop may take altogether
KILL_SECONDS = 9.0  # after so long, what has not ended is killed
PROVIDERS_STOP_SECONDS = 8.5  # until then, what the others need stays up for their last words
FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 30.0
HEALTHY_SECONDS = 60.0  # a program that ran for this long has earned the first back-off again
TURN_SECONDS = 0.1  # how long the loop waits when nothing is said
STORY_SECONDS = 0.25  # how often the story goes on
LONGEST_LINE = 64 * 1024
COLOURS = (36, 33, 32, 35, 34, 31)
PID_FILE_VARIABLE = "SYNCLINE_PID_FILE"  # in each child's environment: whose it is
PROC = Path("/proc")


class AlreadyRunning(Exception):
    """Another supervisor, which is alive, looks after this folder."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        super().__init__(f"Syncline is already running here (process {pid or 'unknown'}).")


class ProcfileError(Exception):
    """The Procfile cannot be read. The message names the line."""


def parse_procfile(text: str) -> dict[str, str]:
    """Process type -> command, in the order of the file. Raises ProcfileError."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, command = line.partition(":")
        if not colon or not name.replace("_", "").replace("-", "").isalnum() or not command.strip():
            raise ProcfileError(f"Procfile, line {number}: expected `name: command`, found `{line}`.")
        if name in found:
            raise ProcfileError(f"Procfile, line {number}: `{name}` stands there twice.")
        found[name] = command.strip()
    return found


@dataclass(frozen=True, slots=True)
class Program:
    """Something to keep running: a name for its lines, and a command for `sh -c`."""

    name: str
    command: str
    is_provider: bool = False  # the others need it until they have ended: it is stopped last


# -- processes and what an earlier supervisor left of them -----------------------------------------


@dataclass(frozen=True, slots=True)
class Birth:
    """A process that was started, told apart by its start from a later one with the same id."""

    pid: int
    started: str
    name: str = ""  # of its program; empty: the supervisor itself


def started_at(pid: int) -> str | None:
    """When this process started, as a text that is only good for comparing. None: it does not run."""
    if (PROC / "self").exists():
        try:
            state, *fields = _stat(PROC / str(pid))
            boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return None if state in "ZX" else f"{boot} {fields[18]}"
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None


def _stat(process: Path) -> list[str]:
    """State, parent, process group and so on: what follows the name in `/proc/<pid>/stat`."""
    return (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def members(group: int) -> list[Path]:
    """The `/proc` folders of what runs in a process group; the dead that nobody reaped don't count."""
    found = []
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it ended while we looked
            state, _parent, its_group, *_ = _stat(process)
            if int(its_group) == group and state not in "ZX":
                found.append(process)
    return found


def group_is_alive(group: int) -> bool:
    """Whether anything still runs in this process group."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return bool(members(group)) if (PROC / "self").exists() else True


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal a whole process group; one that has ended meanwhile is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class PidFile:
    """Which processes the supervisor of a folder started. One living supervisor at most holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_suffix(".lock")
        self._lock: IO[bytes] | None = None
        self._births: dict[str, Birth] = {}

    def take(self) -> list[Birth]:
        """Become the supervisor of this folder; what an earlier one left running is returned.

        Raises AlreadyRunning when that one is alive.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._lock_path.open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise AlreadyRunning(self._holder()) from None
        self._lock = lock
        left = [birth for birth in self._read() if birth.name and self._is_left(birth)]
        self._write()
        return left

    def holder(self) -> int | None:
        """The process id of the living supervisor of this folder; None where there is none."""
        try:
            with self._lock_path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._holder()
        except FileNotFoundError:
            pass
        return None

    def add(self, name: str, pid: int) -> None:
        self._births[name] = Birth(pid, started_at(pid) or "", name)
        self._write()

    def remove(self, name: str) -> None:
        if self._births.pop(name, None) is not None:
            self._write()

    def give_back(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _holder(self) -> int | None:
        return next((birth.pid for birth in self._read() if not birth.name), None)

    def _is_left(self, birth: Birth) -> bool:
        started = started_at(birth.pid)
        if started is not None:
            return started == birth.started
        # Its leader is gone. Ours are told by their environment, should the id have been used again.
        ours = f"{PID_FILE_VARIABLE}={self.path}\0".encode()
        for process in members(birth.pid):
            with contextlib.suppress(OSError):
                if ours in (process / "environ").read_bytes():
                    return True
        return False

    def _read(self) -> list[Birth]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
            return [Birth(int(row["pid"]), str(row["started"]), str(row["name"])) for row in rows]
        except (OSError, ValueError, TypeError, KeyError):
            return []  # none yet, or torn by a power cut, which ended all processes as well

    def _write(self) -> None:
        me = Birth(os.getpid(), started_at(os.getpid()) or "")
        fresh = self.path.with_suffix(".new")
        fresh.write_text(
            json.dumps([asdict(birth) for birth in (me, *self._births.values())]), encoding="utf-8"
        )
        fresh.replace(self.path)


def end_leftovers(
    births: Sequence[Birth],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """End what an earlier supervisor left behind: SIGTERM first, SIGKILL for what is deaf to it."""
    for birth in births:
        try:
            os.kill(birth.pid, signal.SIGTERM)
        except ProcessLookupError:
            signal_group(birth.pid, signal.SIGTERM)
    until = clock() + KILL_SECONDS
    while any(group_is_alive(birth.pid) for birth in births):
        if clock() >= until:
            for birth in births:
                signal_group(birth.pid, signal.SIGKILL)
            return
        sleep(TURN_SECONDS)


# -- the supervisor --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Child:
    """A program, with the process that runs it now if one does."""

    program: Program
    colour: int
    process: subprocess.Popen[bytes] | None = None
    group: int | None = None  # its process group, which is cleared before the next start
    born_at: float = 0.0
    start_at: float = 0.0
    kill_at: float = 0.0
    backoff: float = FIRST_BACKOFF_SECONDS
    unsaid: bytes = b""  # the beginning of a line whose end is still to come

    def has_ended(self) -> bool:
        """Whether nothing of it runs any more, its own children included."""
        if self.process is not None and self.process.poll() is None:
            return False
        return self.group is None or not group_is_alive(self.group)


class Supervisor:
    """Runs programs until it is told to stop. `run()` is its whole life; it has only one."""

    def __init__(
        self,
        programs: Iterable[Program],
        *,
        env: Mapping[str, str],
        folder: Path,
        pid_file: PidFile,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._env = {**env, PID_FILE_VARIABLE: str(pid_file.path)}
        self._folder = folder
        self._pid_file = pid_file
        self._out = out or sys.stdout
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._children = [
            _Child(program, COLOURS[number % len(COLOURS)]) for number, program in enumerate(programs)
        ]
        self._width = max((len(child.program.name) for child in self._children), default=0)
        self._is_coloured = self._out.isatty() and not env.get("NO_COLOR")
        self._is_stopping = False

    def stop(self) -> None:
        """Ask for the end. May be called in a signal handler."""
        self._is_stopping = True

    def run(self, story: Iterator[object] | None = None) -> None:
        """Start everything and keep it running until stop(), SIGINT, SIGTERM or SIGHUP.

        `story` is what has to happen beside the programs, in small steps: it goes on about four times a
        second. What it raises stops everything, and then comes out of here.
        """
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
            wanted.append(signal.SIGHUP)
        handlers = {number: signal.signal(number, self._on_signal) for number in wanted}
        try:
            next_step = self._clock()
            while not self._is_stopping:
                self._look_after_children()
                self._listen()
                if story is not None and self._clock() >= next_step:
                    next(story, None)
                    next_step = self._clock() + STORY_SECONDS
        finally:
            self._stop_children()
            self._selector.close()
            self._pid_file.give_back()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def say(self, text: str) -> None:
        """Something of our own between the lines of the programs. Never fails."""
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):
            self.stop()  # nobody reads any more, as in `... | head`

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop()

    def _look_after_children(self) -> None:
        now = self._clock()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._plan_restart(child, now)
            if child.process is None and now >= child.start_at and self._is_cleared(child, now):
                self._start(child, now)

    def _start(self, child: _Child, now: float) -> None:
        # By way of this very file, which ties the child to our life and then becomes `sh`.
        tied = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
        process = subprocess.Popen(
            [*tied, "sh", "-c", child.program.command],
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child.process, child.group, child.born_at = process, process.pid, now
        self._pid_file.add(child.program.name, process.pid)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, child)

    def _plan_restart(self, child: _Child, now: float) -> None:
        code = self._bury(child)
        if now - child.born_at >= HEALTHY_SECONDS:
            child.backoff = FIRST_BACKOFF_SECONDS
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._tell(child, f"{how}; starting again in {child.backoff:g} s")
        child.start_at = now + child.backoff
        child.backoff = min(child.backoff * 2, LAST_BACKOFF_SECONDS)
        if child.group is not None:
            signal_group(child.group, signal.SIGTERM)  # its own children, whom nobody looks after now
            child.kill_at = now + KILL_SECONDS

    def _is_cleared(self, child: _Child, now: float) -> bool:
        """Whether nothing is left of the process before: two generations must not share a port."""
        if child.group is not None and group_is_alive(child.group):
            if now < child.kill_at:
                return False
            signal_group(child.group, signal.SIGKILL)
        child.group = None
        return True

    def _stop_children(self) -> None:
        self._is_stopping = True
        began_at = self._clock()
        for providers, until in ((False, PROVIDERS_STOP_SECONDS), (True, KILL_SECONDS)):
            for child in self._children:
                if child.program.is_provider == providers and child.process is not None:
                    child.process.terminate()
            stage = [child for child in self._children if providers or not child.program.is_provider]
            self._wait_for_end(stage, began_at + until)
        for child in self._children:
            if child.group is not None and not child.has_ended():
                self._tell(child, "did not end in time and is killed")
                signal_group(child.group, signal.SIGKILL)
        self._wait_for_end(self._children, self._clock() + STOP_SECONDS - KILL_SECONDS)
        for child in self._children:
            if child.has_ended():
                self._bury(child)
                self._pid_file.remove(child.program.name)

    def _wait_for_end(self, children: Sequence[_Child], until: float) -> None:
        while self._clock() < until and not all(child.has_ended() for child in children):
            self._listen()

    def _bury(self, child: _Child) -> int:
        """Take the last words of a process that has ended. Returns its exit code."""
        if child.process is None:
            return 0
        pipe = child.process.stdout
        assert pipe is not None
        while not pipe.closed and self._hear(child, pipe):
            pass
        if not pipe.closed:  # its own children still hold the other end
            self._hang_up(pipe)
        code = child.process.wait()
        child.process = None
        return code

    # -- what the programs say ---------------------------------------------------------------------

    def _listen(self) -> None:
        for key, _ in self._selector.select(TURN_SECONDS):
            child: _Child = key.data
            assert child.process is not None and child.process.stdout is not None
            self._hear(child, child.process.stdout)

    def _hear(self, child: _Child, pipe: IO[bytes]) -> bool:
        """Show the whole lines that stand in the pipe. False at its end, and when it is empty for now."""
        try:
            said = os.read(pipe.fileno(), LONGEST_LINE)
        except BlockingIOError:
            return False
        *lines, child.unsaid = (child.unsaid + said).split(b"\n")
        if not said or len(child.unsaid) > LONGEST_LINE:
            lines, child.unsaid = [*lines, child.unsaid], b""
        for line in lines:
            if line.strip():
                self._tell(child, line.decode("utf-8", errors="replace").rstrip())
        if not said:
            self._hang_up(pipe)
        return bool(said)

    def _hang_up(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()

    def _tell(self, child: _Child, line: str) -> None:
        prefix = f"{child.program.name:<{self._width}} | "
        self.say((f"\x1b[{child.colour}m{prefix}\x1b[0m" if self._is_coloured else prefix) + line)


def _become(parent: int, command: Sequence[str]) -> None:
    """Runs in a child: ask the kernel for a SIGTERM when the supervisor dies, then become the command."""
    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the next start finds us by the pid file
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we could ask
    os.execvp(command[0], list(command))


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
