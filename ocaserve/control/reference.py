"""The reference of the API, made from the OpenAPI document: `python -m ocaserve.control.reference`
prints docs/api.md.
"""

from __future__ import annotations

import inspect
import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ocaserve.control.auth import Guard
from ocaserve.control.endpoints import OFFERED
from ocaserve.control.openapi import describe_api
from ocaserve.control.state import ControlState
from ocaserve.control.wiring import build_app
from ocaserve.link import Link
from ocaserve.metrics import CounterMap
from ocaserve.serving.counters import COUNTERS, GAUGES
from ocaserve.settings import Tokens, settings_from_directories

Json = Mapping[str, Any]

_HEAD = """\
# The API

This page is made from the code by `python -m ocaserve.control.reference`. An appliance says the
same to programs: `/v1/openapi.json`, and `/v1/schema/NAME` for one shape as JSON Schema.

The API is offered on the addresses of `[control]`. Bodies and answers are JSON, and each error is a
problem as in RFC 9457 (`application/problem+json`). Where a call needs a role, the token is sent as
`Authorization: Bearer …`; "operate" may read, too. On loopback, reading needs no token.

The examples are for a shell on the appliance; `TOKEN` stands for one of the role `operate`.

Any call may be answered with 500 or 503; one that needs a role also with 401, 403 or 421; one with
a body also with 400, 413, 415 or 422, one with parameters with 400. Other refusals stand with it.
"""
_PLACE = "http://127.0.0.1:8081"
PATHS = {"id": "1a2b3c4d", "key": "film.mp4", "name": "status", "queue": "encode"}
"""Of the parts of a path that stand in braces."""
_BODIES: Json = {
    "/v1/drain": {"reason": "a disk is replaced", "until": "2030-01-31T06:00:00Z"},
    "/v1/maintenance": {
        "start": "2030-01-31T02:00:00Z", "end": "2030-01-31T06:00:00Z", "reason": "new disks",
    },
    "/v1/queues/{queue}/kick": {"n": 10},
}  # fmt: skip
"""Where more than what must be given is usual."""
_OF_ALL = {"400", "401", "403", "413", "415", "421", "422", "500", "503"}


def describe_reference() -> str:
    """All calls, then all shapes, as Markdown."""
    return describe_document(document_api(), _HEAD, lambda _: _PLACE)


def describe_document(document: Json, head: str, place_of: Callable[[str], str]) -> str:
    """The same of an OpenAPI document. place_of: where a path is answered, as a URL."""
    shapes = document["components"]["schemas"]
    calls = "".join(
        _describe_call(method.upper(), path, operation, shapes, place_of(path))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    described = "".join(_describe_shape(name, shapes[name]) for name in sorted(shapes))
    return f"{head}\n## Calls\n{calls}\n## Shapes\n{described}"


def document_api() -> Json:
    """The OpenAPI document of an appliance with the default settings."""
    with sample_application() as app:
        endpoints = app[OFFERED]
        return describe_api(endpoints)


@contextmanager
def sample_application() -> Iterator[web.Application]:
    """A whole application with the default settings: endpoints and metrics belong to its parts."""
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as name, ours, theirs:
        folder = Path(name)
        settings = settings_from_directories([name])
        counters = CounterMap(COUNTERS, GAUGES, 1)
        yield build_app(ControlState(settings, counters, Link(ours), folder, Guard(Tokens(), "")))


def _describe_call(method: str, path: str, operation: Json, shapes: Json, place: str) -> str:
    lines = "\n".join(_lines_of_call(operation))
    example = _curl(method, path, operation, shapes, place)
    return f"\n### {method} {path}\n\n{lines}\n\n```sh\n{example}\n```\n"


def _curl(method: str, path: str, operation: Json, shapes: Json, place: str) -> str:
    """A call that can be made, with what must be given."""
    words = ["curl"]
    if method != ("POST" if "requestBody" in operation else "GET"):  # --json is a POST
        words += ["-X", method]
    if _role(operation) == "operate":
        words.append("-H 'Authorization: Bearer TOKEN'")
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        body = _BODIES.get(path) or example_of(content["schema"], shapes)
        words.append(f"--json '{json.dumps(body)}'")
    elif "text/event-stream" in str(operation["responses"]):
        words.append("-N")
    for name, value in PATHS.items():
        path = path.replace(f"{{{name}}}", value)
    query = {
        parameter["name"]: example_of(parameter["schema"], shapes)
        for parameter in operation["parameters"]
        if parameter["in"] == "query" and parameter["required"]
    }
    url = f"{place}{path}" + (f"?{urlencode(query)}" if query else "")
    return " ".join([*words, f"'{url}'" if query else url])


def example_of(schema: Json, shapes: Json) -> Any:
    """A value that a schema allows, with the members that must be there."""
    if "$ref" in schema:
        return example_of(shapes[schema["$ref"].rsplit("/", 1)[1]], shapes)
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], shapes)
    match schema.get("type"):
        case "object":
            required, members = schema.get("required", ()), schema.get("properties", {})
            return {name: example_of(members[name], shapes) for name in required}
        case "array":
            return [example_of(schema["items"], shapes)]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case _:
            times = schema.get("format") == "date-time"
            return "2030-01-31T06:00:00Z" if times else "1a2b3c4d5e6f7a8b"


