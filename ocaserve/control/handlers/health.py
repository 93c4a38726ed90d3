"""Health with its reasons, and what can still be taken."""

from __future__ import annotations

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.views.health import (
    CapacityShown,
    HealthShown,
    describe_capacity,
    describe_health,
)
from ocaserve.control.wellness import wellness_of


async def show_health(call: Call) -> HealthShown:
    return describe_health(wellness_of(call.request.app))


async def show_capacity(call: Call) -> CapacityShown:
    return describe_capacity(wellness_of(call.request.app))


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/health", show_health, "Whether it can take traffic, and why not", HealthShown,
        lane=Lane.VITAL,
    ),
    Endpoint(
        "GET", "/v1/capacity", show_capacity, "What it can still take", CapacityShown,
        lane=Lane.VITAL,
    ),
)  # fmt: skip
