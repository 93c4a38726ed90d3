"""From received bytes to a `Request`: the head of RFC 9112, strictly.

What is refused although some servers repair it: a bare LF, white space before a colon, folded
lines, HTTP/0.9, a missing or doubled Host, doubled or malformed framing fields, Content-Length
beside Transfer-Encoding. Each repair has been a way to smuggle a request past a proxy that repaired
differently (CVE-2023-30589, CVE-2024-27982, CVE-2025-53643 and others).

A field that repeats is one value, joined by commas (section 5.3 of RFC 9110). That is right for
lists, and makes nonsense of what may stand once: a doubled date, If-Range or Range is ignored, as
sections 13.1.3 to 13.1.5 and 14.2 ask or allow.

A client sends the same header fields again and again; only the request line and Range differ. So
the parser keeps what it made of request lines and of blocks of fields (without their Range line),
by their exact bytes: a head that repeats takes a third of the time (measured: 1.3 against 4.5
microseconds for ten fields). What is kept has passed every check, and equal bytes mean the same;
it is bounded in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ocaserve.protocol.memo import Memo
from ocaserve.protocol.messages import Fields, Request, RequestRefused

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_METHOD = re.compile(_TOKEN)
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")  # visible ASCII, without the fragment's "#"
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_VERSION_1 = re.compile(rb"HTTP/1\.[0-9]")  # later minor ones too (RFC 9110 section 2.5)
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)(/[^#]*|\?[^#]*|)", re.IGNORECASE)
_NAME = re.compile(_TOKEN)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab: no field value holds them
# Narrower than RFC 3986 by the sub-delims, which no name of a host has; a comma is what two Host
# fields become where a proxy joins them.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(?::[0-9]{0,5})?")
_CHUNKED = re.compile(rb"chunked(?![^ \t;])")
_CODING = re.compile(_TOKEN + rb"(?:[ \t]*;[\t\x20-\x2b\x2d-\x7e]*)?")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_RANGE_CHARACTERS = b"bytes=-,0123456789"
_MOST_KEPT_BYTES = 2048  # of a block or line that is kept: a longer one is no player's

_LINE_SLACK_BYTES = 32  # what a request line has beside its target: method, spaces, version


PlainRequest = tuple[bytes, Fields, bytes | None, int, int]
"""Target, fields, the value of Range, and what it asks for, `start` up to `stop`, as it stands: not
clamped to the object, nor checked. A named tuple would take longer to make than the rest of it."""

WholeRequest = tuple[bytes, bytes, Fields, bytes]
"""Method, target, fields, body."""

_SHORT = 39  # bytes of a range with two positions of at most 19 digits


class _Line(NamedTuple):
    method: bytes
    target: bytes
    minor: int
    authority: bytes | None  # of an absolute-form target; it replaces Host

    @property
    def is_plain(self) -> bool:
        """Whether a request with this line may be recalled."""
        return self.method == b"GET" and self.minor == 1 and self.authority is None


class HeadParser:
    """Parses heads and keeps what repeats. The limits are in bytes and numbers of fields."""

    def __init__(
        self,
        head_bytes: int = 16_384,
        header_count: int = 100,
        target_bytes: int = 8_192,
        memo_bytes: int = 2_097_152,
    ) -> None:
        self._head_bytes = head_bytes
        self._header_count = header_count
        self._target_bytes = target_bytes
        self._plain_targets: dict[bytes, bytes] = {}  # of the lines below, by line
        self._plain_rests: dict[bytes, Fields] = {}  # by all that follows a line: of the blocks
        self._rests_with_body: dict[bytes, Fields] = {}  # likewise
        self._lines: Memo[bytes, _Line] = Memo(memo_bytes, self._plain_targets.clear)
        self._blocks: Memo[bytes, Fields] = Memo(memo_bytes, self._forget_rests)

    def maybe_head_end(self, buffer: bytes) -> int | None:
        """Where the first head in `buffer` ends, behind its empty line; None: more is needed.

        Raises RequestRefused as soon as what is there cannot become a head.
        """
        stop = buffer.find(b"\r\n\r\n") + 4
        if 4 <= stop <= self._head_bytes:
            return stop
        self._check_unfinished(buffer)
        return None

    def _check_unfinished(self, buffer: bytes) -> None:
        """Refuse early what a longer wait cannot mend."""
        line, found, _ = buffer.removeprefix(b"\r\n").partition(b"\r\n")
        if not found:
            line = line.removesuffix(b"\r")  # half of the line's end is not the line's
        self._check_line_length(line)
        if len(buffer) >= self._head_bytes:
            raise RequestRefused(431, "head_too_large")
        if buffer.count(b"\n") != buffer.count(b"\r\n"):
            raise RequestRefused(400, "bare_line_feed")
        if b"\0" in buffer or (line and not _METHOD.match(line)):
            raise RequestRefused(400, "request_line")
        if found:
            self._parse_line(line)

    def recall(self, data: bytes) -> PlainRequest | None:
        """The request, if `data` is one whole head whose parts are known, and plain.

        Plain is a GET of HTTP/1.1 in origin-form, on a connection that stays, without a condition
        or a body, for the whole object or for "bytes=A-B". None says nothing of `data`:
        `maybe_head_end` and `parse` judge it.
        """
        line, _, rest = data.partition(b"\r\n")
        target = self._plain_targets.get(line)
        if target is None or len(data) > self._head_bytes:
            return None
        before, found, tail = rest.rpartition(b"\r\nRange: bytes=")
        if not found:
            fields = self._plain_rests.get(rest)
            return None if fields is None else (target, fields, None, 0, 0)
        # What is known ends with an empty line and holds no other, so that no second head can hide.
        stop = tail.find(b"\r\n")
        fields = self._plain_rests.get(before + tail[stop:])
        text = tail[:stop]
        first, _, last = text.partition(b"-")
        if fields is None or stop < 0 or len(text) > _SHORT:
            return None
        if not (first.isdigit() and last.isdigit()):
            return None
        return target, fields, b"bytes=" + text, int(first), int(last) + 1

    def recall_whole(self, data: bytes) -> WholeRequest | None:
        """The request with its body, if `data` is all of both and the fields are known and plain.

        Its line may be new, and is not kept: for answers whose targets hardly repeat. None says
        nothing, as above.
        """
        start, stop = data.find(b"\r\n") + 2, data.find(b"\r\n\r\n") + 4
        rest = data[start:stop]
        fields = self._rests_with_body.get(rest) or self._plain_rests.get(rest)
        if (
            fields is None
            or stop > self._head_bytes
            or stop + (fields.content_length or 0) != len(data)
        ):
            return None
        line = data[: start - 2]
        try:
            method, target, minor, authority = self._lines.get(line) or self._parse_line(line)
        except RequestRefused:
            return None
        return (method, target, fields, data[stop:]) if minor and authority is None else None

    def parse(self, head: bytes) -> Request:
        """A whole head, from the request line to the empty line. Raises RequestRefused."""
        end = head.find(b"\r\n")
        line = head[:end]
        known = self._lines.get(line)
        if known is None:
            if not line:  # one empty line may stand before a request (RFC 9112 section 2.2)
                if head.startswith(b"\r\n\r\n"):
                    raise RequestRefused(400, "request_line")
                return self.parse(head[2:])
            known = self._learn_line(line)
        method, target, minor, authority = known
        block = head[end:-2]  # each of its lines stands between two line ends
        value, rest = _cut_range(block)
        fields = self._blocks.get(rest)
        if fields is None:
            fields, ranges = self._learn_block(rest)
            # Which of two came first is no longer known, nor does it matter: both are ignored.
            if ranges:
                value = ranges[0] if value is None and len(ranges) == 1 else b""
        # Judged here and not with the block: what is kept may come back with the other version.
        if fields.host is None and minor:
            raise RequestRefused(400, "host_missing")
        if fields.has_transfer_encoding and not minor:
            raise RequestRefused(400, "transfer_encoding_in_1.0")
        if authority is not None:
            fields = replace(fields, host=authority)
        # The same value as the class would make, in a third of the time; made for every request.
        return tuple.__new__(Request, (method, target, minor, fields, value))

    # -- the request line ------------------------------------------------------------------------

    def _learn_line(self, line: bytes) -> _Line:
        known = self._parse_line(line)
        if len(line) <= _MOST_KEPT_BYTES:
            self._lines.keep(line, known, 2 * len(line))
            if known.is_plain:
                self._plain_targets[line] = known.target
        return known

    def _check_line_length(self, line: bytes) -> None:
        """Asked before the form is, so that a line is judged alike, whole or begun."""
        if len(line) > self._target_bytes + _LINE_SLACK_BYTES:
            raise RequestRefused(414, "target_too_long")

    def _parse_line(self, line: bytes) -> _Line:
        """RFC 9112 section 3: method SP request-target SP HTTP-version."""
        self._check_line_length(line)
        parts = line.split(b" ")
        if len(parts) != 3 or not _METHOD.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
            raise RequestRefused(400, "request_line")
        method, target, version = parts
        if not _VERSION_1.fullmatch(version):
            if _VERSION.fullmatch(version):
                raise RequestRefused(505, "version")
            raise RequestRefused(400, "request_line")
        if len(target) > self._target_bytes:
            raise RequestRefused(414, "target_too_long")
        minor = 0 if version == b"HTTP/1.0" else 1  # a later one is served as ours is
        authority = None
        if not target.startswith(b"/"):
            target, authority = _reduce_target(method, target)
        return _Line(method, target, minor, authority)

    # -- the fields ------------------------------------------------------------------------------

    def _learn_block(self, block: bytes) -> tuple[Fields, list[bytes]]:
        values = self._parse_block(block)
        fields = _interpret(values)
        # A Range that could not be cut out would be kept as if every request had it.
        ranges = values.get(b"range", [])
        if not ranges and len(block) <= _MOST_KEPT_BYTES:
            self._blocks.keep(block, fields, 2 * len(block) + fields.count_bytes())
            if fields.is_plain:
                self._plain_rests[block[2:] + b"\r\n"] = fields
            elif fields.is_plain_with_body:
                self._rests_with_body[block[2:] + b"\r\n"] = fields
        return fields, ranges

    def _forget_rests(self) -> None:
        self._plain_rests.clear()
        self._rests_with_body.clear()

    def _parse_block(self, block: bytes) -> dict[bytes, list[bytes]]:
        """RFC 9112 section 5: the values of each field, by its name in lower case."""
        lines = block.split(b"\r\n")[1:-1]
        if len(lines) > self._header_count:
            raise RequestRefused(431, "too_many_fields")
        values: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
                raise RequestRefused(400, "field_line")
            values.setdefault(name.lower(), []).append(value.strip(b" \t"))
        return values


def _cut_range(block: bytes) -> tuple[bytes | None, bytes]:
    """The value of a plain Range line in `block`, and the block without that line."""
    start = block.find(b"\r\nRange: ")
    if start < 0:
        start = block.find(b"\r\nrange: ")
        if start < 0:
            return None, block
    stop = block.find(b"\r\n", start + 9)
    value = block[start + 9 : stop]
    if value.translate(None, _RANGE_CHARACTERS):  # anything unusual is left to the full parser
        return None, block
    return value, block[:start] + block[stop:]


def _reduce_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """The other forms of a target (RFC 9112 section 3.2): absolute, authority, asterisk."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        authority, path = absolute[1], absolute[2]
        if not _HOST.fullmatch(authority):
            raise RequestRefused(400, "host_malformed")
        return (path if path.startswith(b"/") else b"/" + path), authority
    if (target == b"*" and method == b"OPTIONS") or (
        method == b"CONNECT" and _HOST.fullmatch(target)
    ):
        return target, None
    raise RequestRefused(400, "target_form")


