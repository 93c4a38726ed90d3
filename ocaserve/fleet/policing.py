"""Policies as decisions meet them: whose a client is, what they are asked, what they have said.

`Policing` is the fleet's; `Policed` is of one question of a client, which is decided again when
more of what it asked for is known. So a decision is a function of what is in memory, with policies
too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from ocaserve.fleet.decisions import (
    Candidate,
    Group,
    PassedOver,
    Place,
    apply_ruling,
    find_refused,
    heard_network,
)
from ocaserve.fleet.ranking import KnownRanking
from ocaserve.fleet.steered_sessions import SessionSigner, SteeredSession, Tellers
from ocaserve.policies.bundles import Bundle
from ocaserve.policies.desk import Arm, PolicyAsk, PolicyDesk
from ocaserve.policies.in_force import ArmCounts, PoliciesInForce, PolicyNotes, as_bundles
from ocaserve.policies.policy_limits import LIMITS
from ocaserve.policies.questions import (
    ClientFacts,
    ObjectFacts,
    PolicyQuestion,
    ServerFacts,
    classify_key,
)
from ocaserve.policies.rulings import BUILT_IN, Ruling

_MOST_RULED = 256  # of what is kept with one ranking; clients choose the names of objects
_MOST_SORTS = 16  # of objects, for which answers are fetched beforehand
_WARM_AT_S = 40.0  # of the minute before an hour
_PARTS = 10_000


_ANY = ObjectFacts()


@lru_cache(maxsize=16_384)
def _classify(key: bytes) -> ObjectFacts:
    return classify_key(key.decode(errors="replace"))


class Asker(NamedTuple):
    """Who is to be served. minute: since the epoch."""

    family: int
    address: int
    place: Place | None
    minute: int

    @property
    def hour(self) -> int:
        """Of the day, in UTC."""
        return self.minute // 60 % 24


class CanaryShare(NamedTuple):
    """The part of the clients that a canary is for. salt: another part for another release."""

    part: float
    salt: bytes

    def has(self, network: bytes) -> bool:
        """The same for a network as long as it lasts."""
        digest = blake2b(network, digest_size=4, key=self.salt).digest()
        return int.from_bytes(digest, "little") % _PARTS < self.part * _PARTS


class Policing:
    """What is in force, at this process. facts_of: a server as policies see it.

    known: rankings that clients ask for. changes: goes up when a server is used more or less than
    it was.
    """

    def __init__(
        self,
        facts_of: Callable[[Candidate], ServerFacts],
        known: Callable[[], Iterable[KnownRanking]],
    ) -> None:
        self.desk = PolicyDesk()
        self.changes = 0
        self.facts_of = facts_of
        self._known = known
        self._showing = asyncio.Lock()  # the last that is shown stays
        self._share: CanaryShare | None = None
        self._release = 0
        self._signer: SessionSigner | None = None
        self._arms = {True: [0, 0, 0, 0], False: [0, 0, 0, 0]}  # `ArmCounts`, of canary and rest
        self._tellers = Tellers()
        self._sorts = {ObjectFacts(): None}  # of objects, that were asked for of late

    def arm_of(self, network: bytes) -> Arm | None:
        """The policies of a client; None where there are none, and the built-in rule decides."""
        desk = self.desk
        arm = desk.canary if desk.canary is not None and self.is_canary(network) else desk.live
        return arm if arm is not None and arm.bundles else None

    def is_canary(self, network: bytes) -> bool:
        """Whether a client's network is of the part that the canary is for."""
        return self._share is not None and self._share.has(network)

    def sort(self, key: bytes) -> ObjectFacts:
        """Of an object."""
        facts = _classify(key)
        if facts not in self._sorts and len(self._sorts) < _MOST_SORTS:
            self._sorts[facts] = None
        return facts

    def note(self, network: bytes, *, is_served: bool) -> None:
        """A decision of a client that somebody hears."""
        if self._share is not None:
            counts = self._arms[self._share.has(network)]
            counts[0] += 1
            counts[1] += not is_served

    def open_session(self, network: bytes, minute: int) -> str:
        """What a client shows when it tells how it went; empty while there is no secret."""
        if self._signer is None:
            return ""
        return self._signer.sign(
            SteeredSession(self._release, self.is_canary(network), network, minute)
        )

    def close_session(self, token: str, minute: int, *, has_failed: bool) -> bool:
        """Whether the token is one of ours, of late. It counts while its release is the canary."""
        session = self._signer.read(token, minute) if self._signer is not None else None
        if session is None:
            return False
        is_judged = self._share is not None and session.release == self._release
        if is_judged and self._tellers.may(session.network, minute):
            counts = self._arms[session.is_canary]
            counts[2] += 1
            counts[3] += has_failed
        return True

    def take_notes(self) -> PolicyNotes | None:
        """All since the last time; None where there is nothing."""
        figures = self.desk.take_figures()
        if not figures and not any(map(any, self._arms.values())):
            return None
        canary, rest = ArmCounts(*self._arms[True]), ArmCounts(*self._arms[False])
        self._clear_arms()
        return PolicyNotes(figures, self._release, canary, rest)

    def _clear_arms(self) -> None:
        self._arms = {True: [0, 0, 0, 0], False: [0, 0, 0, 0]}

    # -- what is in force ------------------------------------------------------------------------

    async def show(self, now: PoliciesInForce, shadows: Sequence[Bundle] = ()) -> None:
        """This is in force from now on. shadows: what is asked beside it."""
        canary = as_bundles(now.canary) if now.release else None
        async with self._showing:
            questions = list(self._questions(int(time.time() // 60)))
            await self.desk.put_in_force(as_bundles(now.live), canary, shadows, questions)
            self._signer = SessionSigner(now.secret) if now.secret else None
            if now.release != self._release:
                self._clear_arms()
            self._release = now.release
            self._share = CanaryShare(now.share, b"%d" % now.release) if now.release else None

    async def keep_warm(self) -> None:
        """Shortly before each hour have answered what clients will ask in it."""
        while True:
            minute, second = divmod(time.time(), 60)
            await asyncio.sleep((59 - minute % 60) % 60 * 60 + max(_WARM_AT_S - second, 1.0))
            arms = [self.desk.live, self.desk.canary]
            asked = [each for each in arms if each is not None and "hour" in each.reads.client]
            if asked:
                await self.desk.warm(asked, list(self._questions(int(time.time() // 60) + 1)))

    def _questions(self, minute: int) -> Iterator[PolicyQuestion]:
        """Those that clients are expected to ask."""
        for family, address, place, groups in self._known():
            if groups and sum(map(len, groups)) <= LIMITS.servers:
                client = describe_client(Asker(family, address, place, minute), groups)
                servers = tuple(self.facts_of(each) for group in groups for each in group)
                yield from (PolicyQuestion(client, servers, each) for each in self._sorts)


def describe_server(candidate: Candidate, used: float) -> ServerFacts:
    """As policies see it."""
    server, rank = candidate.server, candidate.rank
    return ServerFacts(
        id=server.id, site=server.site, kind=server.kind.value, capacity=server.weight, used=used,
        path_length=rank.path_length, med=rank.med, labels=dict(server.labels),
    )  # fmt: skip


def describe_client(asker: Asker, groups: Sequence[Group]) -> ClientFacts:
    """Likewise. groups: at least one."""
    latitude, longitude = (None, None) if asker.place is None else map(round, asker.place)
    network = str(heard_network(groups[0][0], asker.family, asker.address))
    return ClientFacts(asker.family, network, asker.hour, latitude, longitude)


class Ruled(NamedTuple):
    """groups: with what the ruling makes of them. refused: who could take the client otherwise."""

    ruling: Ruling
    groups: Sequence[Group]
    refused: tuple[PassedOver, ...]


class Policed:
    """One client's question. missing: what has to be fetched before it is decided as wanted."""

    def __init__(
        self, policing: Policing, arm: Arm, asker: Asker, groups: Sequence[Group],
        ruled: dict[object, Any],
    ) -> None:  # fmt: skip
        self.arm = arm
        self.missing: list[PolicyAsk] = []
        self._policing = policing
        self._asker = asker
        self._groups = groups
        self._ruled = ruled

    @property
    def by(self) -> tuple[str, ...]:
        """The policies that were asked."""
        return self.arm.by

    def rule(self, key: bytes) -> Ruled:
        """What they say of an object; of what is not known yet nothing."""
        arm = self.arm
        if not self._groups:
            return Ruled(BUILT_IN, self._groups, ())
        facts = self._policing.sort(key) if arm.reads.object else _ANY
        place = self._place(arm, facts)
        known: Ruled | None = self._ruled.get(place)
        if known is None:
            ruling, groups = self._ask(arm, facts), self._groups
            known = Ruled(ruling, apply_ruling(groups, ruling), find_refused(groups, ruling))
            if ruling.by == arm.by:
                self._keep(place, known)
        return known

    def order(self, chosen: list[Candidate]) -> list[Candidate]:
        """Those chosen as they want them; the same list, where that is the order that it has."""
        arm = self.arm
        if not arm.has_order or len(chosen) < 2:
            return chosen
        ids = tuple(each.server.id for each in chosen)
        place = self._place(arm, ids)
        known: tuple[int, ...] | None = self._ruled.get(place)
        if known is None:
            desk, facts_of = self._policing.desk, self._policing.facts_of
            facts = [facts_of(each) for each in chosen]
            wanted, missing = desk.order(arm, self._client(), facts)
            known = () if wanted == ids else tuple(map(ids.index, wanted))
            self.missing += missing
            if not missing:
                self._keep(place, known)
        return [chosen[place] for place in known] if known else chosen

    def _place(self, arm: Arm, what: object) -> object:
        """Where it is kept: of what they do not read nothing counts."""
        hour = self._asker.hour if arm.reads_hour else -1
        changes = self._policing.changes if arm.reads_used else -1
        return arm.number, hour, changes, what

    def _keep(self, place: object, known: object) -> None:
        if len(self._ruled) >= _MOST_RULED:
            self._ruled.clear()
        self._ruled[place] = known

    def _ask(self, arm: Arm, facts: ObjectFacts) -> Ruling:
        question = self._question(facts)
        if len(question.servers) > LIMITS.servers:
            return BUILT_IN._replace(by=arm.by)
        ruling, missing = self._policing.desk.rule(arm, question)
        self.missing += missing
        return ruling

    def _question(self, facts: ObjectFacts) -> PolicyQuestion:
        facts_of = self._policing.facts_of
        servers = tuple(facts_of(each) for group in self._groups for each in group)
        return PolicyQuestion(self._client(), servers, facts)

    def _client(self) -> ClientFacts:
        return describe_client(self._asker, self._groups)
