"""What a batch of confirmed changes moves of its links and shadows: read at once, stored at once.

Within the caller's fenced transaction. Nothing here decides: `tasks.apply` says what moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from models import many
from models.links import Link, Shadow
from tasks import ledger
from tasks.entries import Journalled


@dataclass(slots=True)
class Shadows:
    """A link's two shadows as they are stored, and the writes that were made too often."""

    left: dict[str, Any] = field(default_factory=dict)
    right: dict[str, Any] = field(default_factory=dict)
    flaps: dict[str, Any] | None = None


class Moves:
    """The links of one batch. `fresh` of them at most are new."""

    def __init__(self, db: Session, config_id: str, link_ids: Iterable[int], *, fresh: int) -> None:
        self._db = db
        self._config_id = config_id
        columns = (Shadow.link_id, Shadow.left, Shadow.right, Shadow.flaps)
        self._shadows: dict[int, Shadows] = {
            link_id: Shadows(left, right, flaps)
            for link_id, left, right, flaps in many.chosen(db, columns, Shadow.link_id, set(link_ids))
        }
        self._known = set(self._shadows)
        self._moved: set[int] = set()  # links whose shadows did
        self._values: dict[int, dict[str, Any]] = {}
        self._new: dict[int, dict[str, Any]] = {}
        self._owners: list[tuple[Journalled, int]] = []
        self._ids = list(reversed(many.new_ids(db, Link, fresh))) if fresh else []

    def shadows(self, link_id: int) -> Shadows:
        return self._shadows[link_id]

    def link(self, link_id: int, **values: Any) -> None:
        """Set these columns of a link."""
        into = self._new.get(link_id)
        if into is None:
            into = self._values.setdefault(link_id, {})
        into.update(values)

    def add(self, change: Journalled, **values: Any) -> int:
        """A new link without shadows, which the change gets once it is stored; its id."""
        link_id = self._ids.pop()
        self._owners.append((change, link_id))
        self._new[link_id] = {**ledger.NEW_LINK, "id": link_id, "config_id": self._config_id, **values}
        return link_id

    def merge(
        self, link_id: int, left: Mapping[str, Any], right: Mapping[str, Any], *, replace: bool = False
    ) -> Shadows:
        """Set these fields (encoded values) of a link's two shadows; `replace` forgets the others."""
        found = self._shadows.setdefault(link_id, Shadows())
        found.left = {**({} if replace else found.left), **left}
        found.right = {**({} if replace else found.right), **right}
        self._moved.add(link_id)
        return found

    def store(self) -> None:
        ledger.insert_links(self._db, list(self._new.values()))
        for change, link_id in self._owners:
            change.link_id = link_id
        ledger.update_links(self._db, [{"id": id_, **values} for id_, values in self._values.items()])
        moved = [(id_, self._shadows[id_]) for id_ in self._moved]
        rows = [
            {"link_id": id_, "left": item.left, "right": item.right, "flaps": item.flaps}
            for id_, item in moved
        ]
        many.insert_rows(self._db, Shadow, [row for row in rows if row["link_id"] not in self._known])
        changed: Sequence[dict[str, Any]] = [row for row in rows if row["link_id"] in self._known]
        many.update_rows(self._db, Shadow, changed, key="link_id")
