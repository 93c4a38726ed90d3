"""How far a response has come, in bytes, and what of that is counted. Nothing here acts."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from ocaserve.serving.object_tally import ObjectTally
from ocaserve.serving.source import Source


class Taking(Protocol):
    """An outlet; see there."""

    @property
    def waiting(self) -> int: ...


class SendingProgress:
    """Of one response after the other. An outlet takes bytes, and the socket has them later.

    from_file: bytes that came from a file, and are counted. first_byte: when the socket took the
    first byte of all, in seconds of the monotonic clock; 0 while it has none.
    """

    __slots__ = (
        "_body", "_counts", "_demand", "_outlet", "_uncounted", "accepted", "first_byte",
        "from_file",
    )  # fmt: skip

    def __init__(self, outlet: Taking, counts: memoryview, demand: ObjectTally) -> None:
        self._outlet = outlet
        self._counts = counts
        self._demand = demand
        self.begin()

    def begin(self) -> None:
        """With another response."""
        self.accepted = 0  # bytes that the outlet took, head included
        self._uncounted = 0  # bytes of the file among them that no counter knows of
        self._body = 0  # bytes of body that the socket took, as it was last told
        self.from_file = 0
        self.first_byte = 0.0

    @property
    def has_sent(self) -> bool:
        """Whether the client may have got a byte of this response, or will."""
        return self.accepted > 0

    def note(self, taken: int, of_file: int) -> None:
        """The outlet took so many bytes, and so many of them are the file's."""
        self.accepted += taken
        self._uncounted += of_file
        if not self.first_byte and self.accepted > self._outlet.waiting:
            self.first_byte = monotonic()

    def count(self, place: int, source: Source | None) -> None:
        """Count bytes of the file, once the socket has them."""
        sent = self._uncounted - self._outlet.waiting
        if sent > 0:
            self._uncounted -= sent
            self.from_file += sent
            counts = self._counts
            counts[place] += sent
            if source is not None:
                counts[source.store.bytes_place] += sent
                self._demand.note(source, sent)

    def count_body(self, head_bytes: int) -> int:
        """How many bytes of body the socket took so far.

        Of what waits in the outlet, the records around it are taken for bytes of body.
        """
        body = self.accepted - self._outlet.waiting - head_bytes
        if body > self._body:
            self._body = body
        return self._body

    def forget(self, count: int) -> None:
        """So many bytes that the outlet took will not be sent."""
        self.accepted -= count
        self._uncounted -= count
