"""Many rows at once: what the hot paths of a run read and write by, without an object for each row.

Every function works in the caller's transaction and flushes what the session holds first. On PostgreSQL rows
go in by COPY and are changed by one UPDATE over arrays, which a pooler in transaction mode does not mind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Table,
    bindparam,
    collate,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from models.db import Base, Encoded, from_json, to_json

_IN_A_LIST = 900  # values that SQLite takes in one list
_PAGE = 10_000  # rows that a database joins to one text
FEW = 20  # below it one statement for each row is as quick, and simpler to follow in a log


def is_postgresql(db: Session) -> bool:
    return db.get_bind().dialect.name == "postgresql"


def new_ids(db: Session, model: type[Base], count: int) -> Sequence[int]:
    """So many ids that nobody else gets. On SQLite the transaction must be one that writes."""
    table = _table(model)
    if not is_postgresql(db):
        last = db.scalar(select(func.max(table.c.id))) or 0
        return range(last + 1, last + 1 + count)
    name = text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :count)")
    return list(db.scalars(name, {"name": table.name, "count": count}))


def insert_rows(db: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with all their columns, ids included where the database would choose them."""
    if not rows:
        return
    db.flush()
    table = _table(model)
    if len(rows) <= FEW or not is_postgresql(db):
        db.connection().execute(insert(table), [dict(row) for row in rows])
        return
    keys = list(rows[0])
    names = ", ".join(f'"{table.c[key].name}"' for key in keys)
    columns = [_texts(table.c[key], [row[key] for row in rows]) for key in keys]
    with (
        cast("Any", db.connection().connection).cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
    ):
        for row in zip(*columns, strict=True):
            copy.write_row(row)


def update_rows(
    db: Session, model: type[Base], rows: Sequence[Mapping[str, Any]], *, key: str = "id"
) -> None:
    """Set the other columns of the rows with these keys. Rows need not name the same columns."""
    db.flush()
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(sorted(row)), []).append(row)
    for names, group in groups.items():
        changed = [name for name in names if name != key]
        if changed:
            _update(db, _table(model), key, changed, group)


