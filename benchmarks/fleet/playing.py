"""One run: each kind of stage is set up once, and its scenarios are played on it in turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from benchmarks.fleet.control_plane import ControlPlane
from benchmarks.fleet.lines import Line
from benchmarks.fleet.ports import find_free_ports
from benchmarks.fleet.scenarios import ANSWER_MS, Kind, Scenario
from benchmarks.fleet.sharing import Sharing
from benchmarks.fleet.stage import CATALOGUE, Reading, Size, Stage, make_stage, settings_of, stand
from benchmarks.fleet.stocks import film

Telling = Callable[[str, int], None]
Showing = Callable[["Played"], None]
_MOST = {Kind.PAIR: 1_000, Kind.STOCKED: 300}
"""Appliances. Two instances hold everything twice, on the same two cores; and what each is to hold
takes a tenth of a second to say.
"""
_COLD_SPREAD_S = 5.0  # power is back, and machines start within so long


class Played(NamedTuple):
    """A scenario, from when to when (monotonic), and what came of it. routes: of all sites."""

    scenario: Scenario
    since: float
    until: float
    lines: list[Line]
    examples: list[str]
    readings: list[Reading]
    loads: list[tuple[float, dict[str, float]]]
    fullest: list[tuple[float, float]]
    moved: list[tuple[float, int]]
    took_ms: list[tuple[float, float]]
    routes: int

    @property
    def is_kept(self) -> bool:
        return all(line.is_kept for line in self.lines)


async def play(
    size: Size, chosen: Sequence[Scenario], scratch: Path, tell: Telling, show: Showing
) -> list[Played]:
    """All that are chosen; each is shown when it is over. Raises LoadFailure."""
    played: list[Played] = []
    for kind in Kind:
        some = [each for each in chosen if each.kind is kind]
        if some:
            tell(f"a world for {kind.value}", len(played))
            before = len(played)
            played += await _play_kind(size, some, scratch, partial(_tell, tell, before), show)
    return played


def _tell(tell: Telling, before: int, what: str, done: int) -> None:
    tell(what, before + done)


async def _play_kind(
    size: Size, chosen: Sequence[Scenario], scratch: Path, tell: Telling, show: Showing
) -> list[Played]:
    played: list[Played] = []
    size, kind = _fitting(size, chosen[0].kind), chosen[0].kind
    async with _standing_planes(size, kind, scratch) as (planes, sharing):
        catalogue = planes[0].folder / CATALOGUE if kind is Kind.STOCKED else None
        stage = make_stage(size, planes, sharing, catalogue)
        if stage.stocks is not None:
            stage.stocks.write([film(number) for number in range(size.objects)], version=1)

        async def play_all() -> None:
            for scenario in chosen:
                tell(scenario.what, len(played))
                played.append(await _play_one(stage, scenario))
                show(played[-1])

        await stand(stage, _COLD_SPREAD_S, play_all)
    return played


async def _play_one(stage: Stage, scenario: Scenario) -> Played:
    checker, clients = stage.checker, stage.clients
    since, checked = time.monotonic(), checker.checked
    checker.wrong.clear()
    checker.examples.clear()
    lines = await scenario.play(stage)
    until = time.monotonic()
    took = clients.percentiles(since, until)
    late_s = stage.pushing.latest(since, until)
    lines += [
        Line("documents, from due to answered, the 99th percentile", late_s, None, "s"),
        Line("answers, the 50th percentile", took["p50"], None, "ms"),
        Line("answers, the 99th percentile", took["p99"], None, "ms"),
        Line("the same without waits for a core", took["own"], ANSWER_MS, "ms"),
        Line("answers checked", checker.checked - checked, None),
        Line("wrong answers", sum(checker.wrong.values()), 0),
    ]
    settled = [each for each in clients.settled if since <= each.at <= until]
    return Played(
        scenario, since, until, lines, list(checker.examples),
        [each for each in stage.readings if since <= each.at <= until],
        [(each.at, each.by_site) for each in settled],
        [(each.at, each.fullest) for each in settled],
        [(each.at, each.moved) for each in settled],
        [(each.at, each.took_s * 1000) for each in clients.answers if since <= each.at <= until],
        stage.world.routes,
    )  # fmt: skip


def _fitting(size: Size, kind: Kind) -> Size:
    appliances = min(size.appliances, _MOST.get(kind, size.appliances))
    return replace(size, appliances=appliances, sites=size.sites * appliances // size.appliances)


@asynccontextmanager
async def _standing_planes(
    size: Size, kind: Kind, scratch: Path
) -> AsyncIterator[tuple[list[ControlPlane], Sharing | None]]:
    count = 2 if kind is Kind.PAIR else 1
    ports = find_free_ports(2 * count + 1)
    sharing = Sharing(ports.pop(), count) if kind is Kind.PAIR else None
    if sharing is not None:
        await sharing.start()
    states = [f"redis://127.0.0.1:{line.port}/0" for line in sharing.lines] if sharing else [""]
    planes = [
        ControlPlane(
            scratch / f"{kind.name}-{number}",
            (ports.pop(), ports.pop()),
            settings_of(size, is_stocked=kind is Kind.STOCKED),
            state,
        )
        for number, state in enumerate(states)
    ]
    try:
        for plane in planes:
            await asyncio.to_thread(plane.start)
        yield planes, sharing
    finally:
        for plane in planes:
            plane.stop()
        if sharing is not None:
            await sharing.close()
