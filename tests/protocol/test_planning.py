"""What is answered: status, head, body, and whether the connection stays."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.dates import format_http_date
from ocaserve.protocol.messages import (
    ByteRange,
    Fields,
    Representation,
    Request,
    RequestRefused,
    ResponsePlan,
)
from ocaserve.protocol.methods import check_request
from ocaserve.protocol.planning import (
    ResponsePolicy,
    describe_representation,
    format_reply_head,
    is_healthz,
    plan_healthz,
    plan_options,
    plan_refusal,
    plan_reply,
    plan_response,
    plan_upload,
)

SIZE = 1000
MODIFIED = 1_700_000_000
NOW = MODIFIED + 1_000_000
DATE = format_http_date(NOW)
BOUNDARY = b"0123456789abcdef"
POLICY = ResponsePolicy()
BARE = ResponsePolicy(cache_control="", cors_origin="")
OBJECT = describe_representation(SIZE, MODIFIED * 10**9, b"video/mp4", POLICY)
CORS = (b"access-control-allow-origin", b"timing-allow-origin", b"access-control-expose-headers")


def request(
    value: bytes | None = None, method: bytes = b"GET", minor: int = 1, **fields: Any
) -> Request:
    conditional = {"if_match", "if_none_match", "if_modified_since", "if_unmodified_since"}
    asked = Fields(host=b"a", is_conditional=not conditional.isdisjoint(fields), **fields)
    return Request(method, b"/k", minor, asked, value)


def plan(
    asked: Request, representation: Representation = OBJECT, part: ByteRange | None = None
) -> ResponsePlan:
    return plan_response(asked, representation, POLICY, DATE, NOW, BOUNDARY, part)


def fields_of(answer: ResponsePlan) -> dict[bytes, bytes]:
    """The header fields, none of which may stand twice; names in lower case."""
    head, end, _ = answer.head.partition(b"\r\n\r\n")
    assert end
    status_line, *lines = head.split(b"\r\n")
    assert re.fullmatch(rb"HTTP/1\.1 %d [A-Z][A-Za-z ]+" % answer.status, status_line)
    pairs = [line.split(b": ", 1) for line in lines]
    fields = {name.lower(): value for name, value in pairs}
    assert len(fields) == len(pairs)
    assert all(value and value == value.strip() for value in fields.values())
    return fields


def body_of(answer: ResponsePlan) -> bytes:
    """The body that is in the plan itself."""
    return answer.head.partition(b"\r\n\r\n")[2]


# -- objects: the rows of the data plane ---------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "parts"),
    [
        pytest.param(request(), 200, [(0, SIZE)], id="whole"),
        pytest.param(request(b"bytes=0-9"), 206, [(0, 10)], id="range"),
        pytest.param(request(b"bytes=990-"), 206, [(990, SIZE)], id="open_range"),
        pytest.param(request(b"bytes=-10"), 206, [(990, SIZE)], id="suffix"),
        pytest.param(request(b"bytes=990-5000"), 206, [(990, SIZE)], id="clamped"),
        pytest.param(request(b"bytes=0-999"), 206, [(0, SIZE)], id="range_of_all"),
        pytest.param(request(b"bytes=0-9,5-14"), 206, [(0, 15)], id="joined_to_one"),
        pytest.param(request(b"bytes=1000-"), 416, [], id="unsatisfiable"),
        pytest.param(request(b"bytes=5-4"), 200, [(0, SIZE)], id="malformed_is_ignored"),
        pytest.param(request(b""), 200, [(0, SIZE)], id="doubled_is_ignored"),
        pytest.param(request(b"items=0-9"), 200, [(0, SIZE)], id="other_unit_is_ignored"),
        pytest.param(
            request(b"bytes=" + b"0-0,2-2," * 129), 200, [(0, SIZE)], id="too_many_are_ignored"
        ),
        pytest.param(request(b"bytes=0-,0-"), 200, [(0, SIZE)], id="too_much_is_ignored"),
        pytest.param(request(method=b"HEAD"), 200, [], id="head"),
        pytest.param(request(b"bytes=0-9", b"HEAD"), 200, [], id="head_ignores_range"),
        pytest.param(request(b"bytes=1000-", b"HEAD"), 200, [], id="head_knows_no_416"),
        pytest.param(
            request(b"bytes=0-9", if_range=OBJECT.etag), 206, [(0, 10)], id="if_range_same"
        ),
        pytest.param(
            request(b"bytes=0-9", if_range=b'"x"'), 200, [(0, SIZE)], id="if_range_other"
        ),
        pytest.param(
            request(b"bytes=0-9", if_range=b"W/" + OBJECT.etag),
            200,
            [(0, SIZE)],
            id="if_range_weak",
        ),
        pytest.param(
            request(b"bytes=0-9", if_range=format_http_date(MODIFIED)),
            206,
            [(0, 10)],
            id="if_range_date",
        ),
        pytest.param(
            request(b"bytes=1000-", if_range=b'"x"'), 200, [(0, SIZE)], id="if_range_before_416"
        ),
        pytest.param(request(if_range=OBJECT.etag), 200, [(0, SIZE)], id="if_range_without_range"),
        pytest.param(request(if_none_match=OBJECT.etag), 304, [], id="none_match"),
        pytest.param(
            request(if_modified_since=format_http_date(MODIFIED)), 304, [], id="not_modified"
        ),
        pytest.param(request(if_match=b'"x"'), 412, [], id="match_fails"),
        pytest.param(request(if_match=b"*"), 200, [(0, SIZE)], id="match"),
        pytest.param(
            request(b"bytes=0-9", if_none_match=OBJECT.etag), 304, [], id="304_before_206"
        ),
        pytest.param(request(b"bytes=1000-", if_match=b'"x"'), 412, [], id="412_before_416"),
        pytest.param(
            request(b"bytes=0-9", if_none_match=b'"x"'), 206, [(0, 10)], id="condition_then_range"
        ),
        pytest.param(
            request(method=b"HEAD", if_none_match=OBJECT.etag), 304, [], id="head_not_modified"
        ),
    ],
)  # fmt: skip
def test_answer(asked: Request, status: int, parts: list[tuple[int, int]]) -> None:
    """The status and the bytes of the object that are sent."""
    answer = plan(asked)
    assert answer.status == status
    assert answer.segments == tuple(ByteRange(*part) for part in parts)


def test_whole_object() -> None:
    """Every field that a client may rely on, exactly."""
    answer = plan(request())
    assert fields_of(answer) == {
        b"date": DATE,
        b"accept-ranges": b"bytes",
        b"etag": b'"%x-%x"' % (MODIFIED * 10**9, SIZE),
        b"last-modified": b"Tue, 14 Nov 2023 22:13:20 GMT",
        b"access-control-allow-origin": b"*",
        b"timing-allow-origin": b"*",
        b"access-control-expose-headers": (
            b"Accept-Ranges, Age, CMSD-Dynamic, CMSD-Static, Content-Length, Content-Range, Date, "
            b"ETag, Last-Modified, Retry-After, Server-Timing"
        ),
        b"cache-control": b"no-store",
        b"content-type": b"video/mp4",
        b"content-length": b"1000",
    }
    assert (answer.length, answer.keep_alive, body_of(answer)) == (SIZE, True, b"")


def test_one_range() -> None:
    """The same fields, and which part it is."""
    answer = plan(request(b"bytes=0-1"))
    whole = fields_of(plan(request()))
    assert fields_of(answer) == whole | {
        b"content-length": b"2",
        b"content-range": b"bytes 0-1/1000",
    }
    assert (answer.length, answer.keep_alive) == (2, True)


def test_head_has_the_fields_of_get() -> None:
    """And no body."""
    got, headed = plan(request()), plan(request(method=b"HEAD"))
    assert headed.head == got.head
    assert (headed.segments, headed.length) == ((), SIZE)


def test_several_ranges() -> None:
    """Each part behind a head of its own, and an end behind the last."""
    answer = plan(request(b"bytes=0-9,20-29"))
    fields = fields_of(answer)
    assert fields[b"content-type"] == b"multipart/byteranges; boundary=" + BOUNDARY
    assert b"content-range" not in fields
    typed = b"Content-Type: video/mp4\r\n"
    assert answer.segments == (
        b"--%b\r\n%bContent-Range: bytes 0-9/1000\r\n\r\n" % (BOUNDARY, typed),
        ByteRange(0, 10),
        b"\r\n--%b\r\n%bContent-Range: bytes 20-29/1000\r\n\r\n" % (BOUNDARY, typed),
        ByteRange(20, 30),
        b"\r\n--%b--\r\n" % BOUNDARY,
    )


@pytest.mark.parametrize("value", [None, b"bytes=0-1"], ids=["", "with_range"])
@pytest.mark.parametrize(
    ("part", "sent"),
    [
        pytest.param(ByteRange(0, 1), (0, 1), id="first_byte"),
        pytest.param(ByteRange(5, 100), (5, 100), id="inside"),
        pytest.param(ByteRange(0, SIZE), (0, SIZE), id="whole"),
        pytest.param(ByteRange(999, 5000), (999, SIZE), id="end_clamped"),
    ],
)
def test_part_of_the_path(value: bytes | None, part: ByteRange, sent: tuple[int, int]) -> None:
    """200, as long as what is sent, whatever Range says; HEAD tells the same."""
    answer = plan(request(value), part=part)
    length = sent[1] - sent[0]
    assert (answer.status, answer.segments, answer.length) == (200, (sent,), length)
    fields = fields_of(answer)
    assert fields[b"content-length"] == b"%d" % length
    assert fields[b"content-type"] == b"video/mp4"
    assert fields[b"etag"] == OBJECT.etag
    assert b"content-range" not in fields
    told = plan(request(value, b"HEAD"), part=part)
    assert (told.head, told.segments) == (answer.head, ())


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    ("start", "size"), [(SIZE, SIZE), (10**19, SIZE), (0, 0)], ids=["end", "far", "empty"]
)
def test_part_of_the_path_beyond_the_end(start: int, size: int, method: bytes) -> None:
    """416, with the size for a better one."""
    representation = describe_representation(size, 0, b"video/mp4", POLICY)
    answer = plan(request(method=method), representation, ByteRange(start, start + 1))
    assert answer.status == 416
    assert fields_of(answer)[b"content-range"] == b"bytes */%d" % size


def test_part_of_the_path_with_preconditions() -> None:
    """They are asked first."""
    part = ByteRange(SIZE, SIZE + 1)
    assert plan(request(if_none_match=OBJECT.etag), part=part).status == 304
    assert plan(request(if_match=b'"other"'), part=part).status == 412
    assert plan(request(if_match=OBJECT.etag), part=part).status == 416


def test_empty_object() -> None:
    """It has no bytes to send; of its ranges, only the last bytes are satisfiable."""
    empty = describe_representation(0, 0, b"video/mp4", POLICY)
    answer = plan(request(), empty)
    assert (answer.status, answer.segments, answer.length) == (200, (), 0)
    assert fields_of(answer)[b"content-length"] == b"0"
    assert fields_of(plan(request(b"bytes=0-"), empty))[b"content-range"] == b"bytes */0"
    assert plan(request(b"bytes=-5"), empty) == answer


@pytest.mark.parametrize(
    ("most", "asked", "status"), [(2, 2, 206), (2, 3, 200), (100, 100, 206), (100, 101, 200)]
)
def test_number_of_ranges_is_the_policys(most: int, asked: int, status: int) -> None:
    """Up to it each has its part; beyond it the whole object is sent."""
    value = b"bytes=" + b",".join(b"%d-%d" % (5 * n, 5 * n + 1) for n in range(asked))
    policy = ResponsePolicy(most_ranges=most)
    answer = plan_response(request(value), OBJECT, policy, DATE, NOW, BOUNDARY)
    assert answer.status == status
    if status == 206:
        parts = [segment for segment in answer.segments if isinstance(segment, ByteRange)]
        assert parts == [(5 * n, 5 * n + 2) for n in range(asked)]


def test_not_modified_has_no_fields_of_a_body() -> None:
    """RFC 9110 section 15.4.5: validators and the policy's fields, but nothing of content."""
    fields = fields_of(plan(request(if_none_match=b"*")))
    assert {b"etag", b"date", b"cache-control", b"last-modified"} <= fields.keys()
    assert {b"content-type", b"content-length", b"content-range"}.isdisjoint(fields)


