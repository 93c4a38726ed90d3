"""The serving processes: are they there, do they stay, do their loops keep up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ocaserve.health.consequences import DYING, NONE_SERVE
from ocaserve.health.judging import Thresholds, problems_of
from ocaserve.health.model import Level, Observation, Timing, Trouble
from ocaserve.health.words import duration
from ocaserve.settings.health import HealthSettings

_REPLACED_WITHIN_S = 2.0  # a worker that has died, with room for a machine that has much to do


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What the supervisor and the workers' gauges tell.

    deaths: a number that changes with each death: it grows, or begins anew lower. lags: seconds by
    which each worker's event loop was late, by its name. is_starting: not all have served yet.
    """

    wanted: int
    serving: int
    deaths: int
    lags: Mapping[str, float] = field(default_factory=dict)
    is_starting: bool = False


class WorkersComponent:
    """Deaths count at once and for a while, so that a worker that lives between two looks counts.

    A place that is empty for a moment, because its worker has died or is replaced, is no problem; a
    place that stays empty is, and that none serves is an error. Clients that are turned away for
    the moment in which workers are replaced would stay away for as long as an error is shown.
    """

    name = "workers"

    def __init__(
        self, timing: Timing, settings: HealthSettings, facts: Callable[[], WorkerFacts | None]
    ) -> None:
        self.timing = timing
        self._settings = settings
        self._facts = facts
        self._known_deaths: int | None = None
        self._died: deque[float] = deque()  # when, of the last worker_deaths_s
        self._missing_since: dict[Level, float] = {}

    def observe(self, now: float) -> Observation:
        facts = self._facts()
        if facts is None:
            return Observation("unknown yet")
        recent = self._count_deaths(facts.deaths, now)
        if facts.is_starting:
            return Observation(f"{facts.serving} of {facts.wanted} serve, the others start")
        problems = [*self._missing(facts, now), *self._dying(recent), *self._lagging(facts.lags)]
        return Observation(f"{facts.serving} serve", tuple(problems))

    def _count_deaths(self, told: int, now: float) -> int:
        """How many there were lately."""
        before = told if self._known_deaths is None else self._known_deaths
        self._known_deaths = told
        self._died.extend([now] * (told - before if told >= before else 1))
        while self._died and self._died[0] <= now - self._settings.worker_deaths_s:
            self._died.popleft()
        return len(self._died)

    def _missing(self, facts: WorkerFacts, now: float) -> list[Trouble]:
        is_missing = {
            Level.WARNING: facts.serving < facts.wanted,
            Level.ERROR: facts.wanted > 0 and not facts.serving,
        }
        self._missing_since = {
            level: self._missing_since.get(level, now)
            for level, is_so in is_missing.items()
            if is_so
        }
        lasting = [
            level
            for level, since in self._missing_since.items()
            if now - since >= _REPLACED_WITHIN_S
        ]
        if not lasting:
            return []
        return [Trouble(max(lasting), NONE_SERVE, f"{facts.serving} of {facts.wanted} serve")]

    def _dying(self, recent: int) -> list[Trouble]:
        settings = self._settings
        thresholds = Thresholds(settings.worker_deaths_warning, settings.worker_deaths_error)
        span = duration(settings.worker_deaths_s)
        reason = f"{recent} died in the last {span}"
        return list(problems_of((thresholds.of_high(recent), DYING, reason)))

    def _lagging(self, lags: Mapping[str, float]) -> list[Trouble]:
        settings = self._settings
        thresholds = Thresholds(settings.loop_lag_warning_s, settings.loop_lag_error_s)
        return list(
            problems_of(
                *(
                    (thresholds.of_high(lag), name, f"{name} is {duration(lag)} late")
                    for name, lag in sorted(lags.items())
                )
            )
        )
