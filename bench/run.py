"""`python -m bench.run --size 100000 --only memory,sqlite,postgresql,dlt`: one table of ratios.

Everything is measured in one go on one machine, so that the ratios mean something where seconds don't. The
servers are the measurement's own; what already runs is left alone.
"""

from __future__ import annotations

import argparse
import base64
import json
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg

import bench.work as work
from bench import peers
from sync.records import SIDES
from tests.services import PostgresMissing, running_postgres

ROOT = Path(__file__).resolve().parents[1]
TIMES = 3  # a thing that changes nothing is measured so often; the best counts
# name, share of the records edited on each side, whether all is read
EDITS = (
    ("0.01 % changed on each side", 0.0001, True),
    ("1 % changed on each side", 0.01, True),
    ("incremental, 1 % changed on each side", 0.01, False),
)
STORED = "links, shadows, journal: COPY alone"
CHANGED = "1 % changed: its rows alone"
# What a run may take: a multiple of the line beside it.
LIMITS: Mapping[str, tuple[float | None, str]] = {
    STORED: (None, "copy"),
    CHANGED: (None, "read"),
    "first full load": (3.0, "copy"),
    "nothing changed": (2.0, "read"),
    "0.01 % changed on each side": (2.5, "read"),
    "1 % changed on each side": (4.0, "read"),
    "incremental, 1 % changed on each side": (1.0, "read"),
}
SYNC = """
connections:
  left:  {{connector: {connector}, options: {left}}}
  right: {{connector: {connector}, options: {right}}}
syncs:
  records:
    left:  {{connection: left, stream: records}}
    right: {{connection: right, stream: records}}
    match: [id]
    mode: incremental
    cursor: {{left: updated_at, right: updated_at}}
    schedule: {{cron: "0 4 1 1 *"}}
"""


@dataclass
class Table:
    """The lines of one pair of systems, printed as they come."""

    title: str
    size: int
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        print(f"\n{self.title}, {self.size:,} records")
        heads = f"{'seconds':>8} {'ratio':>12} {'limit':>6} {'own':>6} {'records/s/side':>15} {'MB':>6}"
        print(f"  {'what':<40} {heads}")

    def add(
        self,
        case: str,
        seconds: float,
        megabytes: float | None = None,
        note: str = "",
        processor: float | None = None,
    ) -> None:
        """`processor`: the seconds that our own process was at work, as a ratio (own): what would be left
        if the databases answered at once."""
        self.seconds[case] = seconds
        limit, beside = LIMITS.get(case.removeprefix("dlt: "), (None, "read"))
        base = self.seconds.get(beside)
        ratio = f"{seconds / base:.2f} {beside}" if base and case not in ("read", "copy") else ""
        pace = f"{self.size / seconds:,.0f}" if seconds else ""
        limit_ = f"{limit:g}" if limit and ratio else ""
        own = f"{processor / base:.2f}" if processor and base and ratio else ""
        memory = f"{megabytes:,.0f}" if megabytes else ""
        print(
            f"  {case:<40} {seconds:>8.2f} {ratio:>12} {limit_:>6} {own:>6} {pace:>15} {memory:>6}  {note}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--size", default="10000,100000", help="numbers of records, with commas between")
    parser.add_argument("--only", default="memory,sqlite,postgresql,dlt", help="pairs, with commas between")
    asked = parser.parse_args()
    only = set(filter(None, asked.only.split(",")))
    unknown = only - {"memory", "sqlite", "postgresql", "dlt"}
    if unknown:
        parser.error(f"--only knows memory, sqlite, postgresql and dlt, not {', '.join(sorted(unknown))}")
    for size in (int(part) for part in asked.size.replace("_", "").split(",")):
        with tempfile.TemporaryDirectory(prefix="syncline-bench-", dir="/var/tmp") as folder:
            if "memory" in only:
                in_memory(Path(folder), size)
            if "sqlite" in only:
                between_sqlite(Path(folder), size)
            if only & {"postgresql", "dlt"}:
                between_postgres(Path(folder), size, only)


# -- the three pairs -------------------------------------------------------------------------------


def in_memory(folder: Path, size: int) -> None:
    home = installation(folder / "memory", "memory", "{space: left}", "{space: right}")
    table = Table("memory to memory, our own database: SQLite", size)
    for line in home.child("memory", size=size, edits=EDITS):
        told(table, line["case"], line)


