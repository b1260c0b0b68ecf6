"""The scheduler process: `python -m tasks.scheduler`.

periodiq sends the tick each minute from the main thread; threads of this same process consume the
control queue, so that a tick never waits behind a sync. Ends cleanly on SIGTERM or SIGINT, and with an
exit code of its own when a thread dies.
"""

from __future__ import annotations

import os
import signal
import sys
from queue import SimpleQueue
from typing import Any

import redis
import structlog
from dramatiq import Worker
from periodiq import PeriodiqMiddleware, Scheduler
from sqlalchemy.exc import SQLAlchemyError

from tasks import due, start
from tasks.actors import declare_answer, declare_tick
from tasks.broker import CONTROL, make_broker
from tasks.context import Context
from tasks.heartbeat import Heartbeat
from tasks.life import Life, hear_once
from tasks.main import from_env, redis_url, said_plainly

CONTROL_THREADS = 4  # a tick, and a few people who wait for a system's answer
STOP_MS = 10_000
# A tick that old is left out: the next one does its work. More than a minute, since a tick carries the
# full minute in which it was sent.
SKIP_AFTER_SECONDS = 90
log = structlog.get_logger(__name__)


class Beat(Scheduler):  # type: ignore[misc]  # periodiq has no types
    """periodiq's loop, which survives a silent queue: then the tick is carried out right here."""

    def __init__(self, ctx: Context, actors: list[Any]) -> None:
        super().__init__(actors)
        # Unlike periodiq's own queue, its put() may be called by a signal handler at any moment.
        self.alarm_q: SimpleQueue[bool] = SimpleQueue()
        self._ctx = ctx

    def send_actors(self, actors: list[Any], now: Any) -> None:
        minute = now.replace(second=0, microsecond=0)  # the same for all who tick in this minute
        try:
            super().send_actors(actors, minute)
        except (redis.RedisError, OSError) as problem:
            log.warning("tick.not_sent", error=str(problem)[:200])
            self._tick_here()

    def stop(self) -> None:
        self.alarm_q.put(False)

    def _tick_here(self) -> None:
        try:
            due.tick(self._ctx)
        except SQLAlchemyError as problem:
            log.warning("tick.failed", error=str(problem).splitlines()[0][:300])


def run(ctx: Context, queue_url: str) -> None:
    """Tick until a signal says stop."""
    stop = ctx.stop
    heartbeat = Heartbeat(ctx, "scheduler", stop)
    broker = make_broker(queue_url, [PeriodiqMiddleware(skip_delay=SKIP_AFTER_SECONDS), Life(heartbeat)])
    declare_answer(broker, ctx)
    beat = Beat(ctx, [declare_tick(broker, ctx, stop.is_set)])
    for number in (signal.SIGTERM, signal.SIGINT):
        hear_once(number, stop, then=beat.stop)
    worker = Worker(broker, queues={CONTROL}, worker_threads=CONTROL_THREADS)
    worker.start()
    log.info("scheduler.started", pid=os.getpid())
    if not stop.is_set():
        beat.schedule()  # at once: what fell due while no scheduler ran does not wait for the full minute
        beat.loop()
    signal.alarm(0)
    worker.stop(timeout=STOP_MS)
    broker.close()
    log.info("scheduler.stopped")


def main() -> int:
    with said_plainly():
        ctx = from_env("scheduler")
        url = redis_url(ctx)
        start.begin(ctx)
    run(ctx, url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
