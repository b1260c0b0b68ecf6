"""What a run loads from and stores in our own database: links, shadows, the journal, what waits.

Nothing here decides. Every writing function works inside the caller's fenced transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import BigInteger, ColumnElement, and_, cast, delete, func, or_, select, update
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from connectors.base import Chosen, Total
from models import many
from models.issues import Conflict, Issue
from models.journal import FORETOLD, IS_OPEN, Change, ChangeState
from models.links import IS_ALIVE, Link, LinkState, Shadow
from models.sync_configs import Baseline
from sync.guard import FIRST_RUN
from sync.mapping import FieldMapping, FieldPair, Seen, encoded
from sync.plan import FieldConflict, Resolution, Tie
from sync.planner import Item, LinkIndex, LinkRow, Retied
from sync.records import SIDES, Problem, Side, other
from sync.values import MISSING, Value, ValueProblem, decode, encode_fields
from tasks.entries import Entry, Journalled, row_of

CHUNK = 500  # ids in one IN list
WORN_OUT = 3  # the same write so many runs in a row is not made again
IN_TURN = 2  # nor is it after two of it and two of its opposite, in turn
HELD_FOR = timedelta(days=7)
APPROVAL_LASTS = timedelta(hours=24)
PATIENCE = 3  # rejections in a row before a record is left alone for a while
LONGEST_REST = timedelta(days=1)


# -- loading --------------------------------------------------------------------------------------


_ROW = (
    Link.id,
    Link.state,
    Link.left_id,
    Link.right_id,
    Link.left_version,
    Link.right_version,
    Link.left_missing,
    Link.right_missing,
    Link.written_at,
    Link.key,
)


def load_index(
    db: Session, config_id: str, *, adding: Collection[Side] = ()
) -> tuple[LinkIndex, Mapping[Side, Total]]:
    """The counts of a config's links, and those that no run passes over: what is missing on a side.

    And what the versions of these sides' linked records add up to: left out where some version is unknown,
    or no whole number. One pass over all links answers everything.
    """
    alive = (Link.config_id == config_id, IS_ALIVE)
    odd = or_(Link.left_id.is_(None), Link.right_id.is_(None), Link.left_missing > 0, Link.right_missing > 0)
    states = [state for state in LinkState if state is not LinkState.TOMBSTONE]
    counted = [
        *(func.count().filter(Link.state == state).label(state) for state in states),
        *(func.count(_columns_on(side)[0]).label(side) for side in SIDES),
        func.count().filter(odd).label("odd"),
    ]
    sums: list[Any] = []
    for side in adding:
        record_id, version = _columns_on(side)
        sums += [
            func.count(version).filter(record_id.is_not(None)).label(f"{side}_known"),
            func.sum(cast(version, BigInteger)).filter(record_id.is_not(None)).label(f"{side}_sum"),
        ]
    query = select(*counted).where(*alive)
    try:
        with db.begin_nested() if adding else nullcontext():
            row = db.execute(query.add_columns(*sums)).one()
    except DataError:  # versions of another kind
        adding, row = (), db.execute(query).one()
    index = LinkIndex(
        {state: number for state in states if (number := getattr(row, state))},
        {"left": row.left, "right": row.right},
    )
    if row.odd:
        index.learn(LinkRow._make(found) for found in db.execute(select(*_ROW).where(*alive, odd)))
    totals: dict[Side, Total] = {}
    for side in adding:
        known = getattr(row, f"{side}_known")
        if known == index.on_side[side]:
            totals[side] = Total(known, int(getattr(row, f"{side}_sum") or 0))
    return index, totals


def load_parts(db: Session, config_id: str, side: Side, number: int) -> Mapping[int, Total]:
    """What the versions of a side's linked records add up to, in so many parts (`connectors.base.Parts`).

    Nothing where some version is no whole number.
    """
    record_id, version = _columns_on(side)
    part = many.part_of(record_id, number)
    sums = (func.count(), func.count(version), func.sum(cast(version, BigInteger)))
    query = select(part, *sums).where(Link.config_id == config_id, IS_ALIVE, record_id.is_not(None))
    try:
        with db.begin_nested():
            rows = many.grouped(db, query.group_by(part))
    except DataError:
        return {}
    return {part: Total(count, int(sum_) if count == known else None) for part, count, known, sum_ in rows}


def load_versions(
    db: Session, config_id: str, side: Side, chosen: Chosen | None = None
) -> dict[str, str | None]:
    """The ids of a side's linked records, or those of some parts, with the versions that their shadows were
    taken from."""
    record_id, version = _columns_on(side)
    wanted = [Link.config_id == config_id, IS_ALIVE, record_id.is_not(None)]
    if chosen is not None:
        wanted.append(many.in_parts(db, record_id, chosen.number, chosen.parts))
    return many.pairs(db, record_id, version, *wanted)


def can_add_versions(db: Session) -> bool:
    """Whether our database adds up numbers of any size."""
    return many.is_postgresql(db)


def versions_of(db: Session, config_id: str, side: Side, record_ids: Sequence[str]) -> dict[str, str | None]:
    """The same of these records alone."""
    record_id, version = _columns_on(side)
    alive = (Link.config_id == config_id, IS_ALIVE)
    return {row[0]: row[1] for row in many.chosen(db, (record_id, version), record_id, record_ids, *alive)}


def shadows_of(
    db: Session, config_id: str, side: Side, record_ids: Sequence[str], mapping: FieldMapping
) -> dict[str, Mapping[str, Any]]:
    """What was agreed of these records of a side, as far as their links are alive and take part."""
    record_id, shadow = _columns_on(side)[0], Shadow.left if side == "left" else Shadow.right
    alive = (Link.config_id == config_id, IS_ALIVE, Link.state == LinkState.LINKED)
    rows = many.chosen(db, (record_id, shadow), record_id, record_ids, *alive, Shadow.link_id == Link.id)
    readable = _readable(mapping, None)[side]
    return {row[0]: _own(side, row[1], readable) for row in rows}


def store_renewed(db: Session, config_id: str, side: Side, versions: Mapping[str, str]) -> None:
    """The versions of records that hold what they held, by their ids on this side."""
    record_id, version = _columns_on(side)
    rows = many.chosen(db, (Link.id, record_id), record_id, versions, Link.config_id == config_id, IS_ALIVE)
    many.update_rows(db, Link, [{"id": row[0], version.key: versions[row[1]]} for row in rows])


def load_rows(db: Session, config_id: str, key: Any, values: Iterable[Any]) -> list[LinkRow]:
    """The links of a config whose column `key` is one of these values."""
    alive = (Link.config_id == config_id, IS_ALIVE)
    return [LinkRow._make(row) for row in many.chosen(db, _ROW, key, values, *alive)]


def learn(db: Session, config_id: str, index: LinkIndex, side: Side, record_ids: Iterable[str]) -> None:
    """Have the index know the links of these records of a side."""
    known = index.on(side)
    unknown = [record_id for record_id in record_ids if record_id not in known]
    index.learn(load_rows(db, config_id, _columns_on(side)[0], unknown))


def _columns_on(side: Side) -> tuple[Any, Any]:
    return (Link.left_id, Link.left_version) if side == "left" else (Link.right_id, Link.right_version)


def load_ties(
    db: Session,
    config_id: str,
    index: LinkIndex,
    link_ids: Iterable[int],
    mapping: FieldMapping,
    previous_run_id: str | None,
    known_pairs: Mapping[str, str] | None = None,
) -> dict[int, Tie]:
    """The links with their shadows, a person's answers and the writes that were made too often.

    `known_pairs` are the pairs that the shadows were taken under: a field that has another partner
    since then has no shadow any more, and meets it for the first time.
    """
    answers = _answers(db, config_id) if index.by_id else {}
    readable = _readable(mapping, known_pairs)
    ties: dict[int, Tie] = {}
    wanted = sorted(link_ids)
    columns = (Shadow.link_id, Shadow.left, Shadow.right, Shadow.flaps)
    shadows = {row[0]: row[1:] for row in many.chosen(db, columns, Shadow.link_id, wanted)}
    odd = [link_id for link_id in wanted if index.by_id[link_id].state != "linked"]
    reasons = {row[0]: row[1] for row in many.chosen(db, (Link.id, Link.reason), Link.id, odd)}
    for link_id in wanted:
        row = index.by_id[link_id]
        stored_left, stored_right, flaps = shadows.get(link_id, ({}, {}, None))
        left = _own("left", stored_left, readable["left"])
        right = _own("right", stored_right, readable["right"])
        ties[link_id] = Tie(
            id=link_id,
            left_id=row.left_id,
            right_id=row.right_id,
            left=left,
            right=right,
            state=row.state,  # type: ignore[arg-type]
            reason=reasons.get(link_id, ""),
            key=mapping.label("left", left, row.left_id),
            resolutions=answers.get(link_id, {}),
            worn_out=_worn_out(flaps, previous_run_id),
            restless=_restless(flaps, previous_run_id),
        )
    return ties


def _readable(
    mapping: FieldMapping, known_pairs: Mapping[str, str] | None
) -> dict[Side, dict[str, tuple[FieldPair, Callable[[Value], bool]]]]:
    """For each side the pairs of which shadows still tell, and what knows a value in own form at a glance."""
    pairs = [
        pair
        for pair in mapping.pairs
        if known_pairs is None or known_pairs.get(pair.name, pair.partner) == pair.partner
    ]
    return {side: {pair.name: (pair, pair.knows_own(side)) for pair in pairs} for side in SIDES}


def _own(
    side: Side, stored: Mapping[str, Any], readable: Mapping[str, tuple[FieldPair, Callable[[Value], bool]]]
) -> dict[str, Any]:
    """A shadow's fields that the mapping still knows, in the types that they have now."""
    found: dict[str, Any] = {}
    for name, encoded_ in stored.items():
        if name not in readable:
            continue
        pair, knows = readable[name]
        value = decode(encoded_)
        try:  # by the pair's own name: the stored one is another text in each row
            found[pair.name] = value if knows(value) else pair.own(side, value)
        except ValueProblem:
            continue  # the field's type changed, and this value has no place in the new one
    return found


