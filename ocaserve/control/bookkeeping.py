"""The ledger in the control process: its collector, and the thread that it works in."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from ocaserve.control.state import STATE
from ocaserve.ledger.collector import Collector
from ocaserve.ledger.places import ledger_folder
from ocaserve.runtime import find_state_folder

_log = logging.getLogger(__name__)

_COLLECT_S = 1.0

LEDGER = web.AppKey("LEDGER", Collector)


def start_bookkeeping(app: web.Application) -> None:
    """Keep the ledger for as long as the application runs."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        state = app[STATE]
        settings = state.settings.ledger
        kept = find_state_folder(state.settings.appliance.state_directory, os.environ)
        collector = Collector(ledger_folder(settings, kept, state.folder), settings)
        app[LEDGER] = collector
        with ThreadPoolExecutor(1, "ledger") as thread:
            task = asyncio.create_task(_keep_collecting(collector, thread))
            yield
            task.cancel()
            await asyncio.wait([task])
            await _close(collector, thread)

    if app[STATE].settings.ledger.is_kept:
        app.cleanup_ctx.append(context)


async def _keep_collecting(collector: Collector, thread: ThreadPoolExecutor) -> None:
    """The disk may be full for a while: what workers have told waits in their spools."""
    loop = asyncio.get_running_loop()
    is_failing = False
    while True:
        try:
            await loop.run_in_executor(thread, collector.collect)
            is_failing = False
        except OSError as error:
            if not is_failing:
                _log.error("ledger: %s: tried again every second", error)
            is_failing = True
        await asyncio.sleep(_COLLECT_S)


async def _close(collector: Collector, thread: ThreadPoolExecutor) -> None:
    try:
        await asyncio.get_running_loop().run_in_executor(thread, collector.close)
    except OSError as error:
        _log.error("ledger: %s: the next start goes on from the last commit", error)
