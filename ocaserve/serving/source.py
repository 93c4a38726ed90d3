"""What the ranges of a response are of, to whoever sends them: an open file, and where it is from.

The engine knows files by these words alone. `files.OpenFile` and `store.Store` are such.
"""

from __future__ import annotations

from typing import Protocol

from ocaserve.protocol.messages import Representation
from ocaserve.serving.pool import IoPool
from ocaserve.serving.residency import Residency


class Ticking(Protocol):
    """Has a time, in quarters of a second."""

    tick: int


class Shelf(Protocol):
    """Where files come from, with threads that wait for it.

    known: for what is short. bytes_place: the counter of bytes that came from there. is_local: its
    files can be asked for their status without waiting. reads_ahead: the kernel reads enough ahead
    by itself.
    """

    reads: IoPool
    known: IoPool
    bytes_place: int
    is_local: bool
    reads_ahead: bool

    @property
    def library(self) -> Ticking: ...


ENOUGH_AHEAD_BYTES = 1024 * 1024  # a step of a cold response; see also docs/tuning.md


class Source(Protocol):
    """A file that is open.

    content: all of it, where it is small. residency: None, where it is not to be known. changed: it
    was overwritten, and no response may go on with it. sent: see `demand`.
    """

    key: bytes
    representation: Representation
    sent: int
    descriptor: int
    content: bytes | None
    residency: Residency | None
    changed: bool

    @property
    def store(self) -> Shelf: ...

    def is_overwritten(self) -> bool:
        """Compare it with what it was. On the event loop only if its shelf is local."""

    def hold(self) -> None:
        """A response spans turns of the event loop, and sends from this."""

    def release(self) -> None:
        """That response is over."""

    def read_from_disk(self, start: int, stop: int) -> None:
        """A response had to read this part from disk."""

    def fail(self, error: OSError) -> None:
        """It could not be read."""
