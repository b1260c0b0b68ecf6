"""Short questions to connections: does it work, and what does it hold."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from connectors.errors import ConnectorError
from models.connections import Connection
from sync.definition import nearest
from sync.records import Stream
from tasks.context import Context
from tasks.errors import NotFound
from tasks.sides import asked


def check(ctx: Context, name: str | None = None) -> list[dict[str, Any]]:
    """One cheap call per connection: {"connection", "connector", "ok", "message"}, and the `code` of what
    is wrong. Raises NotFound."""
    found: list[dict[str, Any]] = []
    for row in _connections(ctx, name):
        item = {"connection": row.name, "connector": row.connector}
        try:
            with asked(ctx, row) as connector:
                found.append({**item, "ok": True, "message": connector.check()})
        except ConnectorError as problem:
            found.append({**item, "ok": False, "code": problem.code, "message": problem.message})
    return found


def discover(ctx: Context, name: str, stream: str | None = None) -> list[dict[str, Any]]:
    """The streams of a connection, or the one of this name. Raises NotFound, ConnectorError."""
    with asked(ctx, _connections(ctx, name)[0]) as connector:
        streams = connector.discover()
    if stream is not None:
        named = [item for item in streams if item.name == stream]
        if not named:
            raise NotFound(
                f"'{name}' has no stream '{stream}'." + nearest(stream, [item.name for item in streams])
            )
        streams = named
    return [described(item) for item in streams]


def _connections(ctx: Context, name: str | None) -> list[Connection]:
    with ctx.reads() as db:
        rows = list(db.scalars(select(Connection).order_by(Connection.name)))
    if name is None:
        return rows
    found = [row for row in rows if row.name == name]
    if not found:
        raise NotFound(f"There is no connection '{name}'." + nearest(name, [row.name for row in rows]))
    return found


def described(stream: Stream) -> dict[str, Any]:
    """A stream as commands, the API and forms tell of it."""
    return {
        "name": stream.name,
        "key": list(stream.key),
        "writable": stream.writable,
        "read_only_because": stream.read_only_because,
        "problems": list(stream.problems),
        "fields": [
            {
                "name": field.name,
                "type": str(field.type),
                "key": field.name in stream.key,
                "writable": field.writable,
                "generated": field.generated,
                "nullable": field.nullable,
            }
            for field in stream.fields
        ],
    }
