"""Connections in the panel: made and changed by forms drawn from the connector's own options."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from models.connections import Connection
from models.questions import Question
from tests.web.browser import Browser
from tests.web.world import OWN, World

FOLDER = {"connector": "csv", "name": "files", "folder": "sheets"}
PARSE = {
    "connector": "parse", "name": "app", "url": "https://parse.example.com/parse", "application_id": "app",
    "master_key": "s3cret-master",
}  # fmt: skip


def made(world: World, name: str) -> Connection:
    with world.ctx.reads() as db:
        found = db.scalar(select(Connection).where(Connection.name == name))
        assert found is not None
        return found


def answered(world: World, **values: object) -> None:
    with world.write() as db:
        for row in db.scalars(select(Question)):
            row.finished_at = world.clock.now
            for name, value in values.items():
                setattr(row, name, value)


def test_every_connector_has_its_form(alice: Browser) -> None:
    page = alice.text("/connections/new")
    for title, name in (("CSV files", "csv"), ("Parse Server", "parse"), ("SQL database", "sql")):
        assert title in page and f'href="/connections/new/{name}"' in page
    form = alice.text("/connections/new/parse")
    assert 'type="password" id="f-master_key"' in form
    assert "Server URL" in form and "required" in form
    assert alice.get("/connections/new/nothing").status_code == 404


def test_a_new_one_is_asked_at_once_whether_it_works(alice: Browser, world: World) -> None:
    response = alice.post("/connections", **PARSE)
    assert response.status_code == 303, response.text[:2000]
    assert "Asking app …" in alice.text(response.location)
    answered(world, state="answered", answer={"message": "Parse Server 8 answers."})
    page = alice.text(response.location)
    assert "Parse Server 8 answers." in page
    assert "s3cret-master" not in page
    assert made(world, "app").secrets and "s3cret" not in str(made(world, "app").options)


def test_what_the_system_said_is_shown_as_it_is(alice: Browser, world: World) -> None:
    response = alice.post("/connections", **PARSE)
    answered(world, state="failed", error="The server refuses the key <b>.", error_code="auth")
    assert "The server refuses the key <b>." in alice.text(response.location)
    assert "<b>" not in alice.get(response.location).text


def test_a_mistake_is_told_at_its_field_and_nothing_is_kept(alice: Browser, world: World) -> None:
    response = alice.post("/connections", connector="csv", name="files", folder="sheets", encoding="utf-99")
    assert response.status_code == 422
    assert 'aria-invalid="true" aria-describedby="f-encoding-problem"' in response.text
    assert 'value="sheets"' in response.text, "what was typed stays"
    response = alice.post("/connections", connector="csv", name="crm", folder="sheets")
    assert response.status_code == 422 and "already" in response.text
    with world.ctx.reads() as db:
        assert db.scalar(select(Connection).where(Connection.name == "files")) is None


def test_a_secret_stays_unless_it_would_go_elsewhere(alice: Browser, world: World) -> None:
    page = alice.post("/connections", **PARSE).location
    same = {"url": PARSE["url"], "application_id": "app"}
    assert "kept; leave it empty" in alice.text(f"{page}/edit")
    assert alice.post(f"{page}/edit", **same).status_code == 303
    before = made(world, "app").secrets
    moved = alice.post(f"{page}/edit", url="https://evil.example.com/parse", application_id="app")
    assert moved.status_code == 422 and "again" in moved.text
    assert made(world, "app").options["url"] == PARSE["url"]
    assert made(world, "app").secrets == before
    both = {"url": "https://new.example.com/parse", "application_id": "app", "master_key": "another"}
    assert alice.post(f"{page}/edit", **both).status_code == 303
    assert made(world, "app").options["url"] == "https://new.example.com/parse"


def test_what_it_holds_is_listed(bob: Browser, world: World) -> None:
    page = f"/connections/{OWN}-crm"
    assert bob.post(f"{page}/discoveries").status_code == 303
    field = {"name": "email", "type": "text", "key": False, "writable": True}
    stream = {
        "name": "customers", "key": ["id"], "writable": False, "read_only_because": "a view", "problems": [],
        "fields": [field],
    }  # fmt: skip
    answered(world, state="answered", answer={"streams": [stream]})
    text = bob.words(page)
    assert "customers only read: a view id 1 field email text" in text


def test_one_in_use_is_not_deleted(alice: Browser, world: World) -> None:
    world.config()
    page = f"/connections/{OWN}-crm"
    assert "1 sync uses it" in alice.text(page)
    assert alice.post(f"{page}/deletion").status_code == 409
    free = alice.post("/connections", **FOLDER).location
    assert alice.post(f"{free}/deletion").status_code == 303
    assert alice.get(free).status_code == 404


@pytest.mark.parametrize("path", ["/connections/new", "/connections/new/csv", f"/connections/{OWN}-crm/edit"])
def test_an_operator_checks_but_does_not_change(bob: Browser, path: str) -> None:
    assert bob.get(path).status_code == 403
    assert bob.post("/connections", **FOLDER).status_code == 403
    assert bob.post(f"/connections/{OWN}-crm/checks").status_code == 303
    page = bob.text(f"/connections/{OWN}-crm")
    assert "Check" in page and ">Change it<" not in page and "Delete" not in page
