"""The tokens of connections that somebody signed in to: kept encrypted, renewed in time, by one at a time.

A new pair is stored before it is used, since some systems take the old one no longer from then on. While one
worker renews, the others wait for what it brings. A grant that has ended pauses the syncs of its connection,
with one message and one alert; signing in again lets them go on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from connectors import catalog, oauth
from connectors.errors import AuthError, ConnectorError, Unavailable
from connectors.oauth import Client, GrantEnded, Tokens
from connectors.signin import SignIn
from models.connections import Connection
from models.grants import Grant
from models.secrets import Place, SecretUnreadable
from models.sync_configs import SyncConfig
from tasks import alerts, audit, configs, redaction
from tasks.context import Context
from tasks.errors import NotFound, Stopping, WrongState
from tasks.runs import count, locked_config

EARLY = timedelta(minutes=5)  # how long before its end a token is renewed
RENEWING = timedelta(seconds=90)  # longer than a renewal may take: then another worker tries
_LOOK_AGAIN = 0.1  # seconds between looks at what another worker brings


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The connectors' Token: the access token of one connection."""

    ctx: Context = field(repr=False)
    connection_id: str

    def __call__(self, *, refused: str | None = None) -> str:
        return token_of(self.ctx, self.connection_id, refused=refused)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is stored of one grant, decrypted."""

    grant: Grant
    connection: Connection
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    is_fresh: bool
    is_renewed_elsewhere: bool


def account_of(ctx: Context, connection_id: str) -> str:
    """Who signed in; empty where nobody did, or it is not told."""
    with ctx.reads() as db:
        return db.scalar(select(Grant.account).where(Grant.connection_id == connection_id)) or ""


def token_of(ctx: Context, connection_id: str, *, refused: str | None = None) -> str:
    """An access token that is good for a while. Raises AuthError, Unavailable, Stopping."""
    while True:
        known = _known(ctx, connection_id)
        if known.is_fresh and known.access != refused:
            return known.access
        if known.is_renewed_elsewhere:
            if ctx.stop.wait(_LOOK_AGAIN):
                raise Stopping("this process was asked to stop")
        elif _claim(ctx, known.grant):
            return _renew(ctx, known)


def _known(ctx: Context, connection_id: str) -> _Known:
    with ctx.reads() as db:
        now = ctx.db_now(db)
        grant = db.get(Grant, connection_id)
        connection = db.get(Connection, connection_id)
    if connection is None or grant is None:
        raise AuthError(
            "Nobody has signed in to this connection yet. Sign in from the panel, under Connections.",
            code="not_signed_in",
        )
    if grant.ended_at is not None:
        raise GrantEnded(grant.ended_because or "The sign-in has ended.")
    try:
        tokens = json.loads(ctx.ring.decrypt(grant.tokens, place_of(grant)))
    except SecretUnreadable as problem:
        raise AuthError(f"The sign-in cannot be used. {problem}", code="secret_unreadable") from None
    redaction.remember(tokens.values())
    return _Known(
        grant,
        connection,
        tokens["access"],
        tokens["refresh"],
        grant.expires_at - now > EARLY,
        grant.refreshing_until is not None and grant.refreshing_until > now,
    )


def _claim(ctx: Context, grant: Grant) -> bool:
    """Whether it is up to us to renew: only one may."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        return bool(
            count(
                db.execute(
                    update(Grant)
                    .where(
                        Grant.connection_id == grant.connection_id,
                        Grant.number == grant.number,
                        Grant.ended_at.is_(None),
                        or_(Grant.refreshing_until.is_(None), Grant.refreshing_until <= now),
                    )
                    .values(refreshing_until=now + RENEWING)
                )
            )
        )


def _renew(ctx: Context, known: _Known) -> str:
    sign_in = sign_in_of(known.connection)
    try:
        client = client_of(ctx, sign_in)
        endpoint = simulator_of(known.connection.options)
        tokens = oauth.refresh(sign_in, client, ctx.access, endpoint, known.refresh)
    except GrantEnded as problem:
        message = end(ctx, known.grant, known.connection, problem.message)
        raise GrantEnded(message) from None
    except ConnectorError:
        with ctx.sessions.begin() as db:
            _values(db, known.grant, refreshing_until=None)
        raise
    with ctx.sessions.begin() as db:
        grant = known.grant
        sealed = seal(ctx, grant.connection_id, grant.workspace_id, tokens, known.refresh)
        stored = _values(
            db,
            grant,
            tokens=sealed,
            number=grant.number + 1,
            expires_at=ctx.db_now(db) + timedelta(seconds=tokens.expires_in),
            refreshing_until=None,
        )
    if not stored:  # somebody signed in anew meanwhile
        raise Unavailable("The sign-in was renewed by a person just now.")
    return tokens.access


