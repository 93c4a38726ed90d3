"""How bytes of a file reach a socket: one call that both systems can make.

`send(sock, head, file, offset, count)` sends what is left of a head and up to `count` bytes of the
file behind it, and returns how many bytes the socket took, head included. Rules that hold for both:

* The socket is non-blocking. Nothing taken at all raises `BlockingIOError`; a part taken is normal.
* Fewer bytes than asked may mean a full socket or a file that ends early. The next call tells them
  apart: a full socket raises, an ended file takes 0 bytes.
* `count` is never 0: to Linux that means nothing, to FreeBSD "to the end of the file".

Linux: a few KiB are read, and sent together with the head. Otherwise the head goes with MSG_MORE,
so that it shares a segment with the first bytes of the body. The kernel holds such a head for up to
200 ms, so it must never be used when the body has to come from disk first: `send_cold` waits for
the first bytes before it sends the head. `sendfile` waits for the disk in spite of the non-blocking
socket, which is why only resident bytes are sent on the event loop (see `residency`).

A response of several steps is corked, so that a step does not end with a segment that is hardly
filled (measured: 8 % of the CPU time at 8 MiB).

FreeBSD: one call takes both. Bytes not in memory are not waited for on UFS; `SF_NODISKIO` makes the
call say EBUSY instead, which is raised as `NotResident` and sends the range to a thread. The count
it returns includes the head (sendfile(2), "headers"). EAGAIN or EBUSY after a part was sent comes
back from Python as that part, not as an error.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
import termios
from array import array
from contextlib import suppress
from typing import Any, Protocol

from ocaserve.stores.answers import insist
from ocaserve.stores.reading import check

_FIRST_BYTES = 64 * 1024  # of a body that must be in memory before its head is sent
_COPY_BYTES = 8 * 1024  # up to here a copy costs less than `sendfile` (measured at 1 KiB: 0.8 us)
_sendfile = ctypes.CDLL(None, use_errno=True).sendfile
if sys.platform == "linux":
    _sendfile.restype = ctypes.c_ssize_t
    _sendfile.argtypes = [
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_long),
        ctypes.c_size_t,
    ]
BOUNDARY_BYTES = 128 * 1024  # read-ahead windows and large folios end on such boundaries
_TCP_CORK = 3  # linux/tcp.h
_TCP_USER_TIMEOUT = 18
_TCP_NOPUSH = 4  # netinet/tcp.h, FreeBSD
_OUTPUT_QUEUE = termios.TIOCOUTQ if sys.platform == "linux" else 0x40046677  # FreeBSD: FIONWRITE
_SO_MEMINFO = 55  # asm-generic/socket.h, since Linux 4.12
_MEMINFO_SNDBUF, _MEMINFO_WMEM_QUEUED = 3, 5  # linux/sock_diag.h
_FIONSPACE = 0x40046676  # sys/filio.h, FreeBSD
_UNBOUNDED = 1 << 30
MSG_MORE = 0x8000  # linux/socket.h; not in the socket module on FreeBSD


class NotResident(Exception):  # noqa: N818 - a fact about the range, not a failure
    """The bytes asked for are not in memory; nothing was sent (FreeBSD only)."""


class FileError(OSError):
    """The file cannot be read, whatever the number says: a disk's server may use a socket's too."""

    @classmethod
    def of(cls, error: OSError) -> FileError:
        return cls(error.errno, error.strerror)


class Sender(Protocol):
    """One operating system's way to send a head and bytes of a file."""

    asks_residency: bool  # whether the caller must know that bytes are resident before `send`

    def send(self, sock: socket.socket, head: bytes, file: int, offset: int, count: int) -> int:
        """Send on the event loop. Raises BlockingIOError, NotResident, or OSError."""

    def send_bytes(self, sock: int, file: int, offset: int, count: int, /) -> int:
        """The same without a head, between two descriptors."""

    def cork(self, sock: socket.socket, *, corked: bool) -> None:
        """Send whole segments only, until uncorked. Raises OSError."""

    def grant_buffer(self, size: int) -> int:
        """`size` if sockets may have send buffers of so many bytes, else 0."""

    def raise_buffer(self, sock: socket.socket, size: int) -> None:
        """Have the socket take `size` bytes or more that nobody acknowledged. Raises OSError."""

    def send_cold(
        self, sock: socket.socket, head: bytes, file: int, offset: int, count: int
    ) -> int:
        """Send from a thread, waiting for the disk.

        Raises FileError for what is the file's fault, BlockingIOError or OSError for the socket's.

        The head goes out when the first bytes of the body are in memory, not before: a disk that
        cannot be read is found out while there is still a choice of answers.
        """


