"""A read query of a user's as a stream: judged, wrapped, and run with limits.

The query becomes a subquery of our own SELECT, so that it is read page by page like a table, in a read-only
transaction. What the judge let pass still meets a statement time-out, and caps on rows, cells and the whole.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NoReturn, cast

import psycopg
import pymysql
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from connectors.base import Page
from connectors.dialects import mysql
from connectors.dialects.base import AS_IS, FIELD_TYPES, Column, Database, Table
from connectors.errors import OptionsError
from connectors.sqlfunctions import FUNCTIONS
from connectors.sqlguard import Dialect, bare, check
from sync.records import Field

MAX_ROWS = 1_000_000
MAX_CELL = 1_000_000  # characters of one value
MAX_TOTAL = 500_000_000  # characters of one read
_STEPS = 10_000  # of SQLite's machine between two looks at the clock
_SCHEMA = 200_000  # bytes of one SQLite text that is no result: a statement

_DIALECTS: Mapping[str, Dialect] = {
    "postgresql": "postgres",
    "sqlite": "sqlite",
    "mysql": "mysql",
    "mariadb": "mysql",
}


@dataclass(frozen=True)
class Query:
    """What a config and its connection say of a query."""

    text: str
    functions: tuple[str, ...] = ()  # allowed beside the list, by an administrator
    seconds: int = 10  # that one statement may take


@dataclass(frozen=True)
class QueryTable(Table):
    """The result of a query, in the place of a table. `query` is what stands between the parentheses."""

    query: str = ""

    @cached_property
    def clause(self) -> sa.TableClause:
        columns: list[sa.ColumnClause[Any]] = [sa.column(column.name, AS_IS) for column in self.columns]
        text = sa.text(f"{self.query}\n".replace(":", "\\:"))
        return cast("sa.TableClause", text.columns(*columns).subquery("query"))  # only read from


def table(database: Database, connection: Connection, name: str, query: Query) -> QueryTable:
    """The query's result as a table. Raises OptionsError for a query that is refused or does not run."""
    dialect = _dialect(database, connection)
    check(query.text, dialect, query.functions)
    text = bare(query.text, dialect)
    if dialect == "postgres":
        columns = _postgresql_columns(database, connection, text)
    elif dialect == "mysql":
        columns = _mysql_columns(database, connection, text)
    else:
        columns = _sqlite_columns(database, text, query)
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _twice(twice[0])
    return QueryTable(
        name=name,
        schema=None,
        bare_name="query",
        columns=tuple(columns),
        primary_key=(),
        unique={},
        read_only_because="The result of a query is only read.",
        query=text,
    )


def _twice(name: str) -> OptionsError:
    return OptionsError(
        f"Two columns of the query are called '{name}'. Name one of them with AS.",
        code="duplicate_field",
        field="query",
    )


def container(found: Table) -> str:
    """What of the place a table is. Another query is another place."""
    if not isinstance(found, QueryTable):
        return found.name
    return "query:" + hashlib.blake2b(found.query.encode(), digest_size=8).hexdigest()


