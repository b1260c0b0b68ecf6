"""What a person reads when something is refused or breaks: a sentence, what to do, and an id. No more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from flask import Flask, g, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from tasks.errors import DefinitionError, NotFound, RunActive, WorkError
from web import words
from web.api.wire import BadInput
from web.auth import comes_without_cookie, forget_person
from web.database import ctx, db
from web.languages import _, mark
from web.reads.query import BadFilter

A_WHILE = "60"  # seconds after which a limit has room again: all count by the minute
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    title: str
    message: str
    code: str
    error_id: str | None = None
    run_id: str | None = None  # the run that stands in the way
    errors: tuple[dict[str, str], ...] = ()  # field and reason of each mistake
    headers: Mapping[str, str] = field(default_factory=dict)


_BY_STATUS: dict[int, tuple[str, str]] = {
    400: (mark("This request cannot be read"), mark("Go back, load the page again and try once more.")),
    401: (mark("You are signed out"), mark("Sign in, then do it again. Nothing was changed.")),
    403: (
        mark("You may not do this"),
        mark("Your role does not allow it. An administrator can change that."),
    ),
    404: (mark("There is nothing here"), mark("The link may be old, or what it led to was deleted.")),
    405: (mark("This cannot be opened like that"), mark("Go back and use the button on the page.")),
    415: (mark("This kind of body is not taken"), mark("Send JSON, with the Content-Type application/json.")),
    422: (mark("Something in it is not right"), mark("Correct the fields that are named.")),
    413: (mark("That was too much"), mark("What was sent is larger than this page takes.")),
    429: (mark("Too many tries"), mark("Wait a minute, then try again.")),
}


def install(app: Flask) -> None:
    app.register_error_handler(WorkError, _refused)
    app.register_error_handler(BadFilter, _bad_filter)
    app.register_error_handler(BadInput, _bad_input)
    app.register_error_handler(CSRFError, _not_from_our_form)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(Exception, _unexpected)


def _refused(problem: WorkError) -> ResponseReturnValue:
    if isinstance(problem, NotFound):
        return _answer(Said(404, _(_BY_STATUS[404][0]), problem.message, problem.code))
    if isinstance(problem, RunActive):
        return _answer(
            Said(409, _("It has a run already"), problem.message, problem.code, run_id=problem.run_id)
        )
    if isinstance(problem, DefinitionError):
        errors = ({"field": problem.place, "reason": problem.message},)
        return _answer(Said(422, _(_BY_STATUS[422][0]), problem.message, problem.code, errors=errors))
    status = 422 if problem.code in _ABOUT_WHAT_WAS_SENT else 409
    return _answer(Said(status, _("This cannot be done now"), problem.message, problem.code))


# Codes of refusals that no other state would change: what was sent is at fault.
_ABOUT_WHAT_WAS_SENT = frozenset(
    {"email", "key_reused", "options", "password", "range", "scopes", "take", "value"}
)


def _bad_input(problem: BadInput) -> ResponseReturnValue:
    title, message = map(_, _BY_STATUS[problem.status])
    first = problem.mistakes[0]
    place = first["field"] or _("The request")
    detail = f"{place}: {first['reason']}." if problem.mistakes else message
    return _answer(Said(problem.status, title, detail, "bad_input", errors=tuple(problem.mistakes)))


def _bad_filter(problem: BadFilter) -> ResponseReturnValue:
    return _answer(Said(400, _("This list cannot be shown"), str(problem), "bad_filter"))


def _not_from_our_form(_problem: CSRFError) -> ResponseReturnValue:
    message = _("You may have signed out or in again in another tab. Go back, load the page again and retry.")
    return _answer(Said(400, _("This form is not valid any more"), message, "csrf"))


def _http(problem: HTTPException) -> ResponseReturnValue:
    if problem.response is not None:  # a redirect of the router
        return problem.response
    status = problem.code or 500
    if status >= 500:
        return _unexpected(problem)
    phrase = HTTPStatus(status).phrase
    title, message = map(_, _BY_STATUS.get(status, (phrase, mark("Go back and try once more."))))
    if status == 403 and (need := g.get("refused")):
        message = _(
            "It needs the right to %(right)s, which your role here does not have. Ask an administrator.",
            right=words.right(need),
        )
    if status == 403 and g.get("token_is_narrow"):
        message = _(
            "A token that may less than you does not touch your account: use one with all your scopes."
        )
    if _wants_json() and status == 401:
        message = _KEY_OF_CRON if comes_without_cookie() else _KEY_OF_API
    if _wants_json() and isinstance(problem, MethodNotAllowed):
        message = f"This address takes {', '.join(sorted(_methods(problem)))}."
    headers = {name: text for name, text in problem.get_headers() if name in ("Allow", "Retry-After")}
    if status == 429:
        headers.setdefault("Retry-After", A_WHILE)
    if status == 401 and _wants_json():
        headers["WWW-Authenticate"] = "Bearer"
    code = phrase.lower().replace(" ", "_")
    return _answer(Said(status, title, message, code, headers=headers))


# Programs read these, and are always answered in English.
_KEY_OF_CRON = "Send the cron secret, as x-cron-key or as a bearer token. Nothing was changed."
_KEY_OF_API = "Send an API token, as Authorization: Bearer sln_..., or sign in. Nothing was changed."


def _methods(problem: MethodNotAllowed) -> set[str]:
    return set(problem.valid_methods or ()) - {"HEAD", "OPTIONS"}


def _database(problem: DBAPIError) -> ResponseReturnValue:
    if not problem.connection_invalidated and not _is_down(problem):
        return _unexpected(problem)
    error_id = ctx().new_id()
    log.error("the database does not answer", error_id=error_id, path=request.path, exc_info=problem)
    message = _("The database does not answer. Nothing is lost; try again in a minute.")
    return _answer(Said(503, _("Syncline is not ready"), message, "unavailable", error_id))


def _is_down(problem: DBAPIError) -> bool:
    # What the drivers raise for "no connection", "locked" and "too slow": not a mistake of ours.
    return type(problem).__name__ == "OperationalError"


def _unexpected(problem: Exception) -> ResponseReturnValue:
    error_id = ctx().new_id()
    log.error("a page failed", error_id=error_id, path=request.path, exc_info=problem)
    message = _("That is a mistake of ours, not of yours. It is in the log under the id below.")
    return _answer(Said(500, _("This page failed"), message, "unexpected", error_id))


def _answer(said: Said) -> ResponseReturnValue:
    # What was read for the page that failed is of no use, and its transaction may be broken.
    db.session.remove()
    if said.status >= 500:
        forget_person()  # the layout without a person asks the database nothing
    if _wants_json():
        body: dict[str, object] = {
            "type": "about:blank",
            "title": said.title,
            "status": said.status,
            "detail": said.message,
            "code": said.code,
        }
        if said.errors:
            body["errors"] = list(said.errors)
        if said.error_id:
            body["error_id"] = said.error_id
        if said.run_id:
            body["run_id"] = said.run_id
        response = jsonify(body)
        response.mimetype = "application/problem+json"
    elif "HX-Request" in request.headers:
        response = make_response(said.title)
    else:
        # Outside of the layout with the person in it: that one asks the database.
        bare = said.status >= 500 or said.status == 401
        response = make_response(render_template("error.html", said=said, bare=bare))
    response.status_code = said.status
    response.headers.update(said.headers)
    return response


def _wants_json() -> bool:
    return request.path.startswith("/api/")
