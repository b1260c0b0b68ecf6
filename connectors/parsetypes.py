"""Parse's types and their values: how each stands in JSON, and which canonical value it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from connectors.doubles import EXACT, exact_double
from sync.records import Field
from sync.values import FieldType, Value, ValueProblem, display, parse, short

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED = frozenset({"objectId", "createdAt", "updatedAt", "ACL", "className", "length", "id"})

CANONICAL: Mapping[str, FieldType] = {
    "String": FieldType.TEXT,
    "Number": FieldType.DECIMAL,
    "Boolean": FieldType.BOOLEAN,
    "Date": FieldType.DATETIME,
    "Object": FieldType.JSON,
    "Array": FieldType.LIST,
    "Pointer": FieldType.LINKS,
    "File": FieldType.ATTACHMENTS,
    "GeoPoint": FieldType.JSON,
    "Polygon": FieldType.JSON,
    "Bytes": FieldType.TEXT,
    "ACL": FieldType.JSON,
}
PARSE_TYPES: Mapping[FieldType, str] = {
    FieldType.TEXT: "String",
    FieldType.INTEGER: "Number",
    FieldType.DECIMAL: "Number",
    FieldType.BOOLEAN: "Boolean",
    FieldType.DATE: "Date",
    FieldType.DATETIME: "Date",
    FieldType.JSON: "Object",
    FieldType.LIST: "Array",
    FieldType.LINKS: "Array",
    FieldType.ATTACHMENTS: "Array",
}


class Unfit(ValueError):
    """A value that Parse does not hold. The message is a sentence; `code` groups."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a class as its schema says."""

    name: str
    type: str
    target: str = ""  # the class that a pointer points to
    required: bool = False

    @property
    def field(self) -> Field:
        """The contract of its values, as the engine sees it."""
        ours = self.name in ("objectId", "createdAt", "updatedAt")
        return Field(
            self.name,
            CANONICAL[self.type],
            writable=not ours,
            generated=ours,
            nullable=not (ours or self.required or self.name == "ACL"),
            max_integer=EXACT if self.type == "Number" else None,
            unique=self.name == "objectId",
        )


def columns_of(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Column]:
    """The columns that a schema lists, in its order; relations and unknown types are left out."""
    found = {
        name: Column(
            name,
            "ACL" if name == "ACL" else str(spec.get("type")),
            str(spec.get("targetClass") or ""),
            bool(spec.get("required")),
        )
        for name, spec in fields.items()
    }
    return {name: column for name, column in found.items() if column.type in CANONICAL}


def type_in(value: Any) -> dict[str, str] | None:
    """What a schema would say of a value: for those who may not read the schema."""
    match value:
        case bool():
            return {"type": "Boolean"}
        case int() | Decimal():
            return {"type": "Number"}
        case str():
            return {"type": "String"}
        case list():
            return {"type": "Array"}
        case {"__type": "Pointer" | "Object", "className": str(target)}:
            return {"type": "Pointer", "targetClass": target}
        case {"__type": str(kind)}:
            return {"type": kind}
        case dict():
            return {"type": "Object"}
        case _:
            return None


def decode(column: Column, raw: Any) -> Value:
    """The canonical value of what stands in an object; the raw one where it does not fit its type."""
    if raw is None:
        return None
    match column.type, raw:
        case "Date", {"iso": str(text)}:
            return _moment(text)
        case "Date", str(text):  # createdAt and updatedAt
            return _moment(text)
        case "Number", int():
            return Decimal(raw)
        case "Array", list():
            return tuple(raw)
        case "Pointer", {"objectId": str(id)}:
            return (id,)
        case "File", {"name": str(name)}:
            return ({"id": name, "name": name, "url": raw.get("url")},)
        case "GeoPoint", {"latitude": latitude, "longitude": longitude}:
            return {"latitude": latitude, "longitude": longitude}
        case "Polygon", {"coordinates": coordinates}:
            return coordinates
        case "Bytes", {"base64": str(text)}:
            return text
    return raw


def _moment(text: str) -> Value:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return text


def encode(column: Column, value: Value) -> Any:
    """A canonical value that is not None as it is sent. Raises Unfit."""
    kind = column.type
    try:
        sent = _ENCODERS[kind](column, value)
    except ValueProblem as problem:
        raise Unfit("type", f"'{column.name}' holds a {kind}, and {problem}.") from None
    if _has_nul(sent):
        raise Unfit("not_text", f"'{column.name}' holds the character NUL, which Parse cannot store.")
    return sent


def _text(column: Column, value: Value) -> Any:
    return display(value)


def _number(column: Column, value: Value) -> Any:
    return _double(parse(value, FieldType.DECIMAL), column.name)


