"""What was turned away: clients that would have been an appliance's, had it been able.

Each client counts once, at the appliance that it would have gone to first, by what kept it from
there. So the figures say what a fault costs, and what more capacity at a place would carry.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from ocaserve.fleet.decisions import Group, draw
from ocaserve.fleet.liveness import FULL

MINUTES_KEPT = 60


class ShedCause(Enum):
    """What kept a client from its appliance; the value is the word of the metric."""

    HEALTH = "health"
    """It is silent, drained, unhealthy, or has no address."""
    CONTENT = "content"
    """It does not have the object."""
    CAPACITY = "capacity"
    """What it can take was given to others."""


class TurnedAway(NamedTuple):
    """From which appliance, and why."""

    appliance: str
    cause: ShedCause


def find_turned_away(
    groups: Sequence[Group], seed: bytes, holds: Callable[[str], bool] | None = None
) -> TurnedAway | None:
    """Whom the client would have gone to first; None where that is who takes it, or nobody."""
    if not groups:
        return None
    server = draw(groups[0], seed).server
    if server.fault:
        is_full = server.fault == FULL
        return TurnedAway(server.id, ShedCause.CAPACITY if is_full else ShedCause.HEALTH)
    if holds is not None and not holds(server.id):
        return TurnedAway(server.id, ShedCause.CONTENT)
    return None


class ShedFigures:
    """Sums by appliance and cause: of the last hour by minute, and since the start.

    decisions: how many since the start, a question of many objects by its share.
    """

    def __init__(self) -> None:
        self.decisions: defaultdict[TurnedAway, float] = defaultdict(float)
        self._minutes: deque[tuple[int, defaultdict[TurnedAway, float]]]
        self._minutes = deque(maxlen=MINUTES_KEPT)

    def add(self, turned: TurnedAway, share: float, bits_per_s: float, minute: int) -> None:
        """A client, or its share. bits_per_s: what it is expected to take. minute: one of
        before counts as the latest.
        """
        if not self._minutes or self._minutes[-1][0] < minute:
            self._minutes.append((minute, defaultdict(float)))
        self._minutes[-1][1][turned] += bits_per_s
        self.decisions[turned] += share

    def forget(self, appliance: str) -> None:
        """It is no longer one of the network."""
        for cause in ShedCause:
            self.decisions.pop(TurnedAway(appliance, cause), None)

    def minutes(self, since: int) -> Iterator[tuple[int, Mapping[TurnedAway, float]]]:
        """By minute since the epoch, from this one on, those in which something was turned away:
        bits per second that the clients of that minute were expected to take.
        """
        return ((minute, dict(sums)) for minute, sums in self._minutes if minute >= since)
