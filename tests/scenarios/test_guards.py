"""G: dangerous classes of changes are held for a person, and the rest of the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from models.audit import AuditEvent
from models.journal import ChangeState
from models.links import Link
from sync.records import Field
from sync.values import FieldType
from tasks import decisions
from tasks.errors import WrongState
from tests.hostile import Killed
from tests.scenarios.world import ALICE, FIELDS, Story, at

PROPAGATE = {"deletes": "propagate"}


def many(count: int) -> list[str]:
    return [f"m{number:03}" for number in range(count)]


def guards(story: Story) -> set[str | None]:
    return {row.guard for row in story.held()}


def test_G01_one_of_four_is_deleted(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove()
    assert story.run() == "R-"


def test_G02_three_of_four_are_deleted(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove("b1", "b2", "b3")
    assert story.run() == "held(R-b1) held(R-b2) held(R-b3)"
    assert guards(story) == {"mass_delete"}
    assert story.summary.status == "partial"


def test_G02_two_of_four_are_deleted(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove("b1", "b2")
    assert story.run() == "R-b1 R-b2"


@pytest.mark.parametrize(("deleted", "held"), [(10, 0), (11, 11)])
def test_G04_more_than_ten_and_more_than_a_tenth(story: Story, deleted: int, held: int) -> None:
    story.define(**PROPAGATE)
    story.base(*many(97), x="a")  # a hundred with the bystanders
    story.left.remove(*many(97)[:deleted])
    story.left.edit("m096", x="b")
    story.left.put("new", x="c")
    outcome = story.run()
    assert (story.summary.held, story.counts("right").deleted) == (held, deleted - held)
    # The edits and creates of the same run flow.
    assert "R.m096.x=b" in outcome
    assert "R+new" in outcome


def test_G04_a_mass_of_archived_records_counts_as_one_of_deletes(story: Story) -> None:
    archive = {"left_to_right": "archive", "archive": {"field": "z", "value": "gone"}}
    story.define(deletes=archive)
    story.base("k", x="a")
    story.left.remove("b1", "b2", "b3")
    story.run()
    assert guards(story) == {"mass_delete"}
    assert not story.right.system.log


def test_G04_guards_can_be_set_and_switched_off(story: Story) -> None:
    story.define(**PROPAGATE, guards={"deletes": {"small_above": 1, "small_share": 0.1}})
    story.base("k", x="a")
    story.left.remove()
    assert story.run() == "held(R-)"
    story.define(guards="off")
    assert story.run() == "R-"


def test_G05_renames_are_not_deletes(tell: Callable[..., Story]) -> None:
    story = tell(key=("k",))
    story.left.knobs.stable_ids = False
    story.define(**PROPAGATE)
    keys = many(70)
    for key in keys:
        values = {"x": f"x {key}", "y": f"y {key}", "z": f"z {key}"}
        story.left.put(key, id=key, **values)
        story.right.put(key, **values)
    assert story.run() == "nothing"
    for key in keys[:60]:
        row = dict(story.left.row(key))
        story.left.remove(key)
        story.left.system.store.put({**row, "k": f"new {key}"}, f"new {key}")
    story.run()
    assert {(row.operation, row.guard) for row in story.held()} == {("relink", "rename")}
    assert story.summary.held == 60
    story.approve()
    story.run()
    assert story.counts("right").updated == 60
    assert (story.counts("right").created, story.counts("right").deleted) == (0, 0)


def test_G07_every_date_moves_by_the_same_hour(tell: Callable[..., Story]) -> None:
    fields = (*FIELDS, Field("due", FieldType.DATETIME))
    story = tell(fields=fields)
    story.define(fields=[{"left": name, "right": name} for name in ("k", "x", "due")])
    keys = many(30)
    for number, key in enumerate(keys):
        story.both(key, due=at(number), x="a")
    assert story.run() == "nothing"
    for key in keys:
        due = story.left.get("due", key)
        story.left.edit(key, due=due + timedelta(hours=1))
    story.left.edit("m000", x="b")
    story.run()
    assert guards(story) == {"all_changed"}
    assert story.summary.held == 30
    assert {row.message for row in story.held()} == {
        "Almost every record would be changed in the same field. Each 'due' moves by +1:00:00."
    }


def test_G07_many_edits_that_have_nothing_in_common_flow(story: Story) -> None:
    story.base(*many(30), x="a", y="a")
    for number, key in enumerate(many(30)):
        story.left.edit(key, **{"xyz"[number % 3]: f"b{number}"})
    story.run()
    assert (story.summary.held, story.counts("right").updated) == (0, 30)


def test_G08_the_links_are_lost(story: Story) -> None:
    story.define(conflict="manual", **PROPAGATE)
    story.base(*many(30), x="a")
    story.left.edit("m001", x="b")
    with story.ctx.sessions.begin() as db:
        db.execute(delete(Link))
    assert story.run() == "conflict(m001.x)"
    assert len(story.left.keys) == len(story.right.keys) == 30
    assert len(story.links()) == 33


def test_G08_everything_looks_new(story: Story) -> None:
    story.define(guards={"creates": 20}, **PROPAGATE)
    story.base("k", x="a")
    for key in many(30):
        story.left.put(key, x="a")
    story.run()
    assert guards(story) == {"mass_create"}
    assert (story.summary.held, story.counts("right").created) == (30, 0)
    story.approve()
    story.run()
    assert story.counts("right").created == 30


def test_G08_a_first_load_of_an_empty_side_is_not_held(story: Story) -> None:
    story.define(guards={"creates": 20}, first_run="hold")
    for key in many(30):
        story.left.put(key, x="a")
    story.run()
    assert story.counts("right").created == 30


def test_G08_a_first_load_that_was_killed_goes_on_and_is_not_held(story: Story) -> None:
    story.define(first_run="hold", batch_size=5)
    for key in many(30):
        story.left.put(key, x="a")
    story.in_line = True
    story.right.knobs.kill_after = story.right.system.calls + 4
    with pytest.raises(Killed):
        story.run(preview=False, repeat=False)
    story.right.knobs.kill_after = None
    assert 0 < len(story.right.keys) < 30
    story.left.edit("m001", x="b")  # people go on meanwhile
    story.after_a_crash()
    assert (len(story.right.keys), story.right.get("x", "m001"), story.summary.held) == (30, "b", 0)


def test_G10_five_of_twenty_are_approved(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base(*many(40), x="a")
    story.left.remove(*many(40)[:20])
    story.run()
    assert story.summary.held == 20
    chosen = many(40)[3:8]
    story.approve(*chosen)
    done = {row.key: row for row in story.journal() if row.decided_by}
    assert sorted(done) == chosen
    assert {row.decided_by for row in done.values()} == {ALICE}
    story.run()
    assert (story.counts("right").deleted, story.summary.held) == (5, 15)
    assert not any(story.right.has(key) for key in chosen)
    with story.ctx.reads() as db:
        acts = list(db.scalars(select(AuditEvent).where(AuditEvent.action == "change.approved")))
    assert {act.actor for act in acts} == {ALICE}
    assert len(acts) == 5


def test_G10_what_was_dismissed_is_not_asked_again(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove("b1", "b2", "b3")
    story.run()
    story.dismiss("b1")
    assert story.run() == "held(R-b2) held(R-b3)"
    story.approve()
    assert story.run() == "R-b2 R-b3"
    assert story.run() == "nothing"
    assert story.right.has("b1")


def test_G11_a_held_delete_is_withdrawn_when_its_record_is_back(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    removed = {key: (story.left.id(key), dict(story.left.row(key))) for key in ("b1", "b2", "b3")}
    story.left.remove(*removed)
    story.run()
    for key in ("b1", "b2"):
        story.left.system.store.put(removed[key][1], removed[key][0])
    # Two are back. One delete of four is nothing unusual, but somebody was asked already.
    assert story.run(repeat=False) == "held(R-b3)"
    assert any("withdrawn" in line for line in story.lines())
    assert {row.key for row in story.journal() if row.state == "withdrawn"} >= {"b1", "b2"}


def test_G11_an_approved_delete_is_not_made_when_its_record_is_back(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    removed = {key: (story.left.id(key), dict(story.left.row(key))) for key in ("b1", "b2", "b3")}
    story.left.remove(*removed)
    story.run()
    story.approve()
    for key in removed:
        story.left.system.store.put(removed[key][1], removed[key][0])
    assert story.run() == "nothing"
    # Nor is the approval kept for the next time.
    story.left.remove(*removed)
    assert story.run() == "held(R-b1) held(R-b2) held(R-b3)"


def test_G13_an_approval_is_for_one_guard_only(story: Story) -> None:
    story.define(deletes="approve")
    story.base("k", x="a")
    story.left.remove("b1", "b2", "b3")
    story.run()
    assert guards(story) == {"approval"}
    story.approve()
    story.run()
    assert guards(story) == {"mass_delete"}
    story.approve()
    assert story.run() == "R-b1 R-b2 R-b3"


def test_G13_an_approval_runs_out(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove("b1", "b2", "b3")
    story.run()
    story.approve()
    story.wait(hours=25)
    assert story.run() == "held(R-b1) held(R-b2) held(R-b3)"


def test_G14_a_budget_of_creates(story: Story) -> None:
    story.define(guards={"budget": {"creates": 50}})
    story.base("k", x="a")
    for key in many(80):
        story.left.put(key, x="a")
    story.run()
    assert (story.counts("right").created, story.summary.held) == (50, 30)
    assert guards(story) == {"budget"}
    # The other thirty wait, also in the next run, and are not counted twice.
    story.run()
    assert (story.counts("right").created, story.summary.held) == (0, 30)
    assert len(story.held()) == 30
    story.approve()
    story.run()
    assert (story.counts("right").created, story.summary.held) == (30, 0)


def test_G14_one_alert_per_change_of_state(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.remove("b1", "b2", "b3")
    for _ in range(4):
        story.run()
    assert [row.kind for row in story.alerts()] == ["held:mass_delete"]
    story.approve()
    story.run()
    assert [row.cleared_at is not None for row in story.alerts()] == [True]
    story.both("k1", "k2", "k3", "k4", "k5", x="a")
    story.run()
    story.left.remove("k1", "k2", "k3", "k4", "k5")
    story.run()
    assert [row.cleared_at is not None for row in story.alerts()] == [True, False]


def test_G13_a_held_change_that_nobody_decides_runs_out_and_is_asked_anew(story: Story) -> None:
    story.define(deletes="propagate")
    story.base(*(f"k{number}" for number in range(4)), x="a")
    story.left.remove("k0", "k1", "k2", "k3")
    assert story.run().count("held(R-") == 4
    first = [row.id for row in story.held()]
    story.wait(days=8)
    with pytest.raises(WrongState, match="waited too long"):
        decisions.approve(story.ctx, first, by=ALICE)
    assert story.run().count("held(R-") == 4
    assert not set(first) & {row.id for row in story.held()}
    assert {row.id for row in story.held(ChangeState.EXPIRED)} == set(first)
    story.approve()
    assert story.run().count("R-k") == 4
