"""SQL databases: a table or view is a stream, a row is a record, the primary key is its id."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from pydantic import Field as Option
from pydantic import SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateTable

from connectors import queries
from connectors.base import (
    Access,
    AnyStreamOptions,
    Can,
    Chosen,
    Connector,
    Cursor,
    IdKind,
    Looked,
    Options,
    Outcome,
    Page,
    Parts,
    StreamOptions,
    Total,
    Write,
    holds,
    is_unkeyed,
    moved,
    unkeyed,
)
from connectors.dialects import checked_url, database
from connectors.dialects.base import AS_IS, Column, Database, Raw, Row, Table, Unfit
from connectors.dialects.tables import all_tables, names, table
from connectors.errors import BadAnswer, OptionsError, RecordRejected, StreamGone
from connectors.sqlmarkers import Markers
from sync.records import Cascade, Field, Record, Stream
from sync.values import FieldType, Value, plain, short


class SqlOptions(Options):
    url: str = Option(
        title="URL",
        description="postgresql://user@host:5432/database, mysql:// or mariadb:// alike, or sqlite:///folder/file.db",
    )
    password: SecretStr | None = Option(default=None, title="Password")
    query_functions: tuple[str, ...] = Option(
        default=(),
        title="Functions for queries",
        description="That a query may call beside the list of functions which only compute.",
        json_schema_extra={"keeps_secrets": True},
    )
    query_seconds: int = Option(
        default=10,
        ge=1,
        le=600,
        title="Query seconds",
        description="How long one query may take.",
        json_schema_extra={"keeps_secrets": True},
    )
    markers: bool = Option(
        default=False,
        title="Markers",
        description="Each write leaves a mark in a table of ours in this database, syncline_markers, in its"
        " own transaction: one whose answer was lost is known to have happened.",
        json_schema_extra={"keeps_secrets": True},
    )

    @model_validator(mode="before")
    @classmethod
    def _split_password(cls, raw: Any) -> Any:
        """A password inside the URL moves to where secrets are kept: `url` never holds one."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("url"), str):
            return raw
        try:
            url = checked_url(raw["url"])
        except ValueError:
            return raw  # said by the check of the URL itself
        if url.password is None:
            return raw
        bare = sa.URL.create(
            url.drivername,
            username=url.username,
            host=url.host,
            port=url.port,
            database=url.database,
            query=url.query,
        )
        return {"password": str(url.password), **raw, "url": bare.render_as_string()}

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        try:
            checked_url(url)
        except ValueError as error:
            raise PydanticCustomError("url", "{reason}", {"reason": str(error)}) from None
        return url


class SqlStreamOptions(StreamOptions):
    """`key` names the column, or columns with commas between, that are a record's id; omitted, the primary
    key. `cursor` is the column that an incremental read goes by, `overlap` how far back it begins."""

    cursor: str | None = None
    overlap: timedelta = timedelta(0)
    create: bool = Option(default=False, description="Make a missing table, from the other side's fields.")
    query: str | None = Option(
        default=None, description="A SELECT in place of a table. It is only read, and needs a `key`."
    )

    @model_validator(mode="after")
    def _query_has_a_key(self) -> SqlStreamOptions:
        if self.query is not None and self.key is None:
            raise PydanticCustomError("query", "a query needs a `key`: the column that names its rows")
        if self.query is not None and self.create:
            raise PydanticCustomError("query", "a query is only read, so there is nothing to `create`")
        return self


