"""Who is billed for which bytes. Pure.

Each network of a record belongs to one party: to the one with the longest prefix that covers it,
else to the one that has the site of the appliance, else to none, which is the party `unassigned`.
So the sums of the parties are the sum of all. A party counts for periods that begin while its dates
hold. AS numbers have been resolved to prefixes before; what is kept with a month decides by itself.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct

from bgp.prefixes import Prefix, parse_prefix

UNASSIGNED = "unassigned"
FOREVER = 1 << 40
_REMEMBERED = 1 << 17  # networks whose party is known, for each span of dates


class Party(Struct, frozen=True, kw_only=True):
    """Counts from `since` to before `until`, in seconds since the epoch."""

    id: str
    prefixes: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    since: int = 0
    until: int = FOREVER


class Assignment:
    """Who has what during a span without a change."""

    def __init__(self, parties: Sequence[Party]) -> None:
        self._sites = {site: each.id for each in parties for site in each.sites}
        levels: dict[tuple[int, int], dict[int, str]] = {}
        for each in parties:
            for prefix in map(parse_prefix, each.prefixes):
                levels.setdefault((prefix.family, prefix.length), {})[prefix.bits] = each.id
        self._levels = sorted(levels.items(), key=lambda level: -level[0][1])
        # The same networks come back with every record.
        self._owner_of = lru_cache(_REMEMBERED)(self._find_owner)

    def _find_owner(self, network: str) -> str | None:
        try:
            wanted = parse_prefix(network)
        except ValueError:  # `other`, `local`
            return None
        for (family, length), owners in self._levels:
            if family == wanted.family and length <= wanted.length:
                owner = owners.get(wanted.bits >> (wanted.length - length))
                if owner is not None:
                    return owner
        return None

    def split(self, networks: Mapping[str, int], site: str) -> dict[str, int]:
        """Bytes by party, of bytes by network that an appliance of a site has sent."""
        rest = self._sites.get(site, UNASSIGNED)
        owner_of = self._owner_of
        found: dict[str, int] = {}
        for network, count in networks.items():
            party = owner_of(network) or rest
            found[party] = found.get(party, 0) + count
        return found


class Grouping:
    """All parties, with their dates. digest: equal ones have the same."""

    def __init__(self, parties: Sequence[Party]) -> None:
        self.parties = tuple(sorted(parties, key=lambda each: each.id))
        self.text = msgspec.json.encode(self.parties).decode()
        self.digest = hashlib.sha256(self.text.encode()).hexdigest()
        dates = {at for each in self.parties for at in (each.since, each.until)}
        self._changes = sorted({0, *dates})
        self._assignments: dict[int, Assignment] = {}

    @classmethod
    def read(cls, text: str) -> Grouping:
        """From its `text`."""
        return _read(text)

    def at(self, start: int) -> Assignment:
        """Who has what in the period that begins then."""
        place = bisect_right(self._changes, start) - 1
        known = self._assignments.get(place)
        if known is None:
            known = Assignment([each for each in self.parties if each.since <= start < each.until])
            self._assignments[place] = known
        return known

    def find(self, party: str) -> Party | None:
        """`unassigned` is one of them."""
        if party == UNASSIGNED:
            return Party(id=UNASSIGNED)
        return next((each for each in self.parties if each.id == party), None)

    def differs_from(self, other: Grouping) -> int:
        """The first moment at which the two may assign something otherwise."""
        mine, theirs = ({each.id: each for each in it.parties} for it in (self, other))
        found = FOREVER
        for name in mine.keys() | theirs.keys():
            one, two = mine.get(name), theirs.get(name)
            if one == two:
                continue
            if one is None or two is None or (one.prefixes, one.sites) != (two.prefixes, two.sites):
                first = min(each.since for each in (one, two) if each)
            elif one.since != two.since:
                first = min(one.since, two.since)
            else:
                first = min(one.until, two.until)
            found = min(found, first)
        return found


@lru_cache(64)  # each of some months has one, and asks for each batch
def _read(text: str) -> Grouping:
    return Grouping(msgspec.json.decode(text, type=list[Party]))


def find_overlaps(parties: Sequence[Party]) -> Iterator[str]:
    """What two parties have at the same time, in words."""
    taken: dict[tuple[str, Prefix | str], list[Party]] = {}
    for each in parties:
        for prefix in map(parse_prefix, each.prefixes):
            yield from _claim(taken, ("prefix", prefix), each)
        for site in each.sites:
            yield from _claim(taken, ("site", site), each)


def _claim(
    taken: dict[tuple[str, Prefix | str], list[Party]], what: tuple[str, Prefix | str], party: Party
) -> Iterator[str]:
    holders = taken.setdefault(what, [])
    for other in holders:
        if other.since < party.until and party.since < other.until:
            yield f"the {what[0]} {what[1]} is of {other.id!r} and of {party.id!r} at the same time"
    holders.append(party)