def test_unsatisfiable_range_tells_the_size() -> None:
    """Players recover with it."""
    answer = plan(request(b"bytes=1000-"))
    assert fields_of(answer)[b"content-range"] == b"bytes */1000"
    assert body_of(answer) == b"416 Range Not Satisfiable\n"
    assert answer.length == len(body_of(answer)) == int(fields_of(answer)[b"content-length"])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(plan(request()), id="200"),
        pytest.param(plan(request(b"bytes=0-1")), id="206"),
        pytest.param(plan(request(b"bytes=0-1,3-4")), id="206_of_several"),
        pytest.param(plan(request(if_none_match=b"*")), id="304"),
        pytest.param(plan(request(if_match=b'"x"')), id="412"),
        pytest.param(plan(request(b"bytes=1000-")), id="416"),
        pytest.param(plan_refusal(404, POLICY, DATE, request=request(), close=False), id="404"),
        pytest.param(plan_options(request(method=b"OPTIONS"), POLICY, DATE), id="options"),
    ],
)
def test_cors_fields_stand_on_every_answer(answer: ResponsePlan) -> None:
    """Without them a script cannot tell one error from another."""
    assert set(CORS) <= fields_of(answer).keys()


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(request(if_match=b'"x"'), id="412"),
        pytest.param(request(b"bytes=1000-"), id="416"),
    ],
)
def test_error_is_not_kept_as_long_as_the_object(asked: Request) -> None:
    """Not at all, in fact; but it says which version there is."""
    policy = ResponsePolicy(cache_control="public, max-age=86400")
    described = describe_representation(SIZE, MODIFIED * 10**9, b"video/mp4", policy)
    fields = fields_of(plan_response(asked, described, policy, DATE, NOW, BOUNDARY))
    assert fields[b"cache-control"] == b"no-store"
    assert b"last-modified" not in fields
    assert fields[b"etag"] == OBJECT.etag


