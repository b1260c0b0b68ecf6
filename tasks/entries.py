"""The journal's rows of a run's own plan: what `models.journal.Change` keeps, without an object of the ORM's
for each. A first load has one for every record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.journal import Change
from sync.values import Fields, decode_fields


@dataclass(slots=True)
class Entry:
    """One planned change, by the names of the table's columns; no session knows it.

    `own` is what `after` holds, as values: nobody has to decode what this run has just encoded.
    """

    marker: str
    workspace_id: str
    config_id: str
    run_id: str
    link_id: int | None
    side: str
    operation: str
    key: str
    record_id: str | None
    origin_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    rule: str
    state: str
    fingerprint: str
    settle: dict[str, Any] | None
    created_at: datetime
    own: Fields | None = None
    id: int = 0
    result: dict[str, Any] | None = None
    guard: str | None = None
    code: str | None = None
    message: str | None = None
    attempts: int = 0
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    expires_at: datetime | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None

    def let_go(self) -> None:
        """Forget the values once they are stored: a large run would hold all of them until its end."""
        self.before = self.after = self.settle = self.result = self.own = None


Journalled = Change | Entry
COLUMNS = tuple(item.name for item in Change.__table__.columns)


def row_of(entry: Entry) -> dict[str, Any]:
    """The entry as a row of the table."""
    return {name: getattr(entry, name) for name in COLUMNS}


def as_change(entry: Entry) -> Change:
    """The same as an object that a session keeps; the database chooses its id."""
    return Change(**{name: value for name, value in row_of(entry).items() if name != "id"})


def own_after(change: Journalled) -> Fields:
    """What a change writes, as values of its side by the pairs' names."""
    if isinstance(change, Entry) and change.own is not None:
        return change.own
    return decode_fields(change.after or {})
