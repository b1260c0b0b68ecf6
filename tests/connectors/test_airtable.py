"""Airtable through its simulator: the contract, and what is Airtable's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors.airtable import Airtable, AirtableStreamOptions, LinkedRecords
from connectors.base import Can, Outcome, Write
from connectors.errors import (
    AuthError,
    BadAnswer,
    FatalError,
    OptionsError,
    RateLimited,
    RetryableError,
    StreamGone,
    Unavailable,
)
from simulators.base import serving
from sync.records import Record
from sync.values import FieldType, Value, comparable
from tasks.quotas import InProcess, SharedLimiter
from tests.connectors.airtable_desk import COLUMNS, TOKEN, AirtableDesk, simulator
from tests.connectors.contract import ANNA, BERT, ConnectorContract

MORE: list[dict[str, Any]] = [
    *COLUMNS,
    {"name": "stage", "type": "singleSelect", "options": {"choices": [{"name": "Lead"}, {"name": "Won"}]}},
    {"name": "tags", "type": "multipleSelects", "options": {"choices": [{"name": "a"}, {"name": "b"}]}},
    {"name": "at", "type": "dateTime", "options": {"timeZone": "Europe/Paris"}},
    {"name": "rich", "type": "richText"},
    {"name": "stars", "type": "rating", "options": {"max": 5}},
    {"name": "files", "type": "multipleAttachments"},
    {"name": "owner", "type": "singleCollaborator"},
    {"name": "code", "type": "barcode"},
    {"name": "number", "type": "autoNumber"},
    {"name": "shout", "type": "formula", "options": {"formula": "UPPER({name})"}},
    {"name": "broken", "type": "formula", "options": {"formula": "SOUNDEX({name})"}},
]


@pytest.fixture
def desk() -> Iterator[AirtableDesk]:
    system = simulator()
    with serving(system) as url:
        yield AirtableDesk(url, system)


@pytest.fixture
def shop() -> Iterator[AirtableDesk]:
    """A table with a field of every kind."""
    system = simulator()
    with serving(system) as url:
        desk = AirtableDesk(url, system, MORE)
        yield desk
        desk.connector.close()


class TestContract(ConnectorContract):
    @pytest.mark.parametrize("name", ["name", "balance", "since", "notes"])
    def test_none_clears_a_field(self, name: str) -> None:
        super().test_none_clears_a_field(name)

    def test_none_unchecks_a_box(self) -> None:
        id = self.created(ANNA)
        (outcome,) = self.write(self.update(id, {"active": None}))
        assert outcome.status == "done"
        assert self.desk.truth() == {id: {**ANNA, "active": False}}

    def test_fields_that_are_not_given_stay_empty(self) -> None:
        super().test_fields_that_are_not_given_stay_empty()
        (record,) = self.read().values()
        assert record.fields["notes"] is None and record.fields["active"] is False


# -- the tools of what follows ----------------------------------------------------------------------


def stream_of(desk: AirtableDesk, **options: Any) -> tuple[Any, AirtableStreamOptions]:
    choices = AirtableStreamOptions(**options)
    return desk.connector.stream(desk.stream_name, choices), choices


def read(desk: AirtableDesk, since: str | None = None, **options: Any) -> dict[str, Record]:
    stream, choices = stream_of(desk, **options)
    return {
        record.id: record for page in desk.connector.read(stream, choices, since) for record in page.records
    }


def write(desk: AirtableDesk, *batch: Write, **options: Any) -> list[Outcome]:
    stream, choices = stream_of(desk, **options)
    return desk.connector.write(stream, choices, batch)


def create(number: int, fields: Mapping[str, Value] | None = None) -> Write:
    return Write(f"m{number}", "create", None, fields or {"name": f"Person {number}"})


def update(id: str, fields: Mapping[str, Value], **more: Any) -> Write:
    return Write(f"u{id}", "update", id, fields, **more)


def fill(desk: AirtableDesk, count: int) -> list[str]:
    return [desk.put({"name": f"Person {number}"}) for number in range(count)]


# -- what a run costs -------------------------------------------------------------------------------


@pytest.mark.parametrize(("records", "calls"), [(0, 1), (1, 1), (100, 1), (101, 2), (1000, 10)])
def test_a_listing_takes_one_call_per_hundred_records(desk: AirtableDesk, records: int, calls: int) -> None:
    fill(desk, records)
    assert len(read(desk)) == records
    assert desk.data_calls() == ["list"] * calls
    assert len(desk.system.calls) == calls + 1, "and one for the schema"


@pytest.mark.parametrize(("changed", "calls"), [(1, 1), (10, 1), (11, 2), (95, 10)])
def test_creates_take_one_call_per_ten_records(desk: AirtableDesk, changed: int, calls: int) -> None:
    outcomes = write(desk, *(create(number) for number in range(changed)))
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert desk.data_calls() == ["create"] * calls


def test_foreseen_updates_take_one_look_for_a_hundred_and_one_call_per_ten(desk: AirtableDesk) -> None:
    ids = fill(desk, 95)
    stream, options = stream_of(desk)
    writes = [update(id, {"notes": "x"}, expected={"notes": None}) for id in ids]
    desk.connector.foresee(stream, options, writes)
    for start in range(0, len(writes), 10):
        desk.connector.write(stream, options, writes[start : start + 10])
    assert desk.data_calls() == ["list"] + ["update"] * 10
    assert {row["notes"] for row in desk.truth().values()} == {"x"}


def test_only_the_fields_that_take_part_are_asked_for(shop: AirtableDesk) -> None:
    id = shop.put({**ANNA, "stage": "Won"})
    (before,) = read(shop, only_fields=("name", "stage")).values()
    assert dict(before.fields) == {"name": ANNA["name"], "stage": "Won", "modified": before.get("modified")}
    shop.edit(id, {"notes": "another"})
    (after,) = read(shop, only_fields=("name", "stage")).values()
    assert after.version == before.version, "what takes no part moves nothing"
    (whole,) = read(shop, only_fields=("name", "renamed since")).values()
    assert whole.get("notes") == "another", "a name that is not there: nothing is left out"


# -- reading ----------------------------------------------------------------------------------------


def test_every_field_type_has_its_value(shop: AirtableDesk) -> None:
    id = shop.put(
        {
            "name": "Ada",
            "balance": Decimal("0.1"),
            "stage": "Won",
            "tags": ["b", "a"],
            "at": "2026-03-05T14:00:00Z",
            "rich": "**bold**",
            "stars": 4,
            "files": [{"url": "https://example.org/a.pdf"}],
            "owner": {"email": "person@example.org"},
            "code": {"text": "4006381333931"},
        }
    )
    record = read(shop)[id]
    assert record.get("balance") == Decimal("0.1")
    assert record.get("tags") == ("b", "a")
    assert record.get("at") == datetime(2026, 3, 5, 14, tzinfo=UTC)
    assert (record.get("rich"), record.get("stars"), record.get("stage")) == ("**bold**", 4, "Won")
    assert (record.get("owner"), record.get("code")) == ("person@example.org", "4006381333931")
    assert (record.get("number"), record.get("shout")) == (1, "ADA")
    assert record.get("broken") is None, "an error is no value"
    (file,) = record.get("files")
    assert set(file) == {"id", "name", "size", "type"} and file["name"] == "a.pdf"


def test_the_schema_says_what_is_writable_and_which_choices_there_are(shop: AirtableDesk) -> None:
    stream, _ = stream_of(shop)
    computed = {field.name for field in stream.fields if not field.writable}
    assert computed == {"modified", "number", "shout", "broken"}
    assert stream.by_name["stage"].options == ("Lead", "Won")
    assert stream.by_name["name"].id.startswith("fld")
    assert stream_of(shop, typecast=True)[0].by_name["stage"].options is None


def test_attachments_are_the_same_whatever_their_addresses(shop: AirtableDesk) -> None:
    shop.put({"files": [{"url": "https://example.org/a.pdf"}]})
    (first,), (second,) = read(shop).values(), read(shop).values()
    assert first.version == second.version
    assert comparable(first.get("files"), FieldType.ATTACHMENTS) == comparable(
        second.get("files"), FieldType.ATTACHMENTS
    )


def test_a_cleared_rich_text_is_empty(shop: AirtableDesk) -> None:
    id = shop.put({"rich": "x"})
    shop.edit(id, {"rich": ""})
    assert read(shop)[id].get("rich") is None


@pytest.mark.parametrize("how", ["too late", "restarted"])
def test_a_listing_that_breaks_off_is_begun_anew(desk: AirtableDesk, how: str) -> None:
    fill(desk, 250)
    stream, options = stream_of(desk)
    pages = desk.connector.read(stream, options)
    next(pages)
    if how == "restarted":
        desk.system.forget_listings()
    desk.system.clock.passes(600)
    with pytest.raises(BadAnswer, match="before its end"):
        next(pages)
    assert len(read(desk)) == 250


def test_a_page_that_comes_twice_is_not_believed(desk: AirtableDesk) -> None:
    fill(desk, 250)
    stream, options = stream_of(desk)
    desk.system.faults.plan("repeated_page", call=2)
    with pytest.raises(BadAnswer, match="one page twice"):
        list(desk.connector.read(stream, options))


def test_a_field_that_goes_while_it_is_read_clears_nothing(desk: AirtableDesk) -> None:
    fill(desk, 3)
    stream, options = stream_of(desk)
    desk.table.fields = [field for field in desk.table.fields if field.name != "notes"]
    with pytest.raises(BadAnswer, match="changed while it was read"):
        list(desk.connector.read(stream, options))
    assert "notes" not in desk.connector.stream(desk.stream_name, options).by_name


def test_a_table_that_goes_is_gone_and_not_forbidden(desk: AirtableDesk) -> None:
    stream, options = stream_of(desk)
    desk.base.tables.remove(desk.table)
    with pytest.raises(StreamGone, match="no longer in its base"):
        list(desk.connector.read(stream, options))


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("too_many", RateLimited),
        ("error", Unavailable),
        ("gateway", Unavailable),
        ("unavailable", Unavailable),
        ("closed", Unavailable),
        ("cut", Unavailable),
    ],
)
def test_a_read_that_fails_may_be_tried_again(
    desk: AirtableDesk, kind: str, problem: type[RetryableError]
) -> None:
    fill(desk, 3)
    stream, options = stream_of(desk)
    desk.system.faults.plan(kind)
    with pytest.raises(problem):
        list(desk.connector.read(stream, options))
    assert len(read(desk)) == 3


# -- only what moved --------------------------------------------------------------------------------


def test_edits_of_the_last_second_are_neither_missed_nor_repeated(desk: AirtableDesk) -> None:
    ids = fill(desk, 5)
    stream, options = stream_of(desk)
    (page,) = desk.connector.read(stream, options)
    desk.edit(ids[0], {"notes": "in the same second"})
    (moved,) = desk.connector.read(stream, options, page.cursor)
    assert list(moved.ids) == [ids[0]]
    (none,) = desk.connector.read(stream, options, moved.cursor)
    assert list(none.ids) == [] and none.is_last


def test_an_edit_that_shows_late_is_not_missed(desk: AirtableDesk) -> None:
    """Its own time lies before what another record's page has shown already."""
    ids = fill(desk, 2)
    desk.system.clock.passes(100)
    desk.edit(ids[1], {"notes": "new"})
    desk.system.clock.passes(1)
    stream, options = stream_of(desk)
    (page,) = desk.connector.read(stream, options)
    desk.system.clock.passes(-3)
    desk.edit(ids[0], {"notes": "committed before, shown later"})
    desk.system.clock.passes(3)
    (moved,) = desk.connector.read(stream, options, page.cursor)
    assert list(moved.ids) == [ids[0]]


