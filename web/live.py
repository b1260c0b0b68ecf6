"""Pages, and the regions of them that a browser asks for again and again.

A region is a template of its own that the page includes. The same address answers with the whole page
or, to htmx, with the region alone under an ETag: what did not change is a 304 without a body.

The ETag of a region has two halves. The mark says what the workspace looked like before anything was read
for the region (`web.reads.mark`): while it is the same, nothing more is read and nothing is rendered. The
other half is the digest of what was rendered: a region that came out alike does not travel either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from flask import Response, g, make_response, render_template, request
from flask.typing import ResponseReturnValue

from web.auth import person
from web.database import ctx
from web.languages import language
from web.preferences import clock, looked_at
from web.reads import mark

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

# Made anew with each answer, and no part of what a region says.
_VOLATILE = re.compile(r'(name="(?:csrf_token|request_key)" value=)"[^"]*"')


def page(template: str, *, live: str | None = None, **values: object) -> Response:
    """The page; or, asked for by htmx, its region `live`."""
    if live is None or not _is_region():
        response = make_response(render_template(template, live=live, **values))
        response.headers["Vary"] = "HX-Request"
        return response
    body = render_template(live, **values)
    told = _digest(language() + _VOLATILE.sub(r"\1", body))
    if any(tag.endswith(told) for tag in _tags()):
        return _unchanged(told)
    response = make_response(body)
    response.headers["Vary"] = "HX-Request"
    response.set_etag(_tag(told), weak=True)
    return response


def marked(view: View) -> View:
    """For a region that shows only what moves the mark of its workspace, and times in whole minutes."""

    @wraps(view)
    def look_first(**given: object) -> ResponseReturnValue:
        if _is_region():
            g.mark = _mark()
            for tag in _tags():
                before, _dot, told = tag.partition(".")
                if told and before == g.mark:
                    return _unchanged(told)
        return view(**given)

    return look_first  # type: ignore[return-value]


def _is_region() -> bool:
    return "HX-Request" in request.headers


def _tags() -> set[str]:
    return request.if_none_match.as_set(include_weak=True)


def _tag(told: str) -> str:
    return f"{g.mark}.{told}" if "mark" in g else told


def _unchanged(told: str) -> Response:
    response = Response(status=304)
    response.headers["Vary"] = "HX-Request"
    response.set_etag(_tag(told), weak=True)
    return response


def _mark() -> str:
    """What a region may depend on, but for its own content: who asks for what, when, and what moved last."""
    who, now = person(), clock()
    rights = (who.id, who.seat and who.seat.role, who.bearer is not None)
    shown = (request.full_path, language(), now.zone.key, looked_at().isoformat(timespec="minutes"))
    minute = int(now.now.timestamp() // 60)
    release = ctx().settings.release
    return _digest(repr((rights, shown, minute, release, mark.of(who.workspace_id))))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