class Sql(Connector):
    """Tables and views of PostgreSQL, MySQL, MariaDB and SQLite. A record's id is its key as text, of several
    columns a JSON list of texts.

    MySQL and MariaDB are reached alike; each test runs on a real MariaDB, none on MySQL itself. Tables whose
    engine has no transactions (MyISAM) are only read. A date of zeros is read as no date. Keys are told apart
    by every character, also where the collation of their column does not.

    Cursor: the largest value of the `cursor` column; a read since then begins at that value, so rows at
    the very edge come again. It does not report deletes. A batch is one transaction; a record that the
    database refuses is undone alone. With `markers: true` each write also leaves a mark in it, for 30 days:
    one whose answer was lost is known to have happened, whatever became of its record since.
    """

    name: ClassVar[str] = "sql"
    title: ClassVar[str] = "SQL database"
    can: ClassVar[Can] = Can.READ | Can.WRITE | Can.DELETE | Can.INCREMENTAL | Can.LOOKUP | Can.CREATE_STREAM
    snapshot: ClassVar[bool] = True
    batch_size: ClassVar[int] = 1_000
    Options: ClassVar[type[Options]] = SqlOptions
    StreamOptions: ClassVar[type[StreamOptions]] = SqlStreamOptions

    def __init__(self, options: Any, access: Access) -> None:
        super().__init__(options, access)
        password = options.password.get_secret_value() if options.password else ""
        self._db = database(options.url, password, access)
        self._markers = Markers(self._db) if options.markers else None
        self.reads_apart = self._db.reads_apart
        self._known: dict[tuple[str, str | None], _Keyed] = {}  # as last looked at by stream() and read()
        self._fresh: set[tuple[str, str | None]] = set()  # looked at by stream(), and not read since

    @classmethod
    def anchor(cls, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        url = options.get("url")
        prefix = "sqlite:///"
        if not isinstance(url, str) or not url.startswith(prefix):
            return dict(options)
        return {**options, "url": f"{prefix}{folder / Path(url.removeprefix(prefix)).expanduser()}"}

    def id_kind(self, stream: Stream, options: AnyStreamOptions) -> IdKind:
        fields = [stream.field(name) for name in stream.key]
        return "system" if fields and all(item and item.generated for item in fields) else "visible"

    def check(self) -> str:
        with self._db.reading() as connection:
            count = len(names(self._db, connection))
            version = self._db.version(connection)
        tables = "1 table or view" if count == 1 else f"{count} tables and views"
        return f"{self._db.place[:1].upper()}{self._db.place[1:]} answers ({version}) and holds {tables}."

    def discover(self) -> list[Stream]:
        with self._db.reading() as connection:
            found = all_tables(self._db, connection)
        return [self._described(_Keyed(self._db, item, item.keys[0] if item.keys else ())) for item in found]

    def stream(self, name: str, options: AnyStreamOptions) -> Stream:
        with self._reading(options) as connection:
            keyed = self._looked_at(connection, name, options)
        self._fresh.add((name, options.key))
        return self._described(keyed)

    def read(self, stream: Stream, options: AnyStreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        pages = self._pages(stream, options, since)
        return pages if _choices(options).query is None else queries.capped(pages)

    def _pages(self, stream: Stream, options: AnyStreamOptions, since: Cursor | None) -> Iterator[Page]:
        with self._reading(options) as connection:
            keyed = self._to_read(connection, stream.name, options)
            if not keyed.key:
                raise OptionsError(_no_key(keyed.table), code="no_key", stream=stream.name)
            clause = keyed.table.clause
            position, cursor = self._position(connection, keyed.table, _choices(options), since)
            # What moved since a cursor is looked at anyway: it comes whole.
            is_lazy = position is None and keyed.key in keyed.table.keys and keyed.is_hashed
            hashed = self._db.hashed(keyed.table, keyed.columns, self.page_size) if is_lazy else None
            if hashed is not None:
                yield from self._hashed_pages(connection, keyed, hashed, cursor)
                return
            select = self._select(keyed.table, keyed.columns if is_lazy else keyed.table.columns)
            select = select.order_by(*(clause.c[name] for name in keyed.key))
            if position is not None:
                select = select.where(position)
            held: list[Row] = []  # a page is the last one if no other follows
            start = 0
            for chunk in self._db.chunks(
                connection, select, self.page_size, keyed.columns if is_lazy else None
            ):
                if held:
                    yield (
                        self._lazy_page(connection, keyed, held, start)
                        if is_lazy
                        else self._page(keyed, held, start)
                    )
                    start += len(held)
                held = chunk
            last = (
                self._lazy_page(connection, keyed, held, start) if is_lazy else self._page(keyed, held, start)
            )
            last = replace(last, is_last=True, cursor=cursor)
            if is_lazy:
                yield last
                return
        yield last  # whoever stops here keeps no lock on a SQLite file

    def adds_up(self, options: AnyStreamOptions) -> bool:
        return self._db.adds_hashes and _choices(options).query is None

    @contextmanager
    def in_parts(self, stream: Stream, options: AnyStreamOptions, number: int) -> Iterator[Parts | None]:
        if not self.adds_up(options):
            yield None
            return
        with ExitStack() as stack:
            # What the block asks of others fails under their own names.
            with self._db.naming_errors():
                connection = stack.enter_context(self._db.transaction(writes=False))
                keyed = self._to_read(connection, stream.name, options)
                found = self._added_up(connection, keyed, options, number)
            yield found
            with self._db.naming_errors():
                stack.close()

    def _added_up(
        self, connection: Connection, keyed: _Keyed, options: AnyStreamOptions, number: int
    ) -> Parts | None:
        if keyed.key not in keyed.table.keys:
            return None
        _, cursor = self._position(connection, keyed.table, _choices(options), None)
        if self._db.hashed(keyed.table, keyed.columns, self.page_size) is None:
            number = 1
        totals = self._db.totals(connection, keyed.table, keyed.columns, number)

        def read(parts: Collection[int]) -> Iterator[Page]:
            hashed = self._db.hashed(keyed.table, keyed.columns, self.page_size, Chosen(number, parts))
            if hashed is None:
                raise AssertionError("what is not hashed is one part, and read as a whole")
            with self._db.naming_errors():
                yield from self._hashed_pages(connection, keyed, hashed, cursor)

        return Parts({part: Total(count, sum_) for part, count, sum_ in totals}, read, cursor)

    def write(self, stream: Stream, options: AnyStreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        if not batch:
            return []
        self._fresh.clear()
        keyed = self._keyed(stream.name, options)
        if why := self._read_only_because(keyed):
            return [_rejected(write, "read_only", why) for write in batch]
        refused, steps = self._prepared(keyed, batch)
        if not steps:
            return refused
        if self._markers is not None:
            self._markers.make_ready()
        # All at once; only where the database refuses some record, one by one.
        with suppress(Unfit), self._db.writing() as connection:
            return refused + self._carry_out(connection, keyed, steps)
        try:
            with self._db.writing() as connection:
                self._db.check_at_once(connection)
                return refused + [self._carry_out_alone(connection, keyed, step) for step in steps]
        except Unfit as unfit:  # at the commit, so that no single record can be named
            if len(batch) > 1:
                raise RecordRejected(unfit.message, code=unfit.code, stream=stream.name) from None
            return [_unfit(batch[0], unfit)]

    def marked(self, stream: Stream, options: AnyStreamOptions, markers: Sequence[str]) -> Mapping[str, str]:
        if self._markers is None:
            return {}
        with self._db.reading() as connection:
            return self._markers.found(connection, markers) if self._markers.is_there(connection) else {}

    def lookup(self, stream: Stream, options: AnyStreamOptions, ids: Sequence[str]) -> list[Looked]:
        keyed = self._keyed(stream.name, options)
        with self._reading(options) as connection:
            keys = [key for id in ids if (key := self._key_of(keyed, id)) is not None]
            there = self._rows(connection, keyed, keys)
        records = {id: self._record(keyed, id, rows[0]) for id, rows in there.items()}
        return [Looked(id, "there" if id in records else "gone", records.get(id)) for id in ids]

    def find(
        self, stream: Stream, options: AnyStreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        keyed = self._keyed(stream.name, options)
        with self._reading(options) as connection:
            column = keyed.table.by_name.get(field)
            if column is None or column.kind in ("json", "array"):
                raise OptionsError(
                    f"'{stream.name}' cannot be searched by '{field}'. Match by another field.",
                    stream=stream.name,
                    field=field,
                )
            raws = []
            for value in values:
                with suppress(Unfit):  # what cannot be stored there does not stand there
                    raws.append(None if value is None else self._db.encode(column, value))
            clause = keyed.table.clause.c[field]
            rows: list[Row] = []
            for chunk in _chunks([raw for raw in raws if raw is not None], self._db.max_values):
                wanted = clause.in_([_bound(raw) for raw in chunk])
                rows += [
                    tuple(row)
                    for row in connection.execute(
                        self._select(keyed.table, keyed.table.columns).where(wanted)
                    )
                ]
        place = list(keyed.table.by_name).index(field)
        rows = [row for row in rows if any(self._db.is_same(column, row[place], raw) for raw in raws)]
        return self._page(keyed, rows).records

    def clock(self) -> datetime | None:
        """A server's clock; a file has none but ours."""
        statement = self._db.clock
        if statement is None:
            return None
        with self._db.reading() as connection:
            found = connection.exec_driver_sql(statement).scalar_one()
        return datetime.fromtimestamp(float(found), UTC)

    def proposed(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        if options.key is not None:
            key = tuple(part.strip() for part in options.key.split(","))
            for part in key:
                if stream.field(part) is None:
                    raise OptionsError(
                        f"'{stream.name}' is to be made with the key '{part}', and no field is mapped to it.",
                        stream=stream.name,
                        field=part,
                    )
            return replace(stream, key=key)
        if stream.key:
            return stream
        name = "id" if stream.field("id") is None else "syncline_id"
        number = Field(name, FieldType.INTEGER, generated=True, nullable=False)
        return replace(stream, fields=(number, *stream.fields), key=(name,))

    def create_stream(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        with suppress(StreamGone):
            return self.stream(stream.name, options)
        made = self._new_table(self.proposed(stream, options))
        with self._db.writing() as connection:
            connection.execute(CreateTable(made, if_not_exists=True))
        return self.stream(stream.name, options)

    def close(self) -> None:
        self._known.clear()
        self._fresh.clear()
        self._db.close()

    # -- tables --

    def _query(self, options: AnyStreamOptions) -> queries.Query | None:
        text = _choices(options).query
        if text is None:
            return None
        return queries.Query(text, self.options.query_functions, self.options.query_seconds)

    def _reading(self, options: AnyStreamOptions) -> AbstractContextManager[Connection]:
        """A transaction to read in; one with limits where a query is read."""
        query = self._query(options)
        return self._db.reading() if query is None else queries.limited(self._db, query)

    def _keyed(self, name: str, options: AnyStreamOptions) -> _Keyed:
        """The table as this run found it, and what names its rows. Raises StreamGone, OptionsError."""
        if (name, options.key) not in self._known:
            with self._reading(options) as connection:
                return self._looked_at(connection, name, options)
        return self._known[name, options.key]

    def _to_read(self, connection: Connection, name: str, options: AnyStreamOptions) -> _Keyed:
        """The table as stream() found it a moment ago; for a second read, as it is by then."""
        if (name, options.key) not in self._fresh:
            return self._looked_at(connection, name, options)
        self._fresh.discard((name, options.key))
        return self._known[name, options.key]

    def _looked_at(self, connection: Connection, name: str, options: AnyStreamOptions) -> _Keyed:
        """The table as it is now. Raises StreamGone, OptionsError."""
        query = self._query(options)
        found = (
            table(self._db, connection, name)
            if query is None
            else queries.table(self._db, connection, name or "query", query)
        )
        if found is None:
            near = get_close_matches(name, names(self._db, connection), n=1, cutoff=0.5)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise StreamGone(f"There is no table '{name}' in {self._db.place}.{hint}", stream=name)
        key = found.keys[0] if found.keys else ()
        if options.key is not None:
            key = tuple(part.strip() for part in options.key.split(","))
            for part in key:
                _known_column(found, part, "key")
        self._known[name, options.key] = _Keyed(self._db, found, key)
        return self._known[name, options.key]

    def _described(self, keyed: _Keyed) -> Stream:
        single = {names[0] for names in keyed.table.unique.values() if len(names) == 1}
        if len(keyed.table.primary_key) == 1:
            single.add(keyed.table.primary_key[0])
        links = {item.column: item.stream for item in keyed.table.foreign_keys}
        why = self._read_only_because(keyed)
        return Stream(
            keyed.table.name,
            tuple(
                replace(
                    column.field,
                    unique=column.name in single,
                    links_to=links.get(column.name, ""),
                    single=column.name in links,
                )
                for column in keyed.table.columns
            ),
            key=keyed.key,
            writable=not why,
            read_only_because=why,
            container=f"{self._db.fingerprint}#{queries.container(keyed.table)}",
            cascades=tuple(
                Cascade(table, item.column) for table, item in keyed.table.referred_by if item.cascades
            ),
        )

    def _read_only_because(self, keyed: _Keyed) -> str:
        if keyed.table.is_view:
            return f"'{keyed.table.name}' is a view, and views are only read."
        if keyed.table.read_only_because:
            return keyed.table.read_only_because
        if not keyed.key:
            return _no_key(keyed.table)
        if keyed.key not in keyed.table.keys:
            columns = ", ".join(keyed.key)
            return (
                f"The key '{columns}' of '{keyed.table.name}' may stand in two rows or be empty, so a write"
                " could reach the wrong row. Add a unique constraint and NOT NULL, or sync only from it."
            )
        return ""

    def _new_table(self, stream: Stream) -> sa.Table:
        schema, _, bare_name = stream.name.rpartition(".")
        columns: list[sa.Column[Any]] = []
        for field in stream.fields:
            is_key = field.name in stream.key
            if is_key and field.generated and len(stream.key) == 1:
                columns.append(self._db.numbered_key(field.name))
                continue
            kind = self._db.type_of(field, indexed=is_key or field.unique)
            unique = None if is_key or not field.unique else True
            columns.append(
                sa.Column(field.name, kind, primary_key=is_key, autoincrement=False, unique=unique)
            )
        return sa.Table(
            bare_name, sa.MetaData(), *columns, schema=schema or None,
            mysql_engine="InnoDB", mysql_charset="utf8mb4",
        )  # fmt: skip

    # -- reading --

    def _select(self, found: Table, columns: Sequence[Column]) -> sa.Select[Any]:
        """These columns in their raw form, and the row's hash where the database makes one."""
        clause = found.clause
        # Labels, so that nothing after SELECT can mean the text form of a column instead of the column.
        selected = [
            queries.cut(self._db, found, column, self._db.selected(clause.c[column.name], column)).label(
                f"v{number}"
            )
            for number, column in enumerate(columns)
        ]
        if (row_hash := self._db.row_hash(found)) is not None:
            selected.append(row_hash.label("hash"))
        return sa.select(*selected).select_from(clause)

    def _versions(self, keyed: _Keyed, rows: Sequence[Row]) -> list[str]:
        return [row[-1] for row in rows] if keyed.is_hashed else keyed.table.versions(rows)

    def _position(
        self, connection: Connection, found: Table, choices: SqlStreamOptions, since: Cursor | None
    ) -> tuple[sa.ColumnElement[bool] | None, Cursor | None]:
        """What a read since a cursor is limited to, and the cursor for the next one."""
        if choices.cursor is None:
            if since is not None:
                raise OptionsError(
                    f"'{found.name}' has no `cursor` column named, so only full reads are possible.",
                    stream=found.name,
                )
            return None, None
        column = _known_column(found, choices.cursor, "cursor")
        clause = found.clause.c[column.name]
        largest = sa.select(self._db.selected(sa.func.max(clause), column)).select_from(found.clause)
        newest = connection.scalar(largest)
        cursor = since if newest is None else _cursor_text(newest)
        if since is None:
            return None, cursor
        begin = self._db.earlier(column, _parsed_cursor(since), choices.overlap.total_seconds())
        return clause >= _bound(begin), cursor

    def _page(self, keyed: _Keyed, rows: list[Row], start: int = 0) -> Page:
        ids = self._ids(keyed.places, rows, start)
        return Page(
            ids=ids,
            versions=self._versions(keyed, rows),
            record=lambda index: self._record(keyed, ids[index], rows[index]),
        )

    def _lazy_page(self, connection: Connection, keyed: _Keyed, rows: list[Row], start: int) -> Page:
        """A page of keys and hashes; rows are fetched when a record is asked for."""
        ids = self._ids(range(len(keyed.key)), rows, start)
        wanted = _Wanted(len(rows))
        found: dict[int, Record] = {}

        def record(index: int) -> Record:
            if index not in found:
                found.update(self._fetched(connection, keyed, ids, rows, wanted.block(index)))
            return found[index]

        return Page(ids=ids, versions=[row[-1] for row in rows], record=record)

    def _hashed_pages(
        self, connection: Connection, keyed: _Keyed, hashed: sa.Select[Any], cursor: Cursor | None
    ) -> Iterator[Page]:
        """Pages of keys and hashes as the database joins them; the rows that are asked for are fetched."""
        result = connection.execute(hashed, execution_options={"yield_per": 1})
        held: Page | None = None
        for keys, hashes, count in result:
            if held is not None:
                yield held
            held = self._hashed_page(connection, keyed, keys.split("\n"), hashes.split("\n"), count)
        yield replace(held or Page.of([]), is_last=True, cursor=cursor)

    def _hashed_page(
        self, connection: Connection, keyed: _Keyed, ids: list[str], hashes: list[str], count: int
    ) -> Page:
        if len(ids) != count or len(hashes) != count:
            raise BadAnswer(f"'{keyed.table.name}' was not read as it stands: {count} rows, {len(ids)} keys.")

        def some(indexes: Sequence[int]) -> list[Record]:
            rows = [(ids[index], hashes[index]) for index in indexes]
            names = [ids[index] for index in indexes]
            found = self._fetched(connection, keyed, names, rows, range(len(rows)), in_a_row=False)
            return [found[number] for number in range(len(rows))]

        return Page(ids=ids, versions=hashes, record=lambda index: some([index])[0], some=some)

    def _fetched(
        self,
        connection: Connection,
        keyed: _Keyed,
        ids: list[str],
        rows: Sequence[Row],
        block: range,
        *,
        in_a_row: bool = True,
    ) -> dict[int, Record]:
        """The records of a block of a page. Raises BadAnswer if the page is an old one, and they changed."""
        keys = [row[:-1] for row in rows[block.start : block.stop]]
        if connection.closed:  # the read is over, and its snapshot with it
            with self._db.reading() as fresh:
                there = self._rows(fresh, keyed, keys)
        else:
            with self._db.naming_errors():
                there = self._rows(connection, keyed, keys, in_a_row=in_a_row)
        records = {}
        for index in block:
            same = [row for row in there.get(ids[index], []) if row[-1] == rows[index][-1]]
            if not same:
                raise BadAnswer(f"'{keyed.table.name}' was changed after it was read. Read it again.")
            records[index] = self._record(keyed, ids[index], same[0])
        return records

    def _record(self, keyed: _Keyed, id: str, row: Row) -> Record:
        # A hash may follow the columns.
        fields = {name: decode(raw) for (name, decode), raw in zip(keyed.decoders, row, strict=False)}
        is_hashed = len(row) > len(keyed.table.columns)
        return Record(id, fields, row[-1] if is_hashed else keyed.table.versions([row])[0])

    def _ids(self, places: Sequence[int], rows: Sequence[Row], start: int = 0) -> list[str]:
        """The ids of rows whose key stands in these places; provisional ones where it is empty."""
        text = self._db.key_text
        if len(places) == 1:
            place = places[0]
            return [
                unkeyed(number) if row[place] is None else text(row[place])
                for number, row in enumerate(rows, start + 1)
            ]
        keys = [[row[place] for place in places] for row in rows]
        return [
            unkeyed(number) if None in key else self._joined_id(key)
            for number, key in enumerate(keys, start + 1)
        ]

    def _joined_id(self, raws: Iterable[Raw]) -> str:
        return json.dumps([self._db.key_text(raw) for raw in raws], ensure_ascii=False, separators=(",", ":"))

    def _id_of(self, key: Row) -> str:
        return self._db.key_text(key[0]) if len(key) == 1 else self._joined_id(key)

    def _key_of(self, keyed: _Keyed, id: str) -> Row | None:
        """The raw key of a record's id; None if no row can have it."""
        parts: Any = [id]
        if len(keyed.key) > 1:
            try:
                parts = json.loads(id)
            except ValueError:
                return None
        if not isinstance(parts, list) or len(parts) != len(keyed.key):
            return None
        raws = [
            self._db.key_raw(column, part) if isinstance(part, str) else None
            for column, part in zip(keyed.columns, parts, strict=True)
        ]
        return None if None in raws else tuple(raws)

    def _rows(
        self,
        connection: Connection,
        keyed: _Keyed,
        keys: Sequence[Row],
        *,
        lock: bool = False,
        in_a_row: bool = False,
    ) -> dict[str, list[Row]]:
        """What stands under these keys: id -> rows. `in_a_row` says that no other key lies between them."""
        found: dict[str, list[Row]] = {}
        for chunk in _chunks(keys, self._db.max_values // len(keyed.key)):
            select = self._select(keyed.table, keyed.table.columns)
            select = select.where(self._range(keyed, chunk) if in_a_row else self._one_of(keyed, chunk))
            rows = [tuple(row) for row in connection.execute(self._db.locked(select) if lock else select)]
            for id, row in zip(self._ids(keyed.places, rows), rows, strict=True):
                found.setdefault(id, []).append(row)
        return found

    def _one_of(self, keyed: _Keyed, keys: Sequence[Row]) -> sa.ColumnElement[bool]:
        clauses = [self._db.key_clause(keyed.table.clause.c[column.name], column) for column in keyed.columns]
        if len(clauses) == 1:
            return self._db.one_of(clauses[0], [key[0] for key in keys])
        pairs = [zip(clauses, key, strict=True) for key in keys]
        return sa.or_(*(sa.and_(*(clause == _bound(raw) for clause, raw in pair)) for pair in pairs))

    def _range(self, keyed: _Keyed, keys: Sequence[Row]) -> sa.ColumnElement[bool]:
        clause = keyed.table.clause.c[keyed.key[0]]
        if len(keyed.key) > 1 or self._db.key_clause(clause, keyed.columns[0]) is not clause:
            return self._one_of(keyed, keys)
        return clause.between(_bound(keys[0][0]), _bound(keys[-1][0]))

    # -- writing --

    def _prepared(self, keyed: _Keyed, batch: Sequence[Write]) -> tuple[list[Outcome], list[_Step]]:
        """The writes that can be sent, in raw values; and the outcomes of those that cannot."""
        outcomes: list[Outcome] = []
        steps: list[_Step] = []
        for write in batch:
            try:
                prepared = self._step(keyed, write)
            except Unfit as unfit:
                outcomes.append(_unfit(write, unfit))
            else:
                if isinstance(prepared, Outcome):
                    outcomes.append(prepared)
                else:
                    steps.append(prepared)
        return outcomes, steps

    def _step(self, keyed: _Keyed, write: Write) -> _Step | Outcome:
        """Raises Unfit."""
        if is_unkeyed(write.id or ""):
            raise Unfit("no_key", f"The record has no '{', '.join(keyed.key)}', so it cannot be named.")
        values = {name: self._raw(keyed, name, value) for name, value in write.fields.items()}
        if write.operation == "create":
            return self._new_step(keyed, write, values)
        key = self._key_of(keyed, write.id or "")
        if key is not None:
            return _Step(write, write.id, key, values)
        if write.operation == "delete":
            return Outcome(write.marker, "done", write.id)
        return _missing(keyed, write)

    def _raw(self, keyed: _Keyed, name: str, value: Value) -> Raw:
        column = keyed.table.by_name.get(name)
        if column is None:
            raise Unfit("unknown_field", f"'{keyed.table.name}' has no column '{name}'.", name)
        if not column.field.writable:
            raise Unfit("read_only", f"The column '{name}' is filled by the database.", name)
        if value is None:
            if not column.field.nullable:
                raise Unfit("required", f"'{name}' must not be empty.", name)
            return None
        return keyed.encoders[name](value)

    def _new_step(self, keyed: _Keyed, write: Write, values: dict[str, Raw]) -> _Step:
        given = self._key_of(keyed, write.id) if write.id is not None else None
        if write.id is not None and given is None:
            raise Unfit("no_key", f"{short(write.id)} cannot be the key of a row of '{keyed.table.name}'.")
        for name, raw in zip(keyed.key, given or (), strict=bool(given)):
            if values.setdefault(name, raw) != raw:
                raise Unfit("no_key", f"The id and the value of '{name}' differ.", name)
        key = tuple(values.get(name) for name in keyed.key)
        if None not in key:
            return _Step(write, self._id_of(key), key, values)
        if all(column.field.generated for column in keyed.columns):
            return _Step(
                write, None, None, {name: raw for name, raw in values.items() if name not in keyed.key}
            )
        missing = next(name for name in keyed.key if values.get(name) is None)
        raise Unfit(
            "no_key",
            f"A new row of '{keyed.table.name}' needs a value for its key '{missing}', which the database"
            " does not fill. Map a field to it, or give it a default.",
            missing,
        )

    def _carry_out(self, connection: Connection, keyed: _Keyed, steps: Sequence[_Step]) -> list[Outcome]:
        """All steps in one go, in their order. Raises Unfit when the database refuses one of them."""
        ids = [step.id for step in steps if step.id is not None]
        if len(set(ids)) < len(ids):  # each must see what the one before it did
            return [outcome for step in steps for outcome in self._carry_out(connection, keyed, [step])]
        there = self._rows(connection, keyed, [step.key for step in steps if step.key], lock=True)
        outcomes: list[Outcome] = []
        todo: list[_Step] = []
        for step in steps:
            settled = self._settled(keyed, step, there.get(step.id or "", []))
            if settled is None:
                todo.append(step)
            else:
                outcomes.append(settled)
        done = self._executed(connection, keyed, todo)
        stands = self._rows(connection, keyed, [key for key in done if key is not None])
        for step, key in zip(todo, done, strict=True):
            outcomes.append(self._receipt(keyed, step, key, stands))
        if self._markers is not None:
            self._markers.leave(connection, outcomes)
        return outcomes

    def _carry_out_alone(self, connection: Connection, keyed: _Keyed, step: _Step) -> Outcome:
        """One step, undone alone if the database refuses it."""
        try:
            with self._db.naming_errors(), connection.begin_nested():
                return self._carry_out(connection, keyed, [step])[0]
        except Unfit as unfit:
            return self._refused(connection, keyed, step, unfit)

    def _settled(self, keyed: _Keyed, step: _Step, rows: Sequence[Row]) -> Outcome | None:
        """The outcome of a step that needs nothing to be done, or must not be."""
        write = step.write
        if not rows:
            if write.operation == "update":
                return _missing(keyed, write)
            return Outcome(write.marker, "done", write.id) if write.operation == "delete" else None
        if keyed.is_hashed and write.operation == "update" and write.expected_version == rows[0][-1]:
            return None  # it stands there as it was read
        there = self._record(keyed, step.id or "", rows[0])
        is_same = all(holds(there.get(name), value) for name, value in write.fields.items())
        if write.operation == "create":
            if is_same:
                return Outcome(write.marker, "done", there.id, there)  # sent twice
            return _rejected(write, "exists", f"'{keyed.table.name}' has a record '{there.id}' already.")
        if why := moved(write, there):
            verb = "written" if write.operation == "update" else "deleted"
            return Outcome(write.marker, "stale", there.id, there, message=f"Not {verb}: {why}.")
        if write.operation == "update" and is_same:
            return Outcome(write.marker, "done", there.id, there)  # and no trigger fires for nothing
        return None

    def _executed(self, connection: Connection, keyed: _Keyed, steps: Sequence[_Step]) -> list[Row | None]:
        """Carry out steps; the key of each row afterwards. Raises the driver's errors."""
        keys: list[Row | None] = []
        for (operation, columns), group in itertools.groupby(steps, key=_Step.shape):
            together = list(group)
            clause = keyed.table.clause
            if operation == "create":
                keys += self._inserted(connection, keyed, columns, together)
                continue
            wanted = sa.and_(
                *(
                    self._db.key_clause(clause.c[column.name], column)
                    == sa.bindparam(f"k{number}", type_=AS_IS)
                    for number, column in enumerate(keyed.columns)
                )
            )
            if operation == "update" and self._updated_at_once(connection, keyed, columns, together):
                keys += [step.key_after(keyed.key) for step in together]
                continue
            rows = [step.bound() for step in together]
            if operation == "delete":
                connection.execute(sa.delete(clause).where(wanted), rows)
                keys += [None] * len(together)
            else:
                connection.execute(sa.update(clause).where(wanted).values(_bindings(columns)), rows)
                keys += [step.key_after(keyed.key) for step in together]
        return keys

    def _updated_at_once(
        self, connection: Connection, keyed: _Keyed, names: tuple[str, ...], steps: Sequence[_Step]
    ) -> bool:
        rows = [(step.key or (), tuple(step.values[name] for name in names)) for step in steps]
        columns = [keyed.table.by_name[name] for name in names]
        return self._db.update_many(connection, keyed.table.clause, keyed.columns, columns, rows)

    def _inserted(
        self, connection: Connection, keyed: _Keyed, columns: tuple[str, ...], steps: Sequence[_Step]
    ) -> list[Row | None]:
        statement = sa.insert(keyed.table.clause)
        statement = statement.values(_bindings(columns)) if columns else statement.values()
        returned = [(keyed.table.clause.c[column.name], column) for column in keyed.columns]
        given = [step.key for step in steps]
        return self._db.insert(connection, statement, [step.bound() for step in steps], returned, given)

    def _receipt(
        self, keyed: _Keyed, step: _Step, key: Row | None, stands: Mapping[str, list[Row]]
    ) -> Outcome:
        write = step.write
        if write.operation == "delete":
            return Outcome(write.marker, "done", write.id)
        id = self._id_of(key) if key is not None else ""
        if id not in stands:
            message = "The database accepted the record and did not keep it. Look at its triggers and rules."
            return _rejected(write, "not_kept", message)
        return Outcome(write.marker, "done", id, self._record(keyed, id, stands[id][0]))

    def _refused(self, connection: Connection, keyed: _Keyed, step: _Step, unfit: Unfit) -> Outcome:
        """The outcome of a refusal; a value that must be unique is traced to the record that has it."""
        columns = keyed.table.unique.get(unfit.constraint) or tuple(filter(None, unfit.constraint.split(",")))
        if not columns or not set(columns) <= set(keyed.table.by_name):
            return _unfit(step.write, unfit)
        names = " with ".join(f"'{name}'" for name in columns)
        other = self._holder(connection, keyed, step, columns)
        message = f"{names} must be unique" + (f": record '{other}' has this value." if other else ".")
        code = "exists" if columns == keyed.key and step.write.operation == "create" else "unique"
        return _rejected(step.write, code, message, columns[0])

    def _holder(
        self, connection: Connection, keyed: _Keyed, step: _Step, columns: tuple[str, ...]
    ) -> str | None:
        values = dict(step.values)
        if step.key is not None and not set(columns) <= set(values):
            for row in itertools.chain(*self._rows(connection, keyed, [step.key]).values()):
                values = {**dict(zip(keyed.table.by_name, row, strict=False)), **values}
        if not set(columns) <= set(values):
            return None
        clause = keyed.table.clause
        same = [clause.c[name] == _bound(values[name]) for name in columns]
        select = self._select(keyed.table, keyed.table.columns).where(*same).limit(2)
        ids = self._ids(keyed.places, [tuple(row) for row in connection.execute(select)])
        return next((id for id in ids if id != step.id), None)


@dataclass(frozen=True)
class _Keyed:
    """A table, and the columns whose values are a record's id."""

    db: Database
    table: Table
    key: tuple[str, ...]

    @cached_property
    def decoders(self) -> list[tuple[str, Callable[[Raw], Value]]]:
        return [(column.name, self.db.decoder(column)) for column in self.table.columns]

    @cached_property
    def encoders(self) -> dict[str, Callable[[Value], Raw]]:
        return {column.name: self.db.encoder(column) for column in self.table.columns}

    @cached_property
    def columns(self) -> list[Column]:
        return [self.table.by_name[name] for name in self.key]

    @cached_property
    def is_hashed(self) -> bool:
        """Whether the database makes a version of each row: the last value of those that are selected."""
        return self.db.row_hash(self.table) is not None

    @cached_property
    def places(self) -> list[int]:
        order = list(self.table.by_name)
        return [order.index(name) for name in self.key]


class _Wanted:
    """Which records of a page are fetched together: the more were asked for, the more at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._size = 1

    def block(self, index: int) -> range:
        block = range(index, min(index + self._size, self._count))
        self._size *= 4
        return block


@dataclass(frozen=True)
class _Step:
    """One write in raw values. `key` names the row; None for a new one whose key the database chooses."""

    write: Write
    id: str | None
    key: Row | None
    values: dict[str, Raw]

    def shape(self) -> tuple[str, tuple[str, ...]]:
        """Steps of one shape are one statement."""
        return self.write.operation, tuple(sorted(self.values)) if self.write.operation != "delete" else ()

    def bound(self) -> dict[str, Raw]:
        """The parameters of its statement."""
        if self.write.operation == "delete":
            values = {}
        else:
            values = {f"v{number}": self.values[name] for number, name in enumerate(sorted(self.values))}
        if self.write.operation != "create":
            values |= {f"k{number}": raw for number, raw in enumerate(self.key or ())}
        return values

    def key_after(self, key: Sequence[str]) -> Row:
        """The row's key once an update is done: a key is a column like any other, and can be written."""
        return tuple(self.values.get(name, raw) for name, raw in zip(key, self.key or (), strict=True))


def _bindings(columns: Sequence[str]) -> dict[str, sa.BindParameter[Any]]:
    # Names of our own: a column may be called anything.
    return {name: sa.bindparam(f"v{number}", type_=AS_IS) for number, name in enumerate(columns)}


def _bound(raw: Raw) -> sa.BindParameter[Any]:
    return sa.bindparam(None, raw, AS_IS)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), max(size, 1)):
        yield items[start : start + max(size, 1)]


def _choices(options: AnyStreamOptions) -> SqlStreamOptions:
    return options if isinstance(options, SqlStreamOptions) else SqlStreamOptions(key=options.key)


def _known_column(found: Table, name: str, option: str) -> Column:
    column = found.by_name.get(name)
    if column is None:
        near = get_close_matches(name, found.by_name, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise OptionsError(
            f"'{found.name}' has no column '{name}' for `{option}`.{hint} Its columns are:"
            f" {', '.join(found.by_name)}.",
            code="unknown_field",
            stream=found.name,
            field=name,
        )
    return column


def _cursor_text(raw: Raw) -> Cursor:
    try:
        return json.dumps(raw, default=_number_text)
    except TypeError:
        raise OptionsError(
            "The `cursor` column holds bytes. Name one that holds a time or a number."
        ) from None


def _number_text(raw: Raw) -> str:
    if isinstance(raw, Decimal):
        return plain(raw)
    raise TypeError


def _parsed_cursor(cursor: Cursor) -> Raw:
    try:
        return json.loads(cursor)
    except ValueError:
        raise OptionsError(
            f"{short(cursor)} is not a cursor of the sql connector. Run a full sync."
        ) from None


def _no_key(found: Table) -> str:
    return (
        f"The table '{found.name}' has no primary key, so its records cannot be told apart. Add one, or name"
        " a column with unique values with `key`."
    )


def _missing(keyed: _Keyed, write: Write) -> Outcome:
    message = f"'{keyed.table.name}' has no record {short(write.id or '')}."
    return Outcome(write.marker, "missing", write.id, message=message)


def _unfit(write: Write, unfit: Unfit) -> Outcome:
    return _rejected(write, unfit.code, unfit.message, unfit.field_name)


def _rejected(write: Write, code: str, message: str, field: str = "") -> Outcome:
    return Outcome(write.marker, "rejected", write.id, code=code, message=message, field=field)
