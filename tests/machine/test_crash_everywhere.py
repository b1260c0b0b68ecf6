"""The process dies at every step of a run, once each; afterwards all is as if nothing had happened.

A step is a commit of our own database, a call to a system, a record within a batch, a file that is put in
its place. Where a step has an effect outside, death comes before it, and once more after it and before
the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors import files
from models.journal import ChangeState
from tests.hostile import Killed
from tests.machine.plays import PLAYS, InMemory, Photograph, Scene, Theatre

ON = {
    "memory": tuple(PLAYS),
    "csv": ("first contact", "edits", "deletes"),
    "sql": ("first contact", "edits", "deletes", "undo"),
}
CASES = [(kind, name) for kind, names in ON.items() for name in names]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{name} ({kind})" for kind, name in CASES])
def test_death_at_any_step_changes_nothing(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theatre = Theatre(PLAYS[name], kind, tmp_path)
    scene = theatre.begin()
    _count_files_too(scene, monkeypatch)
    scene.stage.deaths.is_counting = True
    theatre.play.run(scene)
    scene.stage.deaths.is_counting = False
    steps = list(scene.stage.deaths.trace)
    wanted = _at_rest(theatre, scene)
    theatre.end(scene)
    assert len(steps) > 5, steps
    for number, step in enumerate(steps, 1):
        for after in (False, True) if _acts_outside(step) else (False,):
            _die_and_recover(
                theatre, number, after, wanted, f"{'after' if after else 'before'} {step}", monkeypatch
            )


def _die_and_recover(
    theatre: Theatre,
    number: int,
    after: bool,
    wanted: Photograph,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = theatre.begin()
    _count_files_too(scene, monkeypatch)
    deaths, known = scene.stage.deaths, scene.stage.count_runs()
    deaths.at, deaths.after, deaths.is_counting = number, after, True
    try:
        with pytest.raises(Killed):
            theatre.play.run(scene)
        deaths.is_counting = False
        if scene.stage.active_run() is not None:
            scene.stage.take_over()
        elif scene.stage.count_runs() == known:
            theatre.play.run(scene)  # it never came to a run: whoever asked for it asks again
        got = _at_rest(theatre, scene, wanted)
        assert got == wanted, f"{where} (step {number})"
        _one_effect_per_intent(theatre, scene, where)
    finally:
        theatre.end(scene)


def _at_rest(theatre: Theatre, scene: Scene, wanted: Photograph | None = None) -> Photograph:
    """What stands there once runs change nothing any more, or all is as wanted after one."""
    if scene.stage.active_run() is not None:
        scene.stage.work()
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


def _acts_outside(step: str) -> bool:
    return any(word in step for word in ("write", "record", "file"))


def _count_files_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two moments at which the replacement of a file can be cut."""
    deaths = scene.stage.deaths

    def counted(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with deaths.step(name):
                return plain(*args)

        return run

    monkeypatch.undo()
    monkeypatch.setattr(files, "_written", counted("file written", files._written))
    monkeypatch.setattr(files, "_make_durable", counted("file in place", files._make_durable))
