"""K: which record is which, when keys are renamed, copied, swapped, reused or missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sync.records import Field
from sync.values import FieldType
from tasks.errors import NotFound, WrongState
from tests.hostile import Hostile
from tests.scenarios.local import in_files
from tests.scenarios.words import as_told
from tests.scenarios.world import FIELDS, Place, Story, in_memory

UNIQUE = tuple(Field(item.name, item.type, unique=item.name == "k") for item in FIELDS)
PROPAGATE = {"deletes": "propagate"}


def _give_away(story: Story) -> str:
    """The right record is gone, and its id is another one's now; the id."""
    reused = story.right.id()
    story.right.remove()
    return story.right.put("new", id=reused, x="1", y="2", z="3")


def _told_ends(story: Story, key: str) -> tuple[str | None, str | None]:
    """The ids that the link of this key holds, the left one of the tale first."""
    row = story.link(key)
    return (row.right_id, row.left_id) if story.swapped else (row.left_id, row.right_id)


def test_K01_a_key_is_renamed_where_ids_are_stable(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    story.left.edit(k="k2")
    assert story.run() == "R.k=k2"
    assert story.right.keys == ["k2"]


@pytest.mark.parametrize("conflict", ["left_wins", "manual"])
def test_K01_a_key_and_a_value_are_renamed_together(story: Story, conflict: str) -> None:
    story.define(conflict=conflict, **PROPAGATE)
    story.base("k", x="a", y="b", z="c")
    story.left.edit(k="k2", x="new")
    assert story.run() == "R.k=k2 R.x=new"


def test_K02_a_key_is_renamed_where_it_is_the_id(tell: Callable[..., Story]) -> None:
    story = tell(key=("k",))
    story.left.knobs.stable_ids = False
    story.define(**PROPAGATE)
    for key in ("k", "k1", "k2"):
        story.left.put(key, id=key, x=f"x of {key}", y=f"y of {key}", z=f"z of {key}")
        story.right.put(key, x=f"x of {key}", y=f"y of {key}", z=f"z of {key}")
    assert story.run() == "nothing"
    story.left.remove()
    story.left.put("new", id="new", x="x of k", y="y of k", z="z of k")
    # Neither a delete nor a create: one rename, which a person is asked about.
    assert story.run() == "held(L~)"
    story.approve()
    assert story.run() == "R.k=new"
    assert story.right.keys == ["k1", "k2", "new"]


def test_K02_two_who_could_be_the_renamed_one_are_not_guessed(tell: Callable[..., Story]) -> None:
    story = tell(key=("k",))
    story.left.knobs.stable_ids = False
    story.define(deletes="approve")
    story.left.put("k", id="k", x="same", y="same", z="same")
    story.right.put("k", x="same", y="same", z="same")
    story.both("k9", x="other")
    assert story.run() == "nothing"
    story.left.remove()
    for key in ("n1", "n2"):
        story.left.put(key, id=key, x="same", y="same", z="same")
    assert story.run() == "R+n1 R+n2 held(R-)"


def left_in_memory_right_in_a_file(
    story: Story, place: Place, fields: Sequence[Field], *, key: Sequence[str], seed: int
) -> Hostile:
    """On the story's left records have ids of their own, on its right the key is the id."""
    if as_told(place.space, story.swapped) == "left":
        return in_memory(story, place, fields, key=(), seed=seed)
    return in_files(story, place, fields, key=("k",), seed=seed)


@pytest.mark.parametrize("fault", ["", "lost_answers", "lost_requests"])
def test_K02_the_link_follows_a_key_that_we_rename_where_it_is_the_id(swapped: bool, fault: str) -> None:
    story = Story(system=left_in_memory_right_in_a_file, swapped=swapped)
    story.define(**PROPAGATE)
    story.base("k", "k1", x="a")
    story.left.edit(k="k2")
    if fault:
        setattr(story.right.knobs, fault, 1)
    story.run(repeat=False)
    story.run(repeat=False)
    assert story.right.keys == ["k1", "k2"]
    assert "k2" in (story.link("k2").left_id, story.link("k2").right_id)
    story.right.edit("k2", x="b")
    assert story.run() == "L.k2.x=b"
    story.left.edit("k2", x="c")
    assert story.run() == "R.k2.x=c"
    story.right.remove("k2")
    assert story.run() == "L-k2"


def test_K04_a_second_record_with_the_key_of_a_linked_one(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a")
    first = story.left.id()
    story.left.put("k", x="impostor")
    assert story.run() == "issue(ambiguous_key)"
    assert story.link().left_id == first or story.link().right_id == first
    # The linked one goes on as before.
    story.left.system.store.edit(first, x="b")
    assert story.run() == "R.x=b issue(ambiguous_key)"
    assert story.summary.failed == 1


def test_K04_two_new_records_with_one_key_are_set_aside(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("other", x="a")
    for value in ("a", "b"):
        story.left.put("k", x=value)
    story.right.put("k", x="c")
    assert story.run() == "issue(ambiguous_key)"
    assert story.summary.failed == 2
    assert story.summary.status == "partial"
    # Made unique again, they are linked.
    story.left.system.store.remove(next(id for id, row in story.left.system.rows.items() if row["x"] == "b"))
    story.define(conflict="left_wins")
    assert story.run() == "R.x=a"


@pytest.mark.parametrize("versus", ["edit_wins", "delete_wins", "manual"])
def test_K04_who_was_deleted_under_a_key_that_two_others_have_is_not_made_a_third_time(
    story: Story, versus: str
) -> None:
    story.define(edit_vs_delete=versus, conflict="left_wins", **PROPAGATE)
    story.base("k", x="a")
    twins = [story.left.put("k2", x=value) for value in ("b", "c")]
    assert story.run() == "issue(ambiguous_key k2)"
    story.right.edit(k="k2")
    story.left.remove()
    # One of the two may be the deleted one, made anew: nobody is made, changed or deleted meanwhile.
    assert story.run() == "issue(ambiguous_key k2)"
    assert story.summary.status == "partial"
    assert (story.left.keys, story.right.keys) == (["k2", "k2"], ["k2"])
    story.left.system.store.remove(twins[1])
    assert story.run() == "R.k2.x=b"


@pytest.mark.parametrize("deletes", ["propagate", "never", "unlink", "archive"])
def test_K22_deleted_on_one_side_and_new_there_under_the_name_that_the_other_gave(
    story: Story, deletes: str
) -> None:
    how = {"archive": {"field": "z", "value": "gone"}} if deletes == "archive" else {}
    story.define(conflict="left_wins", deletes={"left_to_right": deletes, "right_to_left": deletes, **how})
    story.base("k", x="a", y="b")
    story.right.edit(k="k2")
    story.left.remove()
    new = story.left.put("k2", x="new")
    # What the deleted one held is no base for this one: a value beats an empty one, else the policy decides.
    assert story.run() == "L.k2.y=b R.k2.x=new"
    assert new in (story.link("k2").left_id, story.link("k2").right_id)


def test_K04_who_was_deleted_is_not_made_again_beside_a_linked_record_of_that_key(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", "k1", x="a")
    renamed = story.right.id()
    story.right.edit(k="k1")
    story.left.remove()
    assert story.run() == "issue(ambiguous_key k1)"
    assert story.left.keys == ["k1"]
    assert "would be made there again" in story.issues()[0].message
    # Under a key of its own it is.
    story.right.system.store.edit(renamed, k="k2")
    assert story.run() == "L+k2"


def test_K04_who_was_deleted_is_not_made_again_beside_one_that_gets_its_key(story: Story) -> None:
    story.define(edit_vs_delete="edit_wins", **PROPAGATE)
    story.base("k", "k1", "k2", x="a")
    second = story.right.id("k2")
    story.left.remove("k", "k2")
    story.right.edit("k", x="b")
    for key in ("k1", "k2"):
        story.right.edit(key, k="k")
    # One of three who share a key now stands on the left: neither of the others is made beside it.
    assert story.run() == "L.k1.k=k issue(ambiguous_key)"
    assert story.summary.failed == 2
    assert story.left.keys == ["k"]
    story.right.system.store.edit(second, k="k3")
    assert story.run() == "L+k3 issue(ambiguous_key)"


def test_K07_two_keys_are_swapped_where_they_must_be_unique(tell: Callable[..., Story]) -> None:
    story = tell(fields=FIELDS, right_fields=UNIQUE)
    story.define(**PROPAGATE)
    story.base("1", "2", x="a")
    one, two = story.left.id("1"), story.left.id("2")
    right_one, right_two = story.right.id("1"), story.right.id("2")
    story.left.system.store.edit(one, k="2")
    story.left.system.store.edit(two, k="1")
    story.run()
    assert story.summary.status == "success"
    assert story.right.system.rows[right_one]["k"] == "2"
    assert story.right.system.rows[right_two]["k"] == "1"
    assert story.run() == "nothing"


@pytest.mark.parametrize("batch_size", [1, 100])
def test_K07_three_keys_go_round_in_a_ring(tell: Callable[..., Story], batch_size: int) -> None:
    story = tell(fields=FIELDS, right_fields=UNIQUE)
    story.define(batch_size=batch_size)
    story.base("1", "2", "3", x="a")
    ids = {key: (story.left.id(key), story.right.id(key)) for key in ("1", "2", "3")}
    for old, new in (("1", "2"), ("2", "3"), ("3", "1")):
        story.left.system.store.edit(ids[old][0], k=new)
    story.run()
    assert story.summary.status == "success"
    assert {key: story.right.system.rows[ids[key][1]]["k"] for key in ids} == {"1": "2", "2": "3", "3": "1"}
    assert len(story.right.system.log) == 4  # one of the three twice


def test_K08_keys_move_up_by_one(tell: Callable[..., Story]) -> None:
    story = tell(fields=FIELDS, right_fields=UNIQUE)
    story.base("1", "2", "3", x="a")
    ids = {key: story.left.id(key) for key in ("1", "2", "3")}
    for old, new in (("1", "2"), ("2", "3"), ("3", "4")):
        story.left.system.store.edit(ids[old], k=new)
    assert story.run() == "R.1.k=2 R.2.k=3 R.3.k=4"
    assert [entry.after and entry.after["k"] for entry in story.right.system.log] == ["4", "3", "2"]


def test_K10_keys_that_differ_in_capitals_and_blanks(story: Story) -> None:
    story.define()
    story.base("other")
    story.left.put("A@x.com", x="a")
    story.right.put("a@x.com ", x="a")
    assert story.run() == "L+a@x.com_ R+A@x.com"
    assert len(story.left.keys) == len(story.right.keys) == 3
    assert any("near-duplicate keys" in line for line in story.lines())


def test_K10_keys_are_the_same_where_the_definition_says_so(story: Story) -> None:
    fields = [
        {"left": "k", "right": "k", "canon": ["trim", "lower"]},
        *({"left": name, "right": name} for name in "xyz"),
    ]
    story.define(fields=fields)
    story.base("other")
    story.left.put("A@x.com", x="a")
    story.right.put("a@x.com ", x="a")
    assert story.run() == "nothing"
    assert (len(story.left.keys), len(story.right.keys)) == (2, 2)


@pytest.mark.parametrize("key", ["1", 1.0])
def test_K11_a_number_is_the_same_key_however_it_is_written(tell: Callable[..., Story], key: object) -> None:
    numbers = (Field("k", FieldType.INTEGER), Field("x", FieldType.TEXT))
    words = (Field("k", FieldType.TEXT), Field("x", FieldType.TEXT))
    story = tell(fields=numbers, right_fields=words)
    story.define(fields=[{"left": "k", "right": "k", "type": "text"}, {"left": "x", "right": "x"}])
    story.left.put("1", k=1, x="a")
    story.right.put("1", k=key, x="a")
    assert story.run() == "nothing"
    assert len(story.links()) == 1


def test_K11_leading_zeros_make_another_key_unless_keys_are_numbers(tell: Callable[..., Story]) -> None:
    story = tell()
    story.define(fields=[{"left": "k", "right": "k", "type": "text"}, {"left": "x", "right": "x"}])
    story.left.put("1", x="a")
    story.right.put("01", x="a")
    assert story.run() == "L+01 R+1"
    story = tell()
    story.define(fields=[{"left": "k", "right": "k", "type": "integer"}, {"left": "x", "right": "x"}])
    story.left.put("1", x="a")
    story.right.put("01", x="a")
    assert story.run() == "nothing"


def test_K13_records_without_a_key_take_no_part(story: Story) -> None:
    story.define()
    story.base("other")
    for number in range(5):
        story.left.put(f"n{number}", k=None if number % 2 else "", x=str(number))
    story.right.put("n9", k=None, x="9")
    assert story.run() == "nothing"
    assert story.summary.excluded == 6
    assert story.summary.status == "success"


def test_K14_a_sheet_is_sorted(story: Story) -> None:
    story.base("1", "2", "3", x="a")
    store = story.left.system.store
    store.rows = dict(sorted(store.rows.items(), reverse=True))
    assert story.run() == "nothing"
    assert story.summary.unchanged == 6


def test_K16_one_record_is_merged_into_another(story: Story) -> None:
    story.define(**PROPAGATE)
    story.right.knobs.snapshot = False
    story.base("k", "k1", x="a")
    story.right.knobs.merged[story.right.id()] = story.right.id("k1")
    story.right.remove()
    # Not a delete of somebody's: the left one stays, and a person is told.
    assert story.run() == "issue(merged)"
    assert story.left.has()
    assert "merged into" in story.issues()[0].message
    # Merged on the left too, all is well again.
    story.left.remove()
    assert story.run() == "nothing"
    assert story.link().state == "tombstone"


def test_K17_an_id_is_given_to_another_record(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a", y="b", z="c")
    _give_away(story)
    assert story.run() == "L+new L-"
    assert story.left.get("x", "new") == "1"
    assert story.link().state == "tombstone"
    assert story.link("new").state == "linked"


def test_K17_an_id_is_given_to_another_record_and_nothing_may_be_deleted(story: Story) -> None:
    story.base("k", x="a", y="b", z="c")
    _give_away(story)
    assert story.run() == "L+new"
    assert story.left.keys == ["k", "new"]
    assert story.link().state == "excluded"


def test_K17_an_id_is_given_to_another_record_and_its_own_has_a_new_one(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a", y="b", z="c")
    _give_away(story)
    own = story.right.put("k", x="a", y="b", z="c2")
    assert story.run() == "L+new L.z=c2"
    assert _told_ends(story, "k") == (story.left.id(), own)
    story.left.edit(y="b2")
    assert story.run() == "R.y=b2"


def test_K17_the_new_id_of_a_record_stays_known_while_its_change_waits(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a", y="b", z="c")
    _give_away(story)
    own = story.right.put("k", x="a", y="b", z="c2")
    story.left.knobs.protected.add(story.left.id())
    assert story.run() == "L+new issue(forbidden)"
    assert _told_ends(story, "k") == (story.left.id(), own)
    story.left.knobs.protected.clear()
    assert story.run() == "L.z=c2"


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1), (1, 0, 2)])
def test_K17_a_table_is_numbered_anew(story: Story, order: tuple[int, ...]) -> None:
    """As when it was emptied and loaded again: each record is there, under an id that was another's."""
    story.define(**PROPAGATE)
    keys = ("k", "k1", "k2")
    for key in keys:
        story.both(key, x=f"x of {key}", y=f"y of {key}", z=f"z of {key}")
    story.base()
    ids = [story.right.id(key) for key in keys]
    for key in keys:
        story.right.remove(key)
    for key, place in zip(keys, order, strict=True):
        story.right.put(key, id=ids[place], x=f"x of {key}", y=f"y of {key}", z=f"z of {key}")
    story.right.edit("k1", z="edited")
    assert story.run() == "L.k1.z=edited"
    for key, place in zip(keys, order, strict=True):
        assert _told_ends(story, key) == (story.left.id(key), ids[place])


def test_K17_who_took_an_id_of_a_pair_that_waits_is_made_all_the_same(story: Story) -> None:
    """What becomes of the pair cannot be told, since its key is another's; whose the id is can."""
    story.define(**PROPAGATE)
    story.base("k", "k9", x="a", y="b", z="c")
    reused = _give_away(story)
    story.left.edit(k="k9")
    assert story.run() == "L+new issue(ambiguous_key k9)"
    assert _told_ends(story, "new") == (story.left.id("new"), reused)


def test_K17_a_record_that_was_lost_with_its_id_comes_back(story: Story) -> None:
    story.base("k", x="a", y="b", z="c")
    _give_away(story)
    assert story.run() == "L+new"
    own = story.right.put("k", x="a", y="b", z="c2")
    assert story.run() == "L.z=c2"
    assert _told_ends(story, "k") == (story.left.id(), own)


def test_K17_a_retry_of_one_record_knows_who_is_who_of_all(story: Story) -> None:
    story.define(**PROPAGATE)
    for key in ("k", "k1"):
        story.both(key, x=f"x of {key}", y=f"y of {key}", z=f"z of {key}")
    story.base()
    ids = [story.right.id(key) for key in ("k", "k1")]
    for key in ("k", "k1"):
        story.right.remove(key)
    for key, id in zip(("k1", "k"), ids, strict=True):
        story.right.put(key, id=id, x=f"x of {key}", y=f"y of {key}", z="edited")
    assert story.run(keys=["k"], preview=False, repeat=False) == "L.z=edited"
    assert story.run() == "L.k1.z=edited"


def test_K17_both_records_of_a_pair_have_new_ids(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a", y="b", z="c")
    for teller in story.tellers:
        teller.remove()
    left = story.left.put("k", x="a", y="b", z="c2")
    right = story.right.put("k", x="a2", y="b", z="c")
    assert story.run() == "L.x=a2 R.z=c2"
    assert _told_ends(story, "k") == (left, right)


def test_K17_both_tables_are_numbered_anew(story: Story) -> None:
    story.define(**PROPAGATE)
    for key in ("k", "k1"):
        story.both(key, x=f"x of {key}", y=f"y of {key}", z=f"z of {key}")
    story.base()
    for teller in story.tellers:
        ids = {key: teller.id(key) for key in ("k", "k1")}
        for key in ids:
            teller.remove(key)
        for key, old in (("k", "k1"), ("k1", "k")):
            teller.put(key, id=ids[old], x=f"x of {key}", y=f"y of {key}", z=f"z of {key}")
    story.left.edit(z="edited")
    assert story.run() == "R.z=edited"
    for key in ("k", "k1"):
        assert _told_ends(story, key) == (story.left.id(key), story.right.id(key))


def test_K17_both_ids_of_a_pair_are_given_to_others(story: Story) -> None:
    story.define(**PROPAGATE)
    story.base("k", x="a", y="b", z="c")
    for teller, new in ((story.left, "n1"), (story.right, "n2")):
        reused = teller.id()
        teller.remove()
        teller.put(new, id=reused, x="1", y="2", z="3")
    own = story.right.put("k", x="a", y="b", z="c")
    # The left one is gone, and its twin with it, wherever it stands now.
    assert story.run() == "L+n2 R+n1 R-"
    assert own not in story.right.system.rows
    assert story.link().state == "tombstone"


def test_K19_another_field_must_be_unique_too(tell: Callable[..., Story]) -> None:
    fields = tuple(Field(item.name, item.type, unique=item.name == "x") for item in FIELDS)
    story = tell(right_fields=fields)
    story.define()
    story.left.put("k", x="mine")
    story.left.put("k1", x="other")
    story.right.put("k", x="mine")
    story.right.put("k1", x="other")
    assert story.run() == "nothing"
    story.left.edit("k", x="foreign")
    story.right.system.store.put({"k": None, "x": "foreign"}, "elsewhere")
    story.left.edit("k1", y="b")
    assert story.run() == "R.k1.y=b issue(unique)"
    assert "elsewhere" in story.issues()[0].message


def test_K20_two_records_are_linked_by_hand(story: Story) -> None:
    story.define(conflict="left_wins")
    left, right = story.left.put("k", x="1"), story.right.put("K!", x="2", y="here")
    story.link_by_hand(left, right)
    planned = story.preview()
    assert sorted(change["operation"] for change in planned.changes or ()) == ["update", "update"]
    assert story.run() == "L.y=here R.K!.k=k R.K!.x=1"


def test_K20_a_linked_record_is_not_linked_twice(story: Story) -> None:
    story.base("k", "k1")
    with pytest.raises(WrongState, match="linked already"):
        story.link_by_hand(story.left.id("k"), story.right.id("k1"))
    with pytest.raises(NotFound, match="no record"):
        story.link_by_hand(story.left.id("k"), "nowhere")


def test_K22_linked_again_after_being_unlinked(story: Story) -> None:
    story.define(conflict="manual")
    story.base("k", x="a", y="a")
    story.left.edit(x="b")
    story.unlink_by_hand()
    assert story.run() == "nothing"
    story.right.edit(y="c")
    assert story.run() == "nothing"
    # No old shadow decides now: what differs is both sides' edit.
    story.link_by_hand(story.left.id(), story.right.id())
    assert story.run() == "conflict(x) conflict(y)"
    assert [row.state for row in story.links() if row.key.strip('"') == "k"] == ["tombstone", "linked"]


def test_K22_who_meets_a_survivor_again_stays_linked_while_the_write_waits(story: Story) -> None:
    story.define(conflict="left_wins", deletes="unlink")
    story.base("k", x="a")
    story.left.remove()
    assert story.run() == "nothing"
    assert story.link().state == "unlinked"
    story.left.put("k", x="new")
    story.right.knobs.protected.add(story.right.id())
    assert story.run() == "issue(forbidden)"
    assert story.link().state == "linked"
    story.right.knobs.protected.clear()
    assert story.run() == "R.x=new"


def test_K22_a_survivor_that_was_renamed_meets_others_by_the_name_that_it_has_now(story: Story) -> None:
    story.define(conflict="left_wins", deletes="unlink")
    story.base("k", x="a")
    story.left.remove()
    assert story.run() == "nothing"
    story.right.edit(k="k2")
    story.left.put("k2", x="new")
    assert story.run() == "R.k2.x=new"
    assert story.link("k2").state == "linked"
    story.left.put("k", x="another")
    assert story.run() == "R+"


def test_K22_two_survivors_of_one_name_are_not_guessed(story: Story) -> None:
    story.define(conflict="left_wins", deletes="unlink")
    story.base("k", "k1", x="a")
    story.left.remove("k", "k1")
    assert story.run() == "nothing"
    story.right.edit("k1", k="k")
    story.left.put("k", x="new")
    assert story.run() == "issue(ambiguous_key)"