def test_policy_may_leave_fields_out() -> None:
    """An empty setting sends nothing."""
    representation = describe_representation(SIZE, 0, b"video/mp4", BARE)
    fields = fields_of(plan_response(request(), representation, BARE, DATE, NOW, BOUNDARY))
    assert {*CORS, b"cache-control"}.isdisjoint(fields)


def test_etag_differs_within_a_second() -> None:
    """Nanoseconds count, and so does the size."""
    described = [
        describe_representation(size, MODIFIED * 10**9 + ns, b"", POLICY)
        for size, ns in [(SIZE, 0), (SIZE, 1), (SIZE + 1, 0)]
    ]
    assert len({one.etag for one in described}) == 3
    assert {one.last_modified for one in described} == {MODIFIED}


@pytest.mark.parametrize(
    ("mtime_s", "now", "last_modified"),
    [
        pytest.param(MODIFIED, NOW, MODIFIED, id="past"),
        pytest.param(NOW, NOW, NOW, id="now"),
        pytest.param(NOW + 1, NOW, NOW, id="future"),
        pytest.param(-1, NOW, 0, id="before_the_epoch"),
        pytest.param(-(2**62) // 10**9, NOW, 0, id="before_all_dates"),
    ],
)
def test_last_modified_is_a_date_that_has_been(mtime_s: int, now: int, last_modified: int) -> None:
    """Whatever a file system says (RFC 9110 section 8.8.2.1)."""
    described = describe_representation(SIZE, mtime_s * 10**9, b"", POLICY, now)
    assert described.last_modified == last_modified
    assert format_http_date(last_modified) in described.fields


def test_last_modified_beyond_all_dates() -> None:
    """Some file systems reach farther than the year 9999."""
    described = describe_representation(SIZE, 2**62 * 10**9, b"", POLICY)
    assert b"Last-Modified: Fri, 31 Dec 9999 23:59:59 GMT\r\n" in described.fields


# -- the connection ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [pytest.param(None, id="200"), pytest.param(b"bytes=0-1", id="206")]
)
@pytest.mark.parametrize(
    ("minor", "fields", "line", "stays"),
    [
        pytest.param(1, {}, None, True, id="1.1"),
        pytest.param(1, {"close": True}, b"close", False, id="1.1_close"),
        pytest.param(1, {"keep_alive": True}, None, True, id="1.1_keep_alive"),
        pytest.param(1, {"close": True, "keep_alive": True}, b"close", False, id="1.1_both"),
        pytest.param(0, {}, b"close", False, id="1.0"),
        pytest.param(0, {"keep_alive": True}, b"keep-alive", True, id="1.0_keep_alive"),
        pytest.param(0, {"close": True, "keep_alive": True}, b"close", False, id="1.0_both"),
    ],
)  # fmt: skip
def test_persistence(
    value: bytes | None, minor: int, fields: dict[str, Any], line: bytes | None, stays: bool
) -> None:
    """RFC 9112 section 9.3; what is done is also said."""
    answer = plan(request(value, minor=minor, **fields))
    assert fields_of(answer).get(b"connection") == line
    assert answer.keep_alive is stays


