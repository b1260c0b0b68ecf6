"""A draft as its pages show it: how far it is, what the systems answered, which fields could be pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml
from pydantic import ValidationError
from sqlalchemy import select

from models.connections import Connection
from models.drafts import Draft
from models.questions import Question, QuestionKind
from sync.definition import SyncDefinition
from sync.proposal import Column, Proposal
from sync.records import SIDES, Side
from sync.values import FieldType
from tasks import drafts
from web.database import db
from web.languages import _, mark
from web.reads import questions
from web.reads.definition import Rule, rules

STEPS = {
    "streams": mark("Streams"),
    "fields": mark("Fields"),
    "rules": mark("Rules"),
    "schedule": mark("Schedule"),
    "review": mark("Review"),
}
_WORDS = {"connection", "stream", "filter"}


@dataclass(frozen=True, slots=True)
class Row:
    """One left field with what it is paired with."""

    column: Column
    right: str  # "": not synced
    why: str
    direction: str
    is_match: bool
    sample: str
    right_sample: str


@dataclass(frozen=True)
class DraftView:
    row: Draft
    connections: Mapping[Side, Connection]
    asked: Mapping[str, Question | None] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return _("Change %(name)s", name=self.row.name) if self.row.config_id else _("New sync")

    def end(self, side: Side) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.row.definition.get(side) or {}
        return found

    def stream(self, side: Side) -> str:
        end = self.end(side)
        return str(end.get("stream") or (_("a query") if end.get("query") else ""))

    def options(self, side: Side) -> dict[str, Any]:
        """What the connector was told of the stream."""
        return {name: value for name, value in self.end(side).items() if name not in _WORDS}

    def can_open(self, step: str) -> bool:
        """Whether what this step builds on is there."""
        has_streams = all(self.stream(side) for side in SIDES)
        if step == "streams":
            return True
        if step == "fields":
            return has_streams
        return has_streams and bool(self.row.definition.get("fields"))

    # -- what the systems said ------------------------------------------------------------------------

    def question(self, kind: str, side: Side) -> Question | None:
        return self.asked.get(drafts.place_of(QuestionKind(kind), side))

    def waits(self, kind: str) -> bool:
        return any(questions.is_open(self.question(kind, side)) for side in SIDES)

    def problem(self, kind: str, side: Side) -> str:
        found = self.question(kind, side)
        if found is None:
            return (
                "" if kind == "sample" and self.end(side).get("create") else _("It has not been asked yet.")
            )
        return found.error or ""

    def streams(self, side: Side) -> list[Mapping[str, Any]]:
        found = self.question("discover", side)
        return list((found.answer or {}).get("streams", ())) if found is not None else []

    @cached_property
    def columns(self) -> Mapping[Side, Sequence[Column]]:
        """The fields of both streams with a few values."""
        asked = {side: self.question("sample", side) for side in SIDES}
        return drafts.columns(
            self.row.definition,
            {side: row.answer if row is not None else None for side, row in asked.items()},
        )

    # -- the mapping ---------------------------------------------------------------------------------

    @property
    def proposal(self) -> Proposal:
        """Which fields could be pairs, as it was told once for this draft."""
        kept = self.row.proposal or {"pairs": {}, "match": []}
        pairs = {left: (right, why) for left, (right, why) in kept["pairs"].items()}
        return Proposal(pairs, tuple(kept["match"]))

    @property
    def is_proposed(self) -> bool:
        """Nobody has said yet which fields are pairs."""
        return not self.row.definition.get("fields")

    @property
    def rows(self) -> list[Row]:
        theirs = {column.name: column for column in self.columns["right"]}
        given = {str(item["left"]): item for item in self.row.definition.get("fields") or ()}
        match = tuple(self.row.definition.get("match") or ()) if given else self.proposal.match
        if isinstance(self.row.definition.get("match"), str):
            match = (str(self.row.definition["match"]),)
        found = []
        for column in self.columns["left"]:
            if given:
                said = given.get(column.name)
                right, why = (str(said["right"]), "") if said else ("", "")
                direction = str((said or {}).get("direction", "bidirectional"))
            else:
                right, why = self.proposal.pairs.get(column.name, ("", ""))
                direction = _direction(column, theirs.get(right))
            found.append(
                Row(
                    column, right, why, direction, column.name in match,
                    _example(column), _example(theirs[right]) if right in theirs else "",
                )
            )  # fmt: skip
        return found

    # -- rules and review ------------------------------------------------------------------------------

    @cached_property
    def definition(self) -> SyncDefinition | None:
        try:
            return SyncDefinition.model_validate(self.row.definition)
        except ValidationError:
            return None

    @property
    def rules(self) -> Sequence[Rule]:
        return rules(self.definition) if self.definition is not None else ()

    @property
    def yaml(self) -> str:
        """The same as a file for `syncline apply`."""
        said = {"syncs": {self.row.name or "name": self.row.definition}}
        return yaml.safe_dump(said, allow_unicode=True, sort_keys=False, width=100)

    def times(self, side: Side) -> list[str]:
        """The fields of a side that could hold the time of the last edit."""
        kinds = (FieldType.DATETIME, FieldType.DATE, FieldType.TEXT)
        return [column.name for column in self.columns[side] if column.type in kinds]


def _direction(left: Column, right: Column | None) -> str:
    if right is not None and not right.writable:
        return "right_to_left"
    return "bidirectional" if left.writable else "left_to_right"


def _example(column: Column) -> str:
    return next(iter(column.filled), "")


def one(workspace_id: str, draft_id: str) -> DraftView | None:
    """A draft of this workspace with what was answered; None where there is no such."""
    row = db.session.scalar(select(Draft).where(Draft.id == draft_id, Draft.workspace_id == workspace_id))
    if row is None:
        return None
    names = {side: str((row.definition.get(side) or {}).get("connection", "")) for side in SIDES}
    rows = {
        item.name: item
        for item in db.session.scalars(
            select(Connection).where(
                Connection.workspace_id == workspace_id, Connection.name.in_(names.values())
            )
        )
    }
    if any(name not in rows for name in names.values()):
        return None  # one of its connections was deleted
    asked = {
        item.id: item
        for item in db.session.scalars(select(Question).where(Question.id.in_(row.questions.values())))
    }
    return DraftView(
        row,
        {side: rows[names[side]] for side in SIDES},
        {place: asked.get(str(id)) for place, id in row.questions.items()},
    )


def connections(workspace_id: str) -> Sequence[Connection]:
    """What an end can be."""
    return db.session.scalars(
        select(Connection).where(Connection.workspace_id == workspace_id).order_by(Connection.name)
    ).all()
