"""What every connector promises. A connector's test subclasses ConnectorContract and gives it a Desk.

The desk is a person at the system itself: it edits and looks without the connector, so that what is
asserted is what that person would notice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import count

import pytest
from pydantic import ValidationError

from connectors.base import Can, Connector, Outcome, StreamOptions, Write, is_unkeyed
from connectors.errors import RecordRejected, StreamGone
from sync.records import Field, Record, Stream
from sync.values import FieldType, Value, parse

FIELDS = (
    Field("name", FieldType.TEXT),
    Field("balance", FieldType.DECIMAL, scale=2),
    Field("active", FieldType.BOOLEAN),
    Field("since", FieldType.DATE),
    Field("notes", FieldType.TEXT),
)
KINDS = {field.name: field.type for field in FIELDS}

ANNA: dict[str, Value] = {
    "name": "Anna Åkesson",
    "balance": Decimal("1204.50"),
    "active": True,
    "since": date(2021, 3, 5),
    "notes": "Prefers mail",
}
BERT: dict[str, Value] = {
    "name": "Bert",
    "balance": Decimal("-0.10"),
    "active": False,
    "since": date(1999, 12, 31),
    "notes": "VAT 007",
}

ODD_TEXTS = [
    "Zoë Łukasz 東京 🦊",
    'He said "no", twice',
    "one; two, three\tfour|five",
    "first line\nsecond line",
    " spaces around ",
    "=1+1",
    "O'Brien; DROP TABLE customers; --",
    "100% \\ %(name)s :name {x}",
    "null",
    "0012",
]


class Desk(ABC):
    """One system with one stream of FIELDS, empty at first, and a person who works in it."""

    connector: Connector
    stream_name: str = "customers"
    options: StreamOptions = StreamOptions()

    @abstractmethod
    def again(self) -> Connector:
        """Another connector on the same system, as the next run makes one."""

    @abstractmethod
    def put(self, fields: Mapping[str, Value]) -> str:
        """Add a record by hand; its id."""

    @abstractmethod
    def edit(self, id: str, fields: Mapping[str, Value]) -> None:
        """Change a record by hand."""

    @abstractmethod
    def remove(self, id: str) -> None:
        """Delete a record by hand."""

    @abstractmethod
    def truth(self) -> dict[str, dict[str, Value]]:
        """What stands in the system: id -> fields, as canonical values."""

    def make_read_only(self) -> None:
        """Take away the right to write. Skips where there is no such thing."""
        pytest.skip("nothing can be made read-only here")


def typed(fields: Mapping[str, Value]) -> dict[str, Value]:
    """The fields of the contract's stream as canonical values; "" and null are one where they must be."""
    return {name: parse(fields.get(name), kind) for name, kind in KINDS.items()}


