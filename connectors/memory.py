"""Records in this process's memory: the reference connector, for tests, benchmarks and as an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

from pydantic import Field as Option

from connectors.base import (
    Access,
    Can,
    Connector,
    Cursor,
    Looked,
    Options,
    Outcome,
    Page,
    StreamOptions,
    Write,
    moved,
)
from connectors.errors import OptionsError, StreamGone
from sync.records import Cascade, Field, Record, Stream
from sync.values import Value, display, short


class MemoryStream:
    """One collection. Tests edit it directly, as a person would edit the real system.

    Rows are replaced, never changed in place, so whoever holds an older one still holds what it read.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        key: Sequence[str] = (),
        *,
        writable: bool = True,
        container: str = "",
        problems: Sequence[str] = (),
        cascades: Sequence[Cascade] = (),
    ) -> None:
        self.fields = tuple(fields)
        self.key = tuple(key)
        self.writable = writable
        self.container = container
        self.problems = tuple(problems)
        self.cascades = tuple(cascades)
        self.rows: dict[str, dict[str, Value]] = {}
        self.versions: dict[str, str] = {}
        self.moves = 0  # one more for each edit: the version of what it touched, and the cursor
        self._taken: dict[str, dict[Value, str]] = {f.name: {} for f in self.fields if f.unique}
        self._last_id = 0

    def put(self, fields: Mapping[str, Value], id: str | None = None) -> str:
        """Add a record, or replace the one under this id. Returns its id."""
        if id is None:
            id = self.next_id()
        self._release(id)
        self._store(id, dict(fields))
        return id

    def edit(self, id: str, **fields: Value) -> None:
        """Change some fields of a record. Raises KeyError."""
        self.change(id, fields)

    def change(self, id: str, fields: Mapping[str, Value]) -> None:
        """As `edit`, for names that are no Python words. Raises KeyError."""
        row = {**self.rows[id], **fields}
        self._release(id)
        self._store(id, row)

    def remove(self, id: str) -> None:
        """Delete a record. Raises KeyError."""
        self._release(id)
        del self.rows[id]
        del self.versions[id]
        self.moves += 1

    def rekey(self, old: str, new: str) -> None:
        """Type over a record's id, as a person can where the id is a visible cell. Raises KeyError."""
        row = self.rows[old]
        self.remove(old)
        self.put(row, new)

    def next_id(self) -> str:
        """The id that the next record gets: never one that was in use before."""
        self._last_id += 1
        while f"rec{self._last_id}" in self.rows:
            self._last_id += 1
        return f"rec{self._last_id}"

    def holder(self, field_name: str, value: Value) -> str | None:
        """The id of the record that holds this value in a unique field."""
        return self._taken[field_name].get(value)

    def record(self, id: str) -> Record | None:
        """The record under this id, as a read returns it."""
        row = self.rows.get(id)
        return None if row is None else Record(id, row, self.versions[id])

    def _store(self, id: str, row: dict[str, Value]) -> None:
        self.moves += 1
        self.rows[id] = row
        self.versions[id] = str(self.moves)
        for name, taken in self._taken.items():
            if row.get(name) is not None:
                taken[row[name]] = id

    def _release(self, id: str) -> None:
        row = self.rows.get(id, {})
        for name, taken in self._taken.items():
            if taken.get(row.get(name)) == id:
                del taken[row[name]]


class MemoryOptions(Options):
    space: str = Option(default="default", title="Space", description="A name of your choice.")


