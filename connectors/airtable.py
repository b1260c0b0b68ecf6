"""Airtable: the tables of a base are streams, over the Web API.

What is not said here of its habits: it has no compare-and-set, so what a write was decided on is looked at
just before; an empty cell is left out of an answer, and so is a field that is gone, so fields are asked for
by their ids, which refuses the read when one of them is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any, ClassVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator
from pydantic import Field as Option

from connectors.airtablefields import (
    COMPARABLE,
    MADE_AS,
    MERGEABLE,
    NUMBERS,
    Column,
    Unfit,
    columns_of,
    decode,
    encode,
    quoted,
    stamp,
)
from connectors.base import (
    Amount,
    AnyStreamOptions,
    Can,
    Cursor,
    Looked,
    Options,
    Outcome,
    Page,
    Status,
    StreamOptions,
    Write,
    holds,
    moved,
)
from connectors.errors import (
    AuthError,
    BadAnswer,
    ConnectorError,
    FatalError,
    OptionsError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    StreamGone,
    Unavailable,
)
from connectors.http import WAIT_UNSAID, Answer, Http, HttpConnector, Limits, segment
from connectors.quotas import Cost, Quota
from connectors.signin import AIRTABLE, SignIn, local_endpoint
from sync.records import Record, Stream
from sync.values import FieldType, Value, ValueProblem, parse

API = "https://api.airtable.com"
BATCH = 10  # records of one write
PAGE = 100  # records of one listing's page, and ids or values in one question
CALLS_PER_BASE, CALLS_PER_TOKEN = 5, 50  # a second
MOST_AT_ONE_TIME = 1000  # records of the last second that a cursor tells apart
SETTLES = timedelta(seconds=10)  # an edit may show in a listing so much later than its own time says
BASE_ID = re.compile(r"app[A-Za-z0-9]{14}")
RECORD_ID = re.compile(r"rec[A-Za-z0-9]{14}")


class AirtableOptions(Options):
    base: str | None = Option(
        default=None,
        title="Base",
        description="Its id (app...) or name. Omitted: every base that the token reaches; then a stream is"
        " named like `Base/Table`.",
    )
    token: SecretStr | None = Option(
        default=None,
        title="Personal access token",
        description="With the scopes data.records:read, data.records:write and schema.bases:read. Omitted:"
        " sign in with Airtable.",
    )
    endpoint: str | None = Option(
        default=None,
        title="Simulator",
        description="The address of a simulator on this machine, in place of Airtable.",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_here(cls, endpoint: str | None) -> str | None:
        return None if endpoint is None else local_endpoint(endpoint)


class LinkedRecords(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    resolve: bool = True
    create_missing: bool = False


class AirtableStreamOptions(StreamOptions):
    key: str | None = Option(
        default=None,
        description="A field that no two records share. Then records are created by an upsert on it, and one"
        " whose value stands there already is refused.",
    )
    typecast: bool = Option(
        default=False,
        description="Let Airtable convert texts, and add choices that a select field does not have yet.",
    )
    linked_records: LinkedRecords = Option(
        default=LinkedRecords(),
        description="`resolve`: linked records are their names, not ids. `create_missing`: a name that no"
        " record has becomes a new record of the linked table. Filled from the sync.",
    )
    only_fields: tuple[str, ...] = Option(
        default=(), description="The fields that are asked for. Filled from the sync; none means all."
    )
    cursor: str | None = Option(
        default=None,
        description="A field of the type 'last modified time'. Omitted: one that looks at every field, if the"
        " table has it; else each read takes everything.",
    )
    overlap: timedelta = Option(default=timedelta(0), description="How far before the cursor to read again.")


class Airtable(HttpConnector):
    """Tables of an Airtable base. Cursor: a last modified time, with the records of its last second.

    An incremental read does not report deletes, and not what a formula made of another record's edit.
    Computed fields are read and never written. Linked records are read and written by the names of their
    records, the linked table being read once per run; a name that no record or more than one has is
    reported. Attachments count as the same by name and size, since their addresses change with each read;
    they are written by an address. Numbers are doubles there: what one cannot hold exactly is refused. An
    unchecked checkbox is `false`. A cell whose formula gives an error is empty. An edit of the very cell that
    is written, in the moment between look and write, is overwritten: Airtable offers no way to see it.
    Calls keep to 5 a second per base and 50 per token; a run takes one call per 100 records to read, one per
    10 to write, and one per 100 to look at what it is about to change.
    """

    name: ClassVar[str] = "airtable"
    title: ClassVar[str] = "Airtable"
    can: ClassVar[Can] = Can.READ | Can.WRITE | Can.DELETE | Can.INCREMENTAL | Can.LOOKUP | Can.CREATE_STREAM
    sign_in: ClassVar[SignIn | None] = AIRTABLE
    batch_size: ClassVar[int] = BATCH
    page_size: ClassVar[int] = PAGE
    blank_is_null: ClassVar[bool] = True
    Options: ClassVar[type[Options]] = AirtableOptions
    StreamOptions: ClassVar[type[StreamOptions]] = AirtableStreamOptions

    def __init__(self, options: Any, access: Any) -> None:
        super().__init__(options, access)
        self._bases: list[Mapping[str, Any]] | None = None
        self._schemas: dict[str, list[Mapping[str, Any]]] = {}  # the tables by base
        self._linked: dict[str, dict[str, str]] = {}  # record id -> name, by linked table
        self._foreseen: dict[str, Record | None] = {}
        self._token = ""
        self._server_date = ""

    # -- looking --

    def check(self) -> str:
        if self.options.base is None:
            return f"Airtable answers; {_counted(len(self._all_bases()), 'base')} can be reached."
        base = self._base_id(self.options.base)
        return f"Airtable answers; the base has {_counted(len(self._tables(base, anew=True)), 'table')}."

    def discover(self) -> list[Stream]:
        found = []
        for base, name in self._reachable():
            prefix = f"{name}/" if self.options.base is None else ""
            found += [
                self._described(f"{prefix}{table['name']}", base, table, AirtableStreamOptions())
                for table in self._tables(base, anew=True)
            ]
        return found

    def stream(self, name: str, options: AnyStreamOptions) -> Stream:
        base, table = self._table(name, anew=True)
        return self._described(name, base, table, _choices(options))

    def quotas(self, stream: Stream | None = None) -> Sequence[Quota]:
        host = self.http.base.host
        found = []
        if stream is not None:
            base = stream.container.removeprefix("airtable:").partition("/")[0]
            found.append(_base_quota(host, base))
        if self.options.token is not None:
            secret = self.options.token.get_secret_value().encode()
            digest = hashlib.blake2b(secret, digest_size=8).hexdigest()
            name = f"{CALLS_PER_TOKEN} calls a second per Airtable token"
            found.append(Quota(name, f"airtable/{host}/token/{digest}", CALLS_PER_TOKEN))
        return found

    def cost(self, stream: Stream, options: AnyStreamOptions, amount: Amount) -> Sequence[Cost]:
        pages = max(1, ceil(amount.records / PAGE))
        names = sum(max(1, ceil(len(found) / PAGE)) for found in self._linked.values())
        writes = sum(ceil(count / BATCH) for count in (amount.created, amount.updated, amount.deleted))
        looks = ceil((amount.updated + amount.deleted) / PAGE)
        calls = 1 + pages + names + looks + writes  # the first one is for the schema
        return [Cost(quota, calls) for quota in self.quotas(stream)]

    def clock(self) -> datetime | None:
        answer = self._ask("GET", "/v0/meta/whoami")
        return _date_in(answer.headers.get("date", ""))

    def _reachable(self) -> list[tuple[str, str]]:
        """Ids and names of the bases that this connection is about."""
        if self.options.base is not None:
            return [(self._base_id(self.options.base), "")]
        return [(str(item["id"]), str(item["name"])) for item in self._all_bases()]

    def _all_bases(self) -> list[Mapping[str, Any]]:
        if self._bases is None:
            found: list[Mapping[str, Any]] = []
            offset = ""
            while True:
                query = f"?{urlencode({'offset': offset})}" if offset else ""
                answer = self._ask("GET", f"/v0/meta/bases{query}").json
                found += _list_in(answer, "bases", self.http)
                offset = str(answer.get("offset") or "")
                if not offset:
                    break
            if not found:
                raise OptionsError(
                    "Airtable answers and shows no base. Grant the token access to the base, or ask the"
                    " administrator whether the workspace allows the API.",
                    code="no_base",
                )
            self._bases = found
        return self._bases

    def _base_id(self, key: str) -> str:
        """A base's id by its id or name. Raises OptionsError with the nearest name."""
        if BASE_ID.fullmatch(key):
            return key
        bases = {str(item["name"]): str(item["id"]) for item in self._all_bases()}
        if key not in bases:
            raise OptionsError(f"The token reaches no base '{key}'.{_near(key, bases)}", code="base")
        return bases[key]

    def _tables(self, base: str, *, anew: bool = False) -> list[Mapping[str, Any]]:
        if anew or base not in self._schemas:
            answer = self._ask("GET", f"/v0/meta/bases/{base}/tables", base=base).json
            self._schemas[base] = _list_in(answer, "tables", self.http)
        return self._schemas[base]

    def _table(self, name: str, *, anew: bool = False) -> tuple[str, Mapping[str, Any]]:
        """The base's id and the schema of a table, by its name or id. Raises StreamGone."""
        base, key = self.options.base, name
        if base is None:
            base, slash, key = name.partition("/")
            if not slash:
                raise OptionsError(
                    f"'{name}' names no base. Write it as Base/Table, or set the connection's base.",
                    code="base",
                    stream=name,
                )
        base_id = self._base_id(base)
        tables = self._tables(base_id, anew=anew)
        for table in tables:
            if key in (table["id"], table["name"]):
                return base_id, table
        near = _near(key, [str(table["name"]) for table in tables])
        raise StreamGone(f"The base has no table '{key}'.{near}", stream=name)

    def _described(
        self, name: str, base: str, table: Mapping[str, Any], options: AirtableStreamOptions
    ) -> Stream:
        columns, unknown = _columns(table, options)
        return Stream(
            name,
            tuple(column.field for column in columns.values()),
            title=str(table["name"]),
            container=f"airtable:{base}/{table['id']}",
            problems=tuple(
                f"'{table['name']}.{field}' is left out, since its type is not known here."
                for field in unknown
            ),
        )

    def _place(self, stream: Stream, options: AnyStreamOptions) -> _Place:
        """Everything about a table that a call needs."""
        base, table = self._table(stream.name)
        return _Place(self, base, table, _choices(options))

    # -- reading --

    def read(self, stream: Stream, options: AnyStreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        place = self._place(stream, options)
        clock = place.modified_column()
        query: dict[str, Any] = {}
        known: frozenset[str] = frozenset()
        if since is not None:
            if clock is None:
                raise OptionsError(
                    f"The table '{stream.name}' has no field of the type 'last modified time', by which to"
                    " read only what changed. Add one, or run a full sync.",
                    code="cursor",
                    stream=stream.name,
                )
            moment, known = _position(since)
            from_then = stamp(moment - place.options.overlap)
            query["filterByFormula"] = f"NOT(IS_BEFORE({{{clock.id}}}, '{from_then}'))"
            if place.options.overlap:
                known = frozenset()
        place.load_names()
        mark = _Mark(clock, since)
        seen: set[str] = set()
        for items, is_last in place.listing(query):
            fresh = [item for item in items if item["id"] not in seen]
            if items and not fresh:
                raise BadAnswer(f"The table '{stream.name}' gave one page twice.", stream=stream.name)
            seen.update(item["id"] for item in fresh)
            place.name_missing(fresh)
            versions = [place.version(item) for item in fresh]
            mark.look_at(fresh, versions, self._server_now)
            pairs = [
                (item, version)
                for item, version in zip(fresh, versions, strict=True)
                if _print(item["id"], version) not in known
            ]
            yield place.page(pairs, is_last, mark.cursor if is_last else None)

    # -- looking up --

    def lookup(self, stream: Stream, options: AnyStreamOptions, ids: Sequence[str]) -> list[Looked]:
        found = self._place(stream, options).records(ids)
        return [Looked(id, "there", found[id]) if id in found else Looked(id, "gone") for id in ids]

    def find(
        self, stream: Stream, options: AnyStreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        place = self._place(stream, options)
        if field not in place.columns:
            near = _near(field, place.columns)
            raise OptionsError(f"The table '{stream.name}' has no field '{field}'.{near}", stream=stream.name)
        return place.holding(place.columns[field], values)

    def foresee(self, stream: Stream, options: AnyStreamOptions, writes: Sequence[Write]) -> None:
        ids = [write.id for write in writes if write.operation != "create" and write.id]
        self._foreseen = {}
        if ids:
            found = self._place(stream, options).records(ids)
            self._foreseen = {id: found.get(id) for id in ids}

    # -- making a table --

    def create_stream(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        try:
            return self.stream(stream.name, options)
        except StreamGone:
            pass
        base, key = self.options.base, stream.name
        if base is None:
            base, _, key = stream.name.partition("/")
        # The first field names the records, and few types may do so.
        ordered = sorted(stream.fields, key=lambda field: field.type is not FieldType.TEXT)
        fields = []
        for field in ordered:
            kind, more = MADE_AS[field.type]
            fields.append({"name": field.name, "type": kind, **({"options": more} if more else {})})
        base_id = self._base_id(base)
        path = f"/v0/meta/bases/{base_id}/tables"
        self._ask("POST", path, {"name": key, "fields": fields}, base=base_id, changes=True)
        return self.stream(stream.name, options)

    # -- writing --

    def write(self, stream: Stream, options: AnyStreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        if not batch:
            return []
        return _Batch(self._place(stream, options), self._foreseen).carry_out(batch)

    # -- calls --

    def make_http(self) -> Http:
        return Http(
            self.options.endpoint or API,
            self.access,
            judge_answer=self._judge,
            limits=Limits(size=50_000_000),
            transport=self.transport,
        )

    @property
    def _server_now(self) -> datetime | None:
        """Airtable's own clock, as of its last answer."""
        return _date_in(self._server_date)

    def _ask(
        self, method: str, path: str, body: Any = None, *, base: str | None = None, changes: bool = False
    ) -> Answer:
        token_quotas = self.quotas()
        quotas = token_quotas if base is None else [_base_quota(self.http.base.host, base), *token_quotas]

        def once(token: str) -> Answer:
            headers = {"authorization": f"Bearer {token}"}
            return self.http.ask(method, path, json=body, headers=headers, changes=changes, quotas=quotas)

        token = self._current_token()
        try:
            answer = once(token)
        except _TokenRefused:
            if self.access.token is None or self.options.token is not None:
                raise
            answer = once(self._hidden(self.access.token(refused=token)))
        self._server_date = answer.headers.get("date", self._server_date)
        return answer

    def _current_token(self) -> str:
        """Raises AuthError where there is none."""
        if self.options.token is not None:
            return self._hidden(self.options.token.get_secret_value())
        if self.access.token is None:
            raise AuthError(
                "This connection has no token and nobody has signed in. Connect it with Airtable, or enter a"
                " personal access token.",
                code="not_signed_in",
            )
        return self._hidden(self.access.token())

    def _hidden(self, token: str) -> str:
        if token != self._token:
            self._token = token
            self.http.hide(token)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise AuthError(
                "The token holds a character that cannot be sent. Enter it again, without spaces."
            )
        return token

    def _judge(self, answer: Answer) -> ConnectorError | None:
        """What Airtable's own error types ask for."""
        kind, said = _told(answer)
        said = self.http.clean(said or kind)
        match answer.status:
            case 401:
                return _TokenRefused(
                    f"Airtable refuses the token ({said}). Enter a new one, or connect Airtable again."
                )
            case 403:
                return AuthError(
                    f"Airtable does not allow this ({said}). Check the scopes of the token, its bases, and"
                    " what its user may do there.",
                    code="forbidden",
                )
            case 404 | 422:
                return _Refused(kind, said)
            case 413:
                return RecordRejected(f"Airtable takes no call of this size ({said}).", code="too_large")
            case 429 if "BILLING" in kind:
                return FatalError(
                    "The Airtable workspace has used up its API calls of this month. Upgrade its plan, or"
                    " wait for the next month; until then every sync with it fails.",
                    code="monthly_cap",
                )
            case 429:
                wait = answer.retry_after
                return RateLimited(
                    f"Airtable asks for a pause ({said}).", retry_after=WAIT_UNSAID if wait is None else wait
                )
            case 503 if kind == "RETRIABLE_ERROR":
                return Unavailable(f"Airtable failed, and says that nothing was done ({said}).")
        return None


class _TokenRefused(AuthError):
    """The token is not good any more: a fresh one may be."""


class _Refused(RecordRejected):
    """Airtable refused a call with one of its own types."""

    def __init__(self, kind: str, said: str) -> None:
        end = "" if said.endswith((".", "!", "?")) else "."
        super().__init__(f"Airtable says: {said or 'no reason'}{end}", code=kind.lower() or "rejected")
        self.kind = kind
        self.said = said


class _Place:
    """One table with the fields that take part, and the names of the records that it links to."""

    def __init__(
        self, airtable: Airtable, base: str, table: Mapping[str, Any], options: AirtableStreamOptions
    ) -> None:
        self.airtable = airtable
        self.base = base
        self.table = table
        self.options = options
        self.name = str(table["name"])
        self.path = f"/v0/{base}/{segment(str(table['id']))}"
        self.columns, _ = _columns(table, options)
        wanted = [self.columns[name] for name in options.only_fields if name in self.columns]
        # A name that is not there may be one that was changed: then all fields are asked for.
        whole = len(wanted) < len(options.only_fields) or not wanted
        self.asked = list(self.columns.values()) if whole else wanted
        self.links = [column for column in self.asked if column.linked_table]

    def modified_column(self) -> Column | None:
        """The field by which to tell what changed. Raises OptionsError."""
        name = self.options.cursor
        if name is not None:
            column = self.columns.get(name)
            if column is None or column.type != "lastModifiedTime" or not _has_time(column):
                raise OptionsError(
                    f"'{name}' cannot be the cursor of '{self.name}': it must be a field of the type 'last"
                    " modified time' that includes the time.",
                    code="cursor",
                    stream=self.name,
                    field=name,
                )
            return column
        for column in self.columns.values():
            # One that looks at some fields only would miss edits of the others.
            if column.type == "lastModifiedTime" and _has_time(column) and _looks_at_all(column):
                return column
        return None

    # -- listing --

    def listing(self, query: Mapping[str, Any], *, whole: bool = False) -> Iterator[tuple[list[Any], bool]]:
        """The records page by page, each with whether it is the last one. Raises BadAnswer where the listing
        broke off: it is read anew, never spliced."""
        columns = list(self.columns.values()) if whole else list(self.asked)
        clock = self.modified_column()
        if clock is not None and clock not in columns:
            columns.append(clock)
        body: dict[str, Any] = {
            "pageSize": min(self.airtable.page_size, PAGE),
            "returnFieldsByFieldId": True,
            "fields": [column.id for column in columns],
            **query,
        }
        yield from self._pages(self.path, body)

    def _pages(self, path: str, body: dict[str, Any]) -> Iterator[tuple[list[Any], bool]]:
        while True:
            try:
                answer = self.airtable._ask("POST", f"{path}/listRecords", body, base=self.base).json
            except _Refused as refused:
                raise self._why(refused, "offset" in body) from None
            except AuthError as refused:
                self._must_be_there()  # an unknown table and a missing right have one answer
                raise refused
            items = _list_in(answer, "records", self.airtable.http)
            offset = answer.get("offset")
            yield items, offset is None
            if offset is None:
                return
            body = {**body, "offset": offset}

    def _why(self, refused: _Refused, is_later_page: bool) -> ConnectorError:
        if is_later_page and refused.kind in ("LIST_RECORDS_ITERATOR_NOT_AVAILABLE", "INVALID_OFFSET_VALUE"):
            return BadAnswer(
                f"Airtable gave up the listing of '{self.name}' before its end.", stream=self.name
            )
        self.airtable._schemas.pop(self.base, None)
        if refused.kind in ("UNKNOWN_FIELD_NAME", "INVALID_FILTER_BY_FORMULA"):
            return BadAnswer(
                f"The fields of '{self.name}' changed while it was read ({refused.said}).", stream=self.name
            )
        try:
            self._must_be_there()
        except StreamGone as gone:
            return gone
        return BadAnswer(f"Airtable does not list '{self.name}': {refused.said}.", stream=self.name)

    def _must_be_there(self) -> None:
        """Raises StreamGone if the table is not in its base any more."""
        tables = self.airtable._tables(self.base, anew=True)
        if self.table["id"] not in [table["id"] for table in tables]:
            raise StreamGone(f"The table '{self.name}' is no longer in its base.", stream=self.name)

    # -- records --

    def page(self, pairs: Sequence[tuple[Any, str]], is_last: bool, cursor: Cursor | None) -> Page:
        return Page(
            ids=[item["id"] for item, _ in pairs],
            versions=[version for _, version in pairs],
            record=lambda index: self.record(*pairs[index]),
            is_last=is_last,
            cursor=cursor,
        )

    def record(self, item: Mapping[str, Any], version: str | None = None) -> Record:
        cells = item.get("fields") or {}
        fields = {
            column.name: decode(column, cells.get(column.id), self._names_in(column))
            for column in self.columns.values()
            if column in self.asked or column.id in cells
        }
        return Record(item["id"], fields, self.version(item) if version is None else version)

    def version(self, item: Mapping[str, Any]) -> str:
        """A hash of the fields that take part, with linked records by name and files without addresses."""
        cells = item.get("fields") or {}
        seen: dict[str, Any] = {}
        for column in self.asked:
            raw = cells.get(column.id)
            if raw is None:
                continue
            if column.type == "multipleAttachments" or column.linked_table:
                raw = decode(column, raw, self._names_in(column))
            seen[column.id] = raw
        text = json.dumps(seen, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def records(self, ids: Sequence[str]) -> dict[str, Record]:
        """Those that are there, with all their fields, in one call for each hundred."""
        wanted = [id for id in dict.fromkeys(ids) if RECORD_ID.fullmatch(id)]
        return {item["id"]: self.record(item) for item in self._by_formula("RECORD_ID()", wanted)}

    def holding(self, column: Column, values: Sequence[Value]) -> list[Record]:
        """The records whose cell holds one of these values."""
        wanted = [value for value in values if value not in (None, "")]
        if column.type in NUMBERS:
            wanted = _numbers(wanted)
        if not wanted:
            return []
        if column.type in COMPARABLE | NUMBERS:
            items = self._by_formula(f"{{{column.id}}}", wanted)
        else:
            items = [item for page, _ in self.listing({}, whole=True) for item in page]
            self._load(items)
        # What a formula takes for equal is not always the same value.
        found = [self.record(item) for item in items]
        return [
            record
            for record in found
            if any(holds(record.get(column.name), value, blank_is_null=True) for value in wanted)
        ]

    def _by_formula(self, left: str, values: Sequence[Value]) -> list[Any]:
        found: dict[str, Any] = {}
        for start in range(0, len(values), PAGE):
            terms = [f"{left}={quoted(value)}" for value in values[start : start + PAGE]]
            formula = f"OR({','.join(terms)})"
            for items, _ in self.listing({"filterByFormula": formula}, whole=True):
                found.update((item["id"], item) for item in items)
        self._load(list(found.values()))
        return list(found.values())

    def _load(self, items: Sequence[Any]) -> None:
        if items:
            self.load_names()
            self.name_missing(items)

    # -- linked records --

    def _names_in(self, column: Column) -> Mapping[str, str]:
        return self.airtable._linked.get(f"{self.base}/{column.linked_table}", {})

    def load_names(self, *, anew: bool = False) -> None:
        """The names of all records that this table may link to; each linked table is read once."""
        for table in {column.linked_table for column in self.links}:
            key = f"{self.base}/{table}"
            if anew or key not in self.airtable._linked:
                self.airtable._linked[key] = dict(self._named(table, {}))

    def name_missing(self, items: Sequence[Any]) -> None:
        """The names of records that were linked after their table was read."""
        for column in self.links:
            names = self.airtable._linked[f"{self.base}/{column.linked_table}"]
            cells = [(item.get("fields") or {}).get(column.id) or () for item in items]
            missing = [id for id in dict.fromkeys(id for cell in cells for id in cell) if id not in names]
            for start in range(0, len(missing), PAGE):
                terms = [f"RECORD_ID()={quoted(id)}" for id in missing[start : start + PAGE]]
                names.update(self._named(column.linked_table, {"filterByFormula": f"OR({','.join(terms)})"}))

    def _named(self, table: str, query: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        schema = self._schema_of(table)
        primary = str(schema["primaryFieldId"])
        columns, _ = columns_of(schema, resolves=False, typecast=False)
        column = next((item for item in columns.values() if item.id == primary), None)
        body = {"pageSize": PAGE, "returnFieldsByFieldId": True, "fields": [primary], **query}
        for items, _ in self._pages(f"/v0/{self.base}/{segment(table)}", body):
            for item in items:
                raw = (item.get("fields") or {}).get(primary)
                value = decode(column, raw, {}) if column is not None else raw
                yield item["id"], "" if value is None else _shown(value)

    def _schema_of(self, table: str) -> Mapping[str, Any]:
        for schema in self.airtable._tables(self.base):
            if schema["id"] == table:
                return schema
        raise StreamGone(f"'{self.name}' links to a table that is not in its base.", stream=self.name)

    def resolve(self, column: Column, parts: Sequence[str], current: Sequence[str]) -> list[str]:
        """The ids of the linked records with these names. Raises Unfit; _Missing where they may be made."""
        if not column.linked_table:
            return [part.strip() for text in parts for part in text.split(",") if part.strip()]
        names = self._names_in(column)
        ids: dict[str, list[str]] = {}
        for id, name in names.items():
            ids.setdefault(_folded(name), []).append(id)
        found, unknown = [], []
        for name in _split(parts, ids):
            holders = ids.get(_folded(name), [name] if name in names else [])
            kept = [id for id in holders if id in current]
            if len(holders) > 1 and len(kept) != 1:
                raise Unfit(
                    "ambiguous_link",
                    f"'{column.name}' cannot link to '{name}': {len(holders)} records have this name. Rename"
                    " all but one.",
                )
            if not holders:
                unknown.append(name)
            found += kept if len(holders) > 1 else holders
        if unknown:
            raise _Missing(column, unknown)
        return list(dict.fromkeys(found))

    def make_linked(self, column: Column, wanted: Sequence[str]) -> None:
        """Make records of these names in the linked table: by an upsert where it can be, so that what is
        sent twice stands there once. Raises Unavailable where it is not known what became of it."""
        table = self._schema_of(column.linked_table)
        primary = str(table["primaryFieldId"])
        kind = next(item["type"] for item in table["fields"] if item["id"] == primary)
        if kind not in COMPARABLE:
            raise Unfit(
                "no_such_link",
                f"The table '{table['name']}' names its records by a {kind} field, so none can be made from a"
                " name.",
            )
        path = f"/v0/{self.base}/{segment(column.linked_table)}"
        names = self.airtable._linked[f"{self.base}/{column.linked_table}"]
        for start in range(0, len(wanted), BATCH):
            records = [{"fields": {primary: name}} for name in wanted[start : start + BATCH]]
            body = {
                "records": records,
                "performUpsert": {"fieldsToMergeOn": [primary]},
                "returnFieldsByFieldId": True,
            }
            try:
                answer = self.airtable._ask("PATCH", path, body, base=self.base, changes=True).json
            except OutcomeUnknown as lost:
                raise Unavailable(lost.message) from None
            for item in _list_in(answer, "records", self.airtable.http):
                names[item["id"]] = str((item.get("fields") or {}).get(primary, ""))


class _Missing(Exception):
    """No linked record has these names."""

    def __init__(self, column: Column, names: Sequence[str]) -> None:
        super().__init__(column.name)
        self.column = column
        self.names = list(names)

    @property
    def unfit(self) -> Unfit:
        shown = ", ".join(f"'{name}'" for name in self.names)
        return Unfit(
            "no_such_link",
            f"'{self.column.name}' cannot link to {shown}: no record has this name. Add it to the linked"
            " table, or let the sync add it: linked_records: {create_missing: true}.",
        )


class _Batch:
    """One batch of writes, carried out."""

    def __init__(self, place: _Place, foreseen: dict[str, Record | None]) -> None:
        self.place = place
        self.airtable = place.airtable
        self.foreseen = foreseen
        self.there: Mapping[str, Record | None] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.has_written = False

    def carry_out(self, batch: Sequence[Write]) -> list[Outcome]:
        self._look(batch)
        going = self._unmoved(batch)
        if any(column.linked_table for column in self._written(going)):
            self.place.load_names()
            self._make_missing(going)
        bodies = {write.marker: body for write in going if (body := self._body(write)) is not None}
        going = [write for write in self._fresh_keys(going) if write.marker in bodies]
        for operation, send in (
            ("create", self._create),
            ("update", self._update),
            ("delete", self._delete),
        ):
            writes = [write for write in going if write.operation == operation]
            for start in range(0, len(writes), BATCH):
                self._guarded(writes[start : start + BATCH], send, bodies)
        return [self.outcomes[write.marker] for write in batch]

    def _set(
        self,
        write: Write,
        status: Status,
        code: str = "",
        message: str = "",
        *,
        id: str | None = None,
        record: Record | None = None,
        field: str = "",
    ) -> None:
        self.outcomes[write.marker] = Outcome(
            write.marker, status, id or write.id, record, code, message, field
        )

    # -- before anything is sent --

    def _look(self, batch: Sequence[Write]) -> None:
        """What stands there now under the ids of the batch, unless it was foreseen."""
        ids = [write.id or "" for write in batch if write.operation != "create"]
        if all(id in self.foreseen for id in ids):
            self.there = {id: self.foreseen.pop(id, None) for id in dict.fromkeys(ids)}
        else:
            self.foreseen.clear()
            self.there = self.place.records(ids)

    def _unmoved(self, batch: Sequence[Write]) -> list[Write]:
        left = []
        for write in batch:
            record = self.there.get(write.id or "")
            if write.operation == "create":
                left.append(write)
            elif record is None and write.operation == "delete":
                self._set(write, "done")
            elif record is None:
                self._set(write, "missing", message=f"'{self.place.name}' has no record '{write.id}'.")
            elif why := moved(write, record, blank_is_null=True):
                self._set(write, "stale", message=f"Not written: {why}.", record=record)
            else:
                left.append(write)
        return left

    def _written(self, writes: Sequence[Write]) -> list[Column]:
        names = {name for write in writes for name in write.fields}
        return [column for name, column in self.place.columns.items() if name in names]

    def _make_missing(self, writes: Sequence[Write]) -> None:
        """Make the linked records that are wanted and not there, if the sync says so."""
        if not self.place.options.linked_records.create_missing:
            return
        wanted: dict[str, tuple[Column, dict[str, str]]] = {}
        for write in writes:
            for name, value in write.fields.items():
                column = self.place.columns.get(name)
                if column is None or not column.linked_table:
                    continue
                try:
                    encode(column, value, lambda column, parts: self.place.resolve(column, parts, ()))
                except _Missing as missing:
                    found = wanted.setdefault(column.linked_table, (column, {}))
                    for missed in missing.names:
                        found[1].setdefault(_folded(missed), missed)
                except Unfit:
                    continue  # said of its record when it is written
        for column, names in wanted.values():
            try:
                self.place.make_linked(column, list(names.values()))
            except (RecordRejected, Unfit):
                continue  # then its records are refused, each with the name that is missing

    def _body(self, write: Write) -> dict[str, Any] | None:
        """What is sent for a write; None where its outcome is clear already."""
        sent: dict[str, Any] = {}
        for name, value in write.fields.items():
            column = self.place.columns.get(name)
            if column is None:
                near = _near(name, self.place.columns)
                message = f"'{self.place.name}' has no field '{name}'.{near}"
                self._set(write, "rejected", "unknown_field", message, field=name)
                return None
            if not column.is_writable:
                message = f"'{name}' is a {column.type} field, which Airtable computes itself."
                self._set(write, "rejected", "read_only", message, field=name)
                return None
            current = self._linked_now(write, column)
            try:
                sent[column.id] = encode(column, value, self._resolver(current))
            except _Missing as missing:
                unfit = missing.unfit
                self._set(write, "rejected", unfit.code, unfit.message, field=name)
                return None
            except Unfit as unfit:
                self._set(write, "rejected", unfit.code, unfit.message, field=name)
                return None
        return sent

    def _resolver(self, current: Sequence[str]) -> Callable[[Column, Sequence[str]], list[str]]:
        return lambda column, parts: self.place.resolve(column, parts, current)

    def _linked_now(self, write: Write, column: Column) -> Sequence[str]:
        """The ids of the records that a cell links to now, as far as their names tell."""
        record = self.there.get(write.id or "")
        if record is None or not column.linked_table:
            return ()
        shown = set(record.get(column.name) or ())
        return [id for id, name in self.place._names_in(column).items() if name in shown]

    def _fresh_keys(self, writes: Sequence[Write]) -> list[Write]:
        """Creates whose key value no record holds yet, and everything else."""
        column = self._key()
        if column is None:
            return list(writes)
        creates = [write for write in writes if write.operation == "create"]
        values = [write.fields.get(column.name) for write in creates]
        taken = self.place.holding(column, values)
        left: list[Write] = []
        given: list[Value] = []
        for write in writes:
            value = write.fields.get(column.name)
            if write.operation != "create" or value in (None, ""):
                left.append(write)
                continue
            twin = next((item for item in taken if holds(item.get(column.name), value, True)), None)
            if twin is not None and all(
                holds(twin.get(name), item, True) for name, item in write.fields.items()
            ):
                self._set(write, "done", id=twin.id, record=twin)  # sent twice
            elif twin is not None or any(holds(item, value, True) for item in given):
                where = f"the record '{twin.id}'" if twin else "another record of this batch"
                message = f"The value of '{column.name}' stands in {where} already."
                self._set(write, "rejected", "exists", message, field=column.name)
            else:
                given.append(value)
                left.append(write)
        return left

    def _key(self) -> Column | None:
        """The field that creates are merged on. Raises OptionsError."""
        key = self.place.options.key
        if key is None:
            return None
        column = self.place.columns.get(key)
        if column is None or column.type not in MERGEABLE:
            why = "has no such field" if column is None else f"cannot merge on a {column.type} field"
            near = _near(key, self.place.columns) if column is None else ""
            raise OptionsError(
                f"'{key}' cannot be the key of '{self.place.name}', which {why}.{near}",
                stream=self.place.name,
                field=key,
            )
        return column

    # -- sending --

    def _guarded(self, part: Sequence[Write], send: Any, bodies: Mapping[str, Any]) -> None:
        """Send a part. Once something was written, no error may take its receipts along: what follows is
        left undone, or not known, and said of its own records."""
        try:
            self._send(part, send, bodies)
        except OutcomeUnknown as lost:
            self.has_written = True  # it may have
            for write in part:
                if write.marker not in self.outcomes:
                    self._set(write, "unknown", lost.code, lost.message)
        except ConnectorError as problem:
            if not self.has_written:
                raise
            for write in part:
                if write.marker not in self.outcomes:
                    self._set(write, "rejected", "not_done", f"Not sent: {problem.message}")

    def _send(self, part: Sequence[Write], send: Any, bodies: Mapping[str, Any]) -> None:
        """A refusal of the call as a whole is brought down to the record."""
        try:
            send(part, bodies)
            self.has_written = True
        except _Refused as refused:
            if len(part) == 1:
                self._refuse(part[0], refused)
                return
            half = len(part) // 2
            self._guarded(part[:half], send, bodies)
            self._guarded(part[half:], send, bodies)

    def _refuse(self, write: Write, refused: _Refused) -> None:
        # It may also be a linked record that is gone.
        named_ids = RECORD_ID.findall(refused.said)
        is_gone = refused.kind in ("ROW_DOES_NOT_EXIST", "MODEL_ID_NOT_FOUND", "NOT_FOUND")
        is_gone = is_gone and (not named_ids or write.id in named_ids)
        if is_gone and write.operation == "delete":
            self._set(write, "done")
        elif is_gone and write.operation == "update":
            self._set(write, "missing", message=f"'{self.place.name}' has no record '{write.id}'.")
        else:
            named = re.search(r'[Ff]ield(?: name:)? "([^"]+)"', refused.said)
            self._set(write, "rejected", refused.code, refused.message, field=named[1] if named else "")

    def _create(self, part: Sequence[Write], bodies: Mapping[str, Any]) -> None:
        key = self._key()
        records = [{"fields": bodies[write.marker]} for write in part]
        # A record without a value in the key can be created only as it is.
        merges = key is not None and all(record["fields"].get(key.id) is not None for record in records)
        if merges and key is not None:
            self._written_ones("PATCH", part, records, {"performUpsert": {"fieldsToMergeOn": [key.id]}})
        else:
            self._written_ones("POST", part, records, {})

    def _update(self, part: Sequence[Write], bodies: Mapping[str, Any]) -> None:
        records = [{"id": write.id, "fields": bodies[write.marker]} for write in part]
        self._written_ones("PATCH", part, records, {})

    def _written_ones(
        self, method: str, part: Sequence[Write], records: Sequence[Any], more: Mapping[str, Any]
    ) -> None:
        body = {
            "records": records,
            "returnFieldsByFieldId": True,
            "typecast": self.place.options.typecast,
            **more,
        }
        answer = self.airtable._ask(method, self.place.path, body, base=self.place.base, changes=True).json
        items = answer.get("records") if isinstance(answer, Mapping) else None
        if not isinstance(items, list) or len(items) != len(part):
            raise OutcomeUnknown("Airtable did not answer each record of a batch.")
        self.place._load(items)
        for write, item in zip(part, items, strict=True):
            self._set(write, "done", id=item["id"], record=self.place.record(item))

    def _delete(self, part: Sequence[Write], bodies: Mapping[str, Any]) -> None:
        query = urlencode([("records[]", write.id or "") for write in part])
        path = f"{self.place.path}?{query}"
        self.airtable._ask("DELETE", path, base=self.place.base, changes=True)
        for write in part:
            self._set(write, "done")


class _Mark:
    """How far a read came: where the next one may begin.

    An edit may show in a listing later than its own time says, so the mark stays behind the clock that
    Airtable showed when the read began; the records after it are told apart by what they are.
    """

    def __init__(self, column: Column | None, since: Cursor | None) -> None:
        self.column = column
        self.since = since
        self.began: datetime | None = None
        self.newest: list[tuple[datetime, str]] = []

    def look_at(self, items: Sequence[Any], versions: Sequence[str], server: datetime | None) -> None:
        if self.began is None:
            self.began = server
        if self.column is None:
            return
        for item, version in zip(items, versions, strict=True):
            if text := (item.get("fields") or {}).get(self.column.id):
                self.newest.append((datetime.fromisoformat(text), _print(item["id"], version)))

    @property
    def cursor(self) -> Cursor | None:
        if self.column is None or self.began is None:
            return None
        moment = max((at for at, _ in self.newest), default=self.began - SETTLES)
        moment = min(moment, self.began - SETTLES)
        if self.since is not None:
            moment = max(moment, _position(self.since)[0])
        prints = sorted(print_ for at, print_ in self.newest if at >= moment)
        # Too many to tell apart are read once more, which costs time and nothing else.
        return f"{stamp(moment)}|{','.join(prints) if len(prints) <= MOST_AT_ONE_TIME else ''}"


def _position(cursor: Cursor) -> tuple[datetime, frozenset[str]]:
    moment, mark, prints = cursor.partition("|")
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        found = None
    if not mark or found is None or found.tzinfo is None:
        raise OptionsError("This is not a cursor of an Airtable table. Run a full sync.", code="cursor")
    return found, frozenset(prints.split(",")) - {""}


def _print(id: str, version: str) -> str:
    """A record as it is, in few characters."""
    return hashlib.blake2b(f"{id} {version}".encode(), digest_size=6).hexdigest()


def _base_quota(host: str, base: str) -> Quota:
    return Quota(
        f"{CALLS_PER_BASE} calls a second per Airtable base", f"airtable/{host}/{base}", CALLS_PER_BASE
    )


def _choices(options: AnyStreamOptions) -> AirtableStreamOptions:
    if isinstance(options, AirtableStreamOptions):
        return options
    return AirtableStreamOptions(key=options.key)


def _columns(table: Mapping[str, Any], options: AirtableStreamOptions) -> tuple[dict[str, Column], list[str]]:
    return columns_of(table, resolves=options.linked_records.resolve, typecast=options.typecast)


def _has_time(column: Column) -> bool:
    return column.canonical is FieldType.DATETIME


def _looks_at_all(column: Column) -> bool:
    return not column.options.get("referencedFieldIds")


def _told(answer: Answer) -> tuple[str, str]:
    """Type and message of an error, in any of the forms that Airtable uses."""
    found = answer.json_or_none
    error = found.get("error") if isinstance(found, dict) else None
    if (
        isinstance(found, dict)
        and error is None
        and isinstance(found.get("errors"), list)
        and found["errors"]
    ):
        error = found["errors"][0]
    match error:
        case str():
            return error, str(found.get("message") or "")
        case dict():
            return str(error.get("type") or error.get("error") or ""), str(error.get("message") or "")
    return "", ""


def _list_in(answer: Any, name: str, http: Http) -> list[Any]:
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise BadAnswer(f"{http.place} gave no list of {name}.")
    return found


def _numbers(values: Sequence[Value]) -> list[Value]:
    """Those that are numbers: no cell of a number field holds another one."""
    found: list[Value] = []
    for value in values:
        with contextlib.suppress(ValueProblem):
            found.append(parse(value, FieldType.DECIMAL))
    return found


def _date_in(header: str) -> datetime | None:
    """The moment of a Date header; None where it says none."""
    try:
        found = parsedate_to_datetime(header)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _near(word: str, words: Any) -> str:
    near = get_close_matches(word, list(words), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _shown(value: Value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _split(parts: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Single names. A name may hold a comma itself: the longest one that is known counts."""
    pieces = [piece.strip() for part in parts for piece in part.split(",")]
    found, place = [], 0
    while place < len(pieces):
        ends = range(len(pieces), place, -1)
        known_ends = (end for end in ends if _folded(", ".join(pieces[place:end])) in known)
        end = next(known_ends, place + 1)
        found.append(", ".join(pieces[place:end]))
        place = end
    return [name for name in found if name]
