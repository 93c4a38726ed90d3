"""The throughput of a day: means of whole steps, gaps, and what a successor knows."""

from __future__ import annotations

from typing import Any

from ocaserve.control.series import NOTE, STEP_S, ThroughputSeries

NOON = 1_800_000_000 // STEP_S * STEP_S


def test_means_of_whole_steps() -> None:
    """A step is told when it is over, and only then."""
    series = ThroughputSeries({})
    told = [series.sample(NOON + second, 100 + second % 2) for second in range(STEP_S)]
    assert not any(told)
    assert series.means == []
    assert series.sample(NOON + STEP_S, 7)
    assert series.means == [round(100.5)]
    assert series.start == NOON
    assert series.recent[-1] == 7
    assert len(series.recent) == 300


def test_gaps() -> None:
    """Nothing was measured then, which is not the same as nothing sent."""
    series = ThroughputSeries({})
    for step in (0, 1, 4, 5):
        series.sample(NOON + step * STEP_S, step)
    assert series.means == [0, 1, None, None, 4]
    assert series.start == NOON


def test_a_day_is_kept() -> None:
    """And no more, whatever the gap."""
    series = ThroughputSeries({})
    for step in (*range(300), 10_000, 10_001):
        series.sample(NOON + step * STEP_S, step)
    assert len(series.means) == 288
    assert series.means[-2:] == [None, 10_000]


def test_clock_set_back() -> None:
    """What was measured stays; what is measured now is told when its time comes."""
    series = ThroughputSeries({})
    for step in (0, 1, 2, 0, 1, 2, 3):
        series.sample(NOON + step * STEP_S, 10 + step)
    assert series.means == [10, 11, 12]


def test_successor() -> None:
    """It goes on; of words that it does not understand it keeps none."""
    series = ThroughputSeries({})
    for step in range(4):
        series.sample(NOON + step * STEP_S, step)
    notes: dict[str, Any] = {NOTE: series.kept()}
    successor = ThroughputSeries(notes)
    assert successor.means == [0, 1, 2]
    for step in (4, 5):
        successor.sample(NOON + step * STEP_S, step)
    assert successor.means == [0, 1, 2, None, 4]
    assert ThroughputSeries({NOTE: {"means": "many"}}).means == []
