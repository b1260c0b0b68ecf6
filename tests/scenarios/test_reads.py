"""R: reads that break off, come up short, repeat themselves or mislead."""

from __future__ import annotations

import pytest

from connectors.errors import RateLimited
from models.journal import ChangeState
from models.sync_configs import Baseline
from tasks.errors import WrongState
from tests.hostile import HostileStream
from tests.scenarios.world import CONFIG, Story, Teller

PROPAGATE = {"deletes": "propagate"}
MANY = [f"m{number:02}" for number in range(50)]


def baseline(story: Story) -> Baseline:
    with story.ctx.reads() as db:
        return db.get_one(Baseline, CONFIG)


def pages_of_two(side: Teller) -> None:
    side.knobs.page_size = 2


def test_R01_a_page_in_the_middle_fails(story: Story) -> None:
    story.define(**PROPAGATE, mode="incremental", full_every="1s")
    story.base("k", "k1", "k2", x="a")
    cursors = baseline(story).left_cursor, baseline(story).right_cursor
    pages_of_two(story.left)
    story.left.knobs.fail_at_page = 3
    story.left.remove("b3")
    story.left.edit(x="b")
    story.right.edit("k1", x="c")
    # What was seen flows, what was not seen is not taken for deleted or empty.
    assert story.run(preview=False) == "L.k1.x=c R.x=b"
    assert story.summary.status == "partial"
    assert [error.code for error in story.summary.errors] == ["read_incomplete"]
    after = baseline(story)
    assert (after.left_cursor, after.right_cursor) == cursors
    story.left.knobs.fail_at_page = None
    assert story.run() == "R-b3"


