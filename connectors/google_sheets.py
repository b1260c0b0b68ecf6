"""Google Sheets: a tab of a spreadsheet is a stream, a row of it a record.

What is not said here of the API: a tab is read by one call that shows values, formulas and formats at one
moment, and written by one call that does all or nothing and shows afterwards what stands there. There is no
"only if unchanged": so a row is looked for by its key just before it is written, and looked at again in the
answer; what hit another row, because somebody sorted the sheet at that very moment, is put back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import groupby
from math import ceil
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from pydantic import Field as Option
from pydantic import SecretStr, field_validator

from connectors.base import (
    Access,
    Amount,
    AnyStreamOptions,
    Can,
    Cursor,
    IdKind,
    Looked,
    Options,
    Outcome,
    Page,
    StreamOptions,
    Write,
    holds,
    is_unkeyed,
)
from connectors.errors import (
    AuthError,
    BadAnswer,
    ConnectorError,
    OptionsError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    StreamBlank,
    StreamGone,
    Unavailable,
)
from connectors.googleauth import ServiceAccount, judge_token, key_of
from connectors.http import WAIT_UNSAID, Answer, Http, HttpConnector, Limits, segment
from connectors.keyed import SYNC_ID, Heading, KeyedEdit, KeyedStreamOptions, rejected
from connectors.quotas import Cost, Quota
from connectors.sheetcells import EMPTY, PATTERNS, Cell, Put, Unfit, body, predicted, put, read_cell
from connectors.signin import GOOGLE, SignIn, local_endpoint
from sync.records import Field, Record, Stream
from sync.values import MISSING, Fields, Value, display

API = "https://sheets.googleapis.com"
A_MINUTE = 60.0
SAMPLE = 100  # rows that tell whether a column is filled by formulas
LOOKS = 3  # at a sheet that changes while it is written
LARGEST_CALL = 1_500_000  # characters in one call; Google recommends 2 MB in all
CELL, ROW = 100, 200  # characters around a value, and around a row's values
TEXT = 20  # characters that a forecast takes for a value

_ABOUT = "properties(title,timeZone)"
_TAB = "properties(sheetId,title,sheetType,gridProperties(rowCount,columnCount,frozenRowCount))"
_GRID = (
    f"{_TAB},merges,protectedRanges(range,warningOnly,requestingUserCanEdit,unprotectedRanges),"
    "data(startRow,startColumn,rowData(values("
    "userEnteredValue,effectiveValue,effectiveFormat(numberFormat(type)))))"
)
_FIELDS = f"{_ABOUT},sheets({_GRID})"


class GoogleSheetsOptions(Options):
    spreadsheet: str = Option(
        title="Spreadsheet", description="Its address, or the id in it: docs.google.com/spreadsheets/d/ID."
    )
    credentials: SecretStr | None = Option(
        default=None,
        title="Service account",
        description="Its JSON key file; share the spreadsheet with its address. Or sign in from the panel.",
    )
    endpoint: str | None = Option(
        default=None,
        title="Simulator",
        description="The address of a simulator on this machine, in place of Google.",
    )

    @field_validator("spreadsheet")
    @classmethod
    def _is_an_id(cls, text: str) -> str:
        found = re.search(r"/spreadsheets/(?:u/\d+/)?d/([A-Za-z0-9_-]+)", text)
        id = found[1] if found else text.strip()
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", id):
            raise ValueError("give the address of the spreadsheet, or the id between '/d/' and the next '/'")
        return id

    @field_validator("credentials")
    @classmethod
    def _is_a_key(cls, text: SecretStr | None) -> SecretStr | None:
        if text is not None:
            key_of(text.get_secret_value())
        return text

    @field_validator("endpoint")
    @classmethod
    def _is_here(cls, endpoint: str | None) -> str | None:
        return None if endpoint is None else local_endpoint(endpoint)


class GoogleSheets(HttpConnector):
    """Tabs of a spreadsheet; the first row is the header, which stays as it is.

    A record's id is the cell of the column that the `key` option names. Without it, Syncline appends a
    column `sync_id` on its first write and fills it; it may be hidden, not cleared. Sorting, inserted rows,
    filters and hidden rows do not matter. Values are written as they are and never read as formulas; a cell
    that a formula fills is read, and never written. Numbers have 15 digits there, and what does not fit is
    set aside; times go in with milliseconds in the spreadsheet's time zone, or as texts where that would
    lose something. A run reads a tab by one call and writes to it by two, one to look and one to write,
    however many records changed; only what exceeds 1.5 million characters goes in several such pairs.
    """

    name: ClassVar[str] = "google_sheets"
    title: ClassVar[str] = "Google Sheets"
    can: ClassVar[Can] = Can.READ | Can.WRITE | Can.DELETE | Can.LOOKUP | Can.CREATE_STREAM
    snapshot: ClassVar[bool] = True  # one answer shows the whole tab
    stable_ids: ClassVar[bool] = False
    blank_is_null: ClassVar[bool] = True
    batch_size: ClassVar[int] = 10_000  # how much goes into a call is counted in characters
    mixes_operations: ClassVar[bool] = True
    sign_in: ClassVar[SignIn | None] = GOOGLE
    Options: ClassVar[type[Options]] = GoogleSheetsOptions
    StreamOptions: ClassVar[type[StreamOptions]] = KeyedStreamOptions

    def __init__(self, options: Any, access: Access) -> None:
        super().__init__(options, access)
        self._fresh: _Tab | None = None  # what `stream` saw, for the read that follows it
        self._looked: _Tab | None = None  # what the last look-up saw

    def id_kind(self, stream: Stream, options: AnyStreamOptions) -> IdKind:
        return "chosen" if options.key is None else "visible"

    def quotas(self, stream: Stream | None = None) -> Sequence[Quota]:
        return (*self._counted("read"), *self._counted("write"))

    def cost(self, stream: Stream, options: AnyStreamOptions, amount: Amount) -> Sequence[Cost]:
        written = amount.created + amount.updated
        size = written * (len(stream.fields) * (TEXT + CELL) + ROW) + amount.deleted * ROW
        writes = ceil(size / LARGEST_CALL)
        reads = 1 + writes + bool(amount.deleted)  # a look before each write, and at all that goes
        return [
            *(Cost(quota, reads) for quota in self._counted("read")),
            *(Cost(quota, writes) for quota in self._counted("write")),
        ]

    # -- looking --

    def check(self) -> str:
        found = self._get(f"{_ABOUT},sheets(properties(title))")
        count = len(found.get("sheets", ()))
        name = display(found.get("properties", {}).get("title"))
        return f"The spreadsheet '{name}' holds {count} {'tab' if count == 1 else 'tabs'}."

    def discover(self) -> list[Stream]:
        found = self._get(f"sheets({_TAB})")
        ids = [sheet["properties"]["sheetId"] for sheet in found["sheets"] if _is_grid(sheet)]
        if not ids:
            return []
        top = {"startRowIndex": 0, "endRowIndex": SAMPLE + 1}
        filters = [{"gridRange": {"sheetId": id, **top}} for id in ids]
        answer = self._ask("POST", ":getByDataFilter", {"dataFilters": filters}, fields=_FIELDS).json
        tabs = {tab.id: tab for tab in _tabs(answer, self.http)}
        return [self._discovered(tabs[id]) for id in ids if id in tabs]

    def stream(self, name: str, options: AnyStreamOptions) -> Stream:
        self._fresh = self._looked = None
        tab = self._tab(name)
        if not any(tab.rows.values()) and _choices(options).header.include:
            raise StreamBlank(
                f"The tab '{name}' is empty, without a header. Give it one, or fill the other side first: its"
                " columns are then written here.",
                stream=name,
            )
        described = self._described(tab, options)
        self._fresh = tab
        return described

    def _discovered(self, tab: _Tab) -> Stream:
        try:
            return self._described(tab, KeyedStreamOptions())
        except OptionsError as error:
            # One tab that cannot be read hides no other.
            return Stream(
                tab.title, (), writable=False, read_only_because=error.message, problems=(error.message,)
            )

    def _described(self, tab: _Tab, options: AnyStreamOptions) -> Stream:
        rows = _Rows(tab, options)
        return Stream(
            tab.title,
            tuple(rows.described()),
            key=(rows.key,),
            writable=not tab.read_only_because,
            read_only_because=tab.read_only_because,
            container=f"google_sheets:{self.options.spreadsheet}/{tab.id}",
            problems=rows.problems,
        )

    # -- reading --

    def read(self, stream: Stream, options: AnyStreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        tab, self._fresh, self._looked = self._fresh, None, None
        if tab is None or tab.title != stream.name:
            tab = self._tab(stream.name)
        rows = _Rows(tab, options)
        found = list(rows.records())
        for start in range(0, max(1, len(found)), self.page_size):
            yield _page(rows, found[start : start + self.page_size], start + self.page_size >= len(found))

    def lookup(self, stream: Stream, options: AnyStreamOptions, ids: Sequence[str]) -> list[Looked]:
        rows = self._rows_again(stream, options)
        places = {id: index for index, id in reversed(list(rows.records()))}
        return [
            Looked(id, "there", rows.record(id, places[id])) if id in places else Looked(id, "gone")
            for id in ids
        ]

    def find(
        self, stream: Stream, options: AnyStreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        rows = self._rows_again(stream, options)
        column = rows.columns.get(field)
        if column is None:
            raise OptionsError(f"'{stream.name}' has no column '{field}'.", stream=stream.name)
        return [
            rows.record(id, index)
            for index, id in rows.records()
            if any(holds(rows.cell(index, column).value, value, True) for value in values)
        ]

    def _rows_again(self, stream: Stream, options: AnyStreamOptions) -> _Rows:
        """The rows as they stand, for look-ups: those that follow one another share one call."""
        self._fresh = None
        if self._looked is None or self._looked.title != stream.name:
            self._looked = self._tab(stream.name)
        return _Rows(self._looked, options)

    def _tab(self, name: str) -> _Tab:
        """A whole tab. Raises StreamGone with the nearest name."""
        try:
            answer = self._ask("GET", "", fields=_FIELDS, ranges=_quoted(name)).json
        except _NoSuchRange:
            answer = {}
        tab = next((tab for tab in _tabs(answer, self.http) if tab.title == name), None)
        if tab is not None:
            return tab
        found = self._get(f"sheets({_TAB})")
        if any(sheet["properties"]["title"] == name for sheet in found["sheets"]):
            raise OptionsError(
                f"The tab '{name}' is a chart or a form, without cells of its own.", stream=name
            )
        titles = [sheet["properties"]["title"] for sheet in found["sheets"]]
        near = get_close_matches(name, titles, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else f" Its tabs are: {', '.join(titles)}."
        raise StreamGone(f"The spreadsheet has no tab '{name}'.{hint}", stream=name)

    # -- making a tab --

    def create_stream(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        if not _choices(options).header.include:
            raise OptionsError(
                f"A tab '{stream.name}' without a header cannot be made. Make it by hand, or set header:"
                " {include: true}.",
                stream=stream.name,
            )
        try:
            tab = self._tab(stream.name)
            if any(tab.rows.values()):
                return self.stream(stream.name, options)
            id, room = tab.id, tab.column_count
        except StreamGone:
            room = max(26, len(stream.fields) + 1)
            size = {"rowCount": 1000, "columnCount": room, "frozenRowCount": 1}
            new = {"properties": {"title": stream.name, "gridProperties": size}}
            answer = self._change([{"addSheet": new}]).json
            id = answer["replies"][0]["addSheet"]["properties"]["sheetId"]
        key = options.key or SYNC_ID
        names = [field.name for field in stream.fields if field.name != key]
        names = [*names, key] if options.key is None else [key, *names]
        cells = [(number, Put({"stringValue": name}), False) for number, name in enumerate(names)]
        more = [_grow(id, "COLUMNS", len(names) - room)] if len(names) > room else []
        self._change([*more, *_updates(id, 0, cells)])
        return self.stream(stream.name, options)

    # -- writing --

    def write(self, stream: Stream, options: AnyStreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        self._fresh = self._looked = None
        outcomes: list[Outcome] = []
        for part in _parts(batch):
            try:
                outcomes += self._write(stream.name, options, part)
            except ConnectorError as problem:
                if not outcomes:
                    raise  # nothing of the batch was done
                is_lost = isinstance(problem, OutcomeUnknown)
                done = {outcome.marker for outcome in outcomes}
                outcomes += [
                    Outcome(
                        write.marker,
                        "unknown" if is_lost and write in part else "rejected",
                        write.id,
                        code=problem.code if is_lost and write in part else "not_done",
                        message=problem.message,
                    )
                    for write in batch
                    if write.marker not in done
                ]
                break
        return outcomes

    def _write(self, name: str, options: AnyStreamOptions, part: Sequence[Write]) -> list[Outcome]:
        is_full = False
        for _ in range(LOOKS):
            tab = self._tab(name)
            if tab.read_only_because:
                return [rejected(write, "read_only", tab.read_only_because) for write in part]
            edit = _Edit(_Rows(tab, options), takes_rows=not is_full)
            outcomes = [edit.carry_out(write) for write in part]
            if not edit.is_changed:
                return outcomes
            try:
                answer = self._change(edit.requests(), shows=edit.ranges())
            except _Shrunk:
                continue  # rows were taken out meanwhile, and nothing of this was done
            except _Full:
                is_full = True
                continue
            after = next(iter(_tabs(answer.json.get("updatedSpreadsheet", {}), self.http)), None)
            if after is None:
                raise OutcomeUnknown("Google did not show what stands in the sheet after the write.")
            return self._confirmed(edit, part, outcomes, after, options)
        raise Unavailable(f"'{name}' is being changed by others. Try again when they are done.", stream=name)

    def _confirmed(
        self,
        edit: _Edit,
        part: Sequence[Write],
        outcomes: Sequence[Outcome],
        after: _Tab,
        options: AnyStreamOptions,
    ) -> list[Outcome]:
        """The outcomes, each with the record as the answer shows it. What hit another row is put back."""
        try:
            shown = _Rows(after, options, names=edit.names_if_lettered)
            if edit.strays(shown):
                return self._put_back(edit, part, outcomes, _Rows(self._tab(after.title), options))
        except OptionsError as problem:
            raise OutcomeUnknown(f"The header was changed at that very moment. {problem.message}") from None
        return [
            Outcome(item.marker, "done", item.id, shown.record(item.id, place))
            if item.status == "done" and item.id and (place := edit.written_at(item.marker)) is not None
            else item
            for item in outcomes
        ]

    def _put_back(
        self, edit: _Edit, part: Sequence[Write], outcomes: Sequence[Outcome], whole: _Rows
    ) -> list[Outcome]:
        """Undo what hit the wrong place; what hit the right one all the same stays."""
        if back := edit.putting_back(whole):
            self._change(back)
        writes = {write.marker: write for write in part}
        places = {id: index for index, id in whole.records()}
        found = []
        for item in outcomes:
            if item.status != "done":
                found.append(item)
                continue
            write, place = writes[item.marker], places.get(item.id or "")
            record = None if place is None or item.id is None else whole.record(item.id, place)
            if write.operation == "delete":
                is_done = record is None
            else:
                is_done = record is not None and all(
                    holds(record.get(name), value, True) for name, value in write.fields.items()
                )
            message = "Not written: the sheet was sorted, or rows or columns moved, at that very moment."
            found.append(
                Outcome(item.marker, "done", item.id, record)
                if is_done
                else Outcome(item.marker, "stale", item.id, message=message)
            )
        return found

    # -- calls --

    def make_http(self) -> Http:
        key = self._key
        return Http(
            self.options.endpoint or API,
            self.access,
            secrets=[key["private_key"]] if key else (),
            judge_answer=self._judge,
            limits=Limits(read=180, overall=240, size=200_000_000),
            transport=self.transport,
        )

    def _get(self, fields: str) -> Any:
        return self._ask("GET", "", fields=fields).json

    def _change(self, requests: Sequence[Any], shows: Sequence[str] = ()) -> Answer:
        """One write of all these requests or of none; its answer shows these ranges as they are then."""
        content: dict[str, Any] = {"requests": requests}
        if shows:
            content |= {"includeSpreadsheetInResponse": True, "responseRanges": shows}
        fields = f"updatedSpreadsheet({_FIELDS})" if shows else "replies(addSheet(properties(sheetId)))"
        return self._ask("POST", ":batchUpdate", content, fields=fields, changes=True)

    def _ask(
        self, method: str, verb: str, content: Any = None, *, changes: bool = False, **parameters: str
    ) -> Answer:
        path = f"/v4/spreadsheets/{segment(self.options.spreadsheet)}{verb}"
        counted = self._counted("write" if changes else "read")

        def once(token: str) -> Answer:
            self.http.hide(token)
            return self.http.ask(
                method,
                path,
                params={**parameters, "prettyPrint": "false"},
                content=None if content is None else body(content),
                headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
                changes=changes,
                quotas=counted,
            )

        token = self._token()
        try:
            return once(token)
        except _TokenRefused:  # then nothing was done
            return once(self._token(refused=token))

    def _token(self, refused: str | None = None) -> str:
        if self._service_account is not None:
            return self._service_account.token(refused=refused)
        if self.access.token is not None:
            return self.access.token(refused=refused)
        raise AuthError(
            "Nobody has signed in to Google for this connection yet. Sign in from the panel, under"
            " Connections; or give it the key file of a service account as `credentials`.",
            code="not_signed_in",
        )

    @cached_property
    def _key(self) -> Mapping[str, Any] | None:
        secret = self.options.credentials
        return None if secret is None else key_of(secret.get_secret_value())

    @cached_property
    def _service_account(self) -> ServiceAccount | None:
        if self._key is None:
            return None
        host = self.options.endpoint or GOOGLE.token[0]
        return ServiceAccount(
            self._key,
            Http(
                host,
                self.access,
                secrets=[self._key["private_key"]],
                judge_answer=judge_token,
                confidential=True,
                transport=self.transport,
            ),
        )

    def _counted(self, what: str) -> Sequence[Quota]:
        """Google counts reads and writes apart, by user and by project."""
        if self._key is not None:
            user, project = str(self._key["client_email"]), str(self._key["project_id"])
        else:
            user, project = self.access.account or "signed in", "sign-in"
        return (
            Quota(f"60 {what}s a minute of a Google user", f"google:{user}:{what}", 60, A_MINUTE),
            Quota(f"300 {what}s a minute of a Google project", f"google:{project}:{what}", 300, A_MINUTE),
        )

    def _judge(self, answer: Answer) -> ConnectorError | None:
        found = answer.json_or_none
        error = found.get("error") if isinstance(found, dict) else None
        if not isinstance(error, dict):
            return None
        said = self.http.clean(str(error.get("message", "")))
        reasons = {
            str(item.get("reason"))
            for item in (*_dicts(error.get("errors")), *_dicts(error.get("details")))
            if item.get("reason")
        }
        match answer.status:
            case 401:
                return _TokenRefused(
                    "Google does not take the sign-in of this connection any more. Sign in again from the"
                    " panel, or enter the key file of the service account again."
                )
            case 429:
                return self._pause(answer, said)
            case 403 if reasons & {"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"}:
                return self._pause(answer, said)
            case 403:
                return AuthError(f"{self._forbidden(reasons)} Google says: {said}", code="forbidden")
            case 404:
                return StreamGone(
                    f"There is no spreadsheet '{self.options.spreadsheet}', or it is not shared with"
                    f" {self._who}. Check its address, and whom it is shared with.",
                    code="spreadsheet_gone",
                )
            case 400:
                return self._refused(said, str(error.get("status", "")))
            case 503 if answer.changes:
                return OutcomeUnknown(f"Google Sheets did not say what became of the write ({said}).")
        return None

    def _pause(self, answer: Answer, said: str) -> ConnectorError:
        wait = answer.retry_after
        return RateLimited(
            f"Google Sheets asks for a pause: {said}", retry_after=WAIT_UNSAID if wait is None else wait
        )

    def _refused(self, said: str, status: str) -> ConnectorError | None:
        if said.startswith("Unable to parse range"):
            return _NoSuchRange(f"Google Sheets says: {said}")
        if "exceeds grid limits" in said or "is outside the grid" in said or "No grid with id" in said:
            return _Shrunk(f"Google Sheets says: {said}")
        if "increase the number of cells" in said:
            return _Full(f"Google Sheets says: {said}")
        if status == "FAILED_PRECONDITION":
            return OptionsError(
                f"This file is not a Google spreadsheet ({said}). Open it in Google Sheets and save"
                " it as one.",
                code="not_a_spreadsheet",
            )
        if "protected" in said:
            return RecordRejected(f"The cells are protected in the sheet ({said}).", code="protected")
        return RecordRejected(f"Google Sheets says: {said}", code="refused")

    def _forbidden(self, reasons: set[str]) -> str:
        if "ACCESS_TOKEN_SCOPE_INSUFFICIENT" in reasons:
            return (
                "The sign-in was given without the right to change spreadsheets. Sign in again and allow it."
            )
        if "SERVICE_DISABLED" in reasons:
            return "The Sheets API is not switched on in the Google project. Switch it on in its console."
        return f"The spreadsheet is not shared with {self._who} as an editor. Share it."

    @property
    def _who(self) -> str:
        if self._key is not None:
            return str(self._key["client_email"])
        return self.access.account or "the user who signed in"

    def close(self) -> None:
        self._fresh = self._looked = None
        super().close()
        account: ServiceAccount | None = self.__dict__.get("_service_account")
        if account is not None:
            account.close()


class _TokenRefused(AuthError):
    """The access token is not taken: nothing was done."""


class _NoSuchRange(StreamGone):
    """There is no such tab."""


class _Shrunk(RecordRejected):
    """Rows or columns are gone that a write was about: nothing was done."""


class _Full(RecordRejected):
    """The spreadsheet takes no more cells: nothing was done."""


# -- a tab as an answer shows it ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tab:
    id: int
    title: str
    zone: ZoneInfo
    zone_name: str
    row_count: int
    column_count: int
    frozen: int
    rows: Mapping[int, Sequence[Cell]]  # by index; only those that were asked for and hold something
    merges: Sequence[Mapping[str, int]]
    read_only_because: str = ""

    @property
    def height(self) -> int:
        """Rows down to the last one that holds something."""
        return max(self.rows, default=-1) + 1

    @property
    def width(self) -> int:
        return max(map(len, self.rows.values()), default=0)

    def cell(self, row: int, column: int) -> Cell:
        cells = self.rows.get(row, ())
        return cells[column] if column < len(cells) else EMPTY


def _tabs(answer: Any, http: Http) -> Iterator[_Tab]:
    """The tabs with cells in an answer about a spreadsheet."""
    try:
        zone_name = str(answer.get("properties", {}).get("timeZone", "Etc/UTC"))
        zone = _zone(zone_name)
        for sheet in answer.get("sheets", ()):
            if _is_grid(sheet):
                yield _tab_of(sheet, zone, zone_name)
    except (KeyError, TypeError, AttributeError):
        raise BadAnswer(f"{http.place} gave no spreadsheet in the form that it documents.") from None


def _tab_of(sheet: Mapping[str, Any], zone: ZoneInfo, zone_name: str) -> _Tab:
    about = sheet["properties"]
    grid = about["gridProperties"]
    rows: dict[int, list[Cell]] = {}
    for part in sheet.get("data", ()):
        top, left = part.get("startRow", 0), part.get("startColumn", 0)
        for number, row in enumerate(part.get("rowData", ()), top):
            cells = [read_cell(data, zone) for data in row.get("values", ())]
            while cells and cells[-1] is EMPTY:
                cells.pop()
            if cells:
                known = rows.setdefault(number, [])
                known += [EMPTY] * (left + len(cells) - len(known))
                known[left : left + len(cells)] = cells
    return _Tab(
        about.get("sheetId", 0),
        about["title"],
        zone,
        zone_name,
        grid["rowCount"],
        grid["columnCount"],
        grid.get("frozenRowCount", 0),
        rows,
        sheet.get("merges", ()),
        _read_only_because(about["title"], sheet.get("protectedRanges", ())),
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise OptionsError(
            f"The time zone of the spreadsheet, '{name}', is not known here. Choose another one in its"
            " settings.",
            code="time_zone",
        ) from None


def _is_grid(sheet: Mapping[str, Any]) -> bool:
    about = sheet["properties"]
    return about.get("sheetType", "GRID") == "GRID" and "gridProperties" in about


def _read_only_because(title: str, protected: Sequence[Mapping[str, Any]]) -> str:
    for item in protected:
        bounds = set(item.get("range", {})) - {"sheetId"}
        if not (bounds or item.get("unprotectedRanges") or item.get("warningOnly")) and not item.get(
            "requestingUserCanEdit"
        ):
            return (
                f"The tab '{title}' is protected, and not against its editors alone. Allow this account in."
            )
    return ""


class _Rows(Heading):
    """What the cells of a tab mean under a stream's options. Raises OptionsError for a wrong key."""

    def __init__(self, tab: _Tab, options: AnyStreamOptions, names: Sequence[str] | None = None) -> None:
        self.tab = tab
        self.first = 1 if _choices(options).header.include else 0
        if names is not None:
            names = list(names)
        elif self.first:
            names = [display(cell.value).strip() for cell in tab.rows.get(0, ())]
            while names and not names[-1]:
                names.pop()  # what stands further right belongs to nobody
        else:
            names = [_letters(index) for index in range(tab.width)]
        super().__init__(tab.title, names, options, has_header=bool(self.first))
        self._counted = [index for index, name in enumerate(names) if name and not self.is_ours(index)]
        seed = repr(([names[index] for index in self._counted], tab.zone_name))
        self._seed = hashlib.blake2b(seed.encode(), digest_size=16).digest()

    def described(self) -> list[Field]:
        return [
            Field(item.name, item.type, writable=False, generated=True)
            if self.columns.get(item.name) in self.computed
            else Field(
                item.name, item.type, generated=item.generated, nullable=item.nullable, unique=item.unique,
                max_length=None if item.name == self.key else 50_000,
            )
            for item in self.fields()
        ]  # fmt: skip

    @cached_property
    def computed(self) -> frozenset[int | None]:
        """The columns that formulas fill."""
        return frozenset(index for index in self.columns.values() if self._is_computed(index))

    def _is_computed(self, index: int) -> bool:
        """Whether formulas fill the column: then nobody else does."""
        cells = [self.cell(row, index) for row in range(self.first, self.first + SAMPLE)]
        held = [cell for cell in cells if cell.computed or cell.value is not None]
        return bool(held) and all(cell.computed for cell in held)

    def cell(self, row: int, column: int) -> Cell:
        return self.tab.cell(row, column)

    def cells(self, row: int) -> Sequence[Cell]:
        return self.tab.rows.get(row, ())

    def records(self) -> Iterator[tuple[int, str]]:
        """Index and id of each row that holds something a person typed."""
        for index in sorted(self.tab.rows):
            if index >= self.first and not all(cell.is_blank for cell in self.tab.rows[index]):
                yield index, self.id_at(index)

    def id_at(self, row: int) -> str:
        own = display(self.cell(row, self.key_index).value) if self.key_index is not None else ""
        return self.id(row, own)

    @property
    def end(self) -> int:
        """The row after the last record."""
        return max((index for index, _ in self.records()), default=self.first - 1) + 1

    def version_of(self, cells: Sequence[Cell]) -> str:
        """A hash of what the record holds, and under which headers. Our own id column does not count,
        so that filling it moves nothing."""
        marks = [(cells[index] if index < len(cells) else EMPTY).mark for index in self._counted]
        return hashlib.blake2b(repr(marks).encode(), digest_size=12, key=self._seed).hexdigest()

    def record_of(self, id: str, cells: Sequence[Cell]) -> Record:
        fields = {
            name: cells[index].value if index < len(cells) else None for name, index in self.columns.items()
        }
        known = {name: value for name, value in fields.items() if value is not MISSING}
        if self.is_chosen and (is_unkeyed(id) or not id):
            known.pop(self.key, None)
        return Record(id, known, self.version_of(cells))

    def record(self, id: str, row: int) -> Record:
        return self.record_of(id, self.cells(row))


