"""L: records that link to others, of the same stream or of another one that a second sync carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sync.definition import MappingMistake
from sync.records import Cascade, Field
from sync.values import FieldType, Value
from tests.hostile import Killed
from tests.scenarios.world import Story, Teller

TEXT = FieldType.TEXT
FAMILY = (Field("k", TEXT), Field("x", TEXT), Field("parents", FieldType.LINKS))
SELF = [
    {"left": "k", "right": "k"},
    {"left": "x", "right": "x"},
    {"left": "parents", "right": "parents", "links_to": "people"},
]
PROPAGATE: Mapping[str, Any] = {"deletes": "propagate", "guards": "off"}


def family(tell: Callable[..., Story], **said: Any) -> Story:
    """People who link to people."""
    story = tell(fields=FAMILY)
    story.define(**{"fields": SELF, "conflict": "manual", **said})
    # Ids that say nothing of the other side's.
    story.right.system.store._last_id = 500
    return story


def ids(teller: Teller, *keys: str) -> tuple[str, ...]:
    return tuple(sorted(teller.id(key) for key in keys))


def links(teller: Teller, key: str, field: str = "parents") -> tuple[str, ...]:
    """The keys of the records that a record links to."""
    return tuple(sorted(str(teller.system.rows[id]["k"]) for id in teller.get(field, key) or ()))


def test_L01_a_new_child_of_a_new_parent(tell: Callable[..., Story]) -> None:
    """The parent is made first, and each record by one write."""
    story = family(tell)
    story.base()
    story.left.put("child", parents=())
    story.left.put("parent")
    story.left.edit("child", parents=ids(story.left, "parent"))
    assert story.run() == "R+child R+parent"
    assert story.right.get("parents", "child") == ids(story.right, "parent")
    made = [
        entry.after["k"] for entry in story.right.system.log if entry.operation == "create" and entry.after
    ]
    assert made == ["parent", "child"]
    assert story.summary.status == "success"


def test_L01_generations_at_once(tell: Callable[..., Story]) -> None:
    story = family(tell)
    story.base()
    story.left.put("g0")
    for number in range(1, 8):
        story.left.put(f"g{number}", parents=ids(story.left, f"g{number - 1}"))
    story.run()
    assert [links(story.right, f"g{number}") for number in range(1, 8)] == [(f"g{n}",) for n in range(7)]
    assert len(story.right.system.log) == 8


def test_L01_a_known_record_links_to_a_new_one(tell: Callable[..., Story]) -> None:
    story = family(tell)
    story.base("child")
    story.left.put("parent")
    story.left.edit("child", parents=ids(story.left, "parent"))
    story.run()
    assert links(story.right, "child") == ("parent",)
    assert story.summary.status == "success"
    assert len(story.right.system.log) == 2


def test_L01_a_link_to_a_record_of_another_sync(tell: Callable[..., Story]) -> None:
    story, firms = _with_firms(tell)
    story.base()
    firms.base()
    firms.left.put("acme")
    story.left.put("ada", firm=firms.left.id("acme"))
    assert story.run() == "R+ada issue(no_linked_record ada)"
    assert story.right.get("firm", "ada") is None
    assert story.summary.status == "partial"
    assert firms.run() == "R+acme"
    assert story.run() == f"R.ada.firm={firms.right.id('acme')}"
    # Both ways, like any field.
    firms.right.put("zenith")
    firms.run()
    story.right.edit("ada", firm=firms.right.id("zenith"))
    assert story.run() == f"L.ada.firm={firms.left.id('zenith')}"


def test_L01_the_other_sync_ran_before(tell: Callable[..., Story]) -> None:
    story, firms = _with_firms(tell)
    story.base()
    firms.base("acme", "zenith")
    story.left.put("ada", firm=firms.left.id("acme"))
    assert story.run() == "R+ada"
    assert story.right.get("firm", "ada") == firms.right.id("acme")
    # One link, two edits: a conflict like any other.
    story.left.edit("ada", firm=firms.left.id("zenith"))
    story.right.edit("ada", firm=None)
    assert story.run() == "conflict(ada.firm)"
    story.resolve("left", key="ada")
    assert story.run() == f"R.ada.firm={firms.right.id('zenith')}"


def _with_firms(tell: Callable[..., Story]) -> tuple[Story, Story]:
    """People, each of whom works for one firm; another sync carries the firms."""
    story = tell(fields=(Field("k", TEXT), Field("x", TEXT), Field("firm", TEXT, single=True)))
    fields = [
        {"left": "k", "right": "k"},
        {"left": "x", "right": "x"},
        {"left": "firm", "right": "firm", "type": "links", "links_to": "firms"},
    ]
    story.define(fields=fields)
    firms = story.beside("firms", fields=(Field("k", TEXT), Field("x", TEXT)))
    firms.define(fields=fields[:2])
    firms.right.system.store._last_id = 700
    return story, firms


def test_L01_a_required_link_that_cannot_be_made_waits_with_its_record(tell: Callable[..., Story]) -> None:
    story = tell(
        fields=(Field("k", TEXT), Field("firm", TEXT, single=True)),
        right_fields=(Field("k", TEXT), Field("firm", TEXT, single=True, nullable=False)),
    )
    fields = [
        {"left": "k", "right": "k"},
        {"left": "firm", "right": "firm", "type": "links", "links_to": "firms"},
    ]
    story.define(fields=fields)
    firms = story.beside("firms", fields=(Field("k", TEXT),))
    firms.define(fields=fields[:1])
    firms.left.put("acme")
    story.left.put("ada", firm=firms.left.id("acme"))
    assert story.run() == "issue(no_linked_record ada)"
    firms.run()
    assert story.run() == "R+ada"
    assert story.right.get("firm", "ada") == firms.right.id("acme")


def test_L02_two_new_records_link_to_each_other_and_one_to_itself(tell: Callable[..., Story]) -> None:
    story = family(tell)
    story.base()
    story.left.put("a")
    story.left.put("b", parents=ids(story.left, "a"))
    story.left.edit("a", parents=ids(story.left, "b"))
    story.left.put("c")
    story.left.edit("c", parents=ids(story.left, "c", "a"))
    story.run()
    assert [links(story.right, key) for key in "abc"] == [("b",), ("a",), ("a", "c")]
    assert story.summary.status == "success"
    # One write each, and one more for what closes a circle.
    assert len(story.right.system.log) == 3 + 2
    assert [row.rule for row in story.journal()].count("links set") == 2


@pytest.mark.parametrize("call", range(1, 9))
def test_L02_killed_between_the_passes(call: int, tell: Callable[..., Story]) -> None:
    story = family(tell)
    story.base()
    story.in_line, story.previews, story.quiet = True, False, False
    story.left.put("a")
    story.left.put("b", parents=ids(story.left, "a"))
    story.left.edit("a", parents=ids(story.left, "b"))
    story.right.knobs.kill_after = story.right.system.calls + call
    try:
        story.run(repeat=False)
    except Killed:
        story.after_a_crash()
    story.right.knobs.kill_after = None
    story.run(repeat=False)
    assert [links(story.right, key) for key in "ab"] == [("b",), ("a",)]
    assert story.right.keys == ["a", "b"]
    assert story.run(repeat=False) == "nothing"


def test_L02_the_parent_is_refused(tell: Callable[..., Story]) -> None:
    """The child is made without its link, which follows when the parent can be made."""
    story = tell(fields=FAMILY, right_fields=(FAMILY[0], Field("x", TEXT, options=("good",)), FAMILY[2]))
    story.define(fields=SELF)
    story.base()
    story.left.put("parent", x="bad")
    story.left.put("child", x="good", parents=ids(story.left, "parent"))
    story.run()
    assert story.right.keys == ["child"]
    assert {row.code for row in story.issues()} == {"does_not_fit", "no_linked_record"}
    story.left.edit("parent", x="good")
    story.run()
    assert links(story.right, "child") == ("parent",)
    assert not story.issues()


def test_L04_the_order_of_links_means_nothing(tell: Callable[..., Story]) -> None:
    story = family(tell)
    story.base("p", "q")
    story.left.put("child", parents=ids(story.left, "p", "q"))
    story.run()
    story.left.edit("child", parents=tuple(reversed(story.left.get("parents", "child"))))
    assert story.run() == "nothing"
    story.right.edit("child", parents=tuple(reversed(story.right.get("parents", "child"))))
    assert story.run() == "nothing"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, (("p", "q", "r"), ("p", "q", "r"))),
        ({"merge": False}, (("p", "q"), ("p", "r"))),
        ({"merge": False, "conflict": "left_wins"}, (("p", "q"), ("p", "q"))),
        ({"merge": False, "conflict": "right_wins"}, (("p", "r"), ("p", "r"))),
    ],
    ids=["merged", "a conflict", "left wins", "right wins"],
)
def test_L05_both_sides_add_a_link(
    said: Mapping[str, Any], expected: tuple[Any, Any], swapped: bool, tell: Callable[..., Story]
) -> None:
    field = {**SELF[2], **said}
    story = family(tell, fields=[*SELF[:2], field])
    story.base("p", "q", "r")
    story.left.put("child", parents=ids(story.left, "p"))
    story.run()
    story.left.edit("child", parents=ids(story.left, "p", "q"))
    story.right.edit("child", parents=ids(story.right, "p", "r"))
    outcome = story.run()
    assert (links(story.left, "child"), links(story.right, "child")) == expected
    assert ("conflict" in outcome) is (said == {"merge": False})


def test_L05_one_side_removes_what_the_other_keeps(tell: Callable[..., Story]) -> None:
    story = family(tell)
    story.base("p", "q", "r")
    story.left.put("child", parents=ids(story.left, "p", "q"))
    story.run()
    story.left.edit("child", parents=ids(story.left, "q"))
    story.right.edit("child", parents=ids(story.right, "p", "q", "r"))
    story.run()
    assert links(story.left, "child") == links(story.right, "child") == ("q", "r")


def test_L05_a_link_that_cannot_flow_is_neither_lost_nor_in_the_way(tell: Callable[..., Story]) -> None:
    """A record that a filter leaves out has no partner: links to it stay where they are."""
    story = family(tell, left={"filter": {"field": "x", "not_equals": "secret"}})
    story.base("p", "q", x="a")
    story.left.put("hidden", x="secret")
    story.left.put("child", x="a", parents=ids(story.left, "p", "hidden"))
    assert story.run() == "R+child issue(no_linked_record child)"
    assert links(story.right, "child") == ("p",)
    story.right.edit("child", parents=ids(story.right, "q"))
    story.run()
    assert links(story.left, "child") == ("hidden", "q")
    assert links(story.right, "child") == ("q",)
    story.left.edit("hidden", x="public")
    story.run()
    assert links(story.right, "child") == ("hidden", "q")
    assert not story.issues()


def test_L05_links_at_first_contact(tell: Callable[..., Story]) -> None:
    """Records that meet in the first run are known to those that link to them."""
    story = family(tell)
    for side in story.tellers:
        for key in ("p", "q", "child"):
            side.put(key)
    story.left.edit("child", parents=ids(story.left, "p"))
    story.right.edit("child", parents=ids(story.right, "p", "q"))
    story.run()
    assert links(story.left, "child") == links(story.right, "child") == ("p", "q")


def test_L05_one_way_the_destinations_own_links_are_drift(tell: Callable[..., Story]) -> None:
    story = family(tell, direction="left_to_right", drift="overwrite")
    story.base("p", "q")
    story.left.put("child", parents=ids(story.left, "p"))
    story.run()
    story.right.edit("child", parents=ids(story.right, "q"))
    story.run()
    assert links(story.right, "child") == ("p",)
    story.define(drift="ignore")
    story.right.edit("child", parents=ids(story.right, "p", "q"))
    assert story.run() == "nothing"
    story.define(drift="flag")
    assert story.run() == "issue(drift child)"


def test_L05_links_as_texts_without_a_partner_sync_stay_as_they_are(tell: Callable[..., Story]) -> None:
    """`resolve: false`: names flow as names."""
    story = family(tell, linked_records={"resolve": False})
    story.base()
    story.left.put("child", parents=("Ada", "Grace"))
    assert story.run() == "R+child"
    assert story.right.get("parents", "child") == ("Ada", "Grace")


def test_L07_a_parent_is_deleted_and_its_child_stays(tell: Callable[..., Story]) -> None:
    story = family(tell, **PROPAGATE)
    story.base("p", "q")
    story.left.put("child", parents=ids(story.left, "p", "q"))
    story.run()
    story.left.edit("child", parents=ids(story.left, "q"))
    story.left.remove("p")
    story.run()
    assert links(story.right, "child") == ("q",)
    assert story.right.keys == ["child", "q"]


def test_L07_a_deleted_parent_leaves_its_id_behind(tell: Callable[..., Story]) -> None:
    """A system without foreign keys: the id of what is gone is no reason to lose anything else."""
    story = family(tell, **PROPAGATE)
    story.base("p", "q")
    story.left.put("child", parents=ids(story.left, "p", "q"))
    story.run()
    story.right.edit("child", parents=ids(story.right, "q"))
    story.right.remove("p")
    story.run()
    assert story.left.keys == ["child", "q"]
    assert links(story.left, "child") == ("q",)


def test_L07_the_system_deletes_the_children_and_we_do_not_delete_them_again(
    tell: Callable[..., Story],
) -> None:
    firms, people = _house_that_cascades(tell, 2)
    firms.left.remove("acme")
    assert firms.run() == "R-acme"
    assert people.right.keys == ["p2"]
    written = len(people.right.system.log)
    # The left side's own system has no foreign key: its children stand there, and nobody edited them.
    people.define(deletes="propagate", guards="off")
    people.run()
    assert people.left.keys == ["p2"]
    assert len(people.right.system.log) == written


def test_L07_both_systems_cascade(tell: Callable[..., Story]) -> None:
    firms, people = _house_that_cascades(tell, 2)
    firms.left.remove("acme")
    people.left.remove("p0", "p1")
    firms.run()
    people.run()
    assert people.left.keys == people.right.keys == ["p2"]
    assert not [
        entry for teller in people.tellers for entry in teller.system.log if entry.operation == "delete"
    ]
    assert [row.state for row in people.links()].count("tombstone") == 2


def test_L08_the_plan_shows_what_goes_along_and_the_guard_counts_it(tell: Callable[..., Story]) -> None:
    firms, people = _house_that_cascades(tell, 40)
    firms.define(guards={})
    firms.left.remove("acme")
    planned = firms.preview()
    assert [item.get("takes_along") for item in planned.changes or ()] == [{"people": 40}]
    assert firms.run() == "held(R-acme)"
    assert "40 of 'people'" in str(firms.held()[0].message)
    assert len(people.right.keys) == 41
    firms.approve()
    assert firms.run() == "R-acme"
    assert people.right.keys == ["p40"]


def _house_that_cascades(tell: Callable[..., Story], children: int) -> tuple[Story, Story]:
    """Firms and their people; on the right, who deletes a firm deletes its people."""
    people, firms = _with_firms(tell)
    firms.define(**PROPAGATE)
    firms.base("acme", "zenith")
    firms.right.system.store.cascades = (Cascade("people", "firm"),)
    for number in range(children):
        people.left.put(f"p{number}", firm=firms.left.id("acme"))
    people.left.put(f"p{children}", firm=firms.left.id("zenith"))
    people.run()
    assert people.summary.status == "success"
    return firms, people


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"links_to": "people", "type": "text"}, "`type: links`"),
        ({"links_to": "people", "transform": {"map": {"a": "b"}}}, "no transform"),
    ],
)
def test_L01_what_cannot_be_a_link_is_refused(
    field: Mapping[str, Value], said: str, tell: Callable[..., Story]
) -> None:
    story = tell(fields=FAMILY)
    with pytest.raises(MappingMistake, match=said):
        story.check(fields=[*SELF[:2], {"left": "parents", "right": "parents", **field}])


def test_L01_records_are_not_matched_by_what_they_link_to(tell: Callable[..., Story]) -> None:
    story = tell(fields=FAMILY)
    with pytest.raises(MappingMistake, match="match by another field"):
        story.check(fields=SELF, match=["parents"])
