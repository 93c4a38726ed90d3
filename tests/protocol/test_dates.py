"""HTTP dates: three forms are read, one is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.dates import format_http_date, parse_http_date

EXAMPLE = 784_111_777  # the date that RFC 9110 section 5.6.7 writes in three forms
IN_2026 = 1_780_000_000


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        pytest.param(0, b"Thu, 01 Jan 1970 00:00:00 GMT", id="epoch"),
        pytest.param(EXAMPLE, b"Sun, 06 Nov 1994 08:49:37 GMT", id="example"),
        pytest.param(951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT", id="leap_day"),
        pytest.param(-1, b"Wed, 31 Dec 1969 23:59:59 GMT", id="before_the_epoch"),
        pytest.param(253_402_300_799, b"Fri, 31 Dec 9999 23:59:59 GMT", id="last"),
    ],
)
def test_written(epoch: int, text: bytes) -> None:
    """An IMF-fixdate, which is also read."""
    assert format_http_date(epoch) == text
    assert parse_http_date(text) == epoch


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE, id="rfc_850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", EXAMPLE, id="asctime"),
        pytest.param(b"Sun Nov 16 08:49:37 1994", EXAMPLE + 864_000, id="asctime_two_digits"),
        pytest.param(b"Mon, 06 Nov 1994 08:49:37 GMT", EXAMPLE, id="day_of_week_is_not_judged"),
        pytest.param(b"Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800, id="leap_second"),
        pytest.param(b"Tuesday, 01-Jan-26 00:00:00 GMT", 1_767_225_600, id="this_century"),
        pytest.param(b"Tuesday, 01-Jan-76 00:00:00 GMT", 3_345_062_400, id="in_50_years"),
        pytest.param(b"Friday, 01-Jan-77 00:00:00 GMT", 220_924_800, id="not_in_51_years"),
    ],
)
def test_read(text: bytes, epoch: int) -> None:
    """The obsolete forms too, as a recipient must."""
    assert parse_http_date(text, IN_2026) == epoch


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"0", id="number"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37", id="no_zone"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 UTC", id="other_zone"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 +0000", id="numeric_zone"),
        pytest.param(b"sun, 06 nov 1994 08:49:37 gmt", id="lower_case"),
        pytest.param(b"Sun, 6 Nov 1994 08:49:37 GMT", id="day_of_one_digit"),
        pytest.param(b"Sun, 06 Nov 94 08:49:37 GMT", id="year_of_two_digits"),
        pytest.param(b"Sun, 06 Foo 1994 08:49:37 GMT", id="no_month"),
        pytest.param(b"Sun, 31 Feb 1994 08:49:37 GMT", id="no_such_day"),
        pytest.param(b"Sun, 29 Feb 2023 08:49:37 GMT", id="no_leap_year"),
        pytest.param(b"Sun, 00 Nov 1994 08:49:37 GMT", id="day_zero"),
        pytest.param(b"Sun, 06 Nov 0000 08:49:37 GMT", id="year_zero"),
        pytest.param(b"Sun, 06 Nov 1994 24:00:00 GMT", id="hour_24"),
        pytest.param(b"Sun, 06 Nov 1994 08:60:37 GMT", id="minute_60"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:61 GMT", id="second_61"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT ", id="space_behind"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT\n", id="line_feed_behind"),
        pytest.param(b"1994-11-06T08:49:37Z", id="iso_8601"),
    ],
)
def test_no_date(text: bytes) -> None:
    """It is None: a recipient ignores what is no date."""
    assert parse_http_date(text, IN_2026) is None


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_round_trip(epoch: int) -> None:
    """Every second of the years 1 to 9999 is read as it was written."""
    assert parse_http_date(format_http_date(epoch)) == epoch


@given(st.integers(0, 4_000_000_000), st.integers(0, 99))
def test_year_of_two_digits_is_near(now: int, year: int) -> None:
    """It is never more than 50 years ahead, and never a century behind what it could be."""
    epoch = parse_http_date(b"Monday, 01-Jan-%02d 00:00:00 GMT" % year, now)
    assert epoch is not None
    this_year = int(format_http_date(now)[12:16])
    meant = int(format_http_date(epoch)[12:16])
    assert meant % 100 == year
    assert this_year - 50 < meant <= this_year + 50


@given(st.binary(max_size=40), st.integers(0, 4_000_000_000))
def test_any_bytes_have_a_meaning(text: bytes, now: int) -> None:
    """No value raises."""
    parse_http_date(text, now)
