"""Whether somebody has signed in to a connection. Never the tokens."""

from __future__ import annotations

from dataclasses import dataclass

from connectors import catalog
from connectors.errors import OptionsError
from connectors.signin import SignIn
from models.connections import Connection
from models.grants import Grant
from web.database import ctx, db


@dataclass(frozen=True, slots=True)
class SignInState:
    sign_in: SignIn
    grant: Grant | None
    is_registered: bool  # whether this installation is known to the provider
    has_secrets: bool  # the connection has credentials of its own, which come first

    @property
    def is_ended(self) -> bool:
        return self.grant is not None and self.grant.ended_at is not None


def of(connection: Connection) -> SignInState | None:
    """None for a system that one does not sign in to."""
    try:
        sign_in = catalog.get(connection.connector).sign_in
    except OptionsError:
        return None
    if sign_in is None:
        return None
    return SignInState(
        sign_in,
        db.session.get(Grant, connection.id),
        sign_in.name in ctx().settings.sign_in_clients,
        bool(connection.secrets),
    )
