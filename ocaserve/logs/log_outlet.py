"""Where the log goes out: a descriptor that may be slow, full or forgotten, and is not waited for.

Whoever reads standard error may stop reading (a pipe to a program that hangs, a terminal that was
told to wait), and a write to it would then stop the process. So nothing here waits. What is not
taken at once stays in a bounded buffer; what has no room there is dropped and counted, and a line
says so when the rest has gone out.

The descriptor is shared with others: setting O_NONBLOCK on it would change theirs as well. A
socket, as systemd gives, takes a flag with each call. Of a pipe or terminal Linux lets us open a
description of our own. Elsewhere poll(2) is asked first, for pieces that a pipe takes whole.
"""

from __future__ import annotations

import io
import os
import select
import socket
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MOST_WAITING_BYTES = 262_144  # some thousand lines: seconds of a reader that is busy

Put = Callable[[bytes], int]  # takes what can be taken now; raises OSError, also for nothing
Close = Callable[[], None]


class LogOutlet:
    """Lines for a descriptor, in order. Safe to use from several threads.

    describe: makes the line that tells how many were dropped. close: lets go of what it opened.
    """

    def __init__(self, descriptor: int, describe: Callable[[int], bytes]) -> None:
        self.dropped = 0  # lines, since it was last told
        self._put, self.close = open_put(descriptor)
        self._describe = describe
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lock = threading.RLock()

    def write(self, line: bytes) -> None:
        """Take a line, with its line end."""
        with self._lock:
            if self._waiting_bytes + len(line) > MOST_WAITING_BYTES:
                self.flush()
            if self._waiting_bytes + len(line) > MOST_WAITING_BYTES:
                self.dropped += 1
                return
            self._keep(line)
            self.flush()

    def flush(self) -> None:
        """Put out what is taken now."""
        with self._lock, suppress(OSError):
            self._drain()
            if self.dropped:
                self._keep(self._describe(self.dropped))
                self.dropped = 0
                self._drain()

    def _keep(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _drain(self) -> None:
        """Raises OSError when no more is taken; of a line that was begun the rest stays first."""
        while self._waiting:
            line = self._waiting[0]
            taken = self._put(line)
            self._waiting_bytes -= taken
            if taken == len(line):
                self._waiting.popleft()
            else:
                self._waiting[0] = line[taken:]

    def forget(self) -> None:
        """In a forked child: what waits is the parent's to say."""
        self._lock = threading.RLock()
        self._waiting.clear()
        self._waiting_bytes = self.dropped = 0


class _Raw(io.RawIOBase):
    def __init__(self, outlet: LogOutlet) -> None:
        self._outlet = outlet

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        line = bytes(data)
        self._outlet.write(line)
        return len(line)


def stream_into(outlet: LogOutlet) -> TextIO:
    """A stand-in for `sys.stderr`, for what writes there without asking the log."""
    raw = io.BufferedWriter(_Raw(outlet))
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)


def open_put(descriptor: int) -> tuple[Put, Close]:
    """What writes to it without waiting (to a regular file as fast as the disk), and lets go."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # it is closed: nobody wants to hear
        return len, _nothing
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT), sock.close
    if stat.S_ISREG(mode):
        return partial(os.write, descriptor), _nothing
    own = _open_anew(descriptor)
    if own is None:
        return _asking_put(descriptor), _nothing
    return partial(os.write, own), partial(os.close, own)


def _nothing() -> None:
    """Close what is not ours."""


def _open_anew(descriptor: int) -> int | None:
    """A description of our own; None where there is none to be had."""
    if not sys.platform.startswith("linux"):  # others duplicate: it would be the shared one
        return None
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:  # another user's, from before we gave up being root
        return None


def _asking_put(descriptor: int) -> Put:
    """Others who write to the same pipe at the same moment may still make it wait."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)

    def put(data: bytes) -> int:
        if not poll.poll(0):
            raise BlockingIOError
        return os.write(descriptor, data[: select.PIPE_BUF])

    return put
