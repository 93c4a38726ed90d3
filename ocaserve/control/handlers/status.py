"""How the appliance is: for a person, a control plane, a load balancer."""

from __future__ import annotations

from aiohttp import web

from ocaserve import __version__
from ocaserve.control.auth import Role
from ocaserve.control.routing import Call, Route, add_routes
from ocaserve.control.schemas import Status, Workers, as_time, maybe_time
from ocaserve.control.state import ControlState


async def show_status(call: Call) -> Status:
    return describe_status(call.state)


def describe_status(state: ControlState) -> Status:
    """The appliance at a glance."""
    appliance, duty, traffic = state.appliance, state.duty, state.traffic
    states = [worker.state for worker in appliance.workers]
    return Status(
        id=state.settings.appliance.id,
        site=state.settings.appliance.site,
        version=__version__,
        state=state.lifecycle,
        since=as_time(max(duty.since, appliance.started)),
        reason=duty.reason,
        takes_traffic=state.takes_traffic,
        drain_until=maybe_time(duty.until),
        drain_deadline=maybe_time(duty.deadline),
        started=as_time(appliance.started),
        listen=appliance.listen,
        workers=Workers(
            wanted=appliance.wanted,
            serving=states.count("serving"),
            draining=states.count("draining"),
            deaths=appliance.deaths,
        ),
        connections=traffic.connections,
        bits_per_s=round(traffic.bits_per_s),
        requests_per_s=round(traffic.requests_per_s, 1),
        generation=appliance.generation,
    )


async def answer_healthz(call: Call) -> web.Response:
    """For load balancers: the status is the answer, the word is for people."""
    state = call.state
    return web.Response(status=200 if state.takes_traffic else 503, text=f"{state.lifecycle}\n")


ROUTES = (
    Route("GET", "/v1/status", show_status, "The appliance at a glance", Status),
    Route(
        "GET",
        "/healthz",
        answer_healthz,
        "200 when clients should be sent here, else 503",
        "the state in one word",
        role=Role.ANYONE,
        media="text/plain",
        refuses=(503,),
    ),
)


def register(app: web.Application) -> None:
    add_routes(app, ROUTES)
