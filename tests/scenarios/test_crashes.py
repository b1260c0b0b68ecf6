"""C: killed, timed out, rolled back, rejected; nothing is lost and nothing doubled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

from models.links import Link, Shadow
from models.sync_configs import Baseline
from models.sync_runs import RunKind
from sync.records import Field
from tasks import editing, unknowns
from tasks.claims import Claim
from tests.hostile import Killed
from tests.scenarios.world import ALICE, CONFIG, FIELDS, Story, Teller

PROPAGATE = {"deletes": "propagate"}


def killed(
    story: Story, side: Teller, when: str, call: str = "write", claim: Claim | None = None, **more: Any
) -> None:
    """Run, or carry out what was claimed, and die before or after the next call of this kind."""
    story.in_line = True
    counted = side.system.calls

    def count(name: str) -> None:
        if name == call:
            side.knobs.meanwhile = None
            if when == "before":
                raise Killed(f"before {call}")
            side.knobs.kill_after = side.system.calls

    side.knobs.meanwhile = count
    with pytest.raises(Killed):
        if claim is None:
            story.run(preview=False, repeat=False, **more)
        else:
            story.carry(claim)
    side.knobs.kill_after = None
    assert side.system.calls > counted


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("has_receipts", [True, False])
def test_C01_C02_killed_around_the_call_that_creates(story: Story, when: str, has_receipts: bool) -> None:
    story.right.knobs.has_receipts = has_receipts
    story.define()
    story.base("other")
    story.left.put("k", x="a")
    killed(story, story.right, when)
    assert story.right.has() is (when == "after")
    outcome = story.after_a_crash()
    assert outcome == ("R+" if when == "before" else "nothing")
    assert story.right.keys == ["k", "other"]
    assert (story.link().state, story.shadow("right")["x"]) == ("linked", "a")
    # The journal tells what became of the intent that was there before the call.
    told = [row.state for row in story.journal() if (row.key, row.operation) == ("k", "create")]
    assert told == (["abandoned", "applied"] if when == "before" else ["applied"])
    assert story.run() == "nothing"


@pytest.mark.parametrize("when", ["before", "after"])
def test_C02_killed_around_the_call_that_updates(story: Story, when: str) -> None:
    story.base("k", x="a")
    story.left.edit(x="b")
    killed(story, story.right, when)
    assert story.after_a_crash() == ("R.x=b" if when == "before" else "nothing")
    assert story.right.get("x") == "b"
    assert story.run() == "nothing"


def test_C02_killed_between_two_batches(story: Story) -> None:
    story.define(batch_size=1)
    story.base("other")
    for key in ("k1", "k2", "k3"):
        story.left.put(key, x="a")
    story.right.knobs.meanwhile = None
    story.in_line = True
    writes = []

    def die(name: str) -> None:
        writes.append(name)
        if writes.count("write") == 2:
            story.right.knobs.meanwhile = None
            raise Killed("between two batches")

    story.right.knobs.meanwhile = die
    with pytest.raises(Killed):
        story.run(preview=False, repeat=False)
    assert len(story.right.keys) == 2
    story.after_a_crash()
    assert story.right.keys == ["k1", "k2", "k3", "other"]
    assert story.run() == "nothing"


def test_C04_a_create_times_out_and_did_not_happen(story: Story) -> None:
    story.base("other")
    story.left.put("k", x="a")
    story.right.knobs.lost_requests = 1
    story.run(preview=False, repeat=False)
    assert not story.right.has()
    assert story.run() == "R+"


def test_C04_a_create_times_out_and_did_happen(story: Story) -> None:
    story.base("other")
    story.left.put("k", x="a")
    story.right.knobs.lost_answers = 1
    # It was looked up, found, and linked: no second one.
    assert story.run(preview=False) == "R+"
    assert story.summary.status == "success"
    assert story.right.keys == ["k", "other"]


def test_C04_a_create_times_out_where_writes_show_late(story: Story) -> None:
    story.right.knobs.snapshot = story.right.knobs.consistent = False
    story.base("other")
    story.left.put("k", x="a")
    story.right.knobs.lost_answers, story.right.knobs.lag = 1, 2
    # Not to be seen, and yet it may be there: nothing is sent again before it must show.
    assert story.run(preview=False, repeat=False) == "R+ issue(unknown_outcome)"
    for _ in range(2):
        story.run(preview=False, repeat=False)
    story.wait(minutes=15)
    story.run(preview=False, repeat=False)
    assert story.right.keys == ["k", "other"]
    assert story.run() == "nothing"


def test_C04_a_batch_times_out_half_way(story: Story) -> None:
    story.base("other")
    for key in ("k1", "k2", "k3"):
        story.left.put(key, x="a")
    story.right.knobs.partial = 2
    story.run(preview=False, repeat=False)
    story.run(repeat=False)
    assert story.right.keys == ["k1", "k2", "k3", "other"]
    assert story.run() == "nothing"


def test_C05_an_unknown_create_where_nothing_can_be_looked_up(story: Story) -> None:
    story.right.knobs.can_look_up = False
    story.base("other")
    story.left.put("k", x="a")
    story.right.knobs.lost_requests = 1
    assert story.run(preview=False, repeat=False) == "issue(unknown_outcome)"
    # No second try by itself, however often it runs.
    for _ in range(3):
        assert story.run(preview=False, repeat=False) == "issue(unknown_outcome)"
    assert story.summary.status == "partial"
    assert not story.right.has()
    # A person looked, and says that it was not made.
    row = next(item for item in story.journal() if item.state == "unknown")
    unknowns.did_not_happen(story.ctx, row.id, by=ALICE)
    assert story.run() == "R+"


def test_C05_a_later_read_shows_what_it_made(story: Story) -> None:
    story.right.knobs.can_look_up = False
    story.base("other")
    story.left.put("k", x="a")
    story.right.knobs.lost_answers = 1
    assert story.run(preview=False, repeat=False) == "R+ issue(unknown_outcome)"
    assert story.run() == "nothing"
    assert (story.link().state, story.right.keys) == ("linked", ["k", "other"])


@pytest.mark.parametrize("conflict", ["left_wins", "manual"])
def test_C07_somebody_edits_what_we_wrote_before_the_restart(story: Story, conflict: str) -> None:
    story.define(conflict=conflict)
    story.base("k", x="a")
    story.left.edit(x="b")
    killed(story, story.right, "after")
    story.right.edit(x="c")
    # We know that we wrote b: c is an edit of theirs, and no conflict.
    assert story.after_a_crash() == "L.x=c"
    assert story.run() == "nothing"


@pytest.mark.parametrize("when", ["before", "after"])
def test_C08_killed_around_the_call_that_deletes(story: Story, when: str) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove()
    killed(story, story.right, when)
    assert story.after_a_crash() == ("R-" if when == "before" else "nothing")
    assert story.link().state == "tombstone"
    assert story.run() == "nothing"


@pytest.mark.parametrize("call", ["page 1", "write"])
def test_C08_what_a_person_approved_is_still_approved_after_a_crash(story: Story, call: str) -> None:
    story.define(deletes="approve")
    story.base("k", x="a")
    story.left.remove()
    assert story.run() == "held(R-)"
    story.approve()
    killed(story, story.right, "before", call)
    assert story.after_a_crash() == "R-"
    assert [row.decided_by for row in story.journal() if row.operation == "delete"] == [ALICE]


@pytest.mark.parametrize("when", ["before", "after"])
def test_C08_an_undo_that_was_killed_goes_on(story: Story, when: str) -> None:
    story.define(batch_size=1)
    story.base("k1", "k2", x="a")
    for key in ("k1", "k2"):
        story.left.edit(key, x="b")
    story.run()
    undone = story.run_id
    killed(story, story.right, when, kind=RunKind.UNDO, run=undone)
    story.after_a_crash()
    assert [story.right.get("x", key) for key in ("k1", "k2")] == ["a", "a"]
    assert not story.summary.excluded, "what the undo itself had put back was taken for somebody's edit"
    assert story.run() == "nothing"


def test_C08_a_record_is_deleted_by_somebody_else_first(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove()

    def meanwhile(call: str) -> None:
        if call == "write":
            story.right.knobs.meanwhile = None
            story.right.remove()

    story.right.knobs.meanwhile = meanwhile
    assert story.run(preview=False) == "nothing"
    assert story.link().state == "tombstone"


def test_C13_our_own_database_is_a_day_old(story: Story) -> None:
    story.define(conflict="left_wins", **PROPAGATE)
    story.base("k", "k1", "k2", x="a")
    yesterday = story.image()
    story.left.edit(x="b")
    story.left.put("new", x="n")
    story.left.remove("k2")
    story.run()
    story.right.edit("k1", x="c")
    story.run()
    story.load_image(yesterday)
    # Equality first; what was made since is found by its key, and nothing is doubled.
    assert story.run() == "nothing"
    assert story.left.keys == story.right.keys == ["k", "k1", "new"]
    story.left.edit("new", x="n2")
    assert story.run() == "R.new.x=n2"


def test_C14_the_shadows_of_a_sync_are_forgotten(story: Story) -> None:
    story.define(conflict="manual", **PROPAGATE)
    story.base("k", "k1", "k2", "k3", x="a")
    with story.ctx.sessions.begin() as db:
        db.execute(update(Shadow).values(left={}, right={}))
        db.execute(update(Link).values(left_version=None, right_version=None))
    story.left.edit(x="b")
    story.left.edit("k1", x=None)
    # No base: what differs is both sides' edit, and a value beats an empty one.
    assert story.run() == "L.k1.x=a conflict(x)"


def test_C14_everything_of_a_sync_is_forgotten(story: Story) -> None:
    story.define(conflict="manual", **PROPAGATE)
    story.base("k", "k1", "k2", x="a")
    with story.ctx.sessions.begin() as db:
        for table in (Link, Baseline):
            db.execute(delete(table))
    story.left.edit(x="b")
    story.left.remove("k1")
    # Nothing is deleted: it cannot be known that k1 was there.
    assert story.run() == "L+k1 conflict(x)"


def test_C16_a_batch_is_refused_as_a_whole_because_of_one(tell: Callable[..., Story]) -> None:
    options = tuple(Field(f.name, f.type, unique=f.name == "x") for f in FIELDS)
    story = tell(right_fields=options)
    story.right.knobs.all_or_nothing = True
    story.define(batch_size=10)
    story.base("other", x="taken")
    for number in range(10):
        story.left.put(f"m{number}", x="taken" if number == 6 else f"x{number}")
    calls = story.right.system.trace.count("write")
    outcome = story.run(preview=False)
    assert outcome == "R+m0 R+m1 R+m2 R+m3 R+m4 R+m5 R+m7 R+m8 R+m9 issue(unique m6)"
    assert story.right.system.trace.count("write") - calls <= 3 * 9  # with the two runs that follow
    assert story.summary.failed == 1


def test_C17_outcomes_come_in_another_order_and_some_are_missing(story: Story) -> None:
    story.right.knobs.shuffles = True
    story.base("other")
    for key in ("k1", "k2", "k3", "k4"):
        story.left.put(key, x=f"x of {key}")
    story.right.knobs.missing_outcomes = 2
    story.run(preview=False, repeat=False)
    assert story.right.keys == ["k1", "k2", "k3", "k4", "other"]
    assert {story.shadow("right", key)["x"] for key in story.right.keys if key != "other"} == {
        f"x of k{number}" for number in range(1, 5)
    }
    assert story.run() == "nothing"


def test_C20_the_quota_is_gone_half_way(story: Story) -> None:
    story.define(batch_size=1)
    story.base("other")
    for key in ("k1", "k2", "k3"):
        story.left.put(key, x="a")
    calls = []

    def used_up(call: str) -> None:
        calls.append(call)
        if calls.count("write") == 2:
            story.right.knobs.rate_limited = 1

    story.right.knobs.meanwhile = used_up
    story.run(preview=False, repeat=False)
    story.right.knobs.meanwhile = None
    assert len(story.right.keys) == 2
    # What was done is done, and the rest follows when there is quota again.
    assert story.run() == "R+k2 R+k3"


def test_C23_a_poison_record_is_left_alone_after_a_while(tell: Callable[..., Story]) -> None:
    story = tell()
    story.right.knobs.protected = set()
    story.base("k", "k1", x="a")
    story.right.knobs.protected = {story.right.id()}
    story.left.edit(x="b")
    tried = []
    for number in range(6):
        story.left.edit("k1", x=f"b{number}")
        before = len([row for row in story.journal() if row.key == "k"])
        assert story.run(repeat=False) == f"R.k1.x=b{number} issue(forbidden)"
        tried.append(len([row for row in story.journal() if row.key == "k"]) - before)
        assert story.summary.status == "partial"
    assert tried[:3] == [1, 1, 1]
    assert tried[3:] == [0, 0, 0]
    # Another value of it is tried at once.
    story.left.edit(x="c")
    story.run(repeat=False)
    assert story.journal()[-1].state == "rejected"
    # So it is when its time has come.
    for _ in range(3):
        story.run(repeat=False)
    story.right.knobs.protected = set()
    story.wait(days=2)
    assert story.run() == "R.x=c"


def test_C25_a_refused_update_is_tried_again(story: Story) -> None:
    story.base("k", x="a")
    story.left.edit(x="b")
    story.right.knobs.protected = {story.right.id()}
    assert story.run(repeat=False) == "issue(forbidden)"
    assert story.shadow("left")["x"] == "a"
    story.right.knobs.protected = set()
    assert story.run() == "R.x=b"


@pytest.mark.parametrize("has_receipts", [True, False])
def test_C26_accepted_and_not_kept(story: Story, has_receipts: bool) -> None:
    story.right.knobs.has_receipts = has_receipts
    story.base("k", x="a", y="a")
    story.right.knobs.ignored = {"x"}
    story.left.edit(x="b", y="b")
    assert story.run(repeat=False) == "R.y=b issue(not_retained)"
    assert story.shadow("right")["x"] == "a"
    assert story.shadow("left")["x"] == "a"
    assert story.left.get("x") == "b"
    story.right.knobs.ignored = set()
    assert story.run() == "R.x=b"


def test_C26_a_new_record_keeps_less_than_was_sent(story: Story) -> None:
    story.base("other")
    story.right.knobs.normalise = {"x": lambda _value: None}
    story.left.put("k", x="a", y="b")
    assert story.run(repeat=False) == "R+ issue(not_retained)"
    story.right.knobs.normalise = {}
    assert story.run() == "R.x=a"


@pytest.mark.parametrize("when", ["before", "after"])
def test_X05_killed_around_the_call_that_corrects(story: Story, when: str) -> None:
    story.base("k", x="a")
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, story.left.id(), {"x": "b"}, by=ALICE)
    killed(story, story.left, when, claim=story.claimed(RunKind.MANUAL))
    assert story.left.get("x") == ("a" if when == "before" else "b")
    story.after_a_crash()
    assert (story.left.get("x"), story.right.get("x")) == ("b", "b")
    told = [row.state for row in story.journal() if row.operation == "edit"]
    assert told == (["abandoned", "applied"] if when == "before" else ["applied"])
    assert not story.issues()