# -- other answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(400, b"400 Bad Request\n", id="400"),
        pytest.param(403, b"403 Forbidden\n", id="403"),
        pytest.param(404, b"404 Not Found\n", id="404"),
        pytest.param(405, b"405 Method Not Allowed\n", id="405"),
        pytest.param(408, b"408 Request Timeout\n", id="408"),
        pytest.param(414, b"414 URI Too Long\n", id="414"),
        pytest.param(431, b"431 Request Header Fields Too Large\n", id="431"),
        pytest.param(500, b"500 Internal Server Error\n", id="500"),
        pytest.param(501, b"501 Not Implemented\n", id="501"),
        pytest.param(503, b"503 Service Unavailable\n", id="503"),
        pytest.param(505, b"505 HTTP Version Not Supported\n", id="505"),
    ],
)
def test_refusal(status: int, text: bytes) -> None:
    """A short text, with its own length and type; nothing of the request is repeated in it."""
    answer = plan_refusal(status, POLICY, DATE, request=None, close=True)
    fields = fields_of(answer)
    assert body_of(answer) == text
    assert fields[b"content-length"] == b"%d" % len(text)
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
    assert (fields[b"connection"], answer.keep_alive) == (b"close", False)
    assert fields[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [
        pytest.param(405, b"allow", b"GET, HEAD, OPTIONS", id="allow"),
        pytest.param(503, b"retry-after", b"1", id="retry_after"),
        pytest.param(404, b"allow", None, id="allow_only_on_405"),
        pytest.param(404, b"retry-after", None, id="retry_after_only_on_503"),
    ],
)
def test_field_that_a_refusal_must_have(status: int, name: bytes, value: bytes | None) -> None:
    """RFC 9110 section 15.5.6; and when to come back."""
    answer = plan_refusal(status, POLICY, DATE, request=request(), close=False)
    assert fields_of(answer).get(name) == value


