"""Open conflicts, grouped by record: a person looks at a record, not at single fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from models.issues import Conflict
from models.sync_configs import SyncConfig
from web.database import db
from web.reads.query import BadFilter, Slice, is_word, keyset
from web.reads.values import Shown, wrapped

STATES = ("open", "settled")


@dataclass(frozen=True, slots=True)
class ConflictFilter:
    config_id: str = ""
    state: str = "open"

    @classmethod
    def of(cls, args: Mapping[str, str]) -> ConflictFilter:
        """Raises BadFilter."""
        state = args.get("state", "open")
        if state not in STATES:
            raise BadFilter(f"'{state[:40]}' is not a state of conflicts. Use open or settled.")
        return cls(args.get("config", "")[:36], state)

    def args(self, **changed: str) -> dict[str, str]:
        named = {"config": self.config_id, "state": self.state} | changed
        return {name: value for name, value in named.items() if value and value != "open"}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One field, or (field "") one side's edit against the other's deletion."""

    conflict: Conflict
    left: Shown
    right: Shown
    left_before: Shown
    right_before: Shown

    @property
    def is_delete(self) -> bool:
        return self.conflict.kind == "delete"


@dataclass(frozen=True, slots=True)
class ConflictRow:
    conflict: Conflict
    config: str
    what: Disagreement


@dataclass(frozen=True, slots=True)
class Contested:
    """A record with everything in it that is open."""

    key: str
    config: SyncConfig
    first: Conflict
    fields: Sequence[Disagreement]

    @property
    def since(self) -> datetime:
        return min(item.conflict.opened_at for item in self.fields)


def find(workspace_id: str, wanted: ConflictFilter, args: Mapping[str, str]) -> Slice[ConflictRow]:
    """One page of conflicts, the newest first. Raises BadFilter."""
    is_open = is_word(Conflict.state, "open")
    query = select(Conflict).where(
        Conflict.workspace_id == workspace_id, is_open if wanted.state == "open" else ~is_open
    )
    if wanted.config_id:
        query = query.where(Conflict.config_id == wanted.config_id)
    found = keyset(query, Conflict.opened_at, Conflict.id, lambda item: (item.opened_at, item.id), args)
    names = _names([item.config_id for item in found.items])
    return Slice(
        [ConflictRow(item, names.get(item.config_id, ""), disagreement(item)) for item in found.items],
        older=found.older,
        newer=found.newer,
    )


def record(workspace_id: str, conflict_id: int) -> Contested | None:
    """The record that a conflict belongs to, with all its open fields; None where there is no such."""
    first = db.session.scalar(
        select(Conflict).where(Conflict.id == conflict_id, Conflict.workspace_id == workspace_id)
    )
    if first is None:
        return None
    config = db.session.get_one(SyncConfig, first.config_id)
    same = Conflict.link_id == first.link_id if first.link_id is not None else Conflict.key == first.key
    others = db.session.scalars(
        select(Conflict)
        .where(
            Conflict.config_id == first.config_id,
            same,
            is_word(Conflict.state, "open"),
            Conflict.id != first.id,
        )
        .order_by(Conflict.field)
    ).all()
    together = [first, *others] if first.state == "open" else [first]
    return Contested(first.key, config, first, [disagreement(item) for item in together])


def disagreement(conflict: Conflict) -> Disagreement:
    return Disagreement(
        conflict,
        left=wrapped(conflict.left),
        right=wrapped(conflict.right),
        left_before=wrapped(conflict.left_shadow),
        right_before=wrapped(conflict.right_shadow),
    )


def _names(ids: Sequence[str]) -> dict[str, str]:
    rows = db.session.execute(select(SyncConfig.id, SyncConfig.name).where(SyncConfig.id.in_(set(ids))))
    return {row.id: row.name for row in rows}