def _page(rows: _Rows, found: Sequence[tuple[int, str]], is_last: bool) -> Page:
    return Page(
        ids=[id for _, id in found],
        versions=[rows.version_of(rows.cells(index)) for index, _ in found],
        record=lambda number: rows.record(found[number][1], found[number][0]),
        is_last=is_last,
    )


# -- writes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Aim:
    """One cell that was written: what it was meant to be."""

    index: int  # of its row before
    id: str
    name: str
    what: Put


class _Edit(KeyedEdit):
    """Writes carried out on the rows in memory, as requests for the sheet.

    Rows keep their indexes until all is said: new ones follow the last record, and deleted ones go last.
    """

    def __init__(self, rows: _Rows, *, takes_rows: bool = True) -> None:
        super().__init__(rows, rows.records())
        self.rows = rows
        self.tab = rows.tab
        self.takes_rows = takes_rows
        self.end = rows.end
        self.added = 0
        self.gone: set[int] = set()
        self.puts: dict[int, dict[int, Put]] = {}
        self.key_put: Put | None = None
        self._now: dict[int, list[Cell]] = {}  # rows as they will be
        self._at: int | None = None  # the row that the write at hand has come to
        self._written: dict[str, int] = {}  # marker -> row

    @property
    def is_changed(self) -> bool:
        return bool(self.puts or self.gone or self.added)

    @property
    def names_if_lettered(self) -> Sequence[str] | None:
        """The columns' names where they are only letters, of which an answer may show but some."""
        return None if self.rows.first else self.rows.names

    def carry_out(self, write: Write) -> Outcome:
        self._at = None
        outcome = super().carry_out(write)
        if self._at is not None:
            self._written[write.marker] = self._at
        return outcome

    # -- for the kit --

    def refusal(self, write: Write) -> Outcome | None:
        if (unknown := self.unknown_column(write)) is not None:
            return unknown
        if write.operation == "create" and not self.takes_rows:
            message = "The spreadsheet holds 10,000,000 cells, and takes no more. Remove rows or tabs of it."
            return rejected(write, "cell_limit", message)
        for name, value in write.fields.items():
            try:
                put(value, self.tab.zone)
            except Unfit as unfit:
                return rejected(write, unfit.code, f"'{name}' {unfit.message}", name)
            column = self.rows.columns.get(name)
            if write.operation == "create" and column in self.rows.computed and value not in (None, ""):
                message = f"Formulas fill the column '{name}', and are left alone."
                return rejected(write, "formula", message, name)
        return None

    def refusal_at(self, write: Write, index: int) -> Outcome | None:
        if write.operation == "delete":
            for merge in self.tab.merges:
                top, bottom = merge.get("startRowIndex", 0), merge.get("endRowIndex", self.tab.row_count)
                if top <= index < bottom and bottom - top > 1:
                    message = (
                        f"Row {index + 1} has cells that are merged with other rows. Unmerge them first."
                    )
                    return rejected(write, "merged", message)
            return None
        for name, value in write.fields.items():
            column = self.rows.columns.get(name)
            cell = EMPTY if column is None else self._cell(index, column)
            if column is None or (not cell.computed and holds(cell.value, value, True)):
                continue
            if cell.computed and not (cell.value is not MISSING and holds(cell.value, value, True)):
                message = f"A formula fills '{name}' in row {index + 1}, and is left alone."
                return rejected(write, "formula", message, name)
            if self._is_covered(index, column):
                message = f"'{name}' in row {index + 1} is covered by merged cells. Unmerge them first."
                return rejected(write, "merged", message, name)
        return None

    def _is_covered(self, row: int, column: int) -> bool:
        """Whether the cell is part of a merge, and not its upper left one: what it holds nobody sees."""
        for merge in self.tab.merges:
            top, left = merge.get("startRowIndex", 0), merge.get("startColumnIndex", 0)
            bottom = merge.get("endRowIndex", self.tab.row_count)
            right = merge.get("endColumnIndex", self.tab.column_count)
            if top <= row < bottom and left <= column < right and (row, column) != (top, left):
                return True
        return False

    def record(self, id: str, index: int) -> Record:
        return self.rows.record_of(id, self._now.get(index) or self.rows.cells(index))

    def append(self, id: str, fields: Fields) -> int:
        index = self.end + self.added
        self.added += 1
        # A row that is put in below another one takes over its formats.
        above = self.rows.cells(self.end - 1) if self.end > self.rows.first else ()
        self._now[index] = [Cell(format=cell.format) for cell in above]
        self.set(index, {**fields, self.rows.key: id})
        return index

    def set(self, index: int, fields: Fields) -> None:
        self._at = index
        for name, value in fields.items():
            column = self._key_column() if name == self.rows.key else self.rows.columns[name]
            cell = self._cell(index, column)
            if cell.computed or holds(cell.value, value, True):
                continue
            what = put(value, self.tab.zone)
            self.puts.setdefault(index, {})[column] = what
            cells = self._now.setdefault(index, list(self.rows.cells(index)))
            cells += [EMPTY] * (column + 1 - len(cells))
            cells[column] = predicted(what, cell, self.tab.zone)

    def remove(self, index: int) -> None:
        self.gone.add(index)
        self.puts.pop(index, None)

    def _cell(self, index: int, column: int) -> Cell:
        cells = self._now.get(index)
        if cells is None:
            return self.rows.cell(index, column)
        return cells[column] if column < len(cells) else EMPTY

    def _key_column(self) -> int:
        """The key's column; ours is appended when it is first needed, right of everything that is there."""
        if self.rows.key_index is None:
            index = self.tab.width
            self.rows.key_index = self.rows.columns[self.rows.key] = index
            self.key_put = Put({"stringValue": self.rows.key})
        return self.rows.key_index

    # -- for the sheet --

    def requests(self) -> list[Mapping[str, Any]]:
        id, found = self.tab.id, []
        key = self.rows.key_index
        if key is not None and key >= self.tab.column_count:
            found.append(_grow(id, "COLUMNS", key + 1 - self.tab.column_count))
        if self.key_put is not None and key is not None:
            found += _updates(id, 0, [(key, self.key_put, False)])
        if self.added and self.end >= self.tab.row_count:
            found.append(_grow(id, "ROWS", self.added))
        elif self.added:
            range = _dimension(id, self.end, self.end + self.added)
            inherits = self.end > self.rows.first
            found.append({"insertDimension": {"range": range, "inheritFromBefore": inherits}})
        for index in sorted(self.puts):
            found += _updates(id, index, self._cells_to_send(index))
        free = self.tab.row_count + self.added - self.tab.frozen - len(self.gone)
        if self.gone and free < 1:
            found.append(_grow(id, "ROWS", 1))  # a sheet keeps one row at least
        for start, end in reversed(list(_runs(sorted(self.gone)))):
            found.append({"deleteDimension": {"range": _dimension(id, start, end)}})
        return found

    def _cells_to_send(self, index: int) -> list[tuple[int, Put, bool]]:
        """Column, what is put there, and whether its number format goes with it."""
        is_new = index >= self.end
        there = self.end - 1 if is_new else index  # a new row takes over the formats of the one above
        found = []
        for column, what in sorted(self.puts[index].items()):
            current = self.rows.cell(there, column).format if there >= self.rows.first else ""
            found.append((column, what, what.changes_format(current) or (is_new and bool(what.format))))
        return found

    def written_at(self, marker: str) -> int | None:
        """Where the row that a write has come to stands once all of this is done."""
        index = self._written.get(marker)
        return None if index is None else self._after(index)

    def _after(self, index: int) -> int:
        return index - sum(1 for gone in self.gone if gone < index)

    def ranges(self) -> list[str]:
        """What the answer must show: the header, the keys, and every row that was written."""
        quoted = _quoted(self.tab.title)
        touched = sorted(self._after(index) for index in self.puts)
        found = [f"{quoted}!{start + 1}:{end}" for start, end in _runs(touched)]
        if self.rows.first:
            found.insert(0, f"{quoted}!1:1")
        if self.rows.key_index is not None:
            column = _letters(self.rows.key_index)
            found.append(f"{quoted}!{column}:{column}")
        return found

    def _aims(self) -> Iterator[tuple[int, int, _Aim]]:
        """Each written cell at its place afterwards, with what it was meant to be."""
        ids = {index: id for id, places in self._places.items() for index in places}
        names = {column: name for name, column in self.rows.columns.items()}
        for index, puts in self.puts.items():
            for column, what in puts.items():
                yield self._after(index), column, _Aim(index, ids[index], names[column], what)

    def strays(self, after: _Rows) -> bool:
        """Whether something went to another place than it was meant for, since rows or columns moved."""
        if after.key_index != self.rows.key_index:
            return True
        if any(after.columns.get(name) != column for name, column in self.rows.columns.items()):
            return True
        if any(after.id_at(row) != aim.id for row, _, aim in self._aims()):
            return True
        # A row that was to go and is still there: then another one went.
        there = {after.id_at(row) for row in after.tab.rows}
        return bool(there & {self.rows.id_at(index) for index in self.gone})

    def putting_back(self, after: _Rows) -> list[Mapping[str, Any]]:
        """What undoes our writes in the places that they were not meant for. `after` is the whole sheet."""
        found: list[Mapping[str, Any]] = []
        names, key = list(after.names), self.rows.key_index
        lost_names = [name for name in self.rows.names if name and name not in names]
        if self.key_put is not None and key is not None and lost_names and names[key] == self.rows.key:
            names[key] = lost_names[0]  # our header went over another one
            found += _updates(self.tab.id, 0, [(key, Put({"stringValue": names[key]}), False)])
        before = {id: index for index, id in self.rows.records()}
        for row, column, aim in self._aims():
            id = after.id_at(row)
            name = names[column] if column < len(names) else ""
            stands = after.cell(row, column)
            hit = predicted(aim.what, EMPTY, self.tab.zone).value
            if (id, name) == (aim.id, aim.name) or stands.computed or not holds(stands.value, hit, True):
                continue
            place = aim.index if id == aim.id and aim.index < self.end else before.get(id)
            # A name that is new was given to a column that stood there; one without a name is itself new.
            there = self.rows.columns.get(name, column if name else None)
            was = EMPTY if place is None or there is None else self.rows.cell(place, there)
            found += _updates(self.tab.id, row, [(column, _as_it_was(was), was.format != stands.format)])
        lost = self._lost(after)
        if lost:
            end = after.end
            if end >= after.tab.row_count:
                found.append(_grow(self.tab.id, "ROWS", len(lost)))
            else:
                range = _dimension(self.tab.id, end, end + len(lost))
                found.append({"insertDimension": {"range": range, "inheritFromBefore": end > after.first}})
        for row, index in enumerate(lost, after.end):
            cells = [
                (column, _as_it_was(cell), True)
                for column, cell in enumerate(self.rows.cells(index))
                if cell.entered is not None
            ]
            found += _updates(self.tab.id, row, cells)
        return found

    def _lost(self, after: _Rows) -> list[int]:
        """Rows that went in the place of others that were to be deleted."""
        there: dict[str | None, int] = {}
        for index, id in after.records():
            key = after.record("", index).version if is_unkeyed(id) else id
            there[key] = there.get(key, 0) + 1
        missed = sum(1 for index in self.gone if self.rows.id_at(index) in there)
        lost = []
        for index, id in self.rows.records() if missed else ():
            key = self.rows.record("", index).version if is_unkeyed(id) else id
            if index not in self.gone and index not in self.puts and there.get(key, 0) < 1:
                lost.append(index)
            there[key] = there.get(key, 0) - 1
        if len(lost) <= missed:
            return lost
        # Somebody deleted rows as well: ours stood between the rows that now meet where we took one out.
        before = {id: index for index, id in self.rows.records()}
        gaps = [
            (before.get(after.id_at(place - 1), -1), before.get(after.id_at(place), self.end))
            for place in map(self._after, self.gone)
        ]
        ours = [index for index in lost if any(start < index < end for start, end in gaps)]
        return ours if len(ours) == missed else lost


