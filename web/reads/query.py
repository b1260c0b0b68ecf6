"""Small parts that queries share: keyset pages, capped counts, words that a partial index knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import ColumnElement, Integer, Select, Table, and_, func, literal_column, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from models.db import Base
from web.database import db
from web.languages import _
from web.languages import number as grouped

T = TypeVar("T")

PAGE_SIZE = 50
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
class Count:
    number: int
    capped: bool = False

    def __str__(self) -> str:
        return f"{grouped(self.number)}{'+' if self.capped else ''}"

    def __bool__(self) -> bool:
        return self.number > 0


def is_word(column: InstrumentedAttribute[Any], word: str) -> ColumnElement[bool]:
    """`column = 'word'` with the word in the text of the query.

    SQLite uses a partial index only where the query itself holds the index's condition; a bound
    parameter does not count. The word is one of our own constants, never somebody's input.
    """
    if not word.isidentifier():
        raise ValueError(word)
    return column == literal_column(f"'{word}'")


def in_index(model: type[Base], index: str) -> ColumnElement[bool]:
    """The condition of one of a model's partial indexes, word by word.

    SQLite takes such an index only where a query repeats its condition: `state = 'held'` alone does not
    prove `state IN ('held', ...)` to it.
    """
    [found] = [item for item in cast(Table, model.__table__).indexes if item.name == index]
    condition: ColumnElement[bool] = found.dialect_options["sqlite"]["where"]
    return condition


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
        newer = and_(at >= moment, or_(at > moment, id > last))
        found = list(db.session.scalars(query.where(newer).order_by(at, id).limit(size + 1)))
        more = len(found) > size
        items = found[:size][::-1]
        return Slice(
            items,
            older=_format(*position(items[-1])) if items else None,
            newer=_format(*position(items[0])) if more else None,
        )
    if before:
        moment, last = _parse(before, id)
        query = query.where(and_(at <= moment, or_(at < moment, id < last)))
    found = list(db.session.scalars(query.order_by(at.desc(), id.desc()).limit(size + 1)))
    items = found[:size]
    return Slice(
        items,
        older=_format(*position(items[-1])) if len(found) > size else None,
        newer=_format(*position(items[0])) if before and items else None,
    )


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
    text, tilde, id = cursor.partition("~")
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a "+" that was not escaped in the URL
        last = _number(id) if isinstance(column.type, Integer) else id
        if moment.tzinfo is None or not tilde or not id:
            raise ValueError(cursor)
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadFilter(_("This link to a further page is damaged. Begin with the first page.")) from None
    return moment, last


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(text)
    return int(text)
