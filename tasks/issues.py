"""What people say of issues: quiet, until something about them changes."""

from __future__ import annotations

from sqlalchemy import select, update

from models.issues import Issue
from models.sync_configs import SyncConfig
from tasks import audit
from tasks.context import Context
from tasks.errors import NotFound
from tasks.runs import count


def mute(ctx: Context, config_id: str, code: str, *, on: bool, by: str, reason: str = "") -> int:
    """Keep a config's open issues with this cause quiet, or let them speak again; how many.

    A muted issue speaks again by itself when its value or its message changes. Raises NotFound.
    """
    with ctx.sessions.begin() as db:
        config = db.scalar(select(SyncConfig).where(SyncConfig.id == config_id))
        if config is None:
            raise NotFound(f"There is no sync {config_id}.")
        changed = count(
            db.execute(
                update(Issue)
                .where(
                    Issue.config_id == config_id,
                    Issue.code == code,
                    Issue.closed_at.is_(None),
                    Issue.muted.is_(not on),
                )
                .values(muted=on)
            )
        )
        if changed:
            audit.record(
                db,
                "issues.muted" if on else "issues.unmuted",
                config_id,
                by=by,
                at=ctx.db_now(db),
                workspace_id=config.workspace_id,
                reason=reason,
                code=code,
                number=changed,
            )
        return changed
