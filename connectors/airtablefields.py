"""Airtable's field types and their values: how each stands in JSON, and which canonical value it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from connectors.doubles import EXACT, exact_double
from sync.records import Field
from sync.values import FieldType, Value, ValueProblem, display, parse, short

LONGEST_TEXT = 100_000

WRITABLE: Mapping[str, FieldType] = {
    "singleLineText": FieldType.TEXT,
    "multilineText": FieldType.TEXT,
    "richText": FieldType.TEXT,
    "email": FieldType.TEXT,
    "url": FieldType.TEXT,
    "phoneNumber": FieldType.TEXT,
    "number": FieldType.DECIMAL,
    "currency": FieldType.DECIMAL,
    "percent": FieldType.DECIMAL,
    "duration": FieldType.DECIMAL,
    "rating": FieldType.INTEGER,
    "checkbox": FieldType.BOOLEAN,
    "singleSelect": FieldType.TEXT,
    "multipleSelects": FieldType.LIST,
    "date": FieldType.DATE,
    "dateTime": FieldType.DATETIME,
    "multipleRecordLinks": FieldType.LINKS,
    "singleCollaborator": FieldType.TEXT,
    "multipleCollaborators": FieldType.LIST,
    "multipleAttachments": FieldType.ATTACHMENTS,
    "barcode": FieldType.TEXT,
}
COMPUTED: Mapping[str, FieldType] = {
    "count": FieldType.INTEGER,
    "autoNumber": FieldType.INTEGER,
    "createdTime": FieldType.DATETIME,
    "lastModifiedTime": FieldType.DATETIME,
    "createdBy": FieldType.TEXT,
    "lastModifiedBy": FieldType.TEXT,
    "multipleLookupValues": FieldType.LIST,
    "formula": FieldType.TEXT,
    "rollup": FieldType.TEXT,
    "button": FieldType.TEXT,
    "aiText": FieldType.TEXT,
    "externalSyncSource": FieldType.TEXT,
}
RESULTS = frozenset({"formula", "rollup", "createdTime", "lastModifiedTime"})  # show what another type does
# What a formula can be asked to compare with a text or number.
COMPARABLE = frozenset({"singleLineText", "multilineText", "email", "url", "phoneNumber", "singleSelect"})
NUMBERS = frozenset({"number", "currency", "percent", "duration", "rating", "autoNumber"})
MERGEABLE = frozenset(COMPARABLE | NUMBERS) - {"autoNumber"}  # what an upsert may go by


class Unfit(ValueError):
    """A value that Airtable does not hold. The message is a sentence; `code` groups."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a table as the schema says."""

    id: str
    name: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    resolves: bool = True  # linked records are names, not ids
    typecast: bool = False

    @property
    def shown_as(self) -> str:
        """The type of what it shows: that of the result, where it is computed."""
        result = self.options.get("result")
        if self.type in RESULTS and isinstance(result, Mapping) and result.get("type") in WRITABLE:
            return str(result["type"])
        return self.type

    @property
    def canonical(self) -> FieldType:
        return WRITABLE.get(self.shown_as) or COMPUTED[self.type]

    @property
    def is_writable(self) -> bool:
        return self.type in WRITABLE

    @property
    def linked_table(self) -> str:
        """The table whose records it links to, if they are to be named; else ""."""
        is_link = self.type == "multipleRecordLinks" and self.resolves
        return str(self.options.get("linkedTableId") or "") if is_link else ""

    @property
    def choices(self) -> tuple[str, ...] | None:
        """The only values that are taken; None where any is."""
        if self.type not in ("singleSelect", "multipleSelects") or self.typecast:
            return None
        return tuple(str(choice.get("name")) for choice in self.options.get("choices") or ())

    @property
    def field(self) -> Field:
        """The contract of its values, as the engine sees it."""
        kind = self.canonical
        return Field(
            self.name,
            kind,
            writable=self.is_writable,
            generated=not self.is_writable,
            max_length=LONGEST_TEXT if kind is FieldType.TEXT and self.is_writable else None,
            max_integer=EXACT if kind in (FieldType.INTEGER, FieldType.DECIMAL) else None,
            options=self.choices if self.type == "singleSelect" else None,
            id=self.id,
        )


