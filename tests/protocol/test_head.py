"""Heads of requests: what is read, and what is refused because a proxy might read it otherwise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.messages import Request, RequestRefused

NEXT = b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n"
HOST = b"Host: a.example\r\n"

Reader = Callable[[bytes, HeadParser], Request | None]


def head(line: bytes = b"GET /k HTTP/1.1", fields: bytes = HOST) -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


def with_fields(fields: bytes, *, minor: int = 1) -> bytes:
    return head(b"GET /k HTTP/1.%d" % minor, HOST + fields)


def read_whole(data: bytes, parser: HeadParser) -> Request | None:
    """As a connection does with what it has received."""
    end = parser.maybe_head_end(data)
    return None if end is None else parser.parse(data[:end])


def read_byte_by_byte(data: bytes, parser: HeadParser) -> Request | None:
    """The slowest client there is."""
    for stop in range(1, len(data) + 1):
        request = read_whole(data[:stop], parser)
        if request is not None:
            assert stop == len(data), "a head is not over before its empty line"
            return request
    return None


def read_with_the_next(data: bytes, parser: HeadParser) -> Request | None:
    """A client that does not wait for the answer."""
    return read_whole(data + NEXT, parser)


each_reader = pytest.mark.parametrize(
    "read",
    [
        pytest.param(read_whole, id="whole"),
        pytest.param(read_byte_by_byte, id="byte_by_byte"),
        pytest.param(read_with_the_next, id="with_the_next"),
    ],
)


def must_read(data: bytes, read: Reader = read_whole) -> Request:
    request = read(data, HeadParser())
    assert request is not None
    return request


def told(data: bytes, parser: HeadParser) -> object:
    """A head's meaning as a value: `Fields` compare by identity."""
    try:
        request = read_whole(data, parser)
    except RequestRefused as refused:
        return refused.status, refused.reason, refused.close
    if request is None:
        return None
    return request.method, request.target, request.minor, asdict(request.fields), request.range


# -- what is read --------------------------------------------------------------------------------


@each_reader
@pytest.mark.parametrize(
    ("line", "method", "target", "minor"),
    [
        pytest.param(b"GET /k HTTP/1.1", b"GET", b"/k", 1, id="get"),
        pytest.param(b"HEAD /k HTTP/1.1", b"HEAD", b"/k", 1, id="head"),
        pytest.param(b"GET /k HTTP/1.0", b"GET", b"/k", 0, id="http_1_0"),
        pytest.param(b"GET /k?a=b&c HTTP/1.1", b"GET", b"/k?a=b&c", 1, id="query"),
        pytest.param(b"GET /%41%zz HTTP/1.1", b"GET", b"/%41%zz", 1, id="not_decoded_here"),
        pytest.param(b"GET //a/../b HTTP/1.1", b"GET", b"//a/../b", 1, id="not_judged_here"),
        pytest.param(b"OPTIONS * HTTP/1.1", b"OPTIONS", b"*", 1, id="asterisk"),
        pytest.param(b"CONNECT a:443 HTTP/1.1", b"CONNECT", b"a:443", 1, id="authority"),
        pytest.param(b"M-SEARCH!#$ /k HTTP/1.1", b"M-SEARCH!#$", b"/k", 1, id="any_token"),
        pytest.param(b"get /k HTTP/1.1", b"get", b"/k", 1, id="methods_have_a_case"),
        pytest.param(b"\r\nGET /k HTTP/1.1", b"GET", b"/k", 1, id="empty_line_before"),
        pytest.param(b"GET /k HTTP/1.2", b"GET", b"/k", 1, id="http_1_2"),
        pytest.param(b"GET /k HTTP/1.9", b"GET", b"/k", 1, id="http_1_9"),
    ],
)
def test_request_line(read: Reader, line: bytes, method: bytes, target: bytes, minor: int) -> None:
    """Method, target and version, however the head arrives."""
    assert must_read(head(line), read)[:3] == (method, target, minor)


@pytest.mark.parametrize(
    ("target", "reduced", "host"),
    [
        pytest.param(b"http://b/k", b"/k", b"b", id="path"),
        pytest.param(b"HTTPS://b:1/k?q=/", b"/k?q=/", b"b:1", id="port_and_query"),
        pytest.param(b"http://b", b"/", b"b", id="no_path"),
        pytest.param(b"http://b?o=k", b"/?o=k", b"b", id="query_alone"),
        pytest.param(b"http://[::1]:80/k", b"/k", b"[::1]:80", id="ipv6"),
    ],
)
def test_absolute_form(target: bytes, reduced: bytes, host: bytes) -> None:
    """It becomes origin-form, and its authority goes over Host (RFC 9112 section 3.2.2)."""
    request = must_read(head(b"GET %b HTTP/1.1" % target))
    assert (request.target, request.fields.host) == (reduced, host)


