"""Who is there and what they may do. Flask-Login stands behind this module and nowhere else.

Closed by default: a view says what it needs (`@needs("run")`) or that it is open (`@public`); one that
says neither is refused to everybody. The check stands in one place, before any view runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import structlog
from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import AnonymousUserMixin, LoginManager, current_user, login_user, logout_user
from sqlalchemy import select

from models.people import Membership, Role, Workspace
from tasks import people, tokens
from tasks.rights import MAY, Capability
from web import cron, limits
from web.database import act, ctx, db

log = structlog.get_logger(__name__)

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])


_PUBLIC = "public"
_OUTSIDE = "cron secret"
_MARK = "_syncline_needs"
_WORKSPACE = "workspace"  # in the browser session: which of one's workspaces is shown


@dataclass(frozen=True, slots=True)
class Seat:
    """A place in one workspace."""

    workspace_id: str
    workspace: str
    role: Role


@dataclass(frozen=True, slots=True)
class Person:
    """The one who is signed in, in the workspace that they look at. Read anew with every request."""

    id: str
    email: str
    name: str
    token: str = field(repr=False)
    seats: tuple[Seat, ...] = ()
    seat: Seat | None = None
    bearer: tokens.Bearer | None = None  # the API token that speaks for them

    # What Flask-Login asks of a user.
    is_authenticated = True
    is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        """What the cookie holds: a random token that dies with its row, never the user's id."""
        return self.token

    def may(self, capability: str) -> bool:
        wanted = Capability(capability)
        if self.bearer is not None and wanted not in self.bearer.scopes:
            return False
        return self.seat is not None and wanted in MAY[self.seat.role]

    def must_be_whole(self) -> None:
        """Refuse a token that may less than its person: what touches the account itself is not for it."""
        if (
            self.bearer is not None
            and self.seat is not None
            and not self.bearer.scopes >= MAY[self.seat.role]
        ):
            g.token_is_narrow = True
            abort(403)

    @property
    def by(self) -> str:
        """Who acts, for the records."""
        return self.email if self.bearer is None else f"{self.email} (token {self.bearer.name})"

    @property
    def workspace_id(self) -> str:
        if self.seat is None:
            abort(403)
        return self.seat.workspace_id


def needs(capability: str) -> Callable[[View], View]:
    """Open this view to people in the workspace whose role holds the capability."""
    wanted = Capability(capability)

    def mark(view: View) -> View:
        setattr(view, _MARK, wanted)
        return view

    return mark


def public(view: View) -> View:
    """Open this view to everybody, signed in or not."""
    setattr(view, _MARK, _PUBLIC)
    return view


def outside(view: View) -> View:
    """Open this view to outside cron set-ups, by the cron secret."""
    setattr(view, _MARK, _OUTSIDE)
    return view


def needed(view: Callable[..., object]) -> str | None:
    """What a view needs: a capability, "public", "cron secret", or None where its author forgot to say."""
    found: str | None = getattr(view, _MARK, None)
    return found


def install(app: Flask) -> None:
    manager = LoginManager()
    # It would read X-Forwarded-For by itself, and sign people out who change from one network to another.
    manager.session_protection = None
    manager.user_loader(_load)
    manager.init_app(app, add_context_processor=False)
    app.before_request(_recognise)
    app.before_request(_gate)
    app.context_processor(lambda: {"person": person_or_none()})


def person() -> Person:
    """The one who is signed in. Only views that need something may ask."""
    found = person_or_none()
    if found is None:
        abort(401)
    return found


def person_or_none() -> Person | None:
    """The one who is signed in, if anybody is."""
    found = current_user._get_current_object()
    return found if isinstance(found, Person) else None


def forget_person() -> None:
    """Go on as if nobody were signed in, for the rest of this request: the database may be away."""
    g._login_user = AnonymousUserMixin()  # where Flask-Login keeps whom it has loaded


def enter(token: str) -> None:
    """Begin a signed-in browser session under this new token; nothing of the old one is kept."""
    session.clear()
    found = _load(token)
    if found is None:
        abort(401)
    login_user(found)


