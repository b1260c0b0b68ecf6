"""The OpenAPI 3.1 document, made from the URL map and what each operation declares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from sync.definition import SyncDefinition
from web.api.wire import LONGEST_KEY, MEDIA, Operation, Output, operation_of
from web.database import LARGEST_ID

_PARAMETER = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
_WORDS: Mapping[int, str] = {
    200: "Done",
    201: "Made",
    202: "Accepted: it happens soon",
    204: "Done, with nothing to say",
    304: "Not changed since",
    400: "The request cannot be read",
    401: "Not signed in, or the key is not valid",
    403: "The role, or the token's scopes, do not allow it",
    404: "Not there, or not in this workspace",
    409: "Not possible in this state",
    413: "Too large",
    415: "Not JSON",
    422: "A field is not what it can be",
    429: "Too many tries",
    500: "A mistake of ours",
    503: "Not ready",
}


class Mistake(Output):
    field: str
    reason: str


class Problem(Output):
    """RFC 9457. `code` is stable; `errors` name the fields."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Mistake] | None = None
    error_id: str | None = None
    run_id: str | None = None


def document(app: Flask, release: str) -> dict[str, Any]:
    """The whole document: every rule whose view is an operation."""
    found = list(_operations(app))
    schemas = _schemas(found)
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, item in found:
        path = _PARAMETER.sub(r"{\2}", rule.rule)
        paths.setdefault(path, {})[method.lower()] = _operation(rule, item, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Syncline",
            "version": release,
            "description": "Everything that the panel does. Bring an API token as a bearer token.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in sorted({item.tag for _, _, item in found})],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token, sln_..."},
                "cron": {"type": "apiKey", "in": "header", "name": "X-Cron-Key"},
                "cronBearer": {"type": "http", "scheme": "bearer", "description": "The cron secret"},
            },
            "schemas": schemas.parts,
        },
    }


def _operations(app: Flask) -> Iterator[tuple[Rule, str, Operation]]:
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        item = operation_of(app.view_functions[rule.endpoint])
        if item is None:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, item


# -- schemas --------------------------------------------------------------------------------------


class _Schemas:
    """Every model once; a model that comes in and goes out may differ by direction."""

    def __init__(self, parts: dict[str, Any], refs: Mapping[Any, Any]) -> None:
        self.parts = parts
        self._refs = refs

    def of(self, model: type[BaseModel], mode: str) -> dict[str, Any]:
        return dict(self._refs[model, mode])


def _schemas(found: list[tuple[Rule, str, Operation]]) -> _Schemas:
    wanted: dict[tuple[type[BaseModel], Any], None] = {
        (Problem, "serialization"): None,
        (SyncDefinition, "validation"): None,
    }
    for _rule, _method, item in found:
        for model in (item.query, item.body):
            if model is not None:
                wanted[model, "validation"] = None
        for answer in item.answers.values():
            if answer is not None:
                wanted[answer, "serialization"] = None
    refs, top = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
    parts = _resolved(top.get("$defs", {}))
    return _Schemas(parts, refs)


def _resolved(part: Any) -> Any:
    """Put in the models that are only named, and leave out what says nothing to a caller."""
    if isinstance(part, dict):
        if "x-model" in part:
            return {"$ref": f"#/components/schemas/{part['x-model']}"}
        return {name: _resolved(item) for name, item in part.items()}
    if isinstance(part, list):
        return [_resolved(item) for item in part]
    return part


# -- one operation --------------------------------------------------------------------------------


def _operation(rule: Rule, item: Operation, schemas: _Schemas) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": item.name,
        "summary": item.summary,
        "tags": [item.tag],
        "parameters": [*_path(rule), *_query(item, schemas), *_headers(item)],
        "responses": {
            str(status): answer for status, answer in sorted(_answers(rule, item, schemas).items())
        },
    }
    if item.text:
        told["description"] = item.text
    if item.needs == "public":
        told["security"] = []
    elif item.needs == "cron secret":
        told["security"] = [{"cron": []}, {"cronBearer": []}]
    else:
        told["x-needs"] = item.needs
    if item.body is not None:
        required = any(info.is_required() for info in item.body.model_fields.values())
        told["requestBody"] = {
            "required": required,
            "content": {MEDIA: {"schema": schemas.of(item.body, "validation")}},
        }
    return told


def _path(rule: Rule) -> Iterator[dict[str, Any]]:
    for kind, name in _PARAMETER.findall(rule.rule):
        schema: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 200}
        if kind == "int":
            schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_ID}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query(item: Operation, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    if item.query is None:
        return
    name = schemas.of(item.query, "validation")["$ref"].rpartition("/")[2]
    model = schemas.parts.pop(name, None) or item.query.model_json_schema()
    required = set(model.get("required", ()))
    for field, schema in model["properties"].items():
        told = {key: value for key, value in schema.items() if key != "description"}
        parameter = {"name": field, "in": "query", "required": field in required, "schema": _not_null(told)}
        if "description" in schema:
            parameter["description"] = schema["description"]
        yield parameter


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out; it cannot be null."""
    some = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    if len(some) == 1 and len(some) < len(schema.get("anyOf", ())):
        return dict(some[0])
    return schema


def _headers(item: Operation) -> Iterator[dict[str, Any]]:
    if item.idempotent:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same call with the same key is carried out once, within a day.",
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
        }


def _answers(rule: Rule, item: Operation, schemas: _Schemas) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for status, model in item.answers.items():
        answer: dict[str, Any] = {"description": _WORDS[status]}
        if model is not None:
            answer["content"] = {MEDIA: {"schema": schemas.of(model, "serialization")}}
        elif item.name == "audit.export":
            answer["content"] = {"text/csv": {"schema": {"type": "string"}}, MEDIA: {"schema": {}}}
        elif status == 200:
            answer["content"] = {item.media: {"schema": {}}}
        found[status] = answer
    problems = {400, 500, 503}
    if item.needs != "public":
        problems.add(401)
        if item.needs != "cron secret":
            problems.add(403)
    if rule.arguments or item.body is not None or item.may_miss:
        problems.add(404)
    if item.body is not None:
        problems |= {409, 413, 415, 422}
    if item.may_refuse:
        problems |= {409, 422}
    if item.limited or item.needs != "public":
        problems.add(429)
    content = {"application/problem+json": {"schema": schemas.of(Problem, "serialization")}}
    for status in problems - found.keys():
        found[status] = {"description": _WORDS[status], "content": content}
    return found
