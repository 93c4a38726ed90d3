"""How the appliance is: for a person, a control plane, a load balancer."""

from __future__ import annotations

from aiohttp import web

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.views.status import Status, describe_status


async def show_status(call: Call) -> Status:
    return describe_status(call.request.app)


async def answer_healthz(call: Call) -> web.Response:
    """For load balancers: the status is the answer, the word is for people."""
    word = call.state.word
    return web.Response(status=200 if word == "serving" else 503, text=f"{word}\n")


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/status", show_status, "The appliance at a glance", Status, lane=Lane.VITAL
    ),
    Endpoint(
        "GET",
        "/healthz",
        answer_healthz,
        "200 and `serving` when clients should be sent here, else 503 and why, in a word",
        "the state in one word",
        role=Role.ANYONE,
        media="text/plain",
        says_no_by=(503,),
        lane=Lane.VITAL,
    ),
)
