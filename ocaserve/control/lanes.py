"""What may be answered at the same time: a lane for each kind of call, so that none fills another.

An event stream or a wait for news holds its place for as long as its reader likes. What looks after
the appliance (health, metrics, drain) has a lane of its own, which those cannot fill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from ocaserve.control.problems import Problem
from ocaserve.settings import Control


class Lane(Enum):
    """`label` is the word of the metric."""

    VITAL = "vital"
    """Health, metrics, status, and all that operates the appliance."""
    READING = "reading"
    STREAMING = "streaming"
    FETCHING = "fetching"
    """What waits for another server to give it something: one that hangs fills it."""
    STEERING = "steering"
    """Where a client is told to go, from memory. Nothing in it waits, so nothing fills it."""

    @property
    def label(self) -> str:
        return self.value


class Lanes:
    """Counts what is being answered. running: now; refused: since the start."""

    def __init__(self, control: Control) -> None:
        self._most = {
            **dict.fromkeys(Lane, (control.requests_in_flight, "control.requests_in_flight")),
            Lane.STREAMING: (control.streams, "control.streams"),
        }
        self.running: Counter[Lane] = Counter()
        self.refused: Counter[Lane] = Counter()

    @contextmanager
    def enter(self, lane: Lane) -> Iterator[None]:
        """Hold a place while the block lasts. Raises Problem where there is none."""
        most, setting = self._most[lane]
        if self.running[lane] >= most:
            self.refused[lane] += 1
            raise Problem(
                503,
                f"{setting} = {most} are being answered in the lane {lane.label!r}",
                headers={"Retry-After": "1"},
            )
        self.running[lane] += 1
        try:
            yield
        finally:
            self.running[lane] -= 1
            assert self.running[lane] >= 0, "a place is given back once"
