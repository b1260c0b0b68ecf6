"""Existing cron set-ups keep working: their routes, their bodies, their keys; and the recipes of the docs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from models.audit import AuditEvent
from models.people import User
from models.questions import Question
from models.sync_configs import SyncConfig
from models.sync_jobs import SyncJob
from models.sync_runs import RunState, SyncRun
from tasks import jobs, outside, questions, saving, tokens
from tasks.context import Context
from tasks.errors import WorkError
from tasks.rights import Capability
from tests.house import House
from tests.web.caller import Caller
from tests.web.test_doors import dump
from tests.web.world import OWN, Clock, World, make_context
from web import create_app

OLD, NEW = "the-old-cron-secret-of-this-house-01", "the-new-cron-secret-of-this-house-02"
NOTHING = {"users": 0, "found": 0, "queued": 0, "skipped": 0, "failed": 0}
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock) -> Context:
    return make_context(tmp_path, clock, cron_secrets=(NEW, OLD))


@pytest.fixture
def send(app: Flask) -> Callable[..., TestResponse]:
    def call(path: str, body: Any = None, key: str = NEW, method: str = "POST") -> TestResponse:
        return app.test_client().open(path, method=method, json=body, headers={"x-cron-key": key})

    return call


Send = Callable[..., TestResponse]


def result(response: TestResponse) -> Any:
    assert response.status_code == 200, response.text
    assert response.json is not None
    assert set(response.json) == {"success", "message", "result"}
    assert response.json["success"] is True
    return response.json["result"]


def test_all_that_is_active_and_automatic_is_queued(send: Send, world: World) -> None:
    world.config("one")
    world.run(world.config("busy"), RunState.RUNNING)
    world.config("off", active=False)
    assert result(send("/api/sync-jobs/run-auto-syncs")) == {
        "found": 2,
        "queued": 1,
        "skipped": 1,
        "failed": 0,
    }


def test_old_logs_are_deleted(send: Send, world: World, clock: Clock) -> None:
    config = world.config()
    old, _, _ = (world.run(config, RunState.SUCCESS) for _ in range(3))
    assert isinstance(result(send("/api/sync-jobs/cleanup-logs", {"retentionDays": 30})), dict)
    assert old


def test_a_failure_is_told_in_the_words_expected(send: Send, world: World, monkeypatch: Any) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise WorkError("The job 'cleanup-old-logs' is running already.")

    monkeypatch.setattr(jobs, "run_now", fails)
    failed = send("/api/sync-jobs/cleanup-logs", {})
    assert failed.status_code == 500
    assert failed.json == {
        "success": False,
        "error": "cleanup_logs failed",
        "message": "The job 'cleanup-old-logs' is running already.",
    }


def test_a_database_that_is_away_is_told_in_the_words_expected(
    send: Send, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise OperationalError("INSERT", {}, Exception("connection refused by 10.0.0.7"))

    monkeypatch.setattr(outside, "note", fails)
    failed = send("/api/sync-jobs/run-auto-syncs")
    assert failed.status_code == 500
    assert failed.json is not None
    assert set(failed.json) == {"success", "error", "message"}
    assert "10.0.0.7" not in failed.text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"operation": "process_all_users"}, {**NOTHING, "users": 2, "found": 2, "queued": 2}),
        ({"operation": "process_all_users", "maxUsers": 1}, {**NOTHING, "users": 1, "found": 1, "queued": 1}),
        ({"operation": "reset_stale_jobs"}, {"found": 0, "reset": 0, "ended": 0}),
    ],
)  # fmt: skip
def test_the_periodic_duties(send: Send, world: World, body: Any, expected: Any) -> None:
    world.config("one", owner_id="user-bob")
    world.config("two", owner_id="user-alice")
    assert result(send("/api/integrations/cron", body)) == expected
    assert isinstance(result(send("/api/integrations/cron", {"operation": "cleanup_old_jobs"})), dict)


def test_one_members_syncs_are_queued(send: Send, world: World, ctx: Context) -> None:
    own = world.config("own", owner_id="user-bob")
    nobodys = world.config("nobodys")
    world.config("other", owner_id="user-alice")
    assert result(send("/api/integrations/process", {"userId": "user-bob"}))["queued"] == 2
    with ctx.reads() as db:
        assert set(db.scalars(select(SyncRun.config_id))) == {own, nobodys}
        assert set(db.scalars(select(SyncRun.asked_by))) == {"cron endpoint"}
    assert send("/api/integrations/process", {"userId": "nobody"}).status_code == 404


def test_a_provider_is_a_connector_and_a_backfill_has_its_range(
    send: Send, world: World, ctx: Context
) -> None:
    world.config()
    none = {"jobType": "scheduled-sync", "timeframeDays": 3, "allUsers": True, "providerId": "parse"}
    assert result(send("/api/integrations/schedule", none))["found"] == 0
    some = {"jobType": "initial-backfill", "timeframeDays": 3, "allUsers": True, "providerId": "csv"}
    assert result(send("/api/integrations/schedule", some))["queued"] == 1
    with ctx.reads() as db:
        run = db.scalars(select(SyncRun)).one()
    assert run.kind == "backfill"
    assert "since" in run.options


def test_whose_syncs_are_queued_is_said_and_never_guessed(send: Send, world: World, ctx: Context) -> None:
    world.config()
    unsaid = [
        None,
        {},
        {"allUsers": False, "jobType": "manual-sync"},
        {"providerId": "csv"},
        {"userId": None},
    ]
    for body in unsaid:
        refused = send("/api/integrations/schedule", body)
        assert refused.status_code == 422, body
        assert refused.json is not None
        assert refused.json["errors"] == [{"field": "allUsers", "reason": "must be true, or name a userId"}]
    unknown = send("/api/integrations/schedule", {"allUsers": True, "providerId": "airtabel"})
    assert unknown.status_code == 404
    assert "There is no connector 'airtabel'. Did you mean 'airtable'?" in unknown.text
    with ctx.reads() as db:
        assert db.scalar(select(SyncRun.id)) is None


def test_workers_are_woken_for_so_many_runs(send: Send, world: World) -> None:
    for number in range(4):
        world.run(world.config(f"c{number}"), RunState.QUEUED)
    assert result(send("/api/integrations/worker", {"maxJobs": 3, "maxUsers": 5})) == {
        "queued": 4,
        "rung": 3,
        "users": 1,
    }


def test_the_status_counts(send: Send, world: World) -> None:
    world.run(world.config(), RunState.QUEUED)
    found = result(send("/api/integrations/status", method="GET"))
    assert (found["syncs"], found["jobs"]["queued"]) == (1, 1)
    assert found["lastTick"]


def test_metrics_need_the_secret_and_name_nobody(send: Send, world: World, app: Flask) -> None:
    world.config()
    text = send("/metrics", method="GET").text
    assert "syncline_workers 1.0" in text
    assert "customers" not in text
    assert app.test_client().get("/metrics").status_code == 401


# -- the key ---------------------------------------------------------------------------------------

ROUTES = [
    ("POST", "/api/sync-jobs/run-auto-syncs"), ("POST", "/api/sync-jobs/cleanup-logs"),
    ("POST", "/api/integrations/cron"), ("POST", "/api/integrations/worker"),
    ("POST", "/api/integrations/schedule"), ("POST", "/api/integrations/process"),
    ("GET", "/api/integrations/status"), ("GET", "/metrics"),
]  # fmt: skip


@pytest.mark.parametrize(
    "headers", [{"x-cron-key": NEW}, {"x-cron-key": OLD}, {"Authorization": f"Bearer {OLD}"}]
)
def test_both_secrets_are_valid_while_they_are_rotated(
    app: Flask, world: World, headers: Mapping[str, str]
) -> None:
    assert app.test_client().post("/api/sync-jobs/run-auto-syncs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [], [("x-cron-key", "")], [("x-cron-key", NEW[:-1])], [("x-cron-key", f"{NEW}x")],
        [("x-cron-key", NEW), ("x-cron-key", OLD)], [("x-cron-key", "\xe9" * 40)],
        [("x-cron-key", "x" * 60_000)], [("Authorization", f"Basic {NEW}")], [("Authorization", "Bearer")],
        [("x-cron-key", f"{NEW},{OLD}")],
    ],
)  # fmt: skip
def test_any_other_key_is_refused_and_audited(
    app: Flask, world: World, ctx: Context, headers: list[tuple[str, str]]
) -> None:
    world.config()
    for method, path in ROUTES[:2]:
        assert app.test_client().open(path, method=method, headers=headers).status_code == 401
    with ctx.reads() as db:
        assert db.scalar(select(SyncRun.id)) is None
        acts = db.scalars(select(AuditEvent).where(AuditEvent.action == "authentication.refused")).all()
    assert [act.detail["path"] for act in acts] == [path for _, path in ROUTES[:2]]
    assert NEW not in str([act.detail for act in acts])


def test_a_refusal_says_which_key_is_wanted_and_which_method(app: Flask, send: Send, world: World) -> None:
    def detail(method: str, path: str) -> str:
        response = app.test_client().open(path, method=method)
        assert response.json is not None
        return str(response.json["detail"])

    assert "x-cron-key" in detail("POST", "/api/integrations/worker")
    assert "API token" in detail("GET", "/api/v1/me")
    assert detail("GET", "/api/integrations/worker") == "This address takes POST."
    assert detail("PATCH", "/api/v1/configs") == "This address takes GET, POST."


def test_without_a_secret_nobody_has_the_key(tmp_path: Path, clock: Clock) -> None:
    ctx = make_context(tmp_path, clock)
    World(ctx, clock)
    client = create_app(ctx).test_client()
    for method, path in ROUTES:
        assert client.open(path, method=method, headers={"x-cron-key": ""}).status_code == 401


def test_every_trigger_is_audited(send: Send, world: World, ctx: Context) -> None:
    send("/api/integrations/worker", {"maxJobs": 3})
    with ctx.reads() as db:
        act = db.scalars(select(AuditEvent).where(AuditEvent.action == "cron.worker")).one()
    assert (act.actor, act.detail["maxJobs"]) == ("cron endpoint", 3)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/integrations/cron", {}, "operation"),
        ("/api/integrations/cron", {"operation": "drop_tables"}, "operation"),
        ("/api/integrations/worker", {"maxJobs": 0}, "maxJobs"),
        ("/api/integrations/process", {}, "userId"),
        ("/api/sync-jobs/cleanup-logs", {"retentionDays": "all"}, "retentionDays"),
        ("/api/sync-jobs/run-auto-syncs", {"force": True}, "force"),
    ],
)
def test_bad_input_names_its_field_and_changes_nothing(
    send: Send, world: World, path: str, body: Any, field: str
) -> None:
    world.config()
    before = dump(world)
    refused = send(path, body)
    assert refused.status_code == 422
    assert refused.json is not None
    assert refused.json["errors"][0]["field"] == field
    assert dump(world) == before


# -- the recipes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: str | None


def _recipes() -> list[Request]:
    """Every request that docs/cron.md tells people to send, as their tools would send it."""
    text = (DOCS / "cron.md").read_text(encoding="utf-8")
    found = [_curl(line) for line in re.findall(r"curl .*", text)]
    found += [_gcloud(line) for line in re.findall(r"gcloud .*", text)]
    fields = dict(
        re.findall(r"^\| (URL|HTTP method|HTTP headers|Content-Type|Request body) \| `(.*)` \|$", text, re.M)
    )
    name, _, value = fields["HTTP headers"].partition(": ")
    headers = {name: value, "Content-Type": fields["Content-Type"]}
    return [*found, Request(fields["HTTP method"], fields["URL"], headers, fields["Request body"])]


def _curl(line: str) -> Request:
    words = shlex.split(line)
    headers: dict[str, str] = {}
    method, body, path = "GET", None, ""
    for here, after in zip(words, [*words[1:], ""], strict=True):
        if here == "-X":
            method = after
        elif here == "-H":
            name, _, value = after.partition(": ")
            headers[name] = value
        elif here == "-d":
            body = after
        elif here.startswith("$SYNCLINE"):
            path = here
    return Request(method, path, headers, body)


def _gcloud(line: str) -> Request:
    given = dict(word[2:].split("=", 1) for word in shlex.split(line) if word.startswith("--"))
    headers = dict(pair.split("=", 1) for pair in given["headers"].split(","))
    return Request(given["http-method"], given["uri"], headers, given.get("message-body"))


@pytest.mark.parametrize("recipe", _recipes(), ids=lambda recipe: recipe.path)
def test_each_recipe_of_the_docs_works_as_it_is_written(app: Flask, world: World, recipe: Request) -> None:
    world.config()
    response = app.test_client().open(
        recipe.path.removeprefix("$SYNCLINE"),
        method=recipe.method,
        headers={name: value.replace("$CRON_KEY", NEW) for name, value in recipe.headers.items()},
        data=recipe.body,
    )
    result(response)


def test_there_is_a_recipe_for_each_tool() -> None:
    assert len(_recipes()) == 6
    assert all(recipe.path.startswith("$SYNCLINE/api/") for recipe in _recipes())
    assert all(json.loads(recipe.body or "{}") is not None for recipe in _recipes())


# -- sync-jobs -------------------------------------------------------------------------------------


def test_a_sync_job_becomes_a_sync_per_stream(house: House) -> None:
    house.table(
        "left.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, updated_at TIMESTAMP)",
        "CREATE TABLE orders (number TEXT PRIMARY KEY, total TEXT)",
        "INSERT INTO people VALUES (7, 'Ada', '2026-01-01 00:00:00')",
        "INSERT INTO orders VALUES ('A1', '12.50')",
    )
    house.table("right.db")
    ctx = house.ctx()
    left, right = (
        saving.create_connection(ctx, OWN, name, "sql", {"url": f"sqlite:///{name}.db"}, by="ada")
        for name in ("left", "right")
    )
    app = create_app(ctx)
    with ctx.reads() as db:
        admin = db.scalar(select(User.id))
    token = tokens.make(ctx, str(admin), OWN, "t", tuple(Capability), days=None, by="test").token
    client, path = app.test_client(), f"/api/workspaces/{OWN}/sync-jobs"
    headers = {"Authorization": f"Bearer {token}"}
    body = {
        "name": "warehouse", "dataSourceId": left, "destinationDatabaseId": right,
        "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Paris"}, "syncMode": "incremental",
        "enabled": True,
    }  # fmt: skip
    made = client.post(path, json=body, headers=headers)
    assert made.status_code == 201, made.text
    assert made.json is not None
    job = f"{path}/{made.json['id']}"
    with ctx.reads() as db:
        asked = db.scalars(select(Question.id)).one()
    questions.answer(ctx, asked)
    with ctx.reads() as db:
        assert db.scalars(select(SyncJob.state)).one() == "ready", db.scalars(select(SyncJob.error)).all()
        configs = {row.name: row for row in db.scalars(select(SyncConfig))}
    assert set(configs) == {"warehouse: people", "warehouse: orders"}
    assert configs["warehouse: people"].definition["mode"] == "incremental"
    assert configs["warehouse: orders"].timezone == "Europe/Paris"
    for name in configs:
        assert house.run("sync", name, "--json").code == 0
    assert house.rows("right.db", "SELECT id, name FROM people") == [(7, "Ada")]
    assert house.rows("right.db", "SELECT number, total FROM orders") == [("A1", "12.50")]
    told = client.get(f"{job}/status", headers=headers).json
    assert told is not None
    assert (told["state"], len(told["history"]), told["lastError"]) == ("success", 2, None)
    assert told["averageDurationMs"] is not None
    ran = client.post(f"{job}/run", headers=headers)
    assert ran.json is not None
    assert len(ran.json["queued"]) == 2
    off = client.post(f"{job}/toggle", headers=headers)
    assert off.json is not None
    assert off.json["enabled"] is False
    moved = client.put(job, json={"schedule": {"cron": "every day"}}, headers=headers)
    assert moved.status_code == 422
    assert client.put(job, json={"name": "store"}, headers=headers).json["name"] == "store"  # type: ignore[index]
    assert client.delete(job, headers=headers).status_code == 204
    assert client.get(path, headers=headers).json == {"items": []}
    with ctx.reads() as db:
        assert db.scalars(select(SyncConfig.id)).all() == []


def test_sync_jobs_of_another_workspace_do_not_exist(caller: Callable[..., Caller], world: World) -> None:
    body = {
        "name": "x",
        "dataSourceId": f"{OWN}-crm",
        "destinationDatabaseId": f"{OWN}-sheets",
        "schedule": {"cron": "0 3 * * *"},
    }
    made = caller("alice").post(f"/api/workspaces/{OWN}/sync-jobs", body)
    assert made.json is not None
    charlie = caller("charlie")
    assert charlie.get(f"/api/workspaces/{OWN}/sync-jobs").status_code == 404
    for path in (
        f"/api/workspaces/ws-other/sync-jobs/{made.json['id']}/status",
        f"/api/workspaces/{OWN}/sync-jobs/{made.json['id']}/status",
    ):
        assert charlie.get(path).status_code == 404
    assert charlie.post("/api/workspaces/ws-other/sync-jobs", body).status_code == 404


def sync_job(**changed: Any) -> dict[str, Any]:
    return {
        "name": "x", "dataSourceId": f"{OWN}-crm", "destinationDatabaseId": f"{OWN}-sheets",
        "schedule": {"cron": "0 3 * * *"}, **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"entityFilter": []}, "entityFilter"),
        ({"entityFilter": ["a", "b", "a"]}, "entityFilter"),
        ({"destinationDatabaseId": f"{OWN}-crm"}, "destinationDatabaseId"),
    ],
)
def test_a_sync_job_over_nothing_or_onto_itself_is_refused(
    caller: Callable[..., Caller], ctx: Context, world: World, changed: Any, field: str
) -> None:
    refused = caller("alice").post(f"/api/workspaces/{OWN}/sync-jobs", sync_job(**changed))
    assert refused.status_code == 422
    assert refused.json is not None
    assert [item["field"] for item in refused.json["errors"]] == [field]
    with ctx.reads() as db:
        assert db.scalar(select(SyncJob.id)) is None


def test_two_sync_jobs_have_two_names(caller: Callable[..., Caller], world: World) -> None:
    alice, path = caller("alice"), f"/api/workspaces/{OWN}/sync-jobs"
    alice.post(path, sync_job(name="nightly"))
    second = alice.post(path, sync_job(name="hourly")).json
    assert second is not None
    for refused in (
        alice.call("PUT", f"{path}/{second['id']}", {"name": "nightly"}),
        alice.post(path, sync_job(name="nightly")),
    ):
        assert (refused.status_code, "'nightly' already" in refused.text) == (409, True)


def test_a_sync_job_that_is_not_set_up_does_not_pretend_to_run(
    caller: Callable[..., Caller], world: World
) -> None:
    alice, path = caller("alice"), f"/api/workspaces/{OWN}/sync-jobs"
    made = alice.post(path, sync_job()).json
    assert made is not None
    early = alice.post(f"{path}/{made['id']}/run")
    assert (early.status_code, "being set up" in early.text) == (409, True)
    with world.write() as db:
        job = db.get_one(SyncJob, made["id"])
        job.state, job.error = "failed", "There is no table."
    late = alice.post(f"{path}/{made['id']}/run")
    assert (late.status_code, "could not be set up: There is no table." in late.text) == (409, True)
