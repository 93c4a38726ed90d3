"""TLS in the kernel: OpenSSL does the handshake, the kernel encrypts what `sendfile` sends.

Nothing goes past OpenSSL unless the kernel has said that it holds the keys of this connection (see
`kernel_tls`). If it does not hold them, OpenSSL goes on encrypting: the response is read in batches
as in `tls_transfer`, and OpenSSL writes them record by record.

Python has no SSLSocket.sendfile before 3.15, but the socket's own calls do: `send` with MSG_MORE
for the head, `sendfile` for the body. The kernel makes records of them.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
from contextlib import suppress
from typing import Any

from ocaserve.kernel_tls import has_keys
from ocaserve.protocol.exchange import State
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.connection import RECEIVE_BYTES, Connection
from ocaserve.serving.counters import Count
from ocaserve.serving.tls_transfer import TlsTransfer
from ocaserve.serving.transfer import Transfer

OP_ENABLE_KTLS = 8  # openssl/ssl.h: SSL_OP_ENABLE_KTLS; in the ssl module since Python 3.12
_TRIAL_S = 2.0
_WOULD_BLOCK = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class KtlsSocket(ssl.SSLSocket):
    """A socket whose `send` leaves the encryption to the kernel, once that has the keys.

    It fails as a plain socket does, so that what sends need not know of TLS.
    """

    is_offloaded = False

    def offload(self) -> bool:
        """Leave it to the kernel from now on, if that has the keys; says whether it has."""
        self.is_offloaded = has_keys(self)
        return self.is_offloaded

    def send(self, data: Any, flags: int = 0) -> int:
        """Raises BlockingIOError, or OSError with the number of a socket's error."""
        if self.is_offloaded:
            return socket.socket.send(self, data, flags)
        try:
            return self.write(data)
        except _WOULD_BLOCK:
            raise BlockingIOError from None
        except ssl.SSLError as error:
            raise ConnectionResetError(errno.ECONNRESET, str(error.reason)) from error

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Empty at the end. Raises BlockingIOError, or OSError (ssl.SSLError: it is not TLS)."""
        try:
            return super().recv(buflen, flags)
        except _WOULD_BLOCK:
            raise BlockingIOError from None
        except OSError as error:
            if error.errno == errno.EIO:  # the kernel's word for an end without close_notify
                return b""
            raise

    def say_goodbye(self) -> None:
        """Send close_notify: what came before was all."""
        with suppress(OSError, ValueError):  # it waits for the client's, or there was an end before
            self.unwrap()

    def close_writing(self) -> None:
        """Shut down our side, and go on reading. Raises OSError."""
        socket.socket.shutdown(self, socket.SHUT_WR)  # SSLSocket's would forget the keys


class KtlsTransfer(Transfer):
    """The ordinary transfer, on a socket that encrypts; counted by itself."""

    __slots__ = ()

    hot_place = cold_place = int(Count.BYTES_KTLS)

    def _break_off(self, error: OSError) -> None:
        if error.errno == errno.EBADMSG:  # the socket's, where all others may be the file's
            self._end(CloseReason.TLS_ERROR)
        else:
            super()._break_off(error)


class Unchanged:
    """In place of `Records` where the socket makes the records itself."""

    output = b""

    def encrypt(self, plaintext: bytes | memoryview) -> bytes:
        """A copy: the batch's buffer is for the next connection."""
        return bytes(plaintext)


class KtlsConnection(Connection):
    """A connection whose socket encrypts: in the kernel if it can, else in OpenSSL."""

    __slots__ = ()

    sock: KtlsSocket  # type: ignore[mutable-override]  # set once, to what it was made with

    def _new_transfer(self) -> Transfer:
        if self.sock.offload():
            return KtlsTransfer(self._services, self.sock, self)
        return TlsTransfer(self._services, self.sock, self, Unchanged())

    def _on_readable(self) -> None:
        """Read all that OpenSSL has: what is in its hands does not make the socket readable."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
            while more := data and self.sock.pending():
                data += self.sock.recv(more)
        except (BlockingIOError, InterruptedError):
            return
        except ssl.SSLError:
            self.close(CloseReason.TLS_ERROR)
        except OSError:
            self.close(CloseReason.CLIENT_GONE)
        else:
            if data:
                self._on_received(data)
            else:
                self._on_eof()

    def begin(self) -> None:
        """Take what the client sent right behind its handshake, if OpenSSL has it already."""
        if self.sock.pending():
            self._on_readable()

    def _shut_down(self) -> None:
        self.sock.say_goodbye()
        self.sock.close_writing()

    def close(self, reason: CloseReason) -> None:
        if self.state is not State.CLOSED and not reason.is_error:
            self.sock.say_goodbye()
        super().close(reason)


def works(front: ssl.SSLContext) -> bool:
    """Whether OpenSSL and the kernel together do it: tried with a connection to ourselves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # we speak to ourselves
    for sock in (near, far):
        sock.setblocking(False)
    with (
        context.wrap_socket(near, do_handshake_on_connect=False) as client,
        front.wrap_socket(far, server_side=True, do_handshake_on_connect=False) as server,
    ):
        waiting = ready = [client, server]
        while ready:
            waiting = [side for side in waiting if side not in ready or not _advance(side)]
            ready = select.select(waiting, (), (), _TRIAL_S)[0] if waiting else []
        return not waiting and has_keys(server)


def _advance(side: ssl.SSLSocket) -> bool:
    try:
        side.do_handshake()
    except _WOULD_BLOCK:
        return False
    return True
