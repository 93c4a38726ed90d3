"""Taking the appliance out of service and back, and other settings."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.maintenance import MOST_WINDOWS, find_window_fault
from ocaserve.control.problems import Problem
from ocaserve.control.schemas import Time, as_time
from ocaserve.control.views.maintenance import (
    Windows,
    WindowShown,
    describe_window,
    describe_windows,
)
from ocaserve.control.views.status import Status, describe_status
from ocaserve.lifecycle import Phase

# It stands in logs and on terminals: no control characters.
_Reason = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]


class DrainRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`deadline`: when new requests are turned away, that of `drain.deadline_s` without it.

    `until`: when it ends by itself.
    """

    reason: _Reason = ""
    deadline: Time | None = None
    until: Time | None = None


class NoMembers(Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object, or no body at all."""


class WindowRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From `start` to `end` the appliance is out of service."""

    start: Time
    end: Time
    reason: _Reason = ""


class Reload(Struct, frozen=True, kw_only=True):
    """The last reload. `outcome`: none, running, done, refused or undone.

    `faults`: why not; where it is done, what it goes on without.
    """

    outcome: str
    at: datetime | None
    faults: list[str]


async def drain(call: Call) -> Status:
    now = time.time()
    wanted: DrainRequest = call.body
    until = None if wanted.until is None else wanted.until.timestamp()
    if until is not None and until <= now:
        raise Problem(422, "until: must be in the future")
    deadline = None if wanted.deadline is None else wanted.deadline.timestamp()
    call.state.operations.drain(wanted.reason, deadline=deadline, until=until)
    await call.state.link.flush()  # who is answered can count on it
    return describe_status(call.request.app)


async def enable(call: Call) -> Status:
    call.state.operations.enable()
    await call.state.link.flush()
    return describe_status(call.request.app)


async def list_windows(call: Call) -> Windows:
    return describe_windows(call.state)


async def add_window(call: Call) -> WindowShown:
    wanted: WindowRequest = call.body
    operations = call.state.operations
    start, end = wanted.start.timestamp(), wanted.end.timestamp()
    if fault := find_window_fault(start, end, time.time()):
        raise Problem(422, fault)
    if len(operations.intent.windows) >= MOST_WINDOWS:
        raise Problem(409, f"there are {MOST_WINDOWS} maintenance windows already")
    window = operations.add_window(start, end, wanted.reason)
    await call.state.link.flush()
    return describe_window(window)


async def cancel_window(call: Call) -> web.Response:
    operations = call.state.operations
    for window in operations.intent.windows:
        if window.id == call.path["id"]:
            operations.cancel_window(window)
            await call.state.link.flush()
            return web.Response(status=204)
    raise Problem(404, f"there is no maintenance window {call.path['id'][:60]!r}")


async def reload(call: Call) -> Reload:
    """The answer comes before the outcome, which GET tells: this process may be replaced."""
    if call.state.appliance.phase is not Phase.SERVING:
        raise Problem(409, f"the appliance is {call.state.lifecycle}")
    call.state.link.ask("reload")
    return Reload(outcome="running", at=as_time(time.time()), faults=[])


async def show_reload(call: Call) -> Reload:
    last = call.state.appliance.reload
    if not last.outcome:
        return Reload(outcome="none", at=None, faults=[])
    return Reload(outcome=last.outcome, at=as_time(last.at), faults=last.faults)


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/drain", drain, "Take the appliance out of service, or change how", Status,
        role=Role.OPERATE, lane=Lane.VITAL, body=DrainRequest,
    ),
    Endpoint(
        "POST", "/v1/enable", enable, "Take the appliance back into service", Status,
        role=Role.OPERATE, lane=Lane.VITAL, body=NoMembers,
    ),
    Endpoint(
        "GET", "/v1/maintenance", list_windows, "Maintenance windows to come", Windows,
        lane=Lane.VITAL,
    ),
    Endpoint(
        "POST", "/v1/maintenance", add_window, "Plan a maintenance window", WindowShown,
        status=201, role=Role.OPERATE, lane=Lane.VITAL, body=WindowRequest, refuses=(409,),
    ),
    Endpoint(
        "DELETE", "/v1/maintenance/{id}", cancel_window, "Cancel a maintenance window",
        status=204, role=Role.OPERATE, lane=Lane.VITAL, refuses=(404,),
    ),
    Endpoint(
        "GET", "/v1/reload", show_reload, "How the last reload went", Reload, lane=Lane.VITAL
    ),
    Endpoint(
        "POST", "/v1/reload", reload, "Read the settings again", Reload,
        status=202, role=Role.OPERATE, lane=Lane.VITAL, body=NoMembers, refuses=(409,),
    ),
)  # fmt: skip