@each_reader
@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        pytest.param(b"", "host", b"a.example", id="host"),
        pytest.param(b"", "close", False, id="no_connection"),
        pytest.param(b"Connection: close\r\n", "close", True, id="close"),
        pytest.param(b"connection: TE ,\tCLOSE\r\n", "close", True, id="close_in_a_list"),
        pytest.param(b"Connection: a\r\nConnection: close\r\n", "close", True, id="close_in_2nd"),
        pytest.param(b"Connection: closed\r\n", "close", False, id="close_is_a_whole_word"),
        pytest.param(b"Connection: Keep-Alive\r\n", "keep_alive", True, id="keep_alive"),
        pytest.param(b"Content-Length: 0\r\n", "has_body", False, id="empty_body"),
        pytest.param(b"Content-Length: 1\r\n", "has_body", True, id="body"),
        pytest.param(b"Content-Length: 007\r\n", "has_body", True, id="leading_zeros"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", "has_body", True, id="chunked"),
        pytest.param(b"transfer-encoding: CHUNKED\r\n", "has_transfer_encoding", True, id="case"),
        pytest.param(b'If-Match: "a"\r\n', "if_match", b'"a"', id="if_match"),
        pytest.param(b'If-Match: "a"\r\nIf-Match: "b"\r\n', "if_match", b'"a", "b"', id="joined"),
        pytest.param(b"If-None-Match: *\r\n", "if_none_match", b"*", id="if_none_match"),
        pytest.param(b"If-None-Match: *\r\n", "is_conditional", True, id="is_conditional"),
        pytest.param(b'If-Range: "a"\r\n', "is_conditional", False, id="if_range_alone_is_not"),
        pytest.param(
            b'If-Range: "a"\r\nIf-Range: "a"\r\n', "if_range", b'"a", "a"', id="if_range_twice"
        ),
        pytest.param(
            b"If-Modified-Since: x\r\nX: a\r\nIF-MODIFIED-SINCE: y\r\n",
            "if_modified_since", b"x, y", id="date_twice",
        ),
        pytest.param(b"If-Modified-Since: x\r\n", "if_modified_since", b"x", id="since"),
        pytest.param(b"If-Unmodified-Since: x\r\n", "if_unmodified_since", b"x", id="unmodified"),
        pytest.param(b"Origin: http://o\r\n", "origin", b"http://o", id="origin"),
        pytest.param(b"Referer: r\r\n", "referer", b"r", id="referer"),
        pytest.param(b"User-Agent: \xe9 \t x\r\n", "user_agent", b"\xe9 \t x", id="user_agent"),
        pytest.param(b"User-Agent:\r\n", "user_agent", b"", id="empty_value"),
        pytest.param(b"User-Agent: \t x\t \r\n", "user_agent", b"x", id="space_around_value"),
        pytest.param(b"USER-AGENT:x\r\n", "user_agent", b"x", id="names_have_no_case"),
        pytest.param(
            b"Access-Control-Request-Method: GET\r\n", "request_method", b"GET", id="preflight"
        ),
    ],
)  # fmt: skip
def test_field(read: Reader, fields: bytes, name: str, value: object) -> None:
    """What the appliance acts on."""
    assert getattr(must_read(with_fields(fields), read).fields, name) == value


@each_reader
@pytest.mark.parametrize(
    ("fields", "value"),
    [
        pytest.param(b"", None, id="none"),
        pytest.param(b"Range: bytes=0-1\r\n", b"bytes=0-1", id="plain"),
        pytest.param(b"range: bytes=0-1\r\n", b"bytes=0-1", id="lower_case"),
        pytest.param(b"RANGE:  bytes=0-1 \r\n", b"bytes=0-1", id="unusual_form"),
        pytest.param(b"Range: bytes=0-1, 3-4\r\n", b"bytes=0-1, 3-4", id="unusual_characters"),
        pytest.param(b"Range: \r\n", b"", id="empty"),
        pytest.param(b"Range: bytes=0-1\r\nRange: bytes=0-1\r\n", b"", id="twice"),
        pytest.param(b"Range: bytes=0-1\r\nRANGE: x=1\r\n", b"", id="plain_and_unusual"),
        pytest.param(b"RANGE: x=1\r\nRange: bytes=0-1\r\n", b"", id="unusual_and_plain"),
        pytest.param(b"RANGE: bytes=0-1\r\nrANGE: bytes=0-1\r\n", b"", id="twice_unusual"),
        # CVE-2011-3192: the old name of the field, under which Apache took ranges too.
        pytest.param(b"Request-Range: bytes=0-1\r\n", None, id="request_range"),
        pytest.param(b"X-Range: bytes=0-1\r\n", None, id="other_name"),
        pytest.param(b"X: a\r\nRange: bytes=5-\r\nY: b\r\n", b"bytes=5-", id="between_others"),
    ],
)
def test_range_field(read: Reader, fields: bytes, value: bytes | None) -> None:
    """Its value is passed on as it is; one that stands twice is worth nothing."""
    assert must_read(with_fields(fields), read).range == value


