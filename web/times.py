"""Times as people read them: relative and absolute, in their own zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from web.languages import _, counted, decimal, month, weekday

ZONE_COOKIE = "zone"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class Clock:
    """One moment and one zone: what all times of a page are told by."""

    now: datetime
    zone: ZoneInfo

    def local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)

    def ago(self, moment: datetime) -> str:
        """`3 min ago`, `in 2 h`, `just now`: whole minutes, so that a page does not change each second."""
        seconds = (self.now - moment).total_seconds()
        if abs(seconds) < _MINUTE:
            return _("just now") if seconds >= 0 else _("in a moment")
        if (days := int(abs(seconds) // _DAY)) and seconds > 0:
            return counted("%(num)s day ago", "%(num)s days ago", days)
        if days:
            return counted("in %(num)s day", "in %(num)s days", days)
        size = _rough(abs(seconds))
        return _("%(span)s ago", span=size) if seconds > 0 else _("in %(span)s", span=size)

    def stamp(self, moment: datetime) -> str:
        """The whole time: `Mon 23 Nov 2026, 14:05:12 CET`."""
        local = self.local(moment)
        return _(
            "%(weekday)s %(day)s %(month)s %(year)s, %(time)s %(zone)s",
            weekday=weekday(local),
            day=local.day,
            month=month(local),
            year=local.year,
            time=local.strftime("%H:%M:%S"),
            zone=local.tzname(),
        )

    def short(self, moment: datetime) -> str:
        """As short as it can be told today: `14:05`, `22 Nov 14:05`, `22 Nov 2025`."""
        local, today = self.local(moment), self.local(self.now)
        time = local.strftime("%H:%M")
        if local.date() == today.date():
            return time
        if local.year == today.year or abs(local - today) < timedelta(days=90):
            return _(
                "%(day)s %(month)s %(time)s", day=local.day, month=month(local), time=local.strftime("%H:%M")
            )
        return _("%(day)s %(month)s %(year)s", day=local.day, month=month(local), year=local.year)

    def day_and_time(self, moment: datetime) -> str:
        local, today = self.local(moment), self.local(self.now)
        time = local.strftime("%H:%M")
        match (local.date() - today.date()).days:
            case -1:
                return _("yesterday %(time)s", time=time)
            case 0:
                return _("today %(time)s", time=time)
            case 1:
                return _("tomorrow %(time)s", time=time)
        return _(
            "%(weekday)s %(day)s %(month)s %(time)s",
            weekday=weekday(local),
            day=local.day,
            month=month(local),
            time=time,
        )

    def since(self, begun: datetime | None, ended: datetime | None) -> str:
        """How long it took, or has taken until now; nothing where it never began."""
        if begun is None:
            return ""
        return duration(((ended or self.now) - begun).total_seconds())


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 days`."""
    seconds = max(seconds, 0)
    if seconds < 10:
        return _("%(seconds)s s", seconds=decimal(seconds))
    whole = round(seconds)
    if whole < _MINUTE:
        return _("%(seconds)s s", seconds=whole)
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        if not rest:
            return _("%(minutes)s min", minutes=minutes)
        return _("%(minutes)s min %(seconds)s s", minutes=minutes, seconds=_two(rest))
    if whole < 2 * _DAY:
        hours, rest = divmod(whole, _HOUR)
        return _("%(hours)s h %(minutes)s min", hours=hours, minutes=_two(rest // _MINUTE))
    return counted("%(num)s day", "%(num)s days", whole // _DAY)


def zone_named(name: str | None) -> ZoneInfo:
    """The zone of this name, UTC where there is none: the name comes from a cookie."""
    if name and len(name) <= 64 and not name.startswith(("/", ".")):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    return ZoneInfo("UTC")


def _rough(seconds: float) -> str:
    if seconds < _HOUR:
        return _("%(minutes)s min", minutes=int(seconds // _MINUTE))
    return _("%(hours)s h", hours=int(seconds // _HOUR))


def _two(number: int) -> str:
    return f"{number:02d}"
