"""The control process's part alone, in this process: what cannot be seen from outside.

How long the event loop was held is taken by a task that does nothing but sleep for a millisecond.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp.test_utils import TestServer

from benchmarks.errors import LoadFailure
from benchmarks.routes.table import CHANGED, Group, Lines, changing
from bgp.prefixes import WIDTH
from ocaserve.control.auth import Guard
from ocaserve.control.process import share_the_interpreter
from ocaserve.control.route_desk import SERVICE
from ocaserve.control.state import ControlState
from ocaserve.control.wiring import build_app
from ocaserve.link import Link
from ocaserve.metrics import CounterMap
from ocaserve.routing.feed import SLICE_S
from ocaserve.routing.live import RouteService
from ocaserve.settings import Tokens, settings_from_directories
from ocaserve.steering.lookup import longest_match

_LOOKUPS = 300_000
_BEAT_S = 0.001
_CLOSED = '"state": "down", "reason": "notification received (6,2)"'


async def play_inside(groups: Sequence[Group], scratch: Path) -> dict[str, float]:
    """All figures of this part."""
    ours, theirs = socket.socketpair()
    settings = settings_from_directories([str(scratch)])
    state = ControlState(
        settings, CounterMap(["requests"], [], 1), Link(ours), scratch, Guard(Tokens(), "")
    )
    server = TestServer(build_app(state))
    await server.start_server()
    share_the_interpreter()
    service, lines = server.app[SERVICE], Lines()
    try:
        figures = {"apply_cpu_s": await _load(service, lines, groups)}
        figures["lookups_per_s"] = _look_up(service, groups)
        for encoding in ("identity", "gzip"):
            async with _held() as held:
                await asyncio.to_thread(_fetch, server.port, encoding)
            figures[f"{encoding}_held_ms"] = held[0]
        figures["told_ms"] = 1e3 * await _tell_changes(service, lines, groups)
        async with _held() as held:
            figures["closed_s"] = await _close_session(service, lines)
        figures["closed_held_ms"] = held[0]
    finally:
        await server.close()
        ours.close()
        theirs.close()
    return figures


@asynccontextmanager
async def _held() -> AsyncIterator[list[float]]:
    """For how many milliseconds the loop was held at the most."""
    longest = [0.0]

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_BEAT_S)
            longest[0] = max(longest[0], 1e3 * (time.monotonic() - before - _BEAT_S))

    beating = asyncio.create_task(beat())
    yield longest
    beating.cancel()


async def _load(service: RouteService, lines: Lines, groups: Sequence[Group]) -> float:
    """Give it all lines in slices as the feed does; CPU seconds without those for making lines."""
    spent = 0.0
    service.apply(lines.line("state", '"state": "up"'))
    for start in range(0, len(groups), 100):
        made = [lines.line("update", group.as_body()) for group in groups[start : start + 100]]
        before = time.process_time()
        end = time.monotonic() + SLICE_S
        for line in made:
            service.apply(line)
            if time.monotonic() > end:
                await asyncio.sleep(0)
                end = time.monotonic() + SLICE_S
        spent += time.process_time() - before
        await asyncio.sleep(0)
    for family in WIDTH:
        service.apply(lines.end_of_rib(family))
    service.commit()
    return spent


def _look_up(service: RouteService, groups: Sequence[Group]) -> float:
    """Longest matches a second, of addresses of IPv4 that have one."""
    chance = random.Random(2)  # noqa: S311 - repeatable is what is wanted
    fours = [group for group in groups if group.family == 4]
    addresses = []
    for _ in range(_LOOKUPS):
        length, bits = chance.choice(chance.choice(fours).prefixes)
        addresses.append(bits << (32 - length) | chance.getrandbits(32 - length))
    table = service.table
    before = time.perf_counter()
    found = [longest_match(table, 4, address) for address in addresses]
    spent = time.perf_counter() - before
    if None in found:
        raise LoadFailure("an address that is in the table is not found")
    return _LOOKUPS / spent


def _fetch(port: int | None, encoding: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/v1/report", headers={"Accept-Encoding": encoding})
    response = connection.getresponse()
    while response.read(65_536):
        pass
    connection.close()


async def _tell_changes(service: RouteService, lines: Lines, groups: Sequence[Group]) -> float:
    """Seconds from the arrival of changes to the document that tells a waiting one of them."""
    bodies = [replace(group, med=group.med + 5_000).as_body() for group in changing(groups)]
    given = [lines.line("update", body) for body in bodies]
    serial = service.commit()
    waiting = asyncio.create_task(service.wait_for_news(10))
    await asyncio.sleep(0)
    before = time.monotonic()
    for line in given:
        service.apply(line)
    await waiting
    _, pieces = service.changes(service.log.session, serial)
    document = json.loads(await asyncio.to_thread(b"".join, pieces))
    spent = time.monotonic() - before
    if len(document["routes"]) != CHANGED:
        raise LoadFailure(f"{len(document['routes'])} changes are told instead of {CHANGED}")
    return spent


async def _close_session(service: RouteService, lines: Lines) -> float:
    """Seconds until nothing is left of a session that an administrator closed."""
    before = time.monotonic()
    service.apply(lines.line("state", _CLOSED))
    while service.table.has_work:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(_BEAT_S)
    service.commit()
    if service.values["totals"]["routes"]:
        raise LoadFailure("routes of a closed session are left")
    return time.monotonic() - before