def test_http_1_0_needs_no_host() -> None:
    """Old load balancers check health without one."""
    assert must_read(b"GET /k HTTP/1.0\r\n\r\n").fields.host is None


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(b"a", id="name"),
        pytest.param(b"a.example:8080", id="port"),
        pytest.param(b"a:", id="empty_port"),
        pytest.param(b"192.0.2.1:80", id="ipv4"),
        pytest.param(b"[2001:db8::1]", id="ipv6"),
        pytest.param(b"[::ffff:192.0.2.1]:80", id="ipv6_and_port"),
        pytest.param(b"a_b~%41", id="reg_name"),
    ],
)
def test_host(host: bytes) -> None:
    """Each form of RFC 3986 section 3.2.2."""
    assert must_read(head(fields=b"Host: %b\r\n" % host)).fields.host == host


# -- what is refused -----------------------------------------------------------------------------


@each_reader
@pytest.mark.parametrize(
    ("data", "status"),
    [
        # The line (RFC 9112 section 3).
        pytest.param(b"GET /k\r\n", 400, id="http_0_9"),
        pytest.param(b"GET /k\r\n\r\n", 400, id="http_0_9_and_empty_line"),
        # llhttp before 9.2 and httptools take this as HTTP/0.9 with fields and a body.
        pytest.param(b"GET /k\nHost: a\nContent-Length: 5\n\n", 400, id="http_0_9_bare_lf"),
        pytest.param(b"GET  /k HTTP/1.1\r\n" + HOST + b"\r\n", 400, id="two_spaces"),
        pytest.param(head(b"GET /k  HTTP/1.1"), 400, id="two_spaces_before_version"),
        pytest.param(head(b"GET\t/k\tHTTP/1.1"), 400, id="tabs"),
        pytest.param(head(b"GET /k HTTP/1.1 "), 400, id="trailing_space"),
        pytest.param(head(b" GET /k HTTP/1.1"), 400, id="leading_space"),
        pytest.param(head(b"GET /a b HTTP/1.1"), 400, id="space_in_target"),
        pytest.param(head(b"GET /\xc3\xa9 HTTP/1.1"), 400, id="utf8_in_target"),
        pytest.param(head(b"GET /a#b HTTP/1.1"), 400, id="fragment"),
        pytest.param(head(b"GET /\x01 HTTP/1.1"), 400, id="control_in_target"),
        pytest.param(head(b"GET /\0 HTTP/1.1"), 400, id="nul_in_target"),
        pytest.param(head(b"GET /\x7f HTTP/1.1"), 400, id="del_in_target"),
        pytest.param(head(b"G\xcbT /k HTTP/1.1"), 400, id="method_not_ascii"),
        pytest.param(head(b"G(T /k HTTP/1.1"), 400, id="method_no_token"),
        pytest.param(head(b"/k HTTP/1.1"), 400, id="no_method"),
        pytest.param(head(b"GET HTTP/1.1"), 400, id="no_target"),
        pytest.param(head(b"GET k HTTP/1.1"), 400, id="target_without_slash"),
        pytest.param(head(b"GET * HTTP/1.1"), 400, id="asterisk_for_get"),
        pytest.param(head(b"GET a:443 HTTP/1.1"), 400, id="authority_for_get"),
        pytest.param(head(b"CONNECT /k/ HTTP/1.1".replace(b"/k/", b"a/b")), 400, id="connect_path"),
        pytest.param(head(b"GET ftp://a/k HTTP/1.1"), 400, id="other_scheme"),
        pytest.param(head(b"GET http:///k HTTP/1.1"), 400, id="absolute_without_host"),
        pytest.param(head(b"GET http://u@a/k HTTP/1.1"), 400, id="user_in_authority"),
        pytest.param(head(b"GET http://a:x/k HTTP/1.1"), 400, id="absolute_with_bad_port"),
        pytest.param(head(b"GET /k HTTP/2.0"), 505, id="http_2"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="http_2_preface"),
        pytest.param(head(b"GET /k HTTP/3.1"), 505, id="http_3"),
        pytest.param(head(b"GET /k HTTP/0.9"), 505, id="http_0_9_by_name"),
        pytest.param(head(b"GET /k http/1.1"), 400, id="version_in_lower_case"),
        pytest.param(head(b"GET /k HTTP/1.10"), 400, id="version_too_long"),
        pytest.param(head(b"GET /k HTTP/11"), 400, id="version_without_dot"),
        pytest.param(head(b"GET /k ICAP/1.0"), 400, id="other_protocol"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400, id="tls_hello"),
        pytest.param(b"\r\n\r\n" + head(), 400, id="two_empty_lines_before"),
        pytest.param(b"\r\n\n" + head(), 400, id="two_empty_lines_bare_lf"),
        pytest.param(b"\n" + head(), 400, id="empty_line_bare_lf"),
        # Line ends: CVE-2023-30589 (llhttp took a bare CR for an end), CVE-2025-43859 (h11).
        pytest.param(b"GET /k HTTP/1.1\nHost: a\n\n", 400, id="bare_lf"),
        pytest.param(b"GET /k HTTP/1.1\r\nHost: a\n\r\n\r\n", 400, id="bare_lf_after_field"),
        pytest.param(b"GET /k HTTP/1.1\r\nHost: a\r\n\n\r\n", 400, id="bare_lf_as_end"),
        pytest.param(b"GET /k HTTP/1.1\rHost: a\r\r\r\n\r\n", 400, id="bare_cr"),
        pytest.param(with_fields(b"X: a\rContent-Length: 5\r\n"), 400, id="bare_cr_in_value"),
        pytest.param(with_fields(b"X: a\r\r\n"), 400, id="cr_cr_lf"),
        pytest.param(with_fields(b"X: a\nContent-Length: 5\r\n"), 400, id="bare_lf_in_value"),
        # Field lines (RFC 9112 section 5).
        pytest.param(head(fields=b" X: a\r\n" + HOST), 400, id="space_before_first_field"),
        pytest.param(with_fields(b"X: a\r\n b\r\n"), 400, id="obs_fold"),
        pytest.param(with_fields(b"X: a\r\n\tb\r\n"), 400, id="obs_fold_tab"),
        pytest.param(with_fields(b"X: a\r\n Content-Length: 5\r\n"), 400, id="folded_length"),
        pytest.param(with_fields(b"X : a\r\n"), 400, id="space_before_colon"),
        pytest.param(with_fields(b"X\t: a\r\n"), 400, id="tab_before_colon"),
        pytest.param(with_fields(b"Content-Length : 5\r\n"), 400, id="length_space_before_colon"),
        pytest.param(with_fields(b"X\r\n"), 400, id="no_colon"),
        pytest.param(with_fields(b": a\r\n"), 400, id="no_name"),
        pytest.param(with_fields(b"X(Y): a\r\n"), 400, id="name_no_token"),
        pytest.param(with_fields(b"X\xe9: a\r\n"), 400, id="name_not_ascii"),
        pytest.param(with_fields(b"X\0: a\r\n"), 400, id="nul_in_name"),
        pytest.param(with_fields(b"X: a\0b\r\n"), 400, id="nul_in_value"),
        pytest.param(with_fields(b"X: a\x0bb\r\n"), 400, id="control_in_value"),
        pytest.param(with_fields(b"X: a\x7fb\r\n"), 400, id="del_in_value"),
        # Host (RFC 9112 section 3.2).
        pytest.param(head(fields=b""), 400, id="host_missing"),
        pytest.param(head(b"GET http://a/ HTTP/1.1", b""), 400, id="host_missing_absolute_form"),
        pytest.param(with_fields(b"Host: b\r\n"), 400, id="host_twice"),
        pytest.param(with_fields(HOST), 400, id="host_twice_the_same"),
        pytest.param(with_fields(b"hOST: b\r\n", minor=0), 400, id="host_twice_on_1_0"),
        pytest.param(head(fields=b"Host: \r\n"), 400, id="host_empty"),
        pytest.param(head(fields=b"Host: a b\r\n"), 400, id="host_with_space"),
        pytest.param(head(fields=b"Host: a/b\r\n"), 400, id="host_with_path"),
        pytest.param(head(fields=b"Host: u@a\r\n"), 400, id="host_with_user"),
        pytest.param(head(fields=b"Host: a,b\r\n"), 400, id="hosts_joined"),
        pytest.param(head(fields=b"Host: a:80a\r\n"), 400, id="host_with_bad_port"),
        pytest.param(head(fields=b"Host: a:123456\r\n"), 400, id="host_with_long_port"),
        pytest.param(head(fields=b"Host: [::1\r\n"), 400, id="host_unclosed"),
        pytest.param(head(fields=b"Host: a\xe9\r\n"), 400, id="host_not_ascii"),
        # Length: CVE-2023-47627, CVE-2024-23829 (aiohttp), CVE-2024-1135 (gunicorn).
        pytest.param(with_fields(b"Content-Length: +5\r\n"), 400, id="length_plus"),
        pytest.param(with_fields(b"Content-Length: -5\r\n"), 400, id="length_negative"),
        pytest.param(with_fields(b"Content-Length: 5_0\r\n"), 400, id="length_underscore"),
        pytest.param(with_fields(b"Content-Length: 0x5\r\n"), 400, id="length_hexadecimal"),
        pytest.param(with_fields(b"Content-Length: 5.0\r\n"), 400, id="length_decimal_point"),
        pytest.param(with_fields(b"Content-Length: 5 5\r\n"), 400, id="length_with_space"),
        pytest.param(with_fields(b"Content-Length: 5, 5\r\n"), 400, id="length_list"),
        pytest.param(with_fields(b"Content-Length: \xd9\xa1\r\n"), 400, id="length_other_digits"),
        pytest.param(with_fields(b"Content-Length: \r\n"), 400, id="length_empty"),
        pytest.param(with_fields(b"Content-Length: " + b"9" * 20 + b"\r\n"), 400, id="length_huge"),
        pytest.param(
            with_fields(b"Content-Length: 5\r\nContent-Length: 5\r\n"), 400, id="length_twice"
        ),
        pytest.param(
            with_fields(b"Content-Length: 0\r\nContent-Length: 5\r\n"), 400, id="length_differs"
        ),
        pytest.param(
            with_fields(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
            400,
            id="length_0_and_encoding",
        ),
        pytest.param(
            with_fields(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            400,
            id="encoding_and_length",
        ),
        # Transfer-Encoding: CVE-2024-1135, CVE-2024-52304, CVE-2024-53868 and others.
        pytest.param(with_fields(b"Transfer-Encoding: gzip\r\n"), 501, id="encoding_unknown"),
        pytest.param(with_fields(b"Transfer-Encoding: foo;a=b\r\n"), 501, id="encoding_with_param"),
        pytest.param(
            with_fields(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
            501,
            id="encoding_two_lines",
        ),
        pytest.param(
            with_fields(b"Transfer-Encoding: foo\r\nContent-Length: 3\r\n"),
            400,
            id="encoding_unknown_and_length",
        ),
        pytest.param(with_fields(b"Transfer-Encoding: chunked,\r\n"), 400, id="encoding_comma"),
        pytest.param(with_fields(b"Transfer-Encoding: a b\r\n"), 400, id="encoding_words"),
        pytest.param(with_fields(b"Transfer-Encoding: \r\n"), 400, id="encoding_empty"),
        pytest.param(with_fields(b"Transfer-Encoding: identity\r\n"), 501, id="encoding_identity"),
        pytest.param(with_fields(b"Transfer-Encoding: xchunked\r\n"), 501, id="encoding_prefix"),
        pytest.param(with_fields(b"Transfer-Encoding: chunked;a=b\r\n"), 400, id="encoding_param"),
        pytest.param(with_fields(b"Transfer-Encoding: \x0bchunked\r\n"), 400, id="encoding_vt"),
        pytest.param(with_fields(b'Transfer-Encoding: "chunked"\r\n'), 400, id="encoding_quoted"),
        pytest.param(with_fields(b"Transfer-Encoding: gzip, chunked\r\n"), 501, id="encoding_two"),
        pytest.param(
            with_fields(b"Transfer-Encoding: chunked, identity\r\n"), 400, id="encoding_last"
        ),
        pytest.param(
            with_fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            400,
            id="encoding_twice",
        ),
        pytest.param(
            with_fields(b"Transfer-Encoding: chunked\r\n", minor=0), 400, id="encoding_on_1_0"
        ),
    ],
)  # fmt: skip
def test_refused(read: Reader, data: bytes, status: int) -> None:
    """However it arrives, the answer is the same, and the connection ends behind it."""
    with pytest.raises(RequestRefused) as caught:
        read(data, HeadParser())
    assert (caught.value.status, caught.value.close) == (status, True)


@each_reader
@pytest.mark.parametrize(
    ("limits", "data", "status"),
    [
        pytest.param(
            {"target_bytes": 8},
            head(b"GET /%b HTTP/1.1" % (b"k" * 8)),
            414,
            id="target_one_too_long",
        ),
        pytest.param(
            {"target_bytes": 8}, head(b"GET /%b HTTP/1.1" % (b"k" * 99)), 414, id="target_too_long"
        ),
        pytest.param(
            {"target_bytes": 8}, head(b"M" * 99 + b" /k HTTP/1.1"), 414, id="method_too_long"
        ),
        pytest.param(
            {"target_bytes": 8}, head(b"a b " * 11), 414, id="too_long_comes_before_malformed"
        ),
        pytest.param(
            {"head_bytes": 99}, with_fields(b"X: %b\r\n" % (b"x" * 99)), 431, id="head_too_large"
        ),
        pytest.param(
            {"header_count": 2}, with_fields(b"X: a\r\nY: b\r\n"), 431, id="too_many_fields"
        ),
    ],
)
def test_limit(read: Reader, limits: dict[str, int], data: bytes, status: int) -> None:
    """A limit is told apart from nonsense."""
    with pytest.raises(RequestRefused) as caught:
        read(data, HeadParser(**limits))
    assert caught.value.status == status


@each_reader
@pytest.mark.parametrize(
    ("limits", "data"),
    [
        pytest.param(
            {"target_bytes": 8}, head(b"GET /%b HTTP/1.1" % (b"k" * 7)), id="longest_target"
        ),
        pytest.param({"target_bytes": 8}, head(b"M" * 28 + b" /k HTTP/1.1"), id="longest_line"),
        pytest.param({"head_bytes": len(head())}, head(), id="largest_head"),
        pytest.param({"header_count": 2}, with_fields(b"X: a\r\n"), id="most_fields"),
    ],
)
def test_just_within_the_limit(read: Reader, limits: dict[str, int], data: bytes) -> None:
    """The limit itself is allowed."""
    assert read(data, HeadParser(**limits)) is not None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"G", id="first_byte"),
        pytest.param(b"\r\n", id="empty_line"),
        pytest.param(b"GET /k HTTP/1.1\r", id="line_without_lf"),
        pytest.param(b"GET /k HTTP/1.1\r\n", id="line"),
        pytest.param(b"GET /k HTTP/1.1\r\nHost: a\r\n", id="no_empty_line"),
        pytest.param(b"GET /k HTTP/1.1\r\nHost: a\r\n\r", id="empty_line_without_lf"),
    ],
)
def test_unfinished(data: bytes) -> None:
    """More is needed, and nothing is wrong so far."""
    assert HeadParser().maybe_head_end(data) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0", id="nul"),
        pytest.param(b"\x16\x03", id="tls"),
        pytest.param(b"GET /k HTTP/1.1\n", id="bare_lf"),
        pytest.param(b"GET /k HTTP/3.0\r\n", id="version"),
        pytest.param(b"GET " + b"k" * 9000, id="target"),
    ],
)
def test_refused_before_the_end(data: bytes) -> None:
    """What can become no head is not waited for."""
    with pytest.raises(RequestRefused):
        HeadParser().maybe_head_end(data)