def between_sqlite(folder: Path, size: int) -> None:
    place = folder / "sqlite"
    place.mkdir()
    paths = {side: place / f"{side}.db" for side in SIDES}
    work.make_sqlite(paths["left"], size)
    work.make_sqlite(paths["right"], 0)
    table = Table("SQLite to SQLite, our own database: SQLite", size)
    reader = (
        "import sqlite3, sys\nfor _ in sqlite3.connect(sys.argv[1]).execute('SELECT * FROM records'): pass"
    )

    def read() -> float:
        return at_once([[sys.executable, "-c", reader, str(paths["left"])] for _ in SIDES])

    table.add("read", best(read), note="by sqlite3's own cursor, both sides at once")
    table.add("copy", copied_sqlite(paths["left"], place / "copy.db"), note="INSERT ... SELECT")
    urls = {side: f"{{url: 'sqlite:///{paths[side]}'}}" for side in SIDES}
    home = installation(place, "sql", urls["left"], urls["right"])

    def edit(edit_: work.Edit) -> None:
        for side in SIDES:
            work.edit_sqlite(paths[side], edit_.ids(side, size), edit_.moment)

    def index() -> None:
        for path in paths.values():
            with closing(sqlite3.connect(path)) as db, db:
                db.execute(work.INDEX)

    story(table, home, edit, index)


def between_postgres(folder: Path, size: int, only: set[str]) -> None:
    try:
        with running_postgres(shared_buffers="256MB", autovacuum="on", max_wal_size="4GB") as url:
            _between_postgres(folder, size, url, only)
    except PostgresMissing as missing:
        print(f"\nPostgreSQL to PostgreSQL: {missing}")


def _between_postgres(folder: Path, size: int, server: str, only: set[str]) -> None:
    urls = {name: database(server, name) for name in ("left", "right", "copied", "state", "dlt")}
    work.make_postgres(urls["left"], size)
    work.make_postgres(urls["right"], 0)
    table = Table("PostgreSQL to PostgreSQL, our own database: PostgreSQL", size)
    out = "COPY records TO STDOUT"

    def read() -> float:
        return at_once([["psql", "-qc", out, urls["left"]] for _ in SIDES])

    def copy() -> float:
        work.make_postgres(urls["copied"], 0)
        began = perf_counter()
        pipe(["psql", "-qc", out, urls["left"]], ["psql", "-qc", "COPY records FROM STDIN", urls["copied"]])
        return perf_counter() - began

    table.add("read", best(read), note="psql COPY to nowhere, both sides at once")
    table.add("copy", best(copy), note="psql COPY | psql COPY")

    def edit(edit_: work.Edit) -> None:
        for side in SIDES:
            work.edit_postgres(urls[side], edit_.ids(side, size), edit_.moment)

    def index() -> None:
        for side in SIDES:
            with psycopg.connect(urls[side], autocommit=True) as db:
                db.execute(work.INDEX)
                db.execute("VACUUM ANALYZE records")

    if "postgresql" in only:
        given = {side: f"{{url: '{urls[side]}'}}" for side in SIDES}
        env = {"DATABASE_URL": urls["state"].replace("://", "+psycopg://"), "ALLOWED_NETWORKS": "127.0.0.0/8"}
        home = installation(folder / "postgresql", "sql", given["left"], given["right"], env)
        story(table, home, edit, index)
        again = partial(edit, work.Edit(0.01, work.START.replace(year=2040)))
        table.add(
            CHANGED, rewritten(urls["state"], again), note="one UPDATE or COPY for each table, values ready"
        )
        table.add(STORED, copied_state(urls["state"]), note="as they stand, into tables without foreign keys")
    if "dlt" in only:
        work.make_postgres(urls["left"], size)
        index()
        for case, seconds, megabytes in peers.dlt(
            urls["left"],
            urls["dlt"],
            lambda moment: work.edit_postgres(urls["left"], moment.ids("left", size), moment.moment),
        ):
            table.add(f"dlt: {case}", seconds, megabytes, note="one way")


def story(table: Table, home: Home, edit: Callable[[work.Edit], None], index: Callable[[], None]) -> None:
    """The cases between two databases, each run in a process of its own."""
    home.child("prepare")
    told(table, "first full load", home.child("first")[0])
    index()
    quiet = (home.later(lambda: None) for _ in range(TIMES))
    told(table, "nothing changed", min(quiet, key=lambda line: line["seconds"]))
    for number, (case, share, full) in enumerate(EDITS):
        change = partial(edit, work.Edit(share, work.START.replace(year=2027 + number)))
        told(table, case, home.later(change, full=full))


def told(table: Table, case: str, line: Mapping[str, Any]) -> None:
    table.add(
        case, line["seconds"], line["megabytes"], counts(line.get("summary")), processor=line.get("processor")
    )


