"""Tables as they lie in a file, or in the server that instances share: columns of numbers.

Networks are not written as texts: of a full table that takes longer than all else of its report.
"""

from __future__ import annotations

import zlib
from array import array

import msgspec
from msgspec import Struct

from bgp.prefixes import WIDTH
from ocaserve.fleet.tables import Rank, Table, Tables

_DIGEST_BYTES = 16
_CODE_BYTES = {family: width // 8 + 1 for family, width in WIDTH.items()}  # `start << 8 | length`
_PLACES = "I"
_LEVEL = 1  # of zlib, whose check sum tells what is damaged


class _Column(Struct, frozen=True, array_like=True):
    """Of one family: the code of each network, and the place of its rank."""

    codes: bytes
    ranks: bytes


class _KeptTable(Struct, frozen=True, array_like=True):
    """ranks: those that occur."""

    digest: bytes
    prefix_digest: bytes
    ranks: list[Rank]
    columns: dict[int, _Column]


def encode_table(table: Table) -> bytes:
    """All of it."""
    places: dict[Rank, int] = {}
    columns = {}
    for family, routes in table.routes.items():
        size = _CODE_BYTES[family]
        codes = b"".join([code.to_bytes(size, "big") for code in routes])
        found = [places.setdefault(rank, len(places)) for rank in routes.values()]
        columns[family] = _Column(codes, array(_PLACES, found).tobytes())
    digest, prefix_digest = (
        each.to_bytes(_DIGEST_BYTES, "big") for each in (table.digest, table.prefix_digest)
    )
    kept = _KeptTable(digest, prefix_digest, list(places), columns)
    return zlib.compress(msgspec.msgpack.encode(kept), _LEVEL)


def decode_table(data: bytes, tables: Tables) -> Table:
    """From what `encode_table` made. Raises msgspec.MsgspecError, ValueError, zlib.error."""
    kept = msgspec.msgpack.decode(zlib.decompress(data), type=_KeptTable)
    ranks = [tables.intern(each) for each in kept.ranks]
    routes: dict[int, dict[int, Rank]] = {}
    for family, size in _CODE_BYTES.items():
        column = kept.columns.get(family) or _Column(b"", b"")
        codes, places = column.codes, array(_PLACES)
        places.frombytes(column.ranks)
        if len(codes) != size * len(places) or max(places, default=-1) >= len(ranks):
            raise ValueError(f"the columns of IPv{family} do not fit each other")
        routes[family] = {
            int.from_bytes(codes[size * number : size * (number + 1)], "big"): ranks[place]
            for number, place in enumerate(places)
        }
    digest, prefix_digest = (
        int.from_bytes(each, "big") for each in (kept.digest, kept.prefix_digest)
    )
    return tables.hold(digest, prefix_digest, routes)
