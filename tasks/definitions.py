"""Configuration as code: a YAML file becomes connections and sync configs, or one clear mistake.

Everything is checked before anything is stored. A mistake names file, line, field and, for a typo, the
nearest right word. `tasks.saving` reads what forms and the API send by the same functions.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pydantic
from pydantic import BaseModel, SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors import catalog
from connectors.base import Connector
from connectors.errors import AuthError, ConnectorError, RetryableError, StreamBlank, StreamGone
from models.connections import Connection
from models.people import Workspace
from models.secrets import SecretUnreadable
from models.sync_configs import SyncConfig
from sync import records
from sync.definition import HOURLY, Built, EndSpec, SyncDefinition, differences, nearest
from sync.policy import Direction
from sync.records import SIDES, Side
from sync.schedule import ScheduleProblem, read_schedule
from sync.topology import Way, circle
from tasks import audit, chains, relations, schedules
from tasks.context import Context
from tasks.errors import DefinitionError
from tasks.sides import End, is_to_be_made, open_end, place_of, planned_end, secrets_of, tie, will_make
from tasks.yaml_file import Place, YamlFile

PRIORITIES = {"high": 0, "normal": 1, "low": 2}
LONGEST_NAME = 200
MOST_CHANGES = 50  # of one change of a definition that the audit keeps word by word
_FRAME = ("connection", "stream", "filter")  # what every end has, whatever its connector


@dataclass
class Applied:
    """What an `apply` did, by name."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, name: str, verb: str) -> None:
        getattr(self, verb).append(name)


class Pointer(Protocol):
    """Whatever says what is wanted, and can point at a mistake in it."""

    @property
    def folder(self) -> Path:
        """Where relative paths start."""

    def mistake(self, place: Place, message: str) -> DefinitionError:
        """The mistake at a place, to be raised."""


@dataclass(frozen=True)
class Wanted:
    """A connection as somebody wants it, its secrets apart."""

    name: str
    connector: str
    options: dict[str, Any]
    secrets: dict[str, str] = field(repr=False)


def apply(ctx: Context, path: Path, *, env: Mapping[str, str], by: str) -> Applied:
    """Create or update what the file says, all or nothing.

    Raises DefinitionError, also when a side says that the definition is wrong. A side that just does
    not answer is noted: its streams are checked by the first run.
    """
    file = YamlFile(path, env)
    connections, syncs = _shape(file)
    applied = Applied()
    with ctx.reads() as db:
        workspace_id = _workspace(db)
        stored = {
            row.name: row
            for row in db.scalars(select(Connection).where(Connection.workspace_id == workspace_id))
        }
        names = set(db.scalars(select(SyncConfig.name).where(SyncConfig.workspace_id == workspace_id)))
    wanted = {name: read_connection(file, name, raw) for name, raw in connections.items()}
    kinds = {name: row.connector for name, row in stored.items()}
    kinds |= {name: item.connector for name, item in wanted.items()}
    definitions = {name: read_definition(file, name, raw, kinds) for name, raw in syncs.items()}
    for name, definition in definitions.items():
        check_after(file, name, definition, sorted({*names, *definitions}))
    reachable = _reachable(ctx, file, definitions, wanted, stored)
    built = {
        name: check_streams(ctx, file, name, definition, reachable, applied)
        for name, definition in definitions.items()
    }
    with ctx.sessions.begin() as db:
        rows = {
            name: store_connection(ctx, db, workspace_id, item, applied, by) for name, item in wanted.items()
        }
        for row in db.scalars(select(Connection).where(Connection.workspace_id == workspace_id)):
            rows.setdefault(row.name, row)
        configs = {
            name: store_sync(
                ctx, db, workspace_id, name, definition, rows, known(definition, built[name]), applied, by
            )
            for name, definition in definitions.items()
        }
        for name, config in configs.items():
            if (item := built[name]) is not None:
                check_links(db, file, name, config, definitions[name], item)
        _store_order(db, file, configs, definitions)
        _note_circles(db, workspace_id, sorted(configs), applied)
    return applied


def _workspace(db: Session) -> str:
    found = db.scalar(select(Workspace.id).order_by(Workspace.created_at).limit(1))
    if found is None:
        raise DefinitionError("There is no workspace yet. Run: syncline release")
    return found


# -- what the file says ----------------------------------------------------------------------------


