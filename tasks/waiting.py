"""What waits for a person after a run: told once when it begins to wait, once when it no longer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.issues import Alert
from sync import guard
from sync.guard import PlannedChange
from tasks.alerts import clear_alert, raise_alert

CONFLICTS = "conflicts"
HELD = "held:"


def tell(
    db: Session,
    at: datetime,
    *,
    workspace_id: str,
    config_id: str,
    conflicts: int,
    held: Sequence[PlannedChange],
) -> None:
    """One alert per guard that begins to hold and one for open conflicts; cleared when nothing waits."""
    counts = Counter(change.guard for change in held if change.guard)
    for name, count in counts.items():
        raise_alert(
            db,
            f"{HELD}{name}",
            f"{count} changes are held. {guard.SENTENCES[name]}",
            at=at,
            workspace_id=workspace_id,
            config_id=config_id,
        )
    if conflicts:
        raise_alert(
            db,
            CONFLICTS,
            f"{conflicts} records are in conflict and wait for a decision.",
            at=at,
            workspace_id=workspace_id,
            config_id=config_id,
        )
    standing = db.scalars(select(Alert.kind).where(Alert.config_id == config_id, Alert.cleared_at.is_(None)))
    for kind in list(standing):
        over = kind.startswith(HELD) and kind.removeprefix(HELD) not in counts
        if over or (kind == CONFLICTS and not conflicts):
            clear_alert(db, kind, at=at, config_id=config_id)
