"""MySQL and MariaDB, over TCP, by PyMySQL.

Values cross the driver as the server writes them: whole numbers as int, decimals as Decimal, bytes as bytes,
all others as text. The session is strict, so that nothing is cut without an error, and counts time in UTC.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, cast

import pymysql
import sqlalchemy as sa
from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.converters import encoders
from sqlalchemy import types
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.engine.interfaces import ReflectedColumn, ReflectedForeignKeyConstraint
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import DBAPIError

from connectors.addresses import judge
from connectors.dialects.base import AS_IS, FIELD_TYPES, Column, Database, Raw, Row, Table, Unfit
from connectors.dialects.mysqlerrors import is_lost, named
from connectors.dialects.servers import TLS_MODES, check_server, connect_seconds
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
from connectors.errors import ConnectorError
from sync.records import Field
from sync.values import FieldType, Value, ValueProblem, display, json_text, parse, plain

# `ssl-mode` is what MySQL's own tools and many hosts write; the words of `sslmode` mean the same.
_SSL_MODES = {"required": "require", "verify_ca": "verify-ca", "verify_identity": "verify-full"}

# Strict: what does not fit is an error. A zero in a key is a zero. No mode that changes how the server splits
# a text, since the judge of queries splits it by the rules that hold here.
SQL_MODE = (
    "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
)
_SESSION = (
    f"SET SESSION sql_mode = '{SQL_MODE}', time_zone = '+00:00', innodb_lock_wait_timeout = 10,"
    " net_write_timeout = 600, wait_timeout = {wait_timeout}"
)
# A process that stands still between a write and its commit loses both before its lease ends: a write that
# nobody saw must not appear after somebody else has looked for it. A read may pause as long as a run does.
_WRITE_SECONDS, _READ_SECONDS = 30, 28_800

_DECODERS = {
    **dict.fromkeys(
        (
            FIELD_TYPE.TINY,
            FIELD_TYPE.SHORT,
            FIELD_TYPE.LONG,
            FIELD_TYPE.LONGLONG,
            FIELD_TYPE.INT24,
            FIELD_TYPE.YEAR,
        ),
        int,
    ),
    FIELD_TYPE.DECIMAL: Decimal,
    FIELD_TYPE.NEWDECIMAL: Decimal,
}

_KINDS = {
    "tinyint": "integer",
    "smallint": "integer",
    "mediumint": "integer",
    "int": "integer",
    "bigint": "integer",
    "year": "integer",
    "bit": "integer",
    "float": "float",
    "double": "float",
    "decimal": "decimal",
    "date": "date",
    "datetime": "naive_datetime",
    "timestamp": "datetime",
    "json": "json",
    "set": "array",
    "binary": "binary",
    "varbinary": "binary",
    "tinyblob": "binary",
    "blob": "binary",
    "mediumblob": "binary",
    "longblob": "binary",
    "uuid": "uuid",
}
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_SHAPES = frozenset(
    {
        "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
        "geometrycollection", "geomcollection",
    }
)  # fmt: skip
_YEARS = (1901, 2155)
_SINGLE_DIGITS, _DOUBLE_DIGITS = 6, 15
# Kinds whose order and equality in a WHERE are those of ORDER BY, so that a read can go on behind a key.
_ORDERED = frozenset({"integer", "decimal", "text", "binary", "date", "datetime", "naive_datetime", "uuid"})
_TIMES = ("datetime", "naive_datetime")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_TIME_OF_DAY = re.compile(r"-?\d{2,3}:[0-5]\d:[0-5]\d(\.\d{1,6})?", re.ASCII)
_MOST_DIGITS, _MOST_PLACES = 65, 30
_LARGEST_KEY = 255  # characters of a text key in a new table

_TABLES = sa.text(
    "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.tables WHERE TABLE_SCHEMA = DATABASE()"
)
_COLUMNS = """
    SELECT c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, c.IS_NULLABLE, c.COLUMN_DEFAULT, c.EXTRA,
           c.CHARACTER_MAXIMUM_LENGTH, c.NUMERIC_PRECISION, c.NUMERIC_SCALE
    FROM information_schema.columns c
    JOIN information_schema.tables t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
    WHERE c.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW'){only}
    ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION
