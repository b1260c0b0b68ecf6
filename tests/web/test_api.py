"""The API does what the panel does: the same acts, the same refusals, in a form for programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from models.audit import AuditEvent
from models.questions import Question
from models.sync_configs import SyncConfig
from models.sync_runs import RunState, SyncRun
from tasks.context import Context
from tasks.rights import Capability
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.test_doors import dump
from tests.web.world import DEFINITION, OWN, Clock, World

Callers = Callable[..., Caller]

CRM = {"name": "erp", "connector": "sql", "options": {"url": "postgresql://a@db.example.com/x"}}


@pytest.fixture
def ada(caller: Callers) -> Caller:
    """Alice's program."""
    return caller("alice")


def test_who_calls_is_told(ada: Caller, caller: Callers) -> None:
    me = ada.json("/me")
    assert (me["email"], me["workspace"]["id"], me["token"]) == ("alice@example.com", OWN, "script")
    assert set(me["capabilities"]) == {str(item) for item in Capability}
    narrow = caller("alice", Capability.READ).json("/me")
    assert narrow["capabilities"] == ["read"]


def test_a_scope_is_a_limit_and_never_a_gift(caller: Callers, world: World) -> None:
    config = world.config()
    assert caller("alice", Capability.READ).post(f"/configs/{config}/runs").status_code == 403
    assert caller("vera").post(f"/configs/{config}/runs").status_code == 403
    assert caller("bob", Capability.READ, Capability.RUN).post(f"/configs/{config}/runs").status_code == 202


def test_where_a_connection_leads_is_told_to_those_who_may_connect(ada: Caller, caller: Callers) -> None:
    """As in the panel."""
    made = ada.post("/connections", CRM).json
    assert made is not None and "db.example.com" in str(made["options"])
    for who in (caller("bob"), caller("vera"), caller("alice", Capability.READ)):
        assert who.json(f"/connections/{made['id']}")["options"] == {}
        assert "db.example.com" not in who.get("/connections").text
    assert ada.json(f"/connections/{made['id']}")["options"] == made["options"]


def test_a_connection_is_made_changed_and_deleted(ada: Caller) -> None:
    made = ada.post("/connections", {**CRM, "options": {**CRM["options"], "password": "very-secret-word"}})  # type: ignore[dict-item]
    assert made.status_code == 201, made.text
    assert made.json is not None
    path = f"/connections/{made.json['id']}"
    assert made.headers["Location"] == f"/api/v1{path}"
    assert made.json["secrets"] == ["password"]
    assert "very-secret-word" not in made.text + ada.get(path).text + ada.get("/connections").text
    moved = ada.put(path, {"options": {"url": "postgresql://a@evil.example.com/x"}})
    assert moved.status_code == 422
    assert moved.json is not None
    assert moved.json["errors"][0]["field"] == "options.password"
    changed = ada.put(path, {"options": {**CRM["options"], "query_seconds": 20}})  # type: ignore[dict-item]
    assert changed.json is not None
    assert changed.json["options"]["query_seconds"] == 20
    assert ada.delete(path).status_code == 204
    assert ada.get(path).status_code == 404


def test_a_question_is_left_for_the_control_queue(ada: Caller, ctx: Context) -> None:
    asked = ada.post(f"/connections/{OWN}-crm/checks")
    assert asked.status_code == 202
    assert asked.json is not None
    assert asked.json["state"] == "asked"
    shown = ada.json(asked.headers["Location"])
    assert (shown["kind"], shown["connection_id"]) == ("check", f"{OWN}-crm")
    with ctx.reads() as db:
        assert db.scalar(select(Question.asked_by)) == "alice@example.com (token script)"


