"""The API about itself."""

from __future__ import annotations

from typing import Any

from ocaserve.control.endpoints import OFFERED, Call, Endpoint
from ocaserve.control.openapi import describe_api
from ocaserve.control.problems import Problem


async def show_openapi(call: Call) -> dict[str, Any]:
    endpoints = call.request.app[OFFERED]
    return describe_api(endpoints)


async def show_schema(call: Call) -> dict[str, Any]:
    """JSON Schema of one shape, by its name in the OpenAPI document."""
    endpoints = call.request.app[OFFERED]
    return find_schema(describe_api(endpoints), call.path["name"])


def find_schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Raises Problem."""
    schemas = document["components"]["schemas"]
    found = {known.lower(): known for known in schemas}.get(name.lower())
    if found is None:
        raise Problem(404, f"there is no schema {name[:60]!r}; known here: {', '.join(schemas)}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": f"#/components/schemas/{found}",
        "components": {"schemas": schemas},
    }


ENDPOINTS = (
    Endpoint("GET", "/v1/openapi.json", show_openapi, "This document", dict[str, Any]),
    Endpoint(
        "GET", "/v1/schema/{name}", show_schema, "JSON Schema of a shape of this document",
        dict[str, Any], refuses=(404,),
    ),
)  # fmt: skip
