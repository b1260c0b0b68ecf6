"""Rows that a visible key column names: what a header says, and how writes find their rows.

Shared by the connectors whose systems give no ids (CSV files, sheets). The `key` option names a column of the
user's own; without it the column is ours, called `sync_id`, and is appended and filled when it is needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict

from connectors.base import (
    AnyStreamOptions,
    Outcome,
    StreamOptions,
    Write,
    holds,
    is_unkeyed,
    moved,
    unkeyed,
    unkeyed_row,
)
from connectors.errors import OptionsError
from sync.records import Field, Record
from sync.values import MISSING, Fields, FieldType, display

SYNC_ID = "sync_id"  # the column that we append where no column of the user's names the records


class Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    include: bool = True  # False: the first line is a record, and columns are called A, B, C ...


class KeyedStreamOptions(StreamOptions):
    header: Header = Header()


class Heading:
    """The columns of a table under a stream's options. Raises OptionsError for a wrong key.

    `names` are the columns as they stand, an empty text where there is no name; `has_header` says whether
    they were read from a header.
    """

    def __init__(
        self, title: str, names: Sequence[str], options: AnyStreamOptions, *, has_header: bool
    ) -> None:
        self.title = title
        self.names = names
        self.is_chosen = options.key is None
        self.key = options.key or SYNC_ID
        self.columns = {name: index for index, name in enumerate(names) if name and names.count(name) == 1}
        self.key_index = self.columns.get(self.key)
        if self.key_index is None:
            self._explain_missing_key(has_header)

    def _explain_missing_key(self, has_header: bool) -> None:
        """Fine only where the column is ours to append."""
        if self.key in self.names:
            raise OptionsError(
                f"'{self.title}': the header '{self.key}' stands in more than one column, so it cannot name"
                " records. Rename all but one.",
                code="duplicate_header",
                stream=self.title,
                field=self.key,
            )
        if not self.is_chosen:
            near = get_close_matches(self.key, self.columns, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise OptionsError(
                f"'{self.title}' has no column '{self.key}' for `key`.{hint} Its columns are:"
                f" {', '.join(self.columns)}.",
                code="unknown_field",
                stream=self.title,
                field=self.key,
            )
        if not has_header:
            raise OptionsError(
                f"'{self.title}' has no header, so no column `{SYNC_ID}` can be found in it again. Name a"
                " column with `key`, like `key: A`.",
                stream=self.title,
            )

    @property
    def problems(self) -> tuple[str, ...]:
        """Columns that are left out, with the reason."""
        found = []
        seen: dict[str, list[int]] = {}
        for number, name in enumerate(self.names, 1):
            seen.setdefault(name, []).append(number)
        for name, numbers in seen.items():
            columns = ", ".join(map(str, numbers))
            if not name:
                found.append(
                    f"'{self.title}', column {columns}: the header is empty, so the column is left out."
                    " Give it a name, or remove it."
                )
            elif len(numbers) > 1:
                found.append(
                    f"'{self.title}', columns {columns}: the header '{name}' stands there more than once, so"
                    " these columns are left out. Rename all but one."
                )
        return tuple(found)

    def fields(self) -> list[Field]:
        """The columns as fields of a stream."""
        found = [Field(name, FieldType.TEXT) for name in self.columns if name != self.key]
        if self.is_chosen:
            # Always listed, so that the stream looks the same before and after the first write.
            found.append(Field(SYNC_ID, FieldType.TEXT, generated=True, unique=True))
        else:
            found.insert(0, Field(self.key, FieldType.TEXT, nullable=False, unique=True))
        return found

    def is_ours(self, index: int) -> bool:
        """Whether this column is our own key column."""
        return self.is_chosen and index == self.key_index

    def id(self, index: int, own: str) -> str:
        """The id of the record in row `index`, whose key cell holds `own`; a provisional one without."""
        return own.strip() or unkeyed(index + 1)  # as a spreadsheet counts rows


class KeyedEdit(ABC):
    """Writes carried out on rows in memory. Rows are named by their index, from 0 at the top."""

    def __init__(self, heading: Heading, rows: Iterable[tuple[int, str]]) -> None:
        """`rows` are the records' indexes and ids."""
        self.heading = heading
        self._places: dict[str, list[int]] = {}
        self._unkeyed: set[int] = set()
        self._unkeyed_by_version: dict[str | None, list[int]] | None = None
        for index, id in rows:
            if is_unkeyed(id):
                self._unkeyed.add(index)
            else:
                self._places.setdefault(id, []).append(index)

    # -- what a system brings --

    @abstractmethod
    def record(self, id: str, index: int) -> Record:
        """The record in this row as it would be read now."""

    @abstractmethod
    def refusal(self, write: Write) -> Outcome | None:
        """Why a value of this write cannot be written at all."""

    def refusal_at(self, write: Write, index: int) -> Outcome | None:
        """Why this write cannot be carried out on this very row."""
        return None

    @abstractmethod
    def append(self, id: str, fields: Fields) -> int:
        """A new row; its index."""

    @abstractmethod
    def set(self, index: int, fields: Fields) -> None:
        """Set cells, the key's own among them: its column is appended where it is not there yet."""

    @abstractmethod
    def remove(self, index: int) -> None:
        """Take a row out. The others keep their indexes."""

    # -- one write --

    def carry_out(self, write: Write) -> Outcome:
        refusal = self.refusal(write)
        if refusal is not None:
            return refusal
        key = self.heading.key
        if is_unkeyed(write.id or "") and not (self.heading.is_chosen and write.operation == "update"):
            return rejected(write, "no_key", f"The record has no '{key}', so it cannot be named.")
        if write.operation == "create":
            return self._create(write)
        if is_unkeyed(write.id or ""):
            return self._fill(write)
        return self._update(write) if write.operation == "update" else self._delete(write)

    def _create(self, write: Write) -> Outcome:
        key = self.heading.key
        id = self._new_id(write) or write.id
        if not id:
            return rejected(write, "no_key", f"A new record needs a value in '{key}'.", key)
        if write.id is not None and id != write.id:
            return rejected(write, "no_key", f"The id '{write.id}' and the value of '{key}' differ.", key)
        if id in self._places:
            there = self.record(id, self._places[id][0])
            if all(holds(there.get(name), value, True) for name, value in write.fields.items()):
                return Outcome(write.marker, "done", id, there)  # sent twice
            return self._exists(write, id)
        index = self.append(id, write.fields)
        self._places[id] = [index]
        return Outcome(write.marker, "done", id, self.record(id, index))

    def _update(self, write: Write) -> Outcome:
        id, title, key = write.id or "", self.heading.title, self.heading.key
        index = self._place(write)
        if index is None:
            return Outcome(write.marker, "missing", id, message=f"'{title}' has no record '{id}'.")
        there = self.record(id, index)
        if why := moved(write, there, blank_is_null=True):
            return Outcome(write.marker, "stale", id, there, message=f"Not written: {why}.")
        if (refusal := self.refusal_at(write, index)) is not None:
            return refusal
        if key in write.fields:
            new_id = self._new_id(write)
            if not new_id:
                return rejected(write, "no_key", f"'{key}' names the record and must not be empty.", key)
            if new_id != id and new_id in self._places:
                return self._exists(write, new_id)
            if new_id != id:
                self._places[id].remove(index)
                if not self._places[id]:
                    del self._places[id]
                self._places[new_id] = [index]
                id = new_id
        self.set(index, write.fields)
        return Outcome(write.marker, "done", id, self.record(id, index))

    def _fill(self, write: Write) -> Outcome:
        """Give an id, chosen by the caller, to a record that has none."""
        id, key = self._new_id(write), self.heading.key
        if not id:
            message = f"A record without an id can only be written with a value for '{key}'."
            return rejected(write, "no_key", message, key)
        if id in self._places:
            there = self.record(id, self._places[id][0])
            same = write.expected_version is not None and not moved(write, there, blank_is_null=True)
            return Outcome(write.marker, "done", id, there) if same else self._exists(write, id)
        index = self._unkeyed_place(write)
        if index is None:
            message = "Not written: the row was changed or removed since it was read."
            return Outcome(write.marker, "stale", write.id, message=message)
        if (refusal := self.refusal_at(write, index)) is not None:
            return refusal
        self.set(index, {**write.fields, key: id})
        self._unkeyed.discard(index)
        self._places[id] = [index]
        return Outcome(write.marker, "done", id, self.record(id, index))

    def _unkeyed_place(self, write: Write) -> int | None:
        """Where a record without an id stands now: in its row, or wherever the same content moved to."""
        index = unkeyed_row(write.id or "") - 1
        if index in self._unkeyed and not moved(write, self.record("", index), blank_is_null=True):
            return index
        if write.expected_version is None:
            return None
        if self._unkeyed_by_version is None:
            self._unkeyed_by_version = {}
            for place in sorted(self._unkeyed):
                self._unkeyed_by_version.setdefault(self.record("", place).version, []).append(place)
        places = self._unkeyed_by_version.get(write.expected_version, [])
        return next((place for place in places if place in self._unkeyed), None)

    def _delete(self, write: Write) -> Outcome:
        id = write.id or ""
        index = self._place(write)
        if index is None:
            return Outcome(write.marker, "done", id)
        if len(self._places[id]) > 1:
            rows = ", ".join(str(place + 1) for place in self._places[id])
            message = f"'{id}' stands in more than one row ({rows}). Remove all but one by hand."
            return rejected(write, "duplicate_id", message)
        there = self.record(id, index)
        if why := moved(write, there, blank_is_null=True):
            return Outcome(write.marker, "stale", id, there, message=f"Not deleted: {why}.")
        if (refusal := self.refusal_at(write, index)) is not None:
            return refusal
        del self._places[id]
        self.remove(index)
        return Outcome(write.marker, "done", id)

    def _place(self, write: Write) -> int | None:
        """The row of a record. Of several with one id, the one that was read, else the first."""
        places = self._places.get(write.id or "", [])
        for index in places if len(places) > 1 else ():
            if self.record("", index).version == write.expected_version:
                return index
        return places[0] if places else None

    def _new_id(self, write: Write) -> str:
        return display(write.fields.get(self.heading.key, MISSING)).strip()

    def _exists(self, write: Write, id: str) -> Outcome:
        row = self._places[id][0] + 1
        message = f"'{self.heading.title}' has a record '{id}' already, in row {row}."
        return rejected(write, "exists", message, self.heading.key)

    def unknown_column(self, write: Write) -> Outcome | None:
        """Why a field of this write has no column."""
        for name in write.fields:
            if name not in self.heading.columns and name != self.heading.key:
                why = "stands twice" if name in self.heading.names else "is not there"
                message = f"'{self.heading.title}': the column '{name}' {why}."
                return rejected(write, "unknown_field", message, name)
        return None


def rejected(write: Write, code: str, message: str, field: str = "") -> Outcome:
    return Outcome(write.marker, "rejected", write.id, code=code, message=message, field=field)
