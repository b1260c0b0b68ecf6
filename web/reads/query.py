"""Small parts that queries share: keyset pages, capped counts, words that a partial index knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Integer, Select, and_, func, literal_column, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from models.sync_configs import SyncConfig
from web.database import db
from web.languages import _
from web.languages import number as grouped

T = TypeVar("T")

PAGE_SIZE = 50
AT_ONCE = 500  # rows of a file that are read at a time
CAP = 1000  # counts on tabs stop here and say "1,000+": an exact one would read the whole table


class BadFilter(ValueError):
    """A parameter of a list is not what it can be. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of a list, newest first, and where its neighbours begin."""

    items: Sequence[T]
    older: str | None = None  # a cursor for `before`
    newer: str | None = None  # a cursor for `after`


@dataclass(frozen=True, slots=True)
class Export:
    """What becomes a file: how many things it tells of, and its rows, read while they are sent."""

    number: int
    rows: Iterator[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Count:
    number: int
    capped: bool = False

    def __str__(self) -> str:
        return f"{grouped(self.number)}{'+' if self.capped else ''}"

    def __bool__(self) -> bool:
        return self.number > 0


def config_names(ids: Iterable[str]) -> dict[str, str]:
    """The names of these syncs."""
    rows = db.session.execute(select(SyncConfig.id, SyncConfig.name).where(SyncConfig.id.in_(set(ids))))
    return {row.id: row.name for row in rows}


def is_word(column: InstrumentedAttribute[Any], word: str) -> ColumnElement[bool]:
    """`column = 'word'` with the word in the text of the query.

    SQLite uses a partial index only where the query itself holds the index's condition; a bound
    parameter does not count. The word is one of our own constants, never somebody's input.
    """
    if not word.isidentifier():
        raise ValueError(word)
    return column == literal_column(f"'{word}'")


def begins_with(column: InstrumentedAttribute[str], text: str) -> ColumnElement[bool]:
    """`column` begins with this text, letter by letter, by an index: SQLite has none for its LIKE."""
    if db.session.get_bind().dialect.name == "sqlite":
        return and_(column >= text, column < text + chr(0x10FFFF))
    return column.startswith(text, autoescape=True)


def keyset(
    query: Select[T],
    at: InstrumentedAttribute[datetime],
    id: InstrumentedAttribute[Any],
    position: Callable[[T], tuple[datetime, object]],
    args: Mapping[str, str],
    size: int = PAGE_SIZE,
) -> Slice[T]:
    """One page of `query` by (time, id), newest first: rows born in the same moment are not skipped."""
    before, after = args.get("before"), args.get("after")
    if after:
        moment, last = _parse(after, id)
        found = list(
            db.session.scalars(query.where(_above(at, id, moment, last)).order_by(at, id).limit(size + 1))
        )
        more = len(found) > size
        items = found[:size][::-1]
        return Slice(
            items,
            older=_format(*position(items[-1])) if items else None,
            newer=_format(*position(items[0])) if more else None,
        )
    if before:
        moment, last = _parse(before, id)
        query = query.where(_below(at, id, moment, last))
    found = list(db.session.scalars(query.order_by(at.desc(), id.desc()).limit(size + 1)))
    items = found[:size]
    return Slice(
        items,
        older=_format(*position(items[-1])) if len(found) > size else None,
        newer=_format(*position(items[0])) if before and items else None,
    )


def _above(
    at: InstrumentedAttribute[datetime], id: InstrumentedAttribute[Any], moment: datetime, last: object
) -> ColumnElement[bool]:
    """What comes before this place in a list, newest first."""
    return and_(at >= moment, or_(at > moment, id > last))


def _below(
    at: InstrumentedAttribute[datetime], id: InstrumentedAttribute[Any], moment: datetime, last: object
) -> ColumnElement[bool]:
    return and_(at <= moment, or_(at < moment, id < last))


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands next to a thing in a list, newest first, by what its address takes."""

    newer: Mapping[str, Any] | None = None
    older: Mapping[str, Any] | None = None


