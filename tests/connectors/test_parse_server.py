"""The parse connector over a real Parse Server keeps the contract, and meets its habits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import psycopg
import pytest

from connectors.base import Access, Connector, Outcome, StreamOptions, Write
from connectors.errors import AuthError, OptionsError, StreamGone, Unavailable
from connectors.parse import Parse, ParseStreamOptions
from sync.records import Field, Stream
from sync.values import FieldType, Value
from tasks.redis_server import free_port
from tests.connectors.contract import ANNA, BERT, FIELDS, ConnectorContract, Desk, typed
from tests.connectors.parse_server import APPLICATION, MASTER, READ_ONLY, REST, ParseServer

ACCESS = Access(networks=(ip_network("127.0.0.0/8"),), allow_http=True)
COLUMNS = {
    "name": {"type": "String"},
    "balance": {"type": "Number"},
    "active": {"type": "Boolean"},
    "since": {"type": "Date"},
    "notes": {"type": "String"},
}
ADMINS = {"role:Admin": {"read": True, "write": True}}


def as_json(fields: Mapping[str, Value]) -> dict[str, Any]:
    """What a person's own program would send."""
    sent: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Decimal):
            value = float(value)
        elif isinstance(value, date):
            value = {"__type": "Date", "iso": f"{value.isoformat()}T00:00:00.000Z"}
        sent[name] = value
    return sent


def plain(item: Mapping[str, Any]) -> dict[str, Value]:
    found = dict(item)
    if isinstance(found.get("since"), dict):
        found["since"] = datetime.fromisoformat(found["since"]["iso"])
    return typed({name: found.get(name) for name in COLUMNS})


def connector(server: ParseServer, **options: Any) -> Parse:
    raw = {"url": server.url, "application_id": APPLICATION, "master_key": MASTER, **options}
    raw = {name: value for name, value in raw.items() if value is not None}
    _opened.append(Parse(Parse.parse_options(raw), ACCESS))
    return _opened[-1]


_opened: list[Parse] = []


@pytest.fixture(autouse=True)
def _close_what_was_opened() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


class ParseDesk(Desk):
    stream_name = "Customers"

    def __init__(self, server: ParseServer) -> None:
        self.server = server
        server.remake("Customers", COLUMNS)
        self.connector = self.again()

    def again(self) -> Connector:
        return connector(self.server)

    def put(self, fields: Mapping[str, Value]) -> str:
        return str(self.server.ask("POST", "/classes/Customers", as_json(fields))["objectId"])

    def edit(self, id: str, fields: Mapping[str, Value]) -> None:
        self.server.ask("PUT", f"/classes/Customers/{id}", as_json(fields))

    def remove(self, id: str) -> None:
        self.server.ask("DELETE", f"/classes/Customers/{id}")

    def truth(self) -> dict[str, dict[str, Value]]:
        return {item["objectId"]: plain(item) for item in self.server.objects("Customers")}


@pytest.fixture
def desk(parse_server: ParseServer) -> ParseDesk:
    for name in ("made_by_sync", "no_such_stream"):
        if any(item["className"] == name for item in parse_server.ask("GET", "/schemas")["results"]):
            parse_server.ask("DELETE", f"/purge/{name}")
            parse_server.ask("DELETE", f"/schemas/{name}")
    return ParseDesk(parse_server)


class TestParseServer(ConnectorContract):
    pass


# -- types --------------------------------------------------------------------------------------------

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
PLACE = {"latitude": Decimal("48.1374"), "longitude": Decimal("11.5755")}
EVERY_TYPE: dict[str, tuple[dict[str, Any], FieldType, Value]] = {
    "text": ({"type": "String"}, FieldType.TEXT, "é東🦊"),
    "number": ({"type": "Number"}, FieldType.DECIMAL, Decimal("19.99")),
    "whole": ({"type": "Number"}, FieldType.DECIMAL, Decimal(2**53)),
    "flag": ({"type": "Boolean"}, FieldType.BOOLEAN, False),
    "moment": ({"type": "Date"}, FieldType.DATETIME, MOMENT),
    "old": ({"type": "Date"}, FieldType.DATETIME, datetime(1066, 10, 14, tzinfo=UTC)),
    "object": ({"type": "Object"}, FieldType.JSON, {"a": [1, {"b": None}], "c": Decimal("0.5")}),
    "array": ({"type": "Array"}, FieldType.LIST, ("x", 2, True)),
    "friend": ({"type": "Pointer", "targetClass": "Customers"}, FieldType.LINKS, ("abcdefghij",)),
    "place": ({"type": "GeoPoint"}, FieldType.JSON, PLACE),
    "blob": ({"type": "Bytes"}, FieldType.TEXT, "AAEC"),
    "file": ({"type": "File"}, FieldType.ATTACHMENTS, None),
    "area": ({"type": "Polygon"}, FieldType.JSON, None),
}


