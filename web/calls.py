"""The calls of one run: what was asked, what came back, and the same as a file."""

from __future__ import annotations

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue

from models.sync_runs import SyncRun
from web import export as files
from web.auth import needs, person
from web.database import ctx
from web.live import page
from web.reads import calls as reads
from web.reads import runs

bp = Blueprint("calls", __name__, url_prefix="/runs")


@bp.get("/<run_id>/calls")
@needs("read")
def index(run_id: str) -> ResponseReturnValue:
    """What they carried is shown to those who may see personal data."""
    run = _found(run_id)
    wanted = reads.CallFilter.of(request.args)
    return page(
        "calls/index.html",
        run=run,
        wanted=wanted,
        kept=reads.kept(run.id),
        found=reads.of_run(run.id, wanted, reveals=person().may("reveal")),
        opened=request.args.get("call", ""),
        retention_days=ctx().settings.log_retention_days,
    )


@bp.post("/<run_id>/calls/exports")
@needs("reveal")
def export(run_id: str) -> ResponseReturnValue:
    run = _found(run_id)
    return files.answer("calls", reads.EXPORTED, reads.exported(run.id, reads.CallFilter.of(request.form)))


def _found(run_id: str) -> SyncRun:
    found = runs.one(person().workspace_id, run_id)
    if found is None:
        abort(404)
    return found