def test_the_overlap_reads_further_back(desk: AirtableDesk) -> None:
    (id,) = fill(desk, 1)
    desk.system.clock.passes(200)
    stream, options = stream_of(desk)
    (page,) = desk.connector.read(stream, options)
    desk.system.clock.passes(200)
    assert list(next(desk.connector.read(stream, options, page.cursor)).ids) == []
    _, wide = stream_of(desk, overlap=300)
    assert list(next(desk.connector.read(stream, wide, page.cursor)).ids) == [id]


def test_a_table_without_a_modified_field_gives_no_cursor(desk: AirtableDesk) -> None:
    desk.table.fields = [field for field in desk.table.fields if field.name != "modified"]
    stream, options = stream_of(desk)
    (page,) = desk.connector.read(stream, options)
    assert page.cursor is None
    with pytest.raises(OptionsError, match="no field of the type 'last modified time'"):
        list(desk.connector.read(stream, options, "2026-03-05T12:00:00.000Z|"))


@pytest.mark.parametrize("name", ["name", "nowhere"])
def test_a_cursor_must_be_a_modified_field(desk: AirtableDesk, name: str) -> None:
    stream, options = stream_of(desk, cursor=name)
    with pytest.raises(OptionsError, match="cannot be the cursor"):
        list(desk.connector.read(stream, options))


