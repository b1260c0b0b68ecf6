"""The second factor: a code from a person's own device, asked for beside the password."""

from __future__ import annotations

import hmac
from datetime import datetime

import pyotp
import structlog
from sqlalchemy import delete

from models.people import User, WebSession
from models.secrets import Place, SecretUnreadable
from tasks import audit
from tasks.context import Context
from tasks.errors import NotFound, WorkError, WrongState

ISSUER = "Syncline"
STEP = 30  # seconds
_AROUND = (-1, 0, 1)  # steps that are taken: clocks differ

log = structlog.get_logger(__name__)


def begin(ctx: Context, user_id: str) -> str:
    """A new secret for a person's device, as the address that such apps read. Asked for once it was used.

    Raises NotFound, WrongState while another one is in use.
    """
    secret = pyotp.random_base32()
    with ctx.sessions.begin() as db:
        user = db.get(User, user_id)
        if user is None:
            raise NotFound("There is no such person.")
        if user.totp_step is not None:
            raise WrongState("A second factor is in use: switch it off before you set up another one.")
        user.totp_secret = ctx.ring.encrypt(secret, place_of(user))
        email = user.email
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def confirm(ctx: Context, user_id: str, code: str) -> None:
    """Switch it on, with a first code of the device. Raises WorkError (the code does not fit)."""
    with ctx.sessions.begin() as db:
        user = db.get(User, user_id)
        if user is None or user.totp_secret is None or user.totp_step is not None:
            raise WrongState("Begin with setting up the second factor.")
        now = ctx.db_now(db)
        step = _step_of(ctx, user, code, now)
        if step is None:
            raise WorkError("This code does not fit. Is your device's clock right?", code="code")
        user.totp_step = step
        audit.record(db, "user.second_factor_on", user.email, by=user.email, at=now)


def switch_off(ctx: Context, user_id: str, *, by: str) -> None:
    """Ask for the password alone again; sessions end. Raises NotFound."""
    with ctx.sessions.begin() as db:
        user = db.get(User, user_id)
        if user is None:
            raise NotFound("There is no such person.")
        user.totp_secret = user.totp_step = None
        db.execute(delete(WebSession).where(WebSession.user_id == user_id))
        audit.record(db, "user.second_factor_off", user.email, by=by, at=ctx.db_now(db))


def passes(ctx: Context, user: User, code: str, now: datetime) -> bool:
    """Whether a person who signs in brings what is asked for. A code works once."""
    if user.totp_step is None:
        return True
    step = _step_of(ctx, user, code, now)
    if step is None or step <= user.totp_step:
        return False
    user.totp_step = step
    return True


def _step_of(ctx: Context, user: User, code: str, now: datetime) -> int | None:
    """The time step whose code this is; None: of none, or nobody can tell, since its key is away."""
    code = "".join(code.split())
    try:
        totp = pyotp.TOTP(ctx.ring.decrypt(user.totp_secret or "", place_of(user)))
    except SecretUnreadable as problem:
        log.error("second_factor.unreadable", user=user.id, problem=str(problem))
        return None
    current = int(now.timestamp()) // STEP
    fits = [step for step in (current + n for n in _AROUND) if _same(totp.generate_otp(step), code)]
    return fits[0] if fits else None


def _same(right: str, given: str) -> bool:
    return hmac.compare_digest(right.encode(), given.encode("utf-8", "replace"))


def place_of(user: User) -> Place:
    return Place("users", user.id, "totp_secret")
