"""A million routes in the control process: `python -m benchmarks.routes [--routes N]`.

The lines of ExaBGP are made here, with what a real table has: 5.7 prefixes an UPDATE, a fifth of
IPv6, a set of attributes for each UPDATE. They go to the sink in the slices in which the feed gives
them, while another process asks the same control process for its status. The figures are printed
as a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from aiohttp.test_utils import TestServer

from bgp.messages import decode
from bgp.prefixes import format_prefix
from ocaserve.control.app import build_app
from ocaserve.control.auth import Guard
from ocaserve.control.handlers.routes import SERVICE
from ocaserve.control.link import Link
from ocaserve.control.state import ControlState
from ocaserve.metrics import CounterMap
from ocaserve.settings import Tokens, settings_from_directories
from ocaserve.steering.lookup import longest_match
from ocaserve.steering.service import RouteService

_LINE = (
    '{ "exabgp": "5.0.0", "time": 1795466883.5, "host" : "vm", "pid" : 27162, "ppid" : 1, '
    '"counter": %d, "type": "%s", "neighbor": { "address": { "local": "192.0.2.10", "peer": '
    '"192.0.2.1" }, "asn": { "local": 65000, "peer": 65001 }, "router-id": "10.0.0.2" , %s } }'
)
_UPDATE = (
    '"direction": "receive", "message": { "update": { "attribute": { "origin": "igp", "as-path": '
    '{"0": {"element": "as-sequence", "value": [65001, %s]}}, "med": %d, "community": '
    '[ [ 65001, %d ], [ 65001, 200 ] ] }, "announce": { "%s": { "%s": [ %s ] } } } }'
)
_SLICE_S = 0.005
_CHANGES = 1_000


def make_updates(routes: int, seed: int = 1, first: int = 0) -> Iterator[str]:
    """The bodies of UPDATEs with so many routes in all, all prefixes different."""
    rnd = random.Random(seed)  # noqa: S311 - the same table each time
    done = first
    while done < first + routes:
        size = min(rnd.choice((1, 2, 4, 6, 8, 13)), first + routes - done)
        path = ", ".join(str(rnd.randrange(1_000, 400_000)) for _ in range(rnd.randrange(1, 5)))
        is_six = rnd.random() < 0.2
        prefixes = [_prefix(done + place, is_six) for place in range(size)]
        done += size
        yield _UPDATE % (
            path, rnd.randrange(100), rnd.randrange(1_000),
            "ipv6 unicast" if is_six else "ipv4 unicast",
            "2a00:1::1" if is_six else "192.0.2.1",
            ", ".join(f'{{ "nlri": "{prefix}" }}' for prefix in prefixes),
        )  # fmt: skip


def _prefix(number: int, is_six: bool) -> str:
    """Prefixes of /20 to /24, and /48, spread over what is in use."""
    if is_six:
        return format_prefix(6, 48, (0x2A00 << 32) + number * 7)
    length = 24 - (number % 16 == 0) - (number % 64 == 0) - (number % 256 == 0)
    spread = 0x0B0000 + number * 7_919 % 0x590000
    return format_prefix(4, length, spread >> (24 - length))


class Lines:
    """Numbers lines as ExaBGP does."""

    def __init__(self) -> None:
        self._counter = 0

    def line(self, kind: str, body: str) -> bytes:
        self._counter += 1
        return (_LINE % (self._counter, kind, body)).encode()

    def end_of_rib(self, family: int) -> bytes:
        eor = f'"message": {{ "eor": {{ "afi" : "ipv{family}", "safi" : "unicast" }} }}'
        return self.line("update", eor)


class Heartbeat:
    """How long the event loop was held at the most."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest_s = max(self.longest_s, time.monotonic() - before - 0.001)


@asynccontextmanager
async def heartbeat() -> AsyncIterator[Heartbeat]:
    beating = Heartbeat()
    task = asyncio.create_task(beating.beat())
    yield beating
    task.cancel()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def load(service: RouteService, lines: Lines, routes: int) -> dict[str, float]:
    """Give the sink all lines in slices; making them is between those, and not counted."""
    spent, count = 0.0, 0
    service.apply(lines.line("state", '"state": "up"'))
    made = make_updates(routes)
    while batch := [lines.line("update", body) for body in islice(made, 100)]:
        count += len(batch)
        await asyncio.sleep(0)
        begun = end = 0.0
        for line in batch:
            if time.monotonic() > end:
                spent += time.process_time() - begun if begun else 0.0
                await asyncio.sleep(0)
                end, begun = time.monotonic() + _SLICE_S, time.process_time()
            service.apply(line)
        spent += time.process_time() - begun
    for family in (4, 6):
        service.apply(lines.end_of_rib(family))
    service.commit()
    return {"cpu_s": spent, "updates": count}


