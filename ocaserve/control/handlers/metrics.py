"""Everything that is counted."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane


async def show_metrics(call: Call) -> web.Response:
    body = generate_latest(call.state.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


ENDPOINTS = (
    Endpoint(
        "GET", "/metrics", show_metrics, "Everything that is counted, for Prometheus",
        "Prometheus' text format", media="text/plain", lane=Lane.VITAL,
    ),
)  # fmt: skip
