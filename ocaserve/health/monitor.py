"""The loop: observe every component, judge, and keep what is to be said of the appliance.

A round runs in a thread, one at a time; the event loop only takes its result. What a defect in one
component raises is said as an error of that component: a health that has fallen silent is worse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time

from ocaserve.health.hysteresis import Judge, Raised
from ocaserve.health.model import Component, Health, Judgement, Level, Observation, Trouble
from ocaserve.host.host_reading import HostReading, Sample, derive

_log = logging.getLogger(__name__)


class HostWatch:
    """The latest reading of the machine. `look` is called once a round, before the components.

    What taking a sample raises is for those who `read`; `reading` is None then.
    """

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample
        self._before: Sample | None = None
        self._defect: Exception | None = None
        self.reading: HostReading | None = None

    def look(self) -> None:
        """Take a sample; from the second one on there is a reading."""
        try:
            after = self._sample()
            reading = None if self._before is None else derive(self._before, after)
        except Exception as defect:  # noqa: BLE001 - the stores and the workers are to be observed
            self._before = self.reading = None
            self._defect = defect
        else:
            self._before, self.reading, self._defect = after, reading, None

    def read(self) -> HostReading | None:
        """The reading, if there is one yet. Raises what the latest look has."""
        if self._defect is not None:
            raise self._defect
        return self.reading


class Monitor:
    """Observes components that are added before it runs. `health` is always there to be read.

    before: what its predecessor has shown, by component. remember: called in the event loop with
    what is shown whenever other problems or levels are.
    """

    def __init__(
        self,
        interval_s: float,
        look: Callable[[], None],
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
        before: Mapping[str, Raised] | None = None,
        remember: Callable[[Mapping[str, Raised]], None] = lambda _: None,
    ) -> None:
        self._interval_s = interval_s
        self._look = look
        self._clock = clock
        self._wall = wall
        self._before = before or {}
        self._remember = remember
        self._remembered = _outline(self._before)
        self._judged: list[tuple[Component, Judge]] = []
        self.health = Health(Level.OK, ())
        self.has_looked = False  # a round was done

    def add(self, component: Component) -> None:
        """Have it observed from the next round on. Raises ValueError for a name that is taken."""
        if any(known.name == component.name for known, _ in self._judged):
            raise ValueError(f"component {component.name!r}: the name must be another")
        before = self._before.get(component.name)
        self._judged.append((component, Judge(component.timing, self._clock(), before)))
        if before is not None:
            self.health = Health.of((*self.health.findings, self._recall(component, before)))

    def _recall(self, component: Component, before: Raised) -> Judgement:
        """What stands for a component until it is observed."""
        reason = "; ".join(reason for _, reason in before.subjects.values())
        since = self._wall() - (self._clock() - before.since)
        errors = tuple(name for name, (level, _) in before.subjects.items() if level is Level.ERROR)
        return Judgement(component.name, before.level, reason, since, errors)

    async def run(self) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "health") as thread:
            while True:
                await loop.run_in_executor(thread, self.look_around)
                self._tell_memory()
                await asyncio.sleep(self._interval_s)

    def _tell_memory(self) -> None:
        shown = {
            component.name: raised
            for component, judge in self._judged
            if (raised := judge.raised) is not None
        }
        outline = _outline(shown)
        if outline != self._remembered:
            self._remembered = outline
            self._remember(shown)

    def look_around(self) -> Health:
        """One round: returns and keeps what it has found."""
        self._look()
        now, wall = self._clock(), self._wall()
        health = Health.of(self._find(*judged, now, wall) for judged in tuple(self._judged))
        _tell_changes(self.health, health)
        self.health, self.has_looked = health, True
        return health

    def _find(self, component: Component, judge: Judge, now: float, wall: float) -> Judgement:
        verdict = judge.judge(_observe(component, now), now)
        since = wall - (now - verdict.since)
        return Judgement(component.name, verdict.level, verdict.reason, since, verdict.errors)


def _outline(shown: Mapping[str, Raised]) -> Mapping[str, object]:
    """What counts as a change: reasons with numbers in them are others each second."""
    return {
        name: {subject: level for subject, (level, _) in raised.subjects.items()}
        for name, raised in shown.items()
    }


def _observe(component: Component, now: float) -> Observation:
    try:
        return component.observe(now)
    except Exception as defect:  # noqa: BLE001 - one component's defect is not the others'
        _log.exception("health: %s cannot be observed", component.name)
        return Observation("", (Trouble(Level.ERROR, "defect", f"cannot be observed: {defect!r}"),))


def _tell_changes(before: Health, after: Health) -> None:
    """A line in the log for each component whose level has changed."""
    levels = {finding.component: finding.level for finding in before.findings}
    for finding in after.findings:
        if finding.level is not levels.get(finding.component, Level.OK):
            tell = _log.error if finding.level is Level.ERROR else _log.warning
            tell("health: %s is %s: %s", finding.component, finding.level.label, finding.reason)
