"""The audit: who did what, when and why."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import Field

from models.audit import AuditEvent
from web import export as files
from web.api.common import Object, PageOf, PageQuery, blueprint, page, workspace
from web.api.wire import Input, Output, operation
from web.reads import audit as reads

bp = blueprint("audit")

EXPORTS = "10 per minute"


class EventOut(Output):
    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Object
    place: int | None = Field(
        description="In the workspace's chain; null until it is sealed, within a minute."
    )
    chain_hash: str | None


class AuditQuery(PageQuery):
    actor: str = Field(default="", max_length=320)
    action: str = Field(default="", max_length=60)
    subject: str = Field(default="", max_length=200)


class ExportWish(Input):
    form: Literal["csv", "json"] = "csv"
    actor: str = Field(default="", max_length=320)
    action: str = Field(default="", max_length=60)
    subject: str = Field(default="", max_length=200)


class Exported(Output):
    """A file: a row per act."""


@operation(
    bp, "GET", "/audit", needs="administer", summary="Actions, the newest first", query=AuditQuery,
    returns=PageOf[EventOut],
)  # fmt: skip
def index(query: AuditQuery) -> PageOf[EventOut]:
    wanted = reads.AuditFilter(query.actor, query.action, query.subject)
    return PageOf[EventOut](**page(wanted.rows(workspace()), AuditEvent.at, AuditEvent.id, query, _shown))


@operation(
    bp, "POST", "/audit/exports", needs="administer", summary="The acts as a file", body=ExportWish,
    returns=None, limit=EXPORTS,
)  # fmt: skip
def export(body: ExportWish) -> Response:
    """CSV that no spreadsheet takes for formulas, or JSON. The export is itself an act."""
    wanted = reads.AuditFilter(body.actor, body.action, body.subject)
    rows = reads.exported(workspace(), wanted, files.MOST)
    return files.answer("audit", reads.EXPORTED, rows, form=body.form)


def _shown(row: AuditEvent) -> EventOut:
    return EventOut.model_validate(row, from_attributes=True)
