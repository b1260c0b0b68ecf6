"""Airtable's Web API: records, metadata, webhooks and sign-in, with its limits and its error bodies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import unquote, urlencode

from flask import Response, jsonify, redirect, request
from markupsafe import escape
from werkzeug.wrappers import Request as WsgiRequest

from simulators.airtable_cells import (
    COMPUTED,
    MERGE_TYPES,
    TYPES,
    Base,
    Field,
    Record,
    Refusal,
    Shower,
    Table,
    Taker,
    is_empty,
    stamp,
)
from simulators.airtable_formulas import BadFormula, Row, UnknownFields, compiled, is_kept
from simulators.base import Column, Grid, Simulator

MOST_RECORDS = 10  # of one write
MOST_OF_A_PAGE = 100
LONGEST_URL = 16_000
PER_BASE, PER_TOKEN = 5, 50  # calls in any second
PENALTY = 30.0  # seconds after a call too many in which all are refused
ITERATOR_LIFE = timedelta(minutes=3)
CODE_LIFE = timedelta(minutes=10)
ACCESS_SECONDS, REFRESH_SECONDS = 3600, 5_184_000
HOOK_LIFE = timedelta(days=7)
PAYLOADS_OF_A_PAGE = 50
SCOPES = (
    "data.records:read",
    "data.records:write",
    "schema.bases:read",
    "schema.bases:write",
    "webhook:manage",
    "data.recordComments:read",
    "data.recordComments:write",
)
_SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_NOT_FOUND = (
    "Invalid permissions, or the requested model was not found. Check that both your user and your token"
)
_NOT_FOUND += " have the required permissions, and that the model names and/or ids are correct."


@dataclass
class Token:
    """A personal access token (it does not expire), or one that a sign-in gave."""

    secret: str
    scopes: Sequence[str] = SCOPES
    bases: Sequence[str] | None = None  # None: all
    expires: datetime | None = None
    refresh: str = ""


@dataclass
class Client:
    """An integration that people sign in through. Without redirect URIs any one will do."""

    id: str
    secret: str | None = None
    redirect_uris: Sequence[str] = ()


@dataclass
class _Code:
    client: str
    redirect_uri: str
    challenge: str
    scope: str
    until: datetime


@dataclass
class _Listing:
    """One listing under way: which records are still to come."""

    query: str
    ids: list[str]
    used: datetime
    given: int = 0


@dataclass
class _Hook:
    id: str
    base: str
    specification: Any
    url: str | None
    secret: bytes
    expires: datetime
    payloads: list[dict[str, Any]] = field(default_factory=list)


class Airtable(Simulator):
    name: ClassVar[str] = "airtable"
    title: ClassVar[str] = "Airtable"
    api: ClassVar[tuple[str, ...]] = ("/v0/", "/oauth2/v1/token")

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.bases: dict[str, Base] = {}
        self.tokens: dict[str, Token] = {}
        self.clients: dict[str, Client] = {}
        self.users = {
            "usrSimulated00001": {
                "id": "usrSimulated00001",
                "email": "person@example.org",
                "name": "A Person",
            }
        }
        self.has_limits = True
        self.calls_left: int | None = None  # of this month; None: no cap
        self._codes: dict[str, _Code] = {}
        self._refreshed: dict[str, datetime] = {}  # dead refresh tokens, and since when
        self._listings: dict[str, _Listing] = {}
        self._sent: dict[str, deque[datetime]] = defaultdict(deque)
        self._penalty: dict[str, datetime] = {}
        self._hooks: dict[str, _Hook] = {}
        self._comments: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._transactions = 0
        self.app.route("/v0/<path:_>", methods=["GET", "POST", "PATCH", "PUT", "DELETE"])(self._api)
        self.app.post("/oauth2/v1/token")(self._token_endpoint)
        self.app.route("/oauth2/v1/authorize", methods=["GET", "POST"])(self._authorize)

    # -- setting the scene --

    def new_id(self, prefix: str) -> str:
        return prefix + "".join(_SIGNS[int(self.rand() * len(_SIGNS))] for _ in range(14))

    def add_token(self, secret: str, **more: Any) -> Token:
        self.tokens[secret] = token = Token(secret, **more)
        return token

    def add_client(self, id: str, secret: str | None = None, redirect_uris: Sequence[str] = ()) -> None:
        self.clients[id] = Client(id, secret, redirect_uris)

    def add_base(self, name: str) -> Base:
        base = Base(self.new_id("app"), name)
        self.bases[base.id] = base
        return base

    def add_table(self, base: Base, name: str, fields: Sequence[Mapping[str, Any]]) -> Table:
        """Fields as the API takes them, computed ones included. The first is the primary one."""
        table = Table(self.new_id("tbl"), name, [], view_id=self.new_id("viw"))
        base.tables.append(table)
        for spec in fields:
            self.add_field(base, table, spec)
        return table

    def add_field(self, base: Base, table: Table, spec: Mapping[str, Any]) -> Field:
        options = json.loads(json.dumps(spec.get("options"))) if spec.get("options") else None
        made = Field(self.new_id("fld"), spec["name"], spec["type"], options, spec.get("description"))
        if made.type in ("singleSelect", "multipleSelects"):
            choices = (made.options or {}).get("choices", [])
            made.options = {
                "choices": [{"id": choice.get("id") or self.new_id("sel"), **choice} for choice in choices]
            }
        table.fields.append(made)
        if made.type == "multipleRecordLinks" and made.options and "inverseLinkFieldId" not in made.options:
            self._add_inverse(base, table, made)
        return made

    def _add_inverse(self, base: Base, table: Table, made: Field) -> None:
        linked = base.table((made.options or {}).get("linkedTableId", ""))
        if linked is None or made.options is None:
            return
        back = Field(
            self.new_id("fld"),
            table.name if linked.find(table.name) is None else f"{table.name} {made.name}",
            "multipleRecordLinks",
            {"linkedTableId": table.id, "inverseLinkFieldId": made.id, **_LINK},
        )
        linked.fields.append(back)
        made.options["inverseLinkFieldId"] = back.id
        made.options |= _LINK

    def put(self, base: Base, table: Table, fields: Mapping[str, Any], id: str | None = None) -> str:
        """A person adds a record, or changes one. Raises Refusal."""
        record = table.records.get(id) if id else None
        cells = self._taken(base, table, record, fields, typecast=True)
        return self._carry_out(base, table, record, cells, "client").id

    def remove(self, base: Base, table: Table, id: str) -> None:
        """A person deletes a record."""
        self._delete(base, table, [id], "client")

    def shown(self, base: Base, table: Table, record: Record) -> dict[str, Any]:
        """What every field of a record shows, by name; empty ones too."""
        shower = self._shower(base)
        return {item.name: shower.show(table, record, item) for item in table.fields}

    def fill(self) -> None:
        base = self.add_base("Sales")
        self.add_token("patSimulated.0000")
        self.add_client("syncline")
        companies = self.add_table(base, "Companies", [{"name": "Name", "type": "singleLineText"}])
        customers = self.add_table(
            base,
            "Customers",
            [
                {"name": "Email", "type": "email"},
                {"name": "Name", "type": "singleLineText"},
                {"name": "Balance", "type": "currency", "options": {"precision": 2, "symbol": "€"}},
                {
                    "name": "Stage",
                    "type": "singleSelect",
                    "options": {"choices": [{"name": "Lead"}, {"name": "Won"}, {"name": "Lost"}]},
                },
                {"name": "Active", "type": "checkbox", "options": {"icon": "check", "color": "greenBright"}},
                {"name": "Since", "type": "date", "options": {"dateFormat": {"name": "iso"}}},
                {"name": "Notes", "type": "multilineText"},
                {
                    "name": "Company",
                    "type": "multipleRecordLinks",
                    "options": {"linkedTableId": companies.id},
                },
                {"name": "Modified", "type": "lastModifiedTime"},
            ],
        )
        acme = self.put(base, companies, {"Name": "Acme"})
        globex = self.put(base, companies, {"Name": "Globex"})
        for number, (name, stage, company) in enumerate(
            (
                ("Ada", "Won", acme),
                ("Grace", "Lead", acme),
                ("Edsger", "Lost", globex),
                ("Barbara", "Won", globex),
            )
        ):
            self.put(
                base,
                customers,
                {
                    "Email": f"{name.lower()}@example.org",
                    "Name": name,
                    "Balance": 100.5 * (number + 1),
                    "Stage": stage,
                    "Active": number % 2 == 0,
                    "Since": f"2025-0{number + 1}-15",
                    "Company": [company],
                },
            )

    def hints(self, url: str) -> list[str]:
        (base,) = self.bases.values()
        return [
            "A connection to it:",
            f'  airtable: {{connector: airtable, options: {{endpoint: "{url}", base: {base.id},'
            ' token: "patSimulated.0000"}}',
        ]

    # -- the pages --

    def grids(self) -> list[Grid]:
        found = []
        for base in self.bases.values():
            for table in base.tables:
                columns = [Column(item.name, not item.is_computed) for item in table.fields]
                rows = [
                    (record.id, [_cell(value) for value in self.shown(base, table, record).values()])
                    for record in table.records.values()
                ]
                found.append(Grid(f"{base.id}.{table.id}", f"{base.name}: {table.name}", columns, rows))
        return found

    def put_cell(self, grid: str, row: str, column: str, text: str) -> None:
        base, table = self._placed(grid)
        try:
            value: Any = json.loads(text) if text[:1] in "[{" and text else text
        except ValueError:
            value = text
        found = table.find(column)
        if found is not None and found.type == "singleSelect" and value == "":
            value = None
        try:
            self.put(base, table, {column: value}, row)
        except Refusal as refused:
            error = refused.body["error"]
            raise ValueError(f"{error.get('message') or error['type']}.") from None

    def add_row(self, grid: str) -> None:
        base, table = self._placed(grid)
        self.put(base, table, {})

    def remove_row(self, grid: str, row: str) -> None:
        base, table = self._placed(grid)
        if row in table.records:
            self.remove(base, table, row)

    def _placed(self, grid: str) -> tuple[Base, Table]:
        base_id, _, table_id = grid.partition(".")
        base = self.bases.get(base_id)
        table = base.table(table_id) if base is not None else None
        if base is None or table is None:
            raise ValueError("This table is gone.")
        return base, table

    # -- faults --

    def refuse(self, kind: str, call: WsgiRequest) -> tuple[Any, int]:
        match kind:
            case "too_many" | "too_many_hint":
                return _RATE.body, 429
            case "expired":
                token = self.tokens.get(_bearer(call))
                if token is not None and token.expires is not None:
                    token.expires = self.clock()
                return _UNAUTHENTICATED.body, 401
            case "unavailable":
                message = "Server encountered an error while processing your request, and it is safe to retry"
                return {"error": {"type": "RETRIABLE_ERROR", "message": f"{message} the request"}}, 503
            case _:
                return {"error": {"type": "SERVER_ERROR", "message": "Try again later"}}, 500

    # -- the API's doors --

    def _api(self, _: str) -> Response:
        try:
            answer = self._dispatch()
        except Refusal as refused:
            answer = jsonify(refused.body)
            answer.status_code = refused.status
        return answer

    def _dispatch(self) -> Response:
        raw = request.environ.get("REQUEST_URI") or request.full_path
        if len(raw) >= LONGEST_URL:
            raise Refusal(414, "URI_TOO_LONG", "The URL is too long")
        token = self._token()
        parts = [unquote(part) for part in raw.partition("?")[0].removeprefix("/v0/").strip("/").split("/")]
        match request.method, parts:
            case "GET", ["meta", "whoami"]:
                self._count(token)
                return jsonify({"id": "usrSimulated00001", "scopes": list(token.scopes)})
            case "GET", ["meta", "bases"]:
                self._count(token, "schema.bases:read")
                return self._list_bases(token)
            case method, ["meta", "bases", base_id, *rest]:
                base = self._base(token, base_id, _scope_of_schema(method))
                return self._schema(method, base, rest)
            case method, ["bases", base_id, "webhooks", *rest]:
                return self._webhooks(method, self._base(token, base_id, "webhook:manage"), rest)
            case "POST", [base_id, record_id, field_key, "uploadAttachment"]:
                return self._upload(self._base(token, base_id, "data.records:write"), record_id, field_key)
            case method, [base_id, table_key, record_id, "comments", *rest]:
                right = "read" if method == "GET" else "write"
                base = self._base(token, base_id, f"data.recordComments:{right}")
                return self._talk(method, self._record(base, table_key, record_id)[1], rest)
            case "GET" | "POST", [base_id, table_key, *rest] if (request.method, rest) in _LISTS:
                base = self._base(token, base_id, "data.records:read", is_data=True)
                return self._list(base, self._table(base, table_key))
            case "GET", [base_id, table_key, record_id]:
                base = self._base(token, base_id, "data.records:read", is_data=True)
                return self._get(base, table_key, record_id)
            case method, [base_id, table_key, *rest] if len(rest) <= 1:
                base = self._base(token, base_id, "data.records:write", is_data=True)
                table = self._table(base, table_key)
                return self._write(method, base, table, rest[0] if rest else None)
        raise Refusal(404, "NOT_FOUND", bare=True)

    def _token(self) -> Token:
        token = self.tokens.get(_bearer(request))
        if token is None or (token.expires is not None and token.expires <= self.clock()):
            raise _UNAUTHENTICATED
        return token

    def _count(self, token: Token, scope: str = "") -> None:
        if scope and scope not in token.scopes:
            raise Refusal(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", _NOT_FOUND)
        # Every token belongs to the one user there is.
        self._limit("user", PER_TOKEN)

    def _base(self, token: Token, base_id: str, scope: str, *, is_data: bool = False) -> Base:
        """Auth first, then the limits."""
        if is_data and self.calls_left is not None:
            if self.calls_left <= 0:
                message = "API billing plan limit exceeded. Upgrade your plan to make more calls"
                raise Refusal(429, "PUBLIC_API_BILLING_LIMIT_EXCEEDED", message)
            self.calls_left -= 1
        base = self.bases.get(base_id)
        granted = token.bases is None or base_id in token.bases
        if base is None or not granted or scope not in token.scopes:
            raise Refusal(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", _NOT_FOUND)
        self._limit(base.id, PER_BASE)
        self._count(token)
        return base

    def _limit(self, key: str, most: int) -> None:
        if not self.has_limits:
            return
        now = self.clock()
        if key in self._penalty and now < self._penalty[key]:
            raise _RATE
        sent = self._sent[key]
        while sent and now - sent[0] >= timedelta(seconds=1):
            sent.popleft()
        if len(sent) >= most:
            self._penalty[key] = now + timedelta(seconds=PENALTY)
            raise _RATE
        sent.append(now)

    def _table(self, base: Base, key: str) -> Table:
        table = base.table(key)
        if table is None:
            raise Refusal(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", _NOT_FOUND)
        return table

    def _record(self, base: Base, table_key: str, id: str) -> tuple[Table, Record]:
        table = self._table(base, table_key)
        if id not in table.records:
            raise Refusal(404, "MODEL_ID_NOT_FOUND", "Record not found")
        return table, table.records[id]

    # -- metadata --

    def _list_bases(self, token: Token) -> Response:
        bases = [
            {"id": base.id, "name": base.name, "permissionLevel": "create"}
            for base in self.bases.values()
            if token.bases is None or base.id in token.bases
        ]
        return jsonify({"bases": bases})

    def _schema(self, method: str, base: Base, rest: Sequence[str]) -> Response:
        match method, rest:
            case "GET", ["tables"]:
                shown = [item.shown() for item in base.tables]
                if "visibleFieldIds" in request.args.getlist("include"):
                    for each in shown:
                        each["views"][0]["visibleFieldIds"] = [item["id"] for item in each["fields"]]
                return jsonify({"tables": shown})
            case "POST", ["tables"]:
                body = _body()
                specs = body.get("fields") or []
                if not body.get("name") or not specs or base.table(body["name"]) is not None:
                    raise _INVALID
                for spec in specs:
                    self._may_be_made(spec)
                return jsonify(self.add_table(base, body["name"], specs).shown())
            case "PATCH", ["tables", table_key]:
                table = self._table(base, table_key)
                table.name = _body().get("name", table.name)
                return jsonify(table.shown())
            case "POST", ["tables", table_key, "fields"]:
                table, spec = self._table(base, table_key), _body()
                self._may_be_made(spec)
                if table.find(spec["name"]) is not None:
                    raise Refusal(
                        422, "DUPLICATE_OR_EMPTY_FIELD_NAME", f'Field "{spec["name"]}" exists already'
                    )
                return jsonify(self.add_field(base, table, spec).shown())
            case "PATCH", ["tables", table_key, "fields", field_key]:
                found = self._table(base, table_key).find(field_key)
                if found is None:
                    raise Refusal(404, "NOT_FOUND", bare=True)
                body = _body()
                found.name = body.get("name", found.name)
                found.description = body.get("description", found.description)
                return jsonify(found.shown())
        raise Refusal(404, "NOT_FOUND", bare=True)

    def _may_be_made(self, spec: Any) -> None:
        if not isinstance(spec, dict) or not spec.get("name") or spec.get("type") not in TYPES - COMPUTED:
            raise Refusal(
                422, "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE", "Creating this field is not supported"
            )

    # -- reading --

    def _list(self, base: Base, table: Table) -> Response:
        given = _list_parameters()
        size = _whole(given.get("pageSize"), MOST_OF_A_PAGE)
        most = _whole(given.get("maxRecords"), None)
        if size is None or not 1 <= size <= MOST_OF_A_PAGE or (most is not None and most < 1):
            raise _INVALID
        listing_id, listing = self._listing(base, table, given, most)
        chosen = self._chosen_fields(table, given.get("fields") or [])
        if self.fault == "repeated_page":
            listing.given = max(0, listing.given - size)
        page = listing.ids[listing.given : listing.given + size]
        listing.given += len(page)
        listing.used = self.clock()
        more = listing.given < len(listing.ids)
        if self.fault == "short_page":
            page = page[: len(page) // 2]
        records = [table.records[id] for id in page if id in table.records]
        by_id = bool(given.get("returnFieldsByFieldId"))
        shown = [self._shown(base, table, record, by_id, chosen) for record in records]
        if "commentCount" in (given.get("recordMetadata") or []):
            shown = [{**item, "commentCount": len(self._comments[item["id"]])} for item in shown]
        body: dict[str, Any] = {"records": shown}
        if more:
            body["offset"] = f"{listing_id}/{listing.ids[listing.given]}"
        else:
            self._listings.pop(listing_id, None)
        return jsonify(body)

    def _listing(
        self, base: Base, table: Table, given: Mapping[str, Any], most: int | None
    ) -> tuple[str, _Listing]:
        same = {key: value for key, value in given.items() if key not in ("offset", "pageSize")}
        query = json.dumps([table.id, same], sort_keys=True)
        offset = given.get("offset")
        if offset is None:
            id = self.new_id("itr")
            self._listings[id] = _Listing(query, self._matching(base, table, given)[:most], self.clock())
            return id, self._listings[id]
        id, slash, record = str(offset).partition("/")
        if not (slash and id.startswith("itr") and record.startswith("rec")):
            raise Refusal(422, "INVALID_OFFSET_VALUE", f"The value of offset {offset} is invalid")
        listing = self._listings.get(id)
        if listing is None or listing.query != query or self.clock() - listing.used > ITERATOR_LIFE:
            raise Refusal(422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE")
        return id, listing

    def forget_listings(self) -> None:
        """What a restart of the servers does: no listing under way can be carried on."""
        self._listings.clear()

    def _matching(self, base: Base, table: Table, given: Mapping[str, Any]) -> list[str]:
        if (view := given.get("view")) and view not in (table.view_id, "Grid view"):
            raise Refusal(422, "VIEW_NAME_NOT_FOUND", f"View {view} not found")
        records = list(table.records.values())
        if formula := given.get("filterByFormula"):
            evaluate = self._compiled(table, formula)
            records = [item for item in records if is_kept(evaluate(self._row(base, table, item)))]
        for order in reversed(given.get("sort") or []):
            found = table.find(order.get("field", ""))
            if found is None:
                raise Refusal(422, "UNKNOWN_FIELD_NAME", f'Unknown field name: "{order.get("field")}"')
            shower = self._shower(base)
            records.sort(
                key=lambda item: _sortable(shower.show(table, item, found)),
                reverse=order.get("direction") == "desc",
            )
        return [item.id for item in records]

    def _compiled(self, table: Table, formula: str) -> Callable[[Row], Any]:
        def field_id(key: str) -> str | None:
            found = table.find(key)
            return found.id if found else None

        start = "The formula for filtering records is invalid:"
        try:
            return compiled(str(formula), field_id)
        except UnknownFields as unknown:
            raise Refusal(
                422, "INVALID_FILTER_BY_FORMULA", f"{start} Unknown field names: {unknown}"
            ) from None
        except BadFormula:
            message = f"{start} Invalid formula. Please check your formula text."
            raise Refusal(422, "INVALID_FILTER_BY_FORMULA", message) from None

    def _row(self, base: Base, table: Table, record: Record) -> Row:
        def cell(id: str) -> Any:
            found = table.find(id)
            if found is None:
                return None
            if found.type == "multipleRecordLinks":
                linked = base.table((found.options or {}).get("linkedTableId", ""))
                ids = record.cells.get(id) or []
                return [shower.name_of(linked, linked.records[item]) for item in ids] if linked else ids
            return shower.show(table, record, found)

        shower = self._shower(base)
        return Row(record.id, record.created, record.modified.replace(microsecond=0), cell)

    def _shower(self, base: Base) -> Shower:
        def evaluate(table: Table, formula: str, record: Record) -> Any:
            try:
                found = self._compiled(table, formula)(self._row(base, table, record))
            except Refusal:
                return {"error": "#ERROR!"}
            return stamp(found) if isinstance(found, datetime) else found

        return Shower(base, lambda: self.new_id("x"), evaluate)

    def _chosen_fields(self, table: Table, keys: Sequence[str]) -> set[str] | None:
        if not keys:
            return None
        found = {key: table.find(key) for key in keys}
        for key, item in found.items():
            if item is None:
                raise Refusal(422, "UNKNOWN_FIELD_NAME", f'Unknown field name: "{key}"')
        return {item.id for item in found.values() if item is not None}

    def _shown(
        self, base: Base, table: Table, record: Record, by_id: bool, chosen: set[str] | None = None
    ) -> dict[str, Any]:
        shower = self._shower(base)
        fields = {
            (item.id if by_id else item.name): value
            for item in table.fields
            if (chosen is None or item.id in chosen)
            and not is_empty(value := shower.show(table, record, item))
        }
        return {"id": record.id, "createdTime": stamp(record.created), "fields": fields}

    def _get(self, base: Base, table_key: str, id: str) -> Response:
        table = self._table(base, table_key)
        found = (table, table.records[id]) if id in table.records else base.record(id)
        if found is None:
            raise Refusal(404, "NOT_FOUND", bare=True)
        return jsonify(self._shown(base, *found, by_id=_flag("returnFieldsByFieldId")))

    # -- writing --

    def _write(self, method: str, base: Base, table: Table, id: str | None) -> Response:
        if method == "DELETE":
            return self._delete_call(base, table, id)
        if method not in ("POST", "PATCH", "PUT") or (method == "POST" and id is not None):
            raise Refusal(404, "NOT_FOUND", bare=True)
        body = _body()
        by_id, typecast = bool(body.get("returnFieldsByFieldId")), bool(body.get("typecast"))
        if id is not None and id not in table.records:
            raise Refusal(404, "NOT_FOUND", bare=True)
        single = id is not None or (method == "POST" and "records" not in body)
        wanted = [{"id": id, "fields": body.get("fields")}] if single else body.get("records")
        self._check_shape(wanted, method, body.get("performUpsert"))
        assert isinstance(wanted, list)
        merge = (body.get("performUpsert") or {}).get("fieldsToMergeOn")
        if merge is not None:
            found = self._merged(table, wanted, merge)
        else:
            found = [self._existing(table, item["id"]) if method != "POST" else None for item in wanted]
        # All are looked at before any is written: a batch is done as a whole or not at all.
        taken = [
            self._taken(base, table, record, item["fields"], typecast)
            for item, record in zip(wanted, found, strict=True)
        ]
        done = []
        for record, cells in zip(found, taken, strict=True):
            if method == "PUT" and record is not None:
                cells = {item.id: None for item in table.fields if not item.is_computed} | cells
            done.append(self._carry_out(base, table, record, cells, "publicApi"))
        shown = [self._shown(base, table, record, by_id) for record in done]
        if single:
            return jsonify(shown[0])
        answer: dict[str, Any] = {"records": shown}
        if merge is not None:
            pairs = list(zip(done, found, strict=True))
            answer["createdRecords"] = [record.id for record, before in pairs if before is None]
            answer["updatedRecords"] = [record.id for record, before in pairs if before is not None]
        return jsonify(answer)

    def _check_shape(self, wanted: Any, method: str, upsert: Any) -> None:
        needs_id = method != "POST" and upsert is None
        clause = 'an "id" ID field and ' if needs_id else ""
        message = f"You must provide an array of up to 10 record objects, each with {clause}"
        message += 'a "fields" object for cell values.'
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= MOST_RECORDS:
            raise Refusal(422, "INVALID_RECORDS", message)
        for item in wanted:
            if not isinstance(item, dict) or (needs_id and not isinstance(item.get("id"), str)):
                raise Refusal(422, "INVALID_RECORDS", message)
            if not isinstance(item.get("fields"), dict):
                text = 'Could not find field "fields" in the request body'
                raise Refusal(422, "INVALID_REQUEST_MISSING_FIELDS", text)

    def _existing(self, table: Table, id: str) -> Record:
        if id not in table.records:
            raise Refusal(422, "ROW_DOES_NOT_EXIST", f"Record ID {id} does not exist in this table")
        return table.records[id]

    def _merged(self, table: Table, wanted: Sequence[Any], merge: Any) -> list[Record | None]:
        """The record that each item of an upsert updates; None where it creates one."""
        if not isinstance(merge, list) or not 1 <= len(merge) <= 3:
            raise _INVALID
        fields = [table.find(key) for key in merge]
        if any(item is None or item.type not in MERGE_TYPES for item in fields):
            raise _INVALID
        found: list[Record | None] = []
        for item in wanted:
            if item.get("id") is not None:
                found.append(self._existing(table, item["id"]))
                continue
            values = []
            for key in fields:
                assert key is not None
                given = item["fields"].get(key.name, item["fields"].get(key.id, _ABSENT))
                if given is _ABSENT:
                    raise _INVALID
                values.append((key.id, given))
            matching = [
                record
                for record in table.records.values()
                if all(value is not None and record.cells.get(id) == value for id, value in values)
            ]
            if len(matching) > 1:
                message = "Cannot update more than one record with the same merge values"
                raise Refusal(422, "INVALID_VALUE_FOR_COLUMN", message)
            found.append(matching[0] if matching else None)
        return found

    def _taken(
        self, base: Base, table: Table, record: Record | None, fields: Mapping[str, Any], typecast: bool
    ) -> dict[str, Any]:
        taker, taken = Taker(base, self.new_id, self.users), {}
        for key, value in fields.items():
            found = table.find(key)
            if found is None:
                raise Refusal(422, "UNKNOWN_FIELD_NAME", f'Unknown field name: "{key}"')
            old = record.cells.get(found.id) if record else None
            taken[found.id] = taker.take(found, value, old, typecast)
        return taken

    def _carry_out(
        self, base: Base, table: Table, record: Record | None, cells: Mapping[str, Any], source: str
    ) -> Record:
        now = self.clock()
        is_new = record is None
        if record is None:
            table.made += 1
            record = Record(self.new_id("rec"), table.made, now, now)
            table.records[record.id] = record
        before = {id: record.cells.get(id) for id in cells}
        for id, value in cells.items():
            found = table.find(id)
            assert found is not None
            if found.type == "multipleRecordLinks":
                self._link_back(base, found, record, value or [])
            if value is None and not (found.type == "richText" and id in record.cells):
                record.cells.pop(id, None)
            else:
                record.cells[id] = value
        if is_new or any(record.cells.get(id) != value for id, value in before.items()):
            record.modified = now
        names = {item.name: cells[item.id] for item in table.fields if item.id in cells}
        if source == "publicApi":
            self.accept("create" if is_new else "update", table.name, record.id, names)
        self._tell_hooks(base, table, source, record, cells, "created" if is_new else "changed")
        return record

    def _link_back(self, base: Base, link: Field, record: Record, ids: Sequence[str]) -> None:
        """Writing a link also changes the field at its other end."""
        options = link.options or {}
        linked, back = base.table(options.get("linkedTableId", "")), options.get("inverseLinkFieldId")
        if linked is None or back is None:
            return
        for other in linked.records.values():
            held = list(other.cells.get(back) or [])
            if (record.id in held) == (other.id in ids):
                continue
            changed = [*held, record.id] if other.id in ids else [id for id in held if id != record.id]
            if changed:
                other.cells[back] = changed
            else:
                other.cells.pop(back, None)

    def _delete_call(self, base: Base, table: Table, id: str | None) -> Response:
        if id is not None:
            if id not in table.records:
                raise Refusal(404, "MODEL_ID_NOT_FOUND", "Record not found")
            self._delete(base, table, [id], "publicApi")
            return jsonify({"id": id, "deleted": True})
        ids = request.args.getlist("records[]") or request.args.getlist("records")
        if not 1 <= len(ids) <= MOST_RECORDS:
            message = "You must provide an array of up to 10 record IDs."
            raise Refusal(422, "INVALID_RECORDS", message)
        for item in ids:
            if item not in table.records:
                raise Refusal(404, "MODEL_ID_NOT_FOUND", "Record not found")
        self._delete(base, table, ids, "publicApi")
        return jsonify({"records": [{"id": item, "deleted": True} for item in ids]})

    def _delete(self, base: Base, table: Table, ids: Sequence[str], source: str) -> None:
        for id in ids:
            record = table.records.pop(id)
            for item in table.fields:
                if item.type == "multipleRecordLinks" and record.cells.get(item.id):
                    self._link_back(base, item, record, [])
            if source == "publicApi":
                self.accept("delete", table.name, id)
            self._tell_hooks(base, table, source, record, {}, "destroyed")

    def _upload(self, base: Base, record_id: str, key: str) -> Response:
        found, body = base.record(record_id), _body()
        target = found[0].find(key) if found else None
        if found is None or target is None or target.type != "multipleAttachments":
            raise Refusal(404, "NOT_FOUND", bare=True)
        content = base64.b64decode(body["file"])
        made = {"id": self.new_id("att"), "filename": body["filename"], "size": len(content)}
        held = [*(found[1].cells.get(target.id) or []), {**made, "type": body["contentType"]}]
        record = self._carry_out(base, found[0], found[1], {target.id: held}, "publicApi")
        return jsonify(self._shown(base, found[0], record, True, {target.id}))

    # -- comments --

    def _talk(self, method: str, record: Record, rest: Sequence[str]) -> Response:
        comments = self._comments[record.id]
        match method, rest:
            case "GET", []:
                return jsonify({"comments": comments[::-1], "offset": None})
            case "POST", []:
                now = stamp(self.clock())
                author = self.users["usrSimulated00001"]
                made = {
                    "id": self.new_id("com"),
                    "author": author,
                    "text": _body()["text"],
                    "createdTime": now,
                }
                comments.append({**made, "lastUpdatedTime": None})
                return jsonify(comments[-1])
            case "PATCH" | "DELETE", [id]:
                found = next((item for item in comments if item["id"] == id), None)
                if found is None:
                    raise Refusal(404, "NOT_FOUND", bare=True)
                if method == "DELETE":
                    comments.remove(found)
                    return jsonify({"id": id, "deleted": True})
                found |= {"text": _body()["text"], "lastUpdatedTime": stamp(self.clock())}
                return jsonify(found)
        raise Refusal(404, "NOT_FOUND", bare=True)

    # -- webhooks --

    def _webhooks(self, method: str, base: Base, rest: Sequence[str]) -> Response:
        match method, rest:
            case "POST", []:
                body = _body()
                hook = _Hook(
                    self.new_id("ach"),
                    base.id,
                    body["specification"],
                    body.get("notificationUrl"),
                    self.new_id("mac").encode(),
                    self.clock() + HOOK_LIFE,
                )
                self._hooks[hook.id] = hook
                secret = base64.b64encode(hook.secret).decode()
                return jsonify(
                    {"id": hook.id, "macSecretBase64": secret, "expirationTime": stamp(hook.expires)}
                )
            case "GET", []:
                mine = [hook for hook in self._hooks.values() if hook.base == base.id]
                return jsonify({"webhooks": [self._hook_shown(hook) for hook in mine]})
        known = self._hooks.get(rest[0]) if rest else None
        if known is None or known.base != base.id:
            raise Refusal(404, "NOT_FOUND", bare=True)
        return self._webhook(method, known, rest[1:])

    def _webhook(self, method: str, hook: _Hook, rest: Sequence[str]) -> Response:
        match method, rest:
            case "DELETE", []:
                del self._hooks[hook.id]
                return Response(status=204)
            case "POST", ["refresh"]:
                hook.expires = self.clock() + HOOK_LIFE
                return jsonify({"expirationTime": stamp(hook.expires)})
            case "POST", ["enableNotifications"]:
                return Response(status=204)
            case "GET", ["payloads"]:
                return self._payloads(hook)
        raise Refusal(404, "NOT_FOUND", bare=True)

    def _hook_shown(self, hook: _Hook) -> dict[str, Any]:
        return {
            "id": hook.id,
            "areNotificationsEnabled": True,
            "isHookEnabled": True,
            "cursorForNextPayload": len(hook.payloads) + 1,
            "expirationTime": stamp(hook.expires),
            "lastSuccessfulNotificationTime": None,
            "lastNotificationResult": None,
            "notificationUrl": hook.url,
            "specification": hook.specification,
        }

    def _payloads(self, hook: _Hook) -> Response:
        cursor = max(1, _whole(request.args.get("cursor"), 1) or 1)
        limit = min(PAYLOADS_OF_A_PAGE, _whole(request.args.get("limit"), PAYLOADS_OF_A_PAGE) or 1)
        if self.clock() < hook.expires:
            hook.expires = self.clock() + HOOK_LIFE
        page = hook.payloads[cursor - 1 : cursor - 1 + limit]
        more = cursor - 1 + len(page) < len(hook.payloads)
        return jsonify({"payloads": page, "cursor": cursor + len(page), "mightHaveMore": more})

    def _tell_hooks(
        self, base: Base, table: Table, source: str, record: Record, cells: Mapping[str, Any], what: str
    ) -> None:
        self._transactions += 1
        values = {"cellValuesByFieldId": {id: _cell_of_hook(base, table, id, cells[id]) for id in cells}}
        changes: dict[str, dict[str, Any]] = {
            "created": {"createdRecordsById": {record.id: {"createdTime": stamp(record.created), **values}}},
            "changed": {"changedRecordsById": {record.id: {"current": values}}},
            "destroyed": {"destroyedRecordIds": [record.id]},
        }
        payload = {
            "timestamp": stamp(self.clock()),
            "baseTransactionNumber": self._transactions,
            "payloadFormat": "v0",
            "actionMetadata": {"source": source, "sourceMetadata": {"user": self.users["usrSimulated00001"]}},
            "changedTablesById": {table.id: changes[what]},
        }
        for hook in self._hooks.values():
            if hook.base == base.id and self.clock() < hook.expires:
                hook.payloads.append(payload)

    def ping(self, hook_id: str) -> tuple[bytes, dict[str, str]]:
        """Body and headers of the notification that a webhook's URL gets."""
        hook = self._hooks[hook_id]
        body = json.dumps(
            {"base": {"id": hook.base}, "webhook": {"id": hook.id}, "timestamp": stamp(self.clock())}
        ).encode()
        digest = hmac.new(hook.secret, body, hashlib.sha256).hexdigest()
        return body, {"X-Airtable-Content-MAC": f"hmac-sha256={digest}"}

    # -- sign-in --

    def _authorize(self) -> Any:
        given = request.values
        client = self.clients.get(given.get("client_id", ""))
        uri = given.get("redirect_uri", "")
        if client is None or not uri or (client.redirect_uris and uri not in client.redirect_uris):
            return Response("Unknown client_id or redirect_uri.", 400, mimetype="text/plain")

        def back(**answer: str) -> Any:
            return redirect(
                f"{uri}{'&' if '?' in uri else '?'}{urlencode({**answer, 'state': given.get('state', '')})}"
            )

        scopes = given.get("scope", "").split()
        if given.get("response_type") != "code":
            return back(error="unsupported_response_type", error_description="Only code is supported")
        if not 16 <= len(given.get("state", "")) <= 1024 or not given.get("code_challenge"):
            return back(error="invalid_request", error_description="state or code_challenge is missing")
        if given.get("code_challenge_method") != "S256":
            return back(error="invalid_request", error_description="code_challenge_method must be S256")
        if not scopes or len(set(scopes)) < len(scopes) or not set(scopes) <= {*SCOPES, "user.email:read"}:
            return back(error="invalid_scope", error_description="Unknown scope")
        if request.method == "GET":
            kept = "".join(
                f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
                for name, value in given.items()
            )
            return (
                "<!doctype html><title>Airtable, simulated</title><h1>Grant access?</h1>"
                f"<p>{escape(' '.join(scopes))}</p><form method='post'>{kept}"
                "<button name='answer' value='grant'>Grant access</button>"
                " <button name='answer' value='deny'>Cancel</button></form>"
            )
        if given.get("answer") != "grant":
            return back(error="access_denied", error_description="The user denied the request")
        code = self.new_id("cod")
        challenge = given["code_challenge"]
        until = self.clock() + CODE_LIFE
        self._codes[code] = _Code(client.id, uri, challenge, " ".join(scopes), until)
        return back(code=code, code_challenge=challenge, code_challenge_method="S256")

    def _token_endpoint(self) -> Any:
        client = self._client()
        if client is None:
            return {"error": "invalid_client", "error_description": "Invalid client credentials"}, 401
        given = request.form
        match given.get("grant_type"):
            case "authorization_code":
                return self._exchange(client, given)
            case "refresh_token":
                return self._refresh(given)
        return {"error": "unsupported_grant_type"}, 400

    def _client(self) -> Client | None:
        """A client with a secret must use Basic, one without must not."""
        if (given := request.authorization) is not None and given.type == "basic":
            client = self.clients.get(given.username or "")
            right = client is not None and client.secret is not None and client.secret == given.password
            return client if right else None
        client = self.clients.get(request.form.get("client_id", ""))
        return client if client is not None and client.secret is None else None

    def _exchange(self, client: Client, given: Mapping[str, str]) -> Any:
        code = self._codes.pop(given.get("code", ""), None)  # single use, also where it fails
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            code is None
            or code.until < self.clock()
            or code.client != client.id
            or code.redirect_uri != given.get("redirect_uri")
            or not hmac.compare_digest(code.challenge, proof)
        ):
            return {"error": "invalid_grant", "error_description": "The code is not valid"}, 400
        return self.grant(code.scope.split())

    def grant(self, scopes: Sequence[str] = SCOPES) -> dict[str, Any]:
        """A new pair of tokens, as the token endpoint gives it."""
        access, refresh = f"oaa{self.new_id('')}", f"oar{self.new_id('')}"
        expires = self.clock() + timedelta(seconds=ACCESS_SECONDS)
        self.add_token(access, scopes=scopes, expires=expires, refresh=refresh)
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "Bearer ",
            "scope": " ".join(scopes),
            "expires_in": ACCESS_SECONDS,
            "refresh_expires_in": REFRESH_SECONDS,
        }

    def revoke(self) -> None:
        """The user takes the grant back: no token of a sign-in is good any more."""
        self.tokens = {key: token for key, token in self.tokens.items() if not token.refresh}
        self._refreshed.clear()

    def _refresh(self, given: Mapping[str, str]) -> Any:
        refresh = given.get("refresh_token", "")
        dead = self._refreshed.get(refresh)
        if dead is not None and self.clock() - dead < timedelta(seconds=10):
            return {"error": "conflict", "error_description": "This token was just refreshed"}, 409
        old = next((token for token in self.tokens.values() if refresh and token.refresh == refresh), None)
        if old is None:
            return {"error": "invalid_grant", "error_description": "The refresh token is not valid"}, 400
        del self.tokens[old.secret]
        self._refreshed[refresh] = self.clock()
        return self.grant(old.scopes)


