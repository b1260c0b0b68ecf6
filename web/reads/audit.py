"""Who did what, when and why, in one workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from models.audit import AuditEvent
from sync.values import dumps
from web.database import db
from web.reads.query import Export, Slice, export, keyset
from web.words import audited


@dataclass(frozen=True, slots=True)
class AuditFilter:
    actor: str = ""
    action: str = ""
    subject: str = ""

    @classmethod
    def of(cls, args: Mapping[str, str]) -> AuditFilter:
        return cls(
            args.get("actor", "").strip()[:320],
            args.get("action", "").strip()[:60],
            args.get("subject", "").strip()[:200],
        )

    def args(self, **changed: str) -> dict[str, str]:
        named = {"actor": self.actor, "action": self.action, "subject": self.subject} | changed
        return {name: value for name, value in named.items() if value}

    def rows(self, workspace_id: str) -> Select[AuditEvent]:
        query = select(AuditEvent).where(AuditEvent.workspace_id == workspace_id)
        for column, value in (
            (AuditEvent.actor, self.actor),
            (AuditEvent.action, self.action),
            (AuditEvent.subject, self.subject),
        ):
            if value:
                query = query.where(column == value)
        return query


@dataclass(frozen=True, slots=True)
class Entry:
    event: AuditEvent
    endpoint: str  # the page that the subject has, "" where it has none
    args: Mapping[str, Any]

    @property
    def what(self) -> str:
        return audited(self.event.action)

    @property
    def reason(self) -> str:
        return str(self.event.detail.get("reason") or "")

    @property
    def detail(self) -> str:
        """The rest of it, in one line."""
        said = ((name, _plain(value)) for name, value in self.event.detail.items() if name != "reason")
        return ", ".join(f"{name} {value}" for name, value in said if value)


def _plain(value: Any) -> str:
    """A detail as one may read it: the changes of a definition as `conflict: left_wins → newest_wins`."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict) and {"place", "before", "after"} <= value.keys():
        return f"{value['place']}: {_plain(value['before']) or '∅'} → {_plain(value['after']) or '∅'}"
    return "" if value is None else str(value)


def find(workspace_id: str, wanted: AuditFilter, args: Mapping[str, str]) -> Slice[Entry]:
    """One page of events, the newest first. Raises BadFilter."""
    found = keyset(
        wanted.rows(workspace_id),
        AuditEvent.at,
        AuditEvent.id,
        lambda event: (event.at, event.id),
        args,
    )
    return Slice([_entry(event) for event in found.items], older=found.older, newer=found.newer)


EXPORTED = ("at", "actor", "action", "subject", "detail", "place", "chain_hash")


def exported(workspace_id: str, wanted: AuditFilter, limit: int) -> Export:
    """The newest acts that match, as rows under EXPORTED."""
    return export(
        wanted.rows(workspace_id), AuditEvent.at, AuditEvent.id, lambda found: map(_told, found), limit
    )


def _told(event: AuditEvent) -> tuple[Any, ...]:
    told = (event.at, event.actor, event.action, event.subject, dumps(event.detail))
    return (*told, event.place, event.chain_hash)


def actions(workspace_id: str) -> list[str]:
    """What has been done here so far, for a list to choose from."""
    newest = (
        select(AuditEvent.action)
        .where(AuditEvent.workspace_id == workspace_id)
        .order_by(AuditEvent.at.desc())
        .limit(5000)
        .subquery()
    )
    return sorted(db.session.scalars(select(newest.c.action).distinct()))


def _entry(event: AuditEvent) -> Entry:
    noun = event.action.partition(".")[0]
    endpoint, name = {
        "run": ("runs.show", "run_id"),
        "config": ("configs.show", "config_id"),
        "conflict": ("conflicts.show", "conflict_id"),
    }.get(noun, ("", ""))
    if not endpoint or (noun == "conflict" and not event.subject.isdigit()):
        return Entry(event, "", {})
    return Entry(event, endpoint, {name: event.subject})
