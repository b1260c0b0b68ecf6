"""Each page of the URL map asks the database a constant number of questions, however much is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event

from models.audit import AuditEvent
from models.calls import RunCall
from models.connections import Connection
from models.issues import IssueClaim, IssueNote
from models.people import Role
from models.questions import Question
from models.sync_jobs import SyncJob, SyncJobConfig
from models.sync_runs import RunState
from tasks import bulk, drafts, invitations, tokens
from tasks.context import Context
from tasks.rights import Capability
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.test_doors import every_route
from tests.web.world import DEFINITION, NOW, OWN, Clock, World, make_context, summary

SECRET = "one-of-two-secrets-that-outside-crons-send-000"
MOST = 40  # per page, with who is signed in, the frame and the clock; the desk asks most

# What a page is asked with where its address alone shows little, or another part of it.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "/audit": ("", "?actor=bob@example.com"),
    "/configs": ("", "?state=attention", "?q=sync"),
    "/conflicts": ("", "?state=settled"),
    "/configs/<config_id>": ("", "?runs=90"),
    "/conflicts/plan": ("?take=left&like=1", "?take=right&id=1&id=2&id=3"),
    "/held": ("", "?state=dismissed", "?config={config_id}"),
    "/held/plan": ("?config={config_id}&guard=budget&side=right&operation=update",),
    "/issues": ("", "?state=healed", "?q=k", "?config={config_id}&code=rejected"),
    "/issues/<config_id>/<cause>": ("", "?state=healed", "?config={config_id}&q=k"),
    "/records": ("?q=k", "?q=k1"),
    "/records/<config_id>": ("?key=k0",),
    "/runs": ("", "?state=attention", "?config={config_id}&state=failed", "?kind=manual"),
    "/runs/<run_id>": ("", "?outcome=held", "?q=k", "?q=k0"),
    "/runs/<run_id>/calls": ("", "?failed=yes"),
    "/drafts/times": ("?cron=0+4+*+*+*&timezone=UTC",),
    "/api/v1/configs/<config_id>/records": ("?key=k0",),
    "/api/v1/issues/notes": ("?config_id={config_id}&code=rejected",),
    "/api/v1/records": ("?q=k",),
}
# Steps and states that the URL map does not name.
FURTHER = (
    *(f"/drafts/{{change_id}}/{step}" for step in ("fields", "rules", "schedule", "review")),
    "/runs/{preview_id}",
    "/bulk/{newest_bulk_id}",
)
# Asked for again and again by open pages.
POLLED = ("/", "/configs", "/configs/{config_id}", "/runs", "/runs/{run_id}", "/issues", "/queue", "/pulse")
# Files begin when their first rows are there.
FILES = (
    "/runs/exports", "/runs/{run_id}/exports", "/runs/{run_id}/calls/exports", "/issues/exports",
    "/conflicts/exports", "/audit/exports",
)  # fmt: skip
# Lead elsewhere, or say nothing of what is stored.
APART = {"/assets/<digest>/<name>", "/oauth/callback", "/invitations/<token>", "/sign-in/<token>", "/sign-in"}


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock) -> Context:
    return make_context(tmp_path, clock, cron_secrets=(SECRET,))


@contextmanager
def counted(world: World) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            asked.append(statement)

    engine = world.ctx.reads.kw["bind"].engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


class Stock:
    """Things in Alice's workspace, more with each call. Those that pages are asked for stay the same."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = 0
        self.things: dict[str, object] = {}

    def grow(self, number: int) -> None:
        """So many syncs, each with so many of everything that hangs on one."""
        config = run = ""
        for index in range(number):
            config, run = self._sync(number)
            self._around(config, run, index)
        if not self.things:
            self.things = self._named(config, run)
        config, run = str(self.things["config_id"]), str(self.things["run_id"])
        for key in range(number):
            self._record(config, run, f"k{self.number}-{key}")
            with self.world.write() as db:
                db.add(
                    IssueNote(config_id=config, code="rejected", at=NOW, by="bob@example.com", text="Told.")
                )
                db.merge(
                    IssueClaim(
                        config_id=config, code=f"code-{self.number}-{key}", by="bob@example.com", at=NOW,
                        until=NOW + timedelta(minutes=9),
                    )
                )  # fmt: skip
                db.add(_call(run, key))
        made = bulk.plan(self.world.ctx, bulk.Selection(OWN), said="all", by="bob@example.com")
        self.things.setdefault("bulk_id", made)
        self.things["newest_bulk_id"] = made

    def _sync(self, number: int) -> tuple[str, str]:
        world = self.world
        self.number += 1
        config = world.config(
            f"sync {self.number:03}",
            next_run_at=NOW + timedelta(minutes=self.number % 50 - 20),
            definition=DEFINITION | {"impact": {"who": "name", "amount": "balance", "above": "10"}},
        )
        errors = [{"key": "k", "side": "left", "operation": "read", "code": "no_key", "message": "m"}]
        world.run(config, minutes=9, kind="manual")
        world.run(config, RunState.FAILED, minutes=5, error="e", error_code="auth")
        run = world.run(config, RunState.PARTIAL, summary=summary(failed=1, errors=errors))
        world.run(config, RunState.FAILED, retry_of=run, kind="retry")
        world.run(config, RunState.RUNNING)
        for key in range(number):
            self._record(config, run, f"k{key}")
        return config, run

    def _record(self, config: str, run: str, key: str) -> None:
        world = self.world
        world.change(run, key, state="held", guard="budget")
        world.change(run, key)
        world.change(run, key, state="dismissed", guard="budget")
        world.line(run, "line")
        world.conflict(config, key)
        world.conflict(config, key, state="resolved", closed_at=NOW, resolved_by="bob@example.com")
        world.issue(config, key)
        world.issue(config, key, code="missing", closed_at=NOW, field="name")
        world.link(config, key)

    def _around(self, config: str, run: str, index: int) -> None:
        world, number = self.world, self.number
        world.person(f"person{number}", Role.VIEWER)
        with world.write() as db:
            connection = f"{OWN}-crm-{number}"
            db.add(
                Connection(
                    id=connection, workspace_id=OWN, name=f"crm {number}", connector="sql", options={},
                    created_at=NOW, updated_at=NOW,
                )
            )  # fmt: skip
            job = SyncJob(
                id=f"job-{number}", workspace_id=OWN, name=f"job {number}", left_connection_id=connection,
                right_connection_id=f"{OWN}-sheets", cron="0 4 * * *", timezone="UTC", mode="full",
                enabled=True, created_by="bob@example.com", state="ready", created_at=NOW, updated_at=NOW,
            )  # fmt: skip
            db.add(job)
            db.flush()
            db.add(SyncJobConfig(config_id=config, job_id="job-1" if index else job.id))
            for action, subject in (("config.paused", config), ("run.queued", run)):
                db.add(
                    AuditEvent(
                        workspace_id=OWN, at=NOW, actor="bob@example.com", action=action, subject=subject,
                        detail={},
                    )
                )  # fmt: skip
        ctx = world.ctx
        invitations.invite(ctx, OWN, f"guest{number}@example.com", Role.VIEWER, by="alice@example.com")
        scopes = [Capability.READ]
        tokens.make(ctx, "user-alice", OWN, f"t{number}", scopes, days=None, by="alice@example.com")

    def _named(self, config: str, run: str) -> dict[str, object]:
        ctx = self.world.ctx
        with self.world.write() as db:
            db.add(
                Connection(
                    id="signed-in", workspace_id=OWN, name="signed in", connector="google_sheets", options={},
                    created_at=NOW, updated_at=NOW,
                )
            )  # fmt: skip
            db.add(
                Question(
                    id="question-1", workspace_id=OWN, kind="check", connection_id=f"{OWN}-crm", options={},
                    asked_by="alice@example.com", state="asked", created_at=NOW, rung_at=NOW,
                )
            )  # fmt: skip
        return {
            "change_id": drafts.begin_change(ctx, config, by="alice@example.com"),
            "cause": "rejected",
            "code": "rejected",
            "config_id": config,
            "conflict_id": 1,
            "connection_id": "signed-in",
            "connector": "csv",
            "draft_id": drafts.begin(ctx, OWN, f"{OWN}-crm", f"{OWN}-sheets", by="alice@example.com"),
            "job_id": "job-1",
            "name": "cleanup-old-logs",
            "preview_id": self.world.run(config, kind="preview"),
            "question_id": "question-1",
            "run_id": run,
            "step": "streams",
            "workspace_id": OWN,
        }


