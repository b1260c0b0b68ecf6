"""Role x route x owner over the whole API, generated from the URL map; and the document is complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from models.people import Role
from models.questions import QuestionKind
from models.sync_runs import RunState
from tasks import bulk, drafts, questions
from tasks.context import Context
from tasks.rights import MAY, Capability
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.test_doors import FOR_PROGRAMS, dump, every_route
from tests.web.world import OWN, World
from web.api.wire import operation_of

Callers = Callable[..., Caller]
ROLES = {"alice": Role.ADMIN, "bob": Role.OPERATOR, "vera": Role.VIEWER}


@dataclass(frozen=True)
class Route:
    method: str
    rule: str
    need: Capability

    def path(self, things: dict[str, str]) -> str:
        return re.sub(r"<(?:[^:>]*:)?(\w+)>", lambda found: things[found[1]], self.rule)


def operations(app: Flask) -> Iterator[Route]:
    """What a token opens."""
    for route in every_route(app):
        if route.rule.startswith(("/api/v1/", "/api/workspaces/")) and route.need != "public":
            yield Route(route.method, route.rule, Capability(route.need or ""))


@pytest.fixture
def things(world: World, ctx: Context) -> dict[str, str]:
    """One of everything in Alice's workspace, by the names of URL parameters."""
    config = world.config()
    run = world.run(config, RunState.FAILED, error="No connection.", error_code="unavailable")
    world.issue(config)
    connection = f"{OWN}-crm"
    asked = questions.ask(ctx, OWN, QuestionKind.CHECK, by="alice", connection_id=connection)
    return {
        "bulk_id": bulk.plan(ctx, bulk.Selection(OWN), said="all", by="alice@example.com"),
        "config_id": config,
        "draft_id": drafts.begin(ctx, OWN, connection, f"{OWN}-sheets", by="alice@example.com"),
        "run_id": run,
        "conflict_id": str(world.conflict(config)),
        "connection_id": connection,
        "question_id": asked,
        "name": "cleanup-old-logs",
        "token_id": "nothing",
        "user_id": "user-vera",
        "invitation_id": "nothing",
        "session_id": "nothing",
        "workspace_id": OWN,
        "job_id": "nothing",
        "link_id": str(world.link(config)),
        "change_id": str(world.change(run)),
    }


@pytest.mark.parametrize("name", ROLES)
def test_each_role_meets_exactly_its_capabilities(
    app: Flask, caller: Callers, things: dict[str, str], name: str
) -> None:
    who = caller(name)
    for route in operations(app):
        if (route.method, route.rule) in ENDS_THE_CALLER:
            continue
        response = who.call(route.method, route.path(things), {} if route.method != "GET" else None)
        may = route.need in MAY[ROLES[name]]
        assert (response.status_code == 403) is not may, (route, response.status_code, response.text)
        assert response.status_code < 500, (route, response.text)
        assert may or response.json["code"] == "forbidden", route  # type: ignore[index]


ENDS_THE_CALLER: set[tuple[str, str]] = set()


@pytest.mark.parametrize("scope", list(Capability))
def test_a_scope_opens_exactly_its_routes(
    app: Flask, caller: Callers, things: dict[str, str], scope: Capability
) -> None:
    who = caller("alice", scope)
    for route in operations(app):
        if (route.method, route.rule) in ENDS_THE_CALLER:
            continue
        response = who.call(route.method, route.path(things), {} if route.method != "GET" else None)
        assert (response.status_code == 403) is (route.need != scope), (route, response.text)


def test_a_stranger_is_refused_everywhere(app: Flask, stranger: Browser, things: dict[str, str]) -> None:
    for route in operations(app):
        response = stranger.client.open(route.path(things), method=route.method, json={})
        assert response.status_code == 401, route
        assert response.mimetype == "application/problem+json", route


def test_what_belongs_to_another_workspace_does_not_exist(
    app: Flask, caller: Callers, world: World, things: dict[str, str]
) -> None:
    """Own, another's and missing: the last two answer alike, and nothing changes."""
    charlie = caller("charlie")
    charlie.get("/me")
    missing = {name: "nothing" if not value.isdigit() else "987654321" for name, value in things.items()}
    before = dump(world)
    for route in operations(app):
        if "<" not in route.rule:
            continue
        body = _BODIES.get(route.rule, {}) if route.method != "GET" else None
        query = _QUERIES.get(route.rule, "")
        theirs = charlie.call(route.method, route.path(things) + query, body)
        nothing = charlie.call(route.method, route.path(missing) + query, body)
        assert (theirs.status_code, nothing.status_code) == (404, 404), (route, theirs.text)
        assert theirs.text == nothing.text, route
    assert dump(world) == before


