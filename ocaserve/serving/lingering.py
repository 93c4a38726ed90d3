"""The end of a connection whose client may be sending still.

Closing a socket with unread bytes resets the connection, and the reset can destroy the response on
its way (RFC 9112 section 9.6). So only our side is closed, and what arrives is read and thrown away
until the client has closed, or takes no more.
"""

from __future__ import annotations

from typing import Protocol

from ocaserve.settings import Limits


class Lingering(Protocol):
    """The end of a socket: see `SocketEnd`."""

    def shut_write(self) -> None: ...

    def queued_bytes(self) -> int: ...

    def bound_patience(self, most_s: float) -> None: ...


class Linger:
    """How long to wait. Times are seconds of the monotonic clock."""

    __slots__ = ("_end", "_limits", "_unacked")

    def __init__(self, end: Lingering, limits: Limits) -> None:
        self._limits = limits
        self._end = end
        self._unacked = 0  # bytes on their way to the client when it was last looked at

    def begin(self, now: float) -> float:
        """Close our side; when to look again. Raises OSError."""
        self._end.shut_write()
        self._unacked = self._end.queued_bytes()
        return now + self._limits.linger_s

    def go_on(self, now: float) -> float | None:
        """For as long as the client goes on taking what it was sent: when to look again.

        None: it does not, and the kernel will not try for ever either.
        """
        limits = self._limits
        before, self._unacked = self._unacked, self._end.queued_bytes()
        if before - self._unacked > limits.min_bytes_per_s * limits.linger_s:
            return now + limits.linger_s
        self._end.bound_patience(2 * limits.stall_s)
        return None