_ABSENT: Any = object()
_LINK = {"isReversed": False, "prefersSingleRecordLink": False}
_LISTS: tuple[tuple[str, list[str]], ...] = (("GET", []), ("POST", ["listRecords"]))
_RATE = Refusal(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later")
_UNAUTHENTICATED = Refusal(401, "AUTHENTICATION_REQUIRED", "Authentication required")
_INVALID = Refusal(
    422,
    "INVALID_REQUEST_UNKNOWN",
    "Invalid request: parameter validation failed. Check your request data.",
)


def _bearer(call: WsgiRequest) -> str:
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _scope_of_schema(method: str) -> str:
    return "schema.bases:read" if method == "GET" else "schema.bases:write"


def _body() -> dict[str, Any]:
    try:
        found = json.loads(request.get_data())
    except ValueError:
        raise Refusal(422, "INVALID_REQUEST_BODY", "Could not parse request body") from None
    if not isinstance(found, dict):
        raise Refusal(422, "INVALID_REQUEST_BODY", "Could not parse request body")
    return found


def _flag(name: str) -> bool:
    return request.args.get(name, "").lower() in ("1", "true")


def _whole(given: Any, otherwise: int | None) -> int | None:
    if given is None:
        return otherwise
    try:
        return int(given)
    except (TypeError, ValueError):
        raise _INVALID from None


def _list_parameters() -> dict[str, Any]:
    """The same for both forms of a listing."""
    if request.method == "POST":
        return {
            **_body(),
            **{key: request.args[key] for key in ("timeZone", "userLocale") if key in request.args},
        }
    args = request.args
    found: dict[str, Any] = {
        key: args[key]
        for key in ("pageSize", "maxRecords", "offset", "filterByFormula", "view", "cellFormat")
        if key in args
    }
    for key in ("fields", "recordMetadata"):
        if values := args.getlist(f"{key}[]") or args.getlist(key):
            found[key] = values
    if sorts := list(_sorts(args)):
        found["sort"] = sorts
    if _flag("returnFieldsByFieldId"):
        found["returnFieldsByFieldId"] = True
    return found


def _sorts(args: Mapping[str, str]) -> Iterator[dict[str, str]]:
    number = 0
    while (name := args.get(f"sort[{number}][field]")) is not None:
        yield {"field": name, "direction": args.get(f"sort[{number}][direction]", "asc")}
        number += 1


def _sortable(value: Any) -> tuple[int, Any]:
    if is_empty(value):
        return 0, ""
    return (1, value) if isinstance(value, int | float) else (2, str(value))


def _cell(value: Any) -> str:
    """A cell's text on the page."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else ""
        case list() | dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def _cell_of_hook(base: Base, table: Table, id: str, value: Any) -> Any:
    """The cell format of payloads: choices and links as objects."""
    found = table.find(id)
    if found is None or value is None:
        return None
    choices = {choice["name"]: choice for choice in (found.options or {}).get("choices", [])}
    match found.type:
        case "singleSelect":
            return choices.get(value)
        case "multipleSelects":
            return [choices[item] for item in value]
        case "multipleRecordLinks":
            linked = base.table((found.options or {}).get("linkedTableId", ""))
            records = linked.records if linked else {}
            name = linked.primary.id if linked else ""
            return [
                {"id": item, "name": records[item].cells.get(name, "")} for item in value if item in records
            ]
        case _:
            return value
