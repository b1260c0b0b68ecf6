"""INSERT ... ON CONFLICT, which both databases have and SQLAlchemy spells once for each."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models.db import Base


def insert_or_ignore(db: Session, model: type[Base]) -> Any:
    """An INSERT that leaves out the rows that a unique index already has."""
    return _insert(db, model).on_conflict_do_nothing()


def insert_or_update(db: Session, model: type[Base], values: dict[str, Any], *, key: str) -> Any:
    """An INSERT of one row that updates the row with the same key instead."""
    insert = _insert(db, model).values(values)
    return insert.on_conflict_do_update(
        index_elements=[key], set_={name: insert.excluded[name] for name in values if name != key}
    )


def _insert(db: Session, model: type[Base]) -> Any:
    dialect = sqlite if db.get_bind().dialect.name == "sqlite" else postgresql
    return dialect.insert(model)
