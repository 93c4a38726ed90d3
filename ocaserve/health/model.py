"""The words of health: levels, problems, findings, and what a component is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol


class Level(IntEnum):
    """How bad it is; the greater wins. `label` is the word in reports."""

    OK = 0
    WARNING = 1
    ERROR = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Trouble(NamedTuple):
    """One thing that is wrong now. `subject` tells it from others of its component.

    A subject keeps its name while numbers in the reason change: "eth0", "/srv/oca/disk1".
    """

    level: Level
    subject: str
    reason: str


class Observation(NamedTuple):
    """What a component looks like now. `summary` is shown while there are no problems.

    What cannot be read on this machine is no problem; the summary says that it is unknown.
    """

    summary: str
    problems: tuple[Trouble, ...] = ()


class Timing(NamedTuple):
    """Seconds that a problem must last to count, and must be gone to be forgotten."""

    rise_s: float
    fall_s: float


class Component(Protocol):
    """What takes part in health.

    `observe` is called from a thread about once a second, with the time of the monotonic clock. It
    must not wait for anything that can stall: who probes disks or peers does so elsewhere, and
    tells here what came of it.
    """

    @property
    def name(self) -> str: ...
    @property
    def timing(self) -> Timing: ...
    def observe(self, now: float) -> Observation: ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said about one component. `since`: when its level began, seconds since the epoch.

    errors: the subjects that are an error.
    """

    component: str
    level: Level
    reason: str
    since: float
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """All findings of one moment, by the names of their components."""

    level: Level
    findings: tuple[Judgement, ...]

    @classmethod
    def of(cls, findings: Iterable[Judgement]) -> Health:
        kept = tuple(findings)
        return cls(worst_level(finding.level for finding in kept), kept)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not ok, the worst first."""
        wrong = [finding for finding in self.findings if finding.level]
        wrong.sort(key=lambda finding: -finding.level)
        return tuple(f"{finding.component}: {finding.reason}" for finding in wrong)


def worst_level(levels: Iterable[Level]) -> Level:
    """The worst wins; OK when there are none."""
    return max(levels, default=Level.OK)
