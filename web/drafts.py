"""Putting a sync together: a guided form, one step a page, nothing runs until it is reviewed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import available_timezones

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from connectors import catalog
from sync.records import SIDES, Side
from sync.schedule import ScheduleProblem, read_schedule
from tasks import drafts
from tasks.errors import DefinitionError, NotFound, RunActive, WorkError
from web import cadence, forms, options
from web.auth import needs, person
from web.database import act
from web.languages import _
from web.live import page
from web.preferences import clock
from web.reads import drafts as reads
from web.reads import syncs

bp = Blueprint("drafts", __name__, url_prefix="/drafts")

_DIRECTIONS = ("bidirectional", "left_to_right", "right_to_left")
# What a form of rules may say; the definition's own model says what each may be.
_RULES = ("conflict", "tie", "edit_vs_delete", "drift", "first_run", "granularity", "validation")


@bp.get("/new")
@needs("edit")
def new() -> ResponseReturnValue:
    """Which two connections."""
    return page("drafts/new.html", connections=reads.connections(person().workspace_id))


@bp.post("")
@needs("edit")
def begin() -> ResponseReturnValue:
    made = act(
        drafts.begin,
        person().workspace_id,
        forms.text("left", 36),
        forms.text("right", 36),
        by=person().email,
    )
    return _to(made, "streams")


@bp.post("/changes/<config_id>")
@needs("edit")
def begin_change(config_id: str) -> ResponseReturnValue:
    """A draft of a change to a sync that there is."""
    sync = syncs.one(person().workspace_id, config_id, clock().now)
    if sync is None:
        abort(404)
    return _to(act(drafts.begin_change, sync.config.id, by=person().email), "fields")


@bp.get("/times")
@needs("read")
def times() -> ResponseReturnValue:
    """The next times of a schedule while it is typed."""
    wanted = request.args.get("cron", "")[:100], request.args.get("timezone", "")[:64]
    return page("drafts/times.html", live="drafts/_times.html", times=_times(*wanted))


@bp.get("/<draft_id>/<step>")
@needs("edit")
def show(draft_id: str, step: str) -> ResponseReturnValue:
    draft = _found(draft_id)
    if step not in reads.STEPS:
        abort(404)
    if not draft.can_open(step):
        return _to(draft_id, "streams" if not draft.can_open("fields") else "fields")
    return _page(draft, step)


@bp.post("/<draft_id>/streams")
@needs("edit")
def streams(draft_id: str) -> ResponseReturnValue:
    draft = _found(draft_id)
    ends: dict[str, dict[str, Any]] = {}
    for side in SIDES:
        kind = catalog.get(draft.connections[side].connector)
        said = options.read(kind.StreamOptions, request.form, f"{side}-")
        said = {name: value for name, value in said.items() if value is not False}
        fresh = forms.text(f"{side}-new", 200)
        stream = fresh or forms.text(f"{side}-stream", 500)
        if fresh:
            said["create"] = True
        ends[side] = {**({"stream": stream} if stream else {}), **said}
    return _tried(draft_id, "streams", "fields", lambda: act(
        drafts.choose_streams, draft_id, ends, by=person().email
    ))  # fmt: skip


@bp.post("/<draft_id>/questions")
@needs("edit")
def ask(draft_id: str) -> ResponseReturnValue:
    """Ask the systems again."""
    _found(draft_id)
    step = forms.text("step", 20)
    act(drafts.look if step == "streams" else drafts.sample, draft_id, by=person().email)
    return _to(draft_id, step)


@bp.post("/<draft_id>/fields")
@needs("edit")
def fields(draft_id: str) -> ResponseReturnValue:
    draft = _found(draft_id)
    before = {str(item["left"]): item for item in draft.row.definition.get("fields") or ()}
    pairs: list[dict[str, Any]] = []
    for number, row in enumerate(draft.rows):
        right = request.form.get(f"right-{number}", "")[:500]
        name = row.column.name
        if not right:
            continue
        kept = before.get(name, {})
        pair = (
            {**kept, "left": name, "right": right}
            if kept.get("right") == right
            else {"left": name, "right": right}
        )
        direction = request.form.get(f"direction-{number}", "")
        if direction in _DIRECTIONS[1:]:
            pair["direction"] = direction
        else:
            pair.pop("direction", None)
        pairs.append(pair)
    match = [row.column.name for number, row in enumerate(draft.rows) if request.form.get(f"match-{number}")]
    said = {
        "fields": pairs or None,
        "match": [name for name in match if name in {p["left"] for p in pairs}] or None,
    }
    if not pairs:
        return _page(draft, "fields", problem=_("Pair at least one field: what is not paired is not synced."))
    return _tried(draft_id, "fields", "rules", lambda: act(drafts.say, draft_id, said))


@bp.post("/<draft_id>/rules")
@needs("edit")
def rules(draft_id: str) -> ResponseReturnValue:
    _found(draft_id)
    said: dict[str, Any] = {name: forms.text(name, 30) or None for name in _RULES}
    said["direction"] = forms.text("direction", 30) or None
    said["deletes"] = {
        way: forms.text(f"deletes-{way}", 20) or "never" for way in ("left_to_right", "right_to_left")
    }
    edited = {side: forms.text(f"modified-{side}", 500) for side in SIDES}
    said["modified"] = edited if all(edited.values()) else None
    said["exclusive"] = True if forms.text("exclusive", 3) == "yes" else None
    return _tried(draft_id, "rules", "schedule", lambda: act(drafts.say, draft_id, said))


@bp.post("/<draft_id>/schedule")
@needs("edit")
def schedule(draft_id: str) -> ResponseReturnValue:
    draft = _found(draft_id)
    cron, zone = forms.text("cron", 100), forms.text("timezone", 64)
    said: dict[str, Any] = {"schedule": {"cron": cron, "timezone": zone or "UTC"} if cron else None}
    said["auto"] = None if cron else False
    name = draft.row.name if draft.row.config_id else forms.text("name", 200)
    return _tried(draft_id, "schedule", "review", lambda: act(drafts.say, draft_id, said, name=name))


@bp.post("/<draft_id>/completion")
@needs("edit")
def finish(draft_id: str) -> ResponseReturnValue:
    draft = _found(draft_id)
    if not draft.can_open("review"):
        return _to(draft_id, "fields")
    try:
        config_id, preview = act(drafts.finish, draft_id, by=person().email, owner_id=person().id)
    except NotFound:
        raise
    except WorkError as problem:
        return _page(draft, "review", problem=problem.message)
    if preview is not None:
        flash(
            _("Made. This is what its first run would do; nothing is written until you switch it on."), "done"
        )
        return redirect(url_for("runs.show", run_id=preview), code=303)
    flash(_("Changed. The next run goes by the new definition."), "done")
    return redirect(url_for("configs.show", config_id=config_id), code=303)


@bp.post("/<draft_id>/deletion")
@needs("edit")
def discard(draft_id: str) -> ResponseReturnValue:
    draft = _found(draft_id)
    act(drafts.discard, draft_id)
    if draft.row.config_id:
        return redirect(url_for("configs.show", config_id=draft.row.config_id), code=303)
    return redirect(url_for("configs.index"), code=303)


@bp.post("/starts/<config_id>")
@needs("edit")
def switch_on(config_id: str) -> ResponseReturnValue:
    """Let a new sync run: now, and by its schedule from then on."""
    sync = syncs.one(person().workspace_id, config_id, clock().now)
    if sync is None:
        abort(404)
    try:
        run_id = act(drafts.switch_on, sync.config.id, by=person().email)
    except RunActive as active:
        run_id = active.run_id
    flash(_("%(name)s is switched on. This is its first run.", name=sync.config.name), "done")
    return redirect(url_for("runs.show", run_id=run_id), code=303)


# -- inside ----------------------------------------------------------------------------------------


def _tried(draft_id: str, step: str, after: str, work: Callable[[], object]) -> ResponseReturnValue:
    """Keep what a step said and go on; or show the step again with what is wrong."""
    try:
        work()
    except NotFound:
        raise
    except WorkError as problem:
        place = problem.place if isinstance(problem, DefinitionError) else ""
        said = f"{place}: {problem.message}" if place else problem.message
        return _page(_found(draft_id), step, problem=said)
    return _to(draft_id, after)


def _page(draft: reads.DraftView, step: str, *, problem: str = "") -> ResponseReturnValue:
    response = page(
        "drafts/show.html",
        live=f"drafts/_{step}.html",
        draft=draft,
        step=step,
        steps={name: _(title) for name, title in reads.STEPS.items()},
        problem=problem,
        **(_EXTRAS[step](draft) if step in _EXTRAS else {}),
    )
    response.status_code = 422 if problem else 200
    return response


def _stream_forms(draft: reads.DraftView) -> dict[str, Any]:
    made: dict[Side, Any] = {}
    for side in SIDES:
        kind = catalog.get(draft.connections[side].connector)
        without = ("create", "header", "cursor", "overlap")
        made[side] = {
            "fields": options.fields(kind.StreamOptions, draft.options(side), without=without),
            "can_create": "create" in kind.StreamOptions.model_fields,
        }
    return {"ends": made}


def _schedule_parts(draft: reads.DraftView) -> dict[str, Any]:
    said: Mapping[str, Any] = draft.row.definition.get("schedule") or {}
    is_new = draft.row.config_id is None and not said
    by_hand = draft.row.definition.get("auto") is False
    cron = str(said.get("cron", "" if by_hand else "*/15 * * * *" if is_new else "0 * * * *"))
    zone = str(said.get("timezone", clock().zone.key))
    return {
        "cron": cron,
        "timezone": zone,
        "zones": sorted(available_timezones()),
        "times": _times(cron, zone),
    }


_EXTRAS: Mapping[str, Callable[[reads.DraftView], dict[str, Any]]] = {
    "streams": _stream_forms,
    "schedule": _schedule_parts,
}


def _times(cron: str, timezone: str) -> dict[str, Any]:
    """The schedule in words with its next five times, or what is wrong with it."""
    if not cron.strip():
        return {"words": _("Only when somebody starts it."), "next": [], "problem": ""}
    try:
        found = read_schedule(cron, timezone)
    except ScheduleProblem as problem:
        return {"words": "", "next": [], "problem": str(problem)}
    return {"words": cadence.said(found), "next": found.next_times(clock().now), "problem": ""}


def _found(draft_id: str) -> reads.DraftView:
    found = reads.one(person().workspace_id, draft_id)
    if found is None:
        abort(404)
    return found


def _to(draft_id: str, step: str) -> ResponseReturnValue:
    return redirect(url_for("drafts.show", draft_id=draft_id, step=step), code=303)
