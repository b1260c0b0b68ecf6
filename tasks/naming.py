"""Other names for connections and syncs. Whatever calls them by name follows, and nothing runs otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.connections import Connection
from models.drafts import Draft
from models.sync_configs import SyncConfig
from sync.records import SIDES
from tasks import audit, definitions, grants, runs, saving
from tasks.context import Context
from tasks.errors import NotFound

Raw = Mapping[str, Any]


def rename_connection(ctx: Context, connection_id: str, name: str, *, by: str) -> bool:
    """Whether it has another name now. Raises NotFound, DefinitionError, WorkError (the name is taken)."""
    definitions.check_name(saving.sent(ctx), ("connections", name, "name"), name)
    try:
        with ctx.sessions.begin() as db:
            row = db.scalar(select(Connection).where(Connection.id == connection_id).with_for_update())
            if row is None:
                raise NotFound(f"There is no connection {connection_id}.")
            if row.name == name:
                return False
            old, row.name = row.name, name
            row.known_as = row.known_as or old
            _follow(db, row.workspace_id, lambda raw: _with_connection(raw, old, name))
            db.execute(
                update(SyncConfig)
                .where(
                    SyncConfig.workspace_id == row.workspace_id, SyncConfig.paused_by == grants.end_of(old)
                )
                .values(paused_by=grants.end_of(name))
            )
            _note(ctx, db, "connection.renamed", row, old, by)
    except IntegrityError:
        raise saving.taken("connection", name) from None
    return True


def rename_config(ctx: Context, config_id: str, name: str, *, by: str) -> bool:
    """The same for a sync."""
    definitions.check_name(saving.sent(ctx), ("syncs", name, "name"), name)
    try:
        with ctx.sessions.begin() as db:
            row = runs.locked_config(db, config_id)
            if row.name == name:
                return False
            old, row.name = row.name, name
            _follow(db, row.workspace_id, lambda raw: _with_sync(raw, old, name))
            for draft in db.scalars(select(Draft).where(Draft.config_id == config_id)):
                draft.name = name
            _note(ctx, db, "config.renamed", row, old, by)
    except IntegrityError:
        raise saving.taken("sync", name) from None
    return True


def _follow(db: Session, workspace_id: str, renamed: Callable[[Raw], dict[str, Any]]) -> None:
    """Say the new name in every definition of the workspace. What it means stays, so its version does too."""
    db.flush()  # a name that is taken is found out before anything follows
    rows: list[SyncConfig | Draft] = [
        *db.scalars(select(SyncConfig).where(SyncConfig.workspace_id == workspace_id)),
        *db.scalars(select(Draft).where(Draft.workspace_id == workspace_id)),
    ]
    for row in rows:
        said = renamed(row.definition)
        if said != row.definition:
            row.definition = said


def _with_connection(raw: Raw, old: str, name: str) -> dict[str, Any]:
    said = dict(raw)
    for side in SIDES:
        end = raw.get(side)
        if isinstance(end, dict) and end.get("connection") == old:
            said[side] = {**end, "connection": name}
    return said


def _with_sync(raw: Raw, old: str, name: str) -> dict[str, Any]:
    after = raw.get("after")
    if after == old:
        return {**raw, "after": name}
    if isinstance(after, list):
        return {**raw, "after": [name if item == old else item for item in after]}
    return dict(raw)


def _note(ctx: Context, db: Session, action: str, row: Connection | SyncConfig, old: str, by: str) -> None:
    row.updated_at = now = ctx.db_now(db)
    audit.record(
        db, action, row.id, by=by, at=now, workspace_id=row.workspace_id, name=row.name, old=old
    )  # fmt: skip