@pytest.fixture
def kinds(parse_server: ParseServer) -> Parse:
    columns = {name: column for name, (column, _, _) in EVERY_TYPE.items()}
    parse_server.remake("Kinds", {**columns, "tags": {"type": "Relation", "targetClass": "Customers"}})
    return connector(parse_server)


def write(parse: Parse, name: str, *batch: Write, options: StreamOptions | None = None) -> dict[str, Outcome]:
    options = options or ParseStreamOptions()
    outcomes = parse.write(parse.stream(name, options), options, batch)
    return {outcome.marker: outcome for outcome in outcomes}


def test_every_type_is_described_written_and_read_back(kinds: Parse) -> None:
    stream = kinds.stream("Kinds", StreamOptions())
    assert {name: stream.by_name[name].type for name in EVERY_TYPE} == {
        name: kind for name, (_, kind, _) in EVERY_TYPE.items()
    }
    assert [problem for problem in stream.problems if "tags" in problem]
    fields = {name: value for name, (_, _, value) in EVERY_TYPE.items() if value is not None}
    outcome = write(kinds, "Kinds", Write("m1", "create", None, fields))["m1"]
    assert outcome.status == "done", outcome
    assert outcome.record is not None
    assert {name: outcome.record.get(name) for name in fields} == fields
    assert outcome.record.get("file") is None
    assert outcome.record.get("ACL") == ADMINS


def test_a_file_keeps_its_name_and_can_be_named_again(kinds: Parse, parse_server: ParseServer) -> None:
    name = parse_server.ask("POST", "/files/note.txt", {"base64": "aGVsbG8=", "_ContentType": "text/plain"})[
        "name"
    ]
    id = parse_server.ask("POST", "/classes/Kinds", {"file": {"__type": "File", "name": name}})["objectId"]
    (record,) = kinds.find(kinds.stream("Kinds", StreamOptions()), StreamOptions(), "objectId", [id])
    (file,) = record.get("file")
    assert file["name"] == name
    other = write(kinds, "Kinds", Write("m1", "create", None, {"file": (file,)}))["m1"]
    assert other.status == "done"
    assert other.record is not None
    assert other.record.get("file")[0]["name"] == name


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("number", Decimal("0.12345678901234567890"), "not_exact"),
        ("number", Decimal(2**53 + 1), "not_exact"),
        ("number", "many", "type"),
        ("flag", "perhaps", "type"),
        ("moment", datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "not_exact"),
        ("object", ["a list"], "type"),
        ("object", {"a.b": 1}, "key"),
        ("text", "a\0b", "not_text"),
        ("place", {"latitude": 95, "longitude": 0}, "type"),
        ("friend", ("a", "b"), "links"),
        ("blob", "no base64!", "type"),
        ("file", ({"id": "x", "name": "y"},), "file"),
        ("ACL", None, "acl"),
        ("updatedAt", MOMENT, "read_only"),
        ("objectId", "mine", "read_only"),
        ("nothing", 1, "unknown_field"),
    ],
)
def test_what_parse_cannot_hold_is_refused_and_the_rest_of_the_batch_written(
    kinds: Parse, name: str, value: Value, code: str
) -> None:
    found = write(
        kinds,
        "Kinds",
        Write("bad", "create", None, {name: value}),
        Write("good", "create", None, {"text": "x"}),
    )
    assert (found["bad"].status, found["bad"].code, found["bad"].field) == ("rejected", code, name)
    assert found["good"].status == "done"


# -- reading ------------------------------------------------------------------------------------------


