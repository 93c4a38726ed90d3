"""From a request-target to the key of an object: decoded once, refused once.

A key is a path below a store: segments parted by single slashes, none of them empty, ".", ".." or
beginning with a dot. What tries to be something else is refused, not repaired, because caches and
filters in front of us might have repaired it otherwise (CVE-2021-41773, CVE-2022-35920).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ocaserve.protocol.messages import RequestRefused

_PLAIN = re.compile(rb"/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*")
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_FORBIDDEN = re.compile(rb"[\x00-\x1f\x7f\\]")
_BARE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MAX_SEGMENT_BYTES = 255  # NAME_MAX of every file system in question


class ObjectTarget(NamedTuple):
    """Which object is meant, and what stood behind the question mark, undecoded."""

    key: bytes
    query: bytes


def parse_target(target: bytes) -> ObjectTarget:
    """The object that a target in origin-form names (RFC 9112 section 3.2.1).

    Raises RequestRefused: 400 for what no honest client sends (control characters, backslashes,
    encoded slashes, dot segments, empty segments, a malformed escape); 404 for what may be honest
    but names no object ("/", a trailing slash, a hidden file, a name longer than any file's).
    """
    path, _, query = target.partition(b"?")
    if _PLAIN.fullmatch(path) is not None and len(path) <= _MAX_SEGMENT_BYTES:
        return ObjectTarget(path[1:], query)
    return ObjectTarget(_parse_path(path), query)


def _parse_path(path: bytes) -> bytes:
    if not path.startswith(b"/"):
        raise RequestRefused(400, "target_form", close=False)
    # These two before decoding: after it, an escaped slash is a slash and a percent a percent.
    if _BARE_PERCENT.search(path):
        raise RequestRefused(400, "target_escape", close=False)
    if b"%2f" in path.lower():
        raise RequestRefused(400, "target_encoded_slash", close=False)
    decoded = _ENCODED.sub(lambda match: bytes((int(match[1], 16),)), path)
    if _FORBIDDEN.search(decoded):
        raise RequestRefused(400, "target_characters", close=False)
    # Dot segments only now: "%2e%2e" is one too, for whatever stands behind us.
    segments = decoded[1:].split(b"/")
    if b"." in segments or b".." in segments:
        raise RequestRefused(400, "target_dot_segment", close=False)
    if b"" in segments[:-1]:
        raise RequestRefused(400, "target_empty_segment", close=False)
    if any(not 0 < len(name) <= _MAX_SEGMENT_BYTES or name[:1] == b"." for name in segments):
        raise RequestRefused(404, "target_names_no_object", close=False)
    return b"/".join(segments)