def test_a_cursor_of_something_else_is_refused(desk: AirtableDesk) -> None:
    stream, options = stream_of(desk)
    with pytest.raises(OptionsError, match="not a cursor"):
        list(desk.connector.read(stream, options, "17"))


# -- writing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"stage": "won"}, "no_option"),
        ({"tags": ("a", "c")}, "no_option"),
        ({"number": 7}, "read_only"),
        ({"shout": "x"}, "read_only"),
        ({"stars": 9}, "range"),
        ({"balance": Decimal("12345678901234567.89")}, "not_exact"),
        ({"balance": "much"}, "type"),
        ({"at": datetime(2026, 3, 5, 1, 2, 3, 456789, tzinfo=UTC)}, "not_exact"),
        ({"files": ({"name": "a.pdf", "size": 3},)}, "file"),
        ({"nmae": "x"}, "unknown_field"),
    ],
)
def test_a_value_that_airtable_cannot_hold_is_refused_before_it_is_sent(
    shop: AirtableDesk, fields: Mapping[str, Value], code: str
) -> None:
    good, bad = write(shop, create(1), create(2, {"name": "Bad", **fields}))
    assert (good.status, bad.status, bad.code) == ("done", "rejected", code)
    assert bad.field == next(iter(fields)) and bad.message.endswith((".", "?"))
    assert shop.data_calls() == ["create"]


