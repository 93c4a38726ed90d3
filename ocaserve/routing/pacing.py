"""When an appliance tells the control plane the next thing. Decides, and waits for nothing.

A fleet that began together, or lost its control plane together, must not come as one. So no wait is
exact: between reports it is up to a tenth shorter than `report.interval_s`, never longer, since
the receiver counts intervals; after a failure it doubles up to a minute, and is any part of its
upper half.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
_SPREAD = 0.1  # of an interval

Uniform = Callable[[float, float], float]
"""A number between two, at random."""


def find_pause(failures: int, uniform: Uniform = random.uniform) -> float:
    """Seconds to wait after so many failures in a row."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
    return longest * uniform(0.5, 1.0)


class Pacing:
    """Of one receiver. `failures`: those in a row."""

    def __init__(self, interval_s: float, uniform: Uniform = random.uniform) -> None:
        self._interval_s = interval_s
        self._uniform = uniform
        self.failures = 0

    def succeed(self) -> float:
        """A document was taken. Seconds until the next one, where nothing changes before."""
        self.failures = 0
        return self._interval_s * self._uniform(1 - _SPREAD, 1.0)

    def fail(self) -> float:
        """One was not taken. Seconds until it is tried again."""
        self.failures += 1
        return find_pause(self.failures, self._uniform)
