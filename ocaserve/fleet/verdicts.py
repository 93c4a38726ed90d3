"""What is answered to who asks for servers: decided by `decisions`, with URLs, counted, granted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from msgspec import Struct

from bgp.prefixes import parse_host
from ocaserve.fleet.client_urls import Object
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.decision_notes import Decided
from ocaserve.fleet.decisions import (
    CHOSEN,
    Candidate,
    Group,
    PassedOver,
    Place,
    Server,
    Why,
    asker_of,
    choose,
    choose_able,
    find_able,
    holds_but,
    network_of,
    seed_in,
    seed_of,
)
from ocaserve.fleet.policing import Asker, Policed, Policing
from ocaserve.fleet.ranking import Ranking
from ocaserve.fleet.recorded_decisions import NO_POLICIES, PolicyRecord, Question
from ocaserve.policies.desk import PolicyAsk
from ocaserve.policies.rulings import BUILT_IN, Ruling
from ocaserve.settings.fleet import Fleet

SERVED, UNCOVERED, UNAVAILABLE = "served", "uncovered", "unavailable"
"""What becomes of a decision: somebody was chosen; nobody hears the client; nobody can take it."""
MOST_ASKS = 2  # whom to admit and how to weigh; then in which order
STEERED = "steered"
"""A player that has a playlist was told where to go on."""


class Viewer(Struct, frozen=True):
    """Who is to be served. number: its address. place: latitude and longitude, where they are
    known, to 0.1 degrees.
    """

    family: int
    number: int
    place: Place | None = None

    @property
    def address(self) -> tuple[int, int]:
        """Its family and its number."""
        return self.family, self.number


class Decision(Struct, frozen=True):
    """For each object the servers chosen and their URLs, the best first. said: by policies.

    firsts: for how many objects each server is the first.
    session: what the client shows when it tells how it went.
    """

    name: str
    expires: int
    chosen: Mapping[str, Sequence[Candidate]]
    firsts: Mapping[str, int]
    urls: dict[str, list[str]]
    passed: Sequence[PassedOver]
    said: PolicyRecord
    session: str

    def servers(self) -> list[Server]:
        """All that were chosen for some object, by the order, then who is first most often."""
        found: dict[str, Candidate] = {}
        for rows in self.chosen.values():
            for each in rows:
                found[each.server.id] = each  # which stands alike for each object
        firsts = self.firsts
        ranked = [
            (each.order, -firsts.get(name, 0), name, each.server) for name, each in found.items()
        ]
        ranked.sort()
        return [server for _, _, _, server in ranked]


def count_firsts(chosen: Mapping[str, Sequence[Candidate]]) -> Mapping[str, int]:
    """For how many objects each is the first."""
    firsts: dict[str, int] = {}  # a Counter takes ten times as long for the one that is usual
    for rows in chosen.values():
        if rows:
            name = rows[0].server.id
            firsts[name] = firsts.get(name, 0) + 1
    return firsts


def parse_client(ip: str, place: Sequence[float] | None = None) -> Viewer:
    """Raises ValueError."""
    family, number = parse_host(ip)
    if place is None:
        return Viewer(family, number)
    # Distances count in steps of 10 km: what is finer only makes each client's ranking its own.
    return Viewer(family, number, (round(place[0], 1), round(place[1], 1)))


class Ranker(Protocol):
    """Who ranks for clients: a worker, and the control process where it explains."""

    @property
    def settings(self) -> Fleet: ...

    @property
    def policing(self) -> Policing: ...

    def rank(self, family: int, address: int, place: Place | None) -> Ranking: ...


class MissingRulings(NamedTuple):
    """What policies have to be asked before a client is served as they want."""

    asked: Sequence[PolicyAsk]


class RankedByPolicies(NamedTuple):
    """Those of the groups that can take a client, and what policies say of all of them."""

    groups: Sequence[Group]
    ruling: Ruling
    candidates: list[Candidate]


class _Drawn(Struct, frozen=True):
    """For each object who was chosen, who does not have it, and what policies say of it.

    refused: by them, for some object, by their ids.
    """

    chosen: Mapping[str, Sequence[Candidate]]
    lacking: Mapping[str, frozenset[str]]
    said: PolicyRecord
    refused: Mapping[str, PassedOver]


async def decide(
    decider: Decider, client: Viewer, objects: Mapping[str, Object], *, is_public: bool = False
) -> Decision:
    """Who serves the client these objects. What it is expected to take is granted.

    It waits for policies that have to be asked, some milliseconds at most. is_public: anybody may
    ask so, and again; its network is granted once a minute at an appliance.
    """
    for _ in range(MOST_ASKS):
        found = decide_now(decider, client, objects, is_public=is_public)
        if isinstance(found, Decision):
            return found
        await ask_policies(decider.policing, found)
    found = decide_now(decider, client, objects, is_public=is_public, is_last=True)
    assert isinstance(found, Decision), "nothing more is asked"
    return found


async def ask_policies(policing: Policing, missing: MissingRulings) -> None:
    await policing.desk.fetch(missing.asked)


def decide_now(
    decider: Decider, client: Viewer, objects: Mapping[str, Object],
    *, is_public: bool = False, is_last: bool = False,
) -> Decision | MissingRulings:  # fmt: skip
    """Likewise at once, for who waits in a way of its own (`ask_policies`) and asks again.

    is_last: what is not known of policies is done without.
    """
    now = time.time()
    minute = int(now // 60)
    # All of a minute is one moment, so its answers are equal.
    expires = (minute + 1) * 60 + decider.settings.url_valid_s
    family, number, place = client.family, client.number, client.place
    ranking = decider.rank(family, number, place)
    network = network_of(family, number)
    policed = _police(decider, client, network, minute, ranking)
    asker = asker_of(network, minute)
    if policed is None:
        drawn = _draw_freely(decider, ranking, asker, objects)
    else:
        drawn = _draw_by_policies(decider, ranking, asker, objects, policed)
        if policed.missing and not is_last:
            return MissingRulings(policed.missing)
    chosen = drawn.chosen
    firsts = count_firsts(chosen)
    signers = decider.signers
    urls = {
        name: [signers[each.server.id].make(wanted, expires) for each in chosen[name]]
        for name, wanted in objects.items()
    }
    notes = decider.notes
    if ranking.groups:
        notes.outcomes[SERVED if firsts else UNAVAILABLE] += 1
        decider.policing.note(network, is_served=bool(firsts))
    else:
        notes.outcomes[UNCOVERED] += 1
    _grant(decider, firsts, len(chosen), (network, minute) if is_public else None)
    name = _name_of(asker, objects)
    notes.count((minute, family, network, place), number, objects, is_policed=policed is not None)
    is_whole = not (ranking.passed or drawn.lacking)
    if notes.wants(now, is_whole=is_whole):
        notes.note(
            Decided(
                Question(name, now, family, number, place, minute),
                network,
                objects,
                ranking.groups,
                chosen,
                drawn.lacking,
                drawn.said,
                decider.used,
                is_whole,
            )
        )
    passed = ranking.passed
    if drawn.lacking or drawn.refused:
        more = without_content(ranking.groups, drawn.lacking, len(objects))
        passed = [*passed, *more, *drawn.refused.values()]
    session = decider.policing.open_session(network, minute)
    return Decision(name, expires, chosen, firsts, urls, passed, drawn.said, session)


def _police(
    ranker: Ranker, client: Viewer, network: bytes, minute: int, ranking: Ranking
) -> Policed | None:
    """None where no policies are in force for the client."""
    arm = ranker.policing.arm_of(network)
    if arm is None:
        return None
    asker = Asker(client.family, client.number, client.place, minute)
    return Policed(ranker.policing, arm, asker, ranking.groups, ranking.ruled)


Rank = Callable[[Sequence[Group], bytes], list[Candidate]]
"""What is made of groups and a seed."""


def rank_now(
    ranker: Ranker, client: Viewer, wanted: Object, rank: Rank, *, is_last: bool = False
) -> RankedByPolicies | MissingRulings:
    """What `rank` gives of those whom policies admit, the first in the order that they want.

    is_last: see `decide_now`.
    """
    minute = int(time.time() // 60)
    ranking = ranker.rank(client.family, client.number, client.place)
    network = network_of(client.family, client.number)
    seed = seed_of(network, wanted.key, minute)
    policed = _police(ranker, client, network, minute, ranking)
    if policed is None:
        return RankedByPolicies(ranking.groups, BUILT_IN, rank(ranking.groups, seed))
    ruling, left, _ = policed.rule(wanted.key)
    ranked = rank(left, seed)
    ranked[:CHOSEN] = policed.order(ranked[:CHOSEN])
    if policed.missing and not is_last:
        return MissingRulings(policed.missing)
    return RankedByPolicies(ranking.groups, ruling, ranked)


async def rank_by_policies(
    ranker: Ranker, client: Viewer, wanted: Object, rank: Rank
) -> RankedByPolicies:
    """Likewise, asking policies where that has to be."""
    for _ in range(MOST_ASKS):
        found = rank_now(ranker, client, wanted, rank)
        if isinstance(found, RankedByPolicies):
            return found
        await ask_policies(ranker.policing, found)
    found = rank_now(ranker, client, wanted, rank, is_last=True)
    assert isinstance(found, RankedByPolicies), "nothing more is asked"
    return found


def _draw_freely(
    decider: Decider, ranking: Ranking, asker: bytes, objects: Mapping[str, Object]
) -> _Drawn:
    """Where no policies are in force."""
    chosen: dict[str, Sequence[Candidate]] = {}
    lacking: dict[str, frozenset[str]] = {}
    able: Iterable[Group]
    for name, wanted in objects.items():
        key, able = wanted.key, ranking.able
        holds = decider.holders_of(key)
        if holds is not None and (without := find_lacking(ranking.groups, holds)):
            lacking[name], able = without, find_able(able, holds_but(without))
        chosen[name] = choose_able(able, seed_in(asker, key))
    return _Drawn(chosen, lacking, NO_POLICIES, {})


def _draw_by_policies(
    decider: Decider, ranking: Ranking, asker: bytes, objects: Mapping[str, Object],
    policed: Policed,
) -> _Drawn:  # fmt: skip
    chosen: dict[str, Sequence[Candidate]] = {}
    lacking: dict[str, frozenset[str]] = {}
    rulings: dict[str, Ruling] = {}
    ordered: dict[str, list[str]] = {}
    refused: dict[str, PassedOver] = {}
    for name, wanted in objects.items():
        key = wanted.key
        holds = decider.holders_of(key)
        if holds is not None:
            without = find_lacking(ranking.groups, holds)
            holds = None
            if without:
                lacking[name], holds = without, holds_but(without)
        ruling, left, passed = policed.rule(key)
        if ruling is not BUILT_IN:
            rulings[name] = ruling
        for each in passed:
            refused.setdefault(each.server.id, each)
        rows = choose(left, seed_in(asker, key), holds)
        if (wanted_rows := policed.order(rows)) is not rows:
            ordered[name] = [each.server.id for each in wanted_rows]
        chosen[name] = wanted_rows
    return _Drawn(chosen, lacking, PolicyRecord(policed.by, rulings, ordered), refused)


def find_lacking(groups: Sequence[Group], holds: Callable[[str], bool]) -> frozenset[str]:
    """Who hears the client and does not have the object."""
    ids = (each.server.id for group in groups for each in group)
    return frozenset(name for name in ids if not holds(name))


def without_content(
    groups: Sequence[Group], lacking: Mapping[str, frozenset[str]], objects: int
) -> Iterator[PassedOver]:
    """Those that could take the client and do not have all that it asks for, as they stand."""
    counts = Counter(name for names in lacking.values() for name in names)
    for each in (each for group in groups for each in group):
        if (count := counts[each.server.id]) and not each.server.fault:
            which = "the object" if objects == 1 else f"{count} of {objects} objects"
            yield PassedOver(each.server, Why.CONTENT, f"it does not have {which}")


def _grant(
    decider: Decider, firsts: Mapping[str, int], objects: int, once: tuple[bytes, int] | None
) -> None:
    """One client's rate, shared out by how many of the objects each server is the first for.

    once: the network and the minute for which an appliance is granted but once; None: each time.
    """
    for appliance, count in firsts.items():
        if once and not decider.is_first(once[0], appliance, once[1]):
            continue
        decider.grant(appliance, decider.settings.client_bits_per_s * count / objects)


def _name_of(asker: bytes, objects: Mapping[str, Object]) -> str:
    """The same for who asks the same again within a minute."""
    keys = b" ".join([wanted.key for wanted in objects.values()])
    return blake2b(asker + keys, digest_size=8).hexdigest()
