"""What there is: networks of providers, and sites that hear them. Made of a seed, nothing else.

The shape is that of a full table recorded in 2015 (RIPE NCC, 577,710 prefixes): its lengths, 6.4
prefixes an UPDATE, paths of one to seven ASes, half of the prefixes within another one. A provider
has its own block of addresses, so whoever looks for what covers an address looks in one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp.prefixes import format_prefix

LEAST_NETWORKS, MOST_NETWORKS = 10, 50_000
_MEDIAN_NETWORKS, _SPREAD = 120, 1.4  # of a provider: log-normal, as customer cones are
_MOST_SITES = 3_000  # whose providers have so many networks: IPv4 has no room for more
_LENGTHS = {
    13: 0.2, 14: 0.2, 15: 0.3, 16: 2.3, 17: 1.3, 18: 2.2, 19: 4.4, 20: 6.4, 21: 6.8, 22: 11.0,
    23: 9.4, 24: 55.5,
}  # fmt: skip
_WITHIN = 0.5  # of the prefixes longer than /19: in another one of the same provider
_IPV6 = 8  # one of so many networks
_GROUP = 6.4  # prefixes that came with the same attributes
_DEPTHS = (0.16, 0.36, 0.3, 0.11, 0.07)  # ASes behind a provider, from none on
_RESERVED = {0, 10, 100, 127, 169, 172, 192, 198, 203}
_PER_OCTET = 1 << 16  # /24s
_END = 224 * _PER_OCTET
_PNI_NETWORKS, _EXCHANGE_NETWORKS = 5_000, (20_000, 45_000)
_PNI_SHARE, _EXCHANGE_SHARE = 0.05, 0.03
_BASES = {"embedded": 1, "pni": 2, "exchange": 3}  # ASes on the way to a provider
ELSEWHERE_MED = 50  # of a provider's networks that another of its sites is nearer to

Longs = NDArray[np.uint64]


class Block(NamedTuple):
    """The networks of a provider, by their numbers: first to last, without the last."""

    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Networks:
    """All networks, by number. start: the first 64 bits of an address of IPv6, the 32 of IPv4.

    group: which came together; depth: ASes behind the provider, the same within a group.
    """

    family: NDArray[np.uint8]
    start: Longs
    length: NDArray[np.uint8]
    group: NDArray[np.uint32]
    depth: NDArray[np.uint8]
    blocks: Sequence[Block]

    def __len__(self) -> int:
        return len(self.start)

    def code(self, number: int) -> tuple[int, int, int]:
        """Family, length and leading bits."""
        family, length = int(self.family[number]), int(self.length[number])
        return family, length, int(self.start[number]) >> (_width(family) - length)

    def text(self, number: int) -> str:
        return format_prefix(*self.code(number))

    def covering(self, provider: int, family: int, high: int) -> list[int]:
        """The provider's networks that cover an address, the longest first. high: see `start`."""
        first, last = self.blocks[provider]
        shift = (_width(family) - self.length[first:last]).astype(np.uint64)
        same = (self.start[first:last] ^ np.uint64(high)) >> shift == 0
        found = np.flatnonzero(same & (self.family[first:last] == family)) + first
        return sorted(map(int, found), key=lambda number: -int(self.length[number]))

    def address_in(self, number: int, chance: np.random.Generator) -> tuple[int, int]:
        """One of it, at random: family and what `covering` takes."""
        family, length = int(self.family[number]), int(self.length[number])
        room = 1 << (_width(family) - length)
        return family, int(self.start[number]) | int(chance.integers(room))


def _width(family: int) -> int:
    return 32 if family == 4 else 64


class Site(NamedTuple):
    """region: of its provider's, which it is nearest to. providers: whose networks it hears."""

    number: int
    name: str
    kind: str
    location: tuple[float, float]
    providers: tuple[int, ...]
    region: int

    @property
    def base(self) -> int:
        return _BASES[self.kind]


@dataclass(frozen=True, eq=False)
class World:
    """regions: of each provider, how many sites it has. hearers: sites, by provider."""

    networks: Networks
    sites: Sequence[Site]
    regions: Sequence[int]
    hearers: Sequence[Sequence[int]] = field(repr=False)

    def rank(self, site: Site, number: int, provider: int) -> tuple[int, int]:
        """AS path length and MED of a network, as a site hears it."""
        return self.rank_of_group(
            site, int(self.networks.group[number]), int(self.networks.depth[number]), provider
        )

    def rank_of_group(self, site: Site, group: int, depth: int, provider: int) -> tuple[int, int]:
        nearer = site.kind != "embedded" or group % self.regions[provider] == site.region
        return site.base + depth, 0 if nearer else ELSEWHERE_MED

    @cached_property
    def routes(self) -> int:
        """Of all sites."""
        sizes = [block.last - block.first for block in self.networks.blocks]
        return sum(sizes[provider] for site in self.sites for provider in site.providers)


