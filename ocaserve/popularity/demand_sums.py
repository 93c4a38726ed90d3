"""How often each object was sent, what is long ago counting less. Pure.

The unit is a millionth of a copy: bytes sent, divided by the object's size. So an object of which
all clients read the first minute alone is not taken for one that they watch to its end.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from operator import itemgetter

COPY = 1_000_000
_DAY_S = 86_400.0
_LEAST = 1.0  # less than a millionth of a copy is nothing


class DemandSums:
    """half_life_s: after which what was sent counts half. most: objects that are told apart.

    `copies`: by key, in millionths. `at`: seconds since the epoch, for which they hold.
    """

    def __init__(self, half_life_s: float, most: int = 100_000) -> None:
        self._half_life_s = half_life_s
        self._most = most
        self.at = 0.0
        self.copies: dict[str, float] = {}

    def add(self, sent: Mapping[str, float]) -> None:
        """So much more of each; the least wanted go when there are too many."""
        copies = self.copies
        for key, count in sent.items():
            copies[key] = copies.get(key, 0.0) + count
        if len(copies) > self._most + self._most // 4:
            self.copies = dict(heapq.nlargest(self._most, copies.items(), key=itemgetter(1)))

    def age(self, now: float) -> None:
        """It is `now`. A clock that was set back makes nothing younger."""
        passed, self.at = now - self.at, now
        if passed > 0:
            share = 0.5 ** (passed / self._half_life_s)
            self.copies = {
                key: left for key, count in self.copies.items() if (left := count * share) > _LEAST
            }

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most wanted first; of equal ones by key."""
        ranked = heapq.nsmallest(count, self.copies.items(), key=lambda row: (-row[1], row[0]))
        return list(ranked)


def per_day(copies: float, half_life_s: float) -> float:
    """How many copies a day were sent, if it was the same every day. copies: in millionths."""
    return copies / COPY * math.log(2) * _DAY_S / half_life_s
