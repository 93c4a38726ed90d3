"""The endpoints by which an operator keeps clients from appliances."""

from __future__ import annotations

import time
from collections.abc import Iterable

from aiohttp import web

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.problems import Problem
from ocaserve.fleet.app_keys import FLEET
from ocaserve.fleet.fleet_shapes import DrainList, DrainRequest, DrainShown, EnableRequest
from ocaserve.fleet.membership import FleetDrain, FleetState
from ocaserve.fleet.shared_state import SharedState, SharedStateError

SHARED: web.AppKey[SharedState] = web.AppKey("SHARED", SharedState)
"""Where several instances share what they know."""


async def drain(call: Call) -> DrainList:
    """Clients are sent elsewhere from the next answer on; those that are there play on."""
    return await _change(call, FleetDrain(call.body.reason, time.time()))


async def enable(call: Call) -> DrainList:
    return await _change(call, None)


async def _change(call: Call, wanted: FleetDrain | None) -> DrainList:
    """Of all instances or of none: what one alone knew would be undone by the next one to join."""
    app = call.request.app
    state = app[FLEET]
    names = find_appliances(state, call.body.appliances, call.body.sites)
    if (shared := app.get(SHARED)) is None:
        state.drain(names, wanted)
    else:
        try:
            await shared.drain(names, wanted)
        except SharedStateError as error:
            raise Problem(
                503, f"the server that instances share does not answer, nothing is changed: {error}"
            ) from error
    return show_drains(state)


async def list_drains(call: Call) -> DrainList:
    return show_drains(call.request.app[FLEET])


def show_drains(state: FleetState) -> DrainList:
    return DrainList(
        drains=[
            DrainShown(appliance=name, reason=each.reason, since=each.since)
            for name, each in sorted(state.drains.items())
        ]
    )


def find_appliances(
    state: FleetState, appliances: Iterable[str], sites: Iterable[str]
) -> frozenset[str]:
    """Those that are named, and all of the sites. Raises Problem, which names the unknown ones."""
    known = state.members.keys() | state.roster.keys() | state.drains.keys()
    by_site: dict[str, set[str]] = {name: set() for name in state.sites}
    for name in state.members:
        by_site.setdefault(state.site_of(name).id, set()).add(name)
    faults = [f"appliances: {name!r} is not known" for name in appliances if name not in known]
    faults += [f"sites: {name!r} is not known" for name in sites if name not in by_site]
    if faults:
        raise Problem(422, "the body: what is not known here", faults=faults[:20])
    return frozenset(appliances).union(*(by_site[name] for name in sites))


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/drain", drain, "Keep clients from appliances", DrainList, body=DrainRequest,
        role=Role.OPERATE, refuses=(503,),
    ),
    Endpoint(
        "POST", "/v1/enable", enable, "No longer keep clients from appliances", DrainList,
        body=EnableRequest, role=Role.OPERATE, refuses=(503,),
    ),
    Endpoint("GET", "/v1/drains", list_drains, "Whom clients are kept from here", DrainList),
)  # fmt: skip
