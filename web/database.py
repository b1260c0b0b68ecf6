"""The panel's view of the database: one read-only session per request, over the engine of the process.

Whatever changes something is a function in `tasks/`; `act` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Never, ParamSpec, TypeVar

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from werkzeug.routing import IntegerConverter, Map

from models.db import Base
from tasks.context import Context

P = ParamSpec("P")
T = TypeVar("T")

_EXTENSION = "syncline"
LARGEST_ID = 2**63 - 1


class Whole(IntegerConverter):
    """A number in an address: one that no database can hold leads nowhere."""

    def __init__(self, map: Map, **options: Any) -> None:
        super().__init__(map, **{"max": LARGEST_ID, **options})


class ReadOnly(Session):
    """Answers questions. An object that was changed by mistake is an error here, not an UPDATE."""

    def flush(self, objects: Any = None) -> None:
        if self.new or self.dirty or self.deleted:
            raise RuntimeError("the panel reads; what changes something belongs into tasks/")

    def commit(self) -> Never:
        raise RuntimeError("the panel reads; what changes something belongs into tasks/")

    def close(self) -> None:
        """Give the connection back. That it broke is no news: the page has been read, or has failed."""
        try:
            super().close()
        except DBAPIError:
            self.invalidate()


class Database(SQLAlchemy):
    """Flask-SQLAlchemy's session of a request over the engine that the process has anyway."""

    def _make_engine(self, bind_key: str | None, options: dict[str, Any], app: Flask) -> Engine:
        engine: Engine = _context(app).reads.kw["bind"]
        return engine


db = Database(
    metadata=Base.metadata,
    session_options={"class_": ReadOnly, "autoflush": False, "expire_on_commit": False},
    add_models_to_shell=False,
)


def connect(app: Flask, context: Context) -> None:
    """Hang the context and its database on the app. Connects to nothing yet."""
    app.extensions[_EXTENSION] = context
    # The engine is the context's own; Flask-SQLAlchemy only asks that an address is named.
    app.config["SQLALCHEMY_DATABASE_URI"] = context.reads.kw["bind"].url
    db.init_app(app)


def ctx() -> Context:
    """The context of this app: settings, clock, and what units of work are handed."""
    return _context(current_app)


def act(unit: Callable[Concatenate[Context, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a unit of work.

    The page's own connection goes back first: requests that each hold one while they ask for a second
    would empty the pool and wait for each other.
    """
    db.session.remove()
    return unit(ctx(), *args, **kwargs)


def _context(app: Flask) -> Context:
    context: Context = app.extensions[_EXTENSION]
    return context
