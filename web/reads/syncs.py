"""The syncs of a workspace: which of the five words each has, why, and what it did lately."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from flask import g
from sqlalchemy import ColumnElement, Select, and_, bindparam, func, literal_column, select, union_all
from sqlalchemy.orm import aliased, joinedload

from models.db import unindexed_in
from models.issues import Conflict, Issue, IssueClaim
from models.journal import IS_OPEN, Change
from models.many import is_postgresql
from models.newest import newest_of_each
from models.sync_configs import SyncConfig
from models.sync_runs import CARRIED_OUT, GOT_THROUGH, RunKind, RunState, SyncRun
from web.database import db
from web.languages import _, counted, forms
from web.reads.conflicts import is_waiting
from web.reads.impact import Impact, of_syncs
from web.reads.issues import claims_of
from web.reads.query import BadFilter, Export, Slice, is_word
from web.words import SYNC_STATES, Badge, both

STRIP = 24  # runs in the little bar chart of a row
SIZE = 50
# A slot that a tick has not picked up after this long is late.
LATE_AFTER = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class SyncFilter:
    text: str = ""
    state: str = ""

    @classmethod
    def of(cls, args: Mapping[str, str]) -> SyncFilter:
        """Raises BadFilter."""
        state = args.get("state", "")
        if state and state not in SYNC_STATES:
            states = both(list(SYNC_STATES), "or")
            raise BadFilter(_("'%(word)s' is not a status. Use %(states)s.", word=state[:40], states=states))
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
    impact: Impact | None = None  # of what waits in it, on the desk, where it names columns for it
    claims: Sequence[IssueClaim] = ()  # on the desk: who looks at its issues

    @property
    def urgency(self) -> tuple[bool, int, int]:
        """Larger is worse: a failed run, then what the issues mean for the business."""
        failed = self.last is not None and self.last.state == RunState.FAILED
        return (failed, *(self.impact.weight if self.impact is not None else (0, 0)))

    @property
    def badge(self) -> Badge:
        return SYNC_STATES[self.state]

    @property
    def waits_for(self) -> list[str]:
        """What waits for a person: `2 conflicts`, `1 held change`."""
        said = [
            (self.conflicts, forms("%(num)s conflict", "%(num)s conflicts")),
            (self.held, forms("%(num)s held change", "%(num)s held changes")),
            (self.issues, forms("%(num)s issue", "%(num)s issues")),
        ]
        return [counted(*each, number) for number, each in said if number]

    @property
    def fresh_at(self) -> datetime | None:
        """When its data were last read with success, among its latest runs: older edits are on both sides."""
        read = [run for run in self.strip if run.state in GOT_THROUGH and run.kind != RunKind.PREVIEW]
        return read[-1].started_at if read else None

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
            return _("Switched off in its definition.")
        if self.state == "paused":
            return config.paused_reason or _("No reason was given.")
        if self.state == "attention":
            if last is not None and last.state == RunState.FAILED:
                return last.error or _("The last run failed.")
            if self.waits_for:
                one, many = forms("%(what)s waits for a decision.", "%(what)s wait for a decision.")
                number = self.conflicts + self.held + self.issues
                return counted(one, many, number, what=both(self.waits_for))
            if last is not None and last.state == RunState.PARTIAL:
                return partial_because(last)
        if self.state == "waiting":
            if self.active is not None and self.active.state == RunState.RUNNING:
                return _("It runs for the first time.") if last is None else _("It is trying again.")
            if self.active is not None and last is not None:
                return _("It failed and is tried again by itself.")
            if self.active is not None:
                return _("Its first run is queued.")
            return _("It has not run yet.")
        return _("Both sides agree.")


def partial_because(run: SyncRun) -> str:
    """Why a run got through only in part, from its own summary."""
    summary = run.summary or {}
    said = [
        counted(*each, summary.get(word, 0))
        for word, each in (
            ("failed", forms("%(num)s record failed", "%(num)s records failed")),
            ("conflicts", forms("%(num)s record is in conflict", "%(num)s records are in conflict")),
            ("held", forms("%(num)s change is held", "%(num)s changes are held")),
        )
        if summary.get(word)
    ]
    return f"{both(said)}." if said else _("Some records did not get through.")


@dataclass(frozen=True, slots=True)
class Standing:
    """Which of the five words a sync has, and what it rests on."""

    id: str
    name: str
    state: str
    last_id: str | None
    last_state: str | None
    active_id: str | None
    conflicts: int
    held: int
    issues: int


def standings(workspace_id: str) -> Sequence[Standing]:
    """All syncs of the workspace, by name. Asked once per request: six queries, however many there are."""
    known = g.setdefault("standings", {})
    if workspace_id not in known:
        known[workspace_id] = _standings(SyncConfig.workspace_id == workspace_id)
    found: Sequence[Standing] = known[workspace_id]
    return found


def find(workspace_id: str, wanted: SyncFilter, after: str | None, now: datetime) -> Slice[Sync]:
    """The syncs that match, by name, a page at a time."""
    text = wanted.text.casefold()
    matching = [
        item
        for item in standings(workspace_id)
        if (not wanted.state or item.state == wanted.state)
        and text in item.name.casefold()
        and (not after or item.name > after)
    ]
    shown = matching[:SIZE]
    return Slice(_fill(shown, now), older=shown[-1].name if len(matching) > SIZE else None)


EXPORTED = (
    "sync", "status", "why", "last_run", "last_state", "last_ended_at", "data_as_of", "next_run_at", "cron",
    "timezone", "active", "auto", "conflicts", "held", "issues",
)  # fmt: skip


def exported(workspace_id: str, wanted: SyncFilter, now: datetime) -> Export:
    """The syncs that match, by name, as rows under EXPORTED."""
    text = wanted.text.casefold()
    matching = [
        item
        for item in standings(workspace_id)
        if wanted.state in ("", item.state) and text in item.name.casefold()
    ]

    def rows() -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(matching), SIZE):
            told = [_told(sync) for sync in _fill(matching[start : start + SIZE], now)]
            db.session.remove()
            yield from told

    return Export(len(matching), rows())


def _told(sync: Sync) -> tuple[Any, ...]:
    config, last = sync.config, sync.last
    run = (last.id, last.state, last.finished_at) if last is not None else (None, None, None)
    when = (sync.fresh_at, config.next_run_at, config.cron, config.timezone, config.active, config.auto)
    return (config.name, sync.state, sync.why, *run, *when, sync.conflicts, sync.held, sync.issues)


def counts(workspace_id: str) -> dict[str, int]:
    """How many syncs there are in each of the five states."""
    found = dict.fromkeys(SYNC_STATES, 0)
    for item in standings(workspace_id):
        found[item.state] += 1
    return found


def attention(workspace_id: str, now: datetime, limit: int = 20) -> list[Sync]:
    """The syncs that need somebody: those that failed first, then those that mean most for the business."""
    found = [item for item in standings(workspace_id) if item.state == "attention"]
    found.sort(key=lambda item: item.last_state != RunState.FAILED)
    shown = _fill(found[:limit], now)
    means = of_syncs([sync.config.id for sync in shown], [_is_open()], [is_waiting()], [_is_held()])
    claims = claims_of([sync.config.id for sync in shown], now)
    told = [
        replace(sync, impact=means.get(sync.config.id), claims=claims.get(sync.config.id, ()))
        for sync in shown
    ]
    return sorted(told, key=lambda sync: sync.urgency, reverse=True)


def late(workspace_id: str, now: datetime, limit: int = 20) -> list[SyncConfig]:
    """The syncs whose slot has passed although nothing runs."""
    query = (
        _scheduled(workspace_id)
        .where(SyncConfig.next_run_at < now - LATE_AFTER)
        .order_by(SyncConfig.next_run_at)
        .limit(10 * limit)
    )
    passed = db.session.scalars(query).all()
    active = {run.config_id for run in _active_runs([config.id for config in passed])}
    return [config for config in passed if config.id not in active][:limit]


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
    mine = and_(SyncConfig.id == config_id, SyncConfig.workspace_id == workspace_id)
    found = _fill(_standings(mine), now)
    return found[0] if found else None


def config(workspace_id: str, config_id: str) -> SyncConfig | None:
    """One sync's own row, without what stands around it; None where this workspace has no such."""
    mine = (SyncConfig.id == config_id, SyncConfig.workspace_id == workspace_id)
    return db.session.scalar(select(SyncConfig).where(*mine))


