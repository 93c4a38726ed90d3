"""TLS in the kernel: OpenSSL does the handshake, the kernel encrypts what `sendfile` sends.

Nothing goes past OpenSSL unless the kernel has said that it holds the keys of this connection (see
`kernel_tls`). If it does not hold them, OpenSSL goes on encrypting: the response is read in batches
as in `records_outlet`, and OpenSSL writes them record by record.

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
from ocaserve.serving.endless_reading import is_endless
from ocaserve.serving.outlet import KERNEL, FileOutlet, Outlet, OutletParts, Owner
from ocaserve.serving.records_outlet import RecordsOutlet

OP_ENABLE_KTLS = 8  # openssl/ssl.h: SSL_OP_ENABLE_KTLS; in the ssl module since Python 3.12
_RECEIVE_BYTES = 4 * 1024
_MOST_USELESS = 64  # a record that comes in small segments takes a dozen readings
_TRIAL_S = 2.0
_WOULD_BLOCK = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class KtlsSocket(ssl.SSLSocket):
    """A socket whose `send` leaves the encryption to the kernel, once that has the keys.

    It fails as a plain socket does, so that what sends need not know of TLS.
    """

    is_offloaded = False
    records = 0  # see `endless_reading`

    def offload(self) -> bool:
        """Leave it to the kernel from now on, if that has the keys; says whether it has."""
        self.is_offloaded = has_keys(self)
        return self.is_offloaded

    def send(self, data: Any, flags: int = 0) -> int:
        """Raises BlockingIOError, ssl.SSLError, or OSError with the number of a socket's error.

        OpenSSL that wants to read before it writes has half a message of the client (`records`):
        that is an error, as no readiness to write would end it.
        """
        if self.is_offloaded:
            return socket.socket.send(self, data, flags)
        try:
            return self.write(data)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Empty at the end. Raises BlockingIOError, ssl.SSLWantWriteError when OpenSSL has
        something to say before, or OSError (ssl.SSLError: it is not TLS).
        """
        try:
            return super().recv(buflen, flags)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except OSError as error:
            if error.errno == errno.EIO:  # the kernel's word for an end without close_notify
                return b""
            raise

    def say_goodbye(self) -> None:
        """Send close_notify: what came before was all."""
        with suppress(OSError, ValueError):  # it waits for the client's, or there was an end before
            self.unwrap()


class OnSocket:
    """TLS by OpenSSL on the socket itself: its `TlsSession`, and `Maker` where it encrypts as well.

    In a `RecordsOutlet` the socket makes the records itself.
    """

    reads_while_waiting = False  # in the middle of a record OpenSSL could not answer the client

    __slots__ = ("_sock", "_useless", "is_ended", "output")

    def __init__(self, sock: KtlsSocket) -> None:
        self.is_ended = False  # a socket that has come to its end stays readable
        self.output = b""  # OpenSSL sends it itself
        self._sock = sock
        self._useless = 0  # readings in a row that brought no byte for us

    def receive(self, _: int, /) -> bytes:
        """Read all that OpenSSL has: what is in its hands does not make the socket readable."""
        sock = self._sock
        try:
            data = sock.recv(_RECEIVE_BYTES)
            while more := data and sock.pending():
                data += sock.recv(more)
        except (BlockingIOError, InterruptedError):
            self._useless += 1
            if self._useless > _MOST_USELESS:
                raise ssl.SSLError("nothing of use in many records") from None
            raise
        except ssl.SSLWantWriteError:
            raise
        except OSError as error:
            if is_endless(sock):
                raise ssl.SSLError("records without end") from error
            raise
        if is_endless(sock):
            raise ssl.SSLError("records without end")
        self._useless = sock.records = 0
        return data

    def has_received(self) -> bool:
        """Whether OpenSSL has already what the client sent right behind its handshake."""
        return bool(self._sock.pending())

    begin = has_received

    def encrypt(self, plaintext: bytes | memoryview) -> bytes:
        """A copy: the batch's buffer is for the next connection."""
        return bytes(plaintext)

    def say_goodbye(self) -> None:
        self._sock.say_goodbye()


def open_on_socket(parts: OutletParts, sock: socket.socket, owner: Owner) -> Outlet:
    """The outlet of a connection for which OpenSSL has the socket."""
    assert isinstance(sock, KtlsSocket)
    session = OnSocket(sock)
    if sock.offload():
        return FileOutlet(parts.sender, sock, KERNEL, session)
    return RecordsOutlet(parts.backlogs, owner, sock, session)


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