def columns_of(
    table: Mapping[str, Any], *, resolves: bool, typecast: bool
) -> tuple[dict[str, Column], list[str]]:
    """The columns of a table by name, in its order, and the names of those of a type that is not known."""
    found: dict[str, Column] = {}
    unknown: list[str] = []
    for spec in table.get("fields") or ():
        kind = str(spec.get("type"))
        if kind not in WRITABLE and kind not in COMPUTED:
            unknown.append(str(spec.get("name")))
            continue
        options = spec.get("options") or {}
        column = Column(str(spec["id"]), str(spec["name"]), kind, options, resolves, typecast)
        found[column.name] = column
    return found, unknown


# -- from Airtable ----------------------------------------------------------------------------------

Names = Mapping[str, str]  # of linked records, by their id


def decode(column: Column, raw: Any, names: Names) -> Value:
    """The canonical value of a cell; None where the cell is empty or its formula gives an error."""
    if column.shown_as == "checkbox":
        return bool(raw)
    match raw:
        case None | "" | []:
            return None
        case {"error": _} | {"specialValue": _}:
            return None
    match column.shown_as:
        case "richText":
            return str(raw).rstrip("\n") or None
        case "multipleRecordLinks" if column.linked_table:
            return tuple(names.get(id, id) for id in raw)
        case "multipleAttachments":
            return tuple(_attachment(item) for item in raw)
        case "singleCollaborator" | "createdBy" | "lastModifiedBy":
            return _person(raw)
        case "multipleCollaborators":
            return tuple(_person(item) for item in raw)
        case "multipleLookupValues":
            return tuple(_plain(item) for item in (raw if isinstance(raw, list) else [raw]))
        case "barcode" | "aiText" | "button":
            return _plain(raw)
    if isinstance(raw, list):
        raw = tuple(raw)
    try:
        return parse(raw, column.canonical)
    except ValueProblem:
        return display(raw)


def _attachment(item: Any) -> Mapping[str, Value]:
    """A file without its address, which is another one at each read."""
    return {
        "id": item.get("id"),
        "name": item.get("filename"),
        "size": item.get("size"),
        "type": item.get("type"),
    }


def _person(item: Any) -> Value:
    if not isinstance(item, Mapping):
        return item
    return item.get("email") or item.get("name") or item.get("id")


def _plain(item: Any) -> Value:
    """What of an object is for people."""
    if not isinstance(item, Mapping):
        return item
    for name in ("text", "value", "email", "name", "filename", "url", "id"):
        if item.get(name):
            return item[name]
    return None


# -- to Airtable ------------------------------------------------------------------------------------

Ids = Callable[[Column, Sequence[str]], list[str]]  # the linked records of these names. Raises Unfit


def encode(column: Column, value: Value, ids: Ids) -> Any:
    """A canonical value as it is sent; None clears the cell. Raises Unfit."""
    if value is None or value == "" or value == () or value == []:
        return None
    try:
        return _ENCODERS[column.type](column, value, ids)
    except ValueProblem as problem:
        raise Unfit("type", f"'{column.name}' is a {column.type} field, and {problem}.") from None


def _text(column: Column, value: Value, ids: Ids) -> Any:
    text = display(value)
    if len(text) > LONGEST_TEXT:
        raise Unfit("too_long", f"'{column.name}' holds at most {LONGEST_TEXT:,} characters.")
    return text


def _number(column: Column, value: Value, ids: Ids) -> Any:
    number = parse(value, FieldType.DECIMAL)
    if number is None:
        return None
    if (exact := exact_double(number)) is None:
        raise Unfit(
            "not_exact",
            f"'{column.name}' cannot hold {short(number)} exactly, since Airtable keeps some 15 digits of a"
            " number. Sync it into a text field instead.",
        )
    return exact


def _rating(column: Column, value: Value, ids: Ids) -> Any:
    number, most = parse(value, FieldType.INTEGER), int(column.options.get("max") or 5)
    if number is not None and not 1 <= number <= most:
        raise Unfit("range", f"'{column.name}' is a rating from 1 to {most}, and {short(number)} is none.")
    return number


