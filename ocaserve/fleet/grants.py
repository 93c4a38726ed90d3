"""What was given to an appliance and cannot be seen in its reports yet.

A report says what an appliance can still take. Clients that were sent there since then are on their
way: what they are expected to take counts as taken until a report that has had time to see them. So
a crowd is spread before the next report, not after it.
"""

from __future__ import annotations

from collections import deque

SETTLE_S = 5.0
"""From a client's being sent somewhere until the appliance's report can be taken to include it."""


class Grants:
    """Of one appliance. Times are of one clock, in seconds."""

    def __init__(self) -> None:
        self._by_second: deque[tuple[int, float]] = deque()
        self.bits_per_s = 0.0

    def give(self, bits_per_s: float, now: float) -> None:
        """A client was sent there that is expected to take so much."""
        second = int(now)
        if self._by_second and self._by_second[-1][0] == second:
            bits = self._by_second.pop()[1]
            self._by_second.append((second, bits + bits_per_s))
        else:
            self._by_second.append((second, bits_per_s))
        self.bits_per_s += bits_per_s

    def settle(self, now: float) -> None:
        """A report has come: it has seen what was given some seconds ago."""
        while self._by_second and self._by_second[0][0] + 1 + SETTLE_S <= now:
            self.bits_per_s -= self._by_second.popleft()[1]
        if not self._by_second:
            self.bits_per_s = 0.0  # and no rest of sums that are not exact
