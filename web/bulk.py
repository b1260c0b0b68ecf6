"""Bulk retries: choose by a filter, look at the plan, start it, take it back or stop it."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from tasks import bulk
from web import forms
from web.auth import needs, person
from web.database import act
from web.languages import _, counted
from web.live import page
from web.preferences import clock
from web.reads import bulk as reads
from web.reads import syncs
from web.reads.issues import IssueFilter

bp = Blueprint("bulk", __name__, url_prefix="/bulk")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    found = reads.find(person().workspace_id, request.args, clock().now)
    return page("bulk/index.html", live="bulk/_list.html", found=found)


@bp.post("")
@needs("retry")
def plan() -> ResponseReturnValue:
    """Freeze what the filter of the issues shows. Nothing is tried yet."""
    workspace = person().workspace_id
    wanted = IssueFilter.of(request.form)
    name = dict(syncs.names(workspace)).get(wanted.config_id, "")
    made = act(bulk.plan, wanted.chosen(workspace), said=wanted.said(name), by=person().email)
    return _to(made)


@bp.get("/<bulk_id>")
@needs("read")
def show(bulk_id: str) -> ResponseReturnValue:
    return page("bulk/show.html", live="bulk/_plan.html", bulk=_found(bulk_id))


@bp.post("/<bulk_id>/previews")
@needs("retry")
def look(bulk_id: str) -> ResponseReturnValue:
    """Read both sides of its syncs again and say what would be written."""
    number = act(bulk.look, _found(bulk_id).row.id, by=person().email)
    flash(
        counted(
            "%(num)s sync is read again. What would be written shows here.",
            "%(num)s syncs are read again. What would be written shows here.",
            number,
        ),
        "done",
    )
    return _to(bulk_id)


@bp.post("/<bulk_id>/confirmation")
@needs("retry")
def confirm(bulk_id: str) -> ResponseReturnValue:
    act(
        bulk.confirm,
        _found(bulk_id).row.id,
        digest=forms.text("digest", 64),
        by=person().email,
        reason=forms.reason(),
        one_first=request.form.get("first") == "yes",
    )
    return _to(bulk_id)


@bp.post("/<bulk_id>/recall")
@needs("retry")
def recall(bulk_id: str) -> ResponseReturnValue:
    act(bulk.recall, _found(bulk_id).row.id, by=person().email)
    flash(_("Taken back. Nothing of it was done."), "done")
    return _to(bulk_id)


@bp.post("/<bulk_id>/stop")
@needs("retry")
def stop(bulk_id: str) -> ResponseReturnValue:
    number = act(bulk.stop, _found(bulk_id).row.id, by=person().email, reason=forms.reason())
    flash(
        counted(
            "Stopped: %(num)s run cancelled. What was done stays done.",
            "Stopped: %(num)s runs cancelled. What was done stays done.",
            number,
        ),
        "done",
    )
    return _to(bulk_id)


def _to(bulk_id: str) -> ResponseReturnValue:
    return redirect(url_for("bulk.show", bulk_id=bulk_id), code=303)


def _found(bulk_id: str) -> reads.Bulk:
    found = reads.one(person().workspace_id, bulk_id, clock().now)
    if found is None:
        abort(404)
    return found
