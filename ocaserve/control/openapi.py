"""The OpenAPI document (3.1), made from the endpoints: what the code does, or it cannot be made.

The shapes are those by which bodies and queries are decoded and answers encoded; the statuses are
those of the endpoint, and those that the layers around every endpoint may answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from ocaserve import __version__
from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Endpoint
from ocaserve.control.problems import MEDIA_TYPE, ProblemDetails

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_AROUND_ALL = (500, 503)
_AROUND_GUARDED = (401, 403, 421)
_AROUND_BODY = (400, 413, 415, 422)


def describe_api(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document, as JSON values."""
    shapes = _shapes_of(endpoints)
    schemas, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    by_shape = dict(zip(map(repr, shapes), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = re.sub(r"{(\w+):[^}]*}", r"{\1}", endpoint.path)  # without the router's pattern
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, by_shape)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "ocaserve", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    _write_as_ecma(document)
    return document


def _write_as_ecma(part: Any) -> None:
    """Patterns as JSON Schema has them: ECMA-262 has no `\\Z`, and its `$` is the end alone."""
    if isinstance(part, dict):
        pattern = part.get("pattern")
        if isinstance(pattern, str) and pattern.endswith(r"\Z"):
            part["pattern"] = pattern.removesuffix(r"\Z") + "$"
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            _write_as_ecma(each)


def _shapes_of(endpoints: Iterable[Endpoint]) -> list[Any]:
    """Each type that some endpoint names, once."""
    shapes: dict[str, Any] = {repr(ProblemDetails): ProblemDetails}
    for endpoint in endpoints:
        for shape in (endpoint.body, endpoint.query, endpoint.answer):
            if shape is not None and not isinstance(shape, str):
                shapes[repr(shape)] = shape
    return list(shapes.values())


def _operation(endpoint: Endpoint, by_shape: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": re.sub(r"[^a-z0-9]+", "_", f"{endpoint.method} {endpoint.path}".lower()),
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint)],
        "responses": {str(endpoint.status): _answer(endpoint, by_shape, endpoint.status)}
        | {str(status): _refusal(status, by_shape) for status in _refusals(endpoint)}
        | {str(status): _answer(endpoint, by_shape, status) for status in endpoint.says_no_by},
    }
    if endpoint.body is not None:
        # None at all is an object without members, where that is allowed.
        has_required = any(f.required for f in msgspec.structs.fields(endpoint.body))
        operation["requestBody"] = {
            "required": has_required,
            "content": {_JSON: {"schema": by_shape[repr(endpoint.body)]}},
        }
    if endpoint.role is not Role.ANYONE:
        operation["security"] = [{"token": []}, *([] if endpoint.role is Role.OPERATE else [{}])]
    return operation


def _answer(endpoint: Endpoint, by_shape: dict[str, Any], status: int) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(endpoint.answer, str):
        schema = {"type": "object"} if endpoint.media.endswith("json") else {"type": "string"}
        described["description"] = endpoint.answer
        described["content"] = {endpoint.media: {"schema": schema}}
    elif endpoint.answer is not None:
        described["content"] = {endpoint.media: {"schema": by_shape[repr(endpoint.answer)]}}
    return described


def _refusal(status: int, by_shape: dict[str, Any]) -> dict[str, Any]:
    schema = by_shape[repr(ProblemDetails)]
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


def _refusals(endpoint: Endpoint) -> Sequence[int]:
    statuses = {*_AROUND_ALL, *endpoint.refuses}
    if endpoint.role is not Role.ANYONE:
        statuses.update(_AROUND_GUARDED)
    if endpoint.body is not None:
        statuses.update(_AROUND_BODY)
    if endpoint.query is not None:
        statuses.add(400)
    return sorted(statuses)


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)", endpoint.path)
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    (_,), components = msgspec.json.schema_components([endpoint.query], ref_template=_REF)
    properties: dict[str, Any] = components[endpoint.query.__name__]["properties"]
    return [
        {"name": info.encode_name, "in": "query", "required": info.required,
         "schema": properties[info.encode_name]}
        for info in msgspec.structs.fields(endpoint.query)
    ]  # fmt: skip
