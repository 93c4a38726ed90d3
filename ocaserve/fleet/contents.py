"""Who has which objects, as workers see it: bits in mapped files, found by the object's key.

The index has a number of 64 bits for each key, sorted, and behind them the objects' numbers in that
order. Two keys of half a million have one number once in a hundred million catalogues.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Literal

_ENTRY_BYTES = 8 + 4


def index_keys(keys: Sequence[bytes]) -> bytes:
    """The index of a catalogue. keys: by the object's number."""
    rows = sorted((_mark(key), number) for number, key in enumerate(keys))
    marks = array("Q", (mark for mark, _ in rows))
    return marks.tobytes() + array("I", (number for _, number in rows)).tobytes()


def _mark(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


class Contents:
    """index: as above. live: a bit for each object that may be offered; held: likewise what each
    appliance holds, by its id.
    """

    def __init__(self, index: memoryview, live: memoryview, held: Mapping[str, memoryview]) -> None:
        count = len(index) // _ENTRY_BYTES
        self._marks = _numbers_in(index[: 8 * count], "Q")
        self._numbers = _numbers_in(index[8 * count :], "I")
        self._live, self._held = live, held

    def find(self, key: bytes) -> int | None:
        """The number of a live object."""
        mark = _mark(key)
        place = bisect_left(self._marks, mark)
        if place == len(self._marks) or self._marks[place] != mark:
            return None
        number = self._numbers[place]
        return number if _has(self._live, number) else None

    def holders_of(self, key: bytes) -> Callable[[str], bool]:
        """Whether an appliance may be asked for an object."""
        number = self.find(key)
        if number is None:
            return _nobody
        held = self._held
        return lambda name: (bits := held.get(name)) is not None and _has(bits, number)


def _numbers_in(view: memoryview, typecode: Literal["Q", "I"]) -> memoryview:
    """An empty view cannot be cast."""
    return view.cast(typecode) if view else memoryview(array(typecode))


def _has(bits: memoryview, number: int) -> bool:
    place = number >> 3
    return place < len(bits) and bool(bits[place] >> (number & 7) & 1)


def _nobody(_: str) -> bool:
    return False
