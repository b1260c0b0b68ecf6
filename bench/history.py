"""A year of use, written straight into an empty database of ours: what the panel is measured over.

Three workspaces with 200 syncs; one sync has half of everything. The same numbers give the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session

from models.audit import AuditEvent
from models.bulk import BulkPart, BulkRetry
from models.calls import RunCall
from models.connections import Connection
from models.db import Base
from models.issues import Alert, Conflict, Issue, IssueNote
from models.journal import Change
from models.links import Link, Shadow
from models.maintenance import JobExecution, MaintenanceJob
from models.many import insert_rows
from models.people import Membership, User, WebSession, Workspace
from models.questions import Question
from models.sync_configs import Baseline, SyncConfig
from models.sync_jobs import SyncJob, SyncJobConfig
from models.sync_runs import RunLine, SyncRun
from sync.values import dumps, encode_fields
from tasks import audit, jobs
from tasks.context import Context
from tasks.people import DEFAULT_WORKSPACE

CONFIGS = 200
RUNS = 100_000
CHANGES = 1_000_000
LINKS = 300_000
CONFLICTS = 10_000
HELD = 10_000
ISSUES = 50_000
LINES = 300_000
CALLS = 100 * 500  # of the newest 500 runs
ACTS = 50_000
PEOPLE = 300
BULKS = 500
DAYS = 120
AT_ONCE = 5_000

BIG = "config-000"  # the sync that has half of everything
WORKSPACES = {DEFAULT_WORKSPACE: 140, "ws-north": 40, "ws-south": 20}
_CODES = ("rejected", "ambiguous_key", "missing", "changed", "unavailable", "auth", "too_long", "no_key")
_DEFINITION: Mapping[str, Any] = {
    "left": {"connection": "left-0", "stream": "customers"},
    "right": {"connection": "right-0", "stream": "customers", "key": "id"},
    "direction": "bidirectional",
    "match": ["email"],
    "fields": [
        {"left": name, "right": name.title(), "type": "text", "canon": ["trim"]}
        for name in ("email", "name", "city", "phone", "company", "street", "note")
    ]
    + [{"left": "balance", "right": "Balance", "type": "decimal", "scale": 2}],
    "conflict": "newest_wins",
    "modified": {"left": "updated_at", "right": "updated_at"},
    "deletes": "propagate",
}


@dataclass(frozen=True, slots=True)
class _Run:
    id: str
    config: str
    workspace: str
    at: datetime


class History:
    """The rows, table by table. `now` is when the last of it happened."""

    def __init__(self, ctx: Context, now: datetime) -> None:
        self._ctx = ctx
        self._now = now
        self._chance = random.Random(7)
        self._configs = [f"config-{number:03}" for number in range(CONFIGS)]
        homes = [name for name, number in WORKSPACES.items() for _ in range(number)]
        self._home = dict(zip(self._configs, homes, strict=True))

    def write(self) -> None:
        with self._ctx.sessions.begin() as db:
            self._people(db)
            self._syncs(db)
        runs = list(self._runs())
        self._store(SyncRun, (self._run(run, number) for number, run in enumerate(runs)))
        self._store(RunLine, self._lines(runs))
        self._store(RunCall, self._calls(runs))
        self._store(Link, self._links())
        self._store(Shadow, self._shadows())
        self._store(Change, self._changes(runs))
        self._store(Conflict, self._conflicts())
        self._store(Issue, self._issues(runs))
        self._store(AuditEvent, self._acts())
        with self._ctx.sessions.begin() as db:
            self._rest(db, runs)
        audit.seal(self._ctx)

    def _store(self, model: type[Base], rows: Iterator[dict[str, Any]]) -> None:
        """Pages of rows, each in a transaction of its own; afterwards PostgreSQL counts ids from there on."""
        last: Any = 0
        while page := list(islice(rows, AT_ONCE)):
            with self._ctx.sessions.begin() as db:
                insert_rows(db, model, page)
            last = page[-1].get("id", 0)
        if isinstance(last, int) and last:
            with self._ctx.sessions.begin() as db:
                if db.get_bind().dialect.name == "postgresql":
                    table = model.__tablename__
                    db.connection().exec_driver_sql(
                        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})"
                    )

    def _which(self) -> str:
        """A sync: each second time the large one."""
        return BIG if self._chance.random() < 0.5 else self._chance.choice(self._configs)

    def _ago(self, days: float = DAYS) -> datetime:
        return self._now - timedelta(days=days * self._chance.random())

    # -- who and what -----------------------------------------------------------------------------------

    def _people(self, db: Session) -> None:
        began = self._now - timedelta(days=DAYS)
        db.add_all(
            Workspace(id=id, name=id.removeprefix("ws-").title(), created_at=began)
            for id in WORKSPACES
            if id != DEFAULT_WORKSPACE
        )
        db.flush()
        for number in range(PEOPLE):
            id = f"user-{number:03}"
            db.add(User(id=id, email=f"{id}@example.org", name=f"Person {number}", created_at=began))
            db.flush()
            home = DEFAULT_WORKSPACE if number % 3 == 0 else list(WORKSPACES)[number % 3]
            db.add(
                Membership(workspace_id=home, user_id=id, role=("admin", "operator", "viewer")[number % 3])
            )
            db.add(
                WebSession(
                    token_hash=f"{number:064x}", user_id=id, created_at=began, last_seen_at=self._now,
                    expires_at=self._now + timedelta(days=30),
                )
            )  # fmt: skip

    def _syncs(self, db: Session) -> None:
        began = self._now - timedelta(days=DAYS)
        for workspace in WORKSPACES:
            for side in ("left", "right"):
                for number in range(20):
                    db.add(
                        Connection(
                            id=f"{workspace}-{side}-{number}", workspace_id=workspace,
                            name=f"{side}-{number}", connector="sql", options={"url": "sqlite:///nowhere.db"},
                            created_at=began, updated_at=began,
                        )
                    )  # fmt: skip
        db.flush()
        for number, (id, workspace) in enumerate(self._home.items()):
            db.add(
                SyncConfig(
                    id=id, workspace_id=workspace, name=f"sync {number:03}", definition=dict(_DEFINITION),
                    version=1 + number % 7,
                    left_connection_id=f"{workspace}-left-{number % 20}",
                    right_connection_id=f"{workspace}-right-{number % 20}",
                    # Once a year: nothing of it starts while we measure.
                    cron="0 4 1 1 *", timezone="UTC", next_run_at=self._now + timedelta(days=200),
                    active=number % 40 != 39,
                    paused_at=self._ago() if number % 20 == 19 else None,
                    paused_by="user-000@example.org", paused_reason="While they move house",
                    created_at=began + timedelta(minutes=number), updated_at=self._ago(),
                )
            )  # fmt: skip
        db.flush()
        db.add_all(
            Baseline(
                config_id=id, left_count=150_000 if id == BIG else 750, right_count=149_000, pairs={},
                fields={}, updated_at=self._now,
            )
            for id in self._configs
        )  # fmt: skip

    # -- runs -------------------------------------------------------------------------------------------

    def _runs(self) -> Iterator[_Run]:
        step = timedelta(days=DAYS) / RUNS
        for number in range(RUNS):
            config = BIG if number % 2 else self._configs[number // 2 % CONFIGS]
            yield _Run(f"run-{number:06}", config, self._home[config], self._now - step * (RUNS - number))

    def _run(self, run: _Run, number: int) -> dict[str, Any]:
        draw = self._chance.random()
        state = next(
            word
            for word, share in (
                ("success", 0.90), ("partial", 0.94), ("failed", 0.97), ("skipped", 0.99), ("cancelled", 1.0)
            )
            if draw < share
        )  # fmt: skip
        side = {"read": 750, "created": 1, "updated": 4, "deleted": 0}
        errors = [
            {
                "key": f"person{number + place}@example.org", "side": "right", "operation": "update",
                "code": _CODES[place % 3], "message": "name: the value is too long for this field.",
            }
            for place in range(12 if state == "partial" else 0)
        ]  # fmt: skip
        summary = {
            "left": side, "right": side, "unchanged": 745, "resolved": 1, "conflicts": 0, "held": 0,
            "failed": len(errors), "excluded": 2, "errors": errors,
        }  # fmt: skip
        ended = run.at + timedelta(seconds=self._chance.uniform(1, 40))
        return {
            "id": run.id, "workspace_id": run.workspace, "config_id": run.config, "config_version": 1,
            "kind": "manual" if number % 50 == 0 else "preview" if number % 101 == 0 else "scheduled",
            "state": state, "asked_by": "schedule", "reason": "", "full": False, "options": {},
            "retry_of": None, "retry_number": 0, "request_key": None, "due_at": run.at, "not_before": None,
            "wait_code": "", "wait_text": "", "created_at": run.at, "place_at": run.at, "rung_at": run.at,
            "started_at": run.at, "finished_at": ended, "lease_owner": None, "lease_until": None, "token": 1,
            "interruptions": 0, "cancel_requested_at": None, "cancel_requested_by": None, "phase": "",
            "done": 0, "total": None, "summary": summary if state in ("success", "partial") else None,
            "error_code": "unavailable" if state == "failed" else None,
            "error": "The database did not answer." if state == "failed" else None, "error_id": None,
        }  # fmt: skip

    def _lines(self, runs: list[_Run]) -> Iterator[dict[str, Any]]:
        each = LINES // RUNS
        for number in range(LINES):
            run = runs[number // each]
            yield {
                "id": number + 1, "run_id": run.id, "at": run.at, "level": "info",
                "text": f"Read 750 records on left, 750 on right in {number % 9} s.",
            }  # fmt: skip

    def _calls(self, runs: list[_Run]) -> Iterator[dict[str, Any]]:
        for number in range(CALLS):
            run = runs[-1 - number // 100]
            yield {
                "id": number + 1, "run_id": run.id, "number": 1 + number % 100, "at": run.at,
                "side": ("left", "right")[number % 2], "method": ("GET", "PATCH")[number % 2],
                "origin": "https://api.example.org", "target": "/v1/customers?page=7", "attempt": 1,
                "status": 422 if number % 50 == 0 else 200, "problem": "", "failed": number % 50 == 0,
                "ms": number % 900, "request_id": f"req-{number}", "sent_size": 900, "size": 2_000,
                "sent_headers": {"Content-Type": "application/json"},
                "sent": '{"records": [' + ", ".join(["{\"name\": \"Marie\"}"] * 30) + "]}",
                "headers": {"Content-Type": "application/json"},
                "body": '{"records": [' + ", ".join(["{\"id\": \"rec1\"}"] * 60) + "]}", "changes": [],
            }  # fmt: skip

    # -- records ----------------------------------------------------------------------------------------

    def _link_of(self, number: int) -> str:
        return BIG if number % 2 else self._configs[number // 2 % CONFIGS]

    def _links(self) -> Iterator[dict[str, Any]]:
        for number in range(LINKS):
            yield {
                "id": number + 1, "config_id": self._link_of(number),
                "state": "excluded" if number % 97 == 0 else "tombstone" if number % 53 == 0 else "linked",
                "reason": "", "left_id": f"L{number}", "right_id": f"R{number}",
                "key": dumps(f"person{number}@example.org"), "left_version": f"{number:x}",
                "right_version": f"{number:x}", "left_missing": 0, "right_missing": 0, "missing_since": None,
                "written_at": self._now - timedelta(minutes=number),
            }  # fmt: skip

    def _shadows(self) -> Iterator[dict[str, Any]]:
        for number in range(LINKS):
            yield {
                "link_id": number + 1, "left": _values(number), "right": _values(number), "flaps": None
            }  # fmt: skip

    def _changes(self, runs: list[_Run]) -> Iterator[dict[str, Any]]:
        """A large first load of the large sync, then ten or so in each run; the last ones are held."""
        big = next(run for run in runs if run.config == BIG)
        others = [run for run in runs if run.config != BIG]
        large = [run for run in runs if run.config == BIG]
        first = CHANGES // 10
        for number in range(CHANGES):
            if number < first:
                run = big
            else:
                place = (number - first) // 9
                pick = large if number % 9 < 4 else others
                run = pick[place * len(pick) // (CHANGES // 9)]
            held = number >= CHANGES - HELD
            state = (
                "held" if held else "rejected" if number % 40 == 0 else "dismissed" if number % 400 == 1
                else "withdrawn" if number % 300 == 1 else "applied"
            )  # fmt: skip
            operation = "create" if run is big else ("update", "update", "update", "delete")[number % 4]
            record = number % LINKS
            settled = None if held else run.at + timedelta(seconds=5)
            yield {
                "id": number + 1, "marker": f"{number:032x}", "workspace_id": run.workspace,
                "config_id": run.config, "run_id": run.id, "link_id": record + 1,
                "side": "right" if number % 3 else "left", "operation": operation,
                "key": f"person{record}@example.org", "record_id": f"R{record}", "origin_id": f"L{record}",
                "before": None if operation == "create" else _few(number),
                "after": None if operation == "delete" else _few(number + 1),
                "result": None, "rule": "left changed", "state": state, "fingerprint": f"{number:064x}",
                "guard": ("mass_delete", "budget")[number % 2]
                if state in ("held", "dismissed", "withdrawn")
                else None,
                "settle": None, "code": "rejected" if state == "rejected" else None,
                "message": "name: the value is too long." if state == "rejected" else None, "attempts": 1,
                "created_at": run.at, "sent_at": settled, "settled_at": settled,
                "expires_at": self._now + timedelta(days=14) if held else None,
                "decided_by": None, "decided_at": None,
            }  # fmt: skip

    def _conflicts(self) -> Iterator[dict[str, Any]]:
        for number in range(CONFLICTS):
            config = self._link_of(number)
            state = ("open", "open", "open", "resolved", "closed")[number % 5]
            at = self._ago(30)
            yield {
                "id": number + 1, "workspace_id": self._home[config], "config_id": config,
                "link_id": number + 1, "key": f"person{number}@example.org",
                "field": ("name", "city", "phone")[number % 3], "kind": "value",
                "left": {"value": f"Name {number}"}, "right": {"value": f"Nom {number}"},
                "left_shadow": {"value": "Mary"}, "right_shadow": {"value": "Mary"},
                "left_modified_at": at, "right_modified_at": at, "state": state, "resolution": None,
                "note": "", "opened_at": at, "updated_at": at, "opened_run_id": None,
                "resolved_by": None if state == "open" else "user-000@example.org",
                "closed_at": None if state == "open" else at + timedelta(hours=2),
            }  # fmt: skip

    def _issues(self, runs: list[_Run]) -> Iterator[dict[str, Any]]:
        for number in range(ISSUES):
            config = self._link_of(number)
            at, is_open = self._ago(60), number % 5 < 2
            yield {
                "id": number + 1, "workspace_id": self._home[config], "config_id": config, "link_id": None,
                "code": _CODES[number * 7 % 11 % len(_CODES)], "side": "right",
                "key": f"person{number}@example.org", "field": "name",
                "message": f"name: the value of {number % 1000} characters is too long.", "detail": {},
                "seen": 1 + number % 90, "opened_at": at, "last_seen_at": at + timedelta(hours=number % 50),
                "last_run_id": runs[number].id, "digest": f"{number:064x}", "retry_at": None,
                "muted": number % 25 == 0, "muted_until": None,
                "closed_at": None if is_open else at + timedelta(days=1),
                "closed_by": "user-003@example.org" if number % 50 == 49 else None,
            }  # fmt: skip

    # -- around it --------------------------------------------------------------------------------------

    def _acts(self) -> Iterator[dict[str, Any]]:
        step = timedelta(days=DAYS) / ACTS
        actions = ("run.queued", "config.paused", "config.resumed", "config.changed", "issue.muted", "export")
        for number in range(ACTS):
            config = self._which()
            yield {
                "id": number + 1_000, "workspace_id": self._home[config],
                "at": self._now - step * (ACTS - number), "actor": f"user-{number % PEOPLE:03}@example.org",
                "action": actions[number % len(actions)], "subject": config,
                "detail": {"reason": "A customer asked", "version": number}, "place": None, "salt": None,
                "content_hash": None, "chain_hash": None,
            }  # fmt: skip

    def _rest(self, db: Session, runs: list[_Run]) -> None:
        now = self._now
        for number in range(2_000):
            config = self._which()
            at = self._ago()
            db.add(IssueNote(config_id=config, code=_CODES[number % 8], at=at, by="user-000@example.org",
                             text="They were told; it is mended on Monday."))  # fmt: skip
            is_up = number < 50
            db.add(
                Alert(
                    workspace_id=self._home[config], config_id=self._configs[number % CONFIGS],
                    kind=("failures", "overdue")[is_up] if not is_up else f"kind-{number}",
                    message="It has failed five times in a row.", raised_at=at,
                    cleared_at=None if is_up else at + timedelta(hours=3),
                )
            )  # fmt: skip
            db.add(
                Question(
                    id=f"question-{number}", workspace_id=DEFAULT_WORKSPACE, kind="check",
                    connection_id=f"{DEFAULT_WORKSPACE}-left-{number % 20}", asked_by="user-000@example.org",
                    state="answered", answer={"answers": True}, options={}, created_at=at, rung_at=at,
                    finished_at=at,
                )
            )  # fmt: skip
        for name in sorted(jobs.registry()):
            if db.get(MaintenanceJob, name) is None:
                db.add(MaintenanceJob(name=name, enabled=True, next_run_at=now + timedelta(days=30)))
        db.flush()
        for number in range(5_000):
            at = self._ago()
            db.add(
                JobExecution(
                    job_name=sorted(jobs.registry())[number % len(jobs.registry())], state="success",
                    asked_by="schedule", created_at=at, started_at=at, finished_at=at, result={"runs": 12},
                )
            )  # fmt: skip
        db.add(
            SyncJob(
                id="job-0", workspace_id=DEFAULT_WORKSPACE, name="All customers",
                left_connection_id=f"{DEFAULT_WORKSPACE}-left-0",
                right_connection_id=f"{DEFAULT_WORKSPACE}-right-0", cron="0 4 1 1 *", timezone="UTC",
                mode="full", enabled=True, created_by="user-000@example.org", state="ready", created_at=now,
                updated_at=now,
            )
        )  # fmt: skip
        db.flush()
        db.add_all(SyncJobConfig(config_id=config, job_id="job-0") for config in self._configs[:5])
        for number in range(BULKS):
            at = now - timedelta(hours=number)
            bulk_id = f"bulk-{number:03}"
            db.add(
                BulkRetry(
                    id=bulk_id, workspace_id=DEFAULT_WORKSPACE, state="started", chosen="every cause",
                    digest="0" * 64, reason="The outage is over", planned_by="user-000@example.org",
                    created_at=at, expires_at=at + timedelta(days=1), confirmed_by="user-000@example.org",
                    confirmed_at=at, starts_at=at,
                )
            )  # fmt: skip
            db.flush()
            for place in range(5):
                db.add(
                    BulkPart(
                        id=f"{bulk_id}-{place}", bulk_id=bulk_id, config_id=self._configs[place * 20],
                        config_version=1, state="queued",
                        keys=[f"person{key}@example.org" for key in range(200)],
                        left_out={"gone@example.org": "It is gone."},
                        run_id=runs[-1 - number * 5 - place].id,
                    )
                )  # fmt: skip


def _values(number: int) -> dict[str, Any]:
    return encode_fields(
        {
            "email": f"person{number}@example.org", "name": f"Name {number}", "city": "Nantes",
            "phone": f"+33 {number:09}", "company": "Company & Sons", "balance": Decimal(number) / 100,
        }
    )  # fmt: skip


def _few(number: int) -> dict[str, Any]:
    return encode_fields({"name": f"Name {number}", "city": "Lyon", "balance": Decimal(number) / 100})
