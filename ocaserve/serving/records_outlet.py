"""The sending of a response over TLS in user space: batches of records, one call each.

OpenSSL on a socket writes every 16 KiB record with a call of its own; kernel and client then handle
many small segments. Here a batch of plaintext is read into one buffer that all connections of the
worker share, encrypted into memory, and sent with one call: measured at 64 KiB to 8 MiB, 2.1 to 2.7
times the requests of a server that writes records, for three quarters of its CPU time.

A batch is no longer than the socket has room for, and what that does not take is kept: a record of
a client that does not read, a batch in the worst case; an idle connection holds nothing. All of a
worker together have a bound (see `backlog`).

The end of the records (close_notify) is the end of what the client sends; the end of the connection
without it is taken for the same, as browsers leave it out and a head that is cut is none anyway.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from ocaserve.serving.backlog import Backlog, Backlogs
from ocaserve.serving.outlet import RECORDS, OutletParts, Owner, read_ahead
from ocaserve.serving.pool import Work
from ocaserve.serving.sending import FileError, room_bytes
from ocaserve.serving.socket_end import SocketEnd
from ocaserve.serving.tls_memory import Records
from ocaserve.stores.reading import read_bytes

BATCH_BYTES = 512 * 1024  # half as much costs 5 % at 1 MiB and more

RECORD_BYTES = 16 * 1024  # of plaintext, at the most (RFC 8446 section 5.1)
_MOST_SAID_BYTES = 4 * 1024  # 150 answers to key updates, of which no client needs two
_MOST_USELESS_BYTES = 2 * RECORD_BYTES  # received in a row without a byte for us: key updates

_HEAD_BYTES = 16 * 1024  # that may stand before a batch; more go by themselves
_plaintext = bytearray(_HEAD_BYTES + BATCH_BYTES)
_plaintext_view = memoryview(_plaintext)


class Maker(Protocol):
    """The end of TLS that makes the records of a `RecordsOutlet`.

    output: records of its own, to be sent. is_ended: the client has said that it sends no more.
    """

    reads_while_waiting: bool  # whether it may receive while records wait for the socket
    output: bytes
    is_ended: bool

    def receive(self, most: int) -> bytes:
        """See `Outlet`; what is in `output` then is to be sent, also when it raises."""

    def has_received(self) -> bool:
        """Whether something came with the handshake."""

    @property
    def encrypt(self) -> Callable[[bytes | memoryview], bytes]:
        """To bytes for the socket, no longer those that were given. Raises ssl.SSLError."""

    def say_goodbye(self) -> None:
        """Send close_notify, or put it into `output`."""


class RecordsOutlet:
    """A socket that is given records, or makes them itself of what `maker` leaves to it."""

    kind = RECORDS
    asks_residency = True
    pour = None  # no bytes of a file reach this socket as they are
    is_large = True  # a batch is made for the room that there is

    __slots__ = ("_backlog", "_backlogs", "_encrypt", "_maker", "_said", "_sock", "end", "is_ended")

    def __init__(self, backlogs: Backlogs, owner: Owner, sock: socket.socket, maker: Maker) -> None:
        self._backlogs = backlogs
        self._backlog = Backlog(backlogs, owner)
        self._encrypt = maker.encrypt
        self._maker = maker
        self._said = 0  # bytes of OpenSSL's own since the socket last took any
        self._sock = sock
        self.end = SocketEnd(sock)
        self.is_ended = False

    @property
    def waiting(self) -> int:
        return self._backlog.bytes

    def receive(self, most: int, /) -> bytes:
        """Raises ssl.SSLError also for more of OpenSSL's own bytes than anyone needs."""
        maker = self._maker
        if self._backlog.bytes and not maker.reads_while_waiting:
            raise ssl.SSLWantWriteError
        try:
            return maker.receive(most)
        finally:
            self.is_ended = maker.is_ended
            if maker.output:
                self._say()

    # -- sending ---------------------------------------------------------------------------------

    def portion(self, position: int, left: int, most: int, *, is_writable: bool) -> int:
        """How much to encrypt now: what the socket does not take would have to be kept."""
        if left <= RECORD_BYTES:
            return left
        room = room_bytes(self._sock) // RECORD_BYTES * RECORD_BYTES
        if not room and is_writable:
            return RECORD_BYTES  # the kernel says that there is room for something
        return min(left, room, BATCH_BYTES)

    def send(self, head: bytes, file: int, position: int, count: int) -> int:
        start = len(head)
        if start > _HEAD_BYTES:
            return self.write(head)
        _plaintext[:start] = head
        try:
            read = os.preadv(file, [_plaintext_view[start : start + count]], position)
        except OSError as error:
            raise FileError.of(error) from error
        return self.write(_plaintext_view[: start + read]) if read else 0

    def send_whole(self, head: bytes, file: int, position: int, count: int) -> int:
        """Send a small response that the socket has room for; the caller knows it in memory."""
        start = len(head)
        if count > self.portion(position, count, count, is_writable=False):
            raise BlockingIOError
        _plaintext[:start] = head
        if os.preadv(file, [_plaintext_view[start : start + count]], position) < count:
            raise BlockingIOError
        return self.write_whole(_plaintext_view[: start + count])

    def write_whole(self, data: bytes | memoryview) -> int:
        backlog = self._backlog
        if backlog.bytes:
            raise BlockingIOError
        if backlog.send(self._sock, self._encrypt(data)):
            self._said = 0
        return len(data) - backlog.bytes

    def write(self, data: bytes | memoryview) -> int:
        if self._backlog.send(self._sock, self._encrypt(data)):
            self._said = 0
        return len(data)

    def flush(self) -> None:
        if self._backlog.send(self._sock):
            self._said = 0

    def shed(self) -> None:
        self._backlogs.shed()

    def forget(self) -> int:
        waiting = self._backlog.bytes
        self._backlog.forget()
        return waiting

    def interim(self, head: bytes) -> int:
        taken = self.write(head)
        self.shed()
        return taken

    def _say(self) -> None:
        """Send what OpenSSL itself has to say, behind what waits.

        What the socket does not take goes before the next response, or with the rest of this one.
        Raises ssl.SSLError if more waits already than anyone needs.
        """
        maker = self._maker
        output, maker.output = maker.output, b""
        self._said += len(output)
        with suppress(OSError):  # gone, which the next read will find out
            if self._backlog.send(self._sock, output):
                self._said = 0
        self.shed()
        if self._said > _MOST_SAID_BYTES:
            raise ssl.SSLError("more to say than the client takes")

    # -- waiting for the disk --------------------------------------------------------------------

    def cold_work(self, head: bytes, file: int, position: int, count: int, ahead: int) -> Work:
        """The thread reads; OpenSSL is for the event loop alone."""
        return partial(_read, file, count, position, ahead)

    def take_cold(self, head: bytes, outcome: object) -> int:
        assert isinstance(outcome, bytes)
        return self.write(head + outcome) if outcome else 0

    # -- the socket ------------------------------------------------------------------------------

    def cork(self, *, corked: bool) -> None:
        """Batches are large, and what they end with must not wait."""

    def enlarge(self, size: int) -> None:
        """It is given what it has room for."""

    def begin(self) -> bool:
        if self._maker.output:
            self._say()
        return self._maker.has_received()

    def say_goodbye(self) -> None:
        self._maker.say_goodbye()
        if self._maker.output:
            with suppress(ssl.SSLError):
                self._say()