class Memory(Connector):
    """Records kept in `access.memory[space][stream]`. Cursor: the number of the last edit.

    An incremental read does not report deletes.
    """

    name: ClassVar[str] = "memory"
    title: ClassVar[str] = "Memory"
    can: ClassVar[Can] = Can.READ | Can.WRITE | Can.DELETE | Can.INCREMENTAL | Can.LOOKUP | Can.CREATE_STREAM
    snapshot: ClassVar[bool] = True
    batch_size: ClassVar[int] = 1_000
    page_size: ClassVar[int] = 10_000
    Options: ClassVar[type[Options]] = MemoryOptions

    def __init__(self, options: Any, access: Access) -> None:
        super().__init__(options, access)
        self.space: dict[str, MemoryStream] = access.memory.setdefault(options.space, {})

    def check(self) -> str:
        return f"The space '{self.options.space}' holds {len(self.space)} streams."

    def discover(self) -> list[Stream]:
        return [_described(name, store) for name, store in sorted(self.space.items())]

    def stream(self, name: str, options: StreamOptions) -> Stream:
        return _described(name, self._store(name))

    def read(self, stream: Stream, options: StreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        store = self._store(stream.name)
        # One snapshot: rows are never changed in place, so these lists stay what they are now.
        cursor = str(store.moves)
        ids = list(store.rows)
        if since is not None:
            after = _position(since)
            ids = [id for id in ids if int(store.versions[id]) > after]
        versions = [store.versions[id] for id in ids]
        rows = [store.rows[id] for id in ids]
        total = len(ids)
        for start in range(0, max(total, 1), self.page_size):
            end = start + self.page_size
            is_last = end >= total
            yield _page(
                ids[start:end],
                versions[start:end],
                rows[start:end],
                is_last=is_last,
                total=total,
                cursor=cursor if is_last else None,
            )

    def write(self, stream: Stream, options: StreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        store = self._store(stream.name)
        return [self._carry_out(store, write) for write in batch]

    def lookup(self, stream: Stream, options: StreamOptions, ids: Sequence[str]) -> list[Looked]:
        store = self._store(stream.name)
        found = [(id, store.record(id)) for id in ids]
        return [Looked(id, "there" if record else "gone", record) for id, record in found]

    def find(
        self, stream: Stream, options: StreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        store = self._store(stream.name)
        if field not in {item.name for item in store.fields}:
            raise OptionsError(f"'{stream.name}' has no field '{field}'.", stream=stream.name)
        return [
            Record(id, row, store.versions[id]) for id, row in store.rows.items() if row.get(field) in values
        ]

    def create_stream(self, stream: Stream, options: StreamOptions) -> Stream:
        if stream.name not in self.space:
            self.space[stream.name] = MemoryStream(stream.fields, stream.key)
        return self.stream(stream.name, options)

    def _store(self, name: str) -> MemoryStream:
        if name in self.space:
            return self.space[name]
        near = get_close_matches(name, self.space, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise StreamGone(f"The space '{self.options.space}' has no stream '{name}'.{hint}", stream=name)

    def _carry_out(self, store: MemoryStream, write: Write) -> Outcome:
        if not store.writable:
            return _rejected(write, "read_only", "The stream is read-only.")
        match write.operation:
            case "create":
                return self._create(store, write)
            case "update":
                return self._update(store, write)
            case "delete":
                return self._delete(store, write)

    def _create(self, store: MemoryStream, write: Write) -> Outcome:
        if write.id is not None and (there := store.record(write.id)):
            if all(there.get(name) == value for name, value in write.fields.items()):
                return Outcome(write.marker, "done", there.id, there)  # sent twice
            return _rejected(write, "exists", f"There is a record '{write.id}' already.")
        id = write.id or store.next_id()
        empty = {field.name: None for field in store.fields}
        if refusal := _refusal(store, write, empty, id):
            return refusal
        store.put({**empty, **write.fields}, id)
        return Outcome(write.marker, "done", id, store.record(id))

    def _update(self, store: MemoryStream, write: Write) -> Outcome:
        id = write.id or ""
        there = store.record(id)
        if there is None:
            return Outcome(write.marker, "missing", id, message=f"There is no record '{id}'.")
        if why := moved(write, there, blank_is_null=self.blank_is_null):
            return Outcome(write.marker, "stale", id, there, message=f"Not written: {why}.")
        if refusal := _refusal(store, write, there.fields, id):
            return refusal
        store.change(id, write.fields)
        return Outcome(write.marker, "done", id, store.record(id))

    def _delete(self, store: MemoryStream, write: Write) -> Outcome:
        id = write.id or ""
        there = store.record(id)
        if there is None:
            return Outcome(write.marker, "done", id)
        if why := moved(write, there, blank_is_null=self.blank_is_null):
            return Outcome(write.marker, "stale", id, there, message=f"Not deleted: {why}.")
        store.remove(id)
        self._cascade(store, id)
        return Outcome(write.marker, "done", id)

    def _cascade(self, store: MemoryStream, id: str) -> None:
        """What goes along with a record that is gone."""
        for cascade in store.cascades:
            children = self._store(cascade.stream)
            for child, row in list(children.rows.items()):
                links = row.get(cascade.field)
                if id in (links if isinstance(links, tuple) else (links,)):
                    children.remove(child)
                    self._cascade(children, child)


def _described(name: str, store: MemoryStream) -> Stream:
    return Stream(
        name,
        store.fields,
        key=store.key,
        writable=store.writable,
        read_only_because="" if store.writable else "It was made read-only.",
        container=store.container,
        problems=store.problems,
        cascades=store.cascades,
    )


def _page(
    ids: list[str],
    versions: list[str],
    rows: list[dict[str, Value]],
    *,
    is_last: bool,
    total: int,
    cursor: Cursor | None,
) -> Page:
    return Page(
        ids=ids,
        versions=versions,
        record=lambda index: Record(ids[index], rows[index], versions[index]),
        is_last=is_last,
        total=total,
        cursor=cursor,
    )


def _position(cursor: Cursor) -> int:
    try:
        return int(cursor)
    except ValueError:
        raise OptionsError(
            f"{short(cursor)} is not a cursor of the memory connector. Run a full sync."
        ) from None


def _refusal(store: MemoryStream, write: Write, before: Mapping[str, Value], id: str) -> Outcome | None:
    """What the stream's own field contract has against this write."""
    by_name = {field.name: field for field in store.fields}
    for name, value in write.fields.items():
        field = by_name.get(name)
        if field is None:
            return _rejected(write, "unknown_field", f"There is no field '{name}'.", name)
        if problem := _misfit(store, field, value, id):
            return _rejected(write, *problem, name)
    after = {**before, **write.fields}
    for field in store.fields:
        if not field.nullable and not field.generated and after.get(field.name) is None:
            message = f"'{field.name}' must not be empty."
            return _rejected(write, "required", message, field.name)
    return None


def _misfit(store: MemoryStream, field: Field, value: Value, id: str) -> tuple[str, str] | None:
    if not field.writable:
        return "read_only", f"'{field.name}' is read-only."
    if value is None:
        return None
    if field.options is not None and value not in field.options:
        return "option", f"{short(value)} is not one of the options of '{field.name}'."
    if field.max_length is not None and len(display(value)) > field.max_length:
        return "too_long", f"'{field.name}' holds at most {field.max_length} characters."
    if field.unique and store.holder(field.name, value) not in (None, id):
        other = store.holder(field.name, value)
        return "unique", f"{short(value)} stands in '{field.name}' of record '{other}' already."
    return None


def _rejected(write: Write, code: str, message: str, field: str = "") -> Outcome:
    return Outcome(write.marker, "rejected", write.id, code=code, message=message, field=field)
