"""The parse connector and a server that misbehaves on demand: what each answer makes it do.

What a well-behaved server does is told by the real one, in test_parse_server.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from connectors.base import Access, Outcome, StreamOptions, Write
from connectors.errors import (
    AuthError,
    BadAnswer,
    ConnectorError,
    OptionsError,
    RateLimited,
    StreamGone,
    Unavailable,
)
from connectors.parse import Parse, ParseStreamOptions

SCHEMA = {
    "className": "Contacts",
    "fields": {
        "objectId": {"type": "String"},
        "createdAt": {"type": "Date"},
        "updatedAt": {"type": "Date"},
        "ACL": {"type": "ACL"},
        "name": {"type": "String"},
        "age": {"type": "Number"},
    },
}
SECRET = "s3cret-master-key"
Answers = Callable[[httpx.Request, Any], httpx.Response | None]


class Fake:
    """As much of a Parse Server as these tests need. `fault` answers first, and may leave it to the rest."""

    def __init__(self, fault: Answers | None = None) -> None:
        self.fault = fault
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, Any, httpx.Headers]] = []
        self.writes = 0
        self.connector = Parse(
            Parse.parse_options(
                {"url": "https://parse.example.net/parse", "application_id": "app", "master_key": SECRET}
            ),
            Access(),
        )
        self.connector.transport = httpx.MockTransport(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path.removeprefix("/parse")
        self.calls.append((request.method, path, body, request.headers))
        if self.fault is not None and (given := self.fault(request, body)) is not None:
            return given
        if path == "/schemas/Contacts":
            return httpx.Response(200, json=SCHEMA)
        if path == "/schemas":
            return httpx.Response(200, json={"results": [SCHEMA]})
        if path == "/batch":
            return httpx.Response(200, json=[self.one(item) for item in (body or {})["requests"]])
        if body and body.get("_method") == "GET":
            return httpx.Response(200, json=self.query(body))
        found = self.one({"method": request.method, "path": request.url.path, "body": body})
        if "error" in found:
            return httpx.Response(404 if found["error"]["code"] == 101 else 400, json=found["error"])
        return httpx.Response(200, json=found["success"])

    def one(self, item: Any) -> dict[str, Any]:
        method, id = item["method"], item["path"].rpartition("/")[2]
        if method == "GET":
            return {"success": {"results": []}}
        if method == "POST":
            id = f"id{len(self.objects) + 1}"
        elif id not in self.objects:
            return {"error": {"code": 101, "error": "Object not found."}}
        self.writes += 1
        if method == "DELETE":
            del self.objects[id]
            return {"success": {}}
        moment = f"2026-01-01T00:00:00.{self.writes:03}Z"
        known = self.objects.get(id, {"objectId": id, "createdAt": moment})
        self.objects[id] = {**known, **item["body"], "updatedAt": moment}
        return {"success": {"objectId": id}}

    def query(self, body: Any) -> dict[str, Any]:
        wanted = body["where"].get("objectId", {}).get("$in")
        found = [item for id, item in sorted(self.objects.items()) if wanted is None or id in wanted]
        after = body["where"].get("objectId", {}).get("$gt") or (
            body["where"].get("$and", [{}, {}])[1].get("objectId", {}).get("$gt")
        )
        found = [item for item in found if after is None or item["objectId"] > after]
        return {"results": found[: body["limit"]], "count": len(found)}

    def write(self, *batch: Write, **options: Any) -> dict[str, Outcome]:
        choices = ParseStreamOptions(**options)
        stream = self.connector.stream("Contacts", choices)
        return {item.marker: item for item in self.connector.write(stream, choices, batch)}

    def sent(self, *paths: str) -> list[str]:
        """The paths of the calls that could change something, or of these paths."""
        return [
            path
            for method, path, body, _ in self.calls
            if (path in paths if paths else method != "GET" and not (body or {}).get("_method"))
        ]


def create(number: int) -> Write:
    return Write(f"m{number}", "create", None, {"name": f"N{number}"})


def error(status: int, code: Any = None, said: str = "the reason", **more: Any) -> httpx.Response:
    body = {"error": said} if code is None else {"code": code, "error": said}
    return httpx.Response(status, json=body, **more)


def on(path: str, answer: httpx.Response | Exception) -> Answers:
    """A fault on the writes to this path."""

    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        if request.url.path != f"/parse{path}" or (body or {}).get("_method"):
            return None
        if (body or {}).get("requests", [{}])[0].get("method") == "GET":
            return None
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)

    return fault


def test_one_write_carries_its_marker_and_a_batch_goes_in_one_call() -> None:
    fake = Fake()
    fake.write(create(1))
    assert [
        headers.get("x-parse-request-id") for _, path, body, headers in fake.calls if body and "name" in body
    ] == ["m1"]
    fake.calls.clear()
    found = fake.write(*(create(number) for number in range(120)))
    sizes = [len(body["requests"]) for _, path, body, _ in fake.calls if path == "/batch"]
    assert sizes == [1, 50, 50, 20]  # the first asks whether batches work
    assert {outcome.status for outcome in found.values()} == {"done"}
    assert all(outcome.record is not None for outcome in found.values())
    assert {
        item["path"] for _, path, body, _ in fake.calls if path == "/batch" for item in body["requests"]
    } == {"/parse/classes/Contacts"}


@pytest.mark.parametrize(
    "broken",
    [
        httpx.Response(500, json={"code": 1, "message": "Internal server error."}),
        error(400, 107, "cannot route batch path /parse/classes/Contacts"),
    ],
)
def test_a_server_whose_batches_do_not_work_is_sent_single_records(broken: httpx.Response) -> None:
    fake = Fake(lambda request, _: broken if request.url.path == "/parse/batch" else None)
    found = fake.write(create(1), create(2), create(3))
    assert [found[f"m{n}"].status for n in (1, 2, 3)] == ["done"] * 3
    fake.write(create(4), create(5))
    assert fake.sent("/batch") == ["/batch"]
    assert len(fake.objects) == 5


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (error(403, None, "unauthorized"), AuthError),
        (error(401, None, "unauthorized"), AuthError),
        (error(400, 209, "Invalid session token"), AuthError),
        (error(400, 100, "Too many requests."), RateLimited),
        (error(429, 100, "Too many requests.", headers={"retry-after": "7"}), RateLimited),
        (error(400, 155, "Limit"), RateLimited),
        (httpx.Response(503, json={"status": "starting"}), Unavailable),
        (httpx.Response(404, text="<html>Cannot POST</html>"), OptionsError),
        (httpx.Response(302, headers={"location": "https://evil.example"}), OptionsError),
        (httpx.ConnectError("refused"), Unavailable),
    ],
    ids=str,
)
def test_a_call_of_which_nothing_was_done_is_an_error(
    answer: httpx.Response | Exception, problem: type[ConnectorError]
) -> None:
    for path, count in (("/classes/Contacts", 1), ("/batch", 2)):
        fake = Fake(on(path, answer))
        with pytest.raises(problem) as caught:
            fake.write(*(create(number) for number in range(count)))
        assert SECRET not in caught.value.message
        assert fake.objects == {}


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, json={"code": 1, "message": "Internal server error."}),
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(504, text=""),
        httpx.Response(200, text="cut of"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
    ],
    ids=str,
)
def test_an_answer_that_is_lost_leaves_the_outcome_open(answer: httpx.Response | Exception) -> None:
    for path, count in (("/classes/Contacts", 1), ("/batch", 2)):
        fake = Fake(on(path, answer))
        found = fake.write(*(create(number) for number in range(count)))
        assert {outcome.status for outcome in found.values()} == {"unknown"}


def test_a_pause_in_the_middle_leaves_the_rest_undone_and_doubles_nothing() -> None:
    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        second = fake.writes >= 50 and request.url.path == "/parse/batch"
        return error(429, 100, "Too many requests.") if second else None

    fake = Fake(fault)
    found = fake.write(*(create(number) for number in range(120)))
    assert [outcome.status for outcome in found.values()] == ["done"] * 50 + ["rejected"] * 70
    assert {outcome.code for outcome in found.values() if outcome.status == "rejected"} == {"not_done"}
    assert len(fake.objects) == 50


def test_a_call_that_is_too_large_is_halved() -> None:
    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        if request.url.path == "/parse/batch" and len(body["requests"]) > 10:
            return error(413, None, "request entity too large")
        return error(413, None, "too large") if "N7" in str(body) and "_method" not in str(body) else None

    fake = Fake(fault)
    found = fake.write(*(create(number) for number in range(40)))
    assert found["m7"].status == "rejected"
    assert found["m7"].code == "too_large"
    assert [outcome.status for outcome in found.values()].count("done") == 39
    assert len(fake.objects) == 39


@pytest.mark.parametrize(
    ("code", "status", "named"),
    [
        (111, "rejected", "parse_111"),
        (105, "rejected", "parse_105"),
        (137, "rejected", "unique"),
        (142, "rejected", "parse_142"),
        (141, "rejected", "parse_141"),
        (119, "rejected", "forbidden"),
        (4711, "rejected", "parse_4711"),
        (159, "unknown", "unknown_outcome"),
        (1, "unknown", "unknown_outcome"),
        (251, "unknown", "unknown_outcome"),
        ("ECONNREFUSED", "unknown", "unknown_outcome"),
        ("23505", "unknown", "unknown_outcome"),
        (None, "unknown", "unknown_outcome"),
    ],
)
def test_an_item_of_a_batch_has_its_own_outcome(code: Any, status: str, named: str) -> None:
    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        if request.url.path != "/parse/batch" or len(body["requests"]) == 1:
            return None
        bad = {"error": {"code": code, "error": f"schema mismatch for Contacts.age; {SECRET}"}}
        return httpx.Response(200, json=[fake.one(body["requests"][0]), bad])

    fake = Fake(fault)
    found = fake.write(create(1), create(2))
    assert found["m1"].status == "done"
    assert (found["m2"].status, found["m2"].code) == (status, named)
    assert found["m2"].message.endswith(".") or "." in found["m2"].message
    assert SECRET not in found["m2"].message
    if code == 111:
        assert found["m2"].field == "age"


def test_a_class_that_may_not_be_written_stops_the_run() -> None:
    bad = {"error": {"code": 119, "error": "Permission denied"}}
    with pytest.raises(AuthError, match="Contacts"):
        Fake(on("/batch", httpx.Response(200, json=[bad, bad]))).write(create(1), create(2))


def test_an_update_and_a_delete_of_what_vanished_meanwhile() -> None:
    fake = Fake()
    fake.objects["id1"] = {"objectId": "id1", "updatedAt": "2026-01-01T00:00:00.000Z", "name": "x"}

    def vanish(request: httpx.Request, _: Any) -> None:
        if request.method == "PUT":
            fake.objects.clear()

    fake.fault = vanish
    found = fake.write(Write("a", "update", "id1", {"name": "y"}), Write("b", "update", "id2", {"name": "y"}))
    assert [found[name].status for name in "ab"] == ["missing", "missing"]
    fake.objects["id1"] = {"objectId": "id1", "updatedAt": "2026-01-01T00:00:00.000Z"}
    found = fake.write(create(1), Write("c", "delete", "id1"))
    assert found["c"].status == "done"


def test_what_was_written_stands_also_when_it_cannot_be_read_back() -> None:
    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        return error(500, 1) if (body or {}).get("_method") and fake.writes else None

    fake = Fake(fault)
    found = fake.write(create(1), create(2))
    assert {(outcome.status, outcome.record) for outcome in found.values()} == {("done", None)}


def test_odd_ids_stay_inside_their_path() -> None:
    fake = Fake()
    for id in ("../../schemas/Contacts", "a?b#c", "..", "a/b", "é"):
        fake.objects[id] = {"objectId": id, "updatedAt": "2026-01-01T00:00:00.000Z"}
        fake.calls.clear()
        fake.write(Write("m1", "delete", id))
        assert [
            path
            for method, path, _, _ in fake.calls
            if method == "DELETE" and not path.startswith("/classes/Contacts/")
        ] == []
    assert fake.objects.keys() <= {"a?b#c", "..", "a/b", "é", "../../schemas/Contacts"}


def test_the_body_of_an_update_never_holds_its_id_and_empties_are_deleted() -> None:
    fake = Fake()
    fake.objects["id1"] = {"objectId": "id1", "updatedAt": "2026-01-01T00:00:00.000Z"}
    fake.write(Write("m1", "update", "id1", {"name": None}))
    (body,) = (body for method, _, body, _ in fake.calls if method == "PUT")
    assert body == {"name": {"__op": "Delete"}}


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={}),
        httpx.Response(200, json=[]),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"results": "many"}),
    ],
    ids=str,
)
def test_a_read_that_makes_no_sense_is_no_empty_class(answer: httpx.Response) -> None:
    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        return answer if (body or {}).get("_method") else None

    fake = Fake(fault)
    stream = fake.connector.stream("Contacts", StreamOptions())
    with pytest.raises(BadAnswer):
        list(fake.connector.read(stream, StreamOptions()))


def test_a_page_that_repeats_ends_the_read() -> None:
    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        same = [{"objectId": "id1", "updatedAt": "2026-01-01T00:00:00.000Z"}]
        return (
            httpx.Response(200, json={"results": same, "count": 1}) if (body or {}).get("_method") else None
        )

    fake = Fake(fault)
    with pytest.raises(BadAnswer, match="twice"):
        list(fake.connector.read(fake.connector.stream("Contacts", StreamOptions()), StreamOptions()))


def test_a_class_that_is_gone_is_named_with_the_nearest_one() -> None:
    fake = Fake(on("/schemas/Contakts", error(400, 103, "Class Contakts does not exist.")))
    with pytest.raises(StreamGone, match="'Contacts'"):
        fake.connector.stream("Contakts", StreamOptions())


@pytest.mark.parametrize("cursor", ["", "x", "2026-01-01", "2026-01-01T00:00:00.000Z", "|id"])
def test_a_cursor_of_something_else_is_refused(cursor: str) -> None:
    fake = Fake()
    stream = fake.connector.stream("Contacts", StreamOptions())
    with pytest.raises(OptionsError, match="cursor"):
        list(fake.connector.read(stream, StreamOptions(), cursor))


@pytest.mark.parametrize(
    "options",
    [
        {"master_key": "k", "username": "u", "password": "p"},
        {"username": "u"},
        {},
        {"master_key": "k", "url": "https://parse.example.net/parse?x=1"},
        {"master_key": "k", "nothing": 1},
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    raw = {"url": "https://parse.example.net/parse", "application_id": "app", **options}
    with pytest.raises(OptionsError):
        Parse.parse_options(raw)


@pytest.mark.parametrize(
    "options", [{"cursor": "createdAt"}, {"acl": {"*": {"execute": True}}}, {"acl": ["role:Admin"]}]
)
def test_stream_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError):
        Parse.parse_stream_options(options)


def test_the_key_must_be_a_field() -> None:
    with pytest.raises(OptionsError, match="Did you mean 'name'"):
        Fake().write(create(1), key="nme")


def test_a_lost_answer_on_the_way_to_the_key_is_no_write() -> None:
    def fault(request: httpx.Request, body: Any) -> httpx.Response | None:
        if (body or {}).get("_method"):
            raise httpx.ReadTimeout("slow")
        return None

    fake = Fake(fault)
    with pytest.raises(Unavailable):
        fake.write(create(1), key="name")
    assert fake.sent() == []
