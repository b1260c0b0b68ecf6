"""The keys under which secrets are stored: moving everything to the newest one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from models.connections import Connection
from models.grants import Grant
from models.people import Reply, User
from models.secrets import Place, SecretUnreadable, check_canary, renew_canary
from tasks import audit, grants, second_factor
from tasks.context import Context
from tasks.runs import count
from tasks.sides import place_of


@dataclass(frozen=True, slots=True)
class Rotation:
    """What became of the stored secrets. `failed` are the names of connections to enter again."""

    rotated: int  # now under the newest key
    current: int  # had been before
    failed: tuple[str, ...]


def rotate(ctx: Context, *, by: str, accept_loss: bool = False) -> Rotation:
    """Put every stored secret under the newest key. May be stopped and repeated at any point.

    Only when every process has the newest key. A secret that no key reads is left as it is and named;
    until none is, the older keys stay needed at the start. With `accept_loss` they are not, even if the
    database was filled under a key that the ring does not hold. Raises SecretUnreadable.
    """
    if not accept_loss:
        with ctx.sessions.begin() as db:
            check_canary(db, ctx.ring)
    rotated = current = 0
    failed: list[str] = []
    with ctx.reads() as db:
        rows = db.execute(select(Connection.id, Connection.name).order_by(Connection.name)).all()
    for connection_id, name in rows:
        with ctx.sessions.begin() as db:
            try:
                moved = [_rotate_one(ctx, db, connection_id), _rotate_grant(ctx, db, connection_id)]
            except SecretUnreadable:
                failed.append(name)
                continue
        rotated += moved.count(True)
        current += moved.count(False)
    with ctx.reads() as db:
        people = db.execute(
            select(User.id, User.email).where(User.totp_secret.is_not(None)).order_by(User.email)
        ).all()
    for user_id, email in people:
        with ctx.sessions.begin() as db:
            try:
                is_moved = _rotate_second_factor(ctx, db, user_id)
            except SecretUnreadable:
                failed.append(f"the second factor of {email}")
                continue
        rotated += is_moved is True
        current += is_moved is False
    with ctx.sessions.begin() as db:
        db.execute(delete(Reply))  # of calls that were answered: a repeated one is looked at anew
        if accept_loss or not failed:
            renew_canary(db, ctx.ring, even_if_unreadable=accept_loss)
        audit.record(
            db, "keys.rotated", ctx.ring.newest, by=by, at=ctx.db_now(db),
            rotated=rotated, current=current, failed=len(failed),
        )  # fmt: skip
    return Rotation(rotated, current, tuple(failed))


def _rotate_one(ctx: Context, db: Session, connection_id: str) -> bool | None:
    """Whether the connection's secrets had to be moved; None: it has none. Raises SecretUnreadable."""
    row = db.get(Connection, connection_id)
    if row is None or row.secrets is None:
        return None
    return _moved(ctx, db, Connection.secrets, Connection.id == connection_id, row.secrets, place_of(row))


def _rotate_second_factor(ctx: Context, db: Session, user_id: str) -> bool | None:
    """The same for the secret of somebody's second factor."""
    row = db.get(User, user_id)
    if row is None or row.totp_secret is None:
        return None
    place = second_factor.place_of(row)
    return _moved(ctx, db, User.totp_secret, User.id == user_id, row.totp_secret, place)


def _rotate_grant(ctx: Context, db: Session, connection_id: str) -> bool | None:
    """The same for the tokens of its sign-in."""
    row = db.get(Grant, connection_id)
    if row is None:
        return None
    mine = Grant.connection_id == connection_id
    return _moved(ctx, db, Grant.tokens, mine, row.tokens, grants.place_of(row))


def _moved(
    ctx: Context,
    db: Session,
    column: InstrumentedAttribute[Any],
    mine: ColumnElement[bool],
    stored: str,
    place: Place,
) -> bool:
    """Whether this ciphertext had to be put under the newest key. Raises SecretUnreadable."""
    text = ctx.ring.decrypt(stored, place)
    if ctx.ring.is_newest(stored):
        return False
    # Somebody who saves it meanwhile encrypts with the newest key anyway.
    fresh = {column: ctx.ring.encrypt(text, place)}
    return bool(count(db.execute(update(column.class_).where(mine, column == stored).values(fresh))))