def names(workspace_id: str, limit: int = 200) -> list[tuple[str, str]]:
    """(id, name) of the syncs, for a list to choose from."""
    rows = db.session.execute(
        select(SyncConfig.id, SyncConfig.name)
        .where(SyncConfig.workspace_id == workspace_id)
        .order_by(SyncConfig.name)
        .limit(limit)
    )
    return [(id, name) for id, name in rows]


# -- the state ------------------------------------------------------------------------------------


def _standings(which: ColumnElement[bool]) -> list[Standing]:
    rows = db.session.execute(
        select(
            SyncConfig.id,
            SyncConfig.name,
            SyncConfig.active,
            SyncConfig.paused_at,
            _latest_told().label("last_id"),
        )
        .where(which)
        .order_by(SyncConfig.name)
    ).all()
    ids = select(SyncConfig.id).where(which)
    states = _states_of({row.last_id for row in rows if row.last_id})
    active = {run.config_id: run for run in _active_runs(ids)}
    conflicts = _counts(Conflict.config_id, is_waiting(), ids)
    held = _counts(Change.config_id, _is_held(), ids)
    issues = _counts(Issue.config_id, _is_open(), ids)

    def standing(row: Any) -> Standing:
        now = active.get(row.id)
        waiting = (conflicts.get(row.id, 0), held.get(row.id, 0), issues.get(row.id, 0))
        last = states.get(row.last_id)
        is_retried = now is not None and now.kind == RunKind.RETRY
        word = _word(row.active, row.paused_at, last, is_retried=is_retried, waits=any(waiting))
        return Standing(row.id, row.name, word, row.last_id, last, now and now.id, *waiting)

    return [standing(row) for row in rows]