def _answers(db: Session, config_id: str) -> dict[int, dict[str, Resolution]]:
    found: dict[int, dict[str, Resolution]] = {}
    for row in db.execute(
        select(Conflict.link_id, Conflict.field, Conflict.resolution).where(
            Conflict.config_id == config_id, Conflict.state == "open", Conflict.resolution.is_not(None)
        )
    ):
        if row.link_id is not None and row.resolution:
            found.setdefault(row.link_id, {})[row.field] = _resolution(row.resolution)
    return found


def answered_links(db: Session, config_id: str) -> list[int]:
    """Links with an answer that waits to be carried out."""
    return [
        link_id
        for link_id in db.scalars(
            select(Conflict.link_id).where(
                Conflict.config_id == config_id,
                Conflict.state == "open",
                Conflict.resolution.is_not(None),
            )
        )
        if link_id is not None
    ]


def _resolution(stored: Mapping[str, Any]) -> Resolution:
    def value(name: str) -> Any:
        box = stored.get(name)
        return decode(box["value"]) if box else MISSING

    return Resolution(stored["take"], value("seen_left"), value("seen_right"), value("value"))


def _worn_out(flaps: Mapping[str, Any] | None, previous_run_id: str | None) -> dict[tuple[str, Side], Any]:
    """The writes made too often: three times in a row, or twice in turn with one to the other side."""
    found: dict[tuple[str, Side], Any] = {}
    for slot, entry in (flaps or {}).items():
        side, field_name = _slot(slot)
        far = (flaps or {}).get(f"{other(side)}:{field_name}") or {"count": 0, "run": None}
        is_alive = previous_run_id in (entry["run"], far["run"]) and previous_run_id is not None
        if is_alive and (entry["count"] >= WORN_OUT or min(entry["count"], far["count"]) >= IN_TURN):
            found[field_name, side] = decode(entry["value"])
    return found


