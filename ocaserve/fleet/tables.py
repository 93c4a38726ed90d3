"""The table of an appliance: which networks it may serve, and how far away each is.

A network is a code, `start << 8 | length`, within its family: numbers that sort as the networks
lie, an outer one before those inside. Of a route only its rank counts here. Tables are values:
equal ones, of two appliances at one site, are one object, found by a digest that does not depend on
order and follows changes without a look at what has not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from bgp.prefixes import WIDTH, format_prefix, parse_prefix
from ocaserve.steering.table_digest import share_of, text_of

_MODULUS = 1 << 128
_LENGTH_BITS = 8
_MOST_PARSED = 1 << 20  # texts of networks that are kept as they were understood, 250 bytes each
_LENGTH_MASK = (1 << _LENGTH_BITS) - 1


class Rank(NamedTuple):
    """How good a route is: AS path length, MED (a missing one is 0), and what communities make of
    it. weight: a multiple of its appliance's share among equals.
    """

    path_length: int
    med: int
    is_backup: bool = False
    weight: float = 1.0

    @property
    def told(self) -> tuple[Any, ...]:
        """What is kept of it: without what communities make of it, where they make nothing."""
        return self if self[2:] != _UNMARKED else self[:2]


_UNMARKED = (False, 1.0)


class Network(NamedTuple):
    """One network. family: 4 or 6. code: see the module."""

    family: int
    code: int

    @property
    def length(self) -> int:
        return self.code & _LENGTH_MASK

    def __str__(self) -> str:
        start = self.code >> _LENGTH_BITS
        shift = WIDTH[self.family] - self.length
        return format_prefix(self.family, self.length, start >> shift)


def parse_network(text: str) -> Network:
    """Raises ValueError, which quotes the text."""
    family, length, bits = parse_prefix(text)
    start = bits << (WIDTH[family] - length)
    return Network(family, start << _LENGTH_BITS | length)


def start_and_length(code: int) -> tuple[int, int]:
    """The first address of a network, as a number, and its length."""
    return code >> _LENGTH_BITS, code & _LENGTH_MASK


Routes = Mapping[int, Mapping[int, Rank]]
"""By family, the best rank of each network by its code."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Table:
    """All of it. `digest` is of networks and ranks, `prefix_digest` of the networks' texts alone.

    Both are those of docs/report.md, so that an appliance's own can be held against them.
    """

    digest: int = 0
    prefix_digest: int = 0
    routes: Routes = field(default_factory=lambda: {family: {} for family in WIDTH})

    def __len__(self) -> int:
        return sum(map(len, self.routes.values()))

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Network and what is `told` of the rank of each, as texts and numbers."""
        for family, ranks in self.routes.items():
            for code, rank in ranks.items():
                yield str(Network(family, code)), *rank.told


NO_ROUTES = Table()


class Tables:
    """Each table there is once, for as long as somebody holds it."""

    def __init__(self) -> None:
        self._by_digest: WeakValueDictionary[int, Table] = WeakValueDictionary()
        self._ranks: dict[Rank, Rank] = {}
        self._networks: dict[str, _Parsed] = {}

    def __len__(self) -> int:
        return len(self._by_digest)

    def get(self, digest: int) -> Table | None:
        """The one of this digest, if somebody holds it."""
        return NO_ROUTES if not digest else self._by_digest.get(digest)

    def change(self, table: Table, news: Iterable[tuple[str, Rank | None]]) -> Table:
        """The table with these networks at these ranks, None for gone. Raises ValueError."""
        changed = _Change(table)
        for text, rank in news:
            parsed = self._networks.get(text) or self._parse(text)
            changed.put(parsed, rank and self._ranks.setdefault(rank, rank))
        digest = changed.digest % _MODULUS
        known = self._by_digest.get(digest)
        if known is None:
            known = Table(digest, changed.prefix_digest % _MODULUS, changed.routes())
            self._by_digest[digest] = known
        return known

    def _parse(self, text: str) -> _Parsed:
        """Sites hear the same networks: most were parsed before, and all share one code."""
        if len(self._networks) >= _MOST_PARSED:
            self._networks.clear()
        parsed = self._networks[text] = _Parsed(*parse_network(text), _hash(text.encode()))
        return parsed


class _Parsed(NamedTuple):
    """A network, and its share of `prefix_digest` as it is written."""

    family: int
    code: int
    share: int


@lru_cache(maxsize=16_384)
def _text_of(rank: Rank) -> bytes:
    return text_of(*rank)


class _Change:
    """What differs from a table. That is copied only where no equal one is known."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._new: dict[int, dict[int, Rank | None]] = {family: {} for family in WIDTH}
        self.digest, self.prefix_digest = table.digest, table.prefix_digest

    def put(self, network: _Parsed, rank: Rank | None) -> None:
        family, code, share = network
        new = self._new[family]
        old = new[code] if code in new else self._table.routes[family].get(code)
        if old is not None:
            self.digest -= share_of(family, code, _text_of(old))
        if rank is not None:
            self.digest += share_of(family, code, _text_of(rank))
        if (old is None) is not (rank is None):
            self.prefix_digest += share if old is None else -share
        new[code] = rank

    def routes(self) -> Routes:
        routes = {family: dict(ranks) for family, ranks in self._table.routes.items()}
        for family, new in self._new.items():
            for code, rank in new.items():
                if rank is None:
                    routes[family].pop(code, None)
                else:
                    routes[family][code] = rank
        return routes


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "big")
