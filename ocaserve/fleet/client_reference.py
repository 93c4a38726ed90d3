"""What the addresses for clients tell of themselves."""

from __future__ import annotations

from typing import Any

from ocaserve.control.endpoints import Endpoint
from ocaserve.control.handlers.openapi import find_schema
from ocaserve.control.openapi import describe_api
from ocaserve.fleet.answering import ENDPOINTS as ANSWERING
from ocaserve.fleet.client_desk import ClientCall
from ocaserve.fleet.playing import ENDPOINTS as PLAYING


def show_openapi(_: ClientCall) -> dict[str, Any]:
    return describe_api(CLIENTS)


def show_schema(asked: ClientCall) -> dict[str, Any]:
    """JSON Schema of one shape, by its name in the OpenAPI document. Raises Problem."""
    return find_schema(describe_api(CLIENTS), asked.parts[0])


CLIENTS = (
    *ANSWERING,
    *PLAYING,
    Endpoint("GET", "/v1/openapi.json", show_openapi, "This document", dict[str, Any]),
    Endpoint(
        "GET", "/v1/schema/{name}", show_schema, "JSON Schema of a shape of this document",
        dict[str, Any], refuses=(404,),
    ),
)  # fmt: skip
