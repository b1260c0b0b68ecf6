"""What differs between databases, behind one face: opening, types, locks, generated keys, error codes.

`connectors.sql` speaks SQLAlchemy Core over three things: a `Database` opens transactions, names errors
and turns stored values into canonical ones and back; a `Table` is one reflected table or view; a `Column`
is one of its columns. Another database is another subclass of Database and one line in DATABASES.

Values cross the driver in one raw form per database, so that no driver's own conversion rounds them:
the text form of every type for PostgreSQL, the five storage classes for SQLite, numbers, texts and bytes for
MySQL and MariaDB.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import types
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.engine.interfaces import (
    ReflectedColumn,
    ReflectedForeignKeyConstraint,
    ReflectedIndex,
)
from sqlalchemy.engine.reflection import Inspector, ObjectKind
from sqlalchemy.exc import DBAPIError

from connectors.base import Access, Chosen
from connectors.errors import ConnectorError, OutcomeUnknown
from sync.records import Field
from sync.values import FieldType, Value

Raw = Any  # a value as the driver gives and takes it
Row = Sequence[Raw]


class Unfit(Exception):
    """A value or a record that the database does not take. Becomes a rejected outcome."""

    def __init__(self, code: str, message: str, field_name: str = "", *, constraint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field_name = field_name
        self.constraint = constraint  # the unique one that was violated: its name, or its columns


class _AsIs(types.UserDefinedType[Any]):
    """No conversion by SQLAlchemy and no cast in the statement: the column's own rules apply to the value.

    (A cast to varchar(10) cuts silently, where storing the same text in such a column is an error.)
    """

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        raise NotImplementedError("only values have this type; columns have their own")


AS_IS = _AsIs()


@dataclass(frozen=True)
class Column:
    """One column: its field contract, and what is needed to read and write its values.

    `kind` is one of the keys of FIELD_TYPES.
    """

    field: Field
    kind: str
    type: str  # as the database writes it
    digits: int | None = None  # that a binary number keeps exactly
    sample: Raw = None  # a value that stands there, where the column has habits rather than a type

    @property
    def name(self) -> str:
        return self.field.name


@dataclass(frozen=True)
class ForeignKey:
    """One column that holds the key of a row of another table (or of its own)."""

    column: str
    stream: str
    cascades: bool = False  # who deletes that row deletes this one


@dataclass(frozen=True)
class Table:
    """A table or view as it is now."""

    name: str  # of the stream: with the schema unless that is the default one
    schema: str | None
    bare_name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    unique: Mapping[str, tuple[str, ...]]  # constraint, or its columns, -> columns
    is_view: bool = False
    read_only_because: str = ""
    foreign_keys: tuple[ForeignKey, ...] = ()
    referred_by: tuple[tuple[str, ForeignKey], ...] = ()  # table -> its foreign keys that lead here

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def clause(self) -> sa.TableClause:
        columns: list[sa.ColumnClause[Any]] = [sa.column(column.name, AS_IS) for column in self.columns]
        return sa.table(self.bare_name, *columns, schema=self.schema)

    @cached_property
    def keys(self) -> list[tuple[str, ...]]:
        """Every set of columns that is sure to name a row, the best first."""
        others = sorted(set(self.unique.values()) - {self.primary_key}, key=lambda names: (len(names), names))
        sure = [names for names in others if not any(self.by_name[name].field.nullable for name in names)]
        return [self.primary_key, *sure] if self.primary_key else sure

    @cached_property
    def seed(self) -> int:
        """Makes versions differ where the same cells stand under other columns."""
        shape = repr([(column.name, column.type) for column in self.columns])
        return int.from_bytes(hashlib.blake2b(shape.encode(), digest_size=8).digest(), signed=True)

    def versions(self, rows: Sequence[Row]) -> list[str]:
        """A hash of each raw row."""
        seed, blake2b = self.seed, hashlib.blake2b
        return [blake2b(f"{seed}{row!r}".encode(), digest_size=12).hexdigest() for row in rows]


class Database(ABC):
    """One database, reached by the checked parts of a URL. Opens nothing until first used."""

    title: ClassVar[str]
    url_options: ClassVar[frozenset[str]] = frozenset()
    reads_apart: ClassVar[bool] = False  # reading takes another process's time, not ours
    adds_hashes: ClassVar[bool] = False  # whether `totals` can be asked
    max_values: ClassVar[int]  # how many values one statement may carry
    driver_errors: ClassVar[tuple[type[Exception], ...]]
    clock: ClassVar[str | None] = None  # asks a server for its time, in seconds since 1970
    # How long an answer may let us wait for its next byte. The longest honest statement takes less; what
    # takes in all that is sent and says nothing (a proxy, a server that hangs) is given up.
    answer_seconds: ClassVar[float] = 900

    def __init__(self, url: URL, password: str, access: Access) -> None:
        self.url = url
        self.password = password
        self.access = access
        self._open: set[Connection] = set()

    @classmethod
    def check_url(cls, url: URL) -> None:
        """Raises ValueError, with a sentence without secrets, unless all parts are ones that we take."""
        for name, value in url.query.items():
            if name not in cls.url_options or not isinstance(value, str):
                known = ", ".join(sorted(cls.url_options)) or "none"
                raise ValueError(f"the URL option '{name}' is not allowed; allowed are: {known}")

    # -- opening --

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for messages; no secrets."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Another one means another database."""

    @abstractmethod
    def _engine(self) -> Engine:
        """A new one. Connects when first asked to."""

    @cached_property
    def _kept_as(self) -> Hashable | None:
        """All that an engine is made from, where one is as good for another run: what it puts together to
        look at tables takes longer than the look. None where it is made for each."""
        return None

    @cached_property
    def engine(self) -> Engine:
        key = self._kept_as
        return self._engine() if key is None else self.access.engines.take(key, self._engine)

    def close(self) -> None:
        """Give back everything, also what an unfinished read holds."""
        while self._open:
            connection = self._open.pop()
            connection.invalidate()
            connection.close()
        if "engine" in self.__dict__:
            if (key := self._kept_as) is None:
                self.engine.dispose()
            else:
                self.access.engines.give_back(key)
            del self.engine

    @abstractmethod
    def _prepare(self, connection: Connection, *, writes: bool) -> Connection:
        """Begin the transaction, as this database wants it begun."""

    @contextmanager
    def transaction(self, *, writes: bool) -> Iterator[Connection]:
        """One transaction, whose block may do other things as well: their errors are left as they are."""
        with self.engine.connect() as connection:
            self._open.add(connection)
            try:
                yield self._prepare(connection, writes=writes)
            finally:
                self._open.discard(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read-only transaction that sees one state throughout. Raises the errors of the tree."""
        with self.naming_errors(), self.transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end of the block, rolled back by an error.

        Raises Unfit when the database refuses a record, OutcomeUnknown when nobody knows whether it
        committed, else the errors of the tree, with nothing done.
        """
        with self.naming_errors(), self.transaction(writes=True) as connection:
            yield connection
            try:
                connection.commit()
            except self.driver_errors as error:
                if self.is_lost(_original(error)):
                    with suppress(ConnectorError, Unfit):
                        self.outlast()
                    raise OutcomeUnknown(f"The connection to {self.place} broke during a commit.") from error
                raise

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """A driver's error leaves this block as Unfit or as an error of the tree."""
        try:
            yield
        except self.driver_errors as error:
            raise self.named(_original(error)) from error

    def outlast(self) -> None:  # noqa: B027  most have nothing to wait for
        """Wait until a transaction is over whose commit was cut off, so that a look shows what came of it."""

    @abstractmethod
    def is_lost(self, error: BaseException) -> bool:
        """Whether a commit that failed like this may have happened."""

    @abstractmethod
    def named(self, error: BaseException) -> Unfit | ConnectorError:
        """A driver's error as a refusal of one record, or as what the run must do."""

    @abstractmethod
    def version(self, connection: Connection) -> str:
        """The server's own name and version."""

    # -- tables --

    def table_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        return set(inspector.get_table_names(schema))

    def view_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        return set(inspector.get_view_names(schema))

    def columns(
        self, inspector: Inspector, schema: str | None, tables: Sequence[str] | None
    ) -> Mapping[str, Sequence[ReflectedColumn]]:
        """Table or view -> its columns."""
        asked: dict[str, Any] = {"schema": schema, "filter_names": tables, "kind": ObjectKind.ANY}
        return {name: columns for (_, name), columns in inspector.get_multi_columns(**asked).items()}

    def primary_keys(
        self, inspector: Inspector, schema: str | None, tables: Sequence[str] | None
    ) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Table -> its primary key's name, which may be "", and columns."""
        asked: dict[str, Any] = {"schema": schema, "filter_names": tables, "kind": ObjectKind.ANY}
        return {
            name: (str(key.get("name") or ""), tuple(key["constrained_columns"]))
            for (_, name), key in inspector.get_multi_pk_constraint(**asked).items()
        }

    @abstractmethod
    def schemas(self, inspector: Inspector) -> list[str | None]:
        """The schemas that may hold streams. None is the default one."""

    @abstractmethod
    def read_only(self, connection: Connection) -> Mapping[tuple[str | None, str], str]:
        """(schema, table) -> why it cannot be written; under (None, "") why nothing can."""

    def unique(
        self, inspector: Inspector, schema: str | None, tables: Sequence[str] | None
    ) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """table -> unique constraint or index -> its columns; only those that cover all rows."""
        asked: dict[str, Any] = {"schema": schema, "filter_names": tables, "kind": ObjectKind.ANY}
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for (_, name), constraints in inspector.get_multi_unique_constraints(**asked).items():
            columns = {str(item["name"]): tuple(item["column_names"]) for item in constraints}
            found.setdefault(name, {}).update(columns)
        for (_, name), indexes in inspector.get_multi_indexes(**asked).items():
            found.setdefault(name, {}).update(unique_indexes(indexes))
        return found

    def cascading(
        self, connection: Connection, inspector: Inspector, schema: str | None
    ) -> set[tuple[str, str]]:
        """(table, column) of the foreign keys whose row goes along with the one that it leads to."""
        return {
            (str(name), item["constrained_columns"][0])
            for name, items in self.references(inspector, schema).items()
            for item in items
            if (item.get("options") or {}).get("ondelete") == "CASCADE"
        }

    def references(
        self, inspector: Inspector, schema: str | None
    ) -> Mapping[str, Sequence[ReflectedForeignKeyConstraint]]:
        """Table -> its foreign keys."""
        return {name: items for (_, name), items in inspector.get_multi_foreign_keys(schema=schema).items()}

    @abstractmethod
    def fills(self, connection: Connection, table: str, column: ReflectedColumn) -> bool:
        """Whether the database chooses this column's value in a new row, when it is the key."""

    @abstractmethod
    def column(
        self, connection: Connection, table: sa.TableClause, reflected: ReflectedColumn, *, fills: bool
    ) -> Column: ...

    @abstractmethod
    def type_of(self, field: Field, *, indexed: bool) -> types.TypeEngine[Any]:
        """The column type in which a new table holds this field; `indexed` where no two rows may share it."""

    @abstractmethod
    def numbered_key(self, name: str) -> sa.Column[int]:
        """A key column for a new table that the database fills."""

    # -- rows --

    def selected(self, clause: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """A column in a SELECT list, in its raw form."""
        return clause

    def chunks(
        self, connection: Connection, select: sa.Select[Any], size: int, key: Sequence[Column] | None
    ) -> Iterator[list[Row]]:
        """The rows of a large SELECT, some at a time. With `key`, these columns come first, the rows are in
        their order, and more is asked on the connection before the last row has come.
        """
        result = connection.execute(select, execution_options={"yield_per": size})
        for chunk in result.partitions():
            yield [tuple(row) for row in chunk]

    def row_hash(self, table: Table) -> sa.ColumnElement[str] | None:
        """A hash of a whole row, made inside the database. It is then the row's version, so that a full read
        fetches keys and hashes alone, and the few rows that changed. None where there is no such function.
        """
        return None

    def hashed(
        self, table: Table, key: Sequence[Column], size: int, chosen: Chosen | None = None
    ) -> sa.Select[tuple[str, str, int]] | None:
        """All keys and row hashes, or those of the chosen parts, so many to a row: both joined by line ends,
        and their number. None where they can only be read row by row.
        """
        return None

    def totals(
        self, connection: Connection, table: Table, key: Sequence[Column], number: int
    ) -> Iterable[tuple[int, int, int]]:
        """For each of so many parts of a table that holds rows: which one, how many rows, and the sum of
        their hashes. Only where those are whole numbers, and more than one of what is `hashed` by this key.
        """
        raise NotImplementedError(f"{self.title} adds up no hashes")

    def one_of(self, clause: sa.ColumnElement[Any], raws: Sequence[Raw]) -> sa.ColumnElement[bool]:
        """Whether a column holds one of these raw values."""
        return clause.in_([sa.bindparam(None, raw, AS_IS) for raw in raws])

    @abstractmethod
    def decode(self, column: Column, raw: Raw) -> Value:
        """The canonical value; the raw one where it does not fit the column's own type."""

    def decoder(self, column: Column) -> Callable[[Raw], Value]:
        """`decode` for one column, made once for many rows."""
        return partial(self.decode, column)

    def encoder(self, column: Column) -> Callable[[Value], Raw]:
        """`encode` for one column, made once for many rows. Raises Unfit."""
        return partial(self.encode, column)

    @abstractmethod
    def encode(self, column: Column, value: Value) -> Raw:
        """The raw form of a value that is not None. Raises Unfit, also for what would be rounded or cut."""

    @abstractmethod
    def key_text(self, raw: Raw) -> str:
        """A raw key value as (part of) a record's id."""

    @abstractmethod
    def key_raw(self, column: Column, text: str) -> Raw:
        """The raw value of (a part of) a record's id; None if no row can have it."""

    @abstractmethod
    def key_clause(self, clause: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """What `key_raw` is compared with."""

    def is_same(self, column: Column, one: Raw, two: Raw) -> bool:
        """Whether two raw values are one, where the database's own rules call them equal."""
        return True

    def locked(self, select: sa.Select[Any]) -> sa.Select[Any]:
        """The SELECT, so that nobody changes its rows before the transaction ends."""
        return select

    def check_at_once(self, connection: Connection) -> None:  # noqa: B027  most check at once anyway
        """Have constraints checked at each statement, not at the commit."""

    @abstractmethod
    def insert(
        self,
        connection: Connection,
        statement: sa.Insert,
        rows: Sequence[dict[str, Raw]],
        key: Sequence[tuple[sa.ColumnElement[Any], Column]],
        given: Sequence[Row | None],
    ) -> list[Row | None]:
        """Insert rows; their keys in the same order, None for a row that a trigger did not keep.

        `given` are the keys that stand in the rows, None where the database chooses.
        """

    def update_many(
        self,
        connection: Connection,
        clause: sa.TableClause,
        key: Sequence[Column],
        columns: Sequence[Column],
        rows: Sequence[tuple[Row, Row]],
    ) -> bool:
        """Update rows, each named by its raw key and with raw values for `columns`, in one statement. False,
        with nothing done, where they are better updated one after the other."""
        return False

    @abstractmethod
    def earlier(self, column: Column, raw: Raw, seconds: float) -> Raw:
        """A cursor's value moved back in time, where the column holds times."""


def _original(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def unique_indexes(indexes: Sequence[ReflectedIndex]) -> dict[str, tuple[str, ...]]:
    """The unique ones among these that cover all rows, and by columns alone."""
    found = {}
    for index in indexes:
        options = index.get("dialect_options", {})
        is_partial = any(
            str(name).endswith("_where") and value is not None for name, value in options.items()
        )
        columns = index["column_names"]
        if index["unique"] and not is_partial and not index.get("expressions") and None not in columns:
            found[str(index["name"])] = tuple(str(name) for name in columns)
    return found


FIELD_TYPES: Mapping[str, FieldType] = {
    "boolean": FieldType.BOOLEAN,
    "integer": FieldType.INTEGER,
    "float": FieldType.DECIMAL,
    "decimal": FieldType.DECIMAL,
    "datetime": FieldType.DATETIME,
    "naive_datetime": FieldType.DATETIME,  # taken for UTC
    "date": FieldType.DATE,
    "json": FieldType.JSON,
    "array": FieldType.LIST,
    "binary": FieldType.TEXT,  # base64
    "uuid": FieldType.TEXT,
    "text": FieldType.TEXT,  # and whatever has a text form: times of day, intervals, networks ...
}


def base_type(reflected: types.TypeEngine[Any]) -> types.TypeEngine[Any]:
    """The type under a domain."""
    while isinstance(reflected, postgresql.DOMAIN):
        reflected = reflected.data_type
    return reflected


def kind_of(reflected: types.TypeEngine[Any]) -> str:
    """The kind of a column by its reflected type: a key of FIELD_TYPES."""
    match reflected:
        case types.Boolean():
            return "boolean"
        case types.Integer():
            return "integer"
        case types.Float():
            return "float"
        case types.Numeric():
            return "decimal"
        case types.DateTime():
            return "datetime" if reflected.timezone else "naive_datetime"
        case types.Date():
            return "date"
        case types.JSON():
            return "json"
        case types.ARRAY():
            return "array"
        case types.LargeBinary():
            return "binary"
        case types.Uuid():
            return "uuid"
        case _:
            return "text"


def sentence(place: str) -> str:
    """A place at the beginning of a sentence."""
    return place[:1].upper() + place[1:]
