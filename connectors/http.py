"""The one way out over HTTP: it checks the address that it connects to, and names what went wrong.

A connector over HTTP is an HttpConnector and asks `self.http`. There are no redirects, no proxies of the
environment and no second tries; whoever called decides about those. Each call waits for its place under the
system's quotas, and a system that asks for a pause gets it from everybody.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import httpcore
import httpx

from connectors.addresses import Network, Resolve, clean_host, judge
from connectors.base import Access, Connector
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
from connectors.quotas import Quota
from connectors.recording import Call

MAX_URL = 8192
PORTS = frozenset({80, 443, 8080, 8443})  # on public addresses; allowed private ranges may use any
AGENT = "Syncline"
WAIT_UNSAID = 30.0  # seconds to wait where the system asks for a pause and does not say how long


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may take, in seconds, and how large its answer may be, in bytes."""

    connect: float = 10
    read: float = 30  # without a byte
    overall: float = 60
    size: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read to its end. `changes` says whether the call may have changed something."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    place: str
    changes: bool = False

    @property
    def retry_after(self) -> float | None:
        """The pause that the system asks for, in seconds; None if it names none."""
        text = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
            return float(text)
        try:
            then = parsedate_to_datetime(text)
            now = parsedate_to_datetime(self.headers.get("date", ""))
            return max(0.0, (then - now).total_seconds())
        except (ValueError, TypeError, IndexError):
            return None

    @property
    def sent_at(self) -> datetime | None:
        """The server's own time when it answered, as its Date header says it."""
        try:
            return parsedate_to_datetime(self.headers.get("date", ""))
        except (ValueError, TypeError, IndexError):
            return None

    @property
    def json(self) -> Any:
        """The body with exact numbers. Raises BadAnswer, or OutcomeUnknown after a change."""
        try:
            return json.loads(self.body, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            self.makes_no_sense("is not JSON")

    @property
    def json_or_none(self) -> Any:
        """The body, where it is JSON: for answers that tell of an error."""
        try:
            return json.loads(self.body, parse_float=Decimal)
        except (ValueError, RecursionError):
            return None

    def makes_no_sense(self, why: str) -> NoReturn:
        """Raises BadAnswer, or OutcomeUnknown where the call may have changed something."""
        message = f"The answer of {self.place} (status {self.status}) {why}."
        raise OutcomeUnknown(message) if self.changes else BadAnswer(message)


# What a connector makes of an answer with status 400 or more; None leaves it to `refusal`.
Judge = Callable[[Answer], ConnectorError | None]


class Http:
    """A client of one base URL. Opens nothing before the first call.

    Raises OptionsError at once for a URL that may not be asked. `secrets` are cut out of whatever a message
    repeats of an answer. `confidential` calls are about credentials: a record of them says no more than that
    they were made. `transport` takes the place of the network, `backend` and `resolve` of its parts.
    """

    def __init__(
        self,
        url: str,
        access: Access,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        judge_answer: Judge | None = None,
        limits: Limits | None = None,
        quotas: Sequence[Quota] = (),
        confidential: bool = False,
        transport: httpx.BaseTransport | None = None,
        backend: httpcore.NetworkBackend | None = None,
        resolve: Resolve | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base = checked_url(url, access)
        self.place = f"'{self.base.host}'"
        self.limits = limits or Limits()
        self._secrets = [form for secret in secrets for form in _forms(secret)]
        self._headers = {"accept": "application/json", "user-agent": AGENT, **(headers or {})}
        for name, value in self._headers.items():
            if not value.isascii() or not value.isprintable():
                raise AuthError(
                    f"The value for '{name}' holds a character that cannot be sent. Enter it again, without"
                    " line breaks or spaces around it."
                )
        self._judge = judge_answer
        self._limiter = access.limiter
        self._recorder = access.recorder
        self._confidential = confidential
        self._quotas = quotas
        self._clock = clock
        self._transport = transport
        self._backend = _CheckedBackend(backend or httpcore.SyncBackend(), access.networks, resolve)

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The JSON under this path. Raises the errors of `ask`."""
        return self.ask("GET", path, params=params).json

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        changes: bool = False,
        quotas: Sequence[Quota] | None = None,
    ) -> Answer:
        """One call; its answer if the status is below 300.

        `changes` is set where the call may change something: then a lost answer is OutcomeUnknown. `quotas`
        are what this call is counted by, where that is not the same for all calls. Raises
        what the connector's judge says of a refusal, else AuthError, StreamGone, RecordRejected,
        RateLimited, Unavailable, BadAnswer or OptionsError.
        """
        request = self._request(method, path, params, json, content, headers)
        counted = self._quotas if quotas is None else quotas
        transport = self._opened()  # before its turn, which the call must use at once
        self._limiter.take(counted)
        answer = self._recorded(transport, request, changes)
        if answer.status < 300:
            return answer
        if answer.status < 400:
            raise OptionsError(
                f"{self.place} answers with a redirect (status {answer.status}), which is not followed."
                " Correct the URL to where it leads.",
                code="redirect",
            )
        problem = (self._judge(answer) if self._judge else None) or self.refusal(answer)
        if isinstance(problem, RateLimited) and counted:
            self._limiter.pause(counted, problem.retry_after)
            problem.is_held = True
        raise problem

    def refusal(self, answer: Answer) -> ConnectorError:
        """What a status means where a system says nothing more of it."""
        said = self.clean(_said(answer))
        text = f"{self.place} answered with status {answer.status}" + (f": {said}" if said else "")
        text += "" if text.endswith((".", "!", "?")) else "."
        match answer.status:
            case 401 | 403:
                return AuthError(f"{text} Check the credentials of the connection.")
            case 404 | 410:
                return StreamGone(text)
            case 429:
                wait = answer.retry_after
                return RateLimited(text, retry_after=WAIT_UNSAID if wait is None else wait)
            case 408 | 425 | 503:
                return Unavailable(text)
            case status if status < 500:
                return RecordRejected(text, code=f"http_{status}")
            case _:
                return OutcomeUnknown(text) if answer.changes else Unavailable(text)

    def hide(self, secret: str) -> None:
        """One more secret to be cut out of messages: a token that a log-in gave."""
        self._secrets += _forms(secret)

    def clean(self, text: str, limit: int = 300) -> str:
        """A system's own words for a message: on one line, cut, without our secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "•••")
        text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def close(self) -> None:
        """Give back the connections. May be called twice; a later call opens new ones."""
        if self._transport is not None:
            self._transport.close()
            if isinstance(self._transport, _Transport):
                self._transport = None

    def __repr__(self) -> str:
        return f"Http({self.place})"

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Any,
        content: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Request:
        # Joined as text behind the base, so that no path can name another host.
        raw = self.base.raw_path.decode("ascii").rstrip("/") + path
        if params:
            raw += ("&" if "?" in raw else "?") + urlencode(params, quote_via=quote)
        all_headers = {**self._headers, **(headers or {})}
        if body is not None:
            content = self._written(body)
            all_headers["content-type"] = "application/json"
        url = self.base.copy_with(raw_path=raw.encode("ascii"))
        limits = self.limits
        timeouts = {
            "connect": limits.connect,
            "read": min(limits.read, limits.overall),
            "write": min(limits.read, limits.overall),
            "pool": limits.connect,
        }
        all_headers.setdefault("accept-encoding", "gzip, deflate")
        return httpx.Request(
            method, url, headers=all_headers, content=content, extensions={"timeout": timeouts}
        )

    def _written(self, body: Any) -> bytes:
        try:
            return json.dumps(body, default=_jsonable, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            raise RecordRejected(
                f"A text for {self.place} holds half of a character. Correct it where it comes from.",
                code="not_text",
            ) from None

    def _opened(self) -> httpx.BaseTransport:
        # Not httpx.Client: it would log URLs, follow the environment and keep cookies.
        if self._transport is None:
            self._transport = _Transport(self._backend)
        return self._transport

    def _recorded(self, transport: httpx.BaseTransport, request: httpx.Request, changes: bool) -> Answer:
        began = self._clock()
        answer: Answer | None = None
        problem = ""
        try:
            answer = self._exchange(transport, request, changes)
            return answer
        except ConnectorError as error:
            problem = error.message
            raise
        finally:
            self._recorder.note(
                Call(
                    method=request.method,
                    origin=f"{request.url.scheme}://{request.url.netloc.decode('ascii')}",
                    target=request.url.raw_path.decode("ascii"),
                    sent_headers=dict(request.headers),
                    sent=request.content,
                    seconds=self._clock() - began,
                    status=answer.status if answer else None,
                    headers=answer.headers if answer else {},
                    body=answer.body if answer else b"",
                    problem=problem,
                    is_confidential=self._confidential,
                    secrets=self._secrets,
                )
            )

    def _exchange(self, transport: httpx.BaseTransport, request: httpx.Request, changes: bool) -> Answer:
        until = self._clock() + self.limits.overall
        # `from None` throughout: the library's own errors can repeat what was sent.
        try:
            response = transport.handle_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(
                f"{self.place} cannot be reached ({_kind(error)}). Check the URL, and whether it is up."
            ) from None
        except httpx.LocalProtocolError:
            raise OptionsError(f"The call to {self.place} cannot be written as HTTP.") from None
        except httpx.TransportError as error:
            self._lost(error, changes)
        try:
            response.request = request
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > self.limits.size:
                    self._cut(f"is larger than {self.limits.size // 1_000_000} MB", changes)
                if self._clock() > until:
                    self._cut(f"took longer than {self.limits.overall:.0f} seconds", changes)
        except (httpx.TransportError, httpx.DecodingError, httpx.StreamError) as error:
            self._lost(error, changes)
        finally:
            response.close()
        return Answer(response.status_code, dict(response.headers), bytes(body), self.place, changes)

    def _lost(self, error: Exception, changes: bool) -> NoReturn:
        message = f"The answer of {self.place} was lost ({_kind(error)})."
        raise (OutcomeUnknown(message) if changes else Unavailable(message)) from None

    def _cut(self, why: str, changes: bool) -> NoReturn:
        message = f"The answer of {self.place} {why}."
        raise (OutcomeUnknown(message) if changes else BadAnswer(message)) from None


class HttpConnector(Connector):
    """Base of the connectors over HTTP. A test puts a transport in the place of the network."""

    transport: httpx.BaseTransport | None = None

    def make_http(self) -> Http:
        """The client over this connector's options. Raises OptionsError, AuthError."""
        raise NotImplementedError

    @cached_property
    def http(self) -> Http:
        return self.make_http()

    def close(self) -> None:
        if "http" in self.__dict__:
            self.http.close()


def checked_url(text: str, access: Access) -> httpx.URL:
    """The parsed URL that is then used. Raises OptionsError (code `address`) for what may not be asked.

    The addresses behind its name are judged when a connection is made.
    """
    if len(text) > MAX_URL:
        _no_url(f"is longer than {MAX_URL} characters")
    if any(sign <= " " or sign in "\\\x7f" or (sign.isspace() or not sign.isprintable()) for sign in text):
        _no_url("holds a space, a backslash or a control character")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        _no_url("is not a URL")
    schemes = ("https", "http") if access.allow_http else ("https",)
    if url.scheme not in schemes:
        _no_url(f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
    if url.userinfo or "@" in text.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0]:
        _no_url("holds a user name or password. Enter credentials in their own fields")
    if not url.host:
        _no_url("names no host")
    return url.copy_with(host=clean_host(url.host), fragment=None)


def segment(text: str) -> str:
    """A text as one part of a path: it cannot climb, end the path or begin a query."""
    return {".": "%2E", "..": "%2E%2E"}.get(text, quote(text, safe=""))


def _no_url(why: str) -> NoReturn:
    raise OptionsError(f"The URL {why}.", code="address") from None


class _CheckedBackend(httpcore.NetworkBackend):
    """Resolves once, judges every answer, and connects to what was judged."""

    def __init__(
        self, inner: httpcore.NetworkBackend, networks: Sequence[Network], resolve: Resolve | None
    ) -> None:
        self.inner = inner
        self.networks = networks
        self.resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        judged = judge(host, port, self.networks, self.resolve)
        if judged.is_public and port not in PORTS:
            raise OptionsError(
                f"The port {port} of '{judged.host}' may not be reached. Allowed are"
                f" {', '.join(map(str, sorted(PORTS)))}.",
                code="address",
            )
        last: Exception = httpcore.ConnectError("no address")
        for address in judged.addresses:
            try:
                return self.inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise OptionsError("Sockets of this machine may not be reached.", code="address")


@cache
def _trust() -> ssl.SSLContext:
    """The certificates that count, read once per process: reading them takes longer than a quick call."""
    return httpx.create_ssl_context()


class _Transport(httpx.HTTPTransport):
    """httpx's own transport over a pool that connects through the checked backend."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=_trust(),
            network_backend=backend,
            max_connections=4,
            # Shorter than servers keep theirs: a call is not sent into a connection that just closes.
            keepalive_expiry=2.0,
        )


def _forms(secret: str) -> list[str]:
    """How a secret may stand in an answer, longest first."""
    if len(secret) < 4:
        return []
    raw = secret.encode()
    forms = {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }
    return sorted(forms, key=len, reverse=True)


def _said(answer: Answer) -> str:
    """What an error answer says of itself, in the forms that most systems use."""
    found = answer.json_or_none
    for name in ("error", "message", "detail", "title"):
        if isinstance(found, dict) and found.get(name):
            inner = found[name]
            if isinstance(inner, dict):
                inner = inner.get("message") or inner.get("type") or ""
            return str(inner)
    return ""


def _kind(error: Exception) -> str:
    """ReadTimeout -> read timeout."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _jsonable(value: Any) -> Any:
    raise TypeError(f"a {type(value).__name__} must be put into the system's own form before it is sent")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
