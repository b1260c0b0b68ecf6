"""The calls that a run made to the outside, as far as they were kept."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select

from models.calls import RunCall
from models.journal import NOT_THROUGH, Change
from tasks.redaction import REMOVED
from web.database import db
from web.languages import _
from web.reads.query import BadFilter, Export

MOST = 300  # three times over what one worker keeps: a run that was interrupted twice
_CUT_OFF = 2_000  # letters of a message

EXPORTED = (
    "number", "at", "side", "method", "url", "attempt", "status", "problem", "failed", "ms", "request_id",
    "sent_bytes", "bytes", "sent_headers", "sent", "headers", "body",
)  # fmt: skip
Cell = str | int | float | bool | datetime | None


@dataclass(frozen=True, slots=True)
class CallFilter:
    """What the address of the page asks for."""

    only_failed: bool = False
    side: str = ""

    @classmethod
    def of(cls, args: Mapping[str, str]) -> CallFilter:
        """Raises BadFilter."""
        side = args.get("side", "")
        if side not in ("", "left", "right"):
            raise BadFilter(_("'%(word)s' is not a side. Use left or right.", word=side[:40]))
        return cls(args.get("failed") == "yes", side)

    @property
    def args(self) -> dict[str, str]:
        """What names it in an address."""
        return {
            name: value
            for name, value in (("failed", "yes" if self.only_failed else ""), ("side", self.side))
            if value
        }

    def lets(self, call: RunCall) -> bool:
        return (call.failed or not self.only_failed) and self.side in ("", call.side)


@dataclass(frozen=True, slots=True)
class Shown:
    """A call with what it carried, or without."""

    call: RunCall
    reveals: bool
    left_out: int = 0  # calls before it that went well and were not kept

    @property
    def place(self) -> str:
        return self.call.origin.partition("://")[2]

    @property
    def path(self) -> str:
        """The path; the query, which may hold a person's data, only where it is revealed."""
        return self.call.target if self.reveals else masked(self.call.target)

    @property
    def sent(self) -> str:
        return pretty(self.call.sent)

    @property
    def body(self) -> str:
        return pretty(self.call.body)

    @property
    def curl(self) -> str:
        """The same call for a terminal; each credential is a gap to be filled in."""
        call = self.call
        parts = ["curl", "--request", call.method, shlex.quote(call.origin + call.target)]
        for name, value in call.sent_headers.items():
            if name not in ("host", "content-length", "accept-encoding", "connection"):
                parts += ["\\\n  --header", shlex.quote(f"{name}: {value}")]
        if call.sent:
            parts += ["\\\n  --data-raw", shlex.quote(call.sent)]
        return " ".join(parts).replace(REMOVED, "<SECRET>")


@dataclass(frozen=True)
class KeptCalls:
    """Which calls of a run were kept, without what they carried."""

    number: int = 0
    failed: int = 0
    last_failed: int | None = None
    of_change: Mapping[int, int] = field(
        default_factory=dict
    )  # id of a change -> of the call that carried it
    of_key: Mapping[str, int] = field(
        default_factory=dict
    )  # the same by record, where it did not get through

    def of_keys(self, keys: Sequence[str]) -> int | None:
        return next((self.of_key[key] for key in keys if key in self.of_key), None)


def kept(run_id: str) -> KeptCalls:
    """Two queries; one where no call was kept."""
    rows = db.session.execute(
        select(RunCall.id, RunCall.failed, RunCall.changes)
        .where(RunCall.run_id == run_id)
        .order_by(RunCall.id)
        .limit(MOST)
    ).all()
    if not rows:
        return KeptCalls()
    of_change: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: row.failed):  # a failed call says more than one that went well
        of_change |= dict.fromkeys(row.changes, row.id)
    changes = db.session.execute(
        select(Change.id, Change.key)
        .where(Change.run_id == run_id, Change.state.in_(NOT_THROUGH))
        .order_by(Change.id)
        .limit(MOST)
    )
    failed = [row.id for row in rows if row.failed]
    return KeptCalls(
        number=len(rows),
        failed=len(failed),
        last_failed=failed[-1] if failed else None,
        of_change=of_change,
        of_key={row.key: of_change[row.id] for row in changes if row.id in of_change},
    )


def of_run(run_id: str, wanted: CallFilter, *, reveals: bool) -> list[Shown]:
    """In the order in which they were made."""
    found: list[Shown] = []
    before = 0
    for call in rows(run_id):
        gap = call.number - before - 1 if call.number > before else 0
        before = call.number
        if wanted.lets(call):
            found.append(Shown(call, reveals, gap if wanted == CallFilter() else 0))
    return found


def rows(run_id: str) -> Sequence[RunCall]:
    query = select(RunCall).where(RunCall.run_id == run_id)
    return db.session.scalars(query.order_by(RunCall.at, RunCall.number, RunCall.id).limit(MOST)).all()


def exported(run_id: str, wanted: CallFilter) -> Export:
    """Rows under EXPORTED: there are never many."""
    found: list[Sequence[Cell]] = [
        (
            call.number, call.at, call.side, call.method, call.origin + call.target, call.attempt,
            call.status, call.problem[:_CUT_OFF], call.failed, call.ms, call.request_id,
            call.sent_size, call.size, json.dumps(call.sent_headers, ensure_ascii=False), call.sent,
            json.dumps(call.headers, ensure_ascii=False), call.body,
        )
        for call in rows(run_id)
        if wanted.lets(call)
    ]  # fmt: skip
    return Export(len(found), iter(found))


def masked(target: str) -> str:
    """An address without its query, which may hold a person's data."""
    path, mark, query = target.partition("?")
    return f"{path}{mark}…" if query else target


def pretty(text: str) -> str:
    """JSON over several lines; what is no whole JSON stays as it is."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return text
