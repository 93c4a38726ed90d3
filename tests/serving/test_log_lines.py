"""Log lines cannot be forged, tell no token, and are bounded in length, memory and cost."""

from __future__ import annotations

import json
import select
import tracemalloc
from collections.abc import Iterator
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.messages import Fields, Request
from ocaserve.serving.log_lines import Formatter, format_combined, format_json, format_plain

WHEN = b"24/Nov/2026:10:00:00 +0000"
FIELDS = Fields(host=b"oca", referer=b"http://page/", user_agent=b"player/1")
REQUEST = Request(b"GET", b"/a.mp4", 1, FIELDS, b"bytes=0-9")


def combined(request: Request | None = REQUEST, received: bytes = b"") -> bytes:
    return format_combined(WHEN, b"192.0.2.1", request, received, 206, 10, 0.5, "")


def test_combined_line() -> None:
    assert combined() == (
        b'192.0.2.1 - - [24/Nov/2026:10:00:00 +0000] "GET /a.mp4 HTTP/1.1" 206 10 '
        b'"http://page/" "player/1"\n'
    )


@pytest.mark.parametrize("target", [b"/a.mp4", b'/a"b', b"/a\\b", b"/?o=a&t=b"])
@pytest.mark.parametrize("fields", [FIELDS, Fields(), Fields(user_agent=b'x" 200 1 "')])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_plain_line_is_the_combined_one(method: bytes, target: bytes, fields: Fields) -> None:
    line = combined(Request(method, target, 1, fields, None))
    assert format_plain(WHEN, b"192.0.2.1", method, target, fields, 206, 10) == line


@pytest.mark.parametrize(
    ("target", "logged"),
    [
        pytest.param(b"/a?v=1&e=2&t=secret", b"/a?v=1&e=2&t=-", id="last"),
        pytest.param(b"/a?t=secret&v=1", b"/a?t=-&v=1", id="first"),
        pytest.param(b"/a?t=secret&t=secret", b"/a?t=-&t=-", id="two"),
        pytest.param(b"/t=1?at=1", b"/t=1?at=1", id="none"),
        pytest.param(b'/a?t=se"cret&v=1', b"/a?t=-&v=1", id="quote"),
        pytest.param(b"/a?t=se\\cret", b"/a?t=-", id="backslash"),
        pytest.param(
            b"/?u=b%3Fv%3D1%26t%3Dsecret%26e=2", b"/?u=b%3Fv%3D1%26t%3D-%26e=2", id="inner"
        ),
    ],
)
def test_tokens_are_hidden(target: bytes, logged: bytes) -> None:
    """Wherever in a line a URL may stand."""
    write = format_combined
    request = REQUEST._replace(target=target)
    line = write(WHEN, b"192.0.2.1", request, b"", 206, 10, 0.5, "")
    assert b'"GET %b HTTP/1.1" 206 10 "http://page/"' % logged in line
    line = write(WHEN, b"192.0.2.1", None, b"GET %b X" % target, 400, 10, 0.5, "")
    assert b'"GET %b X" 400' % logged in line
    came_from = Fields(referer=b"http://oca" + target, user_agent=target)
    line = write(WHEN, b"192.0.2.1", REQUEST._replace(fields=came_from), b"", 206, 10, 0.5, "")
    assert line.endswith(b' 206 10 "http://oca%b" "%b"\n' % (logged, logged))
    line = format_json(WHEN, b"", request, b"", 206, 10, 0.5, "")
    assert json.loads(line)["target"] == logged.decode()


def test_absent_fields_are_dashes() -> None:
    line = combined(REQUEST._replace(fields=Fields()))
    assert line.endswith(b' 206 10 "-" "-"\n')


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b'x" 200 1 "', id="quote"),
        pytest.param(b"x\\", id="backslash"),
        pytest.param(b"x\ty", id="tab"),
        pytest.param("ü".encode(), id="non_ascii"),
    ],
)
def test_field_cannot_leave_its_quotes(hostile: bytes) -> None:
    line = combined(REQUEST._replace(fields=Fields(user_agent=hostile)))
    assert line.count(b'"') == 6
    assert line.count(b"\n") == 1
    assert line.isascii()


def test_target_cannot_leave_its_quotes() -> None:
    line = combined(REQUEST._replace(target=b'/a"b'))
    assert b'"GET /a\\x22b HTTP/1.1"' in line


def test_refused_request_is_logged_as_received() -> None:
    line = combined(None, b"G\x00T /\r")
    assert b'"G\\x00T /\\x0D" 206 10 "-" "-"' in line


