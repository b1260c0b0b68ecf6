"""What every process does first: the schema, the keys, the first workspace and its administrator."""

from __future__ import annotations

from sqlalchemy import Engine

from models.migrate import must_be_current, upgrade
from models.secrets import check_canary
from tasks import people
from tasks.context import Context
from tasks.errors import WorkError


def release(ctx: Context, *, check_keys: bool = True) -> list[str]:
    """Bring the database to this release's schema; what was done, as sentences.

    Raises NotMigrated when it is ahead of this release, and SecretUnreadable when it was filled under
    keys that ENCRYPTION_KEYS no longer holds.
    """
    own = ctx.settings.own_database
    if own is not None:
        own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = ["The database was brought to this release's schema." if upgrade(engine_of(ctx)) else ""]
    _check_keys(ctx, check_keys)
    said += [f"{email} is an administrator now." for email in people.prepare(ctx)]
    return [line for line in said if line]


def begin(ctx: Context, *, check_keys: bool = True) -> None:
    """For a process that serves or works: refuse to start on an old schema or with the wrong keys.

    Raises NotMigrated, SecretUnreadable.
    """
    must_be_current(engine_of(ctx))
    _check_keys(ctx, check_keys)


def command(ctx: Context, *, check_keys: bool = True) -> None:
    """For a command: the local default database is made and migrated by the way; any other one must have
    been released. Raises NotMigrated, SecretUnreadable."""
    prepare = release if ctx.settings.is_default_database else begin
    prepare(ctx, check_keys=check_keys)


def engine_of(ctx: Context) -> Engine:
    """The engine of our own database."""
    with ctx.sessions() as db:
        bind = db.get_bind()
    if not isinstance(bind, Engine):
        raise WorkError("The sessions are not bound to an engine.")
    return bind


def _check_keys(ctx: Context, wanted: bool) -> None:
    if wanted:
        with ctx.sessions.begin() as db:
            check_canary(db, ctx.ring)
