"""Whole runs between an Airtable, a Google Sheet and a database, while the services fail at random."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from sqlalchemy import select

from models.connections import Connection
from models.grants import Grant
from models.people import User
from models.sync_configs import SyncConfig
from settings import Settings
from simulators.airtable import Airtable
from simulators.base import Simulator, serving
from simulators.google_sheets import GoogleSheets
from simulators.google_sheets_grid import Book, Tab
from sync.values import display
from tasks import decisions, definitions, execute, signing_in, start
from tasks.context import Context, live
from tasks.quotas import InProcess, SharedLimiter
from tasks.shift import run_here
from tasks.summary import Summary

NAMES = ["Email", "Name", "Balance", "Notes"]
# What happens to a share of the calls; the answers are lost before and after the work was done.
FAULTS = {
    "error": 0.03,
    "unavailable": 0.03,
    "late_error": 0.03,
    "lost": 0.03,
    "cut": 0.03,
    "closed": 0.03,
    "too_many_hint": 0.02,
}
MOST_RUNS = 20
BACK = "http://127.0.0.1:9/oauth/callback"


def now() -> datetime:
    return datetime.now(UTC)


class Time:
    """The clock of both services, which moves on while a call waits for its quota, and with each call."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 5, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=5)
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def limiter(self) -> SharedLimiter:
        return SharedLimiter(InProcess(lambda: self.now.timestamp()), self.wait)


def person(number: int) -> dict[str, Any]:
    return {
        "Email": f"person{number:04}@example.org",
        "Name": f"Person {number}",
        "Balance": number / 4,
        "Notes": f"note {number}",
    }


class Sheet:
    """A simulated Google with one sheet of people, and the person in front of it."""

    def __init__(self, seed: int, clock: Callable[[], datetime] = now) -> None:
        self.google = GoogleSheets(now=clock, rand=random.Random(seed).random)
        self.key = self.google.add_account("robot")
        self.book: Book = self.google.add_book("Sales", shared_with=[self.key["client_email"]])
        self.tab: Tab = self.google.add_tab(self.book, "Customers", [NAMES])

    def people(self) -> dict[str, dict[str, str]]:
        rows = self._rows()
        found = {row["Email"]: row for row in rows}
        assert len(found) == len(rows), Counter(row["Email"] for row in rows).most_common(3)
        return found

    def _rows(self) -> list[dict[str, str]]:
        return [
            {name: _text(row[column].value) if column in row else "" for column, name in enumerate(NAMES)}
            for row in self.tab.rows[1:]
            if any(cell.holds_something for cell in row.values())
        ]

    def edit(self, email: str, name: str, value: Any) -> None:
        row = next(row for row in self.tab.rows if 0 in row and row[0].value == email)
        row[NAMES.index(name)].value = value

    def options(self, url: str) -> str:
        options = {"spreadsheet": self.book.id, "credentials": json.dumps(self.key), "endpoint": url}
        return f"  sheet: {{connector: google_sheets, options: {json.dumps(options)}}}\n"


class Base:
    """A simulated Airtable with one table of people."""

    def __init__(self, seed: int, people: int, clock: Callable[[], datetime] = now) -> None:
        self.airtable = Airtable(now=clock, rand=random.Random(seed).random)
        self.airtable.add_token("pat.test")
        self.base = self.airtable.add_base("Sales")
        types = ("email", "singleLineText", "number", "multilineText")
        fields: list[dict[str, Any]] = [
            {"name": name, "type": kind} for name, kind in zip(NAMES, types, strict=True)
        ]
        fields[2]["options"] = {"precision": 2}
        self.table = self.airtable.add_table(self.base, "Customers", fields)
        self.ids = {}
        for number in range(people):
            made = person(number)
            self.ids[made["Email"]] = self.airtable.put(self.base, self.table, made)

    def people(self) -> dict[str, dict[str, str]]:
        rows = [self.airtable.shown(self.base, self.table, item) for item in self.table.records.values()]
        found = {row["Email"]: {name: _text(row[name]) for name in NAMES} for row in rows}
        assert len(found) == len(rows)
        return found

    def edit(self, email: str, name: str, value: Any) -> None:
        self.airtable.put(self.base, self.table, {name: value}, self.ids[email])

    def options(self, url: str) -> str:
        options = {"base": "Sales", "token": "pat.test", "endpoint": url}
        return f"  other: {{connector: airtable, options: {json.dumps(options)}}}\n"