def neighbours(
    queries: Sequence[Select[Any]],
    at: InstrumentedAttribute[datetime],
    id: InstrumentedAttribute[Any],
    place: tuple[datetime, object],
    name: str,
) -> Beside:
    """What stands next to this place in a list that all these queries together make; `name` is what an
    address calls the id."""
    above, below = _above(at, id, *place), _below(at, id, *place)
    newer: list[Any] = []
    older: list[Any] = []
    for query in queries:
        rows = query.with_only_columns(at, id).order_by(None)
        newer += db.session.execute(rows.where(above).order_by(at, id).limit(1)).all()
        older += db.session.execute(rows.where(below).order_by(at.desc(), id.desc()).limit(1)).all()
    return Beside(
        {name: min(newer)[1]} if newer else None,
        {name: max(older)[1]} if older else None,
    )


def by_id(query: Select[T], id: InstrumentedAttribute[int], before: str, size: int) -> Slice[T]:
    """One page of what belongs to one thing, the largest ids first. Raises BadFilter."""
    if before:
        query = query.where(id < whole(before))
    found = in_order(query, id, size + 1, newest=True)
    items = found[:size]
    return Slice(items, older=str(getattr(items[-1], id.key)) if len(found) > size else None)


def in_order(query: Select[T], id: InstrumentedAttribute[Any], limit: int, *, newest: bool) -> list[T]:
    """The first rows of `query` by their ids, which an index of its condition holds in this order.

    The ids come first, out of that index alone. Asked for whole rows, PostgreSQL walks the primary key from
    its end and passes by half the table before it meets the first one of an old run.
    """
    order = id.desc() if newest else id
    ids = query.with_only_columns(id).order_by(None).order_by(order).limit(limit).subquery()
    rows = select(id.class_).where(id.in_(select(ids)))
    return list(db.session.scalars(rows.order_by(order)))


def export(
    query: Select[T],
    at: InstrumentedAttribute[datetime] | None,
    id: InstrumentedAttribute[Any],
    shown: Callable[[Sequence[T]], Iterable[Sequence[Any]]],
    limit: int,
) -> Export:
    """The rows of `query`, as `shown` makes them of some hundred at a time.

    The newest come first or, where no time is given, the smallest ids.

    The number is that of now. Each page asks anew and lets go of the database before its rows are sent off:
    who takes a file slowly keeps no connection.
    """
    number = db.session.scalar(select(capped(query.with_only_columns(id), limit - 1))) or 0

    def rows() -> Iterator[Sequence[Any]]:
        part, left = query, limit
        while left > 0:
            size = min(AT_ONCE, left)
            order = (id,) if at is None else (at.desc(), id.desc())
            found = db.session.scalars(part.order_by(*order).limit(size)).all()
            told = list(shown(found))
            db.session.remove()
            yield from told
            if len(found) < size:
                return
            left -= size
            last = getattr(found[-1], id.key)
            if at is None:
                part = query.where(id > last)
            else:
                moment = getattr(found[-1], at.key)
                part = query.where(at <= moment, or_(at < moment, id < last))

    return Export(number, rows())


def capped(query: Select[Any], cap: int = CAP) -> Any:
    """A scalar subquery that counts the rows of `query`, but reads at most one more than `cap`."""
    inside = query.limit(cap + 1).subquery()
    return select(func.count()).select_from(inside).scalar_subquery()


def as_count(number: int | None, cap: int = CAP) -> Count:
    number = number or 0
    return Count(min(number, cap), capped=number > cap)


def _format(moment: datetime, id: object) -> str:
    return f"{moment.isoformat()}~{id}"


def _parse(cursor: str, column: InstrumentedAttribute[Any]) -> tuple[datetime, str | int]:
    """The position that a cursor stands for. Raises BadFilter."""
    text, _tilde, id = cursor.partition("~")
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a "+" that was not escaped in the URL
        if moment.tzinfo is None or not id:
            raise ValueError(cursor)
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise damaged() from None
    return moment, whole(id) if isinstance(column.type, Integer) else id


def whole(text: str) -> int:
    """A number out of a link to a further page. Raises BadFilter."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise damaged()
    return int(text)


def damaged() -> BadFilter:
    return BadFilter(_("This link to a further page is damaged. Begin with the first page."))
