"""All that hear a client, ranked, and remembered for clients that are alike."""

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
from ocaserve.protocol.memo import Memo

RANKINGS_BYTES = 64 << 20  # of 30,000 networks that six appliances hear
_CANDIDATE_BYTES = 350  # as measured


class Ranking(NamedTuple):
    """Groups of equals, the best first; those of them that can take clients, and the others.

    ruled: what policies have said of them, kept by `Policing`.
    """

    groups: Sequence[Group]
    able: Sequence[Group]
    passed: Sequence[PassedOver]
    ruled: dict[object, Any]


class _Remembered:
    """changes: of servers, up to which the ranking is so."""

    __slots__ = ("changes", "ranking")

    def __init__(self, ranking: Ranking, changes: int) -> None:
        self.ranking, self.changes = ranking, changes


class Rankings:
    """To be cleared when the atlas is another one, or has servers that it had not; to be told of
    servers that have changed. So those that change, which happens all the time, cost no ranking.
    """

    def __init__(self) -> None:
        self._known: Memo[tuple[int, Place | None], _Remembered] = Memo(RANKINGS_BYTES)
        self._changes = 0
        self.clear = self._known.clear

    def __len__(self) -> int:
        return len(self._known)

    def known(self) -> list[tuple[Place | None, Sequence[Group]]]:
        """Those that are remembered, each with the place that it is for."""
        return [(place, each.ranking.groups) for (_, place), each in self._known.items()]

    def note_change(self) -> None:
        """Some server is another one than it was."""
        self._changes += 1

    def rank(
        self,
        atlas: Atlas,
        servers: Mapping[str, Server],
        family: int,
        address: int,
        place: Place | None,
    ) -> Ranking:
        """All that hear an address."""
        asked = (atlas.find(family, address), place)
        known = self._known.get(asked)
        if known is None:
            ranking = _rank(atlas, servers, *asked)
            size = _CANDIDATE_BYTES * sum(map(len, ranking.groups))
            self._known.keep(asked, _Remembered(ranking, self._changes), size)
            return ranking
        if known.changes != self._changes:
            known.ranking = _renew(known.ranking, servers) or _rank(atlas, servers, *asked)
            known.changes = self._changes
        return known.ranking


def _rank(atlas: Atlas, servers: Mapping[str, Server], region: int, place: Place | None) -> Ranking:
    return _ranking_of(rank_candidates(atlas.covering(region), servers, place))


def _ranking_of(groups: Sequence[Group]) -> Ranking:
    return Ranking(groups, tuple(find_able(groups)), passed_over(groups), {})


def _renew(ranking: Ranking, servers: Mapping[str, Server]) -> Ranking | None:
    """With servers as they are now; None where that may have changed their order."""
    is_same = True
    for each in (each for group in ranking.groups for each in group):
        server, was = servers.get(each.server.id), each.server
        if server is not was:
            if server is None or (server.kind, server.location) != (was.kind, was.location):
                return None
            is_same = False
    if is_same:
        return ranking
    groups = tuple(
        tuple(take_server(each, servers[each.server.id]) for each in group)
        for group in ranking.groups
    )
    return _ranking_of(groups)
