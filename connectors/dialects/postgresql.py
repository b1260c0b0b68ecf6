"""PostgreSQL, over TCP, also through a pooler in transaction mode: nothing is kept between transactions."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from time import monotonic
from typing import Any, TypeVar, cast

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from psycopg.waiting import Wait
from sqlalchemy import types
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import DBAPIError

from connectors.addresses import judge
from connectors.base import Chosen
from connectors.dialects.base import (
    AS_IS,
    FIELD_TYPES,
    Column,
    Database,
    Raw,
    Row,
    Table,
    Unfit,
    base_type,
    kind_of,
)
from connectors.dialects.servers import CONNECT_SECONDS, TLS_MODES, check_server, connect_seconds
from connectors.dialects.values import (
    array_literal,
    checked_binary,
    checked_decimal,
    checked_integer,
    checked_text,
    fits,
    of_this_type,
    unstorable,
    whole_number,
)
from connectors.errors import (
    AuthError,
    ConnectorError,
    FatalError,
    OptionsError,
    StreamGone,
    Unavailable,
)
from sync.records import Field
from sync.values import FieldType, Value, ValueProblem, is_own, iso, json_text, keeps_places, parse, plain

_Answer = TypeVar("_Answer")
_INTEGERS = ((types.SmallInteger, 2**15 - 1), (types.BigInteger, 2**63 - 1), (types.Integer, 2**31 - 1))
_SINGLE_DIGITS, _DOUBLE_DIGITS = 6, 15
_COMPARED_DIRECTLY = frozenset({"integer", "decimal", "uuid", "text", "date", "boolean"})
_WITHOUT_LINE_ENDS = frozenset({"integer", "decimal", "uuid", "date", "boolean"})
# What takes long to write as text goes into a row's hash as the protocol sends it.
_SENT: Mapping[str, Callable[[Any], sa.ColumnElement[Any]]] = {
    "datetime": sa.func.timestamptz_send,
    "naive_datetime": sa.func.timestamp_send,
}
_NEVER_BLANK = frozenset(  # as texts
    {"integer", "decimal", "float", "boolean", "date", "datetime", "naive_datetime", "uuid", "binary"}
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)

# How values look as text, and how long we wait for others' locks. Set in each transaction, since a pooler
# may hand every transaction to another server process.
_SESSION = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "lock_timeout": "10s",
    # A process that stands still between a write and its commit loses both before its lease ends: a write
    # that nobody saw must not appear after somebody else has looked for it.
    "idle_in_transaction_session_timeout": "30s",
}

_RIGHTS = sa.text(
    """
    SELECT CASE WHEN n.nspname = current_schema() THEN NULL ELSE n.nspname END, c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND NOT (has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE'))
    """
)


_PLAIN_TABLE = sa.text(
    """
    SELECT relkind = 'r' AND NOT relrowsecurity AND NOT relhasrules AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
    FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(:name)
    """
)
_NESTED = 16  # hashes within one another
_COPIED_KEYS = frozenset({"integer", "uuid", "text"})  # that come back as they were given
_MANY = 50  # new rows from which on a COPY pays


class Postgres(Database):
    title = "PostgreSQL"
    url_options = frozenset({"sslmode", "connect_timeout", "application_name"})
    clock = "SELECT extract(epoch FROM clock_timestamp())"
    reads_apart = True
    adds_hashes = True
    max_values = 30_000  # the protocol takes 65,535
    driver_errors = (DBAPIError, psycopg.Error)
    _transaction_id: int | None = None  # of the last transaction that writes

    @classmethod
    def check_url(cls, url: URL) -> None:
        super().check_url(url)
        check_server(url, cls.title)
        if url.query.get("sslmode", TLS_MODES[0]) not in TLS_MODES:
            raise ValueError(f"sslmode is one of {', '.join(TLS_MODES)}")

    @property
    def place(self) -> str:
        return f"PostgreSQL at {self.url.host}:{self._port}"

    @property
    def fingerprint(self) -> str:
        return f"postgresql://{self.url.host}:{self._port}/{self.url.database}"

    @property
    def _port(self) -> int:
        return self.url.port or 5432

    def _engine(self) -> Engine:
        return sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            pool_size=1,
            max_overflow=-1,  # several runs of the process may use it at once
            pool_pre_ping=True,  # runs pause for minutes; the connection may be gone by then
            use_native_hstore=False,
            hide_parameters=True,
        )

    @cached_property
    def _kept_as(self) -> Hashable:
        return type(self), self.url, self.password, self.access.networks, self.answer_seconds

    def _connect(self) -> psycopg.Connection[Any]:
        judged = judge(self.url.host or "", self._port, self.access.networks)
        asked = {name: str(value) for name, value in self.url.query.items()}
        # Built from checked parts alone. libpq connects to the addresses that were judged, and checks the
        # certificate against the name.
        wire = _Wire.connect(
            host=",".join([judged.host] * len(judged.addresses)),
            hostaddr=",".join(judged.addresses),
            port=self._port,
            user=self.url.username or "",
            password=self.password,
            dbname=self.url.database or "",
            sslmode=asked.get("sslmode", "require" if judged.is_public else "prefer"),
            connect_timeout=connect_seconds(self.url),
            application_name=asked.get("application_name", "syncline"),
            client_encoding="UTF8",
            passfile=os.devnull,
            gssencmode="disable",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            tcp_user_timeout=60_000,
            prepare_threshold=None,  # a pooler may hand the next statement to another server process
        )
        wire.answer_seconds = self.answer_seconds
        return wire

    def _prepare(self, connection: Connection, *, writes: bool) -> Connection:
        level = "READ COMMITTED" if writes else "REPEATABLE READ"
        connection = connection.execution_options(isolation_level=level, postgresql_readonly=not writes)
        settings = [sa.func.set_config(name, value, True) for name, value in _SESSION.items()]
        if writes:  # held until the transaction is over, also where we no longer hear of it
            settings += [sa.func.txid_current(), sa.func.pg_advisory_xact_lock(sa.func.txid_current())]
        found = connection.execute(sa.select(*settings)).one()
        if writes:
            self._transaction_id = int(found[len(_SESSION)])
        return connection

    def outlast(self) -> None:
        if self._transaction_id is not None:
            with self.reading() as another:
                another.execute(sa.select(sa.func.pg_advisory_xact_lock(self._transaction_id)))

    def is_lost(self, error: BaseException) -> bool:
        state = error.sqlstate if isinstance(error, psycopg.Error) else None
        if state is None:
            return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return state.startswith(("08", "57P"))

    def named(self, error: BaseException) -> Unfit | ConnectorError:
        text = _first_line(error)
        if isinstance(error, psycopg.Error) and error.sqlstate is not None:
            return self._refused(error, error.sqlstate, text)
        if isinstance(error, psycopg.DataError):
            return Unfit("type", f"A value cannot be sent: {text}.")
        return self._not_connected(text)

    def _not_connected(self, text: str) -> ConnectorError:
        """What libpq says while connecting carries no code, only English words."""
        user = self.url.username or ""
        if "pg_hba.conf" in text:
            return AuthError(f"{self.place} does not let the user '{user}' in from here (pg_hba.conf).")
        if "authentication" in text or "no password" in text or 'role "' in text:
            return AuthError(
                f"{self.place} refuses the user '{user}': the user is unknown or the password is wrong."
                " Enter both again."
            )
        if 'database "' in text:
            return OptionsError(f"{self.place} has no database '{self.url.database}'. Correct the URL.")
        if "does not support SSL" in text:
            return OptionsError(f"{self.place} offers no TLS, and the connection demands it (sslmode).")
        if "certificate" in text:
            return OptionsError(f"The certificate of {self.place} cannot be verified. Check the host's name.")
        if "refused" in text:
            return Unavailable(
                f"{self.place} refuses connections. Check host and port, and that the server is running."
            )
        if "timeout" in text or "timed out" in text:
            return Unavailable(f"{self.place} does not answer. Check host, port and firewall.")
        return Unavailable(f"The connection to {self.place} broke.")

    def _refused(self, error: psycopg.Error, state: str, text: str) -> Unfit | ConnectorError:
        column = error.diag.column_name or ""
        rule = error.diag.constraint_name or ""
        match state:
            case "23505":
                return Unfit("unique", f"The values of '{rule}' must be unique.", constraint=rule)
            case "23502":
                return Unfit("required", f"'{column}' must not be empty.", column)
            case "23503":
                return Unfit("reference", f"The reference '{rule}' to another record forbids this.")
            case "23514":
                return Unfit("check", f"The table's rule '{rule}' forbids this value.")
            case "22001":
                return Unfit("too_long", f"A value is too long: {text}.", column)
            case "22003":
                return Unfit("out_of_range", f"A number is too large: {text}.", column)
            case "25006":
                return OptionsError(f"{self.place} takes no changes. Sync only from it.")
            case "42501":
                return OptionsError(f"The user '{self.url.username}' lacks a right: {text}. Grant it.")
            case "42P01" | "3F000":
                return StreamGone(f"{self.place} was changed meanwhile: {text}.")
            case "55P03":
                return Unavailable(f"A row in {self.place} is locked by somebody else. Try again later.")
        match state[:2]:
            case "22" | "23" | "44" | "P0":
                return Unfit("rejected", f"The database refuses the record: {text}.", column)
            case "28":
                return AuthError(
                    f"{self.place} refuses the user '{self.url.username}'. Enter the password again."
                )
            case "3D":
                return OptionsError(f"{self.place} has no database '{self.url.database}'. Correct the URL.")
            case "42":
                return OptionsError(f"{self.place} cannot do this: {text}.")
            case "08" | "40" | "53" | "55" | "57" | "58":
                return Unavailable(f"{self.place} is not ready: {text}. Try again later.")
            case _:
                return FatalError(f"{self.place} answers: {text} ({state}).")

    def version(self, connection: Connection) -> str:
        return f"PostgreSQL {connection.scalar(sa.select(sa.func.current_setting('server_version')))}"

    # -- tables --

    def view_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        return {*inspector.get_view_names(schema), *inspector.get_materialized_view_names(schema)}

    def schemas(self, inspector: Inspector) -> list[str | None]:
        own = (inspector.default_schema_name, "information_schema")
        names = inspector.get_schema_names()
        return [None, *(name for name in names if name not in own and not name.startswith("pg_"))]

    def read_only(self, connection: Connection) -> Mapping[tuple[str | None, str], str]:
        is_standby = connection.scalar(sa.select(sa.func.pg_is_in_recovery()))
        default = connection.scalar(sa.select(sa.func.current_setting("default_transaction_read_only")))
        if is_standby or default == "on":
            return {(None, ""): f"{self.place} takes no changes. Sync only from it."}
        why = (
            f"The user '{self.url.username}' may not write it. Grant INSERT and UPDATE, or sync only from it."
        )
        return {(row[0], row[1]): why for row in connection.execute(_RIGHTS)}

    def fills(self, connection: Connection, table: str, column: ReflectedColumn) -> bool:
        return "identity" in column or column.get("default") is not None

    def column(
        self, connection: Connection, table: sa.TableClause, reflected: ReflectedColumn, *, fills: bool
    ) -> Column:
        base = base_type(reflected["type"])
        kind = kind_of(base)
        identity: Mapping[str, Any] = reflected.get("identity") or {}
        is_computed = "computed" in reflected
        spec = Field(
            reflected["name"],
            FIELD_TYPES[kind],
            writable=not is_computed and not identity.get("always"),
            generated=is_computed or fills,
            nullable=reflected["nullable"],
            max_length=base.length if isinstance(base, types.String) and kind == "text" else None,
            scale=base.scale if isinstance(base, types.Numeric) and kind == "decimal" else None,
            digits=base.precision if isinstance(base, types.Numeric) and kind == "decimal" else None,
            max_integer=_limit(base),
            options=tuple(base.enums) if isinstance(base, types.Enum) else None,
        )
        digits = _SINGLE_DIGITS if isinstance(base, types.REAL) else _DOUBLE_DIGITS
        return Column(spec, kind, repr(base), digits if kind == "float" else None)

    def type_of(self, field: Field, *, indexed: bool) -> types.TypeEngine[Any]:
        match field.type:
            case FieldType.INTEGER:
                is_larger = field.max_integer is not None and field.max_integer >= 2**63
                return types.NUMERIC(20, 0) if is_larger else types.BIGINT()
            case FieldType.DECIMAL:
                is_known = field.digits is not None and field.scale is not None
                return types.NUMERIC(field.digits, field.scale) if is_known else types.NUMERIC()
            case FieldType.BOOLEAN:
                return types.BOOLEAN()
            case FieldType.DATE:
                return types.DATE()
            case FieldType.DATETIME:
                return types.TIMESTAMP(timezone=True)
            case FieldType.JSON | FieldType.ATTACHMENTS:
                return postgresql.JSONB()
            case FieldType.LIST | FieldType.LINKS:
                return postgresql.ARRAY(types.TEXT())
            case FieldType.TEXT:
                return types.TEXT() if field.max_length is None else types.VARCHAR(field.max_length)

    def numbered_key(self, name: str) -> sa.Column[int]:
        return sa.Column(name, types.BIGINT(), sa.Identity(always=False), primary_key=True)

    # -- rows --

    def selected(self, clause: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        if column.kind == "array":
            clause = sa.func.to_json(clause)
        if column.type.startswith("INET"):
            clause = sa.func.abbrev(clause)  # as it was typed: a cast adds /32
        return sa.cast(clause, sa.Text)

    def row_hash(self, table: Table) -> sa.ColumnElement[str] | None:
        return sa.cast(self._number_of(table), sa.Text)

    def _number_of(self, table: Table) -> sa.ColumnElement[int]:
        """A hash of a row's cells. Not hash_record_extended: to it 5 is -5, and what two rows exchange leaves
        its sum as it was. Nor the text of row(...), which takes three times as long to make.
        """
        texts = [_text_of(table.clause.c[column.name], column.kind) for column in table.columns]
        return _hash_of(texts, table.seed)

    def totals(
        self, connection: Connection, table: Table, key: Sequence[Column], number: int
    ) -> Iterable[tuple[int, int, int]]:
        hashes = sa.cast(sa.func.coalesce(sa.func.sum(self._number_of(table)), 0), sa.Numeric)
        if number == 1:
            found = connection.execute(sa.select(sa.func.count(), hashes).select_from(table.clause)).one()
            return [(0, found[0], int(found[1]))]
        part = self._part_of(table, key[0], number)
        # The planner takes each row for a part of its own, and would sort them all.
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
        rows = connection.execute(sa.select(part, sa.func.count(), hashes).group_by(part)).all()
        connection.exec_driver_sql("SET LOCAL enable_sort TO DEFAULT")
        return [(row[0], row[1], int(row[2])) for row in rows]

    def _part_of(self, table: Table, key: Column, number: int) -> sa.ColumnElement[int]:
        """The part that a row belongs to. Without parameters: two of them would be two expressions."""
        id_ = sa.collate(self.selected(table.clause.c[key.name], key), "C")
        hash_ = _hash(id_, sa.literal_column("0", sa.BigInteger))
        return hash_.bitwise_and(sa.literal_column(str(number - 1), sa.BigInteger))

    def hashed(
        self, table: Table, key: Sequence[Column], size: int, chosen: Chosen | None = None
    ) -> sa.Select[tuple[str, str, int]] | None:
        if len(key) != 1 or key[0].kind not in _WITHOUT_LINE_ENDS:
            return None
        row_hash = self.row_hash(table)
        if row_hash is None:
            return None
        numbered = sa.select(
            self.selected(table.clause.c[key[0].name], key[0]).label("v0"),
            row_hash.label("hash"),
            ((sa.func.row_number().over() - 1) // size).label("page"),
        )
        if chosen is not None:
            one_of = self.one_of(self._part_of(table, key[0], chosen.number), list(chosen.parts))
            numbered = numbered.where(one_of)
        rows = numbered.subquery()
        # Both texts are made of the same rows in the same order, whichever that is.
        return (
            sa.select(
                sa.func.string_agg(rows.c.v0, "\n"), sa.func.string_agg(rows.c.hash, "\n"), sa.func.count()
            )
            .group_by(rows.c.page)
            .order_by(rows.c.page)
        )

    def one_of(self, clause: sa.ColumnElement[Any], raws: Sequence[Raw]) -> sa.ColumnElement[bool]:
        # One value, whatever their number; the column's own type says what they are.
        return clause == sa.func.any(sa.bindparam(None, array_literal(raws), AS_IS))

    def decode(self, column: Column, raw: Raw) -> Value:
        if raw is None:
            return None
        try:
            match column.kind:
                case "text" | "uuid":
                    return raw
                case "binary":
                    return base64.b64encode(bytes.fromhex(raw[2:])).decode("ascii")
                case "array":
                    return tuple(json.loads(raw, parse_float=Decimal))
                case _:
                    return parse(raw, column.field.type)
        except ValueProblem:
            return raw  # NaN, infinity, a date before our era: whoever maps the field says what is wrong

    def encode(self, column: Column, value: Value) -> Raw:
        with of_this_type(column):
            match column.kind:
                case "integer":
                    return str(checked_integer(column, value))
                case "decimal" | "float":
                    return plain(checked_decimal(column, value))
                case "boolean":
                    return "true" if parse(value, FieldType.BOOLEAN) else "false"
                case "date":
                    return parse(value, FieldType.DATE).isoformat()
                case "datetime" | "naive_datetime":
                    return iso(parse(value, FieldType.DATETIME))
                case "json":
                    return json_text(value)
                case "array":
                    return array_literal(parse(value, FieldType.LIST))
                case "binary":
                    return "\\x" + checked_binary(column, value).hex()
                case "uuid":
                    text = checked_text(column, value).strip().lower()
                    if not _UUID.fullmatch(text):
                        raise Unfit("type", f"'{column.name}' holds UUIDs.", column.name)
                    return text
                case _:
                    return checked_text(column, value)

    def decoder(self, column: Column) -> Callable[[Raw], Value]:
        read = _READERS.get(column.kind)
        if read is None:
            return super().decoder(column)

        def decoded(raw: Raw) -> Value:
            try:
                return None if raw is None else read(raw)
            except (ValueError, KeyError, ArithmeticError):
                return self.decode(column, raw)

        return decoded

    def encoder(self, column: Column) -> Callable[[Value], Raw]:
        slow, write = super().encoder(column), _WRITERS.get(column.kind)
        if write is None or column.field.options is not None or column.digits is not None:
            return slow
        fits_at_once = _fits_at_once(column)
        return lambda value: write(value) if fits_at_once(value) else slow(value)

    def key_text(self, raw: Raw) -> str:
        return str(raw)

    def key_raw(self, column: Column, text: str) -> Raw:
        match column.kind:
            case "integer":
                number = whole_number(text)
                return None if number is None or not fits(number, column.field.max_integer or 0) else text
            case "uuid":
                return text if _UUID.fullmatch(text) else None
            case "decimal" | "date" | "boolean":
                try:
                    return text if parse(text, column.field.type) is not None else None
                except ValueProblem:
                    return None
            case _:
                is_possible = column.field.options is None or text in column.field.options
                return text if is_possible and not unstorable(text) else None

    def key_clause(self, clause: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        return clause if column.kind in _COMPARED_DIRECTLY else sa.cast(clause, sa.Text)

    def locked(self, select: sa.Select[Any]) -> sa.Select[Any]:
        return select.with_for_update()

    def check_at_once(self, connection: Connection) -> None:
        connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))

    def insert(
        self,
        connection: Connection,
        statement: sa.Insert,
        rows: Sequence[dict[str, Raw]],
        key: Sequence[tuple[sa.ColumnElement[Any], Column]],
        given: Sequence[Row | None],
    ) -> list[Row | None]:
        whole = [found for found in given if found is not None]
        is_plain = all(
            column.kind in _COPIED_KEYS and not column.type.startswith("CHAR") for _, column in key
        )
        if len(whole) == len(rows) >= _MANY and is_plain and self._takes_copies(connection, statement.table):
            self._copy(connection, statement, rows)
            return list(whole)
        returning = statement.returning(*(self.selected(clause, column) for clause, column in key))
        text = str(returning.compile(dialect=connection.dialect))
        found: list[Row | None] = []
        # One statement per row, all on their way before the first answer is awaited, and an answer for
        # each: what a multi-row INSERT returns comes in no promised order.
        with cast("psycopg.Cursor[Any]", connection.connection.cursor()) as cursor:
            cursor.executemany(text, rows, returning=True)
            for _ in rows:
                found.append(cursor.fetchone())
                cursor.nextset()
        return found

    def update_many(
        self,
        connection: Connection,
        clause: sa.TableClause,
        key: Sequence[Column],
        columns: Sequence[Column],
        rows: Sequence[tuple[Row, Row]],
    ) -> bool:
        casts = [_cast(column) for column in (*key, *columns)]
        if len(rows) < _MANY or len(key) > 1 or None in casts:
            return False
        quote = connection.dialect.identifier_preparer.quote
        name = connection.dialect.identifier_preparer.format_table(cast("Any", clause))
        given = ", ".join(["%s::text[]"] * len(casts))
        listed = ", ".join(f"c{number}" for number in range(len(casts)))
        sets = ", ".join(
            f"{quote(column.name)} = v.c{number}{kind}"
            for number, (column, kind) in enumerate(zip(columns, casts[1:], strict=True), 1)
        ).replace("%", "%%")
        where = f"t.{quote(key[0].name)} = v.c0{casts[0]}".replace("%", "%%")
        name = name.replace("%", "%%")
        text = f"UPDATE {name} t SET {sets} FROM unnest({given}) AS v ({listed}) WHERE {where}"  # noqa: S608
        values = [array_literal([row_key[0] for row_key, _ in rows])]
        values += [array_literal([raws[number] for _, raws in rows]) for number in range(len(columns))]
        with cast("psycopg.Cursor[Any]", connection.connection.cursor()) as cursor:
            cursor.execute(text.encode(), values)
        return True

    def _takes_copies(self, connection: Connection, table: Any) -> bool:
        """Whether a COPY into a table does what its INSERT would: nothing of the table's own steps in."""
        name = connection.dialect.identifier_preparer.format_table(table)
        return bool(connection.scalar(_PLAIN_TABLE, {"name": name}))

    def _copy(self, connection: Connection, statement: sa.Insert, rows: Sequence[dict[str, Raw]]) -> None:
        """The rows of an INSERT by COPY: the columns' own input rules apply to the same texts."""
        head, _, values = str(statement.compile(dialect=connection.dialect)).rpartition(" VALUES ")
        names = re.findall(r"%\((\w+)\)s", values)
        text = head.replace("INSERT INTO", "COPY", 1).replace("%%", "%") + " FROM STDIN"
        with (
            cast("psycopg.Cursor[Any]", connection.connection.cursor()) as cursor,
            cursor.copy(text.encode()) as copy,
        ):
            for row in rows:
                copy.write_row([row[name] for name in names])

    def earlier(self, column: Column, raw: Raw, seconds: float) -> Raw:
        if column.kind not in ("datetime", "naive_datetime"):
            return raw
        try:
            return iso(parse(raw, FieldType.DATETIME) - timedelta(seconds=seconds))
        except ValueProblem:
            return raw


# -- the wire -----------------------------------------------------------------------------------------


class _Wire(psycopg.Connection[Any]):
    """A connection that gives up an end which takes in everything and answers nothing."""

    answer_seconds: float = CONNECT_SECONDS

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        try:
            wanted = next(gen)
        except StopIteration as done:  # it was there already, as most rows of a COPY are
            return cast("_Answer", done.value)
        try:
            return super().wait(_watched(gen, wanted, self.answer_seconds), interval, timeout)
        except _Silence:
            with suppress(psycopg.Error):  # a server that only takes long stops working on it
                self.cancel_safe(timeout=2)
            self.close()
            raise


class _Silence(psycopg.OperationalError):
    pass


def _watched(gen: PQGen[_Answer], wanted: Wait, seconds: float) -> PQGen[_Answer]:
    """What `gen` does, as long as bytes pass now and then. Raises _Silence."""
    since = monotonic()
    while True:
        ready = yield wanted
        if ready:
            since = monotonic()
        elif monotonic() - since > seconds:
            raise _Silence(f"timed out: no answer for {seconds:g} seconds")
        try:
            wanted = gen.send(ready)
        except StopIteration as done:
            return cast("_Answer", done.value)


# -- values at a glance -------------------------------------------------------------------------------


def _fits_at_once(column: Column) -> Callable[[Value], bool]:
    """What tells at a glance that a column can hold a value."""
    spec = column.field
    known = is_own(spec.type)
    match column.kind:
        case "integer":
            largest = spec.max_integer if spec.max_integer is not None else -1
            return lambda value: known(value) and -largest <= value <= largest
        case "decimal":
            scale = spec.scale
            return lambda value: known(value) and (scale is None or keeps_places(value, scale))
        case "text":
            longest = spec.max_length
            return lambda value: (
                known(value) and "\0" not in value and (longest is None or len(value) <= longest)
            )
        case _:
            return known


def _cast(column: Column) -> str | None:
    """What makes a text a value of this column, as its own input rules would; None where they may differ."""
    if column.kind == "text":
        # Assigned without a cast: a cast to varchar(10) would cut silently.
        return "" if column.type.startswith(("TEXT", "VARCHAR")) else None
    return _CASTS.get(column.kind)


def _date(raw: str) -> date:
    return date.fromisoformat(raw)


def _moment(raw: str) -> datetime:
    moment = datetime.fromisoformat(raw)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _number(raw: str) -> Decimal:
    number = Decimal(raw)
    if not number.is_finite():
        raise ValueError(raw)
    return number


# Kinds of which most values are read and written without a closer look.
_READERS: Mapping[str, Callable[[str], Value]] = {
    "integer": int,
    "decimal": _number,
    "boolean": {"true": True, "false": False}.__getitem__,
    "date": _date,
    "datetime": _moment,
    "naive_datetime": _moment,
    "text": str,
    "uuid": str,
}
_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "integer": str,
    "decimal": plain,
    "boolean": lambda value: "true" if value else "false",
    "date": date.isoformat,
    "datetime": iso,
    "naive_datetime": iso,
    "text": str,
}
_CASTS: Mapping[str, str] = {
    "integer": "::bigint",
    "decimal": "::numeric",
    "boolean": "::boolean",
    "date": "::date",
    "datetime": "::timestamptz",
    "naive_datetime": "::timestamp",
    "uuid": "::uuid",
}


