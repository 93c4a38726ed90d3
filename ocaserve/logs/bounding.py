"""How many lines one cause may make.

What comes from outside must not fill the log: a thousand clients with a broken handshake say no
more than twenty do. Each place in the source that logs has a budget of its own, so that a flood
from one hides nothing of another; what is beyond it is counted, and told with an example. From then
on the place says nothing else until that is told, so a flood makes ten lines a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import NamedTuple

BURST = 20  # lines of one place, at once: some for each of a machine's disks
REFILL_S = 6.0  # until it has another
BURST_OF_PROGRAM = {"burst": 200}  # `extra` of a record: what one place passes on of another log
_MOST_PLACES = 1_000  # more than the source has


class Place:
    """A line of the source that logs: its budget, and what it did not get to say."""

    __slots__ = ("_burst", "budget", "example", "left_out", "since")

    def __init__(self, now: float, burst: float) -> None:
        self._burst = self.budget = burst
        self.since = now
        self.left_out = 0
        self.example = ""

    def takes(self, now: float) -> bool:
        """Whether there is a line left for it; if so, it is spent."""
        self.budget = min(self._burst, self.budget + (now - self.since) / REFILL_S)
        self.since = now
        if self.budget < 1:
            return False
        self.budget -= 1
        return True


class LeftOut(NamedTuple):
    """How many records of one place were not shown; the message of the first of them."""

    records: int
    example: str

    def __str__(self) -> str:
        return f"{self.records} more like this were left out: {self.example}"


class Bound:
    """Decides which records are shown. clock: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._places: dict[tuple[str, int], Place] = {}

    def admits(self, record: logging.LogRecord) -> bool:
        """Whether there is room for it; else it is counted."""
        now = self._clock()
        site = (record.pathname, record.lineno)
        place = self._places.get(site)
        if place is None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            place = self._places[site] = Place(now, getattr(record, "burst", BURST))
        if not place.left_out and place.takes(now):
            return True
        if not place.left_out:
            place.example = record.getMessage()
        place.left_out += 1
        return False

    def take_left_out(self) -> Iterator[LeftOut]:
        """What is to be told now of lines that were left out; once for each, within its budget."""
        now = self._clock()
        for place in self._places.values():
            if place.left_out and place.takes(now):
                yield LeftOut(place.left_out, place.example)
                place.left_out, place.example = 0, ""

    def forget(self) -> None:
        """In a forked child: what was left out is the parent's to say."""
        self._places.clear()
