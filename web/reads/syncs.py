"""The syncs of a workspace: which of the five words each has, why, and what it did lately."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select
from sqlalchemy.orm import aliased, joinedload

from models.issues import Conflict, Issue
from models.journal import Change
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun
from web.database import db
from web.reads.conflicts import is_waiting
from web.reads.query import BadFilter, Slice, is_word
from web.words import SYNC_STATES, Badge, both, count

STRIP = 24  # runs in the little bar chart of a row
SIZE = 100
# A slot that a tick has not picked up after this long is late.
LATE_AFTER = timedelta(minutes=3)

_TOLD = (RunState.SUCCESS, RunState.PARTIAL, RunState.FAILED)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SyncFilter:
    text: str = ""
    state: str = ""

    @classmethod
    def of(cls, args: Mapping[str, str]) -> SyncFilter:
        """Raises BadFilter."""
        state = args.get("state", "")
        if state and state not in SYNC_STATES:
            raise BadFilter(f"'{state[:40]}' is not a status. Use {both(list(SYNC_STATES), 'or')}.")
        return cls(args.get("q", "").strip()[:200], state)


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync as a list shows it."""

    config: SyncConfig
    state: str
    last: SyncRun | None  # the last run that says something of the data
    active: SyncRun | None  # queued or running now
    strip: Sequence[Any]  # its latest runs, oldest first
    conflicts: int
    held: int
    issues: int
    now: datetime

    @property
    def badge(self) -> Badge:
        return SYNC_STATES[self.state]

    @property
    def waits_for(self) -> list[str]:
        """What waits for a person: `2 conflicts`, `1 held change`."""
        said = [
            (self.conflicts, "conflict", "conflicts"),
            (self.held, "held change", "held changes"),
            (self.issues, "issue", "issues"),
        ]
        return [count(number, one, many) for number, one, many in said if number]

    @property
    def is_late(self) -> bool:
        """Its slot has passed and nobody started it."""
        due = self.config.next_run_at
        runs = self.config.active and self.config.auto and self.config.paused_at is None
        return runs and self.active is None and due is not None and self.now - due > LATE_AFTER

    @property
    def why(self) -> str:
        """One sentence that goes with the word."""
        config, last = self.config, self.last
        if self.state == "excluded":
            return "Switched off in its definition."
        if self.state == "paused":
            return config.paused_reason or "No reason was given."
        if self.state == "attention":
            if last is not None and last.state == RunState.FAILED:
                return last.error or "The last run failed."
            if self.waits_for:
                verb = "waits" if len(self.waits_for) == 1 and self.waits_for[0].startswith("1 ") else "wait"
                return f"{both(self.waits_for)} {verb} for a decision."
            if last is not None and last.state == RunState.PARTIAL:
                return partial_because(last)
        if self.state == "waiting":
            if self.active is not None and self.active.state == RunState.RUNNING:
                return "It runs for the first time." if last is None else "It is trying again."
            if self.active is not None and last is not None:
                return "It failed and is tried again by itself."
            if self.active is not None:
                return "Its first run is queued."
            return "It has not run yet."
        return "Both sides agree."


def partial_because(run: SyncRun) -> str:
    """Why a run got through only in part, from its own summary."""
    summary = run.summary or {}
    said = [
        count(summary.get(word, 0), one, many)
        for word, one, many in (
            ("failed", "record failed", "records failed"),
            ("conflicts", "record is in conflict", "records are in conflict"),
            ("held", "change is held", "changes are held"),
        )
        if summary.get(word)
    ]
    return f"{both(said)}." if said else "Some records did not get through."


def find(workspace_id: str, wanted: SyncFilter, after: str | None, now: datetime) -> Slice[Sync]:
    """The syncs that match, by name, a page at a time."""
    query = _with_state(workspace_id)
    if wanted.text:
        query = query.where(SyncConfig.name.icontains(wanted.text, autoescape=True))
    if wanted.state:
        query = query.where(_state() == wanted.state)
    if after:
        query = query.where(SyncConfig.name > after)
    rows = db.session.execute(query.order_by(SyncConfig.name).limit(SIZE + 1)).all()
    more = len(rows) > SIZE
    rows = rows[:SIZE]
    return Slice(
        _fill([(config, state) for config, state in rows], now),
        older=rows[-1][0].name if more else None,
    )


