"""The way out: which URLs may be asked, what is connected to, and what a failure is called."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import yaml

from connectors.base import Access
from connectors.errors import (
    AuthError,
    BadAnswer,
    ConnectorError,
    OptionsError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    StreamGone,
    Unavailable,
)
from connectors.http import Answer, Http, Limits, segment
from connectors.recording import Call

PUBLIC = ["93.184.216.34"]


@dataclass(frozen=True)
class Case:
    url: str
    allow: bool
    why: str
    dns: list[str] | None = None
    second: list[str] | None = None
    networks: list[str] = field(default_factory=list)
    http: bool = False


@cache
def corpus() -> list[Case]:
    text = (Path(__file__).parent / "corpus" / "urls.yaml").read_text("utf-8")
    return [Case(**entry) for entry in yaml.safe_load(text)]


class Recorder(httpcore.MockBackend):
    """A network that answers {} to whatever is asked, and remembers where it was connected to."""

    def __init__(self) -> None:
        super().__init__([])
        self.connected: list[str] = []

    def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        self.connected.append(host)
        return httpcore.MockStream([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"])


class Resolver:
    """Answers a name once with `first`, and from then on with `second`. An address is its own answer."""

    def __init__(self, first: list[str], second: list[str] | None) -> None:
        self.first = first
        self.second = first if second is None else second
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        if ":" in host or host.replace(".", "").isdecimal():
            return [host]
        self.asked += 1
        return self.first if self.asked == 1 else self.second


@pytest.mark.parametrize("case", corpus(), ids=lambda case: f"{case.why}: {case.url[:40]!r}")
def test_the_corpus_is_judged_right(case: Case) -> None:
    access = Access(networks=tuple(ip_network(text) for text in case.networks), allow_http=case.http)
    network = Recorder()
    resolver = Resolver(PUBLIC if case.dns is None else case.dns, case.second)
    if not case.allow:
        with pytest.raises((OptionsError, Unavailable)) as caught:
            Http(case.url, access, backend=network, resolve=resolver).get("/x")
        assert caught.value.message.endswith(".")
        assert network.connected == []
        return
    http = Http(case.url, access, backend=network, resolve=resolver)
    assert http.get("/x") == {}
    assert network.connected[0] in (case.dns or PUBLIC) or resolver.asked == 0
    assert resolver.asked <= 1
    http.close()


def test_the_corpus_is_large_enough() -> None:
    assert len(corpus()) >= 60
    assert sum(case.allow for case in corpus()) >= 25


class Noted:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def note(self, call: Call) -> None:
        self.calls.append(call)


def test_each_call_is_told_to_whoever_keeps_a_record_of_them() -> None:
    noted = Noted()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            raise httpx.ReadTimeout("sent-secret", request=request)
        return httpx.Response(404, json={"error": "no such"}, headers={"x-request-id": "r1"})

    http = Http(
        "https://api.example.com/v1", Access(recorder=noted), headers={"authorization": "Bearer abcdef"},
        secrets=["abcdef"], transport=httpx.MockTransport(answer),
    )  # fmt: skip
    http.hide("later-token")
    with pytest.raises(StreamGone):
        http.get("/things", {"page": "2"})
    with pytest.raises(OutcomeUnknown):
        http.ask("PUT", "/things", json={"a": 1}, changes=True)
    one, two = noted.calls
    assert (one.method, one.origin, one.target) == ("GET", "https://api.example.com", "/v1/things?page=2")
    assert (one.status, one.body, one.headers["x-request-id"]) == (404, b'{"error":"no such"}', "r1")
    assert one.failed and not one.is_confidential and {"abcdef", "later-token"} <= set(one.secrets)
    assert (two.status, two.sent) == (None, b'{"a": 1}')
    assert "lost" in two.problem and "secret" not in two.problem


def test_a_call_that_is_never_sent_is_not_told() -> None:
    noted = Noted()
    with pytest.raises(OptionsError):
        Http("http://api.example.com", Access(recorder=noted)).get("/")
    assert noted.calls == []


def test_a_url_that_is_too_long_is_refused() -> None:
    with pytest.raises(OptionsError):
        Http("https://example.net/" + "a" * 9000, Access())


def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    class Half(Recorder):
        def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
            if host == "1.1.1.1":
                raise httpcore.ConnectError("refused")
            return super().connect_tcp(host, port)

    network = Half()
    resolver = Resolver(["1.1.1.1", "8.8.8.8"], None)
    assert Http("https://example.net", Access(), backend=network, resolve=resolver).get("/") == {}
    assert network.connected == ["8.8.8.8"]


# -- answers ------------------------------------------------------------------------------------------


def client(answer: Callable[[httpx.Request], httpx.Response], **more: Any) -> Http:
    return Http("https://api.example.net/v1", Access(), transport=httpx.MockTransport(answer), **more)


def replies(status: int, body: Any = None, headers: dict[str, str] | None = None, **more: Any) -> Http:
    return client(lambda _: httpx.Response(status, json=body, headers=headers), **more)


def test_numbers_are_exact() -> None:
    http = client(lambda _: httpx.Response(200, content=b'{"a": 0.1, "b": 9007199254740993, "c": 1e400}'))
    found = http.get("/x")
    assert found == {"a": Decimal("0.1"), "b": 9007199254740993, "c": Decimal("1e400")}


def test_the_path_is_joined_behind_the_base_and_cannot_change_the_host() -> None:
    seen: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(200, json={})

    http = client(answer)
    for path in ("/x", "//evil.example/x", "https://evil.example/", "/" + segment("../../a?b#c/ä")):
        http.get(path, {"q": "a b&c=ö"})
    assert {url.host for url in seen} == {"api.example.net"}
    assert seen[0].raw_path == b"/v1/x?q=a%20b%26c%3D%C3%B6"
    assert seen[3].raw_path.startswith(b"/v1/..%2F..%2Fa%3Fb%23c%2F%C3%A4?")


def test_the_original_name_is_sent_and_no_cookie_is_kept() -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json={}, headers={"set-cookie": "a=b"})

    http = client(answer, headers={"x-key": "secret"})
    http.get("/x")
    http.get("/x")
    assert seen[1]["host"] == "api.example.net"
    assert seen[1]["x-key"] == "secret"
    assert "cookie" not in seen[1]


@pytest.mark.parametrize(
    ("status", "changes", "error"),
    [
        (301, False, OptionsError),
        (307, True, OptionsError),
        (400, True, RecordRejected),
        (401, False, AuthError),
        (403, True, AuthError),
        (404, False, StreamGone),
        (408, True, Unavailable),
        (409, True, RecordRejected),
        (413, True, RecordRejected),
        (429, True, RateLimited),
        (500, False, Unavailable),
        (500, True, OutcomeUnknown),
        (502, True, OutcomeUnknown),
        (503, True, Unavailable),
        (504, False, Unavailable),
    ],
)
def test_a_status_becomes_what_the_run_must_do(
    status: int, changes: bool, error: type[ConnectorError]
) -> None:
    http = replies(status, {"error": "the reason"}, {"location": "https://evil.example/"})
    with pytest.raises(error) as caught:
        http.ask("POST", "/x", json={}, changes=changes)
    assert type(caught.value) is error
    assert "'api.example.net'" in caught.value.message
    assert "evil" not in caught.value.message


def test_a_connector_judges_first() -> None:
    def judge(answer: Answer) -> ConnectorError | None:
        return StreamGone("No such class.") if answer.json_or_none == {"code": 7} else None

    with pytest.raises(StreamGone, match="No such class"):
        replies(400, {"code": 7}, judge_answer=judge).get("/x")
    with pytest.raises(RecordRejected):
        replies(400, {"code": 8}, judge_answer=judge).get("/x")


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"retry-after": "soon"}, 30),
        ({}, 30),
    ],
)
def test_the_asked_for_pause_is_read(headers: dict[str, str], wait: float) -> None:
    with pytest.raises(RateLimited) as caught:
        replies(429, None, headers).get("/x")
    assert caught.value.retry_after == wait


@pytest.mark.parametrize("body", [b"<html>", b"", b"{", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_not_json_is_a_bad_answer(body: bytes) -> None:
    http = client(lambda _: httpx.Response(200, content=body))
    with pytest.raises(BadAnswer):
        http.get("/x")
    with pytest.raises(OutcomeUnknown):
        _ = http.ask("POST", "/x", json={}, changes=True).json


@pytest.mark.parametrize(
    ("fault", "error", "after_a_change"),
    [
        (httpx.ConnectError, Unavailable, Unavailable),
        (httpx.ConnectTimeout, Unavailable, Unavailable),
        (httpx.PoolTimeout, Unavailable, Unavailable),
        (httpx.ReadTimeout, Unavailable, OutcomeUnknown),
        (httpx.ReadError, Unavailable, OutcomeUnknown),
        (httpx.WriteError, Unavailable, OutcomeUnknown),
        (httpx.RemoteProtocolError, Unavailable, OutcomeUnknown),
        (httpx.LocalProtocolError, OptionsError, OptionsError),
    ],
)
def test_a_lost_answer_is_unknown_only_after_a_change(
    fault: type[httpx.TransportError], error: type[ConnectorError], after_a_change: type[ConnectorError]
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise fault("Illegal header value b'hunter2'")

    for changes, expected in ((False, error), (True, after_a_change)):
        with pytest.raises(expected) as caught:
            client(answer).ask("POST", "/x", changes=changes)
        assert "hunter2" not in caught.value.message
        assert caught.value.__cause__ is None


def test_an_answer_that_is_too_large_is_cut_also_when_it_is_packed() -> None:
    packed = gzip.compress(b" " * 3_000_000)
    http = client(
        lambda _: httpx.Response(200, content=packed, headers={"content-encoding": "gzip"}),
        limits=Limits(size=1_000_000),
    )
    with pytest.raises(BadAnswer, match="larger than 1 MB"):
        http.get("/x")


def test_an_answer_that_drips_is_cut() -> None:
    class Drip(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" "

    seconds = iter(range(1_000))
    http = client(
        lambda _: httpx.Response(200, stream=Drip()),
        limits=Limits(overall=10),
        clock=lambda: float(next(seconds)),
    )
    with pytest.raises(BadAnswer, match="longer than 10 seconds"):
        http.get("/x")


def test_no_secret_is_repeated() -> None:
    secret = 'pa"t:sécret/42'
    echoed = f"wrong key {secret}, {httpx.QueryParams({'k': secret})}, {json.dumps(secret)}\r\nForged: line"
    http = replies(400, {"error": echoed}, secrets=[secret])
    with pytest.raises(RecordRejected) as caught:
        http.get("/x")
    assert "cret" not in caught.value.message
    assert "\n" not in caught.value.message
    assert "wrong key •••" in caught.value.message
    assert secret not in repr(http)


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx: y", "schlüssel", "a\0"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(AuthError) as caught:
        Http("https://example.net", Access(), headers={"x-key": value})
    assert value not in caught.value.message


def test_half_a_character_touches_one_record() -> None:
    with pytest.raises(RecordRejected):
        replies(200, {}).ask("POST", "/x", json={"a": "\ud800"}, changes=True)


# -- a real socket ------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/x")
            self.end_headers()
            return
        body = json.dumps({"host": self.headers["host"], "path": self.path}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


LOOPBACK = Access(networks=(ip_network("127.0.0.0/8"),), allow_http=True)


def test_a_real_server_is_asked_past_the_proxies_of_the_environment(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    http = Http(f"http://sync.test:{port}", LOOPBACK, resolve=lambda *_: ["127.0.0.1"])
    assert http.get("/x") == {"host": f"sync.test:{port}", "path": "/x"}
    with pytest.raises(OptionsError, match="redirect"):
        http.get("/moved")
    http.close()
    assert http.get("/y")["path"] == "/y"
    http.close()


def test_a_server_that_is_not_there_is_unavailable(port: int) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        Http("http://127.0.0.1:9", LOOPBACK).ask("POST", "/x", json={}, changes=True)


@pytest.mark.parametrize(
    ("header", "said"),
    [("Mon, 02 Mar 2026 09:00:00 GMT", datetime(2026, 3, 2, 9, tzinfo=UTC)), ("soon", None), ("", None)],
)
def test_an_answer_tells_the_servers_time(header: str, said: datetime | None) -> None:
    assert Answer(200, {"date": header}, b"", "here").sent_at == said
