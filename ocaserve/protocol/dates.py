"""HTTP dates (RFC 9110 section 5.6.7): three forms are read, one is written."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun",
    b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
)  # fmt: skip
_DAY = b"(?:" + b"|".join(_DAYS) + b")"
_LONG_DAY = b"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = b"(?P<month>" + b"|".join(_MONTHS) + b")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMS = (
    re.compile(_DAY + rb", (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + b" GMT"),
    re.compile(_LONG_DAY + rb", (?P<day>\d\d)-" + _MONTH + rb"-(?P<year>\d\d) " + _TIME + b" GMT"),
    re.compile(_DAY + b" " + _MONTH + rb" (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})"),
)
"""IMF-fixdate, the form of RFC 850, the form of C's asctime()."""


def format_http_date(epoch: int) -> bytes:
    """Seconds since the epoch as an IMF-fixdate. `epoch` is between the years 1 and 9999."""
    date = datetime.fromtimestamp(epoch, UTC)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[date.weekday()], date.day, _MONTHS[date.month - 1], date.year,
        date.hour, date.minute, date.second,
    )  # fmt: skip


def parse_http_date(value: bytes, now: int = 0) -> int | None:
    """Seconds since the epoch, or None for what is no HTTP date: a recipient ignores that.

    `now` settles the century of a two-digit year: it is the last year with these digits that is not
    more than 50 years in the future.
    """
    match = next((found for form in _FORMS if (found := form.fullmatch(value))), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        latest = datetime.fromtimestamp(now, UTC).year + 50
        year = latest - (latest - year) % 100
    month = _MONTHS.index(match["month"]) + 1
    day, hour, minute, second = (int(match[part]) for part in ("day", "hour", "minute", "second"))
    # The name of the day is not compared with the date: the RFC says nothing of one that is wrong,
    # and clients that copy our own Last-Modified never have one.
    try:
        datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    if second > 60:  # 60 is a leap second, which the grammar allows
        return None
    return timegm((year, month, day, hour, minute, second))
