"""A system with bad manners: the memory connector with a knob for each fault seen in the wild.

`Hostile` is the system and outlives connections to it; `connect()` makes the connector of one run. Turn
the knobs between or during runs. `log` holds every write that the system accepted, which is the truth
for invariants such as "at most one create per intent", whatever the connector answered.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from connectors.base import (
    Access,
    Can,
    Connector,
    Cursor,
    Looked,
    Operation,
    Outcome,
    Page,
    StreamOptions,
    Write,
)
from connectors.errors import OutcomeUnknown, RateLimited, RecordRejected, Unavailable
from connectors.memory import Memory, MemoryOptions, MemoryStream
from sync.records import Field, Record, Stream
from sync.values import Value

Normaliser = Callable[[Value], Value]


class Killed(BaseException):
    """The process died here. A BaseException, so that no `except Exception` survives it."""


def trim(value: Value) -> Value:
    return value.strip() if isinstance(value, str) else value


def lower(value: Value) -> Value:
    return value.lower() if isinstance(value, str) else value


def upper(value: Value) -> Value:
    return value.upper() if isinstance(value, str) else value


def rounded(places: int) -> Normaliser:
    return lambda value: round(value, places) if isinstance(value, Decimal) else value


def truncated(length: int) -> Normaliser:
    return lambda value: value[:length] if isinstance(value, str) else value


def milliseconds(value: Value) -> Value:
    if isinstance(value, datetime):
        return value.replace(microsecond=value.microsecond // 1000 * 1000)
    return value


def as_float(value: Value) -> Value:
    """Whole numbers lose their last digits past 2**53, as they do in JavaScript."""
    return int(float(value)) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass
class Knobs:
    """What goes wrong. Numbers of "next" calls count down as they are used up."""

    # How the system is.
    snapshot: bool = True  # False: pages are cut by offset from what stands there at that moment
    consistent: bool = True
    stable_ids: bool = True
    blank_is_null: bool = False  # it keeps "" where null was sent
    omits_empty: bool = False  # null and "" are left out of answers
    has_versions: bool = True
    has_receipts: bool = True
    reuses_ids: bool = False
    all_or_nothing: bool = False  # one bad record and the whole batch is refused
    shuffles: bool = False  # outcomes come in any order
    page_size: int = 100
    batch_size: int = 100
    normalise: dict[str, Normaliser] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)  # fields it accepts and does not keep
    protected: set[str] = field(default_factory=set)  # ids that may be read and not written
    forbidden: set[str] = field(default_factory=set)  # ids that answer 403
    merged: dict[str, str] = field(default_factory=dict)  # ids that lead to another record, gone themselves
    trashed: set[str] = field(default_factory=set)  # ids that are listed as deleted
    can_look_up: bool = True
    lag: int = 0  # for so many reads a write of ours does not show

    clock: Callable[[], datetime] | None = None  # what it takes for the time

    # Reads.
    empty: bool = False  # no records, and "that is all"
    fail_at_page: int | None = None  # a 5xx in place of page n
    cut_at_page: int | None = None  # page n and what follows never come, without an error
    withheld: set[str] = field(default_factory=set)  # ids left out silently, "that is all"
    short_by: int = 0  # as many records left out silently, whichever
    total_off_by: int = 0  # what its count endpoint says beside the truth
    repeats: int = 0  # the last n records of a page come again on the next one
    dropped: set[str] = field(default_factory=set)  # fields it returns for no record
    dropped_for: dict[str, set[str]] = field(default_factory=dict)  # ... for one record

    # The next calls.
    unavailable: int = 0
    rate_limited: int = 0
    lost_requests: int = 0  # writes that time out before anything is done
    lost_answers: int = 0  # writes that are done, and time out
    partial: int | None = None  # the next write does so many of its records, and times out
    missing_outcomes: int = 0  # outcomes that are left out of the next answer

    # The process: at the k-th call of all (see Hostile.calls), before or after its effect.
    kill_before: int | None = None
    kill_after: int | None = None

    says: str = ""  # what it says in place of its own words when it refuses something

    # Somebody else: called before each page, with its number, and before each write; behind each of them.
    meanwhile: Callable[[str], None] | None = None
    afterwards: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Accepted:
    """One write that took effect."""

    call: int
    marker: str
    operation: Operation
    id: str
    before: Mapping[str, Value] | None
    after: Mapping[str, Value] | None


class HostileStream(MemoryStream):
    """A store that keeps what it is given in its own way, by whoever gives it."""

    def __init__(self, knobs: Knobs, fields: Sequence[Field], key: Sequence[str] = (), **more: Any) -> None:
        super().__init__(fields, key, **more)
        self.knobs = knobs

    def next_id(self) -> str:
        if not self.knobs.reuses_ids:
            return super().next_id()
        number = 1
        while f"rec{number}" in self.rows:
            number += 1
        return f"rec{number}"

    def reshape(self, fields: Sequence[Field]) -> None:
        """Somebody changes the table: what is not among these fields is gone, with its values."""
        self.fields = tuple(fields)
        names = {item.name for item in fields}
        for id, row in self.rows.items():
            self.rows[id] = {name: value for name, value in row.items() if name in names}
            self.moves += 1
            self.versions[id] = str(self.moves)

    def _store(self, id: str, row: dict[str, Value]) -> None:
        super()._store(id, {name: self._kept(name, value) for name, value in row.items()})

    def _kept(self, name: str, value: Value) -> Value:
        if value is None:
            return "" if self.knobs.blank_is_null else None
        normalise = self.knobs.normalise.get(name)
        return value if normalise is None else normalise(value)


class Hostile:
    """One system with one stream, its knobs, and the log of what it accepted."""

    end: Mapping[str, Any] = {}  # what a sync says of its stream beside the name

    def __init__(
        self,
        fields: Sequence[Field],
        knobs: Knobs | None = None,
        *,
        key: Sequence[str] = (),
        space: str = "hostile",
        stream: str = "people",
        access: Access | None = None,
        seed: int = 0,
    ) -> None:
        self.knobs = knobs or Knobs()
        self.access = access or Access()
        self.space = space
        self.stream_name = stream
        self.store = HostileStream(self.knobs, fields, key)
        self.access.memory.setdefault(space, {})[stream] = self.store
        self.chance = random.Random(seed)
        self.log: list[Accepted] = []
        self.calls = 0
        self.trace: list[str] = []  # the name of each call
        self.hidden: dict[str, _Hidden] = {}

    @property
    def rows(self) -> dict[str, dict[str, Value]]:
        return self.store.rows

    def connect(self) -> HostileMemory:
        """The connector of one run. What it declares follows the knobs as they stand now."""
        knobs = self.knobs
        declared = {
            "snapshot": knobs.snapshot,
            "consistent": knobs.consistent,
            "stable_ids": knobs.stable_ids,
            "blank_is_null": knobs.blank_is_null,
            "omits_empty": knobs.omits_empty,
            "page_size": knobs.page_size,
            "batch_size": knobs.batch_size,
            "can": HostileMemory.can if knobs.can_look_up else HostileMemory.can & ~Can.LOOKUP,
        }
        made: type[HostileMemory] = type("HostileMemory", (HostileMemory,), declared)
        return made(self)

    def connect_all(self, streams: Mapping[str, Hostile]) -> Connector:
        """The connector of one run to a space that holds these streams, this one among them."""
        if len(streams) == 1:
            return self.connect()
        return Streams({name: system.connect() for name, system in streams.items()})

    def creates(self) -> dict[str, int]:
        """marker -> how many records it made."""
        made: dict[str, int] = {}
        for entry in self.log:
            if entry.operation == "create":
                made[entry.marker] = made.get(entry.marker, 0) + 1
        return made

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """One call from outside: counted, perhaps refused, perhaps the last thing the process does."""
        knobs = self.knobs
        self.calls += 1
        number = self.calls
        self.trace.append(name)
        if knobs.kill_before == number:
            raise Killed(f"before call {number}: {name}")
        if knobs.meanwhile is not None:
            knobs.meanwhile(name)
        if knobs.rate_limited:
            knobs.rate_limited -= 1
            raise RateLimited("The hostile system asks for a pause.", retry_after=1.0)
        if knobs.unavailable:
            knobs.unavailable -= 1
            raise Unavailable(knobs.says or "The hostile system does not answer.")
        yield
        if knobs.afterwards is not None:
            knobs.afterwards(name)
        if knobs.kill_after == number:
            raise Killed(f"after call {number}: {name}")

    def hide(self, id: str, before: Record | None) -> None:
        """Our write of this record does not show for the next `lag` reads."""
        if self.knobs.lag:
            self.hidden[id] = _Hidden(before, self.knobs.lag)

    def seen(self) -> dict[str, Record]:
        """What a read shows now."""
        shown = {id: Record(id, row, self.store.versions[id]) for id, row in self.store.rows.items()}
        for id, old in list(self.hidden.items()):
            shown.pop(id, None)
            if old.before is not None:
                shown[id] = old.before
            old.reads_left -= 1
            if old.reads_left <= 0:
                del self.hidden[id]
        return {id: self._as_returned(record) for id, record in shown.items()}

    def _as_returned(self, record: Record) -> Record:
        knobs = self.knobs
        dropped = knobs.dropped | knobs.dropped_for.get(record.id, set())
        fields = {
            name: value
            for name, value in record.fields.items()
            if name not in dropped and not (knobs.omits_empty and value in (None, ""))
        }
        version = record.version if knobs.has_versions else None
        return Record(record.id, fields, version, deleted=record.id in knobs.trashed)

    def returned(self, id: str) -> Record | None:
        """The receipt of a write: fresh, in the form in which the system returns records."""
        record = self.store.record(id)
        return None if record is None else self._as_returned(record)


@dataclass
class _Hidden:
    before: Record | None
    reads_left: int


class HostileMemory(Memory):
    """The connector of one run to a hostile system."""

    def __init__(self, system: Hostile) -> None:
        super().__init__(MemoryOptions(space=system.space), system.access)
        self.system = system

    def read(self, stream: Stream, options: StreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        knobs = self.system.knobs
        store = self._store(stream.name)
        cursor = str(store.moves)
        snapshot = self._listed(since) if knobs.snapshot else []
        size = knobs.page_size
        number = start = 0
        while True:
            number += 1
            with self.system.call(f"page {number}"):
                if knobs.fail_at_page == number:
                    raise Unavailable(f"The hostile system fails on page {number}.")
                if knobs.cut_at_page == number:
                    return
                records = snapshot if knobs.snapshot else self._listed(since)
                begin = max(start - knobs.repeats, 0) if start else 0
                is_last = start + size >= len(records)
                page = Page.of(
                    records[begin : start + size],
                    is_last=is_last,
                    total=len(records) + knobs.total_off_by if knobs.snapshot else None,
                    cursor=cursor if is_last else None,
                )
            yield page
            if is_last:
                return
            start += size

    def _listed(self, since: Cursor | None) -> list[Record]:
        knobs = self.system.knobs
        if knobs.empty:
            return []
        left_out = knobs.withheld | knobs.forbidden
        records = [record for id, record in self.system.seen().items() if id not in left_out]
        if since is not None:
            versions = self.system.store.versions
            records = [item for item in records if int(versions.get(item.id, 0)) > int(since)]
        if knobs.short_by:
            lost = set(self.system.chance.sample(range(len(records)), min(knobs.short_by, len(records))))
            records = [record for index, record in enumerate(records) if index not in lost]
        return records

    def write(self, stream: Stream, options: StreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        system, knobs = self.system, self.system.knobs
        store = self._store(stream.name)
        with system.call("write"):
            if knobs.lost_requests:
                knobs.lost_requests -= 1
                raise OutcomeUnknown("The hostile system did not answer in time.")
            if knobs.partial is not None:
                done, knobs.partial = knobs.partial, None
                for write in batch[:done]:
                    self._carry_out(store, write)
                raise OutcomeUnknown("The hostile system did not answer in time.")
            outcomes = self._batch(store, batch)
            if knobs.lost_answers:
                knobs.lost_answers -= 1
                raise OutcomeUnknown("The hostile system did not answer in time.")
        if knobs.shuffles:
            system.chance.shuffle(outcomes)
        if knobs.missing_outcomes:
            outcomes = outcomes[knobs.missing_outcomes :]
            knobs.missing_outcomes = 0
        return outcomes

    def _batch(self, store: MemoryStream, batch: Sequence[Write]) -> list[Outcome]:
        if not self.system.knobs.all_or_nothing:
            return [self._carry_out(store, write) for write in batch]
        rows, versions, accepted = dict(store.rows), dict(store.versions), len(self.system.log)
        outcomes = [self._carry_out(store, write) for write in batch]
        refused = next((item for item in outcomes if item.status == "rejected"), None)
        if refused is None:
            return outcomes
        for id in list(store.rows):
            if store.versions[id] != versions.get(id):
                store.remove(id)
        for id, row in rows.items():
            if id not in store.rows:
                store.put(row, id)
                store.versions[id] = versions[id]
        store.rows = {id: store.rows[id] for id in rows}
        del self.system.log[accepted:]
        raise RecordRejected(refused.message, code=refused.code, field=refused.field)

    def _carry_out(self, store: MemoryStream, write: Write) -> Outcome:
        system, knobs = self.system, self.system.knobs
        if write.id in knobs.forbidden or write.id in knobs.protected:
            return Outcome(
                write.marker,
                "rejected",
                write.id,
                code="forbidden",
                message=knobs.says or "You may not change this record.",
            )
        before = store.record(write.id or "")
        kept = {name: value for name, value in write.fields.items() if name not in knobs.ignored}
        outcome = super()._carry_out(store, replace(write, fields=kept))
        if outcome.status != "done" or outcome.id is None:
            return outcome
        after = store.record(outcome.id)
        if before != after:
            system.log.append(
                Accepted(
                    system.calls,
                    write.marker,
                    write.operation,
                    outcome.id,
                    None if before is None else before.fields,
                    None if after is None else after.fields,
                )
            )
            system.hide(outcome.id, before)
        return replace(outcome, record=system.returned(outcome.id) if knobs.has_receipts else None)

    def clock(self) -> datetime | None:
        return self.system.knobs.clock and self.system.knobs.clock()

    def lookup(self, stream: Stream, options: StreamOptions, ids: Sequence[str]) -> list[Looked]:
        with self.system.call("lookup"):
            seen = self.system.seen()
            return [self._looked(seen, id) for id in ids]

    def _looked(self, seen: Mapping[str, Record], id: str) -> Looked:
        if id in self.system.knobs.forbidden:
            return Looked(id, "unknown", reason="You may not see this record.")
        if id not in seen and self.system.knobs.merged.get(id) in seen:
            return Looked(id, "there", seen[self.system.knobs.merged[id]])
        return Looked(id, "there", seen[id]) if id in seen else Looked(id, "gone")

    def find(
        self, stream: Stream, options: StreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        with self.system.call("find"):
            return [item for item in self.system.seen().values() if item.get(field) in values]


class Streams(Connector):
    """One connector over several hostile systems, each of which is one of its streams."""

    name = "memory"
    title = "Memory"
    Options = MemoryOptions

    can = HostileMemory.can
    snapshot = True

    def __init__(self, parts: Mapping[str, HostileMemory]) -> None:
        self.parts = parts
        self.first = next(iter(parts.values()))
        super().__init__(self.first.options, self.first.access)

    def check(self) -> str:
        return self.first.check()

    def discover(self) -> list[Stream]:
        return self.first.discover()

    def stream(self, name: str, options: StreamOptions) -> Stream:
        return self.parts.get(name, self.first).stream(name, options)

    def read(self, stream: Stream, options: StreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        return self.parts[stream.name].read(stream, options, since)

    def write(self, stream: Stream, options: StreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        return self.parts[stream.name].write(stream, options, batch)

    def lookup(self, stream: Stream, options: StreamOptions, ids: Sequence[str]) -> list[Looked]:
        return self.parts[stream.name].lookup(stream, options, ids)

    def find(
        self, stream: Stream, options: StreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        return self.parts[stream.name].find(stream, options, field, values)

    def clock(self) -> datetime | None:
        return self.first.clock()
