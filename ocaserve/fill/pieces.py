"""The pieces of an object: which bytes they are, and which of them are there. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ocaserve.fill.manifest import Entry

WITHOUT_DIGESTS_BYTES = 8 << 20  # what is fetched again at most after a crash, of each transfer


class PiecesDone:
    """done: of an earlier run, a bit for each; empty for none."""

    def __init__(self, entry: Entry, done: bytes = b"") -> None:
        self._digests = None if entry.pieces is None else entry.pieces.sha256
        self.size = WITHOUT_DIGESTS_BYTES if entry.pieces is None else entry.pieces.size
        self._total = entry.size
        self.count = -(-entry.size // self.size)
        room = -(-self.count // 8)
        self._done = bytearray(done if len(done) == room else room)
        self.bytes_done = sum(self._size(n) for n in range(self.count) if self.has(n))

    def span(self, number: int) -> tuple[int, int]:
        """Its bytes, [start, stop)."""
        start = number * self.size
        return start, min(start + self.size, self._total)

    def digest(self, number: int) -> str | None:
        """What the manifest says of it; None if it says nothing."""
        return None if self._digests is None else self._digests[number]

    def has(self, number: int) -> bool:
        return bool(self._done[number // 8] >> number % 8 & 1)

    def add(self, number: int) -> None:
        """It is on the disk, and right."""
        if not self.has(number):
            self._done[number // 8] |= 1 << number % 8
            self.bytes_done += self._size(number)

    def _size(self, number: int) -> int:
        start, stop = self.span(number)
        return stop - start

    def missing(self) -> Iterator[int]:
        """In their order."""
        return (number for number in range(self.count) if not self.has(number))

    @property
    def is_whole(self) -> bool:
        return next(self.missing(), None) is None

    def bitmap(self) -> bytes:
        """For the next run."""
        return bytes(self._done)
