"""Who serves a client, and who does not, and why: a pure function of what is known.

The order, in which each step decides only among those that were equal in all before it:

1. who hears the client's address at all, by a network that it announces; nobody else;
2. the longer network, over all sites;
3. a route that no community makes a backup;
4. the shorter AS path;
5. the lower MED;
6. the kind of site: embedded, then private interconnection, then an exchange;
7. the nearer site, where both places are known, in steps of 10 km;
8. among equals a weighted draw (rendezvous hashing, each weighted by what it can take in all, times
   the weight that communities give its route), seeded by the client's network, the object and the
   minute: who asks again hears the same, and when an appliance comes or goes, only what it gets or
   had moves.

Who cannot take the client (health, content, nothing left) is passed over where it stands, with its
reason. Three are chosen, and where the first two are of one site, the third is the best of another,
if there is one.

Operators' policies, where some are in force, have a say in three places (`Ruling`): whom they
refuse is passed over, what they weigh is drawn with another share, and those who were chosen stand
in the order that they want.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from math import log
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from bgp.prefixes import WIDTH, Prefix
from ocaserve.fleet.atlas import Covered
from ocaserve.fleet.tables import LENGTH_BITS, Network, Rank
from ocaserve.policies.rulings import Ruling

CHOSEN = 3
_NETWORK_LENGTHS = {4: 24, 6: 56}
_EARTH_KM = 6_371.0
_STEP_KM = 10

Place = tuple[float, float]
"""Latitude and longitude, in degrees."""


Labels = tuple[tuple[str, str], ...]
"""Names and texts, by name."""


class SiteKind(Enum):
    """What a site is to its clients, the nearest first."""

    EMBEDDED = "embedded"
    PNI = "pni"
    EXCHANGE = "exchange"


_KIND_RANKS = {kind: rank for rank, kind in enumerate(SiteKind)}


class Why(Enum):
    """Why an appliance that hears the client does not get it. The value is the word shown."""

    HEALTH = "H"
    CONTENT = "C"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Server:
    """An appliance, as decisions see it.

    weight: bits per second that it can take in all, its share among equals. fault: why it takes no
    clients now; empty while it does. labels: what the operator's settings say of it, for policies.
    """

    id: str
    site: str
    kind: SiteKind = SiteKind.EMBEDDED
    location: Place | None = None
    weight: float = 1.0
    fault: str = ""
    labels: Labels = ()


class Standing(NamedTuple):
    """What candidates are compared by, the lower the better."""

    shortness: int
    is_backup: bool
    path_length: int
    med: int
    kind: int
    steps: int


class Candidate(Struct, frozen=True, gc=False):
    """A server that hears the client, by its route's rank. mark: its number in draws, made of its
    id. weight: its share among equals, the server's times the route's.
    """

    order: Standing
    server: Server
    rank: Rank
    mark: int
    weight: float


class PassedOver(NamedTuple):
    """A server that was passed over."""

    server: Server
    why: Why
    reason: str


Group = tuple[Candidate, ...]
"""Candidates of one order."""


def rank_candidates(
    covering: Iterable[Covered], servers: Mapping[str, Server], place: Place | None = None
) -> tuple[Group, ...]:
    """All that hear the client, in groups of equals, the best first. place: the client's."""
    groups: dict[Standing, list[Candidate]] = {}
    for appliances, length, rank in covering:
        # Those of one table stand alike, where they are of one kind and place, as at one site.
        before: Server | None = None
        for server in map(servers.get, appliances):
            if server is None:
                continue
            if (
                before is None
                or server.kind is not before.kind
                or server.location != before.location
            ):
                order = standing_of(-length, rank, server, place)
                group = groups.setdefault(order, [])
                before = server
            weight = server.weight * rank.weight
            group.append(Candidate(order, server, rank, _mark_of(server.id), weight))
    for group in groups.values():
        group.sort(key=_id_of)
    return tuple(tuple(groups[order]) for order in sorted(groups))


def _id_of(candidate: Candidate) -> str:
    return candidate.server.id


def take_server(candidate: Candidate, server: Server) -> Candidate:
    """The same with its server as it is now, which stands where it stood."""
    if server is candidate.server:
        return candidate
    weight = server.weight * candidate.rank.weight
    return replace(candidate, server=server, weight=weight)


def standing_of(shortness: int, rank: Rank, server: Server, place: Place | None) -> Standing:
    """shortness: the length of the network that is heard, negative. place: the client's."""
    known = place is not None and server.location is not None
    steps = round(distance_km(place, server.location) / _STEP_KM) if known else 0  # type: ignore[arg-type]
    kind = _KIND_RANKS[server.kind]
    return Standing(shortness, rank.is_backup, rank.path_length, rank.med, kind, steps)


def distance_km(one: Place, other: Place) -> float:
    """Along the great circle (haversine)."""
    lat1, lon1, lat2, lon2 = map(math.radians, (*one, *other))
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def network_of(family: int, address: int) -> bytes:
    """The client network that draws are seeded by: /24 of IPv4, /56 of IPv6."""
    length = _NETWORK_LENGTHS[family]
    return b"%d/%x" % (family, address >> (WIDTH[family] - length))


def heard_network(candidate: Candidate, family: int, address: int) -> Network:
    """The network of a candidate's table by which it hears the client's address."""
    length = -candidate.order.shortness
    shift = WIDTH[family] - length
    return Network(family, address >> shift << shift << LENGTH_BITS | length)


