"""The quotas of outside systems, kept by all workers together.

Redis holds one log of grants per quota, and a mark while a system has asked for a pause. What is lost with
Redis is at worst one call too many. Where there is none, or it is away, each process keeps the quotas for
itself.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any, Protocol

import redis
import structlog
from pyrate_limiter import InMemoryBucket, Rate, RateItem, RedisBucket
from redis.exceptions import NoScriptError

from connectors.errors import RateLimited
from connectors.quotas import Quota

LONGEST_WAIT = 30.0  # seconds that a call may wait for a quota; a longer wait gives the run back

# What the network may bunch up: calls that were let through apart can arrive closer together.
MARGIN = 0.05
_PREFIX = "syncline:quota:"
_SILENT_SECONDS = 5.0  # how long Redis is not asked after a failure
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call may not be sent yet."""

    quota: Quota
    seconds: float  # to wait before asking again


class Store(Protocol):
    def ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        """Count one call under each quota, or say which one refuses it. The tightest quota comes first:
        what is counted under one before another refuses is lost to nobody who waits for that other one."""

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        """Refuse everything under these quotas for so long."""


class SharedLimiter:
    """The connectors' Limiter over a store. `wait` sleeps, and raises where the process is to stop."""

    def __init__(self, store: Store, wait: Callable[[float], None]) -> None:
        self._store = store
        self._wait = wait

    def take(self, quotas: Sequence[Quota]) -> None:
        while quotas and (refusal := self._store.ask(quotas)):
            if refusal.seconds > LONGEST_WAIT:
                raise RateLimited(
                    f"The quota of {refusal.quota.name} is used up, or the system asked for a pause: the next"
                    f" call may be sent in {ceil(refusal.seconds)} seconds.",
                    retry_after=refusal.seconds,
                )
            self._wait(refusal.seconds)

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        if quotas and seconds > 0:
            log.warning("quota.refused", quotas=[quota.name for quota in quotas], pause=round(seconds, 1))
            self._store.pause(quotas, seconds)


class InProcess:
    """For one process: the quotas of what it sends itself."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[Quota, InMemoryBucket] = {}
        self._paused_until: dict[str, float] = defaultdict(float)

    def ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        with self._lock:
            now = self._clock()
            for quota in quotas:
                if (left := self._paused_until[quota.key] - now) > 0:
                    return Refusal(quota, left)
            for quota in quotas:
                bucket = self._buckets.setdefault(quota, InMemoryBucket([_rate(quota)]))
                item = RateItem(quota.key, int(now * 1000))
                bucket.leak(item.timestamp)
                if not bucket.put(item):
                    return Refusal(quota, _seconds(bucket.waiting(item)))
        return None

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        with self._lock:
            until = self._clock() + seconds
            for quota in quotas:
                self._paused_until[quota.key] = max(self._paused_until[quota.key], until)


class InRedis:
    """For all processes that share a Redis, by its clock. Falls back to the process's own count."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._clock = clock
        self._alone = InProcess(clock)
        self._silent_until = 0.0
        self._script = ""

    def ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        if self._clock() >= self._silent_until:
            try:
                return self._ask(quotas)
            except NoScriptError:  # Redis was started anew
                self._script = ""
                return self.ask(quotas)
            except (redis.RedisError, OSError) as problem:
                self._fall_silent(problem)
        return self._alone.ask(quotas)

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        self._alone.pause(quotas, seconds)  # also for the time in which Redis is away
        try:
            for quota in quotas:
                key, left = _pause_key(quota), int(seconds * 1000)
                if self._client.pttl(key) < left:
                    self._client.set(key, "1", px=max(1, left))
        except (redis.RedisError, OSError) as problem:
            self._fall_silent(problem)

    def _ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.time()  # one clock for all
            for quota in quotas:
                pipeline.pttl(_pause_key(quota))
            (second, micro), *pauses = pipeline.execute()
        for quota, left in zip(quotas, pauses, strict=True):
            if left > 0:
                return Refusal(quota, left / 1000)
        now = second * 1000 + micro // 1000
        if not self._script:
            self._script = RedisBucket.init([_rate(quotas[0])], self._client, "").script_hash
        for quota in quotas:
            # One per call: a bucket keeps its last answer, and threads would mix theirs up.
            bucket = RedisBucket([_rate(quota)], self._client, _PREFIX + quota.key, self._script)
            item = RateItem(quota.key, now)
            if not bucket.put(item):
                return Refusal(quota, _seconds(bucket.waiting(item)))
        with self._client.pipeline(transaction=False) as pipeline:
            for quota in quotas:
                length = _rate(quota).interval
                pipeline.zremrangebyscore(_PREFIX + quota.key, 0, now - length - 1)
                pipeline.pexpire(_PREFIX + quota.key, 2 * length)
            pipeline.execute()
        return None

    def _fall_silent(self, problem: Exception) -> None:
        self._silent_until = self._clock() + _SILENT_SECONDS
        log.warning("quota.alone", error=str(problem)[:200])


def _rate(quota: Quota) -> Rate:
    return Rate(quota.limit, int((quota.period + MARGIN) * 1000))


def _pause_key(quota: Quota) -> str:
    return f"{_PREFIX}{quota.key}:pause"


def _seconds(milliseconds: Any) -> float:
    """At least one millisecond, so that nobody asks in a circle."""
    return max(1, int(milliseconds)) / 1000
