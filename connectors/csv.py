"""CSV files in a folder: one file is one stream, one line of it one record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Option

from connectors import files
from connectors.base import (
    Access,
    AnyStreamOptions,
    Can,
    Connector,
    Cursor,
    IdKind,
    Looked,
    Options,
    Outcome,
    Page,
    StreamOptions,
    Write,
    holds,
    is_unkeyed,
    moved,
    unkeyed,
    unkeyed_row,
)
from connectors.delimited import Cells, Table
from connectors.errors import OptionsError, StreamGone, Unavailable
from sync.records import Field, Record, Stream
from sync.values import MISSING, FieldType, Value, display, short

SYNC_ID = "sync_id"  # the column that we append where no column of the user's names the records
SUFFIXES = (".csv", ".tsv")


class CsvOptions(Options):
    folder: str = Option(title="Folder", description="Where the files lie. Each file is a stream.")
    encoding: Literal["utf-8", "cp1252", "latin-1"] = Option(
        default="utf-8",
        title="Encoding",
        description="Of files without a byte order mark; UTF-8 unless an older program wrote them.",
    )


class Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    include: bool = True  # False: the first line is a record, and columns are called A, B, C ...


class CsvStreamOptions(StreamOptions):
    header: Header = Header()
    delimiter: Literal[",", ";", "\t", "|"] | None = None  # omitted: told from the file


class Csv(Connector):
    """CSV files in a folder. Values are texts; a file keeps every byte that was not meant to change.

    A record's id is the cell of the column that the `key` option names. Without it, Syncline appends a
    column `sync_id` on its first write and fills it. Two lines with one id come as two records with the
    same id: updates reach the first, deletes are refused.
    """

    name: ClassVar[str] = "csv"
    title: ClassVar[str] = "CSV files"
    can: ClassVar[Can] = Can.READ | Can.WRITE | Can.DELETE | Can.LOOKUP | Can.CREATE_STREAM
    snapshot: ClassVar[bool] = True  # a file is read at once
    stable_ids: ClassVar[bool] = False
    blank_is_null: ClassVar[bool] = True
    batch_size: ClassVar[int] = 5_000  # each batch replaces the file
    Options: ClassVar[type[Options]] = CsvOptions
    StreamOptions: ClassVar[type[StreamOptions]] = CsvStreamOptions

    def __init__(self, options: Any, access: Access) -> None:
        super().__init__(options, access)
        self._parsed: tuple[object, Table] | None = None  # the last table read, by its file's digest

    @classmethod
    def anchor(cls, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        anchored = dict(options)
        if isinstance(options.get("folder"), str):
            anchored["folder"] = str(folder / Path(options["folder"]).expanduser())
        return anchored

    def id_kind(self, stream: Stream, options: AnyStreamOptions) -> IdKind:
        return "chosen" if options.key is None else "visible"

    def check(self) -> str:
        count = len(self._names())
        return f"The folder '{self._folder().name}' holds {count} CSV {'file' if count == 1 else 'files'}."

    def discover(self) -> list[Stream]:
        return [self._discovered(name) for name in self._names()]

    def stream(self, name: str, options: AnyStreamOptions) -> Stream:
        path = self._path(name)
        return _described(_Sheet(self._table(path, files.content(path), options), options), path)

    def read(self, stream: Stream, options: AnyStreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        path = self._path(stream.name)
        sheet = _Sheet(self._table(path, files.content(path), options), options)
        ids: list[str] = []
        rows: list[Cells] = []
        for index, cells in sheet.table.rows():
            if len(ids) == self.page_size:
                yield _page(sheet, ids, rows, is_last=False)
                ids, rows = [], []
            ids.append(sheet.id(index, cells))
            rows.append(cells)
        yield _page(sheet, ids, rows, is_last=True)

    def write(self, stream: Stream, options: AnyStreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        path = self._path(stream.name)
        if not batch:
            return []
        if _is_read_only(path):
            return [_rejected(write, "read_only", _read_only_because(path)) for write in batch]
        for _ in range(files.LOOKS):
            with files.locked(path):
                found = files.content(path)
                edit = _Edit(_Sheet(self._table(path, found, options).copy(), options))
                outcomes = [edit.carry_out(write) for write in batch]
                if not edit.is_changed:
                    return outcomes
                new = edit.content()
                # Somebody who saved the file meanwhile wins: what we decide is decided on what stands there.
                if files.replace(path, new, files.digest(found)):
                    return outcomes
        raise Unavailable(
            f"'{path.name}' is being written to by another program. Try again when it is done.",
            stream=path.name,
        )

    def lookup(self, stream: Stream, options: AnyStreamOptions, ids: Sequence[str]) -> list[Looked]:
        wanted = set(ids)
        records = {record.id: record for record in self._records(stream, options) if record.id in wanted}
        return [Looked(id, "there" if id in records else "gone", records.get(id)) for id in ids]

    def find(
        self, stream: Stream, options: AnyStreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        if stream.field(field) is None:
            raise OptionsError(f"'{stream.name}' has no column '{field}'.", stream=stream.name)
        texts = {value for value in values if isinstance(value, str)}
        others = [value for value in values if not isinstance(value, str)]
        return [
            record
            for record in self._records(stream, options)
            if record.get(field) in texts or any(holds(record.get(field), value, True) for value in others)
        ]

    def create_stream(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        path = self._path(stream.name, must_exist=False)
        if not path.exists():
            if not _choices(options).header.include:
                raise OptionsError(
                    f"'{stream.name}' does not exist, and a file without a header cannot be made."
                    " Put it there, or set header: {include: true}.",
                    stream=stream.name,
                )
            key = options.key or SYNC_ID
            columns = [field.name for field in stream.fields if field.name != key]
            columns = [*columns, key] if options.key is None else [key, *columns]
            files.create(path, Table.new(path.name, columns).content())
        return self.stream(stream.name, options)

    # -- the file --

    def _folder(self) -> Path:
        folder = files.allowed(files.anchored(self.options.folder, self.access), self.access)
        if not folder.is_dir():
            raise OptionsError(
                f"There is no folder '{self.options.folder}'. Create it, or correct the option `folder`."
            )
        return folder

    def _names(self) -> list[str]:
        return sorted(
            path.name
            for path in self._folder().iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        )

    def _path(self, name: str, *, must_exist: bool = True) -> Path:
        """The real place of a stream's file. Raises OptionsError, StreamGone with the nearest name."""
        if not name or name != Path(name).name or name.startswith(".") or "\x00" in name:
            raise OptionsError(
                f"{short(name)} is not the name of a file in the folder. Give it without a path, like"
                " 'customers.csv'.",
                stream=name,
            )
        path = files.allowed(self._folder() / name, self.access)
        if must_exist and not path.exists():
            names = self._names()
            near = get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise StreamGone(
                f"There is no file '{name}' in the folder '{self.options.folder}'.{hint}", stream=name
            )
        return path

    def _table(self, path: Path, content: bytes, options: AnyStreamOptions) -> Table:
        choices = _choices(options)
        wanted = (path, files.digest(content), choices)
        if self._parsed is None or self._parsed[0] != wanted:
            table = Table.parse(
                content,
                path.name,
                encoding=self.options.encoding,
                delimiter=choices.delimiter,
                has_header=choices.header.include,
            )
            self._parsed = (wanted, table)
        return self._parsed[1]

    def _discovered(self, name: str) -> Stream:
        try:
            return self.stream(name, CsvStreamOptions())
        except OptionsError as error:
            # One file that cannot be read hides no other.
            return Stream(
                name, (), writable=False, read_only_because=error.message, problems=(error.message,)
            )

    def _records(self, stream: Stream, options: AnyStreamOptions) -> Iterator[Record]:
        for page in self.read(stream, options):
            yield from page.records

    def close(self) -> None:
        self._parsed = None


