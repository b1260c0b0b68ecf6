"""The audit: who did what, when and why. For administrators."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from web import export as files
from web.auth import needs, person
from web.live import page
from web.reads import audit as reads

bp = Blueprint("audit", __name__, url_prefix="/audit")


@bp.get("")
@needs("administer")
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.AuditFilter.of(request.args)
    return page(
        "audit/index.html",
        wanted=wanted,
        found=reads.find(workspace, wanted, request.args),
        actions=reads.actions(workspace),
    )


@bp.post("/exports")
@needs("administer")
def export() -> ResponseReturnValue:
    """The filtered acts as a file."""
    wanted = reads.AuditFilter.of(request.form)
    rows = reads.exported(person().workspace_id, wanted, files.MOST)
    return files.answer("audit", reads.EXPORTED, rows)