def test_a_class_that_was_dropped_is_not_an_empty_one(parse_server: ParseServer) -> None:
    parse_server.remake("Dropped", COLUMNS)
    parse = connector(parse_server)
    stream = parse.stream("Dropped", StreamOptions())
    parse_server.ask("DELETE", "/schemas/Dropped")
    with pytest.raises(StreamGone):
        list(parse.read(stream, StreamOptions()))
    with pytest.raises(StreamGone):
        parse.lookup(stream, StreamOptions(), ["abcdefghij"])


def test_a_server_that_caps_pages_is_read_whole(
    parse_server: ParseServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse_server.remake("Capped", COLUMNS)
    requests = [
        {"method": "POST", "path": "/parse/classes/Capped", "body": {"name": str(n)}} for n in range(25)
    ]
    parse_server.ask("POST", "/batch", {"requests": requests})
    second = ParseServer(free_port(), parse_server.database, tmp_path, {"maxLimit": 10})
    second.start()
    try:
        parse = connector(second)
        pages = list(parse.read(parse.stream("Capped", StreamOptions()), StreamOptions()))
    finally:
        second.kill()
    assert [len(page.ids) for page in pages] == [10, 10, 5]
    assert pages[-1].total == 25
    assert pages[-1].is_last


def test_records_of_one_millisecond_are_all_read_past_a_cursor(
    parse_server: ParseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse_server.remake("Moments", COLUMNS)
    requests = [
        {"method": "POST", "path": "/parse/classes/Moments", "body": {"name": str(n)}} for n in range(60)
    ]
    parse = connector(parse_server)
    stream = parse.stream("Moments", StreamOptions())
    (page,) = parse.read(stream, StreamOptions())
    parse_server.ask("POST", "/batch", {"requests": requests})
    assert len({item["updatedAt"] for item in parse_server.objects("Moments")}) < 60
    monkeypatch.setattr(Parse, "page_size", 7)
    pages = list(parse.read(stream, StreamOptions(), page.cursor))
    ids = [id for each in pages for id in each.ids]
    assert len(ids) == len(set(ids)) == 60
    assert sum(len(each.ids) for each in parse.read(stream, StreamOptions(), pages[-1].cursor)) == 0
    again = parse.read(stream, ParseStreamOptions(overlap=timedelta(minutes=5)), pages[-1].cursor)
    assert sum(len(each.ids) for each in again) == 60


# -- credentials --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"master_key": "wrong"},
        {"application_id": "wrong"},
        {"master_key": None, "username": "x", "password": "y"},
    ],
)
def test_wrong_credentials_are_told_at_once(parse_server: ParseServer, wrong: dict[str, Any]) -> None:
    parse = connector(parse_server, **{"rest_api_key": REST, **wrong})
    with pytest.raises(AuthError) as caught:
        parse.check()
    assert "wrong" not in caught.value.message


def test_a_wrong_master_key_is_told_also_where_no_client_keys_are_set(
    parse_server: ParseServer, tmp_path: Any
) -> None:
    parse_server.remake("Customers", COLUMNS)
    second = ParseServer(free_port(), parse_server.database, tmp_path, {"restAPIKey": None})
    second.start()
    try:
        parse = connector(second, master_key="wrong")
        with pytest.raises(AuthError):
            list(parse.read(Stream("Customers", ()), StreamOptions()))
    finally:
        second.kill()


def test_a_path_without_a_parse_server_is_told(parse_server: ParseServer) -> None:
    with pytest.raises(OptionsError, match="mount path"):
        connector(parse_server, url=parse_server.url + "x").check()


def test_a_server_that_is_down_is_unavailable(parse_server: ParseServer) -> None:
    with pytest.raises(Unavailable):
        connector(parse_server, url="http://127.0.0.1:9/parse").check()


def test_a_read_only_key_writes_nothing(parse_server: ParseServer) -> None:
    parse_server.remake("Customers", COLUMNS)
    parse = connector(parse_server, master_key=READ_ONLY)
    found = write(parse, "Customers", Write("m1", "create", None, ANNA))
    assert found["m1"].status == "rejected"
    with pytest.raises(AuthError):
        write(parse, "Customers", *(Write(f"m{n}", "create", None, ANNA) for n in range(3)))
    assert parse_server.objects("Customers") == []


