"""A schedule is due when its oracle says so, in every zone and on both days of the year."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.schedule import CATCH_UP_LIMIT, Missed, Schedule, ScheduleProblem, due, read_schedule

MINUTE = timedelta(minutes=1)
ZONES = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# -- the slow oracle: looks at every minute, and knows nothing of cronsim's way of stepping ---------


def matches(cron: str, wall: datetime) -> bool:
    found = CronSim(cron, wall.replace(tzinfo=None) - timedelta(seconds=1))
    return next(found) == wall.replace(tzinfo=None)


def oracle(cron: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Slots in (start, end] by Debian's rules, minute by minute."""
    minute, hour = cron.split()[:2]
    keeps_pace = minute.startswith("*") or hour.startswith("*")
    here = ZoneInfo(zone)
    found = []
    moment = start.replace(second=0, microsecond=0) + MINUTE
    while moment <= end:
        wall = moment.astimezone(here)
        if keeps_pace:
            hit = matches(cron, wall)
        else:
            before = (moment - MINUTE).astimezone(here).replace(tzinfo=None)
            skipped = wall.replace(tzinfo=None) - before
            walls = [wall] if wall.fold == 0 else []
            if skipped > MINUTE:  # the clock jumped: what lay in the gap comes now
                walls += [wall - MINUTE * n for n in range(1, int(skipped / MINUTE))]
            hit = any(matches(cron, item) for item in walls)
        if hit:
            found.append(moment)
        moment += MINUTE
    return found


crons = st.one_of(
    st.builds(lambda m, h: f"{m} {h} * * *", st.integers(0, 59), st.integers(0, 23)),
    st.builds(
        lambda m, h: f"{m},{(m + 20) % 60} {h}-{min(h + 3, 23)} * * *", st.integers(0, 59), st.integers(0, 4)
    ),
    st.builds(lambda m: f"{m} * * * *", st.integers(0, 59)),
    st.builds(lambda n: f"*/{n} * * * *", st.integers(1, 30)),
    st.builds(lambda n, d: f"*/{n} 1-3 * * {d}", st.integers(5, 30), st.integers(0, 7)),
    st.sampled_from(
        ["30 2 * * *", "0 0 * * 0", "0 0 * * 7", "30 1,2 * * SUN", "0 3 */2 * 1", "15 2 25-31 * *"]
    ),
)
# Around both changes of each zone, and far from them.
starts = st.sampled_from(
    [
        "2026-03-28T22:00", "2026-03-29T00:59", "2026-03-29T01:00", "2026-10-24T22:00", "2026-10-25T00:15",
        "2026-10-25T01:15", "2026-03-08T05:00", "2026-11-01T04:30", "2026-10-03T12:00", "2026-04-04T12:45",
        "2026-02-14T20:00", "2026-03-21T20:00", "2026-06-30T23:00", "2026-12-31T20:00",
    ]
)  # fmt: skip


@given(crons, st.sampled_from(ZONES), starts, st.integers(0, 59))
@settings(max_examples=60, deadline=None)
def test_times_are_those_of_a_slow_oracle(cron: str, zone: str, start: str, second: int) -> None:
    begin = at(start) + timedelta(seconds=second)
    end = begin + timedelta(hours=10)
    schedule = read_schedule(cron, zone)
    fast = []
    for time in schedule.times(begin):
        if time > end:
            break
        fast.append(time)
    assert fast == oracle(cron, zone, begin, end)


@given(crons, st.sampled_from(ZONES), starts, st.text(min_size=1, max_size=5), st.integers(0, 600))
@settings(max_examples=60, deadline=None)
def test_a_shift_moves_each_slot_by_the_same_little_from_wherever_one_looks(
    cron: str, zone: str, start: str, seed: str, offset: int
) -> None:
    plain, shifted = Schedule(cron, zone), Schedule(cron, zone, seed)
    begin = at(start)
    slots = plain.next_times(begin - timedelta(hours=1), 40)
    times = shifted.next_times(begin - timedelta(hours=1), 30)
    assert times == sorted(set(times))
    later = begin + timedelta(minutes=offset)
    assert shifted.after(later) == next(iter(t for t in shifted.next_times(begin, 700) if t > later))
    by_slot = dict(itertools.pairwise(slots))
    for time in times[2:]:
        slot = max(slot for slot in slots if slot <= time)
        interval = by_slot[slot] - slot
        assert (time - slot) % MINUTE == timedelta(0)
        assert time - slot <= interval / 10
        assert interval >= 10 * MINUTE or time == slot


def test_the_weekly_macro_comes_on_sunday() -> None:
    assert read_schedule("@weekly", "UTC").next_times(at("2026-11-23T12:00"), 2) == [
        at("2026-11-29T00:00"),
        at("2026-12-06T00:00"),
    ]


@pytest.mark.parametrize("sunday", ["0", "7", "sun"])
def test_every_way_to_write_sunday_is_sunday(sunday: str) -> None:
    assert read_schedule(f"0 6 * * {sunday}", "UTC").after(at("2026-11-23T12:00")) == at("2026-11-29T06:00")