def _double(number: Decimal, name: str) -> Any:
    """The number as JSON writes it. Raises Unfit where a double does not hold it exactly."""
    if (exact := exact_double(number)) is not None:
        return exact
    raise Unfit(
        "not_exact",
        f"'{name}' cannot hold {short(number)} exactly, since Parse keeps some 15 digits of a number."
        " Sync it into a String field instead.",
    )


def _boolean(column: Column, value: Value) -> Any:
    return parse(value, FieldType.BOOLEAN)


def _date(column: Column, value: Value) -> Any:
    return date_of(parse(value, FieldType.DATETIME), column.name)


def date_of(moment: datetime, name: str = "") -> dict[str, str]:
    """A Date as Parse writes it. Raises Unfit where milliseconds are too coarse."""
    if moment.microsecond % 1000:
        raise Unfit(
            "not_exact",
            f"'{name}' keeps milliseconds, and {short(moment.isoformat())} is finer. Sync it into a String"
            " field instead.",
        )
    return {"__type": "Date", "iso": date_text(moment)}


def date_text(moment: datetime) -> str:
    """A moment as Parse writes it, in whole milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(column: Column, value: Value) -> Any:
    found = parse(value, FieldType.JSON)
    if not isinstance(found, Mapping):
        raise Unfit("type", f"'{column.name}' holds an Object, and {short(value)} is none.")
    return _json(found, column.name)


def _array(column: Column, value: Value) -> Any:
    return _json(list(parse(value, FieldType.LIST)), column.name)


def _json(value: Value, name: str) -> Any:
    """A nested value as JSON; keys that Parse refuses are refused here, with their name."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return _double(Decimal(value), name)
        case Decimal():
            return _double(value, name)
        case Mapping():
            for key in value:
                if "." in str(key) or "$" in str(key):
                    raise Unfit(
                        "key", f"'{name}' holds the key {short(key)}, and Parse takes no '.' and no '$'."
                    )
            return {str(key): _json(item, name) for key, item in value.items()}
        case list() | tuple():
            return [_json(item, name) for item in value]
        case datetime():
            return date_of(value, name)
        case _:
            return display(value)


def _pointer(column: Column, value: Value) -> Any:
    ids = parse(value, FieldType.LINKS)
    if len(ids) != 1:
        raise Unfit("links", f"'{column.name}' points to one object, and {len(ids)} were given.")
    return {"__type": "Pointer", "className": column.target, "objectId": ids[0]}


def _file(column: Column, value: Value) -> Any:
    files = parse(value, FieldType.ATTACHMENTS)
    if len(files) != 1 or not files[0].get("id") or files[0].get("id") != files[0].get("name"):
        raise Unfit("file", f"'{column.name}' takes one file that this Parse Server holds already.")
    return {"__type": "File", "name": files[0]["name"], "url": files[0].get("url")}


def _geo_point(column: Column, value: Value) -> Any:
    match parse(value, FieldType.JSON):
        case {"latitude": latitude, "longitude": longitude}:
            north, east = (parse(item, FieldType.DECIMAL) for item in (latitude, longitude))
            if north is not None and east is not None and abs(north) <= 90 and abs(east) <= 180:
                return {
                    "__type": "GeoPoint",
                    "latitude": _double(north, column.name),
                    "longitude": _double(east, column.name),
                }
    raise Unfit(
        "type",
        f"'{column.name}' holds a place like {{latitude: 48.1, longitude: 11.6}}, within 90 and 180 degrees.",
    )


def _polygon(column: Column, value: Value) -> Any:
    return {"__type": "Polygon", "coordinates": _json(parse(value, FieldType.JSON), column.name)}


def _bytes(column: Column, value: Value) -> Any:
    text = display(value)
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        raise Unfit("type", f"'{column.name}' holds Bytes, and {short(text)} is not base64.") from None
    return {"__type": "Bytes", "base64": text}


def _acl(column: Column, value: Value) -> Any:
    found = parse(value, FieldType.JSON)
    if not isinstance(found, Mapping) or not all(isinstance(rights, Mapping) for rights in found.values()):
        raise Unfit("acl", "An ACL is an object like {'role:Admin': {'read': true, 'write': true}}.")
    return found


_ENCODERS = {
    "String": _text,
    "Number": _number,
    "Boolean": _boolean,
    "Date": _date,
    "Object": _object,
    "Array": _array,
    "Pointer": _pointer,
    "File": _file,
    "GeoPoint": _geo_point,
    "Polygon": _polygon,
    "Bytes": _bytes,
    "ACL": _acl,
}


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(item) for pair in value.items() for item in pair)
        case list():
            return any(_has_nul(item) for item in value)
        case _:
            return False
