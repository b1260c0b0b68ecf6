"""A full disk under our own database, under a sheet, and under the log: one after the other.

Each of the three lies on a file system of its own, of some megabytes, in a mount namespace that ends with
the run (`unshare`, which needs no privileges where the system allows user namespaces). Where it does not,
the processes may write no file beyond a size (`ulimit -f`).

While a disk is full, both sides are edited and runs are asked for. Afterwards nobody asks for anything:
what was edited must arrive by itself.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import yaml
from sqlalchemy.exc import SQLAlchemyError

from settings import Settings
from tasks import definitions, runs, start
from tasks.broker import Bell
from tasks.context import Context, live
from tasks.errors import WorkError
from tests.faults.state import SqliteState
from tests.services import running_redis

ROOT = Path(__file__).parents[2]
SIZE = "32m"
DISKS = ("state", "sheet", "log")
FULL_SECONDS = 8.0
_GOT_THROUGH = "SELECT 1 FROM sync_runs WHERE state = 'success'"
HEAL_SECONDS = 150.0  # a retry's back-off, or the schedule's next minute, and the run
RECORDS = 300


def fault_run(disks: Sequence[str] = DISKS, *, keep_log: Path | None = None) -> dict[str, Any]:
    """What the run found, as the fields of a report."""
    with tempfile.TemporaryDirectory(prefix="syncline-faults-") as name:
        folder = Path(name)
        for disk in DISKS:
            (folder / disk).mkdir()
        command = [sys.executable, "-m", "tests.faults.disk", name, *disks]
        done = subprocess.run(
            _apart(folder, command), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, timeout=900
        )
        if keep_log is not None and (folder / "kept.log").exists():
            shutil.copy(folder / "kept.log", keep_log)
    if not done.stdout:
        raise RuntimeError(f"the run over small disks ended with {done.returncode}; see above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _apart(folder: Path, command: list[str]) -> list[str]:
    """The same command where the three folders are small disks, if the system lets us have some."""
    mounts = " && ".join(f'mount -t tmpfs -o size={SIZE} tmpfs "$0/{disk}"' for disk in DISKS)
    how = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-Urm"]
    try:
        tried = subprocess.run([*how, "sh", "-c", mounts, str(folder)], capture_output=True, check=False)
    except FileNotFoundError:
        return [*command, "--limit"]
    if tried.returncode:
        return [*command, "--limit"]
    return [*how, "sh", "-c", f'{mounts} && exec "$@"', str(folder), *command]


@dataclass
class Office:
    """A database and a sheet that follow each other, and the processes that see to it."""

    folder: Path
    limited: bool  # no small disks: sizes of files are limited instead
    wanted: dict[str, tuple[str, str]] = field(default_factory=dict)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    edits: int = 0

    def __post_init__(self) -> None:
        self.crm = self.folder / "crm.db"
        self.sheet = self.folder / "sheet" / "people.csv"
        self.log = self.folder / "log" / "log"
        self.state = SqliteState(self.folder / "state" / "state.db")

    # -- people ------------------------------------------------------------------------------------

    def open(self) -> None:
        with closing(sqlite3.connect(self.crm)) as db:
            db.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, k TEXT UNIQUE, x TEXT, y TEXT)")
            rows = [(f"k{n}", "x0", "y0") for n in range(RECORDS)]
            db.executemany("INSERT INTO people (k, x, y) VALUES (?, ?, ?)", rows)
            db.commit()
        self.sheet.write_text("k,x,y\r\n")
        self.wanted = {k: (x, y) for k, x, y in rows}

    def edit(self, *, sheet: bool) -> None:
        """The database's people edit `x`, those of the sheet `y`, ten records at a time."""
        self.edits += 1
        keys = [f"k{(self.edits * 10 + n) % RECORDS}" for n in range(10)]
        value = f"v{self.edits}"
        if not sheet:
            with closing(sqlite3.connect(self.crm, timeout=30)) as db:
                db.executemany("UPDATE people SET x = ? WHERE k = ?", [(value, k) for k in keys])
                db.commit()
            self.wanted |= {k: (value, self.wanted[k][1]) for k in keys}
            return
        rows = self.in_sheet()
        for k in keys:
            if k in rows:
                rows[k] = (rows[k][0], value)
        new = self.folder / "new.csv"
        with new.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(("k", "x", "y"))
            out.writerows((k, *rest) for k, rest in rows.items())
        try:
            shutil.copy(new, self.sheet.with_suffix(".ours"))
        except OSError as problem:  # the person's own program has no room either: no edit
            self.sheet.with_suffix(".ours").unlink(missing_ok=True)
            if problem.errno != errno.ENOSPC:
                raise
            return
        self.sheet.with_suffix(".ours").replace(self.sheet)
        self.wanted |= {k: (self.wanted[k][0], value) for k in keys if k in rows}

    def in_sheet(self) -> dict[str, tuple[str, str]]:
        with self.sheet.open(newline="") as file:
            return {row["k"]: (row["x"], row["y"]) for row in csv.DictReader(file)}

    def in_database(self) -> list[tuple[str, str, str]]:
        with closing(sqlite3.connect(self.crm, timeout=30)) as db:
            return db.execute("SELECT k, x, y FROM people").fetchall()

    # -- the installation --------------------------------------------------------------------------

    def move_in(self, redis_url: str) -> Context:
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SECRET_KEY": "k3Y-for-tests-only_9f8e7d6c5b4a32",
            "ENCRYPTION_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "DATABASE_URL": f"sqlite:///{self.state.path}",
            "REDIS_URL": redis_url,
            "SOURCES_FOLDERS": str(self.folder),
            "LEASE_SECONDS": "4",
            "LEASE_RENEW_SECONDS": "1",
            "RING_AGAIN_SECONDS": "2",
            "LOG_FORMAT": "json",
        }
        self.bell = Bell(redis_url)
        ctx = live(Settings.from_env(self.environment, folder=self.folder), wake=self.bell)
        start.release(ctx)
        path = self.folder / "syncline.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "connections": {
                        "crm": {"connector": "sql", "options": {"url": f"sqlite:///{self.crm}"}},
                        "sheets": {"connector": "csv", "options": {"folder": str(self.sheet.parent)}},
                    },
                    "syncs": {
                        "people": {
                            "left": {"connection": "crm", "stream": "people"},
                            "right": {"connection": "sheets", "stream": self.sheet.name, "key": "k"},
                            "direction": "bidirectional",
                            "match": ["k"],
                            "fields": [{"left": name, "right": name} for name in "kxy"],
                            "schedule": {"cron": "* * * * *"},
                        }
                    },
                }
            )
        )
        definitions.apply(ctx, path, env={}, by="faults@example.org")
        return ctx

    def start(self) -> None:
        lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line)
        for name in ("worker", "scheduler"):
            with self.log.open("ab") as log:
                self.children.append(
                    subprocess.Popen(
                        ["sh", "-c", lines[name]],
                        cwd=ROOT,
                        env=self.environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def close(self) -> None:
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    # -- the fault ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def full(self, disk: str) -> Iterator[None]:
        """No room on this disk for as long as the block lasts."""
        if self.limited:
            with self._no_larger_files(disk):
                yield
            return
        balloon = self.folder / disk / "full"
        try:
            with contextlib.suppress(OSError), balloon.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            yield
        finally:
            balloon.unlink()

    @contextlib.contextmanager
    def _no_larger_files(self, disk: str) -> Iterator[None]:
        """For the processes: no file grows beyond what is there now."""
        largest = max((item.stat().st_size for item in (self.folder / disk).iterdir()), default=0)
        pids = [pid for child in self.children for pid in _group(child.pid)]
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest // 2, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def _group(number: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == number:
                found.append(int(process.name))
    return found


def carry_out(folder: Path, disks: Sequence[str], *, limited: bool) -> dict[str, Any]:
    office, violations = Office(folder, limited), []
    injected: dict[str, int] = {}
    settled: list[float] = []
    with running_redis() as redis_url:
        office.open()
        ctx = office.move_in(redis_url)
        (config_id,) = office.state.ask("SELECT id FROM sync_configs")[0]
        begun = monotonic()
        try:
            office.start()
            _ask(ctx, config_id)
            if not _until(lambda: office.state.ask(_GOT_THROUGH), HEAL_SECONDS):
                raise TimeoutError("the first run did not get through: " + office.log.read_text()[-2000:])
            for disk in disks:
                injected[f"full {disk}"] = 1
                violations += _one(office, ctx, config_id, disk, settled)
        finally:
            office.close()
            with contextlib.suppress(OSError):
                shutil.copy(office.log, folder / "kept.log")
        seconds = monotonic() - begun
        rows = office.state.ask("SELECT state, count(*) FROM sync_runs GROUP BY state")
        said = office.state.ask(
            "SELECT DISTINCT error_code, error FROM sync_runs WHERE error_code IS NOT NULL"
        )
        office.bell.close()
        start.engine_of(ctx).dispose()
    violations += [
        f"F-11 a run did not say what is wrong: {code}: {text}"
        for code, text in said
        if code == "bug" or not any(word in str(text).lower() for word in ("disk", "space", "room"))
    ]
    violations += office.state.damage()
    return {
        "seconds": round(seconds, 1),
        "records": RECORDS,
        "injected": injected,
        "violations": violations,
        "runs": {str(state): number for state, number in rows},
        "edits": office.edits,
        "settled_s": round(max(settled, default=0.0), 1),
    }


def _one(office: Office, ctx: Context, config_id: str, disk: str, settled: list[float]) -> list[str]:
    with office.full(disk):
        until = monotonic() + FULL_SECONDS
        while monotonic() < until:
            for sheet in (False, True):
                office.edit(sheet=sheet)
                _ask(ctx, config_id)
                threading.Event().wait(0.5)
        found = _damaged(office)
    begun = monotonic()
    if not _until(lambda: not _disagreement(office), HEAL_SECONDS):
        said = "; ".join(_disagreement(office)[:3])
        found.append(f"I2 stuck: {HEAL_SECONDS:.0f} s after the disk of {disk} had room again: {said}")
    settled.append(monotonic() - begun)
    found += [f"I16 left over: {path.name}" for path in office.sheet.parent.glob(".*syncline-tmp")]
    return found


def _damaged(office: Office) -> list[str]:
    """While the disk is full: no half file has taken the place of the sheet."""
    rows = office.in_sheet()
    short = len(rows) < RECORDS or any(None in values for values in rows.values())
    return ["I4 half a sheet: it was cut while the disk was full"] if short else []


def _disagreement(office: Office) -> list[str]:
    """I3 to I5: what does not stand on both sides as it was last written."""
    there = office.in_database()
    found = [f"I3 doubled: {len(there)} rows for {RECORDS} records"] if len(there) != RECORDS else []
    for name, rows in (("database", {k: (x, y) for k, x, y in there}), ("sheet", office.in_sheet())):
        found += [
            f"{name} {k} holds {rows.get(k)}" for k, want in office.wanted.items() if rows.get(k) != want
        ]
    return found


def _ask(ctx: Context, config_id: str) -> None:
    with contextlib.suppress(WorkError, SQLAlchemyError):
        runs.queue(ctx, config_id, asked_by="faults@example.org")


def _until(what: Any, seconds: float) -> bool:
    until = monotonic() + seconds
    while not what():
        if monotonic() > until:
            return False
        threading.Event().wait(0.25)
    return True


if __name__ == "__main__":
    chosen = [item for item in sys.argv[2:] if item != "--limit"]
    print(json.dumps(carry_out(Path(sys.argv[1]), chosen, limited="--limit" in sys.argv)))
