"""The OpenAPI document (3.1), made from the routes: it says what the code does, or cannot be made.

The shapes are those by which bodies and queries are decoded and answers encoded; the statuses are
those of the route, and those that the layers around every route may answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from ocaserve import __version__
from ocaserve.control.auth import Role
from ocaserve.control.problems import MEDIA_TYPE, Problem, ProblemDetails
from ocaserve.control.routing import ROUTES as APP_ROUTES
from ocaserve.control.routing import Call, Route, add_routes

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_AROUND_ALL = (500, 503)
_AROUND_GUARDED = (401, 403, 421)
_AROUND_BODY = (400, 413, 415, 422)


def describe_api(routes: Sequence[Route]) -> dict[str, Any]:
    """The document, as JSON values."""
    shapes = _shapes_of(routes)
    schemas, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    by_shape = dict(zip(map(repr, shapes), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_shape)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ocaserve", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _shapes_of(routes: Iterable[Route]) -> list[Any]:
    """Each type that some route names, once."""
    shapes: dict[str, Any] = {repr(ProblemDetails): ProblemDetails}
    for route in routes:
        for shape in (route.body, route.query, route.answer):
            if shape is not None and not isinstance(shape, str):
                shapes[repr(shape)] = shape
    return list(shapes.values())


def _operation(route: Route, by_shape: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": re.sub(r"[^a-z0-9]+", "_", f"{route.method} {route.path}".lower()),
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {str(route.status): _answer(route, by_shape)}
        | {str(status): _refusal(status, by_shape) for status in _refusals(route)},
    }
    if route.body is not None:
        # None at all is an object without members, where that is allowed.
        has_required = any(f.required for f in msgspec.structs.fields(route.body))
        operation["requestBody"] = {
            "required": has_required,
            "content": {_JSON: {"schema": by_shape[repr(route.body)]}},
        }
    if route.role is not Role.ANYONE:
        operation["security"] = [{"token": []}, *([] if route.role is Role.OPERATE else [{}])]
    return operation


def _answer(route: Route, by_shape: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if isinstance(route.answer, str):
        schema = {"type": "object"} if route.media.endswith("json") else {"type": "string"}
        described["description"] = route.answer
        described["content"] = {route.media: {"schema": schema}}
    elif route.answer is not None:
        described["content"] = {route.media: {"schema": by_shape[repr(route.answer)]}}
    return described


def _refusal(status: int, by_shape: dict[str, Any]) -> dict[str, Any]:
    schema = by_shape[repr(ProblemDetails)]
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


def _refusals(route: Route) -> Sequence[int]:
    statuses = {*_AROUND_ALL, *route.refuses}
    if route.role is not Role.ANYONE:
        statuses.update(_AROUND_GUARDED)
    if route.body is not None:
        statuses.update(_AROUND_BODY)
    if route.query is not None:
        statuses.add(400)
    return sorted(statuses)


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)", route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    (_,), components = msgspec.json.schema_components([route.query], ref_template=_REF)
    properties: dict[str, Any] = components[route.query.__name__]["properties"]
    return [
        {"name": info.encode_name, "in": "query", "required": info.required,
         "schema": properties[info.encode_name]}
        for info in msgspec.structs.fields(route.query)
    ]  # fmt: skip


async def show_openapi(call: Call) -> dict[str, Any]:
    routes = call.request.app[APP_ROUTES]
    return describe_api(routes)


async def show_schema(call: Call) -> dict[str, Any]:
    """JSON Schema of one shape, by its name in the OpenAPI document."""
    routes = call.request.app[APP_ROUTES]
    document = describe_api(routes)
    schemas = document["components"]["schemas"]
    name = call.path["name"]
    found = {known.lower(): known for known in schemas}.get(name.lower())
    if found is None:
        raise Problem(404, f"there is no schema {name!r}; known here: {', '.join(schemas)}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": f"#/components/schemas/{found}",
        "components": {"schemas": schemas},
    }


ROUTES = (
    Route("GET", "/v1/openapi.json", show_openapi, "This document", dict[str, Any]),
    Route(
        "GET", "/v1/schema/{name}", show_schema, "JSON Schema of a shape of this document",
        dict[str, Any], refuses=(404,),
    ),
)  # fmt: skip


def register(app: web.Application) -> None:
    add_routes(app, ROUTES)
