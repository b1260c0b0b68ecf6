"""People: who may sign in, how, and what they may do.

Tokens have 256 random bits and are kept as hashes only. Whatever changes a person's rights ends their
sessions, so that a right that was taken is gone with the next request.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from models.people import Membership, Role, SignInLink, User, WebSession, Workspace
from models.sync_configs import SyncConfig
from models.upsert import insert_or_ignore
from sync.definition import nearest
from tasks import audit, second_factor
from tasks.context import Context
from tasks.errors import NotFound, WorkError, WrongState
from tasks.runs import count

DEFAULT_WORKSPACE = "default"
LOCAL_ADMIN = "admin@localhost"
LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(days=30)
SESSION_IDLE = timedelta(days=7)
SHORTEST_PASSWORD = 12
_LONGEST_EMAIL = 320
LONGEST_PASSWORD = 200  # hashing takes time by length: a megabyte of password is an attack
_SEEN_EVERY = timedelta(minutes=1)
_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}

# One check takes 64 MB and a core for a moment: a flood of sign-ins waits here instead of taking all.
_HASHING = threading.BoundedSemaphore(2)
_HASHER = PasswordHasher()
# Checked when there is no such person, so that the time an answer takes does not tell.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$2pBTWunkoSelHroh+JHcXA$z1cWQjy/V67FOeZQLaRR9+doNw914DEvL88sgx4qG0g"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who a session belongs to."""

    user_id: str
    email: str
    name: str
    since: datetime


# -- the first start -------------------------------------------------------------------------------


def prepare(ctx: Context) -> list[str]:
    """Make the default workspace and its administrators, where they are missing; the addresses of those who
    are administrators only now.

    Administrators are ADMIN_EMAILS, whoever they were before; without it, on a local installation,
    admin@localhost. Any number of processes may call it, at every start.
    """
    emails = ctx.settings.admin_emails or ((LOCAL_ADMIN,) if ctx.settings.is_local else ())
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        workspace = {"id": DEFAULT_WORKSPACE, "name": "Default", "created_at": now}
        db.execute(insert_or_ignore(db, Workspace).values(workspace))
        return [email for email in emails if _make_administrator(ctx, db, email, now)]


def _make_administrator(ctx: Context, db: Session, email: str, now: datetime) -> bool:
    """Whether this address was no administrator's before. An account that was closed stays closed."""
    user_id = ctx.new_id()
    values = {"id": user_id, "email": email, "name": "", "created_at": now}
    if db.execute(insert_or_ignore(db, User).values(values).returning(User.id)).first() is None:
        user = db.scalars(select(User).where(User.email == email)).one()
        is_open = user.disabled_at is None and user.deletion_due_at is None
        return is_open and _promote(ctx, db, user, now)
    _set_role(db, user_id, Role.ADMIN)
    audit.record(
        db, "user.added", email, by="installation", at=now, workspace_id=DEFAULT_WORKSPACE, role="admin"
    )
    return True


def _promote(ctx: Context, db: Session, user: User, now: datetime) -> bool:
    """Make somebody who has an account an administrator of the default workspace if ADMIN_EMAILS names them;
    whether they were none. Their sessions end."""
    if user.email not in ctx.settings.admin_emails:
        return False
    is_admin = select(Membership.id).where(
        Membership.workspace_id == DEFAULT_WORKSPACE,
        Membership.user_id == user.id,
        Membership.role == Role.ADMIN,
    )
    if db.scalar(is_admin) is not None:
        return False
    _set_role(db, user.id, Role.ADMIN)
    end_all_sessions(db, user.id)
    audit.record(
        db, "user.role_set", user.email, by="installation", at=now, workspace_id=DEFAULT_WORKSPACE,
        role=Role.ADMIN.value, reason="named in ADMIN_EMAILS",
    )  # fmt: skip
    return True


def first_administrator(ctx: Context) -> str | None:
    """The address of an administrator who can sign in: whom the local start signs in."""
    with ctx.reads() as db:
        return db.scalar(
            select(User.email)
            .join(Membership, Membership.user_id == User.id)
            .where(User.disabled_at.is_(None), Membership.role == Role.ADMIN)
            .order_by(User.created_at, User.id)
            .limit(1)
        )


