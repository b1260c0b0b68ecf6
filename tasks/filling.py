"""A first load: a side that holds nothing yet is filled, some thousand records at a time.

An ordinary run has its whole plan before its first write. Where a side is empty there is little to plan: each
record of the other is new, and no guard counts creates before the first load is done. So the one side is
read to its end into a file of our own, then planned, journalled and sent part by part, by the code of every
run: the memory that it takes does not grow with the records. Records whose keys may not be theirs alone are
planned together, at the end. A load that was broken off goes on in the same way: what it made is known.
"""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import pairwise
from types import TracebackType
from typing import IO

from connectors.base import is_unkeyed
from models.journal import ChangeState
from models.sync_runs import RunKind, SyncRun
from sync.diff import Scan
from sync.identity import without_case
from sync.mapping import FieldMapping
from sync.order import in_order
from sync.planner import Plan
from sync.records import SIDES, Record, Side, other
from tasks import batches, ledger, previews
from tasks.apply import Work, send_all
from tasks.intents import journal
from tasks.look import Known, Outlook, recall, scan_side, weigh
from tasks.narrow import keep_shown, say_what_is_kept

FEWEST = 5_000  # records; fewer are planned at once
PART = 5_000  # records that are planned and sent at once
_NO_ROOM = "The temporary folder does not take the records of a first load, which goes in parts otherwise"

# What is done with a part of the records, by its outlook; how many came before it, of how many.
Part = Callable[[Work, Outlook, int, int], None]


class NoFirstLoad(Exception):
    """Not the case that this room is for: an ordinary run decides."""


class NoRoom(Exception):
    """The temporary folder takes no more; the message says why not."""


def fill(work: Work, run: SyncRun, each: Part) -> Outlook | None:
    """Do this with each part of what the empty side lacks; what came of it, without its records.

    None, and nothing done, where this is no first load, or one that needs its whole plan before a write.

    Raises ConnectorError and Signals; what was done by then stays, and a later run goes on with the rest.
    """
    with work.ctx.reads() as db:
        baseline = ledger.baseline_of(db, work.config_id)
    if baseline is not None and baseline.full_at is not None:
        return None  # a run got through: this is asked at each run, and costs no more than that
    if not _asks_for_no_whole_plan(work, run):
        return None
    known = recall(work.ctx, work.pairing)
    if not _is_first_load(work, known):
        return None
    mapping, direction = work.pairing.built.rules.mapping, work.pairing.built.rules.policy.direction
    for target in ("right", "left"):
        if not direction.writes_to(target):
            continue
        try:
            with Store(mapping, other(target)) as store:
                scans = _read(work, known, target, store)
                return _fill(work, known, scans, store, target, each, _shown(work, run))
        except NoFirstLoad:
            continue
        except NoRoom as problem:
            work.reins.log("warning", f"{_NO_ROOM}: {problem}. All is planned at once.")
            return None
    return None


def _asks_for_no_whole_plan(work: Work, run: SyncRun) -> bool:
    """Whether each record can be decided without all others."""
    built, ends = work.pairing.built, (work.pairing.left, work.pairing.right)
    policy, mapping = built.rules.policy, built.rules.mapping
    return (
        run.options.keys() <= {"preview"}
        and run.kind != RunKind.UNDO
        and not any(pair.holds_files or pair.form(side) for pair in mapping.pairs for side in SIDES)
        and not (policy.strict or policy.settle or built.paused)
        and policy.guards.budget.creates is None
        and all(end.connector.snapshot and end.connector.consistent for end in ends)
        # Whoever turns out to be another case is read once more, which costs calls where they are counted.
        and not any(end.connector.quotas(end.stream) for end in ends)
    )


def _is_first_load(work: Work, known: Known) -> bool:
    """Whether all that is known came from a load like this, and nothing waits for a person or a look."""
    is_odd = known.index.by_id or known.index.states.keys() - {"linked"}
    decided = known.decided.approved or known.decided.dismissed or known.decided.held
    if known.is_migration or is_odd or decided or known.answered:
        return False
    with work.ctx.reads() as db:
        unknown = ledger.open_changes(db, work.config_id, (ChangeState.UNKNOWN,))
        return not unknown and not ledger.rested(db, work.config_id, known.now)


def _read(work: Work, known: Known, target: Side, store: Store) -> dict[Side, Scan]:
    """Both sides read to their ends: the target, which must be as we know it; the store takes what it lacks.

    Raises NoFirstLoad, NoRoom.
    """
    ctx, pairing, source = work.ctx, work.pairing, other(target)
    there = scan_side(ctx, pairing, pairing.end(target), work.reins, take=_refuse)
    _must_be_as_known(there)
    missing = scan_side(ctx, pairing, pairing.end(source), work.reins, take=store.add, begin=store.clear)
    _must_be_as_known(missing)
    # An id that was returned twice is in the store twice, and counted once.
    if len(store) < FEWEST or len(store) != missing.read - known.index.on_side[source]:
        raise NoFirstLoad
    return {target: there, source: missing}