@pytest.mark.parametrize(
    ("asked", "close", "stays"),
    [
        pytest.param(None, True, False, id="no_request"),
        pytest.param(request(), False, True, id="kept"),
        pytest.param(request(), True, False, id="framing_in_doubt"),
        pytest.param(request(close=True), False, False, id="client_closes"),
        pytest.param(request(minor=0), False, False, id="http_1_0"),
        pytest.param(request(minor=0, keep_alive=True), True, False, id="http_1_0_in_doubt"),
    ],
)
def test_connection_after_a_refusal(asked: Request | None, close: bool, stays: bool) -> None:
    """An honest mistake does not cost the connection."""
    assert plan_refusal(404, POLICY, DATE, request=asked, close=close).keep_alive is stays


@pytest.mark.parametrize("close", [True, False])
def test_refusal_of_head_has_no_body(close: bool) -> None:
    """But the length of the one that GET would have had."""
    answer = plan_refusal(404, POLICY, DATE, request=request(method=b"HEAD"), close=close)
    assert body_of(answer) == b""
    assert fields_of(answer)[b"content-length"] == b"14"


def test_refusal_of_a_malformed_head_has_no_body() -> None:
    """The client asked for none, whatever else was wrong."""
    answer = plan_refusal(400, POLICY, DATE, request=None, close=True, head_only=True)
    assert (body_of(answer), answer.keep_alive) == (b"", False)


@pytest.mark.parametrize(
    ("asked", "status", "close"),
    [
        pytest.param(request(method=b"POST"), 405, False, id="post"),
        pytest.param(request(method=b"POST", has_body=True), 405, True, id="post_with_body"),
        pytest.param(request(method=b"PUT"), 405, False, id="put"),
        pytest.param(request(method=b"DELETE"), 405, False, id="delete"),
        pytest.param(request(method=b"TRACE"), 405, False, id="trace"),
        pytest.param(request(method=b"CONNECT"), 405, True, id="connect"),
        pytest.param(request(method=b"PATCH"), 405, False, id="patch"),
        pytest.param(request(method=b"get"), 501, False, id="get_in_lower_case"),
        pytest.param(request(method=b"BREW"), 501, False, id="unknown"),
        pytest.param(request(method=b"BREW", has_body=True), 501, True, id="unknown_with_body"),
        pytest.param(request(has_body=True), 400, True, id="get_with_body"),
        pytest.param(request(method=b"HEAD", has_body=True), 400, True, id="head_with_body"),
        pytest.param(request(method=b"OPTIONS", has_body=True), 400, True, id="options_with_body"),
    ],
)
def test_request_that_is_not_served(asked: Request, status: int, close: bool) -> None:
    """A body is never read: the connection ends, or it would be read as the next request."""
    with pytest.raises(RequestRefused) as caught:
        check_request(asked)
    assert (caught.value.status, caught.value.close) == (status, close)