def test_every_writable_type_takes_its_value(shop: AirtableDesk) -> None:
    fields: dict[str, Value] = {
        "name": "Ada",
        "stage": "Lead",
        "tags": ("a", "b"),
        "at": datetime(2026, 3, 5, 14, 0, 0, 120000, tzinfo=UTC),
        "rich": "_it_",
        "stars": 3,
        "owner": "person@example.org",
        "code": "42",
    }
    (outcome,) = write(shop, create(1, fields))
    assert outcome.record is not None
    assert {name: outcome.record.get(name) for name in fields} == fields
    (cleared,) = write(shop, update(outcome.id or "", dict.fromkeys(fields)))
    assert cleared.record is not None
    assert {name: cleared.record.get(name) for name in fields} == dict.fromkeys(fields)


def test_choices_are_added_only_if_the_sync_says_so(shop: AirtableDesk) -> None:
    (outcome,) = write(shop, create(1, {"stage": "Lost"}), typecast=True)
    assert outcome.status == "done"
    assert stream_of(shop)[0].by_name["stage"].options == ("Lead", "Won", "Lost")


def test_kept_files_are_named_by_id_and_new_ones_fetched(shop: AirtableDesk) -> None:
    id = shop.put({"files": [{"url": "https://example.org/a.pdf"}]})
    (kept,) = read(shop)[id].get("files")
    new = {"name": "b.pdf", "url": "https://example.org/b.pdf"}
    (outcome,) = write(shop, update(id, {"files": (kept, new)}))
    assert outcome.record is not None
    assert [file["name"] for file in outcome.record.get("files")] == ["a.pdf", "b.pdf"]
    assert outcome.record.get("files")[0]["id"] == kept["id"]


def test_a_refused_batch_is_brought_down_to_its_record(shop: AirtableDesk) -> None:
    """The choice went away after the schema was read."""
    stream, options = stream_of(shop)
    stage = next(field for field in shop.table.fields if field.name == "stage")
    assert stage.options is not None
    stage.options["choices"] = [choice for choice in stage.options["choices"] if choice["name"] != "Won"]
    batch = [
        create(number, {"name": f"P{number}", "stage": "Won" if number == 6 else "Lead"})
        for number in range(10)
    ]
    outcomes = shop.connector.write(stream, options, batch)
    assert [outcome.status for outcome in outcomes].count("done") == 9
    assert (outcomes[6].status, outcomes[6].code) == ("rejected", "invalid_multiple_choice_options")
    assert len(shop.table.records) == 9


def test_a_record_that_is_gone_takes_no_other_along(desk: AirtableDesk) -> None:
    ids = fill(desk, 5)
    stream, options = stream_of(desk)
    writes = [update(id, {"notes": "x"}) for id in ids]
    deletes = [Write(f"d{id}", "delete", id) for id in ids]
    desk.connector.foresee(stream, options, writes)
    desk.remove(ids[2])
    outcomes = desk.connector.write(stream, options, writes)
    assert [item.status for item in outcomes] == ["done", "done", "missing", "done", "done"]
    desk.connector.foresee(stream, options, deletes)
    desk.remove(ids[0])
    assert {item.status for item in desk.connector.write(stream, options, deletes)} == {"done"}
    assert desk.truth() == {}


