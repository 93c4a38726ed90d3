"""What happens to real appliances: clients follow the URLs that they are given, one is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import msgspec

from benchmarks.errors import LoadFailure
from benchmarks.fleet.clients import SteerAnswer
from benchmarks.fleet.lines import Line
from benchmarks.fleet.ports import find_free_ports
from benchmarks.fleet.real import CUSTOMERS, FILM, RealAppliance, make_film
from benchmarks.fleet.stage import Stage
from ocaserve.client import FollowError, Steering, Stream, follow, make_session

_SITES = ("real-near", "real-far")  # of three appliances two are at the near one
_OTHERS = [f"real/{number}.mp4" for number in range(20)]  # each draws on its own
_VIEWERS, _PAUSE_S = 2, 1.0
"""So few that no appliance sends a megabit a second: from there on it reckons what it can take by
how busy the machine is, which here is so with what is none of its own.
"""
_LEAST_S = 5.0
_BEGIN_S, _LOOK_S = 30.0, 0.1
_WAIT_S = 120.0


class _Viewers:
    """Clients that fetch the film as `ocaserve follow` does, again and again. films: that came
    whole, as they should be; wrong: whole, but others; broken: that did not come. left: how often
    a server was left for another.
    """

    def __init__(self, fleet: str, digest: str) -> None:
        self._fleet, self._digest = f"http://{fleet}", digest
        self.films = self.wrong = self.broken = self.left = 0
        self.bytes = 0

    async def keep_viewing(self) -> None:
        async with make_session() as session, asyncio.TaskGroup() as group:
            for number in range(_VIEWERS):
                group.create_task(self._view(session, f"{CUSTOMERS}.{number + 1}"))

    async def _view(self, session: aiohttp.ClientSession, address: str) -> None:
        while True:
            try:
                is_right = await self._fetch(session, Steering(self._fleet, FILM, address=address))
            except FollowError:
                self.broken += 1
            else:
                self.films += is_right
                self.wrong += not is_right
            await asyncio.sleep(_PAUSE_S)

    async def is_served_by(self, appliance: RealAppliance) -> bool:
        """Whether the film comes whole from this one, and is as it should be."""
        sink = Stream(lambda _: None)
        async with make_session() as session:
            try:
                await follow(session, sink, urls=[f"{appliance.url}/{FILM}"])
                return sink.finish(None) == self._digest
            except FollowError:
                return False

    async def _fetch(self, session: aiohttp.ClientSession, source: Steering) -> bool:
        """Whether it is as it should be. Raises FollowError."""
        sink = Stream(lambda _: None)
        outcome = await follow(session, sink, source=source)
        self.left += len(outcome.changes)
        self.bytes += outcome.received
        return sink.finish(None) == self._digest


async def play_real(stage: Stage) -> list[Line]:
    """A few real ones begin, serve who is sent to them; one is killed, and comes back."""
    plane, size = stage.planes[0], stage.size
    folder = plane.folder / "real"
    digest = make_film(folder / "master")
    appliances = [
        RealAppliance(
            folder / f"real-{number}", f"real-{number}", _SITES[number % 3 == 2], port,
            1 + 2 * (number % 3 == 2), folder / "master", plane.operators, size.interval_s,
        )
        for number, port in enumerate(find_free_ports(size.real))
    ]  # fmt: skip
    viewers = _Viewers(plane.clients, digest)
    viewing: asyncio.Task[None] | None = None
    try:
        begun = time.monotonic()
        for each in appliances:
            each.start()
        names = {each.url for each in appliances}
        await _wait(stage, "all take clients", lambda found: found == names)
        begin_s = time.monotonic() - begun
        viewing = asyncio.create_task(viewers.keep_viewing())
        await asyncio.sleep(max(_LEAST_S, 2 * size.interval_s))
        served = viewers.films
        killed, killed_at = appliances[0], time.monotonic()
        await asyncio.to_thread(killed.kill)
        gone_s = await _wait(stage, "it is gone", lambda found: found == names - {killed.url})
        named = await _count_answers_with(stage, killed.url)
        lost_s = time.monotonic() - killed_at
        meanwhile = viewers.films - served
        await asyncio.to_thread(killed.start)
        back_s = await _wait(stage, "it is back", lambda found: killed.url in found)
        before = viewers.films
        serves = await viewers.is_served_by(killed)
        await asyncio.sleep(max(_LEAST_S, size.interval_s))
        if viewing.done():
            viewing.result()
        return [
            Line("real appliances", len(appliances), None),
            Line("all of them took clients", begin_s, _BEGIN_S, "s"),
            Line("films that clients had before one was killed", served, 1, "", is_least=True),
            Line("it was in no answer", gone_s, stage.checker.bounds.silent_s, "s"),
            Line("answers later that named it", named, 0),
            Line("films while it was away", meanwhile, 1, "", is_least=True),
            Line("it was away", lost_s, None, "s"),
            Line("it was in answers again", back_s, _BEGIN_S, "s"),
            Line("and serves the film", serves, 1, "", is_least=True),
            Line("films later", viewers.films - before, 1, "", is_least=True),
            Line("bytes of films", viewers.bytes / 2**20, None, "MiB"),
            Line("servers that clients left for another", viewers.left, None),
            Line("films that were not what they should be", viewers.wrong, 0),
            Line("films that did not come", viewers.broken, 0),
        ]
    finally:
        if viewing is not None:
            viewing.cancel()
            await asyncio.gather(viewing, return_exceptions=True)
        for each in appliances:
            each.kill()


async def _named(stage: Stage) -> set[str]:
    """The appliances that a client of theirs is sent to, for some objects."""
    asked = {"client": {"ip": f"{CUSTOMERS}.9"}, "objects": [FILM, *_OTHERS]}
    body = msgspec.json.encode(asked)
    answer = await stage.clients.asker.post(stage.planes[0].clients, "/v1/steer", body)
    if answer.status != 200:
        raise LoadFailure(f"POST /v1/steer: {answer.status} {answer.body[:300]!r}")
    found = msgspec.json.decode(answer.body, type=SteerAnswer).objects
    return {url[: url.index("/", 7)] for urls in found.values() for url in urls}


async def _wait(stage: Stage, what: str, is_so: Callable[[set[str]], bool]) -> float:
    """Until answers are so. Returns how long that took. Raises LoadFailure."""
    begun = time.monotonic()
    while not is_so(found := await _named(stage)):
        if time.monotonic() - begun > _WAIT_S:
            raise LoadFailure(f"{what}: not within {_WAIT_S:g} s, but {sorted(found)}")
        await asyncio.sleep(_LOOK_S)
    return time.monotonic() - begun


async def _count_answers_with(stage: Stage, url: str) -> int:
    """Of the next interval."""
    until, count = time.monotonic() + stage.size.interval_s, 0
    while time.monotonic() < until:
        count += url in await _named(stage)
        await asyncio.sleep(_LOOK_S)
    return count
