"""Syncs: the list, one of them, and what can be done to it."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from models.sync_runs import RunKind
from tasks import configs, naming, runs, saving
from tasks.errors import RunActive
from web import export as files
from web import forms
from web.auth import needs, person
from web.database import act
from web.languages import _
from web.live import marked, page
from web.preferences import clock
from web.reads import definition, history, owners, progress, syncs
from web.reads import runs as run_reads

bp = Blueprint("configs", __name__, url_prefix="/configs")


@bp.get("")
@needs("read")
@marked
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = syncs.SyncFilter.of(request.args)
    return page(
        "configs/index.html",
        live="configs/_list.html",
        wanted=wanted,
        found=syncs.find(workspace, wanted, request.args.get("after"), clock().now),
        counts=syncs.counts(workspace),
    )


@bp.post("/exports")
@needs("export")
def export() -> ResponseReturnValue:
    """The filtered syncs as a file, with how each of them is."""
    wanted = syncs.SyncFilter.of(request.form)
    return files.answer("syncs", syncs.EXPORTED, syncs.exported(person().workspace_id, wanted, clock().now))


@bp.get("/<config_id>")
@needs("read")
@marked
def show(config_id: str) -> ResponseReturnValue:
    sync = _found(config_id)
    acts = history.of_config(sync.config)
    return page(
        "configs/show.html",
        live="configs/_now.html",
        sync=sync,
        config=sync.config,
        what=definition.of(sync.config),
        times=definition.next_times(sync.config, clock().now),
        timeline=history.timeline(run_reads.of_config(config_id, 6), acts),
        history=acts,
        progress=progress.of_config(config_id, progress.length_of(request.args)),
        cost=run_reads.last_cost(sync.config.workspace_id, config_id),
        owner=owners.of_config(sync.config),
        owners=owners.of_workspace(sync.config.workspace_id) if person().may("administer") else (),
    )


@bp.post("/<config_id>/runs")
@needs("run")
def run(config_id: str) -> ResponseReturnValue:
    """Queue a run. Whoever asks while one is on its way is led to that one."""
    config = _found(config_id).config
    full = request.form.get("full") == "yes"
    try:
        run_id = act(
            runs.queue,
            config.id,
            kind=RunKind.PREVIEW if request.form.get("preview") == "yes" else RunKind.MANUAL,
            asked_by=person().email,
            reason=forms.reason(),
            full=full,
            request_key=forms.request_key(),
        )
    except RunActive as active:
        flash(_("%(name)s has a run already: this is it.", name=config.name), "info")
        run_id = active.run_id
    return redirect(url_for("runs.show", run_id=run_id), code=303)


@bp.post("/<config_id>/pause")
@needs("pause")
def pause(config_id: str) -> ResponseReturnValue:
    config = _found(config_id).config
    act(configs.pause, config.id, by=person().email, reason=forms.reason())
    flash(_("%(name)s is paused. What runs now ends; nothing new begins.", name=config.name), "done")
    return redirect(url_for("configs.show", config_id=config.id), code=303)


@bp.post("/<config_id>/resumption")
@needs("pause")
def resume(config_id: str) -> ResponseReturnValue:
    config = _found(config_id).config
    act(configs.resume, config.id, by=person().email)
    flash(_("%(name)s runs again by its schedule.", name=config.name), "done")
    return redirect(url_for("configs.show", config_id=config.id), code=303)


@bp.post("/<config_id>/name")
@needs("edit")
def rename(config_id: str) -> ResponseReturnValue:
    config = _found(config_id).config
    changed = act(naming.rename_config, config.id, forms.text("name", 200), by=person().email)
    flash(_("Renamed.") if changed else _("Nothing was changed."), "done")
    return redirect(url_for("configs.show", config_id=config.id), code=303)


@bp.post("/<config_id>/owner")
@needs("administer")
def give_owner(config_id: str) -> ResponseReturnValue:
    config = _found(config_id).config
    act(saving.give_owner, config.id, request.form.get("owner", "")[:36], by=person().email)
    owner = owners.of_config(_found(config_id).config)
    flash(_("It acts for %(who)s from now on.", who=owner.email if owner else ""), "done")
    return redirect(url_for("configs.show", config_id=config.id), code=303)


def _found(config_id: str) -> syncs.Sync:
    found = syncs.one(person().workspace_id, config_id, clock().now)
    if found is None:
        abort(404)
    return found