class Database:
    """A table of people in a file."""

    def __init__(self, path: Path, people: int) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(
                "CREATE TABLE Customers (Email TEXT PRIMARY KEY, Name TEXT, Balance NUMERIC, Notes TEXT)"
            )
            db.executemany(
                "INSERT INTO Customers VALUES (:Email, :Name, :Balance, :Notes)", map(person, range(people))
            )

    def people(self) -> dict[str, dict[str, str]]:
        with closing(sqlite3.connect(self.path)) as db:
            rows = db.execute("SELECT Email, Name, Balance, Notes FROM Customers").fetchall()
        return {row[0]: dict(zip(NAMES, map(_text, row), strict=True)) for row in rows}

    def edit(self, email: str, name: str, value: Any) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(f"UPDATE Customers SET {name} = ? WHERE Email = ?", (value, email))

    def options(self, url: str) -> str:
        return f'  other: {{connector: sql, options: {{url: "sqlite:///{self.path}"}}}}\n'


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return display(value)


SYNC = """
syncs:
  customers:
    left: {connection: other, stream: Customers}
    right: {connection: sheet, stream: Customers}
    match: [Email]
    fields:
      - {left: Email, right: Email, type: text}
      - {left: Name, right: Name, type: text}
      - {left: Balance, right: Balance, type: decimal, scale: 2}
      - {left: Notes, right: Notes, type: text}
    conflict: left_wins
    first_run: apply
"""


class House:
    """An installation with one sync between `other` and the sheet."""

    def __init__(
        self, folder: Path, other: Base | Database, sheet: Sheet, urls: dict[str, str], more: str = ""
    ) -> None:
        self.other, self.sheet = other, sheet
        file = folder / "syncline.yaml"
        file.write_text(
            "connections:\n"
            + other.options(urls.get("other", ""))
            + sheet.options(urls["sheet"])
            + SYNC
            + more
        )
        settings = Settings.from_env({"SOURCES_FOLDERS": str(folder)}, folder=folder)
        self.ctx: Context = live(settings)
        start.release(self.ctx)
        definitions.apply(self.ctx, file, env={}, by="tests")

    def run(self) -> Summary:
        with self.ctx.reads() as db:
            config_id = db.scalars(select(SyncConfig.id)).one()
        return run_here(self.ctx, config_id, asked_by="tests", carry_out=execute.carry_out)

    def converge(self, conflicts: int = 0) -> list[Summary]:
        """Run until a run finds nothing to do, but for so many conflicts that wait."""
        found: list[Summary] = []
        for _ in range(MOST_RUNS):
            found.append(self.run())
            last = found[-1]
            quiet = not any(
                (side.created, side.updated, side.deleted) != (0, 0, 0) for side in (last.left, last.right)
            )
            wanted = ("partial" if conflicts else "success", 0, conflicts)
            if quiet and (last.status, last.failed, last.conflicts) == wanted:
                return found
        raise AssertionError([(item.status, item.errors[:3]) for item in found])


def both_edit(other: Base | Database, sheet: Sheet, *, edits: int, conflicts: int) -> dict[str, str]:
    """Some people are changed on one side, others on the other, a few on both; what their notes must be."""
    expected: dict[str, str] = {}
    for number in range(edits):
        left, right = person(number)["Email"], person(100 + number)["Email"]
        other.edit(left, "Notes", f"by the left {number}")
        sheet.edit(right, "Notes", f"by the right {number}")
        expected |= {left: f"by the left {number}", right: f"by the right {number}"}
    for number in range(200, 200 + conflicts):
        email = person(number)["Email"]
        other.edit(email, "Notes", f"left says {number}")
        sheet.edit(email, "Notes", f"right says {number}")
        expected[email] = f"left says {number}"
    return expected


def storm(*simulated: Simulator, strength: float = 1.0) -> None:
    for one in simulated:
        for kind, share in FAULTS.items():
            one.faults.chance(kind, share * strength)


def faults_met(simulated: Simulator) -> set[str]:
    return {call.fault for call in simulated.calls if call.fault}


def refused_for_its_quota(simulated: Simulator) -> list[Any]:
    return [call for call in simulated.calls if call.status == 429 and call.fault is None]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_tab_costs_the_same_however_many_records_it_holds(tmp_path: Path, stack: ExitStack) -> None:
    sheet, other = Sheet(1), Database(tmp_path / "crm.db", 1000)
    house = House(tmp_path, other, sheet, {"sheet": stack.enter_context(serving(sheet.google))})
    assert house.run().status == "success"
    sheet.google.calls.clear()
    house.run()
    asked = [call.method for call in sheet.google.calls if call.path != "/token"]
    assert asked == ["GET"], "nothing changed: one call reads the tab"
    expected = both_edit(other, sheet, edits=30, conflicts=5)
    sheet.google.calls.clear()
    summary = house.run()
    asked = [call.method for call in sheet.google.calls if call.path != "/token"]
    assert asked == ["GET", "GET", "POST"], "one to read, one to look, one to write"
    assert (summary.left.updated, summary.right.updated, summary.resolved) == (30, 35, 5)
    assert {email: row["Notes"] for email, row in sheet.people().items() if email in expected} == expected
    assert not refused_for_its_quota(sheet.google)


