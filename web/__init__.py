"""The face: the control panel. `create_app` is the only thing to import from here."""

from __future__ import annotations

import gc
from datetime import timedelta
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from tasks.context import Context

LARGEST_REQUEST = 1024 * 1024  # bytes; no form of the panel comes near


def create_app(ctx: Context | None = None) -> Flask:
    """The panel over this context, or over the real thing that the environment describes.

    Raises NotMigrated and SecretUnreadable: the database is an older release's, or was filled under keys
    that the ring does not hold. From the environment they end the process with one clear line.
    """
    # Nothing more is imported before an app is asked for: importing `web` does nothing.
    from tasks.main import from_env, said_plainly
    from tasks.start import begin
    from web import (
        account,
        api,
        assets,
        audit,
        auth,
        bulk,
        calls,
        configs,
        conflicts,
        connections,
        csrf,
        database,
        desk,
        drafts,
        errors,
        headers,
        health,
        held,
        issues,
        languages,
        layout,
        limits,
        members,
        oauth,
        parts,
        people,
        preferences,
        queue,
        records,
        runs,
        schedules,
        settings,
    )

    if ctx is None:
        with said_plainly():
            app = create_app(from_env("web"))
        # What is there now stays. To look through it for garbage makes a page wait, for 160 ms at times.
        gc.freeze()
        return app
    begin(ctx)
    app = Flask(__name__, static_folder=None)
    https = is_https(ctx)
    app.config.update(_config(ctx, https))
    app.url_map.converters["int"] = database.Whole
    app.wsgi_app = _behind_proxies(app, ctx.settings.proxy_hops)  # type: ignore[method-assign]
    database.connect(app, ctx)
    errors.install(app)
    headers.install(app, https=https)
    # The order of the doors: who are you, did this come from our own page, how often do you try.
    auth.install(app)
    csrf.install(app)
    limits.install(app, redis_url=ctx.settings.redis_url)
    languages.install(app)
    preferences.install(app)
    assets.install(app)
    layout.install(app)
    parts.install(app)
    for module in (
        desk,
        configs,
        drafts,
        runs,
        calls,
        records,
        issues,
        bulk,
        conflicts,
        held,
        schedules,
        queue,
        connections,
        oauth,
        audit,
        people,
        members,
        account,
        settings,
        health,
    ):
        app.register_blueprint(module.bp)
    api.install(app)
    return app


def is_https(ctx: Context) -> bool:
    """Whether people come by https: as PUBLIC_URL says, else wherever this is not one's own machine."""
    url = ctx.settings.public_url
    return url.startswith("https://") if url else not ctx.settings.is_local


def _config(ctx: Context, https: bool) -> dict[str, Any]:
    return {
        "SECRET_KEY": ctx.settings.secret_key,
        "MAX_CONTENT_LENGTH": LARGEST_REQUEST,
        # The prefix makes browsers refuse a cookie that another host or path has set for us.
        "SESSION_COOKIE_NAME": "__Host-syncline" if https else "syncline",
        "SESSION_COOKIE_SECURE": https,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "PERMANENT_SESSION_LIFETIME": timedelta(days=30),
        # A desk that is open over lunch must still work afterwards; the session bounds its life.
        "WTF_CSRF_TIME_LIMIT": None,
        "TEMPLATES_AUTO_RELOAD": False,
    }


def _behind_proxies(app: Flask, hops: int) -> Any:
    """Believe X-Forwarded-* from exactly as many proxies as there are; from none, believe nothing."""
    return ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops) if hops else app.wsgi_app
