"""A fleet that stands: the control plane, the appliances, the clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from benchmarks.errors import LoadFailure
from benchmarks.fleet.checker import Bounds, Checker, Question
from benchmarks.fleet.clients import Clients
from benchmarks.fleet.control_plane import ControlPlane, Cost
from benchmarks.fleet.demand import OBJECTS, WATCHED, Demand, curve
from benchmarks.fleet.documents import ModelAppliance, Routes
from benchmarks.fleet.load import Load
from benchmarks.fleet.pushing import Pushing
from benchmarks.fleet.sharing import Sharing
from benchmarks.fleet.stocks import Stocks
from benchmarks.fleet.world import World, make_world
from ocaserve.routing.forms import Form

CATALOGUE = "catalogue.json"  # beside the settings
CLIENT_BITS_PER_S = 5e6
USED_AT_PEAK = 0.6
_TOLD_S = 5.0  # until what an appliance told is in every answer
_SESSION_INTERVALS = 10  # a session lasts for so many intervals of reports, on average
_TTL_INTERVALS = 3
_MANIFEST_INTERVALS = 2
_LOOK_S = 0.25


class Size(Struct, frozen=True, kw_only=True):
    """How large, and how fast. rates: questions a second, of anybody and of clients watched. real:
    appliances that are no models. objects: of the catalogue, where it counts who has which.
    """

    appliances: int
    sites: int
    interval_s: float
    seed: int
    rates: tuple[float, float] = (50.0, 50.0)
    real: int = 3
    objects: int = 50_000

    @property
    def ttl_s(self) -> float:
        return self.interval_s * _TTL_INTERVALS


class Reading(NamedTuple):
    """What the control plane had cost at a time, and how much was pushed and asked until then."""

    at: float
    cost: Cost
    reports: int
    questions: int


class Stage:
    """planes: instances of the control plane. sharing: what they share, if there are several.
    watched: appliances whose clients are played. stocks: where appliances hold what they are told.
    """

    def __init__(
        self,
        size: Size,
        planes: Sequence[ControlPlane],
        world: World,
        sharing: Sharing | None = None,
        catalogue: Path | None = None,
    ) -> None:
        self.size, self.planes, self.world, self.sharing = size, planes, world, sharing
        self.chance = np.random.default_rng([size.seed, 3])
        self.appliances = self._make_appliances()
        sites = [world.sites[number] for number in world.hearers[WATCHED]]
        near = {site.number for site in sites if site.kind == "embedded"}
        self.watched = [each for each in self.appliances if each.site.number in near]
        mean_s = size.interval_s * _SESSION_INTERVALS
        for each in self.watched:
            each.load = 0.0
            each.total = (
                size.rates[1] * mean_s * CLIENT_BITS_PER_S / len(self.watched) / USED_AT_PEAK
            )
        self.pushing = Pushing(
            self.appliances, [each.operators for each in planes], size.interval_s, size.seed
        )
        self._watched_numbers = {each.number for each in self.watched}
        self.pushing.prepare = self._prepare
        self.checker = Checker(world, self.appliances, Bounds(size.ttl_s + _TOLD_S, _TOLD_S))
        self.checker.spares_the_full = frozenset([WATCHED])
        self.stocks = None if catalogue is None else self._make_stocks(catalogue)
        objects = OBJECTS if self.stocks is None else self.stocks.objects
        self.clients = Clients(
            Demand(world, size.seed, mean_s, objects), Load(CLIENT_BITS_PER_S, size.seed),
            self.checker, self.appliances, self.watched, planes,
            size.rates,
        )  # fmt: skip
        self.clients.begin(mean_s, self.chance)
        self.readings: list[Reading] = []

    def _make_appliances(self) -> list[ModelAppliance]:
        routes = [Routes(self.world, site) for site in self.world.sites]
        made = []
        for number in range(self.size.appliances):
            site = self.world.sites[number % len(self.world.sites)]
            total = {"embedded": 10e9, "pni": 40e9, "exchange": 100e9}[site.kind]
            session = self.chance.bytes(8).hex()
            made.append(ModelAppliance(number, site, routes[site.number], session, total))
        return made

    def _make_stocks(self, catalogue: Path) -> Stocks:
        size = self.size
        stocks = Stocks(
            catalogue, size.objects, self.appliances, self.pushing.at_once,
            _MANIFEST_INTERVALS * size.interval_s, size.seed,
        )  # fmt: skip
        bound_s = self.checker.bounds.told_s

        def holds(number: int, asked: Question, *, is_generous: bool) -> bool:
            return stocks.has(number, asked.key, asked.at, bound_s, is_generous=is_generous)

        self.checker.holds = holds
        return stocks

    def _prepare(self, each: ModelAppliance) -> None:
        """What one whose clients are not played sends goes with the hour."""
        if each.number not in self._watched_numbers:
            each.load = each.total * USED_AT_PEAK * curve(self.clients.hour)

    # -- reading ---------------------------------------------------------------------------------

    def read(self) -> Reading:
        costs = [each.cost() for each in self.planes]
        cost = Cost(sum(each.cpu_s for each in costs), sum(each.memory_mib for each in costs))
        reading = Reading(
            time.monotonic(), cost, sum(self.pushing.statuses.values()), len(self.clients.answers)
        )
        self.readings.append(reading)
        return reading

    async def keep_reading(self) -> None:
        while True:
            self.read()
            await asyncio.sleep(1.0)

    async def intervals(self, count: float) -> None:
        """Let so many intervals of reports pass."""
        await asyncio.sleep(count * self.size.interval_s)

    async def wait_until_whole(self, timeout_s: float) -> float:
        """Until every appliance that lives has been taken whole. Returns how long that took, from
        the beginning of the pushes. Raises LoadFailure.
        """
        begun = time.monotonic()
        while left := sum(
            each.form is not Form.CHANGES for each in self.appliances if each.is_alive
        ):
            if time.monotonic() - begun > timeout_s:
                raise LoadFailure(f"{left} appliances were not taken whole within {timeout_s:g} s")
            await asyncio.sleep(_LOOK_S)
        return time.monotonic() - begun

    async def wait_until(self, what: str, is_so: Any, timeout_s: float) -> float:
        """Until an operator's view says so. Returns how long that took. Raises LoadFailure."""
        begun = time.monotonic()
        while not await asyncio.to_thread(is_so):
            if time.monotonic() - begun > timeout_s:
                raise LoadFailure(f"{what}: not within {timeout_s:g} s")
            await asyncio.sleep(_LOOK_S)
        return time.monotonic() - begun

    # -- faults ----------------------------------------------------------------------------------

    def at_site(self, number: int) -> list[ModelAppliance]:
        return [each for each in self.appliances if each.site.number == number]

    def kill(self, appliances: Sequence[ModelAppliance]) -> None:
        """They say nothing and serve nobody from now on."""
        for each in appliances:
            each.is_alive = False
        self.checker.die(appliances)

    def start(self, appliances: Sequence[ModelAppliance]) -> None:
        """They are back, with nothing but what lies on their disks."""
        for each in appliances:
            each.is_alive = True
            each.restart(self.chance.bytes(8).hex())
        self.checker.live(appliances)
        self.pushing.at_once(appliances)


