"""The body of a request: counted, kept or thrown away, and bounded in time and in bytes."""

from __future__ import annotations

from ocaserve.protocol.messages import RequestRefused
from ocaserve.serving.pace import Pace, Verdict
from ocaserve.settings import Limits

MOST_KEPT_BYTES = 64 << 20
"""Of all bodies of a worker that are kept at a time: sixty-four of the longest, or thousands of the
usual few KiB. Without a bound every client could hold a MiB of memory by sending it slowly."""


class Bodies:
    """The room for bodies that are kept, of one worker."""

    def __init__(self, most_bytes: int = MOST_KEPT_BYTES) -> None:
        self.bytes = 0
        self._most_bytes = most_bytes

    def take(self, count: int) -> None:
        """Have so much of it. Raises RequestRefused, 503, where there is not so much."""
        if self.bytes + count > self._most_bytes:
            raise RequestRefused(503, "bodies")
        self.bytes += count

    def give_back(self, count: int) -> None:
        self.bytes -= count


class IncomingBody:
    """What is still to come. Times are seconds of the monotonic clock.

    The client holds a place meanwhile: it must be as fast as one that takes a response (see
    `pace`), and done within `response_s`. keeps: whether `content` will be all of it, or nothing.
    """

    __slots__ = ("_keeps", "_kept", "_latest", "_length", "_pace", "left")

    def __init__(self, length: int, limits: Limits, now: float, *, keeps: bool = False) -> None:
        self._length = self.left = length
        self._keeps = keeps
        self._kept = bytearray()
        self._pace = Pace(limits, now)
        self._latest = now + limits.response_s

    @property
    def content(self) -> bytes:
        """What was kept so far."""
        return bytes(self._kept)

    def take(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns what is behind it."""
        rest = data[self.left :]
        taken = len(data) - len(rest)
        if self._keeps:
            self._kept += data if not rest else data[:taken]
        self.left -= taken
        return rest

    def is_fast_enough(self, now: float) -> bool:
        """Whether it may go on. To be asked at `next_look`."""
        verdict = self._pace.judge(self._length - self.left, now)
        return verdict is Verdict.FAST_ENOUGH and now < self._latest

    def next_look(self, now: float) -> float:
        """When to judge it."""
        return min(self._pace.next_look(now), self._latest)
