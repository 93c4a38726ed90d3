"""What there is: workers, stores, connections, limits, settings."""

from __future__ import annotations

from typing import Any

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.views.connections import Connections, describe_connections
from ocaserve.control.views.processes import (
    Services,
    WorkerList,
    describe_services,
    describe_workers,
)
from ocaserve.control.views.settings import (
    LimitList,
    describe_limits,
    describe_settings_in_force,
)
from ocaserve.control.views.stores import Stores, describe_stores
from ocaserve.control.wellness import wellness_of


async def list_workers(call: Call) -> WorkerList:
    return describe_workers(call.state)


async def list_services(call: Call) -> Services:
    return describe_services(call.state)


async def list_stores(call: Call) -> Stores:
    return describe_stores(call.state, wellness_of(call.request.app))


async def show_connections(call: Call) -> Connections:
    return describe_connections(call.state)


async def list_limits(call: Call) -> LimitList:
    return describe_limits(call.state)


async def show_settings(call: Call) -> dict[str, Any]:
    return describe_settings_in_force(call.state)


ENDPOINTS = (
    Endpoint("GET", "/v1/workers", list_workers, "The serving processes", WorkerList),
    Endpoint("GET", "/v1/services", list_services, "The processes beside the workers", Services),
    Endpoint("GET", "/v1/stores", list_stores, "The directories of content", Stores),
    Endpoint(
        "GET", "/v1/connections", show_connections, "Connections, and how they ended", Connections
    ),
    Endpoint("GET", "/v1/limits", list_limits, "What one client may cost", LimitList),
    Endpoint(
        "GET", "/v1/settings", show_settings, "The settings in force, secrets hidden",
        dict[str, Any],
    ),
)  # fmt: skip