def _limit(base: types.TypeEngine[Any]) -> int | None:
    return next((limit for kind, limit in _INTEGERS if isinstance(base, kind)), None)


def _text_of(clause: sa.ColumnElement[Any], kind: str) -> sa.ColumnElement[str]:
    """A cell as a text that no other cell of its column has; an empty one where nothing stands."""
    text: sa.ColumnElement[str] = sa.cast(clause, sa.Text)
    if (send := _SENT.get(kind)) is not None:
        text = sa.func.encode(send(clause), "hex", type_=sa.Text)
    elif kind not in _NEVER_BLANK:
        text = sa.func.textcat(text, "|")
    return sa.collate(sa.func.coalesce(text, ""), "C")  # byte by byte, whatever the column calls equal


def _hash_of(texts: Sequence[sa.ColumnElement[str]], seed: int) -> sa.ColumnElement[int]:
    """A hash of these texts in their order: each is hashed from where the one before it came to.

    What becomes of some at a time is hashed two by two: a table may have more columns than nest.
    """
    if len(texts) > _NESTED:
        middle = len(texts) // 2
        last = sa.cast(_hash_of(texts[middle:], seed), sa.Text)
        return _hash(sa.collate(last, "C"), _hash_of(texts[:middle], seed))
    found: sa.ColumnElement[int] = sa.literal(seed, sa.BigInteger)
    for text in texts:
        found = _hash(text, found)
    return found


def _hash(text: sa.ColumnElement[str], seed: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.func.hashtextextended(text, seed, type_=sa.BigInteger)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
