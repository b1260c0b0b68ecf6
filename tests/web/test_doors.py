"""The doors hold: walked from the URL map, so that a new route cannot be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask import Flask
from sqlalchemy import select

from models.sync_runs import RunState
from models.tables import metadata
from tasks import bulk, drafts
from tasks.context import Context
from tasks.rights import MAY, Capability
from tests.web.browser import Browser
from tests.web.world import OTHER, OWN, World
from web import auth

# Whoever comes may open these, and nothing else.
OPEN = {
    ("GET", "/assets/<digest>/<name>"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/<token>"),
    ("POST", "/sign-in/<token>"),
    ("POST", "/sign-out"),
    ("GET", "/invitations/<token>"),
    ("POST", "/invitations/<token>"),
    ("POST", "/preferences/theme"),
    ("POST", "/preferences/language"),
    ("GET", "/api/health"),
}


# Whose parameters name nothing that belongs to a workspace.
NOBODYS = {"/connections/new/<connector>"}


@dataclass(frozen=True)
class Route:
    method: str
    rule: str
    endpoint: str
    need: str | None

    def path(self, things: dict[str, object]) -> str:
        path = self.rule
        for name, value in things.items():
            for kind in ("", "int:"):
                path = path.replace(f"<{kind}{name}>", str(value))
        assert "<" not in path, f"say in `things` what stands for it: {path}"
        return path


# Programs come here: tests/web/test_api_doors.py walks these.
FOR_PROGRAMS = ("/api/v1/", "/api/workspaces/", "/api/sync-jobs/", "/api/integrations/", "/metrics")


def routes(app: Flask) -> Iterator[Route]:
    """The pages and what their forms lead to."""
    return (route for route in every_route(app) if not route.rule.startswith(FOR_PROGRAMS))


def every_route(app: Flask) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        need = auth.needed(app.view_functions[rule.endpoint])
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield Route(method, rule.rule, rule.endpoint, need)


@pytest.fixture
def things(world: World) -> dict[str, object]:
    """One of everything in Alice's workspace, by the names of URL parameters."""
    config = world.config()
    run = world.run(config, RunState.FAILED, error="No connection.", error_code="unavailable")
    change = world.change(run)
    world.issue(config)
    world.change(run, key="held", state="held", guard="mass_delete", operation="delete")
    return {
        "bulk_id": bulk.plan(world.ctx, bulk.Selection(OWN), said="all", by="bob@example.com"),
        "config_id": config,
        "connection_id": f"{OWN}-crm",
        "connector": "csv",
        "draft_id": drafts.begin(world.ctx, OWN, f"{OWN}-crm", f"{OWN}-sheets", by="alice@example.com"),
        "step": "streams",
        "run_id": run,
        "conflict_id": world.conflict(config),
        "change_id": change,
        "link_id": world.link(config),
        "cause": "rejected",
        "code": "rejected",
        "digest": "0",
        "invitation_id": "nothing",
        "session_id": "nothing",
        "token_id": "nothing",
        "user_id": "user-vera",
        "name": "cleanup-old-logs",
        "token": "nothing",
    }


def test_every_route_says_what_it_needs(app: Flask) -> None:
    assert [route for route in every_route(app) if route.need is None] == []


def test_only_the_reviewed_routes_are_open(app: Flask) -> None:
    assert {(route.method, route.rule) for route in every_route(app) if route.need == "public"} == OPEN


def test_a_route_that_says_nothing_is_refused_to_everybody(app: Flask, ctx: Context) -> None:
    app.add_url_rule("/forgotten", view_func=lambda: "secret", endpoint="forgotten")
    response = Browser(app, ctx).sign_in("alice").get("/forgotten")
    assert response.status_code == 403
    assert "secret" not in response.text


def test_a_stranger_is_refused_everywhere(app: Flask, stranger: Browser, things: dict[str, object]) -> None:
    token = stranger.token()
    for route in routes(app):
        if (route.method, route.rule) in OPEN:
            continue
        path = route.path(things)
        if route.method == "GET":
            response = stranger.get(path)
            assert response.status_code == 302, route
            assert response.location.startswith("/sign-in"), route
            assert stranger.get(path, HX_Request="true").status_code == 401, route
        else:
            assert stranger.post(path, token).status_code == 401, route


def test_unsafe_methods_without_a_token_are_refused(
    app: Flask, alice: Browser, charlie: Browser, things: dict[str, object], world: World
) -> None:
    before = dump(world)
    for route in routes(app):
        if route.method != "GET":
            path = route.path(things)
            for token in ("", "made-up", charlie.token()):
                assert alice.post(path, token).status_code == 400, (route, token)
            assert alice.client.post(path, json={}).status_code == 400, route
    assert dump(world) == before


