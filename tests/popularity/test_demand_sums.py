"""How much objects are wanted, over time."""

from __future__ import annotations

import pytest

from ocaserve.popularity.demand_sums import COPY, DemandSums, per_day

DAY_S = 86_400.0


def test_half_counts_after_the_half_life() -> None:
    """However many steps the time is cut into."""
    slow, fast = DemandSums(100.0), DemandSums(100.0)
    for sums in (slow, fast):
        sums.age(1000.0)
        sums.add({"a": 8 * COPY})
    slow.age(1300.0)
    for now in range(1001, 1301):
        fast.age(float(now))
    assert slow.copies["a"] == pytest.approx(COPY)
    assert fast.copies["a"] == pytest.approx(COPY)


def test_a_clock_that_is_set_back_makes_nothing_younger() -> None:
    """And the time goes on from there."""
    sums = DemandSums(100.0)
    sums.age(1000.0)
    sums.add({"a": 8 * COPY})
    sums.age(500.0)
    assert sums.copies["a"] == 8 * COPY
    sums.age(600.0)
    assert sums.copies["a"] == 4 * COPY


def test_what_nobody_wants_any_more_is_forgotten() -> None:
    """Less than a millionth of a copy."""
    sums = DemandSums(1.0)
    sums.age(1.0)
    sums.add({"a": COPY})
    sums.age(100.0)
    assert not sums.copies


def test_the_least_wanted_go_first() -> None:
    """A flood of others pushes nothing out that is wanted more than they."""
    sums = DemandSums(100.0, most=10)
    sums.age(1.0)
    sums.add({"film": 5 * COPY, "other": 4 * COPY})
    for n in range(1000):
        sums.add({f"flood/{n}": 1})
        assert len(sums.copies) <= 13
    assert sums.top(3)[:2] == [("film", 5 * COPY), ("other", 4 * COPY)]


@pytest.mark.parametrize("half_life_days", [0.01, 3.0, 365.0])
def test_per_day(half_life_days: float) -> None:
    """What comes in evenly is told as it comes."""
    half_life_s, rate = half_life_days * DAY_S, 7.0
    sums = DemandSums(half_life_s)
    step_s = half_life_s / 200
    for n in range(1, 3001):
        sums.age(n * step_s)
        sums.add({"a": rate * COPY * step_s / DAY_S})
    assert per_day(sums.copies["a"], half_life_s) == pytest.approx(rate, rel=0.01)
