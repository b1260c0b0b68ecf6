"""What a planned run will cost in calls, and which other syncs ask under the same quotas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import or_, select

from connectors.base import Amount
from models.sync_configs import SyncConfig
from sync.forecast import Demand
from sync.records import SIDES
from tasks.context import Context
from tasks.sides import Pairing
from tasks.summary import Summary


def demands(ctx: Context, pairing: Pairing, planned: Summary) -> list[Demand]:
    """The calls that carrying out this plan takes, the tightest quota of each end. Asks nobody."""
    found = []
    for side in SIDES:
        end, counts = pairing.end(side), planned.side(side)
        amount = Amount(counts.read, counts.created, counts.updated, counts.deleted)
        costs = end.connector.cost(end.stream, end.options, amount)
        if costs:
            shared_by = _sharing(ctx, pairing.config_id, end.connection_id)
            worst = max(costs, key=lambda cost: cost.calls / cost.quota.limit * cost.quota.period)
            quota = worst.quota
            found.append(Demand(side, quota.name, quota.limit, quota.period, worst.calls, shared_by))
    return found


def shown(demand: Demand) -> Mapping[str, Any]:
    """A demand as a summary lists it."""
    return {**asdict(demand), "seconds": demand.seconds, "sentence": demand.sentence}


def _sharing(ctx: Context, config_id: str, connection_id: str) -> tuple[str, ...]:
    """The other syncs that may run and use the same connection."""
    uses = or_(
        SyncConfig.left_connection_id == connection_id, SyncConfig.right_connection_id == connection_id
    )
    query = select(SyncConfig.name).where(
        uses, SyncConfig.id != config_id, SyncConfig.active, SyncConfig.paused_at.is_(None)
    )
    with ctx.reads() as db:
        return tuple(db.scalars(query.order_by(SyncConfig.name)))
