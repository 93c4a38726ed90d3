"""The dashboard: a page, and a stream of what it shows.

A snapshot is made and encoded once a second, while anybody looks, and sent to all who do: a
hundred open pages cost a hundred writes. The page is for anyone, since it holds no figures; the
stream is for who may read, and the page sends a token with it where one is needed.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from importlib import resources
from typing import Any

import msgspec
from aiohttp import web

from ocaserve.control.auth import Role
from ocaserve.control.bookkeeping import LEDGER
from ocaserve.control.handlers.health import describe_health
from ocaserve.control.handlers.history import HISTORY, describe_history
from ocaserve.control.handlers.routes import SERVICE
from ocaserve.control.handlers.status import describe_status
from ocaserve.control.handlers.views import (
    describe_connections,
    describe_stores,
    describe_workers,
)
from ocaserve.control.routing import Call, Route, add_routes, run_in_background
from ocaserve.control.state import STATE
from ocaserve.control.wellness import wellness_of
from ocaserve.steering.lookup import route_of

_INTERVAL_S = 1.0
_LEDGER_S = 10.0  # between two sums of the ledger, which reads files
_DAY_S = 86_400
_TOP_NETWORKS = 8
_EVENTS = 12
_RESPONSES = ("2xx", "3xx", "4xx", "5xx")
_PATHS = ("sendfile_hot", "sendfile_cold", "ktls", "copied")

# Nothing from elsewhere, nothing inline, and no page of another site around this one.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Snapshots:
    """The latest snapshot, as an event, for all who look."""

    def __init__(self) -> None:
        self.viewers = 0
        self.latest = b""
        self.ledger: Any = None
        self._ledger_at = 0.0
        self._made_at = 0.0
        self._next: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until there is a new one."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._next])

    async def renew(self, app: web.Application) -> None:
        """Make one, unless the latest is young, and wake those who wait."""
        now = time.monotonic()
        if now - self._made_at < _INTERVAL_S / 2:
            return
        self._made_at = now
        if now - self._ledger_at >= _LEDGER_S:
            self._ledger_at = now
            self.ledger = await sum_ledger(app)
        self.latest = b"data: " + msgspec.json.encode(describe(app, self.ledger)) + b"\n\n"
        if self._next is not None:
            self._next.set_result(None)
            self._next = None


SNAPSHOTS = web.AppKey("SNAPSHOTS", Snapshots)


def describe(app: web.Application, ledger: Any) -> dict[str, Any]:
    """All that the page shows, as it is now. `ledger`: the top networks, or None."""
    state = app[STATE]
    totals = state.counters.totals()
    closed = describe_connections(state).closed
    routes = app[SERVICE]
    return {
        "status": describe_status(state),
        "health": describe_health(wellness_of(app)),
        "workers": describe_workers(state).workers,
        "stores": describe_stores(state, wellness_of(app)).stores,
        "responses": {name: totals[f"responses_{name}"] for name in _RESPONSES},
        "bytes": {name: totals[f"bytes_{name}"] for name in _PATHS},
        "closed": [each for each in closed if each.count],
        "ledger": ledger,
        "history": describe_history(app[HISTORY]).events[:_EVENTS],
        "routes": routes.values if routes.expected or routes.sessions.peers else None,
    }


async def sum_ledger(app: web.Application) -> Any:
    """The networks that took most in a day; None where no ledger is kept."""
    collector = app.get(LEDGER)
    if collector is None:
        return None
    now = time.time()
    work = partial(collector.summarize, now - _DAY_S, now, top=_TOP_NETWORKS)
    summary = await asyncio.get_running_loop().run_in_executor(None, work)
    table = app[SERVICE].table
    routes = {row.network: route_of(table, row.network) for row in summary.networks}
    return {"total": summary.total, "networks": summary.networks, "routes": routes}


async def show_dashboard(call: Call) -> dict[str, Any]:
    return describe(call.request.app, await sum_ledger(call.request.app))


async def stream_dashboard(call: Call) -> web.StreamResponse:
    """One event a second, each the whole of what `/v1/dashboard` tells."""
    snapshots = call.request.app[SNAPSHOTS]
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(call.request)
    snapshots.viewers += 1
    try:
        await snapshots.renew(call.request.app)
        while True:
            await response.write(snapshots.latest)
            await snapshots.wait()
    finally:
        snapshots.viewers -= 1


def _page_route(path: str, file: str, media: str) -> Route:
    """A file of the page, read when the program starts."""
    data = (resources.files("ocaserve.control") / "dashboard" / file).read_bytes()

    async def show(_: Call) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
        return web.Response(body=data, content_type=media, charset="utf-8", headers=headers)

    summary = f"The dashboard: {file}"
    return Route("GET", path, show, summary, "a file", role=Role.ANYONE, media=media)


ROUTES = (
    _page_route("/", "index.html", "text/html"),
    _page_route("/dashboard/style.css", "style.css", "text/css"),
    _page_route("/dashboard/script.js", "script.js", "text/javascript"),
    Route("GET", "/v1/dashboard", show_dashboard, "What the dashboard shows", dict[str, Any]),
    Route(
        "GET",
        "/v1/dashboard/events",
        stream_dashboard,
        "The same each second, as server-sent events",
        "events without a name",
        media="text/event-stream",
    ),
)


async def _renew_while_watched(app: web.Application) -> None:
    while True:
        await asyncio.sleep(_INTERVAL_S)
        if app[SNAPSHOTS].viewers:
            await app[SNAPSHOTS].renew(app)


def register(app: web.Application) -> None:
    app[SNAPSHOTS] = Snapshots()
    add_routes(app, ROUTES)
    run_in_background(app, "dashboard", _renew_while_watched)
