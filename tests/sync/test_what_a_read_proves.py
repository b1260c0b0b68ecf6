"""The streaming diff against the plainest one: two dicts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Page
from sync.diff import CONSISTENCY_GRACE, absence_is_sure, scan_pages
from sync.records import Record

ids = st.sampled_from([f"r{number}" for number in range(8)])
versions = st.sampled_from(["1", "2", None])
stands = st.dictionaries(ids, versions)
sizes = st.integers(1, 4)


def pages_of(records: list[Record], size: int, total: int | None = None) -> list[Page]:
    cut = [records[start : start + size] for start in range(0, max(len(records), 1), size)]
    last = Page.of(cut[-1], is_last=True, total=total, cursor="c")
    return [*(Page.of(part, is_last=False) for part in cut[:-1]), last]


def as_records(rows: dict[str, str | None]) -> list[Record]:
    return [Record(id, {"x": version}, version) for id, version in rows.items()]


@given(known=stands, rows=stands, size=sizes, counts=st.booleans(), everything=st.booleans())
def test_new_changed_and_missing_are_those_of_two_dicts(
    known: dict[str, str | None], rows: dict[str, str | None], size: int, counts: bool, everything: bool
) -> None:
    pages = pages_of(as_records(rows), size, len(rows) if counts else None)
    scan = scan_pages(pages, dict(known), look_at_all=everything)
    assert set(scan.new) == rows.keys() - known.keys()
    # An unknown version says nothing: the record is looked at.
    moved = {
        id for id in rows.keys() & known.keys() if everything or rows[id] is None or rows[id] != known[id]
    }
    assert set(scan.changed) == moved
    assert set(scan.absent) == known.keys() - rows.keys()
    assert (scan.read, scan.complete, scan.cursor) == (len(rows), True, "c")


@given(rows=stands, size=sizes, cut=st.integers(1, 4))
def test_a_read_that_broke_off_proves_nothing(rows: dict[str, str | None], size: int, cut: int) -> None:
    pages = pages_of(as_records(rows), size)
    scan = scan_pages(pages[:-1][:cut], {})
    assert not scan.complete and not scan.proves_absence and scan.incomplete_because


@given(rows=stands, size=sizes, off=st.integers(-3, 3))
def test_a_count_that_does_not_match_proves_nothing(rows: dict[str, str | None], size: int, off: int) -> None:
    scan = scan_pages(pages_of(as_records(rows), size, len(rows) + off), {})
    assert scan.proves_absence is (off == 0)


@given(rows=stands, size=sizes)
def test_a_read_of_what_moved_proves_no_absence(rows: dict[str, str | None], size: int) -> None:
    assert not scan_pages(pages_of(as_records(rows), size), {}, full=False).proves_absence


@given(rows=st.lists(st.tuples(ids, versions), max_size=12), known=stands, size=sizes, first=st.booleans())
def test_of_copies_under_one_id_one_counts(
    rows: list[tuple[str, str | None]], known: dict[str, str | None], size: int, first: bool
) -> None:
    records = [Record(id, {"n": number}, f"v{number}") for number, (id, _) in enumerate(rows)]
    scan = scan_pages(pages_of(records, size), dict(known), first_copy_wins=first)
    wanted: dict[str, Record] = {}
    for record in records:
        if not first or record.id not in wanted:
            wanted[record.id] = record
    assert {**scan.new, **scan.changed} == wanted
    assert scan.read == len(wanted)
    assert len(scan.duplicates) == (len(records) - len(wanted) if first else 0)


@given(
    snapshot=st.booleans(),
    scans=st.integers(1, 4),
    consistent=st.booleans(),
    ago=st.none() | st.integers(0, 1200),
)
def test_absence_is_sure_only_by_the_stated_rule(
    snapshot: bool, scans: int, consistent: bool, ago: int | None
) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    written = None if ago is None else now - timedelta(seconds=ago)
    shows_late = not consistent and ago is not None and timedelta(seconds=ago) < CONSISTENCY_GRACE
    sure = absence_is_sure(
        snapshot=snapshot, scans_missing=scans, consistent=consistent, written_at=written, now=now
    )
    assert sure is (snapshot or (scans >= 2 and not shows_late))
