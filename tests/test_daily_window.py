"""Windows of local time, over midnight and over changes of the clock."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ocaserve.daily_window import DailyWindow, read_window

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def window(text: str, zone: str = "Europe/Berlin") -> DailyWindow:
    found = read_window(text, zone)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "when", "is_open"),
    [
        ("02:00-14:00", "2030-01-15T02:00", True),
        ("02:00-14:00", "2030-01-15T01:59:59", False),
        ("02:00-14:00", "2030-01-15T13:59:59", True),
        ("02:00-14:00", "2030-01-15T14:00", False),
        ("22:00-04:00", "2030-01-15T23:00", True),
        ("22:00-04:00", "2030-01-15T03:59", True),
        ("22:00-04:00", "2030-01-15T04:00", False),
        ("22:00-04:00", "2030-01-15T12:00", False),
        ("00:00-23:59", "2030-01-15T23:59:30", False),
    ],
)
def test_open(text: str, when: str, is_open: bool) -> None:
    assert window(text).is_open(at(when)) is is_open


def test_next_change() -> None:
    """When it opens, or closes."""
    day = window("02:00-14:00")
    assert day.next_change(at("2030-01-15T01:00")) == at("2030-01-15T02:00")
    assert day.next_change(at("2030-01-15T02:00")) == at("2030-01-15T14:00")
    assert day.next_change(at("2030-01-15T14:00")) == at("2030-01-16T02:00")
    assert window("22:00-04:00").next_change(at("2030-01-15T23:00")) == at("2030-01-16T04:00")


def test_clock_put_forward() -> None:
    """2030-03-31, 02:00 to 03:00 is not there: what begins in it begins where it ends."""
    night = window("02:30-04:00")
    assert not night.is_open(at("2030-03-31T01:59:59"))
    assert night.is_open(at("2030-03-31T03:00"))
    assert night.next_change(at("2030-03-31T01:00")) == at("2030-03-31T03:00")
    ends = window("00:30-02:30")
    assert ends.is_open(at("2030-03-31T01:59:59"))
    assert not ends.is_open(at("2030-03-31T03:00"))


def test_clock_put_back() -> None:
    """2030-10-27, 02:00 to 03:00 comes twice: a boundary counts the first time."""
    night = window("02:30-04:00")
    assert night.is_open(at("2030-10-27T02:30"))
    assert night.is_open(at("2030-10-27T02:10", fold=1))
    assert not night.is_open(at("2030-10-27T02:29"))
    assert night.next_change(at("2030-10-27T02:30")) == at("2030-10-27T04:00")
    assert at("2030-10-27T04:00") - at("2030-10-27T02:30") == 2.5 * 3_600


def test_half_an_hour() -> None:
    """Lord Howe Island puts its clock forward by half an hour, at 02:00."""
    night = window("02:10-05:00", "Australia/Lord_Howe")
    assert night.is_open(at("2030-10-06T02:30", "Australia/Lord_Howe"))
    assert not night.is_open(at("2030-10-06T01:59:59", "Australia/Lord_Howe"))


def test_always() -> None:
    assert read_window("", "Europe/Berlin") is None


@pytest.mark.parametrize(
    "text", ["2:00-14:00", "02:00", "24:00-25:00", "02:00-02:00", "02:00 - 14:00", "02:60-03:00"]
)
def test_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="must b"):
        read_window(text, "Europe/Berlin")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe/Berlin\n"])
def test_unknown_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="must be a name"):
        read_window("02:00-14:00", zone)
