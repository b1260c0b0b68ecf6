"""Changes that a guard or the policy holds, and the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from models.journal import Change
from models.sync_configs import Baseline, SyncConfig
from sync.guard import APPROVAL, SENTENCES
from web.database import db
from web.reads.query import Slice, is_word, keyset
from web.reads.runs import ChangeRow


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

    @property
    def why(self) -> str:
        return SENTENCES.get(self.guard, "A guard holds them until somebody has looked.")

    @property
    def share(self) -> str:
        return f"{self.number / self.known:.0%} of {self.known:,} records" if self.known else ""


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
        .where(Change.workspace_id == workspace_id, is_word(Change.state, "held"))
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
    return [
        Group(
            config_id=row.config_id,
            config=known[row.config_id].name,
            guard=row.guard or APPROVAL,
            side=row.side,
            operation=row.operation,
            number=row.number,
            known=known[row.config_id].left_count if row.side == "left" else known[row.config_id].right_count,
        )
        for row in rows
    ]


def find(workspace_id: str, args: Mapping[str, str]) -> Slice[ChangeRow]:
    """One page of held changes, the newest first. Raises BadFilter."""
    query = select(Change).where(Change.workspace_id == workspace_id, is_word(Change.state, "held"))
    if config_id := args.get("config", "")[:36]:
        query = query.where(Change.config_id == config_id)
    found = keyset(query, Change.created_at, Change.id, lambda item: (item.created_at, item.id), args)
    return Slice([ChangeRow(item) for item in found.items], older=found.older, newer=found.newer)
