"""What can happen to content: manifests that all appliances ask for."""

from __future__ import annotations

import asyncio
import time

from benchmarks.fleet.lines import Line, cost_lines
from benchmarks.fleet.stage import Stage
from benchmarks.fleet.stocks import MANIFEST_S, Stocks, film, show

_READ_S = 5.0
_GIVEN = 1.1  # times; who asks while neighbours' plans change is given it twice
_LONG_S = 2 * MANIFEST_S


async def wait_for_stocks(stage: Stage) -> list[Line]:
    """Until all appliances have what they are to hold, and the control plane knows."""
    stocks = _stocks_of(stage)
    begun = time.monotonic()
    given_s = await stage.wait_until("all have a manifest", lambda: not stocks.behind, _LONG_S)
    await stage.wait_until("all have what is in it", lambda: not stocks.unfilled, _LONG_S)
    count = len(stocks.keys)
    await stage.wait_until("it is known", lambda: _shown(stage, "live") == count, 30)
    whole_s = time.monotonic() - begun
    return [
        Line("objects of the catalogue", count, None),
        Line("all were told what to hold", given_s, MANIFEST_S, "s"),
        Line("all have it, and the control plane knows", whole_s, None, "s"),
        Line("manifests, as they came", stocks.bytes / 2**20, None, "MiB"),
    ]


async def change_everything(stage: Stage) -> list[Line]:
    """Half of the objects are others, and of the other half there are new versions, all at once."""
    stocks = _stocks_of(stage)
    await _ask_again(stocks)  # neighbours that were not heard of at first are new sources
    same, other = await _ask_again(stocks)
    before, asked = stage.read(), dict(stocks.statuses)
    unanswered, in_vain = stage.clients.unanswered, stocks.in_vain
    keys = [(show if number % 2 else film)(number) for number in range(stocks.objects - 1)]
    await asyncio.to_thread(stocks.write, keys, 2)
    stage.clients.demand.key_of = lambda place: keys[place % len(keys)]
    read_s = await stage.wait_until(
        "the catalogue is read", lambda: _shown(stage, "objects") == len(keys), 60
    )
    lines = await wait_for_stocks(stage)
    after = stage.read()
    nobody = stage.clients.unanswered - unanswered
    await stage.intervals(2)
    given = stocks.statuses[200] - asked.get(200, 0)
    cpu_s = after.cost.cpu_s - before.cost.cpu_s
    settled = stage.clients.unanswered
    await stage.intervals(1)
    return [
        Line(
            "of those who asked before, told that theirs is the latest", same, 1, "", is_least=True
        ),
        Line("of those, given the same again", other, 0),
        Line("the catalogue was read", read_s, _READ_S, "s"),
        *lines,
        *cost_lines(before, after),
        Line("CPU of it, by appliances", cpu_s / len(stage.appliances), None, "s"),
        Line("manifests given, by appliances", given / len(stage.appliances), _GIVEN),
        Line("asked for in vain", stocks.in_vain - in_vain, 0),
        Line("asked for what nobody had yet", nobody, None),
        Line(
            "asked for what nobody had, once all were full", stage.clients.unanswered - settled, 0
        ),
    ]


async def _ask_again(stocks: Stocks) -> tuple[int, int]:
    """While nothing changes: answers without, and with a manifest."""
    before = dict(stocks.statuses)
    await asyncio.sleep(1.2 * stocks.interval_s)
    same, other = (stocks.statuses[each] - before.get(each, 0) for each in (304, 200))
    return same, other


def _stocks_of(stage: Stage) -> Stocks:
    assert stage.stocks is not None
    return stage.stocks


def _shown(stage: Stage, what: str) -> int:
    """Of what the control plane tells of content."""
    shown: int = stage.planes[0].ask("GET", "/v1/content")[what]
    return shown