def _checkbox(column: Column, value: Value, ids: Ids) -> Any:
    return parse(value, FieldType.BOOLEAN)


def _choice(column: Column, value: Value, ids: Ids) -> Any:
    text = display(value)
    if column.choices is not None and text not in column.choices:
        raise Unfit(
            "no_option",
            f"'{column.name}' has no choice {short(text)}. Add it in Airtable, map the value, or let the sync"
            " add choices by itself: typecast: true.",
        )
    return text


def _choices(column: Column, value: Value, ids: Ids) -> Any:
    return [_choice(column, item, ids) for item in dict.fromkeys(parse(value, FieldType.LIST) or ())]


def _day(column: Column, value: Value, ids: Ids) -> Any:
    day = parse(value, FieldType.DATE)
    return day.isoformat() if isinstance(day, date) else None


def _moment(column: Column, value: Value, ids: Ids) -> Any:
    moment = parse(value, FieldType.DATETIME)
    if moment is None:
        return None
    if moment.microsecond % 1000:
        raise Unfit(
            "not_exact",
            f"'{column.name}' keeps milliseconds, and {short(moment.isoformat())} is finer. Sync it into a"
            " text field instead.",
        )
    return stamp(moment)


def stamp(moment: datetime) -> str:
    """A moment as Airtable writes it, always with its zone: without, the field's own would count."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _links(column: Column, value: Value, ids: Ids) -> Any:
    parts = [value] if isinstance(value, str) else [str(item) for item in parse(value, FieldType.LINKS)]
    return ids(column, parts)


def _collaborator(column: Column, value: Value, ids: Ids) -> Any:
    text = display(value)
    return {"email": text} if "@" in text else {"id": text}


def _collaborators(column: Column, value: Value, ids: Ids) -> Any:
    return [_collaborator(column, item, ids) for item in parse(value, FieldType.LIST)]


def _attachments(column: Column, value: Value, ids: Ids) -> Any:
    return [_file(column, item) for item in parse(value, FieldType.ATTACHMENTS)]


def _file(column: Column, item: Mapping[str, Value]) -> Any:
    if str(item.get("id") or "").startswith("att"):
        return {"id": item["id"]}
    if item.get("url"):
        name = {"filename": item["name"]} if item.get("name") else {}
        return {"url": item["url"], **name}
    raise Unfit("file", f"'{column.name}' takes files that it holds already, or that have an address.")


def _barcode(column: Column, value: Value, ids: Ids) -> Any:
    return {"text": display(value)}


_ENCODERS: Mapping[str, Callable[[Column, Value, Ids], Any]] = {
    "singleLineText": _text,
    "multilineText": _text,
    "richText": _text,
    "email": _text,
    "url": _text,
    "phoneNumber": _text,
    "number": _number,
    "currency": _number,
    "percent": _number,
    "duration": _number,
    "rating": _rating,
    "checkbox": _checkbox,
    "singleSelect": _choice,
    "multipleSelects": _choices,
    "date": _day,
    "dateTime": _moment,
    "multipleRecordLinks": _links,
    "singleCollaborator": _collaborator,
    "multipleCollaborators": _collaborators,
    "multipleAttachments": _attachments,
    "barcode": _barcode,
}

# What a field of another side becomes in a table that is made.
MADE_AS: Mapping[FieldType, tuple[str, Mapping[str, Any] | None]] = {
    FieldType.TEXT: ("multilineText", None),
    FieldType.INTEGER: ("number", {"precision": 0}),
    FieldType.DECIMAL: ("number", {"precision": 8}),
    FieldType.BOOLEAN: ("checkbox", {"icon": "check", "color": "greenBright"}),
    FieldType.DATE: ("date", {"dateFormat": {"name": "iso"}}),
    FieldType.DATETIME: (
        "dateTime",
        {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "utc"},
    ),
    FieldType.JSON: ("multilineText", None),
    FieldType.LIST: ("multilineText", None),
    FieldType.LINKS: ("multilineText", None),
    FieldType.ATTACHMENTS: ("multipleAttachments", None),
}


def quoted(value: Value) -> str:
    """A value as a formula writes it."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return display(value)
    text = display(value).replace("\\", "\\\\").replace("'", "\\'")
    return "'" + text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"
