"""Heads as we and as h11 read them: the same, or different for a reason that is listed here.

h11 is strict as well, and written by others. Where both take a head for a request they must mean
the same by it: a difference there is how a request is smuggled past one of two. Where only we
refuse it, `STRICTER` says why, by the reason that we give.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.messages import RequestRefused
from tests.fuzz import fuzz_head
from tests.fuzz.driver import run

STRICTER = {
    "bare_line_feed": "RFC 9112 section 2.2 lets it end a line; a proxy in front may not have",
    "content_length": "equal lengths that repeat may be taken for one (section 6.3), or refused",
    "field_line": "a line feed alone within a value ends a line for h11: as above; control "
    "characters are invalid (RFC 9110 section 5.5)",
    "host_malformed": "section 3.2 demands 400 for a Host that is none; h11 looks at no value",
    "host_missing": "section 3.2 demands one of HTTP/1.1; h11 does so of that version alone",
    "length_and_transfer_encoding": "section 6.3: ought to be handled as an error",
    "request_line": "a fragment is no part of a target (section 3.2); and a line feed as above",
    "target_form": "section 3.2 has four forms; h11 takes any visible characters",
    "transfer_encoding_in_1.0": "section 6.1: treat the framing as faulty",
    "version": "section 2.3: another major version is another protocol; h11 leaves it to its user",
}
TOKENS = [
    *fuzz_head.TOKENS,
    b"Content-Length: 4, 4\r\n", b" folded\r\n", b"Transfer-Encoding: gzip\r\n", b"Host: b\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"HTTP/1.2", b"X : a\r\n", b"\xff", b"#",
]  # fmt: skip
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE)
_EMPTY = "no request line received"  # h11 of an empty line in front, which section 2.2 lets stand


class Reading(NamedTuple):
    """What a head is taken for, as far as it decides what follows it."""

    method: bytes
    target: bytes
    minor: int
    host: bytes | None
    length: int | None
    is_chunked: bool
    rest: bytes


Outcome = Reading | str | None
"""A refusal is its reason; None: more is needed."""


def read_ours(data: bytes) -> Outcome:
    """Without limits of size, which are no matter of meaning."""
    parser = HeadParser(head_bytes=1 << 20, header_count=1 << 20, target_bytes=1 << 20)
    try:
        end = parser.maybe_head_end(data)
        if end is None:
            return None
        request = parser.parse(data[:end])
    except RequestRefused as refused:
        return refused.reason
    fields = request.fields
    return Reading(
        request.method, request.target, request.minor, fields.host,
        fields.content_length, fields.has_transfer_encoding, data[end:],
    )  # fmt: skip


def read_theirs(data: bytes) -> Outcome:
    """With what RFC 9112 has done behind it: an absolute target reduced, a later minor version."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return str(error)
    if not isinstance(event, h11.Request):
        return None
    values = dict(event.headers)
    length = values.get(b"content-length")
    target, host = event.target, values.get(b"host")
    if (absolute := _ABSOLUTE.fullmatch(target)) is not None:
        host, path = absolute[1], absolute[2]
        target = path if path.startswith(b"/") else b"/" + path
    return Reading(
        event.method, target, 0 if event.http_version == b"1.0" else 1, host,
        None if length is None else int(length), b"transfer-encoding" in values,
        connection.trailing_data[0],
    )  # fmt: skip


def check(data: bytes) -> None:
    """Raise AssertionError for a difference that is not listed."""
    ours, theirs = read_ours(data), read_theirs(data)
    if isinstance(theirs, Reading):
        if isinstance(ours, Reading):
            assert ours == theirs
        else:
            assert ours in STRICTER
    elif isinstance(ours, Reading):
        assert theirs == _EMPTY
        assert data.startswith(b"\r\n")
        assert read_theirs(data[2:]) == ours


if __name__ == "__main__":
    run("head", check, TOKENS)
