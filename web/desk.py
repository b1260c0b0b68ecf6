"""The desk: what needs somebody, whether everything beats, and what happened lately."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, redirect, url_for
from flask.typing import ResponseReturnValue

from tasks import telling
from web.auth import needs, person
from web.database import ctx
from web.live import marked, page
from web.preferences import clock, looked_at, remember_look
from web.reads import news, runs, syncs
from web.reads.chart import last_hours

bp = Blueprint("desk", __name__)

HOURS = 48


@bp.get("/")
@needs("read")
@marked
def show() -> ResponseReturnValue:
    workspace, now = person().workspace_id, clock().now
    since = (now - timedelta(hours=HOURS - 1)).replace(minute=0, second=0, microsecond=0)
    return page(
        "desk/show.html",
        live="desk/_desk.html",
        attention=syncs.attention(workspace, now),
        late=syncs.late(workspace, now),
        counts=syncs.counts(workspace),
        latest=runs.latest(workspace, 6),
        next_up=syncs.next_up(workspace, now),
        looked=looked_at(),
        news=news.since(workspace, looked_at()),
        chart=last_hours(runs.hours(workspace, since), since, HOURS),
        queue_answers=ctx().queue_answers(),
        untold=telling.trouble(ctx()),
    )


@bp.post("/looks")
@needs("read")
def look() -> ResponseReturnValue:
    """They have seen what is new: from here on only what comes later is."""
    return remember_look(redirect(url_for("desk.show"), code=303))