def _call(run: str, number: int) -> RunCall:
    return RunCall(
        run_id=run, number=number, at=NOW, side="left", method="GET", origin="https://a.example", target="/",
        attempt=1, status=200, problem="", failed=False, ms=3, request_id="", sent_size=0, size=2,
        sent_headers={}, sent="", headers={}, body="{}", changes=[],
    )  # fmt: skip


def test_every_page_asks_a_constant_number_of_questions(
    app: Flask, alice: Browser, world: World, caller: Callable[..., Caller]
) -> None:
    program = caller("alice")
    stock = Stock(world)
    routes = sorted(
        (route for route in every_route(app) if route.method == "GET" and route.rule not in APART),
        key=lambda route: route.rule,
    )

    def ask_for_all() -> dict[str, list[str]]:
        found = {}
        for route in routes:
            for more in ARGUMENTS.get(route.rule, ("",)):
                path = route.path(stock.things) + more.format(**stock.things)
                with counted(world) as asked:
                    if route.need == "cron secret":
                        answer = alice.get(path, X_Cron_Key=SECRET)
                    else:
                        answer = program.get(path) if path.startswith("/api/") else alice.get(path)
                assert answer.status_code == 200, (path, answer.text[:500])
                found[route.rule + more] = list(asked)
        for shape in FURTHER:
            with counted(world) as asked:
                alice.text(shape.format(**stock.things))
            found[shape] = list(asked)
        for shape in POLLED:
            with counted(world) as asked:
                answer = alice.get(shape.format(**stock.things), HX_Request="true")
            assert answer.status_code == 200 and "ETag" in answer.headers, shape
            found[f"{shape}, polled"] = list(asked)
        for shape in FILES:
            path, token = shape.format(**stock.things), alice.token()
            with counted(world) as asked:
                answer = alice.post(path, token, form="json")
                assert answer.status_code == 200 and answer.get_data(), shape
            found[f"{shape}, as a file"] = list(asked)
        return found

    stock.grow(2)
    ask_for_all()  # what is asked once per process is asked now
    few = ask_for_all()
    stock.grow(9)
    many = ask_for_all()
    grown = [path for path in few if len(many[path]) > len(few[path])]
    assert not grown, "\n".join(f"{path}:\n" + "\n".join(many[path]) for path in grown)
    assert [path for path, asked in many.items() if len(asked) > MOST] == []
