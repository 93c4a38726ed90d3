"""Snapshots of what the dashboard shows, for all who look.

One is made and encoded once a second, while anybody looks, and sent to all who do: a hundred open
pages cost a hundred writes.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from aiohttp import web

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.views.dashboard import DashboardLedger, describe_dashboard, sum_ledger

_INTERVAL_S = 1.0
_LEDGER_S = 10.0  # between two sums of the ledger, which reads files


class Snapshots:
    """The latest snapshot, as an event, for all who look."""

    def __init__(self) -> None:
        self.viewers = 0
        self.latest = b""
        self.ledger: DashboardLedger | None = None
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
        self.latest = (
            b"data: " + msgspec.json.encode(describe_dashboard(app, self.ledger)) + b"\n\n"
        )
        if self._next is not None:
            self._next.set_result(None)
            self._next = None


SNAPSHOTS = web.AppKey("SNAPSHOTS", Snapshots)


def start_snapshots(app: web.Application) -> None:
    """Renew them while anybody looks."""
    app[SNAPSHOTS] = Snapshots()
    run_in_background(app, "dashboard", _renew_while_watched)


async def _renew_while_watched(app: web.Application) -> None:
    while True:
        await asyncio.sleep(_INTERVAL_S)
        if app[SNAPSHOTS].viewers:
            await app[SNAPSHOTS].renew(app)
