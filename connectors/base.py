"""The contract of a connector: what it declares and the five things that it can be asked to do.

A connector holds no retry loop, no sleep, no logging and no clock. It raises the errors of
`connectors.errors`, named by the reaction they want, and returns the values below.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from connectors.errors import OptionsError
from connectors.kept import Kept
from connectors.quotas import Cost, Limiter, NoLimiter, Quota
from connectors.recording import NoRecorder, Recorder
from connectors.signin import SignIn
from sync.records import Record, Stream
from sync.values import MISSING, Fields, FieldType, Value, ValueProblem, parse

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

Cursor = str  # opaque, parsed only by the connector that made it


class Can(enum.Flag):
    """What a connector is able to do."""

    READ = enum.auto()
    WRITE = enum.auto()
    DELETE = enum.auto()
    INCREMENTAL = enum.auto()  # read(since=...) returns only what moved past a cursor
    LOOKUP = enum.auto()  # lookup() by id and find() by a field's value
    CREATE_STREAM = enum.auto()  # create_stream() makes a missing table


# Who makes an id, and whether a person can type over it.
#   system   the system gives it and it outlives every edit
#   chosen   a cell that Syncline fills: the caller chooses the id, journals it, and gives it in Write.id
#   visible  a cell that belongs to the user: an edit of it looks like one record gone and another come
IdKind = Literal["system", "chosen", "visible"]

# The first character of the provisional id of a record whose key cell is empty. No real id begins with
# it (connectors strip the ids they take from cells), and it never leaves the run that read it.
#   id_kind "chosen":  send an update under the provisional id, with the row's version as
#                      `expected_version` and the chosen id among `fields` under the stream's key (other
#                      fields may go with it). Its outcome carries the record under the new id; "stale"
#                      says that the row has moved or changed: read again.
#   id_kind "visible": the record cannot take part ("no key"); writes to it are rejected.
UNKEYED = "\x1f"


def unkeyed(row: int) -> str:
    """The provisional id of the record without a key in row `row`."""
    return f"{UNKEYED}row {row}"


def unkeyed_row(id: str) -> int:
    """The row of a provisional id."""
    return int(id.rpartition(" ")[2])


def is_unkeyed(id: str) -> bool:
    """Whether this is a provisional id."""
    return id.startswith(UNKEYED)


class Options(BaseModel):
    """Base of every connector's options. Fields of type SecretStr are encrypted and masked.

    Whoever changes another option has to enter the secrets again, since it may decide where they are sent;
    an option that does not says so: `Field(json_schema_extra={"keeps_secrets": True})`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(BaseModel):
    """Base of what a SyncConfig may say of one stream beside its name (`key`, `query`, `header` ...)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = None


# The same under a name that stays free in the body of a connector with a StreamOptions of its own.
AnyStreamOptions = StreamOptions


class Token(Protocol):
    """The access token of a connection that somebody signed in, asked for at each call.

    `refused` is the one that the system no longer takes: then it is renewed first, unless that was done
    meanwhile. Raises AuthError where only a new sign-in helps.
    """

    def __call__(self, *, refused: str | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class Access:
    """What this installation lets connectors reach. Built once from the settings; `token` per connection."""

    folders: tuple[Path, ...] = ()  # where SQLite and CSV files may lie
    forbidden_files: tuple[Path, ...] = ()  # our own database
    # Private ranges that an administrator allowed.
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    allow_http: bool = False
    memory: dict[str, Any] = field(default_factory=dict)  # the spaces of the `memory` connector
    engines: Kept[Engine] = field(default_factory=Kept)  # of databases, with the statements they prepared
    limiter: Limiter = field(default_factory=NoLimiter)  # holds calls to the systems' quotas
    recorder: Recorder = field(default_factory=NoRecorder)  # is told of each call over HTTP
    token: Token | None = None  # of a connection that was signed in; None where its options hold a secret
    account: str = ""  # who signed in, as the system counts its quotas by


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a stream. Ids and versions come at once, a record is parsed only when asked for.

    A record is asked for while its page is the current one: a database may fetch it only then.

    `is_last` on the final page is the source's own word that the read is complete; `total` is the
    number of records it says it holds, where it says so. `cursor` is where a later read may begin.
    """

    ids: Sequence[str]
    versions: Sequence[str | None]
    record: Callable[[int], Record]
    is_last: bool = False
    total: int | None = None
    cursor: Cursor | None = None
    # Several records at once, where that is cheaper than one after the other.
    some: Callable[[Sequence[int]], Sequence[Record]] | None = None

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        *,
        is_last: bool = False,
        total: int | None = None,
        cursor: Cursor | None = None,
    ) -> Self:
        return cls(
            ids=[item.id for item in records],
            versions=[item.version for item in records],
            record=records.__getitem__,
            is_last=is_last,
            total=total,
            cursor=cursor,
        )

    @property
    def records(self) -> list[Record]:
        """All records of the page, parsed."""
        return list(self.pick(range(len(self.ids))))

    def pick(self, indexes: Sequence[int]) -> Sequence[Record]:
        """These records of the page, parsed."""
        if self.some is not None:
            return self.some(indexes)
        return [self.record(index) for index in indexes]


