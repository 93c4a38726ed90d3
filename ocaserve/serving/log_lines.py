"""A line of the access log, built in one step from what clients repeat.

What a client sends stands in it escaped, without tokens of signed URLs, and cut with a mark where
it is longer than any player's: a line is never longer than a pipe of Linux takes whole (4 KiB), and
its cost is bounded, whatever was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from ocaserve.logs.hiding import show
from ocaserve.protocol.memo import Memo
from ocaserve.protocol.messages import Fields, Request

_TARGET_BYTES = 1_280  # a signed URL with a long key
_REFERER_BYTES = 640
_AGENT_BYTES = 512  # browsers send about 120, players on televisions up to 300
_OTHER_BYTES = 128  # host, range
_METHOD_BYTES = 32
_RECEIVED_BYTES = 256
_LEAST_TOKEN = 40  # bytes; in less there is none
_MOST_KEPT_BYTES = 2_048  # of one client's fields, or of a target; what is longer is no player's
_MEMO_BYTES = 2_097_152

Formatter = Callable[[bytes, bytes, Request | None, bytes, int, int, float, str], bytes]
Escape = Callable[[bytes], bytes]

_SAFE = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
_ESCAPES = [b"%c" % code if code in _SAFE else b"\\x%02X" % code for code in range(256)]


def _quoted(text: bytes) -> bytes:
    """What cannot break out of quotes or start a line of its own."""
    if not text.translate(None, _SAFE):
        return text
    return b"".join([_ESCAPES[code] for code in text])


def _as_json(text: bytes) -> bytes:
    return json.dumps(text.decode("latin-1")).encode()


def _fit(text: bytes, most_bytes: int, escape: Escape) -> bytes:
    """The text as a log shows it, in little more than `most_bytes`, however it must be escaped."""
    shown = escape(show(text, most_bytes))
    if len(shown) > most_bytes + most_bytes // 4:
        return escape(show(text, most_bytes // 6))  # JSON takes six bytes for one
    return shown


def _method(method: bytes) -> bytes:
    """It has no character that would be escaped."""
    return method if len(method) <= _METHOD_BYTES else show(method, _METHOD_BYTES)


# -- the combined format -------------------------------------------------------------------------

_targets: Memo[bytes, bytes] = Memo(_MEMO_BYTES)
_tails: Memo[Fields, bytes] = Memo(_MEMO_BYTES)
"""The end of a line, for each set of fields: a client's requests share one (`protocol.head`)."""


def format_combined(
    when: bytes, address: bytes, request: Request | None, received: bytes,
    status: int, sent: int, duration_s: float, note: str,
) -> bytes:  # fmt: skip
    """A line of the combined log format.

    when: local time as it stands between the brackets. received: the first line of what came,
    where no request could be made of it. sent: bytes of body. duration_s and note have no place in
    this format.
    """
    if request is None:
        return b'%b - - [%b] "%b" %d %d "-" "-"\n' % (
            address, when, _fit(received, _RECEIVED_BYTES, _quoted) or b"-", status, sent,
        )  # fmt: skip
    method, target, minor, fields, _ = request
    return b'%b - - [%b] "%b %b HTTP/1.%d" %d %d %b' % (
        address, when, _method(method),
        _targets.get(target) or _make_target(target), minor, status, sent,
        _tails.get(fields) or _make_tail(fields),
    )  # fmt: skip


def format_plain(
    when: bytes,
    address: bytes,
    method: bytes,
    target: bytes,
    fields: Fields,
    status: int,
    sent: int,
) -> bytes:
    """`format_combined` of a request by HTTP/1.1, in half of the time. method: one of ours."""
    return b'%b - - [%b] "%b %b HTTP/1.1" %d %d %b' % (
        address, when, method, _targets.get(target) or _make_target(target), status, sent,
        _tails.get(fields) or _make_tail(fields),
    )  # fmt: skip


def _make_target(target: bytes) -> bytes:
    shown = _fit(target, _TARGET_BYTES, _quoted)
    if len(target) <= _MOST_KEPT_BYTES:
        _targets.keep(target, shown, len(target) + len(shown))
    return shown


def _make_tail(fields: Fields) -> bytes:
    tail = b'"%b" "%b"\n' % (
        _fit(fields.referer, _REFERER_BYTES, _quoted) if fields.referer else b"-",
        _fit(fields.user_agent, _AGENT_BYTES, _quoted) if fields.user_agent else b"-",
    )
    held = fields.count_bytes()
    if held <= _MOST_KEPT_BYTES:
        _tails.keep(fields, tail, held + len(tail))
    return tail


# -- JSON ----------------------------------------------------------------------------------------

_json_targets: Memo[bytes, bytes] = Memo(_MEMO_BYTES)
_json_fields: Memo[Fields, tuple[bytes, bytes]] = Memo(_MEMO_BYTES)
"""The members for each set of fields: what stands before the range, and what behind it."""


def format_json(
    when: bytes, address: bytes, request: Request | None, received: bytes,
    status: int, sent: int, duration_s: float, note: str,
) -> bytes:  # fmt: skip
    """One JSON object a line, with what `format_combined` gets and the request's range.

    when: RFC 3339 UTC time. note: why the response ended early or was refused; null if neither.
    """
    if request is None:
        said = b'"request":%b' % _fit(received, _RECEIVED_BYTES, _as_json)
    else:
        method, target, minor, fields, value = request
        host, others = _json_fields.get(fields) or _make_json_fields(fields)
        said = b'"method":%b,"target":%b,"protocol":"HTTP/1.%d",%b,"range":%b,%b' % (
            _as_json(_method(method)), _json_targets.get(target) or _make_json_target(target),
            minor, host, _json_value(value), others,
        )  # fmt: skip
    return (
        b'{"time":"%b","address":"%b",%b,"status":%d,"bytes":%d,"duration_s":%.6f,"note":%b}\n'
        % (
            when, address, said, status, sent, duration_s,
            _as_json(note.encode()) if note else b"null",
        )
    )  # fmt: skip


def _json_value(value: bytes | None) -> bytes:
    if value is None:
        return b"null"
    if len(value) < _LEAST_TOKEN:  # nearly every range
        return _as_json(value)
    return _fit(value, _OTHER_BYTES, _as_json)


def _make_json_target(target: bytes) -> bytes:
    shown = _fit(target, _TARGET_BYTES, _as_json)
    if len(target) <= _MOST_KEPT_BYTES:
        _json_targets.keep(target, shown, len(target) + len(shown))
    return shown


def _make_json_fields(fields: Fields) -> tuple[bytes, bytes]:
    host = b'"host":%b' % _json_value(fields.host)
    referer, agent = (
        b"null" if value is None else _fit(value, most_bytes, _as_json)
        for value, most_bytes in (
            (fields.referer, _REFERER_BYTES), (fields.user_agent, _AGENT_BYTES),
        )
    )  # fmt: skip
    others = b'"referer":%b,"user_agent":%b' % (referer, agent)
    held = fields.count_bytes()
    if held <= _MOST_KEPT_BYTES:
        _json_fields.keep(fields, (host, others), held + len(host) + len(others))
    return host, others


def entry_formatter(log_format: str) -> Formatter:
    """The function that writes a line of the access log in this format."""
    return format_json if log_format == "json" else format_combined