"""
_JSON_CHECKS = sa.text(
    "SELECT TABLE_NAME, CHECK_CLAUSE FROM information_schema.check_constraints"
    " WHERE CONSTRAINT_SCHEMA = DATABASE() AND CHECK_CLAUSE LIKE 'json_valid(%'"
)
_INDEXES = """
    SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME FROM information_schema.statistics
    WHERE TABLE_SCHEMA = DATABASE() AND NON_UNIQUE = 0{only}
    ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX
"""
_REFERENCES = sa.text(
    "SELECT k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_NAME,"
    " k.REFERENCED_COLUMN_NAME, r.DELETE_RULE FROM information_schema.key_column_usage k"
    " JOIN information_schema.referential_constraints r ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA"
    " AND r.TABLE_NAME = k.TABLE_NAME AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME"
    " WHERE k.TABLE_SCHEMA = DATABASE() AND k.REFERENCED_TABLE_SCHEMA = DATABASE()"
    " ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
)
_ENGINES = sa.text(
    "SELECT t.TABLE_NAME, t.ENGINE FROM information_schema.tables t"
    " JOIN information_schema.engines e ON e.ENGINE = t.ENGINE"
    " WHERE t.TABLE_SCHEMA = DATABASE() AND COALESCE(e.TRANSACTIONS, 'NO') <> 'YES'"
)


class MySql(Database):
    title = "MySQL"
    url_options = frozenset({"sslmode", "ssl-mode", "connect_timeout", "charset"})
    clock = "SELECT UNIX_TIMESTAMP(NOW(6))"
    max_values = 10_000
    driver_errors = (DBAPIError, pymysql.Error)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._packet = 1 << 20  # bytes of one statement; what the server says once there is a connection
        self._is_mariadb = False  # what the URL says counts for nothing: both speak one protocol
        self._untransacted: frozenset[str] = frozenset()  # tables whose changes cannot be taken back

    @classmethod
    def check_url(cls, url: URL) -> None:
        super().check_url(url)
        check_server(url, cls.title)
        if {"sslmode", "ssl-mode"} <= set(url.query):
            raise ValueError("sslmode and ssl-mode say the same. Name one of them")
        if url.query.get("sslmode", TLS_MODES[0]) not in TLS_MODES:
            raise ValueError(f"sslmode is one of {', '.join(TLS_MODES)}")
        if str(url.query.get("ssl-mode", "required")).lower() not in _SSL_MODES:
            raise ValueError(f"ssl-mode is one of {', '.join(_SSL_MODES).upper()}")
        if url.query.get("charset", "utf8mb4") != "utf8mb4":
            raise ValueError("charset is utf8mb4, in which every character has its place")

    # -- opening --

    @property
    def place(self) -> str:
        name = "MariaDB" if self.url.drivername == "mariadb" else self.title
        return f"{name} at {self.url.host}:{self._port}"

    @property
    def fingerprint(self) -> str:
        return f"mysql://{self.url.host}:{self._port}/{self.url.database}"

    @property
    def _port(self) -> int:
        return self.url.port or 3306

    def _engine(self) -> Engine:
        engine = sa.create_engine(
            "mysql+pymysql://",
            creator=self._connect,
            pool_size=1,
            pool_pre_ping=True,  # runs pause for minutes; the connection may be gone by then
            hide_parameters=True,
        )

        @sa.event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # Said for each transaction, since a pooler may hand every one to another server session.
            writes = connection.get_execution_options().get("writes", False)
            level = "READ COMMITTED" if writes else "REPEATABLE READ"
            start = "READ WRITE" if writes else "WITH CONSISTENT SNAPSHOT, READ ONLY"
            seconds = _WRITE_SECONDS if writes else _READ_SECONDS
            connection.exec_driver_sql(_SESSION.format(wait_timeout=seconds))
            connection.exec_driver_sql(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
            connection.exec_driver_sql(f"START TRANSACTION {start}")

        return engine

    def _connect(self) -> pymysql.Connection:
        judged = judge(self.url.host or "", self._port, self.access.networks)
        seconds = connect_seconds(self.url)
        # Built from checked parts alone. The socket goes to an address that was judged; the certificate is
        # checked against the name. Never: local files, several statements in one text, option files.
        wire = _Wire(
            host=judged.host,
            port=self._port,
            user=self.url.username or "",
            password=self.password.encode(),
            database=self.url.database or "",
            charset="utf8mb4",
            sql_mode=SQL_MODE,
            conv={**encoders, **_DECODERS},
            binary_prefix=True,
            local_infile=False,
            program_name="syncline",
            connect_timeout=seconds,
            read_timeout=seconds,
            ssl=self._tls(judged.is_public),
            defer_connect=True,
        )
        wire.connect(_socket(judged.addresses, self._port, seconds))
        wire.settle(self.answer_seconds)
        self._packet, self._is_mariadb = wire.packet, "MariaDB" in str(wire.server_version)
        return wire

    def _tls(self, is_public: bool) -> ssl.SSLContext | None:
        """None where TLS is taken if it is offered."""
        asked = self.url.query.get("sslmode") or _SSL_MODES.get(
            str(self.url.query.get("ssl-mode", "")).lower()
        )
        if asked is None and not is_public:
            return None
        context = ssl.create_default_context()
        context.check_hostname = asked == "verify-full"
        context.verify_mode = ssl.CERT_REQUIRED if asked in ("verify-full", "verify-ca") else ssl.CERT_NONE
        return context

    def _prepare(self, connection: Connection, *, writes: bool) -> Connection:
        return connection.execution_options(writes=writes)

    def is_lost(self, error: BaseException) -> bool:
        return is_lost(error)

    def named(self, error: BaseException) -> Unfit | ConnectorError:
        return named(error, self.place, self.url)

    def version(self, connection: Connection) -> str:
        text = str(connection.scalar(sa.select(sa.func.version())))
        return f"MariaDB {text.partition('-')[0]}" if "MariaDB" in text else f"MySQL {text}"

    # -- tables --

    def schemas(self, inspector: Inspector) -> list[str | None]:
        return [None]  # another database is another connection

    def table_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        kinds = ("BASE TABLE", "SYSTEM VERSIONED")
        return {name for name, kind in _asked(inspector, _TABLES) if kind in kinds}

    def view_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        return {name for name, kind in _asked(inspector, _TABLES) if kind == "VIEW"}

    def columns(
        self, inspector: Inspector, schema: str | None, tables: Sequence[str] | None
    ) -> Mapping[str, Sequence[ReflectedColumn]]:
        # What SQLAlchemy reads out of SHOW CREATE TABLE knows fewer types, and no invisible columns.
        texts: set[tuple[str, str]] = set()
        if cast("Any", inspector.dialect).is_mariadb:  # where JSON is a long text with a check
            texts = {(name, rule) for name, rule in _asked(inspector, _JSON_CHECKS)}
        found: dict[str, list[ReflectedColumn]] = {}
        for row in _asked(inspector, _only(_COLUMNS, "c.TABLE_NAME", tables)):
            table, name, data, declared, nullable, default, extra, length, digits, scale = row
            if tables is not None and table not in tables:
                continue  # names are looked up without regard to case
            is_json = (table, f"json_valid(`{name.replace('`', '``')}`)") in texts
            told = Declared(
                "json" if is_json else str(data).lower(), declared, extra or "", length, digits, scale
            )
            found.setdefault(table, []).append(
                cast(
                    "ReflectedColumn",
                    {
                        "name": name,
                        "type": types.NullType(),
                        "nullable": nullable == "YES",
                        "default": default,
                        "declared": told,
                    },
                )
            )
        return found

    def primary_keys(
        self, inspector: Inspector, schema: str | None, tables: Sequence[str] | None
    ) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        unique = self.unique(inspector, schema, tables)
        return {name: ("PRIMARY", found["PRIMARY"]) for name, found in unique.items() if "PRIMARY" in found}

    def unique(
        self, inspector: Inspector, schema: str | None, tables: Sequence[str] | None
    ) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for table, index, column in _asked(inspector, _only(_INDEXES, "TABLE_NAME", tables)):
            indexes = found.setdefault(table, {})
            indexes[index] = (*indexes.get(index, ()), column)
        return {  # an index over an expression names no column
            table: {name: columns for name, columns in indexes.items() if None not in columns}
            for table, indexes in found.items()
        }

    def references(
        self, inspector: Inspector, schema: str | None
    ) -> Mapping[str, Sequence[ReflectedForeignKeyConstraint]]:
        found: dict[tuple[str, str], ReflectedForeignKeyConstraint] = {}
        for table, name, column, referred, there, on_delete in _asked(inspector, _REFERENCES):
            item = found.setdefault(
                (table, name),
                {
                    "name": name,
                    "constrained_columns": [],
                    "referred_schema": None,
                    "referred_table": referred,
                    "referred_columns": [],
                    "options": {"ondelete": on_delete},
                },
            )
            item["constrained_columns"].append(column)
            item["referred_columns"].append(there)
        by_table: dict[str, list[ReflectedForeignKeyConstraint]] = {}
        for (table, _), item in found.items():
            by_table.setdefault(table, []).append(item)
        return by_table

    def read_only(self, connection: Connection) -> Mapping[tuple[str | None, str], str]:
        rights = Rights.of(
            [str(row[0]) for row in connection.exec_driver_sql("SHOW GRANTS")], self.url.database or ""
        )
        if connection.exec_driver_sql("SELECT @@global.read_only").scalar() and not rights.above_read_only:
            return {(None, ""): f"{self.place} takes no changes. Sync only from it."}
        found: dict[tuple[str | None, str], str] = {}
        for name, kind in connection.execute(_TABLES):
            if kind != "VIEW" and not rights.may_write(name):
                found[None, name] = (
                    f"The user '{self.url.username}' may not write it. Grant INSERT and UPDATE, or sync only"
                    " from it."
                )
        untransacted = [tuple(row) for row in connection.execute(_ENGINES)]
        for name, engine in untransacted:
            found[None, name] = (
                f"The engine {engine} of '{name}' has no transactions, so a half-done batch could not be"
                " taken back. Convert it to InnoDB, or sync only from it."
            )
        self._untransacted = frozenset(name for name, _ in untransacted)
        return found

    def fills(self, connection: Connection, table: str, column: ReflectedColumn) -> bool:
        told = _told(column)
        if "auto_increment" in told.extra:
            return True
        default = str(column.get("default") or "")
        is_expression = default.endswith(")") and not default.startswith("'")
        return is_expression and bool(connection.dialect.insert_returning)

    def column(
        self, connection: Connection, table: sa.TableClause, reflected: ReflectedColumn, *, fills: bool
    ) -> Column:
        told = _told(reflected)
        is_computed = "GENERATED" in told.extra.replace("DEFAULT_GENERATED", "")
        is_numbered = "auto_increment" in told.extra
        return described(
            reflected["name"],
            told,
            writable=not is_computed and told.data not in _SHAPES,
            generated=is_computed or is_numbered or fills,
            nullable=reflected["nullable"],
        )

    def type_of(self, field: Field, *, indexed: bool) -> types.TypeEngine[Any]:
        match field.type:
            case FieldType.INTEGER:
                return mysql.BIGINT(unsigned=(field.max_integer or 0) >= 2**63)
            case FieldType.DECIMAL:
                return mysql.DECIMAL(*_room(field))
            case FieldType.BOOLEAN:
                return mysql.TINYINT(display_width=1)
            case FieldType.DATE:
                return types.DATE()
            case FieldType.DATETIME:
                return mysql.DATETIME(fsp=6)
            case FieldType.JSON | FieldType.LIST | FieldType.LINKS | FieldType.ATTACHMENTS:
                return types.JSON()
            case FieldType.TEXT if indexed:
                # Exact: other systems tell 'a', 'A' and 'a ' apart.
                exact = "utf8mb4_nopad_bin" if self._is_mariadb else "utf8mb4_0900_bin"
                return mysql.VARCHAR(min(field.max_length or _LARGEST_KEY, _LARGEST_KEY), collation=exact)
            case FieldType.TEXT:
                is_short = field.max_length is not None and field.max_length <= _LARGEST_KEY
                return mysql.VARCHAR(field.max_length) if is_short else mysql.LONGTEXT()

    def numbered_key(self, name: str) -> sa.Column[int]:
        return sa.Column(name, types.BIGINT(), primary_key=True, autoincrement=True)

    # -- rows --

    def selected(self, clause: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        data = _data(column.type)
        if data == "bit":
            return sa.cast(clause, mysql.INTEGER(unsigned=True))
        if data == "float" and column.field.scale is None:
            return clause + sa.literal_column("0e0")  # as text a FLOAT has six digits, and keeps more
        return sa.func.st_astext(clause) if data in _SHAPES else clause

    def row_hash(self, table: Table) -> sa.ColumnElement[str] | None:
        if table.bare_name in self._untransacted:
            return None  # read by one statement, which sees one state; pages would not
        parts: list[Any] = [sa.literal(str(table.seed), AS_IS)]
        for column in table.columns:
            if _data(column.type) in _SHAPES or column.type == "json":
                return None
            raw = self.selected(table.clause.c[column.name], column)
            parts += [sa.literal_column("','"), sa.func.quote(sa.cast(raw, types.LargeBinary()))]
        # CONCAT and not CONCAT_WS: a row too large for the server's packets has no hash, and is compared by
        # its values, where the other one would leave the large value out.
        return sa.func.md5(sa.func.concat(*parts))

    def chunks(
        self, connection: Connection, select: sa.Select[Any], size: int, key: Sequence[Column] | None
    ) -> Iterator[list[Row]]:
        if key is None:
            yield from super().chunks(connection, select, size, None)
        elif not all(column.kind in _ORDERED and column.field.options is None for column in key):
            result = connection.execute(select)
            while some := result.fetchmany(size):
                yield [tuple(row) for row in some]
        else:
            # A connection gives one unread result at a time, and more is asked between two pages: each page
            # is a statement of its own, in the one snapshot of the transaction.
            behind: sa.ColumnElement[bool] | None = None
            clauses = list(select.selected_columns)[: len(key)]
            names = [cast("sa.Label[Any]", clause).element for clause in clauses]
            while True:
                page = select if behind is None else select.where(behind)
                rows: list[Row] = [tuple(row) for row in connection.execute(page.limit(size))]
                if rows:
                    yield rows
                if len(rows) < size:
                    return
                behind = _behind(names, rows[-1])

    def decode(self, column: Column, raw: Raw) -> Value:
        if raw is None:
            return None
        try:
            match column.kind:
                case "text" | "uuid" | "integer":
                    return raw
                case "binary":
                    return base64.b64encode(raw).decode("ascii")
                case "boolean":
                    return bool(raw) if raw in (0, 1) else raw
                case "float":
                    return _shortest(raw) if _data(column.type) == "float" else parse(raw, FieldType.DECIMAL)
                case "array":
                    return tuple(raw.split(",")) if raw else ()
                case "date" | "datetime" | "naive_datetime":
                    # MySQL itself calls a date of zeros NULL where a column may not be NULL.
                    return None if raw.startswith("0000-00-00") else parse(raw, column.field.type)
                case _:
                    return parse(raw, column.field.type)
        except ValueProblem:
            return raw  # a date without a day: whoever maps the field says what is wrong

    def encode(self, column: Column, value: Value) -> Raw:
        with of_this_type(column):
            match column.kind:
                case "integer":
                    return _checked_number(column, value)
                case "boolean":
                    return int(parse(value, FieldType.BOOLEAN))
                case "decimal":
                    return checked_decimal(column, value)
                case "float":
                    return plain(checked_decimal(column, value))
                case "date":
                    return parse(value, FieldType.DATE).isoformat()
                case "datetime" | "naive_datetime":
                    return _written(parse(value, FieldType.DATETIME), _places(column.type))
                case "json":
                    return json_text(value)
                case "array":
                    return ",".join(_checked_members(column, parse(value, FieldType.LIST)))
                case "binary":
                    return _checked_bytes(column, value)
                case "uuid":
                    text = checked_text(column, value).strip().lower()
                    if not _UUID.fullmatch(text):
                        raise Unfit("type", f"'{column.name}' holds UUIDs.", column.name)
                    return text
                case _:
                    text = checked_text(column, value)
                    return _checked_time(column, text) if _data(column.type) == "time" else text

    def key_text(self, raw: Raw) -> str:
        if isinstance(raw, bytes):
            return base64.b64encode(raw).decode("ascii")
        return display(raw)

    def key_raw(self, column: Column, text: str) -> Raw:
        match column.kind:
            case "integer":
                number = whole_number(text)
                limit = column.field.max_integer or 0
                return number if number is not None and fits(number, limit) else None
            case "uuid":
                return text if _UUID.fullmatch(text) else None
            case "binary":
                with_bytes = _decoded(text)
                return with_bytes if self.key_text(with_bytes) == text else None
            case "decimal" | "date" | "datetime" | "naive_datetime" | "boolean":
                try:
                    value = parse(text, column.field.type)
                except ValueProblem:
                    return None
                return value if column.kind == "decimal" or value is None else text
            case _:
                is_possible = column.field.options is None or text in column.field.options
                return text if is_possible and not unstorable(text) else None

    def key_clause(self, clause: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        if column.field.options is not None:
            return sa.cast(clause, types.CHAR())  # an ENUM sorts by its numbers, and is compared as text
        return self.selected(clause, column)

    def is_same(self, column: Column, one: Raw, two: Raw) -> bool:
        # Most collations call 'a', 'A' and 'a ' equal.
        return column.kind != "text" or one == two

    def locked(self, select: sa.Select[Any]) -> sa.Select[Any]:
        return select.with_for_update()

    def insert(
        self,
        connection: Connection,
        statement: sa.Insert,
        rows: Sequence[dict[str, Raw]],
        key: Sequence[tuple[sa.ColumnElement[Any], Column]],
        given: Sequence[Row | None],
    ) -> list[Row | None]:
        if connection.dialect.insert_returning:  # MariaDB answers with the rows as they went in
            returning = statement.returning(*(self.selected(clause, column) for clause, column in key))
            found: list[Row | None] = []
            for chunk in _fitting(rows, self._packet // 2):
                together = {"insertmanyvalues_page_size": len(chunk)}
                result = connection.execute(returning, chunk, execution_options=together)
                found += [tuple(row) for row in result]
            return found
        if None not in given:
            connection.execute(statement, list(rows))  # the driver makes it one statement, in fitting parts
            return list(given)
        return [(connection.execute(statement, row).lastrowid,) for row in rows]

    def earlier(self, column: Column, raw: Raw, seconds: float) -> Raw:
        if column.kind not in _TIMES or not isinstance(raw, str):
            return raw
        try:
            return _written(parse(raw, FieldType.DATETIME) - timedelta(seconds=seconds), 6)
        except ValueProblem:
            return raw


# -- the wire -----------------------------------------------------------------------------------------


class _Wire(pymysql.Connection):  # type: ignore[misc]  # PyMySQL comes without types
    """A connection that refuses a statement which the server would answer by closing it."""

    packet = 1 << 30

    def settle(self, answer_seconds: float) -> None:
        """Log-in is over: from now on answers may let us wait for so long."""
        self._read_timeout = self._write_timeout = answer_seconds
        with self.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            self.packet = int(cursor.fetchone()[0])

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        text = sql.encode(self.encoding) if isinstance(sql, str) else sql
        if len(text) >= self.packet:
            raise pymysql.DataError(1153, f"larger than max_allowed_packet, {self.packet} bytes")
        affected: int = super().query(text, unbuffered=unbuffered)
        return affected


def _socket(addresses: Sequence[str], port: int, seconds: int) -> socket.socket:
    """A connection to the first address that answers, and that notices when its other end is gone."""
    for number, address in enumerate(addresses, 1):
        try:
            connected = socket.create_connection((address, port), timeout=seconds)
        except OSError as error:
            if number == len(addresses):
                raise pymysql.OperationalError(2003, str(error)) from error
        else:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _ALIVE.items():
                if hasattr(socket, name):  # not on every system
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            return connected
    raise pymysql.OperationalError(2003, "no address")


_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


def _fitting(rows: Sequence[dict[str, Raw]], limit: int) -> Iterator[list[dict[str, Raw]]]:
    """The rows in parts that surely fit a statement of this many bytes; a larger row is a part of its own."""
    part: list[dict[str, Raw]] = []
    total = 0
    for row in rows:
        size = sum(_size(raw) for raw in row.values())
        if part and total + size > limit:
            yield part
            part, total = [], 0
        part.append(row)
        total += size
    if part:
        yield part


def _size(raw: Raw) -> int:
    if isinstance(raw, str):
        return 16 + (2 * len(raw) if raw.isascii() else 4 * len(raw))
    return 16 + 2 * len(raw) if isinstance(raw, bytes) else 80


def _behind(clauses: Sequence[sa.ColumnElement[Any]], row: Row) -> sa.ColumnElement[bool]:
    """Rows whose key comes after this one's."""
    values = [sa.bindparam(None, raw, AS_IS) for raw in row[: len(clauses)]]
    steps: list[sa.ColumnElement[bool]] = []
    for place, clause in enumerate(clauses):
        same = [clauses[before] == values[before] for before in range(place)]
        steps.append(sa.and_(*same, clause > values[place]))
    if len(steps) == 1:
        return steps[0]
    return sa.and_(clauses[0] >= values[0], sa.or_(*steps))  # the first part lets the index be used