# -- what is kept --------------------------------------------------------------------------------


def test_equal_blocks_share_their_fields() -> None:
    """Lines and blocks that repeat are parsed once, whatever the range between them."""
    parser = HeadParser()
    first = parser.parse(with_fields(b"Range: bytes=0-1\r\n"))
    second = parser.parse(with_fields(b"Range: bytes=2-3\r\n"))
    assert first.fields is second.fields
    assert (first.range, second.range) == (b"bytes=0-1", b"bytes=2-3")


def test_absolute_form_does_not_change_what_is_kept() -> None:
    """The block is kept with its own Host."""
    parser = HeadParser()
    assert parser.parse(head(b"GET http://b/ HTTP/1.1")).fields.host == b"b"
    assert parser.parse(head()).fields.host == b"a.example"


def test_kept_block_is_still_judged_with_its_line() -> None:
    """What HTTP/1.0 may leave out, 1.1 may not, and the other way round."""
    parser = HeadParser()
    parser.parse(head(b"GET /k HTTP/1.0", b"X: a\r\n"))
    assert told(head(fields=b"X: a\r\n"), parser) == (400, "host_missing", True)
    chunked = b"Transfer-Encoding: chunked\r\n"
    parser.parse(with_fields(chunked))
    refusal = (400, "transfer_encoding_in_1.0", True)
    assert told(with_fields(chunked, minor=0), parser) == refusal


