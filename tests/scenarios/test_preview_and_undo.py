"""D and U: what a run would do, and how what it did is put back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from models.journal import ChangeState
from models.sync_runs import RunKind
from sync.records import Field
from sync.values import FieldType
from tasks import execute, explaining, ledger, previews
from tasks.reins import Reins
from tests.scenarios.world import FIELDS, Story

PROPAGATE = {"deletes": "propagate"}
TWENTY = [f"m{number:02}" for number in range(20)]


class Killed(Exception):
    """The process is dead."""


def undo(story: Story, run_id: str | None = None, *, repeat: bool = True) -> str:
    return story.run(preview=False, repeat=repeat, kind=RunKind.UNDO, run=run_id or story.run_id)


def busy(story: Story) -> None:
    """One of each: an edit on either side, a new record, a deleted one, a conflict, a held change."""
    story.define(**PROPAGATE, guards={"budget": {"creates": 1}})
    story.base("k", "k1", "k2", "k3", x="a", y="a")
    story.left.edit("k", x="b")
    story.right.edit("k1", x="c")
    story.left.remove("k2")
    story.left.edit("k3", x="l")
    story.right.edit("k3", x="r")
    story.left.put("new", x="n")
    story.left.put("newer", x="n")


def test_D01_a_preview_says_what_the_run_does(story: Story) -> None:
    busy(story)
    planned = story.preview()
    assert [(item["side"] in ("left", "right"), item["state"]) for item in planned.changes or ()].count(
        (True, "held")
    ) == 1
    assert planned.status == "partial"
    assert story.run() == "L.k1.x=c R+new R-k2 R.x=b conflict(k3.x) held(R+newer)"
    told = {
        side: (getattr(planned, side).created, getattr(planned, side).updated, getattr(planned, side).deleted)
        for side in ("left", "right")
    }
    done = {
        side: (
            getattr(story.summary, side).created,
            getattr(story.summary, side).updated,
            getattr(story.summary, side).deleted,
        )
        for side in ("left", "right")
    }
    assert told == done
    assert (planned.held, planned.conflicts, planned.failed, planned.unchanged, planned.excluded) == (
        story.summary.held,
        story.summary.conflicts,
        story.summary.failed,
        story.summary.unchanged,
        story.summary.excluded,
    )


def shown(story: Story) -> str:
    """A preview that is kept, as the panel asks for one; its run."""
    story.run(preview=False, repeat=False, kind=RunKind.PREVIEW)
    return story.run_id


def test_D01_a_preview_that_is_kept_shows_each_change_and_changes_nothing(story: Story) -> None:
    busy(story)
    planned = story.preview()
    run = shown(story)
    assert story.last is not None and story.last.changes is None, "they are rows, not one large value"
    assert [
        {
            "side": row.side,
            "operation": row.operation,
            "key": row.key,
            "before": row.before or None,
            "after": row.after or None,
            "state": "held" if row.state == ChangeState.WOULD_WAIT else "planned",
            "rule": row.guard or row.rule,
        }
        for row in story.changes_of(run)
    ] == planned.changes
    assert {row.state for row in story.changes_of(run)} == {ChangeState.WOULD_GO, ChangeState.WOULD_WAIT}
    assert "budget" in "".join(row.message or "" for row in story.changes_of(run)), "it says why one waits"
    told = explaining.explain(story.ctx, story.config, "k")
    assert told["history"] == [], "it is no part of a record's history"
    assert story.run() == "L.k1.x=c R+new R-k2 R.x=b conflict(k3.x) held(R+newer)"


def test_D01_a_preview_of_the_first_run_holds_nothing_later(story: Story) -> None:
    story.define(first_run="hold", conflict="left_wins")
    story.left.put("k", x="1")
    story.right.put("k", x="2")
    shown(story)
    with story.ctx.reads() as db:
        assert not ledger.waits_for_first_run(db, story.config), "nobody was asked yet"
    assert story.run() == "held(R.x=1)"
    story.approve()
    assert story.run() == "R.x=1"
    story.left.edit("k", x="3")
    assert story.run() == "R.x=3"


def test_D01_a_preview_that_is_taken_over_shows_each_change_once(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(story)
    monkeypatch.setattr(previews, "JOURNALLED_AT_ONCE", 2)
    claim, left = story.claimed(RunKind.PREVIEW), [2]
    plain = ledger.store_changes

    def dies(*given: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed
        plain(*given)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ledger, "store_changes", dies)
        execute.carry_out(story.ctx, claim, Reins(story.ctx, claim, threading.Event()))
    assert len(story.changes_of(claim.run_id)) == 2
    story.carry(claim)
    assert len(story.changes_of(claim.run_id)) == len(story.preview().changes or ()) > 2


def test_D02_a_preview_is_carried_out_as_shown_and_no_more(story: Story) -> None:
    story.base("k", "k1", "k2", "k3", x="a", y="a")
    story.left.edit("k", x="b")
    story.left.edit("k1", x="b")
    story.right.edit("k3", x="b")
    run = shown(story)
    story.left.edit("k", x="bb")  # what was shown would be another write by now
    story.left.edit("k2", x="b")  # and this one nobody has seen
    story.right.edit("k3", y="b")
    assert story.run(preview=False, repeat=False, carries_out=run) == "R.k1.x=b"
    assert any("1 of 3 changes are still as the preview showed them" in line for line in story.lines())
    assert story.run() == "L.k3.x=b L.k3.y=b R.k2.x=b R.x=bb"


def test_D02_what_a_preview_would_hold_waits_all_the_same(story: Story) -> None:
    story.define(guards={"budget": {"creates": 1}})
    story.base("k")
    story.left.put("new", x="n")
    story.left.put("newer", x="n")
    run = shown(story)
    assert story.run(preview=False, repeat=False, carries_out=run) == "R+new held(R+newer)"


def test_D02_a_preview_that_is_kept_no_longer_is_not_carried_out(story: Story) -> None:
    story.base("k", x="a")
    story.left.edit("k", x="b")
    assert story.run(preview=False, repeat=False, carries_out="long ago") == "failed(preview_gone)"
    assert story.run() == "R.x=b"


def test_D02_a_line_of_an_approved_plan_has_moved_since(story: Story) -> None:
    story.define(first_run="hold", conflict="left_wins")
    story.left.put("k", x="1")
    story.right.put("k", x="2")
    story.left.put("k1", x="1")
    story.right.put("k1", x="2")
    assert story.run() == "held(R.k1.x=1) held(R.x=1)"
    story.approve()
    story.right.edit("k", x="3")
    # Approved was that 2 is overwritten: this line is asked for again, the other one is done.
    assert story.run() == "R.k1.x=1 held(R.x=1)"
    story.approve()
    assert story.run() == "R.x=1"


def test_D02_a_line_moves_while_it_is_carried_out(story: Story) -> None:
    story.base("k", "k1", x="a")
    story.left.edit("k", x="b")
    story.left.edit("k1", x="b")

    def edit_meanwhile(call: str) -> None:
        if call == "write":
            story.right.knobs.meanwhile = None
            story.right.edit("k", x="c")

    story.right.knobs.meanwhile = edit_meanwhile
    assert story.run(preview=False, repeat=False) == "R.k1.x=b"
    assert story.run() == "conflict(x)"


def test_D04_a_preview_while_a_run_writes(story: Story) -> None:
    story.base("k", x="a")
    story.left.edit(x="b")
    seen = []

    def look(call: str) -> None:
        if call == "write":
            story.right.knobs.meanwhile = None
            seen.append(story.preview().right.updated + story.preview().left.updated)

    story.right.knobs.meanwhile = look
    assert story.run(preview=False) == "R.x=b"
    assert seen == [1]


def test_U01_twenty_updates_three_of_them_edited_since(story: Story) -> None:
    story.define(guards="off")
    story.base(*TWENTY, x="a")
    for key in TWENTY:
        story.left.edit(key, x="b")
    story.run()
    run = story.run_id
    for key in TWENTY[:3]:
        story.right.edit(key, x="c")
    undo(story, run, repeat=False)
    assert story.counts("right").updated == 17
    assert story.summary.excluded == 3
    assert [story.right.get("x", key) for key in TWENTY] == ["c"] * 3 + ["a"] * 17
    first_undo = story.run_id
    # The next run redoes nothing of it; the edits made since flow.
    assert story.run() == "L.m00.x=c L.m01.x=c L.m02.x=c"
    # And the undo itself can be undone.
    undo(story, first_undo)
    assert story.counts("right").updated == 17
    assert {story.right.get("x", key) for key in TWENTY[3:]} == {"b"}


def test_U01_an_edit_of_the_other_copy_since_still_flows(story: Story) -> None:
    story.base("k", x="a")
    story.left.edit(x="b")
    story.run()
    story.left.edit(x="c")
    assert undo(story, repeat=False) == "R.x=a"
    assert story.run() == "R.x=c"


def test_U01_an_edit_of_another_field_since_is_kept(story: Story) -> None:
    story.base("k", x="a", y="a")
    story.left.edit(x="b")
    story.run()
    story.right.edit(y="mine")
    assert undo(story, repeat=False) == "R.x=a"
    assert story.right.get("y") == "mine"
    assert story.run() == "L.y=mine"


def _number_anew(story: Story, keys: Sequence[str]) -> None:
    """The right side is emptied and loaded again: each record gets the id that the next one had."""
    teller = story.right
    ids = [teller.id(key) for key in keys]
    rows = [{name: teller.get(name, key) for name in "xyz"} for key in keys]
    teller.remove(*keys)
    for key, id, row in zip(keys, [*ids[1:], ids[0]], rows, strict=True):
        teller.put(key, id=id, **row)


@pytest.mark.parametrize("is_known", [True, False])
def test_U01_a_record_is_undone_under_the_id_that_it_has_now(story: Story, is_known: bool) -> None:
    keys = ("k", "k1", "k2")
    for key in keys:
        story.both(key, x="a", y=f"y of {key}", z=f"z of {key}")
    story.base()
    story.left.edit("k", x="b")
    story.left.edit("k2", x="b")
    assert story.run() == "R.k2.x=b R.x=b"
    run = story.run_id
    _number_anew(story, keys)
    if is_known:  # a run has met them under their new ids
        assert story.run() == "nothing"
    undo(story, run, repeat=False)
    if not is_known:
        # What stands under these ids is not what was written to, alike as it is: nothing is put back.
        assert story.counts("right").updated == 0
        assert story.summary.excluded == 2
        assert story.run() == "nothing"
        undo(story, run)
    assert story.counts("right").updated == 2
    assert [story.right.get("x", key) for key in keys] == ["a", "a", "a"]


def test_U02_deleted_records_are_made_again_whole(tell: Callable[..., Story]) -> None:
    story = tell(fields=(*FIELDS, Field("note", FieldType.TEXT)))
    story.define(**PROPAGATE)
    story.base("k", x="a", y="b", z="c", note="not mapped")
    story.left.remove()
    assert story.run() == "R-"
    assert undo(story) == "R+"
    assert story.right.row() == {"k": "k", "x": "a", "y": "b", "z": "c", "at": None, "note": "not mapped"}
    # Neither deleted again nor made on the left.
    assert story.run() == "nothing"
    assert (story.link().state, story.link().reason) == ("excluded", "undone")


def test_U02_what_was_undone_is_not_undone_twice(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove()
    story.run()
    run_id = story.run_id
    assert undo(story, run_id) == "R+"
    again = story.run_id
    assert undo(story, run_id) == "nothing"
    assert "1 of its changes are put back already." in story.lines()
    assert story.right.keys == ["k"]
    # An undo that was undone itself counts for nothing.
    assert undo(story, again) == "R-"
    assert undo(story, run_id) == "R+"
    assert story.right.keys == ["k"]


def test_U02_a_write_that_did_not_come_is_made_by_undoing_once_more(story: Story) -> None:
    story.base("k", x="a")
    story.left.edit(x="b")
    story.run()
    run_id = story.run_id
    story.right.knobs.lost_requests = 1
    assert undo(story, run_id) == "issue(not_done)"
    assert [error.message for error in story.summary.errors] == [
        "The answer to this write was lost. A look showed that it did not happen; undo the run once more to"
        " send it."
    ]
    assert story.right.get("x") == "b"
    assert story.run() == "nothing", "no ordinary run does it"
    assert undo(story, run_id) == "R.x=a"


def test_U02_the_restored_record_meets_the_one_that_comes_back(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    old, row = story.left.id(), dict(story.left.row())
    story.left.remove()
    story.run()
    undo(story)
    story.left.system.store.put({**row, "x": "b"}, old)
    assert story.run() == "R.x=b"
    assert story.link().state == "linked"


def test_U02_what_cannot_be_written_is_listed(tell: Callable[..., Story]) -> None:
    made = (*FIELDS, Field("made", FieldType.TEXT, writable=False))
    story = tell(fields=made)
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.right.system.store.rows[story.right.id()]["made"] = "in 2019"
    story.left.remove()
    assert story.run() == "R-"
    assert undo(story) == "R+"
    assert "k: not restored, read-only there: made." in story.lines()


@pytest.mark.parametrize("value", ["b", None])
def test_U04_the_next_run_does_not_redo_an_update(story: Story, value: str | None) -> None:
    story.base("k", x="a")
    story.left.edit(x=value)
    story.run()
    assert undo(story) == "R.x=a"
    assert story.run() == "nothing"
    assert story.run(full=True) == "nothing"
    story.left.edit(x="c")
    assert story.run() == "R.x=c"


def test_U04_the_next_run_does_not_redo_a_create(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("other")
    story.left.put("k", x="a")
    assert story.run() == "R+"
    created = story.run_id
    assert undo(story) == "R-"
    undone = story.run_id
    story.left.edit(x="b")
    assert story.run() == "nothing"
    assert story.left.has()
    # The undo undone: made again, linked, and it follows.
    assert undo(story, undone, repeat=False) == "R+"
    assert story.run() == "nothing" or story.right.get("x") == "b"
    story.left.edit(x="c")
    assert story.run() == "R.x=c"
    assert created != undone


def test_U04_a_foreign_record_that_was_deleted_and_restored_stays(story: Story) -> None:
    story.define(direction="left_to_right", exclusive=True, guards="off")
    story.base("other")
    story.right.put("k", x="foreign")
    assert story.run() == "R-"
    assert undo(story) == "R+"
    assert story.run() == "nothing"


def test_U04_a_settled_conflict_is_undone(story: Story) -> None:
    story.define(conflict="left_wins")
    story.base("k", x="a")
    story.left.edit(x="b")
    story.right.edit(x="c")
    assert story.run() == "R.x=b"
    assert undo(story) == "R.x=c"
    assert story.run() == "nothing"


def test_U04_all_of_a_run_is_put_back(story: Story) -> None:
    """G-UNDO: where nobody edited since, all stands as it did before the run."""
    busy(story)
    before = {
        teller.told: sorted(
            (str(row["k"]), row["x"], row["y"], row["z"]) for row in teller.system.rows.values()
        )
        for teller in (story.left, story.right)
    }
    story.run()
    undo(story, repeat=False)
    for teller in (story.left, story.right):
        after = sorted((str(row["k"]), row["x"], row["y"], row["z"]) for row in teller.system.rows.values())
        assert after == before[teller.told]
    assert story.run() == "conflict(k3.x) held(R+newer)"


def test_U04_a_run_that_moved_keys_around_is_undone(tell: Callable[..., Story]) -> None:
    unique = tuple(Field(item.name, item.type, unique=item.name == "k") for item in FIELDS)
    story = tell(right_fields=unique)
    story.base("1", "2", x="a")
    ids = {key: story.left.id(key) for key in ("1", "2")}
    story.left.system.store.edit(ids["1"], k="3")
    story.run()
    undo(story)
    assert story.right.keys == ["1", "2"]
