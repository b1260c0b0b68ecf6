"""What every page shows around its content: the navigation with what waits, and the stale-data banner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from flask import Blueprint, Flask, g
from flask.typing import ResponseReturnValue
from sqlalchemy import Select, select

from models.db import unindexed
from models.issues import Conflict, Issue
from models.journal import Change
from web import words
from web.auth import needs, person
from web.database import ctx, db
from web.live import page
from web.preferences import clock
from web.reads import definition, syncs
from web.reads.conflicts import is_waiting
from web.reads.health import Health, health
from web.reads.held import is_held
from web.reads.issues import IssueFilter
from web.reads.query import Count, as_count, capped
from web.times import duration

bp = Blueprint("layout", __name__)

_NAV_CAP = 999


@dataclass(frozen=True, slots=True)
class Frame:
    """Asked once per page that has a person in it."""

    health: Health
    issues: Count
    conflicts: Count
    held: Count


def install(app: Flask) -> None:
    app.register_blueprint(bp)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        words=words,
        duration=duration,
        frame=frame,
        definition=definition,
        partial_because=syncs.partial_because,
        new_key=lambda: ctx().new_id(),
        release=lambda: ctx().settings.release,
    )
    app.jinja_env.filters["begin"] = words.begin


def frame() -> Frame:
    """What stands around the content: three queries, once per request."""
    if "frame" not in g:
        workspace = person().workspace_id
        found = db.session.execute(_waiting(workspace)).one()
        g.frame = Frame(
            health=health(clock().now, workspace),
            issues=as_count(found[0], _NAV_CAP),
            conflicts=as_count(found[1], _NAV_CAP),
            held=as_count(found[2], _NAV_CAP),
        )
    made: Frame = g.frame
    return made


@lru_cache(maxsize=256)
def _waiting(workspace: str) -> Select[int, int, int]:
    """The query for what waits for a person: every page asks it, and to put it together takes longer."""
    conflicts = select(Conflict.id).where(unindexed(Conflict.workspace_id, workspace), is_waiting())
    changes = select(Change.id).where(is_held(workspace))
    issues = select(Issue.id).where(Issue.workspace_id == workspace, *IssueFilter().condition)
    return select(*(capped(query, _NAV_CAP) for query in (issues, conflicts, changes)))


@bp.get("/pulse")
@needs("read")
def pulse() -> ResponseReturnValue:
    """The banner alone, for pages that stay open."""
    return page("pulse.html", live="_banner.html")
