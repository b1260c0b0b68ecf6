"""Trying many records again: a set is frozen, counted and shown first, and can be taken back.

planned ──confirm──> (first: one record) ──> started: a retry run for each sync ──> over when they are
   └─ expires            └─> stopped, if it fails again     └─> recalled (before it begins) | stopped
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from models.bulk import UNDER_WAY, BulkPart, BulkRetry, BulkState, PartState
from models.issues import Issue
from models.sync_configs import SyncConfig
from models.sync_runs import GOT_THROUGH, RunKind, RunState, SyncRun, Wait
from tasks import audit, runs
from tasks.context import Context
from tasks.errors import NotFound, RunActive, WorkError, WrongState
from tasks.retries import failed_keys, still_failing

MOST = 2_000  # records in one; the rest is the next slice
NEEDS_REASON = 100  # so many records are not tried again without a word why
RECALL = timedelta(seconds=30)
GOOD_FOR = timedelta(hours=24)

FIXED = "already fixed by a later run"
BEYOND = f"beyond the first {MOST:,}: the next slice"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which failing records: of one sync or all, of one cause or all, with a text in key or message."""

    workspace_id: str
    config_id: str = ""
    code: str = ""
    text: str = ""

    @property
    def conditions(self) -> tuple[ColumnElement[bool], ...]:
        """What their issues have in common, beside being open."""
        found: list[ColumnElement[bool]] = [Issue.workspace_id == self.workspace_id]
        if self.config_id:
            found.append(Issue.config_id == self.config_id)
        if self.code:
            found.append(Issue.code == self.code)
        if self.text:
            found.append(
                or_(
                    Issue.key.icontains(self.text, autoescape=True),
                    Issue.message.icontains(self.text, autoescape=True),
                )
            )
        return tuple(found)


# -- plan ------------------------------------------------------------------------------------------


def plan(ctx: Context, chosen: Selection, *, said: str, by: str) -> str:
    """Freeze the records that fail now and fit; the id of the plan. `said`: the choice in words.

    Raises WrongState where none fits.
    """
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        rows = db.execute(
            select(Issue.config_id, Issue.key)
            .where(*chosen.conditions, Issue.closed_at.is_(None), Issue.muted.is_(False), Issue.key != "")
            .group_by(Issue.config_id, Issue.key)
            .order_by(Issue.config_id, Issue.key)
        ).all()
        if not rows:
            raise WrongState("No record fails that fits: there is nothing to try again.", code="fixed")
        by_config: dict[str, list[str]] = {}
        for config_id, key in rows:
            by_config.setdefault(config_id, []).append(key)
        bulk = BulkRetry(
            id=ctx.new_id(),
            workspace_id=chosen.workspace_id,
            state=BulkState.PLANNED,
            chosen=said[:500],
            planned_by=by,
            created_at=now,
            expires_at=now + GOOD_FOR,
            digest=_digest(rows),
        )
        db.add(bulk)
        db.flush()
        room = MOST
        for config_id, keys in by_config.items():
            part = _part(ctx, bulk.id, db.get_one(SyncConfig, config_id), keys, room)
            room -= len(part.keys)
            db.add(part)
        audit.record(
            db, "bulk.planned", bulk.id, by=by, at=now, workspace_id=bulk.workspace_id,
            chosen=bulk.chosen, records=len(rows),
        )  # fmt: skip
        return bulk.id


def _part(ctx: Context, bulk_id: str, config: SyncConfig, keys: list[str], room: int) -> BulkPart:
    part = BulkPart(
        id=ctx.new_id(),
        bulk_id=bulk_id,
        config_id=config.id,
        config_version=config.version,
        state=PartState.PLANNED,
        keys=keys[:room],
        left_out=dict.fromkeys(keys[room:], BEYOND),
        message="",
    )
    try:
        runs.must_be_runnable(config)
    except WrongState as why:
        part.state, part.message = PartState.LEFT_OUT, why.message[:500]
        part.left_out, part.keys = dict.fromkeys(keys, why.message), []
    return part