def test_a_sync_lives_its_whole_life(ada: Caller, ctx: Context) -> None:
    made = ada.post("/configs", {"name": "orders", "definition": DEFINITION})
    assert made.status_code == 201, made.text
    assert made.json is not None
    path = f"/configs/{made.json['id']}"
    assert made.json["owner_id"] == "user-alice"
    both = {"left_to_right": "propagate", "right_to_left": "propagate"}
    assert made.json["definition"] == {**DEFINITION, "deletes": both}
    wrong = ada.put(path, {"definition": {**DEFINITION, "conflict": "sometimes"}})
    assert (wrong.status_code, wrong.json and wrong.json["errors"][0]["field"]) == (422, "conflict")
    changed = ada.put(path, {"definition": {**DEFINITION, "conflict": "left_wins"}, "version": 1})
    assert changed.json is not None
    assert changed.json["version"] == 2
    assert ada.put(path, {"definition": DEFINITION, "version": 1}).status_code == 409
    paused = ada.post(f"{path}/pause", {"reason": "holidays"})
    assert paused.json is not None
    assert paused.json["paused_reason"] == "holidays"
    assert ada.post(f"{path}/runs").status_code == 409
    assert ada.post(f"{path}/resumption").status_code == 200
    run = ada.post(f"{path}/runs", {"reason": "by hand"})
    assert run.json is not None
    assert (run.status_code, run.json["state"], run.json["kind"]) == (202, "queued", "manual")
    assert ada.post(f"{path}/previews").json["kind"] == "preview"  # type: ignore[index]
    cancelled = ada.post(f"/runs/{run.json['id']}/cancellation")
    assert cancelled.json is not None
    assert cancelled.json["state"] == "cancelled"
    begin = (ctx.now() - timedelta(days=2)).isoformat()
    assert ada.post(f"{path}/backfills", {"since": begin}).json["kind"] == "backfill"  # type: ignore[index]
    assert ada.delete(path).status_code == 204
    assert ada.get(path).status_code == 404
    with ctx.reads() as db:
        assert db.scalar(select(SyncConfig.id)) is None
        acts = db.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert [act for act in acts if act.startswith("config.")] == [
        "config.created", "config.changed", "config.paused", "config.resumed", "config.deleted",
    ]  # fmt: skip


def test_a_second_trigger_says_which_run_is_active(ada: Caller, world: World) -> None:
    config = world.config()
    running = world.run(config, RunState.RUNNING)
    refused = ada.post(f"/configs/{config}/runs")
    assert refused.json is not None
    assert (refused.status_code, refused.json["code"], refused.json["run_id"]) == (409, "run_active", running)


