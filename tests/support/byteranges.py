"""Reading a multipart/byteranges body as strictly as RFC 9110 section 14.6 writes it."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.wire import MalformedResponseError, Response

_CONTENT_TYPE = re.compile(rb"multipart/byteranges; ?boundary=([A-Za-z0-9'()+_,./:=?-]{1,70})\Z")
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]+)-([0-9]+)/([0-9]+)\Z")


class Part(NamedTuple):
    """Bytes `start` up to `stop` (not inclusive) of an object of `size` bytes."""

    start: int
    stop: int
    size: int
    content_type: bytes
    data: bytes


def read_parts(response: Response) -> list[Part]:
    """The parts in the order of the body. Raises MalformedResponseError."""
    content_type = response.field(b"content-type") or b""
    boundary = _CONTENT_TYPE.match(content_type)
    if boundary is None:
        raise MalformedResponseError(f"Content-Type {content_type!r}; want multipart/byteranges")
    delimiter = b"\r\n--" + boundary[1]
    body = b"\r\n" + response.body.removeprefix(b"\r\n")
    before, *parts, last = body.split(delimiter)
    if before or last.rstrip(b"\r\n") != b"--":
        raise MalformedResponseError(f"the body starts with {before!r} and ends with {last!r}")
    return [_read_part(part) for part in parts]


def _read_part(part: bytes) -> Part:
    head, blank, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n"))
    fields = {name.lower(): value for name, value in fields.items()}
    found = _CONTENT_RANGE.match(fields.get(b"content-range", b""))
    if not blank or found is None:
        raise MalformedResponseError(f"a part begins with {part[:200]!r}")
    start, last, size = map(int, found.groups())
    if len(data) != last + 1 - start:
        raise MalformedResponseError(f"a part of {len(data)} bytes says {found[0]!r}")
    return Part(start, last + 1, size, fields.get(b"content-type", b""), data)