def _digest(rows: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps([list(row) for row in rows]).encode()).hexdigest()  # type: ignore[call-overload]


def look(ctx: Context, bulk_id: str, *, by: str) -> int:
    """Queue a preview for each of its syncs, over just these records: what would be written now.

    Returns how many were queued. Raises NotFound, and WrongState when it is no plan any more.
    """
    asked: list[str] = []
    with ctx.sessions.begin() as db:
        bulk, parts = _locked(db, bulk_id)
        _must_be_open(bulk, ctx.db_now(db))
        for part in parts:
            if not part.keys:
                continue
            part.preview_run_id = runs.queue_in(
                ctx,
                db,
                part.config_id,
                asked_by=by,
                kind=RunKind.PREVIEW,
                reason=f"What a retry of {len(part.keys)} records would write",
                options={"keys": part.keys},
            )
            asked.append(part.preview_run_id)
    for run_id in asked:
        ctx.wake(run_id)
    return len(asked)


# -- carry out -------------------------------------------------------------------------------------


def confirm(
    ctx: Context, bulk_id: str, *, digest: str, by: str, reason: str = "", one_first: bool = False
) -> None:
    """Start it, after the time in which it can be taken back; with one record first if asked for.

    Raises NotFound, and WrongState with the code `already_started`, `plan_stale`, `needs_reason` or
    `fixed`.
    """
    with ctx.sessions.begin() as db:
        bulk, parts = _locked(db, bulk_id)
        now = ctx.db_now(db)
        _must_be_open(bulk, now)
        _must_be_as_shown(db, bulk, parts, digest)
        for part in parts:
            _leave_out_what_is_fixed(db, part)
        number = sum(len(part.keys) for part in parts)
        if not number:
            raise WrongState("Nothing is left to try again: later runs have fixed it.", code="fixed")
        if number > NEEDS_REASON and not reason:
            raise WrongState(
                f"These are more than {NEEDS_REASON} records: say why they are tried again.",
                code="needs_reason",
            )
        bulk.state, bulk.confirmed_by, bulk.confirmed_at = BulkState.STARTED, by, now
        bulk.starts_at, bulk.reason = now + RECALL, reason[:500]
        if one_first and number > 1:
            _begin_with_one(ctx, db, bulk, parts, now)
        else:
            for part in parts:
                _ask_for(ctx, db, bulk, part, now)
        audit.record(
            db, "bulk.confirmed", bulk.id, by=by, at=now, workspace_id=bulk.workspace_id,
            reason=reason, records=number, one_first=bulk.first_key is not None,
        )  # fmt: skip


def _must_be_open(bulk: BulkRetry, now: datetime) -> None:
    if bulk.state != BulkState.PLANNED:
        who = f" by {bulk.confirmed_by}" if bulk.confirmed_by else ""
        raise WrongState(f"This was started already{who}.", code="already_started")
    if now > bulk.expires_at:
        raise WrongState("This plan is older than a day. Plan it anew.", code="plan_stale")


def _must_be_as_shown(db: Session, bulk: BulkRetry, parts: Sequence[BulkPart], digest: str) -> None:
    if digest != bulk.digest:
        raise WrongState("This is not the set that was shown. Look at the plan again.", code="plan_stale")
    for part in parts:
        config = db.get_one(SyncConfig, part.config_id)
        if part.keys and config.version != part.config_version:
            raise WrongState(
                f"The definition of '{config.name}' was changed since this was planned (version"
                f" {part.config_version}, now {config.version}). Plan it anew.",
                code="plan_stale",
            )


def _leave_out_what_is_fixed(db: Session, part: BulkPart) -> None:
    still = set(still_failing(db, part.config_id, part.keys))
    part.left_out = part.left_out | {key: FIXED for key in part.keys if key not in still}
    part.keys = [key for key in part.keys if key in still]
    if not part.keys and part.state == PartState.PLANNED:
        part.state, part.message = PartState.LEFT_OUT, "Nothing of it is left to try again."