Operation = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Write:
    """One change to send. `marker` is the journal's id of it: the same write has the same marker.

    `fields` holds only what is to be written, under this side's names, as canonical values; None is an
    explicit clear. `id` is None for a create whose id the system gives. With `expected` (the values as
    they were read, for the fields to be written; or the version) a record that has moved is not
    touched and its outcome is "stale".
    """

    marker: str
    operation: Operation
    id: str | None
    fields: Fields = field(default_factory=dict)
    expected: Fields | None = None
    expected_version: str | None = None


def moved(write: Write, record: Record, *, blank_is_null: bool = False) -> str | None:
    """Why `record` is no longer what the caller of `write` had read; None if it is.

    An equal version settles it. Where it differs, only the fields named in `expected` count, so that
    somebody's edit of another field does not stop the write; without `expected` the version decides.
    """
    if write.expected_version is not None and write.expected_version == record.version:
        return None
    if write.expected is not None:
        for name, value in write.expected.items():
            if not holds(record.get(name), value, blank_is_null):
                return f"'{name}' was changed since it was read"
        return None
    return None if write.expected_version is None else "the record was changed since it was read"


def holds(current: Value, expected: Value, blank_is_null: bool = False) -> bool:
    """Whether a value as it stands in a system means what the caller means ("1.50" is the decimal 1.5)."""
    if current is MISSING:
        current = None
    if expected is MISSING:
        expected = None
    if blank_is_null:
        current, expected = (None if item == "" else item for item in (current, expected))
    if current is None or expected is None:
        return current is expected
    if current == expected and isinstance(current, bool) == isinstance(expected, bool):
        return True
    kind = _KINDS.get(type(expected))
    if kind is None:
        return False
    try:
        return bool(parse(current, kind) == expected)
    except ValueProblem:
        return False


_KINDS: Mapping[type, FieldType] = {
    str: FieldType.TEXT,
    int: FieldType.INTEGER,
    Decimal: FieldType.DECIMAL,
    bool: FieldType.BOOLEAN,
    date: FieldType.DATE,
    datetime: FieldType.DATETIME,
    tuple: FieldType.LIST,
    dict: FieldType.JSON,
    list: FieldType.JSON,
}


