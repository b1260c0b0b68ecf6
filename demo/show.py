"""The demo as it runs: everything comes up, and a story shows what Syncline does of its own accord."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from connectors.errors import ConnectorError
from demo import seed
from models.connections import Connection
from models.sync_configs import SyncConfig
from models.sync_runs import ENDED, RunState, SyncRun
from settings import VARIABLES, Settings
from tasks import definitions, local, runs
from tasks.alive import is_alive
from tasks.broker import Bell
from tasks.context import Context, live
from tasks.errors import RunActive, WorkError
from tasks.local import CannotStart, Machine, Running

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIG = "customers"
CONNECTIONS = {"crm", "sheets"}
ENDS = {"left": "crm.db", "right": "customers.csv"}
# What the demo takes over from the environment. All else is its own: a DATABASE_URL that happens to be
# set belongs to another installation.
TAKEN_OVER = {"REDIS_URL", "REDIS_URL_FILE", "PORT", "LOG_LEVEL", "LOG_FORMAT"}
ASKED_BY = "demo"
RUN_SECONDS = 120.0
START_SECONDS = 60.0
COLUMNS = ("read", "created", "updated", "deleted", "unchanged", "conflicts")
WHAT_TO_DO = """Change something, and within a minute the other side follows:
  {database}   a SQLite database, table customers
  {sheet}   a sheet
If both change the same value, the sheet wins; but for the balance, which is the database's.
"""


class Demo:
    """The demo in one folder: its files in `.syncline/demo/`, its definition in `demo/syncline.yaml`."""

    def __init__(self, folder: Path = CHECKOUT, env: Mapping[str, str] = os.environ) -> None:
        self.files = folder / ".syncline" / "demo"
        self.definition = folder / "demo" / "syncline.yaml"
        self.env = environment(env)
        self.settings = Settings.from_env(self.env, folder=folder)

    def run(self, *, once: bool) -> None:
        """Fill both ends, bring everything up, show the first run, and stay; with `once`, show a second
        one after an edit on each side, and stop.

        Raises CannotStart.
        """
        if seed.make(self.files):
            print(f"Made a customer database and a sheet in {os.path.relpath(self.files)}.")
        print("Starting Syncline ...", flush=True)
        story = self.two_runs if once else self.first_run_and_panel
        settings = self.settings
        machine = Machine(settings.home, self.env, settings.port, settings.redis_url)
        local.run(machine, story, prepare=self.apply)

    def reset(self) -> None:
        """Forget the demo: end it if it runs, delete its files, and its sync with all that hangs on it."""
        if local.stop_running(self.settings.home):
            print("Ended what was running here.")
        database = self.settings.own_database
        if database is not None and database.exists():
            forget(live(self.settings))
        shutil.rmtree(self.files, ignore_errors=True)
        print("The demo is gone; `make demo` starts it over.")

    def apply(self, env: Mapping[str, str]) -> None:
        """After the migrations and before the programs: the definition becomes connections and a sync."""
        try:
            definitions.apply(live(self.settings), self.definition, env=env, by=ASKED_BY)
        except (WorkError, ConnectorError) as problem:
            raise CannotStart(f"{problem}\n`make demo-reset` starts the demo over.") from None

    def first_run_and_panel(self, running: Running) -> Iterator[object]:
        ctx = self.context(running)
        first = yield from run_now(ctx, joins=True)
        running.say(told("The first run", first))
        yield from local.show_panel(running, lambda: local.sign_in(ctx))
        database, sheet = seed.database_in(self.files), seed.sheet_in(self.files)
        running.say(WHAT_TO_DO.format(database=os.path.relpath(database), sheet=os.path.relpath(sheet)))

    def two_runs(self, running: Running) -> Iterator[object]:
        ctx = self.context(running)
        first = yield from run_now(ctx, joins=True)
        running.say(told("The first run", first))
        if not first.is_good:
            raise CannotStart("The first run failed, see above.")
        yield from within(START_SECONDS, "the panel", local.panel_is_up(running))
        yield from within(START_SECONDS, "the scheduler", scheduler_beats(ctx))
        edits = Edits(self.files, mark=ctx.new_id()[:6])
        edits.make()
        running.say(f"Edited by hand: {edits.in_database} in crm.db, {edits.in_sheet} in customers.csv")
        second = yield from run_now(ctx, joins=False)
        running.say(told("The second run", second))
        if not (second.is_good and edits.have_arrived()):
            raise CannotStart("The edits did not reach the other side, see above.")
        running.say("Each edit has reached the other side.\n")
        running.stop()

    def context(self, running: Running) -> Context:
        return live(self.settings, wake=Bell(running.env["REDIS_URL"]))


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The demo's own: what `env` says of another installation is left out."""
    settings = {*VARIABLES, *(f"{name}_FILE" for name in VARIABLES)} - TAKEN_OVER
    return {name: value for name, value in env.items() if name not in settings}