def _begin_with_one(
    ctx: Context, db: Session, bulk: BulkRetry, parts: Sequence[BulkPart], now: datetime
) -> None:
    """One record of the largest part goes ahead; all parts wait for what becomes of it."""
    part = max(parts, key=lambda item: len(item.keys))
    try:
        bulk.first_run_id = _queued(ctx, db, bulk, part, part.keys[:1], now)
    except RunActive as busy:
        raise WrongState(f"{busy.message} Try one first when that has ended.", code="run_active") from None
    bulk.state, bulk.first_key = BulkState.FIRST, part.keys[0]
    for item in parts:
        if item.keys:
            item.state = PartState.WAITING


def _ask_for(ctx: Context, db: Session, bulk: BulkRetry, part: BulkPart, now: datetime) -> str | None:
    """Queue the run of a part, if its sync is free; else it waits for its turn."""
    if part.state not in (PartState.PLANNED, PartState.WAITING) or not part.keys:
        return None
    try:
        part.run_id = _queued(ctx, db, bulk, part, part.keys, now)
    except RunActive as busy:
        part.state, part.message = PartState.WAITING, busy.message[:500]
        return None
    except WorkError as why:  # paused or switched off by now
        part.state, part.message = PartState.LEFT_OUT, why.message[:500]
        part.left_out, part.keys = part.left_out | dict.fromkeys(part.keys, why.message), []
        return None
    part.state, part.message = PartState.QUEUED, ""
    return part.run_id


def _queued(
    ctx: Context, db: Session, bulk: BulkRetry, part: BulkPart, keys: Sequence[str], now: datetime
) -> str:
    run_id = runs.queue_in(
        ctx,
        db,
        part.config_id,
        asked_by=bulk.confirmed_by or bulk.planned_by,
        kind=RunKind.RETRY,
        reason=bulk.reason or f"Bulk retry: {bulk.chosen}",
        options={"keys": list(keys)},
    )
    if bulk.starts_at is not None and bulk.starts_at > now:
        db.execute(
            update(SyncRun)
            .where(SyncRun.id == run_id, SyncRun.state == RunState.QUEUED, SyncRun.wait_code == "")
            .values(
                not_before=bulk.starts_at,
                wait_code=Wait.RECALL,
                wait_text="It can still be taken back; then it begins.",
            )
        )
    return run_id


def recall(ctx: Context, bulk_id: str, *, by: str) -> None:
    """Take it back before it begins: nothing of it is done. Raises NotFound, WrongState (too late)."""
    with ctx.sessions.begin() as db:
        bulk, parts = _locked(db, bulk_id)
        now = ctx.db_now(db)
        asked = _runs_of(bulk, parts)
        if bulk.state not in UNDER_WAY or bulk.starts_at is None or now >= bulk.starts_at:
            raise WrongState("It has begun: it can only be stopped now.", code="too_late")
        if asked:
            db.execute(
                update(SyncRun)
                .where(SyncRun.id.in_(asked), SyncRun.state == RunState.QUEUED)
                .values(
                    state=RunState.CANCELLED,
                    finished_at=now,
                    cancel_requested_at=now,
                    cancel_requested_by=by,
                    error_code="cancelled",
                    error=f"Taken back by {by} before it started.",
                )
            )
        bulk.state, bulk.ended_because = BulkState.RECALLED, f"Taken back by {by}."
        audit.record(db, "bulk.recalled", bulk.id, by=by, at=now, workspace_id=bulk.workspace_id)


def stop(ctx: Context, bulk_id: str, *, by: str, reason: str = "") -> int:
    """Stop what is left of it; how many runs were cancelled. What is done stays done.

    Raises NotFound, and WrongState when there is nothing to stop.
    """
    with ctx.sessions.begin() as db:
        bulk, parts = _locked(db, bulk_id)
        if bulk.state not in UNDER_WAY:
            raise WrongState("It is not under way: there is nothing to stop.")
        asked = _runs_of(bulk, parts)
        bulk.state, bulk.ended_because = BulkState.STOPPED, f"Stopped by {by}."
        audit.record(
            db, "bulk.stopped", bulk.id, by=by, at=ctx.db_now(db), workspace_id=bulk.workspace_id,
            reason=reason,
        )  # fmt: skip
        still_open = list(
            db.scalars(
                select(SyncRun.id).where(
                    SyncRun.id.in_(asked), SyncRun.state.in_((RunState.QUEUED, RunState.RUNNING))
                )
            )
        )
    return sum(_cancelled(ctx, run_id, by, reason) for run_id in still_open)


