"""From a request-target to the key of an object: decoded once, refused once.

A key is a path below a store: segments parted by single slashes, none of them empty, ".", ".." or
beginning with a dot. What tries to be something else is refused, not repaired, because caches and
filters in front of us might have repaired it otherwise (CVE-2021-41773, CVE-2022-35920).

The forms of a target:

    /KEY                          the object
    /?o=KEY                       the same; the KEY of a query may hold "%2F" or "/" alike
    /range/A-B/KEY                bytes A to B of it, both included
    /range/A-B?o=KEY              the same
    /speedtest                    made-up content, if the appliance offers it
    /speedtest/range/A-B          a part of that
    /s/SIGNATURE/...              any of these, signed for a folder (`signatures`)

A form wins over an object whose key looks like it; such an object is asked for with "o", which is
never read as a form: "/?o=range/0-9/a.mp4". "A-B" is what consists of digits and hyphens, with one
of these at least; if it is then not two numbers in order, the request is malformed. Any other name
below "/range/" is part of a key, unless "o" shows what was meant.

Of a query, only "o" names something, once, and where the path is one of the forms above; the names
of parameters are taken as they stand, the value is decoded once, and "+" is a plus.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ocaserve.protocol.memo import Memo
from ocaserve.protocol.messages import ByteRange, RequestRefused
from ocaserve.protocol.ranges import parse_part

SPEEDTEST_KEY = b"speedtest"  # what the speed test is called where a key is needed: in signatures

_NAME_START = rb"[A-Za-z0-9_~!$&'()*+,;=:@-]"
_PLAIN_PATH = rb"(?:/" + _NAME_START + rb"[A-Za-z0-9._~!$&'()*+,;=:@-]*+)+"
_PLAIN = re.compile(_PLAIN_PATH)
_PLAIN_PART = re.compile(rb"/range/([0-9]{1,18})-([0-9]{1,18})(?:" + _PLAIN_PATH + rb")?")
_FORMS = (b"/range/", b"/speedtest")
_PLAIN_KEY = re.compile(
    r"(?!range/|speedtest|s/)[A-Za-z0-9_-][A-Za-z0-9._-]*+(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*+)*+"
)
_SIGNED = re.compile(rb"/s/([A-Za-z0-9._~-]{1,32}\.[0-9]{1,12}\.[A-Za-z0-9_-]{43})(?=/)")
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_FORBIDDEN = re.compile(rb"[\x00-\x1f\x7f\\]")
_BARE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MAX_SEGMENT_BYTES = 255  # NAME_MAX of every file system in question
_LIKE_PART = re.compile(rb"[0-9]*-[0-9-]*")


class ObjectTarget(NamedTuple):
    """Which object is meant, and what stood behind the question mark, undecoded.

    part: the bytes that the path asks for, not clamped to the object; None for all of it.
    signature: that of a folder, which stood before the rest of the path; empty without one.
    """

    key: bytes
    query: bytes
    part: ByteRange | None = None
    is_speedtest: bool = False  # made-up content is meant, and `key` is SPEEDTEST_KEY
    signature: bytes = b""


def parse_target(target: bytes, *, has_speedtest: bool = False) -> ObjectTarget:
    """The object that a target in origin-form names (RFC 9112 section 3.2.1).

    has_speedtest: whether "/speedtest" is the speed test; otherwise it is a key like any other.

    Raises RequestRefused: 400 for what no honest client sends (control characters, backslashes,
    encoded slashes in a path, dot segments, empty segments, a malformed escape or part, two "o");
    404 for what may be honest but names no object ("/", a trailing slash, a hidden file, a name
    longer than any file's).
    """
    signed = _SIGNED.match(target)
    if signed is None:
        return _parse_unsigned(target, has_speedtest)
    named = _parse_unsigned(target[signed.end() :], has_speedtest)
    return named._replace(signature=signed[1])


def _parse_unsigned(target: bytes, has_speedtest: bool) -> ObjectTarget:
    path, _, query = target.partition(b"?")
    if len(path) <= _MAX_SEGMENT_BYTES:  # nearly all: nothing to decode, nothing to refuse
        if not path.startswith(_FORMS):
            if _PLAIN.fullmatch(path) is not None:
                return ObjectTarget(path[1:], query)
        elif (match := _PLAIN_PART.fullmatch(path)) is not None:
            first, stop = int(match[1]), int(match[2]) + 1
            key = path[match.end(2) + 1 :] or _maybe_key_of(query)
            if first < stop and key is not None:
                return ObjectTarget(key, query, ByteRange(first, stop))
    # Asked before decoding: after it, an escaped slash is a slash.
    if b"%2f" in path.lower():
        raise RequestRefused(400, "target_encoded_slash", close=False)
    return _read_form(_split(_decode(path)), query, has_speedtest=has_speedtest)


def is_plain_key(key: str) -> bool:
    """Whether a target of a slash and this text names just the object that has it as its key.

    So it is of nearly all keys; of others `parse_target` says what they name, if anything.
    """
    return len(key) < _MAX_SEGMENT_BYTES and _PLAIN_KEY.fullmatch(key) is not None


def parameter_values(query: bytes, name: bytes) -> list[bytes]:
    """The values that a query has for a parameter, as they stand, in their order."""
    start = name + b"="
    return [part[len(start) :] for part in query.split(b"&") if part.startswith(start)]


def _read_form(names: list[bytes], query: bytes, *, has_speedtest: bool) -> ObjectTarget:
    if names == [b""]:
        key = _maybe_key_of(query)
        if key is None:
            raise RequestRefused(404, "target_names_no_object", close=False)
        return ObjectTarget(key, query)
    if names[0] == b"range" and len(names) == 2:
        key = _maybe_key_of(query)
        if key is not None:
            return ObjectTarget(key, query, _read_part(names[1]))
    elif names[0] == b"range" and len(names) > 2 and _LIKE_PART.fullmatch(names[1]):
        return ObjectTarget(_join(names[2:]), query, _read_part(names[1]))
    elif has_speedtest and names == [SPEEDTEST_KEY]:
        return ObjectTarget(SPEEDTEST_KEY, query, None, True)
    elif has_speedtest and names[:2] == [SPEEDTEST_KEY, b"range"] and len(names) == 3:
        return ObjectTarget(SPEEDTEST_KEY, query, _read_part(names[2]), True)
    return ObjectTarget(_join(names), query)


_keys: Memo[bytes, bytes] = Memo(524_288)
"""By query: a client's queries are alike for all parts of an object."""


def _maybe_key_of(query: bytes) -> bytes | None:
    """The key that a query names. Raises RequestRefused, which is not kept."""
    known = _keys.get(query)
    if known is not None:
        return known
    values = parameter_values(query, b"o")
    if not values:
        return None
    if len(values) > 1:
        raise RequestRefused(400, "target_object_repeated", close=False)
    key = _join(_split(b"/" + _decode(values[0])))
    _keys.keep(query, key, 2 * len(query))
    return key


def _read_part(value: bytes) -> ByteRange:
    part = parse_part(value)
    if part is None:
        raise RequestRefused(400, "target_part", close=False)
    return part


def _decode(text: bytes) -> bytes:
    if _BARE_PERCENT.search(text):
        raise RequestRefused(400, "target_escape", close=False)
    return _ENCODED.sub(lambda match: bytes((int(match[1], 16),)), text)


def _split(path: bytes) -> list[bytes]:
    """The names in a decoded path; it begins with a slash, which parts nothing."""
    if not path.startswith(b"/"):
        raise RequestRefused(400, "target_form", close=False)
    if _FORBIDDEN.search(path):
        raise RequestRefused(400, "target_characters", close=False)
    # Dot segments only now: "%2e%2e" is one too, for whatever stands behind us.
    names = path[1:].split(b"/")
    if b"." in names or b".." in names:
        raise RequestRefused(400, "target_dot_segment", close=False)
    if b"" in names[:-1]:
        raise RequestRefused(400, "target_empty_segment", close=False)
    return names


def _join(names: Sequence[bytes]) -> bytes:
    """The key that is made of these names."""
    if any(not 0 < len(name) <= _MAX_SEGMENT_BYTES or name[:1] == b"." for name in names):
        raise RequestRefused(404, "target_names_no_object", close=False)
    return b"/".join(names)
