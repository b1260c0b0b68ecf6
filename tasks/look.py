"""What a run sees and what should follow: both sides read, compared, reconciled, guarded. Writes nothing.

A run, its preview, an explanation of one record: all of them look with this code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from connectors.base import Can, Chosen, Page, Parts, Total, is_unkeyed
from connectors.errors import RetryableError
from models.links import Link
from models.sync_configs import Baseline
from sync import vanished as vanish
from sync.diff import Scan, moved_parts, parts_for, scan_pages
from sync.guard import Facts, PlannedChange
from sync.mapping import FieldMapping, FieldPair
from sync.plan import Gone, Intent, Look, Tie, Unknown
from sync.planner import LinkIndex, Plan, SideFacts, make_plan, to_learn, touched
from sync.policy import ConflictPolicy
from sync.reconcile import Rules
from sync.records import SIDES, Problem, Record, Side, other
from sync.values import Fields, Value
from tasks import ledger, relations
from tasks.context import Context
from tasks.ledger import Decided
from tasks.reins import Reins
from tasks.sides import End, Pairing, both, call, probe, records_at

WRONG_CLOCK = timedelta(minutes=1)  # beyond it people are told
MOST_PROBES = 500  # missing ids that are looked up one by one in one run
FEW = 20  # where fewer than one record in so many is read, its links are looked up, not gone through
KEYS_AT_ONCE = 100  # match values in one question


@dataclass
class Outlook:
    """Everything that one look at both sides found out."""

    index: LinkIndex
    ties: dict[int, Tie]
    scans: dict[Side, Scan]
    plan: Plan
    facts: Facts
    baseline: Baseline | None
    decided: Decided
    is_full: bool
    unread: dict[Side, str]  # sides whose read broke off, with the reason
    unkeyed: dict[Side, int]  # records without a key in a column of the user's own
    warnings: list[Problem] = field(default_factory=list)  # what is no record's failure
    resting: list[PlannedChange] = field(default_factory=list)  # refused too often: not sent this time
    narrowed: bool = False  # a retry of some records: the plan says nothing of the others
    # What records that are to be deleted hold in fields that are not mapped: kept with the rest.
    unmapped: dict[tuple[Side, str], Fields] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What we know of a sync before a run reads anything."""

    index: LinkIndex
    baseline: Baseline | None
    decided: Decided
    answered: Sequence[int]  # links with an answer that waits to be carried out
    now: datetime
    is_migration: bool  # the mapping or the ends are others than in the last run
    is_redecided: bool  # another policy may decide otherwise about records that have not moved
    since: Mapping[Side, str | None]  # the cursor that a side is read from; None for a whole read
    adding: Collection[Side]  # whose versions can be added up, and where that may be of use
    totals: Mapping[Side, Total]  # what they add up to, where all of them are known

    @property
    def asks_for_all(self) -> bool:
        """Whether all records are looked at once, moved or not."""
        return self.is_migration or self.is_redecided


def recall(ctx: Context, pairing: Pairing, *, full: bool = False) -> Known:
    """It counts all links: once in a run. `full`: all records are to be read in any case."""
    built, config_id = pairing.built, pairing.config_id
    with ctx.reads() as db:
        now = ctx.db_now(db)
        baseline = ledger.baseline_of(db, config_id)
        decided, answered = ledger.load_decided(db, config_id, now), ledger.answered_links(db, config_id)
        is_migration = baseline is not None and (
            baseline.mapping_hash != built.mapping_hash
            or built.retyped
            or baseline.identity_hash != built.identity_hash
        )
        is_redecided = baseline is None or baseline.policy_hash != built.policy_hash
        asks_for_all = is_migration or is_redecided
        # Who decided something waits for it to be done, also for records that have not moved since.
        everything = full or asks_for_all or bool(decided.approved or answered)
        since = {side: None if everything else _cursor(pairing, side, baseline, now) for side in SIDES}
        # Only where a whole read may find all as it was.
        adding = [
            side
            for side in SIDES
            if since[side] is None
            and not asks_for_all
            and _adds_up(pairing.end(side))
            and ledger.can_add_versions(db)
        ]
        index, totals = ledger.load_index(db, config_id, adding=adding)
        return Known(
            index, baseline, decided, answered, now, is_migration, is_redecided, since, adding, totals
        )


