"""All that the dashboard shows."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from aiohttp import web
from msgspec import Struct

from ocaserve.control.bookkeeping import LEDGER, READERS
from ocaserve.control.broker import BROKER
from ocaserve.control.chronicle import HISTORY
from ocaserve.control.fill_watch import WATCH
from ocaserve.control.route_desk import SERVICE
from ocaserve.control.state import STATE
from ocaserve.control.traffic import PATHS
from ocaserve.control.views.connections import Closed, describe_connections
from ocaserve.control.views.health import (
    CapacityShown,
    HealthShown,
    describe_capacity,
    describe_health,
)
from ocaserve.control.views.history import EventShown, describe_history
from ocaserve.control.views.maintenance import WindowShown, describe_windows
from ocaserve.control.views.processes import WorkerShown, describe_workers
from ocaserve.control.views.status import Status, describe_status
from ocaserve.control.views.stores import StoreShown, describe_stores
from ocaserve.control.wellness import wellness_of
from ocaserve.fill.tally import FillStatus
from ocaserve.ledger.summary import NetworkSum
from ocaserve.queue import Sizes
from ocaserve.steering.lookup import route_of

_DAY_S = 86_400
_TOP_NETWORKS = 8
_EVENTS = 12
_RESPONSES = ("2xx", "3xx", "4xx", "5xx")


class DashboardLedger(Struct, frozen=True, kw_only=True):
    """The networks that took most in a day. `routes`: the routed prefix of each."""

    total: NetworkSum
    networks: list[NetworkSum]
    routes: dict[str, str]


class DashboardShown(Struct, frozen=True, kw_only=True):
    """All that the page shows. Of what is null there is none."""

    status: Status
    health: HealthShown
    capacity: CapacityShown
    queues: dict[str, Sizes]
    fill: FillStatus | None
    windows: list[WindowShown]
    workers: list[WorkerShown]
    stores: list[StoreShown]
    responses: dict[str, int]
    bytes: dict[str, int]
    closed: list[Closed]
    ledger: DashboardLedger | None
    history: list[EventShown]
    routes: dict[str, Any] | None


def describe_dashboard(app: web.Application, ledger: DashboardLedger | None) -> DashboardShown:
    """As it is now."""
    state, wellness, routes = app[STATE], wellness_of(app), app[SERVICE]
    totals = state.counters.totals()
    return DashboardShown(
        status=describe_status(app),
        health=describe_health(wellness),
        capacity=describe_capacity(wellness),
        queues=app[BROKER].sizes,
        fill=watch.status if (watch := app.get(WATCH)) is not None else None,
        windows=describe_windows(state).windows,
        workers=describe_workers(state).workers,
        stores=describe_stores(state, wellness).stores,
        responses={name: totals[f"responses_{name}"] for name in _RESPONSES},
        bytes={name: totals[f"bytes_{name}"] for name in PATHS},
        closed=[each for each in describe_connections(state).closed if each.count],
        ledger=ledger,
        history=describe_history(app[HISTORY]).events[:_EVENTS],
        routes=routes.values if routes.expected or routes.sessions.peers else None,
    )


async def sum_ledger(app: web.Application) -> DashboardLedger | None:
    """The networks that took most in a day; None where no ledger is kept."""
    collector = app.get(LEDGER)
    if collector is None:
        return None
    now = time.time()
    work = partial(collector.summarize, now - _DAY_S, now, top=_TOP_NETWORKS)
    summary = await app[READERS].read(work)
    table = app[SERVICE].table
    routes = {row.network: route_of(table, row.network) for row in summary.networks}
    return DashboardLedger(total=summary.total, networks=summary.networks, routes=routes)
