"""What the document says of answers is so: real ones are decoded by it, and read by others."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from ocaserve.control.handlers.route_shapes import (
    CoverageZones,
    Explanation,
    Lookup,
    RecentChanges,
    RouteList,
)
from ocaserve.control.reference import document_api, example_of, sample_application
from ocaserve.control.route_desk import SERVICE
from ocaserve.control.views.dashboard import DashboardShown
from ocaserve.control.views.status import Status
from tests.support.exabgp_lines import Exabgp


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/routes?limit=10", RouteList),
        ("/v1/routes?filtered=true", RouteList),
        ("/v1/routes/recent", RecentChanges),
        ("/v1/routes/lookup?at=11.0.0.0/8", Lookup),
        ("/v1/routes/lookup?at=198.51.100.7", Lookup),
        ("/v1/routes/dczf", CoverageZones),
        ("/v1/explain?ip=11.0.0.1", Explanation),
        ("/v1/explain?ip=2001:db8::1&object=a.mp4", Explanation),
        ("/v1/dashboard", DashboardShown),
        ("/v1/status", Status),
    ],
)
async def test_answers(path: str, shape: type[Any]) -> None:
    """With accepted and filtered routes, of one peer and of two."""
    with sample_application() as app:
        async with TestServer(app) as server, ClientSession() as client:
            service, exabgp = app[SERVICE], Exabgp()
            for peer in ("192.0.2.1", "192.0.2.2"):
                for line in (
                    exabgp.opened([1, 2, 64], ["ipv4/unicast", "ipv6/unicast"], peer=peer),
                    exabgp.state("connected", peer=peer),
                    exabgp.state("up", peer=peer),
                    exabgp.announce("11.0.0.0/16", "10.0.0.0/8", med=5, peer=peer),
                    exabgp.announce("2a00:1::/32", path=(65001, 65002), peer=peer),
                ):
                    service.apply(line)
            async with client.get(server.make_url(path)) as answer:
                assert answer.status == 200
                msgspec.json.decode(await answer.read(), type=shape)


def walk(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, dict):
        return [part, *(each for value in part.values() for each in walk(value))]
    return [each for value in part for each in walk(value)] if isinstance(part, list) else []


def test_generators_understand_it() -> None:
    """Patterns are those of ECMA-262, each answer has a shape, each reference leads somewhere."""
    document = document_api()
    parts = walk(document)
    patterns = [part["pattern"] for part in parts if isinstance(part.get("pattern"), str)]
    assert patterns
    for pattern in patterns:
        assert not re.search(r"\\[AZz]|\(\?P|\(\?<=", pattern), pattern
    names = document["components"]["schemas"]
    for part in parts:
        if isinstance(reference := part.get("$ref"), str):
            assert reference.removeprefix("#/components/schemas/") in names
    shapeless = [
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        for content in answer.get("content", {}).values()
        if status < "300" and set(content["schema"]) == {"type"} and
        content["schema"]["type"] == "object"
    ]  # fmt: skip
    assert shapeless == [
        "/v1/settings",
        "/v1/schema/report",
        "/v1/schema/manifest",
        "/v1/openapi.json",
        "/v1/schema/{name}",
    ]


def test_examples_are_allowed() -> None:
    """What an example holds is of the type that its schema has."""
    schemas = document_api()["components"]["schemas"]
    assert example_of(schemas["WindowRequest"], schemas).keys() == {"start", "end"}
    assert example_of({"type": "integer", "minimum": 3}, {}) == 3
    assert example_of({"anyOf": [{"type": "array", "items": {"type": "number"}}]}, {}) == [0]


def test_everything_that_is_given_has_a_bound() -> None:
    """Each text of a query or a body has a length, each number a least and a greatest."""
    document = document_api()
    schemas = document["components"]["schemas"]
    given = [
        (f"{path} {parameter['name']}", parameter["schema"])
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    ] + [
        (f"{path} {name}", schema)
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for name, schema in members_of(content["schema"], schemas)
    ]
    assert len(given) > 30
    assert [name for name, schema in given if not is_bounded(schema, schemas)] == UNBOUNDED


UNBOUNDED = [
    "/v1/queues/{queue}/messages body",  # any JSON: bounded with the request
    "/v1/queues/{queue}/ensure body",
]


def members_of(schema: dict[str, Any], schemas: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Those of an object, and of what its members refer to."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    if schema.get("type") == "array":
        return members_of(schema["items"], schemas)
    found = []
    for name, member in schema.get("properties", {}).items():
        inner = members_of(member, schemas)
        found += inner or [(name, member)]
    return found


def is_bounded(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether a value of it is of bounded size."""
    if "$ref" in schema:
        return is_bounded(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    if "enum" in schema or "const" in schema or schema.get("type") in ("boolean", "null"):
        return True
    if "anyOf" in schema and "maxLength" not in schema:
        return all(is_bounded(each, schemas) for each in schema["anyOf"])
    match schema.get("type"):
        case "integer" | "number":
            least = {"minimum", "exclusiveMinimum"} & schema.keys()
            return bool(least and {"maximum", "exclusiveMaximum"} & schema.keys())
        case "array":
            return "maxItems" in schema and is_bounded(schema["items"], schemas)
        case "object":
            members = schema.get("properties", {}).values()
            return bool(members) and all(is_bounded(each, schemas) for each in members)
        case _:
            has_length = re.search(r"\{\d+,\d+\}\$$", schema.get("pattern", ""))
            return "maxLength" in schema or schema.get("format") == "date-time" or bool(has_length)
