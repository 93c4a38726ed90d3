"""What workers have given to clients, and what each may still give: a sheet that they share.

It is memory that all processes of one run inherit. Each worker has a row, by its slot, and alone
writes what it has given since the start, by the appliance's place; the control process adds that
up, and writes beside it up to where each worker may go: its share of what an appliance can still
take. So no worker waits for another, and a crowd is spread in the moment in which it comes. While
the control process is away nobody is held back: what it knew of capacity is old then.
"""

from __future__ import annotations

import mmap
import sys
from array import array
from math import inf

PLACES = 50_000  # appliances
STALE_S = 5.0  # since the control process wrote last: then its bounds are those of nobody
_SEEN = 1 << 18  # client networks at appliances that are remembered, of a minute
_WORD = 8
_WRITTEN, _CHANGES, _USED = 0, 1, 2  # places in the head
_HEAD_WORDS = _USED + PLACES
_ROW_WORDS = 2 * PLACES
_MASK = (1 << 64) - 1


class GrantSheet:
    """Made before the processes that share it are forked. rows: as many as there are slots."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        words = _HEAD_WORDS + rows * _ROW_WORDS
        self._map = mmap.mmap(-1, words * _WORD + _SEEN * _WORD)
        whole = memoryview(self._map)
        self._words = whole[: words * _WORD].cast("d")
        self._seen = whole[words * _WORD :].cast("Q")

    def row(self, number: int) -> GrantRow:
        """For its worker."""
        given, bounds = self._parts(number)
        return GrantRow(given, bounds, self._words[:_HEAD_WORDS], self._seen)

    def _parts(self, number: int) -> tuple[memoryview[float], memoryview[float]]:
        assert 0 <= number < self.rows, "beyond it is another's row, or the end of the memory"
        start = _HEAD_WORDS + number * _ROW_WORDS
        return (
            self._words[start : start + PLACES],
            self._words[start + PLACES : start + _ROW_WORDS],
        )

    # -- for the control process -----------------------------------------------------------------

    def given(self, number: int, places: int) -> array[float]:
        """What the worker of a row has given, by place, since the start."""
        return array("d", self._parts(number)[0][:places].tobytes())

    def tell_used(self, used: array[float], changes: int) -> None:
        """Of what appliances can take, the part that is taken, by place. changes: goes up when
        something in it is another.
        """
        self._words[_USED : _USED + len(used)] = used
        self._words[_CHANGES] = changes

    def bound(self, number: int, bounds: array[float], now: float) -> None:
        """Up to where the worker of a row may go, by place. now: of the monotonic clock."""
        self._parts(number)[1][: len(bounds)] = bounds
        self._words[_WRITTEN] = now


class GrantRow:
    """One worker's, which begins anew. Bits per second."""

    def __init__(
        self,
        given: memoryview[float],
        bounds: memoryview[float],
        head: memoryview[float],
        seen: memoryview[int],
    ) -> None:
        self._given, self._bounds = given, bounds
        for numbers in (given, bounds):  # those of the worker before
            numbers[:] = array("d", bytes(PLACES * _WORD))
        self._head, self._seen = head, seen

    @property
    def changes(self) -> int:
        """Goes up when `used` is another for some appliance."""
        return int(self._head[_CHANGES])

    def all_used(self, places: int) -> array[float]:
        """Of what appliances can take, the part that is taken, in tenths, by place."""
        return array("d", self._head[_USED : _USED + places].tobytes())

    def give(self, place: int, bits_per_s: float) -> None:
        """A client was sent to the appliance that has this place."""
        self._given[place] += bits_per_s

    def is_full(self, place: int, now: float) -> bool:
        """Whether this worker's share of the appliance is given away. now: monotonic."""
        bound: float = self._bounds[place]
        return bound != 0 and self._given[place] >= bound and now - self._head[_WRITTEN] < STALE_S

    def is_first(self, network: bytes, appliance: str, minute: int) -> bool:
        """Whether a client network was not sent there yet in this minute, by any worker; it has
        been from now on.

        Anybody can ask, and as often as they like: so a network counts once a minute at an
        appliance. What two have in one place, by their hashes, is remembered of the later one.
        """
        mark = hash((network, appliance, minute)) & _MASK or 1
        place = hash((network, appliance)) % _SEEN
        if self._seen[place] == mark:
            return False
        self._seen[place] = mark
        return True


def bound_of(given: float, share: float) -> float:
    """share: of what an appliance can still take; infinite where that is not known.

    0 stands for none, as in memory that nobody has written yet.
    """
    return max(given + share, sys.float_info.min) if share != inf else 0.0
