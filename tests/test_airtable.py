"""A database and Airtable kept in agreement by real runs, while Airtable fails as it likes."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from models.calls import RunCall
from models.connections import Connection
from models.journal import Change
from models.people import User
from models.sync_configs import SyncConfig
from simulators import airtable as simulated
from simulators.base import serving
from tasks import decisions, definitions, execute, shift, signing_in
from tasks.context import Context
from tasks.quotas import InProcess, SharedLimiter
from tasks.sides import opened
from tasks.summary import Summary
from tests.house import House

START = datetime(2026, 3, 5, 12, tzinfo=UTC)
BACK = "http://127.0.0.1:9/oauth/callback"
RECORDS, CHANGED, CONFLICTS = 1000, 30, 5
FIELDS: list[dict[str, Any]] = [
    {"name": "Email", "type": "email"},
    {"name": "Name", "type": "singleLineText"},
    {"name": "Balance", "type": "currency", "options": {"precision": 2, "symbol": "€"}},
    {"name": "Notes", "type": "multilineText"},
    {"name": "Initials", "type": "formula", "options": {"formula": "UPPER({Name})"}},
]
CONNECTIONS = """\
connections:
  crm: {{connector: sql, options: {{url: "sqlite:///crm.db"}}}}
  base: {{connector: airtable, options: {{endpoint: "{url}", base: {base}}}}}
"""
SYNC = """\
syncs:
  customers:
    left: {{connection: crm, stream: customers}}
    right: {{connection: base, stream: Customers}}
    match: [email]
    fields:
      - {{left: email, right: Email, type: text}}
      - {{left: name, right: Name}}
      - {{left: balance, right: Balance, type: decimal, scale: 2}}
      - {{left: notes, right: Notes}}
    conflict: manual
"""
OTHER = """\
  another:
    left: {{connection: base, stream: Customers}}
    right: {{connection: crm, stream: customers}}
    match: [Email]
    fields:
      - {{left: Email, right: email, type: text}}
"""


class Stage:
    """The two systems, and runs between them. Waiting for a quota moves the simulator's clock on."""

    def __init__(self, house: House, url: str, system: simulated.Airtable) -> None:
        self.house = house
        self.system = system
        self.base = system.add_base("Sales")
        self.table = system.add_table(self.base, "Customers", FIELDS)
        self.waited = 0.0
        house.table(
            "crm.db",
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT, balance NUMERIC,"
            " notes TEXT)",
        )
        system.add_client("syncline", "simulated-secret")
        system.spared = ("/oauth2/",)  # a renewal whose answer is lost ends a sign-in, here as there
        limiter = SharedLimiter(InProcess(lambda: system.clock().timestamp()), self.wait)
        ctx = house.ctx()
        access = replace(ctx.access, networks=(ip_network("127.0.0.0/8"),), limiter=limiter)
        settings = replace(
            ctx.settings, airtable_client_id="syncline", airtable_client_secret="simulated-secret"
        )
        self.ctx: Context = replace(ctx, access=access, settings=settings)
        self.url = url
        self.apply()
        self.sign_in()
        self.apply(SYNC)
        with self.ctx.reads() as db:
            self.config: str = db.query(SyncConfig.id).scalar()
        system.calls.clear()

    def apply(self, more: str = "") -> None:
        path = self.house.yaml((CONNECTIONS + more).format(url=self.url, base=self.base.id))
        definitions.apply(self.ctx, path, env={}, by="test")

    def sign_in(self) -> None:
        """As the panel's "Connect Airtable" does it, with a browser's part played."""
        with self.ctx.reads() as db:
            connection = db.query(Connection.id).filter_by(name="base").scalar()
            person = db.query(User.id).scalar()
        url = signing_in.begin(self.ctx, connection, bound_to="browser", redirect_uri=BACK)
        form = {**dict(parse_qsl(urlsplit(url).query)), "answer": "grant"}
        answer = httpx.post(url.partition("?")[0], data=form, trust_env=False)
        back = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        came = {"state": back["state"], "session": "browser", "code": back["code"]}
        signing_in.finish(self.ctx, **came, user_id=person, by="test")

    def wait(self, seconds: float) -> None:
        self.waited += seconds
        self.system.clock.passes(seconds)

    def run(self) -> Summary:
        return shift.run_here(self.ctx, self.config, asked_by="test", carry_out=execute.carry_out)

    def run_until_quiet(self, most: int) -> list[Summary]:
        """As the schedule does it: once more, until nothing is left to do."""
        told = []
        for _ in range(most):
            told.append(self.run())
            last = told[-1]
            wrote = last.left.created + last.left.updated + last.right.created + last.right.updated
            if last.status != "failed" and last.failed == 0 and wrote == 0:
                return told
        raise AssertionError([(item.status, item.errors[:3]) for item in told])

    # -- people at both ends --

    def sql(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.house.folder / "crm.db")) as db, db:
            db.execute(statement, values)

    def fill(self, count: int) -> None:
        with closing(sqlite3.connect(self.house.folder / "crm.db")) as db, db:
            db.executemany(
                "INSERT INTO customers (email, name, balance, notes) VALUES (?, ?, ?, ?)",
                [(email(n), f"Person {n}", f"{n}.25", f"note {n}") for n in range(count)],
            )

    def by_email(self) -> dict[str, str]:
        return {shown["Email"]: id for id, shown in self.right().items()}

    def right(self) -> dict[str, dict[str, Any]]:
        return {
            id: self.system.shown(self.base, self.table, record) for id, record in self.table.records.items()
        }

    def both(self) -> tuple[list[Any], list[Any]]:
        """What stands at either end, in one form."""
        left = self.house.rows("crm.db", "SELECT email, name, balance, notes FROM customers")
        right = [
            (item["Email"], item["Name"], item["Balance"], item["Notes"]) for item in self.right().values()
        ]
        return sorted(map(_plain, left)), sorted(map(_plain, right))

    def data_calls(self) -> Counter[str]:
        words = {"POST": "create", "PATCH": "update", "DELETE": "delete"}
        return Counter(
            "list" if call.path.endswith("/listRecords") else words[call.method]
            for call in self.system.calls
            if "/meta/" not in call.path and "/oauth2/" not in call.path
        )


