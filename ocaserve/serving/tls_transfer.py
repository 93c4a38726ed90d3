"""The sending of a response over TLS in user space: batches of records, one call each.

OpenSSL on a socket writes every 16 KiB record with a call of its own; kernel and client then handle
many small segments. Here a batch of plaintext is read into one buffer that all connections of the
worker share, encrypted into memory, and sent with one call: measured at 64 KiB to 8 MiB, 2.1 to 2.7
times the requests of a server that writes records, for three quarters of its CPU time.

Only what the socket did not take is kept, so a waiting connection holds at most one batch and what
OpenSSL had to say meanwhile, and an idle one nothing.
"""

from __future__ import annotations

import os
import socket
from functools import partial
from time import monotonic
from typing import Protocol

from ocaserve.protocol.messages import ResponsePlan
from ocaserve.serving.catalogue import OpenFile
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import Count
from ocaserve.serving.services import Services
from ocaserve.serving.transfer import Owner, Transfer, read_ahead

BATCH_BYTES = 512 * 1024  # half as much costs 5 % at 1 MiB and more

_COPIED = int(Count.BYTES_COPIED)
_HEAD_BYTES = 16 * 1024  # that may stand before a batch; more go by themselves
_plaintext = bytearray(_HEAD_BYTES + BATCH_BYTES)
_plaintext_view = memoryview(_plaintext)


class Encrypts(Protocol):
    """What makes records; see `records`, and `ktls` for when the socket does."""

    output: bytes

    def encrypt(self, plaintext: bytes | memoryview) -> bytes: ...


