"""Something goes wrong at every step of a run, once each; afterwards all is as if nothing had happened.

A step is a commit of our own database, a call to a system, a record within a batch, a file that is put in
its place, a ring of the bell. The process dies there, or the step fails and the process lives on. Where a
step has an effect, the fault comes before it, and once more after it and before the answer.

`make test` takes a step here and there of every play; `make test-steps` takes every step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import pytest
from sqlalchemy.exc import SQLAlchemyError

from models.journal import ChangeState
from models.sync_runs import RunState
from tests.hostile import Killed
from tests.machine.plays import PLAYS, InMemory, Photograph, Scene, Theatre, apart

How = Literal["killed", "failed"]
KINDS = ("memory", "csv", "sql")
NEEDS_MEMORY = ("edits, nothing shown", "a batch refused", "a retry of what failed", "two keys swapped")
ALL = [
    (kind, name, how)
    for kind in KINDS
    for name in PLAYS
    if kind == "memory" or name not in NEEDS_MEMORY
    for how in ("killed", "failed")
]
FEW = [
    case for case in ALL if case[0] == "memory" or case[1:] in (("edits", "killed"), ("deletes", "failed"))
]
HERE_AND_THERE = 19  # one step of so many


def _named(cases: list[tuple[str, str, str]]) -> list[Any]:
    return [pytest.param(*case, id=f"{case[1]}, {case[2]} ({case[0]})") for case in cases]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "name", "how"), _named(ALL))
def test_a_fault_at_any_step_changes_nothing(
    kind: str, name: str, how: How, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strikes = _play(Theatre(PLAYS[name], kind, tmp_path), how, monkeypatch, lambda number: True)
    print(f"{strikes} faults")


@pytest.mark.parametrize(("kind", "name", "how"), _named(FEW))
def test_a_fault_here_and_there_changes_nothing(
    kind: str, name: str, how: How, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = crc32(f"{kind} {name} {how}".encode())
    _play(
        Theatre(PLAYS[name], kind, tmp_path),
        how,
        monkeypatch,
        lambda number: (number + first) % HERE_AND_THERE == 0,
    )


def _play(
    theatre: Theatre, how: How, monkeypatch: pytest.MonkeyPatch, is_chosen: Callable[[int], bool]
) -> int:
    """Strike at every chosen step; how often."""
    scene = theatre.begin()
    _count_files_too(scene, monkeypatch)
    with scene.stage.deaths.count():
        theatre.play.run(scene)
        steps = list(scene.stage.deaths.trace)
    wanted = _at_rest(theatre, scene)
    theatre.end(scene)
    assert len(steps) > 5, steps
    strikes = 0
    for number, step in enumerate(steps, 1):
        for after in (False, True):
            if is_chosen(number):
                where = f"{how} {'after' if after else 'before'} step {number}: {step}"
                strikes += _strike_and_recover(theatre, number, after, how, wanted, where, monkeypatch)
    return strikes


def _strike_and_recover(
    theatre: Theatre,
    number: int,
    after: bool,
    how: How,
    wanted: Photograph,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> bool:
    """Whether there was anything to recover from: not every step can fail at every moment."""
    scene = theatre.begin()
    _count_files_too(scene, monkeypatch)
    stage, known = scene.stage, scene.stage.count_runs()
    try:
        with stage.deaths.count(number, after=after, fails=how == "failed"):
            try:
                theatre.play.run(scene)
            except (Killed, SQLAlchemyError):
                assert stage.deaths.has_struck, where
        if stage.deaths.has_struck:
            stage.recover()
            newest = stage.newest_run() if stage.count_runs() > known else None
            if newest is None or newest.state == RunState.FAILED or stage.failed_in(newest):
                theatre.play.again(scene)  # whoever asked for it sees that, and asks again
            got = _at_rest(theatre, scene, wanted)
            assert got == wanted, f"{where}\n{apart(got, wanted)}"
            _one_effect_per_intent(theatre, scene, where)
        return stage.deaths.has_struck
    finally:
        theatre.end(scene)


def _at_rest(theatre: Theatre, scene: Scene, wanted: Photograph | None = None) -> Photograph:
    """What stands there once runs change nothing any more, or all is as wanted after one."""
    scene.stage.recover()
    seen = None
    for _ in range(4):
        scene.stage.run()
        now = theatre.photograph(scene)
        if now in (seen, wanted):
            return now
        seen = now
    raise AssertionError("it does not come to rest")


def _one_effect_per_intent(theatre: Theatre, scene: Scene, where: str) -> None:
    """G-ONCE, G-AUDIT: every write that took effect has one row that says so."""
    states = {row.marker: row.state for row in scene.stage.changes()}
    for side, end in theatre.ends.items():
        if not isinstance(end, InMemory):
            continue
        for entry in end.system.log:
            assert states.get(entry.marker) == ChangeState.APPLIED, f"{where}: {entry} on {side}"
        assert all(count == 1 for count in end.system.creates().values()), where


def _count_files_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two moments at which the replacement of a file can be cut."""
    deaths = scene.stage.deaths

    def counted(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **more: Any) -> Any:
            with deaths.step(name, before=_full):
                return plain(*args, **more)

        return run

    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", counted("file synced", os.fsync))
    monkeypatch.setattr(os, "replace", counted("file put in place", os.replace))


def _full() -> Exception:
    return OSError(28, "No space left on device")