def _restless(flaps: Mapping[str, Any] | None, previous_run_id: str | None) -> frozenset[tuple[str, Side]]:
    """Fields of a side that run after run was written to."""
    return frozenset(
        (field_name, side)
        for slot, entry in (flaps or {}).items()
        if entry.get("streak", 0) >= WORN_OUT and entry["run"] == previous_run_id
        for side, field_name in [_slot(slot)]
    )


def _slot(slot: str) -> tuple[Side, str]:
    side, _, field_name = slot.partition(":")
    return ("left" if side == "left" else "right"), field_name


def baseline_of(db: Session, config_id: str) -> Baseline | None:
    return db.get(Baseline, config_id)


@dataclass(frozen=True, slots=True)
class Decided:
    """What people said of held changes: approvals by fingerprint, refusals, and the rows themselves."""

    approved: Mapping[str, frozenset[str]]
    dismissed: frozenset[str]
    held: Mapping[str, frozenset[str]]


def load_decided(db: Session, config_id: str, now: datetime) -> Decided:
    approved: dict[str, set[str]] = {}
    held: dict[str, set[str]] = {}
    dismissed: set[str] = set()
    for row in db.execute(
        select(Change.fingerprint, Change.guard, Change.state, Change.decided_at).where(
            Change.config_id == config_id,
            IS_OPEN,
            Change.state.in_((ChangeState.HELD, ChangeState.APPROVED, ChangeState.DISMISSED)),
        )
    ):
        if row.state == ChangeState.DISMISSED:
            dismissed.add(row.fingerprint)
        elif row.state == ChangeState.HELD:
            held.setdefault(row.fingerprint, set()).add(row.guard or "")
        elif row.decided_at is not None and row.decided_at > now - APPROVAL_LASTS:
            approved.setdefault(row.fingerprint, set()).add(row.guard or "")
    return Decided(
        {key: frozenset(value) for key, value in approved.items()},
        frozenset(dismissed),
        {key: frozenset(value) for key, value in held.items()},
    )


