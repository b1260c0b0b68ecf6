"""What the simulators share: faults on demand, a journal, pages on which a person edits cells, a server.

A simulator is a WSGI application. Calls of its API pass through here, one at a time: they are counted, and a
fault may befall them before or after the work is done. Everything else is the person's pages.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from flask import Flask, redirect, render_template, request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request as WsgiRequest
from werkzeug.wrappers import Response as WsgiResponse

Now = Callable[[], datetime]

# What can go wrong with any HTTP system, and what it looks like.
BEFORE = {
    "too_many": "answers 429 without saying for how long",
    "too_many_hint": "answers 429 with Retry-After",
    "error": "answers 500 and does nothing",
    "gateway": "answers 502 with a page in HTML",
    "unavailable": "answers 503",
    "expired": "takes the token for expired",
    "closed": "closes the connection and does nothing",
}
AFTER = {
    "late_error": "does what was asked and answers 500",
    "lost": "does what was asked and closes the connection without an answer",
    "cut": "breaks off in the middle of its answer",
}
PAGES = {
    "short_page": "leaves records out of a page",
    "repeated_page": "gives a page that it has given before",
}
_TEMPLATES = str(Path(__file__).parent / "templates")
RETRY_AFTER = 2  # seconds, where a refusal gives a hint


class Faults:
    """Which call meets which fault: by its number from now on, or by chance."""

    def __init__(self, kinds: Mapping[str, str], rand: Callable[[], float]) -> None:
        self.kinds = kinds
        self.chances: dict[str, float] = {}
        self._rand = rand
        self._planned: dict[int, str] = {}
        self._calls = 0

    def plan(self, kind: str, *, call: int = 1) -> None:
        """Let this befall the `call`-th call from now on."""
        self._known(kind)
        self._planned[self._calls + call] = kind

    def chance(self, kind: str, share: float) -> None:
        """Let this befall a share of all calls; 0 ends it."""
        self._known(kind)
        self.chances[kind] = share

    def clear(self) -> None:
        self.chances.clear()
        self._planned.clear()

    def next(self) -> str | None:
        """What befalls the call that comes now."""
        self._calls += 1
        if (planned := self._planned.pop(self._calls, None)) is not None:
            return planned
        drawn = self._rand() if self.chances else 1.0
        for kind, share in self.chances.items():
            if drawn < share:
                return kind
            drawn -= share
        return None

    def _known(self, kind: str) -> None:
        if kind not in self.kinds:
            raise KeyError(f"there is no fault '{kind}': {', '.join(self.kinds)}")


class Clock:
    """A clock that can be put forward, for what takes hours."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return self._now() + self._ahead

    def passes(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API as it came in, and how it was answered (0: the answer was lost)."""

    method: str
    path: str
    status: int
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """One write that was carried out, whatever the caller heard of it."""

    operation: str
    place: str
    id: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    editable: bool = True


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells as a person sees them: a table, a sheet tab. `rows` are pairs of an id and the cells' texts."""

    id: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[str]]]


