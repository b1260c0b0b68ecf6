"""V: values that systems render, cut, refuse or change in their own way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from sync.definition import MappingMistake
from sync.records import Field
from sync.values import FieldType, Value
from tests.hostile import as_float, lower, milliseconds, trim, truncated, upper
from tests.scenarios.world import FIELDS, Story, at

T = FieldType
NOON = datetime(2026, 3, 5, 12, 0, 0, 123456, tzinfo=UTC)


@dataclass(frozen=True)
class Rendering:
    """Somebody writes `value` on the left; the right side keeps it in its own way."""

    id: str
    story: str
    left: FieldType
    right: FieldType
    value: Value
    keeps: Callable[[Value], Value] = lambda value: value
    issue: str = ""
    pair: Mapping[str, Any] = field(default_factory=dict)


RENDERINGS = (
    Rendering("V01", "a number as a text", T.TEXT, T.DECIMAL, "1.0", lambda _: Decimal(1)),
    Rendering("V01", "a text as a number", T.INTEGER, T.TEXT, 7, lambda _: "7.0"),
    Rendering("V02", "blanks at the end are trimmed", T.TEXT, T.TEXT, "abc  ", trim),
    Rendering("V04", "microseconds are not kept", T.DATETIME, T.DATETIME, NOON, milliseconds),
    Rendering(
        "V05", "a day becomes a midnight somewhere", T.DATE, T.DATETIME, date(2026, 3, 5),
        lambda _: datetime(2026, 3, 5, tzinfo=timezone(timedelta(hours=2))),
    ),
    Rendering("V14", "a float instead of a decimal", T.DECIMAL, T.DECIMAL, Decimal("19.99"),
              lambda _: Decimal("19.989999"), pair={"scale": 2}),
    Rendering("V14", "a float, and nobody said how exact", T.DECIMAL, T.DECIMAL, Decimal("19.99"),
              lambda _: Decimal("19.989999")),
    Rendering("V16", "a number too long for a float", T.INTEGER, T.INTEGER, 9007199254740993, as_float,
              "lossy"),
    Rendering("V17", "another Unicode form", T.TEXT, T.TEXT, "é", lambda _: "e\u0301"),
    Rendering("V19", "markdown is written anew", T.TEXT, T.TEXT, "* a\n* b", lambda _: "- a\n- b\n"),
    Rendering("V20", "a long text is cut", T.TEXT, T.TEXT, "word " * 1000, truncated(1000), "lossy"),
    Rendering("V22", "an address gets its slash", T.TEXT, T.TEXT, "http://x.com", lambda _: "http://x.com/"),
    Rendering("V23", "capitals are lost", T.TEXT, T.TEXT, "A@X.com", lower),
    Rendering("V28", "JSON in another order", T.JSON, T.JSON, {"a": 1, "b": [1, 2]},
              lambda _: {"b": [1, 2], "a": 1}),
    Rendering("V28", "JSON as a text", T.JSON, T.TEXT, {"a": 1}, lambda _: '{ "a" : 1.0 }'),
    Rendering("V34", "a duration in seconds", T.TEXT, T.INTEGER, "1:30", lambda _: 5400,
              pair={"transform": {"duration": "seconds"}, "direction": "left_to_right"}),
)  # fmt: skip


def one_field(left: FieldType, right: FieldType, tell: Callable[..., Story], **pair: Any) -> Story:
    """A story whose field x has a type on each side."""
    story = tell(
        fields=(Field("k", T.TEXT), Field("x", left), Field("y", T.TEXT)),
        right_fields=(Field("k", T.TEXT), Field("x", right), Field("y", T.TEXT)),
    )
    x = {"left": "x", "right": "x", **pair}
    story.define(fields=[{"left": "k", "right": "k"}, x, {"left": "y", "right": "y"}], conflict="manual")
    return story


@pytest.mark.parametrize("has_receipts", [True, False], ids=["receipts", "read back"])
@pytest.mark.parametrize("case", RENDERINGS, ids=lambda case: f"{case.id} {case.story}")
def test_V_a_rendering_is_no_edit(case: Rendering, has_receipts: bool, tell: Callable[..., Story]) -> None:
    """Generic expectation Q: quiet after the first write, and the left keeps its own value."""
    story = one_field(case.left, case.right, tell, **case.pair)
    story.base("k", y="a")
    story.right.knobs.has_receipts = has_receipts
    story.right.knobs.normalise = {"x": case.keeps}
    story.left.edit(x=case.value)
    outcome = story.run()
    assert outcome.startswith("R.x=")
    assert (f"issue({case.issue})" in outcome) is bool(case.issue)
    assert story.left.get("x") == case.value
    # Another edit of the record does not take the rendering along, in either direction.
    story.left.edit(y="b")
    assert story.run().startswith("R.y=b")
    story.right.edit(y="c")
    assert story.run().startswith("L.y=c")
    assert story.left.get("x") == case.value
    assert [row.code for row in story.issues()] == ([case.issue] if case.issue else [])


@pytest.mark.parametrize("case", RENDERINGS, ids=lambda case: f"{case.id} {case.story}")
def test_V_a_rendering_at_first_contact(case: Rendering, tell: Callable[..., Story]) -> None:
    """A new record: what the other side makes of it does not flow back either."""
    story = one_field(case.left, case.right, tell, **case.pair)
    story.base("other", y="a")
    story.right.knobs.normalise = {"x": case.keeps}
    story.left.put("k", x=case.value)
    story.run()
    assert story.left.get("x") == case.value
    assert story.right.has()


@pytest.fixture(params=["UTC", "Pacific/Pago_Pago", "Pacific/Kiritimati", "Europe/Paris"])
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The machine stands in another zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


@pytest.mark.parametrize("day", [date(2026, 3, 5), date(2026, 3, 29), date(2026, 10, 25)])
def test_V05_a_day_stays_that_day(zone: None, day: date, tell: Callable[..., Story]) -> None:
    story = one_field(T.DATE, T.TEXT, tell)
    story.base("k")
    story.left.edit(x=day)
    assert story.run() == f"R.x={day}"
    story.right.edit(x=f"{day + timedelta(days=1)}T00:00:00+14:00")
    assert story.run() == f"L.x={day + timedelta(days=1)}"


@pytest.mark.parametrize("knobs", [{"blank_is_null": True}, {"omits_empty": True}])
def test_V07_V08_null_and_an_empty_text_where_they_are_one(
    knobs: dict[str, bool], tell: Callable[..., Story]
) -> None:
    story = tell()
    for name, value in knobs.items():
        setattr(story.right.knobs, name, value)
    story.base("k", x="a")
    story.left.edit(x=None)
    assert story.run() == ('R.x=""' if "blank_is_null" in knobs else "R.x=null")
    story.left.edit(x="b")
    assert story.run() == "R.x=b"
    story.right.edit(x="")
    assert story.run() == "L.x=null"


def test_V07_null_and_an_empty_text_are_two_things(story: Story) -> None:
    story.base("k", x="a")
    story.left.edit(x="")
    assert story.run() == 'R.x=""'
    story.left.edit(x=None)
    assert story.run() == "R.x=null"


def test_V08_an_empty_text_that_is_left_out(story: Story) -> None:
    story.left.knobs.omits_empty = True
    story.base("k", x="a")
    story.left.edit(x="")
    assert story.run() == "R.x=null"


@pytest.mark.parametrize("omits_empty", [True, False])
def test_V10_a_user_clears_a_field(story: Story, omits_empty: bool) -> None:
    story.left.knobs.omits_empty = story.right.knobs.omits_empty = omits_empty
    story.base("k", x="a", y="a")
    story.left.edit(x=None)
    assert story.run() == "R.x=null"
    assert story.right.get("y") == "a"


def test_V11_a_field_is_missing_in_one_answer_only(story: Story) -> None:
    story.base("k", "k1", x="a")
    story.left.knobs.dropped_for = {story.left.id(): {"x"}}
    story.left.edit(y="b")
    story.left.edit("k1", x=None)
    assert story.run() == "R.k1.x=null R.y=b"


def test_V13_an_option_that_is_not_there(tell: Callable[..., Story]) -> None:
    options = (*FIELDS[:1], Field("x", T.TEXT, options=("Silver",)), *FIELDS[2:])
    story = tell(right_fields=options)
    story.base("k", "k1", "k2")
    for key in ("k", "k1"):
        story.left.edit(key, x="Gold", y="b")
    story.left.edit("k2", x="Silver")
    # Its other fields flow, the others' too; one cause for all who have it.
    assert story.run() == ("R.k1.y=b R.k2.x=Silver R.y=b issue(does_not_fit k1) issue(does_not_fit)")
    assert {row.message for row in story.issues()} == {
        "x has no option 'Gold'. The value on left is 'Gold'; it was not sent.".replace(
            "left", story.left.real
        )
    }


def test_V13_an_option_that_only_the_system_knows_of(tell: Callable[..., Story]) -> None:
    story = tell()
    story.base("k", "k1")
    story.left.edit("k", x="Gold", y="b")
    story.left.edit("k1", y="b")
    story.right.knobs.protected = {story.right.id()}
    assert story.run() == "R.k1.y=b issue(forbidden)"


def test_V16_a_number_that_the_contract_does_not_allow(tell: Callable[..., Story]) -> None:
    story = tell(
        fields=(Field("k", T.TEXT), Field("x", T.INTEGER)),
        right_fields=(Field("k", T.TEXT), Field("x", T.INTEGER, max_integer=2**53)),
    )
    story.define(fields=[{"left": "k", "right": "k"}, {"left": "x", "right": "x"}])
    story.base("k", x=1)
    story.left.edit(x=2**53 + 1)
    assert story.run() == "issue(does_not_fit)"
    assert story.right.get("x") == 1


@pytest.mark.parametrize("largest", [2**63 - 1, 32767])
def test_V16_the_smallest_number_of_a_type_is_written(tell: Callable[..., Story], largest: int) -> None:
    story = tell(
        fields=(Field("k", T.TEXT), Field("x", T.INTEGER)),
        right_fields=(Field("k", T.TEXT), Field("x", T.INTEGER, max_integer=largest)),
    )
    story.define(fields=[{"left": "k", "right": "k"}, {"left": "x", "right": "x"}])
    story.base("k", x=1)
    story.left.edit(x=-largest - 1)
    assert story.run() == f"R.x={-largest - 1}"
    story.left.edit(x=-largest - 2)
    assert story.run() == "issue(does_not_fit)"
    assert story.right.get("x") == -largest - 1


@pytest.mark.parametrize("raw", ["9" * 5_000, "1e1000000000"], ids=["long", "far"])
def test_V16_a_number_that_nobody_can_write_out_stops_no_other_record(
    tell: Callable[..., Story], raw: str
) -> None:
    fields = (Field("k", T.TEXT), Field("x", T.INTEGER))
    story = tell(fields=fields, right_fields=fields)
    story.define(fields=[{"left": "k", "right": "k"}, {"left": "x", "right": "x"}])
    story.base("k", "k1", x=1)
    story.left.edit("k", x=raw)
    story.left.edit("k1", x=2)
    story.run()
    assert [error.code for error in story.summary.errors] == ["bad_value"]
    assert (story.right.get("x", "k"), story.right.get("x", "k1")) == (1, 2)


def test_V20_a_text_that_the_contract_does_not_allow(tell: Callable[..., Story]) -> None:
    story = tell(right_fields=(*FIELDS[:1], Field("x", T.TEXT, max_length=10), *FIELDS[2:]))
    story.base("k", x="short")
    story.left.edit(x="much too long", y="b")
    assert story.run() == "R.y=b issue(does_not_fit)"
    assert (story.left.get("x"), story.right.get("x")) == ("much too long", "short")
    story.left.edit(x="fits")
    assert story.run() == "R.x=fits"


def test_V20_what_was_cut_is_edited_where_it_was_cut(story: Story) -> None:
    story.base("k", x="a")
    story.right.knobs.normalise = {"x": truncated(5)}
    story.left.edit(x="long text")
    assert story.run() == "R.x=long_ issue(lossy)"
    story.right.edit(x="new")
    assert story.run() == "L.x=new"


def test_V25_a_computed_field_is_never_written(tell: Callable[..., Story]) -> None:
    story = tell(right_fields=(*FIELDS[:1], Field("x", T.TEXT, writable=False), *FIELDS[2:]))
    story.define(fields=None)
    del story.definition["fields"]
    story.define(
        fields=[{"left": "k", "right": "k"}, {"left": "x", "right": "x", "direction": "right_to_left"}]
    )
    story.base("k", x="a")
    story.left.edit(x="b")
    assert story.run() == "L.x=a"
    story.right.system.store.change(story.right.id(), {"x": "c"})
    assert story.run() == "L.x=c"


def test_V25_mapping_into_a_computed_field_is_refused(tell: Callable[..., Story]) -> None:
    story = tell(right_fields=(*FIELDS[:1], Field("x", T.TEXT, writable=False), *FIELDS[2:]))
    with pytest.raises(MappingMistake, match="read-only"):
        story.check(fields=[{"left": "k", "right": "k"}, {"left": "x", "right": "x"}])


def test_V26_a_formula_over_a_field_that_we_wrote(tell: Callable[..., Story]) -> None:
    story = tell(fields=(*FIELDS, Field("loud", T.TEXT, writable=False)))
    story.base("k", x="a")
    story.left.edit(x="b")
    assert story.run() == "R.x=b"
    store = story.right.system.store
    store.change(story.right.id(), {"loud": "B", "at": at(30)})
    assert story.run() == "nothing"
    assert story.summary.unchanged == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity")])
def test_V29_not_a_number(value: Value, tell: Callable[..., Story]) -> None:
    story = one_field(T.DECIMAL, T.DECIMAL, tell)
    story.base("k", "k1", x=Decimal(1))
    story.left.edit(x=value)
    story.left.edit("k1", x=Decimal(2))
    assert story.run() == "R.k1.x=2 issue(bad_value)"
    assert story.right.get("x") == 1


def test_V31_a_field_that_changes_whenever_it_is_looked_at(tell: Callable[..., Story]) -> None:
    story = one_field(T.INTEGER, T.INTEGER, tell)
    story.base("k", x=0, y="a")

    def count(call: str) -> None:
        if call in ("page 1", "lookup"):
            story.right.system.store.rows[story.right.id()] = {
                **story.right.row(),
                "x": story.right.get("x") + 1,
            }
            story.right.system.store.versions[story.right.id()] += "1"

    story.right.knobs.meanwhile = count
    story.run(preview=False, repeat=False)
    for _ in range(3):
        assert story.run(preview=False, repeat=False).startswith("L.x=")
    # It is left alone now, and said so; the other fields flow.
    for value in ("b", "c"):
        story.left.edit(y=value)
        assert story.run(preview=False, repeat=False) == f"R.y={value} issue(volatile)"


def test_V31_a_field_that_is_edited_before_every_run_flows(tell: Callable[..., Story]) -> None:
    story = one_field(T.INTEGER, T.INTEGER, tell)
    story.base("k", x=0)
    for number in range(1, 8):
        story.left.edit(x=number)
        assert story.run(repeat=False) == f"R.x={number}"


def test_V32_two_automations_fight(story: Story) -> None:
    story.base("k", x="a", y="a")
    story.left.edit(x="ABC")
    told = []
    for _ in range(5):
        told.append(story.run(preview=False, repeat=False))
        # Each side's automation writes the field in its own way, whoever wrote it.
        story.left.edit(x=upper(story.left.get("x")))
        story.right.edit(x=lower(story.right.get("x")))
    assert told[4].endswith("issue(ping_pong)")
    writes = len(story.left.system.log) + len(story.right.system.log)
    story.left.edit(y="b")
    assert story.run() == "R.y=b issue(ping_pong)"
    assert len(story.left.system.log) + len(story.right.system.log) == writes + 1
    message = story.issues()[0].message
    assert "'ABC'" in message
    assert "'abc'" in message
    # One automation is switched off: it flows again.
    story.right.edit(x="ABC")
    assert story.run() == "nothing"
    story.left.edit(x="new")
    assert story.run(repeat=False) == "R.x=new"


def test_V32_an_automation_at_a_one_way_destination(story: Story) -> None:
    story.define(direction="left_to_right")
    story.base("k", x="a")
    for _ in range(3):
        story.right.edit(x="automatic")
        assert story.run(preview=False, repeat=False) == "R.x=a"
    story.right.edit(x="automatic")
    assert story.run(preview=False) == "issue(ping_pong)"


def test_V32_edits_back_and_forth_by_one_side_flow(story: Story) -> None:
    story.base("k", x="a")
    for number in range(8):
        value = "ba"[number % 2]
        story.left.edit(x=value)
        assert story.run(repeat=False) == f"R.x={value}"


def test_V35_a_broken_text_in_a_large_batch(story: Story) -> None:
    story.base("k", x="a")
    for number in range(30):
        story.left.put(f"m{number:02}", x="half \ud83d" if number == 13 else f"x{number}")
    outcome = story.run()
    assert outcome.count("R+") == 29
    assert outcome.endswith("issue(bad_value m13)")
    assert story.summary.failed == 1


def test_V37_somebody_is_still_typing(story: Story) -> None:
    story.define(modified={"left": "at", "right": "at"}, settle="2m")
    story.base("k", x="a")
    story.left.edit(x="johndoe@gmai", at=story.now)
    story.left.put("new", x="joh", at=story.now)
    assert story.run(repeat=False) == "nothing"
    assert not story.right.has("new")
    story.left.edit(x="johndoe@gmail.com", at=story.now)
    story.left.edit("new", x="john", at=story.now)
    assert story.run(repeat=False) == "nothing"
    story.wait(minutes=5)
    assert story.run() == "R+new R.x=johndoe@gmail.com"


def test_V37_the_settle_delay_loses_nothing_in_incremental_reads(story: Story) -> None:
    story.define(modified={"left": "at", "right": "at"}, settle="2m", mode="incremental", full_every="100d")
    story.base("k", x="a", at=at(-60))
    story.left.put("new", x="joh", at=story.now)
    assert story.run(repeat=False) == "nothing"
    story.wait(minutes=5)
    assert story.run(repeat=False) == "R+new"


def test_V37_needs_trusted_times(story: Story) -> None:
    with pytest.raises(ValidationError, match="settle needs"):
        story.define(settle="2m")