def count_kept(parser: HeadParser) -> tuple[int, int]:
    return len(parser._lines), len(parser._blocks)


def test_memory_is_bounded() -> None:
    """A client that never repeats itself fills the memory once, and it begins anew."""
    parser = HeadParser(memo_bytes=1_500)
    for n in range(50):
        parser.parse(head(b"GET /%d HTTP/1.1" % n, HOST + b"X: %d\r\n" % n))
        assert max(count_kept(parser)) <= 4


def test_long_parts_are_not_kept() -> None:
    """Nor is anything kept that is longer than what players send."""
    parser = HeadParser()
    parser.parse(head(b"GET /%b HTTP/1.1" % (b"k" * 4000), HOST + b"X: %b\r\n" % (b"x" * 4000)))
    assert count_kept(parser) == (0, 0)


def test_what_is_refused_is_not_kept() -> None:
    """Otherwise a second asking might be granted."""
    parser = HeadParser()
    for data in (head(b"GET k HTTP/1.1"), with_fields(HOST), with_fields(b"X : a\r\n")):
        assert told(data, parser) == told(data, parser)
    assert count_kept(parser) == (1, 0)  # the good line of the two with bad fields


# -- what is recalled ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(), id="whole_object"),
        pytest.param(with_fields(b"Range: bytes=0-1\r\n"), id="range"),
        pytest.param(with_fields(b"Range: bytes=0-1\r\nX: a\r\n"), id="range_before_others"),
    ],
)
def test_plain_request_is_recalled(data: bytes) -> None:
    parser = HeadParser()
    assert parser.recall(data) is None
    _, target, _, fields, value = parser.parse(data)
    positions = (0, 2) if value else (0, 0)
    assert parser.recall(data) == (target, fields, value, *positions)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(b"HEAD /k HTTP/1.1"), id="method"),
        pytest.param(with_fields(b"", minor=0), id="http10"),
        pytest.param(head(b"GET http://b/k HTTP/1.1"), id="absolute_form"),
        pytest.param(with_fields(b"Connection: close\r\n"), id="close"),
        pytest.param(with_fields(b"Content-Length: 1\r\n"), id="body"),
        pytest.param(with_fields(b'If-None-Match: "a"\r\n'), id="condition"),
        pytest.param(with_fields(b'If-Range: "a"\r\nRange: bytes=0-1\r\n'), id="if_range"),
        pytest.param(with_fields(b"Range: items=0-1\r\n"), id="another_unit"),
        pytest.param(with_fields(b"Range: bytes=0-\r\n"), id="open_range"),
        pytest.param(with_fields(b"Range: bytes=-5\r\n"), id="suffix"),
        pytest.param(with_fields(b"Range: bytes=0-1,3-4\r\n"), id="ranges"),
        pytest.param(with_fields(b"Range: bytes=0-%b\r\n" % (b"1" * 50)), id="many_digits"),
        pytest.param(with_fields(b"Range: bytes=0-1\r\nRange: bytes=0-1\r\n"), id="two_fields"),
        pytest.param(b"\r\n" + head(), id="empty_line_before"),
        pytest.param(head(fields=b"Range: bytes=0-1\r\n" + HOST), id="range_before_all_others"),
    ],
)
def test_other_request_is_not_recalled(data: bytes) -> None:
    parser = HeadParser()
    parser.parse(head())
    parser.parse(data)
    assert parser.recall(data) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head()[:-1], id="unfinished"),
        pytest.param(head() + b"G", id="more_behind_it"),
        pytest.param(head() + head(), id="two"),
        pytest.param(b"abc", id="three_bytes"),
        pytest.param(head(fields=HOST + b"Range: bytes=0-1\0\r\n"), id="control_character"),
        pytest.param(head()[:-1] + b"\r\nRange: bytes=0-1\n", id="range_between_line_ends"),
    ],
)
def test_what_is_not_one_head_is_not_recalled(data: bytes) -> None:
    parser = HeadParser()
    parser.parse(head())
    assert parser.recall(data) is None


