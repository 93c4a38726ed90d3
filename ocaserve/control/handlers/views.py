"""What there is: workers, stores, connections, limits, settings."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from ocaserve.control.routing import Call, Route, add_routes
from ocaserve.control.schemas import as_time
from ocaserve.control.state import ControlState
from ocaserve.control.wellness import Wellness, wellness_of
from ocaserve.schema import is_secret
from ocaserve.serving.closing import CloseReason
from ocaserve.settings import Limits

_HIDDEN = "(hidden)"


class WorkerShown(Struct, frozen=True, kw_only=True):
    """One worker process."""

    place: int
    pid: int
    generation: int
    state: str
    started: datetime
    connections: int
    open_files: int
    loop_lag_s: float


class WorkerList(Struct, frozen=True, kw_only=True):
    """By place, the oldest first. `resting`: places that wait after a death."""

    wanted: int
    resting: int
    workers: list[WorkerShown]


class ServiceShown(Struct, frozen=True, kw_only=True):
    """A process beside the workers."""

    name: str
    pid: int
    state: str
    deaths: int


class Services(Struct, frozen=True, kw_only=True):
    """The processes beside the workers."""

    services: list[ServiceShown]


class StoreShown(Struct, frozen=True, kw_only=True):
    """A directory of content. `bytes`: what was sent from it since the start.

    `level`: ok, warning or error, as health has it; null before the first look. Room is null where
    nothing is to be written.
    """

    path: str
    bytes: int
    level: str | None
    reason: str
    free_bytes: int | None
    size_bytes: int | None


class Stores(Struct, frozen=True, kw_only=True):
    """`failed`: stores that a worker holds for failed, added up over the workers."""

    stores: list[StoreShown]
    failed: int


class Closed(Struct, frozen=True, kw_only=True):
    """Connections that have ended for one reason."""

    reason: str
    is_error: bool
    meaning: str
    count: int


class Connections(Struct, frozen=True, kw_only=True):
    """Open ones now, and those that have ended since the start, by reason."""

    open: int
    responding: int
    accepted: int
    closed: list[Closed]


class LimitShown(Struct, frozen=True, kw_only=True):
    """A limit, what is in force, and why there is one."""

    name: str
    value: float
    unit: str
    reason: str


class LimitList(Struct, frozen=True, kw_only=True):
    """What one client may cost; see `[serve.limits]`."""

    limits: list[LimitShown]


async def list_workers(call: Call) -> WorkerList:
    return describe_workers(call.state)


def describe_workers(state: ControlState) -> WorkerList:
    """The workers there are now, by place."""
    rows = sorted(state.appliance.workers, key=lambda worker: (worker.place, worker.started))
    return WorkerList(
        wanted=state.appliance.wanted,
        resting=state.appliance.resting,
        workers=[
            WorkerShown(
                place=row.place,
                pid=row.pid,
                generation=row.generation,
                state=row.state,
                started=as_time(row.started + state.monotonic_offset),
                connections=(gauges := state.counters.gauges_of(row.slot))["connections"],
                open_files=gauges["open_files"],
                loop_lag_s=gauges["loop_lag_us"] / 1e6,
            )
            for row in rows
        ],
    )


async def list_services(call: Call) -> Services:
    rows = call.state.appliance.services
    return Services(
        services=[
            ServiceShown(name=row.name, pid=row.pid, state=row.state, deaths=row.deaths)
            for row in rows
        ]
    )


async def list_stores(call: Call) -> Stores:
    return describe_stores(call.state, wellness_of(call.request.app))


def describe_stores(state: ControlState, wellness: Wellness) -> Stores:
    """How the stores are, and what was sent from each."""
    sent = state.counters.labelled("store_bytes")
    return Stores(
        stores=[
            StoreShown(
                path=store.path,
                bytes=sent.get(store.path, 0),
                level=None if store.level is None else store.level.label,
                reason=store.reason,
                free_bytes=store.free,
                size_bytes=store.total,
            )
            for store in wellness.stores()
        ],
        failed=state.counters.totals()["stores_failed"],
    )


async def show_connections(call: Call) -> Connections:
    return describe_connections(call.state)


def describe_connections(state: ControlState) -> Connections:
    """Those that are open, and why others ended."""
    totals = state.counters.totals()
    return Connections(
        open=totals["connections"],
        responding=totals["responding"],
        accepted=totals["accepted"],
        closed=[
            Closed(
                reason=reason.label,
                is_error=reason.is_error,
                meaning=reason.value.meaning,
                count=totals[f"close_{reason.label}"],
            )
            for reason in CloseReason
        ],
    )


async def list_limits(call: Call) -> LimitList:
    limits = call.state.settings.serve.limits
    hints = typing.get_type_hints(Limits, include_extras=True)
    return LimitList(
        limits=[
            LimitShown(
                name=name, value=getattr(limits, name), unit=unit, reason=meta.description or ""
            )
            for name, hint in hints.items()
            for meta in _metas(hint)
            if (unit := str((meta.extra or {}).get("unit", "")))
        ]
    )


def _metas(hint: Any) -> Iterator[Meta]:
    return (part for part in typing.get_args(hint)[1:] if isinstance(part, Meta))


async def show_settings(call: Call) -> dict[str, Any]:
    return describe_settings_in_force(call.state)


def describe_settings_in_force(state: ControlState) -> dict[str, Any]:
    """All of them as JSON values, without what must not be known."""
    return _hide(state.settings)


def _hide(record: Struct) -> dict[str, Any]:
    hints = typing.get_type_hints(type(record), include_extras=True)
    return {
        name: _HIDDEN if is_secret(hint) and getattr(record, name) else _show(getattr(record, name))
        for name, hint in hints.items()
    }


def _show(value: Any) -> Any:
    if isinstance(value, Struct):
        return _hide(value)
    if isinstance(value, list | tuple):
        return [_show(element) for element in value]
    return msgspec.to_builtins(value)


ROUTES = (
    Route("GET", "/v1/workers", list_workers, "The serving processes", WorkerList),
    Route("GET", "/v1/services", list_services, "The processes beside the workers", Services),
    Route("GET", "/v1/stores", list_stores, "The directories of content", Stores),
    Route(
        "GET", "/v1/connections", show_connections, "Connections, and how they ended", Connections
    ),
    Route("GET", "/v1/limits", list_limits, "What one client may cost", LimitList),
    Route(
        "GET", "/v1/settings", show_settings, "The settings in force, secrets hidden",
        dict[str, Any],
    ),
)  # fmt: skip


def register(app: web.Application) -> None:
    add_routes(app, ROUTES)
