"""The table of an appliance: which networks it may serve, and how far away each is.

A network is a code, `start << 8 | length`, within its family: numbers that sort as the networks
lie, an outer one before those inside. Of a route only its rank counts here. Tables are values:
equal ones, of two appliances at one site, are one object, found by a digest that does not depend on
order and follows changes without a look at what has not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakValueDictionary

from bgp.prefixes import WIDTH, format_prefix, parse_prefix
from ocaserve.steering.table_digest import name_of, share_of, text_of

_MODULUS = 1 << 128
LENGTH_BITS = 8
_MOST_PARSED = 1 << 20  # texts of networks that are kept as they were understood, 300 bytes each
LENGTH_MASK = (1 << LENGTH_BITS) - 1


class Rank(NamedTuple):
    """How good a route is: AS path length, MED (a missing one is 0), and what communities make of
    it. weight: a multiple of its appliance's share among equals.
    """

    path_length: int
    med: int
    is_backup: bool = False
    weight: float = 1.0


class Network(NamedTuple):
    """One network. family: 4 or 6. code: see the module."""

    family: int
    code: int

    @property
    def length(self) -> int:
        return self.code & LENGTH_MASK

    def __str__(self) -> str:
        start = self.code >> LENGTH_BITS
        shift = WIDTH[self.family] - self.length
        return format_prefix(self.family, self.length, start >> shift)


def parse_network(text: str) -> Network:
    """Raises ValueError, which quotes the text."""
    family, length, bits = parse_prefix(text)
    start = bits << (WIDTH[family] - length)
    return Network(family, start << LENGTH_BITS | length)


def start_and_length(code: int) -> tuple[int, int]:
    """The first address of a network, as a number, and its length."""
    return code >> LENGTH_BITS, code & LENGTH_MASK


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


NO_ROUTES = Table()

_Parsed = tuple[int, int, bytes, int]
"""A network: family, code, its name in `digest`, its share of `prefix_digest` as it is written. A
plain tuple, which is made quickly and of which garbage collections soon take no notice."""


class Tables:
    """Each table there is once, for as long as somebody holds it."""

    def __init__(self) -> None:
        self._by_digest: WeakValueDictionary[int, Table] = WeakValueDictionary()
        self._ranks: dict[Rank, _Written] = {}
        self._networks: dict[str, _Parsed] = {}

    def __len__(self) -> int:
        return len(self._by_digest)

    def get(self, digest: int) -> Table | None:
        """The one of this digest, if somebody holds it."""
        return NO_ROUTES if not digest else self._by_digest.get(digest)

    def change(self, table: Table, news: Iterable[tuple[str, Rank | None]]) -> Table:
        """The table with these networks at these ranks, None for gone. Raises ValueError."""
        before = table.routes
        new: dict[int, dict[int, Rank | None]] = {family: {} for family in WIDTH}
        digest, prefix_digest = table.digest, table.prefix_digest
        # Whole tables have tens of thousands of networks, and most of them nothing from before.
        for text, told in news:
            family, code, name, share = self._networks.get(text) or self._parse(text)
            changed = new[family]
            old = changed[code] if code in changed else before[family].get(code)
            if old is not None:
                digest -= share_of(name, self._write(old).text)
                prefix_digest -= share
            if told is None:
                changed[code] = None
                continue
            rank, rank_text = self._ranks.get(told) or self._write(told)
            digest += share_of(name, rank_text)
            prefix_digest += share
            changed[code] = rank
        digest %= _MODULUS
        known = self._by_digest.get(digest)
        if known is None:
            known = self.hold(digest, prefix_digest % _MODULUS, _put_together(before, new))
        return known

    def hold(self, digest: int, prefix_digest: int, routes: Routes) -> Table:
        """The table of this digest: the one that is known, or these routes, of which both digests
        are.
        """
        known = self._by_digest.get(digest)
        if known is None:
            known = self._by_digest[digest] = Table(digest, prefix_digest, routes)
        return known

    def intern(self, rank: Rank) -> Rank:
        """The one object that stands for all equal ones."""
        return self._write(rank).rank

    def _write(self, rank: Rank) -> _Written:
        known = self._ranks.get(rank)
        if known is None:
            known = self._ranks[rank] = _Written(rank, text_of(*rank))
        return known

    def _parse(self, text: str) -> _Parsed:
        """Sites hear the same networks: most were parsed before, and all share one code."""
        if len(self._networks) >= _MOST_PARSED:
            self._networks.clear()
        family, code = parse_network(text)
        parsed = family, code, name_of(family, code), share_of(text.encode())
        self._networks[text] = parsed
        return parsed


class _Written(NamedTuple):
    """A rank, and what stands for it in digests."""

    rank: Rank
    text: bytes


def _put_together(before: Routes, new: Mapping[int, Mapping[int, Rank | None]]) -> Routes:
    routes = {}
    for family, changed in new.items():
        routes[family] = ranks = {**before[family], **changed}
        for code in [code for code, rank in changed.items() if rank is None]:
            del ranks[code]
    return routes  # type: ignore[return-value]  # what is None is out again