# -- columns ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Declared:
    """What the server says of a column's type."""

    data: str  # as one word
    text: str  # in full
    extra: str = ""
    length: int | None = None
    digits: int | None = None
    scale: int | None = None


def _told(reflected: ReflectedColumn) -> Declared:
    found: Declared = cast("Mapping[str, Any]", reflected)["declared"]
    return found


def described(name: str, told: Declared, *, writable: bool, generated: bool, nullable: bool) -> Column:
    kind = _KINDS.get(told.data, "text")
    if told.text.startswith(("tinyint(1)", "bit(1)")):
        kind = "boolean"
    members = tuple(_members(told.text)) if told.data in ("enum", "set") else None
    spec = Field(
        name,
        FIELD_TYPES[kind],
        writable=writable,
        generated=generated,
        nullable=nullable,
        max_length=told.length if kind == "text" and told.data != "enum" else None,
        scale=told.scale if kind in ("decimal", "float") else None,
        digits=told.digits if kind == "decimal" else None,
        max_integer=_largest(told) if kind == "integer" else None,
        options=members,
    )
    digits = None
    if kind == "float":
        digits = _SINGLE_DIGITS if told.data == "float" else _DOUBLE_DIGITS
    # In MariaDB JSON is a text with a check; only MySQL has a type of this name.
    return Column(spec, kind, told.text, digits)


