"""`python -m tasks.alive worker`: whether a process of this kind beats on this host. For container checks."""

from __future__ import annotations

import socket
import sys
from datetime import timedelta

from sqlalchemy import exists, select
from sqlalchemy.exc import SQLAlchemyError

from models.processes import Process
from tasks.context import Context, live, settings_from_env

BEATS_MISSED = 4  # in a row, before a process counts as dead


def is_alive(ctx: Context, kind: str, host: str) -> bool:
    """Whether a process of this kind has said lately, from this host, that it is alive."""
    patience = timedelta(seconds=ctx.settings.renew_seconds * BEATS_MISSED)
    with ctx.reads() as db:
        beating = exists().where(
            Process.kind == kind,
            Process.id.startswith(f"{host}:", autoescape=True),
            Process.beat_at > ctx.db_now(db) - patience,
        )
        return bool(db.scalar(select(beating)))


def main(kind: str) -> int:
    try:
        if is_alive(live(settings_from_env()), kind, socket.gethostname()):
            return 0
    except SQLAlchemyError as problem:
        print(f"The database does not answer: {type(problem).__name__}")
        return 1
    print(f"No {kind} of this host has been heard of lately.")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