@pytest.fixture
def user(parse_server: ParseServer) -> Parse:
    """A connector logged in as somebody who may see what is public or her own."""
    parse_server.remake("Customers", COLUMNS)
    if not parse_server.objects("_User", {"username": "anna"}):
        parse_server.ask("POST", "/users", {"username": "anna", "password": "hunter22"})
    return connector(parse_server, master_key=None, rest_api_key=REST, username="anna", password="hunter22")


def test_a_user_reads_and_writes_what_she_may(user: Parse, parse_server: ParseServer) -> None:
    public = {"*": {"read": True, "write": True}}
    seen = parse_server.ask("POST", "/classes/Customers", {**as_json(ANNA), "ACL": public})["objectId"]
    parse_server.ask("POST", "/classes/Customers", {**as_json(BERT), "ACL": ADMINS})
    assert "anna" in user.check()
    options = ParseStreamOptions.model_validate({"acl": public})
    stream = user.stream("Customers", options)
    assert {field.name for field in stream.fields} >= set(COLUMNS)
    (page,) = user.read(stream, options)
    assert list(page.ids) == [seen]
    found = write(
        user,
        "Customers",
        Write("new", "create", None, BERT),
        Write("edit", "update", seen, {"notes": "hers"}),
        options=options,
    )
    assert [outcome.status for outcome in found.values()] == ["done", "done"]
    assert found["new"].record is not None
    sessions = len(parse_server.objects("_Session"))
    user.close()
    assert len(parse_server.objects("_Session")) == sessions - 1


def test_what_a_user_does_not_find_is_not_gone_for_sure(user: Parse, parse_server: ParseServer) -> None:
    hidden = parse_server.ask("POST", "/classes/Customers", {**as_json(BERT), "ACL": ADMINS})["objectId"]
    (looked,) = user.lookup(user.stream("Customers", StreamOptions()), StreamOptions(), [hidden])
    assert looked.state == "unknown"
    assert write(user, "Customers", Write("m1", "delete", hidden))["m1"].status == "rejected"
    with pytest.raises(OptionsError):
        user.discover()
    assert len(parse_server.objects("Customers")) == 1
    user.close()


# -- writing ------------------------------------------------------------------------------------------


@pytest.fixture
def parse(parse_server: ParseServer) -> Parse:
    parse_server.remake("Customers", COLUMNS)
    return connector(parse_server)


def test_created_objects_belong_to_the_role_admin_unless_said_otherwise(
    parse: Parse, parse_server: ParseServer
) -> None:
    write(parse, "Customers", Write("m1", "create", None, ANNA))
    assert parse_server.objects("Customers")[0]["ACL"] == ADMINS
    options = ParseStreamOptions.model_validate({"acl": {"*": {"read": True}}})
    created = write(parse, "Customers", Write("m2", "create", None, BERT), options=options)["m2"]
    (item,) = parse_server.objects("Customers", {"objectId": created.id})
    assert item["ACL"] == {"*": {"read": True}}
    write(parse, "Customers", Write("m3", "update", created.id, {"notes": "x"}))
    (item,) = parse_server.objects("Customers", {"objectId": created.id})
    assert item["ACL"] == {"*": {"read": True}}


def test_the_origin_and_time_of_a_write_are_stamped_on_request(
    parse: Parse, parse_server: ParseServer
) -> None:
    options = ParseStreamOptions(sync_source="crm")
    created = write(parse, "Customers", Write("m1", "create", None, ANNA), options=options)["m1"]
    (item,) = parse_server.objects("Customers")
    assert created.status == "done"
    assert item["syncSource"] == "crm"
    stamped = datetime.fromisoformat(item["syncTimestamp"]["iso"])
    assert abs(stamped - datetime.fromisoformat(item["createdAt"])) < timedelta(seconds=3)


def test_a_key_that_stands_there_already_is_not_created_again(
    parse: Parse, parse_server: ParseServer
) -> None:
    options = ParseStreamOptions(key="name")
    first = write(parse, "Customers", Write("m1", "create", None, ANNA), options=options)["m1"]
    again = write(
        parse,
        "Customers",
        Write("m2", "create", None, ANNA),
        Write("m3", "create", None, {**BERT, "name": ANNA["name"]}),
        Write("m4", "create", None, BERT),
        Write("m5", "create", None, BERT),
        options=options,
    )
    assert (again["m2"].status, again["m2"].id) == ("done", first.id)
    assert (again["m3"].status, again["m3"].code) == ("rejected", "exists")
    assert again["m4"].status == "done"
    assert (again["m5"].status, again["m5"].code) == ("rejected", "exists")
    assert len(parse_server.objects("Customers")) == 2


