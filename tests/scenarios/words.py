"""The words in which scenarios say what happened, and how a story is told with its sides swapped.

    R.x=b           the run wrote b into field x of the record on the right
    R+  R-          the run made the record on the right, deleted it there
    conflict(x)     field x waits for a person; conflict() is one side's edit against the other's delete
    held(R-)        the write in brackets is held by a guard
    issue(lossy)    an open issue with this code
    nothing         none of these

The record is named where it is not the one called k: R.k2.x=b, R+k2, conflict(k2.x).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sync.records import Side, other
from sync.values import Value, display, iso

HERO = "k"  # the record that needs no name
LETTER: Mapping[Side, str] = {"left": "L", "right": "R"}
NOTHING = "nothing"

_SWAPPED = {
    "left": "right",
    "left_wins": "right_wins",
    "left_to_right": "right_to_left",
}
_SWAPPED |= {there: here for here, there in _SWAPPED.items()}


def mirrored(definition: Any) -> Any:
    """The same definition with left and right swapped wherever it names a side."""
    if isinstance(definition, Mapping):
        return {_SWAPPED.get(name, name): mirrored(value) for name, value in definition.items()}
    if isinstance(definition, list | tuple):
        return [mirrored(item) for item in definition]
    return _SWAPPED.get(definition, definition) if isinstance(definition, str) else definition


def as_told(side: str, swapped: bool) -> Side:
    """The side by its name in the story, of a side by its real name (and the other way round)."""
    real: Side = "left" if side == "left" else "right"
    return other(real) if swapped else real


def said(value: Value) -> str:
    match value:
        case None:
            return "null"
        case "":
            return '""'
        case datetime():
            return iso(value)
        case bool() | int() | Decimal() | date() | str():
            return display(value).replace(" ", "_")
        case _:
            return display(value).replace(" ", "")


def name_of(key: str) -> str:
    """The record's part of a word: nothing for the hero."""
    return "" if key == HERO else key.replace(" ", "_")


def update(side: Side, key: str, field: str, value: Value) -> str:
    return ".".join(
        part for part in (LETTER[side], name_of(key), f"{field.replace(' ', '_')}={said(value)}") if part
    )


def create(side: Side, key: str) -> str:
    return f"{LETTER[side]}+{name_of(key)}"


def delete(side: Side, key: str) -> str:
    return f"{LETTER[side]}-{name_of(key)}"


def relink(side: Side, key: str) -> str:
    return f"{LETTER[side]}~{name_of(key)}"


def conflict(key: str, field: str) -> str:
    return f"conflict({'.'.join(part for part in (name_of(key), field) if part)})"


def issue(code: str, key: str) -> str:
    return f"issue({code}{' ' + name_of(key) if name_of(key) else ''})"


def sentence(words: list[str]) -> str:
    return " ".join(sorted(words)) or NOTHING


def ordered(text: str) -> str:
    """The words of a written-down expectation in the order in which `sentence` puts them."""
    return sentence([word for word in _split(text) if word != NOTHING])


def _split(text: str) -> list[str]:
    """Words are parted by blanks, but not inside brackets."""
    words, depth, word = [], 0, ""
    for sign in text:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == " " and depth == 0:
            words.append(word)
            word = ""
        else:
            word += sign
    return [item for item in [*words, word] if item]
