"""Where a response goes: all that differs between plain sockets, TLS in the kernel, and our own.

The outlet alone has the socket. Connection and transfer send and receive through it, so none of
their ways leads past the encryption of a socket that has one.

`FileOutlet` is for sockets that can be given bytes of a file as they are: plain ones, and those
whose kernel encrypts (`ktls`). `RecordsOutlet` is for all others (`records_outlet`).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from ocaserve.serving.backlog import Backlogs
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import Count
from ocaserve.serving.pool import Work
from ocaserve.serving.sending import Sender, whole_step
from ocaserve.serving.socket_end import SocketEnd

Pour = Callable[[int, int, int], int]
Receive = Callable[[int], bytes]

_CLIENT_ERRORS = frozenset(
    {
        errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN,
        errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN,
    }
)  # fmt: skip
"""Errors of `sendfile` that are the socket's; all others are the file's."""


class OutletKind(NamedTuple):
    """What is the same for all outlets of a kind.

    place, cold_place: where bytes of files are counted, by whether they were in memory. errors:
    numbers of errors of sending that are the socket's; all others are the file's.
    """

    place: int
    cold_place: int
    errors: frozenset[int]


PLAIN = OutletKind(int(Count.BYTES_SENDFILE_HOT), int(Count.BYTES_SENDFILE_COLD), _CLIENT_ERRORS)
KERNEL = OutletKind(int(Count.BYTES_KTLS), int(Count.BYTES_KTLS), _CLIENT_ERRORS | {errno.EBADMSG})
RECORDS = OutletKind(int(Count.BYTES_COPIED), int(Count.BYTES_COPIED), _CLIENT_ERRORS)


class OutletParts(NamedTuple):
    """What outlets of a worker are made with."""

    sender: Sender
    backlogs: Backlogs


class Owner(Protocol):
    """The connection, to an outlet."""

    def close(self, reason: CloseReason) -> None:
        """End it, because others need what it holds."""


class Outlet(Protocol):
    """The socket of one connection, to those who have a response to send.

    What it takes it sends in order. Some of that may wait in it for the socket (`waiting`): then it
    is given nothing more until `flush` has sent all.
    """

    kind: OutletKind
    end: SocketEnd
    asks_residency: bool  # whether bytes must be known to be in memory before `send`
    is_ended: bool  # what was received was the last: there will be no readiness for an end
    is_large: bool  # the socket was enlarged

    @property
    def waiting(self) -> int:
        """Bytes, as they go to the socket, that it has not taken."""

    @property
    def pour(self) -> Pour | None:
        """(file, position, count): as `send` without a head, in one call; None: there is none."""

    # Looked up with each request, so that an outlet may name a function of another's.

    @property
    def receive(self) -> Receive:
        """(most): what the client has sent, as bytes of HTTP; empty at their end.

        Raises BlockingIOError when there is nothing for us now, ssl.SSLWantWriteError when there
        is none before something else is sent, ssl.SSLError when it is not TLS, OSError.
        """

    @property
    def send(self) -> Callable[[bytes, int, int, int], int]:
        """(head, file, position, count): send a head and bytes of a file behind it.

        Returns how many of all of them it took, 0 where the file has ended. Raises BlockingIOError
        (it took nothing), NotResident, FileError, ssl.SSLError, or OSError of the kind's.
        """

    @property
    def send_whole(self) -> Callable[[bytes, int, int, int], int]:
        """The same for the short way, which knows the bytes to be in memory.

        Returns what it took less what waits. It raises OSError also where `send` would not.
        """

    def portion(self, position: int, left: int, most: int, *, is_writable: bool) -> int:
        """How many of the `left` bytes of a range to send now; 0: the socket has no room."""

    def write(self, data: bytes) -> int:
        """Send what is of no file; how much of it was taken. Raises as `send`."""

    def cold_work(self, head: bytes, file: int, position: int, count: int, ahead: int) -> Work:
        """What a thread is to do about bytes that are not in memory.

        ahead: how many bytes the disk is asked for, from the position on.
        """

    def take_cold(self, head: bytes, outcome: object) -> int:
        """The thread is back: as `send`. `outcome` is what the work returned."""

    def write_whole(self, data: bytes) -> int:
        """The same for the short way; returns as `send_whole`."""

    def flush(self) -> None:
        """Send what waits. Raises OSError when the socket is not just full."""

    def shed(self) -> None:
        """What waits has grown: clients go that all of a worker have no room for, perhaps this."""

    def forget(self) -> int:
        """What waits will not be sent; how much it was."""

    def interim(self, head: bytes) -> int:
        """Send a head before there is a response; how much of it went out. Raises OSError."""

    def cork(self, *, corked: bool) -> None:
        """Have steps share segments, until uncorked."""

    def enlarge(self, size: int) -> None:
        """Have the socket take `size` bytes or more that nobody acknowledged."""

    def begin(self) -> bool:
        """The handshake is over: send what is due then. Whether something came with it."""

    def say_goodbye(self) -> None:
        """What was sent is all. It fails silently."""


class TlsSession(Protocol):
    """TLS on a socket, as far as it is not sending."""

    def receive(self, most: int, /) -> bytes:
        """See `Outlet`."""

    def begin(self) -> bool:
        """See `Outlet`."""

    def say_goodbye(self) -> None:
        """See `Outlet`."""


class FileOutlet:
    """A socket that the kernel gives bytes of files to. `session`: of TLS, if it speaks it."""

    waiting = 0  # the socket has what was taken

    __slots__ = (
        "_is_corked", "_sender", "_session", "_sock", "asks_residency", "end", "is_ended",
        "is_large", "kind", "receive",
    )  # fmt: skip

    def __init__(
        self,
        sender: Sender,
        sock: socket.socket,
        kind: OutletKind = PLAIN,
        session: TlsSession | None = None,
    ) -> None:
        self.kind = kind
        self.asks_residency = sender.asks_residency
        self.end = SocketEnd(sock)
        self.is_ended = False  # a socket at its end stays readable
        self.is_large = False
        self.receive: Receive = sock.recv if session is None else session.receive
        self._sender = sender
        self._session = session
        self._sock = sock
        self._is_corked = False  # the kernel sends whole segments only

    @property
    def pour(self) -> Pour | None:
        return partial(self._sender.send_bytes, self._sock.fileno())

    def send(self, head: bytes, file: int, position: int, count: int) -> int:
        return self._sender.send(self._sock, head, file, position, count)

    send_whole = send

    def portion(self, position: int, left: int, most: int, *, is_writable: bool) -> int:
        """A step; see `whole_step`. The socket itself says when it is full."""
        return left if left <= most else whole_step(position, most, left)

    def write(self, data: bytes) -> int:
        return self._sock.send(data)

    write_whole = write

    def cold_work(self, head: bytes, file: int, position: int, count: int, ahead: int) -> Work:
        """The thread sends."""
        return partial(_read_and_send, self._sender, self._sock, head, file, position, count, ahead)

    def take_cold(self, head: bytes, outcome: object) -> int:
        assert isinstance(outcome, int)
        return outcome

    def flush(self) -> None:
        """Nothing waits."""

    def shed(self) -> None:
        """Nothing waits."""

    def forget(self) -> int:
        return 0

    def interim(self, head: bytes) -> int:
        return self._sock.send(head)

    def cork(self, *, corked: bool) -> None:
        if corked != self._is_corked:
            self._is_corked = corked
            with suppress(OSError):  # the client may be gone, which the next send will find out
                self._sender.cork(self._sock, corked=corked)

    def enlarge(self, size: int) -> None:
        self.is_large = True
        with suppress(OSError):  # the client may be gone, which the next send will find out
            self._sender.raise_buffer(self._sock, size)

    def begin(self) -> bool:
        return self._session is not None and self._session.begin()

    def say_goodbye(self) -> None:
        if self._session is not None:
            self._session.say_goodbye()


def _read_and_send(
    sender: Sender,
    sock: socket.socket,
    head: bytes,
    file: int,
    position: int,
    count: int,
    ahead: int,
) -> int:
    """Runs in a thread, which the disk may keep waiting."""
    read_ahead(file, position, ahead)
    return sender.send_cold(sock, head, file, position, count)


def read_ahead(file: int, position: int, count: int) -> None:
    """Ask the disk for these bytes, if any. It takes a third of a millisecond for each MiB."""
    if count:
        os.posix_fadvise(file, position, count, os.POSIX_FADV_WILLNEED)
