"""A schedule in the words of the page's language.

English has the words of the parser itself, for every schedule there is. Other languages say the usual
shapes in their own words, and tell the rest as it is written.
"""

from __future__ import annotations

import re

from sync.schedule import Schedule
from web.languages import ENGLISH, _, counted, day_of_week, language, month_of_year
from web.words import both

_NUMBERS = re.compile(r"\d+(,\d+)*")
_STEP = re.compile(r"\*/(\d+)")
_RANGE = re.compile(r"(\d+)-(\d+)")


def said(schedule: Schedule) -> str:
    """`Every 5 minutes`, `Every day at 06:00, Europe/Paris time`."""
    if language() == ENGLISH:
        return schedule.words()
    minute, hour, day, month, weekday = schedule.cron.split()
    is_daily = (day, month, weekday) == ("*", "*", "*")
    if is_daily and hour == "*":
        if found := _within_the_hour(minute):
            return found
    elif is_daily and (step := _STEP.fullmatch(hour)) and minute.isdigit() and 24 % int(step[1]) == 0:
        hours = counted("Every hour", "Every %(num)s hours", int(step[1]))
        return _with_zone(_("%(often)s, at minute %(minute)s", often=hours, minute=minute), schedule)
    elif minute.isdigit() and _NUMBERS.fullmatch(hour):
        times = both([f"{int(each):02}:{int(minute):02}" for each in hour.split(",")])
        if days := _days(day, month, weekday):
            return _with_zone(_("%(days)s at %(times)s", days=days, times=times), schedule)
    return _with_zone(_("As %(cron)s says", cron=schedule.cron), schedule)


def _within_the_hour(minute: str) -> str:
    if minute == "*":
        return _("Every minute")
    if (step := _STEP.fullmatch(minute)) and 60 % int(step[1]) == 0:
        return counted("Every minute", "Every %(num)s minutes", int(step[1]))
    if _NUMBERS.fullmatch(minute):
        return _("Every hour, at minute %(minutes)s", minutes=both(minute.split(",")))
    return ""


def _days(day: str, month: str, weekday: str) -> str:
    if (day, month, weekday) == ("*", "*", "*"):
        return _("Every day")
    if (day, month) == ("*", "*"):
        if found := _RANGE.fullmatch(weekday):
            first, last = (_weekday(part) for part in found.groups())
            return _("From %(first)s to %(last)s", first=first, last=last)
        if _NUMBERS.fullmatch(weekday):
            return _("On %(days)s", days=both([_weekday(part) for part in weekday.split(",")]))
    if weekday == "*" and day.isdigit():
        if month == "*":
            return _("On day %(day)s of each month", day=day)
        if month.isdigit():
            return _("On %(month)s %(day)s", month=month_of_year(int(month)), day=day)
    return ""


def _weekday(number: str) -> str:
    return day_of_week((int(number) - 1) % 7)  # cron begins the week on Sunday


def _with_zone(said: str, schedule: Schedule) -> str:
    return _("%(when)s, %(zone)s time", when=said, zone=schedule.timezone)
