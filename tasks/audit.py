"""Who did what, when and why: one row per act, in the transaction of the act itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from models.audit import AuditEvent

# What asks for runs without being a person. Their runs say so themselves; only people's acts are audited.
SCHEDULE = "schedule"
CRON = "cron endpoint"
CHAIN = "chain"
RETRY = "automatic retry"
MACHINES = frozenset({SCHEDULE, CRON, CHAIN, RETRY})


def record(
    db: Session,
    action: str,
    subject: str,
    *,
    by: str,
    at: datetime,
    workspace_id: str | None = None,
    reason: str = "",
    **detail: Any,
) -> None:
    """Note an act; it commits with what it describes. `detail` holds ids and plain values, no secrets."""
    if reason:
        detail["reason"] = reason
    db.add(
        AuditEvent(
            workspace_id=workspace_id,
            at=at,
            actor=by[:320],
            action=action,
            subject=subject[:200],
            detail=detail,
        )
    )
