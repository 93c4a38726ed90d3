"""The cap over all transfers: a token bucket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

_BURST_S = 0.25  # what may come at once after a pause


class RateCap:
    """Lets `bits_per_s` pass, over all who take; 0: any number."""

    def __init__(self, bits_per_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._bytes_per_s = bits_per_s / 8
        self._clock = clock
        self._free_at = clock()  # when what was taken so far has passed

    async def take(self, count: int) -> None:
        """Wait until so many bytes have passed. Who comes first is served first."""
        if not self._bytes_per_s:
            return
        now = self._clock()
        # What was not used is lost, but for a moment's worth: a pause is no licence for a burst.
        self._free_at = max(self._free_at, now - _BURST_S) + count / self._bytes_per_s
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
