"""What is known of the pages that a response sends next, and what it shows of those it has sent.

Asking costs (see `residency`), so it is asked about more than a step, and the answer holds for a
while: the pages are in use.
"""

from __future__ import annotations

from ocaserve.serving.residency import WINDOW_BITS
from ocaserve.serving.source import Source

_SURE_BYTES = 8 * 1024 * 1024  # of a long range that are asked about together
_SURE_TICKS = 8  # two seconds for which the answer holds


class Lookahead:
    """Of one range after the other. Ticks are those of the source's library.

    sure_stop, sure_until: up to where steps need no question, and until which tick.
    """

    __slots__ = ("_asks", "_tick", "_window_from", "sure_stop", "sure_until")

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks  # whether bytes must be known to be in memory
        self._tick = 0  # when sending came to the present window
        self._window_from = 0  # where in the file that was, or a position in it
        self.sure_stop = 0
        self.sure_until = 0

    def begin(self, tick: int) -> None:
        """With another response."""
        self._tick = tick

    def load(self, start: int) -> None:
        """With another range."""
        self._window_from = start
        self.sure_until = 0

    def is_resident(self, source: Source, start: int, stop: int) -> bool:
        """Whether these bytes are in memory, or sending them will tell."""
        if not self._asks:
            return True
        residency = source.residency
        return residency is not None and residency.is_resident(
            start, stop, source.store.library.tick
        )

    def make_sure(self, source: Source, start: int, stop: int) -> bool:
        """Be sure of what comes, as far as is asked about at once. Whether it is in memory."""
        stop = min(stop, start + _SURE_BYTES)
        if not self.is_resident(source, start, stop):
            return False
        self.sure_stop, self.sure_until = stop, source.store.library.tick + _SURE_TICKS
        return True

    def confirm(self, source: Source, start: int, end: int) -> None:
        """A range from `start` on is sent up to `end`, from memory: remember what that shows.

        Only where another window is come to. The time is that when the present one began, since the
        pages may have gone again while a slow client was taking the others.
        """
        if not (self._window_from ^ end) >> WINDOW_BITS:
            return
        if source.residency is not None:
            start = max(start, self._window_from >> WINDOW_BITS << WINDOW_BITS)
            source.residency.confirm(start, end, self._tick)
        self._tick = source.store.library.tick
        self._window_from = end

    def skip(self, end: int) -> None:
        """What was sent up to here was read from disk, and shows nothing."""
        self._window_from = end
