"""What happened in a workspace since a moment: for whoever comes back, or takes over a shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from models.issues import Conflict, Issue
from models.sync_runs import RunKind, RunState, SyncRun
from web.database import db
from web.languages import counted, forms
from web.reads.query import Count, as_count, capped, is_word

LONGEST = timedelta(days=14)  # further back it is not told what is news


@dataclass(frozen=True, slots=True)
class News:
    """One kind of thing that happened, where to look at it, and whether it is good."""

    number: Count
    one: str  # both with `%(num)s` in the place of the number
    many: str
    endpoint: str
    state: str | None = None  # the filter of that list
    is_good: bool = False

    @property
    def words(self) -> str:
        return counted(self.one, self.many, self.number.number, num=str(self.number))


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
        News(failed, *forms("%(num)s run failed", "%(num)s runs failed"), "runs.index", "failed"),
        News(
            missed,
            *forms("%(num)s scheduled run was missed", "%(num)s scheduled runs were missed"),
            "runs.index",
            "skipped",
        ),
        News(opened, *forms("%(num)s new issue", "%(num)s new issues"), "issues.index"),
        News(contested, *forms("%(num)s new conflict", "%(num)s new conflicts"), "conflicts.index"),
        News(
            healed,
            *forms("%(num)s issue healed by itself", "%(num)s issues healed by themselves"),
            "issues.index",
            "healed",
            True,
        ),
        News(
            through,
            *forms("%(num)s run got through", "%(num)s runs got through"),
            "runs.index",
            "success",
            True,
        ),
    )
    return [item for item in told if item.number]
