"""Rates, from counters that are read once a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

_WINDOW_S = 5.0  # long enough to smooth whole segments, short enough to show a drain at once
_BYTES = ("bytes_sendfile_hot", "bytes_sendfile_cold", "bytes_ktls", "bytes_copied")


class Sample(NamedTuple):
    """`at`: of the monotonic clock, in seconds. `body_bytes`: sent since the start."""

    at: float
    body_bytes: int
    requests: int


class Traffic:
    """What is going on right now; below `quiet_bits_per_s` it is quiet."""

    def __init__(self, quiet_bits_per_s: float = 0.0) -> None:
        self._quiet_bits_per_s = quiet_bits_per_s
        self._quiet_since: float | None = None
        self._samples: deque[Sample] = deque()
        self.connections = 0
        self.totals: Mapping[str, int] = {}

    def sample(self, totals: Mapping[str, int], now: float) -> None:
        """Take the counters' sums over all workers."""
        self.totals = totals
        self.connections = totals.get("connections", 0)
        body_bytes = sum(totals.get(name, 0) for name in _BYTES)
        sample = Sample(now, body_bytes, totals.get("requests", 0))
        if self._samples:
            self._judge(self._samples[-1], sample)
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at <= now - _WINDOW_S:
            self._samples.popleft()

    def _judge(self, before: Sample, after: Sample) -> None:
        bits_per_s = 8 * (after.body_bytes - before.body_bytes) / (after.at - before.at)
        if bits_per_s > self._quiet_bits_per_s:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = before.at

    def quiet_s(self, now: float) -> float:
        """For how long it has been quiet, in seconds."""
        return 0.0 if self._quiet_since is None else now - self._quiet_since

    @property
    def bits_per_s(self) -> float:
        """Of bodies, all ways of sending together."""
        return 8 * self._per_s("body_bytes")

    @property
    def requests_per_s(self) -> float:
        return self._per_s("requests")

    def _per_s(self, name: str) -> float:
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return float((getattr(last, name) - getattr(first, name)) / (last.at - first.at))
