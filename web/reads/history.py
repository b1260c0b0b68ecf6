"""What people did to a sync: from the audit events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from models.audit import AuditEvent
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun
from web.database import db
from web.languages import _, mark
from web.words import audited, who

_ACTS: Mapping[str, str] = {
    "config.created": mark("created it"),
    "config.changed": mark("changed its definition"),
    "config.renamed": mark("renamed it"),
    "config.paused": mark("paused it"),
    "config.resumed": mark("resumed it"),
    "config.activated": mark("switched it on"),
    "config.deactivated": mark("switched it off"),
}


@dataclass(frozen=True, slots=True)
class Act:
    at: datetime
    who: str
    what: str
    reason: str
    changes: Sequence[Mapping[str, Any]] = ()  # of a definition: place, before, after


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of a sync, or what somebody did to it."""

    at: datetime
    run: SyncRun | None = None
    act: Act | None = None


def timeline(runs: Sequence[SyncRun], acts: Sequence[Act]) -> Sequence[Entry]:
    """These runs, and between them what people did since the oldest of them; the newest first."""
    since = min((run.created_at for run in runs), default=None)
    entries = [Entry(run.created_at, run=run) for run in runs]
    entries += [Entry(act.at, act=act) for act in acts if since is None or act.at >= since]
    return sorted(entries, key=lambda entry: entry.at, reverse=True)


def of_config(config: SyncConfig, limit: int = 10) -> Sequence[Act]:
    """The latest acts on this sync, the newest first."""
    rows = db.session.scalars(
        select(AuditEvent)
        .where(AuditEvent.workspace_id == config.workspace_id, AuditEvent.subject == config.id)
        .order_by(AuditEvent.at.desc(), AuditEvent.id.desc())
        .limit(limit)
    )
    return [
        Act(
            at=event.at,
            who=who(event.actor),
            what=_(_ACTS[event.action]) if event.action in _ACTS else audited(event.action),
            reason=str(event.detail.get("reason") or ""),
            changes=event.detail.get("changes") or (),
        )
        for event in rows
    ]
