"""Configuration as code: a YAML file becomes connections and sync configs, or one clear mistake.

Everything is checked before anything is stored. A mistake names file, line, field and, for a typo, the
nearest right word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel, SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors import catalog
from connectors.base import Connector
from connectors.errors import AuthError, ConnectorError, RetryableError
from models.connections import Connection
from models.people import Workspace
from models.sync_configs import SyncConfig
from sync.definition import HOURLY, SyncDefinition, nearest
from sync.records import SIDES
from sync.schedule import ScheduleProblem
from tasks import audit, chains, schedules
from tasks.context import Context
from tasks.errors import DefinitionError
from tasks.sides import open_end, place_of, secrets_of, tie

PRIORITIES = {"high": 0, "normal": 1, "low": 2}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass
class Applied:
    """What an `apply` did, by name."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, name: str, verb: str) -> None:
        getattr(self, verb).append(name)


class _File:
    """A YAML file with the line of every value, so that a mistake can be pointed at."""

    def __init__(self, path: Path, text: str, env: Mapping[str, str]) -> None:
        self.path = path
        self.lines: dict[tuple[str, ...], int] = {}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content = {} if node is None else self._value(node, (), env)
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            line = mark.line + 1 if mark else 1
            raise DefinitionError(f"{path}, line {line}: not valid YAML: {problem.problem}.") from None
        except yaml.YAMLError as problem:
            raise DefinitionError(f"{path}: not valid YAML: {problem}.") from None

    def _value(self, node: yaml.Node, place: tuple[str, ...], env: Mapping[str, str]) -> Any:
        self.lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = yaml.SafeLoader("").construct_object(key_node, deep=True)
                key = str(key) if not isinstance(key, bool) else ("true" if key else "false")
                if key in found:
                    raise self.mistake((*place, key), f"'{key}' stands here twice.", key_node)
                found[key] = self._value(value_node, (*place, key), env)
                self.lines[*place, key] = key_node.start_mark.line + 1
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, str(n)), env) for n, item in enumerate(node.value)]
        value = _construct(node)
        return self._expand(value, place, env) if isinstance(value, str) else value

    def _expand(self, text: str, place: tuple[str, ...], env: Mapping[str, str]) -> str:
        def put(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in env:
                raise self.mistake(place, f"the environment has no {name}.")
            return env[name]

        return _REFERENCE.sub(put, text)

    def mistake(self, place: tuple[str, ...], message: str, node: yaml.Node | None = None) -> DefinitionError:
        where = place
        while where and where not in self.lines:
            where = where[:-1]
        line = node.start_mark.line + 1 if node is not None else self.lines.get(where, 1)
        dotted = ".".join(place)
        return DefinitionError(f"{self.path}, line {line}, {dotted or 'the file'}: {message}")


def _construct(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node, deep=True)
    finally:
        loader.dispose()
    return value


@dataclass(frozen=True)
class _Wanted:
    """A connection as the file wants it, its secrets apart."""

    name: str
    connector: str
    options: dict[str, Any]
    secrets: dict[str, str]


def apply(ctx: Context, path: Path, *, env: Mapping[str, str], by: str) -> Applied:
    """Create or update what the file says, all or nothing.

    Raises DefinitionError, and ConnectorError when a side says that the definition is wrong. A side
    that just does not answer is noted: its streams are checked by the first run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DefinitionError(f"There is no file '{path}'.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise DefinitionError(f"'{path}' cannot be read: {problem}.") from None
    file = _File(path, text, env)
    connections, syncs = _shape(file)
    applied = Applied()
    with ctx.reads() as db:
        workspace_id = _workspace(db)
        known = {
            row.name: _Wanted(row.name, row.connector, dict(row.options), secrets_of(ctx, row))
            for row in db.scalars(select(Connection).where(Connection.workspace_id == workspace_id))
        }
    wanted = {name: _connection(ctx, file, name, raw) for name, raw in connections.items()}
    reachable = {**known, **wanted}
    definitions = {name: _definition(file, name, raw, reachable) for name, raw in syncs.items()}
    pairs = {
        name: _check_streams(ctx, file, name, definition, reachable, applied)
        for name, definition in definitions.items()
    }
    with ctx.sessions.begin() as db:
        rows = {
            name: _store_connection(ctx, db, workspace_id, item, applied, by) for name, item in wanted.items()
        }
        for row in db.scalars(select(Connection).where(Connection.workspace_id == workspace_id)):
            rows.setdefault(row.name, row)
        configs = {
            name: _store_sync(
                ctx, db, workspace_id, file, name, definition, syncs[name], rows, pairs[name], applied, by
            )
            for name, definition in definitions.items()
        }
        for name, definition in definitions.items():
            try:
                chains.save_after(db, configs[name], definition.after)
            except DefinitionError as problem:
                raise file.mistake(("syncs", name, "after"), problem.message) from None
    return applied


def _workspace(db: Session) -> str:
    found = db.scalar(select(Workspace.id).order_by(Workspace.created_at).limit(1))
    if found is None:
        raise DefinitionError("There is no workspace yet. Run: syncline release")
    return found


def _shape(file: _File) -> tuple[dict[str, Any], dict[str, Any]]:
    content = file.content
    if not isinstance(content, dict):
        raise file.mistake((), "the file must hold `connections:` and `syncs:`.")
    for key in content:
        if key not in ("connections", "syncs"):
            raise file.mistake((key,), f"'{key}' is not known here." + nearest(key, ["connections", "syncs"]))
    found = []
    for key in ("connections", "syncs"):
        part = content.get(key) or {}
        if not isinstance(part, dict):
            raise file.mistake((key,), f"`{key}` must be a list of names, each with what it says.")
        found.append(part)
    return found[0], found[1]


def _connection(ctx: Context, file: _File, name: str, raw: Any) -> _Wanted:
    place = ("connections", name)
    if not isinstance(raw, dict):
        raise file.mistake(place, "a connection has a `connector` and `options`.")
    for key in raw:
        if key not in ("connector", "options"):
            raise file.mistake(
                (*place, key), f"'{key}' is not known here." + nearest(key, ["connector", "options"])
            )
    kind_name = raw.get("connector")
    if not isinstance(kind_name, str) or kind_name not in catalog.names():
        raise file.mistake(
            (*place, "connector"),
            f"'{kind_name}' is not a connector." + nearest(str(kind_name), catalog.names()),
        )
    kind = catalog.get(kind_name)
    options = raw.get("options") or {}
    if not isinstance(options, dict):
        raise file.mistake((*place, "options"), "options are names with values.")
    return wanted_connection(file, place, name, kind, kind.anchor(options, file.path.resolve().parent))


def wanted_connection(
    file: _File, place: tuple[str, ...], name: str, kind: type[Connector], options: Mapping[str, Any]
) -> _Wanted:
    try:
        parsed = kind.Options.model_validate(options)
    except pydantic.ValidationError as problem:
        raise _pointed(file, (*place, "options"), problem, kind.Options) from None
    plain, secrets = split_secrets(parsed)
    return _Wanted(name, kind.name, plain, secrets)


def split_secrets(options: BaseModel) -> tuple[dict[str, Any], dict[str, str]]:
    """Options as plain JSON, and apart from them the values of the fields of type SecretStr."""
    secrets = {
        name: value.get_secret_value()
        for name in type(options).model_fields
        if isinstance(value := getattr(options, name), SecretStr)
    }
    plain = options.model_dump(mode="json", exclude=set(secrets), exclude_none=True)
    return plain, secrets


def _definition(file: _File, name: str, raw: Any, connections: Mapping[str, _Wanted]) -> SyncDefinition:
    place = ("syncs", name)
    if not isinstance(raw, dict):
        raise file.mistake(place, "a sync has a `left` and a `right` end.")
    try:
        definition = SyncDefinition.model_validate(raw)
    except pydantic.ValidationError as problem:
        raise _pointed(file, place, problem, SyncDefinition) from None
    for side in SIDES:
        connection = definition.end(side).connection
        if connection not in connections:
            raise file.mistake(
                (*place, side, "connection"),
                f"there is no connection '{connection}'." + nearest(connection, list(connections)),
            )
    return definition


def _pointed(
    file: _File, place: tuple[str, ...], problem: pydantic.ValidationError, model: type[BaseModel]
) -> DefinitionError:
    """The first mistake of a model, at its place in the file, with the nearest right word."""
    mistake = problem.errors(include_url=False)[0]
    where = tuple(str(part) for part in mistake["loc"] if not _is_branch(str(part)))
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "extra_forbidden":
        message = f"'{where[-1]}' is not known here." + nearest(where[-1], _words(model, where[:-1]))
    elif mistake["type"] == "missing":
        message = f"'{where[-1]}' is missing."
    elif mistake["type"] in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']*)'", str(mistake.get("ctx", {}).get("expected", "")))
        message = f"'{mistake.get('input')}' is not allowed." + nearest(str(mistake.get("input")), allowed)
    if not message.endswith((".", "?")):
        message += "."
    return file.mistake((*place, *where), message)


def _is_branch(part: str) -> bool:
    """Whether this part of a location names a branch of a union and not a key of the file."""
    return part[:1].isupper() or part.startswith(("literal[", "function-", "lax-or", "tuple["))


def _words(model: type[BaseModel], where: tuple[str, ...]) -> list[str]:
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


def _check_streams(
    ctx: Context,
    file: _File,
    name: str,
    definition: SyncDefinition,
    connections: Mapping[str, _Wanted],
    applied: Applied,
) -> list[str]:
    """Tie the definition to its streams as they are now; the pairs that an omitted `fields` stands for."""
    place = ("syncs", name)
    ends = {}
    opened: list[Connector] = []
    try:
        for side in SIDES:
            item = connections[definition.end(side).connection]
            try:
                connector = ctx.connector(item.connector, {**item.options, **item.secrets})
                opened.append(connector)
                ends[side] = open_end(connector, side, definition)
            except (RetryableError, AuthError) as problem:
                applied.notes.append(f"{name}: not checked against {side}: {problem.message}")
                return []
            except ConnectorError as problem:
                raise file.mistake((*place, side), problem.message) from None
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
    return [pair.name for pair in built.rules.mapping.pairs] if definition.fields is None else []


def _store_connection(
    ctx: Context, db: Session, workspace_id: str, item: _Wanted, applied: Applied, by: str
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
        db.add(row)
        applied.note(label, "created")
        audit.record(
            db, "connection.created", row.id, by=by, at=now, workspace_id=workspace_id, name=item.name
        )
    elif (row.connector, row.options, secrets_of(ctx, row)) == (item.connector, item.options, item.secrets):
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


def _store_sync(
    ctx: Context,
    db: Session,
    workspace_id: str,
    file: _File,
    name: str,
    definition: SyncDefinition,
    raw: Mapping[str, Any],
    connections: Mapping[str, Connection],
    pairs: list[str],
    applied: Applied,
    by: str,
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
        row = SyncConfig(id=ctx.new_id(), workspace_id=workspace_id, name=name, created_at=now, version=0)
        db.add(row)
    elif row.definition == stored:
        applied.note(label, "unchanged")
        return row
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
        try:
            schedules.reschedule(row, now)
        except ScheduleProblem as problem:
            raise file.mistake(("syncs", name, "schedule"), str(problem)) from None
    db.flush()
    applied.note(label, "created" if is_new else "updated")
    action = "config.created" if is_new else "config.changed"
    audit.record(db, action, row.id, by=by, at=now, workspace_id=workspace_id, name=name, version=row.version)
    return row
