"""Whatever a run or a record may fail with, people are told who can act and whether it heals."""

from __future__ import annotations

import re
from pathlib import Path

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import World, summary
from web.causes import _CAUSES, cause

ROOT = Path(__file__).resolve().parents[2]
# Told at once to whoever fills in a form; or the base of others, never raised itself.
NOT_OF_RUNS = {"name", "no_list", "connector", "fatal", "retryable", "record"}


def codes() -> set[str]:
    """What the engine sets records aside with, and what connectors end a run with."""
    found: set[str] = set()
    for path in (*ROOT.glob("sync/*.py"), *ROOT.glob("connectors/**/*.py")):
        text = path.read_text("utf-8")
        found |= set(re.findall(r'Problem\(\s*"([a-z_]+)"', text))
        found |= set(re.findall(r'\bcode="([a-z_]+)"', text))
        found |= set(re.findall(r'^    code = "([a-z_]+)"', text, re.MULTILINE))
    return found


def test_every_code_has_its_card() -> None:
    assert len(codes()) > 40
    assert codes() - NOT_OF_RUNS - set(_CAUSES) == set()


def test_a_status_alone_is_a_refusal() -> None:
    assert cause("http_409") == cause("rejected")


def test_a_record_says_who_can_act_and_can_be_tried_again(bob: Browser, world: World) -> None:
    config = world.config(next_run_at=None)
    error = {"key": "m@example.com", "side": "right", "operation": "update", "code": "does_not_fit",
             "message": "No such option."}  # fmt: skip
    run = world.run(config, RunState.PARTIAL, summary=summary(failed=1, errors=[error]))
    world.issue(config, "m@example.com", code="does_not_fit", message="No such option.", last_run_id=run)
    path = f"/records/{config}?key=m@example.com"
    words = bob.words(path)
    assert "Who can act Whoever keeps the data: choose a value that fits" in words
    assert f'href="/issues/{config}/does_not_fit"' in bob.text(path)
    assert f'href="/records/{config}?key=m@example.com"' in bob.text(f"/runs/{run}")
    made = bob.post(f"/runs/{run}/retries", key="m@example.com")
    assert made.status_code == 303 and "read again" in bob.words(made.location)


def test_a_reader_is_offered_no_retry(vera: Browser, world: World) -> None:
    config = world.config()
    world.issue(config, "m@example.com", last_run_id=world.run(config))
    assert "Try this record again" not in vera.words(f"/records/{config}?key=m@example.com")
