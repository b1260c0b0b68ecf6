"""Alice owns the workspace, Bob runs its syncs, Vera only reads; Charlie sits in another workspace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import FileSystemBytecodeCache

from models.people import Role
from tasks.context import Context
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.world import OTHER, Clock, World, make_context
from web import create_app

PASSWORD = "correct horse battery staple"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock) -> Context:
    return make_context(tmp_path, clock)


@pytest.fixture
def world(ctx: Context, clock: Clock) -> World:
    found = World(ctx, clock)
    found.person("alice", Role.ADMIN)
    found.person("bob", Role.OPERATOR)
    found.person("vera", Role.VIEWER)
    found.person("charlie", Role.ADMIN, workspace=OTHER)
    found.beats()
    return found


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Templates are compiled once for all tests of a process."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def app(ctx: Context, world: World, compiled: FileSystemBytecodeCache) -> Flask:
    app = create_app(ctx)
    app.jinja_env.bytecode_cache = compiled
    return app


@pytest.fixture
def browser(app: Flask, ctx: Context) -> Callable[[], Browser]:
    """A new browser, signed out."""
    return lambda: Browser(app, ctx)


@pytest.fixture
def alice(browser: Callable[[], Browser]) -> Browser:
    return browser().sign_in("alice")


@pytest.fixture
def bob(browser: Callable[[], Browser]) -> Browser:
    return browser().sign_in("bob")


@pytest.fixture
def vera(browser: Callable[[], Browser]) -> Browser:
    return browser().sign_in("vera")


@pytest.fixture
def charlie(browser: Callable[[], Browser]) -> Browser:
    return browser().sign_in("charlie")


@pytest.fixture
def stranger(browser: Callable[[], Browser]) -> Browser:
    """Somebody who has not signed in."""
    return browser()


@pytest.fixture
def caller(app: Flask, ctx: Context) -> Callable[..., Caller]:
    """A program with a token of this person, with all scopes unless some are named."""
    return lambda name, *scopes: Caller(app, ctx, name, *scopes)
