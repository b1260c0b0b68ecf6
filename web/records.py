"""Records: did it sync, for this customer, and if not, why not?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from models.questions import QuestionKind
from models.sync_configs import SyncConfig
from tasks import linking, questions, unknowns
from web import forms
from web.auth import needs, person
from web.database import act
from web.languages import _
from web.live import page
from web.reads import questions as waiting
from web.reads import records as reads
from web.reads import syncs

bp = Blueprint("records", __name__, url_prefix="/records")

VALUE_LENGTH = 10_000
_ASKED_HERE = (QuestionKind.LINK, QuestionKind.CORRECT)


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    """Search by id or key. A single hit is shown at once."""
    text = request.args.get("q", "")
    hits = reads.search(person().workspace_id, text)
    if len(hits) == 1:
        [hit] = hits
        return redirect(url_for("records.show", config_id=hit.config.id, key=hit.key))
    return page("records/index.html", text=text.strip(), hits=hits)


@bp.get("/<config_id>")
@needs("read")
def show(config_id: str) -> ResponseReturnValue:
    found = reads.story(_sync(config_id), request.args.get("key", ""))
    if found is None:
        abort(404)
    question = waiting.one(person().workspace_id, request.args.get("asked"))
    if question is not None and (question.config_id != config_id or question.kind not in _ASKED_HERE):
        question = None
    return page(
        "records/show.html",
        live="records/_story.html",
        story=found,
        question=question,
        is_awaited=waiting.is_open(question),
    )


@bp.post("/<config_id>/links")
@needs("resolve")
def link(config_id: str) -> ResponseReturnValue:
    """Two records are one, says a person. A worker looks whether both are there, and links them."""
    _sync(config_id)
    ends = {side: request.form.get(side, "").strip()[:500] for side in ("left", "right")}
    if not all(ends.values()):
        flash(_("Enter the ids of both records."), "warn")
        return _back(config_id)
    return _back(config_id, asked=_ask(config_id, QuestionKind.LINK, ends))


@bp.post("/<config_id>/corrections")
@needs("resolve")
def correct(config_id: str) -> ResponseReturnValue:
    """Another value for one field of one copy: a run writes it, and takes it to the other side."""
    found = reads.story(_sync(config_id), request.form.get("key", "")[:500])
    if found is None:
        abort(404)
    side, name = forms.text("side", 10), request.form.get("field", "")
    record = {"left": found.left_id, "right": found.right_id}.get(side)
    if record is None or name not in {item.name for item in found.agreed}:
        flash(_("Choose a field and a side that holds the record."), "warn")
        return _back(config_id)
    value = request.form.get("value", "")[:VALUE_LENGTH] or None
    wanted = {"side": side, "record": record, "fields": {name: value}}
    return _back(config_id, asked=_ask(config_id, QuestionKind.CORRECT, wanted))


@bp.post("/<config_id>/links/<int:link_id>/end")
@needs("resolve")
def unlink(config_id: str, link_id: int) -> ResponseReturnValue:
    """The two are not one: both copies stay, and nothing flows between them any more."""
    if not reads.has_link(_sync(config_id), link_id):
        abort(404)
    act(linking.unlink, link_id, by=person().email)
    flash(_("Parted. Both copies stay as they are, and nothing flows between them."), "done")
    return _back(config_id)


@bp.post("/<config_id>/lost/<int:change_id>")
@needs("resolve")
def not_done(config_id: str, change_id: int) -> ResponseReturnValue:
    """Somebody looked: a write whose answer was lost did not happen."""
    if not reads.has_change(_sync(config_id), change_id):
        abort(404)
    act(unknowns.did_not_happen, change_id, by=person().email)
    flash(_("Noted. The next run decides it again."), "done")
    return _back(config_id)


def _sync(config_id: str) -> SyncConfig:
    found = syncs.config(person().workspace_id, config_id)
    if found is None:
        abort(404)
    return found


def _ask(config_id: str, kind: QuestionKind, options: Mapping[str, Any]) -> str:
    workspace, by = person().workspace_id, person().email
    return act(questions.ask, workspace, kind, by=by, config_id=config_id, options=options)


def _back(config_id: str, *, asked: str | None = None) -> ResponseReturnValue:
    """To the record on whose page the form was."""
    key = forms.text("key", 500)
    return redirect(url_for("records.show", config_id=config_id, key=key, asked=asked), code=303)
