"""The ledger in the control process: its collector, its thread, and those who read it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricsCollector

from ocaserve.control.endpoints import DEFECTS, run_in_background
from ocaserve.control.problems import Problem
from ocaserve.control.record_telling import RecordTeller, make_teller
from ocaserve.control.state import STATE
from ocaserve.ledger.collector import Collector
from ocaserve.ledger.places import ledger_folder
from ocaserve.runtime import find_state_folder

_log = logging.getLogger(__name__)

_COLLECT_S = 1.0
_MOST_READERS = 8  # one reads, which may take a while over a year; the others wait

LEDGER = web.AppKey("LEDGER", Collector)
LEDGER_THREAD = web.AppKey("LEDGER_THREAD", ThreadPoolExecutor)
"""The one that writes into it."""

Read = TypeVar("Read")


class Readers:
    """Sums are made one at a time: each may walk through all that is kept."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "ledger-reading")
        self._waiting = 0

    async def read(self, work: Callable[[], Read]) -> Read:
        """What `work` gives, in the thread. Raises Problem where too many wait for it."""
        if self._waiting >= _MOST_READERS:
            raise Problem(
                503, f"{_MOST_READERS} others read the ledger", headers={"Retry-After": "5"}
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Do not wait for one that reads."""
        self._thread.shutdown(wait=False, cancel_futures=True)


READERS = web.AppKey("READERS", Readers)


def start_bookkeeping(app: web.Application) -> None:
    """Keep the ledger, and tell of its records, for as long as the application runs."""
    state = app[STATE]
    settings = state.settings.ledger
    if not settings.is_kept:
        return
    kept = find_state_folder(state.settings.appliance.state_directory, os.environ)
    folder = ledger_folder(settings, kept, state.folder)
    collector = app[LEDGER] = Collector(folder, settings, state.settings.appliance.id)
    readers = app[READERS] = Readers()
    thread = app[LEDGER_THREAD] = ThreadPoolExecutor(1, "ledger")
    teller = make_teller(collector, state.settings)
    state.registry.register(LedgerMetrics(collector, teller))

    async def context(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_collecting(app, collector, teller))
        yield
        task.cancel()
        await asyncio.wait([task])
        await _close(collector, thread)
        thread.shutdown()
        readers.close()

    app.cleanup_ctx.append(context)
    if teller is not None:
        run_in_background(app, "telling records", lambda _: teller.run())


async def _keep_collecting(
    app: web.Application, collector: Collector, teller: RecordTeller | None
) -> None:
    """The disk may be full for a while: what workers have told waits in their spools."""
    loop, thread = asyncio.get_running_loop(), app[LEDGER_THREAD]
    is_failing = False
    seq = 0
    while True:
        try:
            await loop.run_in_executor(thread, collector.collect)
            if is_failing:
                _log.warning("ledger: it is kept again")
            is_failing = False
        except OSError as error:
            if not is_failing:
                _log.error("ledger: %s: tried again every second", error)
            is_failing = True
        except Exception as defect:  # noqa: BLE001 - the next look may succeed, and spools wait
            app[DEFECTS].contain("ledger", defect)
        if teller is not None and collector.totals.seq != seq:
            seq = collector.totals.seq
            teller.wake()
        await asyncio.sleep(_COLLECT_S)


async def _close(collector: Collector, thread: ThreadPoolExecutor) -> None:
    try:
        await asyncio.get_running_loop().run_in_executor(thread, collector.close)
    except OSError as error:
        _log.error("ledger: %s: the next start goes on from the last commit", error)


class LedgerMetrics(MetricsCollector):
    """The ledger's sums and records, as of the last look."""

    def __init__(self, collector: Collector, teller: RecordTeller | None) -> None:
        self._collector = collector
        self._teller = teller

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known from collecting."""
        return ()

    def collect(self) -> Iterator[Metric]:
        totals = self._collector.totals
        yield CounterMetricFamily(
            "ocaserve_ledger_bytes", "Bytes in the ledger, since it was begun.", totals.bytes
        )
        yield CounterMetricFamily(
            "ocaserve_ledger_other_bytes",
            "Those of them that no network has, since places were not enough.",
            totals.other,
        )
        yield GaugeMetricFamily(
            "ocaserve_ledger_networks", "Networks of the open period.", totals.places
        )
        yield GaugeMetricFamily(
            "ocaserve_ledger_open", "1 while the ledger is kept here.", self._collector.is_open
        )
        yield GaugeMetricFamily(
            "ocaserve_ledger_records", "Closed records that are kept.", totals.records
        )
        yield GaugeMetricFamily(
            "ocaserve_ledger_record", "The number of the last record that was closed.", totals.seq
        )
        told = self._teller.told if self._teller else 0
        yield GaugeMetricFamily(
            "ocaserve_ledger_told_record",
            "Of this book, the number of the last record that the fleet has; 0 where none is told.",
            told,
        )
        yield GaugeMetricFamily(
            "ocaserve_ledger_untold_seconds",
            "Since the oldest record was closed that the fleet does not have; 0 where it has all.",
            self._untold_s(),
        )

    def _untold_s(self) -> float:
        since = self._teller.untold_since if self._teller else None
        return 0.0 if since is None else max(0.0, time.time() - since)