def _room(field: Field) -> tuple[int, int]:
    """Digits and places of a new decimal column: the field's own, else as many as there can be."""
    scale = _MOST_PLACES if field.scale is None else min(field.scale, _MOST_PLACES)
    return min(field.digits or _MOST_DIGITS - _MOST_PLACES + scale, _MOST_DIGITS), scale


def _largest(told: Declared) -> int:
    if told.data == "year":
        return _YEARS[1]
    if told.data == "bit":
        return (1 << int(_arguments(told.text) or "1")) - 1
    bits = _BITS[told.data]
    return (1 << bits) - 1 if "unsigned" in told.text else (1 << bits - 1) - 1


def _members(declared: str) -> list[str]:
    """The members of an ENUM or SET, out of its declaration."""
    found = re.findall(r"'((?:[^']|'')*)'", declared)
    return [member.replace("''", "'") for member in found]


@cache
def _data(declared: str) -> str:
    """The first word of a type: "datetime" of "datetime(3)"."""
    return re.match(r"\w*", declared.lower())[0]  # type: ignore[index]  # matches anything


@cache
def _arguments(declared: str) -> str:
    found = re.match(r"\w+\((\d+)", declared)
    return found[1] if found else ""


@cache
def _places(declared: str) -> int:
    return int(_arguments(declared) or "0")