def test_a_thousand_changes_of_all_kinds_go_in_one_call(tmp_path: Path, stack: ExitStack) -> None:
    sheet, other = Sheet(1), Database(tmp_path / "crm.db", 1000)
    house = House(
        tmp_path, other, sheet, {"sheet": stack.enter_context(serving(sheet.google))},
        "    deletes: propagate\n    guards: off\n",
    )  # fmt: skip
    sheet.google.calls.clear()
    house.run()
    asked = [call.method for call in sheet.google.calls if call.path != "/token"]
    assert asked == ["GET", "GET", "POST"], "a first load too: one to read, one to look, one to write"
    with closing(sqlite3.connect(other.path)) as db, db:
        db.execute("UPDATE Customers SET Notes = 'new' WHERE Email < 'person0700'")
        db.execute("DELETE FROM Customers WHERE Email >= 'person0900'")
        db.executemany(
            "INSERT INTO Customers VALUES (:Email, :Name, :Balance, :Notes)", map(person, range(2000, 2200))
        )
    sheet.google.calls.clear()
    summary = house.run()
    asked = [call.method for call in sheet.google.calls if call.path != "/token"]
    assert asked == ["GET", "GET", "GET", "POST"], "one more to keep what the rows hold that go"
    assert (summary.right.created, summary.right.updated, summary.right.deleted) == (200, 700, 100)
    assert sheet.people() == other.people()


def test_an_empty_tab_gets_its_header_and_its_rows(tmp_path: Path, stack: ExitStack) -> None:
    sheet, other = Sheet(1), Database(tmp_path / "crm.db", 3)
    sheet.tab.rows[0].clear()
    house = House(tmp_path, other, sheet, {"sheet": stack.enter_context(serving(sheet.google))})
    assert house.run().right.created == 3
    assert [cell.value for _, cell in sorted(sheet.tab.rows[0].items())] == [*NAMES, "sync_id"]
    assert sheet.people() == other.people()
    assert house.run().status == "success"


def test_a_tab_that_lost_its_header_is_not_filled_anew(tmp_path: Path, stack: ExitStack) -> None:
    sheet, other = Sheet(1), Database(tmp_path / "crm.db", 3)
    house = House(tmp_path, other, sheet, {"sheet": stack.enter_context(serving(sheet.google))})
    house.run()
    for row in sheet.tab.rows:
        row.clear()
    summary = house.run()
    assert summary.status == "failed"
    assert "had a header in the last run and is empty now" in summary.errors[0].message
    assert len(other.people()) == 3


def test_a_batch_size_is_kept_to(tmp_path: Path, stack: ExitStack) -> None:
    sheet, other = Sheet(1), Database(tmp_path / "crm.db", 250)
    urls = {"sheet": stack.enter_context(serving(sheet.google))}
    house = House(tmp_path, other, sheet, urls, "    batch_size: 100\n")
    sheet.google.calls.clear()
    assert house.run().right.created == 250
    asked = [call.method for call in sheet.google.calls if call.path != "/token"]
    assert asked == ["GET", *["GET", "POST"] * 3], "two calls for each batch"


@pytest.mark.parametrize("seed", [11])
def test_a_database_and_a_sheet_converge_while_google_fails(
    tmp_path: Path, stack: ExitStack, seed: int
) -> None:
    sheet, other = Sheet(seed), Database(tmp_path / "crm.db", 1000)
    house = House(tmp_path, other, sheet, {"sheet": stack.enter_context(serving(sheet.google))})
    house.run()
    assert len(sheet.people()) == 1000
    expected = both_edit(other, sheet, edits=30, conflicts=5)
    storm(sheet.google)
    sheet.google.faults.chance("expired", 0.02)
    house.converge()
    assert faults_met(sheet.google)
    assert sheet.people() == other.people()
    assert {email: row["Notes"] for email, row in other.people().items() if email in expected} == expected
    assert not refused_for_its_quota(sheet.google)


