"""Links made and dissolved by hand: which record is which, where a person knows better."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from models.links import IS_ALIVE, Link, LinkState, Shadow
from sync.records import SIDES, Record, Side
from tasks import audit, ledger, runs
from tasks.context import Context
from tasks.errors import NotFound, WrongState
from tasks.sides import Pairing, opened, records_at

_FIRST = "try again when run {run} has ended"


def link(ctx: Context, config_id: str, left_id: str, right_id: str, *, by: str) -> int:
    """Say that these two records are one; the link's id. Nothing is written until the next run.

    That run takes them as if both had just been seen for the first time: whatever differs is settled by
    the conflict policy. Raises NotFound; WrongState when one of them is linked already; RunActive;
    ConnectorError.
    """
    with opened(ctx, config_id) as pairing:
        records = _both(pairing, {"left": left_id, "right": right_id})
        mapping = pairing.built.rules.mapping
        keys = [mapping.match_key(side, mapping.see(side, records[side]).values) for side in SIDES]
    with ctx.sessions.begin() as db:
        config, now = runs.locked_at_rest(db, config_id, first=_FIRST), ctx.db_now(db)
        for row in _links_of(db, config_id, left_id, right_id):
            if row.state == LinkState.LINKED:
                pair = f"{row.left_id or '-'} on left, {row.right_id or '-'} on right"
                raise WrongState(f"One of the two is linked already ({pair}): part that pair first.")
            row.state = LinkState.TOMBSTONE
            ledger.close_all_conflicts(db, row.id, now)
        db.flush()
        values = {"left_id": left_id, "right_id": right_id, "key": (keys[0] or keys[1] or "")[:500]}
        link_id = ledger.add_links(db, config_id, [(values, {}, {})])[0]
        audit.record(
            db, "record.linked", str(link_id), by=by, at=now, workspace_id=config.workspace_id,
            config=config_id, left=left_id, right=right_id,
        )  # fmt: skip
        return link_id


def pair_of(ctx: Context, config_id: str, key: str) -> int:
    """The link of the record with this match value or this id. Raises NotFound, WrongState."""
    with ctx.reads() as db:
        found = [row for row in ledger.find_record(db, config_id, key) if row.state != LinkState.TOMBSTONE]
    if not found:
        raise NotFound(f"No record {key} is linked.")
    if len(found) > 1:
        ids = "; ".join(f"{row.left_id or '-'} and {row.right_id or '-'}" for row in found)
        raise WrongState(f"{len(found)} links go by {key}: {ids}. Name one of them by an id of its own.")
    return found[0].id


def unlink(ctx: Context, link_id: int, *, by: str) -> None:
    """Dissolve a link: both records stay as they are and are left alone, until they are linked again.

    Raises NotFound, WrongState, RunActive.
    """
    with ctx.sessions.begin() as db:
        row = db.get(Link, link_id)
        if row is None:
            raise NotFound(f"There is no link {link_id}.")
        # What a run has planned already would still be written to the two.
        config = runs.locked_at_rest(db, row.config_id, first=_FIRST)
        if row.state not in (LinkState.LINKED, LinkState.EXCLUDED):
            raise WrongState("The link is dissolved already.")
        now = ctx.db_now(db)
        row.state, row.reason = LinkState.UNLINKED, "unlinked by hand"
        shadow = db.get(Shadow, link_id)
        if shadow is not None:
            shadow.left, shadow.right, shadow.flaps = {}, {}, None
        ledger.close_all_conflicts(db, link_id, now)
        audit.record(
            db, "record.unlinked", str(link_id), by=by, at=now, workspace_id=config.workspace_id,
            config=config.id, left=row.left_id, right=row.right_id,
        )  # fmt: skip


def _both(pairing: Pairing, ids: Mapping[Side, str]) -> dict[Side, Record]:
    found: dict[Side, Record] = {}
    for side in SIDES:
        there = records_at(pairing.end(side), [ids[side]], retries=pairing.definition.retries)
        if ids[side] not in there:
            raise NotFound(f"There is no record {ids[side]} on {side}.")
        found[side] = there[ids[side]]
    return found


def _links_of(db: Session, config_id: str, left_id: str, right_id: str) -> list[Link]:
    """The links that hold one of the two, tombstones left out."""
    return list(
        db.scalars(
            select(Link).where(
                Link.config_id == config_id,
                IS_ALIVE,
                or_(Link.left_id == left_id, Link.right_id == right_id),
            )
        )
    )