def _word(
    active: bool, paused_at: datetime | None, last: str | None, *, is_retried: bool, waits: bool
) -> str:
    if not active:
        return "excluded"
    if paused_at is not None:
        return "paused"
    if last == RunState.FAILED and is_retried:
        return "waiting"
    if last in (RunState.FAILED, RunState.PARTIAL) or waits:
        return "attention"
    return "in_sync" if last == RunState.SUCCESS else "waiting"


@cache
def _latest_told() -> Any:
    """The id of the newest run of the sync at hand that says something of its data."""
    run = aliased(SyncRun)
    return (
        select(run.id)
        .where(
            run.config_id == SyncConfig.id, unindexed_in(run.state, CARRIED_OUT), run.kind != RunKind.PREVIEW
        )
        .order_by(run.created_at.desc(), run.id.desc())
        .limit(1)
        .correlate(SyncConfig)
        .scalar_subquery()
    )


def _states_of(ids: Iterable[str]) -> dict[str, str]:
    """The states of these runs, some hundred at a time."""
    found: dict[str, str] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), 1000):
        rows = db.session.execute(
            select(SyncRun.id, SyncRun.state).where(SyncRun.id.in_(wanted[start : start + 1000]))
        )
        found.update((row.id, row.state) for row in rows)
    return found


def _is_held() -> ColumnElement[bool]:
    return and_(is_word(Change.state, "held"), IS_OPEN)


def _is_open() -> ColumnElement[bool]:
    return and_(Issue.closed_at.is_(None), Issue.muted.is_(False))


def _is_active(state: str) -> ColumnElement[bool]:
    """The condition of one of the two unique indexes: at most one such run per sync."""
    return and_(is_word(SyncRun.state, state), SyncRun.kind != literal_column("'preview'"))


def _scheduled(workspace_id: str) -> Select[SyncConfig]:
    return select(SyncConfig).where(
        SyncConfig.workspace_id == workspace_id,
        SyncConfig.active,
        SyncConfig.auto,
        SyncConfig.paused_at.is_(None),
        SyncConfig.next_run_at.is_not(None),
    )


# -- what stands around it ------------------------------------------------------------------------


def _fill(found: Sequence[Standing], now: datetime) -> list[Sync]:
    """The syncs with their runs: three queries, however many syncs."""
    ids = [item.id for item in found]
    configs = {
        config.id: config
        for config in db.session.scalars(
            select(SyncConfig)
            .where(SyncConfig.id.in_(ids))
            .options(joinedload(SyncConfig.left_connection), joinedload(SyncConfig.right_connection))
        )
    }
    wanted = {id for item in found for id in (item.last_id, item.active_id) if id is not None}
    told = {run.id: run for run in db.session.scalars(select(SyncRun).where(SyncRun.id.in_(wanted)))}
    strips: dict[str, list[Any]] = defaultdict(list)
    for run in _latest_runs(ids):
        strips[run.config_id].append(run)
    return [
        Sync(
            config=configs[item.id],
            state=item.state,
            last=told.get(item.last_id or ""),
            active=told.get(item.active_id or ""),
            strip=strips[item.id],
            conflicts=item.conflicts,
            held=item.held,
            issues=item.issues,
            now=now,
        )
        for item in found
    ]


def _active_runs(ids: Any) -> Sequence[Any]:
    """What is queued or running of these syncs (ids, or a query for them); the running one comes last."""
    columns = (SyncRun.id, SyncRun.config_id, SyncRun.state, SyncRun.kind)
    each = (
        select(*columns).where(_is_active(state), SyncRun.config_id.in_(ids))
        for state in ("queued", "running")
    )
    found = db.session.execute(union_all(*each)).all()
    return sorted(found, key=lambda run: run.state == RunState.RUNNING)


def _latest_runs(ids: Sequence[str]) -> Sequence[Any]:
    """The last runs of each sync, the oldest first."""
    return db.session.execute(_strips(is_postgresql(db.session())), {"ids": list(ids)}).all()


@cache
def _strips(_on_postgresql: bool) -> Any:
    """Put together once: that takes a third of the time that its answer takes."""
    ids: Any = bindparam("ids", expanding=True)
    query, run = newest_of_each(db.session(), ids, STRIP)
    columns = (run.config_id, run.state, run.kind, run.started_at, run.finished_at)
    return query.with_only_columns(*columns).order_by(run.created_at, run.id)


def _counts(column: Any, condition: ColumnElement[bool], ids: Any) -> dict[str, int]:
    query = (
        select(column.label("id"), func.count().label("number"))
        .where(condition, column.in_(ids))
        .group_by(column)
    )
    return {row.id: row.number for row in db.session.execute(query)}
