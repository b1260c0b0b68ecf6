"""What a person reads when something breaks: a sentence and an id, never the inside of it."""

from __future__ import annotations

import sqlite3

import pytest
from flask import Flask
from structlog.testing import capture_logs

from tasks.context import Context
from tests.web.browser import Browser
from tests.web.world import World
from web.auth import public


class Secret(Exception):
    """With a secret in its text."""


@pytest.fixture
def broken(app: Flask, ctx: Context) -> Browser:
    """A browser at an app with a page that breaks."""

    @public
    def boom() -> str:
        raise Secret("postgresql://admin:hunter2@db.internal/x")

    app.add_url_rule("/boom", view_func=boom, endpoint="boom")
    app.add_url_rule("/api/boom", view_func=boom, endpoint="api_boom")
    return Browser(app, ctx)


def test_a_mistake_of_ours_shows_an_id_that_the_log_has_too(broken: Browser) -> None:
    with capture_logs() as logs:
        response = broken.get("/boom")
    assert response.status_code == 500
    assert "That is a mistake of ours" in response.text
    [event] = [item for item in logs if item["event"] == "a page failed"]
    assert event["error_id"] in response.text
    for inside in ("hunter2", "db.internal", "Secret", "Traceback", ".py"):
        assert inside not in response.text


def test_the_api_gets_problem_json(broken: Browser) -> None:
    response = broken.get("/api/boom")
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["code"] == "unexpected"
    assert "hunter2" not in response.text
    assert broken.get("/api/nothing").get_json()["status"] == 404


def test_what_is_not_there(alice: Browser, stranger: Browser) -> None:
    for visitor in (alice, stranger):
        response = visitor.get("/nothing/here")
        assert response.status_code == 404
        assert "There is nothing here" in response.text


def test_what_cannot_be_opened_like_that(alice: Browser) -> None:
    assert alice.get("/sign-out").status_code == 405


def test_a_form_of_an_old_session_says_what_to_do(alice: Browser) -> None:
    response = alice.post("/preferences/theme", "stale", theme="dark")
    assert response.status_code == 400
    assert "This form is not valid any more" in response.text


def test_too_much_is_refused(alice: Browser) -> None:
    response = alice.client.post("/preferences/theme", data={"theme": "x" * 2_000_000})
    assert response.status_code == 413


def test_the_panel_reads_and_never_writes(app: Flask, world: World) -> None:
    from models.people import User
    from web.database import db

    with app.app_context():
        user = db.session.get(User, "user-alice")
        assert user is not None
        user.name = "changed"
        with pytest.raises(RuntimeError, match="belongs into tasks"):
            db.session.commit()
        with pytest.raises(RuntimeError, match="belongs into tasks"):
            db.session.flush()


def test_other_keys_than_the_databases_stop_the_start(ctx: Context, world: World) -> None:
    from dataclasses import replace

    from models.secrets import KeyRing, SecretUnreadable
    from web import create_app

    create_app(ctx)
    with pytest.raises(SecretUnreadable):
        create_app(replace(ctx, ring=KeyRing({"other": b"0123456789abcdef0123456789abcdef"})))


def test_importing_the_panel_does_nothing() -> None:
    import subprocess
    import sys

    code = "import sys, web; print([name for name in sys.modules if name.startswith('web.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_wherever_its_connection_breaks_a_page_is_shown_or_says_that_the_database_is_away(
    alice: Browser, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = ctx.reads.kw["bind"].dialect
    give_back = dialect.do_rollback
    calls = breaks_at = 0

    def breaking(connection: object) -> None:
        nonlocal calls
        calls += 1
        if calls == breaks_at:
            raise sqlite3.OperationalError("the server closed the connection")
        give_back(connection)

    monkeypatch.setattr(dialect, "do_rollback", breaking)
    assert alice.get("/runs").status_code == 200
    usual, statuses = calls, []
    for number in range(1, usual + 1):
        calls, breaks_at = 0, number
        response = alice.get("/runs")
        statuses.append(response.status_code)
        assert response.status_code == 200 or "The database does not answer" in response.text
    assert set(statuses) == {200, 503}
    assert alice.get("/runs").status_code == 200
