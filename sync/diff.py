"""One side's pages against what is known of that side: only new, changed and missing come through.

The hot path. A record whose version equals the link's stored one is passed over without being
parsed; where versions differ (or there are none) the record goes on, and its values are compared with
its shadow later, so a version that moved without a change costs time and never a write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from sync.records import Record

CONSISTENCY_GRACE = timedelta(minutes=10)
_RETURNED: Final = "\0returned"  # in place of the version of a record that has come
PARTED = 20_000  # linked records of a side from which on it is added up in parts
IN_A_PART = 32  # so many records, more or less
MOST_PARTS = 2**14
MANY = 2_000  # linked records of a side that moved; more are compared with what was agreed as they are read


class PageLike(Protocol):
    """What the scan needs of a connector's page."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def versions(self) -> Sequence[str | None]: ...
    @property
    def is_last(self) -> bool: ...
    @property
    def total(self) -> int | None: ...
    @property
    def cursor(self) -> str | None: ...
    def pick(self, indexes: Sequence[int], /) -> Sequence[Record]: ...


@dataclass(slots=True)
class Scan:
    """What a read of one side proved.

    `changed` holds linked records to look at closer, `new` the others, both by id. `renewed` are linked
    records that have another version than the one we know, and hold what they held: id -> version.
    `complete` is true only where the source itself said so, and its own count (if it gave one) matched.
    """

    changed: dict[str, Record] = field(default_factory=dict)
    renewed: dict[str, str] = field(default_factory=dict)
    new: dict[str, Record] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)  # ids of linked records that a full read did not return
    duplicates: list[Record] = field(default_factory=list)  # later copies under an id already seen
    read: int = 0
    complete: bool = False
    incomplete_because: str = "the read did not reach its end"
    full: bool = True  # a read of everything; an incremental one proves no absence
    cursor: str | None = None

    @property
    def proves_absence(self) -> bool:
        return self.complete and self.full

    def let_go(self) -> None:
        """Forget the records, once all is decided: fields that are not mapped may be the most of them."""
        self.changed, self.new = {}, {}


def scan_pages(
    pages: Iterable[PageLike],
    known: dict[str, str | None],
    *,
    full: bool = True,
    look_at_all: bool = False,
    first_copy_wins: bool = False,
    take: Callable[[Sequence[Record]], None] | None = None,
    as_agreed: Callable[[Sequence[Record]], Set[str]] | None = None,
) -> Scan:
    """Read one side to its end.

    `known` maps the ids of linked records to the versions that their shadows were taken from. It is used up:
    of what was returned the versions are forgotten, which is the memory that a read of very many takes.
    `look_at_all` passes every record on (the mapping changed, the shadows lack a field). Of two copies
    under one id the later wins (a page shifted while it was read) unless ids are visible cells that a
    person may have copied: then the first keeps the id and the others are reported. `take` gets the new
    records, page by page, in place of the scan. `as_agreed` tells which of some linked records hold just
    what was agreed; it is asked once so many have moved that it was hardly their users' doing.
    """
    scan = Scan(full=full)
    new_ids: set[str] = set()
    total: int | None = None
    is_last = False
    for page in pages:
        scan.read += len(page.ids)
        fresh = set(page.ids)
        held = list(map(known.get, page.ids))
        has_copies = len(fresh) < len(held) or _RETURNED in held or not new_ids.isdisjoint(fresh)
        wanted = (
            _with_copies(scan, page, held, new_ids, look_at_all, first_copy_wins)
            if has_copies
            else _worth_a_look(page, held, look_at_all)
        )
        picked = page.pick(wanted) if wanted else ()
        if take is not None:
            if new := [record for record in picked if record.id not in known]:
                take(new)
            picked = [record for record in picked if record.id in known]
        if as_agreed is not None and len(scan.changed) + len(scan.renewed) + len(picked) > MANY:
            picked = _renew(scan, picked, known, as_agreed)
        for record in picked:
            scan.renewed.pop(record.id, None)  # a later copy is another one
            (scan.changed if record.id in known else scan.new)[record.id] = record
        if None in held:
            new_here = [record_id for record_id in page.ids if record_id not in known]
            new_ids.update(new_here)
            fresh.difference_update(new_here)
        known.update(dict.fromkeys(fresh, _RETURNED))
        is_last = page.is_last
        total = page.total if page.total is not None else total
        scan.cursor = page.cursor if page.cursor is not None else scan.cursor
        if is_last:
            break
    if full:
        scan.absent = {record_id for record_id, version in known.items() if version is not _RETURNED}
    if is_last and (total is None or total == scan.read):
        scan.complete, scan.incomplete_because = True, ""
    elif is_last:
        scan.incomplete_because = f"the source counts {total} records and returned {scan.read}"
    return scan