def everyone(ctx: Context) -> list[dict[str, Any]]:
    """Everybody, by address: {"id", "email", "name", "roles", "has_password", "disabled"}; `roles` maps
    a workspace's name to the role in it."""
    with ctx.reads() as db:
        roles: dict[str, dict[str, str]] = {}
        for user_id, workspace, role in db.execute(
            select(Membership.user_id, Workspace.name, Membership.role).join(
                Workspace, Workspace.id == Membership.workspace_id
            )
        ):
            roles.setdefault(user_id, {})[workspace] = role
        return [
            {
                "id": user.id,
                "email": user.email,
                "name": user.name,
                "roles": roles.get(user.id, {}),
                "has_password": user.password_hash is not None,
                "disabled": user.disabled_at is not None,
            }
            for user in db.scalars(select(User).order_by(User.email))
        ]


def add(ctx: Context, email: str, role: Role, *, by: str, name: str = "") -> bool:
    """Let a person into the default workspace in this role; whether they are new to this installation.

    Somebody who is there already gets the role, and has to sign in again. Raises WorkError (not an
    address), WrongState (the last administrator).
    """
    email = clean_email(email)
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        values = {"id": ctx.new_id(), "email": email, "name": name[:200], "created_at": now}
        is_new = db.execute(insert_or_ignore(db, User).values(values).returning(User.id)).first() is not None
        user_id = db.scalars(select(User.id).where(User.email == email)).one()
        if role is not Role.ADMIN:
            somebody_must_stay(db, DEFAULT_WORKSPACE, user_id)
        _set_role(db, user_id, role)
        end_all_sessions(db, user_id)
        audit.record(
            db, "user.added" if is_new else "user.role_set", email, by=by, at=now,
            workspace_id=DEFAULT_WORKSPACE, role=role.value,
        )  # fmt: skip
    return is_new


def _set_role(db: Session, user_id: str, role: Role) -> None:
    """Make a person a member of the default workspace in this role, whatever they were there."""
    membership = {"workspace_id": DEFAULT_WORKSPACE, "user_id": user_id, "role": role.value}
    db.execute(insert_or_ignore(db, Membership).values(membership))
    db.execute(
        update(Membership)
        .where(Membership.workspace_id == DEFAULT_WORKSPACE, Membership.user_id == user_id)
        .values(role=role.value)
    )


def somebody_must_stay(db: Session, workspace_id: str, leaving: str) -> None:
    """Raises WrongState when nobody but this person administers the workspace.

    Its row is locked: of two who would leave at once, the second sees that the first is gone.
    """
    db.scalars(select(Workspace.id).where(Workspace.id == workspace_id).with_for_update()).one()
    others = db.scalar(
        select(func.count())
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.workspace_id == workspace_id,
            Membership.role == Role.ADMIN,
            Membership.user_id != leaving,
            User.disabled_at.is_(None),
            User.deletion_due_at.is_(None),
        )
    )
    is_admin = db.scalar(
        select(Membership.id).where(
            Membership.workspace_id == workspace_id,
            Membership.user_id == leaving,
            Membership.role == Role.ADMIN,
        )
    )
    if is_admin and not others:
        raise WrongState(
            "Nobody else administers this workspace: make somebody else an administrator first.",
            code="last_admin",
        )


def clean_email(email: str) -> str:
    """An address as it is kept: one for all ways to write it. Raises WorkError."""
    email = unicodedata.normalize("NFKC", email).strip().lower()
    before, at, after = email.partition("@")
    is_one = before and at and after and "@" not in after and email.isprintable() and " " not in email
    if not is_one or len(email) > _LONGEST_EMAIL:
        raise WorkError(f"'{email[:80]}' is not an e-mail address.", code="email")
    return email


def user_id_of(ctx: Context, email: str) -> str:
    """Raises NotFound, with the nearest address."""
    with ctx.reads() as db:
        known = dict(db.execute(select(User.email, User.id).order_by(User.email)).all())
    if (found := known.get(email.strip().lower())) is None:
        raise NotFound(f"There is nobody with the address '{email}'." + nearest(email, list(known)))
    return str(found)


# -- signing in ------------------------------------------------------------------------------------


