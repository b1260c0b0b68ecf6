"""Previews as people read them: the plan in the journal under its run, and carried out later as it was shown.

Rows of a preview are in states of their own (`models.journal.FORETOLD`). Nothing that decides, recovers or
tells a record's history looks at them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import delete, select

from models.journal import FORETOLD, Change, ChangeState
from models.sync_runs import GOT_THROUGH, RunKind, SyncRun
from sync import guard
from sync.guard import PlannedChange
from tasks import ledger, runs
from tasks.apply import Work
from tasks.context import Context
from tasks.entries import Entry
from tasks.errors import NotFound, WorkError, WrongState
from tasks.intents import JOURNALLED_AT_ONCE, change_row
from tasks.look import Outlook

_GONE = (
    "What the preview showed is kept no longer, so that it cannot be carried out as shown. Make a new one."
)


def begin(work: Work) -> None:
    """Forget what a broken attempt at this preview left."""
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        db.execute(delete(Change).where(Change.run_id == work.run_id))


def store(work: Work, outlook: Outlook, done: int = 0, total: int | None = None) -> None:
    """Keep a plan, or a part of it, under its run; some changes in one transaction.

    Raises the Signals of the reins between the transactions.
    """
    changes = outlook.plan.changes
    told = _told(changes)
    for start in range(0, len(changes), JOURNALLED_AT_ONCE):
        work.reins.checkpoint()
        work.reins.progress("storing the plan", done + start, total or len(changes))
        part = changes[start : start + JOURNALLED_AT_ONCE]
        with work.ctx.sessions.begin() as db:
            work.reins.fence(db)
            now = work.ctx.db_now(db)
            ledger.store_changes(db, [_row(work, change, outlook, next(told), now) for change in part])


def _row(work: Work, change: PlannedChange, outlook: Outlook, told: str, now: datetime) -> Entry:
    entry = change_row(work, change, None, outlook, {}, now)
    entry.state = ChangeState.WOULD_WAIT if change.guard else ChangeState.WOULD_GO
    entry.guard, entry.message = change.guard, told or None
    entry.settle = entry.link_id = None
    return entry


def _told(changes: list[PlannedChange]) -> Iterator[str]:
    """For each change what its fields do not show: why it waits, and what else happens with it."""
    why = iter(guard.why_held(change for change in changes if change.guard))
    for change in changes:
        said = [next(why) if change.guard else guard.along(change).strip()]
        said += [
            f"'{name}' leads to {', '.join(keys)}, made before it." for name, keys in change.links_to.items()
        ]
        yield " ".join(filter(None, said))


def carry_out(ctx: Context, run_id: str, *, by: str, reason: str = "", request_key: str | None = None) -> str:
    """Queue the run that carries out what this preview showed, and nothing else; its id.

    Both sides are read again: a record that would be written otherwise by now is left as it is.

    Raises NotFound, WrongState where there is nothing to carry out, and what `runs.queue` raises.
    """
    with ctx.reads() as db:
        run = db.get(SyncRun, run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id}.")
        if run.kind != RunKind.PREVIEW or run.state not in GOT_THROUGH:
            raise WrongState("Only a preview that got through can be carried out as shown.")
        shows = select(Change.id).where(Change.run_id == run_id, Change.state == ChangeState.WOULD_GO)
        if db.scalar(shows.limit(1)) is None:
            raise WrongState("The preview shows nothing that a run would write by itself.")
    return runs.queue(
        ctx,
        run.config_id,
        asked_by=by,
        reason=reason,
        full=run.full,
        options={**run.options, "preview": run_id},
        request_key=request_key,
    )


def fingerprints(ctx: Context, run_id: str) -> frozenset[str]:
    """What a preview showed, as `sync.planner.fingerprint` tells one change from another.

    Raises WorkError where it is kept no longer.
    """
    with ctx.reads() as db:
        shown = select(Change.fingerprint).where(Change.run_id == run_id, Change.state.in_(FORETOLD))
        found = frozenset(db.scalars(shown))
    if not found:
        raise WorkError(_GONE, code="preview_gone")
    return found
