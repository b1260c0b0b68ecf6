"""What happened in a workspace since a moment: for whoever comes back, or takes over a shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from models.issues import Conflict, Issue
from models.sync_runs import RunKind, RunState, SyncRun
from web.database import db
from web.reads.query import Count, as_count, capped, is_word

LONGEST = timedelta(days=14)  # further back it is not told what is news


@dataclass(frozen=True, slots=True)
class News:
    """One kind of thing that happened, where to look at it, and whether it is good."""

    number: Count
    one: str
    many: str
    endpoint: str
    state: str | None = None  # the filter of that list
    is_good: bool = False

    @property
    def words(self) -> str:
        return f"{self.number} {self.one if self.number.number == 1 else self.many}"


def since(workspace_id: str, moment: datetime) -> Sequence[News]:
    """What is new since then; nothing that did not happen. One query."""
    issues = select(Issue.id).where(Issue.workspace_id == workspace_id)
    conflicts = select(Conflict.id).where(Conflict.workspace_id == workspace_id)
    runs = select(SyncRun.id).where(
        SyncRun.workspace_id == workspace_id, SyncRun.created_at >= moment, SyncRun.kind != RunKind.PREVIEW
    )
    asked = (
        capped(issues.where(Issue.opened_at >= moment, Issue.closed_at.is_(None))),
        capped(issues.where(Issue.closed_at >= moment, Issue.closed_by.is_(None))),
        capped(conflicts.where(Conflict.opened_at >= moment, is_word(Conflict.state, "open"))),
        capped(runs.where(SyncRun.state == RunState.FAILED)),
        capped(runs.where(SyncRun.state == RunState.SKIPPED, SyncRun.reason.startswith("Missed"))),
        capped(runs.where(SyncRun.state == RunState.SUCCESS)),
    )
    opened, healed, contested, failed, missed, through = map(
        as_count, db.session.execute(select(*asked)).one()
    )
    told = (
        News(failed, "run failed", "runs failed", "runs.index", "failed"),
        News(missed, "slot was missed", "slots were missed", "runs.index", "skipped"),
        News(opened, "new issue", "new issues", "issues.index"),
        News(contested, "new conflict", "new conflicts", "conflicts.index"),
        News(healed, "issue healed by itself", "issues healed by themselves", "issues.index", "healed", True),
        News(through, "run got through", "runs got through", "runs.index", "success", True),
    )
    return [item for item in told if item.number]
