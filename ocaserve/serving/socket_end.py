"""What every outlet does with its socket at the end of a connection, and nothing before."""

from __future__ import annotations

import socket
from contextlib import suppress

from ocaserve.serving.sending import bound_patience, queued_bytes, reset_on_close


class SocketEnd:
    """Of a socket, plain or with TLS."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def queued_bytes(self) -> int:
        """Bytes that the socket has and the client has not acknowledged."""
        return queued_bytes(self._sock)

    def shut_write(self) -> None:
        """Close our side. Raises OSError."""
        _shut_down(self._sock, socket.SHUT_WR)

    def cut(self) -> None:
        """End the connection, without closing the descriptor: a thread may be sending."""
        with suppress(OSError):  # the client may have gone already
            _shut_down(self._sock, socket.SHUT_RDWR)

    def drop_on_close(self) -> None:
        """Have closing drop what the socket still holds."""
        reset_on_close(self._sock)

    def bound_patience(self, most_s: float) -> None:
        """Bound how long the kernel, alone with the closed socket, tries to deliver that."""
        bound_patience(self._sock, most_s)

    def close(self) -> None:
        self._sock.close()


def _shut_down(sock: socket.socket, how: int) -> None:
    """As `sock.shutdown`, which SSLSocket has made to forget the keys. Raises OSError."""
    socket.socket.shutdown(sock, how)
