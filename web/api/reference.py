"""What the API says of itself: the OpenAPI document, and a page made from it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from flask.typing import ResponseReturnValue

from web.api import openapi
from web.api.wire import Operation, describe
from web.auth import needs
from web.database import ctx
from web.live import page

bp = Blueprint("api_reference", __name__)
_EXTENSION = "syncline.openapi"


def _document() -> dict[str, Any]:
    """Made once per process: no route comes or goes while it runs."""
    found: dict[str, Any] | None = current_app.extensions.get(_EXTENSION)
    if found is None:
        found = openapi.document(current_app, ctx().settings.release)
        current_app.extensions[_EXTENSION] = found
    return found


@bp.get("/api/v1/openapi.json")
@needs("read")
def document() -> Response:
    """This document."""
    return jsonify(_document())


describe(
    document,
    Operation(
        name="reference.document",
        summary="The OpenAPI document",
        text="",
        tag="reference",
        needs="read",
        query=None,
        body=None,
        answers={200: None},
    ),
)


@bp.get("/api")
@needs("read")
def show() -> ResponseReturnValue:
    """The reference, for people."""
    return page("api/reference.html", doc=_document())
