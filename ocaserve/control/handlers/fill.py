"""Fill, as operators and the control plane see it; the process `fill` answers behind us.

It reads large manifests and works for hours, and is another process so that nobody here waits for
it. While it is replaced, calls hear 503.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import aiohttp
import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.fill_watch import WATCH, FillWatch
from ocaserve.control.problems import Problem
from ocaserve.fill.manifest import Entry, Manifest, manifest_schema
from ocaserve.fill.tally import FillStatus, Part

_PART_BYTES = 64 * 1024


class ManifestTaken(Struct, frozen=True, kw_only=True):
    """The manifest is the appliance's from now on."""

    version: str
    objects: int


class PlanQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to list: of one kind, or of all; `limit` actions at the most."""

    kind: Literal["fetch", "keep", "evict", "wait"] | None = None
    limit: Annotated[int, Meta(ge=0, le=10_000)] = 1_000


class PlannedAction(Struct, frozen=True, kw_only=True):
    """What is to be done with one object. `place`: in the manifest, null if it is not in it.
    `copies_per_day`: bytes of it that clients were sent lately, by its size.
    """

    kind: str
    key: str
    store: str
    size: int
    why: str
    place: int | None
    copies_per_day: float


class PlanShown(Struct, frozen=True, kw_only=True):
    """As of now. `cut`: actions that are not listed. `sums`: of all, by kind."""

    actions: list[PlannedAction]
    cut: int
    sums: dict[str, Part]


class AddObjects(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Entries of a manifest; those with a key that is there replace it."""

    objects: Annotated[list[Entry], Meta(max_length=100_000)]


class Retried(Struct, frozen=True, kw_only=True):
    """How many objects that were put aside are tried again."""

    kicked: int


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object, or no body at all."""


def _watch(call: Call) -> FillWatch:
    watch: FillWatch | None = call.request.app.get(WATCH)
    if watch is None:
        raise Problem(404, "nothing is filled: the configuration has no [fill]")
    return watch


async def _pass(call: Call, method: str, path: str, data: bytes | None = None) -> web.Response:
    """What fill answers; its refusals as ours are."""
    status, body = await _watch(call).ask(method, path, data)
    if status == 422:
        faults = msgspec.json.decode(body)["faults"]
        raise Problem(422, f"the manifest: {faults[0]}", faults=faults)
    if status >= 400:
        raise Problem(500, "fill could not answer; its log has more")
    if status == 204:
        return web.Response(status=204)
    return web.Response(body=body, content_type="application/json")


async def show_status(call: Call) -> web.Response:
    return await _pass(call, "GET", "/status")


async def show_manifest(call: Call) -> web.StreamResponse:
    """As it comes: it may be larger than what is to be kept here."""
    async with _watch(call).open("/manifest") as answer:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        return await _copy(call, answer, response)


async def show_piece(call: Call) -> web.StreamResponse:
    """For appliances of the site: what is verified, before its object is whole."""
    sha256, number = call.path["sha256"], call.path["number"]
    if not re.fullmatch("[0-9a-f]{64}", sha256) or not re.fullmatch("[0-9]{1,7}", number):
        raise Problem(404, "there is no such piece")
    async with _watch(call).open(f"/pieces/{sha256}/{number}") as answer:
        if answer.status == 425:
            raise Problem(425, "it is on its way here", headers={"Retry-After": "1"})
        if answer.status != 206:
            raise Problem(404, "there is no such piece")
        place = answer.headers["Content-Range"]
        response = web.StreamResponse(status=206, headers={"Content-Range": place})
        response.content_type = "application/octet-stream"
        return await _copy(call, answer, response)


async def _copy(
    call: Call, answer: aiohttp.ClientResponse, response: web.StreamResponse
) -> web.StreamResponse:
    response.content_length = answer.content_length
    await response.prepare(call.request)
    if call.request.method != "HEAD":
        async for part in answer.content.iter_chunked(_PART_BYTES):
            await response.write(part)
    return response


async def put_manifest(call: Call) -> web.Response:
    return await _pass(call, "PUT", "/manifest", call.body)


async def show_plan(call: Call) -> web.Response:
    query: PlanQuery = call.query
    kind = f"&kind={query.kind}" if query.kind else ""
    return await _pass(call, "GET", f"/plan?limit={query.limit}{kind}")


async def add(call: Call) -> web.Response:
    return await _pass(call, "POST", "/add", call.body)


async def retry(call: Call) -> web.Response:
    return await _pass(call, "POST", "/retry")


async def verify(call: Call) -> web.Response:
    return await _pass(call, "POST", "/verify")


async def show_schema(_: Call) -> dict[str, Any]:
    return manifest_schema()


ENDPOINTS = (
    Endpoint("GET", "/v1/fill/status", show_status, "How far fill is", FillStatus, refuses=(404,)),
    Endpoint(
        "GET", "/v1/fill/plan", show_plan, "What would be fetched, kept, evicted, and why",
        PlanShown, query=PlanQuery, refuses=(404,),
    ),
    Endpoint(
        "GET", "/v1/fill/pieces/{sha256}/{number}", show_piece,
        "A verified piece of an object, for appliances of the site: a token of role fill will do",
        "the bytes, as of a range", status=206, role=Role.FILL, media="application/octet-stream",
        refuses=(404, 425),
    ),
    Endpoint("GET", "/v1/fill/manifest", show_manifest, "The manifest", Manifest, refuses=(404,)),
    Endpoint(
        "PUT", "/v1/fill/manifest", put_manifest, "Take a manifest, whole or not at all",
        ManifestTaken, role=Role.OPERATE, body=Manifest, is_large=True, is_passed_on=True,
        refuses=(404,),
    ),
    Endpoint(
        "POST", "/v1/fill/add", add, "Add objects to the manifest", ManifestTaken,
        role=Role.OPERATE, body=AddObjects, is_large=True, is_passed_on=True, refuses=(404,),
    ),
    Endpoint(
        "POST", "/v1/fill/retry", retry, "Try again now whatever waits", Retried,
        role=Role.OPERATE, body=Nothing, refuses=(404,),
    ),
    Endpoint(
        "POST", "/v1/fill/verify", verify, "Read all that is stored again",
        status=204, role=Role.OPERATE, body=Nothing, refuses=(404,),
    ),
    Endpoint(
        "GET", "/v1/schema/manifest", show_schema, "JSON Schema of a manifest",
        "a JSON Schema (2020-12)", role=Role.ANYONE,
    ),
)  # fmt: skip
