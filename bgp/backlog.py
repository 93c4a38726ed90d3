"""What has been read and not yet been passed on: whole lines, bounded in bytes. No I/O here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

MOST_LINE_BYTES = 16 << 20  # the longest line seen was 0.4 MB, with the longest messages there are


class LineSplitter:
    """Cuts a stream of bytes into blocks of whole lines."""

    def __init__(self, most_bytes: int = MOST_LINE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []  # of a line whose end has not come
        self._size = 0
        self.too_long = 0  # lines that were dropped for their length

    def split(self, data: bytes) -> bytes:
        """The lines that `data` completes, with their newlines; nothing while none is complete."""
        head, newline, tail = data.rpartition(b"\n")
        if not newline:
            self._hold(tail)
            return b""
        block = b"".join((*self._parts, head, newline))
        if self._size > self._most_bytes:
            self.too_long += 1
            block = block[block.index(b"\n") + 1 :]
        self._parts, self._size = [], 0
        self._hold(tail)
        return block

    def _hold(self, part: bytes) -> None:
        if part:
            self._size += len(part)
            self._parts.append(part)
        if self._size > self._most_bytes:
            self._parts.clear()


class LineBacklog:
    """Blocks of whole lines that wait to be sent, oldest first.

    When there are more bytes than `limit`, all but the line that is half sent are dropped: what
    comes after a gap is worth nothing until the routes are sent again, so nothing is taken until
    `end_gap`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: deque[bytes] = deque()
        self._sent = 0  # bytes of the first block
        self.size = 0  # bytes that wait
        self.has_gap = False
        self.dropped = 0  # bytes, ever

    def add(self, block: bytes) -> None:
        """Take whole lines, or drop them while there is a gap."""
        if not block:
            return
        if not self.has_gap and self.size + len(block) > self._limit:
            self.open_gap()
        if self.has_gap:
            self.dropped += len(block)
        else:
            self._blocks.append(block)
            self.size += len(block)

    def peek(self) -> memoryview:
        """What to send next; empty when there is nothing."""
        return memoryview(self._blocks[0])[self._sent :] if self._blocks else memoryview(b"")

    def advance(self, count: int) -> None:
        """So many bytes of what `peek` gave are sent."""
        self._sent += count
        self.size -= count
        if self._sent == len(self._blocks[0]):
            self._blocks.popleft()
            self._sent = 0

    def open_gap(self) -> None:
        """Drop all but the rest of a line of which a part is sent."""
        rest = b"".join(self._rest_of_line())
        self.dropped += self.size - len(rest)
        self._blocks.clear()
        self._sent, self.size = 0, len(rest)
        if rest:
            self._blocks.append(rest)
        self.has_gap = True

    def _rest_of_line(self) -> Iterator[bytes]:
        if self._sent and self._blocks[0][self._sent - 1 : self._sent] != b"\n":
            yield self._blocks[0][self._sent : self._blocks[0].index(b"\n", self._sent) + 1]

    def end_gap(self) -> None:
        """Take lines again."""
        self.has_gap = False

    def forget(self) -> None:
        """The receiver is gone: drop all, and take nothing until `end_gap`.

        The next one knows nothing, so it needs all routes anew and not what happened meanwhile.
        """
        self.dropped += self.size
        self._blocks.clear()
        self._sent = self.size = 0
        self.has_gap = True