def _refuse(_: Sequence[Record]) -> None:
    raise NoFirstLoad


def _must_be_as_known(scan: Scan) -> None:
    if not scan.complete or scan.absent or scan.changed or scan.duplicates:
        raise NoFirstLoad


def _shown(work: Work, run: SyncRun) -> Set[str] | None:
    """The changes of the preview that this run carries out, if it does."""
    return previews.fingerprints(work.ctx, run.options["preview"]) if run.options else None


def _fill(
    work: Work,
    known: Known,
    scans: dict[Side, Scan],
    store: Store,
    target: Side,
    each: Part,
    shown: Set[str] | None,
) -> Outlook:
    source, total, done, kept = other(target), len(store), 0, 0
    work.reins.log("info", f"{target} lacks {total} records of {source}: they are taken {PART} at a time.")
    whole: Outlook | None = None
    notes: dict[str, None] = {}
    for part in store.parts():
        found = {**scans, source: replace(scans[source], new={record.id: record for record in part})}
        outlook = weigh(work.ctx, work.pairing, known, found, previous_run_id=work.previous_run_id)
        if outlook.plan.held:
            raise AssertionError("no guard holds what a first load creates")
        notes.update(dict.fromkeys(outlook.plan.notes))
        if shown is not None:
            kept += keep_shown(outlook, shown)
        each(work, outlook, done, total)
        done += len(part)
        whole = _together(whole, outlook)
    if whole is None:
        raise AssertionError("a load has at least one part")
    if shown is not None:
        say_what_is_kept(work, kept, shown)
    whole.plan.unchanged = known.index.linked
    whole.plan.notes = list(notes)
    return replace(whole, scans=scans)


def carry_out(work: Work, outlook: Outlook, done: int, total: int) -> None:
    """Make the records of a part: what is simple by the batch, the others one by one in the journal."""
    with work.ctx.sessions.begin() as db:
        work.reins.fence(db)
        now = work.ctx.db_now(db)
        for problem in outlook.plan.problems:
            work.fail(db, problem)
    items = {id(item.tie): item for item in outlook.plan.items}
    mapping, simple, others = work.pairing.built.rules.mapping, [], []
    for change in outlook.plan.flowing:
        item = items.get(id(change.tie))
        if item is not None and batches.is_simple(change, item, mapping):
            simple.append((change, item))
        else:
            others.append(change)
    batches.send(work, simple, before=done, total=total)
    steps = list(in_order(others, work.pairing.built.rules))
    send_all(work, journal(work, outlook, steps, {}, {}, now), before=done + len(simple), total=total)


def _together(whole: Outlook | None, part: Outlook) -> Outlook:
    """The counts of all parts so far; the records themselves are done."""
    before, now = whole.plan if whole else Plan(), part.plan
    plan = Plan(
        keyless=before.keyless + now.keyless,
        excluded=before.excluded + now.excluded,
        missing={side: set() for side in SIDES},
    )
    return replace(part, plan=plan)


class Store:
    """Records on their way, in a file that ends with the block."""

    def __init__(self, mapping: FieldMapping, side: Side) -> None:
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="syncline-load-")  # noqa: SIM115
        except OSError as problem:
            raise NoRoom(problem.strerror) from problem
        self._mapping, self._side = mapping, side
        self._keys = array("q")  # a hash for each record: equal ones may be of equal keys

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._keys)

    def clear(self) -> None:
        """Forget all: the read begins anew."""
        self._file.seek(0)
        self._file.truncate()
        self._keys = array("q")

    def add(self, records: Sequence[Record]) -> None:
        """Keep these. Raises NoFirstLoad for one without an id of its own, and NoRoom."""
        if any(is_unkeyed(record.id) for record in records):
            raise NoFirstLoad
        try:
            pickle.dump(list(records), self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()  # a full disk is met here, before anything is made, and not later
        except OSError as problem:
            raise NoRoom(problem.strerror) from problem
        self._keys.extend(map(self._hash_of_key, records))

    def parts(self) -> Iterator[list[Record]]:
        """All records, `PART` at a time; last and together those that another may be taken for."""
        doubtful, held = _more_than_once(self._keys), []
        self._file.seek(0)
        part: list[Record] = []
        left = len(self)
        while left:
            records: list[Record] = pickle.load(self._file)  # noqa: S301  we alone have written it
            left -= len(records)
            for record in records:
                if doubtful and self._hash_of_key(record) in doubtful:
                    held.append(record)
                else:
                    part.append(record)
            while len(part) >= PART:
                yield part[:PART]
                part = part[PART:]
        if part:
            yield part
        if held:
            yield held

    def _hash_of_key(self, record: Record) -> int:
        key = self._mapping.key_of(self._side, record)
        return hash(record.id) if key is None else hash(without_case(key))


def _more_than_once(hashes: array[int]) -> set[int]:
    ordered = sorted(hashes)
    return {one for one, two in pairwise(ordered) if one == two}