# What is needed to get past the reading of the body.
_BODIES: dict[str, Any] = {
    "/api/v1/connections/<connection_id>": {"options": {}},
    "/api/v1/configs/<config_id>": {"definition": {}},
    "/api/v1/connections/<connection_id>/name": {"name": "x"},
    "/api/v1/configs/<config_id>/name": {"name": "x"},
    "/api/v1/workspaces/<workspace_id>/name": {"name": "x"},
    "/api/v1/drafts/<draft_id>/streams": {"left": {"stream": "x"}, "right": {"stream": "y"}},
    "/api/v1/runs/<run_id>/calls/reveals": {"ids": [1]},
    "/api/v1/configs/<config_id>/owner": {"user_id": "user-alice"},
    "/api/v1/configs/<config_id>/backfills": {"since": "2026-01-01T00:00:00Z"},
    "/api/v1/configs/<config_id>/retries": {"code": "rejected"},
    "/api/v1/configs/<config_id>/explanations": {"key": "x"},
    "/api/v1/configs/<config_id>/links": {"left_id": "x", "right_id": "y"},
    "/api/v1/configs/<config_id>/corrections": {"side": "left", "record_id": "x", "fields": {"name": "y"}},
    "/api/v1/conflicts/<int:conflict_id>/resolution": {"take": "left"},
    "/api/v1/bulk-retries/<bulk_id>/confirmation": {"digest": "0"},
    "/api/v1/jobs/<name>": {"enabled": True},
    "/api/v1/people/<user_id>": {"role": "viewer"},
    "/api/workspaces/<workspace_id>/sync-jobs": {
        "name": "x",
        "dataSourceId": f"{OWN}-crm",
        "destinationDatabaseId": f"{OWN}-sheets",
        "schedule": {"cron": "0 3 * * *"},
    },
}
_QUERIES = {"/api/v1/configs/<config_id>/records": "?key=x"}


def test_lists_show_one_workspace_only(
    app: Flask, caller: Callers, world: World, things: dict[str, str]
) -> None:
    world.change(things["run_id"], key="held", state="held", guard="mass_delete", operation="delete")
    charlie = caller("charlie")
    for route in operations(app):
        if (
            route.method == "GET"
            and "<" not in route.rule
            and not route.rule.endswith(("openapi.json", "/jobs"))
        ):
            text = charlie.get(
                route.rule + ("?q=mary@example.com" if route.rule.endswith("/records") else "")
            ).text
            for word in ("customers", "mary@", "alice@", things["run_id"], things["connection_id"]):
                assert word not in text, (route, word)


def test_a_filter_by_somebody_elses_sync_finds_nothing(caller: Callers, things: dict[str, str]) -> None:
    charlie = caller("charlie")
    for path in ("/runs", "/issues", "/conflicts", "/held"):
        assert charlie.json(f"{path}?config_id={things['config_id']}")["items"] == [], path


def test_looking_changes_nothing(app: Flask, caller: Callers, world: World, things: dict[str, str]) -> None:
    ada = caller("alice")
    ada.get("/me")
    ada.get("/jobs")
    before = dump(world)
    for route in operations(app):
        if route.method == "GET":
            ada.get(route.path(things))
            assert dump(world) == before, route


# -- the document ----------------------------------------------------------------------------------


def test_every_route_for_programs_is_in_the_document(app: Flask, caller: Callers) -> None:
    found = caller("alice").json("/openapi.json")
    told = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    there = {
        (route.method, re.sub(r"<(?:[^:>]*:)?(\w+)>", r"{\1}", route.rule))
        for route in every_route(app)
        if route.rule.startswith((*FOR_PROGRAMS, "/api/health"))
    }
    assert told == there
    assert found["openapi"] == "3.1.0"


def test_every_other_route_is_a_page(app: Flask) -> None:
    """What is not in the document answers with HTML, or with a file for a page."""
    for rule in app.url_map.iter_rules():
        if operation_of(app.view_functions[rule.endpoint]) is None:
            assert not rule.rule.startswith("/api/"), rule


def test_names_of_operations_are_unique_and_refs_lead_somewhere(caller: Callers) -> None:
    found = caller("alice").json("/openapi.json")
    names = [item["operationId"] for methods in found["paths"].values() for item in methods.values()]
    assert len(names) == len(set(names))
    refs = set(re.findall(r'"#/components/schemas/([^"]+)"', str(found).replace("'", '"')))
    assert refs <= set(found["components"]["schemas"])


def test_the_reference_page_tells_every_operation(app: Flask, alice: Browser) -> None:
    page = alice.text("/api")
    for route in operations(app):
        path = re.sub(r"<(?:[^:>]*:)?(\w+)>", r"{\1}", route.rule)
        assert f"{route.method} {path}" in page
    assert "https://" not in re.sub(r"<code>.*?</code>", "", page)
