"""Whatever comes from outside is text: in every field that a page shows, and in every parameter."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

from flask import Flask

from models.connections import Connection
from models.drafts import Draft
from models.issues import IssueNote
from models.people import Role, User, Workspace
from models.questions import Question
from models.sync_runs import RunState
from tasks import bulk, invitations
from tests.web.browser import Browser
from tests.web.test_doors import routes
from tests.web.world import DEFINITION, OWN, World, summary
from web.reads.drafts import STEPS

PROBES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "{{7*7}}",
    "{% include 'x' %}",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)",
    "<!--<script>",
    "&lt;b&gt;",
    "\u202etxt.exe",
    "<a href=//evil.example.com>click</a>",
    "]]><script>alert(1)</script>",
    "<style>*{display:none}</style>",
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
]


class Tags(HTMLParser):
    """Everything in a page that could do something."""

    def __init__(self) -> None:
        super().__init__()
        self.hostile: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag in ("style", "iframe", "object", "embed", "base", "b"):
            self.hostile.append(tag)
        if tag in ("script", "img", "link", "use") and not (
            found.get("src") or found.get("href") or ""
        ).startswith("/assets/"):
            self.hostile.append(f"{tag} {found}")
        for name, value in found.items():
            if name.startswith("on") or name == "style":
                self.hostile.append(f"{tag} {name}")
            if name in ("href", "src", "action", "hx-get") and not _is_local(value):
                self.hostile.append(f"{tag} {name}={value}")

    def handle_comment(self, data: str) -> None:
        self.hostile.append(f"comment {data}")


def _is_local(target: str) -> bool:
    parts = urlsplit(target)
    return not parts.scheme and not parts.netloc and target[:1] in ("/", "#")


def hostile(page: str) -> list[str]:
    tags = Tags()
    tags.feed(page)
    return tags.hostile


def test_the_detector_sees_what_it_should() -> None:
    assert all(hostile(f"<title>{probe}") or hostile(f'<a title="{probe}">') for probe in PROBES[:3])
    assert hostile(PROBES[10])
    assert hostile(PROBES[12])


def test_probes_stay_text_wherever_they_are_stored(alice: Browser, world: World) -> None:
    paths = ["/", "/configs", "/configs?state=paused", "/runs", "/conflicts", "/held"]
    for number, probe in enumerate(PROBES):
        definition = DEFINITION | {
            "left": {"connection": "crm", "stream": probe, "filter": {"field": probe, "equals": probe}},
            "right": {"connection": "sheets", "stream": probe, "key": probe},
            "fields": [{"left": probe, "right": probe}],
            "match": [probe],
            "after": [probe],
        }
        config = world.config(
            f"{probe}",
            definition=definition,
            paused_at=world.clock.now if number % 2 else None,
            paused_by=probe,
            paused_reason=probe,
        )
        errors = [{"key": probe, "side": "left", "operation": "read", "code": probe, "message": probe}]
        told = {"asked_by": probe, "reason": probe, "error": probe, "error_code": probe[:60]}
        run = world.run(config, RunState.PARTIAL, summary=summary(failed=1, errors=errors), **told)
        world.run(config, RunState.RUNNING, phase=probe[:20], wait_text=probe, **told)
        fields = {"before": {probe: probe}, "after": {probe: probe + "2"}, "result": {probe: probe + "3"}}
        world.change(run, probe, message=probe, rule=probe[:60], state="held", **fields)
        world.line(run, probe, "warning")
        conflict = world.conflict(config, probe, field=probe, left={"value": probe}, note=probe)
        paths += [f"/configs/{config}", f"/runs/{run}", f"/conflicts/{conflict}"]
    for probe in PROBES[:3]:
        with world.write() as db:
            db.get_one(User, "user-alice").name = probe
            db.get_one(Workspace, OWN).name = probe
        for path in paths if probe == PROBES[0] else ["/"]:
            response = alice.get(path)
            assert response.status_code == 200, path
            assert hostile(response.text) == [], path
    assert "{{7*7}}" in alice.text("/configs")


def test_parameters_stay_text_when_they_are_echoed(alice: Browser, world: World) -> None:
    run = world.run(world.config())
    world.change(run)
    paths = ["/configs", "/runs", f"/runs/{run}", "/conflicts", "/held", "/nothing-here"]
    for probe in PROBES:
        for names in (("q", "config", "next"), ("state", "kind", "outcome"), ("before", "after")):
            for path in paths:
                response = alice.client.get(path, query_string=dict.fromkeys(names, probe))
                assert response.status_code < 500, (path, names)
                assert hostile(response.text) == [], (path, names)
        response = alice.post("/sign-in", email=probe, next=probe)
        assert hostile(response.text) == []


PROBE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


def test_no_page_of_the_url_map_lets_a_probe_through(app: Flask, alice: Browser, world: World) -> None:
    """What systems answered, what people typed, what they are called: on every page that there is."""
    definition = DEFINITION | {
        side: {"connection": PROBE, "stream": PROBE} for side in ("left", "right")
    }  # fmt: skip
    config = world.config(PROBE, definition=definition)
    run = world.run(config, RunState.FAILED, error=PROBE, error_code="unavailable", reason=PROBE)
    world.change(run, PROBE, message=PROBE, state="held", guard="mass_delete", operation="delete")
    world.issue(config, PROBE, message=PROBE, code="rejected", field=PROBE)
    stream = {"name": PROBE, "key": [PROBE], "writable": False, "read_only_because": PROBE}
    column = {"name": PROBE, "type": "text", "writable": True, "generated": False, "key": True}
    answers = {
        "discover": {"message": PROBE, "streams": [{**stream, "fields": [column]}]},
        "sample": {"stream": {**stream, "fields": [column]}, "fields": [PROBE], "records": [[PROBE]]},
    }
    asked = {}
    with world.write() as db:
        alice_row, connection = db.get_one(User, "user-alice"), db.get_one(Connection, f"{OWN}-crm")
        alice_row.name = connection.name = db.get_one(Workspace, OWN).name = PROBE
        connection.options = {"url": PROBE}
        for kind, answer in answers.items():
            for side in ("left", "right"):
                asked[f"{kind} {side}"] = f"{kind}-{side}"
                db.add(
                    Question(
                        id=f"{kind}-{side}", workspace_id=OWN, kind=kind, connection_id=connection.id,
                        options={}, asked_by=PROBE, state="answered", answer=answer,
                        created_at=world.clock.now, rung_at=world.clock.now, finished_at=world.clock.now,
                    )
                )  # fmt: skip
        db.add(
            Draft(
                id="draft", workspace_id=OWN, name=PROBE, definition=definition, questions=asked,
                proposal={"pairs": {PROBE: [PROBE, PROBE]}, "match": [PROBE]}, made_by=PROBE,
                created_at=world.clock.now, updated_at=world.clock.now,
            )
        )  # fmt: skip
        db.add(IssueNote(config_id=config, code="rejected", at=world.clock.now, by=PROBE, text=PROBE))
    invitations.invite(world.ctx, OWN, "eve@example.com", Role.VIEWER, by="alice@example.com")
    things: dict[str, object] = {
        "bulk_id": bulk.plan(world.ctx, bulk.Selection(OWN), said=PROBE, by=PROBE),
        "config_id": config, "connection_id": f"{OWN}-crm", "connector": "csv", "draft_id": "draft",
        "run_id": run, "conflict_id": world.conflict(config, PROBE, field=PROBE, note=PROBE),
        "cause": "rejected", "code": "rejected", "digest": "0", "name": "x", "token": "nothing",
    }  # fmt: skip
    seen = 0
    for route in routes(app):
        if route.method != "GET":
            continue
        for step in STEPS if "<step>" in route.rule else ("",):
            for lead in ("", f"?q={quote(PROBE)}&key={quote(PROBE)}"):
                page = alice.get(route.path(things | {"step": step}) + lead)
                assert page.status_code < 500, (route, page.status_code)
                if page.mimetype == "text/html":
                    assert hostile(page.text) == [], (route, step)
                    seen += "&lt;script&gt;" in page.text
    assert seen > 20, "the probe was there"
