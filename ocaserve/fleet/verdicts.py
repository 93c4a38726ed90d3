"""What is answered to who asks for servers: decided by `decisions`, with URLs, counted, granted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from bgp.prefixes import Prefix, parse_query
from ocaserve.fleet.client_urls import Object
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.decision_notes import Decided
from ocaserve.fleet.decisions import (
    CHOSEN,
    Candidate,
    Group,
    PassedOver,
    Place,
    Why,
    choose,
    network_of,
    seed_of,
)
from ocaserve.fleet.policing import Asker, Policed, Policing
from ocaserve.fleet.ranking import Ranking
from ocaserve.fleet.recorded_decisions import PolicyRecord, Question
from ocaserve.policies.desk import PolicyAsk
from ocaserve.policies.rulings import BUILT_IN, Ruling
from ocaserve.settings.fleet import Fleet

SERVED, UNCOVERED, UNAVAILABLE = "served", "uncovered", "unavailable"
"""What becomes of a decision: somebody was chosen; nobody hears the client; nobody can take it."""
MOST_ASKS = 2  # whom to admit and how to weigh; then in which order
STEERED = "steered"
"""A player that has a playlist was told where to go on."""


class Viewer(NamedTuple):
    """Who is to be served. place: latitude and longitude, where they are known, to 0.1 degrees."""

    prefix: Prefix
    place: Place | None = None

    @property
    def address(self) -> tuple[int, int]:
        """Its family and its number."""
        return self.prefix.family, self.prefix.bits

    @property
    def network(self) -> bytes:
        return network_of(self.prefix.family, self.prefix.bits)

    def asker(self, minute: int) -> Asker:
        """As policies are asked for it."""
        return Asker(self.prefix.family, self.network, self.place, minute)


class Moment(NamedTuple):
    """minute: since the epoch, by which draws are seeded; expires: of the URLs, in seconds."""

    minute: int
    expires: int


class Decision(NamedTuple):
    """For each object the servers chosen and their URLs, the best first. said: by policies.

    session: what the client shows when it tells how it went.
    """

    name: str
    expires: int
    chosen: Mapping[str, Sequence[Candidate]]
    urls: Mapping[str, list[str]]
    passed: Sequence[PassedOver]
    said: PolicyRecord
    session: str

    def servers(self) -> list[Candidate]:
        """All that were chosen for some object, by the order, then who is first most often."""
        firsts = count_firsts(self.chosen)
        every = {each.server.id: each for rows in self.chosen.values() for each in rows}
        return sorted(
            every.values(),
            key=lambda each: (each.order, -firsts.get(each.server.id, 0), each.server.id),
        )


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
    prefix = parse_query(ip)
    if not prefix.is_address or "/" in ip:
        raise ValueError(f"{ip[:60]!r} is not an address")
    if place is None:
        return Viewer(prefix)
    # Distances count in steps of 10 km: what is finer only makes each client's ranking its own.
    return Viewer(prefix, (round(place[0], 1), round(place[1], 1)))


def moment_of(url_valid_s: int, now: float) -> Moment:
    """now: seconds since the epoch. All of a minute is one moment, so its answers are equal."""
    minute = int(now // 60)
    return Moment(minute, (minute + 1) * 60 + url_valid_s)


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


class _Drawn(NamedTuple):
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
    moment = moment_of(decider.settings.url_valid_s, now)
    groups, passed, ruled = decider.rank(*client.address, client.place)
    asker, signers = client.asker(moment.minute), decider.signers
    network = asker.network
    policed = decider.policing.ask(asker, groups, ruled)
    drawn = _draw(decider, groups, network, objects, moment.minute, policed)
    if policed.missing and not is_last:
        return MissingRulings(policed.missing)
    chosen = drawn.chosen
    urls = {
        name: [signers[each.server.id].make(wanted, moment.expires) for each in chosen[name]]
        for name, wanted in objects.items()
    }
    decider.notes.outcomes[_outcome_of(groups, chosen)] += 1
    if groups:
        decider.policing.note(network, is_served=any(chosen.values()))
    _grant(decider, chosen, (network, moment.minute) if is_public else None)
    name = _name_of(network, moment.minute, objects)
    is_whole = not passed and not any(drawn.lacking.values())
    asked = Question(name, now, *client.address, client.place, moment.minute)
    decider.notes.note(
        Decided(
            asked,
            network,
            objects,
            groups,
            chosen,
            drawn.lacking,
            drawn.said,
            decider.used,
            is_whole,
        )
    )
    more = [
        *without_content(groups, drawn.lacking, len(objects)),
        *drawn.refused.values(),
    ]
    passed = [*passed, *more] if more else passed
    session = decider.policing.open_session(network, moment.minute)
    return Decision(name, moment.expires, chosen, urls, passed, drawn.said, session)


Rank = Callable[[Sequence[Group], bytes], list[Candidate]]
"""What is made of groups and a seed."""


def rank_now(
    ranker: Ranker, client: Viewer, wanted: Object, rank: Rank, *, is_last: bool = False
) -> RankedByPolicies | MissingRulings:
    """What `rank` gives of those whom policies admit, the first in the order that they want.

    is_last: see `decide_now`.
    """
    minute = moment_of(ranker.settings.url_valid_s, time.time()).minute
    groups, _, ruled = ranker.rank(*client.address, client.place)
    policed = ranker.policing.ask(client.asker(minute), groups, ruled)
    ruling, left, _ = policed.rule(wanted.key)
    ranked = rank(left, seed_of(client.network, wanted.key, minute))
    ranked[:CHOSEN] = policed.order(ranked[:CHOSEN])
    if policed.missing and not is_last:
        return MissingRulings(policed.missing)
    return RankedByPolicies(groups, ruling, ranked)


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


def _draw(
    decider: Decider, groups: Sequence[Group], network: bytes, objects: Mapping[str, Object],
    minute: int, policed: Policed,
) -> _Drawn:  # fmt: skip
    chosen: dict[str, Sequence[Candidate]] = {}
    lacking: dict[str, frozenset[str]] = {}
    rulings: dict[str, Ruling] = {}
    ordered: dict[str, list[str]] = {}
    refused: dict[str, PassedOver] = {}
    for name, wanted in objects.items():
        holds = decider.holders_of(wanted.key)
        if holds is not None:
            lacking[name] = find_lacking(groups, holds)
        ruling, left, passed = policed.rule(wanted.key)
        if ruling is not BUILT_IN:
            rulings[name] = ruling
        for each in passed:
            refused.setdefault(each.server.id, each)
        rows = choose(left, seed_of(network, wanted.key, minute), holds)
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
    if not any(lacking.values()):
        return
    counts = Counter(name for names in lacking.values() for name in names)
    for each in (each for group in groups for each in group):
        if (count := counts[each.server.id]) and not each.server.fault:
            which = "the object" if objects == 1 else f"{count} of {objects} objects"
            yield PassedOver(each.server, Why.CONTENT, f"it does not have {which}")


def _outcome_of(groups: Sequence[Group], chosen: Mapping[str, Sequence[Candidate]]) -> str:
    if not groups:
        return UNCOVERED
    return SERVED if any(chosen.values()) else UNAVAILABLE


def _grant(
    decider: Decider, chosen: Mapping[str, Sequence[Candidate]], once: tuple[bytes, int] | None
) -> None:
    """One client's rate, shared out by how many objects each is the first for.

    once: the network and the minute for which an appliance is granted but once; None: each time.
    """
    firsts = count_firsts(chosen)
    for appliance, count in firsts.items():
        if once and not decider.is_first(once[0], appliance, once[1]):
            continue
        decider.grant(appliance, decider.settings.client_bits_per_s * count / len(chosen))


def _name_of(network: bytes, minute: int, objects: Mapping[str, Object]) -> str:
    """The same for who asks the same again within a minute."""
    hashed = blake2b(b"%b %d" % (network, minute), digest_size=8)
    for wanted in objects.values():
        hashed.update(b" " + wanted.key)
    return hashed.hexdigest()
