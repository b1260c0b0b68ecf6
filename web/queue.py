"""The queue: what is in line and on the way, and the processes that work it off."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from web.auth import needs, person
from web.live import marked, page
from web.preferences import clock
from web.reads import queue as reads

bp = Blueprint("queue", __name__, url_prefix="/queue")


@bp.get("")
@needs("read")
@marked
def show() -> ResponseReturnValue:
    return page(
        "queue/show.html", live="queue/_now.html", queue=reads.queue(person().workspace_id, clock().now)
    )
