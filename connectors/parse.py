"""Parse Server: its classes are streams, its objects records.

What is not said here of the server's habits: a query of a class that is not there answers "no objects", and
so does a wrong key where no client keys are set. So the schema, which takes a right key, is asked first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator
from pydantic import Field as Option

from connectors.base import (
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
    OptionsError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    RetryableError,
    StreamGone,
    Unavailable,
)
from connectors.http import WAIT_UNSAID, Answer, Http, HttpConnector, Limits, segment
from connectors.parsetypes import (
    NAME,
    PARSE_TYPES,
    RESERVED,
    Column,
    Unfit,
    columns_of,
    date_of,
    date_text,
    decode,
    encode,
    type_in,
)
from sync.records import Record, Stream
from sync.values import Value

BATCH = 50  # the most that one call may carry on every server
LOOKUPS = 200  # values in one query
SAMPLE = 100  # objects that tell the fields to who may not read the schema
USERS = "_User"  # the one class of the server's own that is offered
HIDDEN = frozenset({"password", "authData", "sessionToken"})
SYNC_SOURCE, SYNC_TIMESTAMP = "syncSource", "syncTimestamp"


class ParseOptions(Options):
    url: str = Option(title="Server URL", description="With the mount path, like https://host/parse.")
    application_id: str = Option(title="Application id")
    master_key: SecretStr | None = Option(
        default=None, title="Master key", description="Reads and writes everything. Or enter a user."
    )
    rest_api_key: SecretStr | None = Option(
        default=None, title="REST API key", description="Where the server asks for one."
    )
    username: str | None = Option(default=None, title="User name", description="In place of the master key.")
    password: SecretStr | None = Option(default=None, title="Password")

    @field_validator("url")
    @classmethod
    def _is_a_plain_url(cls, url: str) -> str:
        if "?" in url or "#" in url:
            raise ValueError("give the URL without '?' and '#'")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        if self.master_key is None and (self.username is None or self.password is None):
            raise ValueError("give a master_key, or a username and its password")
        if self.master_key is not None and self.username is not None:
            raise ValueError("give a master_key or a username, not both")
        return self


class Rights(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    read: bool = False
    write: bool = False


_ADMINS_ONLY = {"role:Admin": Rights(read=True, write=True)}


class ParseStreamOptions(StreamOptions):
    key: str | None = Option(
        default=None, description="The field that no two objects share: looked up before one is created."
    )
    acl: dict[str, Rights] | None = Option(
        default=None,
        description='Of objects that we create, like `{"*": {read: true}}`. Omitted: the role Admin alone.',
    )
    sync_source: str | None = Option(
        default=None, description="A name that written objects get as `syncSource`, with a `syncTimestamp`."
    )
    cursor: str | None = Option(default=None, description="`updatedAt`, which is what Parse goes by.")
    overlap: timedelta = Option(default=timedelta(0), description="How far before the cursor to read again.")

    @property
    def rights(self) -> dict[str, Rights]:
        """Who may do what with an object that we create."""
        return _ADMINS_ONLY if self.acl is None else self.acl

    @field_validator("cursor")
    @classmethod
    def _is_updated_at(cls, cursor: str | None) -> str | None:
        if cursor not in (None, "updatedAt"):
            raise ValueError("Parse knows what changed by 'updatedAt' alone; name that field")
        return cursor


class Parse(HttpConnector):
    """Classes of a Parse Server. Cursor: the last updatedAt and objectId.

    An incremental read does not report deletes. Objects are written in batches of at most 50; those that we
    create may be read and changed by the role Admin alone, unless `acl` says otherwise. Relations are left
    out, since their members are not part of an object. Numbers are doubles there: what one cannot hold
    exactly is refused. With a user in place of the master key, fields are told from the objects that are
    there, and an object that is not found may be hidden from that user rather than gone.
    """

    name: ClassVar[str] = "parse"
    title: ClassVar[str] = "Parse Server"
    can: ClassVar[Can] = Can.READ | Can.WRITE | Can.DELETE | Can.INCREMENTAL | Can.LOOKUP | Can.CREATE_STREAM
    batch_size: ClassVar[int] = BATCH
    page_size: ClassVar[int] = 500
    Options: ClassVar[type[Options]] = ParseOptions
    StreamOptions: ClassVar[type[StreamOptions]] = ParseStreamOptions

    def __init__(self, options: Any, access: Any) -> None:
        super().__init__(options, access)
        self._columns: dict[str, dict[str, Column]] = {}
        self._session = ""  # of the user, once logged in
        self._takes_batches: bool | None = None
        self._server_date = ""

    @property
    def _is_master(self) -> bool:
        return self.options.master_key is not None

    # -- looking --

    def check(self) -> str:
        if self._is_master:
            version = self._get("/serverInfo").get("parseServerVersion", "")
            return f"Parse Server {version} at {self.http.place} answers and takes the master key."
        user = self._get("/users/me").get("username", "")
        return f"The Parse Server at {self.http.place} answers, logged in as '{user}'."

    def clock(self) -> datetime | None:
        return self._ask("GET", "/health").sent_at

    def discover(self) -> list[Stream]:
        if not self._is_master:
            raise OptionsError(
                "Only the master key may list the classes of a Parse Server. Name the class by hand, or enter"
                " the master key.",
                code="no_list",
            )
        return [self._described(schema) for schema in self._schemas()]

    def stream(self, name: str, options: AnyStreamOptions) -> Stream:
        return self._described(self._schema(name))

    def _schemas(self) -> list[Mapping[str, Any]]:
        found = _list_in(self._get("/schemas"), self.http)
        kept = [item for item in found if not item["className"].startswith("_") or item["className"] == USERS]
        return sorted(kept, key=lambda item: str(item["className"]))

    def _schema(self, name: str) -> Mapping[str, Any]:
        """The schema of a class. Raises StreamGone with the nearest name."""
        if not self._is_master:
            return self._sampled(name)
        try:
            schema: Mapping[str, Any] = self._get(f"/schemas/{segment(name)}")
            return schema
        except _Refused as refused:
            if refused.number != 103:
                raise
        names = [str(item["className"]) for item in self._schemas()]
        near = get_close_matches(name, names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise StreamGone(f"The Parse Server has no class '{name}'.{hint}", stream=name)

    def _sampled(self, name: str) -> Mapping[str, Any]:
        """What the objects themselves tell of their class."""
        fields: dict[str, dict[str, str]] = {
            "objectId": {"type": "String"},
            "createdAt": {"type": "Date"},
            "updatedAt": {"type": "Date"},
            "ACL": {"type": "ACL"},
        }
        for item in self._query(name, {}, limit=SAMPLE, order="-updatedAt"):
            for field_name, value in item.items():
                if field_name not in fields and (kind := type_in(value)):
                    fields[field_name] = kind
        return {"className": name, "fields": fields}

    def _described(self, schema: Mapping[str, Any]) -> Stream:
        name, all_fields = str(schema["className"]), schema["fields"]
        columns = columns_of(all_fields)
        self._columns[name] = columns = {key: item for key, item in columns.items() if key not in HIDDEN}
        relations = sorted(key for key, spec in all_fields.items() if spec.get("type") == "Relation")
        problems = [
            f"'{name}.{key}' is a relation and left out, since its members are not part of an object."
            for key in relations
        ]
        return Stream(
            name,
            tuple(column.field for column in columns.values()),
            key=("objectId",),
            container=f"parse:{self.options.application_id}@{self.http.base.host}"
            f"{self.http.base.path}/{name}",
            problems=tuple(problems),
        )

    def _columns_of(self, name: str) -> dict[str, Column]:
        if name not in self._columns:
            self._described(self._schema(name))
        return self._columns[name]

    # -- reading --

    def read(self, stream: Stream, options: AnyStreamOptions, since: Cursor | None = None) -> Iterator[Page]:
        name = stream.name
        self._described(self._schema(name))  # a class that is gone must not look like an empty one
        if since is not None:
            yield from self._moved_since(name, _choices(options), since)
            return
        cursor = self._newest(name)
        total = self._count(name)
        seen = 0
        for objects, is_last in self._by_id(name):
            seen += len(objects)
            if is_last and seen < total:
                self._schema(name)  # raises StreamGone if it was dropped meanwhile
            yield self._page(name, objects, is_last, total, cursor)

    def _by_id(self, name: str) -> Iterator[tuple[list[Any], bool]]:
        """All objects in pages, each with whether it is the last one. No page is short by mistake: a server
        may cap `limit` silently, so only an empty page ends the read."""
        page = self._query(name, _EVERY, limit=self.page_size, order="objectId")
        while True:
            after = page[-1]["objectId"] if page else None
            following = (
                self._query(name, {"objectId": {"$gt": after}}, limit=self.page_size, order="objectId")
                if page
                else []
            )
            if following and following[-1]["objectId"] == after:
                raise BadAnswer(f"The class '{name}' gave one page twice.", stream=name)
            yield page, not following
            if not following:
                return
            page = following

    def _moved_since(self, name: str, options: ParseStreamOptions, since: Cursor) -> Iterator[Page]:
        moment, id = _position(since)
        if options.overlap:
            moment, id = _earlier(moment, options.overlap), ""
        known: set[tuple[str, str]] = set()
        cursor = since
        while True:
            date = {"__type": "Date", "iso": moment}
            same = {"updatedAt": date, "objectId": {"$gt": id}}
            where = {"$or": [{"updatedAt": {"$gt": date}}, same]} if id else {"updatedAt": {"$gte": date}}
            page = self._query(name, where, limit=self.page_size, order="updatedAt,objectId")
            if page:
                moment, id = page[-1]["updatedAt"], page[-1]["objectId"]
                cursor = max(cursor, _cursor(moment, id), key=_position)
            fresh = [item for item in page if (item["objectId"], item["updatedAt"]) not in known]
            known.update((item["objectId"], item["updatedAt"]) for item in fresh)
            yield self._page(name, fresh, not page, None, cursor)
            if not page:
                return

    def _newest(self, name: str) -> Cursor:
        """The cursor past everything that is there now."""
        newest = self._query(name, _EVERY, limit=1, order="-updatedAt,-objectId", keys="updatedAt")
        return _cursor(newest[0]["updatedAt"], newest[0]["objectId"]) if newest else _cursor(_BEGINNING, "")

    def _count(self, name: str) -> int:
        # With an always-true filter: without one, the count is the database's estimate.
        answer = self._ask_query(name, {"where": _EVERY, "limit": 0, "count": 1})
        count = answer.get("count")
        if not isinstance(count, int):
            raise BadAnswer(f"The class '{name}' gave no count.", stream=name)
        return count

    def _page(self, name: str, objects: list[Any], is_last: bool, total: int | None, cursor: Cursor) -> Page:
        columns = self._columns_of(name)
        versions = [_version(item) for item in objects]
        return Page(
            ids=[item["objectId"] for item in objects],
            versions=versions,
            record=lambda index: self._record(columns, objects[index], versions[index]),
            is_last=is_last,
            total=total,
            cursor=cursor if is_last else None,
        )

    def _record(self, columns: Mapping[str, Column], item: Mapping[str, Any], version: str) -> Record:
        fields: dict[str, Value] = {}
        for name, column in columns.items():
            # An empty field is left out of an object. A user may also be kept from seeing it.
            if name in item or self._is_master:
                fields[name] = decode(column, item.get(name))
        return Record(item["objectId"], fields, version)

    def _query(self, name: str, where: Mapping[str, Any], **more: Any) -> list[Any]:
        return _list_in(self._ask_query(name, {"where": where, **more}), self.http)

    def _ask_query(self, name: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        # As a POST, since URLs are short, and so that no value stands in one.
        body = {"_method": "GET", **parameters}
        try:
            answer = self._ask("POST", f"/classes/{segment(name)}", body).json
        except _Refused as refused:
            if refused.number in (101, 119):
                raise AuthError(
                    f"This connection may not read the class '{name}', or there is none. Check the name and"
                    " the permissions of the class.",
                    stream=name,
                ) from None
            raise OptionsError(refused.message, code=refused.code, stream=name) from None
        return answer if isinstance(answer, dict) else {}

    def _all(self, name: str, field: str, values: Sequence[Any]) -> list[Any]:
        """All objects whose field holds one of these values (as they are sent)."""
        found: list[Any] = []
        for start in range(0, len(values), LOOKUPS):
            chunk = list(values[start : start + LOOKUPS])
            wanted = {field: {"$in": chunk}}
            page = self._query(name, wanted, limit=self.page_size, order="objectId")
            asked = len(found)
            while page:
                found += page
                if field == "objectId" and len(found) - asked == len(chunk):
                    break  # each id names one object
                after = {"objectId": {"$gt": page[-1]["objectId"]}}
                page = self._query(name, {"$and": [wanted, after]}, limit=self.page_size, order="objectId")
        return found

    def _records(self, name: str, ids: Sequence[str]) -> dict[str, Record]:
        columns = self._columns_of(name)
        objects = self._all(name, "objectId", [id for id in dict.fromkeys(ids) if id and "\0" not in id])
        return {item["objectId"]: self._record(columns, item, _version(item)) for item in objects}

    # -- looking up --

    def lookup(self, stream: Stream, options: AnyStreamOptions, ids: Sequence[str]) -> list[Looked]:
        found = self._records(stream.name, ids)
        if len(found) < len(set(ids)) and self._is_master:
            self._schema(stream.name)  # raises StreamGone: then nothing is known of the ids
        hidden = "" if self._is_master else "it is gone, or hidden from the user of this connection"
        return [
            Looked(id, "there", found[id])
            if id in found
            else Looked(id, "unknown" if hidden else "gone", reason=hidden)
            for id in ids
        ]

    def find(
        self, stream: Stream, options: AnyStreamOptions, field: str, values: Sequence[Value]
    ) -> list[Record]:
        columns = self._columns_of(stream.name)
        if field not in columns:
            raise OptionsError(f"The class '{stream.name}' has no field '{field}'.", stream=stream.name)
        wanted = [sent for value in values if (sent := _sent(columns[field], value)) is not None]
        objects = self._all(stream.name, field, wanted)
        return [self._record(columns, item, _version(item)) for item in objects]

    # -- making a class --

    def create_stream(self, stream: Stream, options: AnyStreamOptions) -> Stream:
        try:
            return self.stream(stream.name, options)
        except StreamGone:
            pass
        wanted = [field for field in stream.fields if field.name not in RESERVED]
        for name in (stream.name, *(field.name for field in wanted)):
            if not NAME.fullmatch(name):
                raise OptionsError(
                    f"Parse takes no class or field named '{name}': only letters, digits and '_', a letter"
                    " first. Name the fields of the sync one by one, or make the class by hand.",
                    code="name",
                    stream=stream.name,
                )
        acl = _choices(options).rights
        readers = {name: True for name, rights in acl.items() if rights.read}
        writers = {name: True for name, rights in acl.items() if rights.write}
        body = {
            "className": stream.name,
            "fields": {field.name: {"type": PARSE_TYPES[field.type]} for field in wanted},
            "classLevelPermissions": {
                **dict.fromkeys(("find", "get", "count"), readers),
                **dict.fromkeys(("create", "update", "delete"), writers),
                "addField": {},
                "protectedFields": {},
            },
        }
        self._ask("POST", f"/schemas/{segment(stream.name)}", body, changes=True)
        return self.stream(stream.name, options)

    # -- writing --

    def write(self, stream: Stream, options: AnyStreamOptions, batch: Sequence[Write]) -> list[Outcome]:
        work = _Batch(self, stream, _choices(options))
        return work.carry_out(batch)

    # -- calls --

    def make_http(self) -> Http:
        options = self.options
        headers = {"x-parse-application-id": options.application_id}
        secrets = []
        for name, secret in (
            ("x-parse-master-key", options.master_key),
            ("x-parse-rest-api-key", options.rest_api_key),
        ):
            if secret is not None:
                headers[name] = secret.get_secret_value()
                secrets.append(secret.get_secret_value())
        if options.password is not None:
            secrets.append(options.password.get_secret_value())
        return Http(
            options.url,
            self.access,
            headers=headers,
            secrets=secrets,
            judge_answer=self._judge,
            limits=Limits(size=100_000_000),
            transport=self.transport,
        )

    def _get(self, path: str) -> Any:
        answer = self._ask("GET", path).json
        return answer if isinstance(answer, dict) else {}

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        changes: bool = False,
        marker: str = "",
    ) -> Answer:
        headers = {"x-parse-session-token": self._logged_in()} if not self._is_master else {}
        if marker:
            headers["x-parse-request-id"] = marker
        answer = self.http.ask(method, path, json=body, headers=headers, changes=changes)
        self._server_date = answer.headers.get("date", self._server_date)
        return answer

    def _logged_in(self) -> str:
        """The session token of the user. Raises AuthError."""
        if not self._session:
            body = {"username": self.options.username, "password": self.options.password.get_secret_value()}
            try:
                answer = self.http.ask(
                    "POST", "/login", json=body, headers={"x-parse-revocable-session": "1"}
                ).json
            except _Refused as refused:
                raise AuthError(f"The log-in was refused. {refused.message}") from None
            self._session = str(answer.get("sessionToken", ""))
            self.http.hide(self._session)
        return self._session

    def close(self) -> None:
        if self._session:
            token, self._session = self._session, ""
            with contextlib.suppress(ConnectorError):  # it expires by itself
                self.http.ask("POST", "/logout", json={}, headers={"x-parse-session-token": token})
        super().close()

    def _server_time(self) -> Any:
        """The server's own clock, as of its last answer."""
        if not self._server_date:
            self._ask("GET", "/health")
        return date_of(parsedate_to_datetime(self._server_date))

    def _judge(self, answer: Answer) -> ConnectorError | None:
        """What Parse's own error codes ask for."""
        found = answer.json_or_none
        if not isinstance(found, dict):
            if answer.status == 404:
                return OptionsError(
                    f"{self.http.place} has no Parse Server under this path. Check the URL: it ends with the"
                    " mount path, often /parse.",
                    code="path",
                )
            return None
        number = found.get("code")
        said = self.http.clean(str(found.get("error") or found.get("message") or ""))
        if answer.status in (401, 403) or number == 209:
            return AuthError(
                f"{self.http.place} refuses the credentials ({said or answer.status}). Check the application"
                " id and the keys; a master key counts only from the server's `masterKeyIps`."
            )
        if answer.status == 413:
            return RecordRejected(f"{self.http.place} takes no call of this size ({said}).", code="too_large")
        match number:
            case 100 | 155:
                wait = answer.retry_after
                return RateLimited(
                    f"{self.http.place} asks for a pause ({said}).",
                    retry_after=WAIT_UNSAID if wait is None else wait,
                )
            case 1:
                text = f"{self.http.place} failed ({said})."
                return OutcomeUnknown(text) if answer.changes else Unavailable(text)
            case int() if answer.status < 500:
                return _Refused(number, said)
        return None


