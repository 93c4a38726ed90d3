"""Who has asked of late: by client network, so that what-if has something to be about.

A client asks again when its answer's time is over, so those of that span are those who play now.
What is held is bounded: of clients in more networks than that only the sum is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import nlargest
from operator import itemgetter
from typing import NamedTuple

from bgp.prefixes import Prefix
from ocaserve.fleet.decisions import Place, client_prefix_of

MOST_NETWORKS = 20_000  # of one minute, 4 MB; and of all that is told
_MOST_MINUTES = 15


class _Asker(NamedTuple):
    network: Prefix
    place: Place | None


class DemandRow(NamedTuple):
    """Clients of one network that have asked. address: of one of them; clients: how many asked."""

    network: Prefix
    place: Place | None
    address: int
    clients: int


class RecentDemand(NamedTuple):
    """As it stood: nothing of it changes, so a thread can sum it.

    minutes: of each the clients, by who asked. others: clients of networks that are not in there.
    """

    minutes: Sequence[Mapping[_Asker, tuple[int, int]]]
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
        rows = [DemandRow(*asker, self._address_of(asker), clients) for asker, clients in most]
        others = sum(sums.values()) - sum(row.clients for row in rows)
        return rows, others + self.others

    def _address_of(self, asker: _Asker) -> int:
        """The latest that is known."""
        return next(askers[asker][0] for askers in reversed(self.minutes) if asker in askers)


class _Minute:
    def __init__(self, number: int) -> None:
        self.number = number
        self.askers: dict[_Asker, tuple[int, int]] = {}
        self.others = 0


class Demand:
    """Of the last minutes. span_s: after which a client asks again."""

    def __init__(self, span_s: float) -> None:
        most = min(max(1, round(span_s / 60)), _MOST_MINUTES)
        self.span_s = most * 60
        self._minutes: deque[_Minute] = deque(maxlen=most)

    def add(
        self, family: int, address: int, place: Place | None, minute: int, clients: int = 1
    ) -> None:
        """Clients have asked. minute: since the epoch; one of before counts as the latest."""
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

    def add_others(self, clients: int) -> None:
        """Clients of networks that were too many to be told of."""
        if self._minutes:
            self._minutes[-1].others += clients

    def recent(self, minute: int) -> RecentDemand:
        """What was asked in the span up to this minute."""
        first = minute - (self._minutes.maxlen or 1)
        recent = [each for each in self._minutes if first < each.number]
        askers = [each.askers for each in recent]
        if askers:
            askers[-1] = dict(askers[-1])  # the last alone can still change
        return RecentDemand(askers, sum(each.others for each in recent))