def _adds_up(end: End) -> bool:
    return end.to_make is None and end.connector.adds_up(end.options)


def look(
    ctx: Context,
    pairing: Pairing,
    reins: Reins | None,
    *,
    full: bool,
    previous_run_id: str | None,
    also: Sequence[int] = (),
) -> Outlook:
    """Read both sides and plan; the links in `also` are decided even if nothing about them moved.

    Raises ConnectorError (a side that cannot be read at all) and Signals."""
    known = recall(ctx, pairing, full=full)
    look_at_all = known.asks_for_all
    unread: dict[Side, str] = {}
    unkeyed: dict[Side, int] = {"left": 0, "right": 0}

    def read(side: Side) -> Scan:
        end, since = pairing.end(side), known.since[side]
        as_agreed = None if look_at_all else _as_agreed(ctx, pairing, side)
        if side in known.adding and (scan := _by_parts(ctx, pairing, end, known, reins, as_agreed)):
            return scan
        return scan_side(
            ctx, pairing, end, reins, since, look_at_all=look_at_all, unread=unread, as_agreed=as_agreed
        )

    scans = both(read, apart=all(pairing.end(side).connector.reads_apart for side in SIDES))
    for side in SIDES:
        if pairing.end(side).id_kind == "visible":
            unkeyed[side] = _set_unkeyed_aside(scans[side])
    return weigh(
        ctx, pairing, known, scans, previous_run_id=previous_run_id, also=also, unread=unread, unkeyed=unkeyed
    )


def weigh(
    ctx: Context,
    pairing: Pairing,
    known: Known,
    scans: dict[Side, Scan],
    *,
    previous_run_id: str | None,
    also: Sequence[int] = (),
    unread: dict[Side, str] | None = None,
    unkeyed: dict[Side, int] | None = None,
) -> Outlook:
    """What should follow from what both reads returned. Raises ConnectorError (a look at single records)."""
    index, baseline, decided, now = known.index, known.baseline, known.decided, known.now
    built = pairing.built
    mapping = built.rules.mapping
    index.renew(scans)
    with ctx.reads() as db:
        for side in SIDES:
            ledger.learn(db, pairing.config_id, index, side, to_learn(scans[side]))
        asked = {*known.answered, *also}
        index.learn(ledger.load_rows(db, pairing.config_id, Link.id, asked - index.by_id.keys()))
        wanted = touched(index, scans, asked & index.by_id.keys())
        known_fields = dict(baseline.pairs) if baseline is not None else None
        ties = ledger.load_ties(db, pairing.config_id, index, wanted, mapping, previous_run_id, known_fields)
        _meet_the_holders(db, pairing, index, scans)
    facts = Facts(
        known=index.linked,
        was_populated={side: index.on_side[side] > 0 or _count(baseline, side) > 0 for side in SIDES},
        counts={side: scans[side].read for side in SIDES},
        first_contact=_is_first_contact(ctx, pairing, baseline, scans, index),
        first_load_done=baseline is not None and baseline.full_at is not None,
        migration=known.is_migration and baseline is not None and baseline.full_at is not None,
        approved=decided.approved,
        dismissed=decided.dismissed,
        held=decided.held,
    )
    side_facts = {side: _side_facts(pairing, side, scans[side]) for side in SIDES}
    vanished = {side: _vanished(ctx, pairing, side, scans, ties) for side in SIDES}
    related = replace(built.rules, mapping=relations.relate(ctx, pairing, scans, ties))
    rules, clock_notes = _by_their_clocks(ctx, pairing, _without(related, vanished))
    plan = make_plan(ties, index, scans, side_facts, rules, facts, now)
    if _meet_the_unread(ctx, pairing, plan, scans, index):
        with ctx.reads() as db:
            _meet_the_holders(db, pairing, index, scans)
        plan = make_plan(ties, index, scans, side_facts, rules, facts, now)
    if _freeze_volatile(pairing, plan, ties):
        plan = make_plan(ties, index, scans, side_facts, rules, facts, now)
    if along := relations.along(pairing, plan.changes):
        facts = replace(facts, along=along)
        plan = make_plan(ties, index, scans, side_facts, rules, facts, now)
    plan.notes.extend((*clock_notes, *built.notes))
    _note_paused(plan, pairing)
    for side in SIDES:
        names = sorted(mapping.pair(name).on(side) for name in vanished[side])
        plan.problems.extend(vanish.problem(side, name) for name in names)
    return Outlook(
        index, ties, scans, plan, facts, baseline, decided,
        is_full=all(scan.full for scan in scans.values()), unread=unread or {}, unkeyed=unkeyed or {},
        warnings=_warnings(pairing),
    )  # fmt: skip