def _shape(file: YamlFile) -> tuple[dict[str, Any], dict[str, Any]]:
    content = file.content
    if content is None:
        raise file.mistake((), "it says nothing. It must hold `connections:` and `syncs:`.")
    if not isinstance(content, dict):
        raise file.mistake((), "it must hold `connections:` and `syncs:`.")
    for key in content:
        if key not in ("connections", "syncs"):
            raise file.mistake((key,), f"'{key}' is not known here." + nearest(key, ["connections", "syncs"]))
    found = []
    for key in ("connections", "syncs"):
        part = content.get(key)
        if part is None:
            part = {}
        if not isinstance(part, dict):
            raise file.mistake(
                (key,), f"`{key}` holds names, each with what it says: `{key}: {{a_name: ...}}`."
            )
        for name in part:
            check_name(file, (key, name), name)
        found.append(part)
    return found[0], found[1]


def check_name(file: Pointer, place: Place, name: str) -> None:
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise file.mistake(place, f"a name has 1 to {LONGEST_NAME} printable characters.")


def read_connection(file: Pointer, name: str, raw: Any) -> Wanted:
    place = ("connections", name)
    if not isinstance(raw, dict):
        raise file.mistake(place, "a connection has a `connector` and `options`.")
    for key in raw:
        if key not in ("connector", "options"):
            raise file.mistake(
                (*place, key), f"'{key}' is not known here." + nearest(key, ["connector", "options"])
            )
    if "connector" not in raw:
        raise file.mistake((*place, "connector"), "'connector' is missing." + nearest("", catalog.names()))
    kind_name = raw["connector"]
    if kind_name not in catalog.names():
        raise file.mistake(
            (*place, "connector"),
            f"'{kind_name}' is not a connector." + nearest(str(kind_name), catalog.names()),
        )
    kind = catalog.get(kind_name)
    options = raw.get("options")
    if options is None:
        options = {}
    if not isinstance(options, dict):
        raise file.mistake((*place, "options"), "options are names with values.")
    anchored = kind.anchor(options, file.folder)
    try:
        parsed = kind.Options.model_validate(anchored)
    except pydantic.ValidationError as problem:
        raise _pointed(file, (*place, "options"), problem, kind.Options, shows_values=False) from None
    plain, secrets = split_secrets(parsed)
    return Wanted(name, kind.name, plain, secrets)


def split_secrets(options: BaseModel) -> tuple[dict[str, Any], dict[str, str]]:
    """Options as plain JSON, and apart from them the values of the fields of type SecretStr."""
    secrets = {
        name: value.get_secret_value()
        for name in type(options).model_fields
        if isinstance(value := getattr(options, name), SecretStr)
    }
    plain = options.model_dump(mode="json", exclude=set(secrets), exclude_none=True)
    return plain, secrets


def read_definition(file: Pointer, name: str, raw: Any, kinds: Mapping[str, str]) -> SyncDefinition:
    """`kinds`: connection -> connector, of all that there will be."""
    place = ("syncs", name)
    if not isinstance(raw, dict):
        raise file.mistake(place, "a sync has a `left` and a `right` end.")
    try:
        definition = SyncDefinition.model_validate(raw)
    except pydantic.ValidationError as problem:
        raise _pointed(file, place, problem, SyncDefinition) from None
    for side in SIDES:
        end = definition.end(side)
        if end.connection not in kinds:
            raise file.mistake(
                (*place, side, "connection"),
                f"there is no connection '{end.connection}'." + nearest(end.connection, sorted(kinds)),
            )
        _check_end(file, (*place, side), end, catalog.get(kinds[end.connection]))
    if definition.schedule is not None:
        try:
            read_schedule(definition.schedule.cron, definition.schedule.timezone)
        except ScheduleProblem as problem:
            about = "timezone" if "is not a time zone" in str(problem) else "cron"
            raise file.mistake((*place, "schedule", about), str(problem)) from None
    return definition


def _check_end(file: Pointer, place: Place, end: EndSpec, kind: type[Connector]) -> None:
    """What an end says beside connection, stream and filter belongs to its connector."""
    try:
        kind.StreamOptions.model_validate(end.options)
    except pydantic.ValidationError as problem:
        raise _pointed(file, place, problem, kind.StreamOptions, more_words=_FRAME) from None
    if not end.stream and "query" not in end.options:
        raise file.mistake((*place, "stream"), "'stream' is missing: which table, tab or file it is.")


def check_after(file: Pointer, name: str, definition: SyncDefinition, known: Sequence[str]) -> None:
    for number, other in enumerate(definition.after):
        if other not in known:
            raise file.mistake(
                ("syncs", name, "after", str(number)), f"there is no sync '{other}'." + nearest(other, known)
            )


