"""Stories whose records stand in a simulated Airtable on the left and a simulated Google Sheet on the right.

The simulators are real HTTP servers, one pair per process, and each story has a base and a spreadsheet of its
own; the real connectors reach them. What a story asks of a system that these do not offer raises NotThere.
"""

from __future__ import annotations

import atexit
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, cast

from connectors.airtable import Airtable
from connectors.base import Access, Connector, Cursor, Looked, Outcome, Page, StreamOptions, Write
from connectors.errors import OutcomeUnknown
from connectors.google_sheets import GoogleSheets
from simulators import airtable, google_sheets
from simulators.airtable_cells import stamp as as_airtable_writes
from simulators.base import serving
from simulators.google_sheets_cells import EPOCH, Cell, as_double
from sync.records import Field, Record, Stream
from sync.values import FieldType, Value, display, parse
from tests.hostile import Accepted, Hostile, HostileStream, Knobs
from tests.scenarios.world import Place, Story

TOKEN = "patOfTheStories.0123456789"
SYNC_ID = "sync_id"
ROWS = 20  # of a tab to begin with: larger ones take longer to show
CANNOT_BE_TURNED = "it cannot be turned there"
Rows = dict[str, dict[str, Value]]


class NotThere(Exception):
    """A story needs something that no such system offers."""


class _Unturned(set[str]):
    def add(self, item: str) -> None:
        raise NotThere(f"single records: {CANNOT_BE_TURNED}")


class _Unset(dict[str, Any]):
    def __setitem__(self, name: str, value: Any) -> None:
        raise NotThere(f"{name}: {CANNOT_BE_TURNED}")


class RemoteKnobs(Knobs):
    """What can go wrong on the way there; how the system itself behaves is as it is."""

    TURNED = frozenset(
        {
            "unavailable",
            "rate_limited",
            "lost_requests",
            "lost_answers",
            "kill_before",
            "kill_after",
            "meanwhile",
        }
    )

    def __init__(self, connector: type[Connector]) -> None:
        object.__setattr__(self, "_is_set", False)
        super().__init__(
            snapshot=connector.snapshot,
            consistent=connector.consistent,
            stable_ids=connector.stable_ids,
            blank_is_null=connector.blank_is_null,
            omits_empty=connector.omits_empty,
            page_size=connector.page_size,
            batch_size=connector.batch_size,
            normalise=_Unset(),
            merged=_Unset(),
            dropped_for=_Unset(),
            **{name: _Unturned() for name in ("protected", "forbidden", "trashed", "withheld")},  # type: ignore[arg-type]
        )
        self._is_set = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_set and name not in self.TURNED and getattr(self, name) != value:
            raise NotThere(f"{name}: {CANNOT_BE_TURNED}")
        object.__setattr__(self, name, value)


class Remote(Hostile):
    """One stream of a simulated system, with the surface of `Hostile`."""

    def __init__(self, story: Story, place: Place, kept: Kept, connector: type[Connector]) -> None:
        self.kept = kept
        self.connector = connector
        self.knobs = RemoteKnobs(connector)
        self.access = story.access
        self.space, self.stream_name = place
        self.store = cast(HostileStream, kept)
        self.chance = random.Random(0)
        self.log: list[Accepted] = []
        self.calls = 0
        self.trace: list[str] = []
        self.hidden = {}

    def connect(self) -> Any:
        return self.connect_all({self.stream_name: self})

    def connect_all(self, streams: Mapping[str, Hostile]) -> Connector:
        watched: type[Any] = type(self.connector.__name__, (_Watched, self.connector), {})
        options = self.connector.parse_options(self.kept.options())
        made: Any = watched(options, self.kept.access(self.access))
        made.streams = streams
        return cast(Connector, made)

    def returned(self, id: str) -> Record | None:
        row = self.rows.get(id)
        return None if row is None else Record(id, row, None)

    def note(self, batch: Sequence[Write], outcomes: Sequence[Outcome], before: Rows) -> None:
        """What a call changed there, by the writes that it was told. A change that none explains is wrong."""
        after = self.kept.rows
        ids = {item.marker: item.id for item in outcomes if item.id}
        moved = {id for id in {*before, *after} if before.get(id) != after.get(id)}
        for write in batch:
            id = ids.get(write.marker) or write.id
            if id is None or id not in moved:
                continue
            old = write.id or id  # another one, where the write changes the cell that is the id
            moved -= {id, old}
            self.log.append(
                Accepted(self.calls, write.marker, write.operation, id, before.get(old), after.get(id))
            )
        assert not moved, f"the connector changed {moved}, and nobody told it to"