def _as_it_was(cell: Cell) -> Put:
    return Put(cell.entered, cell.format if cell.format in PATTERNS else "")


def _updates(sheet: int, row: int, cells: Sequence[tuple[int, Put, bool]]) -> Iterator[Mapping[str, Any]]:
    """Requests that put values into cells of one row: one for neighbours that are treated alike."""
    ordered = sorted(cells)
    for _, run in groupby(enumerate(ordered), lambda item: (item[1][0] - item[0], item[1][2])):
        part = [item for _, item in run]
        values = []
        for _, what, with_format in part:
            cell: dict[str, Any] = {} if what.entered is None else {"userEnteredValue": what.entered}
            if with_format and what.format:
                cell["userEnteredFormat"] = {"numberFormat": what.number_format}
            values.append(cell)
        fields = "userEnteredValue" + (",userEnteredFormat.numberFormat" if part[0][2] else "")
        start = {"sheetId": sheet, "rowIndex": row, "columnIndex": part[0][0]}
        yield {"updateCells": {"rows": [{"values": values}], "fields": fields, "start": start}}


def _grow(sheet: int, dimension: str, length: int) -> Mapping[str, Any]:
    return {"appendDimension": {"sheetId": sheet, "dimension": dimension, "length": length}}


def _dimension(sheet: int, start: int, end: int) -> Mapping[str, Any]:
    return {"sheetId": sheet, "dimension": "ROWS", "startIndex": start, "endIndex": end}


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Sorted numbers as half-open runs: 1, 2, 3, 7 -> (1, 4), (7, 8)."""
    for _, run in groupby(enumerate(dict.fromkeys(numbers)), lambda item: item[1] - item[0]):
        part = [number for _, number in run]
        yield part[0], part[-1] + 1


def _parts(batch: Sequence[Write]) -> Iterator[list[Write]]:
    """The writes in calls that are not too large. What comes under the id of a row that goes is none of its
    call: afterwards nobody could tell the one from the other."""
    part: list[Write] = []
    size, gone = 0, set[str]()
    for write in batch:
        texts = [display(value) for value in write.fields.values()]
        own = sum(map(len, texts)) + CELL * len(texts) + ROW
        if part and (size + own > LARGEST_CALL or not gone.isdisjoint([write.id or "", *texts])):
            yield part
            part, size, gone = [], 0, set()
        if write.operation == "delete":
            gone.add(write.id or "")
        part.append(write)
        size += own
    if part:
        yield part


def _choices(options: AnyStreamOptions) -> KeyedStreamOptions:
    return options if isinstance(options, KeyedStreamOptions) else KeyedStreamOptions(key=options.key)


def _quoted(title: str) -> str:
    """A tab's title in A1 notation. Quoted, since bare ones may mean cells or named ranges."""
    return "'" + title.replace("'", "''") + "'"


def _letters(index: int) -> str:
    """0 -> A, 26 -> AA."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def _dicts(found: Any) -> list[Mapping[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