def _values(db: Session, grant: Grant, **values: Any) -> bool:
    return bool(
        count(
            db.execute(
                update(Grant)
                .where(Grant.connection_id == grant.connection_id, Grant.number == grant.number)
                .values(**values)
            )
        )
    )


def end(ctx: Context, grant: Grant, connection: Connection, why: str) -> str:
    """Note that a grant is good no longer: its syncs pause, and one alert is raised. The message."""
    message = (
        f"The sign-in of '{connection.name}' has ended. {why} Its syncs are paused; sign in again from the"
        " panel, under Connections, and they go on."
    )
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        if not _values(db, grant, ended_at=now, ended_because=message, refreshing_until=None):
            return message
        for config_id in _configs_of(db, connection.id):
            config = locked_config(db, config_id)
            if config.paused_at is None:
                configs.pause_in(ctx, db, config, by=end_of(connection.name), reason=message)
        alerts.raise_alert(
            db,
            alerts.GRANT,
            message,
            at=now,
            workspace_id=connection.workspace_id,
            connection_id=connection.id,
        )
        audit.record(
            db, "connection.sign_in_ended", connection.id, by="Syncline", at=now,
            workspace_id=connection.workspace_id, reason=why,
        )  # fmt: skip
    return message


def forget(ctx: Context, connection_id: str, *, by: str) -> str:
    """Sign out: the provider is told, the tokens are forgotten, and the connection's syncs pause until
    somebody signs in again. What of the sign-in stays with the provider, in a sentence; empty for nothing.

    Raises NotFound, WrongState where nobody is signed in.
    """
    stays = take_back(ctx, connection_id)
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        connection = db.get(Connection, connection_id)
        if connection is None:
            raise NotFound(f"There is no connection {connection_id}.")
        grant = db.get(Grant, connection_id, with_for_update=True)
        if grant is None:
            raise WrongState(f"Nobody is signed in to '{connection.name}'.", code="not_signed_in")
        reason = f"{by} has signed out of '{connection.name}'. Sign in again, and its syncs go on."
        grant.tokens = seal(ctx, connection_id, connection.workspace_id, Tokens("", "", 0, frozenset()), "")
        grant.number += 1  # whoever renews it just now is late
        grant.ended_at, grant.ended_because, grant.refreshing_until = now, reason, None
        for config_id in _configs_of(db, connection_id):
            config = locked_config(db, config_id)
            if config.paused_at is None:
                configs.pause_in(ctx, db, config, by=end_of(connection.name), reason=reason[:500])
        alerts.clear_alert(db, alerts.GRANT, at=now, connection_id=connection_id)
        audit.record(
            db, "connection.signed_out", connection_id, by=by, at=now, workspace_id=connection.workspace_id,
            account=grant.account, **({"stays": stays} if stays else {}),
        )  # fmt: skip
    return stays


def take_back(ctx: Context, connection_id: str) -> str:
    """Have the provider forget the sign-in of a connection; why it did not, in a sentence, or nothing.

    Whoever leaves does not wait for a provider that does not answer, so nothing is raised for one. Where
    somebody else here is signed in with the same account the provider is not told: it would end both.
    """
    with ctx.reads() as db:
        grant, connection = db.get(Grant, connection_id), db.get(Connection, connection_id)
        if grant is None or connection is None:
            return ""
        is_shared = _is_shared(db, grant, connection)
    sign_in = sign_in_of(connection)
    by_hand = (
        f"Take Syncline out of the connected apps of {grant.account or 'the account'} at {sign_in.title}"
    )
    try:
        tokens = json.loads(ctx.ring.decrypt(grant.tokens, place_of(grant)))
        token = tokens["refresh"] or tokens["access"]
        if not token:
            return ""  # somebody has signed out before
        if sign_in.revoke is None:
            return f"{sign_in.title} names no way to take its permission back from here. {by_hand}."
        if is_shared:
            return (
                f"{sign_in.title} keeps its permission, since another connection here is signed in with the"
                " same account."
            )
        redaction.remember(tokens.values())
        oauth.revoke(sign_in, ctx.access, simulator_of(connection.options), token)
    except (ConnectorError, SecretUnreadable) as problem:
        said = problem.message if isinstance(problem, ConnectorError) else str(problem)
        return f"{sign_in.title} could not be told, and keeps its permission: {said} {by_hand}."
    return ""


