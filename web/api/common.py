"""Parts that resources share: pages of a list, ids, reasons, and the things of one's own workspace."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, TypeVar

from flask import Blueprint, abort, request
from pydantic import Field, WithJsonSchema
from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute

from models.connections import Connection
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun
from web import auth
from web.api.wire import Input, Output
from web.database import LARGEST_ID, db
from web.reads.query import by_id, keyset

T = TypeVar("T")
Item = TypeVar("Item", bound=Output)

MOST = 200  # items of one page

Name = Annotated[str, Field(min_length=1, max_length=200)]
Id = Annotated[str, Field(min_length=1, max_length=36)]
Number = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Reason = Annotated[str, Field(max_length=500, description="Others read it in the history.")]
Object = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": True})]


def blueprint(name: str) -> Blueprint:
    return Blueprint(f"api_{name}", f"web.api.{name}", url_prefix="/api/v1")


class PageQuery(Input):
    cursor: str = Field(default="", max_length=200, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=MOST)


class PageOf(Output, Generic[Item]):
    """One page of a list. `next` is the cursor of the following one; null on the last page."""

    items: list[Item]
    next: str | None


def page(
    query: Select[T],
    at: Any,
    id: Any,
    wanted: PageQuery,
    shown: Callable[[T], Item],
) -> dict[str, Any]:
    """One page of a query by time and id, the newest first. Raises BadFilter."""
    args: Mapping[str, str] = {"before": wanted.cursor}
    found = keyset(
        query, at, id, lambda row: (getattr(row, at.key), getattr(row, id.key)), args, size=wanted.limit
    )
    return {"items": [shown(row) for row in found.items], "next": found.older}


def page_by_id(
    query: Select[T], id: InstrumentedAttribute[int], wanted: PageQuery, shown: Callable[[T], Item]
) -> dict[str, Any]:
    """One page of what belongs to one thing, the newest first. Raises BadFilter."""
    found = by_id(query, id, wanted.cursor, wanted.limit)
    return {"items": [shown(row) for row in found.items], "next": found.older}


def workspace() -> str:
    return auth.person().workspace_id


def by() -> str:
    return auth.person().by


def request_key() -> str | None:
    """What joins the same call sent twice: made of the caller and their Idempotency-Key."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    return hashlib.sha256(f"{auth.person().id}\0{key}".encode()).hexdigest()


def connection(connection_id: str) -> Connection:
    """One of this workspace's own; anything else does not exist."""
    found: Connection = _own(Connection, connection_id)
    return found


def config(config_id: str) -> SyncConfig:
    found: SyncConfig = _own(SyncConfig, config_id)
    return found


def run(run_id: str) -> SyncRun:
    found: SyncRun = _own(SyncRun, run_id)
    return found


def _own(model: Any, id: str) -> Any:
    found = db.session.scalar(select(model).where(model.id == id, model.workspace_id == workspace()))
    if found is None:
        abort(404)
    return found