def test_head_over_the_limit_is_not_recalled() -> None:
    parser = HeadParser(head_bytes=60)
    parser.parse(head())
    assert parser.recall(head()) is not None
    assert parser.recall(with_fields(b"Range: bytes=%b-9\r\n" % (b"0" * 40))) is None


def test_recalling_is_bounded_as_well() -> None:
    parser = HeadParser(memo_bytes=1_500)
    for n in range(50):
        parser.parse(head(b"GET /%d HTTP/1.1" % n, HOST + b"X: %d\r\n" % n))
        assert len(parser._plain_targets) <= 4
        assert len(parser._plain_rests) <= 4
        parser.parse(head(b"POST /%d HTTP/1.1" % n, HOST + b"Content-Length: %d\r\n" % (n + 1)))
        assert len(parser._rests_with_body) <= 4


POST = b"POST /p HTTP/1.1"
WITH_BODY = HOST + b"Content-Length: 4\r\n"


@pytest.mark.parametrize("line", [POST, b"GET /other HTTP/1.1", b"POST /new?q HTTP/1.2"])
@pytest.mark.parametrize(("fields", "body"), [(HOST, b""), (WITH_BODY, b"\r\n\r\n")])
def test_request_is_recalled_with_its_body(line: bytes, fields: bytes, body: bytes) -> None:
    """Its fields are known, its line may be new."""
    parser = HeadParser()
    data = head(line, fields) + body
    assert parser.recall_whole(data) is None
    known = parser.parse(head(fields=fields))
    for _ in range(2):
        method, target, _ = line.split(b" ")
        assert parser.recall_whole(data) == (method, target, known.fields, body)
        parser.parse(head(line, fields))


