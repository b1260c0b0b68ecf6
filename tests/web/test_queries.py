"""A page asks the database a constant number of questions, however much is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import World, summary

MOST = 30  # per page, with who is signed in, the frame and the clock


@contextmanager
def counted(world: World) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            asked.append(statement)

    engine = world.ctx.reads.kw["bind"].engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def fill(world: World, number: int) -> tuple[str, str]:
    errors = [{"key": "k", "side": "left", "operation": "read", "code": "no_key", "message": "m"}]
    config = run = ""
    for index in range(number):
        config = world.config(f"sync {index}", next_run_at=world.clock.now.replace(hour=index % 14))
        world.run(config, minutes=9)
        world.run(config, RunState.FAILED, minutes=5, error="e", error_code="auth")
        run = world.run(config, RunState.PARTIAL, summary=summary(failed=1, errors=errors))
        world.run(config, RunState.RUNNING)
        for change in range(number):
            world.change(run, f"k{change}", state="held", guard="budget")
            world.line(run, "line")
            world.conflict(config, f"k{change}")
    return config, run


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/configs",
        "/configs/{config}",
        "/runs",
        "/runs/{run}",
        "/conflicts",
        "/conflicts/1",
        "/held",
        "/issues",
        "/queue",
    ],
)
def test_pages_ask_a_constant_number_of_questions(alice: Browser, world: World, path: str) -> None:
    config, run = fill(world, 1)
    with counted(world) as few:
        alice.text(path.format(config=config, run=run))
    with world.write() as db:
        from models.sync_configs import SyncConfig

        db.get_one(SyncConfig, config).name = "first"
    config, run = fill(world, 8)
    with counted(world) as many:
        alice.text(path.format(config=config, run=run))
    assert len(many) <= len(few), "\n".join(many)
    assert len(few) <= MOST, "\n".join(few)
