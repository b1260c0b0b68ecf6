"""The circuit breaker of each connection: when it keeps failing, its runs wait instead of failing too.

closed ── 5 failures in a row (3 of them refusing the credentials) ──> open: one alert
  ^                                                                      │ one run at a time tries,
  └──────────────── a run gets through: recovery notice ─────────────────┘ at growing intervals
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from models.circuits import Circuit
from models.connections import Connection
from models.sync_runs import RunState, SyncRun
from sync.backoff import back_off
from tasks import alerts
from tasks.context import Context

FAILURES = 5
AUTH_FAILURES = 3
FIRST_PROBE_SECONDS = 30.0
LONGEST_PROBE_SECONDS = 600.0


def closed_to_new_runs(db: Session, now: datetime) -> set[str]:
    """The connections whose circuit is open and that nobody may try just now."""
    probing = select(SyncRun.id).where(SyncRun.state == RunState.RUNNING)
    return set(
        db.scalars(
            select(Circuit.connection_id)
            .join(Connection, Connection.id == Circuit.connection_id)
            .where(
                Circuit.opened_at.is_not(None),
                or_(
                    and_(Circuit.probe_at > now, Connection.updated_at <= Circuit.opened_at),
                    Circuit.probe_run_id.in_(probing),
                ),
            )
        )
    )


def admit(db: Session, connection_ids: Set[str], run_id: str, now: datetime) -> bool:
    """Whether this run may start on these connections; it becomes the probe of those that are open."""
    if connection_ids & closed_to_new_runs(db, now):
        return False
    for circuit in db.scalars(
        select(Circuit).where(Circuit.connection_id.in_(connection_ids), Circuit.opened_at.is_not(None))
    ):
        circuit.probe_run_id = run_id
    return True


def note_success(db: Session, connection_ids: Set[str], now: datetime) -> bool:
    """A run got through on these connections: close their circuits. Whether one was open."""
    was_open = False
    for circuit in db.scalars(
        select(Circuit)
        .where(Circuit.connection_id.in_(connection_ids))
        .order_by(Circuit.connection_id)
        .with_for_update(key_share=True)
    ):
        if circuit.opened_at is not None:
            was_open = True
            alerts.clear_alert(db, alerts.CONNECTION, at=now, connection_id=circuit.connection_id)
        db.delete(circuit)
    return was_open


def note_failure(
    ctx: Context, db: Session, connection_id: str, *, code: str, message: str, run_id: str, now: datetime
) -> Circuit | None:
    """A run failed because of this connection. Its circuit, if it is open now."""
    connection = db.scalar(
        select(Connection).where(Connection.id == connection_id).with_for_update(key_share=True)
    )
    if connection is None:
        return None
    circuit = db.get(Circuit, connection_id, populate_existing=True)
    if circuit is None:
        circuit = Circuit(connection_id=connection_id, workspace_id=connection.workspace_id)
        circuit.failures = circuit.auth_failures = 0
        db.add(circuit)
    circuit.failures += 1
    circuit.auth_failures = circuit.auth_failures + 1 if code == "auth" else 0
    circuit.code, circuit.message, circuit.updated_at = code, message, now
    if circuit.opened_at is None:
        if circuit.failures < FAILURES and circuit.auth_failures < AUTH_FAILURES:
            return None
        circuit.opened_at = now
        alerts.raise_alert(
            db,
            alerts.CONNECTION,
            f"The connection '{connection.name}' keeps failing: {message} Its syncs wait and go on by"
            " themselves when it answers again.",
            at=now,
            workspace_id=connection.workspace_id,
            connection_id=connection_id,
        )
    elif connection.updated_at > circuit.opened_at:
        circuit.opened_at = now  # it was changed and still fails: the change has had its try
    beyond = max(0, circuit.failures - FAILURES)
    wait = min(FIRST_PROBE_SECONDS * 2.0 ** min(beyond, 16), LONGEST_PROBE_SECONDS)
    # Never sooner than said, a little later at random: connections of one host do not probe together.
    circuit.probe_at = now + timedelta(seconds=wait + back_off(1, ctx.rand(), first=wait / 4))
    return circuit