@pytest.mark.parametrize("kind", ["lost", "cut", "late_error"])
def test_a_write_whose_answer_is_lost_is_not_known(desk: AirtableDesk, kind: str) -> None:
    stream, options = stream_of(desk)
    desk.system.faults.plan(kind, call=2)
    outcomes = desk.connector.write(stream, options, [create(number) for number in range(30)])
    assert [item.status for item in outcomes] == ["done"] * 10 + ["unknown"] * 10 + ["done"] * 10
    assert len(desk.table.records) == 30, "and it happened"
    found = desk.connector.find(stream, options, "name", [f"Person {number}" for number in range(10, 20)])
    assert len(found) == 10


def test_an_error_between_two_calls_keeps_the_first_ones_receipts(desk: AirtableDesk) -> None:
    stream, options = stream_of(desk)
    desk.system.faults.plan("too_many", call=2)
    outcomes = desk.connector.write(stream, options, [create(number) for number in range(20)])
    assert [(item.status, item.code) for item in outcomes[10:]] == [("rejected", "not_done")] * 10
    assert len(desk.table.records) == 10
    desk.system.faults.plan("too_many")
    with pytest.raises(RateLimited):  # nothing was done: it may be tried again as a whole
        desk.connector.write(stream, options, [create(99)])


def test_with_a_key_a_create_stands_there_once(desk: AirtableDesk) -> None:
    desk.system.faults.plan("lost", call=3)  # schema, look, upsert
    (lost,) = write(desk, create(1, {"name": "Ada", "notes": "x"}), key="name")
    assert lost.status == "unknown"
    (again,) = write(desk, create(1, {"name": "Ada", "notes": "x"}), key="name")
    assert again.status == "done" and list(desk.table.records) == [again.id]
    (other,) = write(desk, create(2, {"name": "Ada", "notes": "another"}), key="name")
    assert (other.status, other.code, other.field) == ("rejected", "exists", "name")
    twins = write(desk, create(3, {"name": "Bob"}), create(4, {"name": "Bob", "notes": "y"}), key="name")
    assert [item.status for item in twins] == ["done", "rejected"]
    assert [row["name"] for row in desk.truth().values()] == ["Ada", "Bob"]


def test_a_key_must_be_a_field_to_merge_on(desk: AirtableDesk) -> None:
    for key in ("active", "nmae"):
        with pytest.raises(OptionsError, match="cannot be the key"):
            write(desk, create(1), key=key)


# -- linked records ---------------------------------------------------------------------------------


@pytest.fixture
def linked(desk: AirtableDesk) -> AirtableDesk:
    companies = desk.system.add_table(desk.base, "Companies", [{"name": "Title", "type": "singleLineText"}])
    options = {"linkedTableId": companies.id}
    desk.system.add_field(
        desk.base, desk.table, {"name": "company", "type": "multipleRecordLinks", "options": options}
    )
    for name in ("Acme", "Globex", "Twin", "Twin", "Umbrella, Inc."):
        desk.system.put(desk.base, companies, {"Title": name})
    return desk


def titles(desk: AirtableDesk) -> list[str]:
    companies = desk.base.table("Companies")
    assert companies is not None
    return [str(record.cells.get(companies.primary.id)) for record in companies.records.values()]


def test_linked_records_are_names_and_their_table_is_read_once(linked: AirtableDesk) -> None:
    outcomes = write(
        linked,
        create(1, {"company": ("Globex", "Acme")}),
        create(2, {"company": "acme"}),
        create(3, {"company": "Umbrella, Inc., Acme"}),
        create(4, {"company": None}),
    )
    assert {item.status for item in outcomes} == {"done"}
    assert linked.data_calls() == ["list", "create"]
    read_back = [record.get("company") for record in read(linked).values()]
    assert read_back == [("Globex", "Acme"), ("Acme",), ("Umbrella, Inc.", "Acme"), None]
    assert linked.data_calls() == ["list", "create", "list"], "the names are known already"