def test_runs_are_listed_page_by_page(ada: Caller, world: World) -> None:
    config = world.config()
    runs = {world.run(config, RunState.SUCCESS) for _ in range(7)}
    found: list[str] = []
    cursor = ""
    for _ in range(10):
        page = ada.json(f"/runs?limit=3&cursor={cursor}".replace("+", "%2B"))
        found += [run["id"] for run in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert len(found) == 7
    assert set(found) == runs
    assert ada.json("/runs?state=failed")["items"] == []


def test_a_run_tells_its_changes_and_its_log(ada: Caller, world: World) -> None:
    run = world.run(world.config(), RunState.SUCCESS)
    world.change(run)
    world.line(run, "reading left")
    [change] = ada.json(f"/runs/{run}/changes")["items"]
    assert (change["operation"], change["before"], change["after"]) == (
        "update",
        {"name": "Mary"},
        {"name": "Marie"},
    )
    assert ada.json(f"/runs/{run}/changes?state=rejected")["items"] == []
    assert [line["text"] for line in ada.json(f"/runs/{run}/log")["items"]] == ["reading left"]


def test_conflicts_are_answered_one_by_one_and_together(ada: Caller, world: World) -> None:
    config = world.config()
    one, two, three = (world.conflict(config, f"{n}@example.com") for n in range(3))
    shown = ada.json(f"/conflicts/{one}")
    assert (shown["left"], shown["right"], shown["left_shadow"]) == ("Marie", "Maria", "Mary")
    said = ada.post(f"/conflicts/{one}/resolution", {"take": "value", "value": "left"})
    assert said.status_code == 200, said.text
    assert said.json is not None
    assert "become 'left'" in said.json["items"][0]["sentence"]
    together = ada.post("/conflicts/resolutions", {"ids": [two, three], "take": "right"})
    assert together.json is not None
    assert [item["sentence"] for item in together.json["items"]] == ["left becomes 'Maria'"] * 2
    assert ada.json("/conflicts")["items"] == []
    assert len(ada.json("/conflicts?state=answered")["items"]) == 3
    assert ada.post("/conflicts/resolutions", {"ids": [two, 9999], "take": "right"}).status_code == 404


def test_held_changes_are_approved_or_dismissed(ada: Caller, world: World) -> None:
    run = world.run(world.config(), RunState.PARTIAL)
    ids = [
        world.change(run, key=str(n), state="held", guard="mass_delete", operation="delete") for n in range(3)
    ]
    assert {item["id"] for item in ada.json("/held")["items"]} == set(ids)
    assert ada.post("/held/approvals", {"ids": ids[:2]}).json == {"decided": 2}
    assert ada.post("/held/dismissals", {"ids": ids[2:]}).json == {"decided": 1}
    again = ada.post("/held/approvals", {"ids": ids})
    assert (again.status_code, again.json and again.json["code"]) == (409, "plan_stale")


def test_a_record_is_found_and_its_story_told(ada: Caller, world: World) -> None:
    config = world.config()
    world.link(config)
    world.change(world.run(config, RunState.SUCCESS))
    [hit] = ada.json("/records?q=mary@example.com")["items"]
    assert (hit["config"], hit["key"]) == ("customers", "mary@example.com")
    story = ada.json(f"/configs/{config}/records?key=mary@example.com")
    assert story["agreed"] == [{"field": "name", "left": "Mary", "right": "Mary"}]
    assert story["events"][0]["change_id"]
    assert ada.get(f"/configs/{config}/records?key=nobody").status_code == 404
    asked = ada.post(f"/configs/{config}/explanations", {"key": "mary@example.com"})
    assert asked.json is not None
    assert asked.json["kind"] == "explain"


def test_what_runs_by_itself_is_listed(ada: Caller, world: World) -> None:
    world.config()
    [schedule] = ada.json("/schedules")["items"]
    assert schedule["cron"] == "*/5 * * * *"
    assert len(schedule["next_times"]) == 5


def test_maintenance_is_for_those_of_the_first_workspace(ada: Caller, caller: Callers) -> None:
    names = {job["name"] for job in ada.json("/jobs")["items"]}
    assert "cleanup-old-logs" in names
    off = ada.put("/jobs/cleanup-old-logs", {"enabled": False})
    assert off.json is not None
    assert off.json["enabled"] is False
    asked = ada.post("/jobs/cleanup-old-logs/executions", {"options": {"retentionDays": 30}})
    assert asked.status_code == 202
    assert ada.json("/jobs/cleanup-old-logs/executions")["items"][0]["state"] == "asked"
    assert ada.post("/jobs/cleanup-old-logs/executions", {"options": {"days": 3}}).status_code == 422
    assert caller("charlie").get("/jobs").status_code == 404


def test_issues_are_listed_and_kept_quiet(ada: Caller, world: World) -> None:
    config = world.config()
    world.issue(config)
    [issue] = ada.json("/issues")["items"]
    assert (issue["code"], issue["key"]) == ("rejected", "mary@example.com")
    quiet = {"config_id": config, "code": "rejected", "muted": True}
    assert ada.put("/issues/muted", quiet).json == {"changed": 1}
    assert ada.json("/issues")["items"] == []


def test_the_audit_is_listed_and_exported(ada: Caller, world: World) -> None:
    ada.post(f"/configs/{world.config()}/pause", {"reason": "=HYPERLINK()"})
    [act] = ada.json("/audit?action=config.paused")["items"]
    assert (act["actor"], act["detail"]["reason"]) == ("alice@example.com (token script)", "=HYPERLINK()")
    file = ada.post("/audit/exports", {"form": "json"})
    assert "config.paused" in file.text
    assert ada.json("/audit?action=export.made")["items"] or ada.json("/audit")["items"][0]["action"]


# -- once ------------------------------------------------------------------------------------------


def test_the_same_call_with_the_same_key_is_carried_out_once(ada: Caller, world: World, ctx: Context) -> None:
    first = ada.post("/connections", CRM, Idempotency_Key="one")
    again = ada.post("/connections", CRM, Idempotency_Key="one")
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json, again.headers["Location"]) == (first.json, first.headers["Location"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len([item for item in ada.json("/connections")["items"] if item["name"] == "erp"]) == 1
    config = world.config()
    runs = {ada.post(f"/configs/{config}/previews", Idempotency_Key="two").json["id"] for _ in range(3)}  # type: ignore[index]
    assert len(runs) == 1
    with ctx.reads() as db:
        assert len(db.scalars(select(SyncRun.id)).all()) == 1


def test_a_key_that_was_used_for_something_else_is_refused(ada: Caller) -> None:
    ada.post("/connections", CRM, Idempotency_Key="one")
    other = ada.post("/connections", {**CRM, "name": "other"}, Idempotency_Key="one")
    assert (other.status_code, other.json and other.json["code"]) == (422, "key_reused")


def test_a_refused_call_may_come_again_under_its_key(ada: Caller, clock: Clock) -> None:
    assert ada.post("/connections", {**CRM, "options": {}}, Idempotency_Key="one").status_code == 422
    assert ada.post("/connections", CRM, Idempotency_Key="one").status_code == 201
    clock.passes(hours=25)
    again = ada.post("/connections", CRM, Idempotency_Key="one")
    assert (again.status_code, again.json and again.json["code"]) == (409, "name_taken")


def test_keys_of_two_people_are_two_keys(ada: Caller, caller: Callers) -> None:
    assert ada.post("/connections", CRM, Idempotency_Key="one").status_code == 201
    assert caller("charlie").post("/connections", CRM, Idempotency_Key="one").status_code == 201


def test_a_token_made_under_a_key_is_told_again_and_not_stored_in_clear(ada: Caller, world: World) -> None:
    wish = {"name": "ci", "scopes": ["read"]}
    first = ada.post("/tokens", wish, Idempotency_Key="t").json
    assert first is not None
    assert ada.post("/tokens", wish, Idempotency_Key="t").json == first
    assert first["token"] not in str(dump(world))


# -- bad input -------------------------------------------------------------------------------------

BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/connections", {"name": "x"}, 422, "connector"),
    ("POST", "/connections", {**CRM, "colour": "red"}, 422, "colour"),
    ("POST", "/connections", {**CRM, "name": ""}, 422, "name"),
    ("POST", "/connections", {**CRM, "connector": "nothing"}, 422, "connector"),
    ("POST", "/connections", {**CRM, "name": "a\x00b"}, 400, ""),
    ("POST", "/configs", {"name": "x", "definition": []}, 422, "definition"),
    ("POST", "/configs", {"name": "x", "definition": {}}, 422, "left"),
    ("POST", "/configs/{config}/runs", {"full": "yes"}, 422, "full"),
    ("POST", "/configs/{config}/backfills", {"since": "yesterday"}, 422, "since"),
    ("POST", "/configs/{config}/backfills", {"since": "2026-01-01T00:00:00"}, 422, "since"),
    ("POST", "/held/approvals", {"ids": []}, 422, "ids"),
    ("POST", "/held/approvals", {"ids": [2**70]}, 422, "ids.0"),
    ("GET", "/runs?limit=0", None, 400, "limit"),
    ("GET", "/runs?state=lost", None, 400, "state"),
    ("GET", "/runs?colour=red", None, 400, "colour"),
    ("GET", "/runs?limit=1&limit=2", None, 400, "limit"),
    ("GET", "/records", None, 400, "q"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "where"), BAD)
def test_bad_input_names_its_field_and_changes_nothing(
    ada: Caller, world: World, method: str, path: str, body: Any, status: int, where: str
) -> None:
    path = path.replace("{config}", world.config())
    ada.get("/me")  # the token was seen
    before = dump(world)
    response = ada.call(method, path, body)
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    assert response.json is not None
    assert [item["field"] for item in response.json["errors"]][:1] == [where], response.text
    assert dump(world) == before


@pytest.mark.parametrize(
    "path",
    [
        "/runs?cursor=nonsense",
        "/runs?cursor=2026-01-01~x",
        "/conflicts?cursor=2026-01-01T00:00:00%2B00:00~x",
        "/conflicts?cursor=2026-01-01T00:00:00%2B00:00~99999999999999999999",
        "/audit?cursor=9999-12-31T23:59:59-12:00~1",
    ],
)
def test_a_damaged_cursor_is_told_as_such(ada: Caller, path: str) -> None:
    assert ada.get(path).status_code == 400


@pytest.mark.parametrize("sent", [b"{", b"\xff", b"[" * 100_000, b'{"name": NaN}'])
def test_what_is_no_json_is_told_as_such(ada: Caller, sent: bytes) -> None:
    headers = {"Authorization": f"Bearer {ada.token}"}
    response = ada.client.post(
        "/api/v1/connections", data=sent, headers=headers, content_type="application/json"
    )
    assert response.status_code == 400
    other = ada.client.post("/api/v1/connections", data=b"{}", headers=headers, content_type="text/plain")
    assert other.status_code == 415


@pytest.mark.parametrize(
    "sent", [b'{"name": "a", "name": "b", "connector": "csv"}', b'{"options": {"url": 1, "u\\u0072l": 2}}']
)
def test_a_name_that_stands_twice_in_a_body_is_refused(ada: Caller, sent: bytes) -> None:
    refused = ada.client.post(
        "/api/v1/connections",
        data=sent,
        headers={"Authorization": f"Bearer {ada.token}"},
        content_type="application/json",
    )
    assert refused.status_code == 400
    assert refused.json is not None
    [mistake] = refused.json["errors"]
    assert mistake["reason"] == "stands here twice"
    assert mistake["field"] in ("name", "url")


def test_a_wrong_value_is_not_repeated_in_the_answer(ada: Caller) -> None:
    options = {"url": "postgresql://a@db.example.com/x", "password": ["canary-secret-word"]}
    refused = ada.post("/connections", {**CRM, "options": options})
    assert refused.status_code == 422
    assert "canary" not in refused.text


def test_a_wrong_method_says_which_ones_there_are(ada: Caller) -> None:
    refused = ada.call("DELETE", "/me")
    assert refused.status_code == 405
    assert "GET" in refused.headers["Allow"]


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["", "Bearer", "Bearer x", "Basic YTpi", "Bearer sln_" + "x" * 43, "Bearer \xff"]
)
def test_a_key_that_is_none_is_refused_and_audited(
    app: Flask, alice: Browser, ctx: Context, said: str
) -> None:
    """Also where the cookie of somebody who may is sent with it."""
    response = alice.client.get("/api/v1/me", headers={"Authorization": said})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    with ctx.reads() as db:
        assert (
            db.scalar(select(AuditEvent.subject).where(AuditEvent.action == "authentication.refused"))
            == "token"
        )