def client_prefix_of(family: int, address: int) -> Prefix:
    """The same network, to be shown."""
    length = _NETWORK_LENGTHS[family]
    return Prefix(family, length, address >> (WIDTH[family] - length))


def seed_of(network: bytes, key: bytes, minute: int) -> bytes:
    """What a draw depends on, beside those who take part."""
    return seed_in(asker_of(network, minute), key)


def asker_of(network: bytes, minute: int) -> bytes:
    """What the seeds of all objects begin with."""
    return b"%b %d " % (network, minute)


def seed_in(asker: bytes, key: bytes) -> bytes:
    """The seed of an object. asker: see `asker_of`."""
    return asker + key + b" "


@lru_cache(maxsize=16_384)
def _mark_of(server: str) -> int:
    return _number_of(server.encode())


def _number_of(data: bytes) -> int:
    """Its hash, with the first step of the mixing: of seed and mark each can make it alone."""
    number = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
    return number ^ number >> 33


def holds_but(lacking: frozenset[str]) -> Callable[[str], bool]:
    """Whether a server has an object that all have but these."""
    return lambda server: server not in lacking


def find_able(
    groups: Iterable[Group], holds: Callable[[str], bool] | None = None
) -> Iterator[Group]:
    """Those that can take the client, group by group. holds: whether a server has the object;
    None: all have.
    """
    for group in groups:
        able = [
            each
            for each in group
            if not each.server.fault and (holds is None or holds(each.server.id))
        ]
        if able:
            yield group if len(able) == len(group) else tuple(able)


def choose(
    groups: Sequence[Group],
    seed: bytes,
    holds: Callable[[str], bool] | None = None,
) -> list[Candidate]:
    """Up to three that can take the client, the best first. holds: see `find_able`."""
    return choose_able(find_able(groups, holds), seed)


def choose_able(able: Iterable[Group], seed: bytes) -> list[Candidate]:
    """Likewise of groups in which all can take the client."""
    number = _number_of(seed)
    chosen: list[Candidate] = []
    spare: Candidate | None = None
    for group in able:
        for _, _, candidate in _draw_all(group, number):
            if len(chosen) < CHOSEN - 1:
                chosen.append(candidate)
                continue
            first, second = chosen
            if first.server.site == second.server.site == candidate.server.site:
                spare = spare or candidate
            else:
                chosen.append(candidate)
                return chosen
    return [*chosen, spare] if spare else chosen


def apply_ruling(groups: Sequence[Group], ruling: Ruling) -> Sequence[Group]:
    """Without those whom policies refuse, the others with the shares that they are to have."""
    if not (ruling.refused or ruling.weights):
        return groups
    left = (
        tuple(_weigh(each, ruling.weights) for each in g if each.server.id not in ruling.refused)
        for g in groups
    )
    return tuple(filter(None, left))


def find_refused(groups: Sequence[Group], ruling: Ruling) -> tuple[PassedOver, ...]:
    """Those that could take the client and that policies refuse, as they stand in the order."""
    return tuple(
        PassedOver(each.server, Why.POLICY, ruling.refused[each.server.id])
        for group in groups
        for each in group
        if each.server.id in ruling.refused and not each.server.fault
    )


def in_order(
    groups: Sequence[Group],
    seed: bytes,
    holds: Callable[[str], bool] | None = None,
) -> Iterator[Candidate]:
    """All that can take the client, the best first, equals as they are drawn."""
    number = _number_of(seed)
    for able in find_able(groups, holds):
        for _, _, candidate in _draw_all(able, number):
            yield candidate


def _draw_all(group: Group, seed: int) -> list[tuple[float, int, Candidate]]:
    """Equals as they are drawn, each behind its score and its place: of two that are alike the
    first stands first. Weighted rendezvous: of all, the lowest score is each one's with its
    weight's probability.

    Seed and mark are mixed as MurmurHash3 ends: a tenth of the cost of hashing both.
    """
    first = group[0]
    if len(group) == 1:
        return [(0.0, 0, first)]
    drawn: list[tuple[float, int, Candidate]] = []
    is_even, weight = True, first.weight
    for place, candidate in enumerate(group):
        mixed = ((seed ^ candidate.mark) * 0xFF51AFD7ED558CCD) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 33) * 0xC4CEB9FE1A85EC53) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 33
        is_even = is_even and candidate.weight == weight
        drawn.append((-mixed, place, candidate))
    if not is_even:  # else their logarithms, which stand in the same order, make no difference
        drawn = [
            (each.weight / log((0.5 - negative) / 18446744073709551616.0), place, each)
            for negative, place, each in drawn
        ]
    drawn.sort()
    return drawn


def _weigh(candidate: Candidate, weights: Mapping[str, float]) -> Candidate:
    factor = weights.get(candidate.server.id, 1.0)
    return candidate if factor == 1 else replace(candidate, weight=candidate.weight * factor)


def draw(group: Group, seed: bytes) -> Candidate:
    """Of equals the one that stands first, whether or not it can take the client."""
    return _draw_all(group, _number_of(seed))[0][2]


def passed_over(
    groups: Sequence[Group],
    holds: Callable[[str], bool] | None = None,
) -> list[PassedOver]:
    """Those that hear the client and cannot take it, as they stand in the order."""
    found = []
    for candidate in (each for group in groups for each in group):
        server = candidate.server
        if server.fault:
            found.append(PassedOver(server, Why.HEALTH, server.fault))
        elif holds is not None and not holds(server.id):
            found.append(PassedOver(server, Why.CONTENT, "it does not have the object"))
    return found