def test_a_renamed_linked_record_is_a_change(linked: AirtableDesk) -> None:
    (outcome,) = write(linked, create(1, {"company": ("Acme",)}))
    companies = linked.base.table("Companies")
    assert companies is not None
    acme = next(iter(companies.records))
    linked.system.put(linked.base, companies, {"Title": "Acme Corp"}, acme)
    linked.connector = linked.again()
    (record,) = read(linked).values()
    assert record.get("company") == ("Acme Corp",)
    assert outcome.record is not None and record.version != outcome.record.version


def test_records_that_were_linked_after_their_table_was_read_have_names(linked: AirtableDesk) -> None:
    stream, options = stream_of(linked)
    assert next(linked.connector.read(stream, options)).ids == []
    companies = linked.base.table("Companies")
    assert companies is not None
    new = linked.system.put(linked.base, companies, {"Title": "Newcomer"})
    linked.put({"company": [new]})
    (page,) = linked.connector.read(stream, options)
    assert page.record(0).get("company") == ("Newcomer",)


@pytest.mark.parametrize(("name", "code"), [("Nobody", "no_such_link"), ("Twin", "ambiguous_link")])
def test_a_link_that_cannot_be_made_is_reported(linked: AirtableDesk, name: str, code: str) -> None:
    good, bad = write(linked, create(1, {"company": ("Acme",)}), create(2, {"company": ("Acme", name)}))
    assert (good.status, bad.status, bad.code, bad.field) == ("done", "rejected", code, "company")
    assert f"'{name}'" in bad.message
    assert len(titles(linked)) == 5


def test_missing_linked_records_are_made_only_if_the_sync_says_so(linked: AirtableDesk) -> None:
    makes = LinkedRecords(create_missing=True)
    outcomes = write(
        linked,
        create(1, {"company": ("Newco", "Acme")}),
        create(2, {"company": ("newco", "Other")}),
        linked_records=makes,
    )
    assert {item.status for item in outcomes} == {"done"}
    assert titles(linked)[5:] == ["Newco", "Other"]
    assert [item.record.get("company") for item in outcomes if item.record] == [
        ("Newco", "Acme"),
        ("Newco", "Other"),
    ]


def test_a_linked_record_is_made_once_though_its_answer_is_lost(linked: AirtableDesk) -> None:
    stream, options = stream_of(linked, linked_records=LinkedRecords(create_missing=True))
    linked.system.faults.plan("lost", call=2)
    with pytest.raises(Unavailable):  # nothing of the batch itself was sent
        linked.connector.write(stream, options, [create(1, {"company": ("Newco",)})])
    (outcome,) = linked.connector.write(stream, options, [create(1, {"company": ("Newco",)})])
    assert outcome.status == "done" and titles(linked).count("Newco") == 1


def test_unresolved_links_are_ids(linked: AirtableDesk) -> None:
    companies = linked.base.table("Companies")
    assert companies is not None
    acme = next(iter(companies.records))
    raw = LinkedRecords(resolve=False)
    (outcome,) = write(linked, create(1, {"company": (acme,)}), linked_records=raw)
    assert outcome.record is not None and outcome.record.get("company") == (acme,)
    assert linked.data_calls() == ["create"]


# -- bases, tokens, limits --------------------------------------------------------------------------


def test_a_base_may_be_given_by_name_or_not_at_all(desk: AirtableDesk) -> None:
    fill(desk, 1)
    named = desk.again(base="Sales")
    assert named.check() == "Airtable answers; the base has 1 table."
    with pytest.raises(OptionsError, match="Did you mean 'Sales'"):
        desk.again(base="Slaes").check()
    anywhere = desk.again(base=None)
    assert [stream.name for stream in anywhere.discover()] == ["Sales/Customers"]
    for name in ("Sales/Customers", f"{desk.base.id}/{desk.table.id}"):
        stream = anywhere.stream(name, desk.options)
        assert [len(page.ids) for page in anywhere.read(stream, desk.options)] == [1]
    with pytest.raises(OptionsError, match="names no base"):
        anywhere.stream("Customers", desk.options)
    for connector in (named, anywhere):
        connector.close()


def test_a_base_that_is_not_granted_says_what_to_do(desk: AirtableDesk) -> None:
    desk.system.add_token("patOther", bases=())
    with pytest.raises(AuthError, match="scopes of the token") as caught:
        desk.again(token="patOther").check()
    assert caught.value.code == "forbidden"
    with pytest.raises(OptionsError, match="shows no base"):
        desk.again(token="patOther", base=None).check()


