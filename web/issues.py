"""Issues: failures by cause, what can be done about them, and by whom."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from tasks import issues, retries
from tasks.errors import RunActive
from web import export as files
from web import forms
from web.auth import needs, person
from web.database import act
from web.live import page
from web.preferences import clock
from web.reads import issues as reads
from web.reads import syncs
from web.words import count

bp = Blueprint("issues", __name__, url_prefix="/issues")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.IssueFilter.of(request.args)
    return page(
        "issues/index.html",
        live="issues/_list.html",
        wanted=wanted,
        groups=reads.groups(workspace, wanted),
        names=syncs.names(workspace),
        codes=reads.codes(workspace),
        records=reads.records(workspace, wanted),
    )


@bp.post("/exports")
@needs("export")
def export() -> ResponseReturnValue:
    """The filtered issues as a file, a row per record."""
    wanted = reads.IssueFilter.of(request.form)
    return files.answer("issues", reads.EXPORTED, reads.exported(person().workspace_id, wanted, files.MOST))


@bp.get("/<config_id>/<code>")
@needs("read")
def show(config_id: str, code: str) -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.IssueFilter.of(request.args)
    sync = _found(config_id)
    found = reads.members(workspace, config_id, code, wanted, request.args)
    return page(
        "issues/show.html",
        live="issues/_group.html",
        sync=sync,
        code=code,
        wanted=wanted,
        group=reads.group(workspace, config_id, code, wanted),
        found=found,
    )


@bp.post("/<config_id>/<code>/retries")
@needs("retry")
def retry(config_id: str, code: str) -> ResponseReturnValue:
    """A run that reads every record of this cause again."""
    config = _found(config_id).config
    try:
        new = act(
            retries.retry_cause,
            config.id,
            code,
            by=person().email,
            reason=forms.reason(),
            request_key=forms.request_key(),
        )
    except RunActive as active:
        flash("The sync has a run already: this is it.", "info")
        return redirect(url_for("runs.show", run_id=active.run_id), code=303)
    flash(f"{count(len(new.keys or ()), 'record is', 'records are')} read again and decided anew.", "done")
    return redirect(url_for("runs.show", run_id=new.run_id), code=303)


@bp.post("/<config_id>/<code>/mute")
@needs("resolve")
def mute(config_id: str, code: str) -> ResponseReturnValue:
    """Quiet, until the value or the message changes."""
    return _mute(config_id, code, on=True)


@bp.post("/<config_id>/<code>/unmute")
@needs("resolve")
def unmute(config_id: str, code: str) -> ResponseReturnValue:
    return _mute(config_id, code, on=False)


def _mute(config_id: str, code: str, *, on: bool) -> ResponseReturnValue:
    config = _found(config_id).config
    number = act(issues.mute, config.id, code, on=on, by=person().email, reason=forms.reason())
    said = "muted until something about it changes" if on else "heard again"
    flash(f"{count(number, 'issue is', 'issues are')} {said}.", "done")
    return redirect(url_for("issues.index"), code=303)


def _found(config_id: str) -> syncs.Sync:
    found = syncs.one(person().workspace_id, config_id, clock().now)
    if found is None:
        abort(404)
    return found
