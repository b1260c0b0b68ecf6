"""Records: found by what a customer names, and everything that is known of one of them.

Nothing here asks the connected systems: it tells what was read, decided and written.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, literal_column, or_, select, union_all

from models.db import unindexed_in
from models.issues import Conflict, Issue
from models.journal import IS_HISTORY, Change, ChangeState
from models.links import Link, LinkState, Shadow
from models.sync_configs import SyncConfig
from models.sync_runs import GOT_THROUGH, SyncRun
from sync.values import MISSING, dumps
from web import words
from web.causes import Cause, cause
from web.database import db
from web.languages import _, counted, inside
from web.reads.query import begins_with, is_word
from web.reads.runs import ChangeRow
from web.reads.values import Shown, shown, wrapped
from web.words import Badge, both

FOUND = 50
LOOKED_AT = 5_000  # changes whose key fits, of which the different records are told
TOLD = 100  # entries of a history
_ALIVE = Link.state != literal_column("'tombstone'")


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that a search found."""

    config: SyncConfig
    key: str
    status: Badge
    why: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a record."""

    at: datetime
    icon: str
    tone: str
    title: str
    text: str = ""
    change: ChangeRow | None = None
    run_id: str | None = None
    conflict_id: int | None = None

    @property
    def is_lost(self) -> bool:
        """A write of which only a person can tell whether it happened."""
        return self.change is not None and self.change.change.state == ChangeState.UNKNOWN


@dataclass(frozen=True, slots=True)
class KnownField:
    name: str
    left: Shown
    right: Shown


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one record in one sync."""

    config: SyncConfig
    key: str
    status: Badge
    why: str  # why it is as it is, and why it did not sync if it did not
    link_id: int | None
    is_linked: bool  # whether something may flow between the two
    left_id: str | None
    right_id: str | None
    agreed: Sequence[KnownField]  # what each side held when both last agreed
    conflicts: Sequence[Conflict]
    issues: Sequence[Issue]
    held: Sequence[Change]
    entries: Sequence[Entry]
    last_run: SyncRun | None

    @property
    def issue(self) -> Issue | None:
        """The newest thing that fails with it."""
        return self.issues[0] if self.issues else None

    @property
    def cause(self) -> Cause | None:
        return cause(self.issue.code) if self.issue is not None else None

    @property
    def next_run_at(self) -> datetime | None:
        """When the next run looks at it by itself."""
        runs = self.config.active and self.config.auto and self.config.paused_at is None
        return self.config.next_run_at if runs else None


def search(workspace_id: str, text: str) -> list[Hit]:
    """The records that have this id or key on either side, or whose key begins with it."""
    text = text.strip()[:500]
    if not text:
        return []
    configs = {
        config.id: config
        for config in db.session.scalars(select(SyncConfig).where(SyncConfig.workspace_id == workspace_id))
    }
    found = _labels(configs, Link.key.in_(key_forms(text)), Change.key.in_([text, text.lower()]), text)
    if not found:
        head = dumps(text)[:-1]
        found = _labels(
            configs,
            begins_with(Link.key, head),
            begins_with(Change.key, text),
            None,
        )
    found = sorted(found, key=lambda item: (configs[item[0]].name, item[1]))[:FOUND]
    conflicts, issues, held = _waiting({item[0] for item in found}, {item[1] for item in found})
    link_ids = [link.id for _config_id, _key, link in found if link is not None]
    shadows = {
        row.link_id: row for row in db.session.scalars(select(Shadow).where(Shadow.link_id.in_(link_ids)))
    }
    hits = []
    for config_id, key, link in found:
        mine = (config_id, key)
        status, why = _status(
            configs[config_id],
            link,
            shadows.get(link.id) if link is not None else None,
            [item for item in conflicts if (item.config_id, item.key) == mine],
            [item for item in issues if (item.config_id, item.key) == mine],
            [item for item in held if (item.config_id, item.key) == mine],
        )
        hits.append(Hit(configs[config_id], key, status, why))
    return hits


def has_link(config: SyncConfig, link_id: int) -> bool:
    link = db.session.get(Link, link_id)
    return link is not None and link.config_id == config.id


def has_change(config: SyncConfig, change_id: int) -> bool:
    change = db.session.get(Change, change_id)
    return change is not None and change.config_id == config.id


