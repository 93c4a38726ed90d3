"""The test of canaries: how often it errs, how soon it finds what is worse. Played, with seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ocaserve.policies.trials import ALPHA, CanaryTrial, SessionOutcomes

NETWORKS, SHARE = 20_000, 0.05
UNLIKE = 0.5  # standard deviation of the rates of networks, of their mean


def play(
    seed: int, *, per_s: float, rate: float, factor: float, seconds: int, look_s: int = 1
) -> int | None:
    """When a canary is found worse, in seconds. rate: of sessions that leave a server."""
    random = np.random.default_rng(seed)
    spread = [random.gamma(UNLIKE**-2, rate * UNLIKE**2, round(NETWORKS * part)).mean()
              for part in (SHARE, 1 - SHARE)]  # fmt: skip
    looks = seconds // look_s
    canary = random.poisson(per_s * SHARE * look_s, looks)
    rest = random.poisson(per_s * (1 - SHARE) * look_s, looks)
    left = random.binomial(canary, spread[0] * factor), random.binomial(rest, spread[1])
    trial = CanaryTrial()
    for look in range(looks):
        trial.add(
            SessionOutcomes(int(canary[look]), int(left[0][look])),
            SessionOutcomes(int(rest[look]), int(left[1][look])),
        )
        if trial.is_worse:
            return (look + 1) * look_s
    return None


def test_a_thousand_that_change_nothing() -> None:
    """Fewer than one in a hundred is found worse in ten minutes, looked at all the time."""
    found = [
        play(seed, per_s=5_000, rate=0.05, factor=1.0, seconds=600, look_s=5)
        for seed in range(1_000)
    ]
    assert sum(each is not None for each in found) < 10


def test_a_fifth_more_is_found_within_a_minute() -> None:
    found = [play(s, per_s=10_000, rate=0.05, factor=1.2, seconds=60) for s in range(100)]
    assert sum(each is not None for each in found) >= 95


def test_a_small_network_finds_what_is_bad() -> None:
    found = [play(s, per_s=20, rate=0.05, factor=6.0, seconds=300, look_s=5) for s in range(50)]
    assert sum(each is not None for each in found) >= 45


def test_what_is_better_is_not_worse() -> None:
    found = [play(s, per_s=5_000, rate=0.05, factor=0.8, seconds=600, look_s=5) for s in range(50)]
    assert found == [None] * 50


def test_evidence_has_no_end_and_no_error() -> None:
    trial = CanaryTrial()
    assert trial.evidence == pytest.approx(1.0)
    assert trial.ratio is None
    trial.add(SessionOutcomes(0, 0), SessionOutcomes(10, 10))
    assert trial.evidence == pytest.approx(1.0), "the canary has told of nothing"
    for _ in range(1_000):
        trial.add(SessionOutcomes(100, 100), SessionOutcomes(1_000, 1))
    assert math.isinf(trial.evidence)
    assert trial.is_worse
    assert trial.ratio == pytest.approx(1_000, rel=0.02)
    assert 1 / ALPHA > 200
