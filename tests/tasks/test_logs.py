"""One event is one line; it names its run; and no secret is in it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tasks import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(told: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.readouterr().err.splitlines()]


def test_each_event_is_one_line_of_json_with_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("INFO", "json", process="worker")
    log = structlog.get_logger("tasks.test")
    with structlog.contextvars.bound_contextvars(run="r1", config="people"):
        log.info("run.started", kind="manual")
        logging.getLogger("some.library").warning("tried %d times", 3)
        try:
            raise ValueError("two\nlines")
        except ValueError:
            log.exception("run.bug")
    log.debug("too much")
    started, library, bug = lines(capsys)
    assert (started["event"], started["run"], started["config"], started["process"]) == (
        "run.started", "r1", "people", "worker",
    )  # fmt: skip
    assert (library["event"], library["run"], library["logger"]) == ("tried 3 times", "r1", "some.library")
    assert "ValueError: two\nlines" in bug["exception"]


def test_lines_on_a_terminal_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("INFO", "console", process="worker")
    structlog.get_logger("tasks.test").info("run.started", kind="manual")
    (line,) = capsys.readouterr().err.splitlines()
    assert "run.started" in line and "kind=manual" in line and not line.startswith("{")


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://user:hunter2secret@db/x",
        "rk_live_hunter2secret",
        "patABCDEFGHIJKLMN." + "0a" * 32,
        "Authorization: Bearer hunter2secret.abc",
        "https://example.org/sign-in/hunter2secrethunter2secret",
        "eyJhbGciOiJI.eyJodW50ZXIy.c2VjcmV0",
        "-----BEGIN PRIVATE KEY-----\nhunter2secret\n-----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(
    capsys: pytest.CaptureFixture[str], style: str, secret: str
) -> None:
    logs.set_up("INFO", style, process="worker")
    log = structlog.get_logger("tasks.test")
    log.info(f"here is {secret}", deep={"list": [secret]})
    logging.getLogger("some.library").warning("and %s", secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("bug")
    said = capsys.readouterr().err
    assert said.count("here is") == 1
    for part in ("hunter2", "0a0a0a", "eyJhbGci"):
        assert part not in said


def test_what_has_the_name_of_a_secret_is_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("INFO", "json", process="worker")
    structlog.get_logger("tasks.test").info(
        "x", password="hunter2", api_token="hunter2", deep={"client_secret": "hunter2"}, token=3
    )
    (line,) = lines(capsys)
    assert "hunter2" not in str(line)
    assert line["token"] == 3, "the fencing token is none"


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk = io.StringIO()
    monkeypatch.setattr(sys, "stderr", full_disk)
    logs.set_up("INFO", "json", process="worker")
    full_disk.close()
    structlog.get_logger("tasks.test").info("into the void")
