"""The least of an HTTP client: sends a range request, reads the head, lets the body go unseen.

Over TLS it takes any certificate, and no cipher but the one that all servers are to be measured
with, which is the first choice of OpenSSL's clients.
"""

from __future__ import annotations

import json
import socket
import ssl

_FIELDS = (
    "Connection: keep-alive\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/140.0.0.0 Safari/537.36\r\n"
    "Accept: */*\r\n"
    "Accept-Encoding: identity;q=1, *;q=0\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n"
    "Origin: https://player.example.net\r\n"
    "Referer: https://player.example.net/watch/81234567\r\n"
)
_MOST_HEAD_BYTES = 4096
_PIECE_BYTES = 256 * 1024
CIPHER = ("TLS_AES_256_GCM_SHA384", "TLSv1.3")


class BadAnswer(Exception):  # noqa: N818 - it is an answer
    """The server did not answer with the status or the length asked for, or not with our cipher."""


def ask(port: int, key: str, first: int, last: int) -> bytes:
    """A request of nine header fields, as a web player sends it."""
    target = f"GET /{key} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    return f"{target}{_FIELDS}Range: bytes={first}-{last}\r\n\r\n".encode()


def body_bytes(head: bytes, status: int = 206) -> int:
    """The Content-Length of an answer with this status. Raises BadAnswer for any other head."""
    lines = head.lower().split(b"\r\n")
    lengths = [line[15:] for line in lines if line.startswith(b"content-length:")]
    if not lines[0].startswith(b"http/1.1 %d" % status) or len(lengths) != 1:
        raise BadAnswer(f"{lines[0]!r} with {len(lengths)} Content-Length")
    return int(lengths[0])


class Client:
    """One connection to the server on loopback, blocking. Raises OSError, BadAnswer."""

    def __init__(self, port: int, timeout_s: float = 10.0, *, is_tls: bool = False) -> None:
        self.received = 0
        self._port = port
        self._sock = socket.create_connection(("127.0.0.1", port), timeout_s)
        if is_tls:
            self._sock = _secure(self._sock)
        self._drop = 0 if is_tls else socket.MSG_TRUNC  # the kernel can drop what it can read
        self._unseen = bytearray(_PIECE_BYTES)

    def get(self, key: str, first: int, last: int, status: int = 206) -> None:
        """Ask for a range and wait for its last byte. Raises BadAnswer, OSError."""
        self._sock.sendall(ask(self._port, key, first, last))
        head, rest = self._read_head()
        left = body_bytes(head, status) - len(rest)
        self.received += len(rest)
        if left + len(rest) != last + 1 - first:
            raise BadAnswer(f"{left + len(rest)} bytes, expected {last + 1 - first}")
        while left:
            count = self._sock.recv_into(self._unseen, min(left, _PIECE_BYTES), self._drop)
            if not count:
                raise BadAnswer(f"the connection ended {left} bytes early")
            left -= count
            self.received += count

    def close(self) -> None:
        self._sock.close()

    def _read_head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self._sock.recv(_MOST_HEAD_BYTES)
            if not piece or len(data) > _MOST_HEAD_BYTES:
                raise BadAnswer(f"no whole head: {data[:60]!r}")
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest


def _secure(sock: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it signed itself
    secure = context.wrap_socket(sock)
    used = secure.cipher()
    if used is None or used[:2] != CIPHER:
        raise BadAnswer(f"cipher {used}, expected {CIPHER}")
    return secure


def tell(fact: object) -> None:
    """One JSON line to whoever started this program."""
    print(json.dumps(fact), flush=True)
