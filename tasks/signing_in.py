"""Signing in to a system from the panel: off to its consent page, and back with a code.

The state is bound to the browser session, good once, and for ten minutes. The exchange of the code is a
call to the outside that the panel's process makes; the other one ends a sign-in.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from connectors import oauth
from connectors.errors import ConnectorError, RetryableError
from connectors.signin import SignIn
from models.connections import Connection
from models.grants import Consent
from models.secrets import Place
from tasks import grants, people
from tasks.context import Context
from tasks.errors import NotFound, WorkError
from tasks.people import hash_of
from tasks.rights import MAY, Capability

LIFE = timedelta(minutes=10)
_IDENTITY = frozenset({"openid", "email", "profile"})  # scopes that only tell who it is


def begin(ctx: Context, connection_id: str, *, bound_to: str, redirect_uri: str) -> str:
    """Where a browser is to go. `bound_to` is the token of its session here; where a program begins, the
    `by_program` of its person, who has to be signed in in the browser that comes back.

    Raises NotFound, WrongState, WorkError where this installation is not registered.
    """
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    with ctx.sessions.begin() as db:
        connection = _connection(db, connection_id)
        sign_in = grants.sign_in_of(connection)
        client = _client(ctx, sign_in)
        now = ctx.db_now(db)
        db.execute(delete(Consent).where(Consent.created_at < now - LIFE))
        row = Consent(
            state_hash=hash_of(state),
            session_hash=hash_of(bound_to),
            connection_id=connection.id,
            workspace_id=connection.workspace_id,
            redirect_uri=redirect_uri,
            created_at=now,
        )
        row.verifier = ctx.ring.encrypt(verifier, _place(row))
        db.add(row)
        endpoint = grants.simulator_of(connection.options)
    return oauth.consent_url(sign_in, client, redirect_uri, state, verifier, endpoint)


def by_program(user_id: str) -> str:
    """What binds a sign-in that this person's program has begun."""
    return f"person:{user_id}"


def finish(
    ctx: Context,
    *,
    state: str,
    session: str,
    user_id: str,
    by: str,
    code: str = "",
    error: str = "",
    issuer: str = "",
) -> str:
    """What the browser of this person came back with; the connection's id. Raises WorkError with a sentence.

    Whether they may connect is asked again, in the connection's own workspace.
    """
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        row = db.get(Consent, hash_of(state), with_for_update=True)
        if row is not None:
            db.delete(row)  # good once, whatever comes of it
        allowed = row is not None and _may_connect(db, user_id, row.workspace_id)
    begun_here = (hash_of(session), hash_of(by_program(user_id)))
    if row is None or row.session_hash not in begun_here or now - row.created_at > LIFE:
        raise WorkError(
            "This sign-in was not begun in this browser, was used already, or is older than ten minutes."
            " Begin it again.",
            code="state",
        )
    if not allowed:
        raise WorkError("Your role in that workspace does not let you connect systems any more.", code="role")
    with ctx.reads() as db:
        connection = _connection(db, row.connection_id)
    sign_in = grants.sign_in_of(connection)
    endpoint = grants.simulator_of(connection.options)
    if issuer and issuer.rstrip("/") != sign_in.url(sign_in.authorize, endpoint)[0]:
        raise WorkError(
            "The answer came from another place than it was asked for. Begin again.", code="issuer"
        )
    if error or not code:
        raise WorkError(
            f"{sign_in.title} says that it was not allowed. Nothing was changed; begin again to allow it.",
            code="denied",
        )
    client = _client(ctx, sign_in)
    verifier = ctx.ring.decrypt(row.verifier, _place(row))
    try:
        tokens = oauth.exchange(
            sign_in, client, ctx.access, endpoint, code=code, redirect_uri=row.redirect_uri, verifier=verifier
        )
    except ConnectorError as problem:
        raise WorkError(f"The sign-in did not come through. {problem.message} Begin it again.") from None
    missing = set(sign_in.scopes) - _IDENTITY - tokens.scopes
    if missing:
        raise WorkError(
            f"{sign_in.title} was not allowed everything that is needed: {', '.join(sorted(missing))} is"
            " missing. Begin again and leave all boxes ticked.",
            code="scope",
        )
    if not tokens.refresh:
        raise WorkError(
            f"{sign_in.title} gave no lasting sign-in. Take Syncline out of the account's connected apps,"
            " and begin again.",
            code="no_refresh",
        )
    try:
        account = oauth.account(sign_in, ctx.access, endpoint, tokens.access)
    except RetryableError:
        account = ""
    except ConnectorError as problem:
        raise WorkError(f"The sign-in does not work. {problem.message}") from None
    with ctx.sessions.begin() as db:
        grants.keep(ctx, db, _connection(db, connection.id), tokens, account, by=by)
    return connection.id


def _may_connect(db: Session, user_id: str, workspace_id: str) -> bool:
    role = people.role_in(db, user_id, workspace_id)
    return role is not None and Capability.CONNECT in MAY[role]


def _connection(db: Session, connection_id: str) -> Connection:
    found = db.get(Connection, connection_id)
    if found is None:
        raise NotFound(f"There is no connection {connection_id}.")
    return found


def _client(ctx: Context, sign_in: SignIn) -> oauth.Client:
    try:
        return grants.client_of(ctx, sign_in)
    except ConnectorError as problem:
        raise WorkError(problem.message, code=problem.code) from None


def _place(row: Consent) -> Place:
    return Place("consents", row.state_hash, "verifier", row.workspace_id)