def _update(
    db: Session, table: Table, key: str, changed: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    if len(rows) <= FEW or not is_postgresql(db):
        statement = (
            update(table)
            .where(table.c[key] == bindparam("the_key"))
            .values({name: bindparam(f"v_{name}", type_=table.c[name].type) for name in changed})
        )
        values = [{"the_key": row[key], **{f"v_{name}": row[name] for name in changed}} for row in rows]
        db.connection().execute(statement, values)
        return
    dialect = db.get_bind().dialect
    arrays, params = [], {}
    for number, name in enumerate((key, *changed)):
        kind = table.c[name].type.compile(dialect=dialect)
        arrays.append(f"CAST(:a{number} AS text[])::{kind}[]")
        params[f"a{number}"] = _array(_texts(table.c[name], [row[name] for row in rows]))
    listed = ", ".join(f"c{number}" for number in range(len(arrays)))
    sets = ", ".join(f'"{name}" = v.c{number}' for number, name in enumerate(changed, 1))
    statement_ = text(
        f"UPDATE {table.name} t SET {sets} FROM unnest({', '.join(arrays)}) AS v ({listed})"  # noqa: S608
        f' WHERE t."{key}" = v.c0'
    )
    db.connection().execute(statement_, params)


def update_chosen(db: Session, model: type[Base], ids: Sequence[int], values: Mapping[str, Any]) -> None:
    """Set the same columns in all these rows."""
    db.flush()
    table = _table(model)
    at_once = len(ids) if is_postgresql(db) else _IN_A_LIST
    for start in range(0, len(ids), max(at_once, 1)):
        part = ids[start : start + at_once]
        db.connection().execute(update(table).where(_one_of(db, table.c.id, part)).values(values))


def chosen(
    db: Session, columns: Sequence[Any], key: Any, values: Iterable[Any], *conditions: Any
) -> list[Any]:
    """The rows whose key is one of these values: as many as one likes, in few questions."""
    wanted = list(values)
    found: list[Any] = []
    db.flush()
    at_once = 20_000 if is_postgresql(db) else _IN_A_LIST
    for start in range(0, len(wanted), at_once):
        one_of = _one_of(db, key, wanted[start : start + at_once])
        found += db.connection().execute(select(*columns).where(one_of, *conditions)).all()
    return found


def _one_of(db: Session, key: Any, values: Sequence[Any]) -> Any:
    if is_postgresql(db):
        return key == func.any(bindparam(None, values, postgresql.ARRAY(key.type)))
    return key.in_(values)


def pairs(db: Session, one: Any, two: Any, *conditions: Any) -> dict[str, str | None]:
    """Two text columns as a mapping: every row of a large table, without an object for each.

    Of `one` no two rows have the same, and none has nothing; an index has it behind the conditions.
    """
    found: dict[str, str | None] = {}
    if not is_postgresql(db):
        behind: tuple[Any, ...] = conditions
        while True:
            last = db.scalar(select(one).where(*behind).order_by(one).offset(_PAGE).limit(1))
            page = behind if last is None else (*behind, one <= last)
            ones, twos = db.execute(
                select(func.json_group_array(one), func.json_group_array(two)).where(*page)
            ).one()
            found.update(zip(from_json(ones), from_json(twos), strict=True))
            if last is None:
                return found
            behind = (*conditions, one > last)
    mark = "\x1e"
    few = (
        select(one.label("one"), two.label("two"), ((func.row_number().over() - 1) // _PAGE).label("page"))
        .where(*conditions)
        .subquery()
    )
    query_ = select(
        func.string_agg(few.c.one, mark), func.string_agg(func.coalesce(few.c.two, mark), mark), func.count()
    ).group_by(few.c.page)
    for ones, twos, count in db.execute(query_):
        left, right = ones.split(mark), twos.split(mark)
        if len(left) != count or len(right) != count:
            # Some row has no second value, or the mark in a text.
            return {row[0]: row[1] for row in db.execute(select(one, two).where(*conditions))}
        found.update(zip(left, right, strict=True))
    return found


def part_of(column: Any, number: int) -> Any:
    """Of PostgreSQL, which of so many parts a text belongs to, by its hash; `number` is a power of two.

    Without parameters: in a GROUP BY, two of them would be two expressions.
    """
    hash_ = func.hashtextextended(collate(column, "C"), literal_column("0", BigInteger), type_=BigInteger)
    return hash_.bitwise_and(literal_column(str(number - 1), BigInteger))


def in_parts(db: Session, column: Any, number: int, parts: Iterable[int]) -> Any:
    """Whether a text belongs to one of these parts."""
    return _one_of(db, part_of(column, number), list(parts))


def grouped(db: Session, query: Any) -> Sequence[Any]:
    """The rows of a query that makes few groups of very many rows, of which PostgreSQL's planner does not
    know that they are few: it would sort all rows."""
    connection = db.connection()
    connection.execute(text("SET LOCAL enable_sort = off"))
    rows = connection.execute(query).all()
    connection.execute(text("SET LOCAL enable_sort TO DEFAULT"))
    return rows


def _table(model: type[Base]) -> Table:
    return cast("Table", model.__table__)


def _texts(column: Column[Any], values: Sequence[Any]) -> Sequence[str | None]:
    """The values of a column as the texts that PostgreSQL reads."""
    is_json = isinstance(column.type, JSON)
    kinds = set(map(type, values))
    if kinds <= ({Encoded, NoneType} if is_json else {str, NoneType}):
        return values
    write = _json_text if is_json else _plain_text
    if values.count(values[0]) == len(values) and len(kinds) == 1:  # the same in all rows, as in most columns
        return [write(values[0])] * len(values)
    return [write(value) for value in values]


def _array(texts: Sequence[str | None]) -> str:
    """An array of texts as PostgreSQL reads one; the driver would ask each of them for its type."""
    items = (
        "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for text in texts
    )
    return "{" + ",".join(items) + "}"


def _json_text(value: Any) -> str | None:
    if value is None or type(value) is Encoded:
        return value
    return to_json(value)


def encoded(value: Any) -> Encoded:
    """A value for a JSON column as text, for whoever stores it more than once."""
    return Encoded(to_json(value))


def _plain_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