def _by_parts(
    ctx: Context,
    pairing: Pairing,
    end: End,
    known: Known,
    reins: Reins | None,
    as_agreed: Callable[[Sequence[Record]], Set[str]] | None,
) -> Scan | None:
    """A complete scan of a side of which only those parts were read whose versions add up to something else
    than what is known of them; None where that may be most of it. Raises ConnectorError, and Signals."""
    side, linked = end.side, known.index.on_side[end.side]
    number, total = parts_for(linked), known.totals.get(side)
    # Records that no link knows never add up: some spoil their own parts, and one spoils the whole.
    strangers = max(_count(known.baseline, side) - linked, 0)
    if not linked or strangers > number // 4 or (number == 1 and (total is None or strangers)):
        return None

    def once() -> Scan | None:
        with end.connector.in_parts(end.stream, end.options, number) as there:
            if there is None:
                return None
            if total == there.whole:
                return Scan(read=total.count, complete=True, incomplete_because="", cursor=there.cursor)
            if number == 1:
                return None
            with ctx.reads() as db:
                ours = ledger.load_parts(db, pairing.config_id, side, number)
            scan = _scan_of_parts(ctx, pairing, end, reins, there, ours, number, as_agreed)
            if scan is not None:
                scan.read, scan.cursor = there.whole.count, there.cursor
            return scan

    if reins is not None:
        reins.checkpoint()
        reins.progress(f"reading {side}", 0)
    with reins.toward(end.connection_id) if reins is not None else nullcontext():
        return call(once, retries=pairing.definition.retries)


def _scan_of_parts(
    ctx: Context,
    pairing: Pairing,
    end: End,
    reins: Reins | None,
    there: Parts,
    ours: Mapping[int, Total],
    number: int,
    as_agreed: Callable[[Sequence[Record]], Set[str]] | None,
) -> Scan | None:
    """A scan of the parts that add up to something else than ours; None where they are most of the side."""
    moved = moved_parts(there.totals, ours)
    to_read = sum(there.totals[part].count for part in moved & there.totals.keys())
    count = there.whole.count
    if 2 * to_read > count:
        return None

    def linked() -> dict[str, str | None]:
        """The versions of all that is linked in these parts, by one pass over all links."""
        with ctx.reads() as db:
            return ledger.load_versions(db, pairing.config_id, end.side, Chosen(number, moved))

    pages = there.read(moved)
    if FEW * to_read > count:
        return scan_pages(_paced(end, pages, reins), linked(), as_agreed=as_agreed)
    versions: dict[str, str | None] = {}
    pages = _with_versions(ctx, pairing, end.side, pages, versions)
    scan = scan_pages(_paced(end, pages, reins), versions, as_agreed=as_agreed)
    if len(versions) < sum(ours[part].count for part in moved & ours.keys()):
        scan.absent = linked().keys() - versions.keys()
    return scan


