"""Runs: a filtered list, and everything that one of them has to tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import joinedload, load_only

from models.db import in_index, unindexed, unindexed_in
from models.journal import Change, ChangeState
from models.newest import newest_of_each
from models.sync_configs import SyncConfig
from models.sync_runs import CARRIED_OUT, ENDED, GOT_THROUGH, RunKind, RunLine, RunState, SyncRun
from web.causes import Cause, cause
from web.database import db
from web.languages import _
from web.reads.calls import KeptCalls, kept
from web.reads.query import (
    BadFilter,
    Beside,
    Count,
    Export,
    Slice,
    as_count,
    capped,
    export,
    in_order,
    is_word,
    keyset,
    neighbours,
    whole,
)
from web.reads.values import FieldChange, field_changes
from web.words import RUN_KINDS, Badge, both, change_state, run_state

# What the tabs of the list are called, and which states stand behind each.
TABS: Mapping[str, tuple[RunState, ...]] = {
    "": tuple(RunState),
    "attention": (RunState.FAILED, RunState.PARTIAL),
    "running": (RunState.RUNNING,),
    "queued": (RunState.QUEUED,),
    "success": (RunState.SUCCESS,),
    "partial": (RunState.PARTIAL,),
    "failed": (RunState.FAILED,),
    "cancelled": (RunState.CANCELLED,),
    "skipped": (RunState.SKIPPED,),
}

Cell = str | int | float | bool | datetime | None

LINES = 200
CHANGES_COUNTED = 20_000
_OPEN = (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What the address of the list asks for. Everything in it stands in the page's links again."""

    config_id: str = ""
    state: str = ""
    kind: str = ""

    @classmethod
    def of(cls, args: Mapping[str, str]) -> RunFilter:
        """Raises BadFilter."""
        state, kind = args.get("state", ""), args.get("kind", "")
        if state not in TABS:
            states = both([tab for tab in TABS if tab], "or")
            raise BadFilter(_("'%(word)s' is not a state. Use %(states)s.", word=state[:40], states=states))
        if kind and kind not in set(RUN_KINDS):
            kinds = both(list(RUN_KINDS), "or")
            raise BadFilter(_("'%(word)s' is not a kind of run. Use %(kinds)s.", word=kind[:40], kinds=kinds))
        return cls(args.get("config", "")[:36], state, kind)

    def args(self, **changed: str) -> dict[str, str]:
        """The parameters for a link to this list, with some of them changed."""
        named = {"config": self.config_id, "state": self.state, "kind": self.kind} | changed
        return {name: value for name, value in named.items() if value}

    def rows(self, workspace_id: str, states: Sequence[RunState] = ()) -> Select[SyncRun]:
        """The runs that match and are in one of these states; without any, in whichever.

        One condition leads: a rare kind, else the sync, else the workspace, each with the state where one is
        asked for. That is an index each, in which the newest come first.
        """
        by_kind = bool(self.kind) and self.kind != RunKind.SCHEDULED
        by_config = bool(self.config_id) and not by_kind
        is_one = len(states) == 1
        chosen = [
            (SyncRun.workspace_id, workspace_id, not by_config),
            (SyncRun.config_id, self.config_id, by_config),
            (SyncRun.kind, self.kind, by_kind),
            (SyncRun.state, states[0] if is_one else "", is_one and not by_kind),
        ]
        query = select(SyncRun).where(
            *(
                column == value if leads else unindexed(column, value)
                for column, value, leads in chosen
                if value
            )
        )
        # Of several states no index has the newest first: the list is walked by time until the page is full.
        return query.where(unindexed_in(SyncRun.state, states)) if len(states) > 1 else query


def find(workspace_id: str, wanted: RunFilter, args: Mapping[str, str]) -> Slice[SyncRun]:
    """One page of the list. Raises BadFilter."""
    query = _named(workspace_id, wanted)
    return keyset(query, SyncRun.created_at, SyncRun.id, lambda run: (run.created_at, run.id), args)


def beside(run: SyncRun, wanted: RunFilter) -> Beside:
    """The runs next to this one in a list."""
    states = TABS[wanted.state] if wanted.state else ()
    # Of several states each is asked by itself: that is an index each.
    lists = [wanted.rows(run.workspace_id, [state]) for state in states] or [wanted.rows(run.workspace_id)]
    return neighbours(lists, SyncRun.created_at, SyncRun.id, (run.created_at, run.id), "run_id")


