"""One side's pages against what is known of that side: only new, changed and missing come through.

The hot path. A record whose version equals the link's stored one is passed over without being
parsed; where versions differ (or there are none) the record goes on, and its values are compared with
its shadow later, so a version that moved without a change costs time and never a write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from sync.records import Record

CONSISTENCY_GRACE = timedelta(minutes=10)


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
    def record(self, index: int, /) -> Record: ...


@dataclass(slots=True)
class Scan:
    """What a read of one side proved.

    `changed` holds linked records to look at closer, `new` the others, both by id. `complete` is true
    only where the source itself said so, and its own count (if it gave one) matched.
    """

    changed: dict[str, Record] = field(default_factory=dict)
    new: dict[str, Record] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # ids of linked records
    duplicates: list[Record] = field(default_factory=list)  # later copies under an id already seen
    read: int = 0
    complete: bool = False
    incomplete_because: str = "the read did not reach its end"
    full: bool = True  # a read of everything; an incremental one proves no absence
    cursor: str | None = None

    def missing(self, known: Iterable[str]) -> set[str]:
        """The known ids that this scan did not return; meaningless for an incremental one."""
        return set(known) - self.seen

    @property
    def proves_absence(self) -> bool:
        return self.complete and self.full


def scan_pages(
    pages: Iterable[PageLike],
    known: Mapping[str, str | None],
    *,
    full: bool = True,
    look_at_all: bool = False,
    first_copy_wins: bool = False,
) -> Scan:
    """Read one side to its end.

    `known` maps the ids of linked records to the versions that their shadows were taken from.
    `look_at_all` passes every record on (the mapping changed, the shadows lack a field). Of two copies
    under one id the later wins (a page shifted while it was read) unless ids are visible cells that a
    person may have copied: then the first keeps the id and the others are reported.
    """
    scan = Scan(full=full)
    seen_new: set[str] = set()
    total: int | None = None
    is_last = False
    for page in pages:
        ids, versions, record = page.ids, page.versions, page.record
        scan.read += len(ids)
        for index, (record_id, version) in enumerate(zip(ids, versions, strict=True)):
            if record_id in known:
                if record_id in scan.seen:
                    _again(scan, scan.changed, record(index), first_copy_wins)
                    continue
                scan.seen.add(record_id)
                if look_at_all or version is None or version != known[record_id]:
                    scan.changed[record_id] = record(index)
            elif record_id in seen_new:
                _again(scan, scan.new, record(index), first_copy_wins)
            else:
                seen_new.add(record_id)
                scan.new[record_id] = record(index)
        is_last = page.is_last
        total = page.total if page.total is not None else total
        scan.cursor = page.cursor if page.cursor is not None else scan.cursor
        if is_last:
            break
    if is_last and (total is None or total == scan.read):
        scan.complete, scan.incomplete_because = True, ""
    elif is_last:
        scan.incomplete_because = f"the source counts {total} records and returned {scan.read}"
    return scan


def _again(scan: Scan, into: dict[str, Record], record: Record, first_copy_wins: bool) -> None:
    scan.read -= 1
    if first_copy_wins:
        scan.duplicates.append(record)
    else:
        into[record.id] = record


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
