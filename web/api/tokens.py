"""API tokens: one's own; administrators see and revoke those of everybody in the workspace."""

from __future__ import annotations

from datetime import datetime

from flask import abort
from pydantic import Field

from models.people import ApiToken
from tasks import tokens
from tasks.errors import WorkError
from tasks.rights import Capability
from web import auth
from web.api.common import blueprint, by
from web.api.wire import Answer, Input, Output, operation
from web.database import act, ctx

bp = blueprint("tokens")


class TokenOut(Output):
    id: str
    name: str
    owner: str
    prefix: str = Field(description="How it begins; the rest is told once, when it is made.")
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class Tokens(Output):
    items: list[TokenOut]


class NewToken(Input):
    name: str = Field(min_length=1, max_length=100)
    scopes: list[Capability] = Field(min_length=1, max_length=len(Capability))
    days: int | None = Field(
        default=90, ge=1, le=tokens.LONGEST_LIFE, description="null: until it is revoked."
    )


class MadeToken(Output):
    id: str
    token: str


@operation(bp, "GET", "/tokens", needs="read", summary="API tokens, the newest first", returns=Tokens)
def index() -> Tokens:
    who = auth.person()
    everybody = who.may(Capability.ADMINISTER)
    found = tokens.listed(ctx(), who.workspace_id, None if everybody else who.id)
    return Tokens(items=[_shown(row, email) for row, email in found])


@operation(
    bp, "POST", "/tokens", needs="read", summary="Make a token", body=NewToken, returns=MadeToken, status=201,
    creates=True,
)  # fmt: skip
def create(body: NewToken) -> Answer:
    """It acts for whoever makes it. A token makes none with more scopes or a longer life than its own."""
    who = auth.person()
    if who.bearer is not None and not who.bearer.scopes >= set(body.scopes):
        raise WorkError("A token makes no token with more scopes than its own.", code="scopes")
    made = act(
        tokens.make, who.id, who.workspace_id, body.name, body.scopes, days=body.days, by=by(),
        not_after=who.bearer.expires_at if who.bearer else None,
    )  # fmt: skip
    return Answer(MadeToken(id=made.id, token=made.token), 201, "/api/v1/tokens")


@operation(
    bp, "DELETE", "/tokens/<token_id>", needs="read", summary="Revoke a token", returns=None, status=204
)
def revoke(token_id: str) -> None:
    """It opens nothing from the next request on. A token that may less than you revokes only itself."""
    who = auth.person()
    everybody = who.may(Capability.ADMINISTER)
    mine = tokens.listed(ctx(), who.workspace_id, None if everybody else who.id)
    if token_id not in {row.id for row, _email in mine}:
        abort(404)
    if who.bearer is None or who.bearer.token_id != token_id:
        who.must_be_whole()
    act(tokens.revoke, token_id, by=by())


def _shown(row: ApiToken, email: str) -> TokenOut:
    return TokenOut(
        id=row.id,
        name=row.name,
        owner=email,
        prefix=row.prefix,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
