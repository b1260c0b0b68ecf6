"""Connections: what they lead to, who uses them, and whether they answer. Never their secrets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select

from connectors.catalog import get as connector_named
from connectors.errors import OptionsError
from models.circuits import Circuit
from models.connections import Connection
from models.sync_configs import SyncConfig
from tasks import saving
from web.causes import Cause, cause
from web.database import db
from web.languages import _, mark
from web.words import Badge

WELL = Badge(mark("Answers"), "check-circle-fill", "good", mark("Its last runs reached it."))
SHAKY = Badge(mark("Shaky"), "exclamation-triangle-fill", "warn", mark("Its latest calls failed."))
AWAY = Badge(mark("Away"), "x-circle-fill", "bad", mark("Runs wait; one at a time tries whether it is back."))


@dataclass(frozen=True, slots=True)
class Reach:
    """A connection, as far as people may see it."""

    connection: Connection
    title: str  # the connector's
    used_by: Sequence[SyncConfig]
    circuit: Circuit | None

    @property
    def badge(self) -> Badge:
        if self.circuit is None or not self.circuit.failures:
            return WELL
        return AWAY if self.circuit.opened_at is not None else SHAKY

    @property
    def cause(self) -> Cause | None:
        return cause(self.circuit.code) if self.circuit is not None and self.circuit.failures else None

    @property
    def options(self) -> Sequence[tuple[str, str]]:
        """The options that are no secrets."""
        return [(name, str(value)) for name, value in sorted(self.connection.options.items())]


def all_of(workspace_id: str) -> list[Reach]:
    """The connections of the workspace by name: three queries."""
    connections = db.session.scalars(
        select(Connection).where(Connection.workspace_id == workspace_id).order_by(Connection.name)
    ).all()
    return _filled(connections)


def one(workspace_id: str, connection_id: str) -> Reach | None:
    """One connection, or None where this workspace has no such."""
    found = db.session.scalars(
        select(Connection).where(Connection.id == connection_id, Connection.workspace_id == workspace_id)
    ).all()
    return _filled(found)[0] if found else None


def kept_secrets(connection_id: str) -> Sequence[str]:
    """The names of the secret options, if any is stored: which of them it is, only the key tells."""
    item = db.session.get(Connection, connection_id)
    if item is None or not item.secrets:
        return ()
    return saving.secret_names(connector_named(item.connector))


def _filled(connections: Sequence[Connection]) -> list[Reach]:
    ids = [item.id for item in connections]
    circuits = {
        item.connection_id: item
        for item in db.session.scalars(select(Circuit).where(Circuit.connection_id.in_(ids)))
    }
    users: dict[str, list[SyncConfig]] = defaultdict(list)
    for config in db.session.scalars(
        select(SyncConfig)
        .where(or_(SyncConfig.left_connection_id.in_(ids), SyncConfig.right_connection_id.in_(ids)))
        .order_by(SyncConfig.name)
    ):
        for id in {config.left_connection_id, config.right_connection_id}:
            users[id].append(config)
    return [Reach(item, _title(item), users[item.id], circuits.get(item.id)) for item in connections]


def _title(connection: Connection) -> str:
    try:
        return _(connector_named(connection.connector).title)
    except OptionsError:
        return connection.connector
