"""Conflicts, by record: a person looks at a record, not at single fields; and plans to settle many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Select, and_, or_, select

from models.issues import Conflict
from models.sync_configs import SyncConfig
from tasks.redaction import masked_body
from web.database import db
from web.languages import _
from web.reads.impact import of_conflicts, of_records
from web.reads.query import (
    BadFilter,
    Beside,
    Export,
    Slice,
    config_names,
    export,
    is_word,
    keyset,
    neighbours,
)
from web.reads.values import Shown, wrapped
from web.words import both, side

STATES = ("open", "answered", "settled")
EXPORTED = (
    "conflict", "sync", "record", "field", "left", "right", "left_agreed", "right_agreed",
    "state", "answer", "answered_by", "opened_at", "closed_at",
)  # fmt: skip
MOST = 500  # conflicts that one plan settles; the next slice follows


def is_waiting() -> ColumnElement[bool]:
    """Open, and nobody has answered: an answer is written by the next run, which closes it."""
    return and_(is_word(Conflict.state, "open"), _unanswered())


def _unanswered() -> ColumnElement[bool]:
    # A JSON column holds "nothing" in two ways: never set, and set to null.
    return or_(Conflict.resolution.is_(None), Conflict.resolution == JSON.NULL)


@dataclass(frozen=True, slots=True)
class ConflictFilter:
    config_id: str = ""
    state: str = "open"

    @classmethod
    def of(cls, args: Mapping[str, str]) -> ConflictFilter:
        """Raises BadFilter."""
        state = args.get("state", "open")
        if state not in STATES:
            raise BadFilter(
                _(
                    "'%(word)s' is not a state of conflicts. Use %(states)s.",
                    word=state[:40],
                    states=both(list(STATES), "or"),
                )
            )
        return cls(args.get("config", "")[:36], state)

    def args(self, **changed: str) -> dict[str, str]:
        named = {"config": self.config_id, "state": self.state} | changed
        return {name: value for name, value in named.items() if value and value != "open"}

    def rows(self, workspace_id: str) -> Select[Conflict]:
        is_open = is_word(Conflict.state, "open")
        state = {"open": is_waiting(), "answered": and_(is_open, ~_unanswered()), "settled": ~is_open}
        query = select(Conflict).where(Conflict.workspace_id == workspace_id, state[self.state])
        return query.where(Conflict.config_id == self.config_id) if self.config_id else query


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One field, or (field "") one side's edit against the other's deletion."""

    conflict: Conflict
    left: Shown
    right: Shown
    left_before: Shown
    right_before: Shown

    @property
    def is_delete(self) -> bool:
        return self.conflict.kind == "delete"

    @property
    def seen(self) -> str:
        """What the person sees, as a short text: sent back with the answer."""
        return seen_of(self.conflict)

    @property
    def answer(self) -> str:
        """What was answered, in words; nothing while nobody has."""
        answer = self.conflict.resolution
        if not answer:
            return ""
        if answer.get("take") in ("left", "right"):
            return _("%(side)s stands", side=side(str(answer["take"])))
        return _("both become %(value)s", value=wrapped(answer.get("value")))

    def handed_on(self, shown: Shown) -> str:
        """A side for a text that goes elsewhere: credentials are taken out by their names, as from calls."""
        if shown.text is None:
            return shown.gap
        named = {self.conflict.field: shown.text}
        return masked_body(shown.text if self.is_delete else json.dumps(named, ensure_ascii=False))

    def effect(self, take: str) -> str:
        """What taking this side writes, as a sentence."""
        if self.is_delete:
            gone = "left" if self.conflict.left is None else "right"
            there = "right" if gone == "left" else "left"
            if take == gone:
                return _("the record is deleted on %(side)s too", side=side(there))
            return _("it is made again on %(side)s", side=side(gone))
        if take == "left":
            return _("right becomes %(value)s", value=self.left)
        return _("left becomes %(value)s", value=self.right)


@dataclass(frozen=True, slots=True)
class ConflictRow:
    conflict: Conflict
    config: str
    what: Disagreement
    means: str = ""  # the columns that say what it means for the business, where its sync names some


@dataclass(frozen=True, slots=True)
class Hit:
    """What the open conflicts of one sync mean for the business."""

    config_id: str
    config: str
    words: str


@dataclass(frozen=True, slots=True)
class Contested:
    """A record with everything in it that is open."""

    key: str
    config: SyncConfig
    first: Conflict
    fields: Sequence[Disagreement]
    alike: int  # other waiting conflicts of the same field in the same sync
    means: str = ""  # as of a ConflictRow

    @property
    def since(self) -> datetime:
        return min(item.conflict.opened_at for item in self.fields)

    @property
    def waiting(self) -> Sequence[Disagreement]:
        return [item for item in self.fields if not item.conflict.resolution]


@dataclass(frozen=True, slots=True)
class Plan:
    """What taking one side in many conflicts would write: exactly these, as they are now."""

    take: str
    rows: Sequence[ConflictRow]
    more: bool  # there are further ones beyond the cap

    @property
    def digest(self) -> str:
        return digest_of([row.conflict for row in self.rows])


