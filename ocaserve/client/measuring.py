"""How fast servers are, by what they did. Pure: the clock is a parameter."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import exp

from ocaserve.origins import origin_of

_RATE_MEMORY_S = 10.0  # of receiving, after which what was before counts for a third
_FIRST_BYTE_SHARE = 0.3  # of the newest in the average
_SAYS_SOMETHING_S = 1.0  # of receiving: over less, buffers are measured, not servers
_STEPS = 10  # that a window advances in


class Meter:
    """One server: averages that forget (EWMA).

    first_byte_s: from the request to the first byte. bytes_per_s: of bodies; None while unknown.
    """

    def __init__(self) -> None:
        self.first_byte_s: float | None = None
        self.bytes_per_s: float | None = None
        self.taken = 0
        self._seconds = 0.0
        self._at = 0.0

    def begin(self, first_byte_s: float) -> None:
        """An answer began after so long."""
        before = self.first_byte_s
        share = 1.0 if before is None else _FIRST_BYTE_SHARE
        self.first_byte_s = first_byte_s * share + (before or 0.0) * (1 - share)

    def add(self, count: int, seconds: float, now: float) -> None:
        """So many bytes came in so long."""
        self.taken += count
        if not count or seconds <= 0:
            return
        share = 1.0 if self.bytes_per_s is None else 1 - exp(-seconds / _RATE_MEMORY_S)
        self.bytes_per_s = count / seconds * share + (self.bytes_per_s or 0.0) * (1 - share)
        self._seconds += seconds
        self._at = now

    def forget(self) -> None:
        """What was measured says nothing any more."""
        self.bytes_per_s, self._seconds = None, 0.0

    def known_rate(self, now: float, remember_s: float) -> float | None:
        """Its rate, if it was measured for long enough and not too long ago."""
        is_known = self._seconds >= _SAYS_SOMETHING_S and now - self._at <= remember_s
        return self.bytes_per_s if is_known else None


class Meters:
    """All servers, by their origins. remember_s: for which a rate is taken to be theirs still."""

    def __init__(self, remember_s: float) -> None:
        self._remember_s = remember_s
        self._meters: dict[str, Meter] = {}

    def of(self, url: str) -> Meter:
        """That of the URL's server, made where there is none."""
        return self._meters.setdefault(origin_of(url), Meter())

    def known_rate(self, url: str, now: float) -> float | None:
        """The rate of the URL's server, if it is known."""
        meter = self._meters.get(origin_of(url))
        return meter.known_rate(now, self._remember_s) if meter else None

    def items(self) -> Iterable[tuple[str, Meter]]:
        """(origin, meter) of each."""
        return self._meters.items()


class Window:
    """The rate of an answer over its last `seconds`."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._marks = deque([(now, 0)])  # times, and what had come until then
        self._total = 0

    def add(self, count: int, now: float) -> None:
        """So many bytes came."""
        self._total += count
        if now - self._marks[-1][0] >= self._seconds / _STEPS:
            self._marks.append((now, self._total))

    def rate(self, now: float) -> float | None:
        """In bytes a second; None before the first window is full."""
        while len(self._marks) > 1 and self._marks[1][0] <= now - self._seconds:
            self._marks.popleft()
        began, before = self._marks[0]
        if now - began < self._seconds:
            return None
        return (self._total - before) / (now - began)