def leave() -> None:
    """End the session here and in the database, so that its cookie is worth nothing any more."""
    found = person_or_none()
    if found is not None:
        act(people.end_session, found.token)
    logout_user()
    session.clear()


def look_at(workspace_id: str) -> None:
    """Turn to another of one's workspaces. Somebody else's does not exist."""
    if workspace_id not in {seat.workspace_id for seat in person().seats}:
        abort(404)
    turn_to(workspace_id)


def turn_to(workspace_id: str) -> None:
    """Show this workspace from the next request on, if it is still one of one's own by then."""
    session[_WORKSPACE] = workspace_id


_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


def local_path(target: str | None) -> str | None:
    """The target if it is a path on this very site, else None: nobody is sent elsewhere after sign-in."""
    if not target or len(target) > 2000 or not _LOCAL_PATH.fullmatch(target):
        return None
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else None


def _load(token: str) -> Person | None:
    found = people.find_session(ctx(), token)
    if found is None:
        return None
    seats = _seats(found.user_id)
    chosen = session.get(_WORKSPACE)
    seat = next((seat for seat in seats if seat.workspace_id == chosen), seats[0] if seats else None)
    return Person(found.user_id, found.email, found.name, token, seats, seat)


def _seats(user_id: str) -> tuple[Seat, ...]:
    rows = db.session.execute(
        select(Membership.workspace_id, Workspace.name, Membership.role)
        .join(Workspace, Workspace.id == Membership.workspace_id)
        .where(Membership.user_id == user_id)
        .order_by(Workspace.created_at, Workspace.id)
    )
    return tuple(Seat(workspace_id, name, Role(role)) for workspace_id, name, role in rows)


def comes_without_cookie() -> bool:
    """Whether an API token or the cron secret speaks for this request: no cookie does, and it has no form."""
    found = person_or_none()
    by_token = found is not None and found.bearer is not None
    return by_token or (request.endpoint is not None and _is_outside(request.endpoint))


def _recognise() -> None:
    """Let an API token speak for its person. Where one is sent, the cookie is not looked at."""
    if request.endpoint is None or not request.path.startswith("/api/"):
        return
    if needed(current_app.view_functions[request.endpoint]) in (_PUBLIC, _OUTSIDE):
        return
    said = request.headers.get("Authorization")
    if said is None:
        return
    scheme, _, token = said.partition(" ")
    bearer = tokens.find(ctx(), token.strip()) if scheme.lower() == "bearer" else None
    if bearer is None:
        forget_person()
        strike("token")
        return
    seats = tuple(seat for seat in _seats(bearer.user_id) if seat.workspace_id == bearer.workspace_id)
    found = Person(bearer.user_id, bearer.email, "", "", seats, seats[0] if seats else None, bearer)
    g._login_user = found


def strike(what: str) -> None:
    """Note a failed authentication: audited, and too many from one address wait."""
    limits.strike(request.remote_addr or "")
    act(people.note_refused, what, client=request.remote_addr or "", path=request.path)


def _is_outside(endpoint: str) -> bool:
    return needed(current_app.view_functions[endpoint]) == _OUTSIDE


def _gate() -> ResponseReturnValue | None:
    if request.endpoint is None:
        return None  # nothing stands at this address: the router answers
    need = needed(current_app.view_functions[request.endpoint])
    if need == _PUBLIC:
        return None
    if need == _OUTSIDE:
        if not cron.knows_the_secret(ctx().settings.cron_secrets, request.headers):
            strike("cron secret")
            abort(401)
        return None
    if need is None:
        log.error("a view does not say what it needs", endpoint=request.endpoint)
        abort(403)
    found = person_or_none()
    if found is None:
        return _to_sign_in()
    if not found.may(need):
        g.refused = need if found.seat is not None else "be in a workspace"
        abort(403)
    return None


def _to_sign_in() -> ResponseReturnValue:
    # A polled region would pour the sign-in page into itself; an act that was lost must not be repeated.
    # A program is told so in its own form.
    is_page = request.method in ("GET", "HEAD") and not request.path.startswith(("/api/", "/metrics"))
    if not is_page or "HX-Request" in request.headers:
        abort(401)
    here = request.full_path.rstrip("?")
    return redirect(url_for("people.sign_in", next=here if here != "/" else None))