class LinuxSender:
    """`send(MSG_MORE)` and `sendfile(2)`."""

    asks_residency = True
    send_bytes = staticmethod(os.sendfile)

    def __init__(self) -> None:
        self._nowhere = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)

    def cork(self, sock: socket.socket, *, corked: bool) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, corked)

    def grant_buffer(self, size: int) -> int:
        with socket.socket() as trial:
            self.raise_buffer(trial, size)
            granted = trial.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return size if granted >= size else 0

    def raise_buffer(self, sock: socket.socket, size: int) -> None:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < size:
            # The kernel takes no more than net.core.wmem_max, and doubles it (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size // 2)

    def send(self, sock: socket.socket, head: bytes, file: int, offset: int, count: int) -> int:
        if not head:
            return os.sendfile(sock.fileno(), file, offset, count)
        if count <= _COPY_BYTES:
            return sock.send(head + os.pread(file, count, offset))
        taken = sock.send(head, MSG_MORE)
        if taken < len(head):
            return taken
        try:
            return taken + os.sendfile(sock.fileno(), file, offset, count)
        except OSError:  # the head is gone; the next call, without one, meets the same again
            return taken

    def send_cold(
        self, sock: socket.socket, head: bytes, file: int, offset: int, count: int
    ) -> int:
        if head:
            self._fetch(file, offset, min(count, _FIRST_BYTES))
            return self.send(sock, head, file, offset, count)
        try:
            return _send_file(sock.fileno(), file, offset, count)
        except OSError as error:
            self._fetch(file, offset, 1)  # whose fault is it?
            if error.errno == errno.EINTR:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
            raise

    def _fetch(self, file: int, offset: int, count: int) -> None:
        """Sending to nowhere is reading into memory, without a copy. Raises FileError."""
        try:
            insist(lambda: _send_file(self._nowhere, file, offset, count))
        except OSError as error:
            raise FileError.of(error) from error


def _send_file(out: int, file: int, offset: int, count: int) -> int:
    """As os.sendfile, which would repeat EINTR of a file system for ever. Raises OSError."""
    return check(_sendfile(out, file, ctypes.byref(ctypes.c_long(offset)), count))


class FreeBsdSender:
    """`sendfile(2)` with headers and flags. `system` stands for `os`, so that a test can be it."""

    asks_residency = False

    def __init__(self, system: Any = os) -> None:  # Any: its sendfile has other parameters here
        self._sendfile = system.sendfile
        self._flags = system.SF_NODISKIO

    def cork(self, sock: socket.socket, *, corked: bool) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOPUSH, corked)

    def grant_buffer(self, size: int) -> int:
        return 0  # not measured there

    def raise_buffer(self, sock: socket.socket, size: int) -> None:
        raise NotImplementedError("none is granted")

    def send(self, sock: socket.socket, head: bytes, file: int, offset: int, count: int) -> int:
        return self._send(sock.fileno(), file, offset, count, [head] if head else None)

    def send_bytes(self, sock: int, file: int, offset: int, count: int, /) -> int:
        return self._send(sock, file, offset, count, None)

    def _send(
        self, sock: int, file: int, offset: int, count: int, headers: list[bytes] | None
    ) -> int:
        try:
            return int(
                self._sendfile(sock, file, offset, count, headers=headers, flags=self._flags)
            )
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise NotResident from error
            raise

    def send_cold(
        self, sock: socket.socket, head: bytes, file: int, offset: int, count: int
    ) -> int:
        if head:  # FreeBSD sends later what it has to read first, and then it is too late
            try:
                os.pread(file, 1, offset)
            except OSError as error:
                raise FileError.of(error) from error
        headers = [head] if head else None
        return int(self._sendfile(sock.fileno(), file, offset, count, headers=headers))


def whole_step(position: int, step_bytes: int, left: int) -> int:
    """A step that ends on a boundary of the file, so that no later step is a crumb.

    A socket rarely fills up at the end of a page; without this, each range would end with an extra
    step for what the last full one left over.
    """
    return min(left, step_bytes + -(position + step_bytes) % BOUNDARY_BYTES)


def queued_bytes(sock: socket.socket) -> int:
    """Bytes that the socket holds until the peer acknowledges them; 0 where that cannot be said."""
    answer = array("i", [0])
    try:
        fcntl.ioctl(sock, _OUTPUT_QUEUE, answer)
    except OSError:
        return 0
    return answer[0]


def room_bytes(sock: socket.socket) -> int:
    """Bytes that the socket takes now, or a few more; where that cannot be said, very many.

    Linux counts the memory that they lie in, which is up to 1.4 times as much (measured).
    """
    try:
        if sys.platform == "linux":
            state = memoryview(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)).cast("I")
            return max(0, state[_MEMINFO_SNDBUF] - state[_MEMINFO_WMEM_QUEUED]) * 2 // 3
        answer = array("i", [0])
        fcntl.ioctl(sock, _FIONSPACE, answer)
    except OSError:  # not of this kind, or closed, which sending will find out
        return _UNBOUNDED
    return max(0, answer[0])


def reset_on_close(sock: socket.socket) -> None:
    """Have closing drop what the socket still holds."""
    with suppress(OSError):  # closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def bound_patience(sock: socket.socket, most_s: float) -> None:
    """Bound how long the kernel, alone with a closed socket, tries to deliver what it holds.

    Not for open ones: where the receiver's window is about a segment, Linux counts the time since
    it was last closed, and resets a client that acknowledges all the while (measured: Linux 6.18).
    """
    if sys.platform == "linux":
        with suppress(OSError):  # not TCP, or closed already
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, max(1, int(most_s * 1000)))


def system_sender() -> Sender:
    """The sender of the running system."""
    return FreeBsdSender() if sys.platform.startswith("freebsd") else LinuxSender()