def one_time_sign_in(ctx: Context, email: str) -> str:
    """The path of a link that signs this person in once, within LINK_LIFE. Raises NotFound."""
    token = secrets.token_urlsafe(32)
    with ctx.sessions.begin() as db:
        user = db.scalar(select(User).where(User.email == email.strip().lower(), User.disabled_at.is_(None)))
        if user is None:
            raise NotFound(f"Nobody with the address {email} can sign in here.")
        now = ctx.db_now(db)
        db.execute(delete(SignInLink).where(SignInLink.expires_at < now))
        db.add(SignInLink(token_hash=hash_of(token), user_id=user.id, expires_at=now + LINK_LIFE))
    return f"/sign-in/{token}"


def sign_in_with_link(ctx: Context, token: str, *, client: str = "") -> str | None:
    """A new session's token, or None: the link is unknown, used or too old, or the person may not."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        user_id = db.scalar(
            update(SignInLink)
            .where(
                SignInLink.token_hash == hash_of(token),
                SignInLink.used_at.is_(None),
                SignInLink.expires_at > now,
            )
            .values(used_at=now)
            .returning(SignInLink.user_id)
        )
        user = db.get(User, user_id) if user_id else None
        if user is None or user.disabled_at is not None:
            return None
        _promote(ctx, db, user, now)
        return new_session(db, user, now, client, how="link")


def sign_in_with_password(
    ctx: Context, email: str, password: str, *, code: str = "", client: str = "", address: str = ""
) -> str | None:
    """A new session's token, or None. What was wrong is not told, and takes equally long to find out."""
    with ctx.reads() as db:
        user = db.scalar(select(User).where(User.email == email.strip().lower(), User.disabled_at.is_(None)))
    known = user.password_hash if user else None
    if not _fits(known or _NOBODY, password) or user is None or known is None:
        note_refused(ctx, "password", client=address, path="/sign-in")
        return None
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        current = db.get(User, user.id)
        if current is None or current.disabled_at is not None or current.password_hash != known:
            return None
        if second_factor.passes(ctx, current, code, now):
            if _HASHER.check_needs_rehash(known):
                current.password_hash = _hash(password)
            _promote(ctx, db, current, now)
            return new_session(db, current, now, client, how="password")
    note_refused(ctx, "code", client=address, path="/sign-in")
    return None


def set_password(ctx: Context, user_id: str, password: str, *, by: str) -> None:
    """Give this person a password; their sessions end. Raises NotFound, WorkError (too short, too long)."""
    hashed = hashed_password(password)
    with ctx.sessions.begin() as db:
        user = db.get(User, user_id)
        if user is None:
            raise NotFound("There is no such person.")
        user.password_hash = hashed
        end_all_sessions(db, user_id)
        audit.record(db, "user.password_set", user.email, by=by, at=ctx.db_now(db))


def hashed_password(password: str) -> str:
    """How a new password is kept. Raises WorkError (too short, too long)."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise WorkError(
            f"A password needs {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.", code="password"
        )
    return _hash(password)


def fits(ctx: Context, user_id: str, password: str) -> bool:
    """Whether this is the password of somebody who is signed in: asked again before what is hard to undo."""
    with ctx.reads() as db:
        known = db.scalar(select(User.password_hash).where(User.id == user_id))
    return known is not None and _fits(known, password)


# -- sessions --------------------------------------------------------------------------------------


def find_session(ctx: Context, token: str) -> SignedIn | None:
    """Who is signed in with this token; None if it is unknown, ended or too old, or they may not."""
    with ctx.reads() as db:
        now = ctx.db_now(db)
        found = db.execute(
            select(WebSession, User)
            .join(User, User.id == WebSession.user_id)
            .where(
                WebSession.token_hash == hash_of(token),
                WebSession.expires_at > now,
                WebSession.last_seen_at > now - SESSION_IDLE,
                User.disabled_at.is_(None),
            )
        ).first()
    if found is None:
        return None
    session, user = found
    if now - session.last_seen_at > _SEEN_EVERY:
        with ctx.sessions.begin() as db:
            db.execute(
                update(WebSession).where(WebSession.token_hash == session.token_hash).values(last_seen_at=now)
            )
    return SignedIn(user_id=user.id, email=user.email, name=user.name, since=session.created_at)


def end_session(ctx: Context, token: str) -> None:
    """Sign out: the token is worth nothing from now on."""
    with ctx.sessions.begin() as db:
        db.execute(delete(WebSession).where(WebSession.token_hash == hash_of(token)))


def sessions_of(ctx: Context, user_id: str) -> list[WebSession]:
    """A person's sessions that are alive, the latest first. `token_hash` names one; it opens nothing."""
    with ctx.reads() as db:
        now = ctx.db_now(db)
        query = select(WebSession).where(
            WebSession.user_id == user_id,
            WebSession.expires_at > now,
            WebSession.last_seen_at > now - SESSION_IDLE,
        )
        return list(db.scalars(query.order_by(WebSession.last_seen_at.desc())))


