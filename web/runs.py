"""Runs: the list, one of them with all that it did, cancel and retry."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from models.sync_runs import RunKind, RunState, SyncRun
from tasks import previews, retries, runs
from tasks.errors import RunActive
from web import export as files
from web import forms
from web.auth import needs, person
from web.database import act
from web.languages import _, counted
from web.live import marked, page
from web.reads import runs as reads
from web.reads import syncs

bp = Blueprint("runs", __name__, url_prefix="/runs")


@bp.get("")
@needs("read")
@marked
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


@bp.post("/exports")
@needs("export")
def export() -> ResponseReturnValue:
    """The filtered list as a file."""
    wanted = reads.RunFilter.of(request.form)
    found = reads.everything(person().workspace_id, wanted, files.MOST)
    return files.answer("runs", reads.EXPORTED, found)


@bp.post("/<run_id>/exports")
@needs("export")
def export_changes(run_id: str) -> ResponseReturnValue:
    """The changes of a run as a file, a row per field."""
    run = _found(run_id)
    rows = reads.exported_changes(run.id, request.form.get("outcome", ""), files.MOST)
    return files.answer("changes", reads.EXPORTED_CHANGES, rows)


@bp.get("/<run_id>")
@needs("read")
def show(run_id: str) -> ResponseReturnValue:
    run = _found(run_id)
    story = reads.story(run, request.args)
    wanted = reads.RunFilter.of(request.args)
    return page(
        "runs/show.html",
        live="runs/_story.html",
        run=run,
        story=story,
        wanted=wanted,
        beside=reads.beside(run, wanted),
    )


@bp.post("/<run_id>/cancellation")
@needs("cancel")
def cancel(run_id: str) -> ResponseReturnValue:
    run = _found(run_id)
    state = act(runs.cancel, run.id, by=person().email, reason=forms.reason())
    if state == RunState.RUNNING:
        flash(_("It stops at its next batch. What it has written until then stays written."), "done")
    else:
        flash(_("Cancelled. Nothing was written."), "done")
    return redirect(url_for("runs.show", run_id=run.id), code=303)


@bp.post("/<run_id>/retries")
@needs("retry")
def retry(run_id: str) -> ResponseReturnValue:
    """A new run, read afresh, that takes up what failed and is not fixed yet; or all of it."""
    run = _found(run_id)
    try:
        new = act(
            retries.retry_run,
            run.id,
            by=person().email,
            whole=request.form.get("whole") == "yes",
            key=request.form.get("key") or None,
            reason=forms.reason(),
            request_key=forms.request_key(),
        )
    except RunActive as active:
        flash(_("The sync has a run already: this is it."), "info")
        return redirect(url_for("runs.show", run_id=active.run_id), code=303)
    if new.keys is not None:
        flash(
            counted(
                "%(num)s record is read again and decided anew.",
                "%(num)s records are read again and decided anew.",
                len(new.keys),
            ),
            "done",
        )
    return redirect(url_for("runs.show", run_id=new.run_id), code=303)


@bp.post("/<run_id>/execution")
@needs("run")
def carry_out(run_id: str) -> ResponseReturnValue:
    """A new run that does what this preview showed, as far as both sides are still as they were read."""
    run = _found(run_id)
    try:
        new = act(
            previews.carry_out,
            run.id,
            by=person().email,
            reason=forms.reason(),
            request_key=forms.request_key(),
        )
    except RunActive as active:
        flash(
            _("The sync has another run first: this is it. Carry the preview out when it has ended."), "info"
        )
        new = active.run_id
    return redirect(url_for("runs.show", run_id=new), code=303)


@bp.post("/<run_id>/undo")
@needs("retry")
def undo(run_id: str) -> ResponseReturnValue:
    """A new run that puts back what this one wrote, wherever it still stands as it was left."""
    run = _found(run_id)
    new = act(
        runs.queue,
        run.config_id,
        kind=RunKind.UNDO,
        asked_by=person().email,
        reason=forms.reason(),
        options={"run": run.id},
        request_key=forms.request_key(),
    )
    return redirect(url_for("runs.show", run_id=new), code=303)


def _found(run_id: str) -> SyncRun:
    found = reads.one(person().workspace_id, run_id)
    if found is None:
        abort(404)
    return found
