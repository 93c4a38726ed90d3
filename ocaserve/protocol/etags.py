"""Entity-tags (RFC 9110 section 8.8.3) and the lists of them in If-Match and If-None-Match."""

from __future__ import annotations

import re

_ENTITY_TAG = re.compile(rb'[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)')
_EMPTY_ELEMENT = re.compile(rb"[ \t]*,")

ANY = b"*"


def is_strong_match(value: bytes, etag: bytes) -> bool:
    """Whether one of the listed tags equals `etag`, neither being weak (section 8.8.3.2)."""
    return any(not weak and tag == etag for weak, tag in _listed(value))


def is_weak_match(value: bytes, etag: bytes) -> bool:
    """Whether one of the listed tags equals `etag`, weak or not (section 8.8.3.2)."""
    return any(tag == etag for _, tag in _listed(value))


def _listed(value: bytes) -> list[tuple[bool, bytes]]:
    """(is weak, opaque tag) for each tag of the list, up to the first thing that is none."""
    tags = []
    position = 0
    while position < len(value):
        match = _ENTITY_TAG.match(value, position)
        if match is not None:
            tags.append((match[1] is not None, match[2]))
        else:
            match = _EMPTY_ELEMENT.match(value, position)
            if match is None:
                break  # no guess at where a list goes on whose quotes do not match
        position = match.end()
    return tags
