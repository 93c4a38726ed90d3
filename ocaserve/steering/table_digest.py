"""The digest of a table as the control plane has it: of each network the best route's rank alone.

Appliances of one site hear the same from routers at different addresses. By this digest a receiver
sees that it knows the table, from another appliance or from before, and need not be sent it.
docs/report.md states it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec

from bgp.prefixes import WIDTH
from ocaserve.steering.paths import DIGEST_BYTES, AttributeSet, Entry, paths_of

_MODULUS = 1 << (8 * DIGEST_BYTES)
_LENGTH_BITS = 8
_UNMARKED = (False, 1.0)
_EMPTY = blake2b(digest_size=DIGEST_BYTES)  # a copy takes half as long as a new one


class _Marks(msgspec.Struct):
    weight: float = 1.0


def share_of(network: bytes, rank: bytes = b"") -> int:
    """What a network adds to a digest. network: as `name_of` has it. rank: as `text_of` has it."""
    hasher = _EMPTY.copy()
    hasher.update(network + rank)
    return int.from_bytes(hasher.digest(), "big")


def name_of(family: int, code: int) -> bytes:
    """What a network is called before its rank. code: `start << 8 | length`."""
    return b"%d %x " % (family, code)


def text_of(path_length: int, med: int, is_backup: bool = False, weight: float = 1.0) -> bytes:
    """A rank: AS path length and MED, and what communities make of it, if they make something."""
    text = b"%d %d" % (path_length, med)
    return text if (is_backup, weight) == _UNMARKED else text + b" %d %r" % (is_backup, weight)


def digest_of(snapshot: Sequence[tuple[int, int, Mapping[int, Entry | None]]]) -> str:
    """Of a table's accepted routes: family, length, the entry of each prefix by its bits."""
    return f"{sum(_shares(snapshot)) % _MODULUS:032x}"


def _shares(snapshot: Sequence[tuple[int, int, Mapping[int, Entry | None]]]) -> Iterator[int]:
    ranks: dict[AttributeSet, bytes] = {}
    for family, length, entries in snapshot:
        shift = WIDTH[family] - length + _LENGTH_BITS
        for bits, entry in entries.items():
            best = next(iter(paths_of(entry)), None)
            if best is None or best.reason is not None:
                continue
            rank = ranks.get(best.attributes)
            if rank is None:
                rank = ranks[best.attributes] = _rank_of(best.attributes)
            yield share_of(name_of(family, bits << shift | length), rank)


def _rank_of(attributes: AttributeSet) -> bytes:
    weight = msgspec.json.decode(attributes.text, type=_Marks).weight
    return text_of(attributes.path_length, attributes.med, attributes.is_backup, weight)
