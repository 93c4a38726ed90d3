"""The throughput of the last day, sampled once a second."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.series import NOTE, ThroughputSeries
from ocaserve.control.state import STATE

_SAMPLE_S = 1.0

SERIES = web.AppKey("SERIES", ThroughputSeries)


def start_throughput(app: web.Application) -> None:
    """Sample it for as long as the application runs."""
    app[SERIES] = ThroughputSeries(app[STATE].notes)
    run_in_background(app, "throughput", _keep_sampling)


async def _keep_sampling(app: web.Application) -> None:
    state, series = app[STATE], app[SERIES]
    while True:
        if series.sample(time.time(), state.traffic.bits_per_s):
            state.link.note(NOTE, series.kept())
        await asyncio.sleep(_SAMPLE_S)
