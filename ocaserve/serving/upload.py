"""The body of an upload to the speed test: counted, thrown away, and bounded in time."""

from __future__ import annotations

from ocaserve.settings import Limits


class Upload:
    """What is still to come. Times are seconds of the monotonic clock.

    The client must send some byte within every `stall_s`, all of them at `min_bytes_per_s` on
    average, and within `response_s`: it measures its own speed, but holds a place meanwhile.
    """

    __slots__ = ("_latest", "_stall_s", "left")

    def __init__(self, length: int, limits: Limits, now: float) -> None:
        self.left = length
        self._stall_s = limits.stall_s
        allowed_s = limits.response_s
        if limits.min_bytes_per_s:
            allowed_s = min(allowed_s, limits.stall_s + length / limits.min_bytes_per_s)
        self._latest = now + allowed_s

    def take(self, data: bytes) -> bytes:
        """Throw away what belongs to the body; returns what is behind it."""
        rest = data[self.left :]
        self.left -= len(data) - len(rest)
        return rest

    def deadline(self, now: float) -> float:
        """When the next byte must be here."""
        return min(now + self._stall_s, self._latest)