class SignedIn(House):
    """Airtable and the sheet, both signed in to, and held to their quotas by the services' own clock."""

    def __init__(self, folder: Path, other: Base, sheet: Sheet, urls: dict[str, str], time: Time) -> None:
        self.other, self.sheet = other, sheet
        ends = {
            "other": ("airtable", {"base": other.base.id, "endpoint": urls["other"]}),
            "sheet": ("google_sheets", {"spreadsheet": sheet.book.id, "endpoint": urls["sheet"]}),
        }
        lines = [
            f"  {name}: {{connector: {kind}, options: {json.dumps(options)}}}"
            for name, (kind, options) in ends.items()
        ]
        file = folder / "syncline.yaml"
        told = "connections:\n" + "\n".join(lines) + SYNC.replace("left_wins", "manual")
        settings = Settings.from_env(
            {
                "SOURCES_FOLDERS": str(folder),
                **{
                    f"{name}_CLIENT_{what}": value
                    for name in ("AIRTABLE", "GOOGLE")
                    for what, value in (("ID", "syncline"), ("SECRET", "simulated-secret"))
                },
            },
            folder=folder,
        )
        ctx = live(settings)
        self.ctx = replace(ctx, access=replace(ctx.access, limiter=time.limiter))
        start.release(self.ctx)
        for simulated in (other.airtable, sheet.google):
            simulated.add_client("syncline", "simulated-secret")
        # A renewal whose answer is lost ends a sign-in, here as there.
        other.airtable.spared, sheet.google.spared = ("/oauth2/",), ("/token",)
        file.write_text(told.partition("\nsyncs:")[0])
        definitions.apply(self.ctx, file, env={}, by="tests")
        for name, answer in (("other", {"answer": "grant"}), ("sheet", {"act": "allow"})):
            self.sign_in(name, answer)
        file.write_text(told)
        definitions.apply(self.ctx, file, env={}, by="tests")

    def sign_in(self, name: str, answer: dict[str, str]) -> None:
        with self.ctx.reads() as db:
            connection = db.scalars(select(Connection.id).where(Connection.name == name)).one()
            person = db.scalars(select(User.id)).first()
        url = signing_in.begin(self.ctx, connection, bound_to="browser", redirect_uri=BACK)
        form = {**dict(parse_qsl(urlsplit(url).query)), **answer}
        came = httpx.post(url.partition("?")[0], data=form, trust_env=False)
        back = dict(parse_qsl(urlsplit(came.headers["location"]).query))
        told = {"state": back["state"], "session": "browser", "code": back["code"]}
        signing_in.finish(self.ctx, **told, user_id=person or "", by="tests")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [21])
def test_airtable_and_a_sheet_agree_once_and_for_all_whatever_both_do(
    tmp_path: Path, stack: ExitStack, seed: int
) -> None:
    time = Time()
    sheet, other = Sheet(seed, time), Base(seed, 1000, time)
    simulated = (sheet.google, other.airtable)
    urls = {
        "sheet": stack.enter_context(serving(sheet.google)),
        "other": stack.enter_context(serving(other.airtable)),
    }
    house = SignedIn(tmp_path, other, sheet, urls, time)
    # A run asks Google three or four times, and Airtable some forty times.
    for one, strength in ((sheet.google, 1.5), (other.airtable, 0.4)):
        storm(one, strength=strength)
        one.faults.chance("too_many", 0.03 * strength)  # without a word on how long
        one.faults.chance("expired", 0.06 * strength)
    house.converge()
    assert len(sheet.people()) == 1000

    expected = both_edit(other, sheet, edits=25, conflicts=5)  # 3 % of each side
    sheet.tab.sort(1, descending=True)
    sheet.tab.insert_rows(1, 3)
    new = {"Email": "new-there@example.org", "Name": "N", "Balance": 1.5, "Notes": ""}
    other.ids[new["Email"]] = other.airtable.put(other.base, other.table, new)
    sheet.tab.put(sheet.tab.height, ["new-here@example.org", "H", 2.5], time())
    told = house.converge(conflicts=5)
    assert told[-1].conflicts == 5, "they wait for a person, and everything else has arrived"
    waiting = [item["id"] for item in decisions.open_conflicts(house.ctx)]
    decisions.resolve(house.ctx, waiting, "left", by="tests", queue=False)
    house.converge()

    assert sheet.people() == other.people()
    assert len(other.people()) == 1002
    assert {email: row["Notes"] for email, row in other.people().items() if email in expected} == expected
    made = Counter(it.fields["Email"] for it in other.airtable.journal if it.operation == "create")
    assert made == {"new-here@example.org": 1}, "each record was made once"
    for one in simulated:
        met = Counter(call.fault for call in one.calls if call.fault)
        assert len(met) > 2, met
        assert not refused_for_its_quota(one), "no call was sent that the quota refuses"
    all_met = faults_met(other.airtable) | faults_met(sheet.google)
    assert {"error", "too_many", "cut", "lost", "late_error", "expired"} <= all_met


def test_no_grant_is_kept_for_a_service_account(tmp_path: Path, stack: ExitStack) -> None:
    sheet, other = Sheet(1), Database(tmp_path / "crm.db", 3)
    house = House(tmp_path, other, sheet, {"sheet": stack.enter_context(serving(sheet.google))})
    assert house.run().right.created == 3
    with house.ctx.reads() as db:
        assert not db.scalars(select(Grant)).all()
