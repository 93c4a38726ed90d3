"""What is answered: the only place that knows status codes.

A plan is made from a request, what is known of the object and the policy; it says all that is
sent. The order of questions is that of RFC 9110: preconditions first (section 13.2.2), then
If-Range, then Range, which is defined for GET alone (section 14.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ocaserve.protocol.conditional import (
    PreconditionVerdict,
    check_if_range,
    evaluate_preconditions,
)
from ocaserve.protocol.dates import format_http_date
from ocaserve.protocol.messages import (
    ByteRange,
    Fields,
    Representation,
    Request,
    ResponsePlan,
)
from ocaserve.protocol.methods import ALLOWED_METHODS, UPLOAD_METHODS
from ocaserve.protocol.ranges import (
    IGNORED,
    MOST_RANGES,
    content_range,
    parse_range,
    unsatisfied_range,
)

HEALTHZ_PATH = b"/healthz"
RETRY_AFTER_S = 1
"""A client turned away comes back soon or goes elsewhere; a longer wait would idle an appliance
whose load has passed."""

_REASONS: dict[int, bytes] = {
    200: b"OK",
    204: b"No Content",
    206: b"Partial Content",
    302: b"Found",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}
_EXPOSED = (
    b"Accept-Ranges, Age, CMSD-Dynamic, CMSD-Static, Content-Length, Content-Range, Date, ETag, "
    b"Last-Modified, Retry-After, Server-Timing"
)
"""What players read: sizes and places, the clock (DASH's UTCTiming by HEAD, the age of playlists),
and what a proxy in front may add (CTA-5006, Server-Timing)."""
_PREFLIGHT_HEADERS = (
    b"Accept, Cache-Control, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status, Content-Type, "
    b"If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Origin, Pragma, "
    b"Range, Traceparent, Tracestate, X-Playback-Session-Id, X-Requested-With"
)
"""What hls.js, dash.js, Shaka and video.js send, or have applications send (CTA-5004 by headers).
None of them but the conditions and Range makes an answer another one."""
_PREFLIGHT_AGE_S = 86_400  # the longest that browsers honour
_LAST_DATE = 253_402_300_799  # the end of the year 9999; file systems reach farther than dates


@dataclass(frozen=True)
class ResponsePolicy:
    """What the operator wants on every answer. An empty value leaves its field out.

    cors_headers: fields that scripts may send beside those of the players that we know.
    `lines`: the prepared header lines; players need the CORS ones on errors too, or a script
    cannot tell a 416 from a broken connection.
    """

    cache_control: str = "no-store"
    cors_origin: str = "*"
    cors_headers: tuple[str, ...] = ()
    most_ranges: int = MOST_RANGES
    lines: bytes = field(init=False)
    object_lines: bytes = field(init=False)
    preflight_lines: bytes = field(init=False)

    def __post_init__(self) -> None:
        lines = b""
        if self.cors_origin:
            origin = self.cors_origin.encode("ascii")
            lines = (
                b"Access-Control-Allow-Origin: %b\r\nTiming-Allow-Origin: %b\r\n"
                b"Access-Control-Expose-Headers: %b\r\n" % (origin, origin, _EXPOSED)
            )
        object_lines = lines
        if self.cache_control:
            object_lines += b"Cache-Control: %b\r\n" % self.cache_control.encode("ascii")
        object.__setattr__(self, "lines", lines)
        object.__setattr__(self, "object_lines", object_lines)
        headers = b", ".join((_PREFLIGHT_HEADERS, *(n.encode("ascii") for n in self.cors_headers)))
        preflight_lines = (
            b"Access-Control-Allow-Headers: %b\r\nAccess-Control-Max-Age: %d\r\n"
            % (headers, _PREFLIGHT_AGE_S)
        )  # fmt: skip
        object.__setattr__(self, "preflight_lines", preflight_lines)


def describe_representation(
    size: int, mtime_ns: int, content_type: bytes, policy: ResponsePolicy, now: int = _LAST_DATE
) -> Representation:
    """What answers say of an object of `size` bytes, last modified `mtime_ns` after the epoch.

    The entity-tag is made from these two alone, so that equal copies on two appliances, or on two
    stores, have the same. now: seconds since the epoch; a file from the future, as a wrong clock
    leaves behind, is said to be of now (RFC 9110 section 8.8.2.1).
    """
    etag = b'"%x-%x"' % (mtime_ns, size)
    last_modified = max(0, min(mtime_ns // 1_000_000_000, now))
    lines = b"Accept-Ranges: bytes\r\nETag: %b\r\nLast-Modified: %b\r\n%b" % (
        etag, format_http_date(last_modified), policy.object_lines,
    )  # fmt: skip
    typed_lines = lines + b"Content-Type: %b\r\n" % content_type
    return Representation(size, etag, last_modified, content_type, lines, typed_lines)


def plan_response(
    request: Request,
    representation: Representation,
    policy: ResponsePolicy,
    date: bytes,
    now: int,
    boundary: bytes,
    part: ByteRange | None = None,
) -> ResponsePlan:
    """The answer to a GET or HEAD for an object that exists.

    date: the value of Date. now: the same in seconds since the epoch. boundary: parts the ranges of
    a multipart answer, and must occur in no object. part: what the path asks for, not clamped; the
    answer is all that there is at this path, so it is no partial one, and `Range` is ignored.
    """
    fields = request.fields
    if fields.is_conditional:
        verdict = evaluate_preconditions(fields, representation, now)
        if verdict is PreconditionVerdict.NOT_MODIFIED:
            return _plan_not_modified(request, representation, date)
        if verdict is PreconditionVerdict.FAILED:
            return _plan_object_error(412, request, representation, policy, date)
    if part is not None:
        if part.start >= representation.size:
            return _plan_object_error(416, request, representation, policy, date)
        return _plan_path_part(request, representation, date, part)
    value = request.range
    if value is None or request.method != b"GET":
        return _plan_whole(request, representation, date)
    if fields.if_range is not None and not check_if_range(fields.if_range, representation, now):
        return _plan_whole(request, representation, date)
    parts = parse_range(value, representation.size, policy.most_ranges)
    if not isinstance(parts, tuple):
        if parts is IGNORED:
            return _plan_whole(request, representation, date)
        return _plan_object_error(416, request, representation, policy, date)
    if len(parts) == 1:
        return _plan_part(request, representation, date, parts)
    return _plan_parts(request, representation, date, parts, boundary)


def _connection(fields: Fields, minor: int) -> tuple[bytes, bool]:
    """The Connection line, and whether the connection stays (RFC 9112 section 9.3)."""
    if minor:
        return (b"Connection: close\r\n", False) if fields.close else (b"", True)
    if fields.keep_alive and not fields.close:
        return b"Connection: keep-alive\r\n", True
    return b"Connection: close\r\n", False


def _plan_part(
    request: Request, representation: Representation, date: bytes, parts: tuple[ByteRange, ...]
) -> ResponsePlan:
    """206 with one range: nearly every response, hence one formatting step and no name looked up.

    `tuple.__new__` makes the same value as the class would, in a third of the time.
    """
    line, keep_alive = _connection(request.fields, request.minor)
    start, stop = parts[0]
    head = format_part_head(representation, date, start, stop, line)
    return tuple.__new__(ResponsePlan, (206, head, parts, stop - start, keep_alive))


def format_part_head(
    representation: Representation, date: bytes, start: int, stop: int, line: bytes = b""
) -> bytes:
    """The head of a 206 with one range, not empty and within the object. line: for Connection."""
    return (
        b"HTTP/1.1 206 Partial Content\r\nDate: %b\r\n%b%b"
        b"Content-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
        % (
            date, line, representation.typed_fields,
            stop - start, start, stop - 1, representation.size,
        )
    )  # fmt: skip


def format_whole_head(representation: Representation, date: bytes, line: bytes = b"") -> bytes:
    """The head of a 200 with the whole object. line: for Connection."""
    return b"HTTP/1.1 200 OK\r\nDate: %b\r\n%b%bContent-Length: %d\r\n\r\n" % (
        date, line, representation.typed_fields, representation.size,
    )  # fmt: skip


def _plan_path_part(
    request: Request, representation: Representation, date: bytes, part: ByteRange
) -> ResponsePlan:
    """200 with what a path's part holds of the object: to such clients a 206 is a failure."""
    line, keep_alive = _connection(request.fields, request.minor)
    start, stop = part
    stop = min(stop, representation.size)
    head = b"HTTP/1.1 200 OK\r\nDate: %b\r\n%b%bContent-Length: %d\r\n\r\n" % (
        date, line, representation.typed_fields, stop - start,
    )  # fmt: skip
    segments = (ByteRange(start, stop),) if request.method == b"GET" else ()
    return ResponsePlan(200, head, segments, stop - start, keep_alive)


def _plan_whole(request: Request, representation: Representation, date: bytes) -> ResponsePlan:
    size = representation.size
    line, keep_alive = _connection(request.fields, request.minor)
    head = format_whole_head(representation, date, line)
    if request.method == b"HEAD" or not size:
        return ResponsePlan(200, head, (), size, keep_alive)
    return ResponsePlan(200, head, (ByteRange(0, size),), size, keep_alive)


def _plan_parts(
    request: Request,
    representation: Representation,
    date: bytes,
    parts: tuple[ByteRange, ...],
    boundary: bytes,
) -> ResponsePlan:
    """206 with several ranges, each behind a head of its own (RFC 9110 section 14.6)."""
    segments: list[ByteRange | bytes] = []
    for part in parts:
        segments += (
            b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
            % (
                b"\r\n" if segments else b"", boundary, representation.content_type,
                content_range(part, representation.size),
            ),
            part,
        )  # fmt: skip
    segments.append(b"\r\n--%b--\r\n" % boundary)
    length = sum(
        segment.stop - segment.start if isinstance(segment, ByteRange) else len(segment)
        for segment in segments
    )
    lines = b"%bContent-Type: multipart/byteranges; boundary=%b\r\n" % (
        representation.fields, boundary,
    )  # fmt: skip
    head, keep_alive = _format_head(206, request, date, lines, length)
    return ResponsePlan(206, head, tuple(segments), length, keep_alive)


def _plan_not_modified(
    request: Request, representation: Representation, date: bytes
) -> ResponsePlan:
    head, keep_alive = _format_head(304, request, date, representation.fields, None)
    return ResponsePlan(304, head, (), 0, keep_alive)


def _format_head(
    status: int, request: Request, date: bytes, lines: bytes, length: int | None
) -> tuple[bytes, bool]:
    """A head, and whether the connection stays. `length` None: the answer cannot have a body."""
    connection, keep_alive = _connection(request.fields, request.minor)
    if length is not None:
        lines += b"Content-Length: %d\r\n" % length
    head = b"HTTP/1.1 %d %b\r\nDate: %b\r\n%b%b\r\n" % (
        status, _REASONS[status], date, connection, lines,
    )  # fmt: skip
    return head, keep_alive


# Stands for what could not be read: whoever sent it gets a text, and then the end.
_NO_REQUEST = Request(b"GET", b"", 1, Fields(close=True), None)


def _plan_error(status: int, request: Request, date: bytes, lines: bytes) -> ResponsePlan:
    """An answer that says its status again, for people. No cache may keep it.

    What is refused now may be had a moment later (an object is copied in, a store comes back, a key
    is renewed), and a cache may keep a 404 or 501 that does not say so for as long as it sees fit
    (RFC 9111 section 4.2.2).
    """
    text = b"%d %b\n" % (status, _REASONS[status])
    lines += b"Cache-Control: no-store\r\n"
    return _plan_text(status, request, date, lines, text)


def _plan_text(
    status: int, request: Request, date: bytes, lines: bytes, text: bytes
) -> ResponsePlan:
    """An answer with a short text, which goes out in one piece with the head."""
    lines += b"Content-Type: text/plain; charset=utf-8\r\n"
    head, keep_alive = _format_head(status, request, date, lines, len(text))
    if request.method != b"HEAD":
        head += text
    return ResponsePlan(status, head, (), len(text), keep_alive)


def _plan_object_error(
    status: int,
    request: Request,
    representation: Representation,
    policy: ResponsePolicy,
    date: bytes,
) -> ResponsePlan:
    """412 or 416: which version there is, and how long, for a client to ask better."""
    lines = b"Accept-Ranges: bytes\r\nETag: %b\r\n%b" % (representation.etag, policy.lines)
    if status == 416:
        lines += b"Content-Range: %b\r\n" % unsatisfied_range(representation.size)
    return _plan_error(status, request, date, lines)


def plan_refusal(
    status: int,
    policy: ResponsePolicy,
    date: bytes,
    *,
    request: Request | None,
    close: bool,
    head_only: bool = False,
    allow: bytes = b"",
) -> ResponsePlan:
    """An answer that consults no object.

    request: None when no request could be made of what was received; head_only then says whether it
    began as a HEAD. close: whether the connection must end, whatever the request says. allow: with
    a 405, the methods that there are.
    """
    if request is None:
        request = _NO_REQUEST._replace(method=b"HEAD") if head_only else _NO_REQUEST
    elif close:
        request = request._replace(fields=Fields(close=True))
    lines = policy.lines
    if status == 405:  # without Allow it would be malformed (RFC 9110 section 15.5.6)
        lines += b"Allow: %b\r\n" % (allow or ALLOWED_METHODS)
    elif status == 503:
        lines += b"Retry-After: %d\r\n" % RETRY_AFTER_S
    return _plan_error(status, request, date, lines)


def plan_redirect(
    request: Request, policy: ResponsePolicy, date: bytes, location: bytes
) -> ResponsePlan:
    """The answer for an object that is elsewhere now, and may be here later (RFC 9110 section
    15.4.8). location: a URL, percent-encoded.
    """
    lines = policy.lines + b"Location: %b\r\n" % location
    return _plan_error(307, request, date, lines)


def plan_reply(
    request: Request, date: bytes, status: int, lines: bytes, body: bytes
) -> ResponsePlan:
    """An answer that was made elsewhere. lines: header lines, each with CRLF at its end.

    The status must be one of the table, and not 304; 204 has no body.
    """
    head, keep_alive = _format_head(
        status, request, date, lines, None if status == 204 else len(body)
    )
    segments = () if request.method == b"HEAD" or not body else (body,)
    return ResponsePlan(status, head, segments, len(body), keep_alive)


def format_reply_head(status: int, date: bytes, lines: bytes, length: int) -> bytes:
    """The head of such an answer to a plain request, which keeps the connection."""
    if status == 204:
        return b"HTTP/1.1 204 No Content\r\nDate: %b\r\n%b\r\n" % (date, lines)
    return b"HTTP/1.1 %d %b\r\nDate: %b\r\n%bContent-Length: %d\r\n\r\n" % (
        status, _REASONS[status], date, lines, length,
    )  # fmt: skip


def plan_upload(request: Request, policy: ResponsePolicy, date: bytes) -> ResponsePlan:
    """The answer to an upload that has been thrown away."""
    head, keep_alive = _format_head(200, request, date, policy.object_lines, 0)
    return ResponsePlan(200, head, (), 0, keep_alive)


def plan_options(
    request: Request, policy: ResponsePolicy, date: bytes, *, takes_upload: bool = False
) -> ResponsePlan:
    """The answer to OPTIONS, of the server (`*`) or as a CORS preflight (Fetch, section 4.8).

    The answer is the same whatever origin and fields are asked for, so nothing varies.
    takes_upload: the target is one that POST is allowed for.
    """
    methods = UPLOAD_METHODS if takes_upload else ALLOWED_METHODS
    lines = policy.lines + b"Allow: %b\r\n" % methods
    if policy.cors_origin and request.fields.request_method is not None:
        lines += b"Access-Control-Allow-Methods: %b\r\n%b" % (methods, policy.preflight_lines)
    head, keep_alive = _format_head(204, request, date, lines, None)
    return ResponsePlan(204, head, (), 0, keep_alive)


def is_healthz(request: Request) -> bool:
    """Whether it asks how the appliance is: a path that no object can have, signed URLs or not."""
    return request.target.partition(b"?")[0] == HEALTHZ_PATH and request.method in (b"GET", b"HEAD")


def plan_healthz(
    request: Request, policy: ResponsePolicy, date: bytes, word: bytes, *, is_fit: bool
) -> ResponsePlan:
    """The answer to a load balancer: 200 when clients should be sent here, and the state."""
    lines = policy.lines + b"Cache-Control: no-store\r\n"
    return _plan_text(200 if is_fit else 503, request, date, lines, word + b"\n")
