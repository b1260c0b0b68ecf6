"""When a schedule is due: cron text and a zone in, UTC times out.

The arithmetic is cronsim's, which follows Debian's cron over daylight saving: a time that the clock
skips runs at the first minute after the gap, a time that comes twice runs once, and what runs every
hour or every few minutes keeps its pace. The words come from the same parser, so that what a person
reads is what will happen.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

HOURLY = "0 * * * *"  # what `auto` means where no schedule is given

_EVERY_FEW = re.compile(r"\*/([2-9]|[1-5]\d) \* \* \* \*")

# cronsim knows none of them.
MACROS = {
    "@hourly": HOURLY,
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

CATCH_UP_LIMIT = 24  # slots that the policy `all` makes up for at most
LATE_AFTER = timedelta(minutes=2)  # a slot older than this was missed: nobody was there to see it
LARGEST_SHIFT = timedelta(minutes=10)
_SHIFTED_FROM = timedelta(minutes=10)  # a schedule with a shorter interval keeps its exact times
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)


class Missed(StrEnum):
    """What becomes of slots that passed while no scheduler ran."""

    LATEST = "latest"  # the last one runs
    SKIP = "skip"  # none runs
    ALL = "all"  # each runs, one after the other, CATCH_UP_LIMIT at most


class ScheduleProblem(ValueError):
    """The schedule cannot be used. The message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that was found good. Make it with `read_schedule`.

    `seed` (a config's id) shifts each slot by a few whole minutes, always the same for this seed, so
    that not everything starts at the full hour. The shift is at most a tenth of the interval and at
    most ten minutes; there is none where the interval is below ten minutes.
    """

    cron: str  # five fields
    timezone: str
    seed: str = ""

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`, in UTC. None: never within fifty years."""
        return next(self.times(moment), None)

    def next_times(self, moment: datetime, count: int = 5) -> list[datetime]:
        """The next `count` times later than `moment`, in UTC."""
        found: list[datetime] = []
        for time in self.times(moment):
            found.append(time)
            if len(found) == count:
                break
        return found

    def times(self, moment: datetime) -> Iterator[datetime]:
        """All times later than `moment`, in UTC and in order, until nothing comes for fifty years."""
        if not self.seed:
            yield from self._slots(moment)
            return
        # A slot that lies before the moment may be shifted past it.
        slots = self._slots(moment - LARGEST_SHIFT - timedelta(minutes=1))
        slot = next(slots, None)
        while slot is not None:
            following = next(slots, None)
            time = slot + self._shift(slot, following)
            if time > moment:
                yield time
            slot = following

    def words(self) -> str:
        """The schedule in words, such as "At 02:30 every day, Europe/Paris time"."""
        step = _EVERY_FEW.fullmatch(self.cron)
        if step and 60 % int(step[1]) == 0:  # else the last gap of an hour is a shorter one
            return f"Every {step[1]} minutes"
        return f"{_explained(self.cron)}, {self.timezone} time"

    def _slots(self, moment: datetime) -> Iterator[datetime]:
        last = moment.astimezone(UTC)
        try:
            cron = CronSim(self.cron, last.astimezone(ZoneInfo(self.timezone)))
            for local in cron:
                slot = local.astimezone(UTC)
                # Around a change of the clock cronsim may say one slot twice, or one that is over.
                if slot > last:
                    yield slot
                    last = slot
        except OverflowError:  # the end of the calendar
            return

    def _shift(self, slot: datetime, following: datetime | None) -> timedelta:
        interval = following - slot if following else _SHIFTED_FROM
        if interval < _SHIFTED_FROM:
            return timedelta(0)
        largest = min(interval / 10, LARGEST_SHIFT) // timedelta(minutes=1)
        return timedelta(minutes=_number(self.seed) % (largest + 1))


@dataclass(frozen=True, slots=True)
class Due:
    """What a schedule asks for at one moment."""

    slots: tuple[datetime, ...]  # to run, oldest first
    missed: tuple[datetime, ...]  # passed, and nothing runs for them; the newest ones if they are many
    next_at: datetime | None  # the first slot after the moment


def read_schedule(cron: str, timezone: str, *, seed: str = "") -> Schedule:
    """A schedule from what a person wrote. Raises ScheduleProblem with a sentence."""
    return Schedule(_five_fields(cron, timezone), timezone, seed)


@lru_cache(maxsize=4096)
def _five_fields(cron: str, timezone: str) -> str:
    text = " ".join(cron.split())
    if text.startswith("@"):
        if text.lower() not in MACROS:
            raise ScheduleProblem(
                f"'{text}' is not a schedule. Use one of {', '.join(MACROS)}, or five fields:"
                " minute, hour, day of month, month, day of week."
            )
        text = MACROS[text.lower()]
    if len(text.split()) != 5:
        raise ScheduleProblem(
            "A schedule has five fields (minute, hour, day of month, month, day of week);"
            f" '{text}' has {len(text.split())}."
        )
    try:
        CronSim(text, _FIRST_DAY)
    except CronSimError as problem:
        raise ScheduleProblem(f"'{text}' is not a schedule: {str(problem).lower()}.") from None
    _check_zone(timezone)
    if Schedule(text, timezone).after(_FIRST_DAY) is None:
        raise ScheduleProblem(f"'{text}' never comes: there is no such day.")
    return text


@lru_cache(maxsize=4096)
def _explained(cron: str) -> str:
    return CronSim(cron, _FIRST_DAY).explain()


def due(schedule: Schedule, next_at: datetime, now: datetime, missed: Missed) -> Due:
    """Which slots from `next_at` up to now shall run, by the policy for missed ones."""
    if next_at > now:
        return Due((), (), next_at)
    passed, following = _passed(schedule, next_at, now)
    if missed is Missed.ALL:
        return Due(passed[-CATCH_UP_LIMIT:], passed[:-CATCH_UP_LIMIT], following)
    if missed is Missed.SKIP and now - passed[-1] > LATE_AFTER:
        return Due((), passed, following)
    return Due(passed[-1:], passed[:-1], following)


def _passed(
    schedule: Schedule, next_at: datetime, now: datetime
) -> tuple[tuple[datetime, ...], datetime | None]:
    """The slots from `next_at` up to now (the newest ones are enough if there are many), and the next."""
    for window in (timedelta(days=1), timedelta(days=40)):
        start = now - window
        if start <= next_at:
            break
        passed, following = _until(schedule, start, now)
        if len(passed) > CATCH_UP_LIMIT:
            return passed, following
    passed, following = _until(schedule, next_at - timedelta(microseconds=1), now)
    return passed or (next_at,), following


def _until(
    schedule: Schedule, start: datetime, end: datetime
) -> tuple[tuple[datetime, ...], datetime | None]:
    """The times after `start` up to `end`, and the one after them."""
    found: list[datetime] = []
    for time in schedule.times(start):
        if time > end:
            return tuple(found), time
        found.append(time)
    return tuple(found), None


@lru_cache(maxsize=512)
def _check_zone(timezone: str) -> None:
    try:
        if timezone.strip() == timezone and timezone:
            ZoneInfo(timezone)
            return
    except (KeyError, ValueError, OSError):
        pass  # unknown, a path, or a folder of the zone database
    near = difflib.get_close_matches(timezone, available_timezones(), n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]}?" if near else " Use a name such as Europe/Paris or UTC."
    raise ScheduleProblem(f"'{timezone}' is not a time zone.{hint}")


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
