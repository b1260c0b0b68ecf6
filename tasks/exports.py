"""That somebody took data out, or looked behind a mask: who, what, and how much."""

from __future__ import annotations

from tasks import audit
from tasks.context import Context


def note(ctx: Context, what: str, *, by: str, workspace_id: str, rows: int, form: str) -> None:
    """Audit an export of `what` (runs, issues ...) in this form (csv, json)."""
    with ctx.sessions.begin() as db:
        audit.record(
            db,
            "export.taken",
            what,
            by=by,
            at=ctx.db_now(db),
            workspace_id=workspace_id,
            rows=rows,
            form=form,
        )


def reveal(ctx: Context, run_id: str, *, by: str, workspace_id: str, calls: int) -> None:
    """Audit that somebody looks at what so many calls of a run carried."""
    with ctx.sessions.begin() as db:
        audit.record(
            db, "run.calls_revealed", run_id, by=by, at=ctx.db_now(db), workspace_id=workspace_id, calls=calls
        )
