"""Held changes: classes of changes that a guard, or the policy itself, lets wait for a person."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from web.auth import needs, person
from web.live import page
from web.reads import held as reads
from web.reads import syncs

bp = Blueprint("held", __name__, url_prefix="/held")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    return page(
        "held/index.html",
        live="held/_list.html",
        config_id=request.args.get("config", "")[:36],
        groups=reads.groups(workspace),
        found=reads.find(workspace, request.args),
        names=syncs.names(workspace),
    )
