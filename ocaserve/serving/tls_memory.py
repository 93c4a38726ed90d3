"""TLS between bytes in memory: what goes in and comes out of OpenSSL, without a socket.

All connections of a worker share one pair of OpenSSL's memory buffers. Each call here fills them,
has OpenSSL work, and leaves them empty, on the one thread of the event loop; so nothing of one
connection can be there when another's turn comes. A pair for each connection would cost each of
them, idle or not, as much memory as its largest batch.
"""

from __future__ import annotations

import ssl

_MOST_BYTES = 16 * 1024  # of plaintext in a record (RFC 8446 section 5.1)

_incoming = ssl.MemoryBIO()
_outgoing = ssl.MemoryBIO()


class Records:
    """The server's end of one TLS connection.

    `output` is what OpenSSL itself has to say (handshake, tickets, key updates, alerts), for the
    caller to send and clear. `is_ended`: the client has said that it sends no more (close_notify).
    """

    __slots__ = ("_tls", "is_ended", "output")

    def __init__(self, front: ssl.SSLContext) -> None:
        self._tls = front.wrap_bio(_incoming, _outgoing, server_side=True)
        self.output = b""
        self.is_ended = False

    @property
    def is_resumed(self) -> bool:
        """Whether the handshake continued an earlier session."""
        return bool(self._tls.session_reused)

    def handshake(self, data: bytes) -> bytes | None:
        """Go on with what the client sent. None: more is needed.

        When the handshake is done, what the client sent behind it, for `decrypt`. Raises
        ssl.SSLError; an alert is then in `output`.
        """
        _incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return None
        else:
            return _incoming.read()
        finally:
            self._empty()

    def decrypt(self, data: bytes) -> bytes:
        """The plaintext of all records that are whole. Raises ssl.SSLError."""
        if self.is_ended:
            return b""
        _incoming.write(data)
        tls = self._tls
        plaintext = b""
        try:
            while _incoming.pending or tls.pending():
                part = tls.read(_MOST_BYTES)
                if not part:
                    self.is_ended = True
                    break
                plaintext = plaintext + part if plaintext else part
        except ssl.SSLWantReadError:
            pass
        finally:
            if _incoming.pending or _outgoing.pending:
                self._empty()
        return plaintext

    def encrypt(self, plaintext: bytes | memoryview) -> bytes:
        """Records of it. Raises ssl.SSLError: half a message of the client must come to its end
        before, as nothing may stand between its parts (RFC 8446 section 5.1).
        """
        try:
            self._tls.write(plaintext)
        except Exception:
            self._empty()  # what is in there is this client's, and for no other
            raise
        return _outgoing.read()

    def say_goodbye(self) -> None:
        """Put close_notify into `output`: what came before was all."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # it waits for the client's, or the connection is broken already
            pass
        finally:
            self._empty()

    def _empty(self) -> None:
        _incoming.read()
        self.output += _outgoing.read()
