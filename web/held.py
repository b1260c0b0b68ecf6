"""Held changes: classes of changes that a guard, or the policy itself, lets wait for a person."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from tasks import decisions
from tasks.errors import WrongState
from web import export as files
from web.auth import needs, person
from web.database import act
from web.languages import _, counted
from web.live import marked, page
from web.reads import held as reads
from web.reads import syncs

bp = Blueprint("held", __name__, url_prefix="/held")


@bp.get("")
@needs("read")
@marked
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.HeldFilter.of(request.args)
    return page(
        "held/index.html",
        live="held/_list.html",
        wanted=wanted,
        groups=reads.groups(workspace) if wanted.state == "held" else (),
        found=reads.find(workspace, wanted, request.args),
        names=syncs.names(workspace),
    )


@bp.post("/exports")
@needs("export")
def export() -> ResponseReturnValue:
    """The filtered changes as a file, a row per field."""
    wanted = reads.HeldFilter.of(request.form)
    rows = reads.exported(person().workspace_id, wanted, files.MOST)
    return files.answer("held", reads.EXPORTED, rows)


@bp.get("/plan")
@needs("approve")
def plan() -> ResponseReturnValue:
    """What saying yes or no would mean, for chosen changes or a whole group. Nothing is changed yet."""
    ids = request.args.getlist("id", type=int)[: reads.MOST]
    found = reads.plan(person().workspace_id, request.args, ids)
    return page("held/plan.html", plan=found)


@bp.post("/approvals")
@needs("approve")
def approve() -> ResponseReturnValue:
    """Let exactly the changes of a plan through, each once, as it was shown."""
    ids = _planned()
    act(decisions.approve, ids, by=person().email)
    flash(
        counted(
            "%(num)s change approved. A run that makes it was queued.",
            "%(num)s changes approved. A run that makes them was queued.",
            len(ids),
        ),
        "done",
    )
    return redirect(url_for("held.index"), code=303)


@bp.post("/dismissals")
@needs("approve")
def dismiss() -> ResponseReturnValue:
    """Say no to exactly the changes of a plan."""
    ids = _planned()
    act(decisions.dismiss, ids, by=person().email)
    flash(
        counted(
            "%(num)s change dismissed. You are not asked again while it stays the same.",
            "%(num)s changes dismissed. You are not asked again while they stay the same.",
            len(ids),
        ),
        "done",
    )
    return redirect(url_for("held.index"), code=303)


def _planned() -> list[int]:
    """The ids of the form, if they are still held and still what was shown."""
    ids = request.form.getlist("id", type=int)[: reads.MOST]
    found = reads.plan(person().workspace_id, {}, ids)
    if not ids or found.digest != request.form.get("digest"):
        raise WrongState(
            _("Some of these changes are not held any more. Look at the plan again."), code="plan_stale"
        )
    return [row.change.id for row in found.rows]
