"""Counters that several processes share: one memory map, a slot for each worker.

Layout: `slots` rows of unsigned 64-bit numbers, first the counters, then the gauges, in the order
of their names. A slot has a single writer, so no number needs a lock; a number is aligned and
written with one store, so a reader in another process sees the old or the new value and nothing
between.

Labels. The columns of a family of counters (`name_0`, `name_1`, …) stand for labels, paths of
stores for instance, in the order in which they became known. The supervisor assigns them before it
forks, so all processes agree, and a label keeps its column whatever settings come and go.

A worker that takes over a free slot goes on from the counters that it finds. So sums over all slots
never go backwards, whichever workers come and go. Gauges end with their worker.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class CounterSlot:
    """A worker's own row: `values[place]` is a counter or gauge, `place` its name's position.

    labels: the columns of each family, by label. number: the row's, which no other worker has.
    """

    values: memoryview
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ledger: Path | None = None  # the folder of what was sent to whom, where that is kept
    demand: Path | None = None  # where it tells which objects it has sent, if anybody reads that
    number: int = 0


class CounterMap:
    """The rows of all workers. It is made before the workers are forked, who inherit it.

    Raises OSError when there is no memory for it.
    """

    def __init__(self, names: Sequence[str], gauges: Sequence[str], slots: int) -> None:
        self.counters = tuple(names)
        self.gauges = tuple(gauges)
        self._width = len(names) + len(gauges)
        self._file = _anonymous_file()
        size = self._width * slots * _WORD_BYTES
        os.ftruncate(self._file, size)
        _reserve(self._file, size)
        self._map = mmap.mmap(self._file, size)
        self._values = memoryview(self._map).cast("Q")
        self.slots = slots
        self._free = list(range(slots))
        self._labels: dict[str, dict[str, int]] = {}

    @property
    def file(self) -> int:
        """The descriptor of the shared memory."""
        return self._file

    def maybe_take_slot(self) -> int | None:
        """A slot that nobody writes; None when there is none left."""
        return self._free.pop(0) if self._free else None

    def give_back(self, slot: int) -> None:
        """The slot's writer is gone: its counters stay, its gauges are no longer so."""
        assert slot not in self._free, "its next writer may be writing already"
        row = self._row(slot)
        row[len(self.counters) :] = memoryview(bytes(len(self.gauges) * _WORD_BYTES)).cast("Q")
        self._free.append(slot)

    def slot(self, slot: int) -> CounterSlot:
        """The row of a slot, for its writer."""
        return CounterSlot(self._row(slot), self._labels, number=slot)

    def _row(self, slot: int) -> memoryview:
        assert 0 <= slot < self.slots, "beyond it is another's row, or the end of the memory"
        return self._values[slot * self._width : (slot + 1) * self._width]

    def gauges_of(self, slot: int) -> dict[str, int]:
        """Each gauge of one slot."""
        return dict(zip(self.gauges, self._row(slot)[len(self.counters) :].tolist(), strict=True))

    def assign(self, family: str, labels: Iterable[str]) -> None:
        """Give each label that is new a column; those beyond the last column share that."""
        known = self._labels.setdefault(family, {})
        last = sum(name.startswith(f"{family}_") for name in self.counters) - 1
        for label in labels:
            known.setdefault(label, min(len(known), last))

    def columns(self, family: str) -> Mapping[str, int]:
        """Each label's column, of those that are no others' too."""
        last = sum(name.startswith(f"{family}_") for name in self.counters) - 1
        return {
            label: column for label, column in self._labels.get(family, {}).items() if column < last
        }

    def labelled(self, family: str) -> dict[str, int]:
        """Each label's sum over all slots; of labels that share a column the first one has it."""
        totals = self.totals()
        found: dict[str, int] = {}
        for label, column in self._labels.get(family, {}).items():
            if column == len(found):
                found[label] = totals[f"{family}_{column}"]
        return found

    def totals(self) -> dict[str, int]:
        """Each name's sum over all slots."""
        words = self._values.tolist()
        names = self.counters + self.gauges
        return {name: sum(words[place :: self._width]) for place, name in enumerate(names)}


def _reserve(file: int, size: int) -> None:
    """Have the room now: a write to where there is none would kill the process (SIGBUS)."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP):  # as ZFS
            raise


def _anonymous_file() -> int:
    """Memory with a descriptor and without a name; it ends with the last process that has it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ocaserve-counters")
    descriptor, path = tempfile.mkstemp(prefix="ocaserve-counters-")
    os.unlink(path)
    return descriptor
