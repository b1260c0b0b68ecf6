"""How often somebody may try: counted in Redis for all processes, in memory while Redis is away."""

from __future__ import annotations

from time import monotonic

import structlog
from flask import Flask, abort, current_app, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

limiter = Limiter(key_func=get_remote_address, headers_enabled=False)

PER_ADDRESS = "20 per minute"
PER_ACCOUNT = "5 per minute"
STRIKES = parse("20 per minute")  # failed authentications of one address
_EXTENSION = "syncline.strikes"
log = structlog.get_logger(__name__)


def account() -> str:
    """The account that a sign-in is tried for, however its address is written."""
    return "account:" + request.form.get("email", "").strip().casefold()[:320]


def install(app: Flask, *, redis_url: str | None) -> None:
    shared = redis_url if redis_url and redis_url.startswith(("redis://", "rediss://")) else None
    app.config["RATELIMIT_STORAGE_URI"] = shared or "memory://"
    if shared:
        # A lost Redis must not hang the sign-in.
        app.config["RATELIMIT_STORAGE_OPTIONS"] = {"socket_connect_timeout": 1, "socket_timeout": 1}
        app.config["RATELIMIT_IN_MEMORY_FALLBACK_ENABLED"] = True
    limiter.init_app(app)
    app.extensions[_EXTENSION] = Strikes(shared)


class Strikes:
    """Failed authentications, counted by all processes together; each counts alone while Redis is away."""

    AWAY_FOR = 30.0  # seconds until a Redis that failed is asked again

    def __init__(self, redis_url: str | None) -> None:
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = FixedWindowRateLimiter(_storage(redis_url)) if redis_url else None
        self._away_until = 0.0

    def hit(self, limit: RateLimitItem, address: str) -> bool:
        """Count one; whether it is still within the limit."""
        if self._shared is not None and monotonic() >= self._away_until:
            try:
                return self._shared.hit(limit, "strikes", address)
            except StorageError as problem:
                self._away_until = monotonic() + self.AWAY_FOR
                log.warning("limits.redis_away", error=str(problem)[:200])
        return self._own.hit(limit, "strikes", address)


def _storage(redis_url: str) -> RedisStorage:
    return RedisStorage(redis_url, wrap_exceptions=True, socket_connect_timeout=1, socket_timeout=1)


def strike(address: str) -> None:
    """Count a failed authentication; 429 where one address has had too many."""
    strikes: Strikes = current_app.extensions[_EXTENSION]
    if not strikes.hit(STRIKES, address):
        abort(429)
