"""The composition root: what the control process is made of, and what it offers.

A part is made here by name, with what keeps it going; a handler finds it under its key, and makes
none. Parts that need others find them when the application runs, so their order does not matter.
"""

from __future__ import annotations

from aiohttp import web

from ocaserve.control.appliance_metrics import ApplianceCollector
from ocaserve.control.bookkeeping import start_bookkeeping
from ocaserve.control.broker import start_broker
from ocaserve.control.chronicle import start_chronicle
from ocaserve.control.endpoints import new_app, offer
from ocaserve.control.engine_metrics import EngineMetrics
from ocaserve.control.fill_watch import start_fill_watch
from ocaserve.control.handlers import (
    dashboard,
    fill,
    health,
    history,
    inventory,
    ledger,
    ledger_records,
    metrics,
    openapi,
    operations,
    overview,
    popularity,
    queues,
    routes,
    status,
    throughput,
)
from ocaserve.control.health_metrics import HealthMetrics
from ocaserve.control.own_metrics import ControlMetrics
from ocaserve.control.popularity_watch import start_popularity_watch
from ocaserve.control.route_desk import start_routes
from ocaserve.control.snapshots import start_snapshots
from ocaserve.control.state import STATE, ControlState
from ocaserve.control.throughput import start_throughput
from ocaserve.control.wellness import start_wellness

ENDPOINTS = (
    *status.ENDPOINTS,
    *operations.ENDPOINTS,
    *overview.ENDPOINTS,
    *health.ENDPOINTS,
    *ledger.ENDPOINTS,
    *ledger_records.ENDPOINTS,
    *inventory.ENDPOINTS,
    *routes.ENDPOINTS,
    *history.ENDPOINTS,
    *throughput.ENDPOINTS,
    *queues.ENDPOINTS,
    *fill.ENDPOINTS,
    *popularity.ENDPOINTS,
    *dashboard.ENDPOINTS,
    *metrics.ENDPOINTS,
    *openapi.ENDPOINTS,
)
"""All of them, in the order of the OpenAPI document."""


def build_app(state: ControlState) -> web.Application:
    """The application over this state."""
    app = new_app(state.settings.control, state.guard)
    app[STATE] = state
    start_wellness(app)
    start_bookkeeping(app)
    start_routes(app)
    start_chronicle(app)
    start_throughput(app)
    start_broker(app)
    start_fill_watch(app)
    start_popularity_watch(app)
    start_snapshots(app)
    for collector in (
        EngineMetrics(state.counters),
        ApplianceCollector(state),
        ControlMetrics(app),
        HealthMetrics(app),
    ):
        state.registry.register(collector)
    offer(app, ENDPOINTS)
    return app
