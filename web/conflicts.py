"""Conflicts: both sides changed the same field, and a person decides."""

from __future__ import annotations

from collections import defaultdict

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from models.issues import Conflict
from tasks import decisions
from tasks.errors import WrongState
from web import export as files
from web.auth import needs, person
from web.database import act
from web.languages import _, counted
from web.live import marked, page
from web.reads import conflicts as reads
from web.reads import syncs
from web.words import side

bp = Blueprint("conflicts", __name__, url_prefix="/conflicts")

VALUE_LENGTH = 10_000


@bp.get("")
@needs("read")
@marked
def index() -> ResponseReturnValue:
    workspace = person().workspace_id
    wanted = reads.ConflictFilter.of(request.args)
    names = syncs.names(workspace)
    return page(
        "conflicts/index.html",
        live="conflicts/_list.html",
        wanted=wanted,
        found=reads.find(workspace, wanted, request.args),
        hits=reads.hits(workspace, wanted, names),
        names=names,
    )


@bp.post("/exports")
@needs("export")
def export() -> ResponseReturnValue:
    """The filtered conflicts as a file."""
    wanted = reads.ConflictFilter.of(request.form)
    rows = reads.exported(person().workspace_id, wanted, files.MOST)
    return files.answer("conflicts", reads.EXPORTED, rows)


@bp.get("/<int:conflict_id>")
@needs("read")
def show(conflict_id: int) -> ResponseReturnValue:
    found = reads.record(person().workspace_id, conflict_id)
    if found is None:
        abort(404)
    wanted = reads.ConflictFilter.of(request.args)
    return page("conflicts/show.html", record=found, wanted=wanted, beside=reads.beside(found.first, wanted))


@bp.post("/<int:conflict_id>/resolution")
@needs("resolve")
def resolve(conflict_id: int) -> ResponseReturnValue:
    """Answer the fields of one record: each with left, with right, or with a value of one's own."""
    found = reads.record(person().workspace_id, conflict_id)
    if found is None:
        abort(404)
    shown = {item.conflict.id: item.conflict for item in found.waiting}
    answers: dict[str, list[int]] = defaultdict(list)
    for id, conflict in shown.items():
        take = request.form.get("all") or request.form.get(f"take-{id}", "")
        if take == "value":
            take = request.form.get(f"value-{id}", "")[:VALUE_LENGTH]
            if take in ("left", "right"):
                raise WrongState(
                    _("The words left and right stand for the sides; they cannot be a value here.")
                )
        elif take not in ("left", "right"):
            continue
        _still_as_shown(conflict, request.form.get(f"seen-{id}", ""))
        answers[take].append(id)
    if not answers:
        flash(_("Choose for at least one field which side stands."), "info")
        return redirect(url_for("conflicts.show", conflict_id=conflict_id), code=303)
    _answer(answers, shown)
    flash(_("%(key)s is decided. The next run writes it; one was queued.", key=found.key), "done")
    return redirect(url_for("conflicts.index"), code=303)


@bp.get("/plan")
@needs("resolve")
def plan() -> ResponseReturnValue:
    """What taking one side in many conflicts would write. Nothing is changed yet."""
    like = request.args.get("like", type=int)
    ids = request.args.getlist("id", type=int)[: reads.MOST]
    found = reads.plan(person().workspace_id, request.args.get("take", ""), ids, like)
    return page("conflicts/plan.html", plan=found)


@bp.post("/resolutions")
@needs("resolve")
def resolve_many() -> ResponseReturnValue:
    """Answer exactly the conflicts of a plan; refused when one of them has changed since."""
    ids = request.form.getlist("id", type=int)[: reads.MOST]
    take = request.form.get("take", "")
    found = reads.plan(person().workspace_id, take, ids, None)
    if not ids or found.digest != request.form.get("digest"):
        raise WrongState(
            _("Some of these conflicts have changed since the plan was shown. Look at it again."),
            code="plan_stale",
        )
    shown = {row.conflict.id: row.conflict for row in found.rows}
    _answer({take: list(shown)}, shown)
    flash(
        counted(
            "%(num)s conflict decided: %(side)s stands. The next run writes it.",
            "%(num)s conflicts decided: %(side)s stands. The next run writes it.",
            len(shown),
            side=side(take),
        ),
        "done",
    )
    return redirect(url_for("conflicts.index"), code=303)


def _answer(answers: dict[str, list[int]], shown: dict[int, Conflict]) -> None:
    for take, ids in answers.items():
        seen = {id: [shown[id].left, shown[id].right] for id in ids}
        act(decisions.resolve, ids, take, by=person().email, seen=seen)


def _still_as_shown(conflict: Conflict, seen: str) -> None:
    if seen != reads.seen_of(conflict):
        raise WrongState(
            _(
                "%(key)s: a side has changed since this was shown. Have a look at the new values.",
                key=conflict.key,
            ),
            code="changed",
        )
