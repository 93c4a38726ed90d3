"""Deadlines of many connections with one timer.

A connection's deadline moves with every request; a timer of the event loop for each would cost more
than the request. So a connection only stores the time (`deadline`), and stands in the bucket of the
quarter of a second in which it was last due. When that has passed the wheel looks: due means
`expire()`, moved means another bucket. A deadline that moves to before `watched` is announced by
`watch`.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from ocaserve.serving.containment import Containing

SLOTS_PER_S = 4


class Timed(Containing, Protocol):
    """What the wheel asks of a connection: times in seconds of the monotonic clock."""

    deadline: float
    watched: float  # when its bucket is looked at; infinite: it is in none

    def expire(self, now: float) -> None:
        """The deadline has passed."""


class DeadlineWheel:
    """Buckets of a quarter of a second each; the caller says what time it is."""

    def __init__(self) -> None:
        self._buckets: dict[float, set[Timed]] = {}

    def watch(self, item: Timed) -> None:
        """See to it that `item.deadline` is looked at within a quarter of a second of passing."""
        slot = (int(item.deadline * SLOTS_PER_S) + 1) / SLOTS_PER_S
        if item.watched <= slot:
            return
        self.forget(item)
        item.watched = slot
        self._buckets.setdefault(slot, set()).add(item)

    def sweep(self, now: float) -> None:
        """Expire what is due. Call it SLOTS_PER_S times a second."""
        for slot in [slot for slot in self._buckets if slot <= now]:
            for item in self._buckets.pop(slot):
                item.watched = inf
                if item.deadline > now:
                    self.watch(item)
                    continue
                try:
                    item.expire(now)
                except Exception as defect:  # noqa: BLE001 - the border between clients
                    item.contain(defect)

    def forget(self, item: Timed) -> None:
        """Let go of a closed connection at once, so that its memory does not wait for its time."""
        bucket = self._buckets.get(item.watched)
        item.watched = inf
        if bucket is not None:
            bucket.discard(item)
