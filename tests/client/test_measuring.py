"""Averages that forget, and the rate of the last seconds."""

from __future__ import annotations

import pytest

from ocaserve.client.measuring import Meter, Window


def test_rate_follows_what_is() -> None:
    meter = Meter()
    meter.add(10_000, 1, 1)
    assert meter.bytes_per_s == 10_000
    for second in range(2, 40):
        meter.add(1_000, 1, second)
    assert meter.bytes_per_s == pytest.approx(1_000, rel=0.3)
    assert meter.taken == 10_000 + 38 * 1_000


def test_first_byte() -> None:
    meter = Meter()
    meter.begin(0.1)
    assert meter.first_byte_s == pytest.approx(0.1)
    meter.begin(0.2)
    assert meter.first_byte_s == pytest.approx(0.13)


def test_known_only_after_a_second_and_for_a_while() -> None:
    """What came from a buffer at once says nothing of a server."""
    meter = Meter()
    meter.add(1_000_000, 0.01, 5)
    assert meter.known_rate(5, 60) is None
    meter.add(1_000, 1, 6)
    assert meter.known_rate(66, 60) is not None
    assert meter.known_rate(66.1, 60) is None
    meter.forget()
    assert meter.known_rate(6, 60) is None


def test_nothing_in_no_time() -> None:
    meter = Meter()
    meter.add(0, 5, 5)
    meter.add(5, 0, 5)
    assert meter.bytes_per_s is None


def test_window() -> None:
    """Unknown until it is full; then of its seconds alone."""
    window = Window(5, 100)
    window.add(1_000_000, 101)
    assert window.rate(104.9) is None
    assert window.rate(105) == pytest.approx(200_000)
    for second in range(102, 112):
        window.add(10, second)
    assert window.rate(111) == pytest.approx(10)
