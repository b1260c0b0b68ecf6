"""Conflicts: both sides changed the same field, and a person decides."""

from __future__ import annotations

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue

from web.auth import needs, person
from web.live import page
from web.reads import conflicts as reads
from web.reads import syncs

bp = Blueprint("conflicts", __name__, url_prefix="/conflicts")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.ConflictFilter.of(request.args)
    return page(
        "conflicts/index.html",
        live="conflicts/_list.html",
        wanted=wanted,
        found=reads.find(workspace, wanted, request.args),
        names=syncs.names(workspace),
    )


@bp.get("/<int:conflict_id>")
@needs("read")
def show(conflict_id: int) -> ResponseReturnValue:
    found = reads.record(person().workspace_id, conflict_id)
    if found is None:
        abort(404)
    return page("conflicts/show.html", record=found)
