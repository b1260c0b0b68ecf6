"""The declarative base, the engine and session factories, and the column types of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Dialect,
    Engine,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session, sessionmaker
from sqlalchemy.types import JSON, TypeDecorator, TypeEngine

Sessions = Callable[[], Session]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time. Refuses naive ones; SQLite, which has no zones, stores it without."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(DateTime(timezone=dialect.name != "sqlite"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone was about to be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """The same; out of SQLite in one step instead of three, since a list of syncs reads thousands."""
        return _from_sqlite if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _from_sqlite(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


JsonColumn = JSON().with_variant(JSONB(), "postgresql")


class Encoded(str):
    """A text that is JSON already: a JSON column takes it as it is."""

    __slots__ = ()


# What the standard library would not take, or would take otherwise, is left to it.
_AS_USUAL = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def to_json(value: Any) -> str:
    """A value for a JSON column as its text."""
    if type(value) is Encoded:
        return str(value)
    try:
        return orjson.dumps(value, option=_AS_USUAL).decode()
    except orjson.JSONEncodeError:  # numbers past 64 bits, half characters, keys that are no texts
        return json.dumps(value)


# Integers past 64 bits, which orjson would take for floats, have this many digits in a row.
_LONG = b"0" * 19
_DIGITS = bytes(ord("0") if chr(sign).isdigit() and sign < 128 else ord(" ") for sign in range(256))


def from_json(text: str | bytes) -> Any:
    """The value of a JSON column."""
    stored = text.encode() if isinstance(text, str) else text
    if _LONG in stored.translate(_DIGITS):
        return json.loads(stored)
    try:
        return orjson.loads(stored)
    except orjson.JSONDecodeError:  # half characters
        return json.loads(stored)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcTime(), dict[str, Any]: JsonColumn, list[Any]: JsonColumn}


def make_engine(url: str, *, pool_size: int = 12) -> Engine:
    """An engine with the settings that the lifecycle relies on; it connects when first used.

    SQLite: WAL, synchronous=FULL, a busy time-out, foreign keys, and BEGIN IMMEDIATE, so that
    "database is locked" is waited out (`make_read_sessions` begins without a lock).
    PostgreSQL: time-outs for statements, locks and idle transactions; nothing that a transaction
    pooler breaks (no session locks, no prepared statements kept on the server).
    """
    if url.startswith("sqlite"):
        engine = create_engine(
            url,
            connect_args={"timeout": 30},
            hide_parameters=True,
            json_serializer=to_json,
            json_deserializer=from_json,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=4,
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=to_json,
        json_deserializer=from_json,
        connect_args={
            "connect_timeout": 10,
            "prepare_threshold": None,
            "application_name": "syncline",
            # A server that is gone without a word is noticed before a lease ends.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    event.listen(engine, "begin", _limit_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    # A reader that later writes would fail with "locked" at once instead of waiting its turn.
    mode = connection.get_execution_options().get("syncline_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _limit_postgresql(connection: Connection) -> None:
    connection.exec_driver_sql(
        "SET LOCAL statement_timeout='30s'; SET LOCAL lock_timeout='5s';"
        " SET LOCAL idle_in_transaction_session_timeout='60s'"
    )


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(engine, expire_on_commit=False)


def make_read_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions that only read: on SQLite they do not wait for a writer, nor a writer for them."""
    return sessionmaker(engine.execution_options(syncline_begin="DEFERRED"), expire_on_commit=False)


def in_index(model: type[Base], index: str) -> ColumnElement[bool]:
    """The condition of one of a model's partial indexes, word by word.

    SQLite takes such an index only where a query repeats its condition: `state = 'held'` alone does not
    prove `state IN ('held', ...)` to it.
    """
    [found] = [item for item in cast("Table", model.__table__).indexes if item.name == index]
    condition: ColumnElement[bool] = found.dialect_options["sqlite"]["where"]
    return condition


def unindexed(column: InstrumentedAttribute[str], value: str) -> ColumnElement[bool]:
    """`column = value`, but not by an index of this column: another one in the query serves better."""
    return func.coalesce(column, "") == value


def unindexed_in(column: InstrumentedAttribute[str], values: Iterable[str]) -> ColumnElement[bool]:
    """`column` is one of the values, but not by an index of this column."""
    return func.coalesce(column, "").in_(values)


def db_now(session: Session) -> datetime:
    """The database's clock: the one that decides what is due, leased or expired."""
    if session.get_bind().dialect.name == "sqlite":
        stamp = session.scalar(text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(stamp)).replace(tzinfo=UTC)
    moment = session.scalar(select(text("clock_timestamp()")))
    if not isinstance(moment, datetime):
        raise TypeError("the database did not tell the time")
    return moment.astimezone(UTC)


def database_says(problem: SQLAlchemyError) -> str:
    """An error of our own database as one line for a person: no statement, no values."""
    said = (str(getattr(problem, "orig", None) or problem).splitlines() or [type(problem).__name__])[0]
    if "database is locked" in said:
        return (
            "Syncline's own database is busy: one of its processes, or another program, has kept it locked"
            " for half a minute. Try again in a moment; if it stays so, end the process that stands still."
        )
    return f"Syncline's own database failed: {said[:300].rstrip('.')}."