def seen_of(conflict: Conflict) -> str:
    """A text that differs when either side of a conflict does."""
    told = json.dumps([conflict.id, conflict.left, conflict.right], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def digest_of(conflicts: Sequence[Conflict]) -> str:
    return hashlib.sha256("".join(seen_of(item) for item in conflicts).encode()).hexdigest()[:32]


def find(workspace_id: str, wanted: ConflictFilter, args: Mapping[str, str]) -> Slice[ConflictRow]:
    """One page of conflicts, the newest first. Raises BadFilter."""
    found = keyset(
        wanted.rows(workspace_id),
        Conflict.opened_at,
        Conflict.id,
        lambda item: (item.opened_at, item.id),
        args,
    )
    means = of_records(found.items)
    rows = [replace(row, means=means.get(_record(row.conflict), "")) for row in _rows(found.items)]
    return Slice(rows, older=found.older, newer=found.newer)


def beside(conflict: Conflict, wanted: ConflictFilter) -> Beside:
    """The conflicts next to this one in a list: of other records, since a page shows all of one."""
    others = wanted.rows(conflict.workspace_id).where(
        or_(Conflict.link_id.is_(None), Conflict.link_id != conflict.link_id)
    )
    return neighbours(
        [others], Conflict.opened_at, Conflict.id, (conflict.opened_at, conflict.id), "conflict_id"
    )


def hits(workspace_id: str, wanted: ConflictFilter, names: Sequence[tuple[str, str]]) -> list[Hit]:
    """What open conflicts mean for the business, by sync, the most first. `names`: (id, name) of syncs."""
    if wanted.state != "open":
        return []
    known = dict(names)
    ids = [wanted.config_id] if wanted.config_id else list(known)
    means = of_conflicts(ids, [Conflict.workspace_id == workspace_id, is_waiting()])
    found = [(config_id, said) for config_id, said in means.items() if said.words]
    found.sort(key=lambda item: item[1].weight, reverse=True)
    return [Hit(config_id, known.get(config_id, ""), said.words) for config_id, said in found]


def exported(workspace_id: str, wanted: ConflictFilter, limit: int) -> Export:
    """The newest conflicts that match, as rows under EXPORTED."""
    return export(wanted.rows(workspace_id), Conflict.opened_at, Conflict.id, _told, limit)


def _told(found: Sequence[Conflict]) -> Iterator[tuple[Any, ...]]:
    for row in _rows(found):
        what, item = row.what, row.conflict
        sides = (what.left.text, what.right.text, what.left_before.text, what.right_before.text)
        told = (what.answer, item.resolved_by, item.opened_at, item.closed_at)
        yield (item.id, row.config, item.key, item.field, *sides, item.state, *told)


def record(workspace_id: str, conflict_id: int) -> Contested | None:
    """The record that a conflict belongs to, with all its open fields; None where there is no such."""
    first = db.session.scalar(
        select(Conflict).where(Conflict.id == conflict_id, Conflict.workspace_id == workspace_id)
    )
    if first is None:
        return None
    config = db.session.get_one(SyncConfig, first.config_id)
    same = Conflict.link_id == first.link_id if first.link_id is not None else Conflict.key == first.key
    others = db.session.scalars(
        select(Conflict)
        .where(
            Conflict.config_id == first.config_id,
            same,
            is_word(Conflict.state, "open"),
            Conflict.id != first.id,
        )
        .order_by(Conflict.field)
    ).all()
    alike = db.session.scalars(_alike(first).with_only_columns(Conflict.id).limit(MOST + 1)).all()
    together = [first, *others] if first.state == "open" else [first]
    means = of_records([first]).get(_record(first), "")
    fields = [disagreement(item) for item in together]
    return Contested(first.key, config, first, fields, len(alike), means)


def named(workspace_id: str, ids: Sequence[int]) -> Sequence[Conflict]:
    """These conflicts of the workspace, in the order of their ids; missing ones are left out."""
    query = select(Conflict).where(Conflict.workspace_id == workspace_id, Conflict.id.in_(ids))
    return db.session.scalars(query.order_by(Conflict.id).limit(MOST)).all()


def plan(workspace_id: str, take: str, ids: Sequence[int], like: int | None) -> Plan:
    """The plan for these conflicts, or for all that are like one: same sync, same field."""
    if take not in ("left", "right"):
        raise BadFilter(_("Choose which side stands: left or right."))
    if like is not None:
        first = next(iter(named(workspace_id, [like])), None)
        query = _alike(first, itself=True) if first is not None else None
        found = db.session.scalars(query.limit(MOST + 1)).all() if query is not None else []
    else:
        query = select(Conflict).where(
            Conflict.workspace_id == workspace_id, Conflict.id.in_(ids), is_waiting()
        )
        found = db.session.scalars(query.order_by(Conflict.id).limit(MOST + 1)).all()
    return Plan(take, _rows(found[:MOST]), more=len(found) > MOST)


def disagreement(conflict: Conflict) -> Disagreement:
    return Disagreement(
        conflict,
        left=wrapped(conflict.left),
        right=wrapped(conflict.right),
        left_before=wrapped(conflict.left_shadow),
        right_before=wrapped(conflict.right_shadow),
    )


def _alike(first: Conflict, *, itself: bool = False) -> Select[Conflict]:
    query = select(Conflict).where(
        Conflict.config_id == first.config_id,
        Conflict.field == first.field,
        Conflict.kind == first.kind,
        is_waiting(),
    )
    return (query if itself else query.where(Conflict.id != first.id)).order_by(Conflict.id)


def _record(conflict: Conflict) -> tuple[str, str]:
    return conflict.config_id, conflict.key


def _rows(found: Sequence[Conflict]) -> list[ConflictRow]:
    names = config_names({item.config_id for item in found})
    return [ConflictRow(item, names.get(item.config_id, ""), disagreement(item)) for item in found]