def _interpret(values: dict[bytes, list[bytes]]) -> Fields:
    """The fields that count, checked as far as framing depends on them."""
    connection = {
        option.strip(b" \t").lower()
        for value in values.get(b"connection", ())
        for option in value.split(b",")
    }
    joined = {name: b", ".join(found) for name, found in values.items()}
    if_match, if_none_match = joined.get(b"if-match"), joined.get(b"if-none-match")
    if_modified_since = joined.get(b"if-modified-since")
    if_unmodified_since = joined.get(b"if-unmodified-since")
    tags_and_dates = (if_match, if_none_match, if_modified_since, if_unmodified_since)
    length = _content_length(values.get(b"content-length", ()))
    if b"transfer-encoding" in values and length is not None:
        raise RequestRefused(400, "length_and_transfer_encoding")
    is_chunked = _is_chunked(values.get(b"transfer-encoding", ()))
    return Fields(
        host=_host(values.get(b"host", ())),
        close=b"close" in connection,
        keep_alive=b"keep-alive" in connection,
        has_body=is_chunked or bool(length),
        has_transfer_encoding=is_chunked,
        content_length=length,
        expects_continue=joined.get(b"expect", b"").lower() == b"100-continue",
        if_match=if_match,
        if_none_match=if_none_match,
        if_modified_since=if_modified_since,
        if_unmodified_since=if_unmodified_since,
        if_range=joined.get(b"if-range"),
        is_conditional=any(value is not None for value in tags_and_dates),
        origin=joined.get(b"origin"),
        referer=joined.get(b"referer"),
        user_agent=joined.get(b"user-agent"),
        request_method=joined.get(b"access-control-request-method"),
        authorization=joined.get(b"authorization"),
        fetch_site=joined.get(b"sec-fetch-site"),
        content_type=joined.get(b"content-type"),
        content_encoding=joined.get(b"content-encoding"),
    )