def test_who_tries_key_after_key_has_to_wait(stranger: Browser) -> None:
    tries = [
        stranger.client.get("/api/v1/me", headers={"Authorization": f"Bearer sln_{n}"}).status_code
        for n in range(25)
    ]
    assert tries[:20] == [401] * 20
    assert set(tries[20:]) == {429}


def test_a_token_ends_when_it_is_revoked_or_too_old(ada: Caller, caller: Callers, clock: Clock) -> None:
    short = ada.post("/tokens", {"name": "short", "scopes": ["read"], "days": 1}).json
    assert short is not None
    other = caller("alice")
    other.token = short["token"]
    assert other.get("/me").status_code == 200
    clock.passes(days=1)
    assert other.get("/me").status_code == 401
    assert ada.delete(f"/tokens/{ada.id}").status_code == 204
    assert ada.get("/me").status_code == 401


def test_only_the_hash_and_the_beginning_of_a_token_are_kept(ada: Caller, world: World) -> None:
    assert ada.token not in str(dump(world))
    [shown] = ada.json("/tokens")["items"]
    assert ada.token.startswith(shown["prefix"])
    assert len(shown["prefix"]) <= 10


def test_a_person_sees_and_revokes_their_own_tokens_only(caller: Callers) -> None:
    ada, bob = caller("alice"), caller("bob")
    assert {item["owner"] for item in bob.json("/tokens")["items"]} == {"bob@example.com"}
    assert bob.delete(f"/tokens/{ada.id}").status_code == 404
    assert ada.delete(f"/tokens/{bob.id}").status_code == 204
    assert bob.get("/me").status_code == 401


