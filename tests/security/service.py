"""A panel that listens, with two people in two workspaces; every answer that one gets is looked through."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from models.drafts import Draft
from models.people import Role
from models.sync_runs import RunState
from tasks import drafts, tokens
from tasks.context import Context
from tasks.rights import Capability
from tests.web.world import OTHER, OWN, Clock, World, make_context
from web import create_app
from web.limits import limiter

CRON = "the-cron-secret-of-the-fuzzed-house-1"
CANARY = "canary-of-acme"  # stands in everything of Alice's workspace


@dataclass
class Service:
    address: str
    ctx: Context
    world: World
    alice: str  # tokens
    charlie: str
    leaks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class _Patient:
    """Lets everybody try as often as they like: thousands of wrong keys come from one address."""

    def hit(self, *_: object) -> bool:
        return True


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing: thousands of requests come."""


@contextmanager
def listening(folder: Path) -> Iterator[Service]:
    clock = Clock()
    ctx = make_context(folder, clock, cron_secrets=(CRON,))
    world = World(ctx, clock)
    world.person("alice", Role.ADMIN)
    world.person("bob", Role.ADMIN)
    world.person("charlie", Role.ADMIN, workspace=OTHER)
    world.person("carol", Role.ADMIN, workspace=OTHER)
    world.beats()
    _furnish(world)
    app = create_app(ctx)
    every = tuple(Capability)
    alice = tokens.make(ctx, "user-alice", OWN, "t", every, days=None, by="test").token
    charlie = tokens.make(ctx, "user-charlie", OTHER, "t", every, days=None, by="test").token
    service = Service("", ctx, world, alice, charlie)
    enabled, limiter.enabled = limiter.enabled, False  # the limits have their own tests
    app.extensions["syncline.strikes"] = _Patient()
    inner = app.wsgi_app

    def watched(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        statuses: list[str] = []

        def begin(status: str, headers: Any, exc_info: Any = None) -> Any:
            statuses.append(status)
            return start_response(status, headers, exc_info)

        body = b"".join(inner(environ, begin))
        where = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} -> {statuses[-1]}"
        if charlie in environ.get("HTTP_AUTHORIZATION", "") and CANARY.encode() in body:
            service.leaks.append(where)
        if statuses[-1].startswith("5"):
            service.broken.append(f"{where}: {body[:300]!r}")
        return [body]

    app.wsgi_app = watched  # type: ignore[method-assign]
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    service.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        limiter.enabled = enabled


def _furnish(world: World) -> None:
    config = world.config(CANARY)
    draft = drafts.begin(world.ctx, OWN, f"{OWN}-crm", f"{OWN}-sheets", by=CANARY)
    with world.write() as db:
        db.get_one(Draft, draft).name = CANARY
    run = world.run(config, RunState.FAILED, error=CANARY, error_code="unavailable")
    world.change(run, key=CANARY)
    world.change(run, key=CANARY, state="held", guard="mass_delete", operation="delete")
    world.line(run, CANARY)
    world.conflict(config, CANARY)
    world.issue(config, CANARY, message=CANARY)
    world.link(config, CANARY)