def make_world(sites: int, seed: int) -> World:
    """So many sites. Provider 0 has three, which the clients that are watched ask for."""
    chance = np.random.default_rng([seed, 1])
    exchanges, private = max(1, round(sites * _EXCHANGE_SHARE)), max(1, round(sites * _PNI_SHARE))
    embedded = sites - exchanges - private
    assert embedded >= 3, "the provider that is watched has three sites"
    regions = [3]
    while sum(regions) < embedded:
        regions.append(min(int(chance.integers(1, 4)), embedded - sum(regions)))
    # The table of the whole is as large as it is: more sites than these share it out.
    median = _MEDIAN_NETWORKS * min(1.0, _MOST_SITES / sites)
    sizes = np.exp(chance.normal(np.log(median), _SPREAD, len(regions)))
    sizes = sizes.clip(LEAST_NETWORKS, MOST_NETWORKS).astype(int)
    sizes[0] = 300
    networks = _make_networks(sizes.tolist(), chance)
    made: list[Site] = []

    def add(kind: str, providers: Sequence[int], region: int = 0) -> None:
        place = (
            round(float(chance.uniform(-40, 60)), 2),
            round(float(chance.uniform(-120, 140)), 2),
        )
        name = f"{kind}-{len(made):05}"
        made.append(Site(len(made), name, kind, place, tuple(map(int, providers)), region))

    for provider, count in enumerate(regions):
        for region in range(count):
            add("embedded", [provider], region)
    for _ in range(private):
        add("pni", _some_of(sizes, _PNI_NETWORKS, chance))
    for _ in range(exchanges):
        add("exchange", _some_of(sizes, int(chance.integers(*_EXCHANGE_NETWORKS)), chance))
    hearers: list[list[int]] = [[] for _ in regions]
    for site in made:
        for provider in site.providers:
            hearers[provider].append(site.number)
    return World(networks, made, regions, hearers)


def _some_of(sizes: NDArray[np.int_], most: int, chance: np.random.Generator) -> list[int]:
    """Providers with so many networks in all, the watched one among them."""
    chosen, left = [0], most - int(sizes[0])
    for provider in chance.permutation(np.arange(1, len(sizes))):
        if sizes[provider] <= left:
            chosen.append(int(provider))
            left -= int(sizes[provider])
    return chosen


# -- networks ------------------------------------------------------------------------------------


class _Space:
    """The /24s that are not given away yet."""

    def __init__(self) -> None:
        self._next = _PER_OCTET

    def take(self, length: int) -> int:
        """The first address of a network of that length."""
        size = 1 << (24 - length)
        start = -(-self._next // size) * size
        while start // _PER_OCTET in _RESERVED or (start + size - 1) // _PER_OCTET in _RESERVED:
            start = (start // _PER_OCTET + 1) * _PER_OCTET
            start = -(-start // size) * size
        assert start + size <= _END, "IPv4 has no room for so many networks"
        self._next = start + size
        return start << 8


def _make_networks(sizes: Sequence[int], chance: np.random.Generator) -> Networks:
    space, depths = _Space(), list[int]()
    rows: list[tuple[int, int, int, int, int]] = []
    blocks: list[Block] = []
    for provider, size in enumerate(sizes):
        ipv6 = size // _IPV6
        found = [*_make_ipv4(size - ipv6, space, chance), *_make_ipv6(provider, ipv6, chance)]
        breaks = chance.random(size) < 1 / _GROUP
        blocks.append(Block(len(rows), len(rows) + size))
        for (family, start, length), is_new in zip(found, breaks, strict=True):
            if is_new or len(rows) == blocks[-1].first:
                depths.append(int(chance.choice(len(_DEPTHS), p=_DEPTHS)))
            rows.append((family, start, length, len(depths) - 1, depths[-1]))
    columns = list(zip(*rows, strict=True))
    return Networks(
        np.array(columns[0], np.uint8), np.array(columns[1], np.uint64),
        np.array(columns[2], np.uint8), np.array(columns[3], np.uint32),
        np.array(columns[4], np.uint8), blocks,
    )  # fmt: skip


def _make_ipv4(
    count: int, space: _Space, chance: np.random.Generator
) -> Iterator[tuple[int, int, int]]:
    shares = np.array(list(_LENGTHS.values()))
    lengths = chance.choice(list(_LENGTHS), count, p=shares / shares.sum())
    within = (chance.random(count) < _WITHIN) & (lengths > 19)
    outer: list[tuple[int, int]] = []
    known: set[tuple[int, int]] = set()
    for length, is_within in zip(map(int, lengths), within, strict=True):
        if is_within and outer:
            around, its = outer[int(chance.integers(len(outer)))]
            if its < length:
                step = int(chance.integers(1 << (length - its))) << (32 - length)
                if (around + step, length) not in known:
                    known.add((around + step, length))
                    yield 4, around + step, length
                    continue
        start = space.take(length)
        outer.append((start, length))
        known.add((start, length))
        yield 4, start, length


def _make_ipv6(
    provider: int, count: int, chance: np.random.Generator
) -> Iterator[tuple[int, int, int]]:
    """A /32, and /48s in it."""
    block = (0x2A00_0000 + provider) << 32
    if count:
        yield 6, block, 32
    for part in chance.choice(1 << 16, max(count - 1, 0), replace=False):
        yield 6, block | int(part) << 16, 48
