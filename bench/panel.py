"""How long each page takes over a year of use, while two syncs run: `python -m bench.panel`

It fills a database of its own (see `bench.history`), starts what the Procfile starts, keeps two syncs at work
and asks for every page and every list of the API, two at a time. The CPU and the number of
queries of a page are taken in this process, over the same database: they hold whatever else the machine does.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import queue
import random
import re
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Flask
from sqlalchemy import Engine, event, select, text

import bench.work as work
from bench.history import BIG, History
from bench.run import ROOT, database
from models.people import User
from models.questions import QuestionKind
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind
from settings import Settings
from sync.records import SIDES
from tasks import bulk, definitions, drafts, people, questions, runs, start, tokens
from tasks.context import Context, live
from tasks.errors import WorkError
from tasks.logs import set_up
from tasks.people import DEFAULT_WORKSPACE, LOCAL_ADMIN
from tasks.redis_server import free_port
from tasks.rights import Capability
from tasks.supervisor import parse_procfile
from tests.services import PostgresMissing, running_postgres, running_redis
from web import create_app

Lines = list[dict[str, Any]]

LIMIT = 0.3  # seconds that 95 of 100 answers of a page may take
CLIENTS = 2
BUSY_RECORDS = 20_000
BUSY = "connections:{connections}\nsyncs:{syncs}\n"
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.panel", description=__doc__)
    parser.add_argument("--only", default="sqlite,postgresql", help="our own database, with commas between")
    parser.add_argument("--times", type=int, default=30, help="how often each page is asked for")
    parser.add_argument("--pages", default="", help="only pages whose address has this in it")
    parser.add_argument("--keep", type=Path, help="a folder for the filled SQLite file: used again if there")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    for name in asked.only.split(","):
        with tempfile.TemporaryDirectory(prefix="syncline-bench-", dir="/var/tmp") as folder:
            found[name] = KINDS[name](Path(folder), asked)
    if asked.json:
        print(json.dumps(found))
    is_over = any(line["p95"] > LIMIT for lines in found.values() for line in lines)
    sys.exit(1 if is_over else 0)


def over_sqlite(folder: Path, asked: argparse.Namespace) -> Lines:
    home = asked.keep or folder
    return measured(folder, f"sqlite:///{home / 'panel.db'}", asked)


def over_postgresql(folder: Path, asked: argparse.Namespace) -> Lines:
    given = os.environ.get("BENCH_PG_URL")  # a filled database that is there already
    if given:
        return measured(folder, given, asked)
    try:
        with running_postgres(shared_buffers="256MB", autovacuum="on", max_wal_size="4GB") as server:
            url = database(server, "panel").replace("://", "+psycopg://")
            return measured(folder, url, asked)
    except PostgresMissing as missing:
        print(f"PostgreSQL: {missing}", file=sys.stderr)
        return []


KINDS = {"sqlite": over_sqlite, "postgresql": over_postgresql}


def measured(folder: Path, url: str, asked: argparse.Namespace) -> Lines:
    env = environment(asked.keep or folder, folder, url)
    ctx = live(Settings.from_env(env, folder=folder))
    set_up("ERROR", "console", process="bench")
    start.release(ctx, check_keys=False)
    filled(ctx)
    pages = [page for page in every_page(ctx) if asked.pages in page.path]
    busy = Busy(ctx, folder)
    with running_redis() as redis_url:
        port = free_port()
        env |= {"REDIS_URL": redis_url, "PORT": str(port), "HOST": "127.0.0.1"}
        ctx = live(Settings.from_env(env, folder=folder))
        with programs(env, folder) as running:
            door = Door(ctx, port)
            door.wait()
            door.sign_in()
            with busy.at_work():
                before = cpu_of(running["web"])
                took = door.ask_for_all(pages, asked.times)
                spent = cpu_of(running["web"]) - before
                done = busy.done
    lines: Lines = [
        {"page": page.path, "method": page.method, "p50": at(took[page], 50), "p95": at(took[page], 95)}
        | inside(ctx, page, door)
        for page in pages
    ]
    lines.sort(key=lambda line: -line["p95"])
    if not asked.json:
        show(url.partition(":")[0], lines, spent / max(len(pages) * asked.times, 1), done)
    return lines


def show(kind: str, lines: Sequence[Mapping[str, Any]], cpu: float, done: int) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\nOur own database: {kind}. Load {load}; {done} runs of two syncs meanwhile;", end=" ")
    print(f"{1000 * cpu:.0f} ms of the server's CPU for an answer.")
    print(f"  {'p50 ms':>7} {'p95 ms':>7} {'CPU ms':>7} {'queries':>8}  page")
    for line in lines:
        mark = "over " if line["p95"] > LIMIT else ""
        told = f"{1000 * line['p50']:>7.0f} {1000 * line['p95']:>7.0f} {1000 * line['cpu']:>7.0f}"
        print(f"  {told} {line['queries']:>8}  {mark}{line['method']} {line['page'][:110]}")


def at(seconds: list[float], percent: int) -> float:
    """The smallest time that so many of a hundred do not exceed."""
    ordered = sorted(seconds)
    return ordered[-(-percent * len(ordered) // 100) - 1]


# -- the installation ------------------------------------------------------------------------------


def environment(home: Path, folder: Path, url: str) -> dict[str, str]:
    key = home / "keys.json"
    if not key.exists():
        key.write_text(
            json.dumps([secrets.token_urlsafe(48), base64.b64encode(secrets.token_bytes(32)).decode()])
        )
    secret, encryption = json.loads(key.read_text())
    commands = os.path.dirname(sys.executable)
    return {
        "PATH": f"{commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": url,
        "SECRET_KEY": secret,
        "ENCRYPTION_KEYS": f"k1:{encryption}",
        "INTEGRATIONS_CRON_SECRET": secrets.token_urlsafe(32),
        "ADMIN_EMAILS": LOCAL_ADMIN,
        "SOURCES_FOLDERS": str(folder),
        "LOG_LEVEL": "ERROR",
    }


def filled(ctx: Context) -> None:
    """Fill the database, unless it is. Its statistics are those of a database in use."""
    with ctx.reads() as db:
        if db.get(SyncConfig, BIG) is not None:
            return
    History(ctx, datetime.now(UTC)).write()
    engine = start.engine_of(ctx)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db_:
            db_.execute(text("ANALYZE"))


@contextmanager
def programs(env: Mapping[str, str], folder: Path) -> Iterator[dict[str, int]]:
    """What the Procfile starts, for as long as the block lasts; the process ids."""
    commands = parse_procfile((ROOT / "Procfile").read_text(encoding="utf-8"))
    commands.pop("release")
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            started[name] = subprocess.Popen(
                ["sh", "-c", command], env=dict(env), cwd=folder, start_new_session=True
            )
        yield {name: process.pid for name, process in started.items()}
    finally:
        for process in started.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process in started.values():
            process.wait(timeout=30)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process, its children included, has taken so far."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if pid in (int(stat.parent.name), int(after[1])):
            total += sum(map(int, after[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


class Busy:
    """Two syncs between SQLite files that always have something to do."""

    def __init__(self, ctx: Context, folder: Path) -> None:
        self._ctx, self._folder = ctx, folder
        self._stop = threading.Event()
        self._edits = 0
        self.done = 0
        connections = syncs = ""
        # Named after the folder of their files: a kept database knows those of another time, which are gone.
        names = [f"busy-{letter}-{folder.name}" for letter in "ab"]
        for name in names:
            for side in SIDES:
                path = self._path(name, side)
                work.make_sqlite(path, BUSY_RECORDS if side == "left" else 0)
                options = f"{{url: 'sqlite:///{path}'}}"
                connections += f"\n  {name}-{side}: {{connector: sql, options: {options}}}"
            ends = ", ".join(f"{side}: {{connection: {name}-{side}, stream: records}}" for side in SIDES)
            syncs += f"\n  {name}: {{{ends}, match: [id], guards: off, schedule: {{cron: '0 4 1 1 *'}}}}"
        file = folder / "busy.yaml"
        file.write_text(BUSY.format(connections=connections, syncs=syncs), encoding="utf-8")
        definitions.apply(ctx, file, env={}, by="bench")
        with ctx.reads() as db:
            named = SyncConfig.name.in_(names)
            self._configs = {row.name: row.id for row in db.scalars(select(SyncConfig).where(named))}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._go_on)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _go_on(self) -> None:
        while not self._stop.wait(0.2):
            for name, config_id in self._configs.items():
                try:
                    runs.queue(self._ctx, config_id, kind=RunKind.MANUAL, asked_by="bench")
                except WorkError:
                    continue  # it is at work
                self.done += 1
                self._edits += 1
                moment = work.START + timedelta(days=self._edits)
                edit = work.Edit(0.02, moment)
                work.edit_sqlite(self._path(name, "left"), edit.ids("left", BUSY_RECORDS), moment)

    def _path(self, name: str, side: str) -> Path:
        return self._folder / f"{name}-{side}.db"


# -- the pages -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] = ()


def every_page(ctx: Context) -> list[Page]:
    """Each GET of the URL map, with what it can be asked; what a new one needs is said in `addresses`."""
    asked = addresses(ctx)
    app = create_app(ctx)
    rules = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    unknown = rules - set(asked) - {"/assets/<digest>/<name>", "/oauth/callback", "/invitations/<token>"}
    for rule in sorted(unknown):
        if "<" in rule:
            print(f"not measured: {rule}; say in bench.panel how it is asked for", file=sys.stderr)
        else:
            asked[rule] = [rule]
    found = [Page(path, headers=_headers(rule)) for rule, paths in asked.items() for path in paths]
    polled = ("/", "/configs", f"/configs/{BIG}", "/runs", "/runs/run-099999", "/issues", "/queue", "/pulse")
    found += [Page(path, headers=(("HX-Request", "true"),)) for path in polled]
    return found + [
        Page(path, "POST", form=form)
        for path, form in (
            ("/runs/exports", ()),
            ("/runs/run-000000/exports", ()),
            ("/issues/exports", ()),
            ("/conflicts/exports", (("state", "settled"),)),
            ("/audit/exports", ()),
        )
    ]


def _headers(rule: str) -> tuple[tuple[str, str], ...]:
    if rule in ("/metrics", "/api/integrations/status"):
        return (("Authorization", "cron"),)
    return (("Authorization", "token"),) if rule.startswith("/api/") else ()


def addresses(ctx: Context) -> dict[str, list[str]]:
    """By rule, what is asked for: the first page, one far back, and filters."""
    deep = (datetime.now(UTC) - timedelta(days=60)).isoformat()
    by_id, by_number = quoted(before=f"{deep}~run"), quoted(before=f"{deep}~1")
    email = LOCAL_ADMIN
    connection = f"{DEFAULT_WORKSPACE}-left-0"
    draft = drafts.begin(ctx, DEFAULT_WORKSPACE, connection, f"{DEFAULT_WORKSPACE}-right-0", by=email)
    fields = drafts.begin_change(ctx, "config-001", by=email)
    planned = bulk.plan(ctx, bulk.Selection(DEFAULT_WORKSPACE, "config-005"), said="x", by=email)
    question = questions.ask(ctx, DEFAULT_WORKSPACE, QuestionKind.CHECK, by=email, connection_id=connection)
    with ctx.reads() as db:
        act = db.scalar(text("SELECT max(id) FROM audit_events WHERE action = 'run.queued'"))
    assert act is not None
    newest, first, busy = "run-099999", "run-000000", "run-050001"
    key = quoted(key="person1001@example.org")
    return {
        "/": ["/"],
        "/account": ["/account"],
        "/api": ["/api"],
        "/audit": [
            "/audit", f"/audit?{by_number}", "/audit?action=config.paused", f"/audit?subject={BIG}",
            "/audit?actor=user-001%40example.org", "/audit?actor=nobody", f"/audit?actor=nobody&{by_number}",
        ],
        "/bulk": ["/bulk"],
        "/bulk/<bulk_id>": ["/bulk/bulk-001", f"/bulk/{planned}"],
        "/configs": ["/configs", "/configs?after=sync+060", "/configs?q=sync+09", "/configs?state=attention"],
        "/configs/<config_id>": [f"/configs/{BIG}", "/configs/config-003", f"/configs/{BIG}?runs=90"],
        "/conflicts": [
            "/conflicts", f"/conflicts?{by_number}", "/conflicts?state=settled", "/conflicts?state=answered",
            f"/conflicts?config={BIG}", "/conflicts?config=config-002",
        ],
        "/conflicts/<int:conflict_id>": ["/conflicts/2", "/conflicts/4"],
        "/conflicts/plan": ["/conflicts/plan?take=left&like=2"],
        "/connections": ["/connections"],
        "/connections/<connection_id>": [f"/connections/{connection}"],
        "/connections/<connection_id>/edit": [f"/connections/{connection}/edit"],
        "/connections/new": ["/connections/new"],
        "/connections/new/<connector>": ["/connections/new/sql"],
        "/drafts/<draft_id>/<step>": [
            f"/drafts/{draft}/streams",
            *(f"/drafts/{fields}/{step}" for step in ("fields", "rules", "schedule", "review")),
        ],
        "/drafts/new": ["/drafts/new"],
        "/drafts/times": ["/drafts/times?cron=*/5+*+*+*+*&timezone=Europe/Paris"],
        "/held": [
            "/held", f"/held?{by_number}", f"/held?config={BIG}", "/held?state=withdrawn",
            "/held?state=dismissed", "/held?state=expired", "/held?state=approved",
        ],
        "/held/plan": [
            f"/held/plan?config={BIG}&guard=budget&side=right&operation=delete",
            f"/held/plan?config={BIG}&guard=budget&side=right&operation=update",
        ],
        "/issues": [
            "/issues", "/issues?state=muted", "/issues?state=healed", "/issues?code=auth", "/issues?q=999",
            f"/issues?config={BIG}", "/issues?config=config-005&code=auth",
        ],
        "/issues/<config_id>/<cause>": [
            f"/issues/{BIG}/rejected", f"/issues/{BIG}/rejected?state=healed",
            f"/issues/{BIG}/rejected?{by_number}", "/issues/config-005/rejected?code=rejected",
        ],
        "/people": ["/people"],
        "/pulse": ["/pulse"],
        "/queue": ["/queue"],
        "/records": [
            "/records", "/records?q=person1001%40example.org", "/records?q=person12",
            "/records?q=nobody%40example.org",
        ],
        "/records/<config_id>": [f"/records/{BIG}?{key}"],
        "/runs": [
            "/runs", f"/runs?{by_id}", f"/runs?{quoted(after=f'{deep}~run')}", "/runs?state=failed",
            "/runs?state=running", f"/runs?config={BIG}", f"/runs?config={BIG}&state=failed",
            "/runs?config=config-002", "/runs?config=config-002&state=failed", "/runs?kind=manual",
            "/runs?kind=backfill", f"/runs?state=success&{by_id}", "/runs?state=skipped&kind=preview",
        ],
        "/runs/<run_id>": [
            f"/runs/{newest}", f"/runs/{first}", f"/runs/{busy}", f"/runs/{first}?after=50000",
            f"/runs/{first}?outcome=rejected", f"/runs/{first}?outcome=stale", f"/runs/{first}?q=person9999",
            f"/runs/{first}?q=nobody",
        ],
        "/runs/<run_id>/calls": [f"/runs/{newest}/calls", f"/runs/{newest}/calls?failed=yes"],
        "/schedules": ["/schedules", "/schedules?after=sync+060"],
        "/sign-in": ["/sign-in"],
        "/sign-in/<token>": ["/sign-in/unknown"],
        "/metrics": ["/metrics"],
        "/api/health": ["/api/health"],
        "/api/integrations/status": ["/api/integrations/status"],
        "/api/v1/account/sessions": ["/api/v1/account/sessions"],
        "/api/v1/audit": ["/api/v1/audit", f"/api/v1/audit?cursor={deep_cursor(deep, '1')}&limit=200"],
        "/api/v1/bulk-retries": ["/api/v1/bulk-retries"],
        "/api/v1/bulk-retries/<bulk_id>": ["/api/v1/bulk-retries/bulk-001"],
        "/api/v1/configs": ["/api/v1/configs?limit=200"],
        "/api/v1/configs/<config_id>": [f"/api/v1/configs/{BIG}"],
        "/api/v1/configs/<config_id>/records": [f"/api/v1/configs/{BIG}/records?{key}"],
        "/api/v1/conflicts": [
            "/api/v1/conflicts", f"/api/v1/conflicts?state=settled&cursor={deep_cursor(deep, '1')}",
            "/api/v1/conflicts?state=answered",
        ],
        "/api/v1/conflicts/<int:conflict_id>": ["/api/v1/conflicts/2"],
        "/api/v1/connections": ["/api/v1/connections"],
        "/api/v1/connections/<connection_id>": [f"/api/v1/connections/{connection}"],
        "/api/v1/connections/<connection_id>/sign-in": [],
        "/api/v1/connectors": ["/api/v1/connectors"],
        "/api/v1/drafts/<draft_id>": [f"/api/v1/drafts/{fields}"],
        "/api/v1/held": ["/api/v1/held", "/api/v1/held?state=dismissed"],
        "/api/v1/invitations": ["/api/v1/invitations"],
        "/api/v1/issues": [
            "/api/v1/issues", "/api/v1/issues?state=healed&limit=200",
            f"/api/v1/issues?cursor={deep_cursor(deep, '1')}",
        ],
        "/api/v1/issues/notes": [f"/api/v1/issues/notes?config_id={BIG}&code=rejected"],
        "/api/v1/jobs": ["/api/v1/jobs"],
        "/api/v1/jobs/<name>/executions": ["/api/v1/jobs/cleanup-old-logs/executions"],
        "/api/v1/me": ["/api/v1/me"],
        "/api/v1/openapi.json": ["/api/v1/openapi.json"],
        "/api/v1/people": ["/api/v1/people"],
        "/api/v1/questions/<question_id>": [f"/api/v1/questions/{question}"],
        "/api/v1/records": ["/api/v1/records?q=person1001%40example.org", "/api/v1/records?q=person12"],
        "/api/v1/runs": [
            "/api/v1/runs", "/api/v1/runs?limit=200", f"/api/v1/runs?cursor={deep_cursor(deep, 'run')}",
            "/api/v1/runs?state=failed", "/api/v1/runs?state=running", f"/api/v1/runs?config_id={BIG}",
            "/api/v1/runs?kind=backfill",
        ],
        "/api/v1/runs/<run_id>": [f"/api/v1/runs/{newest}"],
        "/api/v1/runs/<run_id>/calls": [f"/api/v1/runs/{newest}/calls"],
        "/api/v1/runs/<run_id>/changes": [
            f"/api/v1/runs/{first}/changes?limit=200", f"/api/v1/runs/{first}/changes?state=rejected",
            f"/api/v1/runs/{first}/changes?state=stale",
        ],
        "/api/v1/runs/<run_id>/log": [f"/api/v1/runs/{first}/log"],
        "/api/v1/schedules": ["/api/v1/schedules"],
        "/api/v1/tokens": ["/api/v1/tokens"],
        "/api/v1/workspaces": ["/api/v1/workspaces"],
        "/api/workspaces/<workspace_id>/sync-jobs": [f"/api/workspaces/{DEFAULT_WORKSPACE}/sync-jobs"],
        "/api/workspaces/<workspace_id>/sync-jobs/<job_id>/status": [
            f"/api/workspaces/{DEFAULT_WORKSPACE}/sync-jobs/job-0/status"
        ],
    }  # fmt: skip


def quoted(**args: str) -> str:
    return urlencode(args)


def deep_cursor(moment: str, id: str) -> str:
    return urlencode({"": f"{moment}~{id}"})[1:]


# -- asking ----------------------------------------------------------------------------------------


class Door:
    """The running panel, as its administrator meets it."""

    def __init__(self, ctx: Context, port: int) -> None:
        self._ctx, self._port = ctx, port
        self._cookie = ""
        self._csrf = ""
        with ctx.reads() as db:
            user = db.scalars(select(User).where(User.email == LOCAL_ADMIN)).one()
        scopes = tuple(Capability)
        made = tokens.make(ctx, user.id, DEFAULT_WORKSPACE, secrets.token_hex(4), scopes, days=1, by="bench")
        self.said = {"token": f"Bearer {made.token}", "cron": f"Bearer {ctx.settings.cron_secrets[0]}"}
        self._tags: dict[str, str] = {}

    def wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                self._call(self._connect(), Page("/api/health"))
                return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError("the panel does not answer")

    def sign_in(self) -> None:
        link = people.one_time_sign_in(self._ctx, LOCAL_ADMIN)
        self._csrf = _TOKEN.findall(self._call(self._connect(), Page(link))[1])[0]
        self._call(self._connect(), Page(link, "POST", form=(("csrf_token", self._csrf),)))
        self._csrf = _TOKEN.findall(self._call(self._connect(), Page("/"))[1])[0]

    def ask_for_all(self, pages: Sequence[Page], times: int) -> dict[Page, list[float]]:
        """Each page so often, in an order of chance, by two clients at once; seconds until it is there."""
        took: dict[Page, list[float]] = {page: [] for page in pages}
        waiting: queue.SimpleQueue[Page | None] = queue.SimpleQueue()
        chance = random.Random(11)
        for _ in range(times):
            for page in chance.sample(list(pages), len(pages)):
                waiting.put(page)
        for _ in range(CLIENTS):
            waiting.put(None)
        problems: list[str] = []

        def client() -> None:
            line = self._connect()
            while (page := waiting.get()) is not None:
                status, body, seconds = self._call(line, page)
                took[page].append(seconds)
                if status not in (200, 304) and not page.path.startswith("/sign-in"):
                    problems.append(f"{page.method} {page.path}: {status} {body[:300]}")

        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
        if problems:
            print("\n".join(sorted(set(problems))), file=sys.stderr)
        return took

    def headers(self, page: Page) -> dict[str, str]:
        found = {name: self.said.get(value, value) for name, value in page.headers}
        return found | ({"If-None-Match": tag} if (tag := self._tags.get(page.path)) and page.headers else {})

    def _call(self, line: HTTPConnection, page: Page) -> tuple[int, str, float]:
        """Status, body, and seconds until the page is there or the file has begun."""
        began = time.perf_counter()
        headers = {"Cookie": self._cookie, **self.headers(page)}
        body = None
        if page.method == "POST":
            body = urlencode([*page.form, ("csrf_token", self._csrf)])
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        line.request(page.method, page.path, body=body, headers=headers)
        answer = line.getresponse()
        head = answer.read(1 if page.method == "POST" else None)
        seconds = time.perf_counter() - began
        said = (head + answer.read()).decode()
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            if "syncline=" in cookie:
                self._cookie = cookie.partition(";")[0]
        if (tag := answer.headers.get("ETag")) and "HX-Request" in headers:
            self._tags[page.path] = tag
        return answer.status, said, seconds

    def _connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self._port, timeout=120)


@dataclass
class Inside:
    """The same application in this process, signed in the same way."""

    app: Flask
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()


_INSIDE: dict[int, Inside] = {}


def inside(ctx: Context, page: Page, door: Door) -> dict[str, Any]:
    """Queries and seconds of CPU for one answer, taken in this process: the better of three."""
    if id(ctx) not in _INSIDE:
        made = _INSIDE[id(ctx)] = Inside(create_app(ctx))
        link = people.one_time_sign_in(ctx, LOCAL_ADMIN)
        csrf = _TOKEN.findall(made.client.get(link).text)[0]
        made.client.post(link, data={"csrf_token": csrf})
    client = _INSIDE[id(ctx)].client
    form = None
    if page.method == "POST":
        form = {**dict(page.form), "csrf_token": _TOKEN.findall(client.get("/").text)[0]}
    spent, asked = [], 0
    for _ in range(3):
        with counted(start.engine_of(ctx)) as statements:
            began = resource.getrusage(resource.RUSAGE_SELF)
            client.open(page.path, method=page.method, data=form, headers=door.headers(page)).get_data()
            ended = resource.getrusage(resource.RUSAGE_SELF)
        spent.append(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
        asked = len(statements)
    return {"cpu": min(spent), "queries": asked}


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA", "SET LOCAL")):
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


if __name__ == "__main__":
    main()