def revoke_session(ctx: Context, user_id: str, session_id: str, *, by: str) -> None:
    """End one of a person's sessions, by the hash of its token. Raises NotFound."""
    with ctx.sessions.begin() as db:
        ended = db.execute(
            delete(WebSession).where(WebSession.user_id == user_id, WebSession.token_hash == session_id)
        )
        if not count(ended):
            raise NotFound("There is no such session.")
        email = db.get_one(User, user_id).email
        audit.record(db, "session.revoked", email, by=by, at=ctx.db_now(db))


def end_sessions_of(ctx: Context, user_id: str) -> None:
    """Sign a person out everywhere."""
    with ctx.sessions.begin() as db:
        end_all_sessions(db, user_id)


def note_refused(ctx: Context, what: str, *, client: str, path: str) -> None:
    """Audit a failed authentication: with which kind of key, from where, for what."""
    log.info("authentication.refused", what=what, client=client, path=path[:200])
    with ctx.sessions.begin() as db:
        audit.record(
            db, "authentication.refused", what, by=client or "unknown", at=ctx.db_now(db), path=path[:200]
        )


# -- roles -----------------------------------------------------------------------------------------


def role_in(db: Session, user_id: str, workspace_id: str) -> Role | None:
    """What this person is in the workspace; None: nothing, and nothing in it exists for them."""
    role = db.scalar(
        select(Membership.role)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.user_id == user_id,
            Membership.workspace_id == workspace_id,
            User.disabled_at.is_(None),
            User.deletion_due_at.is_(None),
        )
    )
    return Role(role) if role else None


def is_at_least(role: Role | None, needed: Role) -> bool:
    return role is not None and _RANK[role] >= _RANK[needed]


def workspaces_of(db: Session, user_id: str) -> list[tuple[Workspace, Role]]:
    """The workspaces that this person belongs to, by name."""
    found = db.execute(
        select(Workspace, Membership.role)
        .join(Membership, Membership.workspace_id == Workspace.id)
        .where(Membership.user_id == user_id)
        .order_by(Workspace.name, Workspace.id)
    )
    return [(workspace, Role(role)) for workspace, role in found]


def owner_must_be_allowed(db: Session, config: SyncConfig) -> None:
    """A config acts for its owner. Raises WorkError, with the code `owner`, if they may run nothing."""
    if config.owner_id is None:
        return
    if not is_at_least(role_in(db, config.owner_id, config.workspace_id), Role.OPERATOR):
        user = db.get(User, config.owner_id)
        who = user.email if user else "its owner"
        raise WorkError(
            f"'{config.name}' runs on behalf of {who}, who may not run syncs in this workspace any more."
            " Give it another owner.",
            code="owner",
        )


# -- inside ----------------------------------------------------------------------------------------


def hash_of(token: str) -> str:
    """How a token is kept. A plain hash is enough: there is nothing to guess in 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_session(db: Session, user: User, now: datetime, client: str, *, how: str) -> str:
    token = secrets.token_urlsafe(32)
    db.add(
        WebSession(
            token_hash=hash_of(token),
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            expires_at=now + SESSION_LIFE,
            client=client[:200],
        )
    )
    audit.record(db, "user.signed_in", user.email, by=user.email, at=now, how=how)
    if user.deletion_due_at is not None:
        user.deletion_due_at = user.deletion_mode = None
        audit.record(db, "account.deletion_taken_back", user.email, by=user.email, at=now)
    return token


def end_all_sessions(db: Session, user_id: str) -> int:
    """Sign a person out everywhere, in this transaction."""
    return count(db.execute(delete(WebSession).where(WebSession.user_id == user_id)))


def _hash(password: str) -> str:
    with _HASHING:
        return _HASHER.hash(password)


def _fits(known: str, password: str) -> bool:
    if len(password) > LONGEST_PASSWORD:
        return False
    with _HASHING:
        try:
            return _HASHER.verify(known, password)
        except (VerificationError, InvalidHashError):
            return False
