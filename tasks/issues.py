"""What people say of issues: quiet for a while or until something changes, fixed, and what they noted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models.issues import Issue, IssueNote
from models.sync_configs import SyncConfig
from tasks import audit
from tasks.context import Context
from tasks.errors import NotFound, WorkError
from tasks.runs import count

LONGEST_SNOOZE = timedelta(days=31)
LONGEST_NOTE = 2_000  # characters


def mute(
    ctx: Context,
    config_id: str,
    code: str,
    *,
    on: bool,
    by: str,
    reason: str = "",
    lasts: timedelta | None = None,
) -> int:
    """Keep a config's open issues with this cause quiet, or let them speak again; how many.

    They speak again by themselves when their value or message changes, and after `lasts` if that is
    given. A record that fails for the first time speaks in any case. Raises NotFound, WorkError.
    """
    if lasts is not None and not timedelta(0) < lasts <= LONGEST_SNOOZE:
        raise WorkError(f"Issues can be snoozed for {LONGEST_SNOOZE.days} days at most.", code="too_long")
    with ctx.sessions.begin() as db:
        config = _config(db, config_id)
        now = ctx.db_now(db)
        until = now + lasts if on and lasts is not None else None
        changed = count(
            db.execute(
                update(Issue)
                .where(*_open(config_id, code), Issue.muted.is_(not on))
                .values(muted=on, muted_until=until)
            )
        )
        if changed:
            detail: dict[str, Any] = {"until": until.isoformat()} if until else {}
            audit.record(
                db,
                "issues.muted" if on else "issues.unmuted",
                config_id,
                by=by,
                at=now,
                workspace_id=config.workspace_id,
                reason=reason,
                code=code,
                number=changed,
                **detail,
            )
        return changed


def wake(ctx: Context) -> int:
    """Let issues speak whose snooze is over; how many. The tick calls it."""
    with ctx.sessions.begin() as db:
        over = update(Issue).where(Issue.muted_until <= ctx.db_now(db))
        return count(db.execute(over.values(muted=False, muted_until=None)))


def resolve(ctx: Context, config_id: str, code: str, *, by: str, reason: str = "") -> int:
    """A person says that this cause is fixed: its issues close; how many. One that occurs again is new.

    Raises NotFound.
    """
    with ctx.sessions.begin() as db:
        config = _config(db, config_id)
        now = ctx.db_now(db)
        changed = count(
            db.execute(
                update(Issue)
                .where(*_open(config_id, code))
                .values(closed_at=now, closed_by=by, muted=False, muted_until=None)
            )
        )
        if changed:
            audit.record(
                db, "issues.resolved", config_id, by=by, at=now, workspace_id=config.workspace_id,
                reason=reason, code=code, number=changed,
            )  # fmt: skip
        return changed


def note(ctx: Context, config_id: str, code: str, text: str, *, by: str) -> None:
    """Write something down for whoever looks at this cause next. Raises NotFound, WorkError."""
    if not text or len(text) > LONGEST_NOTE:
        raise WorkError(f"A note has 1 to {LONGEST_NOTE:,} characters.", code="note")
    with ctx.sessions.begin() as db:
        config = _config(db, config_id)
        now = ctx.db_now(db)
        db.add(IssueNote(config_id=config_id, code=code[:60], at=now, by=by, text=text))
        audit.record(
            db, "issues.noted", config_id, by=by, at=now, workspace_id=config.workspace_id, code=code
        )


def _open(config_id: str, code: str) -> tuple[Any, ...]:
    return Issue.config_id == config_id, Issue.code == code, Issue.closed_at.is_(None)


def _config(db: Session, config_id: str) -> SyncConfig:
    config = db.scalar(select(SyncConfig).where(SyncConfig.id == config_id))
    if config is None:
        raise NotFound(f"There is no sync {config_id}.")
    return config