def test_a_wrong_token_is_refused_and_never_shown(desk: AirtableDesk) -> None:
    with pytest.raises(AuthError, match="refuses the token") as caught:
        desk.again(token="patWrong.secret").check()
    assert "patWrong" not in str(caught.value) and TOKEN not in repr(desk.connector.options)
    with pytest.raises(AuthError, match="cannot be sent"):
        desk.again(token="pat Wrong").check()
    with pytest.raises(AuthError, match="nobody has signed in"):
        desk.again(token=None).check()


class SignedIn:
    """The credentials of a sign-in, which renew themselves."""

    def __init__(self, desk: AirtableDesk) -> None:
        self.system = desk.system
        self.current = self.system.grant()["access_token"]
        self.renewed: list[str] = []

    def __call__(self, *, refused: str | None = None) -> str:
        if refused is not None:
            self.renewed.append(refused)
            self.current = self.system.grant()["access_token"]
        return str(self.current)


def test_a_token_that_expires_in_the_middle_is_renewed_once(desk: AirtableDesk) -> None:
    fill(desk, 250)
    tokens = SignedIn(desk)
    options = Airtable.parse_options({"endpoint": desk.url, "base": desk.base.id})
    connector = Airtable(options, desk.access(token=tokens))
    first = tokens.current
    desk.system.faults.plan("expired", call=3)
    stream = connector.stream(desk.stream_name, desk.options)
    assert sum(len(page.ids) for page in connector.read(stream, desk.options)) == 250
    assert tokens.renewed == [first]
    desk.system.faults.chance("expired", 1.0)
    with pytest.raises(AuthError):
        connector.check()
    assert len(tokens.renewed) == 2, "a second refusal is believed"
    connector.close()


def test_the_cap_of_the_month_is_reported_as_such_and_not_tried_again(desk: AirtableDesk) -> None:
    desk.system.calls_left = 0
    stream, options = stream_of(desk)
    with pytest.raises(FatalError, match="used up its API calls of this month") as caught:
        list(desk.connector.read(stream, options))
    assert caught.value.code == "monthly_cap"
    assert not isinstance(caught.value, RetryableError)


def test_calls_keep_to_the_quota_and_a_penalty_is_waited_out(desk: AirtableDesk) -> None:
    desk.system.has_limits = True
    clock = desk.system.clock
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.passes(seconds)

    desk.limiter = SharedLimiter(InProcess(lambda: clock().timestamp()), sleep)
    desk.connector = desk.again()
    fill(desk, 1200)
    assert len(read(desk)) == 1200
    assert [call.status for call in desk.system.calls] == [200] * 13
    assert 2 < sum(slept) < 3, "13 calls at 5 a second"
    desk.system.faults.plan("too_many")
    slept.clear()
    with pytest.raises(RateLimited) as caught:
        read(desk)
    assert caught.value.is_held and caught.value.retry_after == 30
    assert len(read(desk)) == 1200
    assert slept[0] == 30


def test_the_quotas_name_the_base_and_not_the_token(desk: AirtableDesk) -> None:
    stream, _ = stream_of(desk)
    base, token = desk.connector.quotas(stream)
    assert (base.limit, token.limit) == (5, 50)
    assert desk.base.id in base.key
    assert TOKEN not in token.key and token == desk.again().quotas()[0]


def test_it_can_do_what_it_says(desk: AirtableDesk) -> None:
    assert (
        desk.connector.can
        == Can.READ | Can.WRITE | Can.DELETE | Can.INCREMENTAL | Can.LOOKUP | Can.CREATE_STREAM
    )
    assert desk.connector.clock() == desk.system.clock()


def statuses(outcomes: Sequence[Outcome]) -> list[str]:
    return [item.status for item in outcomes]


def test_a_mixed_batch_meets_each_record_as_it_is(desk: AirtableDesk) -> None:
    anna, bert = desk.put(ANNA), desk.put(BERT)
    desk.edit(bert, {"notes": "by hand"})
    outcomes = write(
        desk,
        create(1),
        update(anna, {"notes": "x"}, expected={"notes": ANNA["notes"]}),
        update(bert, {"notes": "x"}, expected={"notes": BERT["notes"]}),
        Write("d", "delete", "recNobody00000000"),
    )
    assert statuses(outcomes) == ["done", "done", "stale", "done"]
