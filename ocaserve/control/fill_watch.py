"""The process `fill`, as the control process knows it: it answers behind us.

It reads large manifests and works for hours, and is another process so that nobody here waits for
it. While it is replaced, calls hear 503.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.problems import Problem
from ocaserve.control.state import STATE, ControlState
from ocaserve.control.wellness import wellness_of
from ocaserve.fill.holdings import HoldingsShown
from ocaserve.fill.local_api import SOCKET
from ocaserve.fill.tally import FillStatus
from ocaserve.health import Level, Observation, Timing, Trouble
from ocaserve.steering.objects import Holdings

_LOOK_EVERY_S = 2.0
_PART_BYTES = 256 * 1024
_PATIENCE_S = 120.0  # a manifest of half a million objects takes seconds
_BUSY = ("cpu", "memory", "network", "disk", "descriptors", "workers")


class FillWatch:
    """The fill process as of the last look; passes on when the appliance is too busy for it."""

    def __init__(self, state: ControlState) -> None:
        self._path = str(state.folder / SOCKET)
        self.status: FillStatus | None = None
        self.fault = ""
        self.holdings: Holdings | None = None  # those of before, while its process is replaced
        self._stamp = ""
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of its answer. Raises Problem while it is not there."""
        try:
            async with self._request(method, path, _PATIENCE_S, data) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _silent() from error

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is read as it comes, for as long as whoever asked takes."""
        try:
            answer = await self._request("GET", path, None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _silent() from error
        try:
            yield answer
        finally:
            answer.close()

    def _request(
        self, method: str, path: str, seconds: float | None, data: bytes | None = None
    ) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(self._path))
        timeout = aiohttp.ClientTimeout(total=seconds)
        sent = None if data is None else _in_parts(data)
        return self._session.request(method, f"http://fill{path}", data=sent, timeout=timeout)

    async def look(self, busy: str) -> None:
        """Once in a while. busy: why serving needs what fill would take; empty if it does not."""
        try:
            await self.ask("POST", "/pace", msgspec.json.encode({"why": busy}))
            _, data = await self.ask("GET", "/status")
            self.status, self.fault = msgspec.json.decode(data, type=FillStatus), ""
            if self.status.holdings and self.status.holdings != self._stamp:
                await self._look_at_holdings(self.status.holdings)
        except Problem as problem:
            self.fault = problem.detail

    async def _look_at_holdings(self, stamp: str) -> None:
        _, data = await self.ask("GET", "/holdings")
        shown = msgspec.json.decode(data, type=HoldingsShown)
        self.holdings = Holdings(
            manifest=shown.manifest, count=shown.count, here=b64decode(shown.here)
        )
        self._stamp = stamp

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _in_parts(data: bytes) -> AsyncIterator[memoryview]:
    """A transport copies what its socket does not take: of all at once that would be noticed."""
    view = memoryview(data)
    for start in range(0, len(data), _PART_BYTES):
        yield view[start : start + _PART_BYTES]


def _silent() -> Problem:
    return Problem(503, "fill does not answer; it may be starting", headers={"Retry-After": "5"})


WATCH = web.AppKey("FILL", FillWatch)


def find_holdings(app: web.Application) -> Holdings | None:
    """Which objects of the manifest are here; None where nothing is filled, or not told yet."""
    watch = app.get(WATCH)
    return None if watch is None else watch.holdings


def start_fill_watch(app: web.Application) -> None:
    """Look after it for as long as the application runs, where there is a [fill]."""
    state = app[STATE]
    if not state.settings.fill.is_on:
        return
    watch = app[WATCH] = FillWatch(state)
    state.components.append(FillComponent(watch))
    state.registry.register(FillMetrics(watch))

    async def keep_looking(app: web.Application) -> None:
        while True:
            await watch.look(find_busy(app))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def close(_: web.Application) -> None:
        await watch.close()

    run_in_background(app, "fill", keep_looking)
    app.on_cleanup.append(close)


class FillComponent:
    """Health of fill: a warning at most, since no client waits for it."""

    name = "fill"
    timing = Timing(rise_s=30.0, fall_s=0.0)

    def __init__(self, watch: FillWatch) -> None:
        self._watch = watch

    def observe(self, _: float) -> Observation:
        status = self._watch.status
        problems = []
        if self._watch.fault:
            problems.append(Trouble(Level.WARNING, "process", self._watch.fault))
        if status is None:
            return Observation("starting", tuple(problems))
        if status.manifest_fault:
            problems.append(Trouble(Level.WARNING, "manifest", status.manifest_fault))
        for store, why in status.lost.items():
            problems.append(Trouble(Level.WARNING, "stores", f"{store} takes nothing: {why}"))
        if status.state == "waiting":
            why = status.why or "nothing can be fetched now"
            problems.append(Trouble(Level.WARNING, "sources", why))
        said = f"{status.state}, {status.here.objects} of {status.wanted.objects} objects are here"
        return Observation(said, tuple(problems))


class FillMetrics(Collector):
    """As of the last look."""

    def __init__(self, watch: FillWatch) -> None:
        self._watch = watch

    def describe(self) -> Iterable[Metric]:
        """Nothing, when it is registered: nobody has looked yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        status = self._watch.status
        if status is None:
            return
        objects = GaugeMetricFamily(
            "ocaserve_fill_objects", "Objects of the manifest, by what they are.", labels=["part"]
        )
        size = GaugeMetricFamily("ocaserve_fill_bytes", "Their bytes.", labels=["part"])
        parts = {"wanted": status.wanted, "here": status.here, "missing": status.missing}
        for name, part in parts.items():
            objects.add_metric([name], part.objects)
            size.add_metric([name], part.bytes)
        received = CounterMetricFamily(
            "ocaserve_fill_received_bytes", "Bytes fetched, by tier.", labels=["tier"]
        )
        for tier, count in status.received.items():
            received.add_metric([tier], count)
        faults = CounterMetricFamily(
            "ocaserve_fill_source_faults", "What sources did wrong, by kind.", labels=["fault"]
        )
        for fault, count in status.faults.items():
            faults.add_metric([fault], count)
        yield from (objects, size, received, faults)
        for name, about, value in (
            ("published", "Objects that were brought, verified and published.", status.published),
            ("evicted", "Objects that were removed to make room.", status.evicted),
            ("damaged", "Objects that were found damaged and put aside.", status.damaged),
            ("failures", "Steps that failed and are tried again.", status.failures),
        ):
            yield CounterMetricFamily(f"ocaserve_fill_{name}", about, value=value)
        yield GaugeMetricFamily(
            "ocaserve_fill_stores_lost", "Stores that take nothing now.", value=len(status.lost)
        )
        yield GaugeMetricFamily(
            "ocaserve_fill_open", "1 while the window is open.", value=status.is_open
        )


def find_busy(app: web.Application) -> str:
    """Why nothing new is to be fetched now, in words; empty if it may be."""
    for finding in wellness_of(app).health.findings:
        if finding.component in _BUSY and finding.level is not Level.OK:
            return f"{finding.component} is {finding.level.label}: {finding.reason}"
    return ""
