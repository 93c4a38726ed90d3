"""A client that says exactly the bytes it is given and believes nothing it is told.

Real clients forgive; this one reads a response as strictly as RFC 9112 words it, so that a server
that frames one loosely fails the test and not the next reader. It blocks, and every wait is bounded
by the socket's time-out.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

Address = tuple[str, int] | str  # a TCP address, or the path of a unix socket

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t\x20-\x7e]*)\Z")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e]*?)[\t ]*\Z")
_MOST_HEAD_BYTES = 16384
_CHUNK = 1 << 18


class MalformedResponseError(Exception):
    """The server said something that is not an HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response as it stood on the wire. Names of fields are in lower case."""

    minor: int
    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def field(self, name: bytes) -> bytes | None:
        """The value of a field, None without it. Raises MalformedResponseError when it repeats."""
        values = [value for known, value in self.fields if known == name.lower()]
        if len(values) > 1:
            raise MalformedResponseError(f"{name!r} stands {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def length(self) -> int:
        """Content-Length, in bytes. Raises MalformedResponseError without one."""
        value = self.field(b"content-length")
        if value is None or not value.isdigit():
            raise MalformedResponseError(f"Content-Length is {value!r}; want digits")
        return int(value)

    @property
    def is_last(self) -> bool:
        """Whether the server says that it closes the connection (RFC 9112 section 9.6)."""
        said = (self.field(b"connection") or b"").lower()
        return said == b"close" or (self.minor == 0 and said != b"keep-alive")


def request(
    target: bytes | str,
    fields: Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    minor: int = 1,
    host: str | None = "origin.example",
) -> bytes:
    """The head of a request, well-formed if its arguments are."""
    path = target if isinstance(target, bytes) else target.encode()
    named = ([("Host", host)] if host is not None else []) + list(fields)
    lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in named)
    return b"%s %s HTTP/1.%d\r\n%s\r\n" % (method.encode(), path, minor, lines)


class Wire:
    """One connection. `receive_buffer` (bytes) makes a client whose kernel takes little for it."""

    def __init__(
        self, address: Address, *, timeout_s: float = 10, receive_buffer: int | None = None
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if not isinstance(address, str) and ":" in address[0]:
            family = socket.AF_INET6
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        if receive_buffer is not None:
            # Before connect, because the window that is offered first follows from it.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(address)
        self._unread = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(
        self, target: bytes | str, fields: Iterable[tuple[str, str]] = (), *, method: str = "GET"
    ) -> Response:
        """Ask on this connection and read the answer."""
        self.send(request(target, fields, method=method))
        return self.read_response(method)

    def half_close(self) -> None:
        """Say that no request follows; the answers may still come."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Go away as a crashed client does: RST, and nothing more."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_response(self, method: str = "GET") -> Response:
        """Read one response, and not a byte further. Raises MalformedResponseError, OSError."""
        head = self.read_head()
        if method == "HEAD" or head.status in (204, 304) or head.status < 200:
            return head
        if head.field(b"content-length") is None and head.is_last:
            return Response(head.minor, head.status, head.fields, self.read_to_end())
        return Response(head.minor, head.status, head.fields, self.read_exactly(head.length))

    def read_head(self) -> Response:
        """Read the status line and the fields; the body, if any, is left on the connection."""
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            if len(self._unread) > _MOST_HEAD_BYTES:
                raise MalformedResponseError(f"no end of head in {len(self._unread)} bytes")
            if not self._receive():
                raise MalformedResponseError(f"closed inside a head: {bytes(self._unread)!r}")
        head = bytes(self._unread[:end])
        del self._unread[: end + 4]
        return parse_head(head)

    def read_exactly(self, count: int) -> bytes:
        """Read `count` bytes. Raises MalformedResponseError when the connection ends before."""
        while len(self._unread) < count:
            if not self._receive():
                raise MalformedResponseError(f"closed after {len(self._unread)} of {count} bytes")
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def read_to_end(self) -> bytes:
        """Read until the server closes. Raises ConnectionResetError when it resets instead."""
        while self._receive():
            pass
        return self.read_unread()

    def read_unread(self) -> bytes:
        """What was received and not taken yet, for instance the part of a body that was cut."""
        taken = bytes(self._unread)
        self._unread.clear()
        return taken

    def is_ended(self) -> bool:
        """Wait for the server to close or to reset; True if it did before it said anything more."""
        try:
            return self.read_to_end() == b""
        except ConnectionResetError:
            return True

    def _receive(self) -> int:
        data = self.socket.recv(_CHUNK)
        self._unread += data
        return len(data)


def fetch(address: Address, data: bytes, *, method: str = "GET") -> Response:
    """Send one request on a connection of its own, and read the answer."""
    with Wire(address) as wire:
        wire.send(data)
        return wire.read_response(method)


def parse_head(head: bytes) -> Response:
    """A response without its body, from its head without the empty line."""
    start, *lines = head.split(b"\r\n")
    status_line = _STATUS_LINE.match(start)
    if status_line is None:
        raise MalformedResponseError(f"status line {start!r}")
    minor, status, _ = status_line.groups()
    return Response(int(minor), int(status), tuple(map(_parse_field, lines)), b"")


def _parse_field(line: bytes) -> tuple[bytes, bytes]:
    field = _FIELD_LINE.match(line)
    if field is None:
        raise MalformedResponseError(f"field line {line!r}")
    name, value = field.groups()
    return name.lower(), value