def test_R01_the_first_page_fails(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.knobs.fail_at_page = 1
    story.right.edit(x="b")
    assert story.run(preview=False, repeat=False) == "failed(unavailable)"
    story.left.knobs.fail_at_page = None
    assert story.run() == "L.x=b"


def test_R02_forty_percent_are_silently_left_out(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base(*MANY, x="a")
    story.left.knobs.withheld = {story.left.id(key) for key in MANY[:20]}
    story.left.edit(MANY[30], x="b")
    outcome = story.run()
    assert outcome.startswith("R.m30.x=b held(R-m00)")
    assert story.summary.held == 20
    assert {row.guard for row in story.held()} == {"mass_delete"}
    # They are there again: the held deletes withdraw by themselves.
    story.left.knobs.withheld = set()
    assert story.run() == "nothing"
    assert not story.held()


def test_R02_left_out_records_are_found_by_their_ids(story: Story) -> None:
    story.define(**PROPAGATE)
    story.left.knobs.snapshot = False
    story.base(*MANY, x="a")
    story.left.knobs.withheld = {story.left.id(key) for key in MANY[:20]}
    story.left.edit(MANY[30], x="b")
    assert story.run() == "R.m30.x=b"
    assert "lookup" in story.left.system.trace


def test_R04_missing_and_gone_for_sure(story: Story) -> None:
    story.define(**PROPAGATE)
    story.left.knobs.snapshot = False
    story.base("k", x="a")
    story.left.remove()
    assert story.run() == "R-"


def test_R04_missing_in_two_complete_reads(story: Story) -> None:
    story.define(**PROPAGATE)
    story.left.knobs.snapshot = story.left.knobs.can_look_up = False
    story.base("k", x="a")
    story.left.remove()
    assert story.run(repeat=False) == "nothing"
    assert story.right.has()
    assert story.run() == "R-"


def test_R04_missing_once_and_there_again(story: Story) -> None:
    story.define(**PROPAGATE)
    story.left.knobs.snapshot = story.left.knobs.can_look_up = False
    story.base("k", x="a")
    for _ in range(3):
        story.left.knobs.withheld = {story.left.id()}
        assert story.run(repeat=False) == "nothing"
        story.left.knobs.withheld = set()
        assert story.run(repeat=False) == "nothing"


def test_R04_our_own_late_showing_write_is_not_missed(story: Story) -> None:
    story.define(**PROPAGATE)
    story.right.knobs.snapshot = story.right.knobs.consistent = story.right.knobs.can_look_up = False
    story.base("other")
    story.left.put("k", x="a")
    story.right.knobs.lag = 3
    assert story.run(repeat=False, preview=False) == "R+"
    for _ in range(3):
        assert story.run(repeat=False, preview=False) == "nothing"
    assert story.run() == "nothing"


def test_R05_missing_and_not_to_be_seen(story: Story) -> None:
    story.define(**PROPAGATE)
    story.left.knobs.snapshot = False
    story.base("k", x="a")
    story.left.knobs.forbidden = {story.left.id()}
    assert story.run() == "issue(lost_access)"
    story.left.knobs.forbidden = set()
    story.left.edit(x="b")
    assert story.run() == "R.x=b"


def test_R07_a_side_that_held_records_reads_empty(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base(*MANY, x="a")
    story.left.knobs.empty = True
    story.run()
    assert story.summary.held == 53
    assert {row.guard for row in story.held()} == {"empty_side"}
    story.run()
    assert [row.kind for row in story.alerts()] == ["held:empty_side"]
    # It was a hiccup: all is as before, and the alert is over.
    story.left.knobs.empty = False
    assert story.run() == "nothing"
    assert [row.cleared_at is not None for row in story.alerts()] == [True]


def test_R07_somebody_says_that_it_is_meant(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove("k", "b1", "b2", "b3")
    story.run()
    story.approve()
    # Another guard has a say of its own.
    assert story.run() == "held(R-) held(R-b1) held(R-b2) held(R-b3)"
    assert {row.guard for row in story.held()} == {"mass_delete"}
    story.approve()
    assert story.run() == "R- R-b1 R-b2 R-b3"
    # Good for these four, once.
    story.both("k")
    story.run()
    story.left.remove()
    assert story.run() == "held(R-)"


def test_R08_the_last_record_of_a_small_table_is_deleted(story: Story) -> None:
    story.define(**PROPAGATE)
    story.both("k", x="a")
    assert story.run() == "nothing"
    story.left.remove()
    assert story.run() == "held(R-)"
    assert {row.guard for row in story.held()} == {"empty_side"}
    story.approve()
    assert story.run() == "R-"


@pytest.mark.parametrize("side", ["left", "right"])
def test_R10_the_table_is_another_one(story: Story, side: str) -> None:
    story.define(**PROPAGATE)
    for teller in (story.left, story.right):
        teller.system.store.container = "table 1"
    story.base("k", x="a")
    teller = story.left if side == "left" else story.right
    teller.system.store.container = "table 2"
    teller.remove("b1")
    teller.edit(x="b")
    assert story.run(preview=False) == "failed(container_changed) held(container)"
    # Said to be the right one, it is compared as ever.
    story.approve()
    after = "R-b1 R.x=b" if side == "left" else "L-b1 L.x=b"
    assert story.run() == after


def test_R10_another_table_that_nobody_decides_on_is_asked_about_anew(story: Story) -> None:
    for teller in story.tellers:
        teller.system.store.container = "table 1"
    story.base("k", x="a")
    story.left.system.store.container = "table 2"
    story.left.edit(x="b")
    assert story.run(preview=False) == "failed(container_changed) held(container)"
    first = [row.id for row in story.held()]
    story.wait(days=8)
    with pytest.raises(WrongState, match="waited too long"):
        story.approve()
    assert story.run(preview=False) == "failed(container_changed) held(container)"
    assert [row.id for row in story.held(ChangeState.EXPIRED)] == first
    story.approve()
    assert story.run() == "R.x=b"


def test_R11_the_config_points_at_a_copy(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    left = story.left.system
    copy = HostileStream(left.knobs, left.store.fields)
    for row in left.rows.values():
        copy.put({**row, "x": "from the copy"})
    left.access.memory[left.space]["people copy"] = left.store = copy
    story.define(left={"stream": "people copy"})
    outcome = story.run(repeat=False)
    assert story.summary.held == 4
    assert all(word.startswith("held(") for word in outcome.split())
    assert not story.right.system.log


def test_R13_a_record_leaves_the_filter_and_comes_back(story: Story) -> None:
    story.define(**PROPAGATE, left={"filter": {"field": "z", "equals": "yes"}})
    # The bystanders are outside on the left: they are not made there a second time.
    story.base("k", x="a", z="yes")
    link = story.link().id
    story.left.edit(z="no", x="b")
    assert story.run() == "nothing"
    assert (story.link().state, story.summary.excluded) == ("excluded", 4)
    assert "filter" in story.link().reason
    story.left.edit(z="yes")
    assert story.run() == "R.x=b"
    assert (story.link().id, story.link().state) == (link, "linked")


def test_R14_a_record_stands_on_two_pages(story: Story) -> None:
    story.define(**PROPAGATE)
    story.left.knobs.snapshot = False
    pages_of_two(story.left)
    story.base("k", "k1", x="a")
    story.left.knobs.repeats = 1
    assert story.run() == "nothing"
    assert story.counts("left").read == 5
    story.left.put("new", x="a")
    story.left.put("new2", x="a")
    assert story.run() == "R+new R+new2"


def test_R14_of_two_copies_the_later_counts(story: Story) -> None:
    story.left.knobs.snapshot = False
    pages_of_two(story.left)
    story.base("k", x="a")
    story.left.knobs.repeats = 2
    ids = list(story.left.system.rows)

    def edit_meanwhile(call: str) -> None:
        if call == "page 2":
            story.left.system.knobs.meanwhile = None
            story.left.system.store.edit(ids[1], y="later")

    story.left.knobs.meanwhile = edit_meanwhile
    key = str(story.left.system.rows[ids[1]]["k"])
    assert story.run(preview=False) == f"R.{key}.y=later"


def test_R16_a_list_expires_while_it_is_read(story: Story) -> None:
    story.define(retries=2, **PROPAGATE)
    story.base("k", "k1", x="a")
    pages_of_two(story.left)
    story.left.remove("b2")
    expired = iter([1, 2])

    def expire(call: str) -> None:
        if call == "page 2" and next(expired, None):
            raise RateLimited("The list has expired.", retry_after=0.0)

    story.left.knobs.meanwhile = expire
    # Read again from its beginning: complete, so that the delete counts.
    assert story.run(preview=False, repeat=False) == "R-b2"
    assert story.left.system.trace.count("page 1") >= 3


def test_R16_a_list_that_always_expires_is_incomplete(story: Story) -> None:
    story.define(retries=1, **PROPAGATE)
    story.base("k", "k1", x="a")
    pages_of_two(story.left)
    story.left.remove("b2")
    story.left.edit("k", x="b")

    def expire(call: str) -> None:
        if call == "page 2":
            raise RateLimited("The list has expired.", retry_after=0.0)

    story.left.knobs.meanwhile = expire
    assert story.run(preview=False, repeat=False) == "R.x=b"
    assert story.summary.status == "partial"


@pytest.mark.parametrize("has_versions", [True, False])
def test_R17_somebody_edits_between_our_read_and_our_write(story: Story, has_versions: bool) -> None:
    story.right.knobs.has_versions = has_versions
    story.base("k", x="a")
    story.left.edit(x="b")

    def edit_meanwhile(call: str) -> None:
        if call == "write":
            story.right.knobs.meanwhile = None
            story.right.edit(x="c")

    story.right.knobs.meanwhile = edit_meanwhile
    story.run(preview=False, repeat=False)
    assert story.right.get("x") == "c"
    assert story.journal()[-1].state == "stale"
    assert story.run() == "conflict(x)"


@pytest.mark.parametrize("has_versions", [True, False])
def test_R17_somebody_edits_what_we_are_about_to_delete(story: Story, has_versions: bool) -> None:
    story.right.knobs.has_versions = has_versions
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove()

    def edit_meanwhile(call: str) -> None:
        if call == "write":
            story.right.knobs.meanwhile = None
            story.right.edit(x="c")

    story.right.knobs.meanwhile = edit_meanwhile
    story.run(preview=False, repeat=False)
    assert story.right.get("x") == "c"
    assert story.run() == "L+"


def test_R17_an_edit_of_another_field_does_not_stop_the_write(story: Story) -> None:
    story.base("k", x="a", y="a")
    story.left.edit(x="b")

    def edit_meanwhile(call: str) -> None:
        if call == "write":
            story.right.knobs.meanwhile = None
            story.right.edit(y="c")

    story.right.knobs.meanwhile = edit_meanwhile
    assert story.run(preview=False, repeat=False) == "R.x=b"
    assert story.run() == "L.y=c"


def test_R19_a_system_leaves_empty_fields_out(story: Story) -> None:
    story.left.knobs.omits_empty = True
    story.base("k", x="a", y="a")
    story.left.edit(x=None)
    assert story.run() == "R.x=null"


def test_R19_a_field_that_is_not_returned_is_not_empty(story: Story) -> None:
    story.base("k", x="a", y="a")
    story.left.knobs.dropped_for = {story.left.id(): {"x"}}
    story.left.edit(y="b")
    assert story.run() == "R.y=b"


@pytest.mark.parametrize("omits_empty", [True, False])
def test_R20_a_field_is_returned_for_no_record_any_more(story: Story, omits_empty: bool) -> None:
    story.left.knobs.omits_empty = omits_empty
    story.base("k", "k1", x="a", y="a")
    story.left.knobs.dropped = {"y"}
    for key in ("k", "k1", "b1", "b2", "b3"):
        story.left.edit(key, z="moved")  # their versions move too
    outcome = story.run()
    assert "y=" not in outcome
    assert "R.z=moved" in outcome
    assert "issue(field_vanished)" in outcome
    assert story.right.get("y") == "a"
    # Nor is it later, when a single record moves.
    story.left.edit("k1", z="moved again")
    assert story.run() == "R.k1.z=moved_again issue(field_vanished)"
    assert story.right.get("y", "k1") == "a"
    # Back again, all is as it was.
    story.left.knobs.dropped = set()
    story.left.edit(y="b")
    assert story.run() == "R.y=b"


def test_R20_a_field_is_back_with_very_many_records(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.diff.MANY", 0)
    story.left.knobs.omits_empty = True
    story.base("k", "k1", x="a", y="a")
    story.left.knobs.dropped = {"y"}
    everybody = ("k", "k1", "b1", "b2", "b3")
    for key in everybody:
        story.left.edit(key, z="moved")
    assert "issue(field_vanished)" in story.run()
    story.left.knobs.dropped = set()
    for key in everybody:
        story.left.edit(key, z="moved")  # another version of what was agreed
    assert "field_vanished" not in story.run()
    # An empty one is one that somebody emptied, as before.
    story.left.edit(y=None)
    assert story.run() == "R.y=null"


def test_R20_records_that_were_really_cleared_are_cleared(story: Story) -> None:
    story.left.knobs.omits_empty = True
    story.base("k", "k1", "k2", x="a", y="a")
    for key in ("k", "k1", "k2"):
        story.left.edit(key, y=None)
    # The bystanders still hold the field: it is no change of the system's.
    assert story.run() == "R.k1.y=null R.k2.y=null R.y=null"


def test_R25_deletes_do_not_show_in_an_incremental_read(story: Story) -> None:
    story.define(**PROPAGATE, mode="incremental", full_every="1d")
    story.base("k", "k1", x="a")
    story.left.remove()
    story.left.edit("k1", x="b")
    assert story.run() == "R.k1.x=b"
    assert story.counts("left").read == 1
    story.wait(days=1)
    # The sweep over everything finds it.
    assert story.run() == "R-"


def test_R26_the_source_counts_more_than_it_returns(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", "k1", x="a")
    story.left.knobs.total_off_by = 2
    story.left.remove()
    story.left.edit("k1", x="b")
    assert story.run() == "R.k1.x=b"
    assert story.summary.status == "partial"
    assert story.right.has()
    story.left.knobs.total_off_by = 0
    assert story.run() == "R-"


def test_R28_archived_records_are_listed_too(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.knobs.trashed = {story.left.id()}
    story.left.knobs.has_versions = False
    assert story.run() == "R-"
    # And one that was never seen alive is not made anywhere.
    story.left.put("old", x="a", id="old")
    story.left.knobs.trashed.add("old")
    assert story.run() == "nothing"