def _lines_of_call(operation: Json) -> Iterator[str]:
    yield f"{operation['summary']}.\n"
    yield f"- role: {_role(operation)}"
    if "requestBody" in operation:
        yield f"- body: {_content(operation['requestBody'])}"
    for status, answer in operation["responses"].items():
        if int(status) < 400:
            what = _content(answer) or answer["description"]
            yield f"- answer {status}: {what}"
    refusals = [status for status in operation["responses"] if status >= "400"]
    if rare := [status for status in refusals if status not in _OF_ALL]:
        yield f"- refused with: {', '.join(rare)}"
    if operation["parameters"]:
        yield "\n| parameter | in | type | default |\n|---|---|---|---|"
        yield from map(_describe_parameter, operation["parameters"])


def _role(operation: Json) -> str:
    wanted = operation.get("security")
    if not wanted:
        return "none"
    return "read" if {} in wanted else "operate"


def _content(part: Json) -> str:
    """What a body or an answer holds: its shape, and in which media type unless that is JSON."""
    told = []
    for media, content in part.get("content", {}).items():
        kind = _type(content["schema"])
        told.append(kind if media == "application/json" else f"{part['description']}, `{media}`")
    return ", ".join(told)


def _describe_parameter(parameter: Json) -> str:
    schema = parameter["schema"]
    must = "(must be given)" if parameter["required"] else _default(schema)
    return f"| `{parameter['name']}` | {parameter['in']} | {_type(schema)} | {must} |"


def _describe_shape(name: str, shape: Json) -> str:
    about = inspect.cleandoc(shape.get("description", ""))
    text = f"\n### {name}\n\n" + (f"{about}\n\n" if about else "")
    return text + (_describe_members(shape) if "properties" in shape else f"{_type(shape)}\n")


def _describe_members(shape: Json) -> str:
    """A row for each, and the column of defaults where there is one."""
    members: Json = shape["properties"]
    required = set(shape.get("required", ()))
    if required.issuperset(members):
        rows = (f"| `{member}` | {_type(schema)} |\n" for member, schema in members.items())
        return "| member | type |\n|---|---|\n" + "".join(rows)
    rows = (
        f"| `{member}` | {_type(schema)} | {'' if member in required else _default(schema)} |\n"
        for member, schema in members.items()
    )
    return "| member | type | default |\n|---|---|---|\n" + "".join(rows)


def _default(schema: Json) -> str:
    if "default" not in schema:
        return "none"
    value = schema["default"]
    return "empty" if value in ("", [], {}) else f"`{str(value).lower()}`"


def _type(schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return _array(schema)
    if kind == "object":
        return (
            f"object of {_type(extra)}" if (extra := schema.get("additionalProperties")) else kind
        )
    words = f"{kind} ({schema['format']})" if "format" in schema else str(kind)
    return words + _bounds(schema)


def _array(schema: Json) -> str:
    if "prefixItems" in schema:
        return f"array of {', '.join(map(_type, schema['prefixItems']))}"
    return f"array of {_type(schema['items'])}" if schema.get("items") else "array"


def _bounds(schema: Json) -> str:
    words = {
        "minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "maxLength": "length to",
    }  # fmt: skip
    told = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" {' '.join(told)}" if told else ""


if __name__ == "__main__":
    print(describe_reference(), end="")