def waits_for_first_run(db: Session, config_id: str) -> bool:
    """Whether the plan of the first run was held, and not all of it is done."""
    query = select(Change.id).where(
        Change.config_id == config_id,
        Change.guard == FIRST_RUN,
        Change.state.not_in((ChangeState.APPLIED, *FORETOLD)),
    )
    return db.scalar(query.limit(1)) is not None


def rested(db: Session, config_id: str, now: datetime) -> dict[tuple[str, str], Issue]:
    """Records that were refused too often, by (side, key): left alone until their time or value comes."""
    return {
        (row.side, row.key): row
        for row in db.scalars(
            select(Issue).where(Issue.config_id == config_id, Issue.closed_at.is_(None), Issue.retry_at > now)
        )
    }


# -- links and shadows ----------------------------------------------------------------------------


NEW_LINK: Mapping[str, Any] = {
    "state": LinkState.LINKED,
    "reason": "",
    "left_id": None,
    "right_id": None,
    "key": "",
    "left_version": None,
    "right_version": None,
    "left_missing": 0,
    "right_missing": 0,
    "missing_since": None,
    "written_at": None,
}


def add_links(
    db: Session, config_id: str, rows: Sequence[tuple[dict[str, Any], Mapping[str, Any], Mapping[str, Any]]]
) -> list[int]:
    """Store links with their shadows (own values); their ids, in the same order."""
    ids = list(many.new_ids(db, Link, len(rows))) if rows else []
    insert_links(
        db,
        [
            {**NEW_LINK, "id": link_id, "config_id": config_id, **values}
            for link_id, (values, _, _) in zip(ids, rows, strict=True)
        ],
    )
    many.insert_rows(
        db,
        Shadow,
        [
            {"link_id": link_id, "left": encode_fields(left), "right": encode_fields(right), "flaps": None}
            for link_id, (_, left, right) in zip(ids, rows, strict=True)
        ],
    )
    return ids


