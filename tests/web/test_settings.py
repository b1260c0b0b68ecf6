"""The page that says what this workspace and this installation are set to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from models.connections import Connection
from models.secrets import KeyRing
from settings import Settings
from tests.web.browser import Browser
from tests.web.world import OWN, World
from web.database import _EXTENSION

SECRET_URL = "https://hooks.example.com/services/T0-hidden-part"


def with_settings(app: Flask, **changed: Any) -> Flask:
    ctx = app.extensions[_EXTENSION]
    app.extensions[_EXTENSION] = replace(ctx, settings=replace(ctx.settings, **changed))
    return app


def with_ring(app: Flask, ring: KeyRing) -> None:
    app.extensions[_EXTENSION] = replace(app.extensions[_EXTENSION], ring=ring)


def test_it_says_what_is_set_and_by_which_variable(app: Flask, alice: Browser, world: World) -> None:
    with_settings(app, alert_webhook_url=SECRET_URL, log_retention_days=12, named=("LOG_RETENTION_DAYS",))
    words = alice.words("/settings")
    assert "12 days LOG_RETENTION_DAYS" in words
    assert "hooks.example.com" in words and "hidden-part" not in words
    assert "127.0.0.0/8" in words
    assert "The scheduler ticks. 1 worker answers." in words


def test_it_shows_no_secret(app: Flask, alice: Browser, world: World) -> None:
    settings = world.ctx.settings
    with_settings(app, cron_secrets=("a-very-long-cron-secret",), alert_webhook_url=SECRET_URL)
    page = alice.text("/settings")
    for secret in (settings.secret_key, "a-very-long-cron-secret", "hidden-part"):
        assert secret not in page
    for key in settings.encryption_keys:
        assert key.id in page and key.secret.hex() not in page


def test_keys_are_named_with_what_they_encrypt(app: Flask, alice: Browser, world: World) -> None:
    with world.write() as db:
        for number, connection in enumerate(db.query(Connection).filter_by(workspace_id=OWN)):
            connection.secrets = f"v1.{'old' if number else 'lost'}.nonce.text"
    with_ring(app, KeyRing({"new": b"1" * 32, "old": b"2" * 32}))
    words = alice.words("/settings")
    assert "new newest 0 connections" in words and "old 1 connection" in words
    assert "1 connection is stored under a key that is not here" in words
    assert "syncline keys rotate" in words


def test_keys_are_those_that_are_in_use_by_now(app: Flask, alice: Browser) -> None:
    changed: list[Mapping[str, bytes]] = []
    with_ring(app, KeyRing({"first": b"1" * 32}, lambda: changed.pop() if changed else None))
    assert "first newest" in alice.words("/settings")
    changed.append({"second": b"2" * 32, "first": b"1" * 32})
    words = alice.words("/settings")
    assert "second newest" in words and "first 0 connections" in words


@pytest.mark.parametrize("local", [True, False])
def test_the_inside_of_an_installation_is_for_who_keeps_it(app: Flask, alice: Browser, local: bool) -> None:
    url = "sqlite:///x.db" if local else "postgresql://a@b/c"
    with_settings(app, database_url=url, admin_emails=("keeper@example.com",))
    words = alice.words("/settings")
    assert ("Versions" in words) is local
    assert "How long things are kept" in words
    with_settings(app, admin_emails=("alice@example.com",))
    assert "Versions" in alice.words("/settings")


def test_the_workspace_is_renamed_here(alice: Browser, bob: Browser) -> None:
    assert alice.post("/workspace/name", name="South").location == "/settings"
    assert 'value="South"' in alice.text("/settings")
    assert bob.get("/settings").status_code == 403


def test_the_environment_says_which_variables_are_set(tmp_path: Path) -> None:
    env = {"DATABASE_URL": "sqlite:///x.db", "PORT": " ", "LOG_LEVEL": "INFO"}
    found = Settings.from_env(env, folder=tmp_path)
    assert found.named == ("DATABASE_URL", "LOG_LEVEL")