def _as_agreed(ctx: Context, pairing: Pairing, side: Side) -> Callable[[Sequence[Record]], Set[str]] | None:
    """What tells which linked records of a side hold just what their shadows say; None where that is not all
    there is to know of them."""
    mapping = pairing.built.rules.mapping
    # A filter may look at fields that are not mapped.
    if not mapping.is_plain or any(pairing.built.scopes[side] is not None for side in SIDES):
        return None

    def those(records: Sequence[Record]) -> set[str]:
        with ctx.reads() as db:
            if ledger.open_fields(db, pairing.config_id, vanish.CODE, side):
                return set()  # whoever brings such a field back is to be looked at
            ids = [record.id for record in records]
            shadows = ledger.shadows_of(db, pairing.config_id, side, ids, mapping)
        looked = (mapping.see(side, record) for record in records if record.id in shadows)
        return {seen.id for seen in looked if not seen.problems and seen.values == shadows[seen.id]}

    return those


def _vanished(
    ctx: Context, pairing: Pairing, side: Side, scans: Mapping[Side, Scan], ties: Mapping[int, Tie]
) -> frozenset[str]:
    """The pairs whose field this side returns with no record any more."""
    mapping = pairing.built.rules.mapping
    found = vanish.suspects(side, scans, ties, mapping)
    with ctx.reads() as db:
        # Once gone, a field stays so until some record brings it again.
        open_ = ledger.open_fields(db, pairing.config_id, vanish.CODE, side)
        still = {pair.name for pair in mapping.pairs if pair.on(side) in open_}
        still -= vanish.brought(side, scans[side], mapping)
        held = ledger.fields_held(db, pairing.config_id, side, found, set(ties)) if found else frozenset()
    return frozenset(found) - held | still


def _freeze_volatile(pairing: Pairing, plan: Plan, ties: dict[int, Tie]) -> bool:
    """Fields that were written to in each of the last runs are looked at once more: one that has another
    value by now, a moment after it was read, changes by itself. Returns whether there are any."""
    mapping, found = pairing.built.rules.mapping, False
    for side in SIDES:
        suspects: dict[str, tuple[PlannedChange, list[str]]] = {}
        for change in plan.changes:
            intent, tie = change.intent, change.tie
            names = [name for name in intent.settle if (name, intent.side) in tie.restless]
            if names and change.intent.side == other(side) and change.origin_id:
                suspects[change.origin_id] = change, names
        end = pairing.end(side)
        if not suspects or not end.can_look_up:
            continue
        for record in records_at(end, sorted(suspects), retries=pairing.definition.retries).values():
            change, names = suspects[record.id]
            again = mapping.see(side, record)
            moved = {
                name
                for name in names
                if not mapping.pair(name).same(side, again.get(name), change.intent.settle[name])
            }
            if moved and change.tie.id is not None:
                ties[change.tie.id] = replace(ties[change.tie.id], volatile=frozenset(moved))
                found = True
    return found


def _by_their_clocks(ctx: Context, pairing: Pairing, rules: Rules) -> tuple[Rules, list[str]]:
    """The rules with both sides' clocks compared to ours, where it matters when a record was edited."""
    policies = {rules.policy.conflict, *(pair.conflict for pair in rules.mapping.pairs)}
    if ConflictPolicy.NEWEST_WINS not in policies and not rules.policy.settle:
        return rules, []
    ahead: dict[Side, timedelta] = {}
    for side in SIDES:
        theirs = call(pairing.end(side).connector.clock, retries=pairing.definition.retries)
        ahead[side] = timedelta(0) if theirs is None else theirs - ctx.now()
    notes = [
        f"the clock of {side} is {abs(off)} {'ahead' if off > timedelta(0) else 'behind'}:"
        " the times of its records are corrected by that"
        for side, off in ahead.items()
        if abs(off) > WRONG_CLOCK
    ]
    return replace(rules, left_ahead=ahead["left"], right_ahead=ahead["right"]), notes


