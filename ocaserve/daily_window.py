"""A window of local time, each day: when content may be fetched. Pure: the clock is a parameter.

The time zone counts, over changes to and from daylight saving: 02:00 is when a clock on the wall
shows it first. A boundary that a day leaves out is where the clock is put forward; one that a day
has twice counts the first time.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from msgspec import Struct

_FORM = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z")
_DAYS = 3  # to look back and ahead: a window ends within a day of its begin


class DailyWindow(Struct, frozen=True):
    """From `start` to `end` each day; over midnight where `end` is not after `start`."""

    start: time
    end: time
    zone: tzinfo

    def spans(self, now: float) -> list[tuple[float, float]]:
        """Begin and end of the windows around a time, in order: seconds since the epoch."""
        today = datetime.fromtimestamp(now, self.zone).date()
        days = [today + timedelta(days=n) for n in range(-_DAYS, _DAYS + 1)]
        ahead = timedelta(days=self.end <= self.start)
        return [
            (_instant(day, self.start, self.zone), _instant(day + ahead, self.end, self.zone))
            for day in days
        ]

    def is_open(self, now: float) -> bool:
        """Whether it is open at a time, in seconds since the epoch."""
        return any(begin <= now < end for begin, end in self.spans(now))

    def next_change(self, now: float) -> float:
        """When it opens next, or closes if it is open: seconds since the epoch."""
        times = sorted(edge for span in self.spans(now) for edge in span if edge > now)
        is_open = self.is_open(now)
        return next(edge for edge in times if self.is_open(edge) is not is_open)


def _instant(day: date, at: time, zone: tzinfo) -> float:
    """When a wall clock shows this first, or is put forward over it."""
    local = datetime.combine(day, at, zone)
    utc = local.astimezone(UTC)
    if utc.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return utc.timestamp()
    # Left out. Both readings of it are beside the gap: the offset before it leads behind its end by
    # as much as the clock jumps less what is asked for, so the end of the gap is searched.
    low, high = utc.timestamp() - 3 * 3_600, utc.timestamp() + 3 * 3_600
    before = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def read_window(text: str, zone: str) -> DailyWindow | None:
    """From "02:00-14:00" and the name of a time zone; None, always open, for an empty text.

    Raises ValueError in words.
    """
    if not text:
        return None
    found = _FORM.match(text)
    if not found:
        raise ValueError('must be two times such as "02:00-14:00", or empty: always')
    hour, minute, end_hour, end_minute = map(int, found.groups())
    start, end = time(hour, minute), time(end_hour, end_minute)
    if start == end:
        raise ValueError("must begin and end at different times; empty is always")
    return DailyWindow(start, end, read_zone(zone))


def read_zone(name: str) -> tzinfo:
    """A time zone of the IANA database. Raises ValueError in words."""
    if name == "UTC":  # also where there is no database
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        if not available_timezones():
            raise ValueError("the machine has no time zone database (package tzdata)") from None
        raise ValueError('must be a name of the IANA database such as "Europe/Berlin"') from None
