"""Where the application for operators has what its endpoints need."""

from __future__ import annotations

from aiohttp import web

from ocaserve.fleet.membership import FleetState

FLEET: web.AppKey[FleetState] = web.AppKey("FLEET", FleetState)
