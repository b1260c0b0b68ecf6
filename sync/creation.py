"""What a stream that is to be made must hold: what a sync maps to it, as the other side has it."""

from __future__ import annotations

from dataclasses import replace

from sync.definition import FieldSpec, SyncDefinition
from sync.records import Field, Side, Stream
from sync.values import FieldType


def wanted_stream(definition: SyncDefinition, side: Side, there: Stream) -> Stream:
    """The missing stream of `side`, from the other side's stream `there`.

    Its key is the other side's where that is mapped and no number that a system gives; without one, whoever
    makes the stream adds its own. A single match field is unique.
    """
    names: dict[str, str] = {}  # of the other side's fields -> of ours
    fields: list[Field] = []
    for spec in definition.fields or _all_fields(definition, there):
        ours, theirs = (spec.left, spec.right) if side == "left" else (spec.right, spec.left)
        origin = there.field(theirs)
        if origin is None or ours in names.values():
            continue  # the check of the mapping says so
        names[theirs] = ours
        fields.append(_field(spec, ours, origin))
    key = [there.field(name) for name in there.key]
    is_natural = bool(key) and all(item is not None and not item.generated for item in key)
    is_mapped = all(name in names for name in there.key)
    match = {names.get(name, name) if side == "right" else name for name in definition.match}
    if len(match) == 1:
        fields = [replace(item, unique=item.name in match) for item in fields]
    return Stream(
        definition.end(side).stream,
        tuple(fields),
        key=tuple(names[name] for name in there.key) if is_natural and is_mapped else (),
    )


def in_words(stream: Stream) -> str:
    """The fields of a stream that is to be made, for people: `email (text, unique), balance (decimal)`."""
    said = []
    for item in stream.fields:
        notes = [str(item.type)]
        if item.name in stream.key:
            notes.append("key")
        elif item.unique:
            notes.append("unique")
        said.append(f"{item.name} ({', '.join(notes)})")
    return ", ".join(said)


def _all_fields(definition: SyncDefinition, there: Stream) -> list[FieldSpec]:
    times = {definition.modified.left, definition.modified.right} if definition.modified else set()
    return [
        FieldSpec(left=item.name, right=item.name)
        for item in there.fields
        if not item.generated and item.name not in times
    ]


def _field(spec: FieldSpec, name: str, origin: Field) -> Field:
    kind = spec.type or (FieldType.TEXT if spec.transform else origin.type)
    if kind is not origin.type or spec.transform:
        return Field(name, kind, scale=spec.scale)
    is_scaled = spec.scale is not None
    return Field(
        name,
        kind,
        max_length=origin.max_length,
        scale=spec.scale if is_scaled else origin.scale,
        digits=None if is_scaled else origin.digits,
        max_integer=origin.max_integer,
    )