def test_half_past_two_in_paris_comes_once_on_both_odd_days() -> None:
    schedule = read_schedule("30 2 * * *", "Europe/Paris")
    assert schedule.next_times(at("2026-03-28T12:00"), 2) == [at("2026-03-29T01:00"), at("2026-03-30T00:30")]
    assert schedule.next_times(at("2026-10-24T12:00"), 2) == [at("2026-10-25T00:30"), at("2026-10-26T01:30")]


def test_every_half_hour_keeps_its_pace_on_both_odd_days() -> None:
    schedule = read_schedule("*/30 * * * *", "Europe/Paris")
    for day in ("2026-03-28T23:10", "2026-10-24T23:10"):
        times = schedule.next_times(at(day), 12)
        assert {after - before for before, after in itertools.pairwise(times)} == {30 * MINUTE}


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        ("61 * * * *", "UTC", "bad minute"),
        ("* 25 * * *", "UTC", "bad hour"),
        ("0 0 31 2 *", "UTC", "bad day-of-month"),
        ("* * * *", "UTC", "has 4"),
        ("0 * * * * *", "UTC", "has 6"),
        ("", "UTC", "has 0"),
        ("@reboot", "UTC", "@daily"),
        ("0 * * * *", "Europe/Pariss", "Did you mean Europe/Paris?"),
        ("0 * * * *", "", "not a time zone"),
        ("0 * * * *", "../etc/passwd", "not a time zone"),
        ("0 * * * *", "Europe", "not a time zone"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(cron: str, zone: str, said: str) -> None:
    with pytest.raises(ScheduleProblem, match=said.replace("?", r"\?")):
        read_schedule(cron, zone)


def test_words_say_what_will_happen() -> None:
    assert read_schedule("0 2 * * *", "Europe/Paris").words() == "At 02:00 every day, Europe/Paris time"
    # A star in the day of month means "and", where other describers say "or".
    assert "if it's on Monday" in read_schedule("0 0 */2 * 1", "UTC").words()


HOURLY = read_schedule("0 * * * *", "UTC")


def test_a_slot_on_time_is_due_under_every_policy() -> None:
    for policy in Missed:
        found = due(HOURLY, at("2026-11-23T12:00"), at("2026-11-23T12:00:30"), policy)
        assert found.slots == (at("2026-11-23T12:00"),)
        assert found.missed == ()
        assert found.next_at == at("2026-11-23T13:00")


def test_nothing_is_due_before_its_time() -> None:
    found = due(HOURLY, at("2026-11-23T12:00"), at("2026-11-23T11:59:59"), Missed.ALL)
    assert found.slots == () and found.next_at == at("2026-11-23T12:00")


def test_missed_slots_follow_the_policy() -> None:
    hours = [at(f"2026-11-23T{hour}:00") for hour in ("09", "10", "11", "12")]
    now = at("2026-11-23T12:20")
    latest = due(HOURLY, hours[0], now, Missed.LATEST)
    assert latest.slots == (hours[3],) and latest.missed == tuple(hours[:3])
    skip = due(HOURLY, hours[0], now, Missed.SKIP)
    assert skip.slots == () and skip.missed == tuple(hours)
    everything = due(HOURLY, hours[0], now, Missed.ALL)
    assert everything.slots == tuple(hours) and everything.missed == ()
    assert {latest.next_at, skip.next_at, everything.next_at} == {at("2026-11-23T13:00")}


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "0 3 * * *", "0 0 * * 1", "0 0 1 1 *"]),
    st.sampled_from(list(Missed)),
    st.integers(0, 400 * 24 * 60),
)
@settings(max_examples=60, deadline=None)
def test_what_is_due_is_a_part_of_what_passed(cron: str, policy: Missed, minutes: int) -> None:
    schedule = read_schedule(cron, "UTC")
    first = schedule.after(at("2026-01-01T00:00"))
    assert first is not None
    now = first + timedelta(minutes=minutes)
    found = due(schedule, first, now, policy)
    limit = {Missed.ALL: CATCH_UP_LIMIT, Missed.LATEST: 1, Missed.SKIP: 1}[policy]
    assert len(found.slots) <= limit
    together = found.missed + found.slots
    assert list(together) == sorted(set(together))
    # The newest one that passed is either run or told as missed, and nothing between it and the next.
    assert schedule.after(together[-1]) == found.next_at
    assert first <= together[0] and together[-1] <= now


@pytest.mark.parametrize(
    ("cron", "words"),
    [("*/5 * * * *", "Every 5 minutes"), ("*/30 * * * *", "Every 30 minutes"),
     ("30 2 * * *", "At 02:30 every day, UTC time")],
)  # fmt: skip
def test_a_schedule_is_said_as_people_say_it(cron: str, words: str) -> None:
    assert read_schedule(cron, "UTC", seed="s").words() == words


def test_a_step_that_does_not_fit_into_an_hour_is_not_called_even() -> None:
    assert read_schedule("*/7 * * * *", "UTC", seed="s").words() != "Every 7 minutes"
