"""What the cells of the Airtable simulator take, hold and show: one rule per field type."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

TEXTS = frozenset({"singleLineText", "multilineText", "richText", "email", "url", "phoneNumber"})
NUMBERS = frozenset({"number", "currency", "percent", "duration"})
COMPUTED = frozenset(
    {
        "formula",
        "rollup",
        "count",
        "multipleLookupValues",
        "autoNumber",
        "createdTime",
        "lastModifiedTime",
        "createdBy",
        "lastModifiedBy",
        "button",
        "aiText",
        "externalSyncSource",
    }
)
TYPES = (
    TEXTS
    | NUMBERS
    | COMPUTED
    | {
        "rating",
        "checkbox",
        "singleSelect",
        "multipleSelects",
        "date",
        "dateTime",
        "multipleRecordLinks",
        "singleCollaborator",
        "multipleCollaborators",
        "multipleAttachments",
        "barcode",
    }
)
MERGE_TYPES = NUMBERS | TEXTS | {"rating", "singleSelect", "multipleSelects", "date"}


class Refusal(Exception):
    """The API refuses a call. `kind` None is the bare form of the body."""

    def __init__(self, status: int, kind: str, message: str | None = None, *, bare: bool = False) -> None:
        super().__init__(kind)
        self.status = status
        self.body: dict[str, Any] = {"error": kind if bare else {"type": kind}}
        if message is not None:
            self.body["error"]["message"] = message


@dataclass
class Field:
    id: str
    name: str
    type: str
    options: dict[str, Any] | None = None
    description: str | None = None

    @property
    def is_computed(self) -> bool:
        return self.type in COMPUTED

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {"id": self.id, "name": self.name, "type": self.type}
        return found | {
            key: value
            for key, value in (("description", self.description), ("options", self.options))
            if value is not None
        }


@dataclass
class Record:
    id: str
    number: int
    created: datetime
    modified: datetime
    cells: dict[str, Any] = field(default_factory=dict)  # by field id


@dataclass
class Table:
    id: str
    name: str
    fields: list[Field]
    records: dict[str, Record] = field(default_factory=dict)
    view_id: str = ""
    made: int = 0  # records so far: what autoNumber counts

    @property
    def primary(self) -> Field:
        return self.fields[0]

    def find(self, key: str) -> Field | None:
        """By id or name."""
        return next((item for item in self.fields if key in (item.id, item.name)), None)

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "primaryFieldId": self.primary.id,
            "fields": [item.shown() for item in self.fields],
            "views": [{"id": self.view_id, "name": "Grid view", "type": "grid"}],
        }


@dataclass
class Base:
    id: str
    name: str
    tables: list[Table] = field(default_factory=list)

    def table(self, key: str) -> Table | None:
        return next((item for item in self.tables if key in (item.id, item.name)), None)

    def record(self, id: str) -> tuple[Table, Record] | None:
        found = ((table, table.records[id]) for table in self.tables if id in table.records)
        return next(found, None)


# -- taking -----------------------------------------------------------------------------------------


class Taker:
    """Turns what a caller sends for a cell into what the cell holds; None is an empty cell."""

    def __init__(self, base: Base, new_id: Callable[[str], str], users: Mapping[str, Mapping[str, str]]):
        self.base = base
        self.new_id = new_id
        self.users = users

    def take(self, field: Field, value: Any, old: Any, typecast: bool) -> Any:
        """Raises Refusal. With `typecast` a new choice is added to the field."""
        if field.is_computed:
            raise _refused(field, " because the field is computed")
        if value is None or value is False or value == [] or (value == "" and field.type != "singleSelect"):
            return None
        work = getattr(self, f"_{field.type}", None)
        if work is not None:
            return work(field, value, old, typecast)
        if field.type in TEXTS:
            return self._as_text(field, value, typecast)
        return self._as_number(field, value, typecast)

    def _as_text(self, field: Field, value: Any, typecast: bool) -> str:
        if isinstance(value, str):
            if len(value) > 100_000:
                raise _refused(field)
            return value
        if typecast and isinstance(value, int | float):
            return str(value)
        raise _refused(field)

    def _as_number(self, field: Field, value: Any, typecast: bool) -> float | int:
        if typecast and isinstance(value, str):
            try:
                value = float(value.replace(",", ""))
            except ValueError:
                raise _refused(field) from None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise _refused(field)
        return _tidy(float(value))

    def _rating(self, field: Field, value: Any, old: Any, typecast: bool) -> int:
        number = self._as_number(field, value, typecast)
        if number != int(number) or not 1 <= number <= (field.options or {}).get("max", 5):
            raise _refused(field)
        return int(number)

    def _checkbox(self, field: Field, value: Any, old: Any, typecast: bool) -> bool | None:
        if typecast and isinstance(value, str):
            value = value.lower() in ("true", "1", "checked", "yes")
        if not isinstance(value, bool):
            raise _refused(field)
        return value or None

    def _singleSelect(self, field: Field, value: Any, old: Any, typecast: bool) -> str:
        if not isinstance(value, str):
            raise _refused(field)
        return self._choice(field, value, typecast)

    def _multipleSelects(self, field: Field, value: Any, old: Any, typecast: bool) -> list[str]:
        if typecast and isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _refused(field)
        return [self._choice(field, item, typecast) for item in dict.fromkeys(value)]

    def _choice(self, field: Field, value: str, typecast: bool) -> str:
        field.options = field.options or {"choices": []}
        choices = field.options["choices"]
        if value not in [choice["name"] for choice in choices]:
            if not typecast or not value:
                raise Refusal(
                    422,
                    "INVALID_MULTIPLE_CHOICE_OPTIONS",
                    f'Insufficient permissions to create new select option ""{value}""',
                )
            choices.append({"id": self.new_id("sel"), "name": value})
        return value

    def _date(self, field: Field, value: Any, old: Any, typecast: bool) -> str:
        return self._moment(field, value).date().isoformat()

    def _dateTime(self, field: Field, value: Any, old: Any, typecast: bool) -> str:
        return stamp(self._moment(field, value))

    def _moment(self, field: Field, value: Any) -> datetime:
        if not isinstance(value, str):
            raise _refused(field)
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            try:
                day = date.fromisoformat(value)
            except ValueError:
                raise _refused(field) from None
            found = datetime(day.year, day.month, day.day)  # noqa: DTZ001  the field's zone follows
        if found.tzinfo is None:
            zone = (field.options or {}).get("timeZone", "utc") if field.type == "dateTime" else "utc"
            found = found.replace(tzinfo=UTC if zone in ("utc", "client") else ZoneInfo(zone))
        return found.astimezone(UTC)

    def _multipleRecordLinks(self, field: Field, value: Any, old: Any, typecast: bool) -> list[str]:
        linked = self.base.table((field.options or {}).get("linkedTableId", ""))
        if typecast and isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or linked is None:
            raise _refused(field)
        found = []
        for item in value:
            id = item.get("id") if isinstance(item, dict) else item
            if not isinstance(id, str):
                raise _refused(field)
            if id not in linked.records and typecast and not id.startswith("rec"):
                id = self._linked_by_name(linked, id)
            if not id.startswith("rec"):
                raise _refused(field)
            if id not in linked.records:
                raise Refusal(422, "ROW_DOES_NOT_EXIST", f"Record ID {id} does not exist in this table")
            found.append(id)
        return list(dict.fromkeys(found))

    def _linked_by_name(self, linked: Table, name: str) -> str:
        for record in linked.records.values():
            if record.cells.get(linked.primary.id) == name:
                return record.id
        raise Refusal(422, "INVALID_VALUE_FOR_COLUMN", f'No record is named "{name}"')

    def _singleCollaborator(self, field: Field, value: Any, old: Any, typecast: bool) -> dict[str, str]:
        return self._user(field, value)

    def _multipleCollaborators(self, field: Field, value: Any, old: Any, typecast: bool) -> list[Any]:
        if not isinstance(value, list):
            raise _refused(field)
        return [self._user(field, item if isinstance(item, dict) else {"id": item}) for item in value]

    def _user(self, field: Field, value: Any) -> dict[str, str]:
        wanted = value if isinstance(value, dict) else {}
        for user in self.users.values():
            if wanted.get("id") == user["id"] or ("email" in wanted and wanted["email"] == user["email"]):
                return dict(user)
        raise _refused(field)

    def _multipleAttachments(self, field: Field, value: Any, old: Any, typecast: bool) -> list[Any]:
        if not isinstance(value, list):
            raise _refused(field)
        kept = {item["id"]: item for item in old or []}
        found = []
        for item in value:
            if isinstance(item, dict) and item.get("id") in kept:
                found.append(kept[item["id"]])
            elif isinstance(item, dict) and str(item.get("url", "")).startswith(("http://", "https://")):
                found.append(_fetched(item, self.new_id("att")))
            else:
                raise _refused(field)
        return found

    def _barcode(self, field: Field, value: Any, old: Any, typecast: bool) -> dict[str, str]:
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise _refused(field)
        return {key: value[key] for key in ("text", "type") if key in value}


def _refused(field: Field, why: str = "") -> Refusal:
    end = why or " the provided value"
    verb = "cannot accept a value" if why else "cannot accept"
    return Refusal(422, "INVALID_VALUE_FOR_COLUMN", f'Field "{field.name}" {verb}{end}')


def _fetched(item: Mapping[str, Any], id: str) -> dict[str, Any]:
    """A file as if it had been fetched: the same URL gives the same file."""
    name = item.get("filename") or str(item["url"]).rpartition("/")[2] or "file"
    digest = hashlib.blake2b(str(item["url"]).encode(), digest_size=4).hexdigest()
    return {"id": id, "filename": name, "size": int(digest, 16) % 1_000_000 + 1, "type": "application/pdf"}


def _tidy(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


# -- showing ----------------------------------------------------------------------------------------


def stamp(moment: datetime) -> str:
    """A moment as the API writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [])


