"""Connections: made, changed, deleted; and what only a connected system can answer, as questions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import abort
from pydantic import Field
from sqlalchemy import select

from connectors import catalog
from connectors.errors import OptionsError
from models.connections import Connection
from models.questions import QuestionKind
from tasks import grants, naming, questions, saving, signing_in
from web import auth
from web.api.common import Name, Object, blueprint, by, connection, workspace
from web.api.questions import QuestionOut, asked
from web.api.wire import Answer, Empty, Input, Output, operation
from web.database import act, db
from web.oauth import callback_address
from web.reads.grants import SignInState
from web.reads.grants import of as grant_of

bp = blueprint("connections")

CHECKS = "30 per minute"


class ConnectionOut(Output):
    """`options` hold no secret, and are told to those who may connect; `secrets` names what is stored."""

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


class ChangedName(Input):
    name: Name


class SignInOut(Output):
    """`state`: none (nobody has signed in), signed_in, or ended. Tokens are never told."""

    provider: str
    title: str
    registered: bool = Field(description="Whether this installation has a client id there.")
    state: str
    account: str = Field(description="Who signed in there, where it is told.")
    signed_in_by: str | None
    signed_in_at: datetime | None
    ended_at: datetime | None
    ended_because: str | None
    has_own_secrets: bool = Field(description="Credentials of the connection's own come first.")


class ConsentOut(Output):
    url: str = Field(
        description="Open it in a browser in which you are signed in to the panel. It is good once, within"
        " ten minutes, and for nobody else."
    )


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
    bp, "PUT", "/connections/<connection_id>/name", needs="connect", summary="Rename a connection",
    body=ChangedName, returns=ConnectionOut, refuses=True,
)  # fmt: skip
def rename(connection_id: str, body: ChangedName) -> ConnectionOut:
    """The syncs that use it go on. A YAML file that makes it has to say the new name too."""
    act(naming.rename_connection, connection(connection_id).id, body.name, by=by())
    return _shown(connection(connection_id))


@operation(
    bp, "GET", "/connections/<connection_id>/sign-in", needs="read", summary="Whether somebody has signed in",
    returns=SignInOut,
)  # fmt: skip
def sign_in(connection_id: str) -> SignInOut:
    """404 for a system that one does not sign in to."""
    found = _sign_in(connection_id)
    grant = found.grant
    return SignInOut(
        provider=found.sign_in.name,
        title=found.sign_in.title,
        registered=found.is_registered,
        state="none" if grant is None else "ended" if found.is_ended else "signed_in",
        account=grant.account if grant else "",
        signed_in_by=grant.signed_in_by if grant else None,
        signed_in_at=grant.signed_in_at if grant else None,
        ended_at=grant.ended_at if grant else None,
        ended_because=grant.ended_because if grant else None,
        has_own_secrets=found.has_secrets,
    )


@operation(
    bp, "POST", "/connections/<connection_id>/sign-in", needs="connect", summary="Begin a sign-in (OAuth)",
    body=Empty, returns=ConsentOut, status=201, refuses=True, limit=CHECKS,
)  # fmt: skip
def begin_sign_in(connection_id: str, body: Empty) -> Answer:
    """The system's own consent page leads back to the panel, which keeps the tokens."""
    _sign_in(connection_id)
    who = auth.person()
    url = act(
        signing_in.begin,
        connection_id,
        bound_to=signing_in.by_program(who.id) if who.bearer else who.token,
        redirect_uri=callback_address(),
    )
    return Answer(ConsentOut(url=url), 201, f"/api/v1/connections/{connection_id}/sign-in")


@operation(
    bp, "DELETE", "/connections/<connection_id>/sign-in", needs="connect", summary="Sign out",
    returns=None, status=204, refuses=True,
)  # fmt: skip
def sign_out(connection_id: str) -> None:
    """The tokens are forgotten, here and by the provider where it can be told; the syncs pause until somebody
    signs in again. What stays there is said in the audit."""
    _sign_in(connection_id)
    act(grants.forget, connection_id, by=by())


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


def _sign_in(connection_id: str) -> SignInState:
    found = grant_of(connection(connection_id))
    if found is None:
        abort(404)
    return found


def _ask(connection_id: str, kind: QuestionKind, options: dict[str, Any]) -> Answer:
    found = connection(connection_id)
    return asked(act(questions.ask, workspace(), kind, by=by(), connection_id=found.id, options=options))


def _shown(row: Connection) -> ConnectionOut:
    return ConnectionOut(
        id=row.id,
        name=row.name,
        connector=row.connector,
        options=row.options if auth.person().may("connect") else {},
        secrets=_secret_names(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _secret_names(row: Connection) -> list[str]:
    """What secrets a connection of this kind may hold, if it holds any: which ones is itself encrypted."""
    if not row.secrets:
        return []
    try:
        return saving.secret_names(catalog.get(row.connector))
    except OptionsError:
        return []
