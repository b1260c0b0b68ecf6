"""Whom a sync acts for, and whom it could act for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from models.people import Membership, Role, User
from models.sync_configs import SyncConfig
from tasks import people
from web.database import db


@dataclass(frozen=True, slots=True)
class Owner:
    id: str
    email: str
    may_run: bool  # whether they may run syncs in its workspace now


def of_config(config: SyncConfig) -> Owner | None:
    """None: it acts for nobody, and runs whoever comes and goes."""
    user = db.session.get(User, config.owner_id) if config.owner_id else None
    if user is None:
        return None
    role = people.role_in(db.session(), user.id, config.workspace_id)
    return Owner(user.id, user.email, people.is_at_least(role, Role.OPERATOR))


def of_workspace(workspace_id: str) -> Sequence[Owner]:
    """Everybody who could be an owner in it, by address."""
    rows = db.session.execute(
        select(User.id, User.email)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.workspace_id == workspace_id,
            Membership.role.in_((Role.ADMIN, Role.OPERATOR)),
            User.disabled_at.is_(None),
            User.deletion_due_at.is_(None),
        )
        .order_by(User.email)
    )
    return [Owner(user_id, email, True) for user_id, email in rows]
