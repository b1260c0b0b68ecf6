"""S: fields and settings that change under a running sync."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sync.records import Field
from sync.values import FieldType
from tests.scenarios.world import FIELDS, PAIRS, Story, Teller

T = FieldType
PROPAGATE = {"deletes": "propagate"}


def change_fields(side: Teller, *fields: Field) -> None:
    side.system.store.reshape(fields)


def without(name: str) -> tuple[Field, ...]:
    return tuple(item for item in FIELDS if item.name != name)


@pytest.mark.parametrize("omits_empty", [True, False])
def test_S01_a_mapped_field_is_removed(story: Story, omits_empty: bool) -> None:
    story.left.knobs.omits_empty = omits_empty
    story.define(conflict="left_wins")
    story.base("k", "k1", x="a", y="a")
    change_fields(story.left, *without("x"))
    story.left.edit(y="b")
    assert story.run() == "R.y=b issue(field_gone)"
    assert story.right.get("x") == "a"
    # New records go on without it, and its values on the other side stay.
    story.left.put("new", y="c")
    story.right.edit("k1", x="mine")
    assert story.run() == "R+new issue(field_gone)"
    assert story.right.get("x", "k1") == "mine"
    # It is there again, as it was: what moved meanwhile flows.
    change_fields(story.left, *FIELDS)
    for key in ("k", "k1", "b1", "b2", "b3"):
        story.left.edit(key, x="calm" if key.startswith("b") else "a")
    assert story.run() == "L.k1.x=mine"


def test_S01_a_mapped_field_is_removed_where_all_of_one_name_are_mapped(story: Story) -> None:
    story.define(fields=None)
    story.base("k", x="a", y="a")
    change_fields(story.left, *without("x"))
    story.left.edit(y="b")
    assert story.run() == "R.y=b issue(field_gone)"
    assert story.right.get("x") == "a"


def test_S02_a_field_is_renamed_that_keeps_its_id(tell: Callable[..., Story]) -> None:
    fields = tuple(replace(item, id=f"fld{item.name}") for item in FIELDS)
    story = tell(fields=fields)
    story.base("k", x="a")
    renamed = tuple(replace(item, name="X new") if item.name == "x" else item for item in fields)
    store = story.left.system.store
    store.fields = renamed
    for record_id, row in list(store.rows.items()):
        row = dict(row)
        row["X new"] = row.pop("x")
        store._store(record_id, row)
    store.change(story.left.id(), {"X new": "b"})
    assert story.run() == "R.x=b"
    assert any("X new" in line for line in story.lines())
    story.right.edit(x="c")
    assert story.run() == "L.X_new=c"
    assert not story.held()


def test_S04_headers_that_stand_there_twice(story: Story) -> None:
    story.left.system.store.problems = ("The header 'n' stands there twice; both columns are left out.",)
    story.define()
    story.both("k", x="a")
    assert story.run() == "issue(schema)"
    story.left.edit(x="b")
    assert story.run() == "R.x=b issue(schema)"
    assert story.summary.status == "success"
    story.left.system.store.problems = ()
    assert story.run() == "nothing"


@pytest.mark.parametrize(
    ("kinds", "values"), [((T.INTEGER, T.INTEGER), (1, 2)), ((T.TEXT, T.INTEGER), ("1", 2))]
)
def test_S05_a_number_becomes_a_text(
    tell: Callable[..., Story], kinds: tuple[FieldType, FieldType], values: tuple[object, int]
) -> None:
    story = tell(
        fields=(Field("k", T.TEXT), Field("x", kinds[0])),
        right_fields=(Field("k", T.TEXT), Field("x", kinds[1])),
    )
    story.define(fields=[{"left": "k", "right": "k"}, {"left": "x", "right": "x"}])
    story.base("k", x=1)
    story.left.system.store.fields = (Field("k", T.TEXT), Field("x", T.TEXT))
    for record_id, row in list(story.left.system.rows.items()):
        story.left.system.store._store(record_id, {**row, "x": None if row["x"] is None else str(row["x"])})
    # All values still agree.
    assert story.run() == "nothing"
    story.left.edit(x="2")
    assert story.run() == "R.x=2"


def test_S07_a_new_required_field(tell: Callable[..., Story]) -> None:
    story = tell()
    story.base("k", x="a")
    store = story.right.system.store
    store.fields = (*FIELDS, Field("must", T.TEXT, nullable=False))
    for record_id, row in list(store.rows.items()):
        store._store(record_id, {**row, "must": "there"})
    for key in ("n1", "n2", "n3"):
        story.left.put(key, x="b")
    story.left.edit(x="b")
    assert story.run() == "R.x=b issue(required n1) issue(required n2) issue(required n3)"
    # One cause.
    assert {(row.code, row.message) for row in story.issues()} == {("required", "'must' must not be empty.")}
    store.fields = FIELDS
    assert story.run() == "R+n1 R+n2 R+n3"


def test_S08_an_option_is_removed(tell: Callable[..., Story]) -> None:
    def options(*words: str) -> tuple[Field, ...]:
        return (FIELDS[0], Field("x", T.TEXT, options=words), *FIELDS[2:])

    story = tell(right_fields=options("a", "b"))
    story.define()
    story.both("k", "k1", "k2", x="a")
    assert story.run() == "nothing"
    story.right.system.store.fields = options("b")
    story.left.edit("k", y="c")
    story.left.edit("k1", x="b")
    story.left.put("new", x="a")
    # Who does not touch it goes on; only who wants to write it is told.
    assert story.run() == "R.k1.x=b R.y=c issue(does_not_fit new)"


def test_S10_a_field_is_added_to_a_running_sync(story: Story) -> None:
    three = [pair for pair in PAIRS if pair["left"] != "z"]
    story.define(fields=three, conflict="manual")
    story.both("k", "k1", "k2", "k3", x="a")
    story.left.edit("k", z="l")
    story.right.edit("k1", z="r")
    story.left.edit("k2", z="l")
    story.right.edit("k2", z="r")
    assert story.run() == "nothing"
    story.define(fields=list(PAIRS))
    planned = story.preview()
    assert (planned.held, planned.conflicts) == (2, 1)
    # First contact for this field alone, and somebody has a look first.
    assert story.run() == "conflict(k2.z) held(L.k1.z=r) held(R.z=l)"
    story.approve()
    assert story.run() == "L.k1.z=r R.z=l conflict(k2.z)"
    story.left.edit("k3", x="b")
    assert story.run() == "R.k3.x=b conflict(k2.z)"


def test_S10_nothing_to_do_is_not_held(story: Story) -> None:
    story.define(fields=[pair for pair in PAIRS if pair["left"] != "z"])
    story.base("k", x="a", z="same")
    story.define(fields=list(PAIRS))
    assert story.run() == "nothing"
    story.left.edit(z="b")
    assert story.run() == "R.z=b"


def test_S11_a_field_is_taken_out(story: Story) -> None:
    story.base("k", x="a", z="a")
    story.define(fields=[pair for pair in PAIRS if pair["left"] != "z"])
    story.left.edit(z="l")
    assert story.run() == "nothing"
    assert "z" not in story.shadow("left")
    # Put back, it meets the other side for the first time.
    story.define(fields=list(PAIRS))
    assert story.run() == "conflict(z)"


def test_S11_a_field_that_is_put_back_waits_for_an_answer_however_the_record_moves(story: Story) -> None:
    story.base("k", x="a", z="a")
    story.define(fields=[pair for pair in PAIRS if pair["left"] != "z"])
    story.left.edit(z="l")
    assert story.run() == "nothing"
    story.define(fields=list(PAIRS))
    # The left one moves in that very run, and the right one does not.
    story.left.edit(z="m")
    assert story.run() == "conflict(z)"


def test_S13_two_way_becomes_one_way(story: Story) -> None:
    story.define()
    story.base("k", "k1", x="a")
    story.right.edit(x="pending")
    story.define(direction="left_to_right")
    assert [change["key"] for change in story.preview().changes or ()] == ["k"]
    assert story.run() == "held(R.x=a)"
    # Kept on the right, and lost there only once somebody said so; the journal has it then.
    story.approve()
    assert story.run() == "R.x=a"
    assert story.journal()[-1].before == {"x": "pending"}


@pytest.mark.parametrize("drift", ["ignore", "flag"])
def test_S13_afterwards_the_destinations_edits_are_what_the_setting_says(story: Story, drift: str) -> None:
    story.define()
    story.base("k", "k1", x="a")
    story.right.edit(x="pending")
    story.define(direction="left_to_right", drift=drift)
    assert story.run() == ("nothing" if drift == "ignore" else "issue(drift)")
    story.left.edit("k1", x="b")
    assert story.run() == ("R.k1.x=b" if drift == "ignore" else "R.k1.x=b issue(drift)")


def test_S14_one_way_becomes_two_way(story: Story) -> None:
    story.define(direction="left_to_right", drift="ignore")
    story.base("k", "k1", x="a")
    story.right.edit(x="collected")
    story.right.put("foreign", x="f")
    assert story.run() == "nothing"
    story.define(direction="bidirectional")
    # A plan to look at, and nothing of it is pushed.
    assert story.run() == "held(L+foreign) held(L.x=collected)"
    story.approve()
    assert story.run() == "L+foreign L.x=collected"


def test_S16_versions_are_made_in_another_way(story: Story) -> None:
    story.base("k", "k1", x="a", y="")
    shadows = story.shadows()
    for side in (story.left, story.right):
        side.system.store.versions = {id: f"new-{v}" for id, v in side.system.store.versions.items()}
    assert story.run() == "nothing"
    assert story.shadows() == shadows


def test_S16_equality_is_decided_in_another_way(story: Story) -> None:
    story.base("k", "k1", x="Ab ", y="")
    shadows = story.shadows()
    loose = [{"left": name, "right": name, "canon": ["trim", "lower"]} for name in ("k", "x", "y", "z")]
    story.define(fields=loose)
    assert story.run() == "nothing"
    assert story.shadows() == shadows
    story.left.edit(x="c")
    assert story.run() == "R.x=c"


@pytest.mark.parametrize("new_fields", ["ignore", "propose", "add"])
def test_S17_a_field_is_new_on_both_sides(story: Story, new_fields: str) -> None:
    change_fields(story.left, *without("z"))
    change_fields(story.right, *without("z"))
    story.define(fields=None, new_fields=new_fields, conflict="manual")
    story.both("k", "k1", "k2", "k3", x="a")
    assert story.run() == "nothing"
    for side in (story.left, story.right):
        change_fields(side, *FIELDS)
        for key in ("k", "k1", "k2", "k3"):
            side.edit(key, z=None)
    story.left.edit(z="l")
    expected = {"ignore": "nothing", "propose": "issue(new_field)", "add": "held(R.z=l)"}
    assert story.run() == expected[new_fields]
    if new_fields == "add":
        story.approve()
        assert story.run() == "R.z=l"
        # It is one of the mapped fields now: when it goes, it is missed.
        change_fields(story.left, *without("z"))
        assert story.run() == "issue(field_gone)"
        assert story.right.get("z") == "l"
