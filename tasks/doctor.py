"""What is wrong with this deployment: everything that it needs is looked at once, and nothing is changed."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from models.connections import Connection
from models.db import database_says
from models.migrate import NotMigrated, must_be_current
from models.processes import Process
from models.secrets import SecretUnreadable, check_canary
from tasks import audit, connections, redis_server, telling
from tasks.alive import BEATS_MISSED
from tasks.broker import Bell
from tasks.context import Context
from tasks.sides import secrets_of
from tasks.start import engine_of

State = Literal["ok", "warning", "wrong"]
TICK_LATE_AFTER = timedelta(seconds=150)
MOST_DRIFT = timedelta(seconds=5)
_LATE = "runs start up to a minute late."


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    state: State
    message: str


def examine(ctx: Context) -> Iterator[Finding]:
    """Look at one thing after the other. What needs the database is left out where it does not answer."""
    yield from _files(ctx)
    own = ctx.settings.own_database
    if own is not None and not own.exists():
        yield Finding("database", "ok", f"{own} is made by the first command that needs it.")
        yield _queue(ctx)
        return
    try:
        yield from _database(ctx)
        yield _queue(ctx)
        yield from _processes(ctx)
        if said := telling.trouble(ctx):
            yield Finding("alerts", "warning", said)
        yield _audit(ctx)
        yield from _connections(ctx)
    except (NotMigrated, SecretUnreadable) as problem:
        check = "database" if isinstance(problem, NotMigrated) else "keys"
        yield Finding(check, "wrong", str(problem))
    except SQLAlchemyError as problem:
        yield Finding("database", "wrong", database_says(problem))


def _files(ctx: Context) -> Iterator[Finding]:
    settings = ctx.settings
    for folder in settings.sources_folders:
        if not folder.is_dir():
            yield Finding("files", "wrong", f"SOURCES_FOLDERS: there is no folder '{folder}'.")
    for name in ("secret_key", "encryption_keys"):
        file = settings.home / name
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield Finding("files", "wrong", f"Others can read {file}. Run: chmod 600 {file}")


def _database(ctx: Context) -> Iterator[Finding]:
    must_be_current(engine_of(ctx))
    with ctx.reads() as db:
        drift = abs(ctx.now() - ctx.db_now(db))
    yield Finding("database", "ok", "It answers, and is at this release's schema.")
    if drift > MOST_DRIFT:
        yield Finding(
            "clock",
            "warning",
            f"This clock is {drift.total_seconds():.0f} s away from the database's. Set both by NTP.",
        )
    with ctx.sessions.begin() as db:
        check_canary(db, ctx.ring)
    unreadable = list(_unreadable(ctx))
    if unreadable:
        names = ", ".join(f"'{name}'" for name in unreadable)
        yield Finding(
            "keys", "wrong", f"The stored secrets of {names} cannot be decrypted: enter them again."
        )
    else:
        yield Finding("keys", "ok", "They fit this database.")


def _unreadable(ctx: Context) -> Iterator[str]:
    with ctx.reads() as db:
        rows = db.scalars(select(Connection).order_by(Connection.name)).all()
    for row in rows:
        try:
            secrets_of(ctx, row)
        except SecretUnreadable:
            yield row.name


def _queue(ctx: Context) -> Finding:
    url = ctx.settings.redis_url
    ours = None if url else redis_server.prepared(ctx.settings.home / "redis")
    if url is None and (ours is None or not _answers(ours)):
        if ours is not None and _works_here(ctx):
            return Finding("redis", "wrong", f"The Redis of `syncline up` does not answer: {_LATE}")
        state: State = "ok" if ctx.settings.is_local else "wrong"
        return Finding(
            "redis", state, "REDIS_URL is not set: `syncline up` brings its own, `syncline sync` needs none."
        )
    if url is None or _answers(url):
        return Finding("redis", "ok", "It answers.")
    return Finding("redis", "wrong", f"The Redis of REDIS_URL does not answer: {_LATE}")


def _answers(url: str) -> bool:
    bell = Bell(url)
    try:
        return bell.answers()
    finally:
        bell.close()


def _works_here(ctx: Context) -> bool:
    """Whether `syncline up` keeps programs running over this database."""
    own = ctx.settings.own_database
    return own is not None and own.exists() and workers(ctx) > 0


def workers(ctx: Context) -> int:
    """How many workers have said lately that they are alive, anywhere."""
    patience = timedelta(seconds=ctx.settings.renew_seconds * BEATS_MISSED)
    with ctx.reads() as db:
        query = select(func.count()).where(
            Process.kind == "worker", Process.beat_at > ctx.db_now(db) - patience
        )
        return db.scalar(query) or 0


def _processes(ctx: Context) -> Iterator[Finding]:
    # On one machine nothing needs to be up: every run can be started by hand.
    missing: State = "warning" if ctx.settings.is_local else "wrong"
    if alive := workers(ctx):
        yield Finding("workers", "ok", f"{alive} {'is' if alive == 1 else 'are'} at work.")
    else:
        yield Finding("workers", missing, "No worker has been heard of lately: queued runs wait.")
    with ctx.reads() as db:
        ticked_at, now = db.scalar(select(func.max(Process.ticked_at))), ctx.db_now(db)
    if ticked_at is not None and now - ticked_at <= TICK_LATE_AFTER:
        yield Finding("scheduler", "ok", "It ticks.")
    else:
        yield Finding("scheduler", missing, "The scheduler does not tick: nothing starts by its schedule.")


def _audit(ctx: Context) -> Finding:
    found = audit.verify(ctx)
    if found.problems:
        return Finding("audit", "wrong", " ".join(found.problems))
    gone = f", {found.redacted} without the data of people who have gone" if found.redacted else ""
    return Finding("audit", "ok", f"{found.sealed} acts in unbroken chains{gone}.")


def _connections(ctx: Context) -> Iterator[Finding]:
    for item in connections.check(ctx):
        state: State = "ok" if item["ok"] else "wrong"
        yield Finding(f"connection {item['connection']}", state, item["message"])


def is_well(findings: Sequence[Finding]) -> bool:
    return all(finding.state != "wrong" for finding in findings)
