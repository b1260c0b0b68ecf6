"""Each knob of the hostile system does what it says: a test double must be true, too."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from connectors.base import Outcome, StreamOptions, Write
from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    Unavailable,
)
from sync.records import Field, Record
from sync.values import FieldType
from tests.hostile import Hostile, Killed, Knobs, lower, rounded, trim, truncated

FIELDS = (
    Field("name", FieldType.TEXT, unique=True),
    Field("total", FieldType.DECIMAL),
    Field("notes", FieldType.TEXT),
)
NONE = StreamOptions()


def system(count: int = 5, **knobs: Any) -> Hostile:
    knobs.setdefault("page_size", 2)
    made = Hostile(FIELDS, Knobs(**knobs))
    for number in range(1, count + 1):
        made.store.put({"name": f"P{number}", "notes": ""}, f"r{number}")
    return made


def read(hostile: Hostile) -> tuple[list[str], bool]:
    pages = list(hostile.connect().read(_stream(hostile), NONE))
    return [id for page in pages for id in page.ids], bool(pages) and pages[-1].is_last


def records(hostile: Hostile) -> dict[str, Record]:
    pages = hostile.connect().read(_stream(hostile), NONE)
    return {record.id: record for page in pages for record in page.records}


def write(hostile: Hostile, *batch: Write) -> list[Outcome]:
    return hostile.connect().write(_stream(hostile), NONE, batch)


def _stream(hostile: Hostile) -> Any:
    return hostile.connect().stream("people", NONE)


def create(name: str, marker: str = "m") -> Write:
    return Write(marker, "create", None, {"name": name})


def note(id: str, text: str, marker: str = "m") -> Write:
    return Write(marker, "update", id, {"notes": text})


def test_without_knobs_it_behaves() -> None:
    assert read(system()) == (["r1", "r2", "r3", "r4", "r5"], True)


def test_a_page_fails() -> None:
    hostile = system(fail_at_page=2)
    pages = hostile.connect().read(_stream(hostile), NONE)
    assert next(pages).ids == ["r1", "r2"]
    with pytest.raises(Unavailable):
        next(pages)


def test_a_read_is_cut_without_a_last_page() -> None:
    assert read(system(cut_at_page=2)) == (["r1", "r2"], False)


def test_records_are_left_out_silently() -> None:
    ids, is_last = read(system(short_by=2))
    assert (len(ids), is_last) == (3, True)
    assert read(system(withheld={"r2"})) == (["r1", "r3", "r4", "r5"], True)


def test_it_answers_empty() -> None:
    assert read(system(empty=True)) == ([], True)


def test_the_count_disagrees() -> None:
    hostile = system(total_off_by=2)
    assert [page.total for page in hostile.connect().read(_stream(hostile), NONE)] == [7, 7, 7]


def test_records_come_again_on_the_next_page() -> None:
    assert read(system(repeats=1)) == (["r1", "r2", "r2", "r3", "r4", "r4", "r5"], True)


def test_offset_paging_skips_under_a_delete() -> None:
    hostile = system(snapshot=False)
    hostile.knobs.meanwhile = lambda call: hostile.store.remove("r1") if call == "page 2" else None
    assert read(hostile) == (["r1", "r2", "r4", "r5"], True)


def test_fields_are_dropped_or_omitted() -> None:
    assert "name" not in records(system(dropped={"name"}))["r1"].fields
    for_one = records(system(dropped_for={"r1": {"name"}}))
    assert "name" not in for_one["r1"].fields
    assert "name" in for_one["r2"].fields
    assert "notes" not in records(system(omits_empty=True))["r1"].fields


def test_versions_can_be_missing() -> None:
    assert {record.version for record in records(system(has_versions=False)).values()} == {None}


def test_a_forbidden_record_is_neither_listed_nor_known() -> None:
    hostile = system(forbidden={"r1"})
    assert "r1" not in read(hostile)[0]
    looked = hostile.connect().lookup(_stream(hostile), NONE, ["r1", "r2", "r9"])
    assert [item.state for item in looked] == ["unknown", "there", "gone"]
    assert write(hostile, note("r1", "x"))[0].status == "rejected"


def test_a_protected_record_is_read_and_not_written() -> None:
    hostile = system(protected={"r1"})
    assert "r1" in read(hostile)[0]
    assert write(hostile, note("r1", "x"))[0].code == "forbidden"


def test_a_lost_request_did_nothing() -> None:
    hostile = system(lost_requests=1)
    with pytest.raises(OutcomeUnknown):
        write(hostile, create("New"))
    assert (len(hostile.rows), hostile.log) == (5, [])
    assert write(hostile, create("New"))[0].status == "done"


def test_a_lost_answer_hides_what_was_done() -> None:
    hostile = system(lost_answers=1)
    with pytest.raises(OutcomeUnknown):
        write(hostile, create("New", "m7"))
    assert len(hostile.rows) == 6
    assert hostile.creates() == {"m7": 1}


def test_a_batch_is_done_in_part() -> None:
    hostile = system(partial=1)
    with pytest.raises(OutcomeUnknown):
        write(hostile, note("r1", "x"), note("r2", "x"))
    assert [entry.id for entry in hostile.log] == ["r1"]


def test_all_or_nothing_refuses_and_restores() -> None:
    hostile = system(all_or_nothing=True)
    before, versions = dict(hostile.rows), dict(hostile.store.versions)
    with pytest.raises(RecordRejected, match="already"):
        write(hostile, note("r1", "x"), Write("d", "delete", "r3"), create("New"), create("P2", "m2"))
    assert list(hostile.rows.items()) == list(before.items())
    assert (hostile.store.versions, hostile.log) == (versions, [])
    assert write(hostile, create("New"))[0].status == "done"


def test_outcomes_are_shuffled_or_missing() -> None:
    hostile = system(shuffles=True, missing_outcomes=2)
    batch = [note(f"r{number}", "x", f"m{number}") for number in range(1, 6)]
    assert len(write(hostile, *batch)) == 3
    order = [outcome.marker for outcome in write(hostile, *batch)]
    assert sorted(order) == ["m1", "m2", "m3", "m4", "m5"] != order


def test_a_field_is_accepted_and_ignored() -> None:
    hostile = system(ignored={"notes"})
    assert write(hostile, note("r1", "x"))[0].status == "done"
    assert hostile.rows["r1"]["notes"] == ""


def test_values_are_kept_in_its_own_way() -> None:
    hostile = system(
        0, normalise={"name": lambda value: lower(trim(value)), "total": rounded(1), "notes": truncated(3)}
    )
    write(hostile, Write("m", "create", None, {"name": " ANN ", "total": Decimal("1.26"), "notes": "abcd"}))
    assert list(hostile.rows.values()) == [{"name": "ann", "total": Decimal("1.3"), "notes": "abc"}]


def test_null_becomes_blank() -> None:
    hostile = system(1, blank_is_null=True)
    write(hostile, Write("m", "update", "r1", {"notes": None}))
    assert hostile.rows["r1"]["notes"] == ""
    assert hostile.connect().blank_is_null


def test_ids_are_used_again() -> None:
    hostile = system(0, reuses_ids=True)
    first = hostile.store.put({"name": "A"})
    hostile.store.remove(first)
    assert hostile.store.put({"name": "B"}) == first


def test_a_write_shows_late() -> None:
    hostile = system(1, lag=1, consistent=False)
    (outcome,) = write(hostile, create("New"))
    assert outcome.id not in read(hostile)[0]
    assert outcome.id in read(hostile)[0]


def test_receipts_can_be_missing() -> None:
    assert write(system(has_receipts=False), create("New"))[0].record is None


@pytest.mark.parametrize(("knob", "error"), [("rate_limited", RateLimited), ("unavailable", Unavailable)])
def test_the_next_call_is_refused(knob: str, error: type[ConnectorError]) -> None:
    hostile = system(**{knob: 1})
    with pytest.raises(error):
        read(hostile)
    assert read(hostile)[1]


def test_the_process_dies_before_or_after_the_effect() -> None:
    before = system(kill_before=1)
    with pytest.raises(Killed):
        write(before, create("New"))
    assert before.log == []
    after = system(kill_after=1)
    with pytest.raises(Killed):
        write(after, create("New"))
    assert len(after.log) == 1
    assert after.trace == ["write"]


def test_the_log_says_what_each_write_did() -> None:
    hostile = system(1)
    write(hostile, note("r1", "x", "m1"), note("r1", "x", "m2"), Write("m3", "delete", "r1"))
    entries = [(e.marker, e.operation, (e.before or {}).get("notes"), e.after) for e in hostile.log]
    assert entries == [
        ("m1", "update", "", {"name": "P1", "notes": "x"}),
        ("m2", "update", "x", {"name": "P1", "notes": "x"}),
        ("m3", "delete", "x", None),
    ]
