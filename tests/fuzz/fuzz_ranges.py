"""Accepted ranges lie within the object, apart from each other, in the order of asking."""

from __future__ import annotations

import re
from itertools import pairwise

from ocaserve.protocol.messages import ByteRange
from ocaserve.protocol.ranges import MOST_RANGES, RangeVerdict, parse_range
from tests.fuzz.driver import run

TOKENS = [
    b"bytes=", b"-", b",", b", ", b"0-0", b"-1", b"5-", b"9-3", b"0", b"999", b"9" * 19, b"9" * 20,
    b" ", b"\t", b"BYTES=",
]  # fmt: skip
_SIZES = (0, 1, 7, 1000, 10**19)


def check(data: bytes) -> None:
    for size in _SIZES:
        parts = parse_range(data, size)
        if isinstance(parts, RangeVerdict):
            continue
        assert 0 < len(parts) <= MOST_RANGES
        assert all(0 <= part.start < part.stop <= size for part in parts)
        assert all(one.stop < other.start for one, other in pairwise(sorted(parts)))
        asked = [locate(spec, size) for spec in re.findall(rb"(\d*)-(\d*)", data)]
        places = [min(n for n, one in enumerate(asked) if overlap(one, part)) for part in parts]
        assert places == sorted(places)


def locate(spec: tuple[bytes, bytes], size: int) -> ByteRange:
    """By the words of RFC 9110 section 14.1.2."""
    first, last = spec
    if not first:
        return ByteRange(max(0, size - int(last)), size)
    return ByteRange(int(first), min(size, int(last) + 1) if last else size)


def overlap(one: ByteRange, other: ByteRange) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


if __name__ == "__main__":
    run("ranges", check, TOKENS)
