"""A person at the simulated Airtable, whose clock stands still unless it is put forward."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

from connectors.airtable import Airtable, AirtableStreamOptions
from connectors.base import Access
from connectors.quotas import Limiter, NoLimiter
from simulators import airtable as simulated
from sync.values import Value, parse
from tests.connectors.contract import KINDS, Desk

START = datetime(2026, 3, 5, 12, tzinfo=UTC)
TOKEN = "patOfTheTests.0123456789"
COLUMNS: list[dict[str, Any]] = [
    {"name": "name", "type": "singleLineText"},
    {"name": "balance", "type": "number", "options": {"precision": 2}},
    {"name": "active", "type": "checkbox"},
    {"name": "since", "type": "date"},
    {"name": "notes", "type": "multilineText"},
    {"name": "modified", "type": "lastModifiedTime"},
]


def sent(value: Value) -> Any:
    """A canonical value as a person types it."""
    match value:
        case Decimal():
            return float(value)
        case date():
            return value.isoformat()
        case _:
            return value


class AirtableDesk(Desk):
    stream_name = "Customers"

    def __init__(
        self, url: str, system: simulated.Airtable, columns: Sequence[Mapping[str, Any]] = COLUMNS
    ) -> None:
        self.url = url
        self.system = system
        self.base = system.add_base("Sales")
        self.table = system.add_table(self.base, self.stream_name, columns)
        system.add_token(TOKEN)
        self.options = AirtableStreamOptions()
        self.limiter: Limiter = NoLimiter()
        self.connector = self.again()

    def again(self, **changed: Any) -> Airtable:
        options = {"endpoint": self.url, "base": self.base.id, "token": TOKEN, **changed}
        given = {name: value for name, value in options.items() if value is not None}
        return Airtable(Airtable.parse_options(given), self.access())

    def access(self, **more: Any) -> Access:
        return Access(networks=(ip_network("127.0.0.0/8"),), allow_http=True, limiter=self.limiter, **more)

    def put(self, fields: Mapping[str, Value]) -> str:
        return self.system.put(self.base, self.table, {name: sent(value) for name, value in fields.items()})

    def edit(self, id: str, fields: Mapping[str, Value]) -> None:
        self.system.put(self.base, self.table, {name: sent(value) for name, value in fields.items()}, id)

    def remove(self, id: str) -> None:
        self.system.remove(self.base, self.table, id)

    def truth(self) -> dict[str, dict[str, Value]]:
        return {id: self.stands(id) for id in self.table.records}

    def stands(self, id: str) -> dict[str, Value]:
        shown = self.system.shown(self.base, self.table, self.table.records[id])
        found: dict[str, Value] = {}
        for name, kind in KINDS.items():
            value = shown[name]
            value = Decimal(repr(value)) if isinstance(value, float) else value
            found[name] = bool(value) if name == "active" else parse(value, kind)
        return found

    def data_calls(self) -> list[str]:
        """The calls about records so far, as words."""
        words = {"POST": "create", "PATCH": "update", "DELETE": "delete"}
        return [
            "list" if call.path.endswith("/listRecords") else words[call.method]
            for call in self.system.calls
            if "/meta/" not in call.path
        ]


def simulator() -> simulated.Airtable:
    system = simulated.Airtable(now=lambda: START, rand=random.Random(11).random)
    system.has_limits = False
    return system