def test_more_than_fifty_are_sent_in_several_calls(parse: Parse, parse_server: ParseServer) -> None:
    batch = [Write(f"m{n}", "create", None, {**ANNA, "name": f"P{n}"}) for n in range(120)]
    found = write(parse, "Customers", *batch)
    assert {outcome.status for outcome in found.values()} == {"done"}
    for item in batch:
        record = found[item.marker].record
        assert record is not None
        assert record.get("name") == item.fields["name"]


def test_two_writes_to_one_object_keep_their_order(parse: Parse, parse_server: ParseServer) -> None:
    id = write(parse, "Customers", Write("m0", "create", None, ANNA))["m0"].id
    found = write(
        parse, "Customers", *(Write(f"m{n}", "update", id, {"notes": f"edit {n}"}) for n in range(1, 6))
    )
    assert {outcome.status for outcome in found.values()} == {"done"}
    assert parse_server.objects("Customers")[0]["notes"] == "edit 5"


def test_the_servers_own_refusal_is_the_records_alone(parse: Parse, parse_server: ParseServer) -> None:
    parse_server.remake("Picky", {"name": {"type": "String"}, "must": {"type": "String", "required": True}})
    found = write(
        parse,
        "Picky",
        Write("a", "create", None, {"name": "refused", "must": "x"}),
        Write("b", "create", None, {"name": "fine", "must": "x"}),
        Write("c", "create", None, {"name": "fine"}),
    )
    assert [(found[name].status, found[name].code) for name in "abc"] == [
        ("rejected", "parse_142"),
        ("done", ""),
        ("rejected", "parse_142"),
    ]
    assert "The name is refused." in found["a"].message


def test_a_unique_index_is_told_from_other_refusals(parse: Parse, parse_server: ParseServer) -> None:
    url = parse_server.database.replace("postgres://", "postgresql://")
    with psycopg.connect(url, autocommit=True) as database:
        database.execute('CREATE UNIQUE INDEX customers_name ON "Customers" (name)')
    found = write(parse, "Customers", Write("a", "create", None, ANNA), Write("b", "create", None, BERT))
    assert {outcome.status for outcome in found.values()} == {"done"}
    found = write(parse, "Customers", Write("c", "create", None, ANNA))
    assert (found["c"].status, found["c"].code) == ("rejected", "unique")
    found = write(
        parse, "Customers", Write("d", "update", found["c"].id or "x", {}), Write("e", "create", None, BERT)
    )
    assert (found["e"].status, found["e"].code) == ("rejected", "unique")


def test_a_request_that_was_seen_before_is_unknown_not_doubled(
    parse_server: ParseServer, tmp_path: Any
) -> None:
    parse_server.remake("Customers", COLUMNS)
    options = {"idempotencyOptions": {"paths": ["classes/.*"], "ttl": 300}}
    second = ParseServer(free_port(), parse_server.database, tmp_path, options)
    second.start()
    try:
        parse = connector(second)
        assert write(parse, "Customers", Write("same", "create", None, ANNA))["same"].status == "done"
        assert write(parse, "Customers", Write("same", "create", None, ANNA))["same"].status == "unknown"
    finally:
        second.kill()
    assert len(parse_server.objects("Customers")) == 1


def test_a_new_class_opens_nothing_to_the_public(parse: Parse, parse_server: ParseServer) -> None:
    if any(item["className"] == "Fresh" for item in parse_server.ask("GET", "/schemas")["results"]):
        parse_server.ask("DELETE", "/purge/Fresh")
        parse_server.ask("DELETE", "/schemas/Fresh")
    parse.create_stream(Stream("Fresh", FIELDS), StreamOptions())
    schema = parse_server.ask("GET", "/schemas/Fresh")
    assert "*" not in str(schema["classLevelPermissions"])
    with pytest.raises(OptionsError, match="no class or field named"):
        parse.create_stream(Stream("Fresh2", (Field("first name", FieldType.TEXT),)), StreamOptions())
