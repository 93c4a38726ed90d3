"""h11 and we mean the same by each head; where only we refuse one, the reason is listed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.driver import fuzz
from tests.fuzz.fuzz_beside_h11 import STRICTER, TOKENS, Reading, check, read_ours, read_theirs

EXAMPLES = {
    "bare_line_feed": b"GET / HTTP/1.0\r\n\n",
    "content_length": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\n",
    "field_line": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "host_malformed": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "host_missing": b"GET / HTTP/1.2\r\n\r\n",
    "length_and_transfer_encoding": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "request_line": b"GET /#a HTTP/1.0\r\n\r\n",
    "target_form": b"GET a HTTP/1.0\r\n\r\n",
    "transfer_encoding_in_1.0": b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "version": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
}
LINES = st.sampled_from(
    [
        b"GET /k HTTP/1.1", b"HEAD /k?q HTTP/1.0", b"POST / HTTP/1.1", b"get /k HTTP/1.2",
        b"GET http://b:80?q HTTP/1.1", b"OPTIONS * HTTP/1.1", b"CONNECT b:80 HTTP/1.1",
        b"GET  /k HTTP/1.1", b"GET /k\tHTTP/1.1", b"GET /k", b"\r\nGET /k HTTP/1.1",
        b"GET /\xff HTTP/1.1",
    ]
)  # fmt: skip
FIELDS = st.lists(
    st.sampled_from(
        [
            b"Host: a", b"Host:a:80", b"host: [::1]", b"Host: b", b"Host: ",
            b"Content-Length: 4", b"Content-Length: 0", b"Content-Length: +4",
            b"Content-Length: 4,5", b"Content-Length: ", b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: Chunked", b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked", b"X : a", b" folded",
            b"\tfolded", b"X", b": a", b"X: \xff\x80", b"X: \x00", b"X: a\rb", b"X:\t a \t",
            b"(X): a", b"Connection: close", b"X\xff: a", b"X: a\nHost: c",
        ]
    ),
    max_size=5,
)  # fmt: skip


def test_bytes() -> None:
    """Mutations of the corpus."""
    fuzz("head", check, TOKENS, 5_000)


@given(
    LINES, FIELDS, st.sampled_from([b"\r\n", b"\n"]), st.sampled_from([b"", b"0\r\n\r\n", b"GET /"])
)
def test_parts(line: bytes, fields: list[bytes], end: bytes, rest: bytes) -> None:
    """Lines and fields, right and nearly right, put together."""
    check(end.join([line, *fields, b"", rest]))


@pytest.mark.parametrize("reason", STRICTER)
def test_each_reason_is_met(reason: str) -> None:
    """What no longer differs leaves the list."""
    assert read_ours(EXAMPLES[reason]) == reason
    assert isinstance(read_theirs(EXAMPLES[reason]), Reading)
