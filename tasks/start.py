"""What every process does first: the schema, the keys, the first workspace and its administrator."""

from __future__ import annotations

from sqlalchemy import Engine

from models.migrate import must_be_current, upgrade
from models.secrets import check_canary
from tasks import people
from tasks.context import Context
from tasks.errors import WorkError


def release(ctx: Context) -> list[str]:
    """Bring the database to this release's schema; what was done, as sentences.

    Raises SecretUnreadable when it was filled under keys that ENCRYPTION_KEYS no longer holds.
    """
    said = ["The database was brought to this release's schema." if upgrade(_engine(ctx)) else ""]
    with ctx.sessions.begin() as db:
        check_canary(db, ctx.ring)
    said += [f"{email} is an administrator now." for email in people.prepare(ctx)]
    return [line for line in said if line]


def begin(ctx: Context) -> None:
    """For a process that serves or works: refuse to start on an old schema or with the wrong keys.

    Raises NotMigrated, SecretUnreadable.
    """
    must_be_current(_engine(ctx))
    with ctx.sessions.begin() as db:
        check_canary(db, ctx.ring)


def _engine(ctx: Context) -> Engine:
    with ctx.sessions() as db:
        bind = db.get_bind()
    if not isinstance(bind, Engine):
        raise WorkError("The sessions are not bound to an engine.")
    return bind


def command(ctx: Context) -> None:
    """For a command: the local default database is made and migrated by the way; any other one must have
    been released. Raises NotMigrated, SecretUnreadable."""
    if ctx.settings.is_local:
        ctx.settings.home.mkdir(parents=True, exist_ok=True)
        release(ctx)
    else:
        begin(ctx)