# -- a model's mistakes, pointed at -----------------------------------------------------------------

_PLAIN_WORDS = (
    (("bool_",), "must be true or false"),
    (("int_",), "must be a whole number"),
    (("decimal_", "float_"), "must be a number"),
    (("string_type", "string_sub_type"), "must be a text; put a number or a yes in quotes"),
    (("time_delta_",), "must be a duration, such as 30s, 5m, 2h or 1d"),
    (("tuple_type", "list_type"), "must be a list"),
    (("model_type", "model_attributes_type", "dict_type", "dataclass_type"), "must hold names with values"),
)


def _pointed(
    file: Pointer,
    place: Place,
    problem: pydantic.ValidationError,
    model: type[BaseModel],
    *,
    more_words: Sequence[str] = (),
    shows_values: bool = True,
) -> DefinitionError:
    """The first mistake of a model, at its place in the file, with the nearest right word."""
    mistake = _most_telling(problem)
    where = _keys_of(mistake["loc"])
    kind, given = mistake["type"], mistake.get("input")
    shown = f", not '{given}'" if shows_values and isinstance(given, str | int) else ""
    plain = next((said for signs, said in _PLAIN_WORDS if kind.startswith(signs)), None)
    if kind == "extra_forbidden":
        words = [*_words(model, where[:-1]), *(more_words if len(where) == 1 else ())]
        message = f"'{where[-1]}' is not known here." + nearest(where[-1], words)
    elif kind == "missing":
        near = difflib.get_close_matches(where[-1], given if isinstance(given, dict) else (), n=1)
        message = f"'{where[-1]}' is missing." + (f" Is it meant by '{near[0]}'?" if near else "")
    elif kind in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']*)'", str(mistake.get("ctx", {}).get("expected", "")))
        word = str(given) if isinstance(given, str | int) else ""
        message = (f"'{word}' is not allowed." if shown else "this word is not allowed.") + nearest(
            word, allowed
        )
    elif plain is not None:
        message = f"{plain}{shown}."
    else:
        message = str(mistake["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if not message.endswith((".", "?")):
        message += "."
    return file.mistake((*place, *where), message)


def _most_telling(problem: pydantic.ValidationError) -> Any:
    """The first mistake; but a word that is not known tells more than another that is missing. Of a value
    that may be a word or a model, the mistake about the word, if it is one."""
    mistakes = problem.errors(include_url=False)
    first = mistakes[0]
    at = _keys_of(first["loc"])
    for other in mistakes[1:]:
        here, is_word = _keys_of(other["loc"]), other["type"] in ("enum", "literal_error")
        if first["type"] == "missing" and other["type"] == "extra_forbidden" and here[:-1] == at[:-1]:
            return other
        if isinstance(first.get("input"), str) and is_word and here == at:
            return other
    return first


def _keys_of(location: tuple[int | str, ...]) -> Place:
    """A location as keys of the file: pydantic's names of the branches of a union are left out."""
    parts = [str(part) for part in location]
    return tuple(
        part
        for index, part in enumerate(parts)
        if not (
            part.startswith(("literal[", "function-", "lax-or", "tuple["))
            or (part.endswith(("Spec", "Policy")) and part[:1].isupper() and index > 0)
        )
    )


def _words(model: type[BaseModel], where: Place) -> list[str]:
    """The keys that are known at a place of a model."""
    here: Any = model
    for part in where:
        if part.isdigit():
            continue
        info = here.model_fields.get(part) if hasattr(here, "model_fields") else None
        if info is None:
            return []
        here = _model_in(info.annotation)
        if here is None:
            return []
    return list(here.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if (found := _model_in(part)) is not None:
            return found
    return None


# -- what the two ends say -------------------------------------------------------------------------


def _reachable(
    ctx: Context,
    file: YamlFile,
    definitions: Mapping[str, SyncDefinition],
    wanted: Mapping[str, Wanted],
    stored: Mapping[str, Connection],
) -> dict[str, Wanted]:
    """The connections that the file's syncs use: its own, and those that were stored before."""
    found = dict(wanted)
    for name, definition in definitions.items():
        for side in SIDES:
            used = definition.end(side).connection
            if used in found:
                continue
            row = stored[used]
            try:
                found[used] = Wanted(used, row.connector, dict(row.options), secrets_of(ctx, row))
            except SecretUnreadable:
                raise file.mistake(
                    ("syncs", name, side, "connection"),
                    f"the stored secrets of '{used}' cannot be decrypted any more. Describe the connection in"
                    " this file to enter them again.",
                ) from None
    return found


def check_streams(
    ctx: Context,
    file: Pointer,
    name: str,
    definition: SyncDefinition,
    connections: Mapping[str, Wanted],
    applied: Applied,
) -> Built | None:
    """The definition tied to its streams as they are now; None where a side does not answer."""
    place = ("syncs", name)
    ends: dict[Any, End] = {}
    opened: list[Connector] = []
    missing: dict[Side, tuple[Connector, bool]] = {}
    try:
        for side in SIDES:
            item = connections[definition.end(side).connection]
            try:
                opened.append(ctx.connector(item.connector, {**item.options, **item.secrets}))
                ends[side] = open_end(opened[-1], side, definition)
            except (RetryableError, AuthError) as problem:
                applied.notes.append(f"{name}: not checked against {side}: {problem.message}")
                return None
            except ConnectorError as problem:
                if not is_to_be_made(problem, side, definition) or missing:
                    raise file.mistake(_place_of(problem, place, side, definition), problem.message) from None
                missing[side] = opened[-1], isinstance(problem, StreamBlank)
        for side, (connector, is_blank) in missing.items():
            try:
                made = planned_end(connector, side, definition, ends[records.other(side)])
                ends[side] = replace(made, is_blank=is_blank)
            except ConnectorError as problem:
                raise file.mistake(_place_of(problem, place, side, definition), problem.message) from None
            applied.notes.append(f"{name}: {will_make(ends[side])}")
        try:
            built = tie(definition, ends, saving=True)
        except DefinitionError as problem:
            raise file.mistake((*place, *problem.place.split(".")), problem.message) from None
    finally:
        for connector in opened:
            connector.close()
    for side in SIDES:
        for note in ends[side].stream.problems:
            applied.notes.append(f"{name}: {side}: {note}")
    return built


def known(definition: SyncDefinition, built: Built | None) -> list[str]:
    """The pairs that an omitted `fields` stands for."""
    if definition.fields is not None or built is None:
        return []
    return [pair.name for pair in built.rules.mapping.pairs]


def _note_circles(db: Session, workspace_id: str, names: Sequence[str], applied: Applied) -> None:
    """Circles are allowed, and settle; but who made one by mistake should know."""
    ways = []
    for row in db.scalars(select(SyncConfig).where(SyncConfig.workspace_id == workspace_id)):
        left = row.left_connection_id, row.definition.get("left", {}).get("stream")
        right = row.right_connection_id, row.definition.get("right", {}).get("stream")
        direction = Direction(row.definition.get("direction", Direction.BOTH))
        ways.append(Way(row.name, left, right, direction))
    told: set[frozenset[str]] = set()
    for name in names:
        found = circle(ways, name)
        if found and frozenset(found) not in told:
            told.add(frozenset(found))
            applied.notes.append(
                f"{', '.join(found)} form a circle: an edit comes back to where it was made. It settles, but"
                " with different policies it may take several runs. Give one of them a direction."
            )


def check_links(
    db: Session, file: Pointer, name: str, config: SyncConfig, definition: SyncDefinition, built: Built
) -> None:
    """Each link leads to records that some sync between the same two connections carries."""
    numbers = {spec.left: number for number, spec in enumerate(definition.fields or ())}
    for pair in built.rules.mapping.pairs:
        if pair.links_to is None or relations.linked_syncs(db, config, *pair.links_to):
            continue
        side, stream = pair.links_to
        place = ("fields", str(numbers[pair.name])) if pair.name in numbers else ()
        raise file.mistake(
            ("syncs", name, *place),
            f"'{pair.name}' links to records of '{stream}' on {side}, and no sync between"
            f" '{definition.left.connection}' and '{definition.right.connection}' carries these. Add one, or"
            " let links flow as they are: linked_records: {resolve: false}.",
        )


def _place_of(problem: ConnectorError, place: Place, side: str, definition: SyncDefinition) -> Place:
    options = definition.left.options if side == "left" else definition.right.options
    if problem.field is not None and problem.field in str(options.get("key", "")):
        return (*place, side, "key")
    return (*place, side, "stream") if isinstance(problem, StreamGone) else (*place, side)


# -- storing ---------------------------------------------------------------------------------------


def store_connection(
    ctx: Context, db: Session, workspace_id: str, item: Wanted, applied: Applied, by: str
) -> Connection:
    now = ctx.db_now(db)
    row = db.scalar(
        select(Connection).where(Connection.workspace_id == workspace_id, Connection.name == item.name)
    )
    label = f"connection {item.name}"
    if row is None:
        row = Connection(
            id=ctx.new_id(), workspace_id=workspace_id, name=item.name, connector=item.connector,
            options=item.options, created_at=now, updated_at=now,
        )  # fmt: skip
        if _is_remembered(db, workspace_id, item.name):
            row.known_as = row.id  # another one had this name when its runs began
        db.add(row)
        applied.note(label, "created")
        audit.record(
            db, "connection.created", row.id, by=by, at=now, workspace_id=workspace_id, name=item.name
        )
    elif (row.connector, row.options) == (item.connector, item.options) and _has(ctx, row, item.secrets):
        applied.note(label, "unchanged")
        return row
    else:
        row.connector, row.options, row.updated_at = item.connector, item.options, now
        applied.note(label, "updated")
        audit.record(
            db, "connection.changed", row.id, by=by, at=now, workspace_id=workspace_id, name=item.name
        )
    row.secrets = ctx.ring.encrypt(json.dumps(item.secrets), place_of(row)) if item.secrets else None
    db.flush()
    return row


def _is_remembered(db: Session, workspace_id: str, name: str) -> bool:
    return (
        db.scalar(
            select(Connection.id).where(Connection.workspace_id == workspace_id, Connection.known_as == name)
        )
        is not None
    )


def _has(ctx: Context, row: Connection, secrets: Mapping[str, str]) -> bool:
    """Whether these are the stored secrets. Those that cannot be read any more are no longer any."""
    try:
        return secrets_of(ctx, row) == secrets
    except SecretUnreadable:
        return False


def store_sync(
    ctx: Context,
    db: Session,
    workspace_id: str,
    name: str,
    definition: SyncDefinition,
    connections: Mapping[str, Connection],
    pairs: list[str],
    applied: Applied,
    by: str,
    owner_id: str | None = None,
) -> SyncConfig:
    now = ctx.db_now(db)
    stored = definition.model_dump(mode="json", exclude_unset=True, by_alias=True)
    row = db.scalar(
        select(SyncConfig).where(SyncConfig.workspace_id == workspace_id, SyncConfig.name == name)
    )
    label = f"sync {name}"
    schedule = definition.schedule
    is_new = row is None
    if row is None:
        row = SyncConfig(
            id=ctx.new_id(),
            workspace_id=workspace_id,
            name=name,
            created_at=now,
            version=0,
            owner_id=owner_id,
        )
        db.add(row)
    elif row.definition == stored:
        applied.note(label, "unchanged")
        return row
    changes = differences(row.definition, stored) if not is_new else []
    changed_schedule = is_new or (row.cron, row.timezone, row.active, row.auto) != (
        schedule.cron if schedule else HOURLY,
        schedule.timezone if schedule else "UTC",
        definition.active,
        definition.auto,
    )
    row.definition, row.known_pairs, row.version = stored, pairs, row.version + 1
    row.left_connection_id = connections[definition.left.connection].id
    row.right_connection_id = connections[definition.right.connection].id
    row.cron = schedule.cron if schedule else HOURLY
    row.timezone = schedule.timezone if schedule else "UTC"
    row.missed = schedule.missed if schedule else "latest"
    row.active, row.auto = definition.active, definition.auto
    row.priority = PRIORITIES[definition.priority]
    row.updated_at = now
    if changed_schedule:
        schedules.reschedule(row, now)
    db.flush()
    applied.note(label, "created" if is_new else "updated")
    action = "config.created" if is_new else "config.changed"
    detail: dict[str, Any] = (
        {"changes": [asdict(change) for change in changes[:MOST_CHANGES]]} if changes else {}
    )
    audit.record(
        db, action, row.id, by=by, at=now, workspace_id=workspace_id, name=name, version=row.version, **detail
    )
    return row


def _store_order(
    db: Session,
    file: YamlFile,
    configs: Mapping[str, SyncConfig],
    definitions: Mapping[str, SyncDefinition],
) -> None:
    """Who runs after whom. All that the file says replaces all that was: only then is a circle one."""
    for config in configs.values():
        chains.save_after(db, config, ())
    for name, definition in definitions.items():
        try:
            chains.save_after(db, configs[name], definition.after)
        except DefinitionError as problem:
            raise file.mistake(("syncs", name, "after"), problem.message) from None
