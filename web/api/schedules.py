"""Schedules: when each sync runs by itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from models.sync_configs import SyncConfig
from web.api.common import PageOf, PageQuery, blueprint, page, workspace
from web.api.wire import Output, operation
from web.preferences import clock
from web.reads import definition

bp = blueprint("schedules")


class ScheduleOut(Output):
    config_id: str
    config: str
    words: str
    cron: str
    timezone: str
    missed: str
    runs_by_itself: bool
    next_times: list[datetime]


@operation(
    bp, "GET", "/schedules", needs="read", summary="When each sync runs by itself", query=PageQuery,
    returns=PageOf[ScheduleOut],
)  # fmt: skip
def index(query: PageQuery) -> PageOf[ScheduleOut]:
    rows = (
        select(SyncConfig)
        .where(SyncConfig.workspace_id == workspace())
        .options(joinedload(SyncConfig.left_connection), joinedload(SyncConfig.right_connection))
    )
    return PageOf[ScheduleOut](**page(rows, SyncConfig.created_at, SyncConfig.id, query, _shown))


def _shown(row: SyncConfig) -> ScheduleOut:
    times = definition.next_times(row, clock().now)
    return ScheduleOut(
        config_id=row.id,
        config=row.name,
        words=definition.schedule_words(row),
        cron=row.cron,
        timezone=row.timezone,
        missed=row.missed,
        runs_by_itself=bool(times),
        next_times=times,
    )