def counts(workspace_id: str) -> dict[str, int]:
    """How many syncs there are in each of the five states."""
    inner = select(_state().label("state")).where(SyncConfig.workspace_id == workspace_id).subquery()
    rows = db.session.execute(select(inner.c.state, func.count().label("number")).group_by(inner.c.state))
    return dict.fromkeys(SYNC_STATES, 0) | {row.state: row.number for row in rows}


def attention(workspace_id: str, now: datetime, limit: int = 20) -> list[Sync]:
    """The syncs that need somebody, the ones that failed first."""
    query = _with_state(workspace_id).where(_state() == "attention")
    failed_first = case((_latest_told(SyncRun.state) == "failed", 0), else_=1)
    rows = db.session.execute(query.order_by(failed_first, SyncConfig.name).limit(limit))
    return _fill([(config, state) for config, state in rows], now)


def late(workspace_id: str, now: datetime, limit: int = 20) -> list[SyncConfig]:
    """The syncs whose slot has passed although nothing runs."""
    query = (
        _scheduled(workspace_id)
        .where(SyncConfig.next_run_at < now - LATE_AFTER, ~_has_active())
        .order_by(SyncConfig.next_run_at)
        .limit(limit)
    )
    return list(db.session.scalars(query))


def next_up(workspace_id: str, now: datetime, limit: int = 5) -> list[SyncConfig]:
    """The syncs that run next by themselves."""
    query = (
        _scheduled(workspace_id)
        .where(SyncConfig.next_run_at >= now - LATE_AFTER)
        .order_by(SyncConfig.next_run_at, SyncConfig.name)
        .limit(limit)
    )
    return list(db.session.scalars(query))


def one(workspace_id: str, config_id: str, now: datetime) -> Sync | None:
    """One sync, or None where this workspace has no such."""
    row = db.session.execute(_with_state(workspace_id).where(SyncConfig.id == config_id)).one_or_none()
    return _fill([(row[0], row[1])], now)[0] if row is not None else None


def names(workspace_id: str, limit: int = 200) -> list[tuple[str, str]]:
    """(id, name) of the syncs, for a list to choose from."""
    rows = db.session.execute(
        select(SyncConfig.id, SyncConfig.name)
        .where(SyncConfig.workspace_id == workspace_id)
        .order_by(SyncConfig.name)
        .limit(limit)
    )
    return [(id, name) for id, name in rows]


# -- the state, as the database decides it --------------------------------------------------------


def _latest_told(column: Any) -> Any:
    """A column of the newest run of the sync at hand that says something of its data."""
    run = aliased(SyncRun)
    return (
        select(getattr(run, column.key))
        .where(
            run.config_id == SyncConfig.id,
            run.state.in_(_TOLD),
            run.kind != RunKind.PREVIEW,
        )
        .order_by(run.created_at.desc(), run.id.desc())
        .limit(1)
        .correlate(SyncConfig)
        .scalar_subquery()
    )


def _has_active(*kinds: RunKind) -> ColumnElement[bool]:
    """Whether the sync at hand has a queued or running run (of these kinds)."""
    run = aliased(SyncRun)
    states = or_(is_word(run.state, "queued"), is_word(run.state, "running"))
    query = select(run.id).where(run.config_id == SyncConfig.id, states, run.kind != RunKind.PREVIEW)
    if kinds:
        query = query.where(run.kind.in_(kinds))
    return query.correlate(SyncConfig).exists()


