"""What a thread was last asked to do for a response, and since when."""

from __future__ import annotations

from time import monotonic

from ocaserve.serving.pool import Done, IoPool, Work


class Errand:
    """One after the other. since: of the last, in seconds of the monotonic clock."""

    __slots__ = ("_number", "_pool", "since")

    def __init__(self) -> None:
        self._pool: IoPool | None = None
        self._number = 0
        self.since = 0.0

    def begin(self, pool: IoPool, work: Work, done: Done) -> None:
        """Have a thread of the pool do `work`; `done` hears the outcome."""
        self.since = monotonic()
        self._pool = None  # should there be no thread
        self._number = pool.submit(work, done)
        self._pool = pool

    def cancel(self) -> bool:
        """Forget it, if no thread has begun; says whether that was so."""
        return self._pool is not None and self._pool.cancel(self._number)