class _Refused(RecordRejected):
    """Parse refused a call with one of its own codes."""

    def __init__(self, number: int, said: str) -> None:
        end = "" if said.endswith((".", "!", "?")) else "."
        super().__init__(
            f"Parse Server says: {said or 'no reason'}{end} (code {number}).", code=f"parse_{number}"
        )
        self.number = number
        self.said = said


class _Batch:
    """One batch of writes, carried out."""

    def __init__(self, parse: Parse, stream: Stream, options: ParseStreamOptions) -> None:
        self.parse = parse
        self.name = stream.name
        self.options = options
        self.columns = parse._columns_of(stream.name)
        self.outcomes: dict[str, Outcome] = {}
        self.path = f"/classes/{segment(self.name)}"

    def carry_out(self, batch: Sequence[Write]) -> list[Outcome]:
        bodies = {write.marker: body for write in batch if (body := self._body(write)) is not None}
        waiting = self._unmoved([write for write in batch if write.marker in bodies])
        waiting = self._unknown_keys(waiting)
        for part in _parts(waiting, BATCH if len(waiting) > 1 and self._takes_batches() else 1):
            try:
                self._send(part, bodies)
            except OutcomeUnknown as problem:
                self._leave(part, "unknown", problem.code, problem.message)
            except (AuthError, OptionsError, RetryableError) as problem:
                if not any(write.marker in self.outcomes for write in waiting):
                    raise  # nothing of the batch was done
                self._leave(waiting, "rejected", "not_done", problem.message)
                break
        self._read_back(batch)
        return [self.outcomes[write.marker] for write in batch]

    def _leave(self, writes: Sequence[Write], status: Status, code: str, message: str) -> None:
        for write in writes:
            if write.marker not in self.outcomes:
                self._set(write, status, code, message)

    def _set(self, write: Write, status: Status, code: str = "", message: str = "", **more: Any) -> None:
        self.outcomes[write.marker] = Outcome(
            write.marker, status, more.pop("id", write.id), code=code, message=message, **more
        )

    # -- before anything is sent --

    def _body(self, write: Write) -> dict[str, Any] | None:
        """The object as it is sent; None after an outcome that says why it cannot be."""
        sent: dict[str, Any] = {}
        for name, value in write.fields.items():
            column = self.columns.get(name)
            try:
                if column is None:
                    raise Unfit("unknown_field", f"The class '{self.name}' has no field '{name}'.")
                if not column.field.writable:
                    raise Unfit("read_only", f"'{name}' is filled by the Parse Server.")
                if value is None and name == "ACL":
                    raise Unfit("acl", "An empty ACL would open the object to everyone. Send {} to close it.")
                if value is not None:
                    sent[name] = encode(column, value)
                elif write.operation == "update":
                    sent[name] = {"__op": "Delete"}
            except Unfit as unfit:
                self._set(write, "rejected", unfit.code, unfit.message, field=name)
                return None
        if write.operation == "create" and "ACL" not in sent:
            sent["ACL"] = {name: _rights(rights) for name, rights in self.options.rights.items()}
        if self.options.sync_source is not None and write.operation != "delete":
            sent[SYNC_SOURCE] = self.options.sync_source
            sent[SYNC_TIMESTAMP] = self.parse._server_time()
        return sent

    def _unmoved(self, writes: Sequence[Write]) -> list[Write]:
        """Those whose record still is what the caller has read, and those that nobody asked to check."""
        checked = [write for write in writes if write.operation != "create"]
        there = self.parse._records(self.name, [write.id or "" for write in checked]) if checked else {}
        left = []
        for write in writes:
            record = there.get(write.id or "")
            if write.operation == "create":
                left.append(write)
            elif record is None and write.operation == "delete" and self.parse._is_master:
                self._set(write, "done")
            elif record is None and (write.operation == "update" or self.parse._is_master):
                self._set(write, "missing", message=f"'{self.name}' has no object '{write.id}'.")
            elif record is not None and (why := moved(write, record)):
                self._set(write, "stale", message=f"Not written: {why}.", record=record)
            else:
                left.append(write)
        return left

    def _unknown_keys(self, writes: Sequence[Write]) -> list[Write]:
        """Creates whose key value no object holds yet, and everything else."""
        key = self.options.key
        if key is None:
            return list(writes)
        column = self.columns.get(key)
        if column is None:
            near = get_close_matches(key, self.columns, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise OptionsError(
                f"The class '{self.name}' has no field '{key}' for `key`.{hint}", stream=self.name, field=key
            )
        creates = [write for write in writes if write.operation == "create"]
        values = {write.marker: _sent(column, write.fields.get(key)) for write in creates}
        wanted = [value for value in values.values() if value is not None]
        taken: dict[str, Record | None] = {
            _text(item[key]): self.parse._record(self.columns, item, _version(item))
            for item in self.parse._all(self.name, key, wanted)
        }
        left = []
        for write in writes:
            value = values.get(write.marker)
            if value is None:
                left.append(write)
            elif _text(value) not in taken:
                taken[_text(value)] = None  # by this batch itself
                left.append(write)
            else:
                self._taken(write, taken[_text(value)])
        return left

    def _taken(self, write: Write, record: Record | None) -> None:
        if record is not None and all(holds(record.get(name), value) for name, value in write.fields.items()):
            self._set(write, "done", id=record.id, record=record)  # sent twice
            return
        where = f" in the object '{record.id}'" if record else " in another record of this batch"
        message = f"The value of '{self.options.key}' stands{where} already."
        self._set(write, "rejected", "exists", message, field=self.options.key or "")

    # -- sending --

    def _send(self, part: Sequence[Write], bodies: Mapping[str, Any]) -> None:
        """Send some writes in one call. A refusal of the call as a whole is brought down to the record."""
        try:
            if len(part) > 1:
                self._send_batch(part, bodies)
            else:
                self._send_one(part[0], bodies[part[0].marker])
        except RecordRejected as refused:
            if len(part) == 1:
                self._set(part[0], "rejected", refused.code, refused.message)
                return
            half = len(part) // 2
            self._send(part[:half], bodies)
            self._send(part[half:], bodies)

    def _send_one(self, write: Write, body: Any) -> None:
        method = _METHODS[write.operation]
        sent = None if write.operation == "delete" else body
        try:
            answer = self.parse._ask(method, self._path(write), sent, changes=True, marker=write.marker).json
        except _Refused as refused:
            self._refuse(write, refused.number, refused.said)
        else:
            self._done(write, answer)

    def _send_batch(self, part: Sequence[Write], bodies: Mapping[str, Any]) -> None:
        prefix = self.parse.http.base.path.rstrip("/")
        requests = []
        for write in part:
            request = {"method": _METHODS[write.operation], "path": prefix + self._path(write)}
            requests.append(
                request if write.operation == "delete" else {**request, "body": bodies[write.marker]}
            )
        answers = self.parse._ask("POST", "/batch", {"requests": requests}, changes=True).json
        if not isinstance(answers, list) or len(answers) != len(part):
            raise OutcomeUnknown("The Parse Server did not answer each record of a batch.")
        errors = [item.get("error") for item in answers if isinstance(item, dict)]
        if all(isinstance(error, dict) and error.get("code") == 119 for error in errors):
            raise AuthError(
                f"The Parse Server lets this connection write nothing to the class '{self.name}'. Check its"
                " permissions, or enter the master key."
            )
        for write, answer in zip(part, answers, strict=True):
            match answer:
                case {"success": found}:
                    self._done(write, found)
                case {"error": {"code": number, "error": said}}:
                    self._refuse(write, number, self.parse.http.clean(str(said)))
                case _:
                    self._set(write, "unknown", "unknown_outcome", "The Parse Server gave no clear answer.")

    def _takes_batches(self) -> bool:
        """Whether this server can carry out batches at all; asked once, with a batch that changes nothing.

        Some releases fail on every one of them, and a proxy that moves the mount path leaves them without
        a route. Then records are sent one by one.
        """
        if self.parse._takes_batches is None:
            path = self.parse.http.base.path.rstrip("/") + self.path
            probe = {"requests": [{"method": "GET", "path": path, "body": {"limit": 0}}]}
            try:
                self.parse._ask("POST", "/batch", probe)
                self.parse._takes_batches = True
            except (_Refused, Unavailable):
                self.parse._takes_batches = False
        return self.parse._takes_batches

    def _path(self, write: Write) -> str:
        return self.path if write.operation == "create" else f"{self.path}/{segment(write.id or '')}"

    def _done(self, write: Write, answer: Any) -> None:
        id = answer.get("objectId") if write.operation == "create" and isinstance(answer, dict) else write.id
        self._set(write, "done", id=id)

    def _refuse(self, write: Write, number: Any, said: str) -> None:
        """The outcome for a record that Parse answered with an error code."""
        match number:
            case 101 if write.operation == "delete" and self.parse._is_master:
                self._set(write, "done")
            case 101 if write.operation == "delete":
                message = f"'{write.id}' is gone already, or hidden from the user of this connection."
                self._set(write, "rejected", "hidden", message)
            case 101 if write.operation == "update":
                self._set(write, "missing", message=f"'{self.name}' has no object '{write.id}'.")
            case 159:
                message = "It was sent before, and what became of it is not known."
                self._set(write, "unknown", "unknown_outcome", message)
            case 137:
                message = f"Another object of '{self.name}' holds a value that must be unique ({said})."
                self._set(write, "rejected", "unique", message, field=self.options.key or "")
            case 119:
                message = f"The Parse Server does not let this connection {write.operation} the object."
                self._set(write, "rejected", "forbidden", message)
            case int() if number not in _NOT_SAID:
                refused = _Refused(number, said)
                named = re.search(rf"\b{re.escape(self.name)}\.(\w+)", said)
                field = named[1] if named else ""
                self._set(write, "rejected", refused.code, refused.message, field=field)
            case _:
                message = f"The Parse Server failed on this record ({said or number})."
                self._set(write, "unknown", "unknown_outcome", message)

    def _read_back(self, batch: Sequence[Write]) -> None:
        """Give each write that was done the record as it stands now."""
        written = {
            outcome.id: write
            for write in batch
            if write.operation != "delete"
            and (outcome := self.outcomes[write.marker]).status == "done"
            and outcome.id is not None
            and outcome.record is None
        }
        if not written:
            return
        try:
            found = self.parse._records(self.name, list(written))
        except ConnectorError:
            return  # it is done all the same; the next read tells what is kept
        for id, write in written.items():
            if id in found:
                self._set(write, "done", id=id, record=found[id])


_METHODS = {"create": "POST", "update": "PUT", "delete": "DELETE"}
_EVERY: Mapping[str, Any] = {"objectId": {"$exists": True}}
_BEGINNING = "1970-01-01T00:00:00.000Z"
_NOT_SAID = frozenset({1, 100, 155, 251})  # the store's trouble, not the record's


def _parts(writes: Sequence[Write], size: int) -> Iterator[list[Write]]:
    """The writes in calls of at most `size`, none with one object twice: a batch has no order."""
    part: list[Write] = []
    ids: set[str] = set()
    for write in writes:
        if part and (len(part) == size or (write.id is not None and write.id in ids)):
            yield part
            part, ids = [], set()
        part.append(write)
        if write.id is not None:
            ids.add(write.id)
    if part:
        yield part


def _choices(options: AnyStreamOptions) -> ParseStreamOptions:
    return options if isinstance(options, ParseStreamOptions) else ParseStreamOptions(key=options.key)


def _rights(rights: Rights) -> dict[str, bool]:
    return {name: True for name in ("read", "write") if getattr(rights, name)}


def _sent(column: Column, value: Value) -> Any:
    """A value as a query compares it; None for what no object can hold."""
    try:
        return None if value is None else encode(column, value)
    except Unfit:
        return None


def _text(sent: Any) -> str:
    return json.dumps(sent, sort_keys=True, default=str)


def _version(item: Mapping[str, Any]) -> str:
    """A hash of the object: two writes can share one millisecond of updatedAt."""
    return hashlib.blake2b(_text(item).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _list_in(answer: Mapping[str, Any], http: Http) -> list[Any]:
    found = answer.get("results")
    if not isinstance(found, list):
        raise BadAnswer(f"{http.place} gave no list of results.")
    return found


def _cursor(moment: str, id: str) -> Cursor:
    return f"{moment}|{id}"


def _position(cursor: Cursor) -> tuple[str, str]:
    moment, mark, id = cursor.partition("|")
    if not mark or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment):
        raise OptionsError("This is not a cursor of a Parse class. Run a full sync.", code="cursor")
    return moment, id


def _earlier(moment: str, overlap: timedelta) -> str:
    return date_text(datetime.fromisoformat(moment) - overlap)
