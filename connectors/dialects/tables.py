"""Tables and views as they are now, reflected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector

from connectors.dialects.base import AS_IS, Database, ForeignKey, Table

MARKERS = "syncline_markers"
OURS = frozenset({MARKERS})  # what we keep in a database ourselves is no stream


def names(database: Database, connection: Connection) -> list[str]:
    """The names of all streams."""
    inspector = sa.inspect(connection)
    return [
        _joined(schema, name)
        for schema in database.schemas(inspector)
        for name in sorted(
            {*database.table_names(inspector, schema), *database.view_names(inspector, schema)} - OURS
        )
    ]


def all_tables(database: Database, connection: Connection) -> list[Table]:
    """Every table and view, with its columns and keys."""
    inspector = sa.inspect(connection)
    read_only = database.read_only(connection)
    return [
        table
        for schema in database.schemas(inspector)
        for table in _reflected(database, connection, inspector, read_only, schema, None)
        if table.bare_name not in OURS
    ]


def table(database: Database, connection: Connection, name: str) -> Table | None:
    """One table or view; None if there is none of this name."""
    inspector = sa.inspect(connection)
    read_only = database.read_only(connection)
    # A name with a dot may be a schema and a table, or one table with a dot in its name.
    schema, dot, bare_name = name.partition(".")
    places: list[tuple[str | None, str]] = [(None, name)]
    if dot and schema in database.schemas(inspector):
        places.append((schema, bare_name))
    for place, wanted in places:
        found = _reflected(database, connection, inspector, read_only, place, [wanted])
        if found:
            return found[0]
    return None


def _joined(schema: str | None, name: str) -> str:
    return name if schema is None else f"{schema}.{name}"


def _reflected(
    database: Database,
    connection: Connection,
    inspector: Inspector,
    read_only: Mapping[tuple[str | None, str], str],
    schema: str | None,
    wanted: Sequence[str] | None,
) -> list[Table]:
    columns = database.columns(inspector, schema, wanted)
    keys = database.primary_keys(inspector, schema, wanted)
    uniques = database.unique(inspector, schema, wanted)
    views = database.view_names(inspector, schema)
    foreign_keys = _foreign_keys(database, connection, inspector, schema)
    found = []
    for name in sorted(columns):
        key_name, primary_key = keys.get(name, ("", ()))
        unique = dict(uniques.get(name, {}))
        if key_name:
            unique[key_name] = primary_key
        found.append(
            Table(
                name=_joined(schema, name),
                schema=schema,
                bare_name=name,
                columns=tuple(_columns(database, connection, schema, name, columns[name], primary_key)),
                primary_key=primary_key,
                unique={constraint: names for constraint, names in unique.items() if names},
                is_view=name in views,
                read_only_because=read_only.get((None, ""), "") or read_only.get((schema, name), ""),
                foreign_keys=tuple(foreign_keys.get(_joined(schema, name), ())),
                referred_by=tuple(
                    (table, item)
                    for table, items in foreign_keys.items()
                    for item in items
                    if item.stream == _joined(schema, name)
                ),
            )
        )
    return found


def _foreign_keys(
    database: Database, connection: Connection, inspector: Inspector, schema: str | None
) -> dict[str, list[ForeignKey]]:
    """The foreign keys of one column that lead to a table's own single key, by the table that has them."""
    found: dict[str, list[ForeignKey]] = {}
    keys = {name: columns for name, (_, columns) in database.primary_keys(inspector, schema, None).items()}
    cascading = database.cascading(connection, inspector, schema)
    for name, items in database.references(inspector, schema).items():
        for item in items:
            columns, there = item["constrained_columns"], item["referred_table"]
            is_key = item["referred_schema"] == schema and keys.get(there) == tuple(item["referred_columns"])
            if len(columns) == 1 and is_key:
                found.setdefault(_joined(schema, name), []).append(
                    ForeignKey(columns[0], _joined(schema, there), (name, columns[0]) in cascading)
                )
    return found


def _columns(
    database: Database,
    connection: Connection,
    schema: str | None,
    name: str,
    reflected: Sequence[ReflectedColumn],
    primary_key: tuple[str, ...],
) -> list[Any]:
    clause = sa.table(name, *(sa.column(column["name"], AS_IS) for column in reflected), schema=schema)
    return [
        database.column(
            connection,
            clause,
            column,
            fills=primary_key == (column["name"],) and database.fills(connection, name, column),
        )
        for column in reflected
    ]
