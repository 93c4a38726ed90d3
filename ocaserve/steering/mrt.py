"""Recorded routes: MRT files (RFC 6396), as the messages that ExaBGP would have sent.

Read are BGP4MP and BGP4MP_ET (UPDATEs with two or four-byte AS numbers, with add-path by RFC 8050,
and state changes), TABLE_DUMP and TABLE_DUMP_V2 (tables of IPv4 and IPv6 unicast), and the BGP
records of the first collectors. What a collector itself sent is nobody's route.

A record or message that is malformed is named by its place in the file and passed over; only a
length that leads nowhere ends the reading, for what follows cannot be found. A peer is one by its
address and AS number, as tables name it, whatever the collector's address is in its updates.

docs/recordings.md says where it differs from bgpdump, and why.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from bgp.address_families import BY_AFI_SAFI, IPV4, IPV6
from bgp.events import Announcement, EndOfRib, Envelope, Event, Nlri, Session, StateChange, Update
from bgp.prefixes import WIDTH, format_address
from ocaserve.steering import mrt_attributes
from ocaserve.steering.mrt_attributes import (
    AttributeReader,
    MalformedRecordError,
    read_prefixes,
)

OLD_BGP, TABLE_DUMP, TABLE_DUMP_V2, BGP4MP, BGP4MP_ET = 5, 12, 13, 16, 17
_HEADER = struct.Struct("!IHHI")
_MOST_RECORD_BYTES = 64 << 20  # a RIB entry of a prefix with thousands of peers is under 1 MiB
_MOST_REMEMBERED = 20_000  # sets of attributes; a table has the same ones again and again
_OLD_UPDATE, _OLD_STATE_CHANGE = 1, 3
_TABLE_SUBTYPES = {1: (4, 2), 2: (6, 2), 3: (4, 4), 4: (6, 4)}
"""Of TABLE_DUMP, to the family and the size of an AS number."""
_PEER_INDEX_TABLE, _RIB_GENERIC, _RIB_GENERIC_ADDPATH = 1, 6, 12
_RIB_SUBTYPES = {
    2: (1, 1),
    3: (1, 2),
    4: (2, 1),
    5: (2, 2),
    8: (1, 1),
    9: (1, 2),
    10: (2, 1),
    11: (2, 2),
}
"""To AFI and SAFI; from `_ADDPATH` on with path identifiers (RFC 8050 section 4)."""
_ADDPATH = 8
_VERSIONS = {1: IPV4, 2: IPV6}  # by AFI, of addresses
_STATE_SUBTYPES = {0: 2, 5: 4}  # to the size of an AS number
_MESSAGE_SUBTYPES = {1: (2, False), 4: (4, False), 8: (2, True), 9: (4, True)}
"""To the size of an AS number, and whether there are path identifiers (RFC 8050 section 3)."""
_ESTABLISHED = 6
_UPDATE = 2
_MARKER = b"\xff" * 16


class RecordFault(NamedTuple):
    """A record that was passed over; `offset` is that of its header in the file."""

    offset: int
    why: str

    def __str__(self) -> str:
        return f"record at byte {self.offset}: {self.why}"


Read: TypeAlias = tuple[Envelope, Event] | RecordFault
_Peer: TypeAlias = tuple[Session, int]
"""A peer of a table and its AS number."""


class MrtReader:
    """Reads whole files, of which a later one goes on from those before.

    records: how many were seen.
    """

    def __init__(self) -> None:
        self.records = 0
        self._index: list[_Peer] | None = None
        self._sessions: dict[tuple[str, int], Session] = {}  # by address and AS number
        self._heads: dict[tuple[int, bytes], Envelope] = {}
        self._attributes = AttributeReader()
        self._remembered: dict[tuple[bytes, int, int | None, bool], mrt_attributes.Read] = {}
        self._up: set[Session] = set()
        self._dumped: dict[_Peer, None] = {}  # whose table is being told
        self._is_whole = True

    def read(self, data: bytes) -> Iterator[Read]:
        """Everything a file says, in order. A table dump without a fault is whole when it ends:
        then End-of-RIB of all its peers comes.
        """
        self._index, self._is_whole = None, True
        offset, stamp = 0, 0
        while offset < len(data):
            fault = _find_record(data, offset)
            if fault:
                self._is_whole = False
                yield RecordFault(offset, fault)
                break
            stamp, kind, subtype, length = _HEADER.unpack_from(data, offset)
            end = offset + _HEADER.size + length
            self.records += 1
            if self._dumped and kind not in (TABLE_DUMP, TABLE_DUMP_V2):
                yield from self._finish_dump(stamp)
            body = data[offset + _HEADER.size : end]
            try:
                for read in self._read_record(stamp, kind, subtype, body):
                    if read.__class__ is str:
                        self._is_whole = False
                        yield RecordFault(offset, read)
                    else:
                        yield read  # type: ignore[misc]
            except (MalformedRecordError, struct.error, IndexError) as error:
                self._is_whole = False
                yield RecordFault(offset, str(error) or type(error).__name__)
            offset = end
        yield from self._finish_dump(stamp)

    def _read_record(
        self, stamp: int, kind: int, subtype: int, body: bytes
    ) -> Iterator[tuple[Envelope, Event] | str]:
        """What a record says; a text for a part that is passed over."""
        time = float(stamp)
        if kind in (BGP4MP, BGP4MP_ET):
            if kind == BGP4MP_ET:
                time += int.from_bytes(body[:4], "big") / 1e6
                body = body[4:]
            yield from self._read_bgp4mp(time, subtype, body)
        elif kind == TABLE_DUMP_V2:
            yield from self._read_dump_v2(time, subtype, body)
        elif kind == TABLE_DUMP and subtype in _TABLE_SUBTYPES:
            yield from self._read_dump(time, body, *_TABLE_SUBTYPES[subtype])
        elif kind == OLD_BGP:
            yield from self._read_old(time, subtype, body)
        else:
            raise MalformedRecordError(
                f"type {kind}, subtype {subtype}: the type must be {OLD_BGP}, {TABLE_DUMP}, "
                f"{TABLE_DUMP_V2}, {BGP4MP} or {BGP4MP_ET}"
            )

    # -- messages --------------------------------------------------------------------------------

    def _read_bgp4mp(
        self, time: float, subtype: int, body: bytes
    ) -> Iterator[tuple[Envelope, Event] | str]:
        message = _MESSAGE_SUBTYPES.get(subtype)
        if message is not None:
            as_bytes, has_path_ids = message
            envelope, at = self._read_session(time, body, as_bytes)
            yield from self._meet(envelope)
            update = _find_update(body, at)
            if update is not None:
                yield from self._read_update(envelope, update, as_bytes, has_path_ids)
        elif subtype in _STATE_SUBTYPES:
            envelope, at = self._read_session(time, body, _STATE_SUBTYPES[subtype])
            old, new = struct.unpack_from("!HH", body, at)
            yield from self._change_state(envelope, old, new)

    def _read_session(self, time: float, body: bytes, as_bytes: int) -> tuple[Envelope, int]:
        """Whose record it is, and where the head ends that says so. It is the same each time."""
        at = 2 * as_bytes + 4
        family = _VERSIONS.get(int.from_bytes(body[at - 2 : at], "big"))
        if family is None:
            raise MalformedRecordError("an address family that is neither IPv4 nor IPv6")
        size = WIDTH[family] // 8
        end = at + 2 * size
        head = body[:end]
        known = self._heads.get((as_bytes, head))
        if known is None:
            if len(head) < end:
                raise MalformedRecordError(f"{end} bytes where {len(head)} are left")
            peer_as = int.from_bytes(head[:as_bytes], "big")
            session = self._session(
                _address(family, head[at : at + size]), peer_as, _address(family, head[at + size :])
            )
            local_as = int.from_bytes(head[as_bytes : 2 * as_bytes], "big")
            known = Envelope(0, 0.0, None, session, peer_as, local_as)
            self._heads[as_bytes, head] = known
        return known._replace(time=time), end

    def _session(self, address: str, asn: int, local: str) -> Session:
        """One for each address and AS number, under what was first said of the collector."""
        known = self._sessions.get((address, asn))
        if known is None:
            known = Session(address, local)
            if known in self._sessions.values():  # of another AS number at the same address
                known = Session(address, f"{local} AS{asn}")
            self._sessions[address, asn] = known
        return known

    def _change_state(
        self, envelope: Envelope, old: int, new: int
    ) -> Iterator[tuple[Envelope, Event]]:
        if new == _ESTABLISHED:
            yield from self._meet(envelope)
        elif old == _ESTABLISHED:
            assert envelope.session is not None
            self._up.discard(envelope.session)
            yield envelope, StateChange("down", "recorded")

    def _meet(self, envelope: Envelope) -> Iterator[tuple[Envelope, Event]]:
        """The first of a session; recordings seldom begin with its start."""
        session = envelope.session
        if session not in self._up:
            assert session is not None
            self._up.add(session)
            yield envelope, StateChange("up")

    def _read_update(
        self, envelope: Envelope, body: bytes, as_bytes: int, has_path_ids: bool
    ) -> Iterator[tuple[Envelope, Event] | str]:
        middle = 2 + int.from_bytes(body[:2], "big")
        end = middle + 2 + int.from_bytes(body[middle : middle + 2], "big")
        if end > len(body):
            raise MalformedRecordError(f"{end} bytes where {len(body)} are left")
        withdrawn = read_prefixes(body, 2, middle, 4, has_path_ids) if middle > 2 else []
        held = self._read_attributes(body[middle + 2 : end], as_bytes, None, has_path_ids)
        announced = read_prefixes(body, end, len(body), 4, has_path_ids)
        is_internal = envelope.peer_as == envelope.local_as
        fault = held.fault or (held.internal_fault if is_internal else "")
        yield envelope, _build_event(withdrawn, held, announced, bool(fault))
        if fault:
            yield f"{fault}: its routes are withdrawn (RFC 7606)"

    def _read_attributes(
        self, data: bytes, as_bytes: int, dumped: int | None, has_path_ids: bool
    ) -> mrt_attributes.Read:
        key = data, as_bytes, dumped, has_path_ids
        held = self._remembered.get(key)
        if held is None:
            held = self._attributes.read(*key)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = held
        return held

    def _read_old(
        self, time: float, subtype: int, body: bytes
    ) -> Iterator[tuple[Envelope, Event] | str]:
        """The records of before 2001: AS number and IPv4 address of either end, then an UPDATE."""
        if subtype == _OLD_UPDATE:
            peer_as, peer, local_as, local = struct.unpack_from("!H4sH4s", body)
            session = self._session(_address(4, peer), peer_as, _address(4, local))
            envelope = Envelope(0, time, None, session, peer_as, local_as)
            yield from self._meet(envelope)
            yield from self._read_update(envelope, body[12:], 2, has_path_ids=False)
        elif subtype == _OLD_STATE_CHANGE:
            peer_as, peer, old, new = struct.unpack_from("!H4sHH", body)
            session = self._session(_address(4, peer), peer_as, "0.0.0.0")  # noqa: S104 - not said
            yield from self._change_state(Envelope(0, time, None, session, peer_as, 0), old, new)

    # -- tables ----------------------------------------------------------------------------------

    def _read_dump_v2(
        self, time: float, subtype: int, body: bytes
    ) -> Iterator[tuple[Envelope, Event] | str]:
        if subtype == _PEER_INDEX_TABLE:
            self._index = list(self._read_index(body))
        elif subtype in _RIB_SUBTYPES:
            family = BY_AFI_SAFI.get(_RIB_SUBTYPES[subtype])
            if family is not None:
                yield from self._read_rib(time, body, 4, family, subtype >= _ADDPATH)
        elif subtype in (_RIB_GENERIC, _RIB_GENERIC_ADDPATH):
            family = BY_AFI_SAFI.get((int.from_bytes(body[4:6], "big"), body[6]))
            if family is not None:
                yield from self._read_rib(time, body, 7, family, subtype != _RIB_GENERIC)

    def _read_index(self, body: bytes) -> Iterator[_Peer]:
        local = _address(4, body[:4])  # the collector's identifier
        at = 6 + int.from_bytes(body[4:6], "big")  # after the name of the view
        count = int.from_bytes(body[at : at + 2], "big")
        at += 2
        for _ in range(count):
            family, as_bytes = 6 if body[at] & 1 else 4, 4 if body[at] & 2 else 2
            start = at + 5  # after the flags and the peer's identifier
            end = start + WIDTH[family] // 8
            at = end + as_bytes
            if at > len(body):
                raise MalformedRecordError("a table of peers that ends too soon")
            asn = int.from_bytes(body[end:at], "big")
            yield self._session(_address(family, body[start:end]), asn, local), asn

    def _read_rib(
        self, time: float, body: bytes, at: int, family: int, has_path_ids: bool
    ) -> Iterator[tuple[Envelope, Event] | str]:
        """The routes of a prefix, which stands at `at`."""
        start = at + 1 + (body[at] + 7) // 8
        (nlri,) = read_prefixes(body, at, start, family, has_path_ids=False)
        head = struct.Struct("!HIIH" if has_path_ids else "!HIH")
        count, at = int.from_bytes(body[start : start + 2], "big"), start + 2
        for _ in range(count):
            place, _heard, *path_id, length = head.unpack_from(body, at)
            at += head.size + length
            if at > len(body):
                raise MalformedRecordError(f"an entry of {length} bytes that are not all there")
            try:
                held = self._read_told(body[at - length : at], 4, family, has_path_ids)
                session, asn = self._peer(place)
            except MalformedRecordError as error:
                yield f"the route of peer {place}: {error}"
                continue
            envelope = Envelope(0, time, None, session, asn, 0)
            yield from self._tell(envelope, family, (*nlri[:2], sum(path_id)), held)

    def _read_told(
        self, data: bytes, as_bytes: int, family: int, has_path_ids: bool
    ) -> mrt_attributes.Read:
        """Of a table, where the collector has withdrawn by then what is malformed."""
        held = self._read_attributes(data, as_bytes, family, has_path_ids)
        if held.fault:
            raise MalformedRecordError(held.fault)
        return held

    def _peer(self, place: int) -> _Peer:
        if self._index is None:
            raise MalformedRecordError("no table of peers came before it")
        if place >= len(self._index):
            raise MalformedRecordError(f"the table of peers has {len(self._index)}")
        return self._index[place]

    def _read_dump(
        self, time: float, body: bytes, family: int, as_bytes: int
    ) -> Iterator[tuple[Envelope, Event]]:
        """TABLE_DUMP, RFC 6396 section 4.2: one route of one peer."""
        size = WIDTH[family] // 8
        at = 4 + size  # after view and sequence number, and the prefix
        length = body[at]
        if length > WIDTH[family]:
            raise MalformedRecordError(f"a prefix length of {length}")
        bits = int.from_bytes(body[4:at], "big") >> (WIDTH[family] - length)
        at += 6  # the length, the status, when it was heard
        peer_end = at + size
        attributes = peer_end + as_bytes + 2
        asn = int.from_bytes(body[peer_end : peer_end + as_bytes], "big")
        end = attributes + int.from_bytes(body[attributes - 2 : attributes], "big")
        if end > len(body):
            raise MalformedRecordError(f"{end} bytes where {len(body)} are left")
        held = self._read_told(body[attributes:end], as_bytes, family, has_path_ids=False)
        local = "0.0.0.0" if family == 4 else "::"  # noqa: S104 - it does not say
        session = self._session(_address(family, body[at:peer_end]), asn, local)
        envelope = Envelope(0, time, None, session, asn, 0)
        yield from self._tell(envelope, family, (length, bits, 0), held)

    def _tell(
        self, envelope: Envelope, family: int, nlri: Nlri, held: mrt_attributes.Read
    ) -> Iterator[tuple[Envelope, Event]]:
        """A route of a table."""
        session = envelope.session
        assert session is not None
        self._dumped[session, envelope.peer_as] = None
        yield from self._meet(envelope)
        yield (
            envelope,
            Update([], [Announcement(family, held.next_hop, [nlri])], held.attributes),
        )

    def _finish_dump(self, stamp: int) -> Iterator[tuple[Envelope, Event]]:
        peers, self._dumped = self._dumped, {}
        if not self._is_whole:
            return
        for session, asn in peers:
            if session in self._up:
                for family in WIDTH:
                    yield Envelope(0, stamp, None, session, asn, 0), EndOfRib(family)


def _address(family: int, packed: bytes) -> str:
    return format_address(family, int.from_bytes(packed, "big"))


def _find_record(data: bytes, offset: int) -> str:
    """Why there is no whole record at the offset; empty where there is one."""
    left = len(data) - offset - _HEADER.size
    if left < 0:
        return f"the file ends in a header of {_HEADER.size} bytes"
    length = int.from_bytes(data[offset + 8 : offset + 12], "big")
    if length > _MOST_RECORD_BYTES or length > left:
        return f"a record of {length} bytes where {left} are left"
    return ""


def _find_update(body: bytes, at: int) -> bytes | None:
    """The body of the UPDATE that begins at `at`; None for another message."""
    if body[at : at + 16] != _MARKER:
        raise MalformedRecordError("a BGP message without its marker")
    length = int.from_bytes(body[at + 16 : at + 18], "big")
    if length < 19 or at + length > len(body):
        raise MalformedRecordError(
            f"a BGP message of {length} bytes where {len(body) - at} are left"
        )
    return body[at + 19 : at + length] if body[at + 18] == _UPDATE else None


def _build_event(
    withdrawn: list[Nlri], held: mrt_attributes.Read, announced: list[Nlri], is_faulty: bool
) -> Event:
    if not withdrawn and not announced and not held.count:
        return EndOfRib(4)
    if held.withdrawn is not None and not held.withdrawn[1] and held.count == 1:
        return EndOfRib(held.withdrawn[0])
    gone: list[tuple[int, Sequence[Nlri]]] = [(4, withdrawn)] if withdrawn else []
    new = [Announcement(4, held.next_hop, announced)] if announced else []
    if held.withdrawn is not None:
        gone.append(held.withdrawn)
    if held.announced is not None:
        new.append(held.announced)
    if is_faulty:
        gone += [(each.family, each.nlri) for each in new]
        return Update(gone, [], held.attributes, is_treated_as_withdraw=True)
    return Update(gone, new, held.attributes, discarded=held.discarded + bool(held.internal_fault))
