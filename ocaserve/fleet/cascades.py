"""Who takes whom where appliances fill up: what one cannot take goes to the next, and further.

Clients are taken to come evenly over the time from 0 to 1, all kinds at once, as they do over a
span of minutes. Each goes where a decision would send it then. An appliance that has taken what it
can is passed over from that moment on, as workers do it, until all have come. So it is settled
after as many steps as there are appliances that fill up, and nobody takes more than it can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from ocaserve.fleet.wishes import NOBODY, ClientWish, Shares

_END = 1 - 1e-9  # who fills up later than this is just full


class Settled(NamedTuple):
    """When all have come.

    taken: clients by appliance. full: who could take no more before the end. parts: of each kind
    the shares of its clients, which need not come to 1.
    """

    taken: Mapping[str, float]
    full: frozenset[str]
    parts: Sequence[Shares]


def settle(
    wishes: Sequence[ClientWish], clients: Sequence[float], room: Mapping[str, float]
) -> Settled:
    """clients: of each kind. room: how many an appliance can take; who is not in it, any number."""
    filling = _Filling(wishes, clients, room)
    filling.go()
    return Settled(
        {name: taken for name, taken in filling.taken.items() if taken > 0},
        frozenset(filling.full),
        [filling.part(place) for place in range(len(wishes))],
    )


class _Crowd:
    """Clients of one kind. shares: where they go now, since when; taken: where they went before."""

    __slots__ = ("clients", "shares", "since", "taken", "wish")

    def __init__(self, wish: ClientWish, clients: float) -> None:
        self.wish, self.clients = wish, clients
        self.shares: Shares = NOBODY
        self.since = 0.0
        self.taken: dict[str, float] = {}

    def flow(self, now: float) -> None:
        """What has come until now."""
        for name, share in self.shares.items():
            self.taken[name] = self.taken.get(name, 0.0) + share * (now - self.since)
        self.since = now


class _Filling:
    """rates: of clients to each appliance, from the time of `_since` on."""

    def __init__(
        self, wishes: Sequence[ClientWish], clients: Sequence[float], room: Mapping[str, float]
    ) -> None:
        self.full: set[str] = set()
        self.taken: defaultdict[str, float] = defaultdict(float)
        self._room = room
        self._crowds = [_Crowd(*both) for both in zip(wishes, clients, strict=True)]
        self._rates: defaultdict[str, float] = defaultdict(float)
        self._since: defaultdict[str, float] = defaultdict(float)
        self._users: defaultdict[str, set[int]] = defaultdict(set)
        self._due: dict[str, float] = {}  # when it will be full, as it goes now
        self._next: list[tuple[float, str]] = []

    def go(self) -> None:
        """Until the end."""
        self._direct(range(len(self._crowds)), 0.0)
        while self._next:
            now, name = heappop(self._next)
            if now >= _END:
                break
            if name in self.full or self._due[name] != now:
                continue  # meanwhile it goes otherwise
            self.full.add(name)
            self._direct(sorted(self._users[name]), now)
        for name in list(self._rates):
            self._flow(name, 1.0)
        for crowd in self._crowds:
            crowd.flow(1.0)

    def part(self, place: int) -> Shares:
        return self._crowds[place].taken

    def _direct(self, places: Sequence[int], now: float) -> None:
        """Send these kinds where they go now."""
        changed: set[str] = set()
        for place in places:
            crowd = self._crowds[place]
            crowd.flow(now)
            before, crowd.shares = crowd.shares, crowd.wish.shares(self.full)
            for name, share in before.items():
                self._flow(name, now)
                self._rates[name] -= share * crowd.clients
                self._users[name].discard(place)
            for name, share in crowd.shares.items():
                self._flow(name, now)
                self._rates[name] += share * crowd.clients
                self._users[name].add(place)
            changed.update(before, crowd.shares)
        for name in changed - self.full:
            self._foresee(name, now)

    def _flow(self, name: str, now: float) -> None:
        self.taken[name] += self._rates[name] * (now - self._since[name])
        self._since[name] = now

    def _foresee(self, name: str, now: float) -> None:
        left = self._room.get(name, inf) - self.taken[name]
        rate = self._rates[name]
        if left < inf and rate > 0:
            due = self._due[name] = now + max(left, 0.0) / rate
            heappush(self._next, (due, name))