def measure_decoding(routes: int) -> float:
    """CPU seconds of decoding alone, from a twentieth of the lines."""
    lines = Lines()
    some = [lines.line("update", body) for body in make_updates(max(1, routes // 20))]
    before = time.process_time()
    for line in some:
        decode(line)
    return 20 * (time.process_time() - before)


_PROBE = """
import http.client, json, sys, time
host, port = sys.argv[1], int(sys.argv[2])
connection, times = http.client.HTTPConnection(host, port), []
print("ready", flush=True)
import select
while not select.select([sys.stdin], [], [], 0.01)[0]:
    before = time.monotonic()
    connection.request("GET", "/v1/status"); connection.getresponse().read()
    times.append(time.monotonic() - before)
times.sort()
print(json.dumps({"count": len(times), "p50": times[len(times) // 2],
                  "p99": times[int(len(times) * .99)], "most": times[-1]}))
"""
_FETCH = """
import http.client, json, sys, time
before = time.monotonic()
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))
connection.request("GET", "/v1/report", headers={"Accept-Encoding": sys.argv[3]})
response, size = connection.getresponse(), 0
while piece := response.read(65536):
    size += len(piece)
print(json.dumps({"s": time.monotonic() - before, "mb": size / 1e6}))
"""


async def run_client(script: str, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *words,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def look_up_many(service: RouteService, count: int = 300_000) -> float:
    """Lookups a second, of addresses that are in the table."""
    rnd = random.Random(2)  # noqa: S311 - the same each time
    addresses = [
        ((0x0B0000 + rnd.randrange(1 << 20) * 7_919 % 0x590000) << 8) | rnd.randrange(256)
        for _ in range(count)
    ]
    table = service.table
    before = time.perf_counter()
    for address in addresses:
        longest_match(table, 4, address)
    return count / (time.perf_counter() - before)


async def tell_changes(service: RouteService, lines: Lines, routes: int) -> float:
    """From the arrival of 1,000 changes to the document that tells them."""
    serial = service.commit()
    bodies = list(make_updates(_CHANGES, seed=3, first=routes))
    given = [lines.line("update", body) for body in bodies]
    before = time.monotonic()
    for line in given:
        service.apply(line)
    await service.wait_for_news(10)
    _, pieces = service.changes(service.log.session, serial)
    document = json.loads(await asyncio.to_thread(b"".join, pieces))
    assert len(document["routes"]) == _CHANGES
    return time.monotonic() - before


async def withdraw_all(service: RouteService, lines: Lines) -> float:
    before = time.monotonic()
    service.apply(lines.line("state", '"state": "down", "reason": "notification received (6,2)"'))
    while service.table.has_work:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.001)
    assert service.commit()
    assert service.values["totals"]["routes"] == 0
    return time.monotonic() - before


async def measure(routes: int) -> list[tuple[str, str]]:
    """Every figure with its name."""
    rows: list[tuple[str, str]] = []
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_from_directories([folder])
        state = ControlState(
            settings, CounterMap(["requests"], [], 1), Link(ours), Path(folder), Guard(Tokens(), "")
        )
        server = TestServer(build_app(state))
        await server.start_server()
        service, lines = server.app[SERVICE], Lines()
        where = (str(server.host), str(server.port))
        empty_mb = resident_mb()
        probe = await run_client(_PROBE, *where)
        assert probe.stdout is not None
        await probe.stdout.readline()
        loaded = await load(service, lines, routes)
        out, _ = await probe.communicate(b"\n")
        probed = json.loads(out)
        full_mb = resident_mb()
        totals = service.values["totals"]
        rows += [
            ("routes (sets of attributes)", f"{totals['routes']:,} ({totals['attribute_sets']:,})"),
            ("CPU of decoding and applying", f"{loaded['cpu_s']:.1f} s"),
            ("of which decoding", f"{measure_decoding(routes):.1f} s"),
            ("/v1/status meanwhile, p50 / p99 / most", _times(probed)),
            ("memory of the process (empty)", f"{full_mb:.0f} MB ({empty_mb:.0f} MB)"),
            ("lookups", f"{look_up_many(service):,.0f} a second"),
        ]
        for encoding in ("identity", "gzip"):
            async with heartbeat() as beating:
                client = await run_client(_FETCH, *where, encoding)
                out, _ = await client.communicate()
            fetched = json.loads(out)
            rows.append(
                (
                    f"report fetched, {encoding}",
                    f"{fetched['s']:.1f} s, {fetched['mb']:.1f} MB, "
                    f"loop held {1e3 * beating.longest_s:.0f} ms at the most",
                )
            )
        told = await tell_changes(service, lines, routes)
        rows.append((f"{_CHANGES:,} changes told", f"{1e3 * told:.0f} ms"))
        async with heartbeat() as beating:
            gone = await withdraw_all(service, lines)
        rows.append(
            (
                "withdrawal of all",
                f"{gone:.1f} s, loop held {1e3 * beating.longest_s:.0f} ms at the most",
            )
        )
        rows.append(("memory after that", f"{resident_mb():.0f} MB"))
        await server.close()
    ours.close()
    theirs.close()
    return rows


def _times(probed: dict[str, float]) -> str:
    return " / ".join(f"{1e3 * probed[name]:.0f}" for name in ("p50", "p99", "most")) + " ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=1_000_000)
    arguments = parser.parse_args()
    rows = asyncio.run(measure(arguments.routes))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    print("| what | figure |\n|---|---|")
    for name, figure in rows:
        print(f"| {name} | {figure} |")


if __name__ == "__main__":
    main()
