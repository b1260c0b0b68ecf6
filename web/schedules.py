"""Schedules: what runs by itself and when. Administrators of the installation also see its upkeep."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from tasks import jobs
from tasks.people import DEFAULT_WORKSPACE
from web.auth import needs, person
from web.database import act
from web.languages import _
from web.live import page
from web.preferences import clock
from web.reads import schedules as reads

bp = Blueprint("schedules", __name__, url_prefix="/schedules")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    found = reads.of_syncs(person().workspace_id, request.args.get("after"), clock().now)
    return page(
        "schedules/index.html",
        live="schedules/_list.html",
        found=found,
        jobs=reads.upkeep() if _is_of_the_installation() and person().may("administer") else (),
    )


@bp.post("/jobs/<name>/executions")
@needs("administer")
def run_job(name: str) -> ResponseReturnValue:
    """The next tick carries the job out."""
    _must_be_of_the_installation()
    act(jobs.ask, name, by=person().email)
    flash(_("The job was asked for. The scheduler carries it out within a minute."), "done")
    return redirect(url_for("schedules.index"), code=303)


@bp.post("/jobs/<name>/pause")
@needs("administer")
def pause_job(name: str) -> ResponseReturnValue:
    """It runs by hand only, until somebody switches it on again."""
    return _switch(name, on=False)


@bp.post("/jobs/<name>/resumption")
@needs("administer")
def resume_job(name: str) -> ResponseReturnValue:
    return _switch(name, on=True)


def _switch(name: str, *, on: bool) -> ResponseReturnValue:
    _must_be_of_the_installation()
    act(jobs.switch, name, on=on, by=person().email)
    flash(_("It runs by its schedule again.") if on else _("It runs by hand only from now on."), "done")
    return redirect(url_for("schedules.index"), code=303)


def _is_of_the_installation() -> bool:
    """Upkeep touches every workspace: only those who look after the first one decide on it."""
    return person().workspace_id == DEFAULT_WORKSPACE


def _must_be_of_the_installation() -> None:
    if not _is_of_the_installation():
        abort(404)
