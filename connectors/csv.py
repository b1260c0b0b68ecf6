"""CSV files in a folder: one file is one stream, one line of it one record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

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
)
from connectors.delimited import Cells, Table
from connectors.errors import OptionsError, StreamGone, Unavailable
from connectors.keyed import SYNC_ID, Heading, KeyedEdit, KeyedStreamOptions, rejected
from sync.records import Field, Record, Stream
from sync.values import FieldType, Value, display, short

SUFFIXES = (".csv", ".tsv")


class CsvOptions(Options):
    folder: str = Option(title="Folder", description="Where the files lie. Each file is a stream.")
    encoding: Literal["utf-8", "cp1252", "latin-1"] = Option(
        default="utf-8",
        title="Encoding",
        description="Of files without a byte order mark; UTF-8 unless an older program wrote them.",
    )


class CsvStreamOptions(KeyedStreamOptions):
    delimiter: Literal[",", ";", "\t", "|"] | None = None  # omitted: told from the file
    create: bool = Option(default=False, description="Make a missing file, from the other side's fields.")


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
            ids.append(sheet.id_of(index, cells))
            rows.append(cells)
        yield _page(sheet, ids, rows, is_last=True)

    def write(self, stream: Stream, options: AnyStreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        path = self._path(stream.name)
        if not batch:
            return []
        if _is_read_only(path):
            return [rejected(write, "read_only", _read_only_because(path)) for write in batch]
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

    def proposed(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        key = options.key or SYNC_ID
        names = [field.name for field in stream.fields if field.name != key]
        names = [*names, key] if options.key is None else [key, *names]
        return Stream(stream.name, tuple(Field(name, FieldType.TEXT) for name in names), key=(key,))

    def create_stream(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        path = self._path(stream.name, must_exist=False)
        if not path.exists():
            if not _choices(options).header.include:
                raise OptionsError(
                    f"'{stream.name}' does not exist, and a file without a header cannot be made."
                    " Put it there, or set header: {include: true}.",
                    stream=stream.name,
                )
            columns = [field.name for field in self.proposed(stream, options).fields]
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
        # A link must not show a file of another kind under a good name.
        if not {Path(name).suffix.lower(), path.suffix.lower()} <= set(SUFFIXES):
            raise OptionsError(
                f"{short(name)} is not a name that this connector opens: its files end in"
                f" {' or '.join(SUFFIXES)}.",
                stream=name,
            )
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


class _Sheet(Heading):
    """What the cells of a table mean under a stream's options. Raises OptionsError for a wrong key."""

    def __init__(self, table: Table, options: AnyStreamOptions) -> None:
        super().__init__(table.name, table.columns, options, has_header=table.header is not None)
        self.table = table
        counted = [name for index, name in enumerate(table.columns) if not self.is_ours(index)]
        self._seed = hashlib.blake2b(repr(counted).encode(), digest_size=16).digest()

    def id_of(self, index: int, cells: Cells) -> str:
        """The id of a record; a provisional one where its key cell is empty."""
        return self.id(index, cells[self.key_index] if self.key_index is not None else "")

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


class _Edit(KeyedEdit):
    """Writes carried out on a table in memory."""

    def __init__(self, sheet: _Sheet) -> None:
        super().__init__(sheet, ((index, sheet.id_of(index, cells)) for index, cells in sheet.table.rows()))
        self.sheet = sheet
        self.table = sheet.table
        self.is_changed = False
        self._gone: set[int] = set()

    def content(self) -> bytes:
        """The table as it is to be stored."""
        kept = [entry for index, entry in enumerate(self.table.entries) if index not in self._gone]
        self.table.entries = kept
        return self.table.content()

    def refusal(self, write: Write) -> Outcome | None:
        if (unknown := self.unknown_column(write)) is not None:
            return unknown
        for name, value in write.fields.items():
            try:
                display(value).encode(self.table.encoding)
            except UnicodeEncodeError as error:
                sign = str(error.object)[error.start]
                message = f"'{sign}' cannot be written in {self.table.encoding}. Save the file as UTF-8."
                return rejected(write, "encoding", message, name)
        return None

    def append(self, id: str, fields: Mapping[str, Value]) -> int:
        index = len(self.table.entries)
        key_index = self._key_index()
        cells = [""] * len(self.table.columns)
        for name, value in fields.items():
            cells[self.sheet.columns[name]] = self._text(self.sheet.columns[name], value)
        cells[key_index] = id
        self.table.append(self.table.render(cells))
        self.is_changed = True
        return index

    def remove(self, index: int) -> None:
        self._gone.add(index)
        self.is_changed = True

    def record(self, id: str, index: int) -> Record:
        return self.sheet.record(id, self.table.cells(self.table.entries[index]))

    def _key_index(self) -> int:
        """The key's column; ours is appended when it is first needed."""
        if self.sheet.key_index is None:
            self.table.add_column(self.sheet.key)
            self.sheet.key_index = self.sheet.columns[self.sheet.key] = len(self.table.columns) - 1
            self.is_changed = True
        return self.sheet.key_index

    def set(self, index: int, fields: Mapping[str, Value]) -> None:
        """Set the cells whose meaning changes. "10.50" stays as it is when 10.5 is to be written."""
        if self.sheet.key in fields:
            self._key_index()
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


def _choices(options: AnyStreamOptions) -> CsvStreamOptions:
    return options if isinstance(options, CsvStreamOptions) else CsvStreamOptions(key=options.key)


def _described(sheet: _Sheet, path: Path) -> Stream:
    read_only = _is_read_only(path)
    return Stream(
        path.name,
        tuple(sheet.fields()),
        key=(sheet.key,),
        writable=not read_only,
        read_only_because=_read_only_because(path) if read_only else "",
        container=f"csv:{path}",
        problems=sheet.problems,
    )


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