_WORDS = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.DECIMAL: "decimal",
    FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.GEOMETRY: "geometry",
}
_BINARY, _NO_SCALE = 63, 31  # as the protocol writes them


def answered(item: Any) -> Column:
    """A column of a result, by what the protocol says of it."""
    data = _WORDS.get(item.type_code)
    if data is None:
        data = "blob" if item.charsetnr == _BINARY else "text"
        data = "set" if item.flags & FLAG.SET else data
    text = f"{data}({item.length})" if data in ("tinyint", "bit") else data
    text = f"{data}({item.scale})" if data in ("datetime", "timestamp", "time") and item.scale else text
    text += " unsigned" if item.flags & FLAG.UNSIGNED else ""
    scale = item.scale if item.scale < _NO_SCALE else None
    told = Declared(data, text, scale=scale if data in ("decimal", "float", "double") else None)
    column = described(item.name, told, writable=False, generated=False, nullable=True)
    if data == "set":  # whose members the protocol does not tell
        column = replace(column, field=replace(column.field, options=None))
    return column


# -- values -------------------------------------------------------------------------------------------


def _checked_number(column: Column, value: Value) -> int:
    number = checked_integer(column, value)
    data = _data(column.type)
    is_signed = data in _BITS and "unsigned" not in column.type
    if number < 0 and not is_signed:
        raise Unfit("out_of_range", f"'{column.name}' holds no number below 0.", column.name)
    if data == "year" and number != 0 and number < _YEARS[0]:  # 26 would be made 2026
        raise Unfit("out_of_range", f"'{column.name}' holds years from {_YEARS[0]} on.", column.name)
    return number