def _without(rules: Rules, vanished: Mapping[Side, frozenset[str]]) -> Rules:
    """The same rules, that take nothing of these fields for empty."""
    if not any(vanished.values()):
        return rules
    mapping = replace(rules.mapping, left_vanished=vanished["left"], right_vanished=vanished["right"])
    return replace(rules, mapping=mapping)


def _meet_the_holders(db: Session, pairing: Pairing, index: LinkIndex, scans: Mapping[Side, Scan]) -> None:
    """Have the index know which links hold the match keys of records that are, or may be, new, or gone."""
    if not len(index):
        return
    mapping = pairing.built.rules.mapping
    keys = {row.key for row in index.by_id.values() if row.left_id is None or row.right_id is None}
    for side in SIDES:
        scan, by_id = scans[side], index.on(side)
        renamed = list(_renamed(scan, side, index, mapping))
        known = (mapping.key_of(side, record) for record in (*scan.new.values(), *renamed))
        keys.update(key[:500] for key in known if key is not None)
        gone = (record.id for record in scan.changed.values() if record.deleted)
        moved = (*scan.absent, *gone, *(record.id for record in renamed))
        keys.update(by_id[id].key for id in moved if id in by_id)
    index.meet(ledger.load_rows(db, pairing.config_id, Link.key, keys - {""}))


def _renamed(scan: Scan, side: Side, index: LinkIndex, mapping: FieldMapping) -> Iterator[Record]:
    """Linked records under another key than at the last agreement: perhaps others under a reused id."""
    for record in scan.changed.values():
        row = index.on(side).get(record.id)
        if row is not None and (mapping.key_of(side, record) or "")[:500] != row.key:
            yield record


def _meet_the_unread(
    ctx: Context, pairing: Pairing, plan: Plan, scans: Mapping[Side, Scan], index: LinkIndex
) -> bool:
    """Where only what moved was read: has a record that seems to be alone its partner after all?

    Whatever is found joins the scan as if it had been read. Returns whether something was.
    """
    mapping = pairing.built.rules.mapping
    found = False
    for side in SIDES:
        end, scan = pairing.end(side), scans[side]
        if scan.full or not mapping.match or not end.can_look_up:
            continue
        pair = mapping.pair(mapping.match[0])
        keys = [
            _key_there(pair, side, change.intent)
            for change in plan.changes
            if change.tie.id is None and change.tie.id_on(side) is None
        ]
        records = {item.id: item for item in _holders(end, pair.on(side), keys, pairing.definition.retries)}
        with ctx.reads() as db:
            linked = ledger.versions_of(db, pairing.config_id, side, list(records))
        for record in records.values():
            if record.id not in linked and record.id not in scan.new:
                scan.new[record.id] = record
                found = True
    return found


def _holders(end: End, field_name: str, values: Sequence[Value], retries: int) -> Iterator[Record]:
    """The records of an end whose field holds one of these values."""
    for start in range(0, len(values), KEYS_AT_ONCE):
        part = values[start : start + KEYS_AT_ONCE]
        yield from call(
            partial(end.connector.find, end.stream, end.options, field_name, part), retries=retries
        )


def _key_there(pair: FieldPair, side: Side, intent: Intent) -> Value:
    """The match value of a new record as `side` would hold it."""
    if intent.side == side:
        return intent.after.get(pair.name)
    return pair.across(other(side), intent.before.get(pair.name))