@pytest.mark.parametrize(
    ("told", "body"),
    [
        pytest.param(head(POST, WITH_BODY), b"abc", id="unfinished"),
        pytest.param(head(POST, WITH_BODY), b"abcde", id="more_behind_it"),
        pytest.param(head(POST), b"G", id="more_behind_a_head"),
        pytest.param(head(b"POST /p HTTP/1.0", WITH_BODY), b"abcd", id="http10"),
        pytest.param(head(b"POST http://b/p HTTP/1.1", WITH_BODY), b"abcd", id="absolute_form"),
        pytest.param(head(b"POST p HTTP/1.1", WITH_BODY), b"abcd", id="malformed_line"),
        pytest.param(b"\r\n" + head(POST, WITH_BODY), b"abcd", id="empty_line_before"),
        pytest.param(
            head(POST, WITH_BODY + b"Expect: 100-continue\r\n"), b"abcd", id="waits_to_send"
        ),
        pytest.param(head(POST, WITH_BODY + b"Connection: close\r\n"), b"abcd", id="close"),
        pytest.param(head(POST, WITH_BODY + b'If-Match: "a"\r\n'), b"abcd", id="condition"),
        pytest.param(
            head(POST, HOST + b"Transfer-Encoding: chunked\r\n"), b"0\r\n\r\n", id="chunked"
        ),
        pytest.param(head(POST, WITH_BODY + b"Range: bytes=0-1\r\n"), b"abcd", id="range"),
        pytest.param(head(POST, HOST + b"X: %b\r\n" % (b"x" * 400)), b"", id="over_the_limit"),
    ],
)
def test_what_is_not_one_plain_request_is_not_recalled_with_a_body(
    told: bytes, body: bytes
) -> None:
    parser = HeadParser(head_bytes=300)
    parser.parse(head(POST))
    parser.parse(head(POST, WITH_BODY))
    with suppress(RequestRefused):
        parser.parse(told)
    assert parser.recall_whole(told + body) is None


