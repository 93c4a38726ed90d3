"""All that hear a client, ranked, and remembered for clients that are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.decisions import Group, PassedOver, Place, Server, passed_over, rank_candidates
from ocaserve.protocol.memo import Memo

RANKINGS_BYTES = 64 << 20  # of 30,000 networks that six appliances hear
_CANDIDATE_BYTES = 350  # as measured


class Ranking(NamedTuple):
    """Groups of equals, the best first, and those that cannot take clients.

    ruled: what policies have said of them, kept by `Policing`.
    """

    groups: Sequence[Group]
    passed: Sequence[PassedOver]
    ruled: dict[object, Any]


class Rankings:
    """To be cleared when the atlas or a server is another one."""

    def __init__(self) -> None:
        self._known: Memo[tuple[int, Place | None], Ranking] = Memo(RANKINGS_BYTES)
        self.clear = self._known.clear

    def __len__(self) -> int:
        return len(self._known)

    def known(self) -> list[tuple[Place | None, Sequence[Group]]]:
        """Those that are remembered, each with the place that it is for."""
        return [(place, each.groups) for (_, place), each in self._known.items()]

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
            groups = rank_candidates(atlas.covering(asked[0]), servers, place)
            known = Ranking(groups, passed_over(groups), {})
            self._known.keep(asked, known, _CANDIDATE_BYTES * sum(map(len, groups)))
        return known