def test_json_line_is_an_object() -> None:
    line = format_json(b"T", b"192.0.2.1", REQUEST, b"", 206, 10, 0.25, "client_gone")
    assert json.loads(line) == {
        "time": "T",
        "address": "192.0.2.1",
        "method": "GET",
        "target": "/a.mp4",
        "protocol": "HTTP/1.1",
        "host": "oca",
        "range": "bytes=0-9",
        "referer": "http://page/",
        "user_agent": "player/1",
        "status": 206,
        "bytes": 10,
        "duration_s": 0.25,
        "note": "client_gone",
    }


def test_json_of_a_refused_request() -> None:
    line = format_json(b"T", b"192.0.2.1", None, b'\xff"\n', 400, 16, 0.0, "request_line")
    assert json.loads(line)["request"] == '\xff"\n'


TOKEN = b"Zm9vYmFyLWJhei1xdXV4LTAxMjM0NTY3ODlhYmNkZWY"


@pytest.mark.parametrize("write", [format_combined, format_json])
@pytest.mark.parametrize(
    "asked",
    [
        REQUEST._replace(method=TOKEN),
        REQUEST._replace(target=b"/" + TOKEN),
        REQUEST._replace(target=b"/a;t=" + TOKEN),
        REQUEST._replace(range=b"bytes=" + TOKEN),
        *(
            REQUEST._replace(fields=fields)
            for value in (TOKEN, b"http%3A%2F%2Fa%2Fb%2526t%253D" + TOKEN, b"x \\u0026t=" + TOKEN)
            for fields in (Fields(host=value), Fields(referer=value), Fields(user_agent=value))
        ),
        None,
    ],
)
def test_no_part_of_a_line_tells_a_token(write: Formatter, asked: Request | None) -> None:
    assert TOKEN not in write(WHEN, b"192.0.2.1", asked, b"G /#t=%b" % TOKEN, 400, 0, 0.5, "")


@pytest.mark.parametrize("write", [format_combined, format_json])
@given(
    st.sampled_from([b"\xff", b'"', b"\\", b"a ", b"%25", b"/x", b"\xe4a"]),
    st.integers(0, 15_000),
    st.sampled_from([b"GET", b"X" * 8_000]),
)
def test_line_fits_a_pipe(write: Formatter, piece: bytes, size: int, method: bytes) -> None:
    """Whatever is sent, in all parts of a head at once; what is cut has a mark."""
    value = (piece * size)[:size]
    fields = Fields(host=value, referer=value, user_agent=value)
    request = Request(method, b"/" + value, 1, fields, value)
    for asked in (request, None):
        address = b"2001:db8:" + b"ffff:" * 6
        line = write(WHEN, address, asked, value, 206, 1 << 62, 99_999.5, "note")
        assert len(line) <= select.PIPE_BUF
        assert line.count(b"\n") == 1
        if size > 2_000:
            assert b"... (%d bytes)" % size in line
    if write is format_json:
        assert json.loads(line)["note"] == "note"


@pytest.fixture
def parser() -> HeadParser:
    return HeadParser()


def hostile_heads() -> Iterator[bytes]:
    """Long fields of bytes that must be escaped, each another."""
    for number in range(1_000):
        junk = bytes(0x80 + (number * n) % 128 for n in range(2_000)) * 7
        yield b"GET /%d HTTP/1.1\r\nHost: a\r\nUser-Agent: %d%b\r\n\r\n" % (number, number, junk)


@pytest.mark.parametrize("write", [format_combined, format_json])
def test_memory_and_time_are_bounded(write: Formatter, parser: HeadParser) -> None:
    """A thousand heads of 14 kB leave nothing behind, and cost well under a millisecond each."""
    heads = list(hostile_heads())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for head in heads:
            write(WHEN, b"192.0.2.1", parser.parse(head), b"", 200, 1, 0.1, "")
        assert tracemalloc.get_traced_memory()[0] - before < 2 << 20
    finally:
        tracemalloc.stop()
    requests = [parser.parse(head) for head in heads[:200]]
    began = process_time()
    for request in requests:
        write(WHEN, b"192.0.2.1", request, b"", 200, 1, 0.1, "")
    assert process_time() - began < 0.2


def test_memory_of_many_short_heads_is_bounded(parser: HeadParser) -> None:
    """What is kept is bounded in bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2_500):
            junk = b"\xff" * 900 + b"%d" % number
            head = b"GET /%b HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\n\r\n" % (
                b"x" * 900 + b"%d" % number, junk,
            )  # fmt: skip
            format_combined(WHEN, b"192.0.2.1", parser.parse(head), b"", 200, 1, 0.1, "")
        assert tracemalloc.get_traced_memory()[0] - before < 10 << 20
    finally:
        tracemalloc.stop()