Status = Literal["done", "rejected", "stale", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one write. `record` is the system's receipt: the record as it stands there now.

    done: it stands there (for a delete: it is gone, also when it was gone before). rejected: refused,
    nothing changed, `code` and `message` say why. stale: it moved since it was read, nothing changed.
    missing: the record to update is not there. unknown: it may have happened; look first.
    """

    marker: str
    status: Status
    id: str | None = None
    record: Record | None = None
    code: str = ""
    message: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Amount:
    """What a run has to do at one end: the records to read there, and the writes to it."""

    records: int
    created: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Looked:
    """The answer to one lookup by id: there (with the record), gone for sure, or not to be said."""

    id: str
    state: Literal["there", "gone", "unknown"]
    record: Record | None = None
    reason: str = ""


def first_mistake(problem: ValidationError) -> str:
    """The first mistake of a pydantic error as one sentence, without the rejected value."""
    mistake = problem.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in mistake["loc"])
    return f"{where}: {mistake['msg']}" if where else str(mistake["msg"])


@dataclass(frozen=True, slots=True)
class Total:
    """What records, or what is known of them, add up to: equal totals are the same records, unchanged."""

    count: int
    versions: int | None  # None where some version is unknown: that is like nothing that stands there


@dataclass(frozen=True, slots=True)
class Parts:
    """A stream as parts of its records, all of it as it was at one moment; good within its block.

    A part is what PostgreSQL's `hashtextextended(id, 0)` has in its lowest bits. `read` returns the pages
    of some parts alone.
    """

    totals: Mapping[int, Total]  # of each part that holds records
    read: Callable[[Collection[int]], Iterator[Page]]
    cursor: Cursor | None = None  # where a later read may begin

    @property
    def whole(self) -> Total:
        return Total(
            sum(part.count for part in self.totals.values()),
            sum(part.versions or 0 for part in self.totals.values()),
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some parts of a stream, or of what is known of it."""

    number: int  # of all parts
    parts: Collection[int]


class Connector(ABC):
    """One external system with one account's options. Cheap to make; opens things when first asked."""

    name: ClassVar[str]
    title: ClassVar[str]
    can: ClassVar[Can]
    # One complete scan is one consistent snapshot: it proves an absence by itself.
    snapshot: ClassVar[bool] = False
    # Ids outlive every edit. False where the id is a visible cell that a person may type over.
    stable_ids: ClassVar[bool] = True
    # Writes show in reads at once. False: a record that we just wrote is not missed for 10 minutes.
    consistent: ClassVar[bool] = True
    # The system cannot tell "" from null / leaves empty fields out of its answers.
    blank_is_null: ClassVar[bool] = False
    omits_empty: ClassVar[bool] = False
    # Its reads may run at the same time as the other side's, in a thread of their own.
    reads_apart: bool = False
    batch_size: ClassVar[int] = 100
    # A batch may hold creates, updates and deletes together, where that saves calls.
    mixes_operations: ClassVar[bool] = False
    page_size: ClassVar[int] = 5_000  # records of a page, where the connector may choose
    sign_in: ClassVar[SignIn | None] = None  # how a person may sign in to it from the panel
    Options: ClassVar[type[Options]]
    StreamOptions: ClassVar[type[StreamOptions]] = StreamOptions

    def __init__(self, options: Any, access: Access) -> None:
        self.options = options
        self.access = access

    @classmethod
    def parse_options(cls, raw: Mapping[str, object]) -> Any:
        """The options model of these raw options. Raises OptionsError that names the option."""
        try:
            return cls.Options.model_validate(raw)
        except ValidationError as problem:
            raise OptionsError(f"{cls.title}: {first_mistake(problem)}") from None

    @classmethod
    def parse_stream_options(cls, raw: Mapping[str, object]) -> Any:
        """What a config says of a stream, as this connector's model. Raises OptionsError."""
        try:
            return cls.StreamOptions.model_validate(raw)
        except ValidationError as problem:
            raise OptionsError(f"{cls.title}: {first_mistake(problem)}") from None

    @classmethod
    def anchor(cls, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """The options with relative paths made absolute, starting at `folder` (the YAML's own)."""
        return dict(options)

    def id_kind(self, stream: Stream, options: AnyStreamOptions) -> IdKind:
        """Who makes the ids of this stream. Asked once per run, answered without a call."""
        return "system" if self.stable_ids else "visible"

    @abstractmethod
    def check(self) -> str:
        """One cheap call. A sentence on success; raises ConnectorError on failure."""

    @abstractmethod
    def discover(self) -> list[Stream]:
        """All streams with fields, types, keys and what is writable."""

    @abstractmethod
    def stream(self, name: str, options: AnyStreamOptions) -> Stream:
        """One stream as it is now. Raises StreamGone, OptionsError."""

    @abstractmethod
    def read(self, stream: Stream, options: AnyStreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        """All records, page by page; only those past `since` where the connector can."""

    def adds_up(self, options: AnyStreamOptions) -> bool:
        """Whether `in_parts` has an answer for such a stream. Asks the system nothing."""
        return False

    def in_parts(
        self, stream: Stream, options: AnyStreamOptions, number: int
    ) -> AbstractContextManager[Parts | None]:
        """A stream whose versions are whole numbers, in so many parts (a power of two), where it is quicker
        to add those up than to read them. None elsewhere."""
        return nullcontext()

    def write(self, stream: Stream, options: AnyStreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        """Carry out a batch: one outcome per write, in any order.

        Raises RecordRejected when the system refuses the batch as a whole because of some record in it
        (the caller bisects), OutcomeUnknown when the answer was lost, and the fatal and retryable errors
        when nothing of the batch was done.
        """
        raise NotImplementedError(f"{self.name} cannot write")

    def foresee(  # noqa: B027  only where a system cannot compare for itself and counts calls
        self, stream: Stream, options: AnyStreamOptions, writes: Sequence[Write]
    ) -> None:
        """These writes follow next, in batches: what must be looked at may be fetched in fewer calls."""

    def marked(self, stream: Stream, options: AnyStreamOptions, markers: Sequence[str]) -> Mapping[str, str]:
        """Those of these writes that surely took effect, with the ids of their records: where a system keeps
        a mark of each write with its effect. Of one that is not among them nothing is said."""
        return {}

    def lookup(self, stream: Stream, options: AnyStreamOptions, ids: Sequence[str]) -> list[Looked]:
        """What stands under these ids now: 404 is gone, 403 and 5xx are unknown."""
        raise NotImplementedError(f"{self.name} cannot look up ids")

    def find(
        self, stream: Stream, options: AnyStreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        """The records whose field holds one of these values: how an unknown create is found again."""
        raise NotImplementedError(f"{self.name} cannot look up values")

    def clock(self) -> datetime | None:
        """The system's own clock at this moment, where one cheap call tells it: times are corrected by it."""
        return None

    def proposed(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        """How a missing stream with these fields will look once it is made: with a key."""
        return stream

    def create_stream(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        """Make a missing stream with these fields and this key, and return it as it then is."""
        raise NotImplementedError(f"{self.name} cannot create streams")

    def quotas(self, stream: Stream | None = None) -> Sequence[Quota]:
        """What the calls about this stream are counted by, the tightest first. Answered without a call."""
        return ()

    def cost(self, stream: Stream, options: AnyStreamOptions, amount: Amount) -> Sequence[Cost]:
        """How many calls that takes, where the system counts them. Answered without a call."""
        return ()

    def close(self) -> None:  # noqa: B027  most connectors hold nothing open
        """Give back what was opened. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
