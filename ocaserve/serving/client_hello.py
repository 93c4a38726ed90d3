"""What a client says first over TLS, looked at before OpenSSL is given it. No I/O.

OpenSSL sets aside as much memory as a client claims that its hello will have, up to 131 KiB, and 20
more for a connection. So it is given a hello when all of it is there; until then a client costs
what it has sent. And two things are asked of it that Python's ssl module can't have OpenSSL ask: a
name in ASCII (RFC 6066 section 3), and a protocol that we speak among those it offers (RFC 7301
section 3.2).

What is not as it should be in any other way is left to OpenSSL, which knows the alert for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

PROTOCOLS = ("http/1.1", "http/1.0")  # by their names in ALPN

_MOST_CLAIMED = 16 * 1024  # bytes of a hello: with post-quantum keys one has 2 KiB
_MOST_RECEIVED = 24 * 1024  # with what is around it; else a record for each byte would make six
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE = 20, 21, 22  # types of records
_CLIENT_HELLO = 1
_SERVER_NAME, _ALPN = 0, 16  # extensions
_ILLEGAL_PARAMETER, _NO_APPLICATION_PROTOCOL = 47, 120  # alerts (RFC 8446 section 6)
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_NAMES = frozenset(name.encode() for name in PROTOCOLS)

# A server's hello with this for its random asks for another hello (RFC 8446 section 4.1.3).
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_RANDOM = slice(11, 43)  # behind the headers of record and message, and the version


class HelloRefusedError(Exception):
    """The client is to be told so, in the `alert`, and left."""

    def __init__(self, why: str, number: int) -> None:
        super().__init__(why)
        self.alert = bytes([_ALERT, 3, 3, 0, 2, 2, number])


def asks_again(output: bytes) -> bool:
    """Whether a server's output asks for a second hello."""
    return output[_RANDOM] == _RETRY


class HelloReader:
    """Collects what a client sends until its hello is whole."""

    __slots__ = ("_at", "_message", "received")

    def __init__(self) -> None:
        self.received = bytearray()
        self._at = 0  # the record that begins here, or the rest of it, is not looked at yet
        self._message = bytearray()  # what the records so far hold of the hello

    def feed(self, data: bytes) -> bool:
        """Whether `received` can be given to OpenSSL. Raises HelloRefusedError."""
        received = self.received
        received += data
        while len(received) >= self._at + _RECORD_HEADER:
            kind = received[self._at]
            start = self._at + _RECORD_HEADER
            stop = start + int.from_bytes(received[start - 2 : start], "big")
            if kind == _CHANGE_CIPHER_SPEC and not self._message:  # before a second hello
                self._at = stop
                continue
            if kind != _HANDSHAKE or stop == start:
                return True
            if self._is_done(received[start:stop]):
                return True
            if len(received) < stop:
                break
            self._message += received[start:stop]
            self._at = stop
        if len(received) > _MOST_RECEIVED:
            raise HelloRefusedError("too many bytes for a hello", _ILLEGAL_PARAMETER)
        return False

    def _is_done(self, more: bytearray) -> bool:
        """Whether the message is whole with what there is of the next record, or is no hello."""
        message = self._message + more
        if not message:
            return False
        if message[0] != _CLIENT_HELLO:
            return True
        if len(message) < _MESSAGE_HEADER:
            return False
        claimed = int.from_bytes(message[1:_MESSAGE_HEADER], "big")
        if claimed > _MOST_CLAIMED:
            raise HelloRefusedError(f"a hello of {claimed} bytes", _ILLEGAL_PARAMETER)
        if len(message) < _MESSAGE_HEADER + claimed:
            return False
        with suppress(IndexError):  # it ends where something should be
            _check(bytes(message[_MESSAGE_HEADER : _MESSAGE_HEADER + claimed]))
        return True

    @property
    def missing(self) -> int:
        """How many bytes must come, at the least."""
        held = len(self._message) + max(0, len(self.received) - self._at - _RECORD_HEADER)
        if held < _MESSAGE_HEADER:
            return 1
        start = bytes(self._message + self.received[self._at + _RECORD_HEADER :])
        claimed = int.from_bytes(start[1:_MESSAGE_HEADER], "big")
        return max(1, _MESSAGE_HEADER + claimed - held)


def _check(hello: bytes) -> None:
    """Raises HelloRefusedError, or IndexError where it is cut."""
    for kind, content in _extensions(hello):
        if kind == _SERVER_NAME:
            name = _cut(content, 2 + 1, 2)
            if content[2] == 0 and not name.isascii():
                raise HelloRefusedError("a name that is not ASCII", _ILLEGAL_PARAMETER)
        elif kind == _ALPN and _NAMES.isdisjoint(_protocols(_cut(content, 0, 2))):
            raise HelloRefusedError("no protocol that is spoken here", _NO_APPLICATION_PROTOCOL)


def _extensions(hello: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each (RFC 8446 section 4.1.2)."""
    at = 2 + 32  # version and random
    at += 1 + hello[at]  # session
    at += 2 + int.from_bytes(hello[at : at + 2], "big")  # ciphers
    at += 1 + hello[at]  # compression
    block = _cut(hello, at, 2) if at < len(hello) else b""
    at = 0
    while at < len(block):
        content = _cut(block, at + 2, 2)
        yield int.from_bytes(block[at : at + 2], "big"), content
        at += 4 + len(content)


def _protocols(names: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(names):
        yield (name := _cut(names, at, 1))
        at += 1 + len(name)


def _cut(data: bytes, at: int, width: int) -> bytes:
    """What stands behind its own length of `width` bytes. Raises IndexError."""
    start = at + width
    stop = start + int.from_bytes(data[at:start], "big")
    if stop > len(data) or start > len(data):
        raise IndexError
    return data[start:stop]
