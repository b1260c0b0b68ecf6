"""Changes that a guard or the policy holds, the evidence for it, and plans to let them through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select

from models.db import in_index, unindexed
from models.journal import Change
from models.sync_configs import Baseline, SyncConfig
from sync.guard import APPROVAL, SENTENCES
from web.database import db
from web.languages import _, counted, mark, percent
from web.reads.impact import Impact, of_held
from web.reads.query import BadFilter, Export, Slice, config_names, export, is_word, keyset
from web.reads.runs import ChangeRow
from web.words import both

STATES = ("held", "approved", "dismissed", "expired", "withdrawn")
MOST = 500  # changes of one plan; the next slice follows


def is_held(workspace_id: str) -> ColumnElement[bool]:
    """A change of this workspace that waits for somebody."""
    return in_state(workspace_id, "held")


def in_state(workspace_id: str, state: str) -> ColumnElement[bool]:
    """A change of this workspace in one of STATES."""
    chosen = and_(is_word(Change.state, state), in_index(Change, "ix_changes_decided"))
    return and_(Change.workspace_id == workspace_id, chosen)


@dataclass(frozen=True, slots=True)
class HeldFilter:
    config_id: str = ""
    state: str = "held"

    @classmethod
    def of(cls, args: Mapping[str, str]) -> HeldFilter:
        """Raises BadFilter."""
        state = args.get("state", "held")
        if state not in STATES:
            raise BadFilter(
                _(
                    "'%(word)s' is not a state. Use %(states)s.",
                    word=state[:40],
                    states=both(list(STATES), "or"),
                )
            )
        return cls(args.get("config", "")[:36], state)

    def args(self, **changed: str) -> dict[str, str]:
        named = {"config": self.config_id, "state": self.state} | changed
        return {name: value for name, value in named.items() if value and value != "held"}


@dataclass(frozen=True, slots=True)
class Group:
    """The held changes of one sync, one kind, for one reason."""

    config_id: str
    config: str
    guard: str
    side: str
    operation: str
    number: int
    known: int | None  # records that this side held when it was last read
    impact: Impact | None = None  # where its sync names columns for it

    @property
    def why(self) -> str:
        return _(SENTENCES.get(self.guard, mark("A guard holds them until somebody has looked.")))

    @property
    def share(self) -> str:
        if not self.known:
            return ""
        share = percent(self.number / self.known)
        return counted("%(share)s of %(num)s record", "%(share)s of %(num)s records", self.known, share=share)

    @property
    def args(self) -> dict[str, str]:
        """What names this group in an address."""
        return {
            "config": self.config_id,
            "guard": self.guard,
            "side": self.side,
            "operation": self.operation,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """Exactly these changes, as they are held now."""

    rows: Sequence[ChangeRow]
    more: bool

    @property
    def digest(self) -> str:
        told = ",".join(f"{row.change.id}:{row.change.fingerprint}" for row in self.rows)
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many of each operation on each side."""
        found: dict[tuple[str, str], int] = {}
        for row in self.rows:
            kind = (row.change.operation, row.change.side)
            found[kind] = found.get(kind, 0) + 1
        return found


def groups(workspace_id: str) -> Sequence[Group]:
    """What is held, by sync and reason, the largest group first."""
    rows = db.session.execute(
        select(
            Change.config_id,
            Change.guard,
            Change.side,
            Change.operation,
            func.count().label("number"),
        )
        .where(is_held(workspace_id))
        .group_by(Change.config_id, Change.guard, Change.side, Change.operation)
        .order_by(func.count().desc())
        .limit(100)
    ).all()
    ids = {row.config_id for row in rows}
    known = {
        row.id: row
        for row in db.session.execute(
            select(SyncConfig.id, SyncConfig.name, Baseline.left_count, Baseline.right_count)
            .outerjoin(Baseline, Baseline.config_id == SyncConfig.id)
            .where(SyncConfig.id.in_(ids))
        )
    }
    means = of_held(ids, [is_held(workspace_id)])
    return [
        Group(
            config_id=row.config_id,
            config=known[row.config_id].name,
            guard=row.guard or APPROVAL,
            side=row.side,
            operation=row.operation,
            number=row.number,
            known=known[row.config_id].left_count if row.side == "left" else known[row.config_id].right_count,
            impact=means.get((row.config_id, row.guard, row.side, row.operation)),
        )
        for row in rows
    ]


EXPORTED = (
    "change", "sync", "record", "side", "operation", "state", "guard", "rule", "field", "before", "after",
    "held_at", "expires_at", "decided_by", "decided_at",
)  # fmt: skip


def exported(workspace_id: str, wanted: HeldFilter, limit: int) -> Export:
    """The newest changes in this state, as rows under EXPORTED, one per field."""
    return export(_rows(workspace_id, wanted), Change.created_at, Change.id, _told, limit)


def _told(found: Sequence[Change]) -> Iterator[tuple[Any, ...]]:
    names = config_names({change.config_id for change in found})
    for change in found:
        told = (change.id, names[change.config_id], change.key, change.side, change.operation, change.state)
        when = (change.created_at, change.expires_at, change.decided_by, change.decided_at)
        for item in ChangeRow(change).fields:
            values = (item.name, item.before.text, item.after.text)
            yield (*told, change.guard, change.rule, *values, *when)


def _rows(workspace_id: str, wanted: HeldFilter) -> Select[Change]:
    query = select(Change).where(in_state(workspace_id, wanted.state))
    if wanted.state not in ("held", "approved"):
        query = query.where(Change.guard.is_not(None))
    if wanted.config_id:
        query = query.where(unindexed(Change.config_id, wanted.config_id))
    return query


def find(workspace_id: str, wanted: HeldFilter, args: Mapping[str, str]) -> Slice[ChangeRow]:
    """One page of changes in this state, the newest first. Raises BadFilter."""
    query = _rows(workspace_id, wanted)
    found = keyset(query, Change.created_at, Change.id, lambda item: (item.created_at, item.id), args)
    return Slice([ChangeRow(item) for item in found.items], older=found.older, newer=found.newer)


def plan(workspace_id: str, args: Mapping[str, str], ids: Sequence[int]) -> Plan:
    """The held changes with these ids or, without ids, those of the group that `args` names."""
    query: Select[Change] = select(Change).where(is_held(workspace_id))
    if ids:
        query = query.where(Change.id.in_(ids))
    else:
        for name, column in (
            ("config", Change.config_id),
            ("guard", Change.guard),
            ("side", Change.side),
            ("operation", Change.operation),
        ):
            query = query.where(column == args.get(name, ""))
    found = list(db.session.scalars(query.order_by(Change.id).limit(MOST + 1)))
    return Plan([ChangeRow(item) for item in found[:MOST]], more=len(found) > MOST)
