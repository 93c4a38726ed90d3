"""The routes in the control process: their table, who feeds it, who reads and pushes it."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web

from ocaserve.control.broadcast import Broadcast
from ocaserve.control.contact import start_watching_contact
from ocaserve.control.documents import Documents
from ocaserve.control.endpoints import run_in_background
from ocaserve.control.fill_watch import find_holdings
from ocaserve.control.patience import HangingCalls
from ocaserve.control.sections import report_sections
from ocaserve.control.state import STATE
from ocaserve.routing.feed import open_feed_at_last
from ocaserve.routing.live import RouteService
from ocaserve.routing.reporter import Reporter
from ocaserve.routing.watching import RouteHealth, RouteMetrics

SERVICE = web.AppKey("ROUTE_SERVICE", RouteService)
REPORTER = web.AppKey("REPORTER", Reporter)
DOCUMENTS = web.AppKey("DOCUMENTS", Documents)
BROADCAST = web.AppKey("BROADCAST", Broadcast)
PATIENCE = web.AppKey("PATIENCE", HangingCalls)
LISTING = web.AppKey("LISTING", asyncio.Semaphore)

_MOST_LISTS = 2  # made at a time


def start_routes(app: web.Application) -> None:
    """Keep the table; hear the feeder and push, where the settings ask for it."""
    state = app[STATE]
    service = app[SERVICE] = RouteService(state.settings)
    app[DOCUMENTS] = Documents()
    app[PATIENCE] = HangingCalls()
    app[LISTING] = asyncio.Semaphore(_MOST_LISTS)
    app[BROADCAST] = Broadcast(service, state.settings.control.events_bytes)
    service.sections |= report_sections(app)
    service.find_holdings = partial(find_holdings, app)
    run_in_background(app, "routes", lambda _: service.run())
    if state.settings.bgp.neighbor:
        run_in_background(app, "feed", _hear_feeder)
    elif recording := state.settings.bgp.recording:
        run_in_background(app, "recording", lambda _: service.play(recording))
    reporter = None
    if state.settings.report.push_url:
        reporter = app[REPORTER] = Reporter(service, state.settings.report)
        run_in_background(app, "reporter", _push)
    start_watching_contact(app, service, reporter)
    state.beginning.await_first(
        lambda: not service.expected or service.has_heard, "no router has told its routes yet"
    )
    state.components.append(RouteHealth(service))
    state.registry.register(RouteMetrics(service, reporter))


async def _push(app: web.Application) -> None:
    await app[REPORTER].run()


async def _hear_feeder(app: web.Application) -> None:
    service, state = app[SERVICE], app[STATE]
    feed = await open_feed_at_last(service, state.folder, state.settings.bgp, service.lose)
    service.ask_refresh = feed.refresh
    service.is_fed = lambda: feed.is_connected
    try:
        await asyncio.Future()
    finally:
        await feed.stop()
