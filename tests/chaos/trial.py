"""The course of a trial: each fault by itself, then pairs, until the time is over."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cgroups import why_not
from tests.chaos.appliance import OBJECTS, Appliance, Size, running
from tests.chaos.clients import Crowd, Failure
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.judging import BACK_S, Episode, find_unexplained

HELD_S = (1.0, 4.0)
_QUIET_S = 3.0
# Of a process, over what it had: caches fill, and an allocator keeps some of what it had.
_MORE_DESCRIPTORS = 32
_MORE_MEMORY = 48 << 20
_SHOWN_LINES = 30
_MOST_LINES = 200  # of the journal, for each episode


@dataclass
class Outcome:
    """What a trial has shown. `findings` is empty when all is as it must be."""

    seed: int
    answered: int = 0
    episodes: list[Episode] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[Size, Size]] = field(default_factory=dict)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)  # by episode, kind


@contextmanager
def _held(fault: Fault, appliance: Appliance, chance: random.Random) -> Iterator[None]:
    yield from fault.hold(appliance, chance)


def plan(faults: Sequence[Fault], chance: random.Random) -> Iterator[tuple[Fault, ...]]:
    """Each by itself, in any order; then pairs that do not lay hands on the same, without end,
    where there are any."""
    yield from ((each,) for each in chance.sample(faults, len(faults)))
    pairs = [
        (first, second)
        for first, second in itertools.combinations(faults, 2)
        if not first.claims or first.claims != second.claims
    ]
    while pairs:
        yield chance.choice(pairs)


def usable_faults() -> list[Fault]:
    """Those that this user can bring about."""
    is_root = os.geteuid() == 0
    return [
        each
        for each in FAULTS
        if (is_root or not each.needs_root) and not (each.cgroup and why_not(each.cgroup))
    ]


class Trial:
    """One appliance, its clients, and the faults that come over it."""

    def __init__(
        self, appliance: Appliance, crowd: Crowd, seed: int, tell: Callable[[str], None],
        held_s: tuple[float, float],
    ) -> None:  # fmt: skip
        self._appliance, self._crowd, self._tell = appliance, crowd, tell
        self._held_s = held_s
        self._chance = random.Random(f"{seed} faults")
        self._outcome = Outcome(seed)
        self._lines = 0

    def run(self, faults: Sequence[Fault], seconds: float) -> Outcome:
        """At least each fault once; then pairs until so many seconds are over."""
        with self._crowd.asking():
            self._await_back(time.monotonic())
            before = self._settle()
            deadline = time.monotonic() + seconds
            for place, chosen in enumerate(plan(faults, self._chance)):
                if place >= len(faults) and time.monotonic() > deadline:
                    break
                self._pass(chosen)
            after = self._settle()
        self._judge(before, after)
        return self._outcome

    def _settle(self) -> dict[str, Size]:
        time.sleep(_QUIET_S)
        return self._appliance.sizes()

    def _pass(self, faults: tuple[Fault, ...]) -> None:
        excuses = tuple(each.excuse for each in faults)
        episode = Episode(tuple(each.name for each in faults), excuses, time.monotonic())
        self._outcome.episodes.append(episode)
        with ExitStack() as stack:
            for each in faults:
                stack.enter_context(_held(each, self._appliance, self._chance))
            time.sleep(self._chance.uniform(*self._held_s))
        episode.lifted = time.monotonic()
        episode.back_s = self._await_back(episode.lifted)
        name = " + ".join(episode.names)
        failures = len(self._crowd.failures)
        self._tell(
            f"{name}: back after {episode.back_s:.1f} s; "
            f"{self._crowd.answered:,} answered, {failures:,} failed so far"
        )
        self._look_at_journal(name, any(each.traceback for each in excuses))

    def _await_back(self, since: float) -> float:
        """Seconds until all is well; at most BACK_S and one look, which is a finding then."""
        while missing := self._appliance.find_missing():
            if time.monotonic() > since + BACK_S:
                names = " + ".join(self._outcome.episodes[-1].names) or "the start"
                self._outcome.findings.append(f"{names}: not back in {BACK_S:g} s: {missing}")
                for line in self._appliance.journal.lines()[-_SHOWN_LINES:]:
                    self._tell(f"  journal: {line}")
                break
            time.sleep(0.1)
        return time.monotonic() - since

    def _look_at_journal(self, name: str, may_trace: bool) -> None:
        lines = self._appliance.journal.lines()
        new, self._lines = [line for line in lines[self._lines :] if line], len(lines)
        if len(new) > _MOST_LINES:
            self._outcome.findings.append(f"{name}: {len(new)} lines in the journal")
        if not may_trace and any("Traceback" in line for line in new):
            self._outcome.findings.append(f"{name}: a traceback in the journal: {new[-1]}")

    def _judge(self, before: dict[str, Size], after: dict[str, Size]) -> None:
        outcome = self._outcome
        outcome.answered = self._crowd.answered
        left = find_unexplained(self._crowd.failures, outcome.episodes)
        outcome.findings += _describe(left, outcome.episodes)
        for episode in outcome.episodes:
            for failure in episode.explained:
                outcome.failed[" + ".join(episode.names), failure.kind] += 1
        for sort, first in before.items():
            last = after.get(sort)
            if last is None:
                outcome.findings.append(f"there is no {sort} in the end")
                continue
            outcome.sizes[sort] = first, last
            if last.descriptors > first.descriptors + _MORE_DESCRIPTORS:
                outcome.findings.append(
                    f"{sort}: {first.descriptors} descriptors before, {last.descriptors} after"
                )
            if last.memory > first.memory + _MORE_MEMORY:
                outcome.findings.append(
                    f"{sort}: {first.memory >> 20} MiB before, {last.memory >> 20} MiB after"
                )


def _describe(failures: Sequence[Failure], episodes: Sequence[Episode]) -> Iterator[str]:
    """A line for each kind of failure of each episode, with one of them."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        during = [each for each in episodes if each.begun <= failure.ended]
        name = " + ".join(during[-1].names) if during else "the start"
        groups.setdefault((name, failure.kind), []).append(failure)
    for (name, kind), group in groups.items():
        yield f"{name}: {len(group)} not explained: {kind}: {group[0].key}: {group[0].detail}"


def hold_trial(
    folder: Path,
    *,
    seconds: float,
    clients: int,
    seed: int,
    names: Sequence[str] = (),
    tell: Callable[[str], None] = print,
    held_s: tuple[float, float] = HELD_S,
) -> Outcome:
    """A whole trial below an empty folder.

    names: the faults, else all. held_s: the least and the most that a fault is on.
    """
    faults = [each for each in usable_faults() if not names or each.name in names]
    with running(folder) as appliance:
        crowd = Crowd(appliance.plain, appliance.tls, OBJECTS, clients, seed)
        return Trial(appliance, crowd, seed, tell, held_s).run(faults, seconds)
