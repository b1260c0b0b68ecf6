"""How often somebody may try: counted in Redis for all processes, in memory while Redis is away."""

from __future__ import annotations

from flask import Flask, abort, current_app, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

limiter = Limiter(key_func=get_remote_address, headers_enabled=False)

PER_ADDRESS = "20 per minute"
PER_ACCOUNT = "5 per minute"
STRIKES = parse("20 per minute")  # failed authentications of one address
_EXTENSION = "syncline.strikes"


def account() -> str:
    """The account that a sign-in is tried for, however its address is written."""
    return "account:" + request.form.get("email", "").strip().casefold()[:320]


def install(app: Flask, *, redis_url: str | None) -> None:
    shared = redis_url if redis_url and redis_url.startswith(("redis://", "rediss://")) else None
    app.config["RATELIMIT_STORAGE_URI"] = shared or "memory://"
    if shared:
        # Limits must outlive a lost Redis, and a lost Redis must not hang the sign-in.
        app.config["RATELIMIT_STORAGE_OPTIONS"] = {"socket_connect_timeout": 1, "socket_timeout": 1}
        app.config["RATELIMIT_IN_MEMORY_FALLBACK_ENABLED"] = True
    limiter.init_app(app)
    app.extensions[_EXTENSION] = FixedWindowRateLimiter(MemoryStorage())


def strike(address: str) -> None:
    """Count a failed authentication; 429 where one address has had too many. Each process counts alone."""
    strikes: FixedWindowRateLimiter = current_app.extensions[_EXTENSION]
    if not strikes.hit(STRIKES, address):
        abort(429)
