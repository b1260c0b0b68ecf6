"""The newest runs of each of many configs, without reading the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select, true
from sqlalchemy.orm import Session, aliased

from models.many import is_postgresql
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun

_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)

Conditions = Callable[[type[SyncRun]], Sequence[ColumnElement[bool]]]


def newest_of_each(
    db: Session,
    config_ids: Collection[str],
    number: int,
    counts: Conditions = lambda run: (),
    *,
    since: datetime = _BEFORE_ALL,
) -> tuple[Select[Any], type[SyncRun]]:
    """A query of each config's newest runs that count and came not before `since`, and what they are called
    in it.

    So many of each; a few more where runs came in the same moment. The caller says columns and order.
    """
    run = aliased(SyncRun)
    mine = select(run).where(run.config_id == SyncConfig.id, run.created_at >= since, *counts(run))
    newest = mine.order_by(run.created_at.desc(), run.id.desc()).correlate(SyncConfig)
    chosen = select(SyncConfig).where(SyncConfig.id.in_(config_ids))
    if is_postgresql(db):
        each = newest.limit(number).lateral()
        return chosen.join(each, true()), aliased(SyncRun, each)
    # SQLite knows no LATERAL: its index tells from when on, then the range is read.
    oldest = newest.with_only_columns(run.created_at).offset(number - 1).limit(1).scalar_subquery()
    from_then = func.coalesce(oldest, literal(since, SyncRun.created_at.type))
    found = aliased(SyncRun)
    is_new = (found.config_id == SyncConfig.id) & (found.created_at >= from_then)
    return chosen.join(found, is_new).where(*counts(found)), found