async def stand(stage: Stage, spread_s: float, play: Callable[[], Awaitable[None]]) -> None:
    """Push and ask for as long as `play` lasts. Raises what any of them meets."""
    asker = stage.clients.asker
    tasks: list[asyncio.Future[None]] = []
    try:
        await asker.start()
        stage.checker.unsure_until = float("inf")
        stage.pushing.begin(spread_s)
        endless = [
            stage.pushing.keep_pushing(), stage.clients.keep_asking(), stage.keep_reading(),
            asker.keep_hearing(),
        ]  # fmt: skip
        if stage.stocks is not None:
            endless.append(stage.stocks.keep_asking(stage.planes[0].operators))
        tasks += [asyncio.ensure_future(each) for each in (play(), *endless)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stage.pushing.close()
        await asker.stop()


def make_stage(
    size: Size, planes: Sequence[ControlPlane], sharing: Sharing | None, catalogue: Path | None
) -> Stage:
    """catalogue: its file, where it counts who has what."""
    return Stage(size, planes, make_world(size.sites, size.seed), sharing, catalogue)


def settings_of(size: Size, *, is_stocked: bool) -> str:
    """Of the control plane. is_stocked: it says who holds what, and who has it counts."""
    general = f"report_ttl_s = {size.ttl_s:g}\nclient_bits_per_s = {CLIENT_BITS_PER_S:g}\n"
    if not is_stocked:
        return general
    return f'{general}[fleet.content]\neverywhere = false\ncatalogue = "{CATALOGUE}"\n'
