"""From a function to a route: what it takes and gives, who may call it, what is refused.

A `Route` is a record, so that the OpenAPI document says what the code does: the types that it names
are those by which bodies and queries are decoded and answers encoded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Struct

from ocaserve.control.auth import Role
from ocaserve.control.problems import Problem, answer_problem, problem_from_aiohttp
from ocaserve.control.state import STATE, ControlState

_log = logging.getLogger(__name__)

_RESTART_S = 5.0  # before background work that failed is tried again
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a handler gets it: `body` and `query` are of the types its route names."""

    request: web.Request
    state: ControlState
    body: Any = None
    query: Any = None

    @property
    def path(self) -> web.UrlMappingMatchInfo:
        """The parts of the path that the route names in braces."""
        return self.request.match_info


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    answer: the Struct that the handler returns, or what it is in words for another `media` type.
    role: needed to call it. refuses: statuses of the problems that the handler raises, beside those
    that any route may answer (400, 401, 403, 413, 415, 421, 422, 503).
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Any]]
    summary: str
    answer: Any = None
    status: int = 200
    role: Role = Role.READ
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    media: str = _JSON
    refuses: tuple[int, ...] = ()


ROUTES: web.AppKey[list[Route]] = web.AppKey("ROUTES", list)
SILENT: web.AppKey[set[web.RequestHandler]] = web.AppKey("SILENT", set)
"""Connections on which no request has begun yet."""


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Offer these. HEAD comes with GET."""
    for route in routes:
        app[ROUTES].append(route)
        handle = _as_aiohttp(route)
        if route.method == "GET":
            app.router.add_get(route.path, handle)
        else:
            app.router.add_route(route.method, route.path, handle)


def _as_aiohttp(route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        state.guard.check(request, route.role)
        call = Call(request, state, await _read_body(request, route), _read_query(request, route))
        answer = await route.handler(call)
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.Response(
            status=route.status, body=msgspec.json.encode(answer), content_type=_JSON
        )

    return handle


async def _read_body(request: web.Request, route: Route) -> Any:
    """The body as the route wants it; none at all is an object without members."""
    if route.body is None:
        return None
    data = await request.read()
    if data and request.content_type != _JSON:
        raise Problem(415, f"the body must be {_JSON}", headers={"Accept-Post": _JSON})
    try:
        return msgspec.json.decode(data or b"{}", type=route.body)
    except msgspec.ValidationError as error:
        raise Problem(422, f"the body: {error}") from error
    except msgspec.DecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from error


def _read_query(request: web.Request, route: Route) -> Any:
    if route.query is None:
        return None
    if len(set(request.query)) < len(request.query):
        raise Problem(400, "the query: each parameter may stand once")
    try:
        return msgspec.convert(dict(request.query), route.query, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, f"the query: {error}") from error


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
    except asyncio.CancelledError:
        raise
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response()  # the client has gone, as those of streams do: nobody hears it
    except Exception:  # noqa: BLE001 - the border: a defect of one route is not the others'
        _log.exception("control: %s %s failed", request.method, request.path)
        return answer_problem(Problem(500, "a defect of the appliance; its log has more"))


async def add_common_fields(_: web.Request, response: web.StreamResponse) -> None:
    """Let no answer be kept or guessed at, and none tell more of us than our name."""
    response.headers["Server"] = "ocaserve"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


def limit_requests(most: int) -> Middleware:
    """A middleware that refuses what comes while so many requests are being answered."""
    running = 0

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal running
        request.app[SILENT].discard(request.protocol)
        if running >= most:
            raise Problem(
                503, "control.requests_in_flight are being answered", headers={"Retry-After": "1"}
            )
        running += 1
        try:
            return await handler(request)
        finally:
            running -= 1

    return limit


# -- beside requests -----------------------------------------------------------------------------


def run_in_background(
    app: web.Application, name: str, work: Callable[[web.Application], Awaitable[None]]
) -> None:
    """Do `work` for as long as the app runs. What it raises is logged, and it is begun again."""

    async def go_on() -> None:
        while True:
            try:
                await work(app)
            except Exception:  # noqa: BLE001 - likewise of one part's work
                _log.exception("control: %s failed, and is begun again", name)
                await asyncio.sleep(_RESTART_S)
            else:
                return

    async def context(_: web.Application) -> Any:
        task = asyncio.create_task(go_on(), name=name)
        yield
        task.cancel()
        await asyncio.wait([task])

    app.cleanup_ctx.append(context)
