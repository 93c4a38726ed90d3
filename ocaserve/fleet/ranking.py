"""All that hear a client, ranked, and remembered for clients that are alike.

Who is ranked how depends on who hears the networks around the client, at which ranks, and on how
long these are: a provider announces hundreds of networks that all are heard alike. So a ranking is
kept by that, and outlives an atlas in which it is so still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.decisions import (
    Group,
    PassedOver,
    Place,
    Server,
    find_able,
    passed_over,
    rank_candidates,
    take_server,
)
from ocaserve.fleet.tables import start_and_length
from ocaserve.protocol.memo import Memo

RANKINGS_BYTES = 64 << 20  # of 30,000 kinds of networks that six appliances hear
_CANDIDATE_BYTES = 350  # as measured
_REGIONS_BYTES = 16 << 20
_REGION_BYTES = 250


class Ranking(NamedTuple):
    """Groups of equals, the best first; those of them that can take clients, and the others.

    ruled: what policies have said of them, kept by `Policing`.
    """

    groups: Sequence[Group]
    able: Sequence[Group]
    passed: Sequence[PassedOver]
    ruled: dict[object, Any]


class KnownRanking(NamedTuple):
    """One that is remembered: for the clients around an address, at a place."""

    family: int
    address: int
    place: Place | None
    groups: Sequence[Group]


class _Alike:
    """Of networks that are heard alike, at one place. tables: by which, as numbers of the atlas.

    changes: of servers, up to which it is so.
    """

    __slots__ = ("able", "changes", "groups", "passed", "tables")

    def __init__(self, tables: frozenset[int], groups: Sequence[Group], changes: int) -> None:
        self.tables, self.changes = tables, changes
        self.take(groups)

    @property
    def size(self) -> int:
        """In bytes."""
        return _CANDIDATE_BYTES * sum(map(len, self.groups))

    def take(self, groups: Sequence[Group]) -> None:
        """This is so now."""
        self.groups = groups
        self.able = tuple(find_able(groups))
        self.passed = passed_over(groups)


class _Remembered:
    """Of one region. changes: of servers, up to which the ranking is so."""

    __slots__ = ("alike", "changes", "ranking")

    def __init__(self, alike: _Alike) -> None:
        self.alike, self.changes = alike, alike.changes
        self.take()

    def take(self) -> None:
        """As it is with all that are alike."""
        alike = self.alike
        self.ranking = Ranking(alike.groups, alike.able, alike.passed, {})


class Rankings:
    """To be told of another atlas, and of servers that have changed; to be cleared when there are
    servers that there were not. So what changes all the time costs few rankings.
    """

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._known: Memo[tuple[int, Place | None], _Remembered] = Memo(_REGIONS_BYTES)
        self._alike: Memo[tuple[tuple[int, ...], Place | None], _Alike] = Memo(
            RANKINGS_BYTES, self._known.clear
        )
        self._changes = 0
        self.clear = self._alike.clear

    def __len__(self) -> int:
        return len(self._known)

    def known(self) -> list[KnownRanking]:
        """Those of the networks that clients were of."""
        found = []
        for (region, place), each in self._known.items():
            family, code = self._atlas.network(region)
            address, _ = start_and_length(code)
            found.append(KnownRanking(family, address, place, each.ranking.groups))
        return found

    def note_change(self) -> None:
        """Some server is another one than it was."""
        self._changes += 1

    def follow(self, atlas: Atlas) -> None:
        """Another atlas. What is heard in it as before is ranked as before."""
        moved = atlas.find_moved(self._atlas)
        self._atlas = atlas
        left = [] if moved is None else [
            each for each in self._alike.items() if each[1].tables.isdisjoint(moved)
        ]  # fmt: skip
        self.clear()
        for asked, alike in left:
            self._alike.keep(asked, alike, alike.size)

    def rank(
        self, servers: Mapping[str, Server], family: int, address: int, place: Place | None
    ) -> Ranking:
        """All that hear an address."""
        asked = (self._atlas.find(family, address), place)
        known = self._known.get(asked)
        if known is None:
            known = _Remembered(self._find_alike(servers, *asked))
            self._known.keep(asked, known, _REGION_BYTES)
        if known.changes != self._changes:
            alike = known.alike
            if alike.changes != self._changes:
                groups = _renew(alike.groups, servers) or self._rank(servers, *asked)
                if groups is not alike.groups:
                    alike.take(groups)
                alike.changes = self._changes
            if known.ranking.groups is not alike.groups:
                known.take()
            known.changes = self._changes
        return known.ranking

    def _find_alike(
        self, servers: Mapping[str, Server], region: int, place: Place | None
    ) -> _Alike:
        ways = self._atlas.ways(region)
        found = self._alike.get((ways, place))
        if found is None:
            tables = self._atlas.tables_in(ways)
            found = _Alike(tables, self._rank(servers, region, place), self._changes)
            self._alike.keep((ways, place), found, found.size)
        return found

    def _rank(
        self, servers: Mapping[str, Server], region: int, place: Place | None
    ) -> Sequence[Group]:
        return rank_candidates(self._atlas.covering(region), servers, place)


def _renew(groups: Sequence[Group], servers: Mapping[str, Server]) -> Sequence[Group] | None:
    """With servers as they are now; None where that may have changed their order."""
    is_same = True
    for each in (each for group in groups for each in group):
        server, was = servers.get(each.server.id), each.server
        if server is not was:
            if server is None or (server.kind, server.location) != (was.kind, was.location):
                return None
            is_same = False
    if is_same:
        return groups
    return tuple(
        tuple(take_server(each, servers[each.server.id]) for each in group) for group in groups
    )