def _is_first_contact(
    ctx: Context,
    pairing: Pairing,
    baseline: Baseline | None,
    scans: Mapping[Side, Scan],
    index: LinkIndex,
) -> bool:
    """Whether two sides that both held records meet. A first load that was broken off, of a side that was
    empty, is not that: what stands there by now came from us."""
    if (baseline is not None and baseline.full_at is not None) or not all(
        scan.read > 0 for scan in scans.values()
    ):
        return False
    if not len(index):
        return True
    with ctx.reads() as db:
        return ledger.waits_for_first_run(db, pairing.config_id)


def _count(baseline: Baseline | None, side: Side) -> int:
    if baseline is None:
        return 0
    return (baseline.left_count if side == "left" else baseline.right_count) or 0


def _cursor(pairing: Pairing, side: Side, baseline: Baseline | None, now: datetime) -> str | None:
    """Where an incremental read of this side may begin; None for a full one."""
    definition = pairing.definition
    if definition.mode != "incremental" or baseline is None or baseline.full_at is None:
        return None
    if now - baseline.full_at >= definition.full_every:
        return None  # a full run heals drift and finds deletes
    if Can.INCREMENTAL not in pairing.end(side).connector.can:
        return None
    return baseline.left_cursor if side == "left" else baseline.right_cursor


def _pages(end: End, since: str | None) -> Iterator[Page]:
    if end.to_make is not None:
        return iter([Page.of([], is_last=True)])
    return end.connector.read(end.stream, end.options, since)


def scan_side(
    ctx: Context,
    pairing: Pairing,
    end: End,
    reins: Reins | None,
    since: str | None = None,
    *,
    look_at_all: bool = False,
    unread: dict[Side, str] | None = None,
    take: Callable[[Sequence[Record]], None] | None = None,
    begin: Callable[[], None] | None = None,
    as_agreed: Callable[[Sequence[Record]], Set[str]] | None = None,
) -> Scan:
    """One side, to its end. A read that breaks off is started again, never spliced.

    `take` gets the new records in place of the scan, `as_agreed` tells which of many linked ones hold what
    they held (`sync.diff`); each attempt to read begins with `begin`.
    Raises ConnectorError, and Signals.
    """
    known: dict[str, str | None] = {}

    def anew() -> None:
        nonlocal known
        known = {}  # each read uses it up
        if since is None:
            with ctx.reads() as db:
                known = ledger.load_versions(db, pairing.config_id, end.side)

    def pages() -> Iterator[Page]:
        read = _pages(end, since)
        return read if since is None else _with_versions(ctx, pairing, end.side, read, known)

    def once() -> Scan:
        if begin is not None:
            begin()
        anew()
        return scan_pages(
            _paced(end, pages(), reins),
            known,
            full=since is None,
            look_at_all=look_at_all,
            first_copy_wins=end.id_kind != "system",
            take=take,
            as_agreed=as_agreed,
        )

    def attempt() -> Scan:
        if reins is None:
            return call(once, retries=pairing.definition.retries)
        with reins.toward(end.connection_id):
            return call(once, retries=pairing.definition.retries)

    try:
        return attempt()
    except RetryableError as problem:
        anew()
        partial = _what_came(pages(), end, known, since, look_at_all)
        if partial is None or partial.read == 0:
            raise
        partial.incomplete_because = problem.message
        if unread is not None:
            unread[end.side] = problem.message
        return partial


def _with_versions(
    ctx: Context, pairing: Pairing, side: Side, pages: Iterator[Page], known: dict[str, str | None]
) -> Iterator[Page]:
    """The same pages; before each, the versions of its linked records are known: of all links only those."""
    for page in pages:
        with ctx.reads() as db:
            unknown = [record_id for record_id in page.ids if record_id not in known]
            known.update(ledger.versions_of(db, pairing.config_id, side, unknown))
        yield page


def _what_came(
    read: Iterator[Page], end: End, known: dict[str, str | None], since: str | None, look_at_all: bool
) -> Scan | None:
    """The pages before the one that cannot be read: edits of seen records may flow, nothing is absent."""
    pages: list[Page] = []
    try:
        for page in read:
            pages.append(replace(page, is_last=False))
    except RetryableError:
        pass
    return scan_pages(
        pages,
        known,
        full=since is None,
        look_at_all=look_at_all,
        first_copy_wins=end.id_kind != "system",
    )


