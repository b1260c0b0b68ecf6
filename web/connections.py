"""Connections: a list. They are changed by the YAML, which also knows where their secrets come from."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from web.auth import needs, person
from web.live import page
from web.reads import connections as reads

bp = Blueprint("connections", __name__, url_prefix="/connections")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    found = reads.all_of(person().workspace_id)
    return page("connections/index.html", live="connections/_list.html", found=found)
