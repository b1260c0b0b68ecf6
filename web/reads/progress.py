"""How the latest runs of one sync went: what they wrote, how long they took, what changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import select

from models.db import unindexed_in
from models.sync_runs import CARRIED_OUT, RunKind, SyncRun
from web.database import db
from web.languages import _
from web.reads.chart import GAP, HEIGHT, WIDTH, Piece, pieces
from web.reads.query import BadFilter

LENGTHS = (30, 90)  # runs that a chart shows
WRITTEN = ("created", "updated", "deleted", "failed")  # from the ground up


@dataclass(frozen=True, slots=True)
class Column:
    """One run in the charts."""

    run_id: str
    state: str
    at: datetime
    version: int
    counts: Mapping[str, int]
    seconds: float | None
    x: float
    is_changed: bool  # the first run under another version of the definition


@dataclass(frozen=True)
class Progress:
    columns: Sequence[Column]  # the oldest first
    length: int  # how many were asked for

    @property
    def width(self) -> float:
        return max(len(self.columns) * (WIDTH + GAP) - GAP, 1)

    @property
    def height(self) -> float:
        return HEIGHT

    @cached_property
    def most(self) -> int:
        return max((sum(column.counts.values()) for column in self.columns), default=0)

    @cached_property
    def longest(self) -> float:
        return max((column.seconds or 0.0 for column in self.columns), default=0.0)

    @property
    def totals(self) -> Mapping[str, int]:
        return {word: sum(column.counts[word] for column in self.columns) for word in WRITTEN}

    @property
    def typical(self) -> float:
        """The middle one of the durations, in seconds."""
        took = sorted(column.seconds for column in self.columns if column.seconds is not None)
        return took[len(took) // 2] if took else 0.0

    @property
    def marks(self) -> Sequence[Column]:
        return [column for column in self.columns if column.is_changed]

    @property
    def written(self) -> Sequence[Piece]:
        return [
            piece
            for column in self.columns
            for piece in pieces(column.counts, column.x, self.most or 1, WRITTEN)
        ]

    @property
    def durations(self) -> Sequence[Piece]:
        return [
            piece
            for column in self.columns
            for piece in pieces(
                {column.state: column.seconds or 0.0}, column.x, self.longest or 1, (column.state,)
            )
        ]


def length_of(args: Mapping[str, str]) -> int:
    """How many runs the address of the page asks for. Raises BadFilter."""
    wanted = args.get("runs", str(LENGTHS[0]))
    if wanted not in map(str, LENGTHS):
        raise BadFilter(_("'%(word)s' is not a number of runs to show. Use 30 or 90.", word=wanted[:40]))
    return int(wanted)


def of_config(config_id: str, length: int) -> Progress:
    """The latest runs that say something of the data. One query, without the long parts of summaries."""
    summary = SyncRun.summary
    rows = db.session.execute(
        select(
            SyncRun.id,
            SyncRun.state,
            SyncRun.created_at,
            SyncRun.started_at,
            SyncRun.finished_at,
            SyncRun.config_version,
            summary["left"].label("left"),
            summary["right"].label("right"),
            summary["failed"].label("failed"),
        )
        .where(
            SyncRun.config_id == config_id,
            unindexed_in(SyncRun.state, CARRIED_OUT),
            SyncRun.kind != RunKind.PREVIEW,
        )
        .order_by(SyncRun.created_at.desc(), SyncRun.id.desc())
        .limit(length)
    ).all()[::-1]
    return Progress([_column(row, number, rows) for number, row in enumerate(rows)], length)


def _column(row: Any, number: int, rows: Sequence[Any]) -> Column:
    sides = [side for side in (row.left, row.right) if isinstance(side, dict)]
    counts = {word: sum(int(side.get(word, 0)) for side in sides) for word in WRITTEN[:3]}
    counts["failed"] = row.failed if isinstance(row.failed, int) else 0
    took = (row.finished_at - row.started_at).total_seconds() if row.started_at and row.finished_at else None
    return Column(
        run_id=row.id,
        state=row.state,
        at=row.started_at or row.created_at,
        version=row.config_version,
        counts=counts,
        seconds=took,
        x=number * (WIDTH + GAP),
        is_changed=number > 0 and row.config_version != rows[number - 1].config_version,
    )
