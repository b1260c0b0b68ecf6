"""A first load in parts: what it makes is what an ordinary run makes, wherever it is broken off."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from models.journal import Batch, Change, ChangeState
from models.links import Link, Shadow
from models.sync_runs import RunKind
from tasks import batches, filling, ledger
from tests.hostile import Killed, upper
from tests.scenarios.world import Story

PART = 3


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Whether the next runs fill an empty side in parts, of three records each."""

    def switch(on: bool) -> None:
        monkeypatch.setattr(filling, "FEWEST", 1 if on else 1_000)
        monkeypatch.setattr(filling, "PART", PART)

    switch(True)
    return switch


def kept(story: Story) -> list[Any]:
    """What is stored of links, shadows and changes, but for the numbers and ids that each run makes up."""
    found: list[Any] = []
    with story.ctx.reads() as db:
        for row in db.scalars(select(Link).order_by(Link.key, Link.left_id, Link.right_id)):
            shadow = db.get_one(Shadow, row.id)
            origin = (row.left_id, row.left_version)
            if story.swapped:
                origin = (row.right_id, row.right_version)
            has_both = row.left_version is not None and row.right_version is not None
            found.append((row.key, row.state, origin, has_both, shadow.left, shadow.right, shadow.flaps))
        for it in db.scalars(select(Change).order_by(Change.key, Change.id)):
            found.append((it.key, it.side, it.operation, it.state, it.rule, it.origin_id, it.attempts))
            found.append((it.before, it.after, it.result, it.code, it.fingerprint))
    return found


def tell(story: Story) -> None:
    story.define()
    for number in range(10):
        story.left.put(f"k{number}", x=f"x{number}", y=None)
    story.left.put("", x="nameless")
    for value in ("a", "b"):
        story.left.put("k3", x=value)
    story.left.put("K4", x="capital")


@pytest.mark.parametrize(
    "knobs",
    [{}, {"normalise": {"x": upper}}, {"has_receipts": False}],
    ids=["kept as sent", "kept otherwise", "no receipts"],
)
def test_what_is_made_in_parts_is_what_is_made_at_once(
    swapped: bool, in_parts: Callable[[bool], None], knobs: dict[str, Any]
) -> None:
    told = []
    for parts in (False, True):
        in_parts(parts)
        story = Story(swapped=swapped)
        for name, value in knobs.items():
            setattr(story.right.knobs, name, value)
        tell(story)
        outcome = story.run()
        summary = story.summary.as_json()
        for own in ("run", "seconds"):
            summary.pop(own, None)
        told.append((outcome, kept(story), summary, sorted(story.right.keys)))
    assert told[0] == told[1]
    assert "k3" not in told[0][3]  # three records of one key: none is made
    assert {"k4", "K4"} <= set(told[0][3])


def previewed(swapped: bool) -> tuple[Story, dict[str, Any], list[Any]]:
    """The story before its first run, with what a preview said and showed of it."""
    story = Story(swapped=swapped)
    tell(story)
    story.run(preview=False, repeat=False, kind=RunKind.PREVIEW)
    assert not story.right.keys, "a preview wrote"
    summary = story.summary.as_json()
    for own in ("run", "seconds"):
        summary.pop(own, None)
    rows = [(row.key, row.operation, row.state, row.after) for row in story.changes_of(story.run_id)]
    return story, summary, sorted(rows, key=str)


def test_what_a_preview_shows_in_parts_is_what_it_shows_at_once_and_what_is_made(
    swapped: bool, in_parts: Callable[[bool], None]
) -> None:
    in_parts(False)
    at_once = previewed(swapped)[1:]
    in_parts(True)
    story, *told = previewed(swapped)
    rows, shown = told[1], story.run_id
    assert tuple(told) == at_once
    story.left.edit("k0", x="other")
    story.left.put("late", x="unseen")
    story.run(preview=False, repeat=False, carries_out=shown)
    assert sorted(story.right.keys) == sorted({row[0] for row in rows} - {"k0"})
    assert any(f"{len(rows) - 1} of {len(rows)} changes are still" in line for line in story.lines())
    assert story.run() == "R+k0 R+late issue(ambiguous_key k3)"


def test_copies_of_a_key_in_different_parts_are_set_aside(
    story: Story, in_parts: Callable[[bool], None]
) -> None:
    story.define()
    story.left.put("twin", x="first")
    for number in range(3 * PART):
        story.left.put(f"k{number}", x="a")
    story.left.put("twin", x="last")
    story.run(preview=False)
    assert not story.right.has("twin")
    assert (story.counts("right").created, story.summary.failed) == (3 * PART, 2)


def test_what_is_sent_stands_in_our_database_before_and_nothing_more(
    story: Story, in_parts: Callable[[bool], None]
) -> None:
    story.define(batch_size=2)
    keys = [f"k{number}" for number in range(6)]
    for key in keys:
        story.left.put(key, x="a")
    told: list[list[str]] = []

    def look(name: str) -> None:
        if name == "write":
            with story.ctx.reads() as db:
                for batch in db.scalars(select(Batch)):
                    told.append([entry.key for entry in batches.entries_of(batch)])

    story.right.knobs.meanwhile = look
    story.run(preview=False, repeat=False)
    assert told == [["k0", "k1"], ["k2"], ["k3", "k4"], ["k5"]]
    with story.ctx.reads() as db:
        assert not list(db.scalars(select(Batch)))
        assert {row.state for row in db.scalars(select(Change))} == {ChangeState.APPLIED}


