"""Runs: the list, one of them with all that it did, cancel and retry."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from models.sync_runs import RunKind, RunState, SyncRun
from tasks import runs
from tasks.errors import RunActive
from web import forms
from web.auth import needs, person
from web.database import act
from web.live import page
from web.reads import runs as reads
from web.reads import syncs

bp = Blueprint("runs", __name__, url_prefix="/runs")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.RunFilter.of(request.args)
    return page(
        "runs/index.html",
        live="runs/_list.html",
        wanted=wanted,
        found=reads.find(workspace, wanted, request.args),
        counts=reads.counts(workspace, wanted),
        names=syncs.names(workspace),
        paged=bool(request.args.get("before") or request.args.get("after")),
    )


@bp.get("/<run_id>")
@needs("read")
def show(run_id: str) -> ResponseReturnValue:
    run = _found(run_id)
    story = reads.story(run, request.args)
    return page("runs/show.html", live="runs/_story.html", run=run, story=story)


@bp.post("/<run_id>/cancellation")
@needs("cancel")
def cancel(run_id: str) -> ResponseReturnValue:
    run = _found(run_id)
    state = act(runs.cancel, run.id, by=person().email, reason=forms.reason())
    if state == RunState.RUNNING:
        flash("It stops at its next batch. What it has written until then stays written.", "done")
    else:
        flash("Cancelled. Nothing was written.", "done")
    return redirect(url_for("runs.show", run_id=run.id), code=303)


@bp.post("/<run_id>/retries")
@needs("retry")
def retry(run_id: str) -> ResponseReturnValue:
    """A new run that takes only what failed, read afresh."""
    run = _found(run_id)
    try:
        new = act(
            runs.queue,
            run.config_id,
            kind=RunKind.RETRY,
            asked_by=person().email,
            reason=forms.reason(),
            retry_of=run.id,
            request_key=forms.request_key(),
        )
    except RunActive as active:
        flash("The sync has a run already: this is it.", "info")
        new = active.run_id
    return redirect(url_for("runs.show", run_id=new), code=303)


def _found(run_id: str) -> SyncRun:
    found = reads.one(person().workspace_id, run_id)
    if found is None:
        abort(404)
    return found
