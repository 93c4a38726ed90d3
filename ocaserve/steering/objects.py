"""Which objects of its manifest an appliance has, and which came or went since a serial. Pure.

Half a million objects are a bitmap of 62 KB: the report has it whole, changes have the places that
are others. As of routes, only the last serial of each place is kept, and what it is now is told.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

KEPT = 50_000
"""Places that the log knows: of more than this the bitmap is the shorter answer."""


class Holdings(Struct, frozen=True, kw_only=True):
    """manifest: its version. count: of its objects. here: bit n, from the lowest of the first
    byte, is the object at place n.
    """

    manifest: str
    count: int
    here: bytes


class HoldingsLog:
    """What is held, and at which serial it became so."""

    def __init__(self, kept: int = KEPT) -> None:
        self.now: Holdings | None = None
        self._kept = kept
        self._floor = 0  # what changed later is known
        self._batches: deque[tuple[int, list[int]]] = deque()
        self._size = 0

    def take(self, found: Holdings, serial: int) -> bool:
        """What is so from this serial on; whether it is new."""
        before = self.now
        if found is before or found == before:
            return False
        self.now = found
        is_other = before is None or (before.manifest, before.count) != (
            found.manifest, found.count,
        )  # fmt: skip
        places = [] if before is None or is_other else list(_differences(before.here, found.here))
        if is_other or len(places) > self._kept:
            self._batches.clear()
            self._size, self._floor = 0, serial
            return True
        self._batches.append((serial, places))
        self._size += len(places)
        while self._size > self._kept:
            self._floor, gone = self._batches.popleft()
            self._size -= len(gone)
        return True

    def whole(self) -> dict[str, Any]:
        """For a report. Something was taken."""
        assert self.now is not None
        here = b64encode(self.now.here).decode("ascii")
        return {"manifest": self.now.manifest, "count": self.now.count, "here": here}

    def since(self, after: int) -> dict[str, Any]:
        """For changes since a serial: places that came or went; all, where that is not known."""
        assert self.now is not None
        if after < self._floor:
            return self.whole()
        places = sorted(
            {place for serial, some in self._batches if serial > after for place in some}
        )
        here = self.now.here
        came = [place for place in places if here[place // 8] >> place % 8 & 1]
        went = [place for place in places if not here[place // 8] >> place % 8 & 1]
        named = {"manifest": self.now.manifest, "count": self.now.count}
        return {**named, "came": came, "went": went}


def _differences(one: bytes, other: bytes) -> Iterator[int]:
    """Numbers of bits that are not the same. Both have one length."""
    for place, (left, right) in enumerate(zip(one, other, strict=True)):
        if left != right:
            changed = left ^ right
            yield from (8 * place + bit for bit in range(8) if changed >> bit & 1)
