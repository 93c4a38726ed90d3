"""A client's connection over TLS: as a plain one, with records between it and the socket.

The end of the records (close_notify) is the end of what the client sends; the end of the connection
without it is taken for the same, as browsers leave it out and a head that is cut is none anyway.
"""

from __future__ import annotations

import socket
import ssl

from ocaserve.protocol.exchange import State
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.connection import RECEIVE_BODY_BYTES, RECEIVE_BYTES, Connection
from ocaserve.serving.records import Records
from ocaserve.serving.services import Services
from ocaserve.serving.tls_transfer import BATCH_BYTES, TlsTransfer

_MOST_BACKLOG = 2 * BATCH_BYTES  # a batch, and more answers to key updates than anyone needs


class TlsConnection(Connection):
    """A connection whose handshake is done. `early` is what the client sent right behind it."""

    __slots__ = ("_records",)

    _transfer: TlsTransfer  # type: ignore[mutable-override]  # set once, by _new_transfer

    def __init__(
        self, services: Services, sock: socket.socket, address: bytes, records: Records
    ) -> None:
        self._records = records
        super().__init__(services, sock, address)

    def _new_transfer(self) -> TlsTransfer:
        return TlsTransfer(self._services, self.sock, self, self._records)

    def begin(self, early: bytes) -> None:
        """Take what the client sent right behind its handshake; send what OpenSSL said last."""
        if self._records.output:
            self._transfer.send_output()
        if early:
            self._on_records(early)

    def _on_readable(self) -> None:
        try:
            data = self.sock.recv(RECEIVE_BYTES if self._upload is None else RECEIVE_BODY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close(CloseReason.CLIENT_GONE)
            return
        if data:
            self._on_records(data)
        else:
            self._on_eof()

    def _on_records(self, data: bytes) -> None:
        records, transfer = self._records, self._transfer
        try:
            plaintext = records.decrypt(data)
        except ssl.SSLError:
            transfer.send_output()
            self.close(CloseReason.TLS_ERROR)
            return
        if records.output:
            transfer.send_output()
            if transfer.backlog > _MOST_BACKLOG:
                self.close(CloseReason.TLS_ERROR)
                return
        if plaintext:
            self._on_received(plaintext)
        if records.is_ended and self.state is not State.CLOSED:
            self._on_eof()

    def _send_interim(self, head: bytes) -> int:
        self._records.output += self._records.encrypt(head)
        self._transfer.send_output()
        return len(head)

    def _shut_down(self) -> None:
        self._records.say_goodbye()
        self._transfer.send_output()
        super()._shut_down()

    def close(self, reason: CloseReason) -> None:
        if self.state is not State.CLOSED and not reason.is_error:
            self._records.say_goodbye()
            self._transfer.send_output()
        super().close(reason)
