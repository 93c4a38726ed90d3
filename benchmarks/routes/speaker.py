"""A router that says what it is given: the least of BGP (RFC 4271) that a session needs.

It waits for a connection, agrees to a hold time of zero (no keepalives), and sends bytes. Messages
are made beforehand, so that it costs nearly nothing while others are measured; and it sends odd
ones as willingly, which no real router would.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence

_MARKER = b"\xff" * 16
_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE = 1, 2, 3, 4
_AFIS = {4: 1, 6: 2}
_UNICAST = 1
_SENDS_PATHS = 2  # RFC 7911 section 4
_SEGMENT_NUMBERS = 255  # of AS numbers, RFC 4271 section 4.3
_WAIT_S = 60.0

Prefix = tuple[int, int]
"""Length and leading bits."""


def message(kind: int, body: bytes) -> bytes:
    return _MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def attribute(code: int, value: bytes, flags: int = 0x40) -> bytes:
    """One path attribute; with a long length where it needs one."""
    if len(value) > 255:
        return struct.pack("!BBH", flags | 0x10, code, len(value)) + value
    return struct.pack("!BBB", flags, code, len(value)) + value


def as_path(numbers: Sequence[int]) -> bytes:
    """AS_PATH of four-byte numbers, in as many segments as it takes."""
    value = b""
    for start in range(0, len(numbers), _SEGMENT_NUMBERS):
        some = numbers[start : start + _SEGMENT_NUMBERS]
        value += struct.pack(f"!BB{len(some)}I", 2, len(some), *some)
    return attribute(2, value)


def attributes(
    path: Sequence[int], med: int = 0, communities: Sequence[tuple[int, int]] = ()
) -> bytes:
    """ORIGIN, AS_PATH, MULTI_EXIT_DISC and COMMUNITIES."""
    made = attribute(1, b"\0") + as_path(path) + attribute(4, struct.pack("!I", med), 0x80)
    if communities:
        value = b"".join(struct.pack("!HH", *each) for each in communities)
        made += attribute(8, value, 0xC0)
    return made


def announce(family: int, prefixes: Iterable[Prefix], given: bytes, next_hop: str) -> bytes:
    """An UPDATE with these attributes."""
    nlri = b"".join(_encode(family, *prefix) for prefix in prefixes)
    if family == 4:
        given += attribute(3, socket.inet_pton(socket.AF_INET, next_hop))
        return update(given, nlri=nlri)
    hop = socket.inet_pton(socket.AF_INET6, next_hop)
    reach = struct.pack("!HBB", _AFIS[6], _UNICAST, len(hop)) + hop + b"\0" + nlri
    return update(given + attribute(14, reach, 0x80))


def announce_paths(prefix: Prefix, path_ids: Iterable[int], given: bytes, next_hop: str) -> bytes:
    """An UPDATE with several paths of one IPv4 prefix (RFC 7911)."""
    nlri = b"".join(struct.pack("!I", each) + _encode(4, *prefix) for each in path_ids)
    return update(given + attribute(3, socket.inet_pton(socket.AF_INET, next_hop)), nlri=nlri)


def withdraw(family: int, prefixes: Iterable[Prefix]) -> bytes:
    nlri = b"".join(_encode(family, *prefix) for prefix in prefixes)
    if family == 4:
        return update(b"", nlri)
    unreach = struct.pack("!HB", _AFIS[6], _UNICAST) + nlri
    return update(attribute(15, unreach, 0x80))


def end_of_rib(family: int) -> bytes:
    """RFC 4724 section 2."""
    return withdraw(family, ())


def notification(code: int, subcode: int, data: bytes = b"") -> bytes:
    return message(_NOTIFICATION, bytes([code, subcode]) + data)


def update(given: bytes, withdrawn: bytes = b"", nlri: bytes = b"") -> bytes:
    """An UPDATE with path attributes, and IPv4 prefixes, as they are."""
    body = struct.pack("!H", len(withdrawn)) + withdrawn
    return message(_UPDATE, body + struct.pack("!H", len(given)) + given + nlri)


def _encode(family: int, length: int, bits: int) -> bytes:
    octets = (length + 7) // 8
    return bytes([length]) + (bits << (8 * octets - length)).to_bytes(octets, "big")


class Speaker:
    """One session at a time, with whoever connects. Raises OSError."""

    def __init__(
        self, address: str, peer_as: int, port: int = 0, *, adds_paths: bool = False
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family)
        self._listener.settimeout(_WAIT_S)
        self._session: socket.socket | None = None
        self._as = peer_as
        self._adds_paths = adds_paths
        self.address = address
        self.port: int = self._listener.getsockname()[1]

    def meet(self) -> None:
        """Wait for a connection, and for the session to be established.

        Connections that were given up while nobody took them are passed over.
        """
        self.leave()
        deadline = time.monotonic() + _WAIT_S
        while self._session is None:
            link, _ = self._listener.accept()
            link.settimeout(_WAIT_S)
            try:
                self._establish(link)
            except OSError:
                link.close()
                if time.monotonic() > deadline:
                    raise
            else:
                self._session = link

    def _establish(self, link: socket.socket) -> None:
        link.sendall(message(_OPEN, self._opening()))
        while _receive(link) != _KEEPALIVE:
            link.sendall(message(_KEEPALIVE, b""))

    def send(self, data: bytes) -> None:
        """Bytes of any messages."""
        assert self._session is not None
        self._session.sendall(data)

    def leave(self) -> None:
        """End the session without a word."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def close(self) -> None:
        self.leave()
        self._listener.close()

    def _opening(self) -> bytes:
        capabilities = b"".join(
            struct.pack("!BBHBB", 1, 4, afi, 0, _UNICAST) for afi in _AFIS.values()
        )
        capabilities += struct.pack("!BBI", 65, 4, self._as)
        if self._adds_paths:
            capabilities += struct.pack("!BBHBB", 69, 4, _AFIS[4], _UNICAST, _SENDS_PATHS)
        options = struct.pack("!BB", 2, len(capabilities)) + capabilities
        short = self._as if self._as < 1 << 16 else 23_456  # AS_TRANS, RFC 6793
        return struct.pack("!BHH4sB", 4, short, 0, b"\x0a\0\0\1", len(options)) + options


def _receive(link: socket.socket) -> int:
    """The kind of the next message. Raises ConnectionError where there is none."""
    length, kind = struct.unpack("!HB", _receive_exactly(link, 19)[16:])
    _receive_exactly(link, length - 19)
    return int(kind)


def _receive_exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more:
            raise ConnectionError("the session ended before it was established")
        data += more
    return data
