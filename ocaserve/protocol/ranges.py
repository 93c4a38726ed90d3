"""Byte ranges (RFC 9110 section 14): from the wire to half-open positions, and back.

Decisions, each allowed by the RFC:

* What is malformed, or of another unit, is ignored (section 14.2): the client gets all of the
  object, which every player can use; an error stops some of them.
* More ranges than allowed, or more bytes asked than the object has, is an attack or a mistake
  (section 14.2, last paragraph but one; CVE-2011-3192): ignored.
* Ranges that overlap or touch are joined, and the parts are sent in the order in which the client
  first asked for each (section 15.3.7.2 allows both). Joining is by sorting, not by comparing each
  with each (CVE-2025-62727).
* A position of more than 19 digits counts as beyond every file: it is clamped or unsatisfiable like
  any other, and no arithmetic on it can be made slow or overflow (CVE-2017-7529).
* The last bytes of an empty object are a satisfiable range (section 14.1.2), but no Content-Range
  can express them: ignored, so that the answer is the empty object.
"""

from __future__ import annotations

import re
from enum import Enum

from ocaserve.protocol.messages import ByteRange

MOST_RANGES = 256
"""Unless set otherwise. Players ask for one, PDF readers and zsync for dozens; every part costs a
turn of the event loop and a system call."""

_SPEC = rb"(?:[0-9]++-[0-9]*+|-[0-9]++)"
_MAX_DIGITS = 19
_BEYOND = 10**_MAX_DIGITS
# The quantifiers of white space are possessive: otherwise a value that is nearly right could be
# tried in exponentially many ways.
_SET = re.compile(
    rb"bytes=[ \t]*+(?:,[ \t]*+)*+" + _SPEC + rb"(?:[ \t]*+,[ \t]*+(?:" + _SPEC + rb")?+)*+[ \t]*+",
    re.IGNORECASE,
)
_SPECS = re.compile(rb"([0-9]*)-([0-9]*)")
_PART = re.compile(rb"([0-9]+)-([0-9]+)")


class RangeVerdict(Enum):
    """A Range field that names no part to send."""

    IGNORED = "ignored"
    UNSATISFIABLE = "unsatisfiable"


IGNORED = RangeVerdict.IGNORED
UNSATISFIABLE = RangeVerdict.UNSATISFIABLE


def parse_range(
    value: bytes, size: int, most_ranges: int = MOST_RANGES
) -> tuple[ByteRange, ...] | RangeVerdict:
    """The parts of an object of `size` bytes that a Range field asks for; never empty.

    All lie within the object and do not overlap. UNSATISFIABLE: well formed, but no part of the
    object is meant. IGNORED: answer as if there were no Range.
    """
    first, _, last = value[6:].partition(b"-")
    if (
        value.startswith(b"bytes=")
        and first.isdigit()
        and last.isdigit()
        and len(first) <= _MAX_DIGITS >= len(last)
    ):  # nearly every request: "bytes=a-b"; calls, also of min, would take a fifth more
        start, stop = int(first), int(last) + 1
        if stop <= start:
            return IGNORED  # section 14.1.1: such a range is invalid
        if start >= size:
            return UNSATISFIABLE
        # tuple.__new__ makes the same value in a third of the time; it is made for every request.
        stop = size if stop > size else stop  # noqa: FURB136 - a call, see above
        return (tuple.__new__(ByteRange, (start, stop)),)
    if _SET.fullmatch(value) is None:
        return IGNORED
    return _parse_set(value, size, most_ranges)


def parse_part(value: bytes) -> ByteRange | None:
    """The part "A-B" that a path asks for, both included, not clamped; None: malformed."""
    match = _PART.fullmatch(value)
    if match is None:
        return None
    first, last = _number(match[1]) or 0, _number(match[2]) or 0
    return ByteRange(first, last + 1) if first <= last else None


def _parse_set(value: bytes, size: int, most_ranges: int) -> tuple[ByteRange, ...] | RangeVerdict:
    specs = _SPECS.findall(value)
    if len(specs) > most_ranges:
        return IGNORED
    parts = []
    for first_digits, last_digits in specs:
        first, last = _number(first_digits), _number(last_digits)
        if first is not None and last is not None and last < first:
            return IGNORED
        if first is None and last and not size:
            return IGNORED
        part = _locate(first, last, size)
        if part.start < part.stop:
            parts.append(part)
    if not parts:
        return UNSATISFIABLE
    if sum(part.stop - part.start for part in parts) > size:
        return IGNORED
    return _join(parts)


def _number(digits: bytes) -> int | None:
    """What the digits say, up to a number that is beyond every file; None without digits."""
    if not digits:
        return None
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MAX_DIGITS else _BEYOND


def _locate(first: int | None, last: int | None, size: int) -> ByteRange:
    """One range-spec as positions, clamped to the object; empty if it lies beyond."""
    if first is None:
        return ByteRange(max(0, size - (last or 0)), size)
    return ByteRange(first, size if last is None else min(last + 1, size))


def _join(parts: list[ByteRange]) -> tuple[ByteRange, ...]:
    """Join what overlaps or touches; each result stands where the first of its parts stood."""
    joined: list[tuple[int, ByteRange]] = []
    for place, part in sorted(enumerate(parts), key=lambda item: item[1].start):
        if joined and part.start <= joined[-1][1].stop:
            first_place, before = joined[-1]
            stop = max(before.stop, part.stop)
            joined[-1] = (min(first_place, place), ByteRange(before.start, stop))
        else:
            joined.append((place, part))
    return tuple(part for _, part in sorted(joined))


def content_range(part: ByteRange, size: int) -> bytes:
    """The value of Content-Range for a part (section 14.4)."""
    return b"bytes %d-%d/%d" % (part.start, part.stop - 1, size)


def unsatisfied_range(size: int) -> bytes:
    """The value of Content-Range that a 416 carries (section 15.5.17)."""
    return b"bytes */%d" % size
