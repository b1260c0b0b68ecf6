"""Pages, and the regions of them that a browser asks for again and again.

A region is a template of its own that the page includes. The same address answers with the whole page
or, to htmx, with the region alone under an ETag: what did not change is a 304 without a body.
"""

from __future__ import annotations

import hashlib
import re

from flask import Response, make_response, render_template, request

from web.languages import language

# Made anew with each answer, and no part of what a region says.
_VOLATILE = re.compile(r'(name="(?:csrf_token|request_key)" value=)"[^"]*"')


def page(template: str, *, live: str | None = None, **values: object) -> Response:
    """The page; or, asked for by htmx, its region `live`."""
    if live is None or "HX-Request" not in request.headers:
        response = make_response(render_template(template, live=live, **values))
        response.headers["Vary"] = "HX-Request"
        return response
    body = render_template(live, **values)
    response = make_response(body)
    response.headers["Vary"] = "HX-Request"
    told = language() + _VOLATILE.sub(r"\1", body)
    response.set_etag(hashlib.sha256(told.encode()).hexdigest()[:32], weak=True)
    response.make_conditional(request)
    return response