def test_what_comes_from_another_site_is_refused(
    app: Flask, alice: Browser, things: dict[str, object]
) -> None:
    token = alice.token()
    for route in routes(app):
        if route.method != "GET":
            for said in ("cross-site", "same-site"):
                response = alice.client.post(
                    route.path(things), data={"csrf_token": token}, headers={"Sec-Fetch-Site": said}
                )
                assert response.status_code == 403, (route, said)


def test_looking_changes_nothing(app: Flask, alice: Browser, world: World, things: dict[str, object]) -> None:
    before = dump(world)
    for route in routes(app):
        if route.method == "GET":
            alice.get(route.path(things))
            alice.get(route.path(things), HX_Request="true")
            assert dump(world) == before, route


def test_what_belongs_to_another_workspace_does_not_exist(
    app: Flask, charlie: Browser, world: World, things: dict[str, object]
) -> None:
    before = dump(world)
    for route in routes(app):
        if "<" not in route.rule or route.need == "public" or route.rule in NOBODYS:
            continue
        path = route.path(things)
        response = charlie.get(path) if route.method == "GET" else charlie.post(path, role="viewer")
        assert response.status_code == 404, route
    assert dump(world) == before


def test_lists_show_one_workspace_only(charlie: Browser, alice: Browser, things: dict[str, object]) -> None:
    for path in ("/", "/configs", "/runs", "/issues", "/conflicts", "/held", "/records?q=mary@example.com"):
        assert "customers" not in charlie.text(path), path
        assert "mary@example.com</" not in charlie.text(path), path
    assert "customers" in alice.text("/configs")


def test_a_filter_by_somebody_elses_sync_finds_nothing(charlie: Browser, things: dict[str, object]) -> None:
    for path in ("/runs", "/issues", "/conflicts", "/held"):
        assert "customers" not in charlie.text(f"{path}?config={things['config_id']}")


def test_a_viewer_changes_nothing_and_sees_no_buttons(
    app: Flask, vera: Browser, world: World, things: dict[str, object]
) -> None:
    before = dump(world)
    for route in routes(app):
        if route.method != "GET" and route.need not in ("public", "read", "export"):
            assert vera.post(route.path(things)).status_code == 403, route
    assert dump(world) == before
    for path in ("/configs", f"/configs/{things['config_id']}", f"/runs/{things['run_id']}"):
        page = vera.text(path)
        assert {action for action in _actions(page) if action.count("/") > 2} <= {
            f"/runs/{things['run_id']}/exports"
        }, path


@pytest.mark.parametrize("name", ["alice", "bob", "vera", "charlie"])
def test_each_role_meets_exactly_its_capabilities(
    app: Flask, browser: object, world: World, things: dict[str, object], name: str
) -> None:
    """Role x route: refused exactly where the role lacks what the route needs."""
    roles = {"alice": "admin", "bob": "operator", "vera": "viewer", "charlie": "admin"}
    visitor = browser().sign_in(name)  # type: ignore[operator]
    for route in routes(app):
        if route.need in (None, "public"):
            continue
        path = route.path(things)
        response = visitor.get(path) if route.method == "GET" else visitor.post(path)
        response.get_data()  # a file is read while it is sent: whoever leaves it lying ends it nowhere
        may = Capability(route.need or "") in MAY[roles[name]]  # type: ignore[index]
        assert (response.status_code == 403) is not may, (route, response.status_code)
        assert response.status_code < 500, route


def test_a_person_without_a_workspace_sees_nothing(
    app: Flask, browser: object, world: World, things: dict[str, object]
) -> None:
    alice = browser().sign_in("alice")  # type: ignore[operator]
    with world.write() as db:
        db.execute(metadata.tables["memberships"].delete())
    refused = alice.get("/")
    assert refused.status_code == 403
    assert "Sign out" in refused.text
    assert alice.get(f"/configs/{things['config_id']}").status_code == 403


def test_workspaces_can_be_changed_only_to_ones_own(
    alice: Browser, world: World, things: dict[str, object]
) -> None:
    assert alice.post("/preferences/workspace", workspace=OTHER).status_code == 404
    with world.write() as db:
        db.execute(
            metadata.tables["memberships"]
            .insert()
            .values(workspace_id=OTHER, user_id="user-alice", role="viewer")
        )
    assert alice.post("/preferences/workspace", workspace=OTHER).status_code == 303
    assert "customers" not in alice.text("/configs")
    assert "Elsewhere" in alice.text("/")


def dump(world: World) -> list[tuple[str, list[tuple[object, ...]]]]:
    """Everything that is stored, but for when a session was last seen."""
    with world.ctx.reads() as db:
        return [
            (name, [tuple(row) for row in db.execute(select(table).order_by(*table.primary_key))])
            for name, table in sorted(metadata.tables.items())
            if name != "web_sessions"
        ]


def _actions(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('action="')[1:]]