def cut(
    database: Database, found: Table, column: Column, clause: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    """A raw value of a query, cut on the server where it is larger than we take: a sign too many tells."""
    dialect = database.engine.dialect.name if isinstance(found, QueryTable) else ""
    is_cut = dialect == "postgresql" or (
        _DIALECTS.get(dialect) == "mysql" and column.kind in ("text", "json", "binary")
    )
    return sa.func.left(clause, MAX_CELL + 1) if is_cut else clause


@contextmanager
def limited(database: Database, query: Query) -> Iterator[Connection]:
    """A transaction for a query: read-only, timed. Raises OptionsError for one that takes too long."""
    with database.reading() as connection:
        enter = _LIMITS[_dialect(database, connection)]
        try:
            with enter(connection, query):
                yield connection
        except (DBAPIError, psycopg.Error, pymysql.Error, sqlite3.Error) as error:
            if why := _stopped(error, query):
                raise OptionsError(why, code="query_limit", field="query") from None
            raise


def capped(pages: Iterator[Page]) -> Iterator[Page]:
    """The pages of a query. Raises OptionsError where they hold more than we take."""
    rows = total = 0
    for page in pages:
        rows += len(page.ids)
        if rows > MAX_ROWS:
            _too_much(f"gives more than {MAX_ROWS} rows")
        for record in page.records:
            for name, value in record.fields.items():
                size = len(value) if isinstance(value, str) else 8
                total += size
                if size > MAX_CELL:
                    _too_much(f"gives a value of more than {MAX_CELL} characters in '{name}'")
        if total > MAX_TOTAL:
            _too_much(f"gives more than {MAX_TOTAL // 1_000_000} MB")
        yield page


def _too_much(why: str) -> NoReturn:
    raise OptionsError(f"The query {why}. Narrow it.", code="query_limit", field="query")


def _dialect(database: Database, connection: Connection) -> Dialect:
    found = _DIALECTS.get(connection.dialect.name)
    if found is None:
        raise OptionsError(f"Queries of {database.title} are not read. Name a table or view.", field="query")
    return found


def _stopped(error: BaseException, query: Query) -> str:
    original = error.orig if isinstance(error, DBAPIError) else error
    number = original.args[0] if isinstance(original, pymysql.Error) and original.args else 0
    is_late = isinstance(original, psycopg.errors.QueryCanceled) or number in _TOO_LATE
    if is_late or "interrupted" in str(original):
        return (
            f"The query took longer than {query.seconds} seconds. Narrow it, or let an administrator raise"
            " `query_seconds` of the connection."
        )
    if isinstance(original, sqlite3.DatabaseError) and "authorized" in str(original):
        return "The query reaches for more than it may read."
    if isinstance(original, sqlite3.DataError) and "too big" in str(original):
        return f"The query gives a value of more than {MAX_CELL} characters. Narrow it."
    return ""


# -- PostgreSQL ---------------------------------------------------------------------------------------

_KINDS = {
    "bool": "boolean",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "float4": "float",
    "float8": "float",
    "numeric": "decimal",
    "date": "date",
    "timestamp": "naive_datetime",
    "timestamptz": "datetime",
    "json": "json",
    "jsonb": "json",
    "bytea": "binary",
    "uuid": "uuid",
}
_LARGEST = {"int2": 2**15 - 1, "int4": 2**31 - 1, "int8": 2**63 - 1}


@contextmanager
def _limit_postgresql(connection: Connection, query: Query) -> Iterator[None]:
    settings = {"statement_timeout": f"{query.seconds}s", "lock_timeout": "2s"}
    connection.execute(
        sa.select(*(sa.func.set_config(name, value, True) for name, value in settings.items()))
    )
    yield  # the settings end with the transaction


def _postgresql_columns(database: Database, connection: Connection, text: str) -> list[Column]:
    wrapped = f"SELECT * FROM ({text}\n) AS query LIMIT 0"  # noqa: S608  judged before
    with database.naming_errors(), cast("psycopg.Cursor[Any]", connection.connection.cursor()) as cursor:
        # Binary results come by the extended protocol, which takes one statement and no more.
        cursor.execute(wrapped.encode(), binary=True)
        return [_postgresql_column(item) for item in cursor.description or ()]


def _postgresql_column(item: psycopg.Column) -> Column:
    info = psycopg.adapters.types.get(item.type_code)
    if info is None:
        kind, name = "text", str(item.type_code)
    elif item.type_code == info.array_oid:
        kind, name = "array", f"{info.name}[]"
    else:
        kind, name = _KINDS.get(info.name, "text"), info.name
    field = Field(
        item.name,
        FIELD_TYPES[kind],
        writable=False,
        scale=item.scale if kind == "decimal" else None,
        max_integer=_LARGEST.get(name),
    )
    return Column(field, kind, name, 15 if kind == "float" else None)


# -- SQLite -------------------------------------------------------------------------------------------


@contextmanager
def _limit_sqlite(connection: Connection, query: Query) -> Iterator[None]:
    raw = cast("sqlite3.Connection", connection.connection.driver_connection)
    functions = FUNCTIONS["sqlite"] | {name.lower() for name in query.functions}
    with _timed(raw, query):
        # Begins the transaction, and makes these two tables known: a query may do neither.
        connection.exec_driver_sql("SELECT 1 FROM json_each('[]'), json_tree('[]')")
        raw.execute("PRAGMA query_only = ON")
        raw.set_authorizer(partial(_authorized, functions))
        try:
            yield
        finally:
            raw.set_authorizer(None)  # the driver's own ROLLBACK comes after this


@contextmanager
def _timed(raw: sqlite3.Connection, query: Query) -> Iterator[None]:
    until = time.monotonic() + query.seconds
    raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(MAX_CELL * 4, _SCHEMA))
    raw.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    raw.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _authorized(functions: frozenset[str], action: int, _first: Any, second: Any, *_: Any) -> int:
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in functions:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _sqlite_columns(database: Database, text: str, query: Query) -> list[Column]:
    """SQLite tells declared types of a view, not of a query: a temporary one, on its own connection."""
    with database.reading() as connection:
        raw = cast("sqlite3.Connection", connection.connection.driver_connection)
        with database.naming_errors(), _timed(raw, query):
            raw.execute(f"CREATE TEMP VIEW syncline_query AS {text}\n")
            view = sa.table("syncline_query", schema="temp")
            columns = [
                database.column(connection, view, reflected, fills=False)
                for reflected in sa.inspect(connection).get_columns("syncline_query")
            ]
    names = {column.name for column in columns}
    for number, column in enumerate(columns):
        # A view renames the second of two columns of one name.
        base, mark, _ = column.name.rpartition(":")
        name = base if mark and base in names else column.name
        columns[number] = replace(column, field=replace(column.field, name=name, writable=False))
    return columns


# -- MySQL and MariaDB --------------------------------------------------------------------------------

_TOO_LATE = (1969, 3024)


@contextmanager
def _limit_mysql(connection: Connection, query: Query) -> Iterator[None]:
    is_mariadb = bool(cast("Any", connection.dialect).is_mariadb)
    name, value = (
        ("max_statement_time", query.seconds) if is_mariadb else ("max_execution_time", query.seconds * 1000)
    )
    # Of the session: it belongs to this connector alone, which reads this query and nothing else.
    connection.exec_driver_sql(f"SET SESSION {name} = {value}, lock_wait_timeout = 2")
    yield


def _mysql_columns(database: Database, connection: Connection, text: str) -> list[Column]:
    wrapped = f"SELECT * FROM ({text}\n) AS query LIMIT 0"  # noqa: S608  judged before
    with database.naming_errors(), cast("Any", connection.connection.cursor()) as cursor:
        try:
            cursor.execute(wrapped)  # the driver never lets two statements pass
        except pymysql.OperationalError as error:
            if error.args[0] == 1060:
                raise _twice(str(error.args[1]).split("'")[1]) from None
            raise
        return [mysql.answered(item) for item in cursor._result.fields]


_LIMITS = {"postgres": _limit_postgresql, "sqlite": _limit_sqlite, "mysql": _limit_mysql}
