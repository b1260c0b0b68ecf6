"""What a planned run will cost in calls, and which other syncs ask under the same quotas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import select

from connectors.base import Amount, Connector
from connectors.errors import ConnectorError
from connectors.quotas import Quota
from models.connections import Connection
from models.sync_configs import Baseline, SyncConfig
from models.sync_runs import GOT_THROUGH, RunKind, SyncRun
from sync.forecast import Demand, Sharer
from sync.records import SIDES, Side, Stream
from sync.schedule import ScheduleProblem
from tasks import schedules
from tasks.context import Context
from tasks.errors import DefinitionError
from tasks.sides import End, Pairing, connector_of, definition_of, stream_options
from tasks.summary import Summary

SLOTS = 25  # of a schedule that tell how often it comes


def demands(ctx: Context, pairing: Pairing, planned: Summary) -> list[Demand]:
    """The calls that carrying out this plan takes, the tightest quota of each end. Asks nobody."""
    found = []
    for side in SIDES:
        end, counts = pairing.end(side), planned.side(side)
        amount = Amount(counts.read, counts.created, counts.updated, counts.deleted)
        costs = end.connector.cost(end.stream, end.options, amount)
        if costs:
            worst = max(costs, key=lambda cost: cost.calls / cost.quota.limit * cost.quota.period)
            quota = worst.quota
            shared_by = tuple(_sharers(ctx, pairing.config_id, end, quota))
            found.append(Demand(side, quota.name, quota.limit, quota.period, worst.calls, shared_by))
    return found


def shown(demand: Demand) -> Mapping[str, Any]:
    """A demand as a summary lists it."""
    return {**asdict(demand), "seconds": demand.seconds, "sentence": demand.sentence}


def _sharers(ctx: Context, config_id: str, end: End, quota: Quota) -> Iterator[Sharer]:
    """The other syncs of the workspace that may run and whose calls count under this quota, by name."""
    with ctx.reads() as db:
        now = ctx.db_now(db)
        own = db.get_one(SyncConfig, config_id)
        others = db.scalars(
            select(SyncConfig)
            .where(
                SyncConfig.workspace_id == own.workspace_id,
                SyncConfig.id != config_id,
                SyncConfig.active,
                SyncConfig.paused_at.is_(None),
            )
            .order_by(SyncConfig.name)
        ).all()
        known = [(it, db.get(Baseline, it.id), it.left_connection, it.right_connection) for it in others]
    for config, baseline, left, right in known:
        ends: dict[Side, Connection] = {"left": left, "right": right}
        alike = [side for side in SIDES if ends[side].connector == end.connector.name]
        counted = [
            calls for side in alike if (calls := _calls(ctx, config, baseline, side, ends, end, quota))
        ]
        if counted:
            a_run = sum(calls for calls in counted if calls > 0)
            often = _runs_an_hour(config, now)
            yield Sharer(config.name, a_run * often if a_run and often is not None else None)


def _calls(
    ctx: Context,
    config: SyncConfig,
    baseline: Baseline | None,
    side: Side,
    connections: Mapping[Side, Connection],
    end: End,
    quota: Quota,
) -> int:
    """How many calls a run of another sync takes of this quota at one of its ends, going by its last run: 0
    where it takes none, -1 where it is not known how many."""
    connection = connections[side]
    is_same = -1 if connection.id == end.connection_id else 0
    if baseline is None:
        return is_same
    try:
        definition = definition_of(config)
        with connector_of(ctx, connection) as connector:
            container = (baseline.left_container if side == "left" else baseline.right_container) or ""
            stream = Stream(definition.end(side).stream, (), container=container)
            options = stream_options(connector, side, definition)
            return _cost(connector, stream, options, _last(ctx, config.id, side), quota.key)
    except (ConnectorError, DefinitionError):
        return is_same


def _cost(connector: Connector, stream: Stream, options: Any, amount: Amount | None, key: str) -> int:
    costs = connector.cost(stream, options, amount or Amount(0))
    calls = next((cost.calls for cost in costs if cost.quota.key == key), 0)
    return -1 if calls and amount is None else calls


def _last(ctx: Context, config_id: str, side: Side) -> Amount | None:
    """What the last run that got through read and wrote on a side."""
    with ctx.reads() as db:
        summary = db.scalar(
            select(SyncRun.summary)
            .where(
                SyncRun.config_id == config_id,
                SyncRun.kind != RunKind.PREVIEW,
                SyncRun.state.in_(GOT_THROUGH),
            )
            .order_by(SyncRun.created_at.desc())
            .limit(1)
        )
    counts = (summary or {}).get(side)
    if not counts:
        return None
    return Amount(counts["read"], counts["created"], counts["updated"], counts["deleted"])


def _runs_an_hour(config: SyncConfig, now: datetime) -> float | None:
    """How often a config runs by its schedule; None where it does not run by itself."""
    try:
        times = schedules.outlook(config, now, SLOTS).next_times
    except ScheduleProblem:
        return None
    hours = (times[-1] - times[0]).total_seconds() / 3600 if len(times) > 1 else 0
    return (len(times) - 1) / hours if hours else None