class Shower:
    """What a cell shows to whoever asks: computed fields are computed now, files get new addresses."""

    def __init__(self, base: Base, nonce: Callable[[], str], evaluate: Callable[[Table, str, Record], Any]):
        self.base = base
        self.nonce = nonce
        self.evaluate = evaluate

    def show(self, table: Table, record: Record, field: Field) -> Any:
        held = record.cells.get(field.id)
        match field.type:
            case "richText" if field.id in record.cells:
                return f"{held or ''}\n"  # the trailing newline is Airtable's own
            case "multipleAttachments":
                return [
                    {**item, "url": f"https://v5.airtableusercontent.com/{self.nonce()}"}
                    for item in held or []
                ]
            case "autoNumber":
                return record.number
            case "createdTime":
                return stamp(record.created)
            case "lastModifiedTime":
                return stamp(whole_second(record.modified))
            case "createdBy" | "lastModifiedBy":
                return {"id": "usrSimulated00001", "email": "person@example.org", "name": "A Person"}
            case "count":
                return len(self._linked(table, record, field))
            case "multipleLookupValues":
                return self._looked_up(table, record, field)
            case "formula":
                return self.evaluate(table, (field.options or {}).get("formula", ""), record)
            case "button":
                return {"label": field.name, "url": "https://example.org"}
            case _:
                return held

    def name_of(self, table: Table, record: Record) -> str:
        """A record as its links show it."""
        shown = self.show(table, record, table.primary)
        return "" if shown is None else str(shown)

    def _linked(self, table: Table, record: Record, field: Field) -> list[str]:
        link = table.find((field.options or {}).get("recordLinkFieldId", ""))
        return list(record.cells.get(link.id) or []) if link is not None else []

    def _looked_up(self, table: Table, record: Record, field: Field) -> list[Any]:
        link = table.find((field.options or {}).get("recordLinkFieldId", ""))
        linked = self.base.table((link.options or {}).get("linkedTableId", "")) if link else None
        wanted = linked.find((field.options or {}).get("fieldIdInLinkedTable", "")) if linked else None
        if linked is None or wanted is None:
            return []
        found: list[Any] = []
        for id in self._linked(table, record, field):
            shown = self.show(linked, linked.records[id], wanted)
            found += shown if isinstance(shown, list) else [] if is_empty(shown) else [shown]
        return found