def _has(column: Any, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(column == SyncConfig.id, condition).correlate(SyncConfig)


def _state() -> ColumnElement[str]:
    last = _latest_told(SyncRun.state)
    waits = or_(
        _has(Conflict.config_id, is_waiting()),
        _has(Change.config_id, is_word(Change.state, "held")),
        _has(Issue.config_id, and_(Issue.closed_at.is_(None), Issue.muted.is_(False))),
    )
    return case(
        (SyncConfig.active.is_(False), "excluded"),
        (SyncConfig.paused_at.is_not(None), "paused"),
        (and_(last == "failed", _has_active(RunKind.RETRY)), "waiting"),
        (or_(last.in_(("failed", "partial")), waits), "attention"),
        (last == "success", "in_sync"),
        else_="waiting",
    )


def _with_state(workspace_id: str) -> Select[SyncConfig, str]:
    return (
        select(SyncConfig, _state().label("state"))
        .where(SyncConfig.workspace_id == workspace_id)
        .options(joinedload(SyncConfig.left_connection), joinedload(SyncConfig.right_connection))
    )


def _scheduled(workspace_id: str) -> Select[SyncConfig]:
    return select(SyncConfig).where(
        SyncConfig.workspace_id == workspace_id,
        SyncConfig.active,
        SyncConfig.auto,
        SyncConfig.paused_at.is_(None),
        SyncConfig.next_run_at.is_not(None),
    )


# -- what stands around it ------------------------------------------------------------------------


def _fill(found: Sequence[tuple[SyncConfig, str]], now: datetime) -> list[Sync]:
    """The syncs with their runs and what waits in them: six queries, however many syncs."""
    ids = [config.id for config, _ in found]
    last = {run.config_id: run for run in _last_runs(ids)}
    active = {run.config_id: run for run in _active_runs(ids)}
    strips: dict[str, list[Any]] = defaultdict(list)
    for run in _latest_runs(ids):
        strips[run.config_id].append(run)
    conflicts = _counts(Conflict.config_id, is_waiting(), ids)
    held = _counts(Change.config_id, is_word(Change.state, "held"), ids)
    issues = _counts(Issue.config_id, and_(Issue.closed_at.is_(None), Issue.muted.is_(False)), ids)
    return [
        Sync(
            config=config,
            state=state,
            last=last.get(config.id),
            active=active.get(config.id),
            strip=strips[config.id],
            conflicts=conflicts.get(config.id, 0),
            held=held.get(config.id, 0),
            issues=issues.get(config.id, 0),
            now=now,
        )
        for config, state in found
    ]


def _last_runs(ids: Sequence[str]) -> Sequence[SyncRun]:
    query = (
        select(SyncRun).join(SyncConfig, SyncRun.id == _latest_told(SyncRun.id)).where(SyncConfig.id.in_(ids))
    )
    return db.session.scalars(query).all()


def _active_runs(ids: Sequence[str]) -> Sequence[SyncRun]:
    query = select(SyncRun).where(
        SyncRun.config_id.in_(ids),
        or_(is_word(SyncRun.state, "queued"), is_word(SyncRun.state, "running")),
        SyncRun.kind != RunKind.PREVIEW,
    )
    # Where one runs and one waits behind it, the running one is what happens now.
    return db.session.scalars(query.order_by(SyncRun.state)).all()


def _latest_runs(ids: Sequence[str]) -> Sequence[Any]:
    """The last runs of each sync: its index gives the time of the oldest one, then the range."""
    older = aliased(SyncRun)
    since = (
        select(older.created_at)
        .where(older.config_id == SyncConfig.id)
        .order_by(older.created_at.desc())
        .offset(STRIP - 1)
        .limit(1)
        .correlate(SyncConfig)
        .scalar_subquery()
    )
    query = (
        select(
            SyncRun.id,
            SyncRun.config_id,
            SyncRun.state,
            SyncRun.kind,
            SyncRun.created_at,
            SyncRun.started_at,
            SyncRun.finished_at,
        )
        .join(SyncConfig, SyncRun.config_id == SyncConfig.id)
        .where(
            SyncConfig.id.in_(ids),
            SyncRun.created_at >= func.coalesce(since, literal(_LONG_AGO, SyncRun.created_at.type)),
        )
        .order_by(SyncRun.created_at, SyncRun.id)
    )
    return db.session.execute(query).all()


def _counts(column: Any, condition: ColumnElement[bool], ids: Sequence[str]) -> dict[str, int]:
    query = (
        select(column.label("id"), func.count().label("number"))
        .where(condition, column.in_(ids))
        .group_by(column)
    )
    return {row.id: row.number for row in db.session.execute(query)}