@pytest.mark.parametrize(
    ("takes_upload", "allow"),
    [(False, b"GET, HEAD, OPTIONS"), (True, b"GET, HEAD, OPTIONS, POST")],
)
def test_what_a_target_allows(takes_upload: bool, allow: bytes) -> None:
    """A 405 says what is allowed at this target."""
    with pytest.raises(RequestRefused) as caught:
        check_request(request(method=b"PUT"), takes_upload=takes_upload)
    answer = plan_refusal(405, POLICY, DATE, request=None, close=True, allow=caught.value.allow)
    assert fields_of(answer)[b"allow"] == allow


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_request_that_is_served(method: bytes) -> None:
    """The three methods, without a body."""
    check_request(request(method=method))


def test_options() -> None:
    """What is allowed, and no more."""
    answer = plan_options(request(method=b"OPTIONS"), POLICY, DATE)
    fields = fields_of(answer)
    assert (answer.status, answer.length, body_of(answer)) == (204, 0, b"")
    assert fields[b"allow"] == b"GET, HEAD, OPTIONS"
    assert {b"content-length", b"access-control-allow-methods"}.isdisjoint(fields)


def test_preflight() -> None:
    """What a script may send, for as long as browsers remember."""
    asked = request(method=b"OPTIONS", request_method=b"GET")
    fields = fields_of(plan_options(asked, POLICY, DATE))
    assert fields[b"access-control-allow-methods"] == b"GET, HEAD, OPTIONS"
    assert fields[b"access-control-max-age"] == b"86400"
    assert b"vary" not in fields
    refused = fields_of(plan_options(asked, BARE, DATE))
    assert not any(name.startswith(b"access-control") for name in refused)


@pytest.mark.parametrize(
    "name",
    [
        "cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status", "range", "if-range",
        "if-none-match", "cache-control", "pragma", "content-type", "x-requested-with",
    ],
)  # fmt: skip
def test_what_players_send_is_allowed(name: str) -> None:
    asked = request(method=b"OPTIONS", request_method=b"GET")
    allowed = fields_of(plan_options(asked, POLICY, DATE))[b"access-control-allow-headers"]
    assert name.encode() in allowed.lower().split(b", ")


def test_what_the_operator_adds_is_allowed() -> None:
    asked = request(method=b"OPTIONS", request_method=b"GET")
    policy = ResponsePolicy(cors_headers=("X-Viewer", "Authorization"))
    allowed = fields_of(plan_options(asked, policy, DATE))[b"access-control-allow-headers"]
    assert allowed.endswith(b", X-Viewer, Authorization")


@pytest.mark.parametrize(
    "name", ["content-range", "content-length", "date", "etag", "server-timing"]
)
def test_what_players_read_is_exposed(name: str) -> None:
    exposed = fields_of(plan(request()))[b"access-control-expose-headers"]
    assert name.encode() in exposed.lower().split(b", ")


def test_preflight_of_an_upload() -> None:
    """POST is allowed, and the type that scripts give a body of bytes."""
    asked = request(method=b"OPTIONS", request_method=b"POST")
    fields = fields_of(plan_options(asked, POLICY, DATE, takes_upload=True))
    assert fields[b"allow"] == b"GET, HEAD, OPTIONS, POST"
    assert fields[b"access-control-allow-methods"] == b"GET, HEAD, OPTIONS, POST"
    assert b"Content-Type" in fields[b"access-control-allow-headers"].split(b", ")


def test_upload() -> None:
    """An empty answer that scripts may see."""
    answer = plan_upload(request(method=b"POST"), POLICY, DATE)
    fields = fields_of(answer)
    assert (answer.status, answer.segments, answer.keep_alive) == (200, (), True)
    assert (fields[b"content-length"], fields[b"cache-control"]) == (b"0", b"no-store")
    assert fields[b"access-control-allow-origin"] == b"*"


