"""From a function to an endpoint: what it takes and gives, who may call it, what is refused.

An `Endpoint` is a record, so that the OpenAPI document says what the code does: the types that it
names are those by which bodies and queries are decoded and answers encoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct

from ocaserve.control.auth import Guard, Role
from ocaserve.control.bodies import decode_body, read_body, wait_with_continue
from ocaserve.control.connections import CallerEvent, ConnectionTable
from ocaserve.control.contained_defects import ControlDefects
from ocaserve.control.lanes import Lane, Lanes
from ocaserve.control.problems import Problem, answer_problem, problem_from_aiohttp
from ocaserve.control.queries import convert_query
from ocaserve.control.state import STATE, ControlState
from ocaserve.settings import Control

_RESTART_S = 5.0  # before background work that failed is tried again
_JSON = "application/json"
_SMALL_BODY_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a handler gets it: `body` and `query` are of the types its endpoint names."""

    request: web.Request
    body: Any = None
    query: Any = None

    @property
    def state(self) -> ControlState:
        """Of the appliance, where the application is its control."""
        return self.request.app[STATE]

    @property
    def path(self) -> web.UrlMappingMatchInfo:
        """The parts of the path that the endpoint names in braces."""
        return self.request.match_info


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    handler: a coroutine that is given a `Call`; of addresses for clients see `fleet.client_desk`.
    answer: the Struct that the handler returns, or what it is in words for another `media` type.
    role: needed to call it. refuses: statuses of the problems that the handler raises, beside those
    that any endpoint may answer (400, 401, 403, 413, 415, 421, 422, 503).
    says_no_by: statuses by which the answer itself says no, in the same media type.
    lane: where it counts while it is answered. is_large: its body may have `control.body_bytes`.
    is_passed_on: the handler gets the body as it came, since another process reads it.
    """

    method: str
    path: str
    handler: Callable[[Any], Any]
    summary: str
    answer: Any = None
    status: int = 200
    role: Role = Role.READ
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    media: str = _JSON
    refuses: tuple[int, ...] = ()
    says_no_by: tuple[int, ...] = ()
    lane: Lane = Lane.READING
    is_large: bool = False
    is_passed_on: bool = False

    @property
    def is_endless(self) -> bool:
        """Whether the answer lasts for as long as its reader likes."""
        return self.media == "text/event-stream"


OFFERED: web.AppKey[list[Endpoint]] = web.AppKey("OFFERED", list)
CONNECTIONS: web.AppKey[ConnectionTable] = web.AppKey("CONNECTIONS", ConnectionTable)
DEFECTS: web.AppKey[ControlDefects] = web.AppKey("DEFECTS", ControlDefects)
LANES: web.AppKey[Lanes] = web.AppKey("LANES", Lanes)
GUARD: web.AppKey[Guard] = web.AppKey("GUARD", Guard)
LIMITS: web.AppKey[Control] = web.AppKey("LIMITS", Control)


def new_app(control: Control, guard: Guard) -> web.Application:
    """An application that offers nothing yet, with all that stands around every endpoint."""
    app = web.Application(middlewares=[watch_connection, tell_problems])
    app.on_response_prepare.append(add_common_fields)
    app[OFFERED] = []
    app[GUARD], app[LIMITS] = guard, control
    app[CONNECTIONS] = connections = ConnectionTable(control)
    app[LANES] = Lanes(control)
    app[DEFECTS] = ControlDefects()
    run_in_background(app, "connections", lambda _: connections.keep_looking())
    return app


def offer(app: web.Application, endpoints: Iterable[Endpoint]) -> None:
    """Offer these. HEAD comes with GET."""
    for endpoint in endpoints:
        known = {(each.method, each.path) for each in app[OFFERED]}
        assert (endpoint.method, endpoint.path) not in known, "the first one would hide it"
        app[OFFERED].append(endpoint)
        handle = _as_aiohttp(endpoint)
        if endpoint.method == "GET":
            app.router.add_get(endpoint.path, handle, expect_handler=wait_with_continue)
        else:
            app.router.add_route(
                endpoint.method, endpoint.path, handle, expect_handler=wait_with_continue
            )


def _as_aiohttp(endpoint: Endpoint) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        request.app[GUARD].check(request, endpoint.role)  # before anything of it is read
        with request.app[LANES].enter(endpoint.lane):
            query = _read_query(request, endpoint)
            if endpoint.is_endless:
                request.app[CONNECTIONS].tell(request, CallerEvent.STREAM)
            body = await _read_body(request, endpoint)
            answer = await endpoint.handler(Call(request, body, query))
        if isinstance(answer, web.StreamResponse):
            return answer
        assert answer is not None, f"{endpoint.method} {endpoint.path} has told nothing"
        return web.Response(
            status=endpoint.status, body=msgspec.json.encode(answer), content_type=_JSON
        )

    return handle


async def _read_body(request: web.Request, endpoint: Endpoint) -> Any:
    """The body as the endpoint wants it; None where it wants none."""
    if endpoint.body is None:
        return None
    control = request.app[LIMITS]
    most = control.body_bytes if endpoint.is_large else min(control.body_bytes, _SMALL_BODY_BYTES)
    data = await read_body(request, most, control.body_s)
    if data and request.content_type != _JSON:
        raise Problem(415, f"the body must be {_JSON}", headers={"Accept-Post": _JSON})
    if endpoint.is_passed_on:
        return data
    return decode_body(data, endpoint.body)


def _read_query(request: web.Request, endpoint: Endpoint) -> Any:
    return None if endpoint.query is None else convert_query(request.query.items(), endpoint.query)


# -- around every request ------------------------------------------------------------------------


@web.middleware
async def tell_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what was raised, whoever raised it."""
    try:
        return await handler(request)
    except Problem as problem:
        return answer_problem(problem)
    except web.HTTPException as error:
        return answer_problem(problem_from_aiohttp(error))
    except web.RequestPayloadError:
        return answer_problem(Problem(400, "the body is not framed as HTTP/1.1 has it"))
    except asyncio.CancelledError:
        raise
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response()  # the client has gone, as those of streams do: nobody hears it
    except Exception as defect:  # noqa: BLE001 - the border: the others go on
        request.app[DEFECTS].contain(_name_of(request), defect)
        return answer_problem(Problem(500, "a defect of the appliance; its log has more"))


def _name_of(request: web.Request) -> str:
    """The endpoint's method and path, as it was registered: a client cannot make new ones."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else 'elsewhere'}"


async def add_common_fields(_: web.Request, response: web.StreamResponse) -> None:
    """Let no answer be kept or guessed at, and none tell more of us than our name."""
    response.headers["Server"] = "ocaserve"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


@web.middleware
async def watch_connection(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have the connection's times follow the request."""
    connections = request.app[CONNECTIONS]
    connections.tell(request, CallerEvent.REQUEST)
    try:
        return await handler(request)
    finally:
        connections.tell(request, CallerEvent.ANSWERED)


# -- beside requests -----------------------------------------------------------------------------


def run_in_background(
    app: web.Application, name: str, work: Callable[[web.Application], Awaitable[None]]
) -> None:
    """Do `work` for as long as the app runs. What it raises is logged, and it is begun again."""

    async def go_on() -> None:
        while True:
            try:
                await work(app)
            except Exception as defect:  # noqa: BLE001 - likewise of one part's work
                app[DEFECTS].contain(name, defect)
                await asyncio.sleep(_RESTART_S)
            else:
                return

    async def context(_: web.Application) -> Any:
        task = asyncio.create_task(go_on(), name=name)
        yield
        task.cancel()
        await asyncio.wait([task])

    app.cleanup_ctx.append(context)
