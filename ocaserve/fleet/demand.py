"""Who has asked of late: by client network, so that what-if has something to be about.

A client asks again when its answer's time is over, so those of that span are those who play now.
What is held is bounded: of clients in more networks than that only the sum is known. So it is with
what they ask for: of some clients it is known, and what these want says what the others do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import nlargest
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from bgp.prefixes import Prefix
from ocaserve.fleet.decisions import Place, client_prefix_of

MOST_NETWORKS = 20_000  # of one minute, 4 MB; and of all that is told
MOST_WANTED = 10_000  # objects of networks, of one minute: 3 MB
_MOST_MINUTES = 15


class _Asker(NamedTuple):
    network: Prefix
    place: Place | None


Wanted = Mapping[bytes, float]
"""Of some clients what they asked for: how many of them wanted an object, by its key."""
NOTHING_KNOWN: Wanted = MappingProxyType({})


class DemandRow(NamedTuple):
    """Clients of one network that have asked. address: of one of them; clients: how many asked.

    wanted: by those of whom it is known.
    """

    network: Prefix
    place: Place | None
    address: int
    clients: int
    wanted: Wanted = NOTHING_KNOWN


class RecentDemand(NamedTuple):
    """As it stood: nothing of it changes, so a thread can sum it.

    minutes: of each the clients, by who asked; wanted: likewise what, of some of them. others:
    clients of networks that are not in there.
    """

    minutes: Sequence[Mapping[_Asker, tuple[int, int]]]
    wanted: Sequence[Mapping[_Asker, Wanted]]
    others: int

    def rows(self) -> tuple[list[DemandRow], int]:
        """Those with the most clients first, and how many clients are of other networks."""
        # Plain numbers, and rows of those alone that are told: hundreds of thousands of tuples
        # would set off a full collection of garbage, for which every thread waits.
        sums: dict[_Asker, int] = {}
        for askers in self.minutes:
            for asker, (_, clients) in askers.items():
                sums[asker] = sums.get(asker, 0) + clients
        most = nlargest(MOST_NETWORKS, sums.items(), key=itemgetter(1))
        wanted = self._sum_wanted()
        rows = [
            DemandRow(*asker, self._address_of(asker), clients, wanted.get(asker, NOTHING_KNOWN))
            for asker, clients in most
        ]
        others = sum(sums.values()) - sum(row.clients for row in rows)
        return rows, others + self.others

    def _sum_wanted(self) -> Mapping[_Asker, Wanted]:
        sums: dict[_Asker, dict[bytes, float]] = {}
        for askers in self.wanted:
            for asker, wanted in askers.items():
                known = sums.setdefault(asker, {})
                for key, clients in wanted.items():
                    known[key] = known.get(key, 0.0) + clients
        return sums

    def _address_of(self, asker: _Asker) -> int:
        """The latest that is known."""
        return next(askers[asker][0] for askers in reversed(self.minutes) if asker in askers)


class _Minute:
    def __init__(self, number: int) -> None:
        self.number = number
        self.askers: dict[_Asker, tuple[int, int]] = {}
        self.wanted: dict[_Asker, dict[bytes, float]] = {}
        self.wanted_count = 0
        self.others = 0

    def note_wanted(self, asker: _Asker, wanted: Wanted) -> None:
        known = self.wanted.setdefault(asker, {})
        for key, clients in wanted.items():
            if key in known:
                known[key] += clients
            elif self.wanted_count < MOST_WANTED:
                known[key] = clients
                self.wanted_count += 1


class Demand:
    """Of the last minutes. span_s: after which a client asks again."""

    def __init__(self, span_s: float) -> None:
        most = min(max(1, round(span_s / 60)), _MOST_MINUTES)
        self.span_s = most * 60
        self._minutes: deque[_Minute] = deque(maxlen=most)

    def add(
        self,
        family: int,
        address: int,
        place: Place | None,
        minute: int,
        clients: int = 1,
        wanted: Wanted = NOTHING_KNOWN,
    ) -> None:
        """Clients have asked, some of them for this. minute: since the epoch; one of before counts
        as the latest.
        """
        if not self._minutes or self._minutes[-1].number < minute:
            self._minutes.append(_Minute(minute))
        latest = self._minutes[-1]
        asker = _Asker(client_prefix_of(family, address), place)
        known = latest.askers.get(asker)
        if known is not None:
            latest.askers[asker] = known[0], known[1] + clients
        elif len(latest.askers) < MOST_NETWORKS:
            latest.askers[asker] = address, clients
        else:
            latest.others += clients
            return
        if wanted:
            latest.note_wanted(asker, wanted)

    def add_others(self, clients: int) -> None:
        """Clients of networks that were too many to be told of."""
        if self._minutes:
            self._minutes[-1].others += clients

    def recent(self, minute: int) -> RecentDemand:
        """What was asked in the span up to this minute."""
        first = minute - (self._minutes.maxlen or 1)
        recent = [each for each in self._minutes if first < each.number]
        askers: list[Mapping[_Asker, tuple[int, int]]] = [each.askers for each in recent]
        wanted: list[Mapping[_Asker, Wanted]] = [each.wanted for each in recent]
        if recent:  # the last alone can still change
            askers[-1] = dict(askers[-1])
            wanted[-1] = {asker: dict(keys) for asker, keys in wanted[-1].items()}
        return RecentDemand(askers, wanted, sum(each.others for each in recent))
