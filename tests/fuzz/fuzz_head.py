"""Bytes are one request or a refusal, however they arrive and whatever was parsed before them."""

from __future__ import annotations

from dataclasses import asdict

from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.messages import RequestRefused
from tests.fuzz.driver import run

TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b",", b"\0", b"HTTP/1.1", b"HTTP/1.0",
    b"GET", b"OPTIONS *", b"CONNECT", b"http://b", b"Host: a\r\n", b"Range: bytes=0-1\r\n",
    b"range: x\r\n", b"Content-Length: 4\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"If-Match: *\r\n",
]  # fmt: skip
_KNOWING = HeadParser(memo_bytes=12_000)  # has parsed all inputs before the present one
_REFUSALS = [(status, True) for status in (400, 414, 431, 501, 505)]  # all end the connection


def check(data: bytes) -> None:
    meaning = read(data, HeadParser())
    assert read(data, _KNOWING) == meaning
    assert read(data, _KNOWING) == meaning
    if meaning not in _REFUSALS:
        parser = HeadParser()
        slow = next(
            (m for stop in range(1, len(data) + 1) if (m := read(data[:stop], parser)) is not None),
            None,
        )
        assert slow == meaning


def read(data: bytes, parser: HeadParser) -> object:
    """The request as a value, a refusal as two, or None where more is needed."""
    try:
        end = parser.maybe_head_end(data)
        if end is None:
            return None
        assert data[:end].endswith(b"\r\n\r\n")
        request = parser.parse(data[:end])
    except RequestRefused as refused:
        return refused.status, refused.close
    method, target, minor, fields, value = request
    assert minor == 0 or fields.host
    assert target.startswith(b"/") or method in (b"OPTIONS", b"CONNECT")
    assert b"\n" not in method + target + (value or b"")
    return method, target, minor, asdict(fields), value


if __name__ == "__main__":
    run("head", check, TOKENS)
