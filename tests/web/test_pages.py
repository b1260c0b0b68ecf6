"""Every page is there, signed in, over a world with a bit of everything in it."""

from __future__ import annotations

import pytest

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import World


@pytest.mark.parametrize("path", ["/", "/configs", "/runs", "/conflicts", "/held"])
def test_an_empty_workspace_says_what_to_do(alice: Browser, path: str) -> None:
    alice.text(path)


def test_pages(alice: Browser, world: World) -> None:
    config = world.config()
    run = world.run(config)
    world.change(run)
    world.line(run, "reading left")
    failed = world.run(config, RunState.FAILED, error="No connection.", error_code="unavailable")
    conflict = world.conflict(config)
    world.change(run, state="held", guard="mass_delete", operation="delete")
    for path in ("/", "/configs", "/runs", "/conflicts", "/held"):
        assert "customers" in alice.text(path)
    assert "Marie" in alice.text(f"/runs/{run}")
    assert "could not be reached" in alice.text(f"/runs/{failed}")
    assert "Maria" in alice.text(f"/conflicts/{conflict}")
    assert "newer edit wins" in alice.text(f"/configs/{config}")
