"""Rates, from counters that are read once a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

_WINDOW_S = 5.0  # long enough to smooth whole segments, short enough to show a drain at once
PATHS = ("sendfile_hot", "sendfile_cold", "ktls", "copied")
"""The ways that bytes of bodies take, as their counters name them."""


class TrafficSample(NamedTuple):
    """`at`: of the monotonic clock, in seconds. `totals`: each counter's sum over all workers."""

    at: float
    totals: Mapping[str, int]

    @property
    def body_bytes(self) -> int:
        """Sent since the start, all ways together."""
        return sum(self.totals.get(f"bytes_{path}", 0) for path in PATHS)


class Traffic:
    """What is going on right now; below `quiet_bits_per_s` it is quiet."""

    def __init__(self, quiet_bits_per_s: float = 0.0) -> None:
        self._quiet_bits_per_s = quiet_bits_per_s
        self._quiet_since: float | None = None
        self._samples: deque[TrafficSample] = deque()

    def sample(self, totals: Mapping[str, int], now: float) -> None:
        """Take the counters' sums over all workers."""
        sample = TrafficSample(now, totals)
        if self._samples:
            self._judge(self._samples[-1], sample)
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at <= now - _WINDOW_S:
            self._samples.popleft()

    def _judge(self, before: TrafficSample, after: TrafficSample) -> None:
        bits_per_s = 8 * (after.body_bytes - before.body_bytes) / (after.at - before.at)
        if bits_per_s > self._quiet_bits_per_s:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = before.at

    def quiet_s(self, now: float) -> float:
        """For how long it has been quiet, in seconds."""
        return 0.0 if self._quiet_since is None else now - self._quiet_since

    @property
    def totals(self) -> Mapping[str, int]:
        """As of the latest sample."""
        return self._samples[-1].totals if self._samples else {}

    @property
    def connections(self) -> int:
        """Open now."""
        return self.totals.get("connections", 0)

    @property
    def bits_per_s(self) -> float:
        """Of bodies, all ways of sending together."""
        return 8 * sum(self.per_s(f"bytes_{path}") for path in PATHS)

    @property
    def shares(self) -> Mapping[str, float]:
        """Of the bytes sent lately, by the way they took; nothing while none are sent."""
        rates = {path: self.per_s(f"bytes_{path}") for path in PATHS}
        total = sum(rates.values())
        return {path: rate / total for path, rate in rates.items()} if total else {}

    def per_s(self, name: str) -> float:
        """How quickly a counter grows."""
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        grown = last.totals.get(name, 0) - first.totals.get(name, 0)
        return grown / (last.at - first.at)
