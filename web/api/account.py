"""One's own account: where one is signed in, and its end."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import abort
from pydantic import Field

from tasks import farewell, people
from tasks.errors import WorkError
from web import auth
from web.api.common import blueprint, by
from web.api.wire import Answer, Input, Output, operation
from web.database import act, ctx

bp = blueprint("account")


class SessionOut(Output):
    id: str
    client: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


class Sessions(Output):
    items: list[SessionOut]


class Farewell(Input):
    mode: Literal["anonymise", "everything"] = Field(
        description="anonymise: the syncs stay, the name goes. everything: the syncs that act for you go too."
    )
    email: str = Field(max_length=320, description="Your own address, so that nobody does it by mistake.")


class Due(Output):
    due_at: datetime


@operation(bp, "GET", "/account/sessions", needs="read", summary="Where you are signed in", returns=Sessions)
def sessions() -> Sessions:
    return Sessions(
        items=[
            SessionOut(
                id=row.token_hash,
                client=row.client,
                created_at=row.created_at,
                last_seen_at=row.last_seen_at,
                expires_at=row.expires_at,
            )
            for row in people.sessions_of(ctx(), auth.person().id)
        ]
    )


@operation(
    bp, "DELETE", "/account/sessions/<session_id>", needs="read", summary="Sign out there", returns=None,
    status=204,
)  # fmt: skip
def revoke(session_id: str) -> None:
    """Not for a token that may less than you."""
    who = auth.person()
    if session_id not in {row.token_hash for row in people.sessions_of(ctx(), who.id)}:
        abort(404)
    who.must_be_whole()
    act(people.revoke_session, who.id, session_id, by=by())


@operation(
    bp, "POST", "/account/deletion", needs="read", summary="Ask for the end of your account",
    body=Farewell, returns=Due, status=202, refuses=True,
)  # fmt: skip
def end(body: Farewell) -> Answer:
    """Done after thirty days; signing in takes it back. What acts for you stops at once. Not for a token that
    may less than you."""
    who = auth.person()
    who.must_be_whole()
    if body.email.strip().lower() != who.email:
        raise WorkError("This is not your own address.", code="email")
    return Answer(Due(due_at=act(farewell.ask, who.id, body.mode, by=by())), 202)
