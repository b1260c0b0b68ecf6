"""Chains: a config that runs after others got through. A circle of them is refused when it is saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from models.chains import ChainLink
from models.db import unindexed_in
from models.sync_configs import SyncConfig
from models.sync_runs import GOT_THROUGH, RunKind, RunState, SyncRun
from tasks import audit, runs
from tasks.context import Context
from tasks.errors import DefinitionError, RunActive, WrongState

_COUNTED = (RunKind.SCHEDULED, RunKind.MANUAL, RunKind.RETRY, RunKind.BACKFILL)


def save_after(db: Session, config: SyncConfig, after: Iterable[str]) -> None:
    """Let this config run after the configs with these names, of the same workspace, and no others.

    Raises DefinitionError for a name that is not there, and for a circle, which it spells out.
    """
    names = list(dict.fromkeys(after))
    ids: dict[str, str] = {
        name: id
        for id, name in db.execute(
            select(SyncConfig.id, SyncConfig.name).where(
                SyncConfig.workspace_id == config.workspace_id, SyncConfig.name.in_(names)
            )
        )
    }
    for name in names:
        if name not in ids:
            raise DefinitionError(f"'{config.name}' runs after '{name}', and there is no such sync.")
    links: dict[str, set[str]] = {}
    for config_id, after_id in db.execute(
        select(ChainLink.config_id, ChainLink.after_id)
        .join(SyncConfig, SyncConfig.id == ChainLink.config_id)
        .where(SyncConfig.workspace_id == config.workspace_id, ChainLink.config_id != config.id)
    ):
        links.setdefault(config_id, set()).add(after_id)
    links[config.id] = set(ids.values())
    if circle := find_circle(links, config.id):
        known = dict(
            db.execute(select(SyncConfig.id, SyncConfig.name).where(SyncConfig.id.in_(circle))).all()
        )
        said = " -> ".join(f"'{known[id]}'" for id in circle)
        raise DefinitionError(f"These syncs would wait for each other in a circle: {said}.")
    db.execute(delete(ChainLink).where(ChainLink.config_id == config.id))
    db.add_all(ChainLink(config_id=config.id, after_id=after_id) for after_id in ids.values())
    db.flush()


def find_circle(links: Mapping[str, Iterable[str]], start: str) -> Sequence[str]:
    """A way from `start` back to it along the links, both ends included; empty if there is none."""
    came_from: dict[str, str] = {}
    to_visit = [start]
    while to_visit:
        here = to_visit.pop()
        for there in sorted(links.get(here, ())):
            if there == start:
                way = [start, here]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if there not in came_from:
                came_from[there] = here
                to_visit.append(there)
    return []


def after_success(ctx: Context, db: Session, run: SyncRun) -> list[str]:
    """Queue what runs after this run's config, once all that it waits for got through. The runs to ring."""
    found: list[str] = []
    for config_id in db.scalars(
        select(ChainLink.config_id).where(ChainLink.after_id == run.config_id).order_by(ChainLink.config_id)
    ).all():
        if not _all_got_through(db, config_id, run):
            continue
        try:
            found.append(
                runs.queue_in(
                    ctx,
                    db,
                    config_id,
                    asked_by=audit.CHAIN,
                    kind=RunKind.SCHEDULED,
                    reason=f"after run {run.id}",
                )
            )
        except (RunActive, WrongState) as refusal:
            config = db.get_one(SyncConfig, config_id)
            db.add(
                runs.new_run(
                    ctx,
                    config,
                    ctx.db_now(db),
                    asked_by=audit.CHAIN,
                    state=RunState.SKIPPED,
                    reason=f"Not started: {refusal.message}",
                )
            )
    return found


def _all_got_through(db: Session, config_id: str, run: SyncRun) -> bool:
    """Whether each config that this one waits for got through since this one last started."""
    last_start = db.scalar(_newest(SyncRun.started_at, config_id).where(SyncRun.started_at.is_not(None)))
    for after_id in db.scalars(select(ChainLink.after_id).where(ChainLink.config_id == config_id)):
        if after_id == run.config_id:
            continue
        last_end = db.scalar(
            _newest(SyncRun.finished_at, after_id).where(unindexed_in(SyncRun.state, GOT_THROUGH))
        )
        if last_end is None or (last_start is not None and last_end < last_start):
            return False
    return True


def _newest(column: InstrumentedAttribute[Any], config_id: str) -> Select[Any]:
    """This column of a config's newest run of the kinds that count."""
    counted = (SyncRun.config_id == config_id, unindexed_in(SyncRun.kind, _COUNTED))
    return select(column).where(*counted).order_by(SyncRun.created_at.desc(), SyncRun.id.desc()).limit(1)
