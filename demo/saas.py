"""The demo of two services: an Airtable table and a Google Sheet, both played here, that follow each other.

The stand-ins keep their cells in memory. So each start begins anew, with a state of its own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from connectors.errors import ConnectorError
from demo.show import (
    ASKED_BY,
    CHECKOUT,
    START_SECONDS,
    environment,
    run_now,
    scheduler_beats,
    told,
    within,
)
from settings import Settings
from simulators.airtable import Airtable
from simulators.base import Grid, Simulator, serving
from simulators.google_sheets import GoogleSheets
from tasks import decisions, definitions, local
from tasks.broker import Bell
from tasks.context import Context, live
from tasks.errors import WorkError
from tasks.local import CannotStart, Machine, Running

TOKEN = "patSimulated.0000"  # of the stand-in, which takes no other
SEED = 7
ENDS = {"left": "Airtable", "right": "Google Sheets"}
HEADER = ["Email", "Name", "Balance", "Stage", "Active", "Since", "Notes"]
IN_THE_SHEET = [
    ["blaise@example.org", "Blaise", -12, "Lead", False, "2023-11-30", "Met at the spring fair"],
    ["chen@example.org", "Chen", 0, "Lost", True, "", "'0012"],
]
WHAT_TO_DO = """Both services are played on this machine. Edit cells on the page of either one, and within
a minute the other follows:
  Airtable        {airtable}
  Google Sheets   {google}
Edit the same cell on both, and the conflict waits in the panel until you settle it.
"""


class SaasDemo:
    """The demo in one folder, `.syncline/saas/`, which is made anew with each start."""

    def __init__(self, folder: Path = CHECKOUT, env: Mapping[str, str] = os.environ) -> None:
        self.folder = folder / ".syncline" / "saas"
        self.definition = CHECKOUT / "demo" / "saas.yaml"
        self.env = environment(env)
        chance = random.Random(SEED).random  # noqa: S311  nothing secret hangs on it
        self.airtable = Airtable(now=lambda: datetime.now(UTC), rand=chance)
        self.google = GoogleSheets(now=lambda: datetime.now(UTC), rand=chance)

    def run(self, *, once: bool) -> None:
        """Serve both services, bring everything up, show the first run, and stay; with `once`, carry an edit
        each way, make a conflict and settle it, and stop. Raises CannotStart."""
        pid_file = self.folder / ".syncline" / "supervisor.json"
        if pid_file.exists():
            local.stop_running(pid_file.parent)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.settings = Settings.from_env(self.env, folder=self.folder)
        self.airtable.fill()
        book = self.google.add_book("Sales")
        self.google.add_tab(book, "Customers", [HEADER, *IN_THE_SHEET])
        key = self.google.add_account("syncline")
        book.roles[key["client_email"]] = "writer"
        with ExitStack() as stack:
            self.urls = {
                "airtable": stack.enter_context(serving(self.airtable)),
                "google": stack.enter_context(serving(self.google)),
            }
            self.words = {
                "AIRTABLE_TOKEN": TOKEN,
                "AIRTABLE_URL": self.urls["airtable"],
                "SHEETS_URL": self.urls["google"],
                "SPREADSHEET": book.id,
                "GOOGLE_CREDENTIALS": json.dumps(key),
            }
            settings = self.settings
            machine = Machine(settings.home, self.env, settings.port, settings.redis_url)
            print("Starting Syncline, an Airtable and a Google Sheets ...", flush=True)
            local.run(machine, self.once if once else self.stay, prepare=self.apply)

    def apply(self, env: Mapping[str, str]) -> None:
        """After the migrations and before the programs: the definition becomes connections and a sync."""
        try:
            definitions.apply(live(self.settings), self.definition, env={**env, **self.words}, by=ASKED_BY)
        except (WorkError, ConnectorError) as problem:
            raise CannotStart(str(problem)) from None

    def stay(self, running: Running) -> Iterator[object]:
        ctx = self.context(running)
        first = yield from run_now(ctx, joins=True)
        running.say(told("The first run", first, ENDS))
        yield from local.show_panel(running, lambda: local.sign_in(ctx))
        running.say(WHAT_TO_DO.format(**self.urls))

    def once(self, running: Running) -> Iterator[object]:
        ctx = self.context(running)
        airtable, sheet = Cells(self.airtable), Cells(self.google)
        first = yield from run_now(ctx, joins=True)
        running.say(told("The first run", first, ENDS))
        self.must(airtable.all("Email") == sheet.all("Email"), "both do not hold the same people")
        yield from within(START_SECONDS, "the scheduler", scheduler_beats(ctx))
        airtable.put("blaise@example.org", "Notes", "Noted in Airtable")
        sheet.put("grace@example.org", "Notes", "Noted in the sheet")
        running.say("Edited by hand: a note in Airtable, a note in the sheet")
        second = yield from run_now(ctx, joins=False)
        running.say(told("The second run", second, ENDS))
        self.must(
            sheet.get("blaise@example.org", "Notes") == "Noted in Airtable"
            and airtable.get("grace@example.org", "Notes") == "Noted in the sheet",
            "the edits did not reach the other side",
        )
        airtable.put("chen@example.org", "Name", "Chen Jingrun")
        sheet.put("chen@example.org", "Name", "J. Chen")
        running.say("Edited by hand: the same name, differently on each side")
        third = yield from run_now(ctx, joins=False)
        running.say(told("The third run", third, ENDS))
        waiting = decisions.open_conflicts(ctx)
        self.must(len(waiting) == 1, "there is no conflict")
        decisions.resolve(ctx, [waiting[0]["id"]], "left", by=ASKED_BY)
        running.say("Settled, as in the panel: Airtable is right.")
        last = yield from run_now(ctx, joins=True)
        running.say(told("The last run", last, ENDS))
        self.must(sheet.get("chen@example.org", "Name") == "Chen Jingrun", "the answer did not arrive")
        running.say("Each edit has reached the other side, and the conflict is settled.\n")
        running.stop()

    def must(self, holds: bool, problem: str) -> None:
        if not holds:
            raise CannotStart(f"Something went wrong: {problem}, see above.")

    def context(self, running: Running) -> Context:
        return live(self.settings, wake=Bell(running.env["REDIS_URL"]))


@dataclass(frozen=True, slots=True)
class Cells:
    """The table of customers on a stand-in's page, as a person reads and edits it."""

    simulator: Simulator

    @property
    def grid(self) -> Grid:
        with self.simulator.lock:
            return next(grid for grid in self.simulator.grids() if grid.title.endswith("Customers"))

    def _rows(self) -> tuple[list[str], list[tuple[str, list[str]]]]:
        """Names of the columns, and the rows of people. A sheet has the names in its first row."""
        grid = self.grid
        names = [column.name for column in grid.columns]
        rows = [(id, list(cells)) for id, cells in grid.rows]
        if "Email" not in names:
            names, rows = rows[0][1], rows[1:]
        return names, [row for row in rows if row[1][names.index("Email")]]

    def all(self, column: str) -> list[str]:
        names, rows = self._rows()
        return sorted(cells[names.index(column)] for _, cells in rows)

    def get(self, email: str, column: str) -> str:
        names, rows = self._rows()
        return next(cells[names.index(column)] for _, cells in rows if cells[names.index("Email")] == email)

    def put(self, email: str, column: str, text: str) -> None:
        names, rows = self._rows()
        row = next(id for id, cells in rows if cells[names.index("Email")] == email)
        grid = self.grid
        with self.simulator.lock:
            self.simulator.put_cell(grid.id, row, grid.columns[names.index(column)].name, text)
