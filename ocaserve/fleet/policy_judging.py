"""Whether a canary's clients fare worse than the rest: two measures, each by a test of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ocaserve.policies.in_force import ArmCounts
from ocaserve.policies.trials import CanaryTrial, SessionOutcomes


class CanaryJudge:
    """Of one canary at a time. own: counts of this instance, the canary's before the rest's."""

    def __init__(self) -> None:
        self.release = 0
        self._begin(0)

    def _begin(self, release: int) -> None:
        self.release = release
        self.canary, self.rest = ArmCounts(), ArmCounts()  # of this instance
        self.failovers, self.unserved = CanaryTrial(), CanaryTrial()
        self._weighed = [0] * 8

    def follow(self, release: int) -> None:
        """Another canary, or none: 0."""
        if release != self.release:
            self._begin(release)

    def hear(self, release: int, canary: ArmCounts, rest: ArmCounts) -> None:
        """What came since the last time, at one process."""
        if release == self.release:
            self.canary, self.rest = self.canary.plus(canary), self.rest.plus(rest)

    @property
    def own(self) -> list[int]:
        return [*_numbers(self.canary), *_numbers(self.rest)]

    def weigh(self, totals: Sequence[int]) -> None:
        """Of all instances, since the canary began."""
        new = [max(now - before, 0) for now, before in zip(totals, self._weighed, strict=True)]
        self._weighed = list(totals)
        decisions, unserved, sessions, failed = zip(new[:4], new[4:], strict=True)
        for trial, everything, bad in (
            (self.unserved, decisions, unserved),
            (self.failovers, sessions, failed),
        ):
            canary, rest = map(SessionOutcomes, everything, bad)
            trial.add(canary, rest)

    @property
    def sessions(self) -> int:
        """Of the canary, that were told of."""
        return self.failovers.canary.sessions

    def why_worse(self) -> str:
        """Empty where it is not."""
        for trial, what in (
            (self.failovers, "sessions leave a server"),
            (self.unserved, "clients have nobody"),
        ):
            if trial.is_worse:
                return f"{what} {_tell(trial)}"
        return ""

    def verdict(self) -> str:
        """In words, of one that is not worse."""
        return f"no worse than the rest: sessions leave a server {_tell(self.failovers)}"


def _numbers(counts: ArmCounts) -> list[int]:
    return [counts.decisions, counts.unserved, counts.sessions, counts.failed]


def _tell(trial: CanaryTrial) -> str:
    canary, rest = trial.canary, trial.rest
    ratio = "" if trial.ratio is None else f"{trial.ratio:.2f} times as often as others: "
    return (
        f"{ratio}{canary.failures:,} of {canary.sessions:,} of the canary, "
        f"{rest.failures:,} of {rest.sessions:,} of the rest"
    )