class _Sheet:
    """What the cells of a table mean under a stream's options. Raises OptionsError for a wrong key."""

    def __init__(self, table: Table, options: AnyStreamOptions) -> None:
        self.table = table
        self.is_chosen = options.key is None
        self.key = options.key or SYNC_ID
        self.problems = _header_problems(table)
        self.columns = {
            name: index for index, name in enumerate(table.columns) if name and table.columns.count(name) == 1
        }
        self.key_index = self.columns.get(self.key)
        if self.key_index is None:
            self._explain_missing_key()
        counted = [name for index, name in enumerate(table.columns) if not self._is_ours(index)]
        self._seed = hashlib.blake2b(repr(counted).encode(), digest_size=16).digest()

    def _explain_missing_key(self) -> None:
        """Fine only where the column is ours to append."""
        name = self.table.name
        if self.key in self.table.columns:
            raise OptionsError(
                f"'{name}': the header '{self.key}' stands in more than one column, so it cannot name"
                " records. Rename all but one.",
                code="duplicate_header",
                stream=name,
                field=self.key,
            )
        if not self.is_chosen:
            near = get_close_matches(self.key, self.columns, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise OptionsError(
                f"'{name}' has no column '{self.key}' for `key`.{hint} Its columns are:"
                f" {', '.join(self.columns)}.",
                code="unknown_field",
                stream=name,
                field=self.key,
            )
        if self.table.header is None:
            raise OptionsError(
                f"'{name}' has no header, so no column `{SYNC_ID}` can be found in it again. Name a column"
                " with `key`, like `key: A`.",
                stream=name,
            )

    def _is_ours(self, index: int) -> bool:
        return self.is_chosen and index == self.key_index

    def id(self, index: int, cells: Cells) -> str:
        """The id of a record; a provisional one where its key cell is empty."""
        own = cells[self.key_index].strip() if self.key_index is not None else ""
        return own or unkeyed(index + 1)  # as a spreadsheet counts rows

    def version(self, cells: Cells) -> str:
        """A hash of what the record holds, and under which headers. Our own id column does not count,
        so that filling it moves nothing."""
        if self.is_chosen and self.key_index is not None:
            cells = cells[: self.key_index] + cells[self.key_index + 1 :]
        joined = "\x1f".join(cells)
        if joined.count("\x1f") != len(cells) - 1:
            joined = repr(cells)  # a cell holds the separator
        return hashlib.blake2b(joined.encode(), digest_size=12, key=self._seed).hexdigest()

    def record(self, id: str, cells: Cells) -> Record:
        fields = {name: cells[index] for name, index in self.columns.items()}
        if self.is_chosen and is_unkeyed(id):
            fields.pop(self.key, None)
        return Record(id, fields, self.version(cells))


class _Edit:
    """Writes carried out on a table in memory."""

    def __init__(self, sheet: _Sheet) -> None:
        self.sheet = sheet
        self.table = sheet.table
        self.is_changed = False
        self._gone: set[int] = set()
        self._places: dict[str, list[int]] = {}
        self._unkeyed: set[int] = set()
        self._unkeyed_by_version: dict[str | None, list[int]] | None = None
        for index, cells in self.table.rows():
            id = sheet.id(index, cells)
            if is_unkeyed(id):
                self._unkeyed.add(index)
            else:
                self._places.setdefault(id, []).append(index)

    def content(self) -> bytes:
        """The table as it is to be stored."""
        kept = [entry for index, entry in enumerate(self.table.entries) if index not in self._gone]
        self.table.entries = kept
        return self.table.content()

    def carry_out(self, write: Write) -> Outcome:
        refusal = self._refusal(write)
        if refusal is not None:
            return refusal
        if write.operation == "create":
            return self._create(write)
        if is_unkeyed(write.id or ""):
            return self._fill(write)
        return self._update(write) if write.operation == "update" else self._delete(write)

    def _refusal(self, write: Write) -> Outcome | None:
        for name, value in write.fields.items():
            if name not in self.sheet.columns and name != self.sheet.key:
                why = "stands twice" if name in self.table.columns else "is not there"
                message = f"'{self.table.name}': the column '{name}' {why}."
                return _rejected(write, "unknown_field", message, name)
            try:
                display(value).encode(self.table.encoding)
            except UnicodeEncodeError as error:
                sign = str(error.object)[error.start]
                message = f"'{sign}' cannot be written in {self.table.encoding}. Save the file as UTF-8."
                return _rejected(write, "encoding", message, name)
        if is_unkeyed(write.id or "") and not (self.sheet.is_chosen and write.operation == "update"):
            return _rejected(write, "no_key", f"The record has no '{self.sheet.key}', so it cannot be named.")
        return None

    def _create(self, write: Write) -> Outcome:
        id = self._new_id(write) or write.id
        if not id:
            message = f"A new record needs a value in '{self.sheet.key}'."
            return _rejected(write, "no_key", message, self.sheet.key)
        if write.id is not None and id != write.id:
            message = f"The id '{write.id}' and the value of '{self.sheet.key}' differ."
            return _rejected(write, "no_key", message, self.sheet.key)
        if id in self._places:
            there = self._record(id, self._places[id][0])
            if all(holds(there.get(name), value, True) for name, value in write.fields.items()):
                return Outcome(write.marker, "done", id, there)  # sent twice
            return self._exists(write, id)
        index = len(self.table.entries)
        key_index = self._key_index()
        cells = [""] * len(self.table.columns)
        for name, value in write.fields.items():
            cells[self.sheet.columns[name]] = self._text(self.sheet.columns[name], value)
        cells[key_index] = id
        self.table.append(self.table.render(cells))
        self._places[id] = [index]
        self.is_changed = True
        return Outcome(write.marker, "done", id, self._record(id, index))

    def _update(self, write: Write) -> Outcome:
        id = write.id or ""
        index = self._place(write)
        if index is None:
            return Outcome(write.marker, "missing", id, message=f"'{self.table.name}' has no record '{id}'.")
        there = self._record(id, index)
        if why := moved(write, there, blank_is_null=True):
            return Outcome(write.marker, "stale", id, there, message=f"Not written: {why}.")
        if self.sheet.key in write.fields:
            new_id = self._new_id(write)
            if not new_id:
                message = f"'{self.sheet.key}' names the record and must not be empty."
                return _rejected(write, "no_key", message, self.sheet.key)
            if new_id != id and new_id in self._places:
                return self._exists(write, new_id)
            if new_id != id:
                self._places[id].remove(index)
                if not self._places[id]:
                    del self._places[id]
                self._places[new_id] = [index]
                id = new_id
        self._set(index, write.fields)
        return Outcome(write.marker, "done", id, self._record(id, index))

    def _fill(self, write: Write) -> Outcome:
        """Give an id, chosen by the caller, to a record that has none."""
        id = self._new_id(write)
        if not id:
            message = f"A record without an id can only be written with a value for '{self.sheet.key}'."
            return _rejected(write, "no_key", message, self.sheet.key)
        if id in self._places:
            there = self._record(id, self._places[id][0])
            same = write.expected_version is not None and not moved(write, there, blank_is_null=True)
            return Outcome(write.marker, "done", id, there) if same else self._exists(write, id)
        index = self._unkeyed_place(write)
        if index is None:
            message = "Not written: the row was changed or removed since it was read."
            return Outcome(write.marker, "stale", write.id, message=message)
        self._key_index()
        self._set(index, {**write.fields, self.sheet.key: id})
        self._unkeyed.discard(index)
        self._places[id] = [index]
        return Outcome(write.marker, "done", id, self._record(id, index))

    def _unkeyed_place(self, write: Write) -> int | None:
        """Where a record without an id stands now: in its row, or wherever the same content moved to."""
        index = unkeyed_row(write.id or "") - 1
        if index in self._unkeyed and not moved(write, self._record("", index), blank_is_null=True):
            return index
        if write.expected_version is None:
            return None
        if self._unkeyed_by_version is None:
            self._unkeyed_by_version = {}
            for place in sorted(self._unkeyed):
                self._unkeyed_by_version.setdefault(self._record("", place).version, []).append(place)
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
            return _rejected(write, "duplicate_id", message)
        there = self._record(id, index)
        if why := moved(write, there, blank_is_null=True):
            return Outcome(write.marker, "stale", id, there, message=f"Not deleted: {why}.")
        del self._places[id]
        self._gone.add(index)
        self.is_changed = True
        return Outcome(write.marker, "done", id)

    def _place(self, write: Write) -> int | None:
        """The row of a record. Of several with one id, the one that was read, else the first."""
        places = self._places.get(write.id or "", [])
        for index in places if len(places) > 1 else ():
            if self._record("", index).version == write.expected_version:
                return index
        return places[0] if places else None

    def _record(self, id: str, index: int) -> Record:
        return self.sheet.record(id, self.table.cells(self.table.entries[index]))

    def _new_id(self, write: Write) -> str:
        return display(write.fields.get(self.sheet.key, MISSING)).strip()

    def _key_index(self) -> int:
        """The key's column; ours is appended when it is first needed."""
        if self.sheet.key_index is None:
            self.table.add_column(self.sheet.key)
            self.sheet.key_index = self.sheet.columns[self.sheet.key] = len(self.table.columns) - 1
            self.is_changed = True
        return self.sheet.key_index

    def _set(self, index: int, fields: Mapping[str, Value]) -> None:
        """Set the cells whose meaning changes. "10.50" stays as it is when 10.5 is to be written."""
        cells = self.table.cells(self.table.entries[index])
        changes = {}
        for name, value in fields.items():
            column = self.sheet.columns[name]
            if not holds(cells[column], value, True):
                changes[column] = self._text(column, value)
        if changes:
            self.table.entries[index] = self.table.changed(self.table.entries[index], changes)
            self.is_changed = True

    def _text(self, column: int, value: Value) -> str:
        return self.table.truth(column, value) if isinstance(value, bool) else display(value)

    def _exists(self, write: Write, id: str) -> Outcome:
        row = self._places[id][0] + 1
        message = f"'{self.table.name}' has a record '{id}' already, in row {row}."
        return _rejected(write, "exists", message, self.sheet.key)


def _choices(options: AnyStreamOptions) -> CsvStreamOptions:
    return options if isinstance(options, CsvStreamOptions) else CsvStreamOptions(key=options.key)


def _described(sheet: _Sheet, path: Path) -> Stream:
    fields = [Field(name, FieldType.TEXT) for name in sheet.columns if name != sheet.key]
    if sheet.is_chosen:
        # Always listed, so that the stream looks the same before and after the first write.
        fields.append(Field(SYNC_ID, FieldType.TEXT, generated=True, unique=True))
    else:
        fields.insert(0, Field(sheet.key, FieldType.TEXT, nullable=False, unique=True))
    read_only = _is_read_only(path)
    return Stream(
        path.name,
        tuple(fields),
        key=(sheet.key,),
        writable=not read_only,
        read_only_because=_read_only_because(path) if read_only else "",
        container=f"csv:{path}",
        problems=sheet.problems,
    )


def _header_problems(table: Table) -> tuple[str, ...]:
    problems = []
    seen: dict[str, list[int]] = {}
    for number, name in enumerate(table.columns, 1):
        seen.setdefault(name, []).append(number)
    for name, numbers in seen.items():
        columns = ", ".join(map(str, numbers))
        if not name:
            problems.append(
                f"'{table.name}', column {columns}: the header is empty, so the column is left out."
                " Give it a name, or remove it."
            )
        elif len(numbers) > 1:
            problems.append(
                f"'{table.name}', columns {columns}: the header '{name}' stands there more than once, so"
                " these columns are left out. Rename all but one."
            )
    return tuple(problems)


def _page(sheet: _Sheet, ids: list[str], rows: list[Cells], *, is_last: bool) -> Page:
    return Page(
        ids=ids,
        versions=[sheet.version(cells) for cells in rows],
        record=lambda index: sheet.record(ids[index], rows[index]),
        is_last=is_last,
    )


def _is_read_only(path: Path) -> bool:
    # The mark that a person set counts, even where our own rights reach further.
    try:
        return not path.stat().st_mode & 0o222
    except FileNotFoundError:
        return False


def _read_only_because(path: Path) -> str:
    return f"The file '{path.name}' is marked read-only. Make it writable, or sync only from it."


def _rejected(write: Write, code: str, message: str, field: str = "") -> Outcome:
    return Outcome(write.marker, "rejected", write.id, code=code, message=message, field=field)
