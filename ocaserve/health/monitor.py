"""The loop: observe every component, judge, and keep what is to be said of the appliance.

A round runs in a thread, one at a time; the event loop only takes its result. What a defect in one
component raises is said as an error of that component: a health that has fallen silent is worse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time

from ocaserve.health.hysteresis import Judge
from ocaserve.health.model import Component, Finding, Health, Level, Observation, Problem
from ocaserve.host.reading import HostReading, Sample, derive

_log = logging.getLogger(__name__)


class HostWatch:
    """The latest reading of the machine. `look` is called once a round, before the components."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample
        self._before: Sample | None = None
        self.reading: HostReading | None = None

    def look(self) -> None:
        """Take a sample; from the second one on there is a reading."""
        after = self._sample()
        if self._before is not None:
            self.reading = derive(self._before, after)
        self._before = after


class Monitor:
    """Observes components that are added before it runs. `health` is always there to be read."""

    def __init__(
        self,
        interval_s: float,
        look: Callable[[], None],
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self._interval_s = interval_s
        self._look = look
        self._clock = clock
        self._wall = wall
        self._judged: list[tuple[Component, Judge]] = []
        self.health = Health(Level.OK, ())

    def add(self, component: Component) -> None:
        """Have it observed from the next round on. Raises ValueError for a name that is taken."""
        if any(known.name == component.name for known, _ in self._judged):
            raise ValueError(f"component {component.name!r}: the name must be another")
        self._judged.append((component, Judge(component.timing, self._clock())))

    async def run(self) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "health") as thread:
            while True:
                await loop.run_in_executor(thread, self.look_around)
                await asyncio.sleep(self._interval_s)

    def look_around(self) -> Health:
        """One round: returns and keeps what it has found."""
        self._look()
        now, wall = self._clock(), self._wall()
        health = Health.of(self._find(*judged, now, wall) for judged in tuple(self._judged))
        _tell_changes(self.health, health)
        self.health = health
        return health

    def _find(self, component: Component, judge: Judge, now: float, wall: float) -> Finding:
        verdict = judge.judge(_observe(component, now), now)
        return Finding(component.name, verdict.level, verdict.reason, wall - (now - verdict.since))


def _observe(component: Component, now: float) -> Observation:
    try:
        return component.observe(now)
    except Exception as defect:  # noqa: BLE001 - one component's defect is not the others'
        _log.exception("health: %s cannot be observed", component.name)
        return Observation("", (Problem(Level.ERROR, "defect", f"cannot be observed: {defect!r}"),))


def _tell_changes(before: Health, after: Health) -> None:
    """A line in the log for each component whose level has changed."""
    levels = {finding.component: finding.level for finding in before.findings}
    for finding in after.findings:
        if finding.level is not levels.get(finding.component, Level.OK):
            tell = _log.error if finding.level is Level.ERROR else _log.warning
            tell("health: %s is %s: %s", finding.component, finding.level.label, finding.reason)