# -- properties ----------------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        b"GET /k HTTP/1.1",
        b"POST /p HTTP/1.1",
        b"GET /k HTTP/1.0",
        b"HEAD /k?q HTTP/1.1",
        b"GET http://b/k HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET k HTTP/1.1",
        b"GET /k HTTP/1.2",
    ]
)
FIELD_LINES = st.sampled_from(
    [
        b"Host: a",
        b"Range: bytes=0-1",
        b"range: bytes=2-",
        b"RANGE: bytes=5-4, 1-2",
        b"Range:bytes=0-0",
        b"Range: ",
        b"Connection: close",
        b"Connection: keep-alive, x",
        b"Content-Length: 0",
        b"Content-Length: 4",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b'If-Match: "a"',
        b'If-Range: "a"',
        b"X: \0",
        b" folded",
        b"Bad : x",
        b"",
    ]
)
HEADS = st.builds(
    lambda line, fields: b"\r\n".join([line, *fields]) + b"\r\n\r\n",
    LINES,
    st.lists(FIELD_LINES, max_size=6),
)


def mutate(data: bytes, changes: list[tuple[int, int, int]]) -> bytes:
    """Cut a few bytes out at places, and put one in."""
    for place, cut, byte in changes:
        place %= len(data) + 1
        data = data[:place] + bytes([byte]) + data[place + cut :]
    return data


HOSTILE = st.sampled_from(list(b"\r\n\t\0 :/,*HGr\x7f\xff0"))
MUTATED = st.builds(
    mutate,
    HEADS,
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), HOSTILE), max_size=4),
)
SHARED: dict[str, Any] = {"parser": HeadParser(memo_bytes=6_000)}


@given(st.one_of(HEADS, MUTATED, st.binary(max_size=80)))
@example(b"\r\n" * 500 + b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
def test_what_is_kept_means_what_it_meant_first(data: bytes) -> None:
    """A parser that has seen much says what a fresh one says, the first time and the second."""
    first = told(data, SHARED["parser"])
    assert told(data, SHARED["parser"]) == first
    recalled = SHARED["parser"].recall(data)
    if recalled is not None:
        target, fields, value, start, stop = recalled
        assert SHARED["parser"].parse(data) == (b"GET", target, 1, fields, value)
        assert value is None or value.split(b"-")[1:] == [b"%d" % (stop - 1)] or value[6:7] == b"0"
        assert (start, stop) == (0, 0) or start >= 0
    for sent in (data, data + b"abcd"):
        whole = SHARED["parser"].recall_whole(sent)
        if whole is not None:
            method, target, fields, body = whole
            stop = len(sent) - len(body)
            assert SHARED["parser"].parse(sent[:stop]) == (method, target, 1, fields, None)
            assert SHARED["parser"].maybe_head_end(sent) == stop
            assert len(body) == (fields.content_length or 0)
    assert told(data, HeadParser()) == first


def verdict(data: bytes, read: Reader) -> object:
    try:
        request = read(data, HeadParser())
    except RequestRefused:
        return RequestRefused
    return request and (*request[:3], asdict(request.fields), request.range)


@given(st.one_of(HEADS, MUTATED))
def test_how_a_head_arrives_does_not_matter(data: bytes) -> None:
    """Either every division of the bytes is the same request, or none is a request."""
    end = data.find(b"\r\n\r\n") + 4
    data = data[:end] if end >= 4 else data + b"\r\n\r\n"
    first = verdict(data, read_whole)
    assert first is not None
    assert verdict(data, read_byte_by_byte) == first
    assert verdict(data, read_with_the_next) == first
