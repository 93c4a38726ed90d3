"""Path attributes as they stand in messages and dumps, read as RFC 7606 has malformed ones.

What is malformed is let go of alone where nothing hangs on it (AGGREGATOR, AS4_PATH …), or has the
routes withdrawn (`fault` says why). Only what leaves prefixes unread raises MalformedRecordError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bgp.address_families import BY_AFI_SAFI
from bgp.attributes import Attributes, make_attributes, rank_next_hop
from bgp.events import Announcement, Nlri
from bgp.messages import UNKNOWN_CHARACTERS
from bgp.prefixes import WIDTH, format_address

_ORIGINS = ("igp", "egp", "incomplete")
_SEGMENTS = {1: "as-set", 2: "as-sequence", 3: "as-confed-sequence", 4: "as-confed-set"}
_AS_TRANS = 23_456
_EXTENDED = 0x10
_MOST_KNOWN = 100_000
_INTERNAL = (5, 9, 10)  # LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST: RFC 7606 sections 7.5, 7.9, 7.10
_ORIGIN, _AS_PATH, _AGGREGATOR, _REACH, _UNREACH = 1, 2, 7, 14, 15
_AS4_PATH, _AS4_AGGREGATOR = 17, 18

Segment: TypeAlias = tuple[str, Sequence[int]]


class MalformedRecordError(ValueError):
    """What is wrong with a record."""


@dataclass(slots=True)
class Read:
    """The attributes of a message.

    fault: why its routes are withdrawn, RFC 7606. internal_fault: likewise, if the peer is of our
    own AS; of another one the attribute would have been let go of anyway.
    """

    attributes: Attributes
    next_hop: str = ""
    withdrawn: tuple[int, Sequence[Nlri]] | None = None
    announced: Announcement | None = None
    fault: str = ""
    internal_fault: str = ""
    discarded: int = 0
    count: int = 0


@dataclass(slots=True)
class _Reading:
    """While they are read."""

    as_bytes: int
    dumped: int | None  # the family, of an entry of a dump
    has_path_ids: bool
    values: dict[str, Any] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    long_segments: list[Segment] = field(default_factory=list)
    long_aggregator: str = ""
    next_hop: str = ""
    withdrawn: tuple[int, Sequence[Nlri]] | None = None
    announced: Announcement | None = None


class _DiscardedError(Exception):
    """The attribute alone is let go of."""


class _WithdrawnError(Exception):
    """The routes are withdrawn; the text says why."""


class AttributeReader:
    """Reads sets of attributes, of which each is remembered by its bytes: most come again."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, Any]] = {}

    def read(self, data: bytes, as_bytes: int, dumped: int | None, has_path_ids: bool) -> Read:
        """Attributes of a message, or of an entry of a dump of the family `dumped`.

        as_bytes: of a number in AS_PATH. Raises MalformedRecordError.
        """
        reading = _Reading(as_bytes, dumped, has_path_ids)
        seen: set[int] = set()
        at, end, fault, internal_fault, discarded = 0, len(data), "", "", 0
        while at + 2 < end:
            head = at
            flags, code, length = data[at], data[at + 1], data[at + 2]
            at += 3
            if flags & _EXTENDED and at < end:
                length = length << 8 | data[at]
                at += 1
            start = at
            at += length
            if at > end:
                fault = fault or f"attribute {code}: {length} bytes where {end - start} are left"
                break
            if code in seen:
                if code in (_REACH, _UNREACH):
                    raise MalformedRecordError(f"attribute {code} twice")
                continue  # the first counts, RFC 7606 section 3(g)
            seen.add(code)
            known = self._known.get(data[head:at])
            if known is not None:
                reading.values[known[0]] = known[1]
                continue
            try:
                self._read_attribute(reading, code, data[head:at], data[start:at])
            except _DiscardedError:
                discarded += 1
            except _WithdrawnError as error:
                if code in _INTERNAL:
                    internal_fault = internal_fault or f"attribute {code}: {error}"
                else:
                    fault = fault or f"attribute {code}: {error}"
        if at < end:
            fault = fault or "an attribute that ends in its head"
        held = _finish(reading, seen)
        held.fault, held.internal_fault, held.discarded = fault, internal_fault, discarded
        return held

    def _read_attribute(self, reading: _Reading, code: int, whole: bytes, value: bytes) -> None:
        simple = _SIMPLE.get(code)
        if simple is None:
            _read_other(reading, code, whole[0], value)
            return
        name, read = simple
        reading.values[name] = made = read(value)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[whole] = name, made