def insert_links(db: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Links with all their columns."""
    many.insert_rows(db, Link, rows)


def update_links(db: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of links, each row under the link's `id`."""
    many.update_rows(db, Link, rows)


def move_link(db: Session, link_id: int, **values: Any) -> None:
    db.execute(update(Link).where(Link.id == link_id).values(**values))


def retie(db: Session, retied: Mapping[int, Retied]) -> None:
    """Have links lead to their records' new ids, of whose versions nothing is known yet.

    These may have been other links' ids so far, in a circle even: all let go of theirs first.
    """
    let_go = [
        {"id": link_id, **{f"{side}_{what}": None for side in link.ids for what in ("id", "version")}}
        for link_id, link in retied.items()
    ]
    update_links(db, let_go)
    update_links(
        db,
        [
            {"id": link_id, **{f"{side}_id": id_ for side, id_ in link.ids.items()}}
            for link_id, link in retied.items()
        ],
    )
    anew = [link_id for link_id, link in retied.items() if link.anew]
    many.update_chosen(db, Link, anew, {"state": LinkState.LINKED, "reason": ""})
    many.update_rows(
        db, Shadow, [{"link_id": link_id, "left": {}, "right": {}} for link_id in anew], key="link_id"
    )


def merge_shadow(db: Session, link_id: int, left: Mapping[str, Any], right: Mapping[str, Any]) -> Shadow:
    """Set these fields (own values) of a link's two shadows."""
    row = db.get(Shadow, link_id)
    if row is None:
        row = Shadow(link_id=link_id, left={}, right={}, flaps=None)
        db.add(row)
    row.left = {**row.left, **encode_fields(left)}
    row.right = {**row.right, **encode_fields(right)}
    return row


def fields_held(
    db: Session, config_id: str, side: Side, names: Sequence[str], but_for: set[int]
) -> frozenset[str]:
    """Those of these fields in which a link, `but_for` some, holds a value on this side."""
    found: set[str] = set()
    column = Shadow.left if side == "left" else Shadow.right
    rows = db.execute(
        select(Shadow.link_id, column)
        .join(Link, Link.id == Shadow.link_id)
        .where(Link.config_id == config_id, Link.state == LinkState.LINKED)
    )
    for link_id, stored in rows.yield_per(1000):
        if link_id not in but_for:
            found.update(name for name in names if stored.get(name) not in (None, ""))
        if len(found) == len(names):
            break
    return frozenset(found)


def prune_shadows(
    db: Session, config_id: str, names: Mapping[str, str], known_pairs: Mapping[str, str]
) -> None:
    """Drop what the shadows say of fields that are no longer mapped, or to another partner."""
    keep = {name for name, partner in names.items() if known_pairs.get(name, partner) == partner}
    rows = db.scalars(select(Shadow).join(Link, Link.id == Shadow.link_id).where(Link.config_id == config_id))
    for row in rows.yield_per(1000):
        if not set(row.left) <= keep or not set(row.right) <= keep:
            row.left = {name: value for name, value in row.left.items() if name in keep}
            row.right = {name: value for name, value in row.right.items() if name in keep}


def note_missing(db: Session, side: Side, link_ids: Iterable[int], now: datetime) -> None:
    """One more complete scan in which these links' records were not returned."""
    column = Link.left_missing if side == "left" else Link.right_missing
    wanted = sorted(link_ids)
    for start in range(0, len(wanted), CHUNK):
        db.execute(
            update(Link)
            .where(Link.id.in_(wanted[start : start + CHUNK]))
            .values({column: column + 1, Link.missing_since: func.coalesce(Link.missing_since, now)})
        )


def note_seen(db: Session, index: LinkIndex, side: Side, missing: set[int]) -> None:
    """The count of misses starts anew for records that are there again."""
    back = [row.id for row in index.by_id.values() if row.missing_on(side) and row.id not in missing]
    column = Link.left_missing if side == "left" else Link.right_missing
    for start in range(0, len(back), CHUNK):
        db.execute(update(Link).where(Link.id.in_(back[start : start + CHUNK])).values({column: 0}))


# -- conflicts ------------------------------------------------------------------------------------


def store_conflicts(
    db: Session,
    *,
    workspace_id: str,
    config_id: str,
    run_id: str,
    link_id: int,
    key: str,
    found: Sequence[FieldConflict],
    stale: Sequence[str],
    now: datetime,
    carried_out: Sequence[str] = (),
) -> tuple[int, int]:
    """Bring a link's open conflicts in line with what was found: opened and closed ones are counted.

    A conflict whose sides moved is updated in place; one that is no longer found closes by itself.
    """
    there = {
        row.field: row
        for row in db.scalars(select(Conflict).where(Conflict.link_id == link_id, Conflict.state == "open"))
    }
    opened = closed = 0
    for item in found:
        row = there.pop(item.field, None)
        if row is None:
            opened += 1
            row = Conflict(
                workspace_id=workspace_id,
                config_id=config_id,
                link_id=link_id,
                field=item.field,
                kind="value" if item.field else "delete",
                state="open",
                opened_at=now,
                opened_run_id=run_id,
            )
            db.add(row)
        row.key = key[:500]
        row.note = item.note
        if (row.left, row.right) != (encoded(item.left), encoded(item.right)):
            row.updated_at = now
        row.left, row.right = encoded(item.left), encoded(item.right)
        row.left_shadow, row.right_shadow = encoded(item.left_shadow), encoded(item.right_shadow)
        row.left_modified_at, row.right_modified_at = item.left_modified, item.right_modified
        if item.field in stale:
            row.resolution = None  # what the person saw is no longer what is there: ask again
    for name, row in there.items():
        if name in carried_out:
            continue  # its answer is being written: it closes when that is confirmed
        row.state, row.closed_at, row.updated_at = "closed", now, now
        closed += 1
    return opened, closed


def close_conflicts(db: Session, link_id: int, fields: Sequence[str], now: datetime, state: str) -> None:
    db.execute(
        update(Conflict)
        .where(Conflict.link_id == link_id, Conflict.state == "open", Conflict.field.in_(fields))
        .values(state=state, closed_at=now, updated_at=now)
    )


def close_all_conflicts(db: Session, link_id: int, now: datetime) -> None:
    db.execute(
        update(Conflict)
        .where(Conflict.link_id == link_id, Conflict.state == "open")
        .values(state="closed", closed_at=now, updated_at=now)
    )


def count_conflicts(db: Session, config_id: str) -> int:
    """Records with an open conflict."""
    return (
        db.scalar(
            select(func.count(func.distinct(Conflict.link_id))).where(
                Conflict.config_id == config_id, Conflict.state == "open"
            )
        )
        or 0
    )


def count_held(db: Session, config_id: str) -> int:
    return (
        db.scalar(
            select(func.count()).where(
                Change.config_id == config_id, IS_OPEN, Change.state == ChangeState.HELD
            )
        )
        or 0
    )


def links_in_conflict(db: Session, config_id: str) -> list[int]:
    return [
        link_id
        for link_id in db.scalars(
            select(Conflict.link_id)
            .where(Conflict.config_id == config_id, Conflict.state == "open")
            .distinct()
        )
        if link_id is not None
    ]


# -- issues ---------------------------------------------------------------------------------------


def store_issue(
    db: Session,
    problem: Problem,
    *,
    workspace_id: str,
    config_id: str,
    run_id: str,
    link_id: int | None,
    now: datetime,
    digest: str = "",
) -> Issue:
    """Open an issue, or note that it occurred again."""
    row = db.scalar(
        select(Issue).where(
            Issue.config_id == config_id,
            Issue.code == problem.code,
            Issue.side == (problem.side or ""),
            Issue.key == problem.key[:500],
            Issue.field == problem.field_name,
            Issue.closed_at.is_(None),
        )
    )
    if row is None:
        row = Issue(
            workspace_id=workspace_id,
            config_id=config_id,
            link_id=link_id,
            code=problem.code,
            side=problem.side or "",
            key=problem.key[:500],
            field=problem.field_name,
            message=problem.message,
            detail=encode_fields(problem.extra),
            seen=0,
            opened_at=now,
            muted=False,
            digest=digest,
        )
        db.add(row)
    if row.digest != digest or row.message != problem.message:
        row.seen, row.muted, row.muted_until = 0, False, None  # another value or another reason: a new trial
    row.seen += 1
    row.digest, row.message = digest, problem.message
    row.last_seen_at, row.last_run_id = now, run_id
    if digest and row.seen >= PATIENCE:
        row.retry_at = now + min(timedelta(minutes=15) * 2 ** (row.seen - PATIENCE), LONGEST_REST)
    db.flush()
    return row


def close_issues(
    db: Session,
    config_id: str,
    now: datetime,
    *,
    still: set[tuple[str, str, str, str]],
    examined: set[str],
    whole: bool,
    keep: Sequence[str] = ("lossy",),
    rewritten: set[tuple[str, str]] = frozenset(),  # type: ignore[assignment]
) -> None:
    """Close what no longer occurs.

    `still`: (code, side, key, field) of this run's problems. `examined`: keys of the records that the
    run looked at. `whole`: the run looked at everything that it could. Codes in `keep` stay until the
    field is written or agreed again (`rewritten`: key and field).
    """
    for row in db.scalars(select(Issue).where(Issue.config_id == config_id, Issue.closed_at.is_(None))):
        if (row.code, row.side, row.key, row.field) in still:
            continue
        if row.code in keep:
            if (row.key, row.field) in rewritten:
                row.closed_at = now
        elif row.key in examined or (whole and row.code != "unknown_outcome"):
            row.closed_at = now


def keys_with_issues(db: Session, config_id: str) -> frozenset[str]:
    """The keys of records of which an open issue tells."""
    query = select(Issue.key).where(Issue.config_id == config_id, Issue.closed_at.is_(None))
    return frozenset(db.scalars(query.distinct()))


def open_fields(db: Session, config_id: str, code: str, side: Side) -> set[str]:
    """The fields of which an open issue of this cause tells."""
    query = select(Issue.field).where(
        Issue.config_id == config_id, Issue.code == code, Issue.side == side, Issue.closed_at.is_(None)
    )
    return set(db.scalars(query))


def close_unknown(db: Session, change: Journalled, now: datetime) -> None:
    """It is known by now what became of this change."""
    db.execute(
        update(Issue)
        .where(
            Issue.config_id == change.config_id,
            Issue.code == "unknown_outcome",
            Issue.side == change.side,
            Issue.key == change.key,
            Issue.closed_at.is_(None),
        )
        .values(closed_at=now)
    )


# -- the journal ----------------------------------------------------------------------------------


_OUTCOME = ("state", "link_id", "record_id", "result", "code", "message", "settled_at")


def store_changes(db: Session, entries: Sequence[Entry]) -> None:
    """Journal new changes; their ids are set, in their order."""
    for entry, id_ in zip(entries, many.new_ids(db, Change, len(entries)), strict=True):
        entry.id = id_
    many.insert_rows(db, Change, [row_of(entry) for entry in entries])


def mark_sent(db: Session, change_ids: Sequence[int], now: datetime) -> None:
    """Note that these changes are on their way, before they are."""
    sent = {"state": ChangeState.SENT, "sent_at": now, "attempts": Change.attempts + 1}
    many.update_chosen(db, Change, change_ids, sent)


def store_outcomes(db: Session, entries: Sequence[Entry]) -> None:
    """What became of changes that `store_changes` journalled."""
    rows = [{name: getattr(entry, name) for name in ("id", *_OUTCOME)} for entry in entries]
    many.update_rows(db, Change, rows)


def open_changes(db: Session, config_id: str, states: Sequence[ChangeState]) -> list[Change]:
    return list(
        db.scalars(
            select(Change)
            .where(Change.config_id == config_id, IS_OPEN, Change.state.in_(states))
            .order_by(Change.id)
        )
    )


def withdraw(db: Session, config_id: str, kept: set[int], now: datetime, *, gone: bool) -> int:
    """Held and approved changes that the plan no longer holds are withdrawn; overdue ones expire."""
    states = (ChangeState.HELD, ChangeState.APPROVED, ChangeState.DISMISSED)
    count = 0
    for row in open_changes(db, config_id, states):
        if row.id in kept:
            continue
        if gone:
            row.state, row.settled_at = ChangeState.WITHDRAWN, now
            row.message = "The reason for it went away by itself."
            count += 1
        elif has_expired(row, now):
            expire(row, now)
    return count


def has_expired(row: Change, now: datetime) -> bool:
    """Whether nobody decided on a held change in time."""
    return row.state == ChangeState.HELD and row.expires_at is not None and row.expires_at < now


def expire(row: Change, now: datetime) -> None:
    row.state, row.settled_at = ChangeState.EXPIRED, now
    row.message = "Nobody decided in time. If it is still wanted, it waits again as a change of its own."


def find_record(db: Session, config_id: str, key: str) -> list[Link]:
    """Links by match key as shown, or by either id."""
    condition: ColumnElement[bool] = or_(Link.left_id == key, Link.right_id == key)
    by_key = and_(Link.key != "", Link.key.in_((key, f'"{key}"')))
    return list(db.scalars(select(Link).where(Link.config_id == config_id, or_(condition, by_key))))


def forget_config(db: Session, config_id: str) -> None:
    """Drop what a config remembers of both sides: the next run starts from first contact."""
    db.execute(delete(Link).where(Link.config_id == config_id))
    db.execute(delete(Baseline).where(Baseline.config_id == config_id))


class Flapping(Protocol):
    """What has flaps: a stored shadow."""

    flaps: dict[str, Any] | None


def flap(
    row: Flapping,
    side: Side,
    after: Mapping[str, Any],
    reset: bool,
    run_id: str,
    previous_run_id: str | None,
) -> None:
    """Count the runs in a row that wrote each field of a side, and those that wrote the same (encoded) value.

    In a row: in the run before, or there the other side was written (each undoes what the other does).
    """
    flaps = dict(row.flaps or {})
    for name, stored in after.items():
        slot = f"{side}:{name}"
        last, far = flaps.get(slot), flaps.get(f"{other(side)}:{name}")
        in_row = last is not None and not reset and last["run"] in (previous_run_id, run_id)
        echoed = last is not None and not reset and far is not None and far["run"] == previous_run_id
        again = last is not None and last["value"] == stored and (in_row or echoed)
        flaps[slot] = {
            "value": stored,
            "count": last["count"] + 1 if again and last else 1,
            "streak": last.get("streak", 1) + 1 if in_row and last else 1,
            "run": run_id,
        }
    row.flaps = flaps


def keep_worn_out(db: Session, link_id: int, field_name: str, run_id: str) -> None:
    """A frozen field stays frozen: the write was held back in this run too."""
    row = db.get_one(Shadow, link_id)
    row.flaps = {
        slot: {**entry, "run": run_id} if slot.endswith(f":{field_name}") else entry
        for slot, entry in (row.flaps or {}).items()
    }


def label_of(item: Item, mapping: FieldMapping) -> str:
    for side in SIDES:
        look = item.look(side)
        if isinstance(look, Seen):
            return mapping.label(side, look.values, look.id)
    return item.tie.key or item.tie.id_on("left") or item.tie.id_on(other("left")) or ""
