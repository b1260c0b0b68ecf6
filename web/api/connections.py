"""Connections: made, changed, deleted; and what only a connected system can answer, as questions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field, SecretStr
from sqlalchemy import select

from connectors import catalog
from connectors.errors import OptionsError
from models.connections import Connection
from models.questions import QuestionKind
from tasks import questions, saving
from web.api.common import Name, Object, blueprint, by, connection, workspace
from web.api.questions import QuestionOut, asked
from web.api.wire import Answer, Empty, Input, Output, operation
from web.database import act, db

bp = blueprint("connections")

CHECKS = "30 per minute"


class ConnectionOut(Output):
    """`options` hold no secret; `secrets` names those that are stored."""

    id: str
    name: str
    connector: str
    options: Object
    secrets: list[str]
    created_at: datetime
    updated_at: datetime


class Connections(Output):
    items: list[ConnectionOut]


class NewConnection(Input):
    name: Name
    connector: str = Field(max_length=50, description="One of `GET /connectors`.")
    options: Object = Field(description="As the connector's own `options` schema says.")


class ChangedConnection(Input):
    options: Object = Field(
        description="All options. A secret that is left out stays, unless what decides on where it is sent"
        " (host, port, user) changes: then it has to be entered again."
    )


class ConnectorOut(Output):
    name: str
    title: str
    options: Object = Field(description="JSON schema of a connection's options.")
    stream_options: Object = Field(description="JSON schema of what a sync may say of one stream.")


class Connectors(Output):
    items: list[ConnectorOut]


class SampleOf(Input):
    stream: str = Field(default="", max_length=200)
    options: Object = Field(default_factory=dict, description="What a sync would say of the stream.")


@operation(bp, "GET", "/connectors", needs="read", summary="The kinds of systems", returns=Connectors)
def connectors() -> Connectors:
    found = []
    for name in catalog.names():
        try:
            kind = catalog.get(name)
        except OptionsError:
            continue  # its libraries are not installed
        found.append(
            ConnectorOut(
                name=name,
                title=kind.title,
                options=kind.Options.model_json_schema(),
                stream_options=kind.StreamOptions.model_json_schema(),
            )
        )
    return Connectors(items=found)


@operation(bp, "GET", "/connections", needs="read", summary="All connections", returns=Connections)
def index() -> Connections:
    rows = db.session.scalars(
        select(Connection).where(Connection.workspace_id == workspace()).order_by(Connection.name)
    )
    return Connections(items=[_shown(row) for row in rows])


@operation(
    bp, "POST", "/connections", needs="connect", summary="Make a connection",
    body=NewConnection, returns=ConnectionOut, status=201, creates=True,
)  # fmt: skip
def create(body: NewConnection) -> Answer:
    made = act(saving.create_connection, workspace(), body.name, body.connector, body.options, by=by())
    return Answer(_shown(connection(made)), 201, f"/api/v1/connections/{made}")


@operation(
    bp, "GET", "/connections/<connection_id>", needs="read", summary="One connection", returns=ConnectionOut
)
def show(connection_id: str) -> ConnectionOut:
    return _shown(connection(connection_id))


@operation(
    bp, "PUT", "/connections/<connection_id>", needs="connect", summary="Change a connection's options",
    body=ChangedConnection, returns=ConnectionOut,
)  # fmt: skip
def change(connection_id: str, body: ChangedConnection) -> ConnectionOut:
    found = connection(connection_id)
    act(saving.change_connection, found.id, body.options, by=by())
    return _shown(connection(connection_id))


@operation(
    bp, "DELETE", "/connections/<connection_id>", needs="connect", summary="Forget a connection",
    returns=None, status=204, refuses=True,
)  # fmt: skip
def delete(connection_id: str) -> None:
    """Refused while syncs use it."""
    act(saving.delete_connection, connection(connection_id).id, by=by())


@operation(
    bp, "POST", "/connections/<connection_id>/checks", needs="run", summary="Ask whether it works",
    body=Empty, returns=QuestionOut, status=202, creates=True, limit=CHECKS,
)  # fmt: skip
def check(connection_id: str, body: Empty) -> Answer:
    """The answer is at the address in `Location`."""
    return _ask(connection_id, QuestionKind.CHECK, {})


@operation(
    bp, "POST", "/connections/<connection_id>/discoveries", needs="run",
    summary="Ask which streams it holds", body=Empty, returns=QuestionOut, status=202, creates=True,
    limit=CHECKS,
)  # fmt: skip
def discover(connection_id: str, body: Empty) -> Answer:
    """The answer is at the address in `Location`: streams with fields, types, keys and what is writable."""
    return _ask(connection_id, QuestionKind.DISCOVER, {})


@operation(
    bp, "POST", "/connections/<connection_id>/samples", needs="connect",
    summary="Ask for a few records of a stream", body=SampleOf, returns=QuestionOut, status=202, creates=True,
    limit=CHECKS,
)  # fmt: skip
def sample(connection_id: str, body: SampleOf) -> Answer:
    """The answer is at the address in `Location`. It is forgotten after an hour."""
    return _ask(connection_id, QuestionKind.SAMPLE, {**body.options, "stream": body.stream})


def _ask(connection_id: str, kind: QuestionKind, options: dict[str, Any]) -> Answer:
    found = connection(connection_id)
    return asked(act(questions.ask, workspace(), kind, by=by(), connection_id=found.id, options=options))


def _shown(row: Connection) -> ConnectionOut:
    return ConnectionOut(
        id=row.id,
        name=row.name,
        connector=row.connector,
        options=row.options,
        secrets=_secret_names(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _secret_names(row: Connection) -> list[str]:
    """What secrets a connection of this kind may hold, if it holds any: which ones is itself encrypted."""
    if not row.secrets:
        return []
    try:
        fields = catalog.get(row.connector).Options.model_fields
    except OptionsError:
        return []
    return [
        name
        for name, info in fields.items()
        if info.annotation is SecretStr or SecretStr in getattr(info.annotation, "__args__", ())
    ]