def _token(*, refused: str | None = None) -> str:
    return TOKEN


class _Watched(Connector):
    """The real connector, whose calls are counted, and whose writes are noted as the system took them."""

    streams: Mapping[str, Remote]

    def read(self, stream: Stream, options: StreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        system = self.streams[stream.name]
        pages = super().read(stream, options, since)  # type: ignore[safe-super]  # it stands before the real one
        for number in itertools.count(1):
            with system.call(f"page {number}"):
                page = next(pages)
            yield page
            if page.is_last:
                return

    def write(self, stream: Stream, options: StreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        system = self.streams[stream.name]
        knobs, outcomes = system.knobs, list[Outcome]()
        with system.call("write"):
            if knobs.lost_requests:
                knobs.lost_requests -= 1
                raise OutcomeUnknown("The system did not answer in time.")
            before = system.rows
            # Airtable has no "only if unchanged": what is noticed there is what came before its last look.
            super().foresee(stream, options, batch)
            try:
                outcomes = super().write(stream, options, batch)
            finally:
                system.note(batch, outcomes, before)
            if knobs.lost_answers:
                knobs.lost_answers -= 1
                raise OutcomeUnknown("The system did not answer in time.")
        return outcomes

    def lookup(self, stream: Stream, options: StreamOptions, ids: Sequence[str]) -> list[Looked]:
        with self.streams[stream.name].call("lookup"):
            return super().lookup(stream, options, ids)

    def find(
        self, stream: Stream, options: StreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        with self.streams[stream.name].call("find"):
            return super().find(stream, options, field, values)


class Kept:
    """The records of one stream as the people there see and change them: what `Hostile.store` offers."""

    def __init__(self, fields: Sequence[Field], outside: Outside) -> None:
        self._fields = tuple(fields)
        self.outside = outside

    def __getattr__(self, name: str) -> Any:
        raise NotThere(f"{name}: {CANNOT_BE_TURNED}")

    @property
    def fields(self) -> tuple[Field, ...]:
        return self._fields

    @fields.setter
    def fields(self, fields: Sequence[Field]) -> None:
        raise NotThere(f"fields: {CANNOT_BE_TURNED}")

    @property
    def container(self) -> str:
        raise NotThere(f"container: {CANNOT_BE_TURNED}")

    @container.setter
    def container(self, name: str) -> None:
        raise NotThere(f"container: {CANNOT_BE_TURNED}")

    @property
    def problems(self) -> Sequence[str]:
        raise NotThere(f"problems: {CANNOT_BE_TURNED}")

    @problems.setter
    def problems(self, problems: Sequence[str]) -> None:
        raise NotThere(f"problems: {CANNOT_BE_TURNED}")

    @property
    def rows(self) -> Rows:
        with self.lock:
            return self._rows()

    @rows.setter
    def rows(self, rows: Rows) -> None:
        """The same records in another order."""
        with self.lock:
            if rows != self._rows():
                raise NotThere(f"rows: {CANNOT_BE_TURNED}")
            self._sort(list(rows))

    def put(self, fields: Mapping[str, Value], id: str | None = None) -> str:
        with self.lock:
            return self._add(fields, id)

    def change(self, id: str, fields: Mapping[str, Value]) -> None:
        with self.lock:
            self._edit(id, fields)

    def edit(self, id: str, **fields: Value) -> None:
        self.change(id, fields)

    def remove(self, id: str) -> None:
        with self.lock:
            self._remove(id)

    def record(self, id: str) -> Record | None:
        row = self.rows.get(id)
        return None if row is None else Record(id, row, None)

    def reshape(self, fields: Sequence[Field]) -> None:
        """Columns are added and taken out."""
        with self.lock:
            names = {item.name for item in self._fields}
            kept = {item.name for item in fields}
            for item in self._fields:
                if item.name not in kept:
                    self._drop(item)
            for item in fields:
                if item.name not in names:
                    self._insert(item)
            self._fields = tuple(fields)

    def access(self, access: Access) -> Access:
        """The same, with what lets a connector reach it."""
        return replace(access, networks=(ip_network("127.0.0.0/8"),), allow_http=True, token=_token)

    # -- what a system brings --

    @property
    def lock(self) -> Any:
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Of a connection to it."""
        raise NotImplementedError

    def _rows(self) -> Rows:
        raise NotImplementedError

    def _sort(self, ids: Sequence[str]) -> None:
        raise NotImplementedError

    def _add(self, fields: Mapping[str, Value], id: str | None) -> str:
        raise NotImplementedError

    def _edit(self, id: str, fields: Mapping[str, Value]) -> None:
        raise NotImplementedError

    def _remove(self, id: str) -> None:
        raise NotImplementedError

    def _insert(self, field: Field) -> None:
        raise NotImplementedError

    def _drop(self, field: Field) -> None:
        raise NotImplementedError


# -- Airtable ----------------------------------------------------------------------------------------

_TYPES: Mapping[FieldType, dict[str, Any]] = {
    FieldType.TEXT: {"type": "multilineText"},
    FieldType.INTEGER: {"type": "number", "options": {"precision": 0}},
    FieldType.DECIMAL: {"type": "number", "options": {"precision": 8}},
    FieldType.BOOLEAN: {"type": "checkbox"},
    FieldType.DATE: {"type": "date"},
    FieldType.DATETIME: {"type": "dateTime", "options": {"timeZone": "utc"}},
}


class Table(Kept):
    """A table of a base."""

    def __init__(self, fields: Sequence[Field], stream: str, outside: Outside, base: Any) -> None:
        super().__init__(fields, outside)
        self.base = base
        specs = [{"name": item.name, **_spec(item)} for item in fields]
        self.table = outside.airtable.add_table(base, stream, specs)

    @property
    def lock(self) -> Any:
        return self.outside.airtable.lock

    def options(self) -> dict[str, Any]:
        return {"endpoint": self.outside.airtable_url, "base": self.base.id, "token": TOKEN}

    def _rows(self) -> Rows:
        ids = {item.id: self._fields_by_name[item.name] for item in self.table.fields}
        return {
            record.id: {field.name: _of_cell(record.cells.get(id), field) for id, field in ids.items()}
            for record in self.table.records.values()
        }

    @property
    def _fields_by_name(self) -> dict[str, Field]:
        return {item.name: item for item in self._fields}

    def _sort(self, ids: Sequence[str]) -> None:
        self.table.records = {id: self.table.records[id] for id in ids}

    def _add(self, fields: Mapping[str, Value], id: str | None) -> str:
        if id is not None and not id.startswith("rec"):
            raise NotThere("ids are the system's own")
        made = self._put(fields, id if id in self.table.records else None)
        if id is None or made == id:
            return made
        # Taken out of the trash, where it kept its id.
        record = self.table.records.pop(made)
        record.id = id
        self.table.records[id] = record
        return id

    def _edit(self, id: str, fields: Mapping[str, Value]) -> None:
        self.table.records[id]  # a KeyError where it is gone
        self._put(fields, id)

    def _put(self, fields: Mapping[str, Value], id: str | None) -> str:
        kinds = self._fields_by_name
        for name, value in fields.items():
            if isinstance(value, str) and kinds[name].type in (FieldType.INTEGER, FieldType.DECIMAL):
                raise NotThere("a text in a column of numbers")
        cells = {name: _as_typed(value) for name, value in fields.items()}
        return self.outside.airtable.put(self.base, self.table, cells, id)

    def _remove(self, id: str) -> None:
        self.outside.airtable.remove(self.base, self.table, id)

    def _insert(self, field: Field) -> None:
        self.outside.airtable.add_field(self.base, self.table, {"name": field.name, **_spec(field)})

    def _drop(self, field: Field) -> None:
        there = self.table.find(field.name)
        assert there is not None
        self.table.fields.remove(there)
        for record in self.table.records.values():
            record.cells.pop(there.id, None)


def _spec(field: Field) -> dict[str, Any]:
    if field.type not in _TYPES or field != Field(field.name, field.type):
        raise NotThere(f"a field like {field}")
    return _TYPES[field.type]


def _as_typed(value: Value) -> Any:
    match value:
        case float() | int() | Decimal() if not (
            isinstance(value, bool | int | Decimal) and _is_short(value)
        ):
            raise NotThere("a number that no double holds")
        case str() if not value.isascii() and "\ud800" <= max(value) <= "\udfff":
            raise NotThere("half of a character")
        case Decimal():
            return float(value)
        case datetime():
            return as_airtable_writes(value)
        case date():
            return value.isoformat()
        case _:
            return value


def _of_cell(cell: Any, field: Field) -> Value:
    if field.type is FieldType.BOOLEAN:
        return bool(cell)
    return parse(Decimal(repr(cell)) if isinstance(cell, float) else cell, field.type)


# -- Google Sheets -----------------------------------------------------------------------------------


class Sheet(Kept):
    """A tab of a spreadsheet, with its column of ids filled in by whoever adds a row."""

    def __init__(self, fields: Sequence[Field], stream: str, outside: Outside, book: Any) -> None:
        super().__init__(fields, outside)
        self.book = book
        for item in fields:
            _spec(item)
        self.columns = {name: number for number, name in enumerate([*(f.name for f in fields), SYNC_ID])}
        self.tab = outside.google.add_tab(book, stream, [list(self.columns)])
        del self.tab.rows[ROWS:], self.tab.marks[ROWS:]
        self.numbers = itertools.count(1)

    @property
    def lock(self) -> Any:
        return self.outside.google.lock

    def options(self) -> dict[str, Any]:
        return {"endpoint": self.outside.google_url, "spreadsheet": self.book.id}

    def _rows(self) -> Rows:
        found: Rows = {}
        for row in self.tab.rows[1:]:
            if any(cell.holds_something for cell in row.values()):
                id = display(_shown(row.get(self.columns[SYNC_ID])))
                assert id not in found, f"two rows are {id}"
                found[id] = {item.name: _shown(row.get(self.columns[item.name])) for item in self._fields}
        return found

    def _sort(self, ids: Sequence[str]) -> None:
        rows = {id: self.tab.rows[self._row(id)] for id in ids}
        self.tab.rows[1 : len(rows) + 1] = rows.values()

    def _add(self, fields: Mapping[str, Value], id: str | None) -> str:
        id = id or f"row-{next(self.numbers)}"
        self._type(max(1, self.tab.height), {**fields, SYNC_ID: id})
        return id

    def _edit(self, id: str, fields: Mapping[str, Value]) -> None:
        self._type(self._row(id), fields)

    def _remove(self, id: str) -> None:
        row = self._row(id)
        self.tab.delete_rows(row, row + 1)

    def _insert(self, field: Field) -> None:
        _spec(field)
        self.columns[field.name] = len(self.columns)
        self._type(0, {field.name: field.name})

    def _drop(self, field: Field) -> None:
        place = self.columns.pop(field.name)
        self.tab.delete_columns(place, place + 1)
        self.columns = {name: number - (number > place) for name, number in self.columns.items()}

    def _row(self, id: str) -> int:
        column = self.columns[SYNC_ID]
        found = [n for n, row in enumerate(self.tab.rows) if n and column in row and row[column].value == id]
        if len(found) != 1:
            raise KeyError(id)
        return found[0]

    def _type(self, row: int, fields: Mapping[str, Value]) -> None:
        if row >= self.tab.row_count:
            self.tab.insert_rows(row, ROWS)
        for name, value in fields.items():
            self.tab.rows[row][self.columns[name]] = _cell(value)


def _is_short(number: int | Decimal) -> bool:
    """Whether a double holds it."""
    exact = Decimal(number)
    return exact.is_finite() and abs(exact.adjusted()) < 300 and Decimal(repr(float(exact))) == exact


def _cell(value: Value) -> Cell:
    match value:
        case None | "":
            return Cell()
        case bool() | str():
            return Cell(value)
        case int() | Decimal() if _is_short(value):
            return Cell(as_double(float(value)))
        case datetime():
            days = (value.astimezone(UTC).replace(tzinfo=None) - EPOCH) / timedelta(days=1)
            return Cell(as_double(days), format={"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss.000"})
        case date():
            days = (value - EPOCH.date()).days
            return Cell(float(days), format={"type": "DATE", "pattern": "yyyy-mm-dd"})
    raise NotThere(f"cells for {type(value).__name__}")


def _shown(cell: Cell | None) -> Value:
    if cell is None or cell.value is None:
        return None
    if not isinstance(cell.value, float) or isinstance(cell.value, bool):
        return cell.value
    kind = (cell.format or {}).get("type")
    if kind == "DATE":
        return EPOCH.date() + timedelta(days=int(cell.value))
    if kind == "DATE_TIME":
        return EPOCH.replace(tzinfo=UTC) + timedelta(milliseconds=round(cell.value * 86_400_000))
    number = Decimal(repr(cell.value))
    return int(number) if number == number.to_integral_value() else number


# -- both --------------------------------------------------------------------------------------------


@dataclass
class Outside:
    """The two servers of this process, which take the time from the story that is being told."""

    airtable: airtable.Airtable
    google: google_sheets.GoogleSheets
    airtable_url: str
    google_url: str
    time: _StoryTime


class _StoryTime:
    """The clock of the story that is being told."""

    now: Callable[[], datetime] = staticmethod(lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now()


@lru_cache(maxsize=1)
def outside() -> Outside:
    stack = ExitStack()
    atexit.register(stack.close)
    rand, time = random.Random(5).random, _StoryTime()
    base = airtable.Airtable(now=time, rand=rand)
    sheets = google_sheets.GoogleSheets(now=time, rand=rand)
    # Stories stand still while they are told: how the quotas are kept is measured elsewhere.
    base.has_limits = sheets.has_limits = False
    base.add_token(TOKEN)
    sheets.add_token(TOKEN)
    base_url, sheets_url = (stack.enter_context(serving(one)) for one in (base, sheets))
    return Outside(base, sheets, base_url, sheets_url, time)


def in_simulators(
    story: Story, place: Place, fields: Sequence[Field], *, key: Sequence[str], seed: int
) -> Remote:
    """The left side's records in Airtable, all others in Google Sheets."""
    if key:
        raise NotThere("a key that the system itself declares")
    servers = outside()
    servers.time.now = lambda: story.now
    if not any(story.ctx.systems.values()):
        servers.airtable.bases.clear()
        servers.google.books.clear()
    neighbour = next(iter(story.ctx.systems.get(place.space, {}).values()), None)
    beside = neighbour.kept if isinstance(neighbour, Remote) else None
    if place.space == "left":
        base = beside.base if isinstance(beside, Table) else servers.airtable.add_base(place.space)
        return Remote(story, place, Table(fields, place.stream, servers, base), Airtable)
    book = beside.book if isinstance(beside, Sheet) else servers.google.add_book(place.space)
    return Remote(story, place, Sheet(fields, place.stream, servers, book), GoogleSheets)
