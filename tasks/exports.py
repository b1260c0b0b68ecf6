"""That somebody took data out: who, what, and how many rows."""

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
