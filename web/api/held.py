"""Held changes: what a guard, or the policy, lets wait until somebody has looked."""

from __future__ import annotations

from typing import Literal

from flask import abort
from pydantic import Field
from sqlalchemy import func, select

from models.db import unindexed
from models.journal import Change, ChangeState
from tasks import decisions
from tasks.errors import WrongState
from web.api.common import Number, PageOf, PageQuery, blueprint, by, page, workspace
from web.api.runs import ChangeOut, change_shown
from web.api.wire import Input, Output, operation
from web.database import act, db
from web.reads.held import MOST, in_state

bp = blueprint("held")


class HeldQuery(PageQuery):
    config_id: str = Field(default="", max_length=36)
    state: Literal["held", "approved", "dismissed", "expired", "withdrawn"] = "held"


class Changes(Input):
    ids: list[Number] = Field(min_length=1, max_length=MOST)


class Decided(Output):
    decided: int


@operation(
    bp, "GET", "/held", needs="read", summary="Changes that wait for a look", query=HeldQuery,
    returns=PageOf[ChangeOut],
)  # fmt: skip
def index(query: HeldQuery) -> PageOf[ChangeOut]:
    rows = select(Change).where(in_state(workspace(), query.state), Change.guard.is_not(None))
    if query.config_id:
        rows = rows.where(unindexed(Change.config_id, query.config_id))
    return PageOf[ChangeOut](**page(rows, Change.created_at, Change.id, query, change_shown))


@operation(
    bp, "POST", "/held/approvals", needs="approve", summary="Let exactly these changes through",
    body=Changes, returns=Decided, refuses=True,
)  # fmt: skip
def approve(body: Changes) -> Decided:
    """Each once, as it was held, within a day. All or none. A run that makes them is queued."""
    ids = _own(body.ids)
    return Decided(decided=len(act(decisions.approve, ids, by=by())))


@operation(
    bp, "POST", "/held/dismissals", needs="approve", summary="Say no to exactly these changes",
    body=Changes, returns=Decided, refuses=True,
)  # fmt: skip
def dismiss(body: Changes) -> Decided:
    """They are not made, nor asked about again while they stay the same."""
    ids = _own(body.ids)
    return Decided(decided=len(act(decisions.dismiss, ids, by=by())))


def _own(ids: list[int]) -> list[int]:
    wanted = sorted(set(ids))
    mine = select(func.count()).where(Change.id.in_(wanted), Change.workspace_id == workspace())
    if db.session.scalar(mine) != len(wanted):
        abort(404)
    held = select(func.count()).where(Change.id.in_(wanted), Change.state == ChangeState.HELD)
    if db.session.scalar(held) != len(wanted):
        raise WrongState(
            "Some of these changes are not held any more. Read the list again.", code="plan_stale"
        )
    return wanted
