"""Which fields of two streams probably mean the same, from their names, types and a few records of each.

A person looks at it before anything is kept: it is there to save typing, not to decide.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sync.values import FieldType

# Names that people use for the same thing, as `_plain` leaves them.
_SAME = (
    {"email", "mail", "emailaddress", "mailaddress"},
    {"name", "fullname", "customername", "contactname", "displayname", "customer", "contact", "client"},
    {"firstname", "givenname", "forename"},
    {"lastname", "surname", "familyname"},
    {"phone", "phonenumber", "telephone", "tel", "mobile"},
    {"company", "organisation", "organization", "companyname", "account", "firm"},
    {"zip", "zipcode", "postcode", "postalcode"},
    {"street", "address", "streetaddress", "addressline1"},
    {"city", "town"},
    {"country", "countrycode"},
    {"amount", "total", "sum", "value"},
    {"quantity", "qty", "count"},
    {"createdat", "created", "createdtime", "since", "createdon"},
    {"updatedat", "updated", "modified", "modifiedat", "lastmodified", "updatedon", "lastmodifiedtime"},
    {"notes", "note", "comment", "comments", "remarks"},
    {"stage", "status", "state"},
    {"sku", "articlenumber", "itemnumber", "productcode"},
)
_GROUP = {name: number for number, names in enumerate(_SAME) for name in names}
# What is a good match field, the best first.
_TELLING = ("email", "sku", "code", "number", "reference", "id", "key", "phone", "name")
_TIMES = {FieldType.DATE, FieldType.DATETIME}
ENOUGH = 3  # different values that both sides hold, before values alone speak for a pair
SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Column:
    """One field with the values of a few records, as texts."""

    name: str
    type: FieldType
    writable: bool = True
    generated: bool = False
    is_key: bool = False
    values: Sequence[str | None] = ()

    @property
    def filled(self) -> list[str]:
        return [value for value in self.values if value not in (None, "")]

    @property
    def is_telling(self) -> bool:
        """Whether every record of the sample holds another value."""
        seen = [_loosely(value) for value in self.filled]
        return bool(seen) and len(seen) == len(self.values) == len(set(seen))


@dataclass(frozen=True, slots=True)
class Proposal:
    """Pairs of (left, right) with why, and the left names of those that tie records."""

    pairs: Mapping[str, tuple[str, str]]  # left name -> (right name, why)
    match: tuple[str, ...]


def propose(left: Sequence[Column], right: Sequence[Column]) -> Proposal:
    """Pair fields by equal names, then by names of one meaning, then by the values that both sides hold."""
    pairs: dict[str, tuple[str, str]] = {}
    free = {column.name: column for column in right if not column.generated}
    mine = [column for column in left if not column.generated]
    for same, why in (
        (_is_same_name, "same name"),
        (_is_same_meaning, "same meaning"),
        (_holds_same, "same values"),
    ):
        for column in mine:
            if column.name in pairs:
                continue
            found = [other for other in free.values() if _fits(column, other) and same(column, other)]
            if len(found) == 1:
                pairs[column.name] = (found[0].name, why)
                del free[found[0].name]
    return Proposal(pairs, _match(left, right, pairs))


def _match(
    left: Sequence[Column], right: Sequence[Column], pairs: Mapping[str, tuple[str, str]]
) -> tuple[str, ...]:
    theirs = {column.name: column for column in right}
    best: tuple[int, str] | None = None
    for column in left:
        if column.name not in pairs or column.type is FieldType.BOOLEAN:
            continue
        other = theirs[pairs[column.name][0]]
        if not (_may_tie(column) and _may_tie(other)):
            continue
        words = _plain(column.name), _plain(other.name)
        rank = next(
            (number for number, word in enumerate(_TELLING) if any(word in name for name in words)),
            len(_TELLING),
        )
        if rank < len(_TELLING) and (best is None or rank < best[0]):
            best = rank, column.name
    return (best[1],) if best is not None else ()


def _may_tie(column: Column) -> bool:
    return column.is_key or column.is_telling or not column.filled


def _fits(one: Column, other: Column) -> bool:
    """Whether values of one can be values of the other; a text may stand for anything."""
    kinds = {one.type, other.type}
    if len(kinds) == 1 or FieldType.TEXT in kinds:
        return True
    return kinds <= {FieldType.INTEGER, FieldType.DECIMAL} or kinds <= _TIMES


def _is_same_name(one: Column, other: Column) -> bool:
    return _plain(one.name) == _plain(other.name)


def _is_same_meaning(one: Column, other: Column) -> bool:
    groups = _GROUP.get(_plain(one.name)), _GROUP.get(_plain(other.name))
    return groups[0] is not None and groups[0] == groups[1]


def _holds_same(one: Column, other: Column) -> bool:
    mine, theirs = ({_loosely(value) for value in column.filled} for column in (one, other))
    both = mine & theirs
    return len(both) >= ENOUGH and len(both) >= SHARE * min(len(mine), len(theirs))


def _plain(name: str) -> str:
    """`E-Mail address` is `emailaddress`: letters and digits, without accents."""
    bare = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in bare if letter.isalnum())


def _loosely(value: str) -> str:
    return " ".join(value.casefold().split())
