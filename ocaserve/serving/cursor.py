"""Where the sending of a plan has come to: what is left of heads, and which bytes are next.

Nothing here acts, and nothing is known of sockets.
"""

from __future__ import annotations

from ocaserve.protocol.messages import ByteRange, ResponsePlan


class Cursor:
    """A place in a plan.

    head: to be sent before the next byte of the file. start, stop: the range being sent; position:
    its next byte. All of a range is sent when `position` is `stop`.
    """

    __slots__ = ("_next", "_segments", "head", "position", "start", "stop")

    def __init__(self) -> None:
        self._segments: tuple[bytes | ByteRange, ...] = ()
        self._next = 0  # the segment after the one being sent
        self.head = b""
        self.start = self.position = self.stop = 0

    def begin(self, plan: ResponsePlan) -> None:
        """Go to the first range of a plan, behind its head."""
        self._segments = plan.segments
        self._next = self.start = self.position = self.stop = 0
        self.head = plan.head
        self.load()

    def load(self) -> None:
        """Go on to the next range, if there is one; bytes that stand before it join the head."""
        segments = self._segments
        while self._next < len(segments):
            segment = segments[self._next]
            self._next += 1
            if isinstance(segment, ByteRange):
                self.start, self.stop = segment
                self.position = self.start
                return
            self.head += segment

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left of the range, nor of what stands before it."""
        return self.position == self.stop and not self.head

    def advance(self, taken: int) -> int:
        """So many bytes were taken, of the head first; returns how many of them are the file's."""
        head = self.head
        if head:
            self.head = head[taken:]
            taken = max(0, taken - len(head))
        self.position += taken
        return taken
