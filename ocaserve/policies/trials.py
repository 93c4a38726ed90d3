"""Whether the clients of a canary fare worse than the rest: a test that may be looked at any time.

Of all failures, the share that falls to the canary is that of its sessions, if it changes nothing.
The evidence is a mixture of likelihood ratios of that against rates that are higher by several
factors (a mixture sequential probability ratio test, after Robbins 1970). Without a difference its
mean never grows beyond 1, so by Ville's inequality it ever reaches 1/ALPHA with a probability of
ALPHA at most, however often it is looked at.
"""

from __future__ import annotations

import math
from typing import NamedTuple

ALPHA = 0.004  # of a measure; two are judged, so fewer than 1 in 100 canaries fail by chance
MARGIN = 1.02  # networks differ, so a part of them has a rate of its own
_FACTORS = (1.1, 1.2, 1.35, 1.6, 2.0, 3.0, 6.0)


class SessionOutcomes(NamedTuple):
    """Sessions that have ended, and how many of these failed."""

    sessions: int = 0
    failures: int = 0


class CanaryTrial:
    """One measure of one canary. evidence: against "no worse than the rest", 1 at first."""

    def __init__(self) -> None:
        self._logs = [0.0] * len(_FACTORS)
        self.canary, self.rest = SessionOutcomes(), SessionOutcomes()

    def add(self, canary: SessionOutcomes, rest: SessionOutcomes) -> None:
        """What came since the last time, of both parts."""
        self.canary = SessionOutcomes(*map(sum, zip(self.canary, canary, strict=True)))
        self.rest = SessionOutcomes(*map(sum, zip(self.rest, rest, strict=True)))
        if not canary.sessions or not rest.sessions:
            return
        odds = canary.sessions / rest.sessions
        expected = odds * MARGIN / (1 + odds * MARGIN)
        for place, factor in enumerate(_FACTORS):
            worse = odds * MARGIN * factor / (1 + odds * MARGIN * factor)
            self._logs[place] += canary.failures * math.log(worse / expected)
            self._logs[place] += rest.failures * math.log((1 - worse) / (1 - expected))

    @property
    def evidence(self) -> float:
        highest = max(self._logs)
        if highest > 600:  # beyond what a float holds, and any doubt
            return math.inf
        return sum(map(math.exp, self._logs)) / len(self._logs)

    @property
    def is_worse(self) -> bool:
        return self.evidence >= 1 / ALPHA

    @property
    def ratio(self) -> float | None:
        """How many times as often the canary's sessions failed; None where too few have."""
        if not (self.canary.sessions and self.rest.sessions and self.rest.failures):
            return None
        rate = self.rest.failures / self.rest.sessions
        return self.canary.failures / self.canary.sessions / rate