def _named(workspace_id: str, wanted: RunFilter) -> Select[SyncRun]:
    """The runs of a list, each with its sync's name."""
    states = TABS[wanted.state] if wanted.state else ()
    name = joinedload(SyncRun.config).load_only(SyncConfig.name, raiseload=True)
    return wanted.rows(workspace_id, states).options(name)


def counts(workspace_id: str, wanted: RunFilter) -> dict[str, Count]:
    """How many runs stand behind each tab: counts obey the rest of the filter and stop at a cap."""
    rows = [wanted.rows(workspace_id, [state]).with_only_columns(SyncRun.id) for state in RunState]
    found = dict(zip(RunState, db.session.execute(select(*map(capped, rows))).one(), strict=True))
    # A sum of numbers that stop at the cap stops there too.
    return {tab: as_count(sum(found[state] for state in states)) for tab, states in TABS.items()}


def latest(workspace_id: str, limit: int = 8) -> Sequence[SyncRun]:
    """The newest runs of a workspace."""
    query = (
        select(SyncRun)
        .where(SyncRun.workspace_id == workspace_id, SyncRun.state != RunState.SKIPPED)
        .options(joinedload(SyncRun.config).load_only(SyncConfig.name, raiseload=True))
        .order_by(SyncRun.created_at.desc(), SyncRun.id.desc())
    )
    return db.session.scalars(query.limit(limit)).all()


def of_config(config_id: str, limit: int = 10) -> Sequence[SyncRun]:
    """The newest runs of one sync."""
    query = select(SyncRun).where(SyncRun.config_id == config_id)
    return db.session.scalars(query.order_by(SyncRun.created_at.desc(), SyncRun.id.desc()).limit(limit)).all()


def newest_of(config_ids: Sequence[str], limit: int) -> Sequence[SyncRun]:
    """The newest runs of several syncs together, without skipped slots."""
    query, run = newest_of_each(
        db.session(), config_ids, limit, lambda item: [item.state != RunState.SKIPPED]
    )
    newest = query.with_only_columns(run).order_by(run.created_at.desc(), run.id.desc())
    return db.session.scalars(newest.limit(limit)).all()


def one(workspace_id: str, run_id: str) -> SyncRun | None:
    """One run with its sync, or None where this workspace has no such."""
    query = select(SyncRun).where(SyncRun.id == run_id, SyncRun.workspace_id == workspace_id)
    return db.session.scalar(query.options(joinedload(SyncRun.config)))


EXPORTED = (
    "run", "sync", "kind", "state", "asked_by", "reason", "created_at", "started_at", "finished_at",
    "left_read", "left_created", "left_updated", "left_deleted",
    "right_read", "right_created", "right_updated", "right_deleted",
    "unchanged", "resolved", "conflicts", "held", "failed", "excluded", "error_code", "error",
)  # fmt: skip
EXPORTED_CHANGES = (
    "record", "side", "operation", "state", "rule", "field", "before", "after", "kept", "message",
    "settled_at",
)  # fmt: skip


def everything(workspace_id: str, wanted: RunFilter, limit: int) -> Export:
    """The newest runs that match, as rows under EXPORTED."""
    query = _named(workspace_id, wanted)
    return export(query, SyncRun.created_at, SyncRun.id, lambda found: map(exported, found), limit)


def exported(run: SyncRun) -> Sequence[Cell]:
    """A run as a row under EXPORTED."""
    summary = run.summary or {}
    verbs = ("read", "created", "updated", "deleted")
    counts = [(summary.get(side) or {}).get(verb) for side in ("left", "right") for verb in verbs]
    totals = [
        summary.get(word) for word in ("unchanged", "resolved", "conflicts", "held", "failed", "excluded")
    ]
    told = (run.id, run.config.name, run.kind, run.state, run.asked_by, run.reason)
    return (
        *told, run.created_at, run.started_at, run.finished_at, *counts, *totals, run.error_code, run.error
    )  # fmt: skip


