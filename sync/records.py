"""Records and streams as the engine sees them, whatever system they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from sync.values import MISSING, Fields, FieldType, Value

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


def other(side: Side) -> Side:
    return "right" if side == "left" else "left"


@dataclass(frozen=True, slots=True)
class Record:
    """One item of a stream, as one side returned it.

    `id` is the system's own id as text. `fields` is keyed by that side's field names; a field that was
    not returned is absent from it. `version` is opaque: equal means unchanged (an etag, a hash of the
    raw row); None means that the system gives none, and the values are compared each time.
    """

    id: str
    fields: Fields
    version: str | None = None
    deleted: bool = False  # listed by the system, but archived or in its trash

    def get(self, name: str) -> Value:
        return self.fields.get(name, MISSING)


@dataclass(frozen=True, slots=True)
class Field:
    """What a system says of one field: the contract that a value must meet before it is sent."""

    name: str
    type: FieldType
    writable: bool = True
    generated: bool = False  # the system fills it (auto increment, created time, formula)
    nullable: bool = True
    max_length: int | None = None  # characters of a text
    scale: int | None = None  # decimal places that are kept
    digits: int | None = None  # of a decimal, those before and behind the point together
    max_integer: int | None = None  # the largest whole number that is kept exactly
    options: tuple[str, ...] | None = None  # the only values that are accepted
    unique: bool = False
    id: str | None = None  # the system's own id of the field: it survives a rename
    links_to: str = ""  # the stream whose records' ids stand in it, where the system says so
    single: bool = False  # it links to one record at most
    max_bytes: int | None = None  # of one attached file


@dataclass(frozen=True, slots=True)
class Cascade:
    """Deleting a record makes the system delete those of `stream` whose `field` links to it."""

    stream: str
    field: str


@dataclass(frozen=True)
class Stream:
    """A named collection in a system: a table, a sheet tab, a class, a file."""

    name: str
    fields: tuple[Field, ...]
    key: tuple[str, ...] = ()  # the fields that make up the record's id, where they are visible
    title: str = ""
    writable: bool = True
    read_only_because: str = ""
    container: str = ""  # a fingerprint of the place itself: another one means another table, not edits
    problems: tuple[str, ...] = ()  # what was set aside while looking: duplicate headers, odd types
    cascades: tuple[Cascade, ...] = ()  # what the system deletes along with a record

    def field(self, name: str) -> Field | None:
        return self.by_name.get(name)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        return {item.name: item for item in self.fields}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one record (or one field of it) was set aside. `code` groups; `message` is a sentence."""

    code: str
    message: str
    side: Side | None = None
    key: str = ""
    field_name: str = ""
    operation: str = ""
    extra: Mapping[str, Value] = field(default_factory=dict)