@pytest.mark.parametrize("writes", range(1, 12))
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_killed_at_any_write_it_goes_on_and_doubles_nothing(
    story: Story, in_parts: Callable[[bool], None], writes: int, done: bool
) -> None:
    story.define(batch_size=1)
    keys = [f"k{number:02}" for number in range(10)]
    for key in keys:
        story.left.put(key, x=f"of {key}")
    story.in_line = True
    seen = 0

    def count(name: str) -> None:
        nonlocal seen
        seen += name == "write"
        if name == "write" and seen == writes:
            story.right.knobs.meanwhile = None
            if not done:
                raise Killed("before a write")
            story.right.knobs.kill_after = story.right.system.calls

    story.right.knobs.meanwhile = count
    if writes <= len(keys):
        with pytest.raises(Killed):
            story.run(preview=False, repeat=False)
        story.right.knobs.kill_after = None
        story.after_a_crash()
    else:
        story.run(preview=False, repeat=False)
    assert story.right.keys == keys
    assert [story.right.get("x", key) for key in keys] == [f"of {key}" for key in keys]
    assert story.run() == "nothing"


def test_whoever_edits_a_record_between_two_parts_of_a_broken_load_is_heard(
    story: Story, in_parts: Callable[[bool], None]
) -> None:
    story.define(batch_size=1)
    for number in range(9):
        story.left.put(f"k{number}", x="a")
    story.in_line = True
    story.right.knobs.kill_after = story.right.system.calls + 5
    with pytest.raises(Killed):
        story.run(preview=False, repeat=False)
    story.right.knobs.kill_after = None
    made = story.right.keys
    assert 0 < len(made) < 9
    story.right.edit(made[0], x="mine")
    story.after_a_crash()
    assert (story.left.get("x", made[0]), story.right.get("x", made[0])) == ("mine", "mine")
    assert len(story.right.keys) == 9


@pytest.mark.parametrize(
    "said",
    [
        {"validation": "strict"},
        {"guards": {"budget": {"creates": 2}}},
        {"settle": "10m", "modified": {"left": "at", "right": "at"}},
    ],
    ids=["strict", "budget", "settle"],
)
def test_what_needs_the_whole_plan_first_gets_it(
    story: Story, in_parts: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("filled in parts")

    monkeypatch.setattr(filling, "_read", never)
    story.define(**said)
    for number in range(5):
        story.left.put(f"k{number}", x="a")
    story.run()


def test_a_refused_record_is_set_aside_and_the_rest_is_made(
    story: Story, in_parts: Callable[[bool], None]
) -> None:
    story.define()
    for number in range(9):
        story.left.put(f"k{number}", x="far too long" if number == 4 else "a")
    story.right.system.store.fields = tuple(
        replace(item, max_length=5) if item.name == "x" else item for item in story.right.system.store.fields
    )
    story.run(preview=False, repeat=False)
    assert story.right.keys == [f"k{number}" for number in range(9) if number != 4]
    assert story.summary.status == "partial"


@pytest.mark.parametrize("lost", ["lost_requests", "lost_answers"])
def test_what_is_not_known_of_a_batch_is_looked_up_one_by_one(
    story: Story, in_parts: Callable[[bool], None], lost: str
) -> None:
    story.define()
    for number in range(9):
        story.left.put(f"k{number}", x="a")
    setattr(story.right.knobs, lost, 1)
    story.run(preview=False, repeat=False)
    story.run(preview=False)
    assert story.right.keys == [f"k{number}" for number in range(9)]
    assert story.summary.status == "success"


def test_a_batch_that_a_dead_process_left_is_in_the_journal_of_the_next(
    story: Story, in_parts: Callable[[bool], None]
) -> None:
    story.define()
    for number in range(PART):
        story.left.put(f"k{number}", x="a")
    story.in_line = True
    story.right.knobs.kill_after = story.right.system.calls + 2
    with pytest.raises(Killed):
        story.run(preview=False, repeat=False)
    story.right.knobs.kill_after = None
    assert len(story.right.keys) == PART
    story.after_a_crash()
    told = {(row.key, row.state, row.attempts) for row in story.journal() if row.operation == "create"}
    assert told == {(f"k{number}", "applied", 1) for number in range(PART)}
    assert story.run() == "nothing"


def test_a_full_temporary_folder_costs_memory_and_no_record(
    story: Story, in_parts: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pickle, "dump", full)
    story.define()
    for number in range(7):
        story.left.put(f"k{number}", x="a")
    story.run(preview=False)
    assert len(story.right.keys) == 7
    assert story.summary.status == "success"


def test_a_record_that_is_returned_twice_is_made_once(
    story: Story, in_parts: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("filled in parts")

    monkeypatch.setattr(filling, "_fill", never)
    story.define()
    keys = [f"k{number}" for number in range(7)]
    for key in keys:
        story.left.put(key, x="a")
    story.left.knobs.page_size, story.left.knobs.repeats = 3, 1
    story.run(preview=False)
    assert story.right.keys == keys


def test_the_links_are_counted_once_in_a_run(
    story: Story, in_parts: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    story.define()
    for number in range(7):
        story.left.put(f"k{number}", x="a")
    story.run(preview=False)
    real, counted = ledger.load_index, 0

    def count(*asked: Any, **more: Any) -> Any:
        nonlocal counted
        counted += 1
        return real(*asked, **more)

    monkeypatch.setattr(ledger, "load_index", count)
    story.left.edit("k1", x="b")
    story.run(preview=False, repeat=False)
    assert counted == 1