class Simulator:
    """Base of the simulators: state in memory, an API, and pages for people."""

    name: ClassVar[str]
    title: ClassVar[str]
    api: ClassVar[tuple[str, ...]]  # what the paths of the API begin with
    kinds: ClassVar[Mapping[str, str]] = BEFORE | AFTER | PAGES

    def __init__(
        self,
        *,
        now: Now,
        rand: Callable[[], float],
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.clock = Clock(now)
        self.rand = rand
        self.faults = Faults(self.kinds, rand)
        self.latency = 0.0  # seconds before each answer of the API
        self.calls: list[Call] = []
        self.journal: list[Accepted] = []
        self.spared: tuple[str, ...] = ()  # what the paths begin with that no fault befalls
        self.lock = threading.RLock()
        self._sleep = sleep or threading.Event().wait
        self.app = Flask(f"simulators.{self.name}", template_folder=_TEMPLATES)
        self._add_pages()

    # -- for a simulator to define --

    def fill(self) -> None:
        """Put something in to look at."""
        raise NotImplementedError

    def hints(self, url: str) -> list[str]:
        """How to connect to it, in lines for a person."""
        raise NotImplementedError

    def grids(self) -> list[Grid]:
        """Everything there is, for the pages."""
        raise NotImplementedError

    def put_cell(self, grid: str, row: str, column: str, text: str) -> None:
        """A person types into a cell. Raises ValueError with a sentence."""
        raise NotImplementedError

    def add_row(self, grid: str) -> None:
        raise NotImplementedError

    def remove_row(self, grid: str, row: str) -> None:
        raise NotImplementedError

    def refuse(self, kind: str, call: WsgiRequest) -> tuple[Any, int]:
        """The system's own body and status for a fault of BEFORE, or for `late_error`."""
        raise NotImplementedError

    # -- the API --

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        call = WsgiRequest(environ)
        if not call.path.startswith(self.api):
            with self.lock:
                return list(self.app(environ, start_response))
        # Read whatever becomes of the call: a server that closes on unread data cuts its own answer off.
        environ["wsgi.input"] = io.BytesIO(call.get_data())
        if self.latency:
            self._sleep(self.latency)
        with self.lock:
            fault = None if call.path.startswith(self.spared) else self.faults.next()
            answer = self._answer(environ, call, fault)
            answer.date = self.clock()
            lost = fault in ("closed", "lost")
            self.calls.append(Call(call.method, call.path, 0 if lost else answer.status_code, fault))
        if lost:
            raise ConnectionResetError(fault)  # the server closes the connection without a word
        if fault == "cut":
            return _half(answer, environ, start_response)
        return answer(environ, start_response)

    def _answer(self, environ: dict[str, Any], call: WsgiRequest, fault: str | None) -> WsgiResponse:
        if fault in BEFORE:
            return self._refusal(fault, call)
        environ["simulator.fault"] = fault if fault in PAGES else None
        answer = WsgiResponse.from_app(self.app, environ, buffered=True)
        return self._refusal(fault, call) if fault == "late_error" else answer

    def _refusal(self, kind: str, call: WsgiRequest) -> WsgiResponse:
        if kind == "closed":
            return WsgiResponse(status=500)
        if kind == "gateway":
            return WsgiResponse("<html><h1>502 Bad Gateway</h1></html>", 502, mimetype="text/html")
        body, status = self.refuse(kind, call)
        answer = WsgiResponse(json.dumps(body), status, mimetype="application/json")
        if kind == "too_many_hint":
            answer.headers["retry-after"] = str(RETRY_AFTER)
        return answer

    @property
    def fault(self) -> str | None:
        """The fault of PAGES that befalls the call that is being answered."""
        found: str | None = request.environ.get("simulator.fault")
        return found

    def accept(self, operation: str, place: str, id: str, fields: Mapping[str, Any] | None = None) -> None:
        """Note a write that is carried out."""
        self.journal.append(Accepted(operation, place, id, dict(fields or {})))

    # -- the pages --

    def _add_pages(self) -> None:
        @self.app.get("/")
        def overview() -> str:
            return self._page()

        @self.app.post("/cells/<path:grid>")
        def cells(grid: str) -> Any:
            row, problem = request.form.get("row", ""), ""
            try:
                match request.form.get("act"):
                    case "add":
                        self.add_row(grid)
                    case "remove":
                        self.remove_row(grid, row)
                    case _:
                        self._save_row(grid, row)
            except ValueError as mistake:
                problem = str(mistake)
            return (self._page(problem), 400) if problem else redirect(f"/#{grid}", 303)

        @self.app.post("/faults")
        def faults() -> Any:
            self.faults.clear()
            with suppress(ValueError):  # an empty field
                self.latency = max(0.0, float(request.form.get("latency", "")))
            for kind in self.kinds:
                with suppress(ValueError):
                    self.faults.chance(kind, min(1.0, float(request.form.get(kind, "")) / 100))
            return redirect("/", 303)

    def _page(self, problem: str = "") -> str:
        return render_template(
            "cells.html", it=self, grids=self.grids(), problem=problem, calls=self.calls[-20:][::-1]
        )

    def _save_row(self, grid: str, row: str) -> None:
        """Only cells that the person changed are written: the others may have moved meanwhile."""
        for number in range(int(request.form.get("columns", "0"))):
            column, text = request.form.get(f"name{number}"), request.form.get(f"cell{number}")
            was = request.form.get(f"was{number}", "")
            if column is not None and text is not None and _lines(text) != _lines(was):
                self.put_cell(grid, row, column, _lines(text))


# -- the server -------------------------------------------------------------------------------------


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The simulator keeps its calls itself."""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)  # the date is the simulator's own

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        self.close_connection = True


def make_http_server(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> BaseWSGIServer:
    """A threaded server that listens, and does not serve yet. Raises OSError."""
    return make_server(host, port, simulator, threaded=True, request_handler=_Handler)


@contextmanager
def serving(simulator: Simulator) -> Iterator[str]:
    """Serve on a free loopback port for as long as the block lasts; the URL."""
    server = make_http_server(simulator)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _half(answer: WsgiResponse, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = answer.get_data()
    answer(environ, start_response)  # the headers promise all of it
    return [body[: len(body) // 2]]


def _lines(text: str) -> str:
    """A text with several lines as it stood before a browser sent it."""
    return text.replace("\r\n", "\n")
