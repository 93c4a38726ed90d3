"""Recorded routes: MRT files (RFC 6396), as the messages that ExaBGP would have sent.

Read are BGP4MP and BGP4MP_ET (UPDATEs with two or four-byte AS numbers, with add-path by RFC 8050,
and state changes), and TABLE_DUMP_V2 (RIBs of IPv4 and IPv6 unicast). A record or message that is
malformed is named by its place in the file and passed over; only a length that leads nowhere ends
the reading, for what follows cannot be found.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from bgp.messages import (
    UNKNOWN_CHARACTERS,
    Announcement,
    Attributes,
    EndOfRib,
    Envelope,
    Event,
    Nlri,
    Session,
    StateChange,
    Update,
    make_attributes,
)
from bgp.prefixes import WIDTH, format_address

TABLE_DUMP_V2, BGP4MP, BGP4MP_ET = 13, 16, 17
_HEADER = struct.Struct("!IHHI")
_MOST_RECORD_BYTES = 64 << 20  # a RIB entry of a prefix with thousands of peers is under 1 MiB
_PEER_INDEX_TABLE = 1
_RIB_SUBTYPES = {2: (4, False), 4: (6, False), 8: (4, True), 10: (6, True)}
_STATE_SUBTYPES = {0: 2, 5: 4}  # to the size of an AS number
_MESSAGE_SUBTYPES = {1: (2, False), 4: (4, False), 6: (2, False), 7: (4, False), 8: (2, True), 9: (4, True), 10: (2, True), 11: (4, True)}  # fmt: skip
_ESTABLISHED = 6
_UPDATE = 2
_AFIS = {1: 4, 2: 6}
_UNICAST = 1
_ORIGINS = ("igp", "egp", "incomplete")
_SEGMENTS = {1: "as-set", 2: "as-sequence", 3: "as-confed-sequence", 4: "as-confed-set"}


class MalformedRecordError(ValueError):
    """What is wrong with a record."""


class Fault(NamedTuple):
    """A record that was passed over; `offset` is that of its header in the file."""

    offset: int
    why: str


Read: TypeAlias = tuple[Envelope, Event] | Fault


@dataclass
class _PeerEntry:
    session: Session
    asn: int
    is_up: bool = False


@dataclass
class MrtReader:
    """Reads a whole file. `records`: how many were seen."""

    records: int = 0
    _peers: list[_PeerEntry] = field(default_factory=list)
    _up: set[Session] = field(default_factory=set)

    def read(self, data: bytes) -> Iterator[Read]:
        """Everything a file says, in order; a table dump ends with End-of-RIB of all its peers."""
        offset = 0
        while offset < len(data):
            if offset + _HEADER.size > len(data):
                yield Fault(offset, f"the file ends in a header of {_HEADER.size} bytes")
                break
            stamp, kind, subtype, length = _HEADER.unpack_from(data, offset)
            end = offset + _HEADER.size + length
            if length > _MOST_RECORD_BYTES or end > len(data):
                yield Fault(
                    offset, f"a record of {length} bytes where {len(data) - offset - 12} are left"
                )
                break
            self.records += 1
            try:
                yield from self._read_record(
                    stamp, kind, subtype, data[offset + _HEADER.size : end]
                )
            except (MalformedRecordError, struct.error, IndexError) as error:
                yield Fault(offset, str(error) or type(error).__name__)
            offset = end
        yield from self._finish_dump()

    def _read_record(self, stamp: int, kind: int, subtype: int, body: bytes) -> Iterator[Read]:
        if kind == TABLE_DUMP_V2:
            if subtype == _PEER_INDEX_TABLE:
                self._peers = list(_read_peer_index(body))
            elif subtype in _RIB_SUBTYPES:
                yield from self._read_rib(stamp, body, *_RIB_SUBTYPES[subtype])
            return
        if kind not in (BGP4MP, BGP4MP_ET):
            raise MalformedRecordError(
                f"type {kind}: must be {TABLE_DUMP_V2}, {BGP4MP} or {BGP4MP_ET}"
            )
        if kind == BGP4MP_ET:
            body = body[4:]  # microseconds
        if subtype in _STATE_SUBTYPES:
            envelope, rest = _read_session(stamp, body, _STATE_SUBTYPES[subtype])
            yield from self._change_state(envelope, rest.number(2), rest.number(2))
        elif subtype in _MESSAGE_SUBTYPES:
            as_bytes, has_path_ids = _MESSAGE_SUBTYPES[subtype]
            envelope, rest = _read_session(stamp, body, as_bytes)
            yield from self._meet(envelope)
            yield from _read_message(envelope, rest, as_bytes, has_path_ids)

    def _change_state(self, envelope: Envelope, old: int, new: int) -> Iterator[Read]:
        if new == _ESTABLISHED:
            yield from self._meet(envelope)
        elif old == _ESTABLISHED:
            assert envelope.session is not None
            self._up.discard(envelope.session)
            yield envelope, StateChange("down", "recorded")

    def _meet(self, envelope: Envelope) -> Iterator[Read]:
        """The first of a session; recordings seldom begin with its start."""
        assert envelope.session is not None
        if envelope.session not in self._up:
            self._up.add(envelope.session)
            yield envelope, StateChange("up")

    def _read_rib(self, stamp: int, body: bytes, family: int, has_path_ids: bool) -> Iterator[Read]:
        rest = _Bytes(body)
        rest.number(4)  # sequence number
        length, bits, _ = rest.prefix(family, has_path_id=False)
        for _ in range(rest.number(2)):
            peer = self._peers[rest.number(2)]
            rest.number(4)  # when it was heard
            path_id = rest.number(4) if has_path_ids else 0
            attributes = _read_attributes(rest.take(rest.number(2)), 4, family, has_path_ids)
            envelope = Envelope(0, stamp, None, peer.session, peer.asn, 0)
            yield from self._meet(envelope)
            nlri = [(length, bits, path_id)]
            yield (
                envelope,
                Update([], [Announcement(family, attributes.next_hop, nlri)], attributes.made()),
            )

    def _finish_dump(self) -> Iterator[Read]:
        for peer in self._peers:
            if peer.session in self._up:
                for family in WIDTH:
                    yield Envelope(0, 0, None, peer.session, peer.asn, 0), EndOfRib(family)


class _Bytes:
    """Reads numbers, addresses and prefixes from the front. Raises MalformedRecordError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._place

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise MalformedRecordError(f"{length} bytes where {self.left} are left")
        self._place += length
        return self._data[self._place - length : self._place]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def address(self, family: int) -> str:
        return format_address(family, self.number(WIDTH[family] // 8))

    def prefix(self, family: int, *, has_path_id: bool) -> Nlri:
        path_id = self.number(4) if has_path_id else 0
        length = self.number(1)
        if length > WIDTH[family]:
            raise MalformedRecordError(f"a prefix length of {length}")
        octets = (length + 7) // 8
        return length, self.number(octets) >> (8 * octets - length), path_id

    def prefixes(self, family: int, has_path_ids: bool) -> list[Nlri]:
        found = []
        while self.left:
            found.append(self.prefix(family, has_path_id=has_path_ids))
        return found


# -- records -------------------------------------------------------------------------------------


def _read_peer_index(body: bytes) -> Iterator[_PeerEntry]:
    rest = _Bytes(body)
    local = rest.address(4)  # the collector's identifier
    rest.take(rest.number(2))  # the name of the view
    for _ in range(rest.number(2)):
        flags = rest.number(1)
        rest.number(4)  # the peer's identifier
        address = rest.address(6 if flags & 1 else 4)
        asn = rest.number(4 if flags & 2 else 2)
        yield _PeerEntry(Session(address, local), asn)


def _read_session(stamp: int, body: bytes, as_bytes: int) -> tuple[Envelope, _Bytes]:
    rest = _Bytes(body)
    peer_as, local_as = rest.number(as_bytes), rest.number(as_bytes)
    rest.number(2)  # interface
    family = _AFIS.get(rest.number(2))
    if family is None:
        raise MalformedRecordError("an address family that is neither IPv4 nor IPv6")
    session = Session(rest.address(family), rest.address(family))
    return Envelope(0, stamp, None, session, peer_as, local_as), rest


def _read_message(
    envelope: Envelope, rest: _Bytes, as_bytes: int, has_path_ids: bool
) -> Iterator[Read]:
    if rest.take(16) != b"\xff" * 16:
        raise MalformedRecordError("a BGP message without its marker")
    length, kind = rest.number(2), rest.number(1)
    if length < 19 or length - 19 > rest.left:
        raise MalformedRecordError(
            f"a BGP message of {length} bytes where {rest.left + 19} are left"
        )
    if kind != _UPDATE:
        return
    body = _Bytes(rest.take(length - 19))
    withdrawn = _Bytes(body.take(body.number(2))).prefixes(4, has_path_ids)
    held = _read_attributes(body.take(body.number(2)), as_bytes, None, has_path_ids)
    announced = body.prefixes(4, has_path_ids)
    event = _build_event(withdrawn, held, announced)
    yield envelope, event


def _build_event(withdrawn: list[Nlri], held: _Held, announced: list[Nlri]) -> Event:
    if not withdrawn and not announced and not held.given:
        return EndOfRib(4)
    if held.withdrawn is not None and not held.withdrawn[1] and len(held.given) == 1:
        return EndOfRib(held.withdrawn[0])
    gone: list[tuple[int, Sequence[Nlri]]] = [(4, withdrawn)] if withdrawn else []
    new = [Announcement(4, held.next_hop, announced)] if announced else []
    if held.withdrawn is not None:
        gone.append(held.withdrawn)
    if held.announced is not None:
        new.append(held.announced)
    return Update(gone, new, held.made())


# -- path attributes -----------------------------------------------------------------------------


@dataclass
class _Held:
    """The attributes of a message while they are read."""

    values: dict[str, Any] = field(default_factory=dict)
    segments: list[tuple[str, list[int]]] = field(default_factory=list)
    long_segments: list[tuple[str, list[int]]] = field(default_factory=list)
    next_hop: str = ""
    withdrawn: tuple[int, Sequence[Nlri]] | None = None
    announced: Announcement | None = None
    given: set[int] = field(default_factory=set)

    def made(self) -> Attributes:
        return make_attributes(self.values, _merge_paths(self.segments, self.long_segments))


def _read_attributes(data: bytes, as_bytes: int, dumped: int | None, has_path_ids: bool) -> _Held:
    """Attributes of a message, or of an entry of a dump of the family `dumped`."""
    held = _Held()
    rest = _Bytes(data)
    while rest.left:
        flags, code = rest.number(1), rest.number(1)
        value = _Bytes(rest.take(rest.number(2 if flags & 0x10 else 1)))
        held.given.add(code)
        _read_attribute(held, code, flags, value, as_bytes, dumped, has_path_ids)
    return held


def _read_attribute(
    held: _Held,
    code: int,
    flags: int,
    value: _Bytes,
    as_bytes: int,
    dumped: int | None,
    has_path_ids: bool,
) -> None:
    values = held.values
    if code == 2:
        held.segments = _read_segments(value, as_bytes)
    elif code == 17:
        held.long_segments = _read_segments(value, 4)
    elif code == 3:
        held.next_hop = value.address(4)
    elif code == 14:
        _read_reachable(held, value, dumped, has_path_ids)
    elif code == 15:
        family = _AFIS.get(value.number(2))
        if value.number(1) == _UNICAST and family is not None:
            held.withdrawn = family, value.prefixes(family, has_path_ids)
    elif code in _SIMPLE:
        name, read = _SIMPLE[code]
        values[name] = read(value)
    elif code not in (18,):  # AS4_AGGREGATOR says what AGGREGATOR could not
        shown = "0x" + value.take(value.left).hex()
        values.setdefault("other", {})[f"0x{code:02x}-0x{flags:02X}"] = shown[:UNKNOWN_CHARACTERS]


def _read_reachable(held: _Held, value: _Bytes, dumped: int | None, has_path_ids: bool) -> None:
    """MP_REACH_NLRI, which a dump shortens to its next hop (RFC 6396 section 4.3.4)."""
    if dumped is not None and value.left < 2 + WIDTH[dumped] // 8 + 3:
        held.next_hop = _read_next_hop(_Bytes(value.take(value.number(1))), dumped)
        return
    family = _AFIS.get(value.number(2))
    if value.number(1) != _UNICAST or family is None:
        return
    next_hop = _read_next_hop(_Bytes(value.take(value.number(1))), family)
    value.number(1)  # reserved
    if dumped is not None:
        held.next_hop = next_hop
    else:
        held.announced = Announcement(family, next_hop, value.prefixes(family, has_path_ids))


def _read_next_hop(value: _Bytes, family: int) -> str:
    """The global address, which stands first where there are two (RFC 2545 section 3)."""
    return value.address(6 if value.left >= 16 else family)


def _read_segments(value: _Bytes, as_bytes: int) -> list[tuple[str, list[int]]]:
    segments = []
    while value.left:
        kind = _SEGMENTS.get(value.number(1))
        if kind is None:
            raise MalformedRecordError("an AS path segment of an unknown kind")
        segments.append((kind, [value.number(as_bytes) for _ in range(value.number(1))]))
    return segments


def _merge_paths(
    short: list[tuple[str, list[int]]], long: list[tuple[str, list[int]]]
) -> list[tuple[str, list[int]]]:
    """AS4_PATH takes the place of as many numbers at the end of AS_PATH (RFC 6793 section 4.2.3)."""
    surplus = sum(map(_path_length, short)) - sum(map(_path_length, long))
    if not long or surplus < 0:
        return short
    kept: list[tuple[str, list[int]]] = []
    for kind, numbers in short:
        if surplus <= 0:
            break
        taken = numbers[:surplus] if kind == "as-sequence" else numbers
        kept.append((kind, taken))
        surplus -= _path_length((kind, taken))
    return [*kept, *long]


def _path_length(segment: tuple[str, list[int]]) -> int:
    kind, numbers = segment
    if "confed" in kind:
        return 0
    return 1 if kind == "as-set" else len(numbers)


def _read_origin(value: _Bytes) -> str:
    code = value.number(1)
    return _ORIGINS[code] if code < len(_ORIGINS) else "invalid"


def _read_communities(value: _Bytes) -> list[str]:
    return [f"{value.number(2)}:{value.number(2)}" for _ in range(value.left // 4)]


def _read_large_communities(value: _Bytes) -> list[str]:
    return [
        f"{value.number(4)}:{value.number(4)}:{value.number(4)}" for _ in range(value.left // 12)
    ]


def _read_extended_communities(value: _Bytes) -> list[str]:
    return [f"0x{value.number(8):016x}" for _ in range(value.left // 8)]


def _read_aggregator(value: _Bytes) -> str:
    return f"{value.number(value.left - 4)}:{value.address(4)}"


_SIMPLE: dict[int, tuple[str, Any]] = {
    1: ("origin", _read_origin),
    4: ("med", lambda value: value.number(4)),
    5: ("local_preference", lambda value: value.number(4)),
    6: ("atomic_aggregate", lambda _: True),
    7: ("aggregator", _read_aggregator),
    8: ("communities", _read_communities),
    9: ("originator_id", lambda value: value.address(4)),
    10: ("cluster_list", lambda value: [value.address(4) for _ in range(value.left // 4)]),
    16: ("extended_communities", _read_extended_communities),
    32: ("large_communities", _read_large_communities),
}
