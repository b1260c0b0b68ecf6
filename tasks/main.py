"""What the processes of the Procfile start with. Importing it does nothing.

The worker is `dramatiq tasks.main:setup`: dramatiq calls `setup` in the process that works.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq

from models.migrate import NotMigrated
from models.secrets import SecretUnreadable
from tasks import logs, start
from tasks.actors import declare_start_run
from tasks.broker import Bell, make_broker
from tasks.context import Context, SettingsError, live, settings_from_env
from tasks.execute import carry_out
from tasks.heartbeat import Heartbeat
from tasks.life import Life
from tasks.shift import CarryOut

YIELDS = 5  # steps of niceness: on a busy machine, people who wait for a page come before the work


class NoQueue(Exception):
    """REDIS_URL is not set, and this process cannot work without a queue."""

    def __init__(self) -> None:
        super().__init__(
            "REDIS_URL is not set. Workers and the scheduler need a Redis; `syncline up` brings its own."
        )


def from_env(process: str) -> Context:
    """The context that the environment describes, with logs set up; its queue may be missing.

    `process` names the kind of process in each log line. Raises SettingsError.
    """
    settings = settings_from_env()
    logs.set_up(settings.log_level, settings.log_format, process=process)
    if settings.redis_url is None:
        return live(settings)
    bell = Bell(settings.redis_url)
    return live(settings, wake=bell, queue_answers=bell.answers, ask=bell.ask)


def redis_url(ctx: Context) -> str:
    """Where the queue is. Raises NoQueue."""
    if ctx.settings.redis_url is None:
        raise NoQueue
    return ctx.settings.redis_url


@contextmanager
def said_plainly() -> Iterator[None]:
    """Let a process that cannot start end with one clear line instead of a traceback."""
    try:
        yield
    except (SettingsError, NoQueue, NotMigrated, SecretUnreadable) as problem:
        raise SystemExit(str(problem)) from None


def setup() -> None:
    """Make this process a worker that carries out runs."""
    os.nice(YIELDS)
    with said_plainly():
        become_worker(from_env("worker"), carry_out)


def become_worker(ctx: Context, carry_out: CarryOut) -> None:
    """Make this process a worker: its heartbeat, and its broker with the one actor.

    Raises NoQueue, NotMigrated, SecretUnreadable.
    """
    url = redis_url(ctx)
    start.begin(ctx)
    heartbeat = Heartbeat(ctx, "worker", ctx.stop)
    broker = make_broker(url, [Life(heartbeat)])
    declare_start_run(broker, ctx, heartbeat, carry_out)
    dramatiq.set_broker(broker)