def _plain(row: Any) -> Any:
    address, name, balance, notes = row
    return address, name, round(float(balance), 2), notes


def email(number: int) -> str:
    return f"p{number:04}@example.org"


@pytest.fixture
def stage(house: House, tmp_path: Path) -> Iterator[Stage]:
    system = simulated.Airtable(now=lambda: START, rand=random.Random(23).random)
    with serving(system) as url:
        yield Stage(house, url, system)


def test_a_run_makes_the_fewest_calls(stage: Stage) -> None:
    stage.fill(205)
    assert stage.run().right.created == 205
    assert stage.data_calls() == {"list": 1, "create": 21}
    stage.system.calls.clear()
    assert stage.run().unchanged == 205
    assert stage.data_calls() == {"list": 3}
    stage.system.calls.clear()
    stage.sql("UPDATE customers SET notes = 'moved' WHERE id <= 34")
    assert stage.run().right.updated == 34
    assert stage.data_calls() == {"list": 3 + 1, "update": 4}, "one look at what is about to change"
    assert stage.both()[0] == stage.both()[1]


def test_a_preview_says_what_the_run_will_cost_and_what_shares_the_quota(stage: Stage) -> None:
    stage.fill(205)
    stage.apply(SYNC + OTHER)
    stage.system.calls.clear()
    with opened(stage.ctx, stage.config) as pairing:
        summary = execute.preview(stage.ctx, pairing, run_id="p", full=False)
    assert summary.cost is not None
    (cost,) = summary.cost
    assert (cost["side"], cost["calls"], cost["seconds"]) == ("right", 1 + 1 + 21, 4)
    assert cost["quota"] == "5 calls a second per Airtable base"
    assert cost["shared_by"] == ({"sync": "another", "calls_an_hour": None},), "it has not run yet"
    stage.system.calls.clear()
    assert stage.run().right.created == 205
    assert len(stage.system.calls) == cost["calls"]
    assert "cost" in summary.as_json() and "cost" not in stage.run().as_json()


TWIN = """\
  twin: {{connector: airtable, options: {{endpoint: "{url}", base: {base}, token: "pat.twin"}}}}
"""
BESIDE = """\
  beside:
    left: {{connection: twin, stream: Customers}}
    right: {{connection: crm, stream: customers}}
    match: [Email]
    direction: left_to_right
    fields:
      - {{left: Email, right: email, type: text}}
    schedule: {{cron: "*/5 * * * *"}}
  elsewhere:
    left: {{connection: twin, stream: Others}}
    right: {{connection: crm, stream: others}}
    match: [Email]
    fields:
      - {{left: Email, right: email, type: text}}
    schedule: {{cron: "*/5 * * * *"}}
    active: false
"""


