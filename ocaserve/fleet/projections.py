"""Who could take the clients of a network, for what they want: by the routes, appliances, contents
and policies that there are, less what is lost.

All that decides is what decides in a worker: `rank_candidates`, rulings, who is able.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.decisions import Group, Server, rank_candidates, take_server
from ocaserve.fleet.demand import DemandRow
from ocaserve.fleet.liveness import FULL
from ocaserve.fleet.tables import Network
from ocaserve.fleet.wishes import DRAWS, FEW_DRAWS, ClientWish, Holds, Order, make_wish
from ocaserve.policies.rulings import BUILT_IN, Ruling

LOST = "lost"
_MANY_KINDS = 25  # for one of more than these fewer draws are made, where draws are
MOST_KINDS = 4_000  # of clients that are heard otherwise, or elsewhere: so many are ranked

HoldersOf = Callable[[bytes], Holds | None]
"""Of an object's key: whether an appliance may be asked for it; None: each of them."""


class Lost(NamedTuple):
    """What is taken to be gone."""

    appliances: frozenset[str] = frozenset()
    networks: frozenset[Network] = frozenset()


NOTHING_LOST = Lost()


class PolicySaying(NamedTuple):
    """What policies say. mark: the same for the same of it. order: None where they want none."""

    mark: Hashable
    ruling: Ruling
    order: Order | None = None


NOTHING_SAID = PolicySaying(None, BUILT_IN)


class PolicyJudge(Protocol):
    """Who knows what policies say. The groups that it is asked about live as long as it does."""

    def arm_of(self, row: DemandRow) -> Hashable:
        """Those in force for these clients; None where there are none."""

    def rule(self, row: DemandRow, groups: Sequence[Group], key: bytes) -> PolicySaying:
        """Of an object, to clients of such, whom somebody hears."""


class NoPolicies:
    """The judge where none are in force."""

    def arm_of(self, _: DemandRow) -> Hashable:
        return None

    def rule(self, _: DemandRow, __: Sequence[Group], ___: bytes) -> PolicySaying:
        return NOTHING_SAID


class Heard:
    """All that hear clients. able: whom no fault keeps from taking them. draws: see `make_wish`."""

    def __init__(self, groups: Sequence[Group], draws: int) -> None:
        self.groups, self.draws = groups, draws
        every = (each.server for group in groups for each in group)
        self.able = tuple(server.id for server in every if not server.fault)
        self.wishes: dict[Hashable, ClientWish] = {}


class Projection:
    """As it is now. holders_of: None where everybody is taken to have all.

    Who is full counts as able: what it can take is looked at elsewhere. Most networks are heard by
    the same as many others, and are looked at once with them.
    """

    def __init__(
        self,
        atlas: Atlas,
        servers: Mapping[str, Server],
        holders_of: HoldersOf | None = None,
        judge: PolicyJudge | None = None,
    ) -> None:
        self.atlas = atlas
        self.servers = {
            name: replace(server, fault="") if server.fault == FULL else server
            for name, server in servers.items()
        }
        self.judge: PolicyJudge = judge or NoPolicies()
        self._holders_of = holders_of
        self._known: dict[Hashable, Heard] = {}
        self._remains: dict[Lost, Remains] = {}

    def without(self, lost: Lost) -> Remains:
        """What is left of it; asked again, the same object."""
        return self._remains.setdefault(lost, Remains(self, lost))

    def find(self, row: DemandRow) -> Heard | None:
        """All that hear the clients. Where that is so for one reason, it is one object; None where
        it is one reason too many.
        """
        region = self.atlas.find(row.network.family, row.address)
        # Of a network its place alone counts, save to policies, which may look at it.
        is_judged = self.judge.arm_of(row) is not None
        asked = region if is_judged else tuple(self.atlas.levels(region)), row.place
        found = self._known.get(asked)
        if found is None and len(self._known) < MOST_KINDS:
            groups = rank_candidates(self.atlas.covering(region), self.servers, row.place)
            draws = DRAWS if len(self._known) < _MANY_KINDS else FEW_DRAWS
            found = self._known[asked] = Heard(groups, draws)
        return found

    def wish(self, row: DemandRow, heard: Heard, key: bytes | None) -> ClientWish:
        """Who could take the clients that want an object; None: it is not known which."""
        holds = None
        if self._holders_of is not None and key is not None:
            holds = self._holders_of(key)
        has = None if holds is None else tuple(map(holds, heard.able))
        is_judged = bool(heard.groups) and self.judge.arm_of(row) is not None
        ruled = self.judge.rule(row, heard.groups, key or b"") if is_judged else NOTHING_SAID
        asked = has, ruled.mark
        if (found := heard.wishes.get(asked)) is None:
            made = make_wish(heard.groups, holds, ruled.ruling, ruled.order, heard.draws)
            found = heard.wishes[asked] = made
        return found


class Remains:
    """What a projection is without what is lost. Who hears no less is the same object there."""

    def __init__(self, now: Projection, lost: Lost) -> None:
        self._now, self._lost = now, lost
        self._servers = {
            name: replace(now.servers[name], fault=LOST)
            for name in lost.appliances & now.servers.keys()
        }
        self._known: dict[Hashable, Heard] = {}

    def find(self, row: DemandRow, heard: Heard) -> Heard:
        """heard: what `now` finds for it."""
        if networks := self._lost.networks:
            atlas = self._now.atlas
            region = atlas.find(row.network.family, row.address)
            if len(list(atlas.levels(region, networks))) < len(list(atlas.levels(region))):
                return self._rank_again(row, region, heard)
        if self._servers.keys().isdisjoint(heard.able):
            return heard
        if (found := self._known.get(id(heard))) is None:
            found = self._known[id(heard)] = Heard(self._less_appliances(heard.groups), heard.draws)
        return found

    def _rank_again(self, row: DemandRow, region: int, heard: Heard) -> Heard:
        """Those that hear it are others, by which networks depends on the region."""
        asked = region, id(heard)
        if (found := self._known.get(asked)) is None:
            covering = self._now.atlas.covering(region, self._lost.networks)
            groups = rank_candidates(covering, self._now.servers, row.place)
            found = self._known[asked] = Heard(self._less_appliances(groups), heard.draws)
        return found

    def _less_appliances(self, groups: Sequence[Group]) -> Sequence[Group]:
        lost = self._servers
        return tuple(
            tuple(take_server(each, lost.get(each.server.id, each.server)) for each in group)
            for group in groups
        )