# -- properties ----------------------------------------------------------------------------------

SPECS = st.builds(lambda a, b: b"%d-%d" % (a, a + b), st.integers(0, 1200), st.integers(0, 300))
VALUES = st.none() | st.lists(SPECS, max_size=18).map(lambda specs: b"bytes=" + b",".join(specs))
REQUESTS = st.builds(
    request,
    VALUES,
    st.sampled_from([b"GET", b"HEAD"]),
    st.sampled_from([0, 1]),
    close=st.booleans(),
    keep_alive=st.booleans(),
)


@given(REQUESTS, st.integers(0, 1500))
def test_length_is_what_the_segments_have(asked: Request, size: int) -> None:
    """Content-Length, the plan's length and the bytes that follow the head are one number."""
    answer = plan(asked, describe_representation(size, 0, b"video/mp4", POLICY))
    assert int(fields_of(answer)[b"content-length"]) == answer.length
    sent = len(body_of(answer)) + sum(
        segment.stop - segment.start if isinstance(segment, ByteRange) else len(segment)
        for segment in answer.segments
    )
    assert sent == (0 if asked.method == b"HEAD" else answer.length)


@given(REQUESTS, st.integers(0, 1500))
def test_connection_is_as_it_is_said(asked: Request, size: int) -> None:
    """A client that reads the Connection field and the version knows what the server does."""
    answer = plan(asked, describe_representation(size, 0, b"video/mp4", POLICY))
    said = fields_of(answer).get(b"connection")
    assert answer.keep_alive is (said != b"close" if asked.minor else said == b"keep-alive")


# -- the question of a load balancer -------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "is_so"),
    [
        pytest.param(b"GET", b"/healthz", True, id="get"),
        pytest.param(b"HEAD", b"/healthz", True, id="head"),
        pytest.param(b"GET", b"/healthz?from=lb", True, id="query"),
        pytest.param(b"OPTIONS", b"/healthz", False, id="options"),
        pytest.param(b"GET", b"/healthz/", False, id="slash"),
        pytest.param(b"GET", b"/healthz.mp4", False, id="object"),
    ],
)
def test_what_asks_for_health(method: bytes, target: bytes, is_so: bool) -> None:
    assert is_healthz(Request(method, target, 1, Fields(host=b"a"), None)) is is_so


@pytest.mark.parametrize(("is_fit", "status"), [(True, 200), (False, 503)])
def test_answer_about_health(is_fit: bool, status: int) -> None:
    """The status is for the load balancer, the word for a person; no cache keeps either."""
    answer = plan_healthz(request(), POLICY, DATE, b"draining", is_fit=is_fit)
    assert answer.status == status
    assert body_of(answer) == b"draining\n"
    assert fields_of(answer)[b"cache-control"] == b"no-store"


def test_head_about_health_has_no_body() -> None:
    answer = plan_healthz(request(method=b"HEAD"), POLICY, DATE, b"serving", is_fit=True)
    assert body_of(answer) == b""
    assert fields_of(answer)[b"content-length"] == b"8"


def test_reply_made_elsewhere_without_a_body() -> None:
    """RFC 9110 section 8.6: 204 has no Content-Length."""
    asked = Request(b"POST", b"/v1/qoe", 1, Fields(host=b"h"), None)
    plan = plan_reply(asked, b"DATE", 204, b"Server: s\r\n", b"")
    assert plan.head == format_reply_head(204, b"DATE", b"Server: s\r\n", 0)
    assert b"content-length" not in plan.head.lower()


@pytest.mark.parametrize(("method", "body"), [(b"GET", b"{}"), (b"HEAD", b"{}"), (b"GET", b"")])
def test_reply_made_elsewhere(method: bytes, body: bytes) -> None:
    """Its head is the same however it is made, and says what GET would get."""
    lines = b"Content-Type: application/json\r\n"
    asked = Request(method, b"/v1/steer", 1, Fields(host=b"h"), None)
    plan = plan_reply(asked, b"DATE", 200, lines, body)
    assert plan.head == format_reply_head(200, b"DATE", lines, len(body))
    assert b"Content-Length: %d\r\n" % len(body) in plan.head
    assert b"".join(part for part in plan.segments if isinstance(part, bytes)) == (
        b"" if method == b"HEAD" else body
    )
    assert plan.keep_alive