def _finish(reading: _Reading, seen: set[int]) -> Read:
    values, segments = reading.values, reading.segments
    if reading.as_bytes == 2:
        short, long = values.get("aggregator", ""), reading.long_aggregator
        if not (short and long) or short.startswith(f"{_AS_TRANS}:"):  # RFC 6793 section 4.2.3
            segments = merge_paths(segments, reading.long_segments)
            if short and long:
                values["aggregator"] = long
    attributes = make_attributes(values, segments)
    if not (_ORIGIN in seen and _AS_PATH in seen):
        attributes = attributes._replace(is_lacking=True)
    return Read(
        attributes,
        reading.next_hop,
        reading.withdrawn,
        reading.announced,
        count=len(seen),
    )


def _read_other(reading: _Reading, code: int, flags: int, value: bytes) -> None:
    """What depends on more than its value."""
    if code == _AS_PATH:
        reading.segments = _read_segments(value, reading.as_bytes)
    elif code == 3:
        _check(len(value) == 4, value)
        reading.next_hop = format_address(4, int.from_bytes(value, "big"))
    elif code == _AGGREGATOR:
        reading.values["aggregator"] = _read_aggregator(value, reading.as_bytes)
    elif code == _REACH:
        _read_reachable(reading, value)
    elif code == _UNREACH:
        family = _family_of(value)
        if family is not None:
            nlri = read_prefixes(value, 3, len(value), family, reading.has_path_ids)
            reading.withdrawn = family, nlri
    elif code == _AS4_PATH:
        reading.long_segments = _read_long_segments(value)
    elif code == _AS4_AGGREGATOR:
        reading.long_aggregator = _read_aggregator(value, 4)
    else:
        shown = "0x" + value.hex()
        other = reading.values.setdefault("other", {})
        other[f"0x{code:02x}-0x{flags:02X}"] = shown[:UNKNOWN_CHARACTERS]


def _check(holds: bool, value: bytes) -> None:
    if not holds:
        raise _WithdrawnError(f"of {len(value)} bytes")


# -- prefixes ------------------------------------------------------------------------------------


def read_prefixes(data: bytes, at: int, end: int, family: int, has_path_ids: bool) -> list[Nlri]:
    """Prefixes from `at` to `end`. One loop, as this is where a full table's time goes."""
    width = WIDTH[family]
    found: list[Nlri] = []
    from_bytes = int.from_bytes
    path_id = 0
    while at < end:
        if has_path_ids:
            path_id = from_bytes(data[at : at + 4], "big")
            at += 4
            if at >= end:
                raise MalformedRecordError("a path identifier without a prefix")
        length = data[at]
        start = at + 1
        octets = (length + 7) >> 3
        at = start + octets
        if length > width:
            raise MalformedRecordError(f"a prefix length of {length}")
        if at > end:
            raise MalformedRecordError(f"{octets} bytes where {end - start} are left")
        found.append((length, from_bytes(data[start:at], "big") >> (8 * octets - length), path_id))
    return found


def _family_of(value: bytes) -> int | None:
    """That of MP_REACH_NLRI or MP_UNREACH_NLRI; None where it is not one of ours."""
    if len(value) < 3:
        raise MalformedRecordError(f"MP_REACH_NLRI or MP_UNREACH_NLRI of {len(value)} bytes")
    return BY_AFI_SAFI.get((value[0] << 8 | value[1], value[2]))


def _read_reachable(reading: _Reading, value: bytes) -> None:
    """MP_REACH_NLRI. A dump shortens it to its next hop (RFC 6396 section 4.3.4), or does not: the
    length of a next hop comes first then, which no number of a family is as long as.
    """
    if reading.dumped is not None and value[:1] != b"\0":
        reading.next_hop = _read_next_hop(value[1:], value[:1])
        return
    family = _family_of(value)
    if family is None:
        return
    hop_end = 4 + value[3] if len(value) > 3 else len(value)
    if hop_end >= len(value):
        raise MalformedRecordError("MP_REACH_NLRI that ends in its next hop")
    next_hop = _read_next_hop(value[4:hop_end], value[3:4])
    if reading.dumped is not None:
        reading.next_hop = next_hop
        return
    nlri = read_prefixes(value, hop_end + 1, len(value), family, reading.has_path_ids)
    reading.announced = Announcement(family, next_hop, nlri)


def _read_next_hop(value: bytes, length: bytes) -> str:
    """Of two addresses (RFC 2545 section 3), the first that is the most of use."""
    size = length[0] if length else 0
    if size > len(value):
        raise MalformedRecordError(f"a next hop of {size} bytes where {len(value)} are left")
    if size == 4:
        return format_address(4, int.from_bytes(value[:4], "big"))
    if size not in (16, 32):
        return ""
    hops = [
        format_address(6, int.from_bytes(value[start : start + 16], "big"))
        for start in range(0, size, 16)
    ]
    return min(hops, key=rank_next_hop)


