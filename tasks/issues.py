"""What people say of issues: quiet for a while or until something changes, fixed, noted, and who is on it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from models.issues import Issue, IssueClaim, IssueNote
from models.sync_configs import SyncConfig
from tasks import audit
from tasks.context import Context
from tasks.errors import NotFound, WorkError, WrongState
from tasks.runs import count

LONGEST_SNOOZE = timedelta(days=31)
LONGEST_NOTE = 2_000  # characters
CLAIM = timedelta(minutes=30)  # so long somebody has a cause who said nothing more


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
    """Let issues speak whose snooze is over; how many. Claims that are over go. The tick calls it."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        db.execute(delete(IssueClaim).where(IssueClaim.until <= now))
        over = update(Issue).where(Issue.muted_until <= now)
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
        db.execute(delete(IssueClaim).where(*_claimed(config_id, code)))
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


def claim(ctx: Context, config_id: str, code: str, *, by: str, over: str = "") -> datetime:
    """Say that one looks at this cause, so that nobody does the same work; until when.

    It forbids nobody anything. `over`: who has it, as far as one knows, and is to hand it over. Raises
    NotFound, and WrongState with the code `claimed` where somebody else took it meanwhile.
    """
    with ctx.sessions.begin() as db:
        config = _config(db, config_id, locked=True)
        now = ctx.db_now(db)
        held = db.get(IssueClaim, (config_id, code))
        if held is not None and held.until > now and held.by not in (by, over):
            raise WrongState(f"{held.by} took this meanwhile. Ask them, or take it over.", code="claimed")
        is_new = held is None or held.until <= now or held.by != by
        if held is None:
            held = IssueClaim(config_id=config_id, code=code[:60], by=by, at=now, until=now)
            db.add(held)
        if is_new:
            held.by, held.at = by, now
            audit.record(
                db, "issues.claimed", config_id, by=by, at=now, workspace_id=config.workspace_id, code=code
            )
        held.until = now + CLAIM
        return held.until


def release(ctx: Context, config_id: str, code: str, *, by: str) -> None:
    """Say that one does not look at it any more. What somebody else has stays theirs. Raises NotFound."""
    with ctx.sessions.begin() as db:
        config = _config(db, config_id)
        mine = delete(IssueClaim).where(*_claimed(config_id, code), IssueClaim.by == by)
        if count(db.execute(mine)):
            audit.record(
                db, "issues.released", config_id, by=by, at=ctx.db_now(db), workspace_id=config.workspace_id,
                code=code,
            )  # fmt: skip


def _claimed(config_id: str, code: str) -> tuple[Any, ...]:
    return IssueClaim.config_id == config_id, IssueClaim.code == code


def _open(config_id: str, code: str) -> tuple[Any, ...]:
    return Issue.config_id == config_id, Issue.code == code, Issue.closed_at.is_(None)


def _config(db: Session, config_id: str, *, locked: bool = False) -> SyncConfig:
    query = select(SyncConfig).where(SyncConfig.id == config_id)
    config = db.scalar(query.with_for_update() if locked else query)
    if config is None:
        raise NotFound(f"There is no sync {config_id}.")
    return config