class TlsTransfer(Transfer):
    """As `Transfer`, but all that it sends is encrypted first."""

    __slots__ = ("_body", "_ciphertext", "_counted", "_records")

    def __init__(
        self, services: Services, sock: socket.socket, owner: Owner, records: Encrypts
    ) -> None:
        super().__init__(services, sock, owner)
        self._records = records
        self._ciphertext = memoryview(b"")  # encrypted and not yet taken by the socket
        self._body = 0  # bytes of body encrypted for this response
        self._counted = 0  # of them, those that the socket took and the counters know of

    @property
    def backlog(self) -> int:
        """Bytes that wait for the socket."""
        return len(self._ciphertext)

    def count_sent(self) -> int:
        """Bytes of body that the socket took so far, less some for the records around them."""
        self._count_steps()
        return self._counted

    def _count_steps(self) -> None:
        sent = self._body - len(self._ciphertext) - self._counted
        if sent > 0:
            self.from_file = self._counted = self._counted + sent
            self._services.counts[_COPIED] += sent
            if self._file is not None:
                self._services.counts[self._file.store.bytes_place] += sent

    def clear(self) -> None:
        self._body = self._counted = 0
        super().clear()

    def begin(self, plan: ResponsePlan, file: OpenFile | None) -> None:
        self._body = self._counted = 0
        if not self._send_at_once(plan, file):
            super().begin(plan, file)

    def _send_at_once(self, plan: ResponsePlan, file: OpenFile | None) -> bool:
        """Send a plan of one resident batch, without all that `_step` is ready for.

        Says whether it was one; nearly all responses are.
        """
        segments = plan.segments
        if len(segments) != 1 or self._ciphertext or file is None:
            return False
        position, stop = segments[0]
        plaintext = self._maybe_read(plan.head, file, position, stop)
        if plaintext is None:
            return False
        self._prepare(plan, file)
        self._head, self._next = b"", 1
        self._position = self._stop = stop
        self._body = stop - position
        self._ciphertext = memoryview(self._records.encrypt(plaintext))
        self._flush()
        return True

    def _maybe_read(
        self, head: bytes, file: OpenFile, position: int, stop: int
    ) -> bytes | memoryview | None:
        """A head and a range behind it, if it is one resident batch that can be read."""
        if file.content is not None:
            return head + file.content[position:stop]
        count, start = stop - position, len(head)
        residency = file.residency
        if count > BATCH_BYTES or start > _HEAD_BYTES or residency is None:
            return None
        if not residency.is_resident(position, stop, self._services.catalogue.tick):
            return None
        _plaintext[:start] = head
        try:
            read = os.preadv(file.descriptor, [_plaintext_view[start : start + count]], position)
        except OSError:  # `begin` meets it again and knows what to do
            return None
        return _plaintext_view[: start + count] if read == count else None

    def _step(self) -> None:
        """Send once: what is left of the last batch, or the next."""
        if self._ciphertext:
            self._flush()
            return
        file = self._file
        start = len(self._head)
        left = self._stop - self._position
        if file is None or not left or start > _HEAD_BYTES:
            self._encrypt(self._head)
            return
        if file.content is not None:
            self._send_content(file.content[self._position : self._stop])
            return
        if file.changed:
            self._end(CloseReason.SHORT_BODY)
            return
        count = min(left, BATCH_BYTES)
        if self._held and count == left and not self._is_verified(file):
            return
        residency, tick = file.residency, self._services.catalogue.tick
        position = self._position
        if residency is not None and residency.is_resident(position, position + count, tick):
            self._send_resident(file, start, count)
        else:
            self._step_cold(file, count)

    def _send_resident(self, file: OpenFile, start: int, count: int) -> None:
        _plaintext[:start] = self._head
        target = _plaintext_view[start : start + count]
        try:
            read = os.preadv(file.descriptor, [target], self._position)
        except OSError as error:
            self._break_off(error)
            return
        if not read:
            self._end(CloseReason.SHORT_BODY)
            return
        self._pass(read)
        self._encrypt(_plaintext_view[: start + read])

    def _send_content(self, content: bytes) -> None:
        self._pass(len(content))
        self._encrypt(self._head + content)

    def _pass(self, count: int) -> None:
        """So many bytes of the file are encrypted next."""
        self._position += count
        self._body += count

    def _encrypt(self, plaintext: bytes | memoryview) -> None:
        """Encrypt a batch, which includes what there was of the head, and send it."""
        self._head = b""
        self._add(self._records.encrypt(plaintext))
        self._flush()

    def _add(self, ciphertext: bytes) -> None:
        if self._ciphertext:
            ciphertext = bytes(self._ciphertext) + ciphertext
        self._ciphertext = memoryview(ciphertext)

    def _flush(self) -> None:
        try:
            taken = self._sock.send(self._ciphertext)
        except BlockingIOError:
            self._wait_until_writable()
            return
        except OSError as error:
            self._break_off(error)
            return
        if not self.first_byte:
            self.first_byte = monotonic()
        self._taken += taken
        self._ciphertext = self._ciphertext[taken:]
        if self._ciphertext:
            self._hold()
            self._progressed = monotonic()
            self._wait_until_writable()
        else:
            self._go_on(full=False)

    def send_output(self) -> None:
        """Send what OpenSSL itself has to say.

        Between responses it goes at once; the socket has room for it then, and what it does not
        take goes before the next response. During one it joins what waits to be sent, in the order
        in which it was encrypted.
        """
        self._add(self._records.output)
        self._records.output = b""
        if self._held:
            return
        try:
            taken = self._sock.send(self._ciphertext)
        except OSError:  # full, or gone, which the next read will find out
            taken = 0
        self._ciphertext = self._ciphertext[taken:]

    # -- waiting for the disk --------------------------------------------------------------------

    def _step_cold(self, file: OpenFile, count: int) -> None:
        """Have a thread read the next batch."""
        self._hold()
        self._begin_job()
        work = partial(_read, file.descriptor, count, self._position, self._ahead(file, count))
        file.store.reads.submit(work, partial(self._cold_done, count))

    def _cold_done(self, count: int, outcome: object) -> None:
        self._job = False
        if self._abandoned:
            self._leave()
        elif isinstance(outcome, OSError):
            self._break_off(outcome)
        elif isinstance(outcome, bytes) and outcome:
            self._begin_window()
            self._send_content(outcome)
        else:
            self._end(CloseReason.SHORT_BODY)


def _read(file: int, count: int, position: int, ahead: int) -> bytes:
    """Runs in a thread, which the disk may keep waiting."""
    read_ahead(file, position, ahead)
    return os.pread(file, count, position)