def _paced(end: End, pages: Iterator[Page], reins: Reins | None) -> Iterator[Page]:
    read = 0
    for page in pages:
        if reins is not None:
            reins.checkpoint()
            read += len(page.ids)
            reins.progress(f"reading {end.side}", read, page.total)
        yield page


def _set_unkeyed_aside(scan: Scan) -> int:
    """Records whose own key cell is empty take no part; how many there are."""
    empty = [record_id for record_id in scan.new if is_unkeyed(record_id)]
    for record_id in empty:
        del scan.new[record_id]
    return len(empty)


def _side_facts(pairing: Pairing, side: Side, scan: Scan) -> SideFacts:
    end = pairing.end(side)
    probed: dict[str, Look | Record] = {}
    if scan.proves_absence and not end.connector.snapshot and end.can_look_up:
        missing = sorted(scan.absent)[:MOST_PROBES]
        for record_id, found in (probe(end, missing) if missing else {}).items():
            if isinstance(found, Record):
                probed[record_id] = found if found.id == record_id else _merged(side, record_id, found.id)
            elif found is None:
                probed[record_id] = Gone()
            else:
                reason = f"the record can no longer be read on {side}: {found}"
                probed[record_id] = Unknown(
                    reason,
                    Problem(
                        "lost_access",
                        f"The record {record_id} can no longer be read on {side} ({found}). It is not taken"
                        " for deleted; give the connection access to it again.",
                        side=side,
                        key=record_id,
                        operation="read",
                    ),
                )
    return SideFacts(
        snapshot=end.connector.snapshot,
        stable_ids=end.id_kind != "visible",
        consistent=end.connector.consistent,
        scope=pairing.built.scopes[side],
        probed=probed,
        knows_all=scan.complete and (scan.full or end.can_look_up),
        ids_come_late=end.id_kind == "chosen",
    )


def _merged(side: Side, record_id: str, into: str) -> Gone:
    return Gone(
        problem=Problem(
            "merged",
            f"The record {record_id} was merged into {into} on {side}. Its copy is not deleted: merge the two"
            " on the other side as well, or delete the one that is no longer wanted.",
            side=side,
            key=record_id,
            operation="read",
        )
    )


def _warnings(pairing: Pairing) -> list[Problem]:
    """What people should know of the streams, though all records are carried as they should be."""
    found = [
        Problem("schema", text, side=side, field_name=str(number), operation="read")
        for side in SIDES
        for number, text in enumerate(pairing.end(side).stream.problems)
    ]
    found += [
        Problem(
            "new_field",
            f"Both sides have a field '{name}' that this sync does not carry yet. Add it under `fields`, or"
            " let new fields be added by themselves: new_fields: add.",
            field_name=name,
            operation="read",
        )
        for name in pairing.built.proposed
    ]
    return found


def _note_paused(plan: Plan, pairing: Pairing) -> None:
    """A mapped field that a side no longer has: it is left alone, nothing is cleared on the other."""
    for name in pairing.built.paused:
        field_name, _, side = name.rpartition(" on ")
        problems = pairing.end("left" if side == "left" else "right").stream.problems
        said = next((problem for problem in problems if f"'{field_name}'" in problem), "")
        message = (
            f"The field '{field_name}' cannot be told on {side}: {said} Until then it is paused, and nothing"
            " is cleared on the other side."
            if said
            else f"The field '{field_name}' is no longer on {side}. It is paused: nothing is cleared on the"
            " other side. Bring it back, or take it out of the mapping."
        )
        plan.problems.append(
            Problem(
                "field_gone",
                message,
                side="left" if side == "left" else "right",
                field_name=field_name,
                operation="read",
            )
        )
