"""X: what people settle in the panel or on the command line, and what happens when a side moved meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from sqlalchemy import select

from models.audit import AuditEvent
from models.issues import Conflict
from sync.records import Field
from sync.values import FieldType
from tasks import decisions, editing, issues
from tasks.errors import WorkError, WrongState
from tests.scenarios.words import ordered
from tests.scenarios.world import ALICE, CONFIG, FIELDS, Story

SIXTY = [f"m{number:02}" for number in range(60)]


def in_conflict(story: Story) -> None:
    story.base("k", x="a")
    story.left.edit(x="b")
    story.right.edit(x="c")
    assert story.run() == "conflict(x)"


@pytest.mark.parametrize(
    ("take", "expected"),
    [("left", "R.x=b"), ("right", "L.x=c"), ("something", "L.x=something R.x=something"), ("c", "L.x=c")],
)
def test_X01_a_conflict_is_settled(story: Story, take: str, expected: str) -> None:
    in_conflict(story)
    story.resolve(take)
    assert story.run() == expected
    with story.ctx.reads() as db:
        row = db.scalars(select(Conflict)).one()
    assert (row.state, row.resolved_by) == ("resolved", ALICE)


def test_X01_a_side_moved_since_it_was_shown(story: Story) -> None:
    in_conflict(story)
    row = story.conflicts()[0]
    shown = decisions.seen_by(story.ctx, row.id)
    story.left.edit(x="b2")
    assert story.run() == "conflict(x)"
    with pytest.raises(WrongState, match="has changed since"):
        decisions.resolve(story.ctx, [row.id], "left", by=ALICE, seen={row.id: shown})
    decisions.resolve(
        story.ctx, [row.id], "left", by=ALICE, seen={row.id: decisions.seen_by(story.ctx, row.id)}
    )
    story.resolve("left")
    assert story.run() == "R.x=b2"


@pytest.mark.parametrize("side", ["left", "right"])
def test_X01_a_side_moves_after_the_answer(story: Story, side: str) -> None:
    in_conflict(story)
    story.resolve("left")
    teller = story.left if side == "left" else story.right
    teller.edit(x="moved")
    # The answer was about other values: nothing is written, the new ones are asked about.
    assert story.run() == "conflict(x)"
    row = story.conflicts()[0]
    assert row.resolution is None
    assert {str(box and box["value"]) for box in (row.left, row.right)} >= {"moved"}


def test_X01_both_sides_agree_after_the_answer(story: Story) -> None:
    in_conflict(story)
    story.resolve("left")
    story.left.edit(x="c")
    assert story.run() == "nothing"
    with story.ctx.reads() as db:
        assert db.scalars(select(Conflict)).one().state == "closed"


def test_X01_an_edit_against_a_delete_is_settled(story: Story) -> None:
    story.define(deletes="propagate", edit_vs_delete="manual")
    story.base("k", "k1", x="a")
    for key in ("k", "k1"):
        story.left.remove(key)
        story.right.edit(key, x="b")
    assert story.run() == "conflict() conflict(k1)"
    story.resolve("right", key="k")
    story.resolve("left", key="k1")
    assert story.run() == "L+ R-k1"


def test_X01_an_answer_that_was_refused_waits_on(story: Story) -> None:
    in_conflict(story)
    story.resolve("left")
    story.right.knobs.protected = {story.right.id()}
    assert story.run(repeat=False) == "conflict(x) issue(forbidden)"
    story.right.knobs.protected = set()
    assert story.run() == "R.x=b"


def test_X02_many_conflicts_are_settled_at_once(story: Story) -> None:
    story.define(guards="off", batch_size=10)
    story.base(*SIXTY, x="a")
    for key in SIXTY:
        story.left.edit(key, x="b")
        story.right.edit(key, x="c")
    story.run()
    assert story.summary.conflicts == 60
    for key in SIXTY:
        story.resolve("right", key=key)
    planned = story.preview()
    assert (planned.left.updated + planned.right.updated, planned.conflicts) == (60, 0)
    # The run stops half way; what is done is done, and the next one goes on.
    calls = []

    def stop(call: str) -> None:
        calls.append(call)
        if calls.count("write") == 4:
            story.left.knobs.unavailable = 1

    story.left.knobs.meanwhile = stop
    story.run(preview=False, repeat=False)
    assert story.counts("left").updated == 30
    story.left.knobs.meanwhile = None
    story.run(preview=False)
    assert story.counts("left").updated == 30
    assert {story.left.get("x", key) for key in SIXTY} == {"c"}
    assert not story.conflicts()
    states = {row.state for row in story.journal() if row.operation == "update"}
    assert states <= {"applied", "abandoned", "stale", "rejected"}


def test_X04_an_issue_is_ignored_until_something_changes(tell: Callable[..., Story]) -> None:
    options = tuple(
        Field(item.name, item.type, options=("a", "b") if item.name == "x" else None) for item in FIELDS
    )
    story = tell(right_fields=options)
    story.base("k", x="a")
    story.left.edit(x="Gold")
    assert story.run() == "issue(does_not_fit)"
    issues.mute(story.ctx, CONFIG, "does_not_fit", on=True, by=ALICE)
    for _ in range(2):
        story.run()
        assert [row.muted for row in story.issues()] == [True]
    # Another value: somebody should hear of it.
    story.left.edit(x="Silver")
    story.run()
    assert [row.muted for row in story.issues()] == [False]
    story.left.edit(x="b")
    assert story.run() == "R.x=b"
    assert not story.issues()


def test_X05_an_edit_in_the_panel_is_an_ordinary_write(tell: Callable[..., Story]) -> None:
    options = tuple(
        Field(item.name, item.type, options=("a", "b") if item.name == "x" else None) for item in FIELDS
    )
    story = tell(right_fields=options)
    story.base("k", x="a")
    story.left.edit(x="Gold")
    assert story.run() == "issue(does_not_fit)"
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, story.left.id(), {"x": "b"}, by=ALICE)
    assert story.run(preview=False) == "L.x=b R.x=b"
    row = next(item for item in story.journal() if item.operation == "edit")
    assert (row.before, row.after, row.state, row.decided_by) == (
        {"x": "Gold"},
        {"x": "b"},
        "applied",
        ALICE,
    )
    with story.ctx.reads() as db:
        assert db.scalar(select(AuditEvent.actor).where(AuditEvent.action == "record.edited")) == ALICE


def test_X05_an_edit_that_does_not_fit_is_refused_at_once(tell: Callable[..., Story]) -> None:
    fields = (*FIELDS, Field("total", FieldType.DECIMAL, scale=2))
    story = tell(fields=fields)
    story.define(fields=[{"left": name, "right": name} for name in ("k", "x", "total")])
    story.base("k", x="a")
    for typed in ({"total": "much"}, {"total": "1.234"}, {"nothing": "a"}):
        with pytest.raises(WorkError):
            editing.edit_and_retry(story.ctx, CONFIG, "left", story.left.id(), typed, by=ALICE)


def test_X05_an_edit_of_a_record_that_moves_meanwhile(story: Story) -> None:
    story.base("k", x="a")
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, story.left.id(), {"x": "b"}, by=ALICE)

    def edit_meanwhile(call: str) -> None:
        if call == "write":
            story.left.knobs.meanwhile = None
            story.left.edit(x="c")

    story.left.knobs.meanwhile = edit_meanwhile
    # Somebody's newer value is not overwritten; it flows.
    assert story.run(preview=False, repeat=False) == "R.x=c"


def test_X05_an_edit_of_a_value_that_was_changed_before_the_run_begins(story: Story) -> None:
    story.base("k", x="a")
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, story.left.id(), {"x": "b"}, by=ALICE)
    story.left.edit(x="c")
    assert story.run(preview=False, repeat=False) == "R.x=c issue(edited_meanwhile)"
    assert story.run(preview=False, repeat=False) == "nothing"
    assert not story.issues()


def test_X05_an_edit_reaches_no_other_record_that_took_the_id(story: Story) -> None:
    story.base("k", x="a")
    id = story.left.id()
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, id, {"x": "b"}, by=ALICE)
    story.left.remove("k")
    story.left.put("other", id=id, x="a")
    story.run(preview=False, repeat=False)
    assert [row.code for row in story.issues()] == ["edited_meanwhile"]
    assert story.left.get("x", "other") == "a"


def test_X05_an_edit_of_a_record_that_is_gone_before_the_run_begins(story: Story) -> None:
    story.base("k", x="a")
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, story.left.id(), {"x": "b"}, by=ALICE)
    story.left.remove("k")
    assert "issue(missing)" in story.run(preview=False, repeat=False)
    assert not story.left.has("k")


def test_X05_an_edit_in_place_of_a_value_that_cannot_be_read(tell: Callable[..., Story]) -> None:
    fields = (*FIELDS, Field("total", FieldType.DECIMAL, scale=2))
    story = tell(fields=fields)
    story.define(fields=[{"left": name, "right": name} for name in ("k", "x", "total")])
    story.base("k", total=Decimal("1.00"))
    story.left.edit(total="much")
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, story.left.id(), {"total": "2"}, by=ALICE)
    story.left.edit(total="more")
    assert "issue(edited_meanwhile)" in story.run(preview=False, repeat=False)
    assert story.left.get("total") == "more"
    editing.edit_and_retry(story.ctx, CONFIG, story.left.real, story.left.id(), {"total": "2"}, by=ALICE)
    story.run(preview=False, repeat=False)
    assert story.right.get("total") == Decimal(2)


def test_X07_secrets_in_an_answer_are_not_shown(story: Story) -> None:
    secret = "s3cr3t-t0ken"
    story.keep_secret("right", token=secret)
    story.base("k", x="a")
    story.left.edit(x="b")
    story.right.knobs.says = f"The token {secret} may not do this."
    story.right.knobs.protected = {story.right.id()}
    assert story.run(preview=False) == "issue(forbidden)"
    assert [row.message for row in story.issues()] == ["The token ••• may not do this."]
    story.right.knobs.unavailable = 2
    assert story.run(preview=False, repeat=False) == "failed(unavailable) issue(forbidden)"
    assert secret not in str(story.summary.as_json())
    assert secret.encode() not in story.image()


@pytest.mark.parametrize("deletes", ["archive", "unlink"])
def test_X01_an_answer_that_takes_no_write_is_carried_out_all_the_same(story: Story, deletes: str) -> None:
    how = {"archive": {"field": "z", "value": "gone"}} if deletes == "archive" else {}
    story.define(edit_vs_delete="manual", deletes={"left_to_right": deletes, "right_to_left": deletes, **how})
    story.base("k", x="a", z="gone")
    story.left.remove()
    story.right.edit(x="b")
    assert story.run() == "conflict()"
    story.resolve("left")
    # The mark of an archived record stands there already; an unlinked one is left as it is.
    assert story.run() == "nothing"
    assert story.link().state == ("excluded" if deletes == "archive" else "unlinked")
    assert story.right.get("x") == "b"


@pytest.mark.parametrize("refused", ["left", "right"])
def test_X01_a_typed_answer_that_one_side_refuses_is_sent_there_again(story: Story, refused: str) -> None:
    in_conflict(story)
    there = story.left if refused == "left" else story.right
    there.knobs.protected.add(there.id())
    story.resolve("typed")
    took = "R" if refused == "left" else "L"
    assert story.run() == ordered(f"{took}.x=typed conflict(x) issue(forbidden)")
    there.knobs.protected.clear()
    # The side that took it has not been edited, and still its value is the one that goes to the other.
    assert story.run() == f"{'L' if refused == 'left' else 'R'}.x=typed"
    assert story.left.get("x") == story.right.get("x") == "typed"
    with story.ctx.reads() as db:
        assert db.scalars(select(Conflict)).one().state == "resolved"


@pytest.mark.parametrize("refused", ["left", "right"])
def test_X01_a_typed_answer_that_came_to_one_side_only_is_no_agreement(story: Story, refused: str) -> None:
    in_conflict(story)
    there = story.left if refused == "left" else story.right
    there.knobs.protected.add(there.id())
    story.resolve("typed")
    story.run(repeat=False)
    there.knobs.protected.clear()
    there.edit(x="meanwhile")
    assert story.run() == "conflict(x)"


def test_X01_of_two_answers_the_refused_one_waits(story: Story) -> None:
    story.base("k", x="a", y="a")
    story.left.edit(x="b", y="b")
    story.right.edit(x="c", y="c")
    assert story.run() == "conflict(x) conflict(y)"
    story.resolve("left", "x")
    story.resolve("right", "y")
    story.right.knobs.protected.add(story.right.id())
    assert story.run() == ordered("L.y=c conflict(x) issue(forbidden)")
    story.right.knobs.protected.clear()
    assert story.run() == "R.x=b"
