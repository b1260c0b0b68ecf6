"""Records: did it sync, for this customer, and if not, why not?"""

from __future__ import annotations

from flask import Blueprint, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue

from web.auth import needs, person
from web.live import page
from web.reads import records as reads

bp = Blueprint("records", __name__, url_prefix="/records")


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
    found = reads.story(person().workspace_id, config_id, request.args.get("key", ""))
    if found is None:
        abort(404)
    return page("records/show.html", live="records/_story.html", story=found)