def test_a_preview_says_how_much_the_syncs_of_other_connections_take_of_the_base(stage: Stage) -> None:
    stage.fill(205)
    stage.run()
    stage.system.add_token("pat.twin")
    stage.system.add_table(stage.base, "Others", FIELDS)
    stage.house.table("crm.db", "CREATE TABLE others (id INTEGER PRIMARY KEY, email TEXT UNIQUE)")
    stage.apply(TWIN + SYNC + BESIDE)
    with stage.ctx.reads() as db:
        beside = db.query(SyncConfig.id).filter_by(name="beside").scalar()
    shift.run_here(stage.ctx, beside, asked_by="test", carry_out=execute.carry_out)
    stage.system.calls.clear()
    shift.run_here(stage.ctx, beside, asked_by="test", carry_out=execute.carry_out)
    taken = len(stage.system.calls)
    with opened(stage.ctx, stage.config) as pairing:
        summary = execute.preview(stage.ctx, pairing, run_id="p", full=False)
    assert summary.cost is not None
    (cost,) = summary.cost
    assert cost["shared_by"] == ({"sync": "beside", "calls_an_hour": 12 * taken},)
    assert f"It shares them with beside (about {12 * taken} calls an hour)." in cost["sentence"]


def test_what_a_run_asked_is_kept_without_its_token(stage: Stage) -> None:
    stage.fill(205)
    stage.system.faults.plan("error", call=2)
    assert stage.run().right.created == 205
    with stage.ctx.reads() as db:
        calls = db.query(RunCall).order_by(RunCall.number).all()
        changes = {row.id for row in db.query(Change)}
    assert [row.number for row in calls if row.failed] == [2]
    assert calls[2].attempt == 2 and calls[2].target == calls[1].target
    assert {row.side for row in calls} == {"right"} and calls[-1].method == "POST"
    carried = [id for row in calls for id in row.changes]
    assert set(carried) <= changes and len(set(carried)) == len(carried) > 50
    told = json.dumps([[row.sent_headers, row.sent, row.headers, row.body, row.target] for row in calls])
    assert "p0001@example.org" in told
    for token in stage.system.tokens:
        assert token not in told


@pytest.mark.timeout(600)
def test_both_ends_agree_whatever_airtable_does_meanwhile(stage: Stage) -> None:
    stage.fill(RECORDS)
    faults = stage.system.faults
    for kind, share in (("too_many", 0.02), ("error", 0.02), ("late_error", 0.02), ("cut", 0.02)):
        faults.chance(kind, share)
    faults.chance("expired", 0.02)
    stage.run_until_quiet(8)
    assert stage.both()[0] == stage.both()[1]
    assert len(stage.table.records) == RECORDS

    there = stage.by_email()
    for number in range(CHANGED):
        stage.sql("UPDATE customers SET notes = ? WHERE email = ?", f"left {number}", email(number))
        edited_there = there[email(number + CHANGED - CONFLICTS)]
        stage.system.put(stage.base, stage.table, {"Notes": f"right {number}"}, edited_there)
    stage.sql("INSERT INTO customers (email, name, balance) VALUES ('new-left@example.org', 'L', 1.5)")
    stage.system.put(stage.base, stage.table, {"Email": "new-right@example.org", "Name": "R", "Balance": 2.5})
    told = stage.run_until_quiet(8)
    assert told[-1].conflicts == CONFLICTS

    waiting = [item["id"] for item in decisions.open_conflicts(stage.ctx)]
    assert len(waiting) == CONFLICTS
    decisions.resolve(stage.ctx, waiting, "left", by="test", queue=False)
    assert stage.run_until_quiet(8)[-1].status == "success"

    left, right = stage.both()
    assert left == right
    assert len(left) == RECORDS + 2
    notes = {row[0]: row[3] for row in left}
    edited = {email(number): f"left {number}" for number in range(CHANGED)}
    edited |= {email(number + CHANGED - CONFLICTS): f"right {number}" for number in range(CONFLICTS, CHANGED)}
    assert {address: notes[address] for address in edited} == edited

    made = Counter(done.fields["Email"] for done in stage.system.journal if done.operation == "create")
    assert set(made.values()) == {1} and len(made) == RECORDS + 1, "each record was created once"
    met = Counter(call.fault for call in stage.system.calls if call.fault)
    assert all(met[kind] > 0 for kind in ("too_many", "error", "late_error", "cut", "expired")), met
    provoked = [call for call in stage.system.calls if call.status == 429 and call.fault is None]
    assert provoked == [], "no call was sent that the quota refuses"
    renewals = [call for call in stage.system.calls if call.path.startswith("/oauth2/")]
    assert len(renewals) == met["expired"], "each token that ran out was renewed once"