def test_a_token_makes_none_with_more_scopes(caller: Callers) -> None:
    narrow = caller("alice", Capability.READ)
    assert narrow.post("/tokens", {"name": "wide", "scopes": ["administer"]}).status_code == 422
    assert narrow.post("/tokens", {"name": "same", "scopes": ["read"]}).status_code == 201


def test_by_cookie_the_api_wants_the_forms_token(alice: Browser, world: World) -> None:
    path = f"/api/v1/configs/{world.config()}/previews"
    assert alice.client.post(path, json={}).status_code == 400
    sent = {"X-CSRFToken": alice.token()}
    assert alice.client.post(path, json={}, headers=sent).status_code == 202
    assert (
        alice.client.post(path, json={}, headers={**sent, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    )


def test_what_has_not_changed_is_not_sent_again(ada: Caller, world: World) -> None:
    path = f"/configs/{world.config()}"
    tag = ada.get(path).headers["ETag"]
    assert ada.get(path, If_None_Match=tag).status_code == 304


def test_a_bulk_retry_is_planned_started_and_taken_back(ada: Caller, world: World) -> None:
    config = world.config()
    for key in ("a", "b"):
        world.issue(config, key)
    made = ada.post("/bulk-retries", {"code": "rejected"})
    assert made.status_code == 201 and made.json is not None
    path = f"/bulk-retries/{made.json['id']}"
    assert (made.json["state"], made.json["records"]) == ("planned", 2)
    assert made.json["parts"][0]["keys"] == ["a", "b"]
    assert ada.post(f"{path}/previews").json == {"previews": 1}
    assert ada.post(f"{path}/confirmation", {"digest": "another"}).status_code == 409
    started = ada.post(f"{path}/confirmation", {"digest": made.json["digest"], "one_first": True})
    assert started.json is not None
    assert (started.json["state"], started.json["first_key"]) == ("recallable", "a")
    taken = ada.post(f"{path}/recall")
    assert taken.json is not None and taken.json["state"] == "recalled"
    assert ada.post(f"{path}/stop", {}).status_code == 409
    assert [item["id"] for item in ada.json("/bulk-retries")["items"]] == [made.json["id"]]


def test_a_cause_is_snoozed_called_fixed_and_noted(ada: Caller, world: World) -> None:
    config = world.config()
    world.issue(config)
    cause = {"config_id": config, "code": "rejected"}
    assert ada.put("/issues/muted", {**cause, "muted": True, "hours": 4}).json == {"changed": 1}
    assert ada.json("/issues")["items"] == []
    assert ada.post("/issues/notes", {**cause, "text": "Ask Jana."}).status_code == 201
    [note] = ada.json(f"/issues/notes?config_id={config}&code=rejected")["items"]
    assert note["text"] == "Ask Jana."
    assert ada.post("/issues/resolutions", cause).json == {"changed": 1}
    assert ada.json("/issues?state=healed")["items"][0]["code"] == "rejected"


def test_a_preview_is_read_and_carried_out(ada: Caller, world: World) -> None:
    preview = world.run(world.config(), kind="preview")
    world.change(preview, state="would_go")
    found = ada.get(f"/runs/{preview}/changes?state=would_go")
    assert found.json is not None
    assert [(item["key"], item["state"]) for item in found.json["items"]] == [
        ("mary@example.com", "would_go")
    ]
    made = ada.post(f"/runs/{preview}/execution", {"reason": "as shown"}, Idempotency_Key="one")
    assert made.json is not None
    assert (made.status_code, made.json["state"], made.json["kind"]) == (202, "queued", "manual")
    again = ada.post(f"/runs/{preview}/execution", {"reason": "as shown"}, Idempotency_Key="one")
    assert again.json is not None and again.json["id"] == made.json["id"]
    assert ada.post(f"/runs/{made.json['id']}/execution").status_code == 409