def _is_shared(db: Session, grant: Grant, connection: Connection) -> bool:
    """Whether another living sign-in is, or may be, one of the same account with the same provider."""
    others = db.execute(
        select(Grant.account, Connection)
        .join(Connection, Connection.id == Grant.connection_id)
        .where(Grant.connection_id != grant.connection_id, Grant.ended_at.is_(None))
    )
    provider, simulator = sign_in_of(connection).name, simulator_of(connection.options)
    return any(
        (not account or not grant.account or account == grant.account)
        and sign_in_of(other).name == provider
        and simulator_of(other.options) == simulator
        for account, other in others
    )


def keep(ctx: Context, db: Session, connection: Connection, tokens: Tokens, account: str, *, by: str) -> None:
    """Store what a sign-in brought; syncs that the end of an earlier one has paused go on."""
    now = ctx.db_now(db)
    grant = db.get(Grant, connection.id, with_for_update=True)
    if grant is None:
        grant = Grant(connection_id=connection.id, workspace_id=connection.workspace_id, number=0)
        db.add(grant)
    grant.tokens = seal(ctx, connection.id, connection.workspace_id, tokens, "")
    grant.account, grant.number = account[:320], grant.number + 1
    grant.expires_at = now + timedelta(seconds=tokens.expires_in)
    grant.refreshing_until = grant.ended_at = grant.ended_because = None
    grant.signed_in_by, grant.signed_in_at = by[:320], now
    connection.updated_at = now  # an open circuit gives it a try
    for config_id in _configs_of(db, connection.id):
        config = locked_config(db, config_id)
        if config.paused_at is not None and config.paused_by == end_of(connection.name):
            configs.resume_in(ctx, db, config, by=by)
    alerts.clear_alert(db, alerts.GRANT, at=now, connection_id=connection.id)
    audit.record(
        db, "connection.signed_in", connection.id, by=by, at=now, workspace_id=connection.workspace_id,
        account=account,
    )  # fmt: skip


def _configs_of(db: Session, connection_id: str) -> Sequence[str]:
    return db.scalars(
        select(SyncConfig.id)
        .where(
            or_(
                SyncConfig.left_connection_id == connection_id,
                SyncConfig.right_connection_id == connection_id,
            )
        )
        .order_by(SyncConfig.id)
    ).all()


def end_of(name: str) -> str:
    """What has paused the syncs of a connection of this name whose sign-in is over."""
    return f"the end of the sign-in of '{name}'"[:320]


def seal(ctx: Context, connection_id: str, workspace_id: str, tokens: Tokens, known_refresh: str) -> str:
    """The tokens as they are stored. A refresh token that is not given anew stays."""
    text = json.dumps({"access": tokens.access, "refresh": tokens.refresh or known_refresh})
    return ctx.ring.encrypt(text, Place("grants", connection_id, "tokens", workspace_id))


def place_of(grant: Grant) -> Place:
    return Place("grants", grant.connection_id, "tokens", grant.workspace_id)


def sign_in_of(connection: Connection) -> SignIn:
    """How one signs in to this connection. Raises WrongState where one does not."""
    found = catalog.get(connection.connector).sign_in
    if found is None:
        raise WrongState(f"One does not sign in to '{connection.name}': it has its own secrets.")
    return found


def client_of(ctx: Context, sign_in: SignIn) -> Client:
    """Who this installation is to a provider. Raises AuthError where nobody said."""
    found = ctx.settings.sign_in_clients.get(sign_in.name)
    if found is None:
        name = sign_in.name.upper()
        raise AuthError(
            f"This installation is not registered with {sign_in.title} yet. An administrator sets"
            f" {name}_CLIENT_ID and {name}_CLIENT_SECRET.",
            code="client",
        )
    return Client(*found)


def simulator_of(options: Mapping[str, Any]) -> str | None:
    """The simulator on this machine that a connection leads to, if it does."""
    return options.get("endpoint")
