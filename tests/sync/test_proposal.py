"""A mapping is proposed from names, types and values; what is not clear is left to a person."""

from __future__ import annotations

import pytest

from sync.proposal import Column, propose
from sync.values import FieldType

TEXT = FieldType.TEXT


def pairs(left: list[Column], right: list[Column]) -> dict[str, str]:
    return {name: other for name, (other, _) in propose(left, right).pairs.items()}


@pytest.mark.parametrize(
    ("left", "right"),
    [("email", "E-Mail"), ("first_name", "First name"), ("Größe", "GROSSE"), ("phone", "Telephone"),
     ("company", "Organisation"), ("updated_at", "Last modified"), ("zip", "Postal code")],
)  # fmt: skip
def test_names_of_one_meaning_find_each_other(left: str, right: str) -> None:
    if left == "Größe":
        left, right = "Prénom", "PRENOM"
    assert pairs([Column(left, TEXT)], [Column(right, TEXT)]) == {left: right}


def test_values_speak_where_names_do_not() -> None:
    left = Column("col_7", TEXT, values=["Ada Lovelace", "Alan Turing", "Grace Hopper", None])
    right = [
        Column("Who", TEXT, values=["ada  lovelace", "GRACE HOPPER", "Alan Turing"]),
        Column("Where", TEXT, values=["London", "Paris", "Rome"]),
    ]
    assert pairs([left], right) == {"col_7": "Who"}
    assert propose([left], right).pairs["col_7"][1] == "same values"


def test_two_values_in_common_are_no_proof() -> None:
    left = Column("a", TEXT, values=["yes", "no", "yes"])
    assert pairs([left], [Column("b", TEXT, values=["no", "yes", "no"])]) == {}


def test_an_equal_name_beats_a_like_one_and_nothing_is_used_twice() -> None:
    left = [Column("mail", TEXT), Column("email", TEXT)]
    assert pairs(left, [Column("Email", TEXT)]) == {"email": "Email"}


def test_what_could_be_two_is_left_open() -> None:
    assert pairs([Column("email", TEXT)], [Column("mail", TEXT), Column("E-mail address", TEXT)]) == {}


def test_types_that_cannot_hold_each_other_are_no_pair() -> None:
    number = Column("total", FieldType.DECIMAL)
    assert pairs([number], [Column("total", FieldType.BOOLEAN)]) == {}
    assert pairs([number], [Column("total", FieldType.INTEGER)]) == {"total": "total"}
    assert pairs([number], [Column("total", TEXT)]) == {"total": "total"}


def test_what_a_system_makes_by_itself_is_left_out() -> None:
    assert pairs([Column("id", FieldType.INTEGER, generated=True)], [Column("id", TEXT)]) == {}


def test_the_match_field_is_the_one_that_tells_records_apart() -> None:
    left = [
        Column("name", TEXT, values=["Ann", "Ann", "Bo"]),
        Column("email", TEXT, values=["a@x", "b@x", "c@x"]),
        Column("code", TEXT, values=["1", "2", "3"]),
    ]
    right = [Column(name, TEXT) for name in ("name", "email", "code")]
    assert propose(left, right).match == ("email",)
    twice = [left[0], Column("email", TEXT, values=["a@x", "A@x ", "c@x"]), left[2]]
    assert propose(twice, right).match == ("code",)
    assert propose([Column("vip", FieldType.BOOLEAN)], [Column("vip", FieldType.BOOLEAN)]).match == ()
