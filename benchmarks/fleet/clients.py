"""Clients that ask `POST /v1/steer` for real, and do as they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.fleet.asker import Asker
from benchmarks.fleet.checker import Checker, Question, address_text
from benchmarks.fleet.control_plane import ControlPlane
from benchmarks.fleet.demand import Demand, Wish, curve
from benchmarks.fleet.documents import ModelAppliance
from benchmarks.fleet.load import Load, Session

_TICK_S = 0.05
_TOLD_AFTER = 0.1  # of a session: films come in parts, and each is one that is followed
_GOLDEN = 0.618034  # its multiples are spread evenly, without chance
_SETTLE_EVERY_S = 0.5


class SteerAnswer(msgspec.Struct):
    objects: dict[str, list[str]]
    session: str = ""


Leaving = Callable[[ModelAppliance], float]


class Answered(NamedTuple):
    """One question: when it was asked, monotonic; seconds until the answer, and of these without a
    core; 0: it failed.
    """

    at: float
    took_s: float
    waited_s: float
    status: int


class Settled(NamedTuple):
    """What the watched appliances sent at a time. fullest: the highest share of what one can;
    moved: clients that have gone on elsewhere, in all.
    """

    at: float
    by_site: dict[str, float]
    fullest: float
    moved: int


class Clients:
    """rate: questions a second at the daily peak, of clients anywhere and of those watched.

    leaving: how likely a client leaves its first server for another; None: nobody tells of that.
    away: times in which nobody could answer. answers: of all questions. hour: of the day, which
    does not go on by itself.
    """

    def __init__(
        self,
        demand: Demand,
        load: Load,
        checker: Checker,
        appliances: Sequence[ModelAppliance],
        watched: Sequence[ModelAppliance],
        planes: Sequence[ControlPlane],
        rates: tuple[float, float],
    ) -> None:
        self.demand, self.load, self.checker = demand, load, checker
        self._by_url: Mapping[str, ModelAppliance] = {each.url: each for each in appliances}
        self.watched = watched
        self.asker = Asker()
        self._planes = planes
        self.rates = rates
        self.times = 1.0  # as many of those watched as usual
        self.hour = 20.0
        self.answers: list[Answered] = []
        self.settled: list[Settled] = []
        self.leaving: Leaving | None = None
        self.told = self.untold = 0  # sessions: how many were told of, and were not taken
        self.away: list[tuple[float, float]] = []
        self.unanswered = 0  # questions to which the answer is nobody
        self._chance = Random(0)  # noqa: S311 - repeatable is what is wanted
        self._asked = 0

    def begin(self, mean_s: float, chance: np.random.Generator) -> None:
        """Those who have been there for a while, each at a server of its own region."""
        count = round(self.rates[1] * mean_s)
        for number, left in enumerate(chance.exponential(mean_s, count)):
            first = number % len(self.watched)
            servers = [self.watched[(first + step) % len(self.watched)] for step in range(3)]
            self._asked += 1
            self.load.begin(Session(time.monotonic() + float(left), self._asked, servers))

    async def keep_asking(self) -> None:
        """At the times that are due, whether or not what was asked before is answered."""
        debts, last = [0.0, 0.0], time.monotonic()
        settled = last
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(_TICK_S)
                now = time.monotonic()
                share = curve(self.hour)
                for place, times in enumerate((1.0, self.times)):
                    debts[place] += self.rates[place] * times * share * (now - last)
                    while debts[place] >= 1:
                        debts[place] -= 1
                        wish = self.demand.watched() if place else self.demand.anywhere()
                        group.create_task(self._ask(wish, is_watched=bool(place)))
                if now - settled >= _SETTLE_EVERY_S:
                    self._settle(now, now - settled)
                    settled = now
                last = now

    def _settle(self, now: float, passed_s: float) -> None:
        self.load.tick(self.watched, now, passed_s)
        by_site: dict[str, float] = {}
        for each in self.watched:
            by_site[each.site.name] = by_site.get(each.site.name, 0.0) + each.load
        fullest = max(each.load / each.total for each in self.watched)
        self.settled.append(Settled(now, by_site, fullest, self.load.moved))

    async def _ask(self, wish: Wish, *, is_watched: bool) -> None:
        body = msgspec.json.encode(
            {"client": {"ip": address_text(wish.family, wish.high)}, "objects": [wish.key]}
        )
        self._asked += 1
        number = self._asked
        plane = self._planes[number % len(self._planes)]
        in_s = number * _GOLDEN % 1 * _TICK_S
        asked = await self.asker.post(plane.clients, "/v1/steer", body, plane.workers, in_s)
        self.answers.append(Answered(asked.at, asked.took_s, asked.waited_s, asked.status))
        if asked.status != 200:
            return
        answer = msgspec.json.decode(asked.body, type=SteerAnswer)
        urls = answer.objects[wish.key]
        servers = [self._by_url[url[: url.index("/", 7)]] for url in urls]
        question = Question(wish.provider, wish.family, wish.high, wish.key, asked.at)
        self.unanswered += not servers
        self.checker.judge(question, servers)
        if is_watched:
            self.load.begin(Session(time.monotonic() + wish.session_s, number, servers))
        if self.leaving is not None and servers:
            failovers = int(self._chance.random() < self.leaving(servers[0]))
            await asyncio.sleep(_TOLD_AFTER * wish.session_s)
            await self._tell(plane, answer.session, failovers)

    async def _tell(self, plane: ControlPlane, session: str, failovers: int) -> None:
        """How it went, as `ocaserve follow` does at its end."""
        body = msgspec.json.encode({"session": session, "failovers": failovers})
        told = await self.asker.post(plane.clients, "/v1/qoe", body)
        self.told += told.status == 204
        self.untold += told.status != 204

    def percentiles(self, since: float, until: float) -> dict[str, float]:
        """Milliseconds of answers that were asked for within that time, but for those `away`;
        failures apart. own: the 99th without the time that somebody waited for a core.
        """
        some = [
            each
            for each in self.answers
            if since <= each.at <= until
            and not any(gone <= each.at <= back for gone, back in self.away)
        ]
        good = [each for each in some if each.status == 200]
        took = np.array([each.took_s for each in good] or [0.0]) * 1000
        waited = np.array([each.waited_s for each in good] or [0.0]) * 1000
        shown = {f"p{p}": float(np.percentile(took, p)) for p in (50, 99)}
        shown["own"] = float(np.percentile(took - waited, 99))
        failed = sum(each.status != 200 for each in some)
        return {**shown, "asked": float(len(some)), "failed": float(failed)}
