"""SQLite: a file inside the folders that are open to connectors."""

from __future__ import annotations

import base64
import itertools
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import types
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from connectors import files
from connectors.dialects.base import (
    AS_IS,
    FIELD_TYPES,
    Column,
    Database,
    Raw,
    Row,
    Unfit,
    kind_of,
    sentence,
    unique_indexes,
)
from connectors.dialects.values import (
    checked_binary,
    checked_decimal,
    checked_integer,
    checked_text,
    fits,
    of_this_type,
    unstorable,
    whole_number,
)
from connectors.errors import ConnectorError, OptionsError, StreamGone, Unavailable
from sync.records import Field
from sync.values import FieldType, Value, ValueProblem, display, json_text, parse

_BUSY_SECONDS = 5.0  # how long SQLite itself waits for another program's lock
_LARGEST = 2**63 - 1
_FLOAT_DIGITS = 15
_TIMES = ("datetime", "naive_datetime")


_DECLARED = sa.text("SELECT type FROM pragma_table_info(:table) WHERE name = :name")


class Sqlite(Database):
    """Never created, never our own, and never held for longer than one transaction."""

    title = "SQLite"
    max_values = 900  # old builds take 999
    driver_errors = (DBAPIError, sqlite3.Error)

    @classmethod
    def check_url(cls, url: URL) -> None:
        if url.host or url.username or url.password or url.port:
            raise ValueError("a SQLite URL names a file and no server: sqlite:///folder/file.db")
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise ValueError("a SQLite URL names a file: sqlite:///folder/file.db")
        super().check_url(url)

    @cached_property
    def path(self) -> Path:
        """Raises OptionsError unless the file is there and may be used."""
        path = files.allowed(files.anchored(self.url.database or "", self.access), self.access)
        if not path.is_file():
            raise OptionsError(
                f"There is no SQLite file '{path}'. Correct the URL, or put it there: it is never created."
            )
        return path

    @property
    def place(self) -> str:
        return f"the SQLite file '{Path(self.url.database or '').name}'"

    @property
    def fingerprint(self) -> str:
        return f"sqlite:{self.path}"

    @property
    def _is_marked_read_only(self) -> bool:
        return not self.path.stat().st_mode & 0o222

    def _engine(self) -> Engine:
        engine = sa.create_engine(
            "sqlite://", creator=self._connect, poolclass=NullPool, hide_parameters=True
        )

        @sa.event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # The driver was told to begin nothing by itself. Who writes takes the lock at once, so that
            # what it checked cannot change before it writes.
            writes = connection.get_execution_options().get("writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={'ro' if self._is_marked_read_only else 'rw'}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        # A text that is not UTF-8 spoils its own record and no other: it comes with what is wrong in it
        # marked, and whoever takes the record sets it aside.
        connection.text_factory = _decoded
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self, connection: Connection, *, writes: bool) -> Connection:
        return connection.execution_options(writes=writes)

    def is_lost(self, error: BaseException) -> bool:
        # A commit that meets a lock or a full disk is rolled back; after a disk error nobody knows.
        return _code(error) in ("SQLITE_IOERR", "SQLITE_CORRUPT")

    def named(self, error: BaseException) -> Unfit | ConnectorError:
        text = str(error).rstrip(".")
        match _code(error):
            case "SQLITE_CONSTRAINT":
                return _refusal(text)
            case "SQLITE_MISMATCH" | "SQLITE_TOOBIG" | "SQLITE_RANGE":
                return Unfit("type", f"The database refuses the record: {text}.")
            case "SQLITE_BUSY" | "SQLITE_LOCKED":
                return Unavailable(f"{sentence(self.place)} is locked by another program. Try again later.")
            case "SQLITE_READONLY":
                return OptionsError(f"{sentence(self.place)} may not be written. Give Syncline the right to.")
            case "SQLITE_FULL":
                return Unavailable(f"The disk of {self.place} is full. Make room there.")
            case "SQLITE_IOERR":
                return Unavailable(f"The disk of {self.place} fails: {text}.")
            case "SQLITE_CANTOPEN":
                return OptionsError(
                    f"{sentence(self.place)} cannot be opened. Check its rights and its folder's."
                )
            case "SQLITE_NOTADB" | "SQLITE_CORRUPT":
                return OptionsError(f"{sentence(self.place)} is not a SQLite database, or it is damaged.")
        if "no such table" in text:
            return StreamGone(f"{sentence(self.place)} was changed meanwhile: {text}.")
        return OptionsError(f"{sentence(self.place)} cannot do this: {text}.")

    def version(self, connection: Connection) -> str:
        return f"SQLite {connection.scalar(sa.select(sa.func.sqlite_version()))}"

    # -- tables --

    def schemas(self, inspector: Inspector) -> list[str | None]:
        return [None]

    def read_only(self, connection: Connection) -> Mapping[tuple[str | None, str], str]:
        if not self._is_marked_read_only:
            return {}
        file = f"The file '{self.path.name}' is marked read-only."
        return {(None, ""): f"{file} Make it writable, or sync only from it."}

    def cascading(
        self, connection: Connection, inspector: Inspector, schema: str | None
    ) -> set[tuple[str, str]]:
        # SQLAlchemy reads it from the table's own text, and misses it where it stands beside a column.
        found = connection.exec_driver_sql(
            'SELECT tables.name, keys."from" FROM sqlite_master AS tables'
            " JOIN pragma_foreign_key_list(tables.name) AS keys"
            " WHERE tables.type = 'table' AND keys.on_delete = 'CASCADE'"
        )
        return {(str(name), str(column)) for name, column in found}

    def unique(
        self, inspector: Inspector, schema: str | None, tables: Sequence[str] | None
    ) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        # What SQLite lists of its own indexes is sure; constraints would be read out of the table's SQL.
        asked = inspector.get_table_names() if tables is None else tables
        return {
            name: unique_indexes(inspector.get_indexes(name, include_auto_indexes=True))
            for name in asked
            if inspector.has_table(name)
        }

    def fills(self, connection: Connection, table: str, column: ReflectedColumn) -> bool:
        # As it was declared: INT is reflected as INTEGER, and is no alias of the row's number.
        declared = connection.scalar(_DECLARED, {"table": table, "name": column["name"]})
        if str(declared).upper() != "INTEGER":
            return column.get("default") is not None
        # A key of the very type INTEGER is the row's own number, unless the table has no such numbers.
        listed = sa.table("sqlite_master", sa.column("type"), sa.column("name"), sa.column("sql"))
        select = sa.select(listed.c.sql).where(listed.c.name == table, listed.c.type == "table")
        options = str(connection.scalar(select) or "").upper().rpartition(")")[2]
        return "WITHOUT ROWID" not in " ".join(options.split())

    def column(
        self, connection: Connection, table: sa.TableClause, reflected: ReflectedColumn, *, fills: bool
    ) -> Column:
        name = reflected["name"]
        kind = kind_of(reflected["type"])
        is_computed = "computed" in reflected
        clause = sa.column(name, AS_IS)
        sample = None
        if kind in _TIMES and not is_computed:
            one = sa.select(clause).select_from(table).where(clause.is_not(None)).limit(1)
            sample = connection.scalar(one)
        spec = Field(
            name,
            FIELD_TYPES[kind],
            writable=not is_computed,
            generated=is_computed or fills,
            nullable=reflected["nullable"] and not fills,
            max_integer=_LARGEST if kind == "integer" else None,
        )
        digits = _FLOAT_DIGITS if kind in ("float", "decimal") else None
        return Column(spec, kind, str(reflected["type"]), digits, sample)

    def type_of(self, field: Field, *, indexed: bool) -> types.TypeEngine[Any]:
        match field.type:
            case FieldType.INTEGER:
                return types.INTEGER()
            case FieldType.DECIMAL:
                return types.NUMERIC()
            case FieldType.BOOLEAN:
                return types.BOOLEAN()
            case FieldType.DATE:
                return types.DATE()
            case FieldType.DATETIME:
                return types.DATETIME()
            case FieldType.JSON | FieldType.LIST | FieldType.LINKS | FieldType.ATTACHMENTS:
                return types.JSON()
            case FieldType.TEXT:
                return types.TEXT()

    def numbered_key(self, name: str) -> sa.Column[int]:
        return sa.Column(name, types.INTEGER(), primary_key=True)

    # -- rows --

    def chunks(
        self, connection: Connection, select: sa.Select[Any], size: int, key: Sequence[Column] | None
    ) -> Iterator[list[Row]]:
        """By the driver's own cursor, and texts as UTF-8 in the driver itself, which takes half of the time;
        from the first text on that is not UTF-8, as everywhere else."""
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        decoded: Any = str
        cursor, done = self._rows_of(connection, select), 0
        while True:
            driver.text_factory = decoded
            try:
                rows = cursor.fetchmany(size)
            except sqlite3.OperationalError as error:
                if decoded is _decoded or "decode" not in str(error):
                    raise
                decoded = driver.text_factory = _decoded
                cursor = self._rows_of(connection, select)  # in the same snapshot, so the same once more
                for _ in itertools.islice(cursor, done):
                    pass
                continue
            finally:
                driver.text_factory = _decoded  # whoever asks on this connection between two pages
            if not rows:
                return
            done += len(rows)
            yield rows

    def _rows_of(self, connection: Connection, select: sa.Select[Any]) -> sqlite3.Cursor:
        return cast("sqlite3.Cursor", connection.execute(select).cursor)

    def decode(self, column: Column, raw: Raw) -> Value:
        if raw is None:
            return None
        if isinstance(raw, bytes):
            return base64.b64encode(raw).decode("ascii")
        try:
            return parse(raw, column.field.type)
        except ValueProblem:
            return raw  # SQLite holds anything anywhere: whoever maps the field says what is wrong

    def encode(self, column: Column, value: Value) -> Raw:
        with of_this_type(column):
            match column.kind:
                case "integer":
                    return checked_integer(column, value)
                case "boolean":
                    return int(parse(value, FieldType.BOOLEAN))
                case "decimal" | "float":
                    number = checked_decimal(column, value)
                    is_whole = number == number.to_integral_value() and abs(number) <= _LARGEST
                    return int(number) if is_whole else float(number)
                case "date":
                    return parse(value, FieldType.DATE).isoformat()
                case "datetime" | "naive_datetime":
                    return _as_written(parse(value, FieldType.DATETIME), column.sample)
                case "json":
                    return json_text(value)
                case "binary":
                    return checked_binary(column, value)
                case _:
                    return checked_text(column, value)

    def key_text(self, raw: Raw) -> str:
        return display(raw)

    def key_raw(self, column: Column, text: str) -> Raw:
        if column.kind == "integer":
            number = whole_number(text)
            return None if number is None or not fits(number, _LARGEST) else number
        return None if unstorable(text) else text

    def key_clause(self, clause: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        # Where a column has no type, a number does not equal its own digits.
        return sa.cast(clause, sa.Text) if column.type.upper() in ("NULL", "BLOB") else clause

    def insert(
        self,
        connection: Connection,
        statement: sa.Insert,
        rows: Sequence[dict[str, Raw]],
        key: Sequence[tuple[sa.ColumnElement[Any], Column]],
        given: Sequence[Row | None],
    ) -> list[Row | None]:
        if len(key) == 1 and key[0][1].field.generated and key[0][1].kind == "integer":
            return [(connection.execute(statement, row).lastrowid,) for row in rows]
        whole = [found for found in given if found is not None]
        if len(whole) == len(rows) and all(_stays_as_given(column) for _, column in key):
            connection.execute(statement, rows)
            return list(whole)
        returning = statement.returning(*(clause for clause, _ in key))
        found = [connection.execute(returning, row).one_or_none() for row in rows]
        return [None if row is None else tuple(row) for row in found]

    def earlier(self, column: Column, raw: Raw, seconds: float) -> Raw:
        if column.kind not in _TIMES or not isinstance(raw, str):
            return raw
        try:
            moment = parse(raw, FieldType.DATETIME)
        except ValueProblem:
            return raw
        return _as_written(moment - timedelta(seconds=seconds), raw)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _stays_as_given(column: Column) -> bool:
    """Whether a key of this column reads as it was written, whatever the column's affinity does to values."""
    words = {"integer": ("INT",), "text": ("CHAR", "CLOB", "TEXT")}
    return any(word in column.type.upper() for word in words.get(column.kind, ()))


def _as_written(moment: datetime, sample: Raw) -> str:
    """A time as the column writes it, since texts are compared as texts; else as SQLite's functions do."""
    text = sample if isinstance(sample, str) and len(sample) >= 16 else "0000-00-00 00:00"
    written = moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep="T" if text[10] == "T" else " ")
    if text.endswith("Z"):
        return written + "Z"
    return written + text[-6:] if text.endswith(("+00:00", "-00:00")) else written


def _code(error: BaseException) -> str:
    """The primary result code: SQLITE_CONSTRAINT for SQLITE_CONSTRAINT_UNIQUE."""
    return "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])


def _refusal(text: str) -> Unfit:
    what, _, rest = text.partition(" constraint failed")
    rest = rest.lstrip(": ")
    columns = [part.strip().rpartition(".")[2] for part in rest.split(",")]
    match what:
        case "UNIQUE":
            return Unfit("unique", f"{rest} must be unique.", columns[0], constraint=",".join(columns))
        case "NOT NULL":
            return Unfit("required", f"'{columns[0]}' must not be empty.", columns[0])
        case "FOREIGN KEY":
            return Unfit("reference", "A record that this one refers to, or that refers to it, forbids this.")
        case "CHECK":
            return Unfit("check", f"The table's rule '{rest}' forbids this value.")
        case _:
            return Unfit("rejected", f"The database refuses the record: {text}.")
