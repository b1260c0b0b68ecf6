"""`GET /api/health`: for load balancers, without sign-in, without a name in it."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask

from tasks.context import Context
from tests.web.browser import Browser
from tests.web.world import World
from web import create_app


def test_all_is_well(stranger: Browser, world: World) -> None:
    world.clock.passes(seconds=12.5)
    response = stranger.get("/api/health")
    body = response.get_json()
    assert (response.status_code, body["status"]) == (200, "healthy")
    assert set(body) == {"status", "timestamp", "uptime", "responseTime", "checks", "version"}
    assert set(body["checks"]) == {"database", "redis", "scheduler", "workers", "environment"}
    assert {check["status"] for check in body["checks"].values()} == {"healthy"}
    assert body["timestamp"] == "2026-11-23T14:05:42.500000Z"
    assert body["uptime"] == 12.5


def test_silence_is_unhealthy(stranger: Browser, world: World) -> None:
    world.clock.passes(minutes=10)
    response = stranger.get("/api/health")
    checks = response.get_json()["checks"]
    assert (response.status_code, response.get_json()["status"]) == (503, "unhealthy")
    assert checks["workers"]["status"] == checks["scheduler"]["status"] == "unhealthy"
    assert checks["database"]["status"] == checks["redis"]["status"] == "healthy"


def test_a_queue_that_is_away_is_unhealthy(ctx: Context, world: World) -> None:
    app = create_app(replace(ctx, queue_answers=lambda: False))
    response = app.test_client().get("/api/health")
    assert response.status_code == 503
    assert response.get_json()["checks"]["redis"]["status"] == "unhealthy"


def test_a_database_that_is_away_is_told_without_detail(
    app: Flask, stranger: Browser, world: World, ctx: Context
) -> None:
    stranger.get("/sign-in")
    database = ctx.settings.own_database
    assert database is not None
    ctx.reads.kw["bind"].engine.dispose()
    for path in database.parent.glob("syncline.db*"):
        path.unlink()
    database.mkdir()
    response = stranger.get("/api/health")
    checks = response.get_json()["checks"]
    assert response.status_code == 503
    assert checks["database"] == {"status": "unhealthy", "message": "the database does not answer"}
    assert str(database.parent) not in response.text
