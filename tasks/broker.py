"""The queue: a doorbell, nothing more. A message holds a run's id and may come never, once or often.

Making a broker connects to nothing and starts nothing. dramatiq's own retries, time limits, callbacks
and pipelines are left out: what must not be lost is a row in the database, and what interrupts a run
is a flag that it looks at itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic

import redis
import structlog
from dramatiq import Consumer, Message, Middleware
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

RUNS = "runs"  # queue of the workers: long work
CONTROL = "control"  # queue of the scheduler process: ticks and other short work
START_RUN = "start_run"
ANSWER = "answer"
NAMESPACE = "dramatiq"
IDLE_MS = 40  # the longest pause between two looks at an empty queue ...
IDLE_DELAYED_MS = 500  # ... and at its twin for delayed messages

_ENOUGH_BELLS = 2000  # more than all workers together can hear: each bell lets one take what is first in line
_SILENT_SECONDS = 5.0  # how long nothing is sent after a failure
log = structlog.get_logger(__name__)


def make_client(redis_url: str, *, timeout: float) -> redis.Redis:
    """A client with time-outs and without retries: repeating a command could send a message twice.

    Certificates of rediss:// are not verified, since hosted ones (Heroku's) are self-signed; an address
    that ends with ?ssl_cert_reqs=required has them verified.
    """
    tls = {"ssl_cert_reqs": None} if redis_url.startswith("rediss://") else {}
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=timeout,
        socket_connect_timeout=min(timeout, 5),
        health_check_interval=30,
        retry=Retry(NoBackoff(), 0),
        **tls,
    )


class _Broker(RedisBroker):
    """Asks often for what people wait for, and seldom for delayed messages, which are never sent here."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = IDLE_MS) -> Consumer:
        pause = IDLE_DELAYED_MS if queue_name.endswith(".DQ") else min(timeout, IDLE_MS)
        return super().consume(queue_name, prefetch, pause)


def make_broker(redis_url: str, middleware: Sequence[Middleware] = ()) -> RedisBroker:
    """The broker of a process that consumes.

    What a killed process had fetched comes back after a minute, and is looked for in every twentieth
    command: the defaults take half an hour.
    """
    return _Broker(  # type: ignore[no-untyped-call]
        client=make_client(redis_url, timeout=30),
        middleware=list(middleware),
        namespace=NAMESPACE,
        maintenance_chance=50_000,
        heartbeat_timeout=60_000,
        dead_message_ttl=24 * 3600 * 1000,
    )


class Bell:
    """Wakes a worker for a run, or the control queue for a question.

    Never raises and never waits long: a lost ring is rung again later.
    """

    def __init__(self, redis_url: str) -> None:
        self._broker = RedisBroker(  # type: ignore[no-untyped-call]
            client=make_client(redis_url, timeout=2), middleware=[], namespace=NAMESPACE, maintenance_chance=0
        )
        self._silent_until = 0.0
        self._waiting = 0
        self._counted_at = -1.0
        self._lock = threading.Lock()

    def __call__(self, run_id: str) -> None:
        now = monotonic()
        if now >= self._silent_until:
            self._ring(RUNS, START_RUN, run_id, unless=lambda: self._enough(now))

    def ask(self, question_id: str) -> None:
        """Wake the control queue for a question that somebody waits for."""
        if monotonic() >= self._silent_until:
            self._ring(CONTROL, ANSWER, question_id)

    def _ring(self, queue: str, actor: str, id: str, unless: Callable[[], bool] = lambda: False) -> None:
        try:
            if not unless():
                self._broker.enqueue(
                    Message(queue_name=queue, actor_name=actor, args=(id,), kwargs={}, options={})
                )
        except (redis.RedisError, OSError) as problem:
            self._silent_until = monotonic() + _SILENT_SECONDS
            log.warning("bell.silent", id=id, error=str(problem)[:200])

    def answers(self) -> bool:
        """Whether the queue can be reached now. One that did not answer is not asked for some seconds."""
        if monotonic() < self._silent_until:
            return False
        try:
            return bool(self._broker.client.ping())
        except (redis.RedisError, OSError):
            self._silent_until = monotonic() + _SILENT_SECONDS
            return False

    def close(self) -> None:
        self._broker.client.close()

    def _enough(self, now: float) -> bool:
        """Whether so many bells are on their way that another one wakes nobody."""
        with self._lock:
            if now - self._counted_at > 1:
                self._waiting = int(self._broker.client.llen(f"{NAMESPACE}:{RUNS}"))
                self._counted_at = now
            self._waiting += 1
            return self._waiting > _ENOUGH_BELLS
