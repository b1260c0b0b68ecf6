"""What an installation is set to, made of and protected by; for whoever keeps it."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from sqlalchemy import func, select, text

from models.connections import Connection
from tasks.context import Context
from web.database import db
from web.languages import _

# The parts whose versions somebody who reports a problem is asked for.
_PARTS = (
    "dramatiq", "periodiq", "redis", "sqlalchemy", "alembic", "psycopg", "flask", "gunicorn", "httpx",
    "cryptography", "pydantic",
)  # fmt: skip
_PREFIX = 60  # letters of a stored secret that surely hold the id of its key
MOST = 5_000


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    meaning: str
    is_set: bool
    from_file: bool


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    is_newest: bool
    connections: int  # whose secrets it encrypts


@dataclass(frozen=True, slots=True)
class Installation:
    database: str
    schema: str
    keys: Sequence[Key]
    unreadable: int  # connections under a key that is not in the ring
    variables: Sequence[Variable]
    parts: Sequence[tuple[str, str]]

    @property
    def set(self) -> Sequence[Variable]:
        return [variable for variable in self.variables if variable.is_set or variable.from_file]

    @property
    def unset(self) -> Sequence[Variable]:
        return [variable for variable in self.variables if not (variable.is_set or variable.from_file)]


def of(ctx: Context) -> Installation:
    """Three queries."""
    settings = ctx.settings
    ring = ctx.ring.ids  # as it is now: it may stand in a file
    used = Counter(_keys_in_use())
    return Installation(
        database=_database(),
        schema=str(db.session.scalar(text("SELECT version_num FROM alembic_version"))),
        keys=[Key(id, number == 0, used[id]) for number, id in enumerate(ring)],
        unreadable=sum(number for id, number in used.items() if id not in ring),
        variables=[
            Variable(name, _(meaning), name in settings.named, f"{name}_FILE" in settings.named)
            for name, meaning in settings.variables.items()
        ],
        parts=parts(),
    )


@cache
def parts() -> Sequence[tuple[str, str]]:
    found = [("Python", platform.python_version())]
    for name in _PARTS:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:  # a part that this installation does without
            continue
    return found


def host_of(url: str | None) -> str:
    """Where an address leads, without what in it may be secret."""
    return urlsplit(url).hostname or "" if url else ""


def _database() -> str:
    bind = db.session.get_bind()
    if bind.dialect.name == "sqlite":
        return f"SQLite {db.session.scalar(text('SELECT sqlite_version()'))}"
    return f"PostgreSQL {db.session.scalar(text('SHOW server_version'))}"


def _keys_in_use() -> Sequence[str]:
    """The key ids under which the secrets of connections are stored, one for each connection."""
    stored = db.session.scalars(
        select(func.substr(Connection.secrets, 1, _PREFIX)).where(Connection.secrets.is_not(None)).limit(MOST)
    )
    return [beginning.split(".")[1] for beginning in stored if beginning.count(".") >= 1]
