"""Whether somebody who takes or sends bytes is fast enough to keep a place. Nothing here acts.

It must move some byte within every `stall_s`, and over each window of `stall_s` or longer at
`min_bytes_per_s` on average. Times are seconds of the monotonic clock; totals only grow.
"""

from __future__ import annotations

from enum import Enum

from ocaserve.settings import Limits

_LOOKS_PER_STALL = 4  # so that a stall is noticed at most a quarter of stall_s late


class Verdict(Enum):
    FAST_ENOUGH = "fast enough"
    STALLED = "stalled"
    SLOW = "slow"


class Pace:
    """What was moved so far, and when the present window began."""

    __slots__ = ("_limits", "_mark", "_mark_at", "_moved_at", "_total")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.begin(now)

    def begin(self, now: float) -> None:
        """Something new is moved. Totals begin anew, with whatever the first of them is."""
        self._total: int | None = None
        self._mark = 0
        self._mark_at = self._moved_at = now

    def resume(self, now: float) -> None:
        """Another window begins: until now it was not the other's to move anything."""
        self._mark = self._total or 0
        self._mark_at = self._moved_at = now

    def judge(self, total: int, now: float) -> Verdict:
        """`total` bytes were moved by now. To be asked at `next_look`."""
        limits = self._limits
        if self._total is None:
            self._total = self._mark = total
            self._mark_at = now
        elif total > self._total:
            self._total, self._moved_at = total, now
        if now - self._moved_at >= limits.stall_s:
            return Verdict.STALLED
        elapsed = now - self._mark_at
        if elapsed >= limits.stall_s:
            if self._total - self._mark < limits.min_bytes_per_s * elapsed:
                return Verdict.SLOW
            self._mark, self._mark_at = self._total, now
        return Verdict.FAST_ENOUGH

    def next_look(self, now: float) -> float:
        """When to judge again."""
        return now + self._limits.stall_s / _LOOKS_PER_STALL