def story(config: SyncConfig, key: str) -> Story | None:
    """Everything about one record; None where nothing of this key is known in this sync."""
    key, config_id = key[:500], config.id
    if not key:
        return None
    # Each by its own index: with OR in one condition SQLite reads all links of the sync.
    named = union_all(
        *(
            select(Link.id).where(Link.config_id == config_id, condition)
            for condition in (
                Link.key.in_(key_forms(key)),
                and_(Link.left_id == key, _ALIVE),
                and_(Link.right_id == key, _ALIVE),
            )
        )
    )
    links = db.session.scalars(
        select(Link).where(Link.id.in_(named)).order_by(Link.id.desc()).limit(10)
    ).all()
    link = next((item for item in links if item.state != LinkState.TOMBSTONE), next(iter(links), None))
    changes = db.session.scalars(
        select(Change).where(_of(link, key, config_id), IS_HISTORY).order_by(Change.id.desc()).limit(TOLD)
    ).all()
    conflicts, issues, held = _waiting({config_id}, _names(link, key), everything=True)
    if link is None and not changes and not conflicts and not issues:
        return None
    shadow = db.session.get(Shadow, link.id) if link is not None else None
    status, why = _status(config, link, shadow, conflicts, issues, held)
    return Story(
        config=config,
        key=_label(link) or key if link is not None else key,
        status=status,
        why=why,
        link_id=link.id if link is not None else None,
        is_linked=link is not None and link.state in (LinkState.LINKED, LinkState.EXCLUDED),
        left_id=link.left_id if link is not None else None,
        right_id=link.right_id if link is not None else None,
        agreed=_agreed(shadow),
        conflicts=[item for item in conflicts if item.state == "open"],
        issues=[item for item in issues if item.closed_at is None],
        held=held,
        entries=_entries(changes, conflicts, issues)[:TOLD],
        last_run=_last_run(config_id),
    )


# -- finding --------------------------------------------------------------------------------------


def _labels(
    configs: Mapping[str, SyncConfig],
    by_key: ColumnElement[bool],
    by_change: ColumnElement[bool],
    id: str | None,
) -> list[tuple[str, str, Link | None]]:
    found: dict[tuple[str, str], Link | None] = {}
    conditions = [by_key]
    if id is not None:
        conditions += [and_(Link.left_id == id, _ALIVE), and_(Link.right_id == id, _ALIVE)]
    for condition in conditions:
        for link in db.session.scalars(
            select(Link).where(Link.config_id.in_(configs), condition).limit(FOUND)
        ):
            found[link.config_id, _label(link)] = link
    journalled = (
        select(Change.config_id, Change.key)
        .where(Change.config_id.in_(configs), by_change, IS_HISTORY)
        .limit(LOOKED_AT)
    )
    for row in db.session.execute(select(*journalled.subquery().c).distinct().limit(FOUND)):
        found.setdefault((row.config_id, row.key), None)
    return [(config_id, key, link) for (config_id, key), link in found.items()]


def key_forms(text: str) -> list[str]:
    """How a match key may be stored: as it is, or as the value that was compared."""
    forms = [text, dumps(text), dumps(text.strip().lower())]
    if "," in text:
        forms.append(dumps([part.strip() for part in text.split(",")]))
    return forms


def _label(link: Link) -> str:
    """How a person names a link: its match value, else its id."""
    if link.key:
        try:
            value = json.loads(link.key)
        except ValueError:
            return link.key
        parts = value if isinstance(value, list) else [value]
        return ", ".join(str(part) for part in parts)
    return link.left_id or link.right_id or ""


def _names(link: Link | None, key: str) -> list[str]:
    return list(dict.fromkeys([key, *([_label(link)] if link is not None else [])]))


def _of(link: Link | None, key: str, config_id: str) -> ColumnElement[bool]:
    by_key = and_(Change.config_id == config_id, Change.key.in_(_names(link, key)))
    return or_(by_key, Change.link_id == link.id) if link is not None else by_key


def _waiting(
    config_ids: Collection[str], keys: Collection[str], *, everything: bool = False
) -> tuple[Sequence[Conflict], Sequence[Issue], Sequence[Change]]:
    """Conflicts, issues and held changes of records; with `everything` those that are over, too."""
    conflicts: Select[Conflict] = select(Conflict).where(
        Conflict.config_id.in_(config_ids), Conflict.key.in_(keys)
    )
    issues: Select[Issue] = select(Issue).where(Issue.config_id.in_(config_ids), Issue.key.in_(keys))
    if not everything:
        conflicts = conflicts.where(is_word(Conflict.state, "open"))
        issues = issues.where(Issue.closed_at.is_(None))
    held = select(Change).where(
        Change.config_id.in_(config_ids), Change.key.in_(keys), is_word(Change.state, "held")
    )
    return (
        db.session.scalars(conflicts.order_by(Conflict.id.desc()).limit(TOLD)).all(),
        db.session.scalars(issues.order_by(Issue.id.desc()).limit(TOLD)).all(),
        db.session.scalars(held.limit(TOLD)).all(),
    )


