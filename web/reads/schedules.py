"""What runs by itself and when: the syncs of a workspace, and the installation's own upkeep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from models.maintenance import JobExecution, MaintenanceJob
from models.sync_configs import SyncConfig
from sync.schedule import read_schedule
from tasks import jobs
from web import cadence
from web.database import db
from web.languages import _
from web.reads import definition, syncs
from web.reads.query import Slice

SIZE = 50
HISTORY = 5


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One sync with its schedule in words."""

    config: SyncConfig
    words: str
    times: Sequence[datetime]
    standing: syncs.Standing
    is_late: bool


@dataclass(frozen=True, slots=True)
class Upkeep:
    """One maintenance job with what it did lately."""

    name: str
    sentence: str
    schedule: str
    enabled: bool
    next_run_at: datetime | None
    executions: Sequence[JobExecution]

    @property
    def waits(self) -> bool:
        """Somebody has asked for it, and the next tick carries it out."""
        return any(item.state in ("asked", "running") for item in self.executions)


def of_syncs(workspace_id: str, after: str | None, now: datetime) -> Slice[Scheduled]:
    """The syncs by name, a page at a time."""
    standings = {item.id: item for item in syncs.standings(workspace_id)}
    query = (
        select(SyncConfig)
        .where(SyncConfig.workspace_id == workspace_id)
        .options(joinedload(SyncConfig.left_connection), joinedload(SyncConfig.right_connection))
        .order_by(SyncConfig.name)
        .limit(SIZE + 1)
    )
    if after:
        query = query.where(SyncConfig.name > after)
    found = list(db.session.scalars(query))
    late = {config.id for config in syncs.late(workspace_id, now, SIZE)}
    return Slice(
        [
            Scheduled(
                config,
                definition.schedule_words(config),
                definition.next_times(config, now, 3),
                standings[config.id],
                config.id in late,
            )
            for config in found[:SIZE]
        ],
        older=found[SIZE - 1].name if len(found) > SIZE else None,
    )


def upkeep() -> list[Upkeep]:
    """Every maintenance job, with its latest executions."""
    rows = {row.name: row for row in db.session.scalars(select(MaintenanceJob))}
    executions = db.session.scalars(
        select(JobExecution).order_by(JobExecution.id.desc()).limit(HISTORY * max(len(rows), 1) * 4)
    ).all()
    found = []
    for name, job in sorted(jobs.registry().items()):
        row = rows.get(name)
        cron = (row.cron if row else None) or job.cron
        zone = (row.timezone if row else None) or job.timezone
        found.append(
            Upkeep(
                name=name,
                sentence=_(job.sentence),
                schedule=cadence.said(read_schedule(cron, zone)) if cron else _("Only when asked"),
                enabled=row.enabled if row else True,
                next_run_at=row.next_run_at if row else None,
                executions=[item for item in executions if item.job_name == name][:HISTORY],
            )
        )
    return found
