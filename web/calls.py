"""The calls of one run: what was asked, what came back, and the same as a file.

What the calls carried is masked until somebody who may see it asks to; that is audited.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, abort, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from models.sync_runs import SyncRun
from tasks import exports
from web import export as files
from web.auth import needs, person
from web.database import act, ctx
from web.live import page
from web.preferences import clock
from web.reads import calls as reads
from web.reads import runs

bp = Blueprint("calls", __name__, url_prefix="/runs")

REVEALED_FOR = timedelta(minutes=30)
_REVEALED = "revealed"  # in the browser session: which run's calls are shown whole, and until when


@bp.get("/<run_id>/calls")
@needs("read")
def index(run_id: str) -> ResponseReturnValue:
    run = _found(run_id)
    reveals = _is_revealed(run)
    wanted = reads.CallFilter.of(request.args)
    return page(
        "calls/index.html",
        run=run,
        wanted=wanted,
        kept=reads.kept(run.id),
        found=reads.of_run(run.id, wanted, reveals=reveals),
        reveals=reveals,
        opened=request.args.get("call", ""),
        retention_days=ctx().settings.log_retention_days,
    )


@bp.post("/<run_id>/calls/reveals")
@needs("reveal")
def reveal(run_id: str) -> ResponseReturnValue:
    """Show what the calls of this run carried, in this browser and for a while."""
    run, seat = _found(run_id), person()
    number = reads.kept(run.id).number
    act(exports.reveal, run.id, by=seat.by, workspace_id=seat.workspace_id, calls=number)
    until = clock().now + REVEALED_FOR
    session[_REVEALED] = [run.id, int(until.timestamp())]
    call = request.form.get("call", "")
    wanted = reads.CallFilter.of(request.form)
    back = url_for(
        "calls.index",
        run_id=run.id,
        failed="yes" if wanted.only_failed else None,
        side=wanted.side or None,
        call=call if call.isdigit() else None,
        _anchor=f"call-{call}" if call.isdigit() else None,
    )
    return redirect(back, code=303)


@bp.post("/<run_id>/calls/exports")
@needs("reveal")
def export(run_id: str) -> ResponseReturnValue:
    run = _found(run_id)
    return files.answer("calls", reads.EXPORTED, reads.exported(run.id, reads.CallFilter.of(request.form)))


def _is_revealed(run: SyncRun) -> bool:
    run_id, until = session.get(_REVEALED, ("", 0))
    return person().may("reveal") and run_id == run.id and clock().now.timestamp() < until


def _found(run_id: str) -> SyncRun:
    found = runs.one(person().workspace_id, run_id)
    if found is None:
        abort(404)
    return found