# -- paths ---------------------------------------------------------------------------------------

_NUMBERS = {
    (size, n): struct.Struct(f"!{n}{'HI'[size == 4]}") for size in (2, 4) for n in range(256)
}


def _read_segments(value: bytes, as_bytes: int) -> list[Segment]:
    """RFC 7606 section 7.2: of a segment that is malformed, all routes are withdrawn."""
    segments: list[Segment] = []
    at, end = 0, len(value)
    while at < end:
        if at + 2 > end:
            raise _WithdrawnError("a segment that ends in its head")
        kind, count = _SEGMENTS.get(value[at]), value[at + 1]
        if kind is None:
            raise _WithdrawnError(f"a segment of the unknown kind {value[at]}")
        if not count:
            raise _WithdrawnError("a segment of no AS numbers")
        if at + 2 + count * as_bytes > end:
            raise _WithdrawnError(f"a segment of {count} AS numbers, which are not all there")
        segments.append((kind, _NUMBERS[as_bytes, count].unpack_from(value, at + 2)))
        at += 2 + count * as_bytes
    return segments


def _read_long_segments(value: bytes) -> list[Segment]:
    """AS4_PATH; a malformed one counts for nothing, nor do confederations (RFC 6793 section 6)."""
    try:
        segments = _read_segments(value, 4)
    except _WithdrawnError:
        raise _DiscardedError from None
    return [segment for segment in segments if "confed" not in segment[0]]


def merge_paths(short: Sequence[Segment], long: Sequence[Segment]) -> list[Segment]:
    """AS4_PATH replaces as many numbers at the end of AS_PATH (RFC 6793 section 4.2.3)."""
    surplus = sum(map(_path_length, short)) - sum(map(_path_length, long))
    if not long or surplus < 0:
        return list(short)
    kept: list[Segment] = []
    for kind, numbers in short:
        if surplus <= 0 and "confed" not in kind:
            break
        taken = numbers[:surplus] if kind == "as-sequence" else numbers
        kept.append((kind, taken))
        surplus -= _path_length((kind, taken))
    return [*kept, *long]


def _path_length(segment: Segment) -> int:
    kind, numbers = segment
    if "confed" in kind:
        return 0
    return 1 if kind == "as-set" else len(numbers)


# -- the others ----------------------------------------------------------------------------------


def _read_origin(value: bytes) -> str:
    _check(len(value) == 1, value)
    return _ORIGINS[value[0]] if value[0] < len(_ORIGINS) else "invalid"


def _read_number(value: bytes) -> int:
    _check(len(value) == 4, value)
    return int.from_bytes(value, "big")


def _read_atomic_aggregate(value: bytes) -> bool:
    if value:
        raise _DiscardedError  # RFC 7606 section 7.6
    return True


def _read_aggregator(value: bytes, as_bytes: int) -> str:
    if len(value) != as_bytes + 4:
        raise _DiscardedError  # RFC 7606 section 7.7
    asn = int.from_bytes(value[:as_bytes], "big")
    return f"{asn}:{format_address(4, int.from_bytes(value[as_bytes:], 'big'))}"


def _read_address(value: bytes) -> str:
    _check(len(value) == 4, value)
    return format_address(4, int.from_bytes(value, "big"))


def _read_addresses(value: bytes) -> list[str]:
    _check(bool(value) and not len(value) % 4, value)
    return [_read_address(value[at : at + 4]) for at in range(0, len(value), 4)]


def _read_communities(value: bytes) -> list[str]:
    _check(bool(value) and not len(value) % 4, value)
    return [f"{high}:{low}" for high, low in struct.iter_unpack("!HH", value)]


def _read_large_communities(value: bytes) -> list[str]:
    _check(bool(value) and not len(value) % 12, value)
    return [f"{admin}:{one}:{two}" for admin, one, two in struct.iter_unpack("!III", value)]


def _read_extended_communities(value: bytes) -> list[str]:
    _check(bool(value) and not len(value) % 8, value)
    return [f"0x{each:016x}" for (each,) in struct.iter_unpack("!Q", value)]


_SIMPLE: Mapping[int, tuple[str, Callable[[bytes], Any]]] = {
    1: ("origin", _read_origin),
    4: ("med", _read_number),
    5: ("local_preference", _read_number),
    6: ("atomic_aggregate", _read_atomic_aggregate),
    8: ("communities", _read_communities),
    9: ("originator_id", _read_address),
    10: ("cluster_list", _read_addresses),
    16: ("extended_communities", _read_extended_communities),
    32: ("large_communities", _read_large_communities),
}
