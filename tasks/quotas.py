"""The quotas of outside systems, kept by all workers together.

Redis holds one log of grants per quota, and a mark while a system has asked for a pause. What is lost with
Redis is at worst one call too many. Where there is none, or it is away, each process keeps the quotas for
itself.
"""

from __future__ import annotations

import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Protocol, cast

import redis
import structlog
from pyrate_limiter import InMemoryBucket, Rate, RateItem

from connectors.errors import RateLimited
from connectors.quotas import Quota

LONGEST_WAIT = 30.0  # seconds that a call may wait for a quota; a longer wait gives the run back

# What the network may bunch up: calls that were let through apart can arrive closer together. Where a call
# was refused all the same, the next ones keep further apart for a while.
MARGIN, WIDE_MARGIN = 0.05, 0.3
_WIDE_SECONDS = 600.0
_SILENT_SECONDS = 5.0  # how long Redis is not asked after a failure
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call may not be sent yet."""

    quota: Quota
    seconds: float  # to wait before asking again


class Store(Protocol):
    def ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        """Count one call under each quota, or say which one refuses it."""

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
        self._wide_until: dict[str, float] = defaultdict(float)

    def ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        with self._lock:
            now = self._clock()
            for quota in quotas:
                if (left := self._paused_until[quota.key] - now) > 0:
                    return Refusal(quota, left)
            for quota in quotas:
                rate = Rate(quota.limit, _milliseconds(quota, self._wide_until[quota.key] > now))
                bucket = self._buckets.setdefault(quota, InMemoryBucket([rate]))
                bucket.rates = [rate]
                item = RateItem(quota.key, int(now * 1000))
                bucket.leak(item.timestamp)
                if not bucket.put(item):
                    return Refusal(quota, max(1, cast(int, bucket.waiting(item))) / 1000)
        return None

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        with self._lock:
            until = self._clock() + seconds
            for quota in quotas:
                self._paused_until[quota.key] = max(self._paused_until[quota.key], until)
                self._wide_until[quota.key] = until + _WIDE_SECONDS


# One step for all quotas of a call, by the clock of Redis: between a look at the clock and the count no other
# worker comes in, which is how a call too many slips through. KEYS: log, pause and wide mark of each quota;
# ARGV: its limit and its usual and wide length in milliseconds; last, a name for the call.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local quotas = #KEYS / 3
for i = 1, quotas do
  local left = redis.call('PTTL', KEYS[3 * i - 1])
  if left > 0 then return {i, left} end
end
local lengths = {}
for i = 1, quotas do
  local log, limit = KEYS[3 * i - 2], tonumber(ARGV[3 * i - 2])
  lengths[i] = tonumber(ARGV[3 * i - 1 + redis.call('EXISTS', KEYS[3 * i])])
  redis.call('ZREMRANGEBYSCORE', log, '-inf', now - lengths[i])
  if redis.call('ZCARD', log) >= limit then
    local first = redis.call('ZRANGE', log, -limit, -limit, 'WITHSCORES')
    return {i, first[2] + lengths[i] - now}
  end
end
for i = 1, quotas do
  redis.call('ZADD', KEYS[3 * i - 2], now, ARGV[#ARGV])
  redis.call('PEXPIRE', KEYS[3 * i - 2], lengths[i])
end
return {0, 0}
"""


class InRedis:
    """For all processes that share a Redis, by its clock. Falls back to the process's own count."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._take = client.register_script(_TAKE)
        self._clock = clock
        self._alone = InProcess(clock)
        self._silent_until = 0.0

    def ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        if self._clock() >= self._silent_until:
            try:
                return self._ask(quotas)
            except (redis.RedisError, OSError) as problem:
                self._fall_silent(problem)
        return self._alone.ask(quotas)

    def pause(self, quotas: Sequence[Quota], seconds: float) -> None:
        self._alone.pause(quotas, seconds)  # also for the time in which Redis is away
        try:
            for quota in quotas:
                _, pause, wide = _keys(quota)
                left = max(1, int(seconds * 1000))
                if self._client.pttl(pause) < left:
                    self._client.set(pause, "1", px=left)
                self._client.set(wide, "1", px=left + int(_WIDE_SECONDS * 1000))
        except (redis.RedisError, OSError) as problem:
            self._fall_silent(problem)

    def _ask(self, quotas: Sequence[Quota]) -> Refusal | None:
        keys = [key for quota in quotas for key in _keys(quota)]
        numbers = [
            number
            for quota in quotas
            for number in (quota.limit, *(_milliseconds(quota, is_wide) for is_wide in (False, True)))
        ]
        which, left = self._take(keys, [*numbers, secrets.token_hex(8)])
        return Refusal(quotas[which - 1], max(1, left) / 1000) if which else None

    def _fall_silent(self, problem: Exception) -> None:
        self._silent_until = self._clock() + _SILENT_SECONDS
        log.warning("quota.alone", error=str(problem)[:200])


def _milliseconds(quota: Quota, is_wide: bool) -> int:
    return int((quota.period + (WIDE_MARGIN if is_wide else MARGIN)) * 1000)


def _keys(quota: Quota) -> tuple[str, str, str]:
    """In Redis: the log of grants, the mark of a pause, the mark of a wide margin."""
    log_key = f"syncline:quota:{quota.key}"
    return log_key, f"{log_key}:pause", f"{log_key}:wide"
