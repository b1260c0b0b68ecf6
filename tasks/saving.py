"""Connections and syncs as forms and the API create, change and delete them.

What was sent is read by the same functions as a YAML file. The systems themselves are not asked here: a
question on the control queue ties a saved sync to its streams (see `tasks.questions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from sqlalchemy import delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from connectors import catalog
from connectors.base import Connector
from models.chains import ChainLink
from models.connections import Connection
from models.people import Role
from models.secrets import SecretUnreadable
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun
from sync.definition import MappingMistake, SyncDefinition, check_alone
from tasks import audit, chains, definitions, grants, people, runs
from tasks.context import Context
from tasks.definitions import Applied, Wanted
from tasks.errors import DefinitionError, NotFound, WorkError, WrongState
from tasks.sides import secrets_of


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form or a call sent: a mistake in it is pointed at by its path alone."""

    folder: Path

    def mistake(self, place: Sequence[str], message: str) -> DefinitionError:
        said = f"{message[:1].upper()}{message[1:]}"
        return DefinitionError(said, place=".".join(place[2:]))  # without `connections`, NAME


# -- connections ----------------------------------------------------------------------------------


def create_connection(
    ctx: Context, workspace_id: str, name: str, connector: str, options: Mapping[str, Any], *, by: str
) -> str:
    """A new connection; its id. Raises DefinitionError, WorkError (the name is taken)."""
    said = sent(ctx)
    definitions.check_name(said, ("connections", name, "name"), name)
    wanted = _read(said, name, connector, options)
    try:
        with ctx.sessions.begin() as db:
            if _named(db, Connection, workspace_id, name):
                raise taken("connection", name)
            return definitions.store_connection(ctx, db, workspace_id, wanted, Applied(), by).id
    except IntegrityError:
        raise taken("connection", name) from None


def change_connection(ctx: Context, connection_id: str, options: Mapping[str, Any], *, by: str) -> bool:
    """Give a connection these options; whether anything changed. A secret that is not among them stays.

    It stays only where it goes to the same place: once an option that decides on that has changed, every
    stored secret has to be entered again (or given up, as null). Raises NotFound, DefinitionError.
    """
    said = sent(ctx)
    with ctx.sessions.begin() as db:
        row = _connection(db, connection_id)
        wanted = _read(said, row.name, row.connector, options, kept=_kept(ctx, row, options, said))
        applied = Applied()
        definitions.store_connection(ctx, db, row.workspace_id, wanted, applied, by)
        return bool(applied.updated)


def delete_connection(ctx: Context, connection_id: str, *, by: str) -> str:
    """Forget a connection and its secrets. What of a sign-in stays with its provider, in a sentence.

    Raises NotFound, WrongState while syncs use it.
    """
    with ctx.reads() as db:
        _unused(db, connection_id)
    stays = grants.take_back(ctx, connection_id)
    with ctx.sessions.begin() as db:
        row = _unused(db, connection_id)
        audit.record(
            db, "connection.deleted", row.id, by=by, at=ctx.db_now(db), workspace_id=row.workspace_id,
            name=row.name, **({"stays": stays} if stays else {}),
        )  # fmt: skip
        db.delete(row)
    return stays


def _unused(db: Session, connection_id: str) -> Connection:
    """A connection that no sync uses. Raises NotFound, WrongState."""
    row = _connection(db, connection_id)
    used_by = db.scalars(
        select(SyncConfig.name)
        .where(
            or_(
                SyncConfig.left_connection_id == connection_id,
                SyncConfig.right_connection_id == connection_id,
            )
        )
        .order_by(SyncConfig.name)
        .limit(5)
    ).all()
    if used_by:
        names = ", ".join(f"'{name}'" for name in used_by)
        raise WrongState(f"'{row.name}' is used by {names}: delete or change these first.", code="in_use")
    return row


def _read(
    said: Sent,
    name: str,
    connector: str,
    options: Mapping[str, Any],
    kept: Mapping[str, Any] | None = None,
) -> Wanted:
    raw = {"connector": connector, "options": {**(kept or {}), **options}}
    return definitions.read_connection(said, name, raw)


def _kept(ctx: Context, row: Connection, options: Mapping[str, Any], said: Sent) -> dict[str, Any]:
    """The stored secrets that stay in force under new options. Raises DefinitionError.

    Nobody may send a secret that they cannot read to a host that they choose.
    """
    try:
        stored = {name: value for name, value in secrets_of(ctx, row).items() if name not in options}
    except SecretUnreadable:
        names = secret_names(catalog.get(row.connector))
        if any(name in options for name in names):
            return {}
        # They can be read again once their key is back: only a word of the person's throws them away.
        raise DefinitionError(
            f"The stored secrets of '{row.name}' cannot be read with the keys in ENCRYPTION_KEYS. Put their"
            f" key back, or enter {' and '.join(names)} again.",
            place=f"options.{names[0]}",
        ) from None
    if not stored:
        return {}
    kind = catalog.get(row.connector)
    harmless = keeps_secrets(kind)
    bare = {name: value for name, value in options.items() if name not in secrets_of(ctx, row)}
    read = _plain(said, row, bare, stored)
    moved = sorted(
        name for name in {*row.options, *read} - harmless if row.options.get(name) != read.get(name)
    )
    if moved:
        missing = sorted(stored)
        raise DefinitionError(
            f"'{moved[0]}' decides where the stored secrets go. Enter {' and '.join(missing)} again to change"
            " it.",
            place=f"options.{missing[0]}",
        )
    return stored