def forget(ctx: Context) -> None:
    """Delete the demo's sync and connections; whatever else this installation holds stays."""
    with ctx.sessions.begin() as db:
        config = db.scalar(select(SyncConfig).where(SyncConfig.name == CONFIG))
        if config is None:
            return
        ends = (config.left_connection_id, config.right_connection_id)
        if set(db.scalars(select(Connection.name).where(Connection.id.in_(ends)))) != CONNECTIONS:
            return  # another sync that has the same name
        db.execute(delete(SyncConfig).where(SyncConfig.id == config.id))
        used = select(SyncConfig.left_connection_id).union(select(SyncConfig.right_connection_id))
        db.execute(delete(Connection).where(Connection.id.in_(ends), Connection.id.not_in(used)))


# -- what the story is made of ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to."""

    state: str
    summary: Mapping[str, Any]
    error: str | None

    @property
    def is_good(self) -> bool:
        return self.state in (RunState.SUCCESS, RunState.PARTIAL)


def run_now(ctx: Context, *, joins: bool) -> Generator[None, None, Ended]:
    """Have a worker run the demo's sync, and wait for its end; `joins` takes one that is under way.

    Raises CannotStart when it does not end in time.
    """
    with ctx.reads() as db:
        config_id = db.scalars(select(SyncConfig.id).where(SyncConfig.name == CONFIG)).one()
    until = time.monotonic() + RUN_SECONDS
    run_id: str | None = None
    while True:
        try:
            run_id = run_id or runs.queue(ctx, config_id, asked_by=ASKED_BY)
        except RunActive as active:
            run_id = active.run_id if joins else None
        except WorkError as refused:
            raise CannotStart(f"{refused} `make demo-reset` starts the demo over.") from None
        if run_id is not None and (ended := _ended(ctx, run_id)) is not None:
            return ended
        if time.monotonic() > until:
            raise CannotStart(f"The run did not end within {RUN_SECONDS:g} s; the lines above may say why.")
        yield


def within(seconds: float, what: str, wait: Iterator[object]) -> Iterator[object]:
    """The same wait, but no longer than that. Raises CannotStart."""
    until = time.monotonic() + seconds
    for step in wait:
        if time.monotonic() > until:
            raise CannotStart(f"After {seconds:g} s {what} is not there; the lines above may say why.")
        yield step


def scheduler_beats(ctx: Context) -> Iterator[object]:
    while not is_alive(ctx, "scheduler", socket.gethostname()):
        yield None


def _ended(ctx: Context, run_id: str) -> Ended | None:
    with ctx.reads() as db:
        run = db.get_one(SyncRun, run_id)
        return Ended(run.state, run.summary or {}, run.error) if run.state in ENDED else None


@dataclass(frozen=True, slots=True)
class Edits:
    """One note on each side, about two people whom both sides know."""

    files: Path
    mark: str  # new each time, so that the demo can be repeated
    in_database: str = seed.person(60).email
    in_sheet: str = seed.person(70).email

    def make(self) -> None:
        seed.note_in_database(self.files, self.in_database, self._note("database"))
        seed.note_in_sheet(self.files, self.in_sheet, self._note("sheet"))

    def have_arrived(self) -> bool:
        """Whether both notes stand on both sides."""
        ends = (seed.notes_in_database(self.files), seed.notes_in_sheet(self.files))
        return all(
            notes.get(self.in_database) == self._note("database")
            and notes.get(self.in_sheet) == self._note("sheet")
            for notes in ends
        )

    def _note(self, where: str) -> str:
        return f"Noted in the {where} ({self.mark})"


def told(title: str, run: Ended, ends: Mapping[str, str] = ENDS) -> str:
    """A run for the terminal: what was read and written on each side, and what it came to."""
    if not run.summary:
        return f"\n{title} {run.state}: {run.error or 'see the lines above'}\n"
    seconds = run.summary["duration_ms"] / 1000
    rows = [f"\n{title}: {run.state} in {seconds:.1f} s"]
    rows.append(f"  {'':<15}" + "".join(f"{column:>11}" for column in COLUMNS))
    for side, name in ends.items():
        counts = {**run.summary[side], **{word: run.summary[word] for word in ("unchanged", "conflicts")}}
        rows.append(f"  {name:<15}" + "".join(f"{counts[column]:>11}" for column in COLUMNS))
    words = {"resolved": "conflicts settled by the policy", "held": "held for a look", "failed": "failed"}
    rows.append("  " + ", ".join(f"{run.summary[word]} {text}" for word, text in words.items()))
    rows += [f"  {error['side']} {error['key']}: {error['message']}" for error in run.summary["errors"]]
    return "\n".join([*rows, ""])
