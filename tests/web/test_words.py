"""Times, counts and values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from models.journal import ChangeState
from models.sync_runs import RunKind, RunState
from sync.values import MISSING, encode
from web import words
from web.languages import counted
from web.reads.values import field_changes, shown, wrapped
from web.times import Clock, duration, zone_named

NOW = datetime(2026, 11, 23, 14, 5, 30, tzinfo=UTC)
PARIS = Clock(NOW, ZoneInfo("Europe/Paris"))


def test_every_state_has_a_word_an_icon_and_a_tone() -> None:
    assert set(words.RUN_STATES) == set(RunState)
    assert set(words.RUN_KINDS) == set(RunKind)
    assert set(words.CHANGE_STATES) == set(ChangeState)
    assert len({badge.word for badge in words.CHANGE_STATES.values()}) == len(ChangeState)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (59, "just now"),
        (-5, "in a moment"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (-600, "in 10 min"),
        (7300, "2 h ago"),
        (86400, "1 day ago"),
        (86400 * 3.5, "3 days ago"),
    ],
)
def test_relative_times(seconds: float, said: str) -> None:
    assert PARIS.ago(NOW - timedelta(seconds=seconds)) == said


def test_absolute_times_are_told_in_the_zone() -> None:
    assert PARIS.stamp(NOW) == "Mon 23 Nov 2026, 15:05:30 CET"
    assert PARIS.short(NOW) == "15:05"
    assert PARIS.short(NOW - timedelta(days=1)) == "22 Nov 15:05"
    assert PARIS.short(NOW - timedelta(days=700)) == "23 Dec 2024"
    assert PARIS.day_and_time(NOW + timedelta(hours=10)) == "tomorrow 01:05"
    assert PARIS.day_and_time(NOW + timedelta(days=3)) == "Thu 26 Nov 15:05"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (12, "12 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (86400 * 5, "5 days"),
        (-3, "0.0 s"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    "name", [None, "", "Nowhere/City", "../../etc/passwd", "/etc/zone", "x" * 500, "\x00"]
)
def test_a_zone_that_is_none_is_utc(name: str | None) -> None:
    assert zone_named(name).key == "UTC"


def test_counts_and_lists() -> None:
    assert counted("%(num)s record", "%(num)s records", 1) == "1 record"
    assert counted("%(num)s record", "%(num)s records", 1204) == "1,204 records"
    assert words.both(["a"]) == "a"
    assert words.both(["a", "b", "c"], "or") == "a, b or c"
    assert words.plain("ambiguous_key") == "Ambiguous key"
    assert words.rule("newest_wins, tie: left_wins") == "both were edited at the same time: left wins"
    assert words.rule("something_new") == "something new"
    assert words.who("schedule") == "the schedule"
    assert words.who("bob@example.com") == "bob@example.com"


def test_the_three_kinds_of_nothing_are_told_apart() -> None:
    assert (shown(MISSING).text, shown(MISSING).gap) == (None, "not there")
    assert (shown(None).text, shown(None).gap) == (None, "empty")
    assert (shown("").text, shown("").gap) == (None, "empty text")
    assert shown(False).text == "false"
    assert shown(encode(Decimal("1.50"))).text == "1.50"
    assert wrapped(None).gap == "not there"
    assert wrapped({"value": "x"}).text == "x"


def test_what_a_system_made_of_a_value_is_told() -> None:
    [field] = field_changes("update", {"name": "a"}, {"name": "b"}, {"name": "B"})
    assert (field.before.text, field.after.text, field.kept and field.kept.text) == ("a", "b", "B")
    [same] = field_changes("update", {"name": "a"}, {"name": "b"}, {"name": "b"})
    assert same.kept is None