def counts(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return ""
    parts = [summary["status"]]
    for side in SIDES:
        did = {name: number for name, number in summary[side].items() if number and name != "read"}
        parts += [f"{side} {name} {number:,}" for name, number in did.items()]
    return ", ".join(parts)


# -- an installation of its own --------------------------------------------------------------------


@dataclass(frozen=True)
class Home:
    folder: Path
    env: Mapping[str, str]

    def child(self, do: str, **job: Any) -> list[dict[str, Any]]:
        """What a process of its own answers. Raises CalledProcessError."""
        with self._started(do, job) as process:
            said, _ = process.communicate()
        return self._checked(process, said.splitlines())

    def later(self, edit: Callable[[], None], *, full: bool = True) -> dict[str, Any]:
        """A run behind this edit, in a process that has made a run before. Raises CalledProcessError."""
        with self._started("later", {"full": full}) as process:
            if process.stdin is None or process.stdout is None:
                raise AssertionError("both are pipes")
            process.stdout.readline()
            edit()
            said, _ = process.communicate("go\n")
        return self._checked(process, said.splitlines())[0]

    def _started(self, do: str, job: Mapping[str, Any]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        if process.stdin is None:
            raise AssertionError("it is a pipe")
        line = json.dumps({"do": do, "folder": str(self.folder), "env": dict(self.env), **job})
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return process

    def _checked(self, process: subprocess.Popen[str], lines: Sequence[str]) -> list[dict[str, Any]]:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        return [json.loads(line) for line in lines]


def installation(
    folder: Path, connector: str, left: str, right: str, env: Mapping[str, str] | None = None
) -> Home:
    folder.mkdir(exist_ok=True)
    text = textwrap.dedent(SYNC).format(connector=connector, left=left, right=right)
    (folder / "syncline.yaml").write_text(text, encoding="utf-8")
    keys = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ENCRYPTION_KEYS": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "SOURCES_FOLDERS": str(folder),
    }
    return Home(folder, {**keys, **(env or {})})


def database(server: str, name: str) -> str:
    """A new database; its URL."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE bench_{name}")
    return server.rpartition("/")[0] + f"/bench_{name}"


# -- what it is compared with ----------------------------------------------------------------------


def best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(TIMES))


def at_once(commands: Sequence[Sequence[str]]) -> float:
    began = perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    if any([process.wait() for process in running]):  # noqa: C419  all are waited for
        raise RuntimeError(f"{commands[0][0]} failed")
    return perf_counter() - began


def pipe(first: Sequence[str], second: Sequence[str]) -> None:
    with subprocess.Popen(first, stdout=subprocess.PIPE) as source:
        subprocess.run(second, stdin=source.stdout, check=True)
    if source.returncode:
        raise RuntimeError(f"{first[0]} failed")


def copied_state(url: str) -> float:
    """What our own database needs for as many rows as a first load leaves there, made by nobody."""
    return sum(_copied_again(url, name) for name in ("links", "shadows", "changes"))


def rewritten(url: str, edit: Callable[[], None]) -> float:
    """What all three databases need for the rows that the last run wrote, if nobody read, decided or looked
    behind it: an edit of as many records, their links and shadows, and the journal's rows, stored once."""
    last = "FROM changes WHERE run_id = (SELECT id FROM sync_runs ORDER BY created_at DESC LIMIT 1)"
    began = perf_counter()
    edit()
    with psycopg.connect(url, autocommit=True) as db:
        for table, key, columns in (
            ("links", "id", ("left_version", "right_version", "written_at")),
            ("shadows", "link_id", ("left", "right", "flaps")),
        ):
            as_it_is = ", ".join(f'"{name}" = "{name}"' for name in columns)
            db.execute(f"UPDATE {table} SET {as_it_is} WHERE {key} IN (SELECT link_id {last})".encode())
    seconds = perf_counter() - began
    return seconds + _copied_again(url, "changes", f"(SELECT * {last})", "changes_once")


def _copied_again(url: str, name: str, rows: str = "", into: str = "") -> float:
    """The seconds of copying a table's rows, or some, into a table like it."""
    into = into or f"{name}_again"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE TABLE {into} (LIKE {name} INCLUDING ALL)".encode())
    began = perf_counter()
    pipe(
        ["psql", "-qc", f"COPY {rows or name} TO STDOUT", url],
        ["psql", "-qc", f"COPY {into} FROM STDIN", url],
    )
    return perf_counter() - began


def copied_sqlite(source: Path, into: Path) -> float:
    work.make_sqlite(into, 0)
    with closing(sqlite3.connect(into, isolation_level=None)) as db:
        db.execute("ATTACH ? AS source", [str(source)])
        began = perf_counter()
        db.execute("INSERT INTO records SELECT * FROM source.records")
        return perf_counter() - began


if __name__ == "__main__":
    main()
