"""What is kept of the calls that a run makes to the outside: enough to see why one failed, and no more.

Kept are the first few and the last few that went well, those that carried a record which did not get
through, and those that failed, up to a number. Bodies are kept from their beginning: a little of a read that
went well, more of a write, most of a failure. Credentials are taken out before anything is stored.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from connectors.recording import Call
from models.calls import RunCall
from sync.records import Side
from tasks import redaction
from tasks.context import Context

FIRST, LAST, FAILED = 5, 10, 50  # how many calls are kept of each kind
CARRYING = 50  # of the calls of one batch
CHANGES = 200  # ids of changes with one call
READ_KEPT, WRITE_KEPT, FAILURE_KEPT = 1_000, 4_000, 16_000  # letters of a body
HEADERS = 30
VALUE, TARGET = 300, 2_000  # letters of a header, of an address
# A secret that is cut in two could not be found: this much more is looked at than is kept.
MARGIN = 8_192
_REQUEST_IDS = (
    "x-request-id", "request-id", "x-amzn-requestid", "x-goog-request-id", "x-correlation-id", "cf-ray"
)  # fmt: skip


@dataclass
class _Noted:
    """A call as it is held until it is stored: its bodies cut, nothing masked yet."""

    number: int
    at: datetime
    side: Side
    attempt: int
    call: Call
    sent: bytes
    body: bytes
    sizes: tuple[int, int]
    changes: Sequence[int]
    wanted: bool = False

    @property
    def most(self) -> int:
        if self.call.failed or self.wanted:
            return FAILURE_KEPT
        return READ_KEPT if self.call.method == "GET" else WRITE_KEPT


class CallLog:
    """The calls of one run, from as many threads as read and write in it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._lock = threading.Lock()
        self._here = threading.local()
        self._number = self._failures = 0
        self._ready: list[_Noted] = []  # to be stored
        self._latest: deque[_Noted] = deque()  # stored at the end, unless newer ones come
        self._last: dict[Side, tuple[tuple[str, str, int], int]] = {}  # a call that failed, and its attempt

    def on(self, side: Side) -> _OfSide:
        """Who is told of the calls to this side."""
        return _OfSide(self, side)

    @contextmanager
    def carrying(self, changes: Sequence[int]) -> Iterator[_Batch]:
        """The calls that this thread makes inside carry these changes."""
        batch = self._here.batch = _Batch(changes[:CHANGES])
        try:
            yield batch
        finally:
            self._here.batch = None
            for noted in batch.noted:
                noted.wanted = batch.is_wanted
                self._keep(noted)

    @property
    def has_news(self) -> bool:
        return bool(self._ready)

    @property
    def is_stored(self) -> bool:
        return not (self._ready or self._latest)

    def store(self, db: Session, run_id: str, *, rest: bool = False) -> None:
        """Store what is not stored yet; at the end with the `rest`, the latest calls."""
        with self._lock:
            ready, self._ready = self._ready, []
            if rest:
                ready += self._latest
                self._latest.clear()
        db.add_all(_row(noted, run_id) for noted in sorted(ready, key=lambda noted: noted.number))

    def note(self, side: Side, call: Call) -> None:
        most = MARGIN + FAILURE_KEPT
        batch: _Batch | None = getattr(self._here, "batch", None)
        same = (call.method, call.target, hash(call.sent))
        with self._lock:
            self._number += 1
            before = self._last.pop(side, None)
            attempt = before[1] + 1 if before is not None and before[0] == same else 1
            if call.failed:
                self._last[side] = (same, attempt)
            noted = _Noted(
                number=self._number,
                at=self._ctx.now() - timedelta(seconds=call.seconds),
                side=side,
                attempt=attempt,
                call=_without_bodies(call),
                sent=call.sent[:most],
                body=call.body[:most],
                sizes=(len(call.sent), len(call.body)),
                changes=batch.changes if batch is not None else (),
            )
        if batch is not None:
            batch.noted.append(noted)
        else:
            self._keep(noted)

    def _keep(self, noted: _Noted) -> None:
        with self._lock:
            if noted.call.failed or noted.wanted:
                self._failures += 1
                if self._failures <= FAILED:
                    self._ready.append(noted)
            elif noted.number <= FIRST:
                self._ready.append(noted)
            else:
                self._latest.append(noted)
                if len(self._latest) > LAST:
                    self._latest.popleft()


@dataclass(frozen=True, slots=True)
class _OfSide:
    log: CallLog
    side: Side

    def note(self, call: Call) -> None:
        self.log.note(self.side, call)


class _Batch:
    """The calls that carried a batch of changes."""

    def __init__(self, changes: Sequence[int]) -> None:
        self.changes = tuple(changes)
        self.noted: deque[_Noted] = deque(maxlen=CARRYING)
        self.is_wanted = False  # something in it did not get through


def _without_bodies(call: Call) -> Call:
    return Call(
        method=call.method,
        origin=call.origin,
        target=call.target,
        sent_headers={} if call.is_confidential else call.sent_headers,
        sent=b"",
        seconds=call.seconds,
        status=call.status,
        headers={} if call.is_confidential else call.headers,
        problem=call.problem,
        is_confidential=call.is_confidential,
        secrets=call.secrets,
    )


def _row(noted: _Noted, run_id: str) -> RunCall:
    call = noted.call
    hidden = call.is_confidential
    return RunCall(
        run_id=run_id,
        number=noted.number,
        at=noted.at,
        side=noted.side,
        method=call.method[:10],
        origin=call.origin[:300],
        target=_target(call),
        attempt=noted.attempt,
        status=call.status,
        problem=_plain(call, call.problem)[:TARGET],
        failed=call.failed,
        ms=int(call.seconds * 1000),
        request_id=_request_id(call),
        sent_size=noted.sizes[0],
        size=noted.sizes[1],
        sent_headers=_headers(call, call.sent_headers),
        sent="" if hidden else _body(call, noted.sent, noted.sizes[0], noted.most),
        headers=_headers(call, call.headers),
        body="" if hidden else _body(call, noted.body, noted.sizes[1], noted.most),
        changes=list(noted.changes),
    )


def _target(call: Call) -> str:
    target = call.target.partition("?")[0] if call.is_confidential else call.target
    return redaction.masked_form(_plain(call, target))[:TARGET]


def _request_id(call: Call) -> str:
    found = next((call.headers[name] for name in _REQUEST_IDS if name in call.headers), "")
    return redaction.clean(_plain(call, found))[:200]


def _headers(call: Call, headers: Mapping[str, str]) -> dict[str, str]:
    few = {name: _plain(call, value) for name, value in list(headers.items())[:HEADERS]}
    return {name[:100]: value[:VALUE] for name, value in redaction.masked_headers(few).items()}


def _body(call: Call, raw: bytes, size: int, most: int) -> str:
    """The beginning of a body, masked. Cut behind the mask, and far from where the raw text was cut."""
    text = raw.decode("utf-8", "replace")
    is_whole = len(raw) == size
    if is_whole and (parsed := _parsed(text)) is not None:
        text = json.dumps(parsed, ensure_ascii=False)  # every letter in its plain form
    masked = redaction.masked_body(_plain(call, text.replace("\\/", "/")))
    if not is_whole:
        masked = masked[:-MARGIN]
    return masked if len(masked) <= most else masked[: most - 1] + "…"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _plain(call: Call, text: str) -> str:
    """Without what the connector itself knows as secret, and without what PostgreSQL does not take."""
    for secret in call.secrets:
        text = text.replace(secret, redaction.REMOVED)
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
