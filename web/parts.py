"""The parts of a page that a list repeats in each row. Made here, not by macros: fifty rows hold hundreds.

Each shape is a constant; whatever is put into it is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import Flask, current_app
from jinja2.filters import do_truncate
from markupsafe import Markup, escape

from models.sync_runs import RunKind, RunState, SyncRun
from sync.records import SIDES
from web import words
from web.assets import icon_url
from web.languages import _, counted, number
from web.preferences import clock
from web.reads.chart import strip_of
from web.reads.runs import ChangeRow
from web.reads.values import FieldChange, Shown

_ICON = Markup('<svg class="icon %s" aria-hidden="true"><use href="%s"></use></svg>')
_ICON_WITH_WORDS = Markup('<svg class="icon %s" role="img" aria-label="%s"><use href="%s"></use></svg>')
_BADGE = Markup('<span class="badge-state tone-%s">%s%s</span>')
_BADGE_WITH_HINT = Markup('<span class="badge-state tone-%s" title="%s">%s%s</span>')
_TIME = Markup('<time datetime="%s" title="%s">%s</time>')
_SOFT = Markup('<span class="soft">%s</span>')
_WHOLE = Markup('<span class="nowrap">%s</span>')
_BREAK = Markup('<span class="break">%s</span>')
_WRITTEN = Markup('<span class="nowrap" title="%s"><span class="soft">%s</span> %s</span>')
_DOT = Markup(' <span class="soft" aria-hidden="true">·</span> ')
_STRIP = Markup(
    '<svg class="strip" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s">%s</svg>'
)
_NO_RUNS = Markup('<span class="soft small">%s</span>')
_GAP = Markup('<span class="gap">%s</span>')
_LONG = Markup(
    '<details class="more" id="%s"><summary>%s… <span class="nowrap">%s</span></summary><p>%s</p></details>'
)
_SAID = Markup('<span class="visually-hidden">%s </span>')
_KEPT = Markup(' <span class="soft">%s</span>')
_FOLD = Markup('<details class="fold" id="change-%s"><summary>%s</summary>%s</details>')
_FEW = 3  # fields of a change that are shown without a fold
_SIGNS = {"created": "+", "updated": "~", "deleted": "−"}


def install(app: Flask) -> None:
    """Templates take these out of macros.html, like the parts that are written there."""
    app.jinja_env.globals["parts"] = {
        part.__name__: part
        for part in (icon, badge, ago, at, short, arrow, result, strip, value, diff, change_fields)
    }


def icon(name: str, label: str = "", classes: str = "") -> Markup:
    url = icon_url(name)
    return _ICON_WITH_WORDS % (classes, label, url) if label else _ICON % (classes, url)


def badge(state: words.Badge) -> Markup:
    turns = state.icon == "arrow-repeat" and state.tone == "busy"
    drawn = icon(state.icon, classes="icon-spin" if turns else "")
    if hint := state.hint:
        return _BADGE_WITH_HINT % (state.tone, hint, drawn, state.word)
    return _BADGE % (state.tone, drawn, state.word)


def ago(moment: datetime) -> Markup:
    now = clock()
    return _TIME % (moment.isoformat(), now.stamp(moment), now.ago(moment))


def at(moment: datetime) -> Markup:
    now = clock()
    return _TIME % (moment.isoformat(), now.ago(moment), now.stamp(moment))


def short(moment: datetime) -> Markup:
    now = clock()
    return _TIME % (moment.isoformat(), now.stamp(moment), now.short(moment))


def arrow(direction: str) -> Markup:
    if direction == "left_to_right":
        return icon("arrow-right", _("to"))
    if direction == "right_to_left":
        return icon("arrow-left", _("from"))
    return icon("arrow-left-right", _("and"))


def result(run: SyncRun) -> Markup:
    """What a run wrote to each side, or a preview would, on one line."""
    if run.summary:
        written = [each for side in SIDES if (each := _written(side, run.summary.get(side) or {}))]
        left_over = [
            _WHOLE % words.left_over(word, run.summary[word])
            for word in ("conflicts", "held", "failed")
            if run.summary.get(word)
        ]
        if written and run.kind == RunKind.PREVIEW:
            written.insert(0, _SOFT % _("Would be written"))
        return _DOT.join([*(written or [_SOFT % _("nothing to write")]), *left_over])
    if run.error:
        return _BREAK % do_truncate(current_app.jinja_env, run.error, 140)
    if run.state == RunState.SKIPPED:
        return _SOFT % run.reason
    if run.state == RunState.QUEUED and run.wait_text:
        return _SOFT % words.waits(run)
    if run.phase and run.total:
        told = _(
            "%(phase)s, %(done)s of %(total)s",
            phase=words.phase(run.phase),
            done=number(run.done),
            total=number(run.total),
        )
        return _SOFT % told
    return _SOFT % words.phase(run.phase) if run.phase else Markup()


def _written(side: str, counts: dict[str, int]) -> Markup | None:
    if not any(counts.get(verb) for verb in _SIGNS):
        return None
    named = words.side(side)
    parts = " ".join(f"{sign}{number(counts[verb])}" for verb, sign in _SIGNS.items() if counts.get(verb))
    whole = _(
        "%(side)s: %(created)s created, %(updated)s updated, %(deleted)s deleted",
        side=named,
        **{verb: counts.get(verb, 0) for verb in _SIGNS},
    )
    return _WRITTEN % (whole, named, parts)


def strip(runs: Sequence[Any]) -> Markup:
    """The latest runs of a sync as bars: the height is how long each took."""
    if not runs:
        return _NO_RUNS % _("no runs yet")
    drawn = strip_of(runs)
    said = counted(
        "Latest %(num)s run: %(good)s success, %(bad)s failed or partial",
        "Latest %(num)s runs: %(good)s success, %(bad)s failed or partial",
        len(runs),
        good=drawn.good,
        bad=drawn.bad,
    )
    return _STRIP % (drawn.width, drawn.height, drawn.width, drawn.height, said, drawn.bars)


def value(shown: Shown, id: str) -> Markup:
    if shown.text is None:
        return _GAP % shown.gap
    if shown.is_long:
        return _LONG % (id, shown.head, _("show all"), shown.text)
    return escape(shown.text)


def diff(fields: Sequence[FieldChange], operation: str, id: str) -> Markup:
    """What a change does, field by field: what was there struck out, what is there now after an arrow."""
    before, after = _SAID % _("before"), _SAID % _("after")
    arrow = f" {icon('arrow-right', classes='soft')} "
    told: list[str] = []  # of texts, since a plan shows thousands of fields: each is safe by itself
    for place, field in enumerate(fields, 1):
        told += ("<div><dt>", escape(field.name), "</dt><dd>")
        if operation != "create":
            was = value(field.before, f"{id}-b{place}")
            told += (
                (before, was) if field.before.text is None else (before, '<del class="was">', was, "</del>")
            )
        if operation not in ("create", "delete"):
            told.append(arrow)
        if operation != "delete":
            told += (after, '<ins class="is-now">', value(field.after, f"{id}-a{place}"), "</ins>")
            if field.kept is not None:
                told.append(_KEPT % _kept(value(field.kept, f"{id}-k{place}")))
        told.append("</dd></div>")
    return Markup(f'<dl class="diff">{"".join(told)}</dl>')  # noqa: S704


def _kept(value: Markup) -> Markup:
    return escape(_("kept as %(value)s")) % {"value": value}


def change_fields(row: ChangeRow) -> Markup:
    """The fields of a change: shown at once where they are few, else behind a fold."""
    fields, change = row.fields, row.change
    drawn = diff(fields, change.operation, f"c{change.id}")
    if len(fields) <= _FEW:
        return drawn
    return _FOLD % (change.id, counted("%(num)s field", "%(num)s fields", len(fields)), drawn)
