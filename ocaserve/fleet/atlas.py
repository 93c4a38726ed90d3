"""Who hears which network: the longest match over the tables of all appliances at once.

All networks of all tables are laid out as intervals of addresses, each with the *region* of the
longest network that covers it. A region knows who hears that network, and the region around it. So
a look-up is one search in a sorted array, and a walk outwards meets all networks that cover an
address, the longest first.

An atlas is an image, bytes that do not change: arrays behind a head that says where they are. One
process makes it and writes it down, others map the file: what is in it they hold once. Another one
is made beside it, in a thread, and takes its place.

Who hears a network is a number, for a set of tables and ranks. Most networks are heard by the same
as many others, so sets are few.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec import Struct

from bgp.prefixes import WIDTH
from ocaserve.fleet.tables import Network, Rank, Table

NOWHERE = 0
"""The region of addresses that nobody hears."""

_LOW_BITS = 64
_LOW_MASK = (1 << _LOW_BITS) - 1
NOBODY = 0
"""The number of those who hear a network, where there are none."""
_ALIGNED = 8
_SIZE_BYTES = 8


class Covered(NamedTuple):
    """Appliances of one table that may serve an address: by a network of which length, at which
    rank.
    """

    appliances: Sequence[str]
    length: int
    rank: Rank


class _Section(NamedTuple):
    """An array of the image: where it begins behind the head, and how many numbers it has."""

    typecode: str
    start: int
    length: int


class _Head(Struct, frozen=True):
    """life: of the numbers of tables and hearers, which mean the same in all atlases that have the
    same; 0: in no other. holders: the appliances that have each table. ranks: those that hearers
    name. networks: of all tables, each once.
    """

    life: int
    holders: list[list[str]]
    ranks: list[Rank]
    networks: int
    sections: dict[str, _Section]


def join_image(
    life: int,
    holders: list[list[str]],
    ranks: list[Rank],
    networks: int,
    arrays: Mapping[str, array[int]],
) -> bytes:
    """An image of these; `survey` makes them."""
    sections: dict[str, _Section] = {}
    pieces: list[bytes] = []
    start = 0
    for name, numbers in arrays.items():
        sections[name] = _Section(numbers.typecode, start, len(numbers))
        size = len(numbers) * numbers.itemsize
        pieces += [numbers.tobytes(), bytes(-size % _ALIGNED)]
        start += size + -size % _ALIGNED
    head = msgspec.msgpack.encode(_Head(life, holders, ranks, networks, sections))
    said = len(head).to_bytes(_SIZE_BYTES, "little")
    return b"".join([said, head, bytes(-len(head) % _ALIGNED), *pieces])


# -- reading -------------------------------------------------------------------------------------


class _Intervals:
    """Of one family."""

    def __init__(self, width: int, highs: memoryview, lows: memoryview, regions: memoryview):
        self._is_wide = width > _LOW_BITS
        self._highs, self._lows, self._regions = highs, lows, regions

    def find(self, address: int) -> int:
        """The region of an address."""
        low = address & _LOW_MASK
        first, last = 0, len(self._lows)
        if self._is_wide:
            high = address >> _LOW_BITS
            last = bisect_right(self._highs, high)
            first = bisect_left(self._highs, high, 0, last)
        found: int = self._regions[bisect_right(self._lows, low, first, last) - 1]
        return found


class Atlas:
    """What an image says. tables: of which it was drawn, where that is known."""

    def __init__(
        self,
        image: bytes | memoryview,
        tables: Mapping[str, Table] = MappingProxyType({}),
    ) -> None:
        self.tables = tables
        view = memoryview(image)
        end = _SIZE_BYTES + int.from_bytes(view[:_SIZE_BYTES], "little")
        head = msgspec.msgpack.decode(view[_SIZE_BYTES:end], type=_Head)
        behind = end + -end % _ALIGNED
        self.image = view
        self._life, self._holders, self._ranks = head.life, head.holders, head.ranks
        self._networks = head.networks

        def take(name: str) -> memoryview:
            typecode, start, length = head.sections[name]
            numbers = view[behind + start :]
            return numbers[: length * array(typecode).itemsize].cast("B").cast(typecode)  # type: ignore[call-overload,no-any-return]

        self._families, self._lengths = take("region.families"), take("region.lengths")
        self._highs, self._lows = take("region.highs"), take("region.lows")
        self._around, self._hearers = take("region.around"), take("region.hearers")
        self._starts, self._hearing_tables, self._hearing_ranks = (
            take(f"hearers.{name}") for name in ("starts", "tables", "ranks")
        )
        self._intervals = {
            family: _Intervals(
                width, *(take(f"{family}.{name}") for name in ("highs", "lows", "regions"))
            )
            for family, width in WIDTH.items()
        }

    def __len__(self) -> int:
        """The networks of all tables, each once."""
        return self._networks

    def find(self, family: int, address: int) -> int:
        """The number of the region that an address lies in; `NOWHERE` where nobody hears it."""
        return self._intervals[family].find(address)

    def levels(self, region: int, without: frozenset[Network] = frozenset()) -> Iterator[int]:
        """Who hears each network that covers an address of the region, the longest network first:
        numbers. Networks that the same tables hear at the same ranks have one.

        without: networks that are taken to be announced by nobody.
        """
        while region != NOWHERE:
            if not without or self.network(region) not in without:
                yield self._hearers[region]
            region = self._around[region]

    def ways(self, region: int) -> tuple[int, ...]:
        """By which ways an address of the region is heard: of each network that covers it the
        length, and who hears it; the longest first. Where these are equal, so is `covering`.
        """
        found: list[int] = []
        while region != NOWHERE:
            found += self._lengths[region], self._hearers[region]
            region = self._around[region]
        return tuple(found)

    def tables_in(self, ways: tuple[int, ...]) -> frozenset[int]:
        """The numbers of the tables that hear something there."""
        starts = self._starts
        return frozenset(
            table
            for hearers in ways[1::2]
            for table in self._hearing_tables[starts[hearers] : starts[hearers + 1]]
        )

    def find_moved(self, before: Atlas) -> set[int] | None:
        """The numbers of the tables that others have than before, so that ways by all the rest are
        what they were; None where numbers mean something else.
        """
        if not self._life or before._life != self._life:
            return None
        both = zip_longest(before._holders, self._holders)
        return {number for number, (was, now) in enumerate(both) if was != now}

    def appliances(self) -> set[str]:
        """All whose tables it is of."""
        return {name for names in self._holders for name in names}

    def holders(self, table: int) -> Sequence[str]:
        """The appliances that have a table, by its number."""
        return self._holders[table]

    def covering(self, region: int, without: frozenset[Network] = frozenset()) -> Iterator[Covered]:
        """All tables that hear an address of the region, each once, with its own longest match.

        without: as in `levels`.
        """
        seen: set[int] = set()
        while region != NOWHERE:
            if without and self.network(region) in without:
                region = self._around[region]
                continue
            length = self._lengths[region]
            hearers = self._hearers[region]
            places = slice(self._starts[hearers], self._starts[hearers + 1])
            both = zip(self._hearing_tables[places], self._hearing_ranks[places], strict=True)
            for table, rank in both:
                if table not in seen:
                    seen.add(table)
                    yield Covered(self._holders[table], length, self._ranks[rank])
            region = self._around[region]

    def network(self, region: int) -> Network:
        """The one that a region is of: the longest that covers an address there."""
        start = self._highs[region] << _LOW_BITS | self._lows[region]
        return Network(self._families[region], start << 8 | self._lengths[region])