def _renew(
    scan: Scan,
    picked: Sequence[Record],
    known: Mapping[str, str | None],
    as_agreed: Callable[[Sequence[Record]], Set[str]],
) -> list[Record]:
    """Note the new versions of records that hold what was agreed; the others.

    A column that is not mapped was filled, or one was added: were each of them looked at closer, a table
    would have to fit into memory. A record about which something is still to be done has no known version.
    """
    moved = {
        record.id: record.version
        for record in picked
        if record.version is not None and not record.deleted and known.get(record.id) not in (None, _RETURNED)
    }
    same = as_agreed([record for record in picked if record.id in moved])
    scan.renewed.update((id_, version) for id_, version in moved.items() if id_ in same)
    return [record for record in picked if record.id not in same]


def _worth_a_look(page: PageLike, held: Sequence[str | None], look_at_all: bool) -> Sequence[int]:
    """The indexes of a page's records that are new, or not known to be as they were.

    Whole columns are compared at once: most pages hold nothing else than what is known.
    """
    if look_at_all:
        return range(len(page.ids))
    if held == page.versions and None not in held:
        return ()
    pairs = zip(held, page.versions, strict=True)
    return [index for index, (then, now) in enumerate(pairs) if then is None or then != now]


def _with_copies(
    scan: Scan,
    page: PageLike,
    held: Sequence[str | None],
    new_ids: Set[str],
    look_at_all: bool,
    first_copy_wins: bool,
) -> list[int]:
    """The same for a page that returns an id for the second time; the copies find their place by the way."""
    wanted: dict[str, int] = {}
    here: set[str] = set()
    for index, (record_id, then, version) in enumerate(zip(page.ids, held, page.versions, strict=True)):
        if record_id in here or record_id in new_ids or then is _RETURNED:
            scan.read -= 1
            if first_copy_wins:
                scan.duplicates.extend(page.pick([index]))
            else:
                wanted[record_id] = index
            continue
        here.add(record_id)
        if look_at_all or then is None or then != version:
            wanted[record_id] = index
    return list(wanted.values())


def parts_for(linked: int) -> int:
    """In how many parts a side of so many linked records is added up: a power of two."""
    return 1 if linked < PARTED else min(2 ** ((linked // IN_A_PART).bit_length() - 1), MOST_PARTS)


def moved_parts(there: Mapping[int, object], known: Mapping[int, object]) -> set[int]:
    """The parts of a side that do not add up to what is known of them."""
    return {part for part in there.keys() | known.keys() if there.get(part) != known.get(part)}


def absence_is_sure(
    *,
    snapshot: bool,
    scans_missing: int,
    consistent: bool,
    written_at: datetime | None,
    now: datetime,
) -> bool:
    """Whether a record that a complete scan did not return is gone.

    `scans_missing` counts this scan. A snapshot proves it at once; elsewhere two complete scans must
    agree, and a record that we wrote a moment ago is not missed yet where writes show late.
    """
    if snapshot:
        return True
    if not consistent and written_at is not None and now - written_at < CONSISTENCY_GRACE:
        return False
    return scans_missing >= 2
