"""How things are, for the command line: the latest runs, and each sync in plain words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.sync_configs import SyncConfig
from models.sync_runs import ENDED, RunKind, RunState, SyncRun
from sync.values import iso
from tasks.context import Context
from tasks.ledger import count_conflicts, count_held

_WORDS = {
    RunState.SUCCESS: "In sync",
    RunState.PARTIAL: "Needs attention",
    RunState.FAILED: "Needs attention",
    RunState.CANCELLED: "Waiting",
}


def latest_runs(ctx: Context, config_id: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest runs first: {"run", "config", "kind", "state", "created_at", "summary", "error", "line"}."""
    query = select(SyncRun, SyncConfig.name).join(SyncConfig).order_by(SyncRun.created_at.desc(), SyncRun.id)
    if config_id is not None:
        query = query.where(SyncRun.config_id == config_id)
    with ctx.reads() as db:
        return [
            {
                "run": run.id,
                "config": name,
                "kind": run.kind,
                "state": run.state,
                "asked_by": run.asked_by,
                "created_at": iso(run.created_at),
                "finished_at": iso(run.finished_at) if run.finished_at else None,
                "retry_of": run.retry_of,
                "error": run.error,
                "summary": run.summary,
                "line": run.error or run.reason or _written(run.summary),
            }
            for run, name in db.execute(query.limit(limit))
        ]


def _written(summary: dict[str, Any] | None) -> str:
    if not summary:
        return ""
    parts = [
        f"{side} +{summary[side]['created']} ~{summary[side]['updated']} -{summary[side]['deleted']}"
        for side in ("left", "right")
    ]
    return ", ".join([*parts, f"{summary['unchanged']} unchanged"])


def status(ctx: Context) -> list[dict[str, Any]]:
    """Each sync: {"config", "status", "sentence", "last_run", "next_run_at", "conflicts", "held"}."""
    with ctx.reads() as db:
        return [_status_of(db, config) for config in db.scalars(select(SyncConfig).order_by(SyncConfig.name))]


def _status_of(db: Session, config: SyncConfig) -> dict[str, Any]:
    last = db.scalar(
        select(SyncRun)
        .where(
            SyncRun.config_id == config.id,
            SyncRun.kind != RunKind.PREVIEW,
            SyncRun.state != RunState.SKIPPED,
        )
        .order_by(SyncRun.created_at.desc())
        .limit(1)
    )
    conflicts, held = count_conflicts(db, config.id), count_held(db, config.id)
    if config.paused_at is not None:
        word, sentence = "Paused", config.paused_reason or f"by {config.paused_by}"
    elif not config.active:
        word, sentence = "Paused", "It is not active."
    elif last is None:
        word, sentence = "Waiting", "It has not run yet."
    else:
        word = _WORDS.get(RunState(last.state), "Waiting")
        became = f"ended as {last.state}" if last.state in ENDED else f"is {last.state}"
        sentence = last.error or f"Its last run, {iso(last.created_at)}, {became}."
        if last.state == RunState.QUEUED and last.wait_text:
            until = f" It starts not before {iso(last.not_before)}." if last.not_before else ""
            sentence = last.wait_text + until
    waits = [f"{count} {what}" for count, what in ((conflicts, "conflicts"), (held, "held")) if count]
    if waits:
        sentence += f" Waiting for a person: {', '.join(waits)}."
    return {
        "config": config.name,
        "status": word,
        "sentence": sentence,
        "last_run": last.id if last else None,
        "last_state": last.state if last else None,
        "next_run_at": iso(config.next_run_at) if config.next_run_at else None,
        "conflicts": conflicts,
        "held": held,
    }
