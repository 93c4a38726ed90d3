"""What the clients that are watched take from whom: sessions begin, end and go on elsewhere."""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.fleet.documents import ModelAppliance

OVERLOAD = 1.05  # of what an appliance says that it can take
_PATIENCE_S = 8.0  # until a client that gets too little goes on at its next server


@dataclass(slots=True, order=True)
class Session:
    """One client. servers: what it was told, the best first; place: where it is."""

    end: float
    number: int
    servers: Sequence[ModelAppliance] = field(compare=False)
    place: int = field(default=0, compare=False)

    @property
    def at(self) -> ModelAppliance | None:
        return self.servers[self.place] if self.place < len(self.servers) else None


class Load:
    """client_bits_per_s: of each. over_s: how long each appliance has been overloaded at once, the
    longest of each. unserved: sessions that had no server left. moved: those that went on.
    """

    def __init__(self, client_bits_per_s: float, seed: int) -> None:
        self.client_bits_per_s = client_bits_per_s
        self._sessions: list[Session] = []
        self._by_appliance: defaultdict[int, set[int]] = defaultdict(set)
        self._known: dict[int, Session] = {}
        self._chance = random.Random(seed)  # noqa: S311 - repeatable is what is wanted
        self._over_since: dict[str, float] = {}
        self.over_s: defaultdict[str, float] = defaultdict(float)
        self.unserved = 0
        self.moved = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, session: Session) -> None:
        heapq.heappush(self._sessions, session)
        self._known[session.number] = session
        self._settle(session)

    def _settle(self, session: Session) -> None:
        """At the first server from its place on that is there."""
        while session.at is not None and not session.at.is_alive:
            session.place += 1
            self.moved += 1
        if session.at is None:
            self.unserved += 1
        else:
            self._count(session, 1)

    def _count(self, session: Session, sign: int) -> None:
        at = session.at
        if at is None:
            return
        at.load += sign * self.client_bits_per_s
        there = self._by_appliance[at.number]
        (there.add if sign > 0 else there.discard)(session.number)

    def _leave(self, session: Session) -> None:
        self._count(session, -1)
        session.place += 1
        self.moved += 1
        self._settle(session)

    def tick(self, watched: Sequence[ModelAppliance], now: float, passed_s: float) -> None:
        """Who is done goes; who has a dead server, or one that gives too little, goes on."""
        while self._sessions and self._sessions[0].end <= now:
            session = heapq.heappop(self._sessions)
            self._count(session, -1)
            del self._known[session.number]
        for each in watched:
            there = self._by_appliance[each.number]
            if not each.is_alive:
                for name in sorted(there):
                    self._leave(self._known[name])
            elif each.load > each.total:
                leaving = len(there) * (1 - each.total / each.load) * passed_s / _PATIENCE_S
                for name in sorted(there)[: int(leaving + self._chance.random())]:
                    self._leave(self._known[name])
            self._watch(each, now)

    def _watch(self, each: ModelAppliance, now: float) -> None:
        if each.load <= OVERLOAD * each.total:
            self._over_since.pop(each.id, None)
            return
        since = self._over_since.setdefault(each.id, now)
        self.over_s[each.id] = max(self.over_s[each.id], now - since)
