"""`GET /api/health`: whether this installation works, for load balancers and for people. No names in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from flask import Blueprint, current_app, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from web.api.wire import Operation, Output, describe
from web.auth import public
from web.database import ctx, db
from web.reads.health import Health, health

bp = Blueprint("health", __name__)


@bp.record_once
def _remember_start(state: Any) -> None:
    state.app.extensions["started_at"] = state.app.extensions["syncline"].now()


@bp.get("/api/health")
@public
def show() -> ResponseReturnValue:
    """200 while everything answers, else 503; the same body either way."""
    context = ctx()
    begun = context.now()
    checks: dict[str, dict[str, Any]] = {"database": _database()}
    found: Health | None = None
    if checks["database"]["status"] == "healthy":
        found = health(begun)
    checks["redis"] = _said(context.queue_answers(), "the queue does not answer")
    checks["scheduler"] = _said(found is not None and found.scheduler_ok, "no tick for a while")
    checks["workers"] = _said(found is not None and found.workers_ok, "no worker answers")
    if found is not None:
        checks["workers"]["alive"] = found.workers
        checks["workers"]["queued"] = found.queued
        checks["workers"]["running"] = found.running
    # The settings were read and the keys fit, or this process would not have started.
    checks["environment"] = {"status": "healthy"}
    well = all(check["status"] == "healthy" for check in checks.values())
    now = context.now()
    response = jsonify(
        {
            "status": "healthy" if well else "unhealthy",
            "timestamp": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "uptime": round((now - current_app.extensions["started_at"]).total_seconds(), 3),
            "responseTime": round((now - begun).total_seconds() * 1000, 1),
            "checks": checks,
            "version": context.settings.release,
        }
    )
    response.status_code = 200 if well else 503
    return response


class Check(Output):
    status: Literal["healthy", "unhealthy"]
    message: str | None = None
    alive: int | None = None
    queued: int | None = None
    running: int | None = None


class Checks(Output):
    database: Check
    redis: Check
    scheduler: Check
    workers: Check
    environment: Check


class HealthOut(Output):
    status: Literal["healthy", "unhealthy"]
    timestamp: datetime
    uptime: float
    responseTime: float
    checks: Checks
    version: str


describe(
    show,
    Operation(
        name="health.show",
        summary="Whether this installation works",
        text="200 while everything answers, else 503 with the same body.",
        tag="outside",
        needs="public",
        query=None,
        body=None,
        answers={200: HealthOut, 503: HealthOut},
    ),
)


def _database() -> dict[str, Any]:
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        db.session.remove()
        return _said(False, "the database does not answer")
    return _said(True, "")


def _said(is_well: bool, otherwise: str) -> dict[str, Any]:
    return {"status": "healthy"} if is_well else {"status": "unhealthy", "message": otherwise}
