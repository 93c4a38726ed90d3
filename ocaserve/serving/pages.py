"""Pages that nobody else wants: what one client wants once must not push out what many want.

"keep": the kernel's own judgement. "drop": what a response had to read from disk goes.
"second-read": it goes, unless this part was read from disk before while the file stayed open.

What is to go is kept for a file only while that is open in the catalogue, and is a bounded number
of ranges: an open file that makes room for another takes its pages along.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ocaserve.serving.residency import WINDOW_BITS
from ocaserve.serving.store import OpenFile

FORGET_AFTER_TICKS = (8, 16, 24, 48, 96)
"""When pages go after a response has ended: until the kernel gets round to freeing what the socket
held, which a busy machine may put off for long, the advice does nothing."""

_PAUSES = tuple(
    after - before
    for before, after in zip((0, *FORGET_AFTER_TICKS), FORGET_AFTER_TICKS, strict=False)
)
_MOST_RANGES = 32  # of a file; what does not fit is left to the kernel

Ranges = list[tuple[int, int]]


class Pages:
    """What is to be let go of. `hold` and `release` keep a descriptor open over a thread's job."""

    def __init__(
        self, hold: Callable[[OpenFile], None], release: Callable[[OpenFile], None]
    ) -> None:
        self._hold = hold
        self._release = release
        self._ranges: dict[OpenFile, Ranges] = {}
        # By how often it was advised before: files with the tick of their next turn, in its order.
        self._due: tuple[OrderedDict[OpenFile, int], ...] = tuple(OrderedDict() for _ in _PAUSES)

    def __len__(self) -> int:
        return len(self._ranges)

    def read_from_disk(self, file: OpenFile, start: int, stop: int, policy: str, tick: int) -> None:
        """A response has read this part from disk."""
        if policy == "keep" or stop <= start or file.dropped:
            return
        if policy == "second-read":
            windows = range(start >> WINDOW_BITS, ((stop - 1) >> WINDOW_BITS) + 1)
            if file.seen.issuperset(windows):
                self.forget(file)
                return
            file.seen.update(windows)
        ranges = self._ranges.setdefault(file, [])
        if ranges and ranges[-1][0] <= start <= ranges[-1][1]:
            ranges[-1] = ranges[-1][0], max(stop, ranges[-1][1])
        elif len(ranges) < _MOST_RANGES:
            ranges.append((start, stop))
        for due in self._due:
            due.pop(file, None)
        self._due[0][file] = tick + _PAUSES[0]

    def forget(self, file: OpenFile) -> Ranges:
        """Its pages are wanted, or the file goes: what was to be let go of."""
        ranges = self._ranges.pop(file, [])
        if ranges:
            for due in self._due:
                due.pop(file, None)
        return ranges

    def tick_once(self, tick: int) -> None:
        """Advise the kernel where it is time."""
        for turn, due in enumerate(self._due):
            while due:
                file, when = next(iter(due.items()))
                if when > tick:
                    break
                del due[file]
                self._advise(file)
                if turn + 1 < len(_PAUSES):
                    self._due[turn + 1][file] = tick + _PAUSES[turn + 1]
                else:
                    del self._ranges[file]

    def _advise(self, file: OpenFile) -> None:
        if file in file.store.sending:  # it is wanted after all
            return
        ranges = list(self._ranges[file])
        self._hold(file)
        file.store.reads.submit(
            partial(let_go, file.descriptor, ranges), partial(self._advised, file, ranges)
        )

    def _advised(self, file: OpenFile, ranges: Ranges, _: object) -> None:
        if file.residency is not None:
            for start, stop in ranges:
                file.residency.forget(start, stop)
        self._release(file)


def let_go(descriptor: int, ranges: Ranges) -> None:
    """Runs in a thread. Advice that fails leaves the pages to the kernel."""
    for start, stop in ranges:
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_DONTNEED)