def _last_run(config_id: str) -> SyncRun | None:
    return db.session.scalar(
        select(SyncRun)
        .where(SyncRun.config_id == config_id, unindexed_in(SyncRun.state, GOT_THROUGH))
        .order_by(SyncRun.created_at.desc())
        .limit(1)
    )


# -- telling --------------------------------------------------------------------------------------


def _status(
    config: SyncConfig,
    link: Link | None,
    shadow: Shadow | None,
    conflicts: Iterable[Conflict],
    issues: Iterable[Issue],
    held: Iterable[Change],
) -> tuple[Badge, str]:
    """One of the five words for a record, and the sentence that says why."""
    open_conflicts = [item for item in conflicts if item.state == "open"]
    open_issues = [item for item in issues if item.closed_at is None]
    held = list(held)
    if open_conflicts:
        names = sorted({item.field or _("the record itself") for item in open_conflicts})
        why = _("Both sides changed %(fields)s: somebody has to decide.", fields=both(names))
        return words.ATTENTION, why
    if held:
        return words.ATTENTION, counted(
            "%(num)s change of it is held until somebody has looked.",
            "%(num)s changes of it are held until somebody has looked.",
            len(held),
        )
    if open_issues:
        issue = open_issues[0]
        return words.ATTENTION, f"{cause(issue.code).title}. {issue.message}"
    if not config.active:
        return words.EXCLUDED, _("Its sync is switched off.")
    if config.paused_at is not None:
        return words.PAUSED, _("Its sync is paused. Edits wait on their side until it goes on.")
    if link is None:
        return words.WAITING, _("It is not linked to a record on the other side yet.")
    match link.state:
        case LinkState.EXCLUDED:
            return words.EXCLUDED, _("It takes no part: %(why)s.", why=words.excluded_because(link.reason))
        case LinkState.UNLINKED:
            return words.EXCLUDED, _("It was unlinked: both copies stay as they are.")
        case LinkState.TOMBSTONE:
            return words.EXCLUDED, _("It is gone on both sides.")
    if link.left_missing or link.right_missing:
        side = words.side("left" if link.left_missing else "right")
        why = _("It was missing on %(side)s in the last reading; the next one confirms it.", side=side)
        return words.WAITING, why
    if shadow is not None and not shadow.left and not shadow.right:
        return words.WAITING, _("The two were linked by hand, and no run has compared them yet.")
    return words.IN_SYNC, _("Both sides held the same when they were last read.")


def _agreed(shadow: Shadow | None) -> list[KnownField]:
    if shadow is None:
        return []
    names = list(dict.fromkeys([*shadow.left, *shadow.right]))
    return [
        KnownField(name, shown(shadow.left.get(name, MISSING)), shown(shadow.right.get(name, MISSING)))
        for name in names
    ]


def _entries(
    changes: Sequence[Change], conflicts: Sequence[Conflict], issues: Sequence[Issue]
) -> list[Entry]:
    found: list[Entry] = []
    for change in changes:
        badge = words.change_state(change.state)
        title = words.begin(
            _(
                "%(act)s: %(state)s",
                act=words.act_on(change.operation, change.side),
                state=inside(badge.word),
            )
        )
        found.append(
            Entry(
                change.settled_at or change.decided_at or change.sent_at or change.created_at,
                badge.icon,
                badge.tone,
                title,
                text=_decided(change) or change.message or "",
                change=ChangeRow(change),
                run_id=change.run_id,
            )
        )
    for item in conflicts:
        name = item.field or _("the whole record")
        text = _("left %(left)s, right %(right)s", left=wrapped(item.left), right=wrapped(item.right))
        found.append(
            Entry(
                item.opened_at,
                "signpost-split",
                "warn",
                _("Conflict on %(field)s", field=name),
                text,
                conflict_id=item.id,
            )
        )
        if item.closed_at is not None:
            said = (
                _("Conflict on %(field)s settled by %(who)s", field=name, who=item.resolved_by)
                if item.resolved_by
                else _("Conflict on %(field)s settled by itself", field=name)
            )
            found.append(Entry(item.closed_at, "check-circle-fill", "good", said))
    for issue in issues:
        found.append(
            Entry(
                issue.opened_at,
                "exclamation-triangle-fill",
                "bad",
                cause(issue.code).title,
                issue.message,
                run_id=issue.last_run_id,
            )
        )
        if issue.closed_at is not None:
            healed = _("Healed: %(cause)s", cause=cause(issue.code).title)
            found.append(Entry(issue.closed_at, "check-circle-fill", "good", healed))
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def _decided(change: Change) -> str:
    if not change.decided_by or change.operation == "edit":  # whose rule names its person
        return ""
    if change.state == ChangeState.DISMISSED:
        return _("dismissed by %(who)s", who=change.decided_by)
    return _("approved by %(who)s", who=change.decided_by)
