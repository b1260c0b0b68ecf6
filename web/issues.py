"""Issues: failures by cause, what can be done about them, and by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from models.sync_configs import SyncConfig
from tasks import issues, retries
from tasks.errors import RunActive
from web import export as files
from web import forms
from web.auth import needs, person
from web.database import act
from web.languages import _, counted, mark
from web.live import marked, page
from web.preferences import clock
from web.reads import issues as reads
from web.reads import syncs
from web.reads.query import BadFilter

SNOOZES = {"1": mark("1 hour"), "4": mark("4 hours"), "24": mark("1 day"), "168": mark("1 week")}  # hours

bp = Blueprint("issues", __name__, url_prefix="/issues")


@bp.get("")
@needs("read")
@marked
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.IssueFilter.of(request.args)
    return page(
        "issues/index.html",
        live="issues/_list.html",
        wanted=wanted,
        found=reads.groups(workspace, wanted, request.args, clock().now),
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


@bp.get("/<config_id>/<cause>")
@needs("read")
@marked
def show(config_id: str, cause: str) -> ResponseReturnValue:
    """One cause, whole; the filter is that of the list from which it was opened."""
    workspace = person().workspace_id
    wanted = reads.IssueFilter.of(request.args)
    config = _found(config_id)
    found = reads.members(workspace, config_id, cause, wanted, request.args)
    return page(
        "issues/show.html",
        live="issues/_group.html",
        config=config,
        code=cause,
        wanted=wanted,
        group=reads.group(workspace, config_id, cause, wanted, clock().now),
        beside=reads.beside(workspace, config_id, cause, wanted),
        notes=reads.notes(config_id, cause),
        fix=reads.last_fix(config_id, cause),
        snoozes={hours: _(said) for hours, said in SNOOZES.items()},
        found=found,
    )


@bp.post("/<config_id>/<cause>/retries")
@needs("retry")
def retry(config_id: str, cause: str) -> ResponseReturnValue:
    """A run that reads every record of this cause again, of the state that was on the page."""
    config = _found(config_id)
    try:
        new = act(
            retries.retry_cause,
            config.id,
            cause,
            by=person().email,
            muted=forms.text("state", 10) == "muted",
            reason=forms.reason(),
            request_key=forms.request_key(),
        )
    except RunActive as active:
        flash(_("The sync has a run already: this is it."), "info")
        return redirect(url_for("runs.show", run_id=active.run_id), code=303)
    flash(
        counted(
            "%(num)s record is read again and decided anew.",
            "%(num)s records are read again and decided anew.",
            len(new.keys or ()),
        ),
        "done",
    )
    return redirect(url_for("runs.show", run_id=new.run_id), code=303)


@bp.post("/<config_id>/<cause>/mute")
@needs("resolve")
def mute(config_id: str, cause: str) -> ResponseReturnValue:
    """Quiet, until the value or the message changes."""
    return _mute(config_id, cause, on=True)


@bp.post("/<config_id>/<cause>/unmute")
@needs("resolve")
def unmute(config_id: str, cause: str) -> ResponseReturnValue:
    return _mute(config_id, cause, on=False)


@bp.post("/<config_id>/<cause>/snooze")
@needs("resolve")
def snooze(config_id: str, cause: str) -> ResponseReturnValue:
    """Quiet for a while."""
    hours = forms.text("hours", 4)
    _found(config_id)
    if hours not in SNOOZES:
        raise BadFilter(_("Choose for how long it is snoozed."))
    return _mute(config_id, cause, on=True, lasts=timedelta(hours=int(hours)))


@bp.post("/<config_id>/<cause>/resolution")
@needs("resolve")
def resolve(config_id: str, cause: str) -> ResponseReturnValue:
    """Somebody says that it is fixed. The next run tells."""
    config = _found(config_id)
    number = act(issues.resolve, config.id, cause, by=person().email, reason=forms.reason())
    flash(
        counted(
            "%(num)s issue is closed. Should the cause still be there, the next run opens it again.",
            "%(num)s issues are closed. Should the cause still be there, the next run opens them again.",
            number,
        ),
        "done",
    )
    return _to(config.id, cause)


@bp.post("/<config_id>/<cause>/claim")
@needs("resolve")
def claim(config_id: str, cause: str) -> ResponseReturnValue:
    """Somebody is on it: others see who, and since when."""
    config = _found(config_id)
    act(issues.claim, config.id, cause, by=person().by, over=forms.text("over", 320))
    flash(_("It is yours for half an hour. The others see that."), "done")
    return _to(config.id, cause)


@bp.post("/<config_id>/<cause>/release")
@needs("resolve")
def release(config_id: str, cause: str) -> ResponseReturnValue:
    config = _found(config_id)
    act(issues.release, config.id, cause, by=person().by)
    flash(_("Given back."), "done")
    return _to(config.id, cause)


@bp.post("/<config_id>/<cause>/notes")
@needs("resolve")
def note(config_id: str, cause: str) -> ResponseReturnValue:
    config = _found(config_id)
    text = request.form.get("text", "").strip()
    act(issues.note, config.id, cause, text, by=person().email)
    flash(_("Noted."), "done")
    return _to(config.id, cause)


def _mute(config_id: str, cause: str, *, on: bool, lasts: timedelta | None = None) -> ResponseReturnValue:
    config = _found(config_id)
    number = act(issues.mute, config.id, cause, on=on, by=person().email, reason=forms.reason(), lasts=lasts)
    flash(_muted(number, on=on, lasts=_(SNOOZES[forms.text("hours", 4)]) if lasts else ""), "done")
    return redirect(url_for("issues.index", **_filter()), code=303)


def _muted(number: int, *, on: bool, lasts: str) -> str:
    if not on:
        return counted("%(num)s issue is unmuted.", "%(num)s issues are unmuted.", number)
    if not lasts:
        return counted(
            "%(num)s issue is muted until something about it changes.",
            "%(num)s issues are muted until something about them changes.",
            number,
        )
    return counted(
        "%(num)s issue is muted until something about it changes, for %(span)s at most.",
        "%(num)s issues are muted until something about them changes, for %(span)s at most.",
        number,
        span=lasts,
    )


def _to(config_id: str, cause: str) -> ResponseReturnValue:
    return redirect(url_for("issues.show", config_id=config_id, cause=cause, **_filter()), code=303)


def _filter() -> dict[str, Any]:
    """The filter of the list that the page was opened from: what was done there leads back into it."""
    return reads.IssueFilter.of(request.args).args()


def _found(config_id: str) -> SyncConfig:
    found = syncs.config(person().workspace_id, config_id)
    if found is None:
        abort(404)
    return found
