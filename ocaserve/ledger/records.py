"""Closed periods as records that bills are made of: each names the digest of the one before. Pure.

An appliance writes its records in a book, from 1 on and without holes. Each begins where the one
before ended; a period in which nothing was sent, or the appliance was off, has a record of zero
bytes. So who has records 1 to n of a book knows of every second from the begin of the first to the
end of the last, and a hole in the numbers says which time is missing.

A book is begun anew, under another name and from 1 on, where the old one cannot be gone on from:
its file is damaged or an older copy, the appliance has another id, or was off for longer than
records are kept.
Books of one appliance never tell of the same bytes.

The digest is SHA-256 over the canonical JSON of the other fields: keys sorted, no spaces, UTF-8,
nothing escaped that RFC 8259 lets stand. It finds what was changed by mistake or afterwards; it is
no signature, since who has one record can make the next.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from bgp.prefixes import parse_prefix
from ocaserve.ledger.networks import LOCAL, OTHER

RECORD_S = 300
MOST_BYTES = (1 << 63) - 1
"""Of one record: what databases take as an integer."""
MOST_NETWORKS = 100_001
"""Of one record: as many as `ledger.networks` may be, and `other`."""

Count = Annotated[int, Meta(ge=0, le=MOST_BYTES)]
Seq = Annotated[int, Meta(ge=1, le=MOST_BYTES)]
BookName = Annotated[
    str,
    Meta(
        max_length=36,
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\\Z",
    ),
]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]


class ChainError(ValueError):
    """A record is not what it says, or does not follow the one before. seq: its number."""

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(f"record {seq}: {what}")
        self.seq = seq


class LedgerRecord(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bytes of body that one appliance sent within `seconds` from `start` on.

    book: a UUID, of the appliance's ledger. start: seconds since the epoch, of the grid of five
    minutes. networks: bytes by client network ("192.0.2.0/24"), `local` for clients on a unix
    socket, `other` for networks that were not told apart. total: their sum. prev: the digest of
    record `seq` - 1, empty for the first.
    """

    appliance: Annotated[str, Meta(min_length=1, max_length=255)]
    book: BookName
    seq: Seq
    start: Count
    seconds: Count
    networks: Annotated[dict[str, Count], Meta(max_length=MOST_NETWORKS)]
    total: Count
    prev: Annotated[str, Meta(pattern="^([0-9a-f]{64})?\\Z")]
    digest: Digest

    @property
    def end(self) -> int:
        """When it ended, seconds since the epoch."""
        return self.start + self.seconds


class ChainEnd(Struct, frozen=True, kw_only=True):
    """What the next record of a book goes on from. seq: of the last one, 0 where there is none."""

    appliance: str
    book: str
    seq: int = 0
    digest: str = ""


def end_of(record: LedgerRecord) -> ChainEnd:
    """Where the chain is with this record."""
    return ChainEnd(
        appliance=record.appliance, book=record.book, seq=record.seq, digest=record.digest
    )


def next_record(after: ChainEnd, start: int, networks: Mapping[str, int]) -> LedgerRecord:
    """The record of the five minutes from `start` on."""
    assert start % RECORD_S == 0, f"{start} is not of the grid"
    record = LedgerRecord(
        appliance=after.appliance,
        book=after.book,
        seq=after.seq + 1,
        start=start,
        seconds=RECORD_S,
        networks=dict(networks),
        total=sum(networks.values()),
        prev=after.digest,
        digest="",
    )
    return msgspec.structs.replace(record, digest=digest_of(record))


def digest_of(record: LedgerRecord) -> str:
    """What its digest must be, in hex."""
    fields = msgspec.structs.asdict(record)
    del fields["digest"]
    return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


def check_record(record: LedgerRecord) -> None:
    """Look at one by itself. Raises ChainError."""
    if record.seconds != RECORD_S:
        raise ChainError(record.seq, f"seconds is {record.seconds}; it must be {RECORD_S}")
    if record.start % RECORD_S:
        raise ChainError(record.seq, f"start is {record.start}; it must be of {RECORD_S} seconds")
    if bool(record.prev) != (record.seq > 1):
        raise ChainError(record.seq, f"prev is {record.prev!r}; only the first has none")
    for name in record.networks:
        if not _is_network(name):
            raise ChainError(
                record.seq,
                f'networks names {name[:60]!r}; it must be a network, "{LOCAL}" or "{OTHER}"',
            )
    if (total := sum(record.networks.values())) != record.total:
        raise ChainError(record.seq, f"total is {record.total}, and its networks have {total}")
    if (digest := digest_of(record)) != record.digest:
        raise ChainError(record.seq, f"digest is {record.digest}, and its fields have {digest}")


def check_next(before: LedgerRecord, record: LedgerRecord) -> None:
    """Whether `record`, good by itself, is the one after `before`. Raises ChainError."""
    wanted = {
        "appliance": before.appliance,
        "book": before.book,
        "seq": before.seq + 1,
        "start": before.end,
        "prev": before.digest,
    }
    for name, value in wanted.items():
        if (found := getattr(record, name)) != value:
            raise ChainError(
                record.seq, f"{name} is {found!r}; after record {before.seq} it must be {value!r}"
            )


def verify_chain(
    records: Iterable[LedgerRecord], before: LedgerRecord | None = None
) -> LedgerRecord | None:
    """Look at each and at what it follows; returns the last. Raises ChainError.

    before: a record that was verified, which the first must follow. Without one the first may have
    any number: older ones are let go of in time.
    """
    for record in records:
        check_record(record)
        if before is not None:
            check_next(before, record)
        before = record
    return before


@lru_cache(maxsize=65_536)  # the same networks come again every five minutes
def _is_network(name: str) -> bool:
    """Written as appliances write it, so that each network has one name."""
    if name in (LOCAL, OTHER):
        return True
    try:
        if str(parse_prefix(name)) == name:
            return True
        # An IPv4 address within IPv6 is written by Python before 3.13 as no other program does.
        length = ipaddress.ip_network(name).prefixlen
    except ValueError:
        return False
    return name.startswith("::ffff:") and name.endswith(f"/{length}")