class InMemory:
    """Records that are made in memory (see `records`), and those that come from the socket.

    early: what the client sent right behind its handshake.
    """

    reads_while_waiting = True

    __slots__ = ("_early", "_records", "_sock", "_useless", "encrypt", "is_ended", "output")

    def __init__(self, sock: socket.socket, records: Records, early: bytes) -> None:
        self._early = early
        self._records = records
        self._sock = sock
        self._useless = 0  # bytes received since the last that were of use
        self.encrypt = records.encrypt
        self.is_ended = False
        self.output, records.output = records.output, b""

    def has_received(self) -> bool:
        return bool(self._early)

    def receive(self, most: int) -> bytes:
        data, self._early = self._early or self._sock.recv(most), b""
        if not data:
            return b""
        records = self._records
        try:
            plaintext = records.decrypt(data)
        finally:
            self._take_output()
        self.is_ended = records.is_ended
        if plaintext:
            self._useless = 0
            return plaintext
        self._useless += len(data)
        if self._useless > _MOST_USELESS_BYTES:
            raise ssl.SSLError("nothing of use in many records")
        if self.is_ended:
            return b""
        raise BlockingIOError

    def say_goodbye(self) -> None:
        self._records.say_goodbye()
        self._take_output()

    def _take_output(self) -> None:
        records = self._records
        if records.output:
            self.output, records.output = self.output + records.output, b""


def _read(file: int, count: int, position: int, ahead: int) -> bytes:
    """Runs in a thread, which the disk may keep waiting."""
    read_ahead(file, position, ahead)
    try:
        return read_bytes(file, count, position)
    except OSError as error:
        raise FileError.of(error) from error


def open_records(
    records: Records, early: bytes, parts: OutletParts, sock: socket.socket, owner: Owner
) -> RecordsOutlet:
    """The outlet of a connection whose handshake was done in memory."""
    return RecordsOutlet(parts.backlogs, owner, sock, InMemory(sock, records, early))