def exported_changes(run_id: str, outcome: str, limit: int) -> Export:
    """The changes of a run as they were planned, as rows under EXPORTED_CHANGES, one per field."""
    query = select(Change).where(Change.run_id == run_id)
    if outcome in set(ChangeState):
        query = query.where(has_outcome(outcome))
    return export(query, None, Change.id, _field_rows, limit)


def _field_rows(found: Sequence[Change]) -> Iterator[Sequence[Cell]]:
    for change in found:
        told = (change.key, change.side, change.operation, change.state, change.rule)
        for item in ChangeRow(change).fields:
            kept = item.kept.text if item.kept else None
            values = (item.name, item.before.text, item.after.text, kept)
            yield (*told, *values, change.message, change.settled_at)


# -- what one run has to tell ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SideTotals:
    """`read` from this side; the rest was written to it."""

    side: str
    connection: str
    stream: str
    read: int
    created: int
    updated: int
    deleted: int

    @property
    def written(self) -> int:
        return self.created + self.updated + self.deleted


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of a run that have one cause."""

    code: str
    cause: Cause
    messages: Sequence[str]  # different ones, a few
    keys: Sequence[str]
    number: int


@dataclass(frozen=True, slots=True)
class ChangeRow:
    change: Change

    @property
    def badge(self) -> Badge:
        return change_state(self.change.state)

    @property
    def fields(self) -> Sequence[FieldChange]:
        change = self.change
        return field_changes(change.operation, change.before, change.after, change.result)


@dataclass(frozen=True)
class RunStory:
    """A run and what the database holds about it."""

    run: SyncRun
    changes: Slice[ChangeRow]
    outcomes: Mapping[str, Count]  # by state of the changes; "": all
    lines: Sequence[RunLine]
    retried_by: Sequence[SyncRun]
    retry_of: SyncRun | None
    calls: KeptCalls
    ran_before: bool  # the sync has had a run that was more than a preview; told of previews
    shown_by: SyncRun | None  # the preview that this run carries out
    names: tuple[str, str] = field(default=("left", "right"))  # of the connections

    @property
    def badge(self) -> Badge:
        return run_state(self.run.state)

    @property
    def is_open(self) -> bool:
        return self.run.state in _OPEN

    @property
    def has_ended(self) -> bool:
        return self.run.state in ENDED

    @property
    def is_preview(self) -> bool:
        return self.run.kind == RunKind.PREVIEW

    @property
    def can_be_undone(self) -> bool:
        """It wrote something, and is over."""
        return (
            self.has_ended and not self.is_preview and bool(self.outcomes.get(ChangeState.APPLIED, Count(0)))
        )

    @property
    def can_be_carried_out(self) -> bool:
        """A preview that shows what a run would write, and all of it."""
        return self.is_whole_preview and self._writes and bool(self.outcomes[""])

    @property
    def is_whole_preview(self) -> bool:
        """A preview that came to its end: one that failed or was stopped shows a part, if anything."""
        return self.is_preview and self.run.state in GOT_THROUGH

    @property
    def has_changes(self) -> bool:
        """It wrote something, or a preview would write or hold something: still kept or not."""
        if self.is_preview:
            return self.is_whole_preview and (self._writes or bool((self.run.summary or {}).get("held")))
        return self._writes

    @property
    def _writes(self) -> bool:
        return any(side.written for side in self.sides)

    @property
    def share(self) -> int | None:
        """How much of the present phase is done, in per cent; None where nobody knows the whole."""
        if not self.run.total:
            return None
        return min(100, self.run.done * 100 // self.run.total)

    @cached_property
    def sides(self) -> Sequence[SideTotals]:
        summary, definition = self.run.summary or {}, self.run.config.definition
        return [
            SideTotals(
                side=side,
                connection=name,
                stream=str((definition.get(side) or {}).get("stream") or ""),
                **{
                    verb: int((summary.get(side) or {}).get(verb, 0))
                    for verb in ("read", "created", "updated", "deleted")
                },
            )
            for side, name in zip(("left", "right"), self.names, strict=True)
        ]

    @cached_property
    def totals(self) -> Sequence[tuple[str, int]]:
        """The other counts of the summary: word and number."""
        summary = self.run.summary or {}
        words = ("unchanged", "resolved", "conflicts", "held", "failed", "excluded")
        return [(word, int(summary.get(word, 0))) for word in words]

    @cached_property
    def failures(self) -> Sequence[Failures]:
        """The failed records by cause, the most frequent cause first."""
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for error in (self.run.summary or {}).get("errors", ()):
            groups.setdefault(str(error.get("code", "")), []).append(error)
        found = [
            Failures(
                code=code,
                cause=cause(code),
                messages=list(dict.fromkeys(str(item.get("message", "")) for item in errors))[:3],
                keys=list(dict.fromkeys(str(item["key"]) for item in errors if item.get("key")))[:12],
                number=len(errors),
            )
            for code, errors in groups.items()
        ]
        return sorted(found, key=lambda group: -group.number)

    @property
    def error_cause(self) -> Cause | None:
        return cause(self.run.error_code or "") if self.run.error else None


def story(run: SyncRun, args: Mapping[str, str]) -> RunStory:
    """Everything about a run, in some ten queries. Raises BadFilter."""
    config = run.config
    related = db.session.scalars(
        select(SyncRun)
        .where(unindexed(SyncRun.config_id, run.config_id))
        .where(
            (SyncRun.retry_of == run.id)
            | SyncRun.id.in_([run.retry_of or "", str(run.options.get("preview", ""))])
        )
        .options(load_only(SyncRun.id, SyncRun.state, SyncRun.created_at, SyncRun.retry_of))
        .order_by(SyncRun.created_at)
    ).all()
    outcomes = _outcomes(run.id)
    return RunStory(
        run=run,
        changes=changes(run, args),
        outcomes=outcomes,
        lines=_lines(run.id),
        calls=kept(run.id),
        ran_before=run.kind == RunKind.PREVIEW and _has_run(run.config_id),
        shown_by=next((item for item in related if item.id == run.options.get("preview")), None),
        retried_by=[item for item in related if item.retry_of == run.id],
        retry_of=next((item for item in related if item.id == run.retry_of), None),
        names=(config.left_connection.name, config.right_connection.name),
    )


def _has_run(config_id: str) -> bool:
    newest = select(SyncRun.id).where(
        SyncRun.config_id == config_id, SyncRun.kind != RunKind.PREVIEW, SyncRun.state != RunState.SKIPPED
    )
    return db.session.scalar(newest.order_by(SyncRun.created_at.desc()).limit(1)) is not None


def changes(run: SyncRun, args: Mapping[str, str]) -> Slice[ChangeRow]:
    """The changes of a run in the order in which they were planned, a page at a time.

    A record is found by its whole key wherever it stands. A part of a key is looked for among some thousand
    changes at a time: `older` goes on where that ended. Raises BadFilter.
    """
    outcome, after = args.get("outcome", ""), args.get("after", "")
    if outcome and outcome not in set(ChangeState):
        states = both(list(ChangeState), "or")
        raise BadFilter(_("'%(word)s' is not an outcome. Use %(states)s.", word=outcome[:40], states=states))
    query = select(Change).where(Change.run_id == run.id)
    if outcome:
        query = query.where(has_outcome(outcome))
    if after:
        query = query.where(Change.id > whole(after))
    part = args.get("q", "").strip()[:200]
    end: int | None = None
    if part:
        exact = _of_key(run, part, outcome)
        if exact and not after:
            return Slice(exact)
        # Between ids, so that whichever index is taken no other run's changes are passed by.
        first, end = _nth(query, 1), _nth(query, CHANGES_COUNTED)
        last = end or db.session.scalar(query.with_only_columns(func.max(Change.id)))
        query = query.where(Change.id.between(first, last), Change.key.icontains(part, autoescape=True))
    size = 50
    if part:
        found = list(db.session.scalars(query.order_by(Change.id).limit(size + 1)))
    else:
        found = in_order(query, Change.id, size + 1, newest=False)
    older = found[size - 1].id if len(found) > size else end
    return Slice([ChangeRow(change) for change in found[:size]], older=str(older) if older else None)


def _nth(query: Select[Change], number: int) -> int | None:
    """The id of the change at this place, by the index alone; None where there are fewer."""
    return db.session.scalar(
        query.with_only_columns(Change.id).order_by(Change.id).offset(number - 1).limit(1)
    )


def _of_key(run: SyncRun, key: str, outcome: str) -> list[ChangeRow]:
    """What the run did to the record with exactly this key; there are never many."""
    query = select(Change).where(
        Change.config_id == run.config_id, Change.key == key, unindexed(Change.run_id, run.id)
    )
    if outcome:
        query = query.where(unindexed(Change.state, outcome))
    return [ChangeRow(change) for change in db.session.scalars(query.order_by(Change.id).limit(50))]


def has_outcome(outcome: str) -> ColumnElement[bool]:
    """Few changes of a run do not simply get through: those have an index of their own."""
    state = is_word(Change.state, outcome)
    if outcome in (ChangeState.PLANNED, ChangeState.SENT, ChangeState.APPLIED):
        return state
    return and_(state, in_index(Change, "ix_changes_outcome"))


def _outcomes(run_id: str) -> dict[str, Count]:
    """Changes by state, among the first some thousand of the run: all of them, for almost all runs."""
    mine = select(Change).where(Change.run_id == run_id)
    end = _nth(mine, CHANGES_COUNTED + 1)
    more = end is not None
    # Told by its last id and not by a limit: a limit lets PostgreSQL read the table from its beginning.
    counted = mine if end is None else mine.where(Change.id <= end)
    rows = db.session.execute(
        counted.with_only_columns(Change.state, func.count().label("number")).group_by(Change.state)
    ).all()
    total = sum(row.number for row in rows)
    order = list(ChangeState)
    by_state = {
        row.state: Count(row.number, capped=more)
        for row in sorted(rows, key=lambda row: order.index(ChangeState(row.state)))
    }
    return {"": Count(min(total, CHANGES_COUNTED), capped=more)} | by_state


def _lines(run_id: str) -> Sequence[RunLine]:
    newest = select(RunLine).where(RunLine.run_id == run_id).order_by(RunLine.id.desc()).limit(LINES)
    return db.session.scalars(newest).all()[::-1]


# -- how it went, hour by hour --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hour:
    begins: datetime
    success: int = 0
    partial: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.success + self.partial + self.failed


def hours(workspace_id: str, since: datetime) -> Mapping[str, Mapping[str, int]]:
    """Ended runs per hour and state: {"2026-11-23 14": {"success": 3}}, the hours in UTC."""
    bind = db.session.get_bind()
    hour: ColumnElement[str]
    if bind.dialect.name == "sqlite":
        hour = func.substr(
            SyncRun.created_at, 1, 13
        )  # it is kept as text; parsing it costs four times as much
    else:
        hour = func.to_char(func.timezone("UTC", SyncRun.created_at), "YYYY-MM-DD HH24")
    # The kinds by name: an index holds all that is asked for, by workspace, kind and time.
    told = and_(
        SyncRun.workspace_id == workspace_id,
        SyncRun.created_at >= since,
        unindexed_in(SyncRun.state, CARRIED_OUT),
        SyncRun.kind.in_([kind for kind in RunKind if kind is not RunKind.PREVIEW]),
    )
    inner = select(hour.label("hour"), SyncRun.state).where(told).subquery()
    rows = db.session.execute(
        select(inner.c.hour, inner.c.state, func.count().label("number")).group_by(
            inner.c.hour, inner.c.state
        )
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row.hour, {})[row.state] = row.number
    return found


@dataclass(frozen=True, slots=True)
class Cost:
    """What the last preview of a sync foretold."""

    run_id: str
    sentences: list[str]


def last_cost(workspace_id: str, config_id: str) -> Cost | None:
    """What a run costs in calls, as far as somebody has previewed one and its systems count calls."""
    row = db.session.execute(
        select(SyncRun.id, SyncRun.summary)
        .where(
            SyncRun.workspace_id == workspace_id,
            SyncRun.kind == RunKind.PREVIEW,
            unindexed(SyncRun.config_id, config_id),
            unindexed_in(SyncRun.state, GOT_THROUGH),
        )
        .order_by(SyncRun.created_at.desc())
        .limit(1)
    ).first()
    told = (row.summary or {}).get("cost") if row is not None else None
    return Cost(row.id, [demand["sentence"] for demand in told]) if row is not None and told else None