def _checked_members(column: Column, items: Sequence[Value]) -> list[str]:
    return [checked_text(column, item) for item in items]


def _checked_bytes(column: Column, value: Value) -> bytes:
    raw = checked_binary(column, value)
    if _data(column.type) == "binary" and len(raw) != _places(column.type):  # it would be filled with NULs
        message = f"'{column.name}' holds exactly {_places(column.type)} bytes; the value has {len(raw)}."
        raise Unfit("lossy", message, column.name)
    return raw


def _checked_time(column: Column, text: str) -> str:
    places = _places(column.type)
    if not _TIME_OF_DAY.fullmatch(text):  # '12' would be made 00:00:12
        raise Unfit("type", f"'{column.name}' holds times like 12:30:00.", column.name)
    if len(text.partition(".")[2].rstrip("0")) > places:
        message = f"'{column.name}' keeps {places} places of a second; the value has more."
        raise Unfit("lossy", message, column.name)
    return text


def _written(moment: datetime, places: int) -> str:
    """A time in UTC. What the column has no place for is cut here: one server would round it, another not."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return text[: 20 + places] if places else text[:19]


def _shortest(raw: str) -> Decimal:
    """The shortest number that a float of four bytes keeps as this one."""
    exact = float(raw)
    for digits in range(_SINGLE_DIGITS, 10):
        text = f"{exact:.{digits}g}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == exact:
            return Decimal(text)
    return Decimal(raw)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


# -- rights -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rights:
    """What SHOW GRANTS says of writing in one database."""

    everywhere: bool  # or nobody can say: a role's own rights may not be listed
    tables: frozenset[str] = frozenset()
    above_read_only: bool = False

    @classmethod
    def of(cls, grants: Sequence[str], database: str) -> Rights:
        tables: dict[str, set[str]] = {}
        above = False
        for grant in grants:
            found = re.match(r"GRANT (.+) ON (?:TABLE )?(\*|`(?:[^`]|``)*`)\.(\*|`(?:[^`]|``)*`) TO ", grant)
            if found is None:
                if " ON " not in grant:  # a role
                    return cls(True, above_read_only=True)
                continue
            rights = {part.strip() for part in re.sub(r"\([^)]*\)", "", found[1]).split(",")}
            is_all = "ALL PRIVILEGES" in rights
            schema, table = _unquoted(found[2]), _unquoted(found[3])
            if schema == "*":
                names = ("SUPER", "READ ONLY ADMIN", "READ_ONLY ADMIN", "CONNECTION_ADMIN")
                above = above or is_all or any(name in rights for name in names)
            elif not _like(schema, database):
                continue
            writes = {"INSERT", "UPDATE"} if is_all else rights & {"INSERT", "UPDATE"}
            tables.setdefault(table, set()).update(writes)
        common = tables.pop("*", set())
        full = {name for name, has in tables.items() if has | common >= {"INSERT", "UPDATE"}}
        return cls(common >= {"INSERT", "UPDATE"}, frozenset(full), above)

    def may_write(self, table: str) -> bool:
        return self.everywhere or table in self.tables


def _unquoted(name: str) -> str:
    return name if name == "*" else name[1:-1].replace("``", "`")


def _like(pattern: str, name: str) -> bool:
    """Whether a database's name fits the pattern of a grant: % and _ stand for others, \\_ for itself."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.fullmatch("".join(wild.get(part, re.escape(part[-1])) for part in parts), name) is not None


# -- asking -------------------------------------------------------------------------------------------


def _asked(inspector: Inspector, statement: sa.TextClause) -> list[Any]:
    return list(cast("Connection", inspector.bind).execute(statement))


def _only(statement: str, column: str, tables: Sequence[str] | None) -> sa.TextClause:
    if tables is None:
        return sa.text(statement.format(only=""))
    names: Any = sa.bindparam("names", list(tables), expanding=True)
    return sa.text(statement.format(only=f" AND {column} IN :names")).bindparams(names)