def _plain(said: Sent, row: Connection, options: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
    """The options without secrets, in the form in which they would be stored."""
    return _read(said, row.name, row.connector, options, kept=stored).options


def keeps_secrets(kind: type[Connector]) -> frozenset[str]:
    """The options whose change leaves the secrets where they are: they say so in their schema."""
    return frozenset(
        name
        for name, info in kind.Options.model_fields.items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("keeps_secrets")
    )


def secret_names(kind: type[Connector]) -> list[str]:
    """The options of a connector that are secrets."""
    return [
        name
        for name, info in kind.Options.model_fields.items()
        if info.annotation is SecretStr or SecretStr in get_args(info.annotation)
    ]


# -- syncs ----------------------------------------------------------------------------------------


def create_config(
    ctx: Context,
    workspace_id: str,
    name: str,
    definition: Mapping[str, Any],
    *,
    by: str,
    owner_id: str | None,
) -> str:
    """A new sync; its id. It acts for its owner. Raises DefinitionError, WorkError (the name is taken)."""
    said = sent(ctx)
    definitions.check_name(said, ("syncs", name, "name"), name)
    try:
        with ctx.sessions.begin() as db:
            if _named(db, SyncConfig, workspace_id, name):
                raise taken("sync", name)
            return _store(ctx, db, said, workspace_id, name, definition, by=by, owner_id=owner_id).id
    except IntegrityError:
        raise taken("sync", name) from None


def change_config(
    ctx: Context, config_id: str, definition: Mapping[str, Any], *, by: str, version: int | None = None
) -> bool:
    """Give a sync this definition; whether it is another one than before.

    `version` is the one that the change was made from. Raises NotFound, DefinitionError, and WrongState
    with the code `changed` when somebody else was quicker.
    """
    with ctx.sessions.begin() as db:
        row = runs.locked_config(db, config_id)
        if version is not None and row.version != version:
            raise WrongState(
                f"'{row.name}' has changed since: it is at version {row.version}, not {version}. Read it"
                " again.",
                code="changed",
            )
        before = row.version
        _store(ctx, db, sent(ctx), row.workspace_id, row.name, definition, by=by)
        return row.version != before


def delete_config(ctx: Context, config_id: str, *, by: str, reason: str = "") -> None:
    """Forget a sync with its links, its runs and its journal. The records of both sides stay as they are.

    Raises NotFound; RunActive while it runs; WrongState while others run after it.
    """
    with ctx.sessions.begin() as db:
        row = runs.locked_at_rest(db, config_id, first="cancel run {run} first")
        after = db.scalar(
            select(SyncConfig.name)
            .join(ChainLink, ChainLink.config_id == SyncConfig.id)
            .where(ChainLink.after_id == config_id)
            .order_by(SyncConfig.name)
        )
        if after is not None:
            raise WrongState(f"'{after}' runs after '{row.name}': change that first.", code="in_use")
        audit.record(
            db, "config.deleted", row.id, by=by, at=ctx.db_now(db), workspace_id=row.workspace_id,
            reason=reason, name=row.name, version=row.version,
        )  # fmt: skip
        db.execute(delete(SyncRun).where(SyncRun.config_id == config_id))
        db.delete(row)


def give_owner(ctx: Context, config_id: str, user_id: str, *, by: str) -> None:
    """Let a sync act for this person from now on. Raises NotFound, WorkError (they may run nothing)."""
    with ctx.sessions.begin() as db:
        row = runs.locked_config(db, config_id)
        if not people.is_at_least(people.role_in(db, user_id, row.workspace_id), Role.OPERATOR):
            raise WorkError("An owner must be allowed to run syncs in this workspace.", code="owner")
        row.owner_id = user_id
        row.updated_at = now = ctx.db_now(db)
        audit.record(
            db, "config.owner_set", row.id, by=by, at=now, workspace_id=row.workspace_id, owner=user_id
        )


def _store(
    ctx: Context,
    db: Session,
    said: Sent,
    workspace_id: str,
    name: str,
    raw: Mapping[str, Any],
    *,
    by: str,
    owner_id: str | None = None,
) -> SyncConfig:
    connections = {
        row.name: row for row in db.scalars(select(Connection).where(Connection.workspace_id == workspace_id))
    }
    known = list(
        db.scalars(
            select(SyncConfig.name)
            .where(SyncConfig.workspace_id == workspace_id, SyncConfig.name != name)
            .order_by(SyncConfig.name)
        )
    )
    definition = definitions.read_definition(
        said, name, dict(raw), {key: row.connector for key, row in connections.items()}
    )
    definitions.check_after(said, name, definition, known)
    checked(definition)
    row = definitions.store_sync(
        ctx, db, workspace_id, name, definition, connections, [], Applied(), by, owner_id
    )
    chains.save_after(db, row, definition.after)
    return row


def checked(definition: SyncDefinition) -> SyncDefinition:
    """The definition, if nothing is wrong with it whatever its streams are. Raises DefinitionError."""
    try:
        check_alone(definition)
    except MappingMistake as mistake:
        raise DefinitionError(mistake.message, place=mistake.place) from None
    return definition


# -- inside ---------------------------------------------------------------------------------------


def sent(ctx: Context) -> Sent:
    """What a form or a call sends: its relative paths start where the YAML files lie."""
    return Sent(ctx.settings.home.parent)


def _connection(db: Session, connection_id: str) -> Connection:
    row = db.scalar(select(Connection).where(Connection.id == connection_id).with_for_update())
    if row is None:
        raise NotFound(f"There is no connection {connection_id}.")
    return row


def _named(db: Session, model: type[Connection] | type[SyncConfig], workspace_id: str, name: str) -> bool:
    return (
        db.scalar(select(model.id).where(model.workspace_id == workspace_id, model.name == name)) is not None
    )


def taken(what: str, name: str) -> WorkError:
    """The refusal of a name that another one has."""
    return WorkError(f"There is a {what} '{name}' already: choose another name.", code="name_taken")
