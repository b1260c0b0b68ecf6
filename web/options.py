"""Forms that are drawn from a connector's models of options, and read back into what the model takes."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from connectors import catalog
from connectors.base import Connector
from connectors.errors import OptionsError
from web.languages import _
from web.words import plain

LONGEST = 10_000  # characters of one option; a service account's key has some 2,400


@dataclass(frozen=True, slots=True)
class OptionField:
    """One field of a form."""

    name: str
    label: str
    kind: Literal["text", "long", "secret", "number", "tick", "choice", "list"]
    hint: str = ""
    required: bool = False
    choices: Sequence[str] = ()
    value: str = ""
    is_kept: bool = False  # a secret that is stored: left empty it stays
    problem: str = ""


def kinds() -> list[type[Connector]]:
    """The connectors that can be chosen, by title."""
    found = []
    for name in catalog.names():
        try:
            found.append(catalog.get(name))
        except OptionsError:
            continue  # its library is not installed: `syncline doctor` says so
    return sorted((kind for kind in found if kind.name != "memory"), key=lambda kind: kind.title.casefold())


def fields(
    model: type[BaseModel],
    values: Mapping[str, Any],
    *,
    kept: Sequence[str] = (),
    problems: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> list[OptionField]:
    """The form of a model. Options that are no plain values stay with the YAML and are left as they are."""
    found = []
    for name, info in model.model_fields.items():
        kind, choices = _kind(info)
        if kind is None or name in without:
            continue
        value = values.get(name, "" if info.is_required() or info.default is None else info.default)
        found.append(
            OptionField(
                name=name,
                label=_(info.title or plain(name)),
                kind=kind,
                hint=_(info.description) if info.description else "",
                required=info.is_required(),
                choices=choices,
                value="" if kind == "secret" else _shown(value),
                is_kept=name in kept,
                problem=(problems or {}).get(name, ""),
            )
        )
    return found


def read(model: type[BaseModel], form: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
    """What was sent, as a YAML would say it. What was left empty is left out."""
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind = _kind(info)[0]
        sent = form.get(prefix + name, "").strip()[:LONGEST]
        if kind == "tick":
            found[name] = bool(sent)
        elif kind == "list" and sent:
            found[name] = [part.strip() for part in sent.replace("\n", ",").split(",") if part.strip()]
        elif kind is not None and sent:
            found[name] = sent
    return found


def _kind(info: FieldInfo) -> tuple[Any, Sequence[str]]:
    annotation = _bare(info.annotation)
    if get_origin(annotation) is Literal:
        return "choice", [str(item) for item in get_args(annotation)]
    if annotation is SecretStr:
        return "secret", ()
    if annotation is bool:
        return "tick", ()
    if annotation is int:
        return "number", ()
    if annotation is str:
        return ("long" if info.json_schema_extra == {"long": True} else "text"), ()
    if get_origin(annotation) is tuple and get_args(annotation) == (str, ...):
        return "list", ()
    return None, ()


def _bare(annotation: Any) -> Any:
    """Without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        inside = [item for item in get_args(annotation) if item is not type(None)]
        return inside[0] if len(inside) == 1 else None
    return annotation


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
