"""Times as people read them: relative and absolute, in their own zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
            return "just now" if seconds >= 0 else "in a moment"
        size = _rough(abs(seconds))
        return f"{size} ago" if seconds > 0 else f"in {size}"

    def stamp(self, moment: datetime) -> str:
        """The whole time: `Mon 23 Nov 2026, 14:05:12 CET`."""
        local = self.local(moment)
        return f"{local:%a} {local.day} {local:%b %Y, %H:%M:%S} {local:%Z}"

    def short(self, moment: datetime) -> str:
        """As short as it can be told today: `14:05`, `22 Nov 14:05`, `22 Nov 2025`."""
        local, today = self.local(moment), self.local(self.now)
        if local.date() == today.date():
            return f"{local:%H:%M}"
        if local.year == today.year or abs(local - today) < timedelta(days=90):
            return f"{local.day} {local:%b %H:%M}"
        return f"{local.day} {local:%b %Y}"

    def day_and_time(self, moment: datetime) -> str:
        local, today = self.local(moment), self.local(self.now)
        days = (local.date() - today.date()).days
        day = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days, f"{local:%a} {local.day} {local:%b}")
        return f"{day} {local:%H:%M}"

    def since(self, begun: datetime | None, ended: datetime | None) -> str:
        """How long it took, or has taken until now; nothing where it never began."""
        if begun is None:
            return ""
        return duration(((ended or self.now) - begun).total_seconds())


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 days`."""
    seconds = max(seconds, 0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    if whole < 2 * _DAY:
        hours, rest = divmod(whole, _HOUR)
        return f"{hours} h {rest // _MINUTE:02d} min"
    return f"{whole // _DAY} days"


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
        return f"{int(seconds // _MINUTE)} min"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h"
    days = int(seconds // _DAY)
    return "1 day" if days == 1 else f"{days} days"