class ConnectorContract:
    """The promises. The module of a subclass defines the fixture `desk`."""

    # -- the tools of the suite --

    @pytest.fixture(autouse=True)
    def _sit_down(self, desk: Desk) -> Iterable[None]:
        self.desk = desk
        self.numbers = count(1)
        yield
        desk.connector.close()

    @property
    def connector(self) -> Connector:
        return self.desk.connector

    @property
    def stream(self) -> Stream:
        return self.connector.stream(self.desk.stream_name, self.desk.options)

    def read(self, since: str | None = None) -> dict[str, Record]:
        pages = self.connector.read(self.stream, self.desk.options, since)
        return {record.id: record for page in pages for record in page.records}

    def cursor(self) -> str:
        pages = list(self.connector.read(self.stream, self.desk.options))
        assert pages[-1].cursor is not None
        return pages[-1].cursor

    def new(self, fields: Mapping[str, Value], stream: Stream | None = None) -> Write:
        """A create; with an id of our choice where the system gives none."""
        number = next(self.numbers)
        given = self.connector.id_kind(stream or self.stream, self.desk.options) == "system"
        return Write(f"m{number}", "create", None if given else f"sync-{number}", fields)

    def update(
        self,
        id: str,
        fields: Mapping[str, Value],
        expected: Mapping[str, Value] | None = None,
        version: str | None = None,
    ) -> Write:
        return Write(f"m{next(self.numbers)}", "update", id, fields, expected, version)

    def deletion(self, id: str, version: str | None = None) -> Write:
        return Write(f"m{next(self.numbers)}", "delete", id, expected_version=version)

    def write(self, *batch: Write) -> list[Outcome]:
        """The outcomes in the order of the batch, whatever order they come in."""
        outcomes = self.connector.write(self.stream, self.desk.options, batch)
        by_marker = {outcome.marker: outcome for outcome in outcomes}
        assert len(by_marker) == len(outcomes), "a write has two outcomes"
        return [by_marker[write.marker] for write in batch]

    def created(self, fields: Mapping[str, Value]) -> str:
        (outcome,) = self.write(self.new(fields))
        assert outcome.status == "done", outcome
        assert outcome.id
        return outcome.id

    def bisected(self, batch: Sequence[Write]) -> list[Outcome]:
        """A batch as the caller sends it: halved where it is refused as a whole."""
        try:
            return self.write(*batch)
        except RecordRejected as error:
            if len(batch) == 1:
                return [Outcome(batch[0].marker, "rejected", code=error.code, message=error.message)]
            half = len(batch) // 2
            return self.bisected(batch[:half]) + self.bisected(batch[half:])

    # -- looking --

    def test_check_says_what_is_there(self) -> None:
        assert self.connector.check().endswith(".")

    def test_discover_agrees_with_stream(self) -> None:
        found = {stream.name: stream for stream in self.connector.discover()}
        assert found[self.desk.stream_name] == self.stream

    def test_stream_lists_the_fields(self) -> None:
        assert set(KINDS) <= set(self.stream.by_name)

    def test_an_unknown_stream_is_gone_with_the_nearest_name(self) -> None:
        asked = self.desk.stream_name.replace("ome", "oem")
        with pytest.raises(StreamGone, match=self.desk.stream_name):
            self.connector.stream(asked, self.desk.options)

    def test_a_vanished_stream_is_gone_when_read(self) -> None:
        with pytest.raises(StreamGone):
            list(self.connector.read(Stream(f"no_such_{self.desk.stream_name}", ()), self.desk.options))

    def test_options_refuse_an_unknown_word(self) -> None:
        with pytest.raises(ValidationError):
            type(self.connector).Options.model_validate({"no_such_option": 1})
        with pytest.raises(ValidationError):
            type(self.connector).StreamOptions.model_validate({"no_such_option": 1})

    # -- reading --

    def test_an_empty_stream_is_read_completely(self) -> None:
        pages = list(self.connector.read(self.stream, self.desk.options))
        assert [len(page.ids) for page in pages] == [0]
        assert pages[-1].is_last

    def test_what_a_person_put_in_is_read(self) -> None:
        anna, bert = self.desk.put(ANNA), self.desk.put(BERT)
        read = self.read()
        assert {id: typed(record.fields) for id, record in read.items()} == {anna: ANNA, bert: BERT}

    def test_pages_hold_each_record_once_and_end_with_a_last_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [self.created({**ANNA, "name": f"Person {number}"}) for number in range(7)]
        monkeypatch.setattr(type(self.connector), "page_size", 3)
        pages = list(self.connector.read(self.stream, self.desk.options))
        assert sorted(id for page in pages for id in page.ids) == sorted(ids)
        assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
        assert len(pages) == 3
        assert pages[-1].total in (None, 7)
        for page in pages:
            assert [page.record(index).id for index in range(len(page.ids))] == list(page.ids)
            assert [record.version for record in page.records] == list(page.versions)

    def test_ids_and_versions_stay_while_nothing_changes(self) -> None:
        self.desk.put(ANNA)
        self.desk.put(BERT)
        first = {id: record.version for id, record in self.read().items()}
        self.desk.connector.close()
        self.desk.connector = self.desk.again()
        assert {id: record.version for id, record in self.read().items()} == first

    def test_an_edit_moves_the_version_of_that_record_alone(self) -> None:
        anna, bert = self.desk.put(ANNA), self.desk.put(BERT)
        before = self.read()
        self.desk.edit(anna, {"notes": "Moved"})
        after = self.read()
        assert after[anna].version != before[anna].version
        assert after[bert].version == before[bert].version

    def test_a_read_is_one_snapshot_where_that_is_declared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if not self.connector.snapshot:
            pytest.skip("declares no snapshot")
        ids = [self.desk.put({**ANNA, "name": f"Person {number}"}) for number in range(4)]
        monkeypatch.setattr(type(self.connector), "page_size", 2)
        pages = self.connector.read(self.stream, self.desk.options)
        seen = next(pages).records
        self.edit_under_a_read(ids)
        for page in pages:
            seen += page.records
        assert sorted(record.id for record in seen) == sorted(ids)
        assert {record.get("notes") for record in seen} == {ANNA["notes"]}

    def edit_under_a_read(self, ids: Sequence[str]) -> None:
        """What a person does while a read is under way."""
        self.desk.edit(ids[3], {"notes": "Changed meanwhile"})
        self.desk.remove(ids[2])
        self.desk.put(BERT)

    def test_a_cursor_gives_nothing_new_and_then_what_moved(self) -> None:
        if Can.INCREMENTAL not in self.connector.can or not self.can_move():
            pytest.skip("reads all each time")
        anna, bert = self.desk.put(ANNA), self.desk.put(BERT)
        cursor = self.cursor()
        assert self.read(cursor) == {}
        self.desk.edit(bert, {"notes": "Moved"})
        assert set(self.read(cursor)) == {bert}
        assert anna not in self.read(cursor)

    def can_move(self) -> bool:
        """Whether this desk's stream options name what an incremental read goes by."""
        return True

    # -- writing --

    def test_a_created_record_stands_there(self) -> None:
        id = self.created(ANNA)
        assert self.desk.truth() == {id: ANNA}
        assert typed(self.read()[id].fields) == ANNA

    def test_the_receipt_is_what_a_read_returns(self) -> None:
        (created,) = self.write(self.new(ANNA))
        assert created.record == self.read()[created.id or ""]
        (updated,) = self.write(self.update(created.id or "", {"notes": "New"}))
        assert updated.record == self.read()[created.id or ""]

    def test_an_update_of_one_field_leaves_the_others(self) -> None:
        id, other = self.created(ANNA), self.created(BERT)
        (outcome,) = self.write(self.update(id, {"balance": Decimal("7.25")}))
        assert outcome.status == "done"
        assert self.desk.truth() == {id: {**ANNA, "balance": Decimal("7.25")}, other: BERT}

    @pytest.mark.parametrize("name", sorted(KINDS))
    def test_none_clears_a_field(self, name: str) -> None:
        id = self.created(ANNA)
        (outcome,) = self.write(self.update(id, {name: None}))
        assert outcome.status == "done"
        left = self.desk.truth()[id]
        assert not left[name] and left[name] is not False
        assert {**left, name: ANNA[name]} == ANNA

    def test_fields_that_are_not_given_stay_empty(self) -> None:
        id = self.created({"name": "Only a name"})
        stands = self.desk.truth()[id]
        assert stands.pop("name") == "Only a name"
        assert not any(stands.values())

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_any_text_comes_back_as_it_was(self, text: str) -> None:
        id = self.created({**ANNA, "notes": text})
        assert self.read()[id].get("notes") == text
        assert self.desk.truth()[id]["notes"] == text

    def test_a_long_text_comes_back_whole(self) -> None:
        id = self.created({**ANNA, "notes": "åß" * 50_000})
        assert self.read()[id].get("notes") == "åß" * 50_000

    def test_a_deleted_record_is_gone_and_no_other(self) -> None:
        id, other = self.created(ANNA), self.created(BERT)
        (outcome,) = self.write(self.deletion(id))
        assert outcome.status == "done"
        assert self.desk.truth() == {other: BERT}
        assert set(self.read()) == {other}

    def test_deleting_twice_is_done_both_times(self) -> None:
        id = self.created(ANNA)
        assert self.write(self.deletion(id))[0].status == "done"
        assert self.write(self.deletion(id))[0].status == "done"

    def test_an_update_of_a_missing_record_says_so(self) -> None:
        id = self.created(ANNA)
        self.desk.remove(id)
        (outcome,) = self.write(self.update(id, {"notes": "Anybody there?"}))
        assert outcome.status == "missing"
        assert self.desk.truth() == {}

    def test_no_id_but_a_real_one_is_touched(self) -> None:
        self.created(ANNA)
        for odd in ("", "no-such-id", "999999999999999999999999", "1e3", "[1]", "null"):
            assert self.write(self.update(odd, {"notes": "x"}))[0].status == "missing"
            assert self.write(self.deletion(odd))[0].status == "done"
        assert list(self.desk.truth().values()) == [ANNA]

    # -- writes that were decided on something that has moved since --

    def test_a_field_that_was_edited_meanwhile_is_not_overwritten(self) -> None:
        id = self.desk.put(ANNA)
        self.desk.edit(id, {"notes": "By hand"})
        write = self.update(id, {"notes": "By sync"}, {"notes": ANNA["notes"]})
        (outcome,) = self.write(write)
        assert outcome.status == "stale"
        assert self.desk.truth()[id]["notes"] == "By hand"

    def test_an_edit_of_another_field_does_not_stop_a_write(self) -> None:
        id = self.desk.put(ANNA)
        self.desk.edit(id, {"notes": "By hand"})
        (outcome,) = self.write(self.update(id, {"name": "Anna B"}, {"name": ANNA["name"]}))
        assert outcome.status == "done"
        assert self.desk.truth()[id] == {**ANNA, "name": "Anna B", "notes": "By hand"}

    def test_expected_values_may_be_canonical(self) -> None:
        id = self.desk.put(ANNA)
        (outcome,) = self.write(self.update(id, dict(BERT), dict(ANNA)))
        assert outcome.status == "done", outcome
        assert self.desk.truth()[id] == BERT

    def test_expected_empties_are_empty(self) -> None:
        id = self.created({"name": "Only a name"})
        (outcome,) = self.write(self.update(id, {"balance": Decimal(5)}, {"balance": None}))
        assert outcome.status == "done"

    def test_a_moved_version_is_refused(self) -> None:
        id = self.desk.put(ANNA)
        version = self.read()[id].version
        self.desk.edit(id, {"notes": "By hand"})
        (outcome,) = self.write(self.update(id, {"name": "Anna B"}, version=version))
        assert outcome.status == "stale"
        assert self.desk.truth()[id] == {**ANNA, "notes": "By hand"}

    def test_a_moved_record_is_not_deleted(self) -> None:
        id = self.desk.put(ANNA)
        version = self.read()[id].version
        self.desk.edit(id, {"notes": "By hand"})
        (outcome,) = self.write(self.deletion(id, version))
        assert outcome.status == "stale"
        assert set(self.desk.truth()) == {id}

    def test_the_version_of_a_receipt_is_good_for_the_next_write(self) -> None:
        (created,) = self.write(self.new(ANNA))
        assert created.record and created.id
        (updated,) = self.write(self.update(created.id, {"notes": "Second"}, version=created.record.version))
        assert updated.status == "done"
        assert updated.record
        (deleted,) = self.write(self.deletion(created.id, updated.record.version))
        assert deleted.status == "done"

    # -- batches --

    def test_an_empty_batch_has_no_outcomes(self) -> None:
        assert self.write() == []

    def test_a_mixed_batch_has_one_outcome_per_write(self) -> None:
        edited, removed = self.created(ANNA), self.created(ANNA)
        outcomes = self.write(self.new(BERT), self.update(edited, {"notes": "Mixed"}), self.deletion(removed))
        assert [outcome.status for outcome in outcomes] == ["done"] * 3
        created = outcomes[0].id or ""
        assert self.desk.truth() == {created: BERT, edited: {**ANNA, "notes": "Mixed"}}

    def test_creates_of_a_batch_get_their_own_ids(self) -> None:
        batch = [self.new({**ANNA, "name": f"Person {number}"}) for number in range(25)]
        outcomes = self.write(*batch)
        assert len({outcome.id for outcome in outcomes}) == 25
        truth = self.desk.truth()
        for write, outcome in zip(batch, outcomes, strict=True):
            assert truth[outcome.id or ""]["name"] == write.fields["name"]
            assert outcome.record and outcome.record.get("name") == write.fields["name"]

    def test_updates_of_a_batch_reach_their_own_records(self) -> None:
        ids = [self.created({**ANNA, "name": f"Person {number}"}) for number in range(25)]
        outcomes = self.write(*(self.update(id, {"notes": f"to {id}"}) for id in ids))
        assert {outcome.status for outcome in outcomes} == {"done"}
        assert all(row["notes"] == f"to {id}" for id, row in self.desk.truth().items())

    def test_a_bad_record_touches_no_other(self) -> None:
        good, bad, gone = self.created(ANNA), self.created(ANNA), self.created(ANNA)
        self.desk.remove(gone)
        outcomes = self.bisected(
            [
                self.new(BERT),
                self.update(bad, {"no such field": "x"}),
                self.update(gone, {"notes": "x"}),
                self.update(good, {"notes": "fine"}),
            ]
        )
        assert [item.status for item in outcomes] == ["done", "rejected", "missing", "done"]
        assert outcomes[1].code
        assert outcomes[1].message.endswith(".")
        truth = self.desk.truth()
        assert truth[good]["notes"] == "fine"
        assert truth[bad] == ANNA
        assert len(truth) == 3

    def test_a_create_under_a_given_id_does_not_double(self) -> None:
        write = self.new(ANNA)
        if write.id is None:
            pytest.skip("the system gives the ids")
        assert self.write(write)[0].status == "done"
        assert self.write(write)[0].status == "done"
        (other,) = self.bisected([Write("other", "create", write.id, BERT)])
        assert (other.status, other.code) == ("rejected", "exists")
        assert self.desk.truth() == {write.id: ANNA}

    def test_an_update_that_changes_nothing_is_done(self) -> None:
        id = self.created(ANNA)
        (outcome,) = self.write(self.update(id, ANNA))
        assert outcome.status == "done"
        assert self.desk.truth() == {id: ANNA}

    def test_a_read_only_stream_refuses(self) -> None:
        id = self.created(ANNA)
        self.desk.make_read_only()
        assert not self.stream.writable
        assert self.stream.read_only_because.endswith(".")
        for write in (self.new(BERT), self.update(id, {"notes": "x"}), self.deletion(id)):
            (outcome,) = self.bisected([write])
            assert outcome.status == "rejected"
        assert self.desk.truth() == {id: ANNA}

    # -- looking up --

    def test_lookup_tells_there_from_gone(self) -> None:
        there, gone = self.created(ANNA), self.created(BERT)
        self.desk.remove(gone)
        if Can.LOOKUP not in self.connector.can:
            pytest.skip("cannot look up")
        looked = {
            item.id: item
            for item in self.connector.lookup(self.stream, self.desk.options, [there, gone, "no-such-id"])
        }
        assert {id: item.state for id, item in looked.items()} == {
            there: "there",
            gone: "gone",
            "no-such-id": "gone",
        }
        assert looked[there].record == self.read()[there]

    def test_find_gives_all_records_with_a_value(self) -> None:
        if Can.LOOKUP not in self.connector.can:
            pytest.skip("cannot look up")
        anna, twin, _ = self.created(ANNA), self.created(ANNA), self.created(BERT)
        found = self.connector.find(self.stream, self.desk.options, "name", [ANNA["name"], "Nobody"])
        assert {record.id for record in found} == {anna, twin}
        assert {record.id: record for record in found} == {
            id: record for id, record in self.read().items() if id in (anna, twin)
        }
        assert self.connector.find(self.stream, self.desk.options, "name", []) == []
        by_number = self.connector.find(self.stream, self.desk.options, "balance", [BERT["balance"]])
        assert len(by_number) == 1

    # -- making a stream --

    def test_a_stream_is_made_from_another_sides_fields(self) -> None:
        if Can.CREATE_STREAM not in self.connector.can:
            pytest.skip("cannot make streams")
        wanted = Stream(self.new_stream_name(), FIELDS)
        made = self.connector.create_stream(wanted, self.desk.options)
        assert set(KINDS) <= set(made.by_name)
        assert made == self.connector.stream(wanted.name, self.desk.options)
        (outcome,) = self.connector.write(made, self.desk.options, [self.new(ANNA, made)])
        assert outcome.status == "done"
        (page,) = self.connector.read(made, type(self.connector).StreamOptions(key=self.desk.options.key))
        assert [typed(record.fields) for record in page.records] == [ANNA]
        assert self.connector.create_stream(wanted, self.desk.options) == made

    def new_stream_name(self) -> str:
        return "made_by_sync"

    # -- the end --

    def test_no_provisional_id_where_ids_are_given(self) -> None:
        self.created(ANNA)
        assert not any(is_unkeyed(id) for id in self.read())

    def test_close_may_be_called_twice_and_in_the_middle_of_a_read(self) -> None:
        self.created(ANNA)
        pages = self.connector.read(self.stream, self.desk.options)
        next(iter(pages))
        self.connector.close()
        self.connector.close()