def _host(values: Sequence[bytes]) -> bytes | None:
    """RFC 9112 section 3.2: at most one, and well formed."""
    if not values:
        return None
    if len(values) > 1:
        raise RequestRefused(400, "host_repeated")
    if not _HOST.fullmatch(values[0]):
        raise RequestRefused(400, "host_malformed")
    return values[0]


def _content_length(values: Sequence[bytes]) -> int | None:
    """RFC 9112 section 6.3: one number; even equal ones that repeat are refused."""
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(values[0]):
        raise RequestRefused(400, "content_length")
    return int(values[0])


def _is_chunked(values: Sequence[bytes]) -> bool:
    """RFC 9112 section 6.1: chunked, once, and nothing else: no other coding is known here.

    Chunked twice, or in front of another, is malformed, and one that is not known is said so.
    """
    if not values:
        return False
    codings = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")]
    others = [_CHUNKED.match(coding) is None for coding in codings]
    if not all(map(_CODING.fullmatch, codings)) or not all(others[:-1]):
        raise RequestRefused(400, "transfer_encoding")
    if any(others):
        raise RequestRefused(501, "transfer_coding")
    if codings != [b"chunked"]:  # it takes no parameters (RFC 9112 section 7.1)
        raise RequestRefused(400, "transfer_encoding")
    return True