def _cancelled(ctx: Context, run_id: str, by: str, reason: str) -> bool:
    try:
        runs.cancel(ctx, run_id, by=by, reason=reason)
    except WrongState:
        return False  # it ended in between
    return True


def _runs_of(bulk: BulkRetry, parts: Sequence[BulkPart]) -> list[str]:
    return [run_id for run_id in (bulk.first_run_id, *(part.run_id for part in parts)) if run_id]


# -- as runs end -----------------------------------------------------------------------------------


def after_run(ctx: Context, db: Session, run: SyncRun, retry_id: str | None) -> list[str]:
    """What follows for bulk retries from the end of a run: the runs to ring after the commit.

    `retry_id` is the automatic retry of this run, if there is one: it carries on in its place.
    """
    if retry_id is not None:
        db.execute(update(BulkPart).where(BulkPart.run_id == run.id).values(run_id=retry_id))
        db.execute(update(BulkRetry).where(BulkRetry.first_run_id == run.id).values(first_run_id=retry_id))
        return []
    waits = list(
        db.scalars(
            select(BulkRetry.id)
            .join(BulkPart, BulkPart.bulk_id == BulkRetry.id)
            .where(
                BulkRetry.state.in_(UNDER_WAY),
                or_(
                    BulkRetry.first_run_id == run.id,
                    (BulkPart.config_id == run.config_id) & (BulkPart.state == PartState.WAITING),
                ),
            )
            .distinct()
        )
    )
    return [ring for bulk_id in sorted(waits) for ring in _go_on(ctx, db, bulk_id, run)]


def go_on(ctx: Context) -> int:
    """Queue what waits for a sync that is free by now; how many runs. The tick calls it."""
    with ctx.reads() as db:
        waits = list(
            db.scalars(
                select(BulkRetry.id)
                .join(BulkPart, BulkPart.bulk_id == BulkRetry.id)
                .where(BulkRetry.state == BulkState.STARTED, BulkPart.state == PartState.WAITING)
                .distinct()
            )
        )
    rings: list[str] = []
    for bulk_id in waits:
        with ctx.sessions.begin() as db:
            rings.extend(_go_on(ctx, db, bulk_id, None))
    for run_id in rings:
        ctx.wake(run_id)
    return len(rings)


def _go_on(ctx: Context, db: Session, bulk_id: str, ended: SyncRun | None) -> list[str]:
    bulk, parts = _locked(db, bulk_id)
    if bulk.state == BulkState.FIRST:
        if ended is None or ended.id != bulk.first_run_id:
            return []
        if ended.state not in GOT_THROUGH or bulk.first_key in failed_keys(ended):
            bulk.state = BulkState.STOPPED
            bulk.ended_because = (
                f"The first record, {bulk.first_key}, failed again: the others were not tried."
            )[:500]
            return []
        bulk.state = BulkState.STARTED
        for part in parts:
            _leave_out_what_is_fixed(db, part)
    if bulk.state != BulkState.STARTED:
        return []
    now = ctx.db_now(db)
    rings = [_ask_for(ctx, db, bulk, part, now) for part in parts if part.state == PartState.WAITING]
    return [run_id for run_id in rings if run_id is not None]


def _locked(db: Session, bulk_id: str) -> tuple[BulkRetry, list[BulkPart]]:
    """Raises NotFound."""
    bulk = db.scalar(select(BulkRetry).where(BulkRetry.id == bulk_id).with_for_update())
    if bulk is None:
        raise NotFound(f"There is no bulk retry {bulk_id}.")
    parts = db.scalars(select(BulkPart).where(BulkPart.bulk_id == bulk_id).order_by(BulkPart.config_id))
    return bulk, list(parts)
