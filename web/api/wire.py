"""How an operation of the API is declared: one decorator says the route, who may, what comes in and goes out.

The same words make the check of what came in, the answer, and the OpenAPI document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks import replies
from tasks.rights import Capability
from web import auth
from web.database import act
from web.limits import limiter

LONGEST_KEY = 200
MEDIA = "application/json"


class Input(BaseModel):
    """Base of what comes in: nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Output(BaseModel):
    """Base of what goes out: only what is listed."""

    model_config = ConfigDict(frozen=True)


class Empty(Input):
    """A body with nothing in it."""


class BadInput(Exception):
    """What was sent cannot be taken: each mistake with its field and the reason, without the value."""

    def __init__(self, status: int, mistakes: list[dict[str, str]]) -> None:
        super().__init__("bad input")
        self.status = status
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with more to it than its body."""

    body: BaseModel | None
    status: int = 200
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    summary: str
    text: str
    tag: str
    needs: str
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    answers: Mapping[int, type[BaseModel] | None]
    idempotent: bool = False
    limited: bool = False
    may_refuse: bool = False  # 409: not in this state
    media: str = "application/json"
    may_miss: bool = False  # 404 although it names nothing: it is not for every workspace


_MARK = "_syncline_operation"


def operation_of(view: Callable[..., object]) -> Operation | None:
    found: Operation | None = getattr(view, _MARK, None)
    return found


def describe(view: Callable[..., Any], operation: Operation) -> None:
    """Put a view that is written out by hand into the OpenAPI document."""
    setattr(view, _MARK, operation)


def operation(
    bp: Blueprint,
    method: str,
    rule: str,
    *,
    needs: Capability | str,
    summary: str,
    returns: type[BaseModel] | None,
    status: int = 200,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    creates: bool = False,
    limit: str | None = None,
    refuses: bool = False,
    misses: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a view as an operation. It is handed `query` and `body` as models, and returns a model."""

    def declare(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def carry_out(**given: Any) -> ResponseReturnValue:
            if query is not None:
                given["query"] = _query(query)
            elif request.args:
                raise BadInput(400, [{"field": name, "reason": "is not known here"} for name in request.args])
            if body is not None:
                given["body"] = read_body(body)
            if creates and (key := _key()):
                return _once(key, lambda: _response(view(**given), status))
            return _response(view(**given), status)

        wrapped: Callable[..., Any] = carry_out
        if limit is not None:
            wrapped = limiter.limit(limit, key_func=_who)(wrapped)
        wrapped = auth.public(wrapped) if needs == "public" else auth.needs(needs)(wrapped)
        describe(
            wrapped,
            Operation(
                name=f"{bp.name.removeprefix('api_')}.{view.__name__}",
                summary=summary,
                text=" ".join((view.__doc__ or "").split()),
                tag=bp.name.removeprefix("api_"),
                needs=str(needs),
                query=query,
                body=body,
                answers={status: returns},
                idempotent=creates,
                limited=limit is not None,
                may_refuse=refuses or creates,
                may_miss=misses,
            ),
        )
        bp.add_url_rule(rule, endpoint=view.__name__, view_func=wrapped, methods=[method])
        return wrapped

    return declare


def _who() -> str:
    found = auth.person_or_none()
    return f"person:{found.id}" if found is not None else f"address:{request.remote_addr}"


# -- what comes in --------------------------------------------------------------------------------


def _query(model: type[BaseModel]) -> BaseModel:
    twice = [name for name in request.args if len(request.args.getlist(name)) > 1]
    if twice:
        raise BadInput(400, [{"field": name, "reason": "stands here twice"} for name in twice])
    try:
        return model.model_validate(request.args.to_dict())
    except ValidationError as problem:
        raise BadInput(400, mistakes(problem)) from None


def read_body(model: type[BaseModel]) -> Any:
    """The body as this model. Raises BadInput."""
    raw = request.get_data(cache=True)
    if not raw and not any(f.is_required() for f in model.model_fields.values()):
        raw = b"{}"
    elif request.mimetype != MEDIA:
        raise BadInput(415, [{"field": "Content-Type", "reason": f"must be {MEDIA}"}])
    try:
        found = json.loads(raw, parse_constant=_no_constant, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise BadInput(400, [{"field": "", "reason": "the body is not valid JSON"}]) from None
    if not _is_storable(found):
        raise BadInput(
            400, [{"field": "", "reason": "holds a character that is no text (NUL, a half of a pair)"}]
        )
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as problem:
        raise BadInput(422, mistakes(problem)) from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names stand there once: which of two values is meant, readers of JSON differ on."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadInput(400, [{"field": name[:200], "reason": "stands here twice"}])
        found[name] = value
    return found


def mistakes(problem: ValidationError) -> list[dict[str, str]]:
    """The mistakes of a model by field. What was sent is not repeated: it may be a password."""
    return [
        {
            "field": ".".join(str(part) for part in item["loc"]),
            "reason": str(item["msg"]).removeprefix("Value error, "),
        }
        for item in problem.errors(include_input=False, include_url=False, include_context=False)[:20]
    ]


def _is_storable(value: Any) -> bool:
    """Whether any database can hold all texts in it."""
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, dict):
        return all(is_text(key) and _is_storable(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_storable(item) for item in value)
    return True


def is_text(text: str) -> bool:
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- what goes out --------------------------------------------------------------------------------


def _response(answer: Any, status: int) -> Response:
    location = None
    if isinstance(answer, Answer):
        answer, status, location = answer.body, answer.status, answer.location
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status=status)
    response = Response(answer.model_dump_json(by_alias=True), status=status, mimetype=MEDIA)
    if location is not None:
        response.headers["Location"] = location
    if request.method in ("GET", "HEAD"):
        response.add_etag(weak=True)
        response.make_conditional(request)
    return response


# -- once -----------------------------------------------------------------------------------------


def _key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key.isprintable() or not key.isascii() or not 1 <= len(key) <= LONGEST_KEY:
        reason = f"must have 1 to {LONGEST_KEY} printable ASCII characters"
        raise BadInput(400, [{"field": "Idempotency-Key", "reason": reason}])
    return key


def _once(key: str, carry_out: Callable[[], Response]) -> Response:
    """Carry a call out, unless it was before: then its reply is given again."""
    who = auth.person()
    # A token's calls are its own: another one of the same person may be allowed less.
    caller = who.bearer.token_id if who.bearer is not None else who.id
    owner = f"{who.workspace_id[:40]}:{caller}"[:80]
    digest = hashlib.sha256(
        b"\0".join((request.method.encode(), request.full_path.encode(), request.get_data(cache=True)))
    ).hexdigest()
    kept = act(replies.begin, owner, key, digest)
    if kept is not None:
        response = Response(kept.body, status=kept.status, mimetype=MEDIA)
        if kept.location:
            response.headers["Location"] = kept.location
        response.headers["Idempotency-Replayed"] = "true"
        return response
    try:
        response = carry_out()
    except Exception:
        act(replies.forget, owner, key)
        raise
    reply = replies.Kept(
        response.status_code, response.get_data(as_text=True), response.headers.get("Location")
    )
    act(replies.finish, owner, key, reply)
    return response
