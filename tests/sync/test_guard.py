"""The thresholds of the guards, as they are written down: held exactly where the sentence says so."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync import guard
from sync.guard import Facts, PlannedChange
from sync.policy import Guards
from tests.sync.plans import change

sizes = st.integers(1, 300)


def facts(known: int, **more: Any) -> Facts:
    values: dict[str, Any] = {
        "known": known,
        "was_populated": {"left": True, "right": True},
        "counts": {"left": known, "right": known},
        "first_contact": False,
        "first_load_done": True,
        "migration": False,
        **more,
    }
    return Facts(**values)


def held(changes: list[PlannedChange], known: int, **more: Any) -> set[str | None]:
    return {found.guard for found in guard.hold(changes, facts(known, **more), Guards(), hold_first_run=True)}


@given(known=sizes, share=st.fractions(0, 1))
@example(known=4, share=Fraction(1, 4))
@example(known=4, share=Fraction(3, 4))
@example(known=100, share=Fraction(10, 100))
@example(known=100, share=Fraction(11, 100))
def test_a_mass_of_deletes_is_held(known: int, share: Fraction) -> None:
    count = int(known * share)
    deletes = [change("delete", number, before={"k": "a"}) for number in range(count)]
    is_mass = (count >= 3 and count * 2 >= known) or (count > 10 and count * 10 > known)
    assert held(deletes, known) == ({guard.MASS_DELETE} if is_mass else {None} if count else set())


@settings(max_examples=20)  # each plans hundreds of changes
@given(known=st.integers(0, 3000), count=st.integers(0, 2000))
@example(known=0, count=1000)
@example(known=0, count=1001)
@example(known=3000, count=1501)
def test_a_mass_of_creates_is_held_after_the_first_load(known: int, count: int) -> None:
    creates = [change("create", number, after={"k": "a"}) for number in range(count)]
    is_mass = count > max(1000, known / 2)
    assert held(creates, known) == ({guard.MASS_CREATE} if is_mass else {None} if count else set())
    assert held(creates, known, first_load_done=False) <= {None}


@given(known=sizes, count=st.integers(0, 300))
@example(known=21, count=19)
@example(known=22, count=20)
@example(known=23, count=20)
def test_the_same_field_of_almost_every_record_is_held(known: int, count: int) -> None:
    count = min(count, known)
    updates = [change("update", number, before={"x": "a"}, after={"x": "b"}) for number in range(count)]
    is_all = count >= 20 and count * 10 >= known * 9
    assert held(updates, known) == ({guard.ALL_CHANGED} if is_all else {None} if count else set())


@given(known=sizes, count=st.integers(1, 5))
def test_every_delete_is_held_where_a_side_that_had_records_is_empty(known: int, count: int) -> None:
    deletes = [change("delete", number, before={"k": "a"}) for number in range(count)]
    assert held(deletes, known, counts={"left": 0, "right": known}) == {guard.EMPTY_SIDE}


@given(
    count=st.integers(0, 30),
    approved=st.sets(st.integers(0, 29)),
    chance=st.randoms(use_true_random=False),
)
def test_an_approval_lets_through_just_what_was_approved(count: int, approved: set[int], chance: Any) -> None:
    deletes = [change("delete", number, before={"k": "a"}) for number in range(count)]
    chance.shuffle(deletes)
    yes = {
        item.fingerprint: frozenset({guard.MIGRATION}) for item in deletes if int(item.key[1:]) in approved
    }
    marked = guard.hold(deletes, facts(10_000, migration=True, approved=yes), Guards(), hold_first_run=True)
    # Nothing is lost or put in another order, and the approved ones are free of that guard.
    assert [replace(item, guard=None) for item in marked] == deletes
    assert {item.key for item in marked if item.guard != guard.MIGRATION} == {
        item.key for item in deletes if item.fingerprint in yes
    }
