"""Google's Sheets API v4 with the part of Drive that finds files, and Google's sign-in, with their limits."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import unquote, urlencode, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from flask import Response, jsonify, redirect, request
from markupsafe import escape
from werkzeug.wrappers import Request as WsgiRequest

from simulators import google_sheets_masks as masks
from simulators.base import Column, Grid, Simulator
from simulators.google_sheets_cells import MOST_CHARACTERS, Area, Cell, letters, raw, typed, written
from simulators.google_sheets_grid import Book, Refusal, Tab, rendered

SHEETS = "https://www.googleapis.com/auth/spreadsheets"
READ_ONLY = SHEETS + ".readonly"
DRIVE = "https://www.googleapis.com/auth/drive"
PER_USER, PER_PROJECT = 60, 300  # reads, and writes, in a minute
ACCESS_SECONDS = 3599
CODE_LIFE = timedelta(minutes=10)
PERSON = "person@example.org"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # what assertions are made out to, wherever they are sent
_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_WRITES = ("batchUpdate", "update", "append", "clear", "batchClear", "create")


@dataclass
class Token:
    """An access token of a user; `project` is whose quota it counts against."""

    user: str
    scopes: tuple[str, ...]
    project: str
    expires: datetime | None = None


@dataclass
class Grant:
    """What a user has allowed a client: a refresh token."""

    user: str
    client: str
    scopes: tuple[str, ...]


@dataclass
class Client:
    id: str
    secret: str
    redirect_uris: Sequence[str] = ()  # none: any on this machine


@dataclass
class _Code:
    user: str
    client: str
    redirect_uri: str
    challenge: str
    scopes: tuple[str, ...]
    until: datetime


@dataclass
class Account:
    """A service account, and the key that its assertions are checked with."""

    email: str
    project: str
    public_key: rsa.RSAPublicKey


@dataclass
class _Reply:
    """What a request of the API is answered with, before its mask is applied."""

    content: Any
    known: Any = ...
    defaults: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


class GoogleSheets(Simulator):
    name: ClassVar[str] = "google_sheets"
    title: ClassVar[str] = "Google Sheets"
    api: ClassVar[tuple[str, ...]] = ("/v4/", "/drive/", "/token", "/revoke", "/v1/userinfo")

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.books: dict[str, Book] = {}
        self.tokens: dict[str, Token] = {}
        self.grants: dict[str, Grant] = {}  # by refresh token
        self.clients: dict[str, Client] = {}
        self.accounts: dict[str, Account] = {}
        self.has_limits = True
        self.access_seconds = ACCESS_SECONDS
        self.user = PERSON  # who sits at the browser
        self._codes: dict[str, _Code] = {}
        self._counts: dict[tuple[str, str], tuple[datetime, int]] = {}
        self._before: list[tuple[str, Callable[[], object]]] = []
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        for path in ("/v4/<path:_>", "/drive/<path:_>", "/v1/userinfo"):
            self.app.add_url_rule(path, path, self._api, methods=methods)
        self.app.post("/token")(self._token_endpoint)
        self.app.post("/revoke")(self._revoke)
        self.app.route("/o/oauth2/v2/auth", methods=["GET", "POST"])(self._consent)

    # -- setting the scene --

    def new_id(self, length: int = 44) -> str:
        return "".join(_SIGNS[int(self.rand() * len(_SIGNS))] for _ in range(length))

    def new_number(self) -> int:
        return int(self.rand() * 2_000_000_000) + 1

    def add_book(self, title: str, *, zone: str = "Etc/GMT", shared_with: Sequence[str] = ()) -> Book:
        now = self.clock()
        book = Book(self.new_id(), title, now, now, [Tab(0, "Sheet1")], {self.user: "owner"}, zone)
        book.roles.update(dict.fromkeys(shared_with, "writer"))
        self.books[book.id] = book
        return book

    def add_tab(self, book: Book, title: str, rows: Sequence[Sequence[Any]] = ()) -> Tab:
        """A tab with rows as a person types them. The first one takes the place of the empty Sheet1."""
        if len(book.tabs) == 1 and book.tabs[0].title == "Sheet1" and not book.tabs[0].height:
            book.tabs.clear()
        tab = Tab(0 if not book.tabs else self.new_number(), title)
        book.tabs.append(tab)
        for number, row in enumerate(rows):
            tab.put(number, row, self.clock())
        return tab

    def add_token(self, secret: str, user: str = PERSON, scopes: Sequence[str] = (SHEETS, DRIVE)) -> None:
        self.tokens[secret] = Token(user, tuple(scopes), "tests")

    def add_client(self, id: str, secret: str, redirect_uris: Sequence[str] = ()) -> None:
        self.clients[id] = Client(id, secret, redirect_uris)

    def add_account(self, name: str, project: str = "sim-project") -> dict[str, str]:
        """A service account; its key file."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        email = f"{name}@{project}.iam.gserviceaccount.com"
        self.accounts[email] = Account(email, project, key.public_key())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": project,
            "private_key_id": self.new_id(40),
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": str(self.new_number()),
            "token_uri": TOKEN_URL,
        }

    def before(self, call: str, act: Callable[[], object]) -> None:
        """Let a person do something just before the next call whose path ends so."""
        self._before.append((call, act))

    def fill(self) -> None:
        self.add_client("syncline", "simulated-secret")
        book = self.add_book("Sales")
        self.add_tab(
            book,
            "Customers",
            [
                ["Email", "Name", "Balance", "Stage", "Active", "Since", "Notes"],
                ["ada@example.org", "Ada Lovelace", 1204.5, "Won", True, "2024-03-05", "Prefers mail"],
                ["blaise@example.org", "Blaise Pascal", -12, "Lead", False, "2023-11-30", ""],
                ["chen@example.org", "Chen Jingrun", 0, "Lost", True, "", "'0012"],
            ],
        )
        self.key = self.add_account("syncline")
        book.roles[self.key["client_email"]] = "writer"

    def hints(self, url: str) -> list[str]:
        book = next(iter(self.books.values()))
        return [
            f"Connection options: spreadsheet: {book.id}, endpoint: {url}",
            "Sign-in from the panel: GOOGLE_CLIENT_ID=syncline GOOGLE_CLIENT_SECRET=simulated-secret",
        ]

    # -- the pages --

    def grids(self) -> list[Grid]:
        return [self._grid(book, tab) for book in self.books.values() for tab in book.tabs]

    def _grid(self, book: Book, tab: Tab) -> Grid:
        values = tab.values()
        height = min(tab.row_count, max(tab.height, tab.shown_rows))
        width = max(1, min(tab.column_count, tab.width + 1))
        rows = []
        for row in range(height):
            cells = [
                rendered(tab, (row, column), values.get((row, column)), "FORMATTED_VALUE", "")
                for column in range(width)
            ]
            rows.append((str(row + 1), cells))
        columns = [Column(letters(number)) for number in range(width)]
        return Grid(f"{book.id}/{tab.id}", f"{book.title}: {tab.title}", columns, rows)

    def put_cell(self, grid: str, row: str, column: str, text: str) -> None:
        book, tab = self._of_page(grid)
        number, place = self._row(tab, row), [letters(n) for n in range(tab.column_count)].index(column)
        tab.put(number, [text], self.clock(), place)
        book.modified = self.clock()

    def add_row(self, grid: str) -> None:
        _, tab = self._of_page(grid)
        tab.shown_rows = max(tab.height, tab.shown_rows) + 1

    def remove_row(self, grid: str, row: str) -> None:
        book, tab = self._of_page(grid)
        number = self._row(tab, row)
        tab.delete_rows(number, number + 1)
        tab.shown_rows = max(0, tab.shown_rows - 1)
        book.modified = self.clock()

    def _of_page(self, grid: str) -> tuple[Book, Tab]:
        id, _, number = grid.partition("/")
        book = self.books.get(id)
        tab = next((tab for tab in book.tabs if str(tab.id) == number), None) if book else None
        if book is None or tab is None:
            raise ValueError("This tab is not there any more.")
        return book, tab

    def _row(self, tab: Tab, text: str) -> int:
        if not text.isdigit() or not 0 < int(text) <= tab.row_count:
            raise ValueError("This row is not there any more.")
        return int(text) - 1

    # -- refusals --

    def refuse(self, kind: str, call: WsgiRequest) -> tuple[Any, int]:
        if call.path in ("/token", "/revoke"):
            status = 429 if kind.startswith("too_many") else 500 if "error" in kind else 503
            return {"error": "temporarily_unavailable"}, status
        match kind:
            case "too_many" | "too_many_hint":
                return self._over("read", "User", "user", "sim-project"), 429
            case "expired":
                return _UNAUTHENTICATED, 401
            case "unavailable":
                return _error(503, "The service is currently unavailable.", "UNAVAILABLE"), 503
        return _error(500, "Internal error encountered.", "INTERNAL"), 500

    def _over(self, what: str, whose: str, words: str, project: str) -> Any:
        title = f"{what.title()} requests"
        metric = f"sheets.googleapis.com/{what}_requests"
        limit = f"{what.title()}RequestsPerMinutePer{whose}"
        per = f"{title} per minute" + (" per user" if whose == "User" else "")
        return _error(
            429,
            f"Quota exceeded for quota metric '{title}' and limit '{per}' of service 'sheets.googleapis.com'"
            f" for consumer 'project_number:{project}'.",
            "RESOURCE_EXHAUSTED",
            details=[
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "RATE_LIMIT_EXCEEDED",
                    "domain": "googleapis.com",
                    "metadata": {
                        "quota_location": "global",
                        "quota_metric": metric,
                        "quota_limit": limit,
                        "quota_limit_value": str(PER_USER if whose == "User" else PER_PROJECT),
                        "consumer": f"projects/{project}",
                        "service": "sheets.googleapis.com",
                    },
                },
                {
                    "@type": "type.googleapis.com/google.rpc.Help",
                    "links": [
                        {
                            "description": "Request a higher quota limit.",
                            "url": "https://cloud.google.com/docs/quotas/help/request_increase",
                        }
                    ],
                },
            ],
        )

    # -- the API --

    def _api(self, _: str = "") -> Any:
        try:
            path, verb = _path_and_verb(request.environ)
            is_write = verb in _WRITES or request.method in ("PUT", "PATCH", "DELETE")
            is_write |= path == "/v4/spreadsheets" and request.method == "POST"
            token = self._who(is_write, verb)
            if path.startswith("/v4/"):
                self._count(token, "write" if is_write else "read")
            for ending, act in [item for item in self._before if f"{path}:{verb}".endswith(item[0])]:
                self._before.remove((ending, act))
                act()
            reply = self._answer_to(path, verb, token)
            mask = request.args.get("fields")
            content = reply.content
            if mask:
                try:
                    content = masks.apply(masks.parse(mask, reply.known), content)
                except ValueError:
                    raise Refusal("Request contains an invalid argument.") from None
            if content is None:
                return Response(status=204)
            answer = jsonify(content)
            answer.headers["Cache-Control"] = "private"
            answer.headers["Vary"] = "Origin, X-Origin, Referer"
            return answer
        except Refusal as refusal:
            content = refusal.more.get("content") or _error(
                refusal.status, refusal.message, refusal.word, **refusal.more
            )
            return jsonify(content), refusal.status

    def _who(self, is_write: bool, verb: str) -> Token:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        token = self.tokens.get(secret.strip())
        is_known = token is not None and scheme.lower() == "bearer"
        if not is_known or token is None or (token.expires is not None and token.expires <= self.clock()):
            raise Refusal("", 401, content=_UNAUTHENTICATED)
        is_userinfo = request.path == "/v1/userinfo"
        wanted = {SHEETS, DRIVE, DRIVE + ".file"}
        if not is_write and "ByDataFilter" not in verb and "eveloperMetadata" not in request.path:
            wanted |= {READ_ONLY, DRIVE + ".readonly"}
        if not is_userinfo and not wanted & set(token.scopes):
            raise Refusal(
                "Request had insufficient authentication scopes.",
                403,
                "PERMISSION_DENIED",
                details=[
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                        "domain": "googleapis.com",
                    }
                ],
            )
        return token

    def _count(self, token: Token, what: str) -> None:
        """One more call in this minute. Raises Refusal."""
        if not self.has_limits:
            return
        now = self.clock()
        for key, limit, whose in (
            (f"{token.project}/{token.user}", PER_USER, "User"),
            (token.project, PER_PROJECT, "Project"),
        ):
            since, count = self._counts.get((key, what), (now, 0))
            if now - since >= timedelta(minutes=1):
                since, count = now, 0
            if count >= limit:
                content = self._over(what, whose, key, token.project)
                raise Refusal("", 429, content=content)
            self._counts[key, what] = since, count + 1

    def _book(self, id: str, token: Token, *, writes: bool) -> Book:
        book = self.books.get(id)
        if book is None:
            raise Refusal("Requested entity was not found.", 404, "NOT_FOUND")
        role = book.roles.get(token.user)
        if role is None or (writes and role == "reader"):
            raise Refusal("The caller does not have permission", 403, "PERMISSION_DENIED")
        return book

    def _answer_to(self, path: str, verb: str, token: Token) -> _Reply:
        method = request.method
        parts = path.strip("/").split("/", 4)
        match [method, *parts, verb]:
            case ["GET", "v1", "userinfo", ""]:
                return _Reply({"sub": f"sub-{token.user}", "email": token.user, "email_verified": True})
            case ["POST", "v4", "spreadsheets", ""]:
                return self._create(token)
            case ["GET", "v4", "spreadsheets", id, ""]:
                return self._get(self._book(id, token, writes=False))
            case ["POST", "v4", "spreadsheets", id, "getByDataFilter"]:
                return self._get_by_filter(self._book(id, token, writes=False))
            case ["POST", "v4", "spreadsheets", id, "batchUpdate"]:
                return self._batch(self._book(id, token, writes=True))
            case ["POST", "v4", "spreadsheets", id, "developerMetadata", "search"]:
                found = self._book(id, token, writes=False).search(_json().get("dataFilters", []))
                wrapped = [{"developerMetadata": item} for item in found]
                return _Reply({"matchedDeveloperMetadata": wrapped} if found else {})
            case ["GET", "v4", "spreadsheets", id, "developerMetadata", number, ""]:
                book = self._book(id, token, writes=False)
                if int(number) not in book.metadata:
                    raise Refusal("Requested entity was not found.", 404, "NOT_FOUND")
                return _Reply(book.located(int(number)))
            case [_, "v4", "spreadsheets", id, "values", *rest]:
                writes = verb in _WRITES or method == "PUT"
                book = self._book(id, token, writes=writes)
                return self._values(book, unquote(rest[0]) if len(rest) > 1 else "", verb)
            case [_, "drive", "v3", "files", *rest]:
                return self._drive(rest[0] if len(rest) > 1 else "", token)
        raise Refusal("Requested entity was not found.", 404, "NOT_FOUND")

    def _create(self, token: Token) -> _Reply:
        content = _json()
        book = self.add_book(content.get("properties", {}).get("title", "Untitled spreadsheet"))
        book.roles = {token.user: "owner"}
        for number, sheet in enumerate(content.get("sheets", ())):
            if not number:
                book.tabs.clear()
            self.add_tab(book, sheet.get("properties", {}).get("title", f"Sheet{number + 1}"))
        return _Reply(book.as_json(None, False), masks.SPREADSHEET)

    def _get(self, book: Book) -> _Reply:
        areas: dict[int, list[Area]] | None = None
        for text in request.args.getlist("ranges"):
            tab, wanted = book.find(text)
            _must_fit(tab, wanted, text)
            areas = areas or {}
            areas.setdefault(tab.id, []).append(wanted)
        mask = request.args.get("fields")
        with_cells = "data" in mask if mask else _flag("includeGridData")
        return _Reply(book.as_json(areas, with_cells), masks.SPREADSHEET)

    def _get_by_filter(self, book: Book) -> _Reply:
        content = _json()
        areas: dict[int, list[Area]] = {}
        for item in content.get("dataFilters", ()):
            for tab, wanted in self._filtered(book, item):
                areas.setdefault(tab.id, []).append(wanted)
        if not areas:
            raise Refusal("Must specify at least one data filter.")
        mask = request.args.get("fields")
        return _Reply(
            book.as_json(areas, "data" in mask if mask else bool(content.get("includeGridData"))),
            masks.SPREADSHEET,
        )

    def _filtered(self, book: Book, item: Mapping[str, Any]) -> list[tuple[Tab, Area]]:
        if len(item) != 1:
            raise Refusal("A data filter takes exactly one of its fields.")
        if "a1Range" in item:
            return [book.find(item["a1Range"])]
        if "gridRange" in item:
            range = item["gridRange"]
            tab = book.by_id(range.get("sheetId", 0), "")
            wanted = Area(
                range.get("startRowIndex", 0),
                range.get("startColumnIndex", 0),
                range.get("endRowIndex"),
                range.get("endColumnIndex"),
            )
            return [(tab, wanted)]
        found = []
        for mark in book.search([item]):
            range = mark["location"]["dimensionRange"]
            tab = book.by_id(range["sheetId"], "")
            found.append((tab, Area(range["startIndex"], 0, range["endIndex"], None)))
        return found

    def _batch(self, book: Book) -> _Reply:
        content = _json()
        requests = content.get("requests", [])
        if not requests:
            raise Refusal("Invalid value at 'requests': Must specify at least one request.")
        replies = book.change(requests, self.new_number)
        book.modified = self.clock()
        for item in requests:
            ((kind, body),) = item.items()
            self.accept(kind, book.id, "", body)
        found: dict[str, Any] = {"spreadsheetId": book.id, "replies": replies}
        if content.get("includeSpreadsheetInResponse"):
            areas: dict[int, list[Area]] | None = None
            for text in content.get("responseRanges", ()):
                tab, wanted = book.find(text)
                areas = areas or {}
                areas.setdefault(tab.id, []).append(wanted)
            mask = request.args.get("fields")
            with_cells = "data" in mask if mask else bool(content.get("responseIncludeGridData"))
            found["updatedSpreadsheet"] = book.as_json(areas, with_cells)
        return _Reply(found, masks.BATCH)

    # -- the values API --

    def _values(self, book: Book, text: str, verb: str) -> _Reply:
        content = _json() if request.method != "GET" else {}
        how = request.args.get("valueRenderOption") or content.get("valueRenderOption") or "FORMATTED_VALUE"
        dates = (
            request.args.get("dateTimeRenderOption") or content.get("dateTimeRenderOption") or "SERIAL_NUMBER"
        )
        by_columns = (
            request.args.get("majorDimension") or content.get("majorDimension") or "ROWS"
        ) == "COLUMNS"
        match request.method, verb:
            case "GET", "":
                return _Reply(self._range_of(book, text, how, dates, by_columns))
            case "GET", "batchGet":
                ranges = request.args.getlist("ranges")
                found = [self._range_of(book, one, how, dates, by_columns) for one in ranges]
                return _Reply({"spreadsheetId": book.id, "valueRanges": found})
            case "POST", "batchGetByDataFilter":
                matched = []
                for item in content.get("dataFilters", ()):
                    for tab, wanted in self._filtered(book, item):
                        value_range = self._shown(tab, wanted, how, dates, by_columns)
                        matched.append({"valueRange": value_range, "dataFilters": [item]})
                return _Reply({"spreadsheetId": book.id, "valueRanges": matched})
            case "PUT", "":
                option = _input_option(request.args.get("valueInputOption"))
                return _Reply(self._put(book, text, content, option))
            case "POST", "batchUpdate":
                option = _input_option(content.get("valueInputOption"))
                done = [self._put(book, item["range"], item, option) for item in content.get("data", ())]
                totals = {
                    f"totalUpdated{name}": sum(item.get(f"updated{name}", 0) for item in done)
                    for name in ("Rows", "Columns", "Cells")
                }
                return _Reply(
                    {"spreadsheetId": book.id, **totals, "totalUpdatedSheets": 1, "responses": done}
                )
            case "POST", "append":
                option = _input_option(request.args.get("valueInputOption"))
                return _Reply(self._append(book, text, content, option))
            case "POST", "clear":
                return _Reply({"spreadsheetId": book.id, "clearedRange": self._clear(book, text)})
            case "POST", "batchClear":
                cleared = [self._clear(book, one) for one in content.get("ranges", ())]
                return _Reply({"spreadsheetId": book.id, "clearedRanges": cleared})
        raise Refusal("Requested entity was not found.", 404, "NOT_FOUND")

    def _range_of(self, book: Book, text: str, how: str, dates: str, by_columns: bool) -> dict[str, Any]:
        tab, wanted = book.find(text)
        _must_fit(tab, wanted, text)
        return self._shown(tab, wanted, how, dates, by_columns)

    def _shown(self, tab: Tab, wanted: Area, how: str, dates: str, by_columns: bool) -> dict[str, Any]:
        values = tab.values()
        bottom, right = _bounds(tab, wanted)
        lines = [
            [
                rendered(tab, (row, column), values.get((row, column)), how, dates)
                for column in range(wanted.left, right)
            ]
            for row in range(wanted.top, bottom)
        ]
        if by_columns:
            lines = [list(line) for line in zip(*lines, strict=True)]
        for line in lines:
            while line and line[-1] == "":
                line.pop()
        while lines and not lines[-1]:
            lines.pop()
        found: dict[str, Any] = {
            "range": written(tab.title, wanted.top, wanted.left, bottom, right),
            "majorDimension": "COLUMNS" if by_columns else "ROWS",
        }
        return found | ({"values": lines} if lines else {})

    def _put(self, book: Book, text: str, content: Mapping[str, Any], option: str) -> dict[str, Any]:
        tab, wanted = book.find(text)
        lines = _lines(content)
        height, width = len(lines), max(map(len, lines), default=0)
        bottom = wanted.top + height if wanted.is_cell or wanted.bottom is None else wanted.bottom
        right = wanted.left + width if wanted.is_cell or wanted.right is None else wanted.right
        if wanted.top + height > tab.row_count or wanted.left + width > tab.column_count:
            place = written(
                tab.title, wanted.top, wanted.left, max(bottom, wanted.top + 1), max(right, wanted.left + 1)
            )
            raise Refusal(
                f"Range ({place}) exceeds grid limits. Max rows: {tab.row_count}, max columns:"
                f" {tab.column_count}"
            )
        shown_range = written(tab.title, wanted.top, wanted.left, bottom, right)
        if wanted.left + width > right:
            raise Refusal(
                f"Requested writing within range [{shown_range}], but tried writing to column"
                f" [{letters(right)}]"
            )
        if wanted.top + height > bottom:
            raise Refusal(
                f"Requested writing within range [{shown_range}], but tried writing to row [{bottom + 1}]"
            )
        self._write(tab, wanted.top, wanted.left, lines, option)
        book.modified = self.clock()
        place = written(
            tab.title,
            wanted.top,
            wanted.left,
            wanted.top + max(1, height),
            wanted.left + max(1, width),
        )
        done: dict[str, Any] = {"spreadsheetId": book.id, "updatedRange": place}
        cells = sum(value is not None for line in lines for value in line)
        if cells:
            done |= {"updatedRows": height, "updatedColumns": width, "updatedCells": cells}
        if _flag("includeValuesInResponse"):
            how = request.args.get("responseValueRenderOption", "FORMATTED_VALUE")
            dates = request.args.get("responseDateTimeRenderOption", "SERIAL_NUMBER")
            area = Area(wanted.top, wanted.left, wanted.top + height, wanted.left + width)
            done["updatedData"] = self._shown(tab, area, how, dates, False)
        return done

    def _write(self, tab: Tab, top: int, left: int, lines: Sequence[Sequence[Any]], option: str) -> None:
        for row, line in enumerate(lines, top):
            for column, value in enumerate(line, left):
                if value is None:
                    continue
                if isinstance(value, str) and len(value) > MOST_CHARACTERS:
                    raise Refusal(
                        f"Your input contains more than the maximum of {MOST_CHARACTERS} characters in a"
                        " single cell."
                    )
                there = tab.cell(row, column)
                what = (
                    typed(value, self.clock())
                    if option == "USER_ENTERED" and isinstance(value, str)
                    else raw(value)
                )
                there.value, there.formula = what.value, what.formula
                there.format = what.format or there.format
        self.accept("values", tab.title, f"{top + 1}")

    def _append(self, book: Book, text: str, content: Mapping[str, Any], option: str) -> dict[str, Any]:
        tab, wanted = book.find(text)
        lines = _lines(content)
        table = _table(tab, wanted)
        top, left = (table[2], table[1]) if table else (wanted.top, wanted.left)
        if request.args.get("insertDataOption") == "INSERT_ROWS":
            tab.insert_rows(top, len(lines))
        for _ in range(top + len(lines) - tab.row_count):
            tab.rows.append({})
            tab.marks.append([])
        start = f"'{tab.title.replace(chr(39), chr(39) * 2)}'!{letters(left)}{top + 1}"
        found: dict[str, Any] = {"spreadsheetId": book.id}
        if table:
            found["tableRange"] = written(tab.title, table[0], table[1], table[2], table[3])
        return found | {"updates": self._put(book, start, content, option)}

    def _clear(self, book: Book, text: str) -> str:
        tab, wanted = book.find(text)
        bottom, right = _bounds(tab, wanted)
        for row in range(wanted.top, bottom):
            for column in range(wanted.left, right):
                if column in tab.rows[row]:
                    tab.rows[row][column] = Cell(format=tab.rows[row][column].format)
        book.modified = self.clock()
        return written(tab.title, wanted.top, wanted.left, bottom, right)

    # -- Drive --

    def _drive(self, id: str, token: Token) -> _Reply:
        match request.method, id:
            case "GET", "":
                found = [_file(book) for book in self.books.values() if token.user in book.roles]
                return _Reply({"kind": "drive#fileList", "files": found})
            case "POST", "":
                book = self.add_book(_json().get("name", "Untitled"))
                book.roles = {token.user: "owner"}
                return _Reply(_file(book))
            case "GET", _:
                return _Reply(_file(self._book(id, token, writes=False)))
            case "DELETE", _:
                self._book(id, token, writes=True)
                del self.books[id]
                return _Reply(None)
        raise Refusal("Requested entity was not found.", 404, "NOT_FOUND")

    # -- signing in --

    def _consent(self) -> Any:
        asked = request.values
        client = self.clients.get(asked.get("client_id", ""))
        uri = asked.get("redirect_uri", "")
        if client is None:
            return "The OAuth client was not found. Error 401: invalid_client", 401
        if uri not in client.redirect_uris and (client.redirect_uris or not _is_here(uri)):
            return "Error 400: redirect_uri_mismatch", 400
        scopes = tuple(asked.get("scope", "").split())
        if asked.get("response_type") != "code" or not scopes:
            return "Error 400: invalid_request", 400
        if asked.get("code_challenge") and asked.get("code_challenge_method") != "S256":
            return "Error 400: invalid_request", 400
        if request.method == "GET":
            return _consent_page(asked.to_dict(), self.user, scopes)
        back = {"state": asked.get("state", "")}
        if asked.get("act") != "allow":
            return redirect(f"{uri}?{urlencode(back | {'error': 'access_denied'})}", 302)
        allowed = tuple(scope for scope in scopes if request.form.get(f"scope:{scope}", "on") == "on")
        code = "4/" + self.new_id(30)
        challenge = asked.get("code_challenge", "")
        self._codes[code] = _Code(self.user, client.id, uri, challenge, allowed, self.clock() + CODE_LIFE)
        return redirect(f"{uri}?{urlencode(back | {'code': code, 'scope': ' '.join(allowed)})}", 302)

    def _token_endpoint(self) -> Any:
        form = request.form
        match form.get("grant_type"):
            case "authorization_code":
                return self._by_code(form)
            case "refresh_token":
                return self._by_refresh(form)
            case grant if grant == _JWT:
                return self._by_assertion(form)
        return _denied("unsupported_grant_type", "Invalid grant_type")

    def _client(self, form: Mapping[str, str]) -> Any:
        """A refusal, or None for a client that has proved itself."""
        client = self.clients.get(form.get("client_id", ""))
        if client is None:
            return _denied("invalid_client", "The OAuth client was not found.", 401)
        if form.get("client_secret") != client.secret:
            return _denied("invalid_client", "Unauthorized", 401)
        return None

    def _by_code(self, form: Mapping[str, str]) -> Any:
        if (refused := self._client(form)) is not None:
            return refused
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.client != form["client_id"] or code.until <= self.clock():
            return _denied("invalid_grant", "Bad Request")
        if code.redirect_uri != form.get("redirect_uri"):
            return _denied("redirect_uri_mismatch", "Bad Request")
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if code.challenge and _b64(verifier) != code.challenge:
            return _denied("invalid_grant", "Invalid code verifier.")
        refresh = "1//" + self.new_id(40)
        self.grants[refresh] = Grant(code.user, code.client, code.scopes)
        return self._new_token(code.user, code.scopes, code.client, refresh_token=refresh)

    def _by_refresh(self, form: Mapping[str, str]) -> Any:
        if (refused := self._client(form)) is not None:
            return refused
        grant = self.grants.get(form.get("refresh_token", ""))
        if grant is None or grant.client != form["client_id"]:
            return _denied("invalid_grant", "Token has been expired or revoked.")
        return self._new_token(grant.user, grant.scopes, grant.client)

    def _by_assertion(self, form: Mapping[str, str]) -> Any:
        try:
            head, claims, signature = form.get("assertion", "").split(".")
            said = json.loads(_unb64(claims))
            account = self.accounts.get(said["iss"])
            if json.loads(_unb64(head))["alg"] != "RS256":
                raise ValueError(head)
        except (ValueError, KeyError):
            return _denied("invalid_grant", "Invalid JWT.")
        if account is None:
            return _denied("invalid_grant", "Invalid grant: account not found")
        try:
            account.public_key.verify(
                _unb64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return _denied("invalid_grant", "Invalid JWT Signature.")
        now = self.clock().timestamp()
        if said.get("aud") != TOKEN_URL or not said["iat"] - 300 <= now < said["exp"] <= said["iat"] + 3600:
            return _denied("invalid_grant", "Invalid JWT: Token must be a short-lived token")
        return self._new_token(account.email, tuple(said["scope"].split()), account.project)

    def _new_token(self, user: str, scopes: tuple[str, ...], project: str, **more: str) -> Any:
        secret = "ya29." + self.new_id(60)
        until = self.clock() + timedelta(seconds=self.access_seconds)
        self.tokens[secret] = Token(user, scopes, project, until)
        about = {"access_token": secret, "expires_in": self.access_seconds, "token_type": "Bearer"}
        return jsonify({**about, "scope": " ".join(scopes), **more})

    def _revoke(self) -> Any:
        secret = request.form.get("token", "")
        grant = self.grants.pop(secret, None)
        if grant is None and self.tokens.pop(secret, None) is None:
            return _denied("invalid_token", "Token expired or revoked")
        if grant is not None:
            self.end_grants(grant.user, grant.client)
        return jsonify({})

    def end_grants(self, user: str, client: str | None = None) -> None:
        """The user takes back what was allowed: all tokens die."""
        self.grants = {
            key: item
            for key, item in self.grants.items()
            if item.user != user or client not in (None, item.client)
        }
        self.tokens = {key: item for key, item in self.tokens.items() if item.user != user}

    def expire_tokens(self) -> None:
        """All access tokens run out; refresh tokens stay good."""
        for token in self.tokens.values():
            token.expires = self.clock()


def _error(status: int, message: str, word: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": word, **more}}


_UNAUTHENTICATED = _error(
    401,
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other"
    " valid authentication credential. See"
    " https://developers.google.com/identity/sign-in/web/devconsole-project.",
    "UNAUTHENTICATED",
)


def _denied(error: str, description: str, status: int = 400) -> Any:
    return jsonify({"error": error, "error_description": description}), status


def _path_and_verb(environ: Mapping[str, Any]) -> tuple[str, str]:
    """The path as it was sent, and the verb behind its last colon. An encoded colon makes none."""
    path = urlsplit(str(environ.get("RAW_URI") or environ["PATH_INFO"])).path
    head, slash, rest = path.partition("/values/")
    if slash:
        for verb in ("append", "clear"):
            if rest.endswith(f":{verb}"):
                return head + slash + rest.removesuffix(f":{verb}"), verb
        return path, ""
    path, _, verb = path.partition(":")
    return path, verb


def _json() -> Any:
    if not request.get_data():
        return {}
    found = request.get_json(silent=True, force=True)
    if not isinstance(found, dict):
        raise Refusal("Invalid JSON payload received.")
    return found


def _flag(name: str) -> bool:
    return request.args.get(name, "").lower() in ("true", "1")


def _input_option(text: str | None) -> str:
    if text not in ("RAW", "USER_ENTERED"):
        raise Refusal("'valueInputOption' is required but not specified")
    return text


def _lines(content: Mapping[str, Any]) -> list[list[Any]]:
    lines = content.get("values", [])
    shape_is_right = isinstance(lines, list) and all(isinstance(line, list) for line in lines)
    if not shape_is_right:
        message = "Invalid value at 'data.values' (type.googleapis.com/google.protobuf.ListValue)"
        violation = {"field": "data.values", "description": message}
        raise Refusal(
            message,
            details=[{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}],
        )
    for row, line in enumerate(lines):
        for column, value in enumerate(line):
            if isinstance(value, list | dict):
                kind = "list" if isinstance(value, list) else "struct"
                raise Refusal(f"Invalid values[{row}][{column}]: {kind}_value")
    if content.get("majorDimension") == "COLUMNS":
        width = max(map(len, lines), default=0)
        return [[line[n] if n < len(line) else None for line in lines] for n in range(width)]
    return list(lines)


def _bounds(tab: Tab, wanted: Area) -> tuple[int, int]:
    bottom = tab.row_count if wanted.bottom is None else min(wanted.bottom, tab.row_count)
    right = tab.column_count if wanted.right is None else min(wanted.right, tab.column_count)
    return bottom, right


def _must_fit(tab: Tab, wanted: Area, text: str) -> None:
    if wanted.top >= tab.row_count or wanted.left >= tab.column_count:
        raise Refusal(
            f"Range ({text}) exceeds grid limits. Max rows: {tab.row_count}, max columns: {tab.column_count}"
        )


def _table(tab: Tab, wanted: Area) -> tuple[int, int, int, int] | None:
    """The last block of cells that touch each other, among those that meet the range."""
    held = {
        (row, n) for row, cells in enumerate(tab.rows) for n, cell in cells.items() if cell.holds_something
    }
    bottom, right = _bounds(tab, wanted)
    blocks: list[tuple[int, int, int, int]] = []
    while held:
        edge = [held.pop()]
        block = set(edge)
        while edge:
            row, column = edge.pop()
            for down in (-1, 0, 1):
                for over in (-1, 0, 1):
                    spot = (row + down, column + over)
                    if spot in held:
                        held.remove(spot)
                        block.add(spot)
                        edge.append(spot)
        rows, columns = [spot[0] for spot in block], [spot[1] for spot in block]
        blocks.append((min(rows), min(columns), max(rows) + 1, max(columns) + 1))
    meeting = [
        block
        for block in blocks
        if block[0] < bottom and block[1] < right and block[2] > wanted.top and block[3] > wanted.left
    ]
    return max(meeting, key=lambda block: (block[2], block[1]), default=None)


def _file(book: Book) -> dict[str, Any]:
    return {
        "kind": "drive#file",
        "id": book.id,
        "name": book.title,
        "mimeType": "application/vnd.google-apps.spreadsheet",
        "createdTime": _stamp(book.created),
        "modifiedTime": _stamp(book.modified),
    }


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_here(uri: str) -> bool:
    return urlsplit(uri).hostname in ("127.0.0.1", "localhost", "::1")


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _consent_page(asked: Mapping[str, str], user: str, scopes: Sequence[str]) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in asked.items()
    )
    listed = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in scopes)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Google, simulated</title>'
        f"<h1>Google, simulated</h1><p>{escape(asked.get('client_id', ''))} asks {escape(user)} to allow:</p>"
        f'<ul>{listed}</ul><form method="post">{hidden}<button name="act" value="allow">Allow</button>'
        ' <button name="act" value="deny">Deny</button></form></html>'
    )
