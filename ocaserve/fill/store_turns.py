"""Whose turn it is to ask beyond the site. Pure: clocks are parameters.

A wish says by the wall clock since when it is one. That clock may be set; so each process takes
from it how long there is still to wait, once, and goes on with a clock that nobody sets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ocaserve.fill.manifest import Entry
from ocaserve.fill.placement import rank


class StoreTurns:
    """me, peers: ids of the appliances of the site. masters: how many need not wait."""

    def __init__(self, me: str, peers: Sequence[str], masters: int, escalation_s: float) -> None:
        self._me = me
        self._site = dict.fromkeys([me, *peers], 1.0)
        self._masters = masters
        self._escalation_s = escalation_s
        self._at: dict[str, float] = {}

    def left(self, entry: Entry, since: float, wall: float, clock: float) -> float:
        """Seconds until it may be asked for anywhere; 0 if it may be.

        since, wall: seconds since the epoch. clock: seconds of one that only goes on.
        """
        if len(self._site) == 1 or self._me in rank(entry.id, self._site, self._masters):
            return 0.0
        at = self._at.get(entry.id)
        if at is None:
            left = min(max(since + self._escalation_s - wall, 0.0), self._escalation_s)
            at = self._at[entry.id] = clock + left
        return max(0.0, at - clock)

    def keep(self, wanted: Collection[str]) -> None:
        """Forget those that are not wanted any more, by id."""
        for name in [name for name in self._at if name not in wanted]:
            del self._at[name]
