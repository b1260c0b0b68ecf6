"""The quick way through a side's pages finds what a plain reading of the rules finds, record by record."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import Page, Total
from sync.diff import MOST_PARTS, PARTED, Scan, moved_parts, parts_for, scan_pages
from sync.records import Record

IDS = st.sampled_from("abcdefgh")
VERSIONS = st.sampled_from(["1", "2", None])
RECORDS = st.builds(lambda id_, version: Record(id_, {"x": version}, version), IDS, VERSIONS)


def plainly(
    pages: Sequence[Sequence[Record]], known: Mapping[str, str | None], look_at_all: bool, first_wins: bool
) -> Scan:
    """One record after the other, without any short cut."""
    scan, seen = Scan(), set[str]()
    for record in (record for page in pages for record in page):
        into = scan.changed if record.id in known else scan.new
        if record.id in seen:
            if first_wins:
                scan.duplicates.append(record)
            else:
                into[record.id] = record
            continue
        scan.read += 1
        seen.add(record.id)
        is_as_known = record.version is not None and known.get(record.id) == record.version
        if look_at_all or record.id not in known or not is_as_known:
            into[record.id] = record
    scan.absent = set(known) - seen
    return scan


@settings(max_examples=400, deadline=None)
@given(
    pages=st.lists(st.lists(RECORDS, max_size=5), min_size=1, max_size=4),
    known=st.dictionaries(IDS, VERSIONS),
    look_at_all=st.booleans(),
    first_wins=st.booleans(),
)
def test_whole_pages_at_once_are_judged_as_their_records_would_be(
    pages: list[list[Record]], known: dict[str, str | None], look_at_all: bool, first_wins: bool
) -> None:
    last = len(pages) - 1
    told = [Page.of(page, is_last=number == last) for number, page in enumerate(pages)]
    scan = scan_pages(told, dict(known), look_at_all=look_at_all, first_copy_wins=first_wins)
    naive = plainly(pages, known, look_at_all, first_wins)
    assert scan.complete
    assert (scan.changed, scan.new, scan.absent, scan.read) == (
        naive.changed,
        naive.new,
        naive.absent,
        naive.read,
    )
    assert scan.duplicates == naive.duplicates


def test_a_read_that_breaks_off_is_not_complete() -> None:
    scan = scan_pages([Page.of([Record("a", {}, "1")])], {"a": "1", "b": "1"})
    assert not scan.complete and scan.absent == {"b"}


def test_an_incremental_read_misses_nobody() -> None:
    page = Page.of([Record("a", {}, "2")], is_last=True)
    scan = scan_pages([page], {"a": "1", "b": "1"}, full=False)
    assert list(scan.changed) == ["a"] and scan.absent == set()


@settings(max_examples=400, deadline=None)
@given(
    pages=st.lists(st.lists(RECORDS, max_size=5), min_size=1, max_size=4),
    known=st.dictionaries(IDS, VERSIONS),
    agreed=st.frozensets(st.tuples(IDS, VERSIONS)),
    first_wins=st.booleans(),
)
def test_of_many_that_moved_only_those_that_hold_something_else_are_looked_at(
    pages: list[list[Record]],
    known: dict[str, str | None],
    agreed: frozenset[tuple[str, str | None]],
    first_wins: bool,
) -> None:
    def as_agreed(records: Sequence[Record]) -> set[str]:
        return {record.id for record in records if (record.id, record.version) in agreed}

    last = len(pages) - 1
    told = [Page.of(page, is_last=number == last) for number, page in enumerate(pages)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sync.diff.MANY", 0)
        scan = scan_pages(told, dict(known), first_copy_wins=first_wins, as_agreed=as_agreed)
    every = scan_pages(told, dict(known), first_copy_wins=first_wins)
    returned_by = Counter(record_id for page in told for record_id in set(page.ids))
    settled = {
        record_id: record.version
        for record_id, record in every.changed.items()
        if (record_id, record.version) in agreed
        and None not in (record.version, known[record_id])
        and (returned_by[record_id] == 1 or first_wins)
    }
    assert scan.renewed == settled
    assert scan.changed.keys() == every.changed.keys() - settled.keys()
    assert all(scan.changed[record_id] == every.changed[record_id] for record_id in scan.changed)
    assert (scan.new, scan.absent, scan.read, scan.duplicates) == (
        every.new,
        every.absent,
        every.read,
        every.duplicates,
    )


def test_a_record_that_was_deleted_is_never_as_it_was() -> None:
    page = Page.of([Record("a", {}, "2", deleted=True)], is_last=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sync.diff.MANY", 0)
        scan = scan_pages([page], {"a": "1"}, as_agreed=lambda records: {record.id for record in records})
    assert list(scan.changed) == ["a"] and not scan.renewed


def added_up(versions: Mapping[str, str | None], number: int) -> dict[int, Total]:
    """What a database's sums say of these records: a version is a hash of the whole row, its key too."""
    found: dict[int, list[int | None]] = {}
    for id_, version in versions.items():
        hash_ = None if version is None else _hash(f"{id_} {version}")
        found.setdefault(ord(id_) & (number - 1), []).append(hash_)
    return {
        part: Total(len(held), None if None in held else sum(filter(None, held)))
        for part, held in found.items()
    }


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


@settings(max_examples=400, deadline=None)
@given(
    there=st.dictionaries(IDS, st.sampled_from("12")),
    known=st.dictionaries(IDS, VERSIONS),
    number=st.sampled_from([1, 2, 4, 8]),
)
def test_who_reads_only_the_parts_that_do_not_add_up_finds_what_a_whole_read_finds(
    there: dict[str, str], known: dict[str, str | None], number: int
) -> None:
    moved = moved_parts(added_up(there, number), added_up(known, number))
    records = [Record(id_, {"x": version}, version) for id_, version in there.items()]

    def scan(parts: Collection[int]) -> Scan:
        read = [record for record in records if ord(record.id) & (number - 1) in parts]
        held = {id_: version for id_, version in known.items() if ord(id_) & (number - 1) in parts}
        return scan_pages([Page.of(read, is_last=True)], held)

    of_parts, of_all = scan(moved), scan(range(number))
    assert (of_parts.changed, of_parts.new, of_parts.absent) == (of_all.changed, of_all.new, of_all.absent)


@pytest.mark.parametrize("linked", [0, 19_999, 20_000, 100_000, 1_000_000, 10**8])
def test_a_side_has_a_power_of_two_of_parts_and_a_small_one_is_whole(linked: int) -> None:
    number = parts_for(linked)
    assert number & (number - 1) == 0
    assert (number == 1) is (linked < PARTED)
    assert number <= MOST_PARTS
