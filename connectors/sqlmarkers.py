"""Marks that our writes leave in a database, in their own transaction: what has one has happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from connectors.base import Outcome
from connectors.dialects.base import Database, Unfit
from connectors.dialects.tables import MARKERS
from connectors.errors import OptionsError

KEPT = timedelta(days=30)  # longer than any write stays in doubt
_AT_ONCE = 500

_markers = sa.Table(
    MARKERS,
    sa.MetaData(),
    sa.Column("marker", sa.String(36), primary_key=True),
    sa.Column("record", sa.String(500)),  # the id of the record that was written
    sa.Column("at", sa.DateTime, nullable=False, server_default=sa.func.now()),
)


class Markers:
    """The table of marks in one database. It is made, and freed of old marks, when first needed."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._is_ready = False

    def make_ready(self) -> None:
        """Raises OptionsError where we may not make the table, and the errors of the tree."""
        if self._is_ready:
            return
        try:
            self._make()
        except (OptionsError, Unfit):
            self._make_again()  # two processes may begin at once, and one of them comes too late
        self._is_ready = True

    def _make(self) -> None:
        with self._db.writing() as connection:
            _markers.create(connection, checkfirst=True)
            now = str(connection.scalar(sa.select(sa.func.now())))  # drivers disagree on the type
            old = datetime.fromisoformat(now).replace(tzinfo=None) - KEPT
            connection.execute(sa.delete(_markers).where(_markers.c.at < old))

    def _make_again(self) -> None:
        try:
            self._make()
        except (OptionsError, Unfit) as problem:
            raise OptionsError(
                f"The table '{MARKERS}', in which writes leave their marks, cannot be made or used in"
                f" {self._db.place}: {problem.message} Have it made by somebody who may"
                " (marker varchar(36) primary key, record varchar(500), at timestamp not null default now())"
                " and give this user SELECT, INSERT and DELETE on it, or switch `markers` off.",
                code="markers",
            ) from None

    def leave(self, connection: Connection, outcomes: Iterable[Outcome]) -> None:
        """A mark for each write that took effect, in the transaction in which it did."""
        done = {item.marker: (item.id or "")[:500] for item in outcomes if item.status == "done"}
        known = self.found(connection, list(done))  # a batch that is sent twice
        if new := [{"marker": marker, "record": id} for marker, id in done.items() if marker not in known]:
            connection.execute(sa.insert(_markers), new)

    def found(self, connection: Connection, markers: Sequence[str]) -> dict[str, str]:
        """The ids of the records that these writes wrote, of those that took effect."""
        there: dict[str, str] = {}
        for start in range(0, len(markers), _AT_ONCE):
            some = _markers.c.marker.in_(markers[start : start + _AT_ONCE])
            rows = connection.execute(sa.select(_markers.c.marker, _markers.c.record).where(some))
            there.update((row[0], row[1] or "") for row in rows)
        return there

    def is_there(self, connection: Connection) -> bool:
        return sa.inspect(connection).has_table(MARKERS)
