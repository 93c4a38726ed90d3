"""What can happen to a fleet, and what must then be so. Each plays on a stage that stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import NamedTuple

import msgspec

from benchmarks.errors import LoadFailure
from benchmarks.fleet.among import play_real
from benchmarks.fleet.canary import try_a_slow_canary
from benchmarks.fleet.checker import address_text
from benchmarks.fleet.clients import SteerAnswer
from benchmarks.fleet.demand import WATCHED
from benchmarks.fleet.lines import Line, cost_lines
from benchmarks.fleet.stage import Stage
from benchmarks.fleet.stocked import change_everything, wait_for_stocks

COLD_S, BACK_S = 60.0, 65.0
NOT_TAKEN = "documents that were not taken at first"
REPORTS_PER_CPU_S = 1_000.0
ANSWER_MS = 5.0
OVERLOAD_S = 30.0
_SKEW_S = 300.0
_ANSWERED_S = 60.0
_LOOKED_AT = 1_000  # answers


class Kind(Enum):
    """What a scenario is played on."""

    ALONE = "one control plane"
    STOCKED = "one control plane that says who holds what"
    PAIR = "two instances that share a Valkey server"


class Scenario(NamedTuple):
    """play: returns what came of it. Wrong answers and how long answers took are added to that."""

    name: str
    what: str
    kind: Kind
    play: Callable[[Stage], Awaitable[list[Line]]]


async def start_cold(stage: Stage) -> list[Line]:
    """All appliances begin at once: each tells the whole of itself."""
    before = stage.read()
    took_s = await stage.wait_until_whole(4 * COLD_S)
    whole = stage.read()
    stage.checker.unsure_until = time.monotonic() + stage.checker.bounds.told_s
    return [
        Line("all whole reports were taken", took_s, COLD_S, "s"),
        *cost_lines(before, whole),
        Line(NOT_TAKEN, stage.pushing.refused),
        Line("whole reports, packed", stage.pushing.sent["whole"] / 2**20, None, "MiB"),
        Line("without their tables, packed", stage.pushing.sent["brief"] / 2**20, None, "MiB"),
    ]


async def report_alone(stage: Stage) -> list[Line]:
    """Nobody asks and no network flaps: what a report costs."""
    rates, stage.clients.rates = stage.clients.rates, (0.0, 0.0)
    await asyncio.sleep(1.0)
    before = stage.read()
    await stage.intervals(2)
    after = stage.read()
    stage.clients.rates = rates
    cpu_s, count = after.cost.cpu_s - before.cost.cpu_s, after.reports - before.reports
    return [
        *cost_lines(before, after),
        Line("reports a CPU second", count / cpu_s, REPORTS_PER_CPU_S, "", is_least=True),
    ]


async def go_on_steadily(stage: Stage) -> list[Line]:
    """Nothing happens but what always does: figures change, and some networks flap."""
    before = stage.read()
    flapping = asyncio.create_task(_flap(stage, stage.size.sites / 100))
    await stage.intervals(3)
    flapping.cancel()
    after = stage.read()
    cpu_s, count = after.cost.cpu_s - before.cost.cpu_s, after.reports - before.reports
    asked = after.questions - before.questions
    return [
        *cost_lines(before, after),
        Line("reports a CPU second, answers included", count / cpu_s),
        Line("questions answered meanwhile", asked, None),
    ]


async def _flap(stage: Stage, per_s: float) -> None:
    """Sites lose a network and hear it again, so many a second."""
    while True:
        site = stage.world.sites[int(stage.chance.integers(len(stage.world.sites)))]
        block = stage.world.networks.blocks[site.providers[-1]]
        number = int(stage.chance.integers(block.first, block.last))
        if site.providers[-1] != WATCHED:
            routes = stage.at_site(site.number)[0].routes
            (routes.announce if number in routes.gone else routes.withdraw)(number)
            place = (site.number, number)
            if number in routes.gone:
                stage.checker.gone_at[place] = time.monotonic()
            else:
                stage.checker.gone_at.pop(place, None)
                stage.checker.came_at[place] = time.monotonic()
            for each in stage.at_site(site.number):
                each.route_changed([number])
            stage.pushing.at_once(stage.at_site(site.number))
        await asyncio.sleep(1 / per_s)


async def kill_the_plane(stage: Stage) -> list[Line]:
    """The control plane is gone for long, and comes back with what it kept."""
    down_s, gone_at = 4 * stage.size.interval_s, time.monotonic()
    stage.checker.unsure_until = float("inf")
    await asyncio.to_thread(stage.planes[0].kill)
    unserved = stage.clients.load.unserved
    await asyncio.sleep(down_s)
    await asyncio.to_thread(stage.planes[0].start)
    back_at = time.monotonic()
    first_s = await stage.wait_until("an answer", lambda: _is_answered(stage, back_at), BACK_S)
    stage.clients.away.append((gone_at, time.monotonic()))
    stage.checker.unsure_until = time.monotonic() + stage.checker.bounds.silent_s
    before = dict(stage.pushing.taken_at)
    await asyncio.sleep(1.0)
    heard_s = await stage.wait_until(
        "all are heard again",
        lambda: all(stage.pushing.taken_at[number] > back_at for number in before),
        4 * BACK_S,
    )
    steady = len(stage.appliances) / stage.size.interval_s
    busiest = max(stage.pushing.between(back_at, back_at + heard_s + 1))
    return [
        Line("it was away", down_s, None, "s"),
        Line("clients are answered again", first_s, 5.0, "s"),
        Line("all appliances were heard again", heard_s, BACK_S, "s"),
        Line("the busiest second, as a multiple of the usual ones", busiest / steady, 5.0),
        Line("clients who had a server and lost it", stage.clients.load.unserved - unserved, 0),
    ]


def _is_answered(stage: Stage, since: float) -> bool:
    """Whether somebody who has asked since then was told where to go."""
    answers = stage.clients.answers[-_LOOKED_AT:]
    return any(each.at >= since and each.status == 200 for each in answers)


async def lose_a_site(stage: Stage) -> list[Line]:
    """A site is dark at the daily peak. Its clients go on elsewhere, new ones are sent there."""
    stage.clients.hour = 20.0
    load = stage.clients.load
    load.over_s.clear()
    lost = [each for each in stage.watched if each.site is stage.watched[0].site]
    gone_bits = sum(each.load for each in lost)
    moved, unserved = load.moved, load.unserved
    stage.kill(lost)
    await stage.intervals(5)
    worst = max(load.over_s.values(), default=0.0)
    busiest = max(each.load / each.total for each in stage.watched if each.is_alive)
    stage.start(lost)
    await stage.intervals(1)
    return [
        Line("what the site sent", gone_bits / 1e9, None, "Gbit/s"),
        Line("clients that went on elsewhere", load.moved - moved, None),
        Line("clients without a server", load.unserved - unserved, 0),
        Line("the longest over 105 % of what an appliance can take", worst, OVERLOAD_S, "s"),
        Line("the fullest appliance at the end", busiest, 1.05),
    ]


async def leak_a_route(stage: Stage) -> list[Line]:
    """A router tells of a part of a network of others: the longest match takes it there."""
    networks = stage.world.networks
    provider = 1
    victims = [
        number for number in range(*networks.blocks[provider])
        if networks.family[number] == 4 and networks.length[number] <= 24
    ]  # fmt: skip
    number = min(victims, key=lambda each: int(networks.length[each]))
    family, length, bits = networks.code(number)
    # Longer than all that the provider itself tells of there, so that it takes what lies in it.
    text = f"{address_text(family, bits << (32 - length))}/25"
    thief = next(
        site for site in reversed(stage.world.sites) if provider not in site.providers
    )  # fmt: skip
    theirs = stage.at_site(thief.number)
    at = time.monotonic()
    stage.checker.leaked_at[thief.number, text] = at, float("inf")
    theirs[0].routes.leak(text, (1, 0))
    _tell_of(stage, text, thief.number)
    ip = address_text(family, (bits << (32 - length)) + 1)
    names = {each.id for each in theirs}
    answered_at = await _when_answered(stage, ip, {each.url for each in theirs})
    told_at = min(when for each in theirs if (when := stage.pushing.taken_at[each.number]) > at)
    shown_s = await stage.wait_until(
        "explain names the thief", lambda: _explains(stage, ip, names, text), 60
    )
    await stage.intervals(1)
    stage.checker.leaked_at[thief.number, text] = at, time.monotonic()
    theirs[0].routes.leak(text, None)
    _tell_of(stage, text, thief.number)
    gone_s = await stage.wait_until(
        "the thief is gone", lambda: not _explains(stage, ip, names, text), 60
    )
    return [
        Line("a report tells, and until it is in answers", answered_at - told_at, 1.0, "s"),
        Line("explain names the thief and its network", shown_s, 5.0, "s"),
        Line("it is forgotten", gone_s, 5.0, "s"),
    ]


def _tell_of(stage: Stage, text: str, site: int) -> None:
    for each in stage.at_site(site):
        each.route_changed(texts=[text])
    stage.pushing.at_once(stage.at_site(site))


async def _when_answered(stage: Stage, ip: str, urls: set[str]) -> float:
    """When a client was first sent to one of these; monotonic. Raises LoadFailure."""
    plane, begun = stage.planes[0], time.monotonic()
    body = msgspec.json.encode({"client": {"ip": ip}, "objects": ["film-000000.mp4"]})
    while time.monotonic() - begun < _ANSWERED_S:
        asked = await stage.clients.asker.post(plane.clients, "/v1/steer", body)
        if asked.status == 200 and any(
            each.startswith(tuple(urls))
            for each in msgspec.json.decode(asked.body, type=SteerAnswer).objects["film-000000.mp4"]
        ):
            return asked.at
        await asyncio.sleep(0.02)
    raise LoadFailure(f"no answer sends {ip} to {sorted(urls)} within {_ANSWERED_S:g} s")


def _explains(stage: Stage, ip: str, names: set[str], text: str) -> bool:
    told = stage.planes[0].ask("GET", f"/v1/explain?ip={ip}")
    first = next(iter(told["candidates"]), None)
    return bool(first and first["server"] in names and first["network"] == text)


async def crowd(stage: Stage) -> list[Line]:
    """Everybody wants one object, and half as many clients again come."""
    stage.clients.load.over_s.clear()
    stage.clients.demand.hot_key = "film-000000.mp4"
    stage.clients.times = 1.5
    await stage.intervals(4)
    stage.clients.demand.hot_key, stage.clients.times = "", 1.0
    worst = max(stage.clients.load.over_s.values(), default=0.0)
    shares = [each.load / each.total for each in stage.watched]
    return [
        Line("the longest over 105 % of what an appliance can take", worst, OVERLOAD_S, "s"),
        Line("the fullest appliance", max(shares), 1.05),
        Line("the emptiest of them", min(shares), None),
    ]


async def skew_clocks(stage: Stage) -> list[Line]:
    """The clocks of two thirds of the appliances are five minutes wrong, either way."""
    refused = stage.pushing.refused
    for each in stage.appliances:
        each.skew_s = (each.number % 3 - 1) * _SKEW_S
    await stage.intervals(2)
    for each in stage.appliances:
        each.skew_s = 0.0
    return [Line("documents that were not taken", stage.pushing.refused - refused, 0)]


async def drain_a_site(stage: Stage) -> list[Line]:
    """An operator keeps clients from a site; the next answer knows."""
    site = stage.world.sites[-1]
    theirs = stage.at_site(site.number)
    begun = time.monotonic()
    told = {"sites": [site.name], "reason": "drill"}
    await asyncio.to_thread(stage.planes[0].ask, "POST", "/v1/drain", told)
    took_s = time.monotonic() - begun
    stage.checker.drain(theirs)
    await stage.intervals(2)
    await asyncio.to_thread(stage.planes[0].ask, "POST", "/v1/enable", {"sites": [site.name]})
    stage.checker.enable(theirs)
    return [Line("the drain was answered", took_s, 1.0, "s")]


async def start_stocked(stage: Stage) -> list[Line]:
    """All appliances begin with empty disks, and ask what they are to hold."""
    lines = await start_cold(stage)
    stage.checker.unsure_until = float("inf")
    lines += await wait_for_stocks(stage)
    stage.checker.unsure_until = time.monotonic() + stage.checker.bounds.told_s
    return lines


async def start_a_pair(stage: Stage) -> list[Line]:
    """All appliances begin; each tells one of two instances, and both know all."""
    lines = await start_cold(stage)
    stage.checker.unsure_until = float("inf")
    both_s = await _wait_for_both(stage)
    stage.checker.unsure_until = time.monotonic() + stage.checker.bounds.told_s
    return [*lines, Line("both know all appliances", both_s, 5.0, "s")]


async def _wait_for_both(stage: Stage) -> float:
    wanted = (len(stage.appliances), True)
    return await stage.wait_until(
        "both know all", lambda: all(each.knows() == wanted for each in stage.planes), 120
    )


async def kill_valkey(stage: Stage) -> list[Line]:
    """What they share is gone, and comes back with nothing in it."""
    assert stage.sharing is not None
    await stage.sharing.server.end()
    refused = stage.pushing.refused
    await stage.intervals(2)
    await stage.sharing.server.start()
    back_s = await _wait_for_both(stage)
    return [
        Line("documents that were not taken", stage.pushing.refused - refused, 0),
        Line("both share again", back_s, 5.0, "s"),
    ]


async def cut_one_off(stage: Stage) -> list[Line]:
    """One instance does not reach what they share: it answers on, and joins again."""
    assert stage.sharing is not None
    stage.sharing.lines[1].cut()
    refused = stage.pushing.refused
    await stage.intervals(2)
    stage.sharing.lines[1].mend()
    back_s = await _wait_for_both(stage)
    return [
        Line("documents that were not taken", stage.pushing.refused - refused, 0),
        Line("it shares again", back_s, 5.0, "s"),
    ]


SCENARIOS = (
    Scenario("cold", "All appliances begin at once", Kind.ALONE, start_cold),
    Scenario("reports", "Reports alone", Kind.ALONE, report_alone),
    Scenario("steady", "Reports, questions and flapping networks", Kind.ALONE, go_on_steadily),
    Scenario("real", "Real appliances serve, and one is killed", Kind.ALONE, play_real),
    Scenario("drain", "A site is drained", Kind.ALONE, drain_a_site),
    Scenario("leak", "A router leaks a more specific network", Kind.ALONE, leak_a_route),
    Scenario("skew", "Clocks are five minutes wrong", Kind.ALONE, skew_clocks),
    Scenario("crowd", "A crowd wants one object", Kind.ALONE, crowd),
    Scenario("site", "A site is lost at the peak", Kind.ALONE, lose_a_site),
    Scenario("canary", "A policy in canary is slow", Kind.ALONE, try_a_slow_canary),
    Scenario("plane", "The control plane is killed, for long", Kind.ALONE, kill_the_plane),
    Scenario("stock", "All begin empty, and ask what to hold", Kind.STOCKED, start_stocked),
    Scenario("manifest", "All are to hold something else", Kind.STOCKED, change_everything),
    Scenario("pair", "Two instances begin", Kind.PAIR, start_a_pair),
    Scenario("valkey", "What the instances share is killed", Kind.PAIR, kill_valkey),
    Scenario("cut", "An instance is cut off", Kind.PAIR, cut_one_off),
)
"""In the order in which they are played. The first of a kind begins with nothing known."""
