"""Bulk retries: what each was planned to do, and what became of its records so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import load_only
from sqlalchemy.sql.base import ExecutableOption

from models.bulk import BulkPart, BulkRetry, BulkState, PartState
from models.sync_configs import SyncConfig
from models.sync_runs import RunState, SyncRun
from sync.records import SIDES
from tasks import statistics
from tasks.bulk import NEEDS_REASON
from tasks.retries import failed_keys
from web.database import db
from web.reads.query import PAGE_SIZE, Slice, keyset
from web.words import BULK_STATES, Badge

T = TypeVar("T", SyncConfig, SyncRun)
_OVER = (BulkState.STOPPED, BulkState.RECALLED)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of records: chosen = fixed + failed again + left out + still to come."""

    chosen: int = 0
    fixed: int = 0
    failed: int = 0
    left_out: int = 0
    to_come: int = 0


@dataclass(frozen=True)
class Part:
    row: BulkPart
    config: SyncConfig
    run: SyncRun | None
    preview: SyncRun | None
    is_over: bool  # the bulk retry was ended before this part was queued
    seconds: float | None  # how long a run of this sync takes; told of one bulk retry alone

    @cached_property
    def failed_again(self) -> list[str]:
        """The keys that failed in its run too."""
        if self.run is None:
            return []
        if self.run.state == RunState.FAILED:
            return list(self.row.keys)
        return sorted(set(failed_keys(self.run)) & set(self.row.keys))

    @cached_property
    def counts(self) -> Counts:
        keys, left_out = len(self.row.keys), len(self.row.left_out)
        chosen = keys + left_out
        if self.run is None or self.run.state in (RunState.QUEUED, RunState.RUNNING):
            if self.run is None and self.is_over:
                return Counts(chosen, left_out=chosen)
            return Counts(chosen, left_out=left_out, to_come=keys)
        if self.run.state in (RunState.CANCELLED, RunState.SKIPPED):
            return Counts(chosen, left_out=chosen)
        failed = len(self.failed_again)
        return Counts(chosen, fixed=keys - failed, failed=failed, left_out=left_out)

    @property
    def reasons(self) -> Mapping[str, int]:
        """Why records are left out, and how many for each reason."""
        return Counter(str(why) for why in self.row.left_out.values())

    @property
    def would_write(self) -> int | None:
        """How many changes its preview found; None until it has been read."""
        if self.preview is None or not self.preview.summary:
            return None
        summary = self.preview.summary
        written = sum(summary[side][verb] for side in SIDES for verb in ("created", "updated", "deleted"))
        return int(written + summary["held"])


@dataclass(frozen=True)
class Bulk:
    row: BulkRetry
    parts: Sequence[Part]
    now: datetime

    @cached_property
    def counts(self) -> Counts:
        each = [part.counts for part in self.parts]
        return Counts(
            chosen=sum(item.chosen for item in each),
            fixed=sum(item.fixed for item in each),
            failed=sum(item.failed for item in each),
            left_out=sum(item.left_out for item in each),
            to_come=sum(item.to_come for item in each),
        )

    @property
    def state(self) -> str:
        """One of words.BULK_STATES."""
        if self.row.state == BulkState.PLANNED:
            return "expired" if self.now > self.row.expires_at else "planned"
        if self.row.state in _OVER:
            return self.row.state
        if self.is_recallable:
            return "recallable"
        return "done" if not self.counts.to_come else self.row.state

    @property
    def badge(self) -> Badge:
        return BULK_STATES[self.state]

    @property
    def is_recallable(self) -> bool:
        starts = self.row.starts_at
        return self.row.state not in _OVER and starts is not None and self.now < starts

    @property
    def is_moving(self) -> bool:
        return self.state in ("recallable", "first", "started")

    @property
    def is_looking(self) -> bool:
        """A preview that was asked for here is on its way."""
        states = {part.preview.state for part in self.parts if part.preview is not None}
        return bool(states & {RunState.QUEUED, RunState.RUNNING})

    @property
    def tried(self) -> int:
        """Records that are or will be read again."""
        return sum(len(part.row.keys) for part in self.parts)

    @property
    def seconds(self) -> float | None:
        """About how long it takes: the syncs' runs one after the other, as long as they usually are."""
        each = [part.seconds for part in self.parts if part.row.keys]
        return sum(filter(None, each)) if each and all(item is not None for item in each) else None

    @property
    def needs_reason(self) -> bool:
        return self.tried > NEEDS_REASON

    @property
    def percent(self) -> int:
        left = self.counts.chosen - self.counts.left_out
        return 100 * (self.counts.fixed + self.counts.failed) // left if left else 100


def find(workspace_id: str, args: Mapping[str, str], now: datetime, size: int = PAGE_SIZE) -> Slice[Bulk]:
    """The bulk retries of a workspace, the newest first. Raises BadFilter."""
    query = select(BulkRetry).where(BulkRetry.workspace_id == workspace_id)
    rows = keyset(query, BulkRetry.created_at, BulkRetry.id, lambda row: (row.created_at, row.id), args, size)
    return Slice(_filled(rows.items, now), rows.older, rows.newer)


def one(workspace_id: str, bulk_id: str, now: datetime) -> Bulk | None:
    """One of them, or None where this workspace has no such."""
    row = db.session.scalar(
        select(BulkRetry).where(BulkRetry.id == bulk_id, BulkRetry.workspace_id == workspace_id)
    )
    return _filled([row], now, timed=True)[0] if row is not None else None


def _filled(rows: Sequence[BulkRetry], now: datetime, *, timed: bool = False) -> list[Bulk]:
    parts = db.session.scalars(select(BulkPart).where(BulkPart.bulk_id.in_([row.id for row in rows]))).all()
    configs = _by_id(
        SyncConfig, {part.config_id for part in parts}, *(() if timed else (load_only(SyncConfig.name),))
    )
    asked = {run_id for part in parts for run_id in (part.run_id, part.preview_run_id) if run_id}
    runs = _by_id(SyncRun, asked, load_only(SyncRun.state, SyncRun.summary))
    usual = statistics.of(db.session(), list(configs.values()), now) if timed else {}
    over = {row.id for row in rows if row.state in _OVER}
    found: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        found[part.bulk_id].append(
            Part(
                row=part,
                config=configs[part.config_id],
                run=runs.get(part.run_id or ""),
                preview=runs.get(part.preview_run_id or ""),
                is_over=part.bulk_id in over or part.state == PartState.LEFT_OUT,
                seconds=usual[part.config_id].average_seconds if timed else None,
            )
        )
    for each in found.values():
        each.sort(key=lambda part: (-part.counts.chosen, part.config.name))
    return [Bulk(row, found[row.id], now) for row in rows]


def _by_id(model: type[T], ids: Iterable[str], *options: ExecutableOption) -> dict[str, T]:
    query = select(model).where(model.id.in_(list(ids))).options(*options)
    return {row.id: row for row in db.session.scalars(query)}
